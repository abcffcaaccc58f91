# ruff: noqa: S608 - makes SQL; names are numbers of the emulator's own
"""Loads whose rows are written and not visible yet: the first phase of a two-phase commit, and group commit.

Their rows lie in a table of their own, ``data.held<id>``, and ``meta.held_loads`` says what is to become of
them, so that both are still there after a kill -9. Source: "Stream Load" and "Group Commit" of the Doris
manual; be/src/service/http/action/stream_load_2pc.cpp, FrontendServiceImpl.loadTxn2PCImpl and
DatabaseTransactionMgr of apache/doris.
"""

import datetime as dt
import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.tables.model import Table, identifier
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.tables.write import Staged, WriteOptions, apply, default_value

PRECOMMIT_TIMEOUT = 3600.0  # Doris: stream_load_default_precommit_timeout_second
GROUP_INTERVAL_MS = 10_000  # Doris: the table property group_commit_interval_ms
_KEPT_ABORTED = 200
logger = logging.getLogger("dbint.emulators.doris")


@dataclass(frozen=True, slots=True)
class _Record:
    id: int
    txn_id: int
    database: str
    label: str
    table_id: int
    columns: str
    status: str
    reason: str
    due: dt.datetime


@dataclass(slots=True)
class _Group:
    """Loads that become visible together."""

    label: str
    txn_id: int
    due: float


class HeldLoads:
    """Holds, commits and forgets such loads; safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self.precommit_timeout = PRECOMMIT_TIMEOUT
        self._storage = storage
        self._groups: dict[int, _Group] = {}
        self._timers: set[threading.Timer] = set()
        cursor = storage.cursor()
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS meta.held_loads (id BIGINT, txn_id BIGINT, database VARCHAR, label"
            " VARCHAR, table_id BIGINT, columns VARCHAR, status VARCHAR, reason VARCHAR, due TIMESTAMP)"
        )
        waiting = cursor.execute("SELECT DISTINCT txn_id FROM meta.held_loads WHERE status = 'COMMITTED'")
        for (txn_id,) in waiting.fetchall():  # what Doris would replay from its write-ahead log
            self._publish_or_log(txn_id)
        cursor.close()

    def close(self) -> None:
        """Stop waiting; what is held stays in the data file."""
        with self._storage.write_lock:
            for timer in self._timers:
                timer.cancel()

    # -- group commit, and rows that become visible later

    def join_group(self, table: Table) -> tuple[str, int, float]:
        """Label, transaction and due time of the group that collects loads into a table just now."""
        with self._storage.write_lock:
            group = self._groups.get(table.id)
            now = time.monotonic()
            if group is None or group.due <= now:
                interval = int(table.properties.get("group_commit_interval_ms", GROUP_INTERVAL_MS)) / 1000
                group = _Group(group_label(), self._storage.next_txn(), now + interval)
                self._groups[table.id] = group
            return group.label, group.txn_id, max(0.0, group.due - now)

    def hold_committed(
        self, cursor: duckdb.DuckDBPyConnection, staged: Staged, label: str, txn_id: int, delay: float
    ) -> None:
        """Keep rows that are committed and become visible after ``delay`` seconds; in a transaction."""
        self._hold(cursor, staged, label, txn_id, "COMMITTED", delay)
        timer = threading.Timer(delay, self._publish_or_log, [txn_id])
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def _publish_or_log(self, txn_id: int) -> None:
        with self._storage.write_lock:
            self._timers = {timer for timer in self._timers if timer.is_alive()}
            try:
                self._publish(txn_id)
            except duckdb.Error:  # the emulator stops: the next start does it
                return
            except DorisError:
                logger.exception("rows of the group commit %d cannot become visible", txn_id)

    def _publish(self, txn_id: int) -> None:
        cursor = self._storage.cursor()
        try:
            with self._storage.transaction(cursor):
                for record in self._records(cursor, "txn_id = ? AND status = 'COMMITTED'", txn_id):
                    self._apply(cursor, record)
                    self._forget(cursor, record)
        finally:
            cursor.close()

    # -- two-phase commit

    def precommit(self, cursor: duckdb.DuckDBPyConnection, staged: Staged, label: str, txn_id: int) -> None:
        """Keep the rows of a load until its commit or abort, and its label with them; in a transaction."""
        self._hold(cursor, staged, label, txn_id, "PRECOMMITTED", self.precommit_timeout)
        cursor.execute(
            "INSERT INTO meta.labels VALUES (?, ?, ?, 'PRECOMMITTED', ?)",
            [staged.table.database, label, txn_id, _now()],
        )

    def operate(self, database: str, operation: str, txn_id: int | None, label: str) -> None:
        """``commit`` or ``abort`` a load, by its transaction or its label. Raises DorisError."""
        self.expire()
        if not self._storage.has_database(database):
            raise DorisError(f"unknown database, database={database}")
        cursor = self._storage.cursor()
        try:
            with self._storage.transaction(cursor):
                record = self._find(cursor, database, txn_id, label)
                if operation == "commit":
                    self._commit(cursor, record)
                else:
                    self._abort(cursor, record, "User Abort")
        finally:
            cursor.close()

    def expire(self, *, at_once: bool = False) -> None:
        """Abort what has waited for its commit longer than Doris lets it wait; all of it with ``at_once``."""
        cursor = self._storage.cursor()
        try:
            condition = "status = 'PRECOMMITTED'" + ("" if at_once else " AND due <= ?")
            values = [] if at_once else [_now()]
            if not self._records(cursor, condition, *values):
                return
            with self._storage.transaction(cursor):
                for record in self._records(cursor, condition, *values):
                    self._abort(cursor, record, "timeout by txn manager")
        finally:
            cursor.close()

    def waits_on(self, table_id: int) -> bool:
        """Whether a load into the table waits to become visible: a schema change of Doris waits for it."""
        cursor = self._storage.cursor()
        try:
            return bool(self._records(cursor, "table_id = ? AND status <> 'ABORTED'", table_id))
        finally:
            cursor.close()

    # -- inside; the caller holds a transaction

    def _hold(
        self,
        cursor: duckdb.DuckDBPyConnection,
        staged: Staged,
        label: str,
        txn_id: int,
        status: str,
        seconds: float,
    ) -> None:
        held = self._storage.next_number("held_load")
        cursor.execute(
            f'CREATE TABLE {_relation(held)} AS SELECT * FROM {staged.relation} WHERE "__reason" IS NULL'
        )
        table = staged.table
        due = _now() + dt.timedelta(seconds=seconds)
        cursor.execute(
            "INSERT INTO meta.held_loads VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)",
            [held, txn_id, table.database, label, table.id, _signature(table), status, due],
        )

    def _find(
        self, cursor: duckdb.DuckDBPyConnection, database: str, txn_id: int | None, label: str
    ) -> _Record:
        if txn_id is None:
            found = self._records(
                cursor, "database = ? AND label = ? AND status = 'PRECOMMITTED'", database, label
            )
            if not found:
                raise DorisError(f"transaction not found, label={label}")
            return found[0]
        found = self._records(cursor, "database = ? AND txn_id = ?", database, txn_id)
        if found:
            return found[0]
        used = cursor.execute(
            "SELECT label FROM meta.labels WHERE database = ? AND txn_id = ?", [database, txn_id]
        ).fetchall()
        if used:
            return _Record(0, txn_id, database, used[0][0], 0, "", "VISIBLE", "", _now())
        raise DorisError(f"transaction [{txn_id}] not found")

    def _commit(self, cursor: duckdb.DuckDBPyConnection, record: _Record) -> None:
        if record.status == "ABORTED":
            raise DorisError(
                f"transaction [{record.txn_id}] is already aborted. abort reason: {record.reason}"
            )
        if record.status != "PRECOMMITTED":
            raise DorisError(
                f"transaction [{record.txn_id}] is already {record.status.lower()}, not pre-committed."
            )
        self._apply(cursor, record)
        cursor.execute(
            "UPDATE meta.labels SET status = 'VISIBLE', finished = ? WHERE database = ? AND txn_id = ?",
            [_now(), record.database, record.txn_id],
        )
        self._forget(cursor, record)

    def _abort(self, cursor: duckdb.DuckDBPyConnection, record: _Record, reason: str) -> None:
        if record.status != "PRECOMMITTED":
            raise DorisError(f"transaction [{record.txn_id}] is already {record.status}, could not abort.")
        cursor.execute(f"DROP TABLE {_relation(record.id)}")
        cursor.execute(
            "DELETE FROM meta.labels WHERE database = ? AND txn_id = ?", [record.database, record.txn_id]
        )
        cursor.execute(
            "UPDATE meta.held_loads SET status = 'ABORTED', reason = ? WHERE id = ?", [reason, record.id]
        )
        cursor.execute(
            "DELETE FROM meta.held_loads WHERE status = 'ABORTED' AND id <= ?", [record.id - _KEPT_ABORTED]
        )

    def _apply(self, cursor: duckdb.DuckDBPyConnection, record: _Record) -> None:
        """Merge the rows into their table; into nothing, where that has been dropped, as in Doris."""
        table = next((t for t in self._storage.tables() if t.id == record.table_id), None)
        if table is None:
            return
        relation = _relation(record.id)
        if _signature(table) != record.columns:
            relation = _with_new_columns(relation, table, record)
        if table.partitioning is not None:  # what has been dropped since takes no rows
            unchecked = replace(table.partitioning, partitions=())
            table = table.with_(partitioning=unchecked)
        apply(cursor, Staged(self._storage, table, relation, 0, 0))

    def _forget(self, cursor: duckdb.DuckDBPyConnection, record: _Record) -> None:
        cursor.execute(f"DROP TABLE {_relation(record.id)}")
        cursor.execute("DELETE FROM meta.held_loads WHERE id = ?", [record.id])

    @staticmethod
    def _records(cursor: duckdb.DuckDBPyConnection, condition: str, *values: Any) -> list[_Record]:
        found = cursor.execute(
            f"SELECT * FROM meta.held_loads WHERE {condition} ORDER BY id", list(values)
        ).fetchall()
        return [_Record(*row) for row in found]


def group_label() -> str:
    return f"group_commit_{secrets.token_hex(8)}_{secrets.token_hex(8)}"


def _relation(held: int) -> str:
    return f'"data"."held{held}"'


def _with_new_columns(relation: str, table: Table, record: _Record) -> str:
    """The rows with the defaults of columns that the table has got meanwhile. Raises NotEmulatedError where
    others have changed, for then a column may have been renamed.
    """
    before = dict(json.loads(record.columns))
    now = {c.name: c.type.sql for c in table.columns}
    if any(now.get(name) != kind for name, kind in before.items()):
        raise NotEmulatedError("the commit of a load whose columns have been dropped or changed since")
    options = WriteOptions(partial=True)
    added = [
        f"{default_value(c, options)} AS {identifier(c.name)}" for c in table.columns if c.name not in before
    ]
    return f"(SELECT *, {', '.join(added)} FROM {relation})"


def _signature(table: Table) -> str:
    return json.dumps([[c.name, c.type.sql] for c in table.columns])


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
