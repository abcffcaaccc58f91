-- docs/sql-manual/sql-statements/database/DROP-DATABASE.md

DROP DATABASE `test` FORCE;

DROP DATABASE IF EXISTS `test_shelves` FORCE;
