-- docs/sql-manual/sql-statements/cluster-management/instance-management/SHOW-BACKENDS.md

SHOW BACKENDS;
