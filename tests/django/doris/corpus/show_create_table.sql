-- docs/sql-manual/sql-statements/table-and-view/table/SHOW-CREATE-TABLE.md

SHOW CREATE TABLE `sums`;
