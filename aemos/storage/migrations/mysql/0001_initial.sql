-- The 21 tables of the original (spec/data-model.md section 2) and those that aemos adds.
-- In a database that the original created its tables stay as they are: what they lack of the
-- columns and keys below is added afterwards by aemos/storage/adoption.py, which reads this file.
-- Therefore: one column or key a line. Names in camelCase are the original's, snake_case is ours.

CREATE TABLE IF NOT EXISTS Organization (
  id BIGINT NOT NULL AUTO_INCREMENT,
  parentId BIGINT,
  name VARCHAR(50),
  status ENUM('active', 'inactive', 'pending', 'suspended', 'archived') DEFAULT 'pending',
  detail TEXT,
  paymentMethods TEXT,
  image TEXT,
  address TEXT,
  email TEXT,
  zip VARCHAR(50),
  contactNumber VARCHAR(50),
  isParent TINYINT(1),
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  KEY parentId (parentId),
  FOREIGN KEY (parentId) REFERENCES Organization (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS User (
  id BIGINT NOT NULL AUTO_INCREMENT,
  userName VARCHAR(256),
  email VARCHAR(256),
  password TEXT,
  phoneNumber VARCHAR(50),
  accessFailedCount INT DEFAULT 0,
  status TINYINT(1) DEFAULT 1,
  image LONGBLOB,
  detail TEXT,
  notifyByMessage TINYINT(1) DEFAULT 0,
  notifyByEmail TINYINT(1) DEFAULT 0,
  notifyBySMS TINYINT(1) DEFAULT 0,
  smsNumber VARCHAR(50),
  createdBy BIGINT,
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  termsAndConditions TEXT,
  PRIMARY KEY (id),
  UNIQUE KEY email (email),
  KEY createdBy (createdBy),
  FOREIGN KEY (createdBy) REFERENCES User (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Role (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(50) NOT NULL,
  organizationId BIGINT,
  PRIMARY KEY (id),
  UNIQUE KEY name (name),
  KEY organizationId (organizationId),
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Permission (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(100) NOT NULL,
  description TEXT,
  PRIMARY KEY (id),
  UNIQUE KEY name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS RolePermission (
  roleId BIGINT NOT NULL,
  permissionId BIGINT NOT NULL,
  PRIMARY KEY (roleId, permissionId),
  KEY permissionId (permissionId),
  FOREIGN KEY (roleId) REFERENCES Role (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (permissionId) REFERENCES Permission (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS OrganizationUser (
  id BIGINT NOT NULL AUTO_INCREMENT,
  userId BIGINT NOT NULL,
  organizationId BIGINT NOT NULL,
  role BIGINT NOT NULL,
  status ENUM('active', 'inactive') DEFAULT 'active',
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY userId_organizationId (userId, organizationId),
  KEY organizationId (organizationId),
  KEY role (role),
  FOREIGN KEY (userId) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (role) REFERENCES Role (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Area (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(50),
  description TEXT,
  organizationId BIGINT,
  parentArea BIGINT,
  image TEXT,
  uuid VARCHAR(36),
  status ENUM('active', 'inactive', 'under_review', 'archived') DEFAULT 'under_review',
  PRIMARY KEY (id),
  KEY organizationId (organizationId),
  KEY parentArea (parentArea),
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (parentArea) REFERENCES Area (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Sensor (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(50),
  description TEXT,
  status ENUM('active', 'inactive', 'pending', 'calibrating', 'error', 'disconnected', 'retired') DEFAULT 'pending',
  uuid VARCHAR(36),
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uuid (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Device (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(50),
  description TEXT,
  uuid VARCHAR(36),
  status ENUM('active', 'inactive', 'pending', 'maintenance', 'faulty', 'retired') DEFAULT 'pending',
  deviceType ENUM('actuator', 'controller', 'gateway', 'sensor_hub', 'hybrid', 'other') NOT NULL DEFAULT 'actuator',
  communicationProtocol ENUM('wifi', 'ble', 'lorawan', 'zigbee', 'modbus', 'mqtt', 'http', 'coap', 'other'),
  isCritical TINYINT(1) DEFAULT 0,
  lastHeartbeat DATETIME(3),
  metadata JSON,
  capabilities JSON,
  controlModes VARCHAR(100),
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uuid (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS AreaSensor (
  areaId BIGINT NOT NULL,
  sensorId BIGINT NOT NULL,
  detail TEXT,
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (areaId, sensorId),
  KEY sensorId (sensorId),
  FOREIGN KEY (areaId) REFERENCES Area (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (sensorId) REFERENCES Sensor (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS AreaDevice (
  areaId BIGINT NOT NULL,
  deviceId BIGINT NOT NULL,
  detail TEXT,
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (areaId, deviceId),
  KEY deviceId (deviceId),
  FOREIGN KEY (areaId) REFERENCES Area (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (deviceId) REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS TelemetryData (
  id BIGINT NOT NULL AUTO_INCREMENT,
  variableName VARCHAR(50),
  datatype VARCHAR(50),
  sensorId BIGINT,
  PRIMARY KEY (id),
  KEY sensorId (sensorId),
  FOREIGN KEY (sensorId) REFERENCES Sensor (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS DataStream (
  id BIGINT NOT NULL AUTO_INCREMENT,
  value VARCHAR(50),
  telemetryDataId BIGINT,
  recievedAt DATETIME(3),
  PRIMARY KEY (id),
  KEY telemetryDataId_recievedAt (telemetryDataId, recievedAt),
  FOREIGN KEY (telemetryDataId) REFERENCES TelemetryData (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS DeviceState (
  id BIGINT NOT NULL AUTO_INCREMENT,
  deviceId BIGINT NOT NULL,
  stateName VARCHAR(50) NOT NULL,
  dataType VARCHAR(50) DEFAULT 'string',
  defaultValue VARCHAR(100),
  allowedValues JSON,
  status ENUM('active', 'suspended', 'inactive') NOT NULL DEFAULT 'active',
  createdAt DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (id),
  UNIQUE KEY unique_device_stateName (deviceId, stateName),
  FOREIGN KEY (deviceId) REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS DeviceStateInstance (
  id BIGINT NOT NULL AUTO_INCREMENT,
  deviceStateId BIGINT NOT NULL,
  value VARCHAR(100) NOT NULL,
  fromTimestamp DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  toTimestamp DATETIME(6),
  initiatedBy VARCHAR(20),
  initiatorId BIGINT,
  PRIMARY KEY (id),
  KEY idx_deviceStateId (deviceStateId),
  FOREIGN KEY (deviceStateId) REFERENCES DeviceState (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS DeviceToken (
  id BIGINT NOT NULL AUTO_INCREMENT,
  token VARCHAR(64) NOT NULL,
  sensorId BIGINT NOT NULL,
  expiresAt DATETIME(3),
  lastUsed DATETIME(3),
  status ENUM('active', 'revoked', 'expired') DEFAULT 'active',
  createdAt DATETIME(3) NOT NULL,
  updatedAt DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY token (token),
  KEY sensorId (sensorId),
  KEY status (status),
  FOREIGN KEY (sensorId) REFERENCES Sensor (id) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS RuleChain (
  id INT NOT NULL AUTO_INCREMENT,
  organizationId BIGINT,
  name VARCHAR(100) NOT NULL,
  description TEXT,
  executionType ENUM('event-triggered', 'schedule-only', 'hybrid') NOT NULL DEFAULT 'hybrid',
  scheduleEnabled TINYINT(1) NOT NULL DEFAULT 0,
  cronExpression VARCHAR(100),
  timezone VARCHAR(50) NOT NULL DEFAULT 'UTC',
  priority INT NOT NULL DEFAULT 0,
  maxRetries INT NOT NULL DEFAULT 0,
  retryDelay INT NOT NULL DEFAULT 0,
  scheduleMetadata JSON,
  lastExecutedAt DATETIME(3),
  lastErrorAt DATETIME(3),
  executionCount INT NOT NULL DEFAULT 0,
  failureCount INT NOT NULL DEFAULT 0,
  createdAt DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updatedAt DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (id),
  KEY organizationId (organizationId),
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS RuleChainNode (
  id INT NOT NULL AUTO_INCREMENT,
  name VARCHAR(255) NOT NULL,
  ruleChainId INT NOT NULL,
  type ENUM('filter', 'transform', 'action') NOT NULL,
  config JSON,
  nextNodeId INT,
  PRIMARY KEY (id),
  UNIQUE KEY unique_name_per_rule_chain (name, ruleChainId),
  KEY ruleChainId (ruleChainId),
  KEY nextNodeId (nextNodeId),
  FOREIGN KEY (ruleChainId) REFERENCES RuleChain (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (nextNodeId) REFERENCES RuleChainNode (id) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Notification (
  id BIGINT NOT NULL AUTO_INCREMENT,
  title VARCHAR(250),
  insight TEXT,
  userGroup TEXT,
  severity VARCHAR(50),
  organizationId BIGINT,
  PRIMARY KEY (id),
  KEY organizationId (organizationId),
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS Ticket (
  id BIGINT NOT NULL AUTO_INCREMENT,
  createdAt DATETIME(3),
  notificationId BIGINT,
  assignedTo BIGINT,
  comment TEXT,
  assignedAt DATETIME(3),
  acknowledgedAt DATETIME(3),
  PRIMARY KEY (id),
  KEY notificationId (notificationId),
  KEY assignedTo (assignedTo),
  FOREIGN KEY (notificationId) REFERENCES Notification (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (assignedTo) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS PaymentCard (
  id BIGINT NOT NULL AUTO_INCREMENT,
  organizationId BIGINT,
  name VARCHAR(50),
  cardNumber VARCHAR(50),
  cvv VARCHAR(10),
  zip VARCHAR(10),
  expiry DATETIME(3),
  PRIMARY KEY (id),
  KEY organizationId (organizationId),
  FOREIGN KEY (organizationId) REFERENCES Organization (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS device_credential (
  id BIGINT NOT NULL AUTO_INCREMENT,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  device_id BIGINT NOT NULL,
  label VARCHAR(100),
  expires_at DATETIME(3),
  status ENUM('active', 'revoked') NOT NULL DEFAULT 'active',
  created_at DATETIME(3) NOT NULL,
  last_used_at DATETIME(3),
  PRIMARY KEY (id),
  UNIQUE KEY digest (digest),
  KEY device_id (device_id),
  FOREIGN KEY (device_id) REFERENCES Device (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS device_status (
  uuid VARCHAR(36) NOT NULL,
  status VARCHAR(50) NOT NULL,
  metadata JSON,
  reported_at DATETIME(3) NOT NULL,
  last_seen_at DATETIME(3) NOT NULL,
  PRIMARY KEY (uuid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS login_session (
  id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id BIGINT NOT NULL,
  created_at DATETIME(3) NOT NULL,
  expires_at DATETIME(3) NOT NULL,
  revoked_at DATETIME(3),
  PRIMARY KEY (id),
  KEY user_id (user_id),
  KEY expires_at (expires_at),
  FOREIGN KEY (user_id) REFERENCES User (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS reading_key (
  telemetry_id BIGINT NOT NULL,
  digest BINARY(16) NOT NULL,
  received_at DATETIME(3) NOT NULL,
  PRIMARY KEY (telemetry_id, digest),
  KEY received_at (received_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS ledger (
  id BIGINT NOT NULL AUTO_INCREMENT,
  device_uuid VARCHAR(64) NOT NULL,
  at DATETIME(3) NOT NULL,
  code CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason TEXT,
  topic TEXT,
  payload TEXT,
  PRIMARY KEY (id),
  KEY device_uuid_id (device_uuid, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS writer_mark (
  node CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  batch BIGINT NOT NULL,
  at DATETIME(3) NOT NULL,
  PRIMARY KEY (node)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE IF NOT EXISTS mqtt_session (
  id BIGINT NOT NULL AUTO_INCREMENT,
  digest BINARY(16) NOT NULL,
  principal VARCHAR(320) NOT NULL,
  client_id TEXT NOT NULL,
  next_packet_id INT NOT NULL DEFAULT 1,
  created_at DATETIME(3) NOT NULL,
  seen_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY digest (digest),
  KEY seen_at (seen_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS mqtt_subscription (
  session_id BIGINT NOT NULL,
  digest BINARY(16) NOT NULL,
  topic_filter TEXT NOT NULL,
  qos TINYINT NOT NULL,
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (session_id, digest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS mqtt_message (
  id BIGINT NOT NULL AUTO_INCREMENT,
  topic TEXT NOT NULL,
  payload LONGBLOB NOT NULL,
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS mqtt_queue (
  session_id BIGINT NOT NULL,
  position BIGINT NOT NULL,
  message_id BIGINT NOT NULL,
  qos TINYINT NOT NULL,
  retain TINYINT(1) NOT NULL,
  state TINYINT NOT NULL DEFAULT 0,
  packet_id INT,
  PRIMARY KEY (session_id, position),
  KEY message_id (message_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS mqtt_inbound (
  session_id BIGINT NOT NULL,
  packet_id INT NOT NULL,
  received_at DATETIME(3) NOT NULL,
  PRIMARY KEY (session_id, packet_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS mqtt_retained (
  digest BINARY(16) NOT NULL,
  topic TEXT NOT NULL,
  qos TINYINT NOT NULL,
  payload LONGBLOB NOT NULL,
  principal VARCHAR(320) NOT NULL,
  stored_at DATETIME(3) NOT NULL,
  PRIMARY KEY (digest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

