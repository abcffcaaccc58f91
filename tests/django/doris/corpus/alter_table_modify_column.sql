-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-COLUMN.md

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `n` BIGINT NULL;

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `m` BIGINT NOT NULL;

ALTER TABLE `doris_steps_sum` MODIFY COLUMN `n` BIGINT SUM NOT NULL;

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `name` VARCHAR(40) NULL;

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `name` VARCHAR(120) NOT NULL;

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `name` COMMENT 'what it\'s called';

ALTER TABLE `doris_steps_thing` MODIFY COLUMN `size` BIGINT NOT NULL DEFAULT '7';

ALTER TABLE `schema_note` MODIFY COLUMN `info` STRING NULL;

ALTER TABLE `test_alfl_pony` MODIFY COLUMN `pink` INT NULL;
