-- docs/sql-manual/sql-statements/data-query/SELECT.md

SELECT 1;

SELECT DATABASE();

SELECT @@time_zone;

SELECT id FROM seen;

SELECT COUNT(*) FROM mark;

SELECT COUNT(*) AS `__count` FROM `doris_steps_part`;

SELECT `doris_tests_visit`.`id` AS `pk` FROM `doris_tests_visit`;

(SELECT 'doris_schema_thing' AS name FROM `doris_schema_thing` LIMIT 1);

SELECT SUM(`doris_tests_daily`.`value`) AS `value__sum` FROM `doris_tests_daily`;

SELECT `doris_steps_part`.`id`, `doris_steps_part`.`day` FROM `doris_steps_part`;

SELECT AVG(`doris_tests_everything`.`price`) AS `a` FROM `doris_tests_everything`;

SELECT COUNT(*) AS `__count` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`count` = 2;

SELECT `doris_schema_cut`.`id` FROM `doris_schema_cut` WHERE `doris_schema_cut`.`id` IN (1);

SELECT COUNT(*) AS `__count` FROM `doris_steps_thing` WHERE `doris_steps_thing`.`name` IS NULL;

SELECT 1 AS `a` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 1 LIMIT 1;

SELECT `doris_tests_visit`.`id` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`id` IN (5, 6);

SELECT COUNT(*) AS `__count` FROM `doris_tests_visit` WHERE NOT (`doris_tests_visit`.`page` = 'a');

SELECT `doris_tests_visit`.`id` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`id` IN (5) LIMIT 10001;

SELECT COUNT(*) FROM `doris_tests_daily` WHERE `doris_tests_daily`.`id` = 1 AND NOT (`day` <=> '2026-01-01');

SELECT `doris_tests_visit`.`count` AS `count` FROM `doris_tests_visit` ORDER BY `doris_tests_visit`.`page` ASC;

SELECT COUNT(*) AS `__count` FROM `doris_tests_kept` WHERE `doris_tests_kept`.`at` < '2026-11-18 22:14:19.688875';

SELECT COUNT(*) AS `__count` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`at` >= '2026-11-21 22:13:39.273664';

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE `doris_schema_arrays`.`numbers` IS NOT NULL;

SELECT COUNT(*) AS `__count` FROM `doris_schema_large` WHERE `doris_schema_large`.`n` > 1267650600228229401496703205376;

SELECT COUNT(*) FROM (SELECT DISTINCT `doris_tests_everything`.`flag` AS `flag` FROM `doris_tests_everything`) subquery;

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE ARRAY_SIZE(`doris_schema_arrays`.`numbers`) = 1;

SELECT `doris_schema_large`.`id`, `doris_schema_large`.`n` FROM `doris_schema_large` ORDER BY `doris_schema_large`.`n` DESC;

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE ARRAY_CONTAINS(`doris_schema_arrays`.`numbers`, 3);

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE ELEMENT_AT(`doris_schema_arrays`.`numbers`, 1) = 3;

SELECT table_name, table_type, table_comment FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name;

SELECT COUNT(*) AS `__count` FROM `doris_tests_event` WHERE (`doris_tests_event`.`name` = 'a' OR `doris_tests_event`.`value` = 1);

SELECT COUNT(*) AS `__count` FROM `doris_tests_event` WHERE (`doris_tests_event`.`name` = 'b' AND `doris_tests_event`.`value` >= 2);

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`name` LIKE 'Al%';

SELECT COUNT(CASE WHEN `doris_tests_event`.`value` < 5 THEN `doris_tests_event`.`id` ELSE NULL END) AS `odd` FROM `doris_tests_event`;

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`name` REGEXP '^A.*a$';

SELECT SUM(`doris_tests_event`.`value`) AS `value__sum`, COUNT(DISTINCT `doris_tests_event`.`id`) AS `id__count` FROM `doris_tests_event`;

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE DATE_FORMAT(`doris_tests_everything`.`at`, '%H:%i:%s.%f') = '23:30:15.250000';

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`price` > (`doris_tests_everything`.`number` * 0.02);

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE LOWER(`doris_tests_everything`.`name`) = LOWER('50%');

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE LOWER(`doris_tests_everything`.`name`) LIKE LOWER('aL%');

SELECT COUNT(*) AS `__count` FROM `doris_tests_event` WHERE `doris_tests_event`.`name` IN (SELECT U0.`page` AS `page` FROM `doris_tests_visit` U0);

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE (`doris_tests_everything`.`day` IS NULL AND `doris_tests_everything`.`name` = '');

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE LOWER(`doris_tests_everything`.`name`) = LOWER((`doris_tests_everything`.`name`));

(SELECT 'doris_tests_note' AS name FROM `doris_tests_note` LIMIT 1) UNION ALL (SELECT 'doris_tests_visit' AS name FROM `doris_tests_visit` LIMIT 1);

SELECT MAX(`doris_tests_everything`.`price`) AS `price__max`, AVG(`doris_tests_everything`.`number`) AS `number__avg` FROM `doris_tests_everything`;

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE ARRAYS_OVERLAP(`doris_schema_arrays`.`numbers`, CAST([2, 9] AS ARRAY<INT>));

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE (`doris_tests_everything`.`number` = 1 OR NOT (`doris_tests_everything`.`number` < 3));

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`name` REGEXP CONCAT('(?i)', '^a.*a$');

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE JSON_TYPE(`doris_tests_everything`.`document`, '$.\"n\"') = 'null';

SELECT `doris_tests_visit`.`page` AS `page`, `doris_tests_visit`.`count` AS `count` FROM `doris_tests_visit` WHERE `doris_tests_visit`.`id` BETWEEN 2 AND 3;

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE CAST(CONVERT_TZ(`doris_tests_everything`.`at`, 'UTC', 'Europe/Berlin') AS DATE) = '2026-01-01';

SELECT `doris_schema_documents`.`id`, `doris_schema_documents`.`document` FROM `doris_schema_documents` WHERE `doris_schema_documents`.`document` IS NULL LIMIT 21;

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE COALESCE(JSON_EXISTS_PATH(`doris_tests_everything`.`document`, '$.\"1\"'), FALSE);

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE NOT COALESCE(JSON_EXISTS_PATH(`doris_tests_everything`.`document`, '$.\"n\"'), FALSE);

SELECT DISTINCT DATE_TRUNC(`doris_tests_everything`.`at`, 'year') AS `datetimefield` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`at` IS NOT NULL ORDER BY 1 ASC;

SELECT `doris_tests_event`.`name` AS `name`, COUNT(`doris_tests_event`.`id`) AS `n`, SUM(`doris_tests_event`.`value`) AS `total` FROM `doris_tests_event` GROUP BY 1 ORDER BY 1 ASC;

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE (ARRAY_CONTAINS(`doris_schema_arrays`.`numbers`, 3) AND ARRAY_CONTAINS(`doris_schema_arrays`.`numbers`, 1));

SELECT JSON_EXTRACT(`doris_tests_everything`.`document`, '$.\"deep\".\"list\"') AS `document__deep__list` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 0 LIMIT 21;

SELECT DISTINCT CAST(DATE_TRUNC(`doris_tests_everything`.`day`, 'week') AS DATE) AS `datefield` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`day` IS NOT NULL ORDER BY 1 ASC;

SELECT column_name, column_type, is_nullable, column_default, column_comment FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'looks' ORDER BY ordinal_position;

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`name` LIKE CONCAT('%', REPLACE(REPLACE(REPLACE((`doris_tests_everything`.`name`), '\\', '\\\\'), '%', '\\%'), '_', '\\_'));

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (JSON_TYPE(`doris_tests_everything`.`document`, '$.\"b\"') = 'bool' AND JSON_EXTRACT_BOOL(`doris_tests_everything`.`document`, '$.\"b\"') = 1);

SELECT SUM(CASE WHEN `doris_tests_visit`.`page` = 'a' THEN `doris_tests_visit`.`count` ELSE 0 END) AS `a`, SUM(CASE WHEN `doris_tests_visit`.`page` = 'b' THEN `doris_tests_visit`.`count` ELSE NULL END) AS `b` FROM `doris_tests_visit`;

SELECT `doris_tests_visit`.`page` AS `page`, (EXISTS(SELECT 1 AS `a` FROM `doris_tests_note` U0 WHERE (U0.`visit_id` = (`doris_tests_visit`.`id`) AND U0.`text` = 'w') LIMIT 1)) AS `has` FROM `doris_tests_visit` ORDER BY 1 ASC LIMIT 1;

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (JSON_TYPE(`doris_tests_everything`.`document`, '$.\"a\"') = 'string' AND JSON_EXTRACT_STRING(`doris_tests_everything`.`document`, '$.\"a\"') = '1');

SELECT `doris_tests_topic`.`id` FROM `doris_tests_topic` INNER JOIN `doris_tests_topic_subjects` ON (`doris_tests_topic`.`id` = `doris_tests_topic_subjects`.`topic_id`) WHERE `doris_tests_topic_subjects`.`subject_id` = 306124800077309760;

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE IF(JSON_TYPE(`doris_tests_everything`.`document`, '$.\"s\"') = 'null', NULL, JSON_EXTRACT_STRING(`doris_tests_everything`.`document`, '$.\"s\"')) LIKE 'one%';

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE IF(JSON_TYPE(`doris_tests_everything`.`document`, '$.\"s\"') = 'null', NULL, JSON_EXTRACT_STRING(`doris_tests_everything`.`document`, '$.\"s\"')) REGEXP '^ONE';

SELECT COUNT(*) AS `__count` FROM `doris_tests_reading` WHERE ((`doris_tests_reading`.`sensor` = 1 AND `doris_tests_reading`.`at` = '2026-01-01 00:00:00') OR (`doris_tests_reading`.`sensor` = 2 AND `doris_tests_reading`.`at` = '2026-01-02 00:00:00'));

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE (QUARTER(`doris_tests_everything`.`at`) = 4 AND SECOND(`doris_tests_everything`.`at`) = 15 AND `doris_tests_everything`.`at` BETWEEN '2025-01-01 00:00:00' AND '2025-12-31 23:59:59.999999');

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (COALESCE(JSON_EXISTS_PATH(`doris_tests_everything`.`document`, '$.\"n\"'), FALSE) OR COALESCE(JSON_EXISTS_PATH(`doris_tests_everything`.`document`, '$.\"1\"'), FALSE));

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (JSON_TYPE(`doris_tests_everything`.`document`, '$.\"a\"') IN ('int', 'bigint') AND JSON_EXTRACT_BIGINT(`doris_tests_everything`.`document`, '$.\"a\"') = 1152921504606846976);

SELECT 1 AS `a` FROM `doris_tests_everything` WHERE (`doris_tests_everything`.`at` = '0337-04-10 02:37:13.000005' AND `doris_tests_everything`.`big` = -14176 AND `doris_tests_everything`.`name` = '¢' AND `doris_tests_everything`.`id` = 306124656464340800) LIMIT 1;

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (JSON_TYPE(`doris_tests_everything`.`document`, '$.\"a\"') IN ('int', 'bigint', 'largeint', 'double') AND JSON_EXTRACT_DOUBLE(`doris_tests_everything`.`document`, '$.\"a\"') = 1);

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE (CAST(SUBSTR(`doris_tests_everything`.`clock`, 1, 2) AS INT) = 13 AND CAST(SUBSTR(`doris_tests_everything`.`clock`, 4, 2) AS INT) = 14 AND CAST(SUBSTR(`doris_tests_everything`.`clock`, 7, 2) AS INT) = 15);

SELECT `doris_tests_everything`.`number` AS `number` FROM `doris_tests_everything` WHERE (JSON_TYPE(`doris_tests_everything`.`document`, '$.\"d\"') IN ('int', 'bigint', 'largeint', 'double') AND JSON_EXTRACT_DOUBLE(`doris_tests_everything`.`document`, '$.\"d\"') <= 1.5e0);

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE ((WEEKDAY(`doris_tests_everything`.`day`) + 1) = 1 AND `doris_tests_everything`.`day` BETWEEN '2024-12-30' AND '2025-12-28' AND WEEK(`doris_tests_everything`.`day`, 3) = 1 AND DAYOFWEEK(`doris_tests_everything`.`day`) = 2);

SELECT `doris_tests_visit`.`id`, `doris_tests_visit`.`page`, `doris_tests_visit`.`count`, `doris_tests_visit`.`at`, COUNT(`doris_tests_note`.`id`) AS `n` FROM `doris_tests_visit` LEFT OUTER JOIN `doris_tests_note` ON (`doris_tests_visit`.`id` = `doris_tests_note`.`visit_id`) GROUP BY `doris_tests_visit`.`id`, `doris_tests_visit`.`page`, `doris_tests_visit`.`count`, `doris_tests_visit`.`at` LIMIT 21;

SELECT COUNT(*) AS `__count` FROM `doris_tests_everything` WHERE (DAY(CONVERT_TZ(`doris_tests_everything`.`at`, 'UTC', 'Europe/Berlin')) = 1 AND HOUR(CONVERT_TZ(`doris_tests_everything`.`at`, 'UTC', 'Europe/Berlin')) = 0 AND MINUTE(CONVERT_TZ(`doris_tests_everything`.`at`, 'UTC', 'Europe/Berlin')) = 30 AND MONTH(CONVERT_TZ(`doris_tests_everything`.`at`, 'UTC', 'Europe/Berlin')) = 1 AND `doris_tests_everything`.`at` BETWEEN '2025-12-31 23:00:00' AND '2026-12-31 22:59:59.999999');

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, NOW(6) AS `n` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document` FROM `doris_tests_everything` ORDER BY `doris_tests_everything`.`number` DESC LIMIT 2 OFFSET 1;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document` FROM `doris_tests_everything` WHERE (`doris_tests_everything`.`number` >= 2 XOR `doris_tests_everything`.`small` = 1);

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document` FROM `doris_tests_everything` ORDER BY `doris_tests_everything`.`day` DESC, `doris_tests_everything`.`number` DESC LIMIT 1;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, MICROSECONDS_DIFF(`doris_tests_everything`.`at`, `doris_tests_everything`.`at`) AS `back` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document` FROM `doris_tests_everything` ORDER BY `doris_tests_everything`.`day` ASC NULLS LAST, `doris_tests_everything`.`number` ASC LIMIT 1;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, (POW(`doris_tests_everything`.`number`, 2)) AS `p` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 7 LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, (CAST(`doris_tests_everything`.`price` AS DECIMAL(20, 6)) / 3) AS `share` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 1 LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, JSON_OBJECT('number', `doris_tests_everything`.`number`, 'name', 'x') AS `o` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 1 LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, LEFT(CAST(`doris_tests_everything`.`name` AS STRING), 5) AS `short`, SHA2(`doris_tests_everything`.`name`, 256) AS `digest` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, (BITXOR(`doris_tests_everything`.`number`, 2)) AS `x`, (BITAND(`doris_tests_everything`.`number`, 3)) AS `a` FROM `doris_tests_everything` WHERE `doris_tests_everything`.`number` = 7 LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, (MICROSECONDS_ADD(`doris_tests_everything`.`at`, `doris_tests_everything`.`lasted`)) AS `end`, (MICROSECONDS_ADD(`doris_tests_everything`.`at`, 5)) AS `soon` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, YEAR(DATE_ADD(DATE_TRUNC(`doris_tests_everything`.`day`, 'week'), INTERVAL 3 DAY)) AS `y`, WEEK(`doris_tests_everything`.`day`, 3) AS `w`, DAYOFWEEK(`doris_tests_everything`.`day`) AS `d` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, CHAR_LENGTH(`doris_tests_everything`.`name`) AS `length`, CONCAT_WS('', `doris_tests_everything`.`name`, CONCAT_WS('', '-', `doris_tests_everything`.`name`)) AS `both`, CAST(`doris_tests_everything`.`number` AS STRING) AS `digits` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_tests_everything`.`id`, `doris_tests_everything`.`flag`, `doris_tests_everything`.`maybe`, `doris_tests_everything`.`name`, `doris_tests_everything`.`unlimited`, `doris_tests_everything`.`text`, `doris_tests_everything`.`slug`, `doris_tests_everything`.`small`, `doris_tests_everything`.`number`, `doris_tests_everything`.`big`, `doris_tests_everything`.`positive`, `doris_tests_everything`.`real`, `doris_tests_everything`.`price`, `doris_tests_everything`.`day`, `doris_tests_everything`.`at`, `doris_tests_everything`.`clock`, `doris_tests_everything`.`lasted`, `doris_tests_everything`.`key`, `doris_tests_everything`.`address`, `doris_tests_everything`.`document`, IF(`doris_tests_everything`.`number` < 0, BITNOT(BIT_SHIFT_RIGHT(BITNOT(`doris_tests_everything`.`number`), 2)), BIT_SHIFT_RIGHT(`doris_tests_everything`.`number`, 2)) AS `right`, (BIT_SHIFT_LEFT(`doris_tests_everything`.`number`, 2)) AS `left`, IF(`doris_tests_everything`.`number` < 0, BITNOT(BIT_SHIFT_RIGHT(BITNOT(`doris_tests_everything`.`number`), 0)), BIT_SHIFT_RIGHT(`doris_tests_everything`.`number`, 0)) AS `none` FROM `doris_tests_everything` LIMIT 21;

SELECT `doris_schema_arrays`.`id` AS `id` FROM `doris_schema_arrays` WHERE NOT (ARRAY_CONTAINS(`doris_schema_arrays`.`numbers`, 1) AND `doris_schema_arrays`.`numbers` IS NOT NULL);

SELECT 1 AS `a` FROM `lookup_author` WHERE 2 > 1 LIMIT 1;

SELECT MAX(NULL) AS `max_rating` FROM `aggregation_book`;

SELECT (SUM(`aggregation_author`.`age`) / COUNT(*)) AS `av_age` FROM `aggregation_author`;

SELECT SUBSTRING(`expressions_company`.`name`, 4) AS `after_three` FROM `expressions_company`;

SELECT MIN(MONTH(`aggregation_store`.`original_opening`)) AS `min_month` FROM `aggregation_store`;

SELECT EXISTS(SELECT 1 AS `a` FROM `expressions_ExPeRiMeNt` LIMIT 1) AS `exists` FROM `expressions_ExPeRiMeNt`;

SELECT VAR_POP(`aggregation_author`.`age`) AS `value` FROM `aggregation_author` WHERE `aggregation_author`.`age` > 100;

SELECT STDDEV_POP(`aggregation_author`.`age`) AS `value` FROM `aggregation_author` WHERE `aggregation_author`.`age` > 100;

SELECT COUNT(*) FROM (SELECT MOD(`aggregation_book`.`pages`, 10) AS `pages_mod` FROM `aggregation_book` GROUP BY 1) subquery;

SELECT COALESCE(SUM(`aggregation_book`.`price`), PI()) AS `value` FROM `aggregation_book` WHERE `aggregation_book`.`rating` < 3.0e0;

SELECT `annotations_author`.`age` AS `age` FROM `annotations_author` GROUP BY 1 ORDER BY COUNT(`annotations_author`.`age`) ASC, 1 ASC;

SELECT COALESCE(MAX(`aggregation_store`.`original_opening`), (CURRENT_TIMESTAMP)) AS `latest_opening` FROM `aggregation_store` WHERE 0 = 1;

SELECT `expressions_company`.`name` AS `name`, NOT `expressions_company`.`based_in_eu` AS `negated` FROM `expressions_company` ORDER BY 1 ASC;

SELECT COUNT(CASE WHEN (`aggregation_author`.`age` * 2) > 100 THEN `aggregation_author`.`id` ELSE NULL END) AS `cnt` FROM `aggregation_author`;

SELECT SUM(CASE WHEN NOT (`aggregation_author`.`name` = 'test2') THEN `aggregation_author`.`age` ELSE NULL END) AS `age` FROM `aggregation_author`;

SELECT `aggregation_book`.`price` AS `price`, COUNT(`aggregation_book`.`price`) AS `count` FROM `aggregation_book` GROUP BY 1 ORDER BY 2 DESC, 1 ASC;

SELECT `lookup_season`.`id`, `lookup_season`.`year`, `lookup_season`.`gt`, `lookup_season`.`nulled_text_field` FROM `lookup_season` WHERE NULL IS NULL;

SELECT COUNT(DISTINCT CASE WHEN `aggregation_book`.`pages` > 300 THEN `aggregation_book`.`rating` ELSE NULL END) AS `distinct_ratings` FROM `aggregation_book`;

SELECT DISTINCT NTH_VALUE(`expressions_window_employee`.`salary`, 20) OVER (ORDER BY `expressions_window_employee`.`salary` ASC) AS `nth_value` FROM `expressions_window_employee`;

SELECT COUNT(*) FROM ((SELECT `aggregation_author`.`age` AS `age`, 0 AS `other` FROM `aggregation_author`) UNION (SELECT 0 AS `age`, 0 AS `other` FROM `aggregation_book`)) subquery;

SELECT SUM(`expressions_employee`.`salary`) AS `sum_salary` FROM `expressions_employee` WHERE `expressions_employee`.`firstname` = 'Joe' GROUP BY `expressions_employee`.`firstname`;

SELECT `lookup_season`.`year` AS `year`, CASE WHEN (`lookup_season`.`year` > 1900 AND `lookup_season`.`year` <= 2000) THEN '20th' ELSE 'other' END AS `century` FROM `lookup_season`;

SELECT COUNT(*) FROM (SELECT `annotations_book`.`id` AS `col1` FROM `annotations_book` GROUP BY 1 HAVING SUM(`annotations_book`.`rating`) = (SUM(`annotations_book`.`rating`))) subquery;

SELECT 1 AS `a` FROM `annotations_author` GROUP BY `annotations_author`.`id`, `annotations_author`.`name`, `annotations_author`.`age` HAVING COUNT(`annotations_author`.`id`) > 1 LIMIT 1;

SELECT `expressions_manager`.`id`, `expressions_manager`.`name`, `expressions_manager`.`secretary_id` FROM `expressions_manager` WHERE (NOT 0 AND `expressions_manager`.`id` = 306123118266869216);

SELECT SUBSTRING(CASE WHEN `expressions_company`.`based_in_eu` THEN CONCAT_WS('', 'EU:', `expressions_company`.`name`) ELSE `expressions_company`.`name` END, 1, 3) AS `first_two` FROM `expressions_company`;

SELECT 1 AS `a` FROM `expressions_number` WHERE EXISTS(SELECT 1 AS `a` FROM `expressions_number` U0 WHERE (NOT (U0.`id` = (`expressions_number`.`id`)) AND U0.`the_integer` BETWEEN U0.`the_integer` AND U0.`the_integer`) LIMIT 1) LIMIT 1;

SELECT DISTINCT LEAD(`expressions_window_employee`.`salary`, 5, 60000) OVER (PARTITION BY `expressions_window_employee`.`department` ORDER BY `expressions_window_employee`.`department` ASC) AS `lead_default` FROM `expressions_window_employee`;

SELECT `expressions_time`.`id`, `expressions_time`.`time`, MICROSECONDS_DIFF(CAST(CONCAT('1970-01-01 ', `expressions_time`.`time`) AS DATETIME(6)), CAST(CONCAT('1970-01-01 ', '11:15:00.000000') AS DATETIME(6))) AS `difference` FROM `expressions_time` LIMIT 21;

SELECT `expressions_time`.`id`, `expressions_time`.`time`, DATE_FORMAT(MICROSECONDS_SUB(CAST(CONCAT('1970-01-01 ', `expressions_time`.`time`) AS DATETIME(6)), NULL), '%H:%i:%s.%f') AS `shifted` FROM `expressions_time` ORDER BY `expressions_time`.`id` ASC LIMIT 1;

SELECT COUNT(*) FROM (SELECT * FROM ( SELECT RANK() OVER (PARTITION BY `expressions_window_employee`.`department` ORDER BY `expressions_window_employee`.`salary` DESC) AS `department_salary_rank` FROM `expressions_window_employee` ) `qualify` WHERE `department_salary_rank` = 1) subquery;

SELECT COUNT(*) FROM (SELECT CASE WHEN `aggregation_book`.`rating` > 4.0e0 THEN 1 ELSE 0 END AS `good_book` FROM `aggregation_publisher` LEFT OUTER JOIN `aggregation_book` ON (`aggregation_publisher`.`id` = `aggregation_book`.`publisher_id`) GROUP BY `aggregation_publisher`.`id`, 1) subquery;

SELECT `lookup_author`.`id`, `lookup_author`.`name`, `lookup_author`.`alias`, `lookup_author`.`bio` FROM `lookup_author` INNER JOIN `lookup_article` ON (`lookup_author`.`id` = `lookup_article`.`author_id`) WHERE ABS(`lookup_article`.`id`) = 306122869165452064 ORDER BY `lookup_author`.`name` ASC;

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu`, (`expressions_employee`.`salary` % 20) AS `modsalary` FROM `expressions_employee` LIMIT 21;

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu`, (BITOR(CHAR_LENGTH(`expressions_employee`.`lastname`), 48)) AS `bitor` FROM `expressions_employee` LIMIT 21;

SELECT `expressions_window_employee`.`department` AS `department`, `expressions_window_employee`.`salary` AS `salary` FROM `expressions_window_employee` WHERE `expressions_window_employee`.`id` IN (SELECT FIRST_VALUE(U0.`id`) OVER (PARTITION BY U0.`department` ORDER BY U0.`salary` DESC) AS `highest` FROM `expressions_window_employee` U0);

SELECT AVG(`aggregation_book`.`rating`) AS `amazon_mean` FROM `aggregation_store` LEFT OUTER JOIN `aggregation_store_books` ON (`aggregation_store`.`id` = `aggregation_store_books`.`store_id`) LEFT OUTER JOIN `aggregation_book` ON (`aggregation_store_books`.`book_id` = `aggregation_book`.`id`) WHERE `aggregation_store`.`name` = 'Amazon.com';

SELECT `expressions_company`.`id`, `expressions_company`.`name`, `expressions_company`.`num_employees`, `expressions_company`.`num_chairs`, `expressions_company`.`ceo_id`, `expressions_company`.`point_of_contact_id`, `expressions_company`.`based_in_eu`, NOT 0 AS `eu_required` FROM `expressions_company` WHERE `expressions_company`.`based_in_eu` = (NOT NOT 0);

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu` FROM `expressions_employee` WHERE NOT (NOT EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`ceo_id` = (`expressions_employee`.`id`) LIMIT 1));

SELECT SUM(CASE WHEN T3.`name` LIKE 'test%' THEN CASE WHEN T3.`age` = 40 THEN T3.`age` ELSE NULL END ELSE NULL END) AS `age` FROM `aggregation_author` LEFT OUTER JOIN `aggregation_author_friends` ON (`aggregation_author`.`id` = `aggregation_author_friends`.`from_author_id`) LEFT OUTER JOIN `aggregation_author` T3 ON (`aggregation_author_friends`.`to_author_id` = T3.`id`);

SELECT `expressions_company`.`id`, `expressions_company`.`name`, `expressions_company`.`num_employees`, `expressions_company`.`num_chairs`, `expressions_company`.`ceo_id`, `expressions_company`.`point_of_contact_id`, `expressions_company`.`based_in_eu` FROM `expressions_company` WHERE `expressions_company`.`num_employees` BETWEEN (`expressions_company`.`num_chairs` - 10) AND 100;

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu`, EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`point_of_contact_id` = (`expressions_employee`.`id`) LIMIT 1) AS `is_point_of_contact` FROM `expressions_employee`;

SELECT `expressions_result`.`id`, `expressions_result`.`experiment_id`, `expressions_result`.`result_time` FROM `expressions_result` INNER JOIN `expressions_ExPeRiMeNt` ON (`expressions_result`.`experiment_id` = `expressions_ExPeRiMeNt`.`id`) WHERE CAST(`expressions_result`.`result_time` AS DATE) BETWEEN CAST(`expressions_ExPeRiMeNt`.`start` AS DATE) AND CAST(`expressions_ExPeRiMeNt`.`end` AS DATE);

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu` FROM `expressions_employee` WHERE (`expressions_employee`.`salary` >= 30 AND EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`ceo_id` = (`expressions_employee`.`id`) LIMIT 1));

SELECT `expressions_company`.`id`, `expressions_company`.`name`, `expressions_company`.`num_employees`, `expressions_company`.`num_chairs`, `expressions_company`.`ceo_id`, `expressions_company`.`point_of_contact_id`, `expressions_company`.`based_in_eu` FROM `expressions_company` ORDER BY ( CASE WHEN num_employees > 1000 THEN num_chairs ELSE 0 END ) DESC, ( CASE WHEN num_chairs > 1 THEN 1 ELSE 0 END ) ASC;

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu` FROM `expressions_employee` WHERE (`expressions_employee`.`salary` < 15 OR EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`point_of_contact_id` = (`expressions_employee`.`id`) LIMIT 1));

SELECT `expressions_company`.`id`, `expressions_company`.`name`, `expressions_company`.`num_employees`, `expressions_company`.`num_chairs`, `expressions_company`.`ceo_id`, `expressions_company`.`point_of_contact_id`, `expressions_company`.`based_in_eu` FROM `expressions_company` WHERE `expressions_company`.`num_employees` BETWEEN (`expressions_company`.`num_chairs` - 10) AND (`expressions_company`.`num_chairs` + 10);

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu` FROM `expressions_employee` WHERE `expressions_employee`.`lastname` = 'Mustermann' ORDER BY EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`ceo_id` = (`expressions_employee`.`id`) LIMIT 1) DESC;

SELECT COUNT(*) FROM (SELECT DISTINCT `lookup_player`.`id` AS `col1`, `lookup_player`.`name` AS `col2` FROM `lookup_player` INNER JOIN `lookup_player_games` ON (`lookup_player`.`id` = `lookup_player_games`.`player_id`) INNER JOIN `lookup_game` ON (`lookup_player_games`.`game_id` = `lookup_game`.`id`) INNER JOIN `lookup_season` ON (`lookup_game`.`season_id` = `lookup_season`.`id`) WHERE `lookup_season`.`gt` = 111) subquery;

SELECT `aggregation_publisher`.`name` AS `name`, COALESCE(MIN(`aggregation_book`.`pubdate`), CAST(UTC_TIMESTAMP() AS DATE)) AS `earliest_pubdate` FROM `aggregation_publisher` LEFT OUTER JOIN `aggregation_book` ON (`aggregation_publisher`.`id` = `aggregation_book`.`publisher_id`) GROUP BY `aggregation_publisher`.`id`, 1, `aggregation_publisher`.`num_awards`, `aggregation_publisher`.`duration`, CAST(UTC_TIMESTAMP() AS DATE) ORDER BY 1 ASC;

SELECT MIN(`aggregation_book`.`pubdate`) AS `earliest_book`, `aggregation_publisher`.`num_awards` AS `num_awards`, `aggregation_publisher`.`id` AS `id`, `aggregation_publisher`.`name` AS `name` FROM `aggregation_publisher` LEFT OUTER JOIN `aggregation_book` ON (`aggregation_publisher`.`id` = `aggregation_book`.`publisher_id`) GROUP BY 3, 4, 2, `aggregation_publisher`.`duration` HAVING NOT (MIN(`aggregation_book`.`pubdate`) IS NULL) ORDER BY 1 ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, ROW_NUMBER() OVER () AS `row_number` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`id` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, DENSE_RANK() OVER (ORDER BY YEAR(`expressions_window_employee`.`hire_date`)) AS `rank` FROM `expressions_window_employee`;

SELECT `aggregation_author`.`id`, `aggregation_author`.`name`, `aggregation_author`.`age`, `aggregation_author`.`rating`, COUNT(`aggregation_book_authors`.`book_id`) AS `contact_count` FROM `aggregation_author` LEFT OUTER JOIN `aggregation_book_authors` ON (`aggregation_author`.`id` = `aggregation_book_authors`.`author_id`) GROUP BY `aggregation_author`.`id`, `aggregation_author`.`name`, `aggregation_author`.`age`, `aggregation_author`.`rating` ORDER BY RAND() ASC;

SELECT `lookup_product`.`id`, `lookup_product`.`name`, `lookup_product`.`qty_target`, SUM(`lookup_stock`.`qty_available`) AS `qty_available_sum`, (`lookup_product`.`qty_target` - SUM(`lookup_stock`.`qty_available`)) AS `qty_needed` FROM `lookup_product` LEFT OUTER JOIN `lookup_stock` ON (`lookup_product`.`id` = `lookup_stock`.`product_id`) GROUP BY `lookup_product`.`id`, `lookup_product`.`name`, `lookup_product`.`qty_target` HAVING (`lookup_product`.`qty_target` - SUM(`lookup_stock`.`qty_available`)) < 0;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, PERCENT_RANK() OVER (ORDER BY `expressions_window_employee`.`salary` ASC, `expressions_window_employee`.`name` ASC) AS `percent_rank` FROM `expressions_window_employee` ORDER BY 9 ASC;

SELECT `expressions_employee`.`id`, `expressions_employee`.`firstname`, `expressions_employee`.`lastname`, `expressions_employee`.`salary`, `expressions_employee`.`manager_id`, `expressions_employee`.`based_in_eu` FROM `expressions_employee` WHERE CASE WHEN EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`ceo_id` = (`expressions_employee`.`id`) LIMIT 1) THEN 1 WHEN EXISTS(SELECT 1 AS `a` FROM `expressions_company` U0 WHERE U0.`point_of_contact_id` = (`expressions_employee`.`id`) LIMIT 1) THEN 1 ELSE 0 END;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, CUME_DIST() OVER (ORDER BY `expressions_window_employee`.`salary` ASC) AS `cume_dist` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`salary` ASC, `expressions_window_employee`.`name` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, NTILE(4) OVER (ORDER BY `expressions_window_employee`.`salary` DESC) AS `ntile` FROM `expressions_window_employee` ORDER BY 9 ASC, `expressions_window_employee`.`salary` DESC, `expressions_window_employee`.`name` ASC;

SELECT `upper1` FROM ( SELECT * FROM ( SELECT UPPER(`expressions_window_employee`.`name`) AS `upper1`, RANK() OVER (PARTITION BY `expressions_window_employee`.`department` ORDER BY `expressions_window_employee`.`salary` DESC) AS `qual0`, `expressions_window_employee`.`department` AS `qual1`, `expressions_window_employee`.`name` AS `qual2` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`department` ASC, `expressions_window_employee`.`name` ASC ) `qualify` WHERE `qual0` = 1 ) `qualify_mask` ORDER BY `qual1` ASC, `qual2` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, LAST_VALUE(`expressions_window_employee`.`hire_date`) OVER (PARTITION BY `expressions_window_employee`.`department` ORDER BY `expressions_window_employee`.`hire_date` ASC) AS `last_value` FROM `expressions_window_employee`;

SELECT DISTINCT CAST(DATE_TRUNC(`aggregation_book`.`pubdate`, 'year') AS DATE) AS `datefield` FROM `aggregation_book` LEFT OUTER JOIN `aggregation_book_authors` ON (`aggregation_book`.`id` = `aggregation_book_authors`.`book_id`) WHERE `aggregation_book`.`pubdate` IS NOT NULL GROUP BY `aggregation_book`.`id`, `aggregation_book`.`isbn`, `aggregation_book`.`name`, `aggregation_book`.`pages`, `aggregation_book`.`rating`, `aggregation_book`.`price`, `aggregation_book`.`contact_id`, `aggregation_book`.`publisher_id`, `aggregation_book`.`pubdate`, 1 ORDER BY 1 ASC;

SELECT `annotations_author`.`name` AS `name`, CASE WHEN `annotations_book`.`id` IS NULL THEN 0 ELSE MAX(T4.`pages`) END AS `max_pages` FROM `annotations_author` LEFT OUTER JOIN `annotations_book` ON (`annotations_author`.`id` = `annotations_book`.`contact_id`) LEFT OUTER JOIN `annotations_book_authors` ON (`annotations_author`.`id` = `annotations_book_authors`.`author_id`) LEFT OUTER JOIN `annotations_book` T4 ON (`annotations_book_authors`.`book_id` = T4.`id`) WHERE `annotations_author`.`age` < 30 GROUP BY `annotations_author`.`id`, 1, `annotations_author`.`age`, `annotations_book`.`id`;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, SUM(`expressions_window_employee`.`salary`) OVER (ORDER BY `expressions_window_employee`.`hire_date` ASC, `expressions_window_employee`.`name` DESC ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS `sum` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`hire_date` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, SUM(`expressions_window_employee`.`salary`) OVER (ORDER BY `expressions_window_employee`.`hire_date` ASC, `expressions_window_employee`.`name` DESC ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING) AS `sum` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`hire_date` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, SUM(`expressions_window_employee`.`salary`) OVER (ORDER BY `expressions_window_employee`.`hire_date` ASC, `expressions_window_employee`.`name` DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 3 FOLLOWING) AS `sum` FROM `expressions_window_employee` ORDER BY 9 ASC, `expressions_window_employee`.`hire_date` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, LAG(`expressions_window_employee`.`bonus`, 1) OVER (PARTITION BY `expressions_window_employee`.`department` ORDER BY `expressions_window_employee`.`bonus` ASC, `expressions_window_employee`.`name` ASC) AS `lag` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`department` ASC, `expressions_window_employee`.`bonus` ASC, `expressions_window_employee`.`name` ASC;

SELECT `expressions_window_employee`.`id`, `expressions_window_employee`.`name`, `expressions_window_employee`.`salary`, `expressions_window_employee`.`department`, `expressions_window_employee`.`hire_date`, `expressions_window_employee`.`age`, `expressions_window_employee`.`classification_id`, `expressions_window_employee`.`bonus`, SUM(`expressions_window_employee`.`salary`) OVER (PARTITION BY `expressions_window_employee`.`age` ORDER BY `expressions_window_employee`.`age` ASC RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS `sum` FROM `expressions_window_employee` ORDER BY `expressions_window_employee`.`department` ASC, `expressions_window_employee`.`hire_date` ASC, `expressions_window_employee`.`name` ASC;

SELECT (SELECT MAX_BY(U0.`id`, U0.`text`) FROM `doris_tests_note` U0 WHERE U0.`visit_id` = (`doris_tests_visit`.`id`)) AS `first` FROM `doris_tests_visit` ORDER BY `doris_tests_visit`.`page` ASC;

SELECT (SELECT MIN_BY(U0.`text`, U0.`text`) FROM `doris_tests_note` U0 WHERE U0.`visit_id` = (`doris_tests_visit`.`id`)) AS `first` FROM `doris_tests_visit` ORDER BY `doris_tests_visit`.`page` ASC;

SELECT DISTINCT 1 AS `a` FROM `queries_article` LIMIT 1;

SELECT `ordering_article`.`headline` AS `headline` FROM `ordering_article` ORDER BY CAST('1' AS STRING) ASC, 1 DESC;

SELECT AVG(CASE WHEN `aggregation_regress_book`.`pages` < 400 THEN (`aggregation_regress_book`.`price` * 0.75) ELSE NULL END) AS `test` FROM `aggregation_regress_book`;

SELECT `queries_tag`.`id`, `queries_tag`.`name`, `queries_tag`.`parent_id`, `queries_tag`.`category_id` FROM `queries_tag` WHERE (`queries_tag`.`parent_id` IS NULL OR `queries_tag`.`parent_id` IS NOT NULL) ORDER BY `queries_tag`.`name` ASC;

(SELECT `queries_number`.`other_num` AS `other_num` FROM `queries_number` WHERE `queries_number`.`num` <= 1) UNION (SELECT `queries_number`.`other_num` AS `other_num` FROM `queries_number` WHERE `queries_number`.`num` >= 2) ORDER BY 1 ASC NULLS LAST;

(SELECT `queries_number`.`other_num` AS `other_num` FROM `queries_number` WHERE `queries_number`.`num` <= 1) UNION (SELECT `queries_number`.`other_num` AS `other_num` FROM `queries_number` WHERE `queries_number`.`num` >= 2) ORDER BY 1 ASC NULLS FIRST;

SELECT `ordering_article`.`id`, `ordering_article`.`author_id`, `ordering_article`.`second_author_id`, `ordering_article`.`headline`, `ordering_article`.`pub_date` FROM `ordering_article` ORDER BY `ordering_article`.`author_id` ASC NULLS FIRST, `ordering_article`.`id` ASC;

(SELECT `queries_number`.`other_num` AS `alias` FROM `queries_number` WHERE `queries_number`.`num` <= 1) UNION (SELECT `queries_number`.`other_num` AS `alias` FROM `queries_number` WHERE (`queries_number`.`num` >= 2 AND `queries_number`.`num` <= 3)) ORDER BY 1 DESC NULLS LAST;

SELECT `queries_dumbcategory`.`id` AS `id` FROM `queries_dumbcategory` WHERE `queries_dumbcategory`.`id` IN (SELECT `subquery`.`double_id` FROM (SELECT DISTINCT (U0.`id` * 2) AS `double_id`, U0.`id` FROM `queries_dumbcategory` U0 ORDER BY U0.`id` ASC LIMIT 2) subquery) ORDER BY 1 ASC;

SELECT `queries_author`.`id`, `queries_author`.`name`, `queries_author`.`num`, `queries_author`.`extra_id` FROM `queries_author` INNER JOIN `queries_extrainfo` ON (`queries_author`.`extra_id` = `queries_extrainfo`.`id`) WHERE CHAR_LENGTH(LTRIM(`queries_extrainfo`.`info`)) = 5 ORDER BY `queries_author`.`name` ASC;

SELECT `queries_classroom`.`id`, `queries_classroom`.`name`, `queries_classroom`.`has_blackboard`, `queries_classroom`.`school_id` FROM `queries_classroom` WHERE (`queries_classroom`.`has_blackboard` OR `queries_classroom`.`id` IN (SELECT U0.`id` AS `pk` FROM `queries_classroom` U0 WHERE NOT U0.`has_blackboard` LIMIT 1));

SELECT `queries_classroom`.`id`, `queries_classroom`.`name`, `queries_classroom`.`has_blackboard`, `queries_classroom`.`school_id` FROM `queries_classroom` WHERE (`queries_classroom`.`id` IN (SELECT U0.`id` AS `pk` FROM `queries_classroom` U0 WHERE U0.`has_blackboard` LIMIT 1) XOR NOT `queries_classroom`.`has_blackboard`);

(SELECT `queries_reservedname`.`name` AS `name`, `queries_reservedname`.`order` AS `order`, `queries_reservedname`.`id` AS `id` FROM `queries_reservedname`) INTERSECT (SELECT `queries_reservedname`.`name` AS `name`, `queries_reservedname`.`order` AS `order`, `queries_reservedname`.`id` AS `id` FROM `queries_reservedname`) LIMIT 21;

SELECT COUNT(`aggregation_regress_recipe`.`id`) AS `num_recipes` FROM `aggregation_regress_author` LEFT OUTER JOIN `aggregation_regress_recipe` ON (`aggregation_regress_author`.`id` = `aggregation_regress_recipe`.`author_id`) GROUP BY CONCAT_WS('', 'Writer at ', CAST(`aggregation_regress_author`.`age` AS STRING)) HAVING COUNT(`aggregation_regress_recipe`.`id`) > 0;

(SELECT `queries_number`.`id` AS `col1`, `queries_number`.`num` AS `col2`, `queries_number`.`other_num` AS `col3`, `queries_number`.`another_num` AS `col4` FROM `queries_number`) EXCEPT (SELECT `queries_number`.`id` AS `col1`, `queries_number`.`num` AS `col2`, `queries_number`.`other_num` AS `col3`, `queries_number`.`another_num` AS `col4` FROM `queries_number` WHERE NOT (`queries_number`.`num` = 2)) LIMIT 21;

SELECT `aggregation_regress_publisher`.`name` AS `name`, COUNT(`aggregation_regress_book`.`id`) AS `num_books`, `aggregation_regress_publisher`.`num_awards` AS `num_awards` FROM `aggregation_regress_publisher` LEFT OUTER JOIN `aggregation_regress_book` ON (`aggregation_regress_publisher`.`id` = `aggregation_regress_book`.`publisher_id`) GROUP BY `aggregation_regress_publisher`.`id`, 1, 3 HAVING `aggregation_regress_publisher`.`num_awards` > (2 * COUNT(`aggregation_regress_book`.`id`)) ORDER BY 1 ASC;
