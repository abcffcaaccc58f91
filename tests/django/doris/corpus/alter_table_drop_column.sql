-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-COLUMN.md

ALTER TABLE `doris_steps_thing` DROP COLUMN `number`;
