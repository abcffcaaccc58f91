-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-COLUMN.md

ALTER TABLE doris_schema_day ADD COLUMN n INT NULL;

ALTER TABLE `doris_steps_thing` ADD COLUMN `note` STRING NULL;

ALTER TABLE `doris_steps_thing` ADD COLUMN `size` INT NOT NULL DEFAULT '7';

ALTER TABLE `doris_steps_sum` ADD COLUMN `top` INT MAX NOT NULL DEFAULT '0';

ALTER TABLE `doris_steps_thing` ADD COLUMN `on` BOOLEAN NOT NULL DEFAULT '1';

ALTER TABLE `doris_steps_thing` ADD COLUMN `label` VARCHAR(20) NOT NULL DEFAULT 'it\'s';

ALTER TABLE `doris_steps_thing` ADD COLUMN `price` DECIMAL(9, 2) NOT NULL DEFAULT '1.50';
