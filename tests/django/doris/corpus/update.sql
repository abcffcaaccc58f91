-- docs/sql-manual/sql-statements/data-modification/DML/UPDATE.md

UPDATE `doris_tests_daily` SET `value` = 2 WHERE `doris_tests_daily`.`id` = 1;

UPDATE `doris_schema_arrays` SET `texts` = ['b', NULL] WHERE `doris_schema_arrays`.`id` = 1;

UPDATE `doris_tests_visit` SET `count` = (`doris_tests_visit`.`count` + 1) WHERE `doris_tests_visit`.`page` = 'a';

UPDATE `doris_tests_visit` SET `page` = 'a', `count` = 1, `at` = '2026-11-21 22:14:07.950444' WHERE `doris_tests_visit`.`id` = 77;

UPDATE `doris_tests_visit` SET `count` = (`doris_tests_visit`.`count` + 1) WHERE `doris_tests_visit`.`id` IN (306124880406619970, 5);

UPDATE `doris_tests_reading` SET `value` = 9.0e0 WHERE (`doris_tests_reading`.`sensor` = 2 AND `doris_tests_reading`.`at` = '2026-01-02 00:00:00');

UPDATE `doris_schema_arrays` SET `texts` = CASE WHEN (`doris_schema_arrays`.`id` = 1) THEN ['p', 'q'] WHEN (`doris_schema_arrays`.`id` = 2) THEN [] ELSE NULL END WHERE `doris_schema_arrays`.`id` IN (1, 2);

UPDATE `doris_schema_large` SET `n` = CASE WHEN (`doris_schema_large`.`id` = 0) THEN 1329227995784915872903807060280344576 WHEN (`doris_schema_large`.`id` = 1) THEN NULL ELSE NULL END WHERE `doris_schema_large`.`id` IN (0, 1);

UPDATE `doris_schema_arrays` SET `numbers` = NULL, `longs` = NULL, `texts` = [], `flags` = NULL, `prices` = NULL, `reals` = NULL, `days` = NULL, `moments` = NULL, `keys` = NULL, `spans` = NULL, `nested` = NULL WHERE `doris_schema_arrays`.`id` = 1;

UPDATE `doris_tests_visit` SET `count` = CASE WHEN (`doris_tests_visit`.`id` = 306123966853654336) THEN 0 WHEN (`doris_tests_visit`.`id` = 306123966853654337) THEN 1 WHEN (`doris_tests_visit`.`id` = 306123966853654338) THEN 2 ELSE NULL END WHERE `doris_tests_visit`.`id` IN (306123966853654336, 306123966853654337, 306123966853654338);

UPDATE `doris_tests_everything` SET `flag` = 0, `real` = 9.724447570699985e+140, `document` = '{}', `text` = 'øJUã񇙵p', `unlimited` = '=ê­Üq', `key` = '4462ebfc5f915ef09cfbac6e7687a66e', `at` = NULL, `small` = 32767, `big` = 3769, `positive` = 9223372036854775807, `number` = 2147483647, `name` = 'kË', `maybe` = 1, `price` = -0.003729448, `day` = NULL, `address` = NULL, `clock` = '11:43:20.000981', `lasted` = NULL, `slug` = '%s' WHERE `doris_tests_everything`.`id` = 306124674214635328;

UPDATE `doris_tests_visit` SET `count` = CASE WHEN (`doris_tests_visit`.`id` = 306123874646075200) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075201) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075202) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075203) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075204) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075205) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075206) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075207) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075208) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075209) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075210) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075211) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075212) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075213) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075214) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075215) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075216) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075217) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075218) THEN (`doris_tests_visit`.`count` + 1) WHEN (`doris_tests_visit`.`id` = 306123874646075219) THEN (`doris_tests_visit`.`count` + 1) ELSE NULL END WHERE `doris_tests_visit`.`id` IN (306123874646075200, 306123874646075201, 306123874646075202, 306123874646075203, 306123874646075204, 306123874646075205, 306123874646075206, 306123874646075207, 306123874646075208, 306123874646075209, 306123874646075210, 306123874646075211, 306123874646075212, 306123874646075213, 306123874646075214, 306123874646075215, 306123874646075216, 306123874646075217, 306123874646075218, 306123874646075219);

UPDATE `expressions_number` SET `the_float` = `expressions_number`.`the_integer`;

UPDATE `expressions_employee` SET `salary` = (BITXOR(`expressions_employee`.`salary`, 48));

UPDATE `expressions_employee` SET `salary` = (BITXOR(`expressions_employee`.`salary`, NULL));

UPDATE `expressions_number` SET `the_integer` = (BITOR(`expressions_number`.`the_integer`, 48));

UPDATE `expressions_number` SET `the_float` = NULL WHERE `expressions_number`.`the_float` IS NOT NULL;

UPDATE `expressions_number` SET `the_integer` = (BIT_SHIFT_LEFT(`expressions_number`.`the_integer`, 2));

UPDATE `expressions_company` SET `ceo_id` = 306122992102204896 WHERE `expressions_company`.`num_employees` < 50;

UPDATE `expressions_ExPeRiMeNt` SET `end` = (MICROSECONDS_ADD(`expressions_ExPeRiMeNt`.`start`, 8999999999999999));

UPDATE `expressions_text` SET `name` = SUBSTRING(`expressions_text`.`name`, 1) WHERE `expressions_text`.`id` = 306123066559489504;

UPDATE `expressions_company` SET `num_chairs` = ((`expressions_company`.`num_employees` + 2) * `expressions_company`.`num_employees`);

UPDATE `expressions_company` SET `num_chairs` = (`expressions_company`.`num_employees` + (2 * `expressions_company`.`num_employees`));

UPDATE `expressions_number` SET `the_integer` = (`expressions_number`.`the_integer` + 1) WHERE `expressions_number`.`the_integer` > 0;

UPDATE `expressions_number` SET `the_integer` = (69 % `expressions_number`.`the_integer`) WHERE `expressions_number`.`id` = 306123137795548640;

UPDATE `expressions_text` SET `name` = SUBSTRING(SUBSTRING(`expressions_text`.`name`, 2), 1, 3) WHERE `expressions_text`.`id` = 306123066559489504;

UPDATE `expressions_number` SET `the_integer` = (BITAND(`expressions_number`.`the_integer`, 56)) WHERE `expressions_number`.`id` = 306123121085441504;

UPDATE `expressions_jsonfieldmodel` SET `data` = CASE WHEN (JSON_TYPE(`expressions_jsonfieldmodel`.`data`, '$.\"key\"') = 'null') THEN '{\"key\": \"something\"}' ELSE NULL END;

UPDATE `expressions_number` SET `the_integer` = (`expressions_number`.`the_integer` / 2), `the_float` = (`expressions_number`.`the_float` / 42.7e0) WHERE `expressions_number`.`id` = 306123127930545632;

UPDATE `expressions_number` SET `the_integer` = (POW(2, `expressions_number`.`the_integer`)), `the_float` = (POW(1.5e0, `expressions_number`.`the_float`)) WHERE `expressions_number`.`id` = 306123140647675360;

UPDATE `expressions_number` SET `the_integer` = IF(`expressions_number`.`the_integer` < 0, BITNOT(BIT_SHIFT_RIGHT(BITNOT(`expressions_number`.`the_integer`), 2)), BIT_SHIFT_RIGHT(`expressions_number`.`the_integer`, 2));

UPDATE `expressions_company` SET `name` = 'foo' WHERE `expressions_company`.`id` IN (SELECT U0.`id` FROM `expressions_company` U0 LEFT OUTER JOIN `expressions_employee` U1 ON (U0.`point_of_contact_id` = U1.`id`) INNER JOIN `expressions_employee` U2 ON (U0.`ceo_id` = U2.`id`) WHERE NOT (U2.`firstname` = (U1.`firstname`)));

UPDATE `queries_ranking` SET `rank` = 4636 WHERE `queries_ranking`.`id` IN (SELECT U0.`id` FROM `queries_ranking` U0 INNER JOIN `queries_author` U1 ON (U0.`author_id` = U1.`id`) WHERE U1.`name` = 'a1');

UPDATE `queries_jsonfieldnullable` SET `json_field` = CASE WHEN (`queries_jsonfieldnullable`.`id` = 306173894980283104) THEN COALESCE(NULL, NULL) ELSE NULL END WHERE `queries_jsonfieldnullable`.`id` IN (306173894980283104);

UPDATE `queries_managedmodel` SET `data` = 'mm' WHERE `queries_managedmodel`.`id` IN (SELECT U0.`id` FROM `queries_managedmodel` U0 INNER JOIN `queries_tag` U1 ON (U0.`tag_id` = U1.`id`) WHERE (U0.`public` AND U1.`name` = 't1'));

UPDATE `queries_note` SET `tag_id` = CASE WHEN (`queries_note`.`id` = 306173784384875232) THEN NULL WHEN (`queries_note`.`id` = 306173785022409440) THEN NULL WHEN (`queries_note`.`id` = 306173786029042400) THEN NULL WHEN (`queries_note`.`id` = 306173786565913312) THEN NULL WHEN (`queries_note`.`id` = 306173786700131040) THEN NULL WHEN (`queries_note`.`id` = 306173786834348768) THEN NULL WHEN (`queries_note`.`id` = 306173787035675360) THEN NULL WHEN (`queries_note`.`id` = 306173787538991840) THEN NULL WHEN (`queries_note`.`id` = 306173787639655136) THEN NULL WHEN (`queries_note`.`id` = 306173787807427296) THEN NULL ELSE NULL END WHERE `queries_note`.`id` IN (306173784384875232, 306173785022409440, 306173786029042400, 306173786565913312, 306173786700131040, 306173786834348768, 306173787035675360, 306173787538991840, 306173787639655136, 306173787807427296);

UPDATE `queries_note` SET `misc` = CASE WHEN (`queries_note`.`id` = 306173847567870688) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173848775830240) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173849245592288) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173849480473312) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173849681799904) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173850419997408) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173850856205024) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173851225303776) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173851829283552) THEN `queries_note`.`note` WHEN (`queries_note`.`id` = 306173852097719008) THEN `queries_note`.`note` ELSE NULL END WHERE `queries_note`.`id` IN (306173847567870688, 306173848775830240, 306173849245592288, 306173849480473312, 306173849681799904, 306173850419997408, 306173850856205024, 306173851225303776, 306173851829283552, 306173852097719008);

UPDATE `queries_note` SET `note` = CASE WHEN (`queries_note`.`id` = 306173768849173216) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173769386044128) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173769587370720) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173770157796064) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173770594003680) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173771533527776) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173771768408800) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173771969735392) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173772070398688) THEN LOWER(`queries_note`.`note`) WHEN (`queries_note`.`id` = 306173772171061984) THEN LOWER(`queries_note`.`note`) ELSE NULL END WHERE `queries_note`.`id` IN (306173768849173216, 306173769386044128, 306173769587370720, 306173770157796064, 306173770594003680, 306173771533527776, 306173771768408800, 306173771969735392, 306173772070398688, 306173772171061984);

UPDATE `queries_simplecategory` SET `name` = CASE WHEN `queries_simplecategory`.`id` = 306173868942043872 THEN 'test-306173868942043872' WHEN `queries_simplecategory`.`id` = 306173869210479328 THEN 'test-306173869210479328' WHEN `queries_simplecategory`.`id` = 306173869378251488 THEN 'test-306173869378251488' WHEN `queries_simplecategory`.`id` = 306173869512469216 THEN 'test-306173869512469216' WHEN `queries_simplecategory`.`id` = 306173870183557856 THEN 'test-306173870183557856' WHEN `queries_simplecategory`.`id` = 306173870451993312 THEN 'test-306173870451993312' WHEN `queries_simplecategory`.`id` = 306173870653319904 THEN 'test-306173870653319904' WHEN `queries_simplecategory`.`id` = 306173870888200928 THEN 'test-306173870888200928' WHEN `queries_simplecategory`.`id` = 306173871123081952 THEN 'test-306173871123081952' WHEN `queries_simplecategory`.`id` = 306173871290854112 THEN 'test-306173871290854112' ELSE NULL END WHERE `queries_simplecategory`.`id` IN (306173868942043872, 306173869210479328, 306173869378251488, 306173869512469216, 306173870183557856, 306173870451993312, 306173870653319904, 306173870888200928, 306173871123081952, 306173871290854112);

UPDATE `queries_note` SET `note` = CASE WHEN (`queries_note`.`id` = 306173775962712800) THEN 'test-306173775962712800' WHEN (`queries_note`.`id` = 306173777036454624) THEN 'test-306173777036454624' WHEN (`queries_note`.`id` = 306173777673988832) THEN 'test-306173777673988832' WHEN (`queries_note`.`id` = 306173778277968608) THEN 'test-306173778277968608' WHEN (`queries_note`.`id` = 306173778814839520) THEN 'test-306173778814839520' WHEN (`queries_note`.`id` = 306173779083274976) THEN 'test-306173779083274976' WHEN (`queries_note`.`id` = 306173779351710432) THEN 'test-306173779351710432' WHEN (`queries_note`.`id` = 306173779519482592) THEN 'test-306173779519482592' WHEN (`queries_note`.`id` = 306173779687254752) THEN 'test-306173779687254752' WHEN (`queries_note`.`id` = 306173780358343392) THEN 'test-306173780358343392' ELSE NULL END, `misc` = CASE WHEN (`queries_note`.`id` = 306173775962712800) THEN 'misc-306173775962712800' WHEN (`queries_note`.`id` = 306173777036454624) THEN 'misc-306173777036454624' WHEN (`queries_note`.`id` = 306173777673988832) THEN 'misc-306173777673988832' WHEN (`queries_note`.`id` = 306173778277968608) THEN 'misc-306173778277968608' WHEN (`queries_note`.`id` = 306173778814839520) THEN 'misc-306173778814839520' WHEN (`queries_note`.`id` = 306173779083274976) THEN 'misc-306173779083274976' WHEN (`queries_note`.`id` = 306173779351710432) THEN 'misc-306173779351710432' WHEN (`queries_note`.`id` = 306173779519482592) THEN 'misc-306173779519482592' WHEN (`queries_note`.`id` = 306173779687254752) THEN 'misc-306173779687254752' WHEN (`queries_note`.`id` = 306173780358343392) THEN 'misc-306173780358343392' ELSE NULL END WHERE `queries_note`.`id` IN (306173775962712800, 306173777036454624, 306173777673988832, 306173778277968608, 306173778814839520, 306173779083274976, 306173779351710432, 306173779519482592, 306173779687254752, 306173780358343392);
