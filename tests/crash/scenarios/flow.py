"""PostgreSQL -> Kafka -> Doris, whoever is killed: the capture, the sink, the broker, PostgreSQL, Doris."""

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from dbint.errors import Error
from dbint.flow.config import FlowConfig
from dbint.flow.dead_letters import DeadLetters
from dbint.flow.plan import apply_plan, plan
from stack.disposable import disposable_stack
from tests.crash.account import Found, Promise, item
from tests.crash.frame import CrashError, Scenario, Target, Victim, python
from tests.crash.victims.flow import (
    BIG,
    CALLERS,
    DEFINITIONS,
    FIRST,
    ROWS,
    SHARE,
    STATES,
    UNITS,
    VARIABLE,
    flow_config,
    payload,
)

PARTS = ("capture", "sink")
SERVERS = ("kafka", "postgres", "doris")

# Seconds until the last change has to be in Doris, once nothing is killed any more.
SETTLE_SECONDS = 180.0

# Differences that are told.
EXAMPLES = 5


class FlowScenario(Scenario):
    """Each call of the load is a transaction that inserts numbered rows and changes others.

    The load itself is not killed; what it hears of its commits is what has to be found in Doris. At the end
    both tables are compared with PostgreSQL's, row by row and value by value.
    """

    name = "flow"
    promise = Promise(
        "what is committed in PostgreSQL is in Doris, once, and both tables are equal at the end",
        units=UNITS,
        atomic=True,
    )
    targets = ("capture", "sink", *SERVERS)
    calls_between = 20
    quiet = (0.2, 2.0)
    down = (0.0, 1.0)

    def setup(self) -> None:
        self._open = ExitStack()
        self.parts: dict[str, Victim] = {}
        self.stack = self._open.enter_context(disposable_stack())
        self.stack.up(SERVERS)
        postgres, kafka, doris = (self.stack.endpoint(name) for name in ("postgres", "kafka", "doris"))
        self.place: dict[str, Any] = {
            "postgres": {
                "host": postgres.host,
                "port": postgres.port,
                "dbname": postgres.credentials["database"],
                "user": postgres.credentials["username"],
                "password": postgres.credentials["password"],
            },
            "kafka": f"{kafka.host}:{kafka.port}",
            "database": doris.credentials["database"],
            "doris_sql": [doris.host, doris.ports["query"]],
            "doris_http": f"http://{doris.host}:{doris.ports['http']}",
            "doris_user": doris.credentials["username"],
            "doris_password": doris.credentials["password"],
        }
        config = self.config
        with reading("preparing"):
            with config.source.connect() as connection:
                for statement in DEFINITIONS:
                    connection.execute(statement)
                connection.execute(FIRST, (BIG, CALLERS * SHARE - 1))
            apply_plan(config, plan(config))
        for part in PARTS:
            self.parts[part] = Victim(
                python("tests.crash.victims.flow_part", part),
                self.victim_environment(),
                self.directory / f"{part}.log",
            )

    @property
    def config(self) -> FlowConfig:
        return flow_config(self.place)

    def victim_command(self, witness: Path) -> list[str]:
        return python("tests.crash.victims.flow_load", str(witness))

    def victim_environment(self) -> dict[str, str]:
        return {**os.environ, VARIABLE: json.dumps(self.place)}

    def kill(self, target: Target) -> None:
        for part in self.parts.values():
            part.check()
        if target in self.parts:
            self.parts[target].kill()
        else:
            self.stack.kill(target)

    def in_flight(self, counts: Mapping[str, Any]) -> int:
        """Rows that are committed and not in Doris yet."""
        try:
            return max(0, int(counts["accepted"]) * UNITS - self.count_in_doris())
        except (Error, pymysql.MySQLError):
            return 0  # not known

    def restore(self, target: Target) -> None:
        if target in self.parts:
            self.parts[target].start()
        else:
            self.stack.start(target)

    def find(self) -> Found:
        wrong: list[str] = []
        with reading("comparing"):
            expected = {table: self.in_postgres(table) for table in (ROWS, STATES)}
            deadline = time.monotonic() + SETTLE_SECONDS
            found: dict[str, Rows] = {}
            while found != expected:
                if self.count_in_doris() >= len(expected[ROWS]) or time.monotonic() > deadline:
                    found = {table: self.in_doris(table) for table in expected}
                if time.monotonic() > deadline and found != expected:
                    wrong += differences(expected, found)
                    wrong.append(f"the parts said last: {self.last_words()}")
                    break
                time.sleep(0.5)
            with DeadLetters(self.config) as letters:
                count = sum(1 for _ in letters.read())
            if count:
                wrong.append(f"{count} messages became dead letters")
        for part in self.parts.values():
            part.farewell()
        landed: Counter[int] = Counter()
        for (caller, number, unit), (text,) in found[ROWS].items():
            landed[item(caller, number, unit)] += 1
            if text != payload(caller, number, unit):
                wrong.append(f"row {caller}, {number}, {unit} has arrived with the payload {text!r}")
        return Found(landed, wrong=wrong)

    def count_in_doris(self) -> int:
        with contextlib.closing(self.config.target.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM crash_rows")
            return int(cursor.fetchone()[0])

    def in_postgres(self, table: str) -> "Rows":
        with self.config.source.connect() as connection:
            return keyed(table, connection.execute(QUERIES[table]).fetchall())

    def in_doris(self, table: str) -> "Rows":
        with contextlib.closing(self.config.target.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(QUERIES[table])
            return keyed(table, cursor.fetchall())

    def last_words(self) -> str:
        return " / ".join(f"{name}: {part.last_words()}" for name, part in self.parts.items())

    def teardown(self) -> None:
        for part in self.parts.values():
            part.end()
        self._open.close()


Rows = dict[tuple[Any, ...], tuple[Any, ...]]

QUERIES = {
    ROWS: "SELECT caller, number, unit, payload FROM crash_rows",
    STATES: "SELECT id, version, note, big FROM crash_states",
}
KEYS = {ROWS: 3, STATES: 1}


def keyed(table: str, rows: Any) -> Rows:
    """Rows by their keys. A key that is there twice makes the run's promise broken, not void."""
    made: Rows = {}
    for row in rows:
        key = tuple(row[: KEYS[table]])
        while key in made:
            key = (*key, "again")
        made[key] = tuple(row[KEYS[table] :])
    return made


def differences(expected: dict[str, Rows], found: dict[str, Rows]) -> Iterator[str]:
    """What differs, in words, a few examples of each kind."""
    for table, rows in expected.items():
        there = found[table]
        missing = sorted(rows.keys() - there.keys(), key=repr)
        extra = sorted(there.keys() - rows.keys(), key=repr)
        other = sorted((key for key in rows.keys() & there.keys() if rows[key] != there[key]), key=repr)
        for what, keys in (("missing in Doris", missing), ("too many in Doris", extra), ("different", other)):
            if keys:
                yield f"{table}: {len(keys)} rows {what}, for example {short(keys[:EXAMPLES])}"
        for key in other[:EXAMPLES]:
            yield f"{table} {key}: PostgreSQL has {short(rows[key])}, Doris {short(there[key])}"


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """What fails while the servers are asked, not tested, makes the run void."""
    try:
        yield
    except (Error, psycopg.Error, pymysql.MySQLError) as error:
        raise CrashError(f"{what}: {error}") from error
