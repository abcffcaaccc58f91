-- docs/sql-manual/sql-statements/table-and-view/view/DROP-VIEW.md

DROP VIEW seen;
