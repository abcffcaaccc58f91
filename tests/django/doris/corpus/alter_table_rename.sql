-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-RENAME.md

ALTER TABLE `doris_steps_thing` RENAME `doris_steps_item`;
