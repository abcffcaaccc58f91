"""Test databases."""

# ruff: noqa: ARG002 - these signatures are Django's

from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation


class DatabaseCreation(BaseDatabaseCreation):
    connection: Any

    def _execute_create_test_db(self, cursor: Any, parameters: dict[str, str], keepdb: bool = False) -> None:
        exists = "IF NOT EXISTS " if keepdb else ""
        cursor.execute(f"CREATE DATABASE {exists}{parameters['dbname']}")

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        with self.connection._nodb_cursor() as cursor:
            # FORCE: not into the recycle bin, where the data would stay for a day.
            cursor.execute(f"DROP DATABASE {self.connection.ops.quote_name(test_database_name)} FORCE")

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        """A copy of the test database's tables and rows, for tests that run in parallel."""
        quote = self.connection.ops.quote_name
        source = self.connection.settings_dict["NAME"]
        target = self.get_test_db_clone_settings(suffix)["NAME"]
        with self.connection._nodb_cursor() as cursor:
            if keepdb:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quote(target)}")
                return
            cursor.execute(f"DROP DATABASE IF EXISTS {quote(target)} FORCE")
            cursor.execute(f"CREATE DATABASE {quote(target)}")
            cursor.execute(f"SHOW TABLES FROM {quote(source)}")
            tables = [row[0] for row in cursor.fetchall()]
            cursor.execute(f"USE {quote(target)}")
            for table in tables:
                original = f"{quote(source)}.{quote(table)}"
                cursor.execute(f"SHOW CREATE TABLE {original}")
                cursor.execute(cursor.fetchone()[1])
                cursor.execute(f"INSERT INTO {quote(table)} SELECT * FROM {original}")  # noqa: S608
