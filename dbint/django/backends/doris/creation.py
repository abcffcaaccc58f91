"""Test databases."""

# ruff: noqa: ARG002, S608 - these signatures are Django's; names are quoted

from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation

from dbint.django.backends.doris.account import addresses_of


class DatabaseCreation(BaseDatabaseCreation):
    connection: Any

    def test_db_signature(self) -> tuple[Any, ...]:
        """What tells this database from others: with its further frontends, which may be all there are."""
        settings = self.connection.settings_dict
        name = self._get_test_db_name()  # type: ignore[attr-defined]  # not in the stubs
        return (*addresses_of(settings), settings["ENGINE"], name)

    def _execute_create_test_db(self, cursor: Any, parameters: dict[str, str], keepdb: bool = False) -> None:
        exists = "IF NOT EXISTS " if keepdb else ""
        cursor.execute(f"CREATE DATABASE {exists}{parameters['dbname']}")

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        with self.connection._nodb_cursor() as cursor:
            # FORCE: not into the recycle bin, where the data would stay for a day.
            cursor.execute(f"DROP DATABASE {self.connection.ops.quote_name(test_database_name)} FORCE")

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        """A copy of the test database's tables, views and rows, for tests that run in parallel.

        With ``keepdb`` a table whose definition is the same is kept; migrations that ran since the clone was
        made have changed some.
        """
        quote = self.connection.ops.quote_name
        source = self.connection.settings_dict["NAME"]
        target = self.get_test_db_clone_settings(suffix)["NAME"]
        with self.connection._nodb_cursor() as cursor:
            if not keepdb:
                cursor.execute(f"DROP DATABASE IF EXISTS {quote(target)} FORCE")
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {quote(target)}")
            wanted, present = self._definitions(cursor, source), self._definitions(cursor, target)
            cursor.execute(f"USE {quote(target)}")
            # Views first, since they name tables.
            for name, (kind, definition) in sorted(present.items(), key=lambda item: item[1][0] != "VIEW"):
                if wanted.get(name) != (kind, definition):
                    cursor.execute(f"DROP {kind} {quote(name)}{' FORCE' if kind == 'TABLE' else ''}")
            for name, (kind, definition) in sorted(wanted.items(), key=lambda item: item[1][0] == "VIEW"):
                if present.get(name) == (kind, definition):
                    continue
                cursor.execute(definition)
                if kind == "TABLE":
                    table = quote(name)
                    cursor.execute(f"INSERT INTO {table} SELECT * FROM {quote(source)}.{table}")

    def _definitions(self, cursor: Any, database: str) -> dict[str, tuple[str, str]]:
        """For each name in the database whether it is a TABLE or a VIEW, and its CREATE statement without
        the database's name.
        """
        quote = self.connection.ops.quote_name
        cursor.execute(f"SHOW FULL TABLES FROM {quote(database)}")
        kinds = {row[0]: "VIEW" if "VIEW" in row[1].upper() else "TABLE" for row in cursor.fetchall()}
        found = {}
        for name, kind in kinds.items():
            cursor.execute(f"SHOW CREATE {kind} {quote(database)}.{quote(name)}")
            text = cursor.fetchone()[1]
            found[name] = (kind, text.replace("`internal`.", "").replace(f"{quote(database)}.", ""))
        return found
