-- docs/sql-manual/sql-statements/table-and-view/view/CREATE-VIEW.md

CREATE VIEW looks AS SELECT id, name FROM plain;
