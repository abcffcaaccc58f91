-- docs/sql-manual/sql-statements/data-modification/DML/DELETE.md

DELETE FROM `doris_tests_note` WHERE `text` = 'x';

DELETE FROM `doris_tests_visit` WHERE `id` IN (5);

DELETE FROM `doris_tests_event` WHERE `id` IS NOT NULL;

DELETE FROM `doris_tests_dailycost` WHERE `agent` IN ('a', 'b');

DELETE FROM `doris_tests_event` WHERE (`name` = 'b' AND `value` >= 2);

DELETE FROM `doris_tests_kept` WHERE `at` < '2026-11-18 22:14:19.688875';

DELETE FROM `doris_tests_topic_subjects` WHERE (`topic_id` = 306124799976646464 AND `subject_id` IN (306124800077309760));
