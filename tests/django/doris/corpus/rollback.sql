-- docs/sql-manual/sql-statements/transaction/ROLLBACK.md

ROLLBACK;
