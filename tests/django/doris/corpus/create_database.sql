-- docs/sql-manual/sql-statements/database/CREATE-DATABASE.md

CREATE DATABASE busy;

CREATE DATABASE cluster;

CREATE DATABASE IF NOT EXISTS `test_kept`;
