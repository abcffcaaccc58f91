-- docs/sql-manual/sql-statements/table-and-view/table/SHOW-TABLES.md

SHOW TABLES;

SHOW FULL TABLES FROM `test`;
