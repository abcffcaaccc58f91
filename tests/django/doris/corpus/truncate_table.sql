-- docs/sql-manual/sql-statements/table-and-view/table/TRUNCATE-TABLE.md

TRUNCATE TABLE `doris_tests_event`;

TRUNCATE TABLE `doris_steps_part` PARTITION(`p1`);
