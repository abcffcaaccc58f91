-- docs/sql-manual/sql-statements/session/context/USE-DATABASE.md

USE `test_099c59fd_1`;
