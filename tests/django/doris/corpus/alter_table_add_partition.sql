-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-PARTITION.md

ALTER TABLE `doris_steps_part` ADD PARTITION `p1` VALUES [("2026-01-01"), ("2026-02-01"));
