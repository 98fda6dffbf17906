CREATE TABLE `alembic_version` (
  `version_num` varchar(32) NOT NULL,
  PRIMARY KEY (`version_num`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `calls` (
  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `uuid` varbinary(16) NOT NULL,
  `day` date NOT NULL,
  `revision` int(11) NOT NULL,
  `method` varchar(16) NOT NULL DEFAULT 'INVITE',
  `call_id` varchar(255) NOT NULL,
  `sensor` varchar(255) NOT NULL,
  `site` varchar(255) NOT NULL,
  `caller` varchar(255) NOT NULL,
  `callee` varchar(255) NOT NULL,
  `caller_domain` varchar(255) NOT NULL,
  `callee_domain` varchar(255) NOT NULL,
  `end_reason` varchar(255) NOT NULL,
  `hung_up_by` varchar(255) NOT NULL,
  `setup_time` bigint(20) NOT NULL,
  `answer_time` bigint(20) NOT NULL,
  `end_time` bigint(20) NOT NULL,
  `duration` float NOT NULL,
  `connect_duration` float NOT NULL,
  `final_response` int(11) NOT NULL,
  `one_way` int(11) NOT NULL,
  `partial` int(11) NOT NULL,
  `caller_lost` int(11) DEFAULT NULL,
  `caller_mos` float DEFAULT NULL,
  `callee_lost` int(11) DEFAULT NULL,
  `callee_mos` float DEFAULT NULL,
  `origin` varbinary(16) NOT NULL DEFAULT '',
  `body` longblob NOT NULL,
  PRIMARY KEY (`id`,`day`),
  UNIQUE KEY `calls_uuid` (`uuid`,`day`),
  KEY `calls_caller` (`caller`,`setup_time`),
  KEY `calls_call_id` (`call_id`),
  KEY `calls_setup_time` (`setup_time`),
  KEY `calls_callee` (`callee`,`setup_time`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `cdr_quarantine` (
  `uuid` varbinary(16) NOT NULL,
  `revision` int(11) NOT NULL,
  `sensor_uuid` varbinary(16) NOT NULL,
  `received` bigint(20) NOT NULL,
  `error` varchar(1000) NOT NULL,
  `body` longblob NOT NULL,
  PRIMARY KEY (`uuid`,`revision`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `endpoints` (
  `address` varchar(64) NOT NULL,
  `first` bigint(20) NOT NULL,
  `uuid` varbinary(16) NOT NULL,
  `last` bigint(20) NOT NULL,
  `streams` int(11) NOT NULL,
  PRIMARY KEY (`address`,`first`,`uuid`),
  KEY `endpoints_uuid` (`uuid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `gaps` (
  `uuid` varbinary(16) NOT NULL,
  `sensor_uuid` varbinary(16) NOT NULL,
  `from_seq` bigint(20) NOT NULL,
  `to_seq` bigint(20) NOT NULL,
  `count` bigint(20) NOT NULL,
  `reason` varchar(255) NOT NULL,
  `at` bigint(20) NOT NULL,
  PRIMARY KEY (`uuid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `joins` (
  `call` varbinary(16) NOT NULL,
  `part` varbinary(16) NOT NULL,
  PRIMARY KEY (`call`,`part`),
  KEY `joins_part` (`part`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `link_cursor` (
  `sensor_uuid` varbinary(16) NOT NULL,
  `epoch` varbinary(16) NOT NULL,
  `last_seq` bigint(20) NOT NULL,
  `last_uuid` varbinary(16) NOT NULL,
  PRIMARY KEY (`sensor_uuid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `meta` (
  `name` varchar(64) NOT NULL,
  `value` varbinary(64) NOT NULL,
  PRIMARY KEY (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `parts` (
  `uuid` varbinary(16) NOT NULL,
  `revision` int(11) NOT NULL,
  `origin` varbinary(16) NOT NULL,
  `body` longblob NOT NULL,
  PRIMARY KEY (`uuid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
CREATE TABLE `sensors` (
  `uuid` varbinary(16) NOT NULL,
  `name` varchar(255) NOT NULL,
  `key` varchar(255) NOT NULL,
  `address` varchar(255) NOT NULL,
  `site` varchar(255) NOT NULL,
  `version` varchar(64) NOT NULL,
  `mode` varchar(255) NOT NULL,
  `sensor_id` int(11) NOT NULL,
  `started` bigint(20) NOT NULL,
  `last_seen` bigint(20) NOT NULL,
  `last_probe` bigint(20) NOT NULL,
  `counters` text NOT NULL,
  PRIMARY KEY (`uuid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
