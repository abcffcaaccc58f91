"""Ten million events while PostgreSQL is away: what they take meanwhile, and what becomes of them."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.benches.drain import COUNT
from bench.contenders.drain import DEFINITION, WARMUP
from bench.frame import CHECKOUT, BenchError, Contender, Ratio, Sample
from bench.servers import Database, database

EVENTS = 10_000_000
QUICK_DIVISOR = 100
SAMPLE_SECONDS = 0.05
MIB = 2**20


class OutageBench:
    """One writer and an outage; docs/benchmarks.md says how it is watched."""

    name = "outage"
    title = f"{EVENTS:,} events while PostgreSQL is away, then back: RssAnon over idle, in MiB"
    units = {
        "value": "MiB",
        "rss_file": "MiB",
        "rss_shmem": "MiB",
        "directory": "MiB",
        "written": "events/s",
        "landed": "rows/s",
        "cpu": "µs/event",
        "memory": "MiB",
    }
    contenders = (Contender("dbint", "dbint, journal of 16 GiB at most, 1 lane"),)
    ratios = (
        Ratio("rss_anon_over_idle_mib", "value", "dbint"),
        Ratio("directory_mib", "directory", "dbint"),
        Ratio("written_per_s", "written", "dbint"),
        Ratio("landed_per_s", "landed", "dbint"),
    )
    rounds = 1
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A server of the bench's own, to be taken away."""
        count = EVENTS // (QUICK_DIVISOR if quick else 1)
        with database() as target:
            yield lambda _contender: outage(target, count)


class Watch(threading.Thread):
    """Looks at a process and a directory every 50 ms, from outside; keeps the most of each, in bytes."""

    def __init__(self, pid: int, directory: Path) -> None:
        super().__init__(daemon=True)
        self.status = Path("/proc", str(pid), "status")
        self.directory = directory
        self.most = dict.fromkeys(("RssAnon", "RssFile", "RssShmem", "directory"), 0)
        self.looks = 0
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def now(self) -> dict[str, int]:
        """As of now. Empty when the process is gone."""
        try:
            lines = [line.split() for line in self.status.read_text(encoding="ascii").splitlines()]
        except OSError:
            return {}
        found = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[0].startswith("Rss")}
        return {**found, "directory": disk_usage(self.directory)} if found else {}

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            if found := self.now():
                self.most = {name: max(found[name], most) for name, most in self.most.items()}
                self.looks += 1


def disk_usage(directory: Path) -> int:
    """Bytes that the files below ``directory`` occupy; files that go meanwhile count as gone."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def outage(target: Database, count: int) -> Sample:
    """One outage; what the table holds in the end is counted, not believed."""
    with target.connect() as connection:
        connection.execute(DEFINITION)
    with tempfile.TemporaryDirectory(prefix="dbint-bench-") as scratch, tempfile.TemporaryFile("w+") as log:
        journal = Path(scratch, "journal")
        arguments = [target.conninfo, str(journal), str(count)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.contenders.outage", *arguments],
            cwd=CHECKOUT,
            env=target.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

        def heard() -> str:
            assert process.stdout is not None  # noqa: S101 - pipes were asked for
            if line := process.stdout.readline():
                return line.rstrip("\n")
            log.seek(0)
            raise BenchError(f"the writer ended with status {process.wait()}:\n{log.read()[-2000:]}")

        def send_on() -> None:
            assert process.stdin is not None  # noqa: S101
            process.stdin.write("go on\n")
            process.stdin.flush()

        try:
            with Watch(process.pid, journal) as watch:
                heard()
                idle = watch.now()["RssAnon"]
                target.servers.stop("postgres")
                send_on()
                heard()
                target.servers.start("postgres")
                send_on()
                found = json.loads(heard())
        finally:
            process.kill()
            process.wait()
    if not watch.looks:
        raise BenchError("nobody looked at the process while it worked")
    with target.connect() as connection:
        counts = connection.execute(COUNT).fetchone()
    if counts != (count + WARMUP, count + WARMUP):
        raise BenchError(f"{count + WARMUP} events were handed over; held, and distinct: {counts}")
    figures = {
        "value": (watch.most["RssAnon"] - idle) / MIB,
        "rss_file": watch.most["RssFile"] / MIB,
        "rss_shmem": watch.most["RssShmem"] / MIB,
        "directory": watch.most["directory"] / MIB,
        "written": count / found["written_seconds"],
        "landed": count / found["landed_seconds"],
        "cpu": found["cpu_seconds"] / count * 1e6,
        "memory": found["peak_rss"] / MIB,
    }
    return Sample(figures, target.versions())
