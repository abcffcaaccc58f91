-- docs/sql-manual/sql-statements/transaction/BEGIN.md

BEGIN;
