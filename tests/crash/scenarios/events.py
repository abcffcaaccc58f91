"""Events into PostgreSQL by the batch writer, exactly once; its process, the server, or both are killed."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.crash.account import Found, Promise, item
from tests.crash.frame import CrashError, python
from tests.crash.scenarios.base import StackScenario
from tests.crash.victims.event import DEFINITION, TABLE, UNITS, is_poison, payload
from tests.faults.toxiproxy import Toxiproxy

# Seconds for which a server is not heard any more before it is killed: what it commits in them has no answer.
MUTE = 0.04

# Of a stream's snapshot.
OUTCOMES = ("landed", "journaled", "dead", "damaged", "lost_by_server")
COUNTED = ("damaged", "lost_by_server")

LANDED = f"""
SELECT caller, number, unit, payload, count(DISTINCT event_id), count(*) FROM {TABLE} GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - a constant


class EventsScenario(StackScenario):
    """Each call of the victim hands over a few numbered events; a few of those are refused by the table.

    A call in doubt is made again by the killed victim's successor: its events are new ones then, with ids of
    their own. So a row that is there twice under one id is a duplicate, whatever is known of its call.
    """

    name = "events"
    promise = Promise(
        "every accepted event lands once, or becomes a dead letter where the server refuses it",
        units=UNITS,
        repeats=True,
    )
    server = "postgres"
    calls_between = 2_000  # that is more events than may be on their way: some must have landed
    server_kills = 0

    def setup(self) -> None:
        super().setup()
        self.stack.up(["toxiproxy"])
        self.endpoint = self.stack.endpoint(self.server)
        proxies = self.stack.endpoint("toxiproxy")
        self.proxy = Toxiproxy(f"http://{proxies.host}:{proxies.port}").proxy(
            self.endpoint.host, self.endpoint.port
        )
        self.journal, self.reports = self.directory / "journal", self.directory / "reports"
        self.reports.mkdir()
        with self.connect() as connection:
            connection.execute(DEFINITION)

    def connect(self) -> psycopg.Connection:
        credentials = self.endpoint.credentials
        try:
            return psycopg.connect(
                host=self.endpoint.host,
                port=self.endpoint.port,
                dbname=str(credentials["database"]),
                user=str(credentials["username"]),
                password=str(credentials["password"]),
            )
        except psycopg.Error as error:
            raise CrashError(f"{self.server}: {error}") from error

    def victim_command(self, witness: Path) -> list[str]:
        credentials = self.endpoint.credentials
        conninfo = (
            f"host={self.proxy.host} port={self.proxy.port} dbname={credentials['database']} "
            f"user={credentials['username']}"
        )
        paths = (str(self.journal), str(self.reports))
        return python("tests.crash.victims.events", str(witness), conninfo, *paths)

    def victim_environment(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": str(self.endpoint.credentials["password"])}

    def kill_server(self) -> None:
        """Every second time with its last words unheard."""
        self.server_kills += 1
        if self.server_kills % 2:
            self.proxy.add("timeout", timeout=0)
            time.sleep(MUTE)
        super().kill_server()
        self.proxy.disable()
        self.proxy.clear()

    def restart_server(self) -> None:
        super().restart_server()
        self.proxy.enable()

    def find(self) -> Found:
        found = Found(Counter())
        wrong: list[str] = []
        for name, text, ids, copies in self.landed():
            found.landed[name] = ids
            found.surplus += copies - ids
            if text != payload(*numbers(name)):
                wrong.append(f"{words(name)} has landed with the payload {text!r}")
        found.dead_lettered = set(self.dead_letters(wrong))
        wrong += [
            f"{words(name)} is a dead letter without a reason"
            for name in found.dead_lettered
            if not is_poison(*numbers(name)[1:])
        ]
        found.journaled = set(self.journaled())
        counted = self.counted(wrong)
        found.ambiguous_resolved = sum(
            int(path.read_text(encoding="ascii")) for path in self.reports.glob("resolved-*[0-9]")
        )
        found.dropped = {name: counted[name] for name in ("dropped", "damaged")}
        found.lost_by_server = counted["lost_by_server"]
        found.wrong = wrong[:20]
        return found

    def counted(self, wrong: list[str]) -> dict[str, int]:
        """The sums of what the last victim's writers say of their streams."""
        sums: Counter[str] = Counter()
        for snapshot in json.loads((self.reports / "last.json").read_text(encoding="utf-8")):
            for name, stream in snapshot["streams"].items():
                dropped = sum(stream["dropped"].values())
                taken = stream["accepted"] + stream["recovered"]
                if taken != dropped + sum(stream[name] for name in OUTCOMES):
                    wrong.append(f"the counters of stream {name} do not add up: {stream}")
                sums.update({name: stream[name] for name in COUNTED} | {"dropped": dropped})
        return sums

    def landed(self) -> Iterator[tuple[int, str, int, int]]:
        """Each event's name, payload, number of ids and number of rows."""
        with self.connect() as connection, connection.cursor("landed") as cursor:
            cursor.itersize = 20_000
            for caller, number, unit, text, ids, copies in cursor.execute(LANDED):
                yield item(caller, number, unit), text, ids, copies

    def dead_letters(self, wrong: list[str]) -> Iterator[int]:
        """The name of each event that is a dead letter."""
        ids: Counter[str] = Counter()
        for row in self.rows("--dead"):
            ids[row["event_id"]] += 1
            yield item(row["caller"], row["number"], row["unit"])
        wrong += [
            f"event {event_id} is a dead letter {count} times" for event_id, count in ids.items() if count > 1
        ]

    def journaled(self) -> Iterator[int]:
        """The name of each event that has not landed."""
        for row in self.rows():
            yield item(row["caller"], row["number"], row["unit"])

    def rows(self, *options: str) -> Iterator[dict[str, Any]]:
        """What the journal's tool prints; damage makes it fail."""
        command = python("dbint.journal", "dump", "--directory", str(self.journal), "--format", "json")
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CrashError(f"the journal's tool: status {done.returncode}\n{done.stderr[-2000:]}")
        for line in done.stdout.splitlines():
            yield json.loads(line)["row"]


def words(name: int) -> str:
    return "event {}/{}/{}".format(*numbers(name))


def numbers(name: int) -> tuple[int, int, int]:
    """Caller, number and unit of an event, from its name."""
    call, unit = divmod(name, 1 << 16)
    return *divmod(call, 1 << 32), unit  # type: ignore[return-value]
