-- A state may have had millions of values: finding the open one, or the newest, must not read them all.

CREATE INDEX "DeviceStateInstance.open_instance" ON DeviceStateInstance (deviceStateId, toTimestamp);
CREATE INDEX "DeviceStateInstance.newest_instance" ON DeviceStateInstance (deviceStateId, fromTimestamp);
