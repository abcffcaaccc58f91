-- docs/sql-manual/sql-statements/session/variable/SET-VARIABLE.md

SET time_zone = 'UTC';

SET NAMES utf8mb4;
