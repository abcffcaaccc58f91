-- docs/sql-manual/sql-statements/table-and-view/index/DROP-INDEX.md

DROP INDEX `words` ON `doris_steps_item`;
