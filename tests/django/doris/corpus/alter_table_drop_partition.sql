-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-PARTITION.md

ALTER TABLE `doris_steps_part` DROP PARTITION `p1`;
