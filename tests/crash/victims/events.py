"""Writes numbered events by the batch writer: arguments WITNESS CONNINFO JOURNAL REPORTS.

Threads write by ``write_sync``, coroutines by ``await write``; some with durability "process", some with
"sync". A victim has one batch writer or two, each with a slot of the journal of its own, so that a victim
with one finds what a dead one with two has left, and adopts it. The callers wait while much is on its way:
what they get accepted shows that events land.

After a SIGTERM it waits until the journal is empty and writes its last snapshots into REPORTS/last.json. What
it knows of resolved shipments stands in a file there at any time: a killed victim cannot tell any more. The
password comes in the environment (``PGPASSWORD``).
"""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from dbint._core import BatchWriter, CircuitBreaker, Pool, Stream
from tests.crash.victims.event import COLUMNS, FILL, TABLE, UNITS, payload
from tests.crash.victims.stop import Stop
from tests.crash.witness import Reporter

THREADS, COROUTINES = 3, 3
PAUSE = 0.001  # seconds between two calls of a caller
BACKLOG = 4_000  # events on their way, from which on callers wait
LOOK = 0.02  # seconds between two looks at the backlog
DRAIN_SECONDS = 40.0
ADOPT_EVERY = 0.5


class Load:
    """The callers of one victim."""

    def __init__(self, stop: Stop, reporter: Reporter, writers: list[BatchWriter], reports: Path) -> None:
        self.stop, self.reporter, self.writers, self.reports = stop, reporter, writers, reports
        self.resume = reporter.resume()
        self.full = threading.Event()

    def streams(self, durability: str, name: str, lanes: int) -> list[Stream]:
        """The stream of that name in each writer."""
        return [
            writer.stream(
                TABLE,
                name=name,
                columns=COLUMNS,
                fill=FILL,
                durability=durability,
                lanes=lanes,
                batch_timeout=0.05,
            )
            for writer in self.writers
        ]

    def calls(self, caller: int) -> Iterator[int]:
        """The numbers of the calls to make, each reported around what is done with it."""
        number = self.resume.get(caller, 0)
        while not self.stop.asked:
            self.reporter.begin(caller, number)
            yield number
            self.reporter.accepted(caller, number)
            number += 1

    def call_threaded(self, caller: int, stream: Stream) -> None:
        for number in self.calls(caller):
            for unit in range(UNITS):
                stream.write_sync(
                    caller=caller, number=number, unit=unit, payload=payload(caller, number, unit)
                )
            time.sleep(PAUSE)
            while self.full.is_set() and not self.stop.asked:
                time.sleep(LOOK)

    async def call_awaited(self, caller: int, stream: Stream) -> None:
        for number in self.calls(caller):
            for unit in range(UNITS):
                await stream.write(
                    caller=caller, number=number, unit=unit, payload=payload(caller, number, unit)
                )
            await asyncio.sleep(PAUSE)
            while self.full.is_set() and not self.stop.asked:
                await asyncio.sleep(LOOK)

    def watch(self) -> None:
        """Look at the backlog, and tell how many shipments without an answer turned out to have landed."""
        while not self.stop.asked:
            if total(self.writers, "journaled") > BACKLOG:
                self.full.set()
            else:
                self.full.clear()
            tell_resolved(self.writers, self.reports)
            time.sleep(LOOK)

    def run(self) -> None:
        """Until asked to stop."""
        plain = self.streams("process", "plain", 1)
        laned = self.streams("process", "laned", 2)
        synced = self.streams("sync", "synced", 1)

        async def coroutines() -> None:
            choices = [*laned, *synced]
            await asyncio.gather(
                *(
                    self.call_awaited(THREADS + index, choices[index % len(choices)])
                    for index in range(COROUTINES)
                )
            )

        self.stop.run_all(
            [
                threading.Thread(target=self.watch),
                threading.Thread(target=asyncio.run, args=(coroutines(),)),
                *(
                    threading.Thread(target=self.call_threaded, args=(caller, plain[caller % len(plain)]))
                    for caller in range(THREADS)
                ),
            ]
        )


def total(writers: list[BatchWriter], figure: Literal["journaled", "ambiguous_commits_resolved"]) -> int:
    """The sum of a figure over all streams, as far as these writers know."""
    return sum(stream[figure] for writer in writers for stream in writer.snapshot()["streams"].values())


def tell_resolved(writers: list[BatchWriter], reports: Path) -> None:
    """Into a file of this victim's own, whole at any moment."""
    if count := total(writers, "ambiguous_commits_resolved"):
        path = reports / f"resolved-{os.getpid()}"
        path.with_suffix(".new").write_text(str(count), encoding="ascii")
        path.with_suffix(".new").rename(path)


def drain(writers: list[BatchWriter]) -> None:
    """Wait until nothing is left, in slots of dead victims neither."""
    deadline = time.monotonic() + DRAIN_SECONDS
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        if total(writers, "journaled"):
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > 3 * ADOPT_EVERY:
            return
        for writer in writers:
            writer.flush(timeout=1.0)
        time.sleep(LOOK)


def main(witness: str, conninfo: str, journal: str, reports: str) -> None:
    """Go on where the witness says, until SIGTERM."""
    stop = Stop()
    reporter = Reporter(Path(witness))
    pool = Pool(f"{conninfo} password={os.environ['PGPASSWORD']}", connect_timeout=2.0)
    breaker = CircuitBreaker("postgres", failure_threshold=5, recovery_timeout=0.5)
    with ExitStack() as close:
        writers = [
            close.enter_context(
                BatchWriter(
                    pool, journal, name=name, breaker=breaker, adopt_every=ADOPT_EVERY, max_bytes=256 << 20
                )
            )
            for name in ("first", "second")[: random.choice((1, 2))]
        ]
        Load(stop, reporter, writers, Path(reports)).run()
        drain(writers)
        tell_resolved(writers, Path(reports))
        last = json.dumps([writer.snapshot() for writer in writers])
        Path(reports, "last.json").write_text(last, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
