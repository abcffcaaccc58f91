-- docs/sql-manual/sql-statements/table-and-view/table/CANCEL-ALTER-TABLE.md

CANCEL ALTER TABLE COLUMN FROM doris_steps_thing;
