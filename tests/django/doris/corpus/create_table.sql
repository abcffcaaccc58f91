-- docs/sql-manual/sql-statements/table-and-view/table/CREATE-TABLE.md

CREATE TABLE t (id INT) DISTRIBUTED BY HASH (id) BUCKETS 1 PROPERTIES ("replication_num" = "1");

CREATE TABLE IF NOT EXISTS mark (id INT) DISTRIBUTED BY HASH (id) BUCKETS 1 PROPERTIES ('replication_num' = '1');

CREATE TABLE `doris_steps_sum` (
`id` BIGINT NOT NULL,
`n` INT SUM NOT NULL
)
AGGREGATE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_schema_seen` (
`id` BIGINT NOT NULL
)
UNIQUE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS AUTO
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE values_of (kind VARCHAR(20) NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (kind, id)
AUTO PARTITION BY LIST (kind) () DISTRIBUTED BY HASH (id) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_tests_event` (
`name` VARCHAR(200) NOT NULL,
`id` BIGINT NOT NULL,
`value` INT NOT NULL
)
DUPLICATE KEY (`name`, `id`)
DISTRIBUTED BY RANDOM BUCKETS 2
PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_schema_large` (
`id` BIGINT NOT NULL,
`n` LARGEINT NULL
)
UNIQUE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE automatic (at DATETIME(6) NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (at, id)
AUTO PARTITION BY RANGE (date_trunc(at, 'month')) () DISTRIBUTED BY HASH (id) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE arrays (id BIGINT NOT NULL, tags ARRAY<VARCHAR(40)> NULL, grid ARRAY<ARRAY<INT>> NULL,
prices ARRAY<DECIMAL(9, 2)> NULL) UNIQUE KEY (id) DISTRIBUTED BY HASH (id) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_schema_documents` (
`id` BIGINT NOT NULL,
`document` VARIANT NULL
)
UNIQUE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE sums (id BIGINT NOT NULL, n BIGINT SUM NOT NULL DEFAULT "0", top INT MAX NULL,
note VARCHAR(80) REPLACE_IF_NOT_NULL NULL) AGGREGATE KEY (id) DISTRIBUTED BY HASH (id) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE lists (city VARCHAR(20) NOT NULL, n INT NULL) DUPLICATE KEY (city)
PARTITION BY LIST (city) (PARTITION a VALUES IN ("x", "y"), PARTITION b VALUES IN ("z"))
DISTRIBUTED BY RANDOM BUCKETS 2 PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_tests_topic` (
`id` bigint NOT NULL
) ENGINE=OLAP
UNIQUE KEY(`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS AUTO
PROPERTIES (
"replication_allocation" = "tag.location.default: 1",
"enable_unique_key_merge_on_write" = "true"
);

CREATE TABLE `doris_tests_daily` (
`day` DATE NOT NULL,
`id` BIGINT NOT NULL,
`value` INT NOT NULL
)
UNIQUE KEY (`day`, `id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE `doris_tests_event` (
`name` varchar(200) NOT NULL,
`id` bigint NOT NULL,
`value` int NOT NULL
) ENGINE=OLAP
DUPLICATE KEY(`name`, `id`)
DISTRIBUTED BY RANDOM BUCKETS 2
PROPERTIES (
"replication_allocation" = "tag.location.default: 1"
);

CREATE TABLE `doris_steps_item` (
`id` BIGINT NOT NULL,
`text` STRING NOT NULL,
`name` VARCHAR(40) NOT NULL,
`n` INT NOT NULL
)
UNIQUE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE `doris_tests_reading` (
`sensor` INT NOT NULL,
`at` DATETIME(6) NOT NULL,
`value` DOUBLE NOT NULL
)
UNIQUE KEY (`sensor`, `at`)
DISTRIBUTED BY HASH(`sensor`, `at`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE `doris_schema_day` (
`day` DATE NOT NULL,
`id` BIGINT NOT NULL
)
UNIQUE KEY (`day`, `id`)
PARTITION BY RANGE(`day`) (PARTITION `p` VALUES [("2026-01-01"), ("2027-01-01")))
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE `doris_tests_dailycost` (
`day` DATE NOT NULL,
`agent` VARCHAR(80) NOT NULL,
`tokens` BIGINT SUM NOT NULL,
`slowest` DOUBLE MAX NOT NULL,
`last` DATETIME(6) REPLACE_IF_NOT_NULL NULL
)
AGGREGATE KEY (`day`, `agent`)
DISTRIBUTED BY HASH(`agent`) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE ranges (day DATE NOT NULL, id BIGINT NOT NULL, seq INT NULL) UNIQUE KEY (day, id)
PARTITION BY RANGE (day) (PARTITION p1 VALUES [("2026-01-01"), ("2026-02-01")),
PARTITION p2 VALUES [("2026-02-01"), ("2026-03-01")))
DISTRIBUTED BY HASH (id) BUCKETS 1
PROPERTIES ("replication_num" = "1", "function_column.sequence_col" = "seq");

CREATE TABLE `doris_tests_dailycost` (
`day` date NOT NULL,
`agent` varchar(80) NOT NULL,
`tokens` bigint SUM NOT NULL,
`slowest` double MAX NOT NULL,
`last` datetime(6) REPLACE_IF_NOT_NULL NULL
) ENGINE=OLAP
AGGREGATE KEY(`day`, `agent`)
DISTRIBUTED BY HASH(`agent`) BUCKETS 1
PROPERTIES (
"replication_allocation" = "tag.location.default: 1"
);

CREATE TABLE rolling (day DATE NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (day, id)
PARTITION BY RANGE (day) () DISTRIBUTED BY HASH (id) BUCKETS 1 PROPERTIES ("replication_num" = "1",
"dynamic_partition.enable" = "true", "dynamic_partition.time_unit" = "DAY",
"dynamic_partition.start" = "-7", "dynamic_partition.end" = "3", "dynamic_partition.prefix" = "p");

CREATE TABLE `doris_schema_usage` (
`day` DATE NOT NULL,
`agent` VARCHAR(80) NOT NULL,
`tokens` BIGINT SUM NOT NULL,
`slowest` DOUBLE MAX NULL,
`first` DATETIME(6) MIN NULL,
`last` DATETIME(6) REPLACE NULL,
`note` VARCHAR(80) REPLACE_IF_NOT_NULL NULL
)
AGGREGATE KEY (`day`, `agent`)
DISTRIBUTED BY HASH(`day`, `agent`) BUCKETS 1
PROPERTIES ("replication_num" = "1");

CREATE TABLE `doris_schema_everywhere` (
`day` DATE NOT NULL,
`id` BIGINT NOT NULL,
`flag` BOOLEAN NOT NULL,
`name` VARCHAR(80) NOT NULL,
INDEX `words` (`name`) USING INVERTED PROPERTIES ("parser" = "english")
)
UNIQUE KEY (`day`, `id`)
COMMENT 'of all releases'
AUTO PARTITION BY RANGE(date_trunc(`day`, 'day')) ()
DISTRIBUTED BY HASH(`id`) BUCKETS AUTO
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1", "bloom_filter_columns" = "id");

CREATE TABLE plain (id BIGINT NOT NULL, name VARCHAR(80) NOT NULL COMMENT 'it''s', big LARGEINT NULL,
at DATETIME(3) NULL, seen DATETIME NULL, exact DATETIME(6) NULL, doc JSON NULL, price DECIMAL(9, 2) NULL,
INDEX words (name) USING INVERTED PROPERTIES("parser" = "english", "support_phrase" = "true") COMMENT 'x',
INDEX pieces (name) USING NGRAM_BF PROPERTIES("gram_size" = "3", "bf_size" = "1024"))
UNIQUE KEY (id) COMMENT 'a table' DISTRIBUTED BY HASH (id) BUCKETS 3
PROPERTIES ("replication_num" = "1", "bloom_filter_columns" = "id");

CREATE TABLE `doris_tests_everything` (
`id` BIGINT NOT NULL,
`flag` BOOLEAN NOT NULL,
`maybe` BOOLEAN NULL,
`name` VARCHAR(80) NOT NULL,
`unlimited` STRING NOT NULL,
`text` STRING NOT NULL,
`slug` VARCHAR(200) NOT NULL,
`small` SMALLINT NOT NULL,
`number` INT NOT NULL,
`big` BIGINT NOT NULL,
`positive` BIGINT NOT NULL,
`real` DOUBLE NOT NULL,
`price` DECIMAL(38, 9) NOT NULL,
`day` DATE NULL,
`at` DATETIME(6) NULL,
`clock` VARCHAR(15) NULL,
`lasted` BIGINT NULL,
`key` VARCHAR(32) NOT NULL,
`address` VARCHAR(39) NULL,
`document` JSON NULL
)
UNIQUE KEY (`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "1");

CREATE TABLE `doris_tests_everything` (
`id` bigint NOT NULL,
`flag` boolean NOT NULL,
`maybe` boolean NULL,
`name` varchar(80) NOT NULL,
`unlimited` text NOT NULL,
`text` text NOT NULL,
`slug` varchar(200) NOT NULL,
`small` smallint NOT NULL,
`number` int NOT NULL,
`big` bigint NOT NULL,
`positive` bigint NOT NULL,
`real` double NOT NULL,
`price` decimal(38,9) NOT NULL,
`day` date NULL,
`at` datetime(6) NULL,
`clock` varchar(15) NULL,
`lasted` bigint NULL,
`key` varchar(32) NOT NULL,
`address` varchar(39) NULL,
`document` json NULL
) ENGINE=OLAP
UNIQUE KEY(`id`)
DISTRIBUTED BY HASH(`id`) BUCKETS 1
PROPERTIES (
"replication_allocation" = "tag.location.default: 1",
"enable_unique_key_merge_on_write" = "true"
);

CREATE TABLE django_ixn_test_table (id INTEGER);

CREATE TABLE i_love_ponies (id int, special_thing int);
