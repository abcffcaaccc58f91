-- docs/sql-manual/sql-statements/data-query/EXPLAIN.md

EXPLAIN SELECT `doris_tests_visit`.`id`, `doris_tests_visit`.`page`, `doris_tests_visit`.`count`, `doris_tests_visit`.`at` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`page` = 'a' ORDER BY `doris_tests_visit`.`count` ASC;

EXPLAIN SELECT `queries_tag`.`name` AS `name` FROM `queries_tag` WHERE `queries_tag`.`name` = 'test' ORDER BY 1 ASC;

EXPLAIN SELECT `queries_tag`.`id`, `queries_tag`.`name`, `queries_tag`.`parent_id`, `queries_tag`.`category_id`, T2.`id`, T2.`name`, T2.`parent_id`, T2.`category_id` FROM `queries_tag` LEFT OUTER JOIN `queries_tag` T2 ON (`queries_tag`.`parent_id` = T2.`id`) WHERE `queries_tag`.`name` = 'test' ORDER BY `queries_tag`.`name` ASC;

EXPLAIN (SELECT `queries_tag`.`id` AS `col1`, `queries_tag`.`name` AS `col2`, `queries_tag`.`parent_id` AS `col3`, `queries_tag`.`category_id` AS `col4` FROM `queries_tag`) UNION (SELECT `queries_tag`.`id` AS `col1`, `queries_tag`.`name` AS `col2`, `queries_tag`.`parent_id` AS `col3`, `queries_tag`.`category_id` AS `col4` FROM `queries_tag` WHERE `queries_tag`.`name` = 'test');

EXPLAIN SELECT `queries_tag`.`id`, `queries_tag`.`name`, `queries_tag`.`parent_id`, `queries_tag`.`category_id`, COUNT(T2.`id`) AS `children__count` FROM `queries_tag` LEFT OUTER JOIN `queries_tag` T2 ON (`queries_tag`.`id` = T2.`parent_id`) WHERE `queries_tag`.`name` = 'test' GROUP BY `queries_tag`.`id`, `queries_tag`.`name`, `queries_tag`.`parent_id`, `queries_tag`.`category_id`;
