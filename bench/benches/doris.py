"""Django on Doris: rows written in bulk, and single rows read; on the emulator, which is not Doris."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.frame import CHECKOUT, BenchError, Contender, Ratio, Sample, run_contender
from bench.servers import private_server
from stack.servers import SERVERS

# Operations of each contender: as many rows as are written, or read one by one.
COUNTS = {"load": 100_000, "insert": 100_000, "insert-mysql": 100_000, "save-mysql": 1_000}
READS = 2_000
QUICK_DIVISOR = 20
TIMEOUT = 600.0
MODULE = "bench.contenders.doris"


class DorisBench:
    """The comparison of the Doris backend with INSERTs, with the bare driver and with Django's for MySQL."""

    name = "doris"
    title = "Django on the Doris emulator: µs a row of bulk_create, µs a single row read"
    units = {"value": "µs", "cpu": "µs", "memory": "MiB"}
    contenders = (
        Contender("load", "bulk_create of 100,000 objects by Stream Load"),
        Contender("insert", "the same by INSERTs of 1000 rows"),
        Contender("insert-mysql", "the same by Django's MySQL backend, INSERTs of 1000 rows"),
        Contender("save-mysql", "1,000 of them by save() on Django's MySQL backend, an INSERT each"),
        Contender("read-pymysql", "one row by primary key, PyMySQL alone"),
        Contender("read-cursor", "the same statement by connection.cursor()"),
        Contender("read-orm", "the same row by objects.get()"),
        Contender("read-orm-mysql", "objects.get() on Django's MySQL backend"),
    )
    ratios = (
        Ratio("save_mysql_over_load", "value", "save-mysql", "load"),
        Ratio("insert_mysql_over_load", "value", "insert-mysql", "load"),
        Ratio("insert_over_load", "value", "insert", "load"),
        Ratio("cursor_over_pymysql", "value", "read-cursor", "read-pymysql"),
        Ratio("orm_over_pymysql", "value", "read-orm", "read-pymysql"),
        Ratio("orm_over_mysql_orm", "value", "read-orm", "read-orm-mysql"),
        Ratio("cursor_cpu_over_pymysql", "cpu", "read-cursor", "read-pymysql"),
        Ratio("orm_cpu_over_pymysql", "cpu", "read-orm", "read-pymysql"),
        Ratio("orm_cpu_over_mysql_orm", "cpu", "read-orm", "read-orm-mysql"),
    )
    rounds = 3
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """An emulator of the bench's own."""
        divisor = QUICK_DIVISOR if quick else 1
        with private_server(SERVERS["doris"]) as servers:
            environment = servers.env(["doris"])

            def run(contender: str) -> Sample:
                count = COUNTS.get(contender, READS) // divisor
                if contender not in COUNTS:
                    prepare(environment)
                command = [sys.executable, "-m", MODULE, contender, str(count)]
                found = run_contender(command, timeout=TIMEOUT, environment=environment)
                figures = {
                    "value": found["seconds"] / found["count"] * 1e6,
                    "cpu": found["cpu_seconds"] / found["count"] * 1e6,
                    "memory": found["peak_rss"] / 2**20,
                }
                return Sample(figures, found["versions"])

            yield run


def prepare(environment: dict[str, str]) -> None:
    """Make the table that is read."""
    command = [sys.executable, "-m", MODULE, "prepare", "0"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=CHECKOUT, timeout=TIMEOUT
    )
    if done.returncode != 0:
        raise BenchError(f"making the table failed: {done.stderr.strip()[-500:]}")
