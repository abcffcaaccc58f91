-- docs/sql-manual/sql-statements/table-and-view/table/DROP-TABLE.md

DROP TABLE t FORCE;

DROP TABLE django_migrations;

DROP TABLE IF EXISTS `sums` FORCE;
