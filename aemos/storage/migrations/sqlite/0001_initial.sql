-- The 21 tables of the original (spec/data-model.md section 2) and those that aemos adds.
-- Times are milliseconds since 1970 UTC. The CHECKs refuse what the column types of MySQL refuse;
-- their names are what the person who sent the value gets to read. NOCASE stands where the
-- collation of MySQL decides about a unique name.

CREATE TABLE Organization (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  parentId INTEGER REFERENCES Organization (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  name TEXT CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  status TEXT DEFAULT 'pending' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'inactive', 'pending', 'suspended', 'archived')),
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(CAST(detail AS BLOB)) <= 65535),
  paymentMethods TEXT CONSTRAINT "paymentMethods is too long" CHECK (length(CAST(paymentMethods AS BLOB)) <= 65535),
  image TEXT CONSTRAINT "image is too long" CHECK (length(CAST(image AS BLOB)) <= 65535),
  address TEXT CONSTRAINT "address is too long" CHECK (length(CAST(address AS BLOB)) <= 65535),
  email TEXT CONSTRAINT "email is too long" CHECK (length(CAST(email AS BLOB)) <= 65535),
  zip TEXT CONSTRAINT "zip is too long" CHECK (length(zip) <= 50),
  contactNumber TEXT CONSTRAINT "contactNumber is too long" CHECK (length(contactNumber) <= 50),
  isParent INTEGER CONSTRAINT "isParent is not true or false" CHECK (isParent IN (0, 1)),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL
) STRICT;
CREATE INDEX "Organization.parentId" ON Organization (parentId);

CREATE TABLE User (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  userName TEXT CONSTRAINT "userName is too long" CHECK (length(userName) <= 256),
  email TEXT COLLATE NOCASE CONSTRAINT "email is too long" CHECK (length(email) <= 256),
  password TEXT CONSTRAINT "password is too long" CHECK (length(CAST(password AS BLOB)) <= 65535),
  phoneNumber TEXT CONSTRAINT "phoneNumber is too long" CHECK (length(phoneNumber) <= 50),
  accessFailedCount INTEGER DEFAULT 0 CONSTRAINT "accessFailedCount is out of range" CHECK (accessFailedCount BETWEEN -2147483648 AND 2147483647),
  status INTEGER DEFAULT 1 CONSTRAINT "status is not true or false" CHECK (status IN (0, 1)),
  image BLOB,
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(CAST(detail AS BLOB)) <= 65535),
  notifyByMessage INTEGER DEFAULT 0 CONSTRAINT "notifyByMessage is not true or false" CHECK (notifyByMessage IN (0, 1)),
  notifyByEmail INTEGER DEFAULT 0 CONSTRAINT "notifyByEmail is not true or false" CHECK (notifyByEmail IN (0, 1)),
  notifyBySMS INTEGER DEFAULT 0 CONSTRAINT "notifyBySMS is not true or false" CHECK (notifyBySMS IN (0, 1)),
  smsNumber TEXT CONSTRAINT "smsNumber is too long" CHECK (length(smsNumber) <= 50),
  createdBy INTEGER REFERENCES User (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL,
  termsAndConditions TEXT CONSTRAINT "termsAndConditions is too long" CHECK (length(CAST(termsAndConditions AS BLOB)) <= 65535)
) STRICT;
CREATE UNIQUE INDEX "User.email" ON User (email);
CREATE INDEX "User.createdBy" ON User (createdBy);

CREATE TABLE Role (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT COLLATE NOCASE NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  organizationId INTEGER REFERENCES Organization (id) ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "Role.name" ON Role (name);
CREATE INDEX "Role.organizationId" ON Role (organizationId);

CREATE TABLE Permission (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT COLLATE NOCASE NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 100),
  description TEXT CONSTRAINT "description is too long" CHECK (length(CAST(description AS BLOB)) <= 65535)
) STRICT;
CREATE UNIQUE INDEX "Permission.name" ON Permission (name);

CREATE TABLE RolePermission (
  roleId INTEGER NOT NULL REFERENCES Role (id) ON DELETE CASCADE ON UPDATE CASCADE,
  permissionId INTEGER NOT NULL REFERENCES Permission (id) ON DELETE CASCADE ON UPDATE CASCADE,
  PRIMARY KEY (roleId, permissionId)
) STRICT, WITHOUT ROWID;
CREATE INDEX "RolePermission.permissionId" ON RolePermission (permissionId);

CREATE TABLE OrganizationUser (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  userId INTEGER NOT NULL REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  organizationId INTEGER NOT NULL REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  role INTEGER NOT NULL REFERENCES Role (id) ON DELETE CASCADE ON UPDATE CASCADE,
  status TEXT DEFAULT 'active' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'inactive')),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "OrganizationUser.userId_organizationId" ON OrganizationUser (userId, organizationId);
CREATE INDEX "OrganizationUser.organizationId" ON OrganizationUser (organizationId);
CREATE INDEX "OrganizationUser.role" ON OrganizationUser (role);

CREATE TABLE Area (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  description TEXT CONSTRAINT "description is too long" CHECK (length(CAST(description AS BLOB)) <= 65535),
  organizationId INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  parentArea INTEGER REFERENCES Area (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  image TEXT CONSTRAINT "image is too long" CHECK (length(CAST(image AS BLOB)) <= 65535),
  uuid TEXT COLLATE NOCASE CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 36),
  status TEXT DEFAULT 'under_review' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'inactive', 'under_review', 'archived'))
) STRICT;
CREATE INDEX "Area.organizationId" ON Area (organizationId);
CREATE INDEX "Area.parentArea" ON Area (parentArea);

CREATE TABLE Sensor (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  description TEXT CONSTRAINT "description is too long" CHECK (length(CAST(description AS BLOB)) <= 65535),
  status TEXT DEFAULT 'pending' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'inactive', 'pending', 'calibrating', 'error', 'disconnected', 'retired')),
  uuid TEXT COLLATE NOCASE CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 36),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "Sensor.uuid" ON Sensor (uuid);

CREATE TABLE Device (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  description TEXT CONSTRAINT "description is too long" CHECK (length(CAST(description AS BLOB)) <= 65535),
  uuid TEXT COLLATE NOCASE CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 36),
  status TEXT DEFAULT 'pending' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'inactive', 'pending', 'maintenance', 'faulty', 'retired')),
  deviceType TEXT NOT NULL DEFAULT 'actuator' CONSTRAINT "deviceType is not an allowed value" CHECK (deviceType IN ('actuator', 'controller', 'gateway', 'sensor_hub', 'hybrid', 'other')),
  communicationProtocol TEXT CONSTRAINT "communicationProtocol is not an allowed value" CHECK (communicationProtocol IN ('wifi', 'ble', 'lorawan', 'zigbee', 'modbus', 'mqtt', 'http', 'coap', 'other')),
  isCritical INTEGER DEFAULT 0 CONSTRAINT "isCritical is not true or false" CHECK (isCritical IN (0, 1)),
  lastHeartbeat INTEGER,
  metadata TEXT CONSTRAINT "metadata is not JSON" CHECK (metadata IS NULL OR json_valid(metadata)),
  capabilities TEXT CONSTRAINT "capabilities is not JSON" CHECK (capabilities IS NULL OR json_valid(capabilities)),
  controlModes TEXT CONSTRAINT "controlModes is too long" CHECK (length(controlModes) <= 100),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "Device.uuid" ON Device (uuid);

CREATE TABLE AreaSensor (
  areaId INTEGER NOT NULL REFERENCES Area (id) ON DELETE CASCADE ON UPDATE CASCADE,
  sensorId INTEGER NOT NULL REFERENCES Sensor (id) ON DELETE CASCADE ON UPDATE CASCADE,
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(CAST(detail AS BLOB)) <= 65535),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL,
  PRIMARY KEY (areaId, sensorId)
) STRICT;
CREATE INDEX "AreaSensor.sensorId" ON AreaSensor (sensorId);

CREATE TABLE AreaDevice (
  areaId INTEGER NOT NULL REFERENCES Area (id) ON DELETE CASCADE ON UPDATE CASCADE,
  deviceId INTEGER NOT NULL REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE,
  detail TEXT CONSTRAINT "detail is too long" CHECK (length(CAST(detail AS BLOB)) <= 65535),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL,
  PRIMARY KEY (areaId, deviceId)
) STRICT;
CREATE INDEX "AreaDevice.deviceId" ON AreaDevice (deviceId);

CREATE TABLE TelemetryData (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  variableName TEXT CONSTRAINT "variableName is too long" CHECK (length(variableName) <= 50),
  datatype TEXT CONSTRAINT "datatype is too long" CHECK (length(datatype) <= 50),
  sensorId INTEGER REFERENCES Sensor (id) ON DELETE NO ACTION ON UPDATE CASCADE
) STRICT;
CREATE INDEX "TelemetryData.sensorId" ON TelemetryData (sensorId);

CREATE TABLE DataStream (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  value TEXT CONSTRAINT "value is too long" CHECK (length(value) <= 50),
  telemetryDataId INTEGER REFERENCES TelemetryData (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  recievedAt INTEGER CONSTRAINT "recievedAt is out of range" CHECK (recievedAt BETWEEN -62135596800000 AND 253402300799999)
) STRICT;
CREATE INDEX "DataStream.telemetryDataId_recievedAt" ON DataStream (telemetryDataId, recievedAt);

CREATE TABLE DeviceState (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  deviceId INTEGER NOT NULL REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE,
  stateName TEXT COLLATE NOCASE NOT NULL CONSTRAINT "stateName is too long" CHECK (length(stateName) <= 50),
  dataType TEXT DEFAULT 'string' CONSTRAINT "dataType is too long" CHECK (length(dataType) <= 50),
  defaultValue TEXT CONSTRAINT "defaultValue is too long" CHECK (length(defaultValue) <= 100),
  allowedValues TEXT CONSTRAINT "allowedValues is not JSON" CHECK (allowedValues IS NULL OR json_valid(allowedValues)),
  status TEXT NOT NULL DEFAULT 'active' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'suspended', 'inactive')),
  createdAt INTEGER DEFAULT (unixepoch() * 1000)
) STRICT;
CREATE UNIQUE INDEX "DeviceState.unique_device_stateName" ON DeviceState (deviceId, stateName);

CREATE TABLE DeviceStateInstance (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  deviceStateId INTEGER NOT NULL REFERENCES DeviceState (id) ON DELETE CASCADE ON UPDATE CASCADE,
  value TEXT NOT NULL CONSTRAINT "value is too long" CHECK (length(value) <= 100),
  fromTimestamp INTEGER NOT NULL DEFAULT (unixepoch() * 1000),
  toTimestamp INTEGER,
  initiatedBy TEXT CONSTRAINT "initiatedBy is too long" CHECK (length(initiatedBy) <= 20),
  initiatorId INTEGER
) STRICT;
CREATE INDEX "DeviceStateInstance.deviceStateId" ON DeviceStateInstance (deviceStateId);

CREATE TABLE DeviceToken (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  token TEXT COLLATE NOCASE NOT NULL CONSTRAINT "token is too long" CHECK (length(token) <= 64),
  sensorId INTEGER NOT NULL REFERENCES Sensor (id) ON DELETE NO ACTION ON UPDATE CASCADE,
  expiresAt INTEGER CONSTRAINT "expiresAt is out of range" CHECK (expiresAt BETWEEN -62135596800000 AND 253402300799999),
  lastUsed INTEGER,
  status TEXT DEFAULT 'active' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'revoked', 'expired')),
  createdAt INTEGER NOT NULL,
  updatedAt INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "DeviceToken.token" ON DeviceToken (token);
CREATE INDEX "DeviceToken.sensorId" ON DeviceToken (sensorId);
CREATE INDEX "DeviceToken.status" ON DeviceToken (status);

CREATE TABLE RuleChain (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organizationId INTEGER REFERENCES Organization (id) ON DELETE SET NULL ON UPDATE CASCADE,
  name TEXT NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 100),
  description TEXT CONSTRAINT "description is too long" CHECK (length(CAST(description AS BLOB)) <= 65535),
  executionType TEXT NOT NULL DEFAULT 'hybrid' CONSTRAINT "executionType is not an allowed value" CHECK (executionType IN ('event-triggered', 'schedule-only', 'hybrid')),
  scheduleEnabled INTEGER NOT NULL DEFAULT 0 CONSTRAINT "scheduleEnabled is not true or false" CHECK (scheduleEnabled IN (0, 1)),
  cronExpression TEXT CONSTRAINT "cronExpression is too long" CHECK (length(cronExpression) <= 100),
  timezone TEXT NOT NULL DEFAULT 'UTC' CONSTRAINT "timezone is too long" CHECK (length(timezone) <= 50),
  priority INTEGER NOT NULL DEFAULT 0 CONSTRAINT "priority is out of range" CHECK (priority BETWEEN -2147483648 AND 2147483647),
  maxRetries INTEGER NOT NULL DEFAULT 0 CONSTRAINT "maxRetries is out of range" CHECK (maxRetries BETWEEN -2147483648 AND 2147483647),
  retryDelay INTEGER NOT NULL DEFAULT 0 CONSTRAINT "retryDelay is out of range" CHECK (retryDelay BETWEEN -2147483648 AND 2147483647),
  scheduleMetadata TEXT CONSTRAINT "scheduleMetadata is not JSON" CHECK (scheduleMetadata IS NULL OR json_valid(scheduleMetadata)),
  lastExecutedAt INTEGER,
  lastErrorAt INTEGER,
  executionCount INTEGER NOT NULL DEFAULT 0 CONSTRAINT "executionCount is out of range" CHECK (executionCount BETWEEN -2147483648 AND 2147483647),
  failureCount INTEGER NOT NULL DEFAULT 0 CONSTRAINT "failureCount is out of range" CHECK (failureCount BETWEEN -2147483648 AND 2147483647),
  createdAt INTEGER NOT NULL DEFAULT (unixepoch() * 1000),
  updatedAt INTEGER NOT NULL DEFAULT (unixepoch() * 1000)
) STRICT;
CREATE INDEX "RuleChain.organizationId" ON RuleChain (organizationId);

CREATE TABLE RuleChainNode (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT COLLATE NOCASE NOT NULL CONSTRAINT "name is too long" CHECK (length(name) <= 255),
  ruleChainId INTEGER NOT NULL REFERENCES RuleChain (id) ON DELETE CASCADE ON UPDATE CASCADE,
  type TEXT NOT NULL CONSTRAINT "type is not an allowed value" CHECK (type IN ('filter', 'transform', 'action')),
  config TEXT CONSTRAINT "config is not JSON" CHECK (config IS NULL OR json_valid(config)),
  nextNodeId INTEGER REFERENCES RuleChainNode (id) ON DELETE SET NULL ON UPDATE CASCADE
) STRICT;
CREATE UNIQUE INDEX "RuleChainNode.unique_name_per_rule_chain" ON RuleChainNode (name, ruleChainId);
CREATE INDEX "RuleChainNode.ruleChainId" ON RuleChainNode (ruleChainId);
CREATE INDEX "RuleChainNode.nextNodeId" ON RuleChainNode (nextNodeId);

CREATE TABLE Notification (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT CONSTRAINT "title is too long" CHECK (length(title) <= 250),
  insight TEXT CONSTRAINT "insight is too long" CHECK (length(CAST(insight AS BLOB)) <= 65535),
  userGroup TEXT CONSTRAINT "userGroup is too long" CHECK (length(CAST(userGroup AS BLOB)) <= 65535),
  severity TEXT CONSTRAINT "severity is too long" CHECK (length(severity) <= 50),
  organizationId INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE
) STRICT;
CREATE INDEX "Notification.organizationId" ON Notification (organizationId);

CREATE TABLE Ticket (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  createdAt INTEGER,
  notificationId INTEGER REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE,
  assignedTo INTEGER REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  comment TEXT CONSTRAINT "comment is too long" CHECK (length(CAST(comment AS BLOB)) <= 65535),
  assignedAt INTEGER,
  acknowledgedAt INTEGER
) STRICT;
CREATE INDEX "Ticket.notificationId" ON Ticket (notificationId);
CREATE INDEX "Ticket.assignedTo" ON Ticket (assignedTo);

CREATE TABLE PaymentCard (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organizationId INTEGER REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  name TEXT CONSTRAINT "name is too long" CHECK (length(name) <= 50),
  cardNumber TEXT CONSTRAINT "cardNumber is too long" CHECK (length(cardNumber) <= 50),
  cvv TEXT CONSTRAINT "cvv is too long" CHECK (length(cvv) <= 10),
  zip TEXT CONSTRAINT "zip is too long" CHECK (length(zip) <= 10),
  expiry INTEGER
) STRICT;
CREATE INDEX "PaymentCard.organizationId" ON PaymentCard (organizationId);

CREATE TABLE device_credential (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT NOT NULL CONSTRAINT "digest is too long" CHECK (length(digest) <= 64),
  device_id INTEGER NOT NULL REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE,
  label TEXT CONSTRAINT "label is too long" CHECK (length(label) <= 100),
  expires_at INTEGER CONSTRAINT "expires_at is out of range" CHECK (expires_at BETWEEN -62135596800000 AND 253402300799999),
  status TEXT NOT NULL DEFAULT 'active' CONSTRAINT "status is not an allowed value" CHECK (status IN ('active', 'revoked')),
  created_at INTEGER NOT NULL,
  last_used_at INTEGER
) STRICT;
CREATE UNIQUE INDEX "device_credential.digest" ON device_credential (digest);
CREATE INDEX "device_credential.device_id" ON device_credential (device_id);

CREATE TABLE device_status (
  uuid TEXT COLLATE NOCASE NOT NULL CONSTRAINT "uuid is too long" CHECK (length(uuid) <= 36),
  status TEXT NOT NULL CONSTRAINT "status is too long" CHECK (length(status) <= 50),
  metadata TEXT CONSTRAINT "metadata is not JSON" CHECK (metadata IS NULL OR json_valid(metadata)),
  reported_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  PRIMARY KEY (uuid)
) STRICT;

CREATE TABLE login_session (
  id TEXT NOT NULL CONSTRAINT "id is too long" CHECK (length(id) <= 32),
  user_id INTEGER NOT NULL REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL CONSTRAINT "expires_at is out of range" CHECK (expires_at BETWEEN -62135596800000 AND 253402300799999),
  revoked_at INTEGER,
  PRIMARY KEY (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX "login_session.user_id" ON login_session (user_id);
CREATE INDEX "login_session.expires_at" ON login_session (expires_at);

CREATE TABLE reading_key (
  telemetry_id INTEGER NOT NULL,
  digest BLOB NOT NULL CONSTRAINT "digest has the wrong length" CHECK (length(digest) = 16),
  received_at INTEGER NOT NULL,
  PRIMARY KEY (telemetry_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX "reading_key.received_at" ON reading_key (received_at);

CREATE TABLE ledger (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  device_uuid TEXT COLLATE NOCASE NOT NULL CONSTRAINT "device_uuid is too long" CHECK (length(device_uuid) <= 64),
  at INTEGER NOT NULL,
  code TEXT NOT NULL CONSTRAINT "code is too long" CHECK (length(code) <= 32),
  reason TEXT CONSTRAINT "reason is too long" CHECK (length(CAST(reason AS BLOB)) <= 65535),
  topic TEXT CONSTRAINT "topic is too long" CHECK (length(CAST(topic AS BLOB)) <= 65535),
  payload TEXT CONSTRAINT "payload is too long" CHECK (length(CAST(payload AS BLOB)) <= 65535)
) STRICT;
CREATE INDEX "ledger.device_uuid_id" ON ledger (device_uuid, id);

CREATE TABLE writer_mark (
  node TEXT NOT NULL CONSTRAINT "node is too long" CHECK (length(node) <= 32),
  batch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (node)
) STRICT;

CREATE TABLE mqtt_session (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  digest BLOB NOT NULL CONSTRAINT "digest has the wrong length" CHECK (length(digest) = 16),
  principal TEXT NOT NULL CONSTRAINT "principal is too long" CHECK (length(principal) <= 320),
  client_id TEXT NOT NULL CONSTRAINT "client_id is too long" CHECK (length(CAST(client_id AS BLOB)) <= 65535),
  next_packet_id INTEGER NOT NULL DEFAULT 1 CONSTRAINT "next_packet_id is out of range" CHECK (next_packet_id BETWEEN -2147483648 AND 2147483647),
  created_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX "mqtt_session.digest" ON mqtt_session (digest);
CREATE INDEX "mqtt_session.seen_at" ON mqtt_session (seen_at);

CREATE TABLE mqtt_subscription (
  session_id INTEGER NOT NULL,
  digest BLOB NOT NULL CONSTRAINT "digest has the wrong length" CHECK (length(digest) = 16),
  topic_filter TEXT NOT NULL CONSTRAINT "topic_filter is too long" CHECK (length(CAST(topic_filter AS BLOB)) <= 65535),
  qos INTEGER NOT NULL CONSTRAINT "qos is out of range" CHECK (qos BETWEEN -128 AND 127),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, digest)
) STRICT;

CREATE TABLE mqtt_message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic TEXT NOT NULL CONSTRAINT "topic is too long" CHECK (length(CAST(topic AS BLOB)) <= 65535),
  payload BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE mqtt_queue (
  session_id INTEGER NOT NULL,
  position INTEGER NOT NULL,
  message_id INTEGER NOT NULL,
  qos INTEGER NOT NULL CONSTRAINT "qos is out of range" CHECK (qos BETWEEN -128 AND 127),
  retain INTEGER NOT NULL CONSTRAINT "retain is not true or false" CHECK (retain IN (0, 1)),
  state INTEGER NOT NULL DEFAULT 0 CONSTRAINT "state is out of range" CHECK (state BETWEEN -128 AND 127),
  packet_id INTEGER CONSTRAINT "packet_id is out of range" CHECK (packet_id BETWEEN -2147483648 AND 2147483647),
  PRIMARY KEY (session_id, position)
) STRICT;
CREATE INDEX "mqtt_queue.message_id" ON mqtt_queue (message_id);

CREATE TABLE mqtt_inbound (
  session_id INTEGER NOT NULL,
  packet_id INTEGER NOT NULL CONSTRAINT "packet_id is out of range" CHECK (packet_id BETWEEN -2147483648 AND 2147483647),
  received_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, packet_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE mqtt_retained (
  digest BLOB NOT NULL CONSTRAINT "digest has the wrong length" CHECK (length(digest) = 16),
  topic TEXT NOT NULL CONSTRAINT "topic is too long" CHECK (length(CAST(topic AS BLOB)) <= 65535),
  qos INTEGER NOT NULL CONSTRAINT "qos is out of range" CHECK (qos BETWEEN -128 AND 127),
  payload BLOB NOT NULL,
  principal TEXT NOT NULL CONSTRAINT "principal is too long" CHECK (length(principal) <= 320),
  stored_at INTEGER NOT NULL,
  PRIMARY KEY (digest)
) STRICT;

