-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-COLUMN.md

ALTER TABLE doris_schema_day ADD COLUMN n INT NULL;

ALTER TABLE `doris_steps_thing` ADD COLUMN `note` STRING NULL;

ALTER TABLE `doris_steps_thing` ADD COLUMN `size` INT NOT NULL DEFAULT '7';

ALTER TABLE `doris_steps_sum` ADD COLUMN `top` INT MAX NOT NULL DEFAULT '0';

ALTER TABLE `doris_steps_thing` ADD COLUMN `on` BOOLEAN NOT NULL DEFAULT '1';

ALTER TABLE `doris_steps_thing` ADD COLUMN `label` VARCHAR(20) NOT NULL DEFAULT 'it\'s';

ALTER TABLE `doris_steps_thing` ADD COLUMN `price` DECIMAL(9, 2) NOT NULL DEFAULT '1.50';

ALTER TABLE `schema_author` ADD COLUMN `note_id` BIGINT NULL;

ALTER TABLE `schema_author` ADD COLUMN `surname` VARCHAR(60) NULL DEFAULT 'surname';

ALTER TABLE `schema_author` ADD COLUMN `dob_auto_now` DATE NOT NULL DEFAULT '2000-01-01';

ALTER TABLE `schema_author` ADD COLUMN `dtob_auto_now` DATETIME(6) NOT NULL DEFAULT '2000-01-01 01:01:00';

ALTER TABLE `schema_author` ADD COLUMN `name_with_comment_default` VARCHAR(1020) NOT NULL DEFAULT 'Joe Doe' COMMENT 'Custom comment with default';

ALTER TABLE `test_adfl_pony` ADD COLUMN `height` DOUBLE NULL DEFAULT '5.0';
