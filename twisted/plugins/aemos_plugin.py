"""Makes `twistd aemos` known."""

from twisted.application.service import ServiceMaker

aemos = ServiceMaker(
    "aemos", "aemos.tap", "IoT backend: MQTT, REST and realtime, acknowledged = stored", "aemos"
)
