-- docs/sql-manual/sql-statements/transaction/COMMIT.md

COMMIT;
