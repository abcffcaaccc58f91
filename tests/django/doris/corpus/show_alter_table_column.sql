-- docs/sql-manual/sql-statements/table-and-view/table/SHOW-ALTER-TABLE.md

SHOW ALTER TABLE COLUMN WHERE TableName = 'doris_steps_sum';
