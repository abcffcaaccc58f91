"""Ways to bring rows into PostgreSQL: ``python -m bench.contenders.drain HOW CONNINFO ROWS BATCH``.

The table is there and empty; the caller counts afterwards what it holds. The rows exist before the clock
starts, with their ids and times, but for dbint, which makes an event's id and time when it takes it. The
password comes in the environment (``PGPASSWORD``).
"""

import asyncio
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Stopwatch, report

SCHEMA, NAME = "public", "bench_events"
TABLE = f"{SCHEMA}.{NAME}"
COLUMNS = {
    "event_id": "uuid",
    "timestamp": "timestamptz",
    "trace_id": "text",
    "event_type": "text",
    "level": "text",
    "message": "text",
    "agent_name": "text",
    "task_id": "text",
}
NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
DEFINITION = f"""
DROP TABLE IF EXISTS {TABLE};
CREATE TABLE {TABLE} ({", ".join(f'"{name}" {kind} NOT NULL' for name, kind in COLUMNS.items())});
CREATE UNIQUE INDEX ON {TABLE} (event_id);
CREATE INDEX ON {TABLE} (trace_id, "timestamp" DESC);
CREATE INDEX ON {TABLE} (agent_name, "timestamp" DESC);
"""
PLACES = ", ".join(f"%({name})s" for name in COLUMNS)
INSERT = f"INSERT INTO {TABLE} ({NAMES}) VALUES ({PLACES})"  # noqa: S608 - constants
WARMUP = 1_000
LANDING_SECONDS = 300.0

Event = tuple[str, str, str, str, str, str]
Row = tuple[uuid.UUID, datetime, str, str, str, str, str, str]


def events() -> list[Event]:
    """A thousand events of the seed's six fields: a hundred traces of ten events, by ten agents."""
    return [
        (
            f"coord_{number // 10:06}",
            ("AGENT_START", "TOOL_CALL", "AGENT_END")[number % 3],
            "INFO",
            f"Agent execution step {number}",
            f"agent-{number % 10}",
            f"task_{number}",
        )
        for number in range(1_000)
    ]


def rows(count: int) -> Iterator[Row]:
    """So many rows. Their ids ascend as UUIDv7 does, so that the index on them grows alike for everybody."""
    start, first = datetime.now(UTC), uuid.uuid4().int >> 64 << 64
    for number, event in zip(range(count), itertools.cycle(events()), strict=False):
        yield (uuid.UUID(int=first + number), start + timedelta(microseconds=number), *event)


def batches(made: list[Row], size: int) -> Iterator[list[Row]]:
    return (made[start : start + size] for start in range(0, len(made), size))


class Psql(AbstractContextManager["Psql"]):
    """psql's \\copy of files in binary, one a batch: what a client that only moves bytes has to pay.

    Its CPU time is its main thread's, from the first \\copy to the last: connecting is not in it.
    """

    def __init__(self, conninfo: str) -> None:
        import psycopg

        self.directory = tempfile.TemporaryDirectory(prefix="dbint-bench-")
        self.connection = psycopg.connect(conninfo, autocommit=True)
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", conninfo]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = {"psql": subprocess.check_output(["psql", "--version"], text=True).split()[2]}

    def prepare(self, made: list[Row], size: int) -> Path:
        """A file for each batch, as the server itself writes them, and a script that copies them."""
        types = list(COLUMNS.values())
        script = Path(self.directory.name, "copies.sql")
        self.connection.execute(f"CREATE TEMPORARY TABLE staged (LIKE {TABLE})")
        lines = []
        for number, batch in enumerate(batches(made, size)):
            with (
                self.connection.cursor() as cursor,
                cursor.copy("COPY staged FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types(types)
                for row in batch:
                    copy.write_row(row)
            path = Path(self.directory.name, f"{number}.copy")
            with self.connection.cursor() as cursor, path.open("wb") as file:
                with cursor.copy("COPY staged TO STDOUT (FORMAT binary)") as copy:
                    file.writelines(copy)
                cursor.execute("TRUNCATE staged")
            lines.append(f"\\copy {TABLE} ({NAMES}) from '{path}' (format binary)\n")
        self.connection.execute("DROP TABLE staged")
        script.write_text("".join(lines), encoding="utf-8")
        return script

    def ask(self, command: str) -> None:
        """Have a command run, and wait until it is done."""
        assert self.process.stdin is not None  # noqa: S101 - pipes were asked for
        assert self.process.stdout is not None  # noqa: S101
        self.process.stdin.write(f"{command}\n\\echo done\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise SystemExit(f"psql has failed: status {self.process.wait()}")

    def status(self) -> tuple[float, int]:
        """CPU seconds of psql so far, and its peak memory."""
        proc = Path("/proc", str(self.process.pid))
        lines = (proc / "status").read_text(encoding="ascii").splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        return int((proc / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9, peak

    def run(self, count: int, size: int) -> None:
        """Warm up, copy, and print."""
        script = self.prepare(list(rows(WARMUP)), WARMUP)
        self.ask(f"\\i {script}")
        script = self.prepare(list(rows(count)), size)
        cpu, _ = self.status()
        begun = time.perf_counter()
        self.ask(f"\\i {script}")
        seconds = time.perf_counter() - begun
        after, peak = self.status()
        found = {
            "count": count,
            "seconds": seconds,
            "cpu_seconds": after - cpu,
            "peak_rss": peak,
            "versions": self.versions,
        }
        print(json.dumps(found))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.connection.close()
        self.directory.cleanup()


class Prepared:
    """What takes rows that exist."""

    def prepare(self, count: int) -> list[Row]:
        return list(rows(count))


class PsycopgCopy(Prepared):
    """psycopg's COPY in binary with declared types, as its documentation on COPY says is fastest."""

    def __init__(self, conninfo: str) -> None:
        import psycopg

        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.versions = {"psycopg": psycopg.__version__}

    def insert(self, made: list[Row], size: int) -> None:
        types = list(COLUMNS.values())
        with self.connection.cursor() as cursor:
            for batch in batches(made, size):
                with cursor.copy(f"COPY {TABLE} ({NAMES}) FROM STDIN (FORMAT binary)") as copy:
                    copy.set_types(types)
                    for row in batch:
                        copy.write_row(row)


class AsyncpgCopy(Prepared):
    """asyncpg's copy_records_to_table."""

    def __init__(self, conninfo: str) -> None:
        import asyncpg

        self.runner = asyncio.Runner()
        settings = dict(part.split("=", 1) for part in conninfo.split())
        settings["database"] = settings.pop("dbname")
        self.connection = self.runner.run(self.connect(settings))
        self.versions = {"asyncpg": asyncpg.__version__}

    async def connect(self, settings: dict[str, Any]) -> Any:
        import asyncpg

        return await asyncpg.connect(password=os.environ["PGPASSWORD"], **settings)

    def insert(self, made: list[Row], size: int) -> None:
        self.runner.run(self.copy(made, size))

    async def copy(self, made: list[Row], size: int) -> None:
        for batch in batches(made, size):
            await self.connection.copy_records_to_table(
                NAME, schema_name=SCHEMA, records=batch, columns=list(COLUMNS)
            )


class BufferExecutemany(Prepared):
    """An asyncio buffer in pure Python; psycopg's executemany writes each full batch, in pipeline mode."""

    def __init__(self, conninfo: str) -> None:
        import psycopg

        self.runner = asyncio.Runner()
        self.lock = asyncio.Lock()
        self.connection = self.runner.run(psycopg.AsyncConnection.connect(conninfo, autocommit=True))
        self.versions = {"psycopg": psycopg.__version__}
        self.buffer: list[dict[str, Any]] = []

    def insert(self, made: list[Row], size: int) -> None:
        self.runner.run(self.write_all(made, size))

    async def write_all(self, made: list[Row], size: int) -> None:
        for event_id, timestamp, trace_id, event_type, level, message, agent_name, task_id in made:
            await self.write_trace_event(
                size, event_id, timestamp, trace_id, event_type, level, message, agent_name, task_id
            )
        await self.flush()

    async def write_trace_event(
        self,
        size: int,
        event_id: uuid.UUID,
        timestamp: datetime,
        trace_id: str,
        event_type: str,
        level: str,
        message: str,
        agent_name: str | None = None,
        task_id: str | None = None,
    ) -> None:
        event = {
            "event_id": event_id,
            "timestamp": timestamp,
            "trace_id": trace_id,
            "event_type": event_type,
            "level": level,
            "message": message,
            "agent_name": agent_name,
            "task_id": task_id,
        }
        async with self.lock:
            self.buffer.append(event)
            if len(self.buffer) >= size:
                await self.flush()

    async def flush(self) -> None:
        if not self.buffer:
            return
        batch, self.buffer = self.buffer, []
        async with self.connection.cursor() as cursor, self.connection.transaction():
            await cursor.executemany(INSERT, batch)


def hand_over(write: Callable[..., None], made: Iterable[Event]) -> None:
    """Each event by itself, as an application does."""
    for trace_id, event_type, level, message, agent_name, task_id in made:
        write(
            trace_id=trace_id,
            event_type=event_type,
            level=level,
            message=message,
            agent_name=agent_name,
            task_id=task_id,
        )


class Dbint:
    """BatchWriter: journal, ledger, exactly once. ``size`` is lanes here: batches are its own business."""

    def __init__(self, conninfo: str) -> None:
        from dbint._core import BatchWriter, Pool

        self.directory = tempfile.TemporaryDirectory(prefix="dbint-bench-")
        self.pool = Pool(f"{conninfo} password={os.environ['PGPASSWORD']}")
        self.writer = BatchWriter(self.pool, self.directory.name)
        self.versions: dict[str, str] = {}
        self.stream: Any = None

    def prepare(self, count: int) -> list[Event]:
        return list(itertools.islice(itertools.cycle(events()), count))

    def insert(self, made: list[Event], size: int) -> None:
        if self.stream is None:
            self.stream = self.writer.stream(
                TABLE, columns=COLUMNS, fill={"event_id": "uuid7", "timestamp": "now"}, lanes=size
            )
        for part in self.slices(made):
            hand_over(self.stream.write_sync, part)
        if left := self.writer.flush(LANDING_SECONDS):
            raise SystemExit(f"{left} events have not landed: {self.writer.snapshot()}")

    def slices(self, made: list[Event]) -> Iterator[list[Event]]:
        """The events, in parts between which there may be a wait."""
        yield made


class DbintPaced(Dbint):
    """The same at a given number of events a second, in slices of 20 ms."""

    SLICE = 0.02

    def __init__(self, conninfo: str, rate: int) -> None:
        super().__init__(conninfo)
        self.step = int(rate * self.SLICE)

    def slices(self, made: list[Event]) -> Iterator[list[Event]]:
        due = time.perf_counter()
        for start in range(0, len(made), self.step):
            yield made[start : start + self.step]
            due += self.SLICE
            time.sleep(max(0.0, due - time.perf_counter()))


HOW = {
    "psycopg": PsycopgCopy,
    "asyncpg": AsyncpgCopy,
    "executemany": BufferExecutemany,
    "dbint": Dbint,
    "dbint-10k": partial(DbintPaced, rate=10_000),
    "dbint-100k": partial(DbintPaced, rate=100_000),
}


def main(how: str, conninfo: str, count: str, size: str) -> None:
    """Warm up, then time."""
    if how == "psql":
        with Psql(conninfo) as psql:
            psql.run(int(count), int(size))
        return
    contender = HOW[how](conninfo)
    contender.insert(contender.prepare(WARMUP), int(size))
    made = contender.prepare(int(count))
    gc.freeze()  # the rows are no garbage: without this the collector reads them all, again and again
    with Stopwatch() as watch:
        contender.insert(made, int(size))
    report(watch, int(count), contender.versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
