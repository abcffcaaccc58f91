-- docs/sql-manual/sql-statements/table-and-view/view/SHOW-CREATE-VIEW.md

SHOW CREATE VIEW `test`.`seen`;
