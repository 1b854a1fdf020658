"""Makes `twistd aemos` known."""

from twisted.application.service import ServiceMaker

aemos = ServiceMaker("aemos", "aemos.tap", "IoT backend: MQTT broker, REST, live channel", "aemos")
