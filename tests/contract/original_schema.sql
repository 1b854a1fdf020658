-- The tables as the original system creates them in MySQL (spec/data-model.md): times in whole
-- seconds, no unique e-mail or uuid, no Area.description, no index for the newest readings.

CREATE TABLE IF NOT EXISTS `Organization` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `parentId` BIGINT,
  `name` VARCHAR(50),
  `status` ENUM('active', 'inactive', 'pending', 'suspended', 'archived') DEFAULT 'pending',
  `detail` TEXT,
  `paymentMethods` TEXT,
  `image` TEXT,
  `address` TEXT,
  `email` TEXT,
  `zip` VARCHAR(50),
  `contactNumber` VARCHAR(50),
  `isParent` TINYINT(1),
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`id`),
  CONSTRAINT `Organization_ibfk_1` FOREIGN KEY (`parentId`) REFERENCES `Organization` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `User` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `userName` VARCHAR(256),
  `email` VARCHAR(256),
  `password` TEXT,
  `phoneNumber` VARCHAR(50),
  `accessFailedCount` INT DEFAULT 0,
  `status` TINYINT(1) DEFAULT 1,
  `image` LONGBLOB,
  `detail` TEXT,
  `notifyByMessage` TINYINT(1) DEFAULT 0,
  `notifyByEmail` TINYINT(1) DEFAULT 0,
  `notifyBySMS` TINYINT(1) DEFAULT 0,
  `smsNumber` VARCHAR(50),
  `createdBy` BIGINT,
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  `termsAndConditions` TEXT,
  PRIMARY KEY (`id`),
  CONSTRAINT `User_ibfk_1` FOREIGN KEY (`createdBy`) REFERENCES `User` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Role` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(50) NOT NULL,
  `organizationId` BIGINT,
  PRIMARY KEY (`id`),
  UNIQUE KEY `name` (`name`),
  CONSTRAINT `Role_ibfk_1` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Permission` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(100) NOT NULL,
  `description` TEXT,
  PRIMARY KEY (`id`),
  UNIQUE KEY `name` (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `RolePermission` (
  `roleId` BIGINT NOT NULL,
  `permissionId` BIGINT NOT NULL,
  PRIMARY KEY (`roleId`, `permissionId`),
  CONSTRAINT `RolePermission_ibfk_1` FOREIGN KEY (`roleId`) REFERENCES `Role` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `RolePermission_ibfk_2` FOREIGN KEY (`permissionId`) REFERENCES `Permission` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `OrganizationUser` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `userId` BIGINT NOT NULL,
  `organizationId` BIGINT NOT NULL,
  `role` BIGINT NOT NULL,
  `status` ENUM('active', 'inactive') DEFAULT 'active',
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `userId_organizationId` (`userId`, `organizationId`),
  CONSTRAINT `OrganizationUser_ibfk_1` FOREIGN KEY (`userId`) REFERENCES `User` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `OrganizationUser_ibfk_2` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `OrganizationUser_ibfk_3` FOREIGN KEY (`role`) REFERENCES `Role` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Area` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(50),
  `organizationId` BIGINT,
  `parentArea` BIGINT,
  `image` TEXT,
  `uuid` VARCHAR(36),
  `status` ENUM('active', 'inactive', 'under_review', 'archived') DEFAULT 'under_review',
  PRIMARY KEY (`id`),
  CONSTRAINT `Area_ibfk_1` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `Area_ibfk_2` FOREIGN KEY (`parentArea`) REFERENCES `Area` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Sensor` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(50),
  `description` TEXT,
  `status` ENUM('active', 'inactive', 'pending', 'calibrating', 'error', 'disconnected', 'retired') DEFAULT 'pending',
  `uuid` VARCHAR(36),
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Device` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(50),
  `description` TEXT,
  `uuid` VARCHAR(36),
  `status` ENUM('active', 'inactive', 'pending', 'maintenance', 'faulty', 'retired') DEFAULT 'pending',
  `deviceType` ENUM('actuator', 'controller', 'gateway', 'sensor_hub', 'hybrid', 'other') NOT NULL DEFAULT 'actuator',
  `communicationProtocol` ENUM('wifi', 'ble', 'lorawan', 'zigbee', 'modbus', 'mqtt', 'http', 'coap', 'other'),
  `isCritical` TINYINT(1) DEFAULT 0,
  `lastHeartbeat` DATETIME,
  `metadata` JSON,
  `capabilities` JSON,
  `controlModes` VARCHAR(100),
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `AreaSensor` (
  `areaId` BIGINT NOT NULL,
  `sensorId` BIGINT NOT NULL,
  `detail` TEXT,
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`areaId`, `sensorId`),
  CONSTRAINT `AreaSensor_ibfk_1` FOREIGN KEY (`areaId`) REFERENCES `Area` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `AreaSensor_ibfk_2` FOREIGN KEY (`sensorId`) REFERENCES `Sensor` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `AreaDevice` (
  `areaId` BIGINT NOT NULL,
  `deviceId` BIGINT NOT NULL,
  `detail` TEXT,
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`areaId`, `deviceId`),
  CONSTRAINT `AreaDevice_ibfk_1` FOREIGN KEY (`areaId`) REFERENCES `Area` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `AreaDevice_ibfk_2` FOREIGN KEY (`deviceId`) REFERENCES `Device` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `TelemetryData` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `variableName` VARCHAR(50),
  `datatype` VARCHAR(50),
  `sensorId` BIGINT,
  PRIMARY KEY (`id`),
  CONSTRAINT `TelemetryData_ibfk_1` FOREIGN KEY (`sensorId`) REFERENCES `Sensor` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `DataStream` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `value` VARCHAR(50),
  `telemetryDataId` BIGINT,
  `recievedAt` DATETIME,
  PRIMARY KEY (`id`),
  CONSTRAINT `DataStream_ibfk_1` FOREIGN KEY (`telemetryDataId`) REFERENCES `TelemetryData` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `DeviceState` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `deviceId` BIGINT NOT NULL,
  `stateName` VARCHAR(50) NOT NULL,
  `dataType` VARCHAR(50) DEFAULT 'string',
  `defaultValue` VARCHAR(100),
  `allowedValues` JSON,
  `status` ENUM('active', 'suspended', 'inactive') NOT NULL DEFAULT 'active',
  `createdAt` DATETIME DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  UNIQUE KEY `unique_device_stateName` (`deviceId`, `stateName`),
  CONSTRAINT `DeviceState_ibfk_1` FOREIGN KEY (`deviceId`) REFERENCES `Device` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `DeviceStateInstance` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `deviceStateId` BIGINT NOT NULL,
  `value` VARCHAR(100) NOT NULL,
  `fromTimestamp` DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  `toTimestamp` DATETIME(6),
  `initiatedBy` VARCHAR(20),
  `initiatorId` BIGINT,
  PRIMARY KEY (`id`),
  KEY `idx_deviceStateId` (`deviceStateId`),
  CONSTRAINT `DeviceStateInstance_ibfk_1` FOREIGN KEY (`deviceStateId`) REFERENCES `DeviceState` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `DeviceToken` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `token` VARCHAR(64) NOT NULL,
  `sensorId` BIGINT NOT NULL,
  `expiresAt` DATETIME,
  `lastUsed` DATETIME,
  `status` ENUM('active', 'revoked', 'expired') DEFAULT 'active',
  `createdAt` DATETIME NOT NULL,
  `updatedAt` DATETIME NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `token` (`token`),
  CONSTRAINT `DeviceToken_ibfk_1` FOREIGN KEY (`sensorId`) REFERENCES `Sensor` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `RuleChain` (
  `id` INT NOT NULL AUTO_INCREMENT,
  `organizationId` BIGINT,
  `name` VARCHAR(100) NOT NULL,
  `description` TEXT,
  `executionType` ENUM('event-triggered', 'schedule-only', 'hybrid') NOT NULL DEFAULT 'hybrid',
  `scheduleEnabled` TINYINT(1) NOT NULL DEFAULT 0,
  `cronExpression` VARCHAR(100),
  `timezone` VARCHAR(50) NOT NULL DEFAULT 'UTC',
  `priority` INT NOT NULL DEFAULT 0,
  `maxRetries` INT NOT NULL DEFAULT 0,
  `retryDelay` INT NOT NULL DEFAULT 0,
  `scheduleMetadata` JSON,
  `lastExecutedAt` DATETIME,
  `lastErrorAt` DATETIME,
  `executionCount` INT NOT NULL DEFAULT 0,
  `failureCount` INT NOT NULL DEFAULT 0,
  `createdAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  `updatedAt` DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  CONSTRAINT `RuleChain_ibfk_1` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `RuleChainNode` (
  `id` INT NOT NULL AUTO_INCREMENT,
  `name` VARCHAR(255) NOT NULL,
  `ruleChainId` INT NOT NULL,
  `type` ENUM('filter', 'transform', 'action') NOT NULL,
  `config` JSON,
  `nextNodeId` INT,
  PRIMARY KEY (`id`),
  UNIQUE KEY `unique_name_per_rule_chain` (`name`, `ruleChainId`),
  CONSTRAINT `RuleChainNode_ibfk_1` FOREIGN KEY (`ruleChainId`) REFERENCES `RuleChain` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `RuleChainNode_ibfk_2` FOREIGN KEY (`nextNodeId`) REFERENCES `RuleChainNode` (`id`) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Notification` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `title` VARCHAR(250),
  `insight` TEXT,
  `userGroup` TEXT,
  `severity` VARCHAR(50),
  `organizationId` BIGINT,
  PRIMARY KEY (`id`),
  CONSTRAINT `Notification_ibfk_1` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `Ticket` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `createdAt` DATETIME,
  `notificationId` BIGINT,
  `assignedTo` BIGINT,
  `comment` TEXT,
  `assignedAt` DATETIME,
  `acknowledgedAt` DATETIME,
  PRIMARY KEY (`id`),
  CONSTRAINT `Ticket_ibfk_1` FOREIGN KEY (`notificationId`) REFERENCES `Notification` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT `Ticket_ibfk_2` FOREIGN KEY (`assignedTo`) REFERENCES `User` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS `PaymentCard` (
  `id` BIGINT NOT NULL AUTO_INCREMENT,
  `organizationId` BIGINT,
  `name` VARCHAR(50),
  `cardNumber` VARCHAR(50),
  `cvv` VARCHAR(10),
  `zip` VARCHAR(10),
  `expiry` DATETIME,
  PRIMARY KEY (`id`),
  CONSTRAINT `PaymentCard_ibfk_1` FOREIGN KEY (`organizationId`) REFERENCES `Organization` (`id`) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

