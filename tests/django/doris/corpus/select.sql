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
