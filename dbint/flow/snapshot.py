"""The first load: what the tables hold, sent as messages (op r) before the first change of theirs.

A table is read in chunks, in the order of its key; csrc/core/cdc/snapshot.h says how, and why that is exact.
After each chunk that Kafka has, a row of ``dbint.flow_snapshot`` in the source database says how far it is,
so that a process that was killed is followed by one that repeats no more than a chunk.

The rows of a table carry one sequence: a *point* in the commit log such that every commit before it is seen
by whoever reads after it. The consistent point of a slot is one, for making a slot waits until that is so. A
position at which a stream stands is none: a commit can be decoded, sent and confirmed before it is visible to
other sessions, and a row read in between would hide it.
"""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from psycopg import sql

import dbint
from dbint import errors
from dbint._core import Outlet, Pool, TableSnapshot
from dbint.flow.config import FlowConfig
from dbint.flow.positions import format_lsn, parse_lsn
from dbint.flow.topics import open_outlet

logger = logging.getLogger("dbint.flow")

State = Literal["pending", "running", "done"]

_Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA_SQL = """
CREATE SCHEMA IF NOT EXISTS dbint;
CREATE TABLE IF NOT EXISTS dbint.flow_snapshot (
    flow text NOT NULL,
    relation text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'running', 'done')),
    chunk jsonb NOT NULL DEFAULT '{}',
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    total_estimate bigint,
    started_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    consistent_point pg_lsn,
    PRIMARY KEY (flow, relation)
);
COMMENT ON TABLE dbint.flow_snapshot IS 'How far the first loads of dbint''s flows are';
"""
"""What a role that may create a schema runs once, where the flow's role may not."""

# Layouts that change faster than a table can be read once are somebody's mistake.
RESTARTS = 20


@dataclass(frozen=True, slots=True)
class TableProgress:
    """How far the first load of one table is.

    ``rows`` and ``bytes`` were sent, ``total`` is the planner's estimate of all rows. ``rate`` is in rows a
    second and ``eta`` in seconds; ``share`` is from 0 to 1.
    """

    table: str
    state: State
    rows: int = 0
    bytes: int = 0
    total: int | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    point: int | None = None

    @property
    def share(self) -> float | None:
        """What part of the table was sent; None while that is not known. Below 1 until it is done."""
        if self.state == "done":
            return 1.0
        if not self.total:
            return None
        return min(self.rows / self.total, 0.99)

    @property
    def rate(self) -> float | None:
        """Rows a second since it began."""
        if self.started_at is None or self.updated_at is None:
            return None
        seconds = (self.updated_at - self.started_at).total_seconds()
        return self.rows / seconds if seconds > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds that are left, if it goes on like this."""
        if self.state == "done":
            return 0.0
        rate = self.rate
        if not rate or self.total is None:
            return None
        return max(self.total - self.rows, 0) / rate

    def to_json(self) -> dict[str, Any]:
        """All of it as values that JSON knows."""
        return {
            "table": self.table,
            "state": self.state,
            "rows": self.rows,
            "bytes": self.bytes,
            "total_estimate": self.total,
            "share": self.share,
            "rows_per_s": self.rate,
            "eta_s": self.eta,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "updated_at": self.updated_at.isoformat() if self.updated_at else None,
            "consistent_point": format_lsn(self.point) if self.point is not None else None,
        }

    def __str__(self) -> str:
        text = f"{self.table}: {self.rows:,} rows"
        if self.state == "done":
            return f"{text}, done"
        if self.share is not None:
            text += f" of about {self.total:,} ({self.share:.0%})"
        if self.rate is not None:
            text += f", {self.rate:,.0f} rows/s"
        if self.eta is not None:
            text += f", about {self.eta:,.0f} s left"
        return text


@dataclass(frozen=True, slots=True)
class _Source:
    """A table as its first load reads it. ``columns`` None: all that are not generated."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    columns: tuple[str, ...] | None
    filter: str | None


@dataclass(slots=True)
class _Place:
    """Where the load of a table is; ``again``: it was sent before, and what is older is to go at the end."""

    progress: TableProgress
    point: int
    after: tuple[str, ...] | None
    layout: str | None
    again: bool

    def chunk(self) -> str:
        return json.dumps({"after": self.after, "layout": self.layout, "again": self.again})


class Snapshot:
    """The first loads of a flow. ``on_progress`` is called after each chunk, on the thread that runs it.

    One thread calls :meth:`run`; :meth:`stop` may come from any.
    """

    def __init__(
        self, config: FlowConfig, *, on_progress: Callable[[TableProgress], None] = lambda _progress: None
    ) -> None:
        self._config, self._on_progress = config, on_progress
        self.seen: list[TableProgress] = []
        """How far the tables were when that was noted last, without asking the server."""
        self._lock = threading.Lock()  # guards what stop() reaches for
        self._stopped = False
        self._reader: TableSnapshot | None = None
        self._control: _Connection | None = None

    def pending(self) -> list[str]:
        """The flow's tables whose load is not done."""
        with self._controlled() as control:
            return self._pending(control)

    def reset(self, tables: Iterable[str] | None = None) -> None:
        """Let the next :meth:`run` send these tables, or all, from the first row.

        What they had sent before is not in vain: it is followed by all that is there now, and then by op t,
        which removes what is older. For a slot that is new, and for tables whose target is to be mended.
        Raises ConfigurationError for a table that is not the flow's.
        """
        chosen = list(self._config.tables if tables is None else tables)
        if strange := sorted(set(chosen) - set(self._config.tables)):
            raise errors.ConfigurationError(
                f"flow {self._config.name} has no table {strange[0]}: it has {', '.join(self._config.tables)}"
            )
        with self._controlled() as control:
            control.execute(
                "UPDATE dbint.flow_snapshot SET state = 'pending', rows = 0, bytes = 0, started_at = NULL, "
                "updated_at = now(), consistent_point = NULL, chunk = '{\"again\": true}' "
                "WHERE flow = %s AND relation = ANY(%s)",
                (self._config.name, chosen),
            )

    def run(self, point: int | None = None) -> list[TableProgress]:
        """Send what is pending; returns how far all tables are.

        ``point`` is the consistent point of the flow's slot where that was made just now, and None for
        tables that come later: for those one is found, and the stream must not be running meanwhile.
        After an error, or a :meth:`stop`, another run goes on where this one was. Raises
        ConfigurationError for what only a person can mend, OperationalError for what may pass, a plain
        return after ``stop()``.
        """
        try:
            with self._controlled() as control:
                if pending := self._pending(control):
                    self.seen = self.progress(control)
                    self._take_lock(control)
                    if point is None:
                        point = self._find_point(control, pending)
                    self._send(control, pending, point)
                self.seen = self.progress(control)
        except errors.OperationalError:
            if not self._stopped:
                raise
        return self.seen

    def progress(self, control: _Connection | None = None) -> list[TableProgress]:
        """How far all tables of the flow are."""
        if control is None:
            with self._controlled() as control:
                return self.progress(control)
        found = {progress.table: progress for progress in read_progress(control, self._config.name)}
        return [found.get(table, TableProgress(table, "pending")) for table in self._config.tables]

    def stop(self) -> None:
        """Let :meth:`run` end at once. What is delivered and noted stays so."""
        with self._lock:
            self._stopped = True
            reader, control = self._reader, self._control
        if reader is not None:
            reader.stop()
        elif control is not None:
            control.cancel()  # it may be waiting for a slot

    # -- before the first row

    @contextmanager
    def _controlled(self) -> Iterator[_Connection]:
        """A connection for what is noted; psycopg's errors become dbint's."""
        with translated(self._config.source.name), self._config.source.connect() as control:
            with self._lock:
                self._control = control
            try:
                control.execute("SET statement_timeout = 0")  # a slot, or a lock, may take its time
                _install(control)
                yield control
            finally:
                with self._lock:
                    self._control = None

    def _pending(self, control: _Connection) -> list[str]:
        done = {row.table for row in read_progress(control, self._config.name) if row.state == "done"}
        return [table for table in self._config.tables if table not in done]

    def _take_lock(self, control: _Connection) -> None:
        """One process at a time; the lock goes with the connection."""
        taken = control.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('dbint.flow ' || %s, 0))", (self._config.name,)
        ).fetchone()
        if taken is None or not taken[0]:
            raise errors.OperationalError(
                f"flow {self._config.name}: another process is at the first load, or was and the server has "
                "not noticed its end yet"
            )
        if self._config.mode != "full_load_and_cdc":
            return
        active = control.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s AND active",
            (self._config.slot,),
        ).fetchone()
        if active is not None:
            raise errors.OperationalError(
                f"flow {self._config.name}: slot {self._config.slot} is read by process {active[0]} of the "
                "server; tables are loaded while the stream stands still"
            )

    def _find_point(self, control: _Connection, pending: Sequence[str]) -> int | None:
        """A point for tables that have none yet; None: none is needed."""
        known = {row.table for row in read_progress(control, self._config.name) if row.point is not None}
        if known.issuperset(pending):
            return None
        if self._config.mode == "full_load_only":  # no change will follow that a row could hide
            row = control.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            return parse_lsn(row[0]) if row else None
        return fresh_point(control)

    # -- tables

    def _send(self, control: _Connection, tables: Sequence[str], point: int | None) -> None:
        config = self._config
        outlet = open_outlet(config)
        with Pool(config.source.conninfo(), name=f"flow {config.name} snapshot", max_size=1) as pool:
            for table in tables:
                for _ in range(RESTARTS):
                    if self._stopped or self._send_table(control, pool, outlet, table, point):
                        break
                else:
                    raise errors.OperationalError(
                        f"{table} was altered {RESTARTS} times while it was read for the first load"
                    )

    def _send_table(
        self, control: _Connection, pool: Pool, outlet: Outlet, table: str, point: int | None
    ) -> bool:
        """Send a table to its end, from where it is. False: it was altered, and begins again."""
        source = self._find_table(control, table)
        place = self._begin(control, table, source, point)
        config = self._config
        reader = TableSnapshot(
            outlet,
            source.schema,
            source.name,
            source.oid,
            topic=config.topic(table),
            prefix=config.prefix,
            database=control.info.dbname,
            version=f"dbint {dbint.__version__}",
            point=place.point,
            only=not source.partitioned,
            columns=source.columns,
            filter=source.filter,
            dead_letter_topic=config.dead_letter_topic if config.too_large == "dead_letter" else None,
        )
        with self._lock:
            self._reader = reader
            if self._stopped:
                reader.stop()
        try:
            last = False
            while not last:
                changed, last, rows, size, layout, key, letters = reader.chunk(
                    pool, layout=place.layout, after=place.after, rows=config.chunk_rows
                )
                if changed or self._find_table(control, table) != source:
                    logger.warning("%s was altered while it was read: its first load begins again", table)
                    self._begin_again(control, place)
                    return False
                if letters:
                    logger.warning(
                        "%s: %d rows are too large for Kafka; notes about them are in %s",
                        table,
                        letters,
                        config.dead_letter_topic,
                    )
                if last and place.again:
                    reader.sweep()
                place.layout, place.after = layout, key or place.after
                self._note(control, place, rows, size, "done" if last else "running")
        except errors.DatabaseError as error:
            if self._stopped:
                return True
            passing = isinstance(error, errors.OperationalError)
            if passing or self._find_table(control, table) == source:
                raise
            self._begin_again(control, place)  # what was asked for was altered in between
            return False
        finally:
            with self._lock:
                self._reader = None
        return True

    def _find_table(self, control: _Connection, table: str) -> _Source:
        schema, _, name = table.partition(".")
        row = control.execute(
            "SELECT c.oid::bigint, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            (schema, name),
        ).fetchone()
        if row is None:
            raise errors.ConfigurationError(f"{table}: PostgreSQL has no such table")
        columns, where = None, None
        if self._config.mode == "full_load_and_cdc":
            columns, where = _published(control, self._config.publication, schema, name, partitioned=row[1])
        return _Source(row[0], schema, name, row[1], columns, where)

    def _begin(self, control: _Connection, table: str, source: _Source, point: int | None) -> _Place:
        """The place of a table that was begun, or a new one, which is noted."""
        row = control.execute(
            "SELECT state, chunk FROM dbint.flow_snapshot WHERE flow = %s AND relation = %s",
            (self._config.name, table),
        ).fetchone()
        chunk: Mapping[str, Any] = row[1] if row else {}
        again = bool(chunk.get("again"))
        if row is not None and row[0] == "running":
            (progress,) = (p for p in read_progress(control, self._config.name) if p.table == table)
            after = tuple(chunk["after"]) if chunk.get("after") else None
            if progress.point is not None:
                return _Place(progress, progress.point, after, chunk.get("layout"), again)
        if point is None:
            raise errors.InterfaceError(f"{table} has no point to be loaded at")
        now = datetime.now(UTC)
        progress = TableProgress(
            table, "running", 0, 0, _estimate(control, source), started_at=now, updated_at=now, point=point
        )
        place = _Place(progress, point, None, None, again)
        control.execute(
            "INSERT INTO dbint.flow_snapshot AS known (flow, relation, state, chunk, total_estimate, "
            "started_at, consistent_point) VALUES (%s, %s, 'running', %s, %s, now(), %s::pg_lsn) "
            "ON CONFLICT (flow, relation) DO UPDATE SET state = 'running', chunk = EXCLUDED.chunk, rows = 0, "
            "bytes = 0, total_estimate = EXCLUDED.total_estimate, started_at = now(), updated_at = now(), "
            "consistent_point = EXCLUDED.consistent_point",
            (self._config.name, table, place.chunk(), progress.total, format_lsn(point)),
        )
        return place

    def _begin_again(self, control: _Connection, place: _Place) -> None:
        """From the first row, at the same point: what was sent is sent again, in its new shape."""
        place.after = place.layout = None
        place.progress = replace(place.progress, rows=0, bytes=0)
        self._note(control, place, 0, 0, "running")

    def _note(self, control: _Connection, place: _Place, rows: int, size: int, state: State) -> None:
        progress = place.progress
        place.progress = progress = replace(
            progress,
            state=state,
            rows=progress.rows + rows,
            bytes=progress.bytes + size,
            updated_at=datetime.now(UTC),
        )
        control.execute(
            "UPDATE dbint.flow_snapshot SET state = %s, chunk = %s, rows = %s, bytes = %s, "
            "updated_at = now() WHERE flow = %s AND relation = %s",
            (state, place.chunk(), progress.rows, progress.bytes, self._config.name, progress.table),
        )
        self.seen = [progress if known.table == progress.table else known for known in self.seen]
        logger.info("first load of %s", progress)
        self._on_progress(progress)


def read_progress(connection: _Connection, flow: str) -> list[TableProgress]:
    """How far the first loads of a flow are, as its source database has it; a table not begun is missing."""
    installed = connection.execute("SELECT to_regclass('dbint.flow_snapshot') IS NOT NULL").fetchone()
    if installed is None or not installed[0]:
        return []
    rows = connection.execute(
        "SELECT relation, state, rows, bytes, total_estimate, started_at, updated_at, consistent_point::text "
        "FROM dbint.flow_snapshot WHERE flow = %s ORDER BY relation",
        (flow,),
    ).fetchall()
    return [
        TableProgress(table, state, sent, size, total, begun, noted, parse_lsn(point) if point else None)
        for table, state, sent, size, total, begun, noted, point in rows
    ]


def fresh_point(connection: _Connection) -> int:
    """A point in the log such that who reads from now on sees every commit before it.

    It is the consistent point of a slot made for that and dropped again: making one waits until the
    transactions that are running now have ended. Raises ConfigurationError when slots cannot be made.
    """
    name = f"dbint_point_{secrets.token_hex(8)}"
    try:
        row = connection.execute(
            "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput', true)", (name,)
        ).fetchone()
        connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))
    except psycopg.errors.ConfigurationLimitExceeded as error:
        raise errors.ConfigurationError(
            "a table that is loaded while a slot is there needs a second one for a moment, and all are in "
            "use: raise max_replication_slots by one"
        ) from error
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise errors.ConfigurationError(
            f"the server cannot make a replication slot: {_primary(error)} (wal_level must be logical)"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise errors.ConfigurationError(
            f"the flow's role may not make a replication slot: {_primary(error)} (ALTER ROLE … REPLICATION)"
        ) from error
    if row is None:
        raise errors.DatabaseError("the server made a slot and did not say where")
    return parse_lsn(row[0])


@contextmanager
def translated(server: str) -> Iterator[None]:
    """psycopg's errors as dbint's, with the SQLSTATE and the server's own words."""
    try:
        yield
    except psycopg.Error as error:
        passing = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        kind = errors.OperationalError if passing else errors.DatabaseError
        made = kind(f"PostgreSQL ({server}): {_primary(error)}")
        made.sqlstate = error.sqlstate
        raise made from error


def _primary(error: psycopg.Error) -> str:
    """What went wrong, without the server's DETAIL, which may quote rows."""
    return error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__


def _install(control: _Connection) -> None:
    """Make the table of progress where it is missing."""
    there = control.execute("SELECT to_regclass('dbint.flow_snapshot') IS NOT NULL").fetchone()
    if there is not None and there[0]:
        return
    try:
        control.execute(SCHEMA_SQL)
    except psycopg.errors.UniqueViolation:  # another process was at it
        return
    except psycopg.errors.InsufficientPrivilege as error:
        raise errors.ConfigurationError(
            "the flow's role may not make the table dbint.flow_snapshot in the source database: let it "
            "(GRANT CREATE ON DATABASE), or run dbint.flow.snapshot.SCHEMA_SQL once and grant the table to it"
        ) from error


def _published(
    control: _Connection, publication: str, schema: str, name: str, *, partitioned: bool
) -> tuple[tuple[str, ...] | None, str | None]:
    """The columns and the filter that a publication has for a table; (None, None): all of it.

    Raises ConfigurationError when it does not publish the table.
    """
    version = control.info.server_version
    wanted = "NULL, NULL"
    if version >= 180000:
        wanted = "p.attnames::text[], p.rowfilter"
    elif version >= 150000:  # where the view names generated columns, which are not sent
        wanted = (
            "(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a "
            "WHERE a.attrelid = format('%%I.%%I', p.schemaname, p.tablename)::regclass "
            "AND a.attname = ANY(p.attnames) AND a.attgenerated = ''), p.rowfilter"
        )
    row = control.execute(
        sql.SQL(
            "SELECT {} FROM pg_publication_tables p WHERE pubname = %s AND schemaname = %s AND tablename = %s"
        ).format(sql.SQL(wanted)),
        (publication, schema, name),
    ).fetchone()
    if row is not None:
        return (tuple(row[0]) if row[0] is not None else None, row[1])
    if partitioned:
        raise errors.ConfigurationError(
            f"publication {publication} does not publish {schema}.{name} as one table: add it, and "
            f"ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)"
        )
    raise errors.ConfigurationError(
        f"publication {publication} does not publish {schema}.{name}: "
        f"ALTER PUBLICATION {publication} ADD TABLE …"
    )


def _estimate(control: _Connection, source: _Source) -> int | None:
    """How many rows the planner expects."""
    query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {} {} {}").format(
        sql.SQL("" if source.partitioned else "ONLY"),
        sql.Identifier(source.schema, source.name),
        sql.SQL("") if source.filter is None else sql.SQL("WHERE ") + sql.SQL(source.filter),
    )
    row = control.execute(query).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else None
