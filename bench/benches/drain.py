"""Bringing rows into a PostgreSQL table with three indexes, durably."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contenders.drain import DEFINITION, TABLE, WARMUP
from bench.frame import BenchError, Contender, Ratio, Sample, run_contender
from bench.servers import Database, database

ROWS = 400_000
QUICK_DIVISOR = 40
TIMEOUT = 400.0

COUNT = f"SELECT count(*), count(DISTINCT event_id) FROM {TABLE}"  # noqa: S608 - a constant

# Contender -> what bench.contenders.drain is asked for, and its batch size (dbint: its lanes).
HOW = {
    "dbint-1": ("dbint", 1),
    "dbint-2": ("dbint", 2),
    "dbint-4": ("dbint", 4),
    "dbint-10k": ("dbint-10k", 1),
    "dbint-100k": ("dbint-100k", 1),
    "psql-10000": ("psql", 10_000),
    "psql-100": ("psql", 100),
    "psycopg-10000": ("psycopg", 10_000),
    "psycopg-100": ("psycopg", 100),
    "asyncpg-10000": ("asyncpg", 10_000),
    "asyncpg-100": ("asyncpg", 100),
    "executemany-10000": ("executemany", 10_000),
    "executemany-100": ("executemany", 100),
}


class DrainBench:
    """The comparison of ways into a table; docs/benchmarks.md says what is the same for all."""

    name = "drain"
    title = "rows landed in a table with three indexes, a real PostgreSQL, fsync and synchronous_commit on"
    units = {"value": "rows/s", "cpu": "µs/row", "memory": "MiB"}
    contenders = (
        Contender("dbint-1", "dbint, journal and ledger, 1 lane"),
        Contender("dbint-2", "dbint, journal and ledger, 2 lanes"),
        Contender("dbint-4", "dbint, journal and ledger, 4 lanes"),
        Contender("dbint-10k", "dbint, 1 lane, 10,000 events/s offered"),
        Contender("dbint-100k", "dbint, 1 lane, 100,000 events/s offered"),
        Contender("psql-10000", "psql \\copy in binary, batches of 10,000"),
        Contender("psql-100", "psql \\copy in binary, batches of 100"),
        Contender("psycopg-10000", "psycopg 3 copy in binary, batches of 10,000"),
        Contender("psycopg-100", "psycopg 3 copy in binary, batches of 100"),
        Contender("asyncpg-10000", "asyncpg copy_records_to_table, batches of 10,000"),
        Contender("asyncpg-100", "asyncpg copy_records_to_table, batches of 100"),
        Contender("executemany-10000", "asyncio buffer, psycopg executemany, batches of 10,000"),
        Contender("executemany-100", "asyncio buffer, psycopg executemany, batches of 100"),
    )
    ratios = (
        Ratio("rate_over_psql", "value", "dbint-1", "psql-10000"),
        Ratio("rate_over_psql_100", "value", "dbint-1", "psql-100"),
        Ratio("rate_over_psycopg", "value", "dbint-1", "psycopg-10000"),
        Ratio("rate_over_asyncpg", "value", "dbint-1", "asyncpg-10000"),
        Ratio("two_lanes_over_one", "value", "dbint-2", "dbint-1"),
        Ratio("four_lanes_over_one", "value", "dbint-4", "dbint-1"),
        Ratio("landed_of_10k", "value", "dbint-10k"),
        Ratio("landed_of_100k", "value", "dbint-100k"),
        Ratio("cpu_us", "cpu", "dbint-1"),
        Ratio("cpu_over_psql", "cpu", "dbint-1", "psql-10000"),
        Ratio("cpu_over_psycopg", "cpu", "dbint-1", "psycopg-10000"),
        Ratio("cpu_over_asyncpg", "cpu", "dbint-1", "asyncpg-10000"),
        Ratio("cpu_over_executemany", "cpu", "dbint-1", "executemany-10000"),
        Ratio("cpu_over_executemany_100", "cpu", "dbint-1", "executemany-100"),
    )
    rounds = 5
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A server of the bench's own."""
        with database() as target:

            def run(contender: str) -> Sample:
                return drain(target, contender, ROWS // (QUICK_DIVISOR if quick else 1))

            yield run


def drain(target: Database, contender: str, count: int) -> Sample:
    """One contender once, into an empty table; what the table then holds is counted, not believed."""
    how, size = HOW[contender]
    with target.connect() as connection:
        connection.execute(DEFINITION)
        connection.execute("CHECKPOINT")
    command = [sys.executable, "-m", "bench.contenders.drain", how, target.conninfo, str(count), str(size)]
    found = run_contender(command, timeout=TIMEOUT, environment=target.environment)
    with target.connect() as connection:
        counts = connection.execute(COUNT).fetchone()
    if counts != (count + WARMUP, count + WARMUP):
        raise BenchError(f"{contender}: {count + WARMUP} rows were sent; held, and distinct: {counts}")
    figures = {
        "value": count / found["seconds"],
        "cpu": found["cpu_seconds"] / count * 1e6,
        "memory": found["peak_rss"] / 2**20,
    }
    return Sample(figures, target.versions() | found["versions"])
