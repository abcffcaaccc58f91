"""PostgreSQL -> Kafka: the publication and the slot of a flow, and the core's thread that reads them."""

import logging
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dbint import __version__, _core, errors
from dbint.errors import ConfigurationError
from dbint.flow.config import FlowConfig
from dbint.flow.positions import format_lsn, parse_lsn
from dbint.flow.slots import LagWatch, SlotLostError, SlotState, drop_slot, read_slot
from dbint.flow.snapshot import read_progress
from dbint.flow.topics import open_outlet

logger = logging.getLogger("dbint.flow")

# How often the slot is looked at, in seconds.
WATCH_INTERVAL = 10.0
# How long the server may take to make a slot: it waits for the transactions that are open then.
SLOT_PATIENCE = 60
# The least version of PostgreSQL: publications know partitioned tables and TRUNCATE.
LEAST_VERSION = 130000
FAILOVER_VERSION = 170000

CAPTURE_SQL: LiteralString = """
CREATE SCHEMA IF NOT EXISTS dbint;
CREATE TABLE IF NOT EXISTS dbint.flow_capture (
    flow text PRIMARY KEY,
    slot text NOT NULL,
    system_identifier text NOT NULL,
    point pg_lsn,
    confirmed pg_lsn,
    confirmed_commit timestamptz,
    made_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE dbint.flow_capture IS
    'What each flow has read: what a slot that is gone is missed by, and how far it had come.';
"""

_RESYNC = "begin anew with a first load: manage.py run_flow --resync"

_TABLES = """
SELECT n.nspname || '.' || c.relname, c.relkind, c.relreplident, c.relpersistence,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname = ANY(%s) AND c.relkind IN ('r', 'p')
"""
_PUBLICATION = """
SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot
FROM pg_publication WHERE pubname = %s
"""
_PUBLISHED = """
SELECT n.nspname || '.' || c.relname FROM pg_publication_rel r
JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = %s
"""


def _identifier(table: str) -> sql.Identifier:
    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name)


def _identifiers(tables: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(_identifier, tables))


def _published(connection: psycopg.Connection[Any], publication: str) -> set[str]:
    return {row[0] for row in connection.execute(_PUBLISHED, [publication])}


def unloaded_tables(connection: psycopg.Connection[Any], config: FlowConfig) -> list[str]:
    """What is to be said, a sentence each, of tables that a flow whose slot is being read does not carry:
    whoever runs it takes tables up when it starts.
    """
    published = _published(connection, config.publication)
    loaded = {row.table for row in read_progress(connection, config.name) if row.state == "done"}
    found = [_not_the_flows(table, config) for table in sorted(published.difference(config.tables))]
    for table in config.tables:
        if table not in published:
            found.append(
                f"table {table} is not in publication {config.publication} yet: restart run_flow, which "
                "adds and loads it"
            )
        elif config.mode == "full_load_and_cdc" and loaded and table not in loaded:
            found.append(
                f"table {table} is in publication {config.publication} but not loaded: restart run_flow"
            )
    return found


def _not_the_flows(table: str, config: FlowConfig) -> str:
    return (
        f"table {table} is in publication {config.publication} but not loaded, for it is none of the flow's "
        "tables: name it in TABLES and restart run_flow, which otherwise takes it out of the publication"
    )


class Capture:
    """What a flow reads from PostgreSQL, and the thread that does it.

    One object is one run: :meth:`prepare`, :meth:`start`, :meth:`wait` until it ends, :meth:`close`. After a
    failure a new one goes on where the server was last told.
    """

    def __init__(self, config: FlowConfig) -> None:
        self.config = config
        self._core: _core.Capture | None = None
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._watch = LagWatch(config.name, config.lag_warning_bytes, config.lag_drop_bytes)
        self._watched = 0.0
        self._slot: SlotState | None = None
        self._stop_timeout: float | None = None
        self._strange: set[str] = set()  # tables of the publication that are not the flow's, as was told last
        self._told = (0, 0)  # dead letters and refusals that the log knows of

    # --- the server's side ---

    def slot_exists(self) -> bool:
        """Whether the server has the flow's slot, be it usable or not."""
        with closing(self.config.source.connect()) as connection:
            return read_slot(connection, self.config.slot) is not None

    def prepare(self, *, resync: bool = False) -> int | None:
        """Make sure that publication and slot are there and fit for the flow.

        Returns the consistent point of a slot that has just been made: every commit after it will be read,
        and what a session sees from now on holds all before it. None when the slot was there.

        A slot that the flow had and that is gone is not made again, unless ``resync`` says that a first load
        follows: SlotLostError. Raises ConfigurationError, which says what to do, for whatever else is in the
        way on the server.
        """
        with closing(self.config.source.connect()) as connection:
            self.check(connection)
            self.publish(connection)
            return self._take_slot(connection, resync=resync)

    def check(self, connection: psycopg.Connection[Any]) -> None:
        """Raise ConfigurationError for what of server and tables keeps changes from being read."""
        _check_server(connection, self.config)
        self._check_tables(connection)

    def _check_tables(self, connection: psycopg.Connection[Any]) -> None:
        found = {row[0]: row[1:] for row in connection.execute(_TABLES, [list(self.config.tables)])}
        if missing := [table for table in self.config.tables if table not in found]:
            raise ConfigurationError(
                f"flow {self.config.name}: {self.config.source.name} has no table {', '.join(missing)}"
            )
        for table, (kind, identity, persistence, keyed) in found.items():
            if persistence != "p":
                raise ConfigurationError(f"table {table} is temporary or unlogged: its changes are in no log")
            if identity == "n" or (identity == "d" and not keyed):
                name = _identifier(table).as_string(connection)
                raise ConfigurationError(
                    f"table {table} has no replica identity: once it is published, PostgreSQL refuses "
                    "every UPDATE "
                    f"and DELETE of it. Give it a primary key, or: ALTER TABLE {name} REPLICA IDENTITY FULL"
                    + ("; for each partition, too" if kind == "p" else "")
                )

    def publish(self, connection: psycopg.Connection[Any]) -> None:
        """Make the publication, or give it the flow's tables. Raises ConfigurationError."""
        config, name = self.config, sql.Identifier(self.config.publication)
        row = connection.execute(_PUBLICATION, [config.publication]).fetchone()
        try:
            if row is None:
                connection.execute(
                    sql.SQL(
                        "CREATE PUBLICATION {} FOR TABLE {} WITH "
                        "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
                    ).format(name, _identifiers(config.tables))
                )
                return
            everything, complete, via_root = row
            if everything:
                raise ConfigurationError(
                    f"publication {config.publication} is FOR ALL TABLES: a flow needs one with its own "
                    "tables. "
                    "Name another one in the flow's PUBLICATION, and it will be made"
                )
            if not complete or not via_root:
                raise ConfigurationError(
                    f"publication {config.publication} leaves changes out: ALTER PUBLICATION "
                    f"{config.publication} "
                    "SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
                )
            published = _published(connection, config.publication)
            if added := [table for table in config.tables if table not in published]:
                connection.execute(
                    sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(name, _identifiers(added))
                )
            if removed := sorted(published - set(config.tables)):
                connection.execute(
                    sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(name, _identifiers(removed))
                )
                logger.warning(
                    "flow %s: %s is no longer published, for it is no longer one of the flow's tables",
                    config.name,
                    ", ".join(removed),
                )
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"flow {config.name}: publication {config.publication}: {_first_line(error)}. Its owner "
                "must own the "
                "tables and may need CREATE on the database; or have it made by someone who may"
            ) from error

    def _take_slot(self, connection: psycopg.Connection[Any], *, resync: bool) -> int | None:
        config = self.config
        slot, record = read_slot(connection, config.slot), _read_record(connection, config.name)
        system = _system_identifier(connection)
        if slot is not None and (slot.plugin != "pgoutput" or slot.database != connection.info.dbname):
            raise ConfigurationError(
                f"slot {config.slot} is of plugin {slot.plugin or 'none'} in database "
                f"{slot.database or 'none'}, not "
                f"pgoutput in {connection.info.dbname}: name another one in the flow's SLOT"
            )
        if record is not None and record["system_identifier"] != system and not resync:
            raise SlotLostError(
                f"flow {config.name} has read from cluster {record['system_identifier']}, and "
                f"{config.source.name} is cluster {system}: {_RESYNC}"
            )
        if slot is not None and slot.lost:
            if not resync:
                raise SlotLostError(_lost(config, record, connection, "was invalidated by the server"))
            drop_slot(connection, config.slot)
            slot = None
        if slot is None and record is not None and record["slot"] == config.slot and not resync:
            raise SlotLostError(_lost(config, record, connection, "is gone"))
        point = None if slot is not None else self._make_slot(connection)
        if slot is None or record is None or record["slot"] != config.slot:
            _write_record(connection, config, system, point)
        return point

    def _make_slot(self, connection: psycopg.Connection[Any]) -> int:
        config = self.config
        make: LiteralString = "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput')"
        if config.failover:
            if connection.info.server_version < FAILOVER_VERSION:
                raise ConfigurationError(
                    "FAILOVER needs PostgreSQL 17: earlier versions do not keep slots on standbys"
                )
            make = (
                "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, 'pgoutput', failover => true)"
            )
        try:
            connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(f"{SLOT_PATIENCE}s")))
            row = connection.execute(make, [config.slot]).fetchone()
            connection.execute("RESET statement_timeout")
        except psycopg.errors.QueryCanceled as error:
            raise errors.DeadlineError(
                f"slot {config.slot} could not be made within {SLOT_PATIENCE} s: the server waits for "
                "transactions "
                "that are open (pg_stat_activity.xact_start); end them"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"{_first_line(error)}. The flow's role needs REPLICATION: "
                f"ALTER ROLE {connection.info.user} REPLICATION"
            ) from error
        except psycopg.errors.ConfigurationLimitExceeded as error:
            raise ConfigurationError(
                f"slot {config.slot}: {_first_line(error)}: drop one that is not read any more "
                "(pg_replication_slots), or raise max_replication_slots"
            ) from error
        if row is None:
            raise errors.DatabaseError(f"slot {config.slot}: the server made none")
        logger.info("flow %s: slot %s begins at %s", config.name, config.slot, row[0])
        return parse_lsn(row[0])

    # --- the thread ---

    def start(self) -> None:
        """Begin to read. Topics that are missing are made, with the first change of their table."""
        config = self.config
        self._core = _core.Capture(
            open_outlet(config),
            name=config.name,
            conninfo=config.source.conninfo(),
            slot=config.slot,
            publication=config.publication,
            prefix=config.prefix,
            version=f"dbint {__version__}",
            streaming=config.stream_transactions,
            messages=config.messages,
            dead_letter_topic=config.dead_letter_topic if config.too_large == "dead_letter" else None,
        )
        self._core.start()
        if self._stop_timeout is not None:  # asked for meanwhile
            self._core.stop(self._stop_timeout)

    def stop(self, timeout: float) -> None:
        """Ask it to read no more, to wait until what was read is delivered and confirmed, and to end; after
        ``timeout`` seconds as it is. From any thread; does not wait.
        """
        self._stop_timeout = timeout
        if self._core is not None:
            self._core.stop(timeout)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, as it was asked to, within ``timeout`` seconds.

        Raises what ended it otherwise: SlotLostError, MessageTooLargeError, DeadlineError (its drain took too
        long), KafkaError, DatabaseError. To be called again and again: it looks after the slot, too.
        """
        if self._core is None:
            return True
        self._watch_slot()
        try:
            return self._core.join(timeout)
        except errors.DatabaseError as error:
            if error.sqlstate and (lost := self._lost()):
                raise SlotLostError(lost) from error
            raise

    def _lost(self) -> str | None:
        """What is to be said of the slot, where that is why the server ended it; None: it is another reason,
        or the server is away.
        """
        with suppress(psycopg.Error, errors.Error), closing(self.config.source.connect()) as connection:
            slot = read_slot(connection, self.config.slot)
            if slot is None or slot.lost:
                self._note(connection)
                what = "is gone" if slot is None else "was invalidated by the server"
                return _lost(self.config, _read_record(connection, self.config.name), connection, what)
        return None

    def _watch_slot(self) -> None:
        if time.monotonic() - self._watched < WATCH_INTERVAL:
            return
        self._watched = time.monotonic()
        self._tell_refused()
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self.config.source.connect(connect_timeout=5)
            self._slot = read_slot(self._connection, self.config.slot)
            self._note(self._connection)
            self._tell_strange(self._connection)
        except (psycopg.Error, errors.Error) as error:
            # The thread says it better, and tries again by itself.
            logger.debug("flow %s: the slot could not be looked at: %s", self.config.name, error)
            self._hang_up()
            return
        if self._slot is not None and self._watch.look(self._slot) == "lost" and not self._slot.lost:
            self._give_up(self._connection, self._slot)

    def _tell_strange(self, connection: psycopg.Connection[Any]) -> None:
        """Say in the log which tables somebody else has put into the publication."""
        strange = _published(connection, self.config.publication).difference(self.config.tables)
        for table in sorted(strange - self._strange):
            logger.warning("flow %s: %s", self.config.name, _not_the_flows(table, self.config))
        self._strange = strange

    def _tell_refused(self) -> None:
        """Say in the log what was too large for Kafka since that was said last."""
        status = self._core.status() if self._core is not None else None
        if status is None:
            return
        letters, refusals = self._told
        self._told = status["dead_letters"], status["refusals"]
        if status["dead_letters"] > letters:
            logger.warning(
                "flow %s: changes that were too large for Kafka: %d; notes about them are in %s",
                self.config.name,
                status["dead_letters"] - letters,
                self.config.dead_letter_topic,
            )
        if status["refusals"] > refusals:
            logger.warning(
                "flow %s: brokers refused messages as too large; they were sent again, a few at a time, to "
                "find out which. That is slow where it happens often: a topic's max.message.bytes should "
                "not be less than the producer's batch.size",
                self.config.name,
            )

    def _note(self, connection: psycopg.Connection[Any]) -> None:
        status = self._core.status() if self._core is not None else None
        if status is None or status["confirmed"] == 0:
            return
        commit = status["confirmed_commit"]
        connection.execute(
            "UPDATE dbint.flow_capture SET confirmed = greatest(confirmed, %s::pg_lsn), "
            "confirmed_commit = coalesce(%s, confirmed_commit), updated_at = now() WHERE flow = %s",
            [
                format_lsn(status["confirmed"]),
                None if commit is None else datetime.fromtimestamp(commit, UTC),
                self.config.name,
            ],
        )

    def _give_up(self, connection: psycopg.Connection[Any], slot: SlotState) -> None:
        """The policy that the flow's owner has chosen: rather a new first load than a full disk."""
        if self._core is not None:
            self._core.stop(0)
        drop_slot(connection, slot.name)
        raise SlotLostError(
            f"flow {self.config.name}: slot {slot.name} was dropped, for the server kept "
            f"{slot.retained >> 20} MiB of "
            f"its log for it (LAG_DROP_BYTES). Changes after "
            f"{'the start' if slot.confirmed is None else format_lsn(slot.confirmed)} are missing: "
            f"{_RESYNC}"
        )

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Stop at once, if it runs, and let go of everything."""
        if self._core is not None:
            self._core.stop(0)
            with suppress(errors.Error):
                self._core.join(30.0)
            self._tell_refused()
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._note(self._connection)
        self._core = None
        self._hang_up()

    def status(self) -> dict[str, Any]:
        """What it is doing now, as values that JSON knows: the core's counts, and the lag of this leg."""
        if self._core is None:
            return {"state": "stopped", "error": None}
        found: dict[str, Any] = dict(self._core.status())
        found["lag_bytes"], found["lag_seconds"] = _lag(found)
        found["lag_rows"] = found["undelivered"]
        found["slot"] = None if self._slot is None else self._slot.to_json()
        for name in ("received", "confirmed", "server_end"):
            found[name] = format_lsn(found[name])
        return found


def _lag(status: dict[str, Any]) -> tuple[int | None, float | None]:
    """Bytes of log, and seconds since the commit up to which everything is in Kafka; None: not known "
    "yet."""
    if status["server_end"] == 0 or status["confirmed"] == 0:
        return None, None
    lag = max(0, status["server_end"] - status["confirmed"])
    if lag == 0 or (status["undelivered"] == 0 and status["received"] >= status["server_end"]):
        return lag, 0.0
    commit = status["confirmed_commit"]
    return lag, None if commit is None else max(0.0, time.time() - commit)


def _check_server(connection: psycopg.Connection[Any], config: FlowConfig) -> None:
    if connection.info.server_version < LEAST_VERSION:
        raise ConfigurationError("a flow needs PostgreSQL 13 or newer")
    row = connection.execute("SELECT current_setting('wal_level'), pg_is_in_recovery()").fetchone()
    level, standby = row if row is not None else ("", False)
    if standby:
        raise ConfigurationError(
            f"flow {config.name}: {config.source.name} is a standby: a flow reads from the primary"
        )
    if level != "logical":
        raise ConfigurationError(
            f"flow {config.name}: {config.source.name} has wal_level = {level}, and changes can be read "
            "with logical "
            "alone: ALTER SYSTEM SET wal_level = 'logical', then restart the server"
        )


def _system_identifier(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return str(row[0]) if row is not None else ""


def _read_record(connection: psycopg.Connection[Any], flow: str) -> dict[str, Any] | None:
    row = connection.execute("SELECT to_regclass('dbint.flow_capture') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        connection.execute(CAPTURE_SQL)
        return None
    row = connection.execute(
        "SELECT slot, system_identifier, confirmed::text, confirmed_commit FROM dbint.flow_capture WHERE "
        "flow = %s",
        [flow],
    ).fetchone()
    return (
        None
        if row is None
        else dict(zip(("slot", "system_identifier", "confirmed", "commit"), row, strict=True))
    )


def _write_record(
    connection: psycopg.Connection[Any], config: FlowConfig, system: str, point: int | None
) -> None:
    at = None if point is None else format_lsn(point)
    connection.execute(
        "INSERT INTO dbint.flow_capture (flow, slot, system_identifier, point, confirmed) VALUES (%s, "
        "%s, %s, %s, %s) "
        "ON CONFLICT (flow) DO UPDATE SET slot = excluded.slot, system_identifier = "
        "excluded.system_identifier, "
        "point = excluded.point, confirmed = excluded.confirmed, confirmed_commit = NULL, made_at = now(), "
        "updated_at = now()",
        [config.name, config.slot, system, at, at],
    )


def _lost(
    config: FlowConfig, record: dict[str, Any] | None, connection: psycopg.Connection[Any], what: str
) -> str:
    row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    here = row[0] if row is not None else "?"
    known = record or {"confirmed": None, "commit": None}
    since = known["confirmed"] or "its start"
    when = f", committed at {known['commit']:%Y-%m-%d %H:%M:%S %Z}" if known["commit"] else ""
    return (
        f"flow {config.name}: slot {config.slot} {what}. At least up to {since}{when} everything is in "
        "Kafka, and the "
        f"log is at {here} now: changes between them may be missing. It is not made again by itself; "
        f"{_RESYNC}"
    )


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().splitlines()[0]
