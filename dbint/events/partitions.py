"""Partitions by range of a time: looking at them, and making them ahead of time."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import LiteralString, TypeVar, cast

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[object, ...]]
R = TypeVar("R")

LOCK_TIMEOUT = "2s"  # whoever waits for a strong lock makes all others wait behind it
ATTEMPTS = 6

_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of time. None: without an end on that side."""

    start: datetime | None
    end: datetime | None

    def overlaps(self, other: "Span") -> bool:
        """Whether some moment is in both."""
        return _before(self.start, other.end) and _before(other.start, self.end)

    def minus(self, others: Sequence["Span"]) -> list["Span"]:
        """What is left of it, in pieces."""
        left = [self]
        for other in others:
            left = [piece for whole in left for piece in whole._without(other)]
        return left

    def _without(self, other: "Span") -> Iterator["Span"]:
        if not self.overlaps(other):
            yield self
            return
        if other.start is not None and (self.start is None or self.start < other.start):
            yield Span(self.start, other.start)
        if other.end is not None and (self.end is None or other.end < self.end):
            yield Span(other.end, self.end)


def _before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition. ``span`` is None for the DEFAULT one; ``rows`` is an estimate."""

    schema: str
    name: str
    span: Span | None
    rows: int

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def identifier(table: str) -> sql.Identifier:
    """``schema.table`` for use in a statement."""
    return sql.Identifier(*table.split(".", 1))


def regclass(table: str) -> str:
    """``schema.table`` as PostgreSQL reads it where it is asked for ``regclass``."""
    return identifier(table).as_string()


def span_at(interval: str, moment: datetime) -> Span:
    """The day, the week (from Monday on) or the month, in UTC, that ``moment`` lies in."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if interval == "day":
        return Span(day, day + timedelta(days=1))
    if interval == "week":
        monday = day - timedelta(days=day.weekday())
        return Span(monday, monday + timedelta(days=7))
    first = day.replace(day=1)
    return Span(first, (first + timedelta(days=31)).replace(day=1))


def choose_interval(interval: str, retention_days: float | None) -> str:
    """``interval``, or for ``auto`` one that gives a table some twenty to fifty partitions.

    More cost every query that names no time; fewer keep rows for long after they are due.
    """
    if interval != "auto":
        return interval
    if retention_days is None or retention_days > 400:
        return "month"
    return "day" if retention_days <= 45 else "week"


def is_partitioned_by(connection: Connection, table: str, column: str) -> bool:
    """Whether ``table`` is partitioned by range of ``column`` and nothing else."""
    row = connection.execute(
        """SELECT a.attname FROM pg_partitioned_table p
           JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
           WHERE p.partrelid = %s::regclass AND p.partstrat = 'r' AND p.partnatts = 1""",
        (regclass(table),),
    ).fetchone()
    return row is not None and row[0] == column


def partitions(connection: Connection, table: str) -> list[Partition]:
    """The partitions of ``table``, the oldest first, the DEFAULT one last."""
    with connection.transaction():
        # The bounds are read as text.
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        connection.execute("SET LOCAL DateStyle = 'ISO'")
        rows = connection.execute(
            """SELECT n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid),
                      greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::int8
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE i.inhparent = %s::regclass""",
            (regclass(table),),
        ).fetchall()
    found = [
        Partition(str(schema), str(name), _span(str(bounds)), cast(int, estimate))
        for schema, name, bounds, estimate in rows
    ]
    return sorted(found, key=_by_time)


def _by_time(partition: Partition) -> tuple[bool, datetime]:
    start = partition.span.start if partition.span else None
    return partition.span is None, start or datetime.min.replace(tzinfo=UTC)


def _span(bounds: str) -> Span | None:
    matched = _BOUNDS.fullmatch(bounds)
    return Span(_moment(matched[1]), _moment(matched[2])) if matched else None


def _moment(bound: str) -> datetime | None:
    """None for MINVALUE, MAXVALUE and infinity."""
    try:
        moment = datetime.fromisoformat(bound.strip("'"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ensure_partitions(
    connection: Connection,
    table: str,
    column: str,
    interval: str,
    *,
    days_ahead: int,
    not_before: datetime | None = None,
) -> list[Partition]:
    """Makes the partitions from now to ``days_ahead`` that are missing, and those of rows in DEFAULT.

    None is made for what is past ``not_before``. Ranges are cut around partitions that are there, so the
    interval may be changed at any time. Rows that had to go to the DEFAULT partition are moved into the one
    that is made for them. Returns what was made. The connection is in autocommit mode.
    """
    existing = partitions(connection, table)
    default = next((partition for partition in existing if partition.span is None), None)
    now = _server_time(connection)
    moments = [now + timedelta(days=day) for day in range(days_ahead + 1)]
    if default is not None:
        moments += _moments_in(connection, default, column)
    taken = [partition.span for partition in existing if partition.span is not None]
    made = []
    spans = {span_at(interval, moment) for moment in moments}
    for span in sorted(spans, key=lambda span: str(span.start)):
        if not_before is not None and not _before(not_before, span.end):
            continue
        for piece in span.minus(taken):
            made.append(_make(connection, table, column, piece, default))
            taken.append(piece)
    return made


def _server_time(connection: Connection) -> datetime:
    row = connection.execute("SELECT now()").fetchone()
    return cast(datetime, row[0] if row else None)


def _moments_in(connection: Connection, default: Partition, column: str) -> list[datetime]:
    """A moment of each day that has rows in the DEFAULT partition, found without reading all of them.

    A hundred days at most: a wrong clock may have left rows all over time, and each day would become a
    partition.
    """
    query = sql.SQL(
        """WITH RECURSIVE days(day) AS (
               SELECT date_trunc('day', min({column}), 'UTC') FROM ONLY {table}
               UNION ALL
               SELECT (SELECT date_trunc('day', min({column}), 'UTC') FROM ONLY {table}
                       WHERE {column} >= day + interval '24 hours')
               FROM days WHERE day IS NOT NULL
           ) SELECT day FROM days WHERE isfinite(day) LIMIT 100"""
    ).format(column=sql.Identifier(column), table=default.identifier)
    return [cast(datetime, row[0]) for row in connection.execute(query).fetchall()]


def _make(
    connection: Connection, table: str, column: str, span: Span, default: Partition | None
) -> Partition:
    schema, _, name = table.partition(".")
    # A piece of a day, week or month has both ends. Only one cut around somebody's own has a time of day.
    start, end = cast(datetime, span.start), cast(datetime, span.end)
    suffix = f"{start:%Y%m%d}" if start.time() == time_of_day.min else f"{start:%Y%m%d_%H%M%S}"
    made = Partition(schema, f"{name[:47]}_{suffix}", span, 0)
    parts = {
        "parent": identifier(table),
        "new": made.identifier,
        "column": sql.Identifier(column),
        "start": sql.Literal(start),
        "end": sql.Literal(end),
    }

    def work() -> None:
        # ATTACH instead of CREATE ... PARTITION OF: writers of the other partitions go on meanwhile.
        run("CREATE TABLE {new} (LIKE {parent} INCLUDING ALL)")
        if default is not None and _has_rows(connection, default, column, start, end):
            # Nobody may look meanwhile: a query that was planned before sees DEFAULT alone, and would not
            # find the rows there any more.
            run("LOCK TABLE {parent} IN ACCESS EXCLUSIVE MODE")
            parts["default"] = default.identifier
            run(
                """WITH moved AS (
                       DELETE FROM ONLY {default} WHERE {column} >= {start} AND {column} < {end} RETURNING *
                   ) INSERT INTO {new} SELECT * FROM moved"""
            )
        # Rows that came into DEFAULT since we looked make it fail, and it is tried again.
        run("ALTER TABLE {parent} ATTACH PARTITION {new} FOR VALUES FROM ({start}) TO ({end})")

    def run(statement: LiteralString) -> None:
        connection.execute(sql.SQL(statement).format(**parts))

    in_short_transaction(connection, work)
    return made


def _has_rows(
    connection: Connection, partition: Partition, column: str, start: datetime, end: datetime
) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {} WHERE {} >= %s AND {} < %s)").format(
        partition.identifier, sql.Identifier(column), sql.Identifier(column)
    )
    row = connection.execute(query, (start, end)).fetchone()
    return row is not None and row[0] is True


# Somebody else was quicker, or held a lock for too long: later it may be otherwise.
_PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.CheckViolation,
)


def in_short_transaction(connection: Connection, work: Callable[[], R]) -> R:
    """``work()`` in a transaction that waits for no lock longer than LOCK_TIMEOUT, tried several times.

    Raises psycopg.errors.LockNotAvailable when the locks were taken each time.
    """
    for attempt in range(ATTEMPTS):
        try:
            with _transaction(connection):
                return work()
        except _PASSING:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.5, 1) * 2**attempt / 4)  # noqa: S311 - nobody guesses it
    raise AssertionError("not reached")


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
        yield
