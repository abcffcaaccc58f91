-- docs/sql-manual/sql-statements/data-query/EXPLAIN.md

EXPLAIN SELECT `doris_tests_visit`.`id`, `doris_tests_visit`.`page`, `doris_tests_visit`.`count`, `doris_tests_visit`.`at` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`page` = 'a' ORDER BY `doris_tests_visit`.`count` ASC;
