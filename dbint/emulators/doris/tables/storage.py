"""Where the emulator keeps things: one DuckDB database with the rows, the catalog and the labels.

What is kept, in schema ``meta`` (format 1):
  databases(name); tables(id, definition JSON); labels(database, label, txn_id, status, finished);
  alter_jobs(id, definition JSON);
  counters(name, value): "format", "table_id", "txn_id", "auto_increment:<table id>".
The rows of table <id> are in ``data.t<id>``. A statement's catalog changes, rows and label are one DuckDB
transaction, so that a kill -9 leaves all of them or none. DuckDB lets two writers fail on a conflict; the one
write lock makes them wait instead, as Doris' publish does.
"""

import datetime as dt
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dbint.emulators.doris.errors import (
    CANT_CREATE_DB,
    CANT_DROP_DB,
    NO_DATABASE,
    UNKNOWN_DATABASE,
    DorisError,
)
from dbint.emulators.doris.sql.functions import MACROS
from dbint.emulators.doris.tables.model import Table, table_from_dict

FORMAT = 1
LABEL_KEEP = dt.timedelta(days=3)  # Doris: label_keep_max_second
LABELS_PER_DATABASE = 2000  # Doris: label_num_threshold
SYSTEM_DATABASES = ("__internal_schema", "information_schema", "mysql")
_KEPT_ERROR_LOGS = 200
_RECORDED_JOBS = 1000


class StorageError(Exception):
    """The data directory cannot be used."""


@dataclass(frozen=True, slots=True)
class Label:
    """A used label: the transaction that used it, and VISIBLE, or PREPARE while that one runs."""

    txn_id: int
    status: str


class Storage:
    """The catalog and the data of one emulated cluster; safe to use from many threads."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the database file; None keeps everything in memory. Raises StorageError."""
        try:
            self._db = duckdb.connect(str(path) if path else ":memory:")
        except duckdb.Error as error:
            first_line = str(error).splitlines()[0]
            raise StorageError(f"cannot open the data file {path}: {first_line}") from error
        self.write_lock = threading.RLock()
        self.version = 0  # counts the transactions: whoever has looked something up can tell that it is old
        self._committed: dict[str, dict[str, Table]] = {}
        self._writing: tuple[int, dict[str, dict[str, Table]]] | None = None
        self._running: dict[tuple[str, str], int] = {}
        self._error_logs: OrderedDict[str, str] = OrderedDict()
        self._counter_lock = threading.Lock()
        self._prepare()
        self._load()

    def _prepare(self) -> None:
        self._db.execute("""
            CREATE SCHEMA IF NOT EXISTS data;
            CREATE SCHEMA IF NOT EXISTS meta;
            CREATE TABLE IF NOT EXISTS meta.databases (name VARCHAR);
            CREATE TABLE IF NOT EXISTS meta.tables (id BIGINT, definition VARCHAR);
            CREATE TABLE IF NOT EXISTS meta.labels
                (database VARCHAR, label VARCHAR, txn_id BIGINT, status VARCHAR, finished TIMESTAMP);
            CREATE TABLE IF NOT EXISTS meta.alter_jobs (id BIGINT, definition VARCHAR);
            CREATE TABLE IF NOT EXISTS meta.counters (name VARCHAR, value HUGEINT);
            """)
        found = self._db.execute("SELECT value FROM meta.counters WHERE name = 'format'").fetchall()
        if not found:
            self._db.execute("INSERT INTO meta.counters VALUES ('format', ?)", [FORMAT])
        elif found[0][0] != FORMAT:
            raise StorageError(f"the data file has format {found[0][0]}; this version reads format {FORMAT}")
        for macro in MACROS:
            self._db.execute(f"CREATE OR REPLACE MACRO {macro}")

    def _load(self) -> None:
        for (name,) in self._db.execute("SELECT name FROM meta.databases").fetchall():
            self._catalog[name] = {}
        for (definition,) in self._db.execute("SELECT definition FROM meta.tables").fetchall():
            table = table_from_dict(json.loads(definition))
            self._catalog[table.database][table.name] = table
        self._counters: dict[str, int] = dict(
            self._db.execute("SELECT name, value FROM meta.counters WHERE name <> 'format'").fetchall()
        )
        self._saved_counters = dict(self._counters)

    def close(self) -> None:
        """Finish the running write, write everything to the file and close it."""
        with self.write_lock:
            self._db.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the database, with the settings that make DuckDB answer like Doris."""
        cursor = self._db.cursor()
        cursor.execute(
            "SET default_null_order = 'nulls_last';"  # sqlglot counts on it and writes out what differs
            "SET error_on_division_by_zero = false; SET TimeZone = 'UTC'"
        )
        return cursor

    @contextmanager
    def transaction(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Hold the write lock and a DuckDB transaction; commit at the end, roll back on any exception.

        Others see the catalog as it was until the commit: it would name columns that their DuckDB does not
        have yet.
        """
        with self.write_lock:
            outer = self._writing
            catalog = {name: dict(tables) for name, tables in self._catalog.items()}
            cursor.execute("BEGIN")
            self._writing = (threading.get_ident(), catalog)
            try:
                yield
                saved = self._save_counters(cursor)
                cursor.execute("COMMIT")
                self._saved_counters |= saved
                self._committed = catalog
                self.version += 1
            except BaseException:
                with suppress(duckdb.Error):  # a failed COMMIT has rolled back already
                    cursor.execute("ROLLBACK")
                raise
            finally:
                self._writing = outer

    def has_changed_since(self, version: int) -> bool:
        """Whether a transaction was committed after ``version`` was read.

        Waits for one that commits just now: DuckDB shows what it wrote a moment before it is noted here.
        """
        with self.write_lock:
            return self.version != version

    @property
    def _catalog(self) -> dict[str, dict[str, Table]]:
        """The tables by database and name: what is committed and, for the thread that writes, its changes."""
        writing = self._writing
        if writing is not None and writing[0] == threading.get_ident():
            return writing[1]
        return self._committed

    # -- numbers

    def next_number(self, name: str, count: int = 1, first: int = 1) -> int:
        """Take ``count`` numbers from a counter and give the first; saved with the next commit."""
        with self._counter_lock:
            value = self._counters.get(name, first)
            self._counters[name] = value + count
            return value

    def next_txn(self) -> int:
        return self.next_number("txn_id", first=1001)

    def _save_counters(self, cursor: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """Write the counters that have moved on; gives them."""
        with self._counter_lock:
            moved = {name: n for name, n in self._counters.items() if self._saved_counters.get(name) != n}
        for name, value in moved.items():
            cursor.execute("DELETE FROM meta.counters WHERE name = ?", [name])
            cursor.execute("INSERT INTO meta.counters VALUES (?, ?)", [name, value])
        return moved

    # -- databases

    @property
    def databases(self) -> list[str]:
        return sorted([*self._catalog, *SYSTEM_DATABASES])

    def has_database(self, name: str) -> bool:
        return name in self._catalog or name.lower() in SYSTEM_DATABASES

    def require_database(self, name: str | None) -> str:
        """The name of an existing database. Raises DorisError 1046 or 1049."""
        if not name:
            raise DorisError("No database selected", NO_DATABASE)
        if not self.has_database(name):
            raise DorisError(f"Unknown database '{name}'", UNKNOWN_DATABASE)
        return name

    def create_database(self, cursor: duckdb.DuckDBPyConnection, name: str, *, if_not_exists: bool) -> None:
        with self.transaction(cursor):
            if self.has_database(name):
                if if_not_exists:
                    return
                raise DorisError(f"Can't create database '{name}'; database exists", CANT_CREATE_DB)
            cursor.execute("INSERT INTO meta.databases VALUES (?)", [name])
            self._catalog[name] = {}

    def drop_database(
        self, cursor: duckdb.DuckDBPyConnection, name: str, *, if_exists: bool, force: bool
    ) -> None:
        with self.transaction(cursor):
            if name.lower() in SYSTEM_DATABASES:
                raise DorisError(f"Access denied for user to database '{name}'")
            if name not in self._catalog:
                if if_exists:
                    return
                raise DorisError(f"Can't drop database '{name}'; database doesn't exist", CANT_DROP_DB)
            for table in list(self._catalog[name].values()):
                self.drop_table(cursor, table)
            cursor.execute("DELETE FROM meta.databases WHERE name = ?", [name])
            if force:
                cursor.execute("DELETE FROM meta.labels WHERE database = ?", [name])
            del self._catalog[name]

    # -- tables; the caller holds a transaction

    def tables(self, database: str | None = None) -> list[Table]:
        """All tables, or those of one database, by name."""
        groups = (
            [self._catalog.get(database, {})] if database else [t for _, t in sorted(self._catalog.items())]
        )
        return [table for group in groups for _, table in sorted(group.items())]

    def find_table(self, database: str, name: str) -> Table | None:
        """The table of exactly that name: table names are case sensitive (lower_case_table_names = 0)."""
        return self._catalog.get(database, {}).get(name)

    def by_id(self, table_id: int) -> Table | None:
        """The table as it is now, whatever its name."""
        return next((t for group in self._catalog.values() for t in group.values() if t.id == table_id), None)

    def require(self, table_id: int) -> Table:
        """The table as it is now. Raises DorisError where it has been dropped."""
        found = self.by_id(table_id)
        if found is None:
            raise DorisError("the table was dropped meanwhile")
        return found

    def put_table(self, cursor: duckdb.DuckDBPyConnection, table: Table) -> None:
        """Write a table's definition, new or changed."""
        cursor.execute("DELETE FROM meta.tables WHERE id = ?", [table.id])
        cursor.execute("INSERT INTO meta.tables VALUES (?, ?)", [table.id, json.dumps(table.to_dict())])
        tables = self._catalog[table.database]
        for name in [n for n, t in tables.items() if t.id == table.id]:
            del tables[name]
        tables[table.name] = table

    def drop_table(self, cursor: duckdb.DuckDBPyConnection, table: Table) -> None:
        if not table.is_view:
            cursor.execute(f"DROP TABLE {table.relation}")
        cursor.execute("DELETE FROM meta.tables WHERE id = ?", [table.id])
        del self._catalog[table.database][table.name]

    # -- jobs

    def load_jobs(self) -> list[dict[str, Any]]:
        """The schema change jobs that were recorded, oldest first."""
        with self._db.cursor() as cursor:
            rows = cursor.execute("SELECT definition FROM meta.alter_jobs ORDER BY id").fetchall()
        return [json.loads(definition) for (definition,) in rows]

    def put_job(self, cursor: duckdb.DuckDBPyConnection, job_id: int, data: dict[str, Any]) -> None:
        """Record a job as it is now, in the caller's transaction; forget those that are long past."""
        cursor.execute(
            "DELETE FROM meta.alter_jobs WHERE id = ? OR id <= ?", [job_id, job_id - _RECORDED_JOBS]
        )
        cursor.execute("INSERT INTO meta.alter_jobs VALUES (?, ?)", [job_id, json.dumps(data)])

    # -- labels

    def begin_label(self, database: str, label: str, txn_id: int) -> Label | None:
        """Take a label for a transaction that starts; where it is taken already, give its state instead."""
        with self.write_lock:
            running = self._running.get((database, label))
            if running is not None:
                return Label(running, "PREPARE")
            found = self.find_label(database, label)
            if found is None:
                self._running[database, label] = txn_id
            return found

    def find_label(self, database: str, label: str) -> Label | None:
        """The finished use of a label."""
        with self._db.cursor() as cursor:
            found = cursor.execute(
                "SELECT txn_id, status FROM meta.labels WHERE database = ? AND label = ?", [database, label]
            ).fetchall()
        return Label(*found[0]) if found else None

    def release_label(self, database: str, label: str) -> None:
        """The transaction is over: free its label, unless keep_label has made it permanent."""
        with self.write_lock:
            self._running.pop((database, label), None)

    def keep_label(self, cursor: duckdb.DuckDBPyConnection, database: str, label: str, txn_id: int) -> None:
        """Record a label as VISIBLE, in the transaction that makes its rows visible; forget old ones."""
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        cursor.execute(
            "INSERT INTO meta.labels VALUES (?, ?, ?, 'VISIBLE', ?)", [database, label, txn_id, now]
        )
        cursor.execute(
            "DELETE FROM meta.labels WHERE database = ? AND (finished < ? OR txn_id <= (SELECT txn_id FROM"
            " meta.labels WHERE database = ? ORDER BY txn_id DESC LIMIT 1 OFFSET ?))",
            [database, now - LABEL_KEEP, database, LABELS_PER_DATABASE],
        )

    # -- logs of filtered rows, which a BE serves

    def keep_error_log(self, lines: list[str]) -> str:
        """Keep the reasons of filtered rows; gives the name under which `error_log` finds them."""
        name = f"__shard_0/error_log_insert_stmt_{self.next_number('error_log'):x}"
        with self._counter_lock:
            self._error_logs[name] = "\n".join(lines) + "\n"
            while len(self._error_logs) > _KEPT_ERROR_LOGS:
                self._error_logs.popitem(last=False)
        return name

    def error_log(self, name: str) -> str | None:
        return self._error_logs.get(name)
