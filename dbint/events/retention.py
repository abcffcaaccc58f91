"""Retention: what is older than its days goes, and every removal is written down.

A partition whose whole range is past goes by DROP TABLE, which reads nothing; rows of the DEFAULT partition
and of tables that are not partitioned go in small batches. ``dbint.retention_log`` says what went, when and
by whom. One process does it at a time, by an advisory lock, and the interval is kept across all of them.
"""

import getpass
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, cast

import psycopg
from psycopg import sql

from dbint import _core
from dbint.events import partitions, tables
from dbint.events.config import DatabaseConfig
from dbint.events.partitions import Connection, Partition

LEADER_LOCK = 0x64626E_745245  # "dbntRE"
BATCH = 5000  # rows a DELETE
PAUSE = 0.05  # seconds between two of them: others want to write, too
COUNTED_BYTES = 8 << 20  # larger partitions go with the planner's estimate of their rows
CHAINS_KEPT_DAYS = 90  # of the ledger: hardly a journal waits for so long

Action = Literal["drop_partition", "delete_rows"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of ``table`` (``schema.table``) go ``days`` after the time in ``column``; None: never.

    ``interval`` is that of the partitions to be made ahead of time; None: none are made.
    """

    table: str
    column: str
    days: float | None
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that went, or with a dry run would go. ``exact`` is False where rows is an estimate."""

    table: str
    action: Action
    partition: str | None
    rows: int
    exact: bool
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What a run did. ``ran`` is False when another process was at it, or when it was not due."""

    ran: bool
    dry_run: bool = False
    removals: tuple[Removal, ...] = ()
    partitions_made: tuple[str, ...] = ()
    chains_collected: int = 0
    errors: tuple[str, ...] = ()
    duration_ms: float = 0.0

    @property
    def removed_rows(self) -> int:
        """Of all removals together."""
        return sum(removal.rows for removal in self.removals)


def rules(config: DatabaseConfig) -> list[Rule]:
    """The rules of ``config``: the four tables, then tables of its user."""
    own = [
        Rule(
            table.qualified,
            "timestamp",
            days := config.retention_days(table.name),
            partitions.choose_interval(config.partition_interval, days),
        )
        for table in tables.TABLES
    ]
    return own + [
        Rule(table, rule.column, rule.days or None) for table, rule in config.retention_tables.items()
    ]


def apply_retention(
    connection: Connection,
    config: DatabaseConfig,
    *,
    dry_run: bool = False,
    only_when_due: bool = False,
) -> RetentionReport:
    """Applies the rules of ``config``.

    ``dry_run`` removes and makes nothing and says what would go. ``only_when_due``: not when any process has
    done it within ``retention_interval``. What goes wrong with one table is in the report's ``errors`` and
    does not keep the others from their turn. Raises psycopg.Error when the connection fails. The connection
    is in autocommit mode, and to the server itself: a pooler that hands out transactions loses the lock.
    """
    with _leadership(connection) as leader:
        if not leader or (only_when_due and not _is_due(connection, config.retention_interval)):
            return RetentionReport(ran=False, dry_run=dry_run)
        return _Run(connection, config, dry_run).everything()


def ensure_partitions(connection: Connection, config: DatabaseConfig) -> list[str]:
    """Makes the partitions of now and of the days ahead that are missing, unless another process is at it."""
    with _leadership(connection) as leader:
        if not leader:
            return []
        run = _Run(connection, config, dry_run=False)
        for rule in rules(config):
            run.make_partitions(rule)
        return run.made


def install(connection: Connection, config: DatabaseConfig) -> None:
    """Makes what is missing of schemas, tables, ledger and partitions. The connection is in autocommit."""
    with connection.transaction():
        # One at a time: two CREATE ... IF NOT EXISTS of the same name can fail each other.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LEADER_LOCK,))
        for statement in (*tables.statements(), _core.ledger_sql()):
            connection.execute(statement)
    ensure_partitions(connection, config)


@contextmanager
def _leadership(connection: Connection) -> Iterator[bool]:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,)).fetchone()
    leader = row is not None and row[0] is True
    try:
        yield leader
    finally:
        if leader and not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (LEADER_LOCK,))


def _is_due(connection: Connection, interval: float) -> bool:
    row = connection.execute(
        sql.SQL("SELECT max(at) < now() - %s FROM {} WHERE action = 'run'").format(_LOG),
        (timedelta(seconds=interval),),
    ).fetchone()
    return row is None or row[0] in (None, True)


_LOG = partitions.identifier(tables.RETENTION_LOG)


@dataclass(slots=True)
class _Run:
    connection: Connection
    config: DatabaseConfig
    dry_run: bool
    removals: list[Removal] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def everything(self) -> RetentionReport:
        began = time.monotonic()
        for rule in rules(self.config):
            try:
                self._apply(rule)
            except psycopg.Error as error:
                if self.connection.closed:
                    raise
                self.errors.append(f"{rule.table}: {_primary(error)}")
        chains = 0 if self.dry_run else self._collect_chains()
        duration_ms = (time.monotonic() - began) * 1000
        if not self.dry_run:
            self._log("run", removed_rows=self._removed_rows(), duration_ms=duration_ms)
        return RetentionReport(
            ran=True,
            dry_run=self.dry_run,
            removals=tuple(self.removals),
            partitions_made=tuple(self.made),
            chains_collected=chains,
            errors=tuple(self.errors),
            duration_ms=duration_ms,
        )

    def make_partitions(self, rule: Rule) -> None:
        """Partitions ahead of time, and for what lies in the DEFAULT partition."""
        if rule.interval is None:
            return
        for made in partitions.ensure_partitions(
            self.connection,
            rule.table,
            rule.column,
            rule.interval,
            days_ahead=self.config.partitions_ahead_days,
            not_before=self._cutoff(rule),
        ):
            self.made.append(str(made))
            self._log("make_partition", rule, made)

    def _apply(self, rule: Rule) -> None:
        cutoff = self._cutoff(rule)
        by_time = partitions.is_partitioned_by(self.connection, rule.table, rule.column)
        found = partitions.partitions(self.connection, rule.table) if by_time else []
        if cutoff is not None:
            for partition in found:
                if partition.span and partition.span.end and partition.span.end <= cutoff:
                    self._drop(rule, partition, cutoff)
            # A partition goes as a whole: from those that are not past yet, nothing is deleted.
            default = [str(partition) for partition in found if partition.span is None]
            for root in default if by_time else [rule.table]:
                for leaf in self._leaves(root):
                    self._delete(rule, leaf, cutoff)
        # After the deletion: what is past shall not get a partition any more.
        if by_time and not self.dry_run:
            self.make_partitions(rule)

    def _cutoff(self, rule: Rule) -> datetime | None:
        if rule.days is None:
            return None
        # The server's clock: a worker whose own is wrong must not remove what is still wanted.
        row = self.connection.execute("SELECT now() - %s", (timedelta(days=rule.days),)).fetchone()
        return cast(datetime, row[0] if row else None)

    def _leaves(self, table: str) -> list[str]:
        """The tables that hold the rows of ``table``: its partitions, or itself."""
        rows = self.connection.execute(
            """SELECT n.nspname || '.' || c.relname FROM pg_partition_tree(%s) AS tree
               JOIN pg_class c ON c.oid = tree.relid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE tree.isleaf ORDER BY 1""",
            (partitions.regclass(table),),
        ).fetchall()
        return [str(row[0]) for row in rows] or [table]

    def _drop(self, rule: Rule, partition: Partition, cutoff: datetime) -> None:
        rows, exact = self._rows(partition)
        removal = Removal(rule.table, "drop_partition", str(partition), rows, exact, cutoff)
        if not self.dry_run:

            def work() -> None:
                began = time.monotonic()
                self.connection.execute(sql.SQL("DROP TABLE {}").format(partition.identifier))
                self._log(
                    "drop_partition",
                    rule,
                    partition,
                    removed_rows=rows,
                    exact=exact,
                    cutoff=cutoff,
                    duration_ms=(time.monotonic() - began) * 1000,
                )

            partitions.in_short_transaction(self.connection, work)
        self.removals.append(removal)

    def _rows(self, partition: Partition) -> tuple[int, bool]:
        """How many rows there are, and whether that is exact: only small partitions are counted."""
        counted = sql.SQL("SELECT count(*) FROM {}").format(partition.identifier)
        row = self.connection.execute(
            "SELECT pg_relation_size(%s::regclass) <= %s",
            (partitions.regclass(str(partition)), COUNTED_BYTES),
        ).fetchone()
        if row is None or row[0] is not True:
            return partition.rows, False
        row = self.connection.execute(counted).fetchone()
        return cast(int, row[0] if row else 0), True

    def _delete(self, rule: Rule, leaf: str, cutoff: datetime) -> None:
        parts = {"table": partitions.identifier(leaf), "column": sql.Identifier(rule.column)}
        partition = leaf if leaf != rule.table else None
        if self.dry_run:
            row = self.connection.execute(
                sql.SQL("SELECT count(*) FROM ONLY {table} WHERE {column} < %s").format(**parts), (cutoff,)
            ).fetchone()
            removed = cast(int, row[0] if row else 0)
        else:
            removed = self._delete_in_batches(rule, partition, parts, cutoff)
        if removed:
            self.removals.append(Removal(rule.table, "delete_rows", partition, removed, True, cutoff))

    def _delete_in_batches(
        self, rule: Rule, partition: str | None, parts: dict[str, Any], cutoff: datetime
    ) -> int:
        statement = sql.SQL(
            """DELETE FROM ONLY {table} WHERE ctid = ANY (ARRAY(
                   SELECT ctid FROM ONLY {table} WHERE {column} < %s LIMIT %s FOR UPDATE SKIP LOCKED))"""
        ).format(**parts)
        began, removed, entry = time.monotonic(), 0, 0
        while True:
            batch, entry = partitions.in_short_transaction(
                self.connection, partial(self._delete_batch, statement, rule, partition, cutoff, began, entry)
            )
            removed += batch
            if batch < BATCH:
                return removed
            time.sleep(PAUSE)

    def _delete_batch(
        self,
        statement: sql.Composed,
        rule: Rule,
        partition: str | None,
        cutoff: datetime,
        began: float,
        entry: int,
    ) -> tuple[int, int]:
        """Deletes one batch and counts it in the log's row ``entry`` (0: there is none yet)."""
        batch = self.connection.execute(statement, (cutoff, BATCH)).rowcount
        counts = {"removed_rows": batch, "duration_ms": (time.monotonic() - began) * 1000}
        # In the same transaction: no row goes without being written down, whatever happens next.
        if batch and not entry:
            entry = self._log("delete_rows", rule, partition, cutoff=cutoff, **counts)
        elif batch:
            self.connection.execute(
                sql.SQL(
                    "UPDATE {} SET removed_rows = removed_rows + %(removed_rows)s,"
                    " duration_ms = %(duration_ms)s WHERE id = %(id)s"
                ).format(_LOG),
                {**counts, "id": entry},
            )
        return batch, entry

    def _collect_chains(self) -> int:
        """Forgets chains in the ledger that cannot come back."""
        row = self.connection.execute("SELECT to_regprocedure('dbint.collect_chains(interval)')").fetchone()
        if row is None or row[0] is None:
            return 0
        try:
            row = self.connection.execute(
                "SELECT dbint.collect_chains(%s)", (timedelta(days=CHAINS_KEPT_DAYS),)
            ).fetchone()
        except psycopg.Error as error:
            if self.connection.closed:
                raise
            self.errors.append(f"dbint.chains: {_primary(error)}")
            return 0
        collected = cast(int, row[0] if row else 0) or 0
        if collected:
            self._log("collect_chains", removed_rows=collected)
        return collected

    def _removed_rows(self) -> int:
        return sum(removal.rows for removal in self.removals)

    def _log(
        self, action: str, rule: Rule | None = None, partition: Partition | str | None = None, **columns: Any
    ) -> int:
        """Writes a row into the log. Returns its id."""
        span = partition.span if isinstance(partition, Partition) else None
        values = {
            "action": action,
            "relation": rule.table if rule else None,
            "partition": str(partition) if partition else None,
            "range_start": span.start if span else None,
            "range_end": span.end if span else None,
            "done_by": whoami(),
            **columns,
        }
        row = self.connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
                _LOG,
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
            ),
            values,
        ).fetchone()
        return cast(int, row[0] if row else 0)


def whoami() -> str:
    """``user@host, process 4711``: for the log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in /etc/passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip() or type(error).__name__


def describe(report: RetentionReport) -> Sequence[str]:
    """The report in lines for people."""
    if not report.ran:
        return ["nothing done: another process applies the retention policy at this moment"]
    would = "would be " if report.dry_run else ""
    lines = []
    for removal in report.removals:
        rows = f"{removal.rows:,} rows" if removal.exact else f"about {removal.rows:,} rows"
        what = (
            f"partition {removal.partition} {would}dropped ({rows})"
            if removal.action == "drop_partition"
            else f"{rows} {would}deleted" + (f" from {removal.partition}" if removal.partition else "")
        )
        lines.append(f"{removal.table}: {what}, older than {removal.cutoff:%Y-%m-%d %H:%M} UTC")
    lines += [f"{name} made" for name in report.partitions_made]
    if report.chains_collected:
        lines.append(f"{report.chains_collected} forgotten chains removed from the ledger")
    lines += [f"error: {error}" for error in report.errors]
    return lines or [f"nothing {would}removed"]
