-- docs/sql-manual/sql-statements/table-and-view/table/SHOW-PARTITIONS.md

SHOW PARTITIONS FROM doris_schema_day;
