"""An outage: a process writes, its server is taken away and brought back, and we watch it from outside."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from bench.frame import CHECKOUT, BenchError
from stack import Stack

SAMPLE_SECONDS = 0.05
MIB = 2**20


@dataclass(frozen=True)
class Outage:
    """What the process said of its work, and the most that it held meanwhile, in bytes."""

    said: Mapping[str, Any]
    idle: int  # RssAnon before the outage
    most: Mapping[str, int]  # RssAnon, RssFile, RssShmem, directory (its journal's)

    @property
    def grown_mib(self) -> float:
        """RssAnon over idle, in MiB."""
        return (self.most["RssAnon"] - self.idle) / MIB


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


class Writer:
    """A contender that says a line where it stands and waits to be sent on (``told`` in its module)."""

    def __init__(self, command: Sequence[str], log: IO[str], environment: Mapping[str, str] | None) -> None:
        self.log = log
        self.process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def heard(self) -> str:
        """Its next line. Raises :class:`BenchError` with its last words when it has ended instead."""
        assert self.process.stdout is not None  # noqa: S101 - pipes were asked for
        if line := self.process.stdout.readline():
            return line.rstrip("\n")
        status = self.process.wait()
        self.log.seek(0)
        raise BenchError(f"the writer ended with status {status}:\n{self.log.read()[-2000:]}")

    def send_on(self) -> None:
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()


def outage(
    servers: Stack,
    server: str,
    contender: str,
    *target: str,
    count: int,
    environment: Mapping[str, str] | None = None,
) -> Outage:
    """Take ``server`` away from the contender while it hands over ``count`` of what it writes to ``target``.

    ``python -m CONTENDER TARGET… JOURNAL COUNT`` is run. Raises :class:`BenchError` when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="dbint-bench-") as scratch, tempfile.TemporaryFile("w+") as log:
        journal = Path(scratch, "journal")
        command = [sys.executable, "-m", contender, *target, str(journal), str(count)]
        with Writer(command, log, environment) as writer, Watch(writer.process.pid, journal) as watch:
            writer.heard()
            idle = watch.now()["RssAnon"]
            servers.stop(server)
            writer.send_on()
            writer.heard()
            servers.start(server)
            writer.send_on()
            said = json.loads(writer.heard())
    if not watch.looks:
        raise BenchError("nobody looked at the process while it worked")
    return Outage(said, idle, watch.most)
