-- docs/sql-manual/sql-statements/database/SHOW-DATABASES.md

SHOW DATABASES;
