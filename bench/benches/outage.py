"""Ten million events while PostgreSQL is away: what they take meanwhile, and what becomes of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.benches.drain import COUNT
from bench.contenders.drain import DEFINITION, WARMUP
from bench.frame import BenchError, Contender, Ratio, Sample
from bench.outages import MIB, outage
from bench.servers import Database, database

EVENTS = 10_000_000
QUICK_DIVISOR = 100


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
            yield lambda _contender: run(target, count)


def run(target: Database, count: int) -> Sample:
    """One outage; what the table holds in the end is counted, not believed."""
    with target.connect() as connection:
        connection.execute(DEFINITION)
    found = outage(
        target.servers,
        "postgres",
        "bench.contenders.outage",
        target.conninfo,
        count=count,
        environment=target.environment,
    )
    with target.connect() as connection:
        counts = connection.execute(COUNT).fetchone()
    if counts != (count + WARMUP, count + WARMUP):
        raise BenchError(f"{count + WARMUP} events were handed over; held, and distinct: {counts}")
    figures = {
        "value": found.grown_mib,
        "rss_file": found.most["RssFile"] / MIB,
        "rss_shmem": found.most["RssShmem"] / MIB,
        "directory": found.most["directory"] / MIB,
        "written": count / found.said["written_seconds"],
        "landed": count / found.said["landed_seconds"],
        "cpu": found.said["cpu_seconds"] / count * 1e6,
        "memory": found.said["peak_rss"] / MIB,
    }
    return Sample(figures, target.versions())
