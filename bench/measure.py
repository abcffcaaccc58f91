"""What a contender uses to measure itself, inside its own process, and to say what it found.

A contender prints one line of JSON on standard output: ``count`` (operations timed), ``seconds`` (wall),
``cpu_seconds`` (user and system time of all threads of the process), ``librdkafka_seconds`` (what of it
librdkafka's own threads took), ``peak_rss`` (bytes) and ``versions`` (of the libraries under test). The C
contenders print the same line.
"""

import json
import resource
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")
TASKS = Path("/proc/self/task")


def cpu_seconds() -> float:
    """User and system CPU time of this process so far, all threads, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_rss() -> int:
    """The most memory that this process has held, in bytes.

    VmHWM belongs to the address space that exec made; ``ru_maxrss`` would also carry the size of the process
    that forked this one.
    """
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{STATUS} has no VmHWM line")


def librdkafka_seconds() -> float:
    """CPU time so far of librdkafka's own threads, known by the names that it gives them, in seconds."""
    total = 0
    for task in TASKS.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            if (task / "comm").read_text(encoding="utf-8").startswith("rdk:"):
                total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


class Stopwatch:
    """Wall and CPU seconds of a ``with`` block, and what librdkafka's threads took of the latter."""

    seconds: float
    cpu_seconds: float
    librdkafka_seconds: float

    def __enter__(self) -> Self:
        self._library = librdkafka_seconds()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = cpu_seconds() - self._cpu
        self.librdkafka_seconds = librdkafka_seconds() - self._library


def report(watch: Stopwatch, count: int, versions: dict[str, str], **more: float) -> None:
    """Print the contender's one line; ``more`` are figures of its own."""
    print(
        json.dumps(
            {
                "count": count,
                "seconds": watch.seconds,
                "cpu_seconds": watch.cpu_seconds,
                "librdkafka_seconds": watch.librdkafka_seconds,
                "peak_rss": peak_rss(),
                "versions": versions,
                **more,
            }
        ),
        flush=True,
    )
