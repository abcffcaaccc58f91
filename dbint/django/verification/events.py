"""Do events land: the pool of the C core, the batch writer, and the journal of a process that was killed?

The probes write to a table of their own, by a journal of their own, through the server's ledger.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from django.apps import apps
from django.db import connections
from psycopg.conninfo import make_conninfo

from dbint._core import BatchWriter, Pool
from dbint.django.verification.access import clean_up_connection, private_connection
from dbint.django.verification.connection import DatabaseProbe
from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, ProbeUnknown, Scope
from dbint.verify.scratch import scratch_name

APP = "dbint.django.observability"
_COLUMNS = {
    "event_id": "uuid not null",
    "at": "timestamptz not null",
    "n": "int8 not null",
    "what": "jsonb not null",
}
_FILL: dict[str, Literal["uuid7", "now"]] = {"event_id": "uuid7", "at": "now"}


def alias_of_events() -> str | None:
    """The alias that the event tables live in; None where the app is not installed."""
    if not apps.is_installed(APP):
        return None
    from django.db import router

    return router.db_for_write(apps.get_model("dbint_observability", "TraceEvent"))


@dataclass(frozen=True, kw_only=True)
class NoEventsProbe(Probe):
    """Stands for the probes of events in a project that has none."""

    group: str = "events"

    def run(self, scope: Scope) -> str:
        del scope
        raise ProbeNotConfigured(
            "the project has no event tables",
            [f'Add "{APP}" to INSTALLED_APPS, then: python manage.py migrate'],
        )


@dataclass(frozen=True, kw_only=True)
class EventsProbe(DatabaseProbe):
    """What the probes of events share."""

    group: str = "events"
    deadline: float = 20.0
    writes: bool = True
    prefix: str

    def conninfo(self, **parameters: Any) -> str:
        """libpq's connection string for the alias of the events; holds the password."""
        from dbint.django.observability.config import database_config

        config = database_config()
        login = {"user": config.user, "password": config.password}
        given = {name: value for name, value in login.items() if value}
        return make_conninfo(**{**config.connection_parameters(), **given, **parameters})

    def scratch_table(self, scope: Scope) -> str:
        """A table like those of events, in the connection's first schema; gone in the end, its chains too."""
        quote = connections[self.alias].ops.quote_name
        name = scratch_name(self.prefix)
        with private_connection(self.alias, scope) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('dbint.chains') IS NOT NULL, current_schema()")
            has_ledger, schema = cursor.fetchone()
            if not has_ledger:
                raise ProbeFailed(
                    f'the database "{self.alias}" has no ledger (table dbint.chains) for events',
                    [f"python manage.py migrate dbint_observability --database {self.alias}"],
                )
            table = f"{schema}.{name}"
            scope.defer(f"table {table}", lambda: self.drop(schema, name))
            columns = ", ".join(f"{quote(column)} {kind}" for column, kind in _COLUMNS.items())
            cursor.execute(f"CREATE TABLE {quote(schema)}.{quote(name)} ({columns})")
        return table

    def drop(self, schema: str, name: str) -> None:
        quote = connections[self.alias].ops.quote_name
        with clean_up_connection(self.alias) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {quote(schema)}.{quote(name)}")
            cursor.execute("DELETE FROM dbint.chains WHERE stream = %s", [name])

    def directory(self, scope: Scope) -> Path:
        """A directory for a journal; gone in the end."""
        path = Path(tempfile.mkdtemp(prefix="dbint-verify-"))
        scope.defer(f"directory {path}", lambda: shutil.rmtree(path))
        return path

    def landed(self, scope: Scope, table: str) -> tuple[int, int, int]:
        """Rows, different ids, and the sum of n."""
        quote = connections[self.alias].ops.quote_name
        schema, name = table.split(".")
        with private_connection(self.alias, scope) as connection, connection.cursor() as cursor:
            columns = "count(*), count(DISTINCT event_id), coalesce(sum(n), 0)::bigint"
            cursor.execute(f"SELECT {columns} FROM {quote(schema)}.{quote(name)}")  # noqa: S608 - quoted
            rows, ids, total = cursor.fetchone()
        return int(rows), int(ids), int(total)

    def expect(self, scope: Scope, table: str, events: int) -> None:
        """Every event is there, once."""
        rows, ids, total = self.landed(scope, table)
        if (rows, ids, total) != (events, events, events * (events - 1) // 2):
            raise ProbeFailed(
                f"{events} events were taken, and {rows} rows landed with {ids} different ids: "
                "an event was lost or landed twice"
            )


@dataclass(frozen=True, kw_only=True)
class EventsRoundTripProbe(EventsProbe):
    """Writes events through a journal and reads them back."""

    events: int = 1_000

    def run(self, scope: Scope) -> str:
        table, directory = self.scratch_table(scope), self.directory(scope)
        scope.doing("the columns of the table")
        with Pool(self.conninfo(), name="dbint-verify", max_size=2) as pool:
            writer = BatchWriter(pool, directory, name="dbint-verify")
            scope.defer("the batch writer", lambda: writer.closed or writer.close(0))
            stream = writer.stream(
                table,
                name=table.split(".")[1],
                columns=list(_COLUMNS),
                fill=_FILL,
                timeout=scope.remaining() / 2,
            )
            began = time.monotonic()
            for number in range(self.events):
                stream.write_sync(n=number, what={"probe": self.name})
            taken = time.monotonic() - began
            scope.doing(f"{self.events} events to land")
            left = writer.flush(scope.remaining() * 0.8)
            landed = time.monotonic() - began
            if left:
                raise ProbeFailed(f"{left} of {self.events} events have not landed: {_why(writer)}")
            writer.close(scope.remaining() / 2)
        self.expect(scope, table, self.events)
        scope.details.update(
            events=self.events,
            ns_per_event=round(taken / self.events * 1e9),
            seconds_to_land=round(landed, 3),
        )
        return (
            f"{self.events} events taken in {taken * 1000:.1f} ms, "
            f"landed once each within {landed * 1000:.0f} ms"
        )


@dataclass(frozen=True, kw_only=True)
class ReplayProbe(EventsProbe):
    """A process takes events and is killed before any could land; the next one finds them and lands them."""

    events: int = 1_000

    def run(self, scope: Scope) -> str:
        table, directory = self.scratch_table(scope), self.directory(scope)
        scope.doing("a process to take events and to be killed")
        taken = self.killed_process(scope, table, directory)
        if taken != self.events:
            raise ProbeFailed(f"the process took {taken} events of {self.events} before it was killed")
        before = self.landed(scope, table)[0]
        if before:
            raise ProbeUnknown(f"{before} events had landed before the process was killed")
        scope.doing("the events of the killed process to land")
        with Pool(self.conninfo(), name="dbint-verify", max_size=2) as pool:
            writer = BatchWriter(pool, directory, name="dbint-verify")
            scope.defer("the batch writer", lambda: writer.closed or writer.close(0))
            writer.start()
            left = writer.flush(scope.remaining() * 0.8)
            if left:
                raise ProbeFailed(f"{left} events of the killed process have not landed: {_why(writer)}")
            writer.close(scope.remaining() / 2)
        self.expect(scope, table, self.events)
        return f"{self.events} events of a process that was killed (SIGKILL) landed, once each"

    def killed_process(self, scope: Scope, table: str, directory: Path) -> int:
        """Runs the process; returns how many events it took."""
        order = {
            "table": table,
            "directory": str(directory),
            "columns": _COLUMNS,
            "fill": _FILL,
            "events": self.events,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process, scope.abortable(process.kill):
            out, err = process.communicate(json.dumps(order), timeout=scope.remaining())
        if process.returncode >= 0:
            lines = err.strip().splitlines() or ["it said nothing"]
            raise ProbeUnknown(f"the process ended by itself (status {process.returncode}): {lines[-1]}")
        return int(out)


# No server: the port is this machine's discard service, where PostgreSQL never is. So nothing lands.
_KILLED = """
import json, os, signal, sys
from dbint._core import BatchWriter, Pool
order = json.load(sys.stdin)
writer = BatchWriter(Pool("host=127.0.0.1 port=9 connect_timeout=2"), order["directory"], name="dbint-verify")
stream = writer.stream(
    order["table"], name=order["table"].split(".")[1], columns=order["columns"], fill=order["fill"]
)
for number in range(order["events"]):
    stream.write_sync(n=number, what={"killed": True})
print(order["events"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True, kw_only=True)
class CorePoolProbe(EventsProbe):
    """The C core's pool: bounded, reusing, and rid of a connection that the server ended."""

    group: str = "pooling"
    writes: bool = False
    size: int = 3
    users: int = 8

    def run(self, scope: Scope) -> str:
        name = f"dbint-verify-core-{token_hex(4)}"
        scope.doing(f"{self.users} users of {self.size} connections")
        with Pool(
            self.conninfo(application_name=name),
            name=name,
            min_size=0,
            max_size=self.size,
            connect_timeout=5.0,
        ) as pool:
            pids = self.rush(pool, scope)
            with private_connection(self.alias, scope) as monitor, monitor.cursor() as cursor:
                cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [name])
                seen = {pid for (pid,) in cursor.fetchall()}
                if len(set(pids)) > self.size or len(seen) > self.size:
                    raise ProbeFailed(
                        f"{self.users} users had {len(set(pids))} connections of {self.size} allowed ones"
                    )
                if not seen:
                    raise ProbeUnknown(
                        "pg_stat_activity shows none of the pool's connections: a pooler in between"
                    )
                scope.doing("a connection that the server ended to be replaced")
                victim = min(seen)
                cursor.execute("SELECT pg_terminate_backend(%s)", [victim])
                time.sleep(0.1)
            after = self.rush(pool, scope, checked=True)
            if victim in after:
                raise ProbeFailed(f"the ended backend {victim} was used again")
            counts = pool.snapshot()
        scope.details.update(opened=counts["opened"], acquired=counts["acquired"])
        return (
            f"{self.users} users shared {len(set(pids))} connections of {self.size}, "
            f"{len(pids)} uses; one that the server ended was replaced"
        )

    def rush(self, pool: Pool, scope: Scope, *, checked: bool = False) -> list[int]:
        """All users at once: the backend of every use. A use may meet the ended connection, once."""
        pids: list[int] = []
        errors: list[BaseException] = []

        def use() -> None:
            try:
                for _ in range(3):
                    sql = "SELECT pg_backend_pid(), pg_sleep(0.01)"
                    [(pid, _)] = pool.execute(sql, timeout=scope.remaining())
                    pids.append(int(pid or 0))
            except BaseException as error:  # noqa: BLE001 - carried into the probe's own thread
                errors.append(error)

        threads = [threading.Thread(target=use, daemon=True) for _ in range(self.users)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scope.remaining())
        if len(errors) > checked:
            raise errors[0]
        return pids


def _why(writer: BatchWriter) -> str:
    """What the writer says of what has not landed."""
    chains = [chain for stream in writer.snapshot()["streams"].values() for chain in stream["chains"]]
    reasons = {reason for chain in chains if (reason := chain["reason"] or chain["last_error"])}
    return "; ".join(sorted(reasons)) or "the writer names no reason"
