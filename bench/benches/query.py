"""The query API on ten million events in each table, loaded by the writer."""

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders.query import FILTERS
from bench.frame import BenchError, Contender, Ratio, Sample, run_contender
from bench.servers import database
from dbint.events.tables import TABLES

ROWS = 10_000_000  # in each table
QUICK_ROWS = 5_000
QUERIES = 500
QUICK_QUERIES = 10
LOAD_TIMEOUT = 3600.0
TIMEOUT = 300.0


def words(name: str) -> str:
    """What a filter asks, in words."""
    asked = FILTERS[name]
    parts = [*asked.names, *(f"{field}={value}" for field, value in (asked.fixed or {}).items())]
    parts += [f"min_confidence={asked.least:g}"] if asked.least is not None else []
    parts += [f"a range of {asked.hours:g} h"] if asked.hours else []
    return f"query_{asked.table.name}: {', '.join(parts) or 'the newest'}"


class QueryBench:
    """One contender a question; docs/benchmarks.md says what the data look like."""

    name = "query"
    title = f"100 newest of {ROWS:,} events that a filter lets through, in ms"
    units = {"value": "ms (p99)", "p50": "ms", "rows": "rows", "cpu": "ms/query", "memory": "MiB"}
    contenders = tuple(Contender(name, words(name)) for name in FILTERS)
    ratios = tuple(Ratio(f"{name}_p99_ms", "value", name) for name in FILTERS)
    rounds = 3
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A server of the bench's own, and its tables, full."""
        rows, queries = (QUICK_ROWS, QUICK_QUERIES) if quick else (ROWS, QUERIES)
        command = [sys.executable, "-m", "bench.contenders.query"]
        seeds = itertools.count()
        with database() as target, tempfile.TemporaryDirectory(prefix="dbint-bench-") as scratch:
            target.migrate()
            environment = {
                **target.environment,
                "DBINT_JOURNAL_DIR": str(Path(scratch, "journal")),
                "BENCH_ROWS": str(rows),
            }
            run_contender([*command, "load", str(rows)], timeout=LOAD_TIMEOUT, environment=environment)
            with target.connect() as connection:
                for table in TABLES:
                    held = connection.execute(f"SELECT count(*) FROM {table.qualified}").fetchone()  # noqa: S608 - a constant
                    if held != (rows,):
                        raise BenchError(f"{rows} events were loaded into {table.qualified}, it holds {held}")
                    connection.execute(f"VACUUM ANALYZE {table.qualified}")
                connection.execute("CHECKPOINT")

            def run(contender: str) -> Sample:
                arguments = [contender, str(queries), str(next(seeds))]
                found = run_contender([*command, *arguments], timeout=TIMEOUT, environment=environment)
                figures = {
                    "value": found["p99"] * 1e3,
                    "p50": found["p50"] * 1e3,
                    "rows": found["rows"],
                    "cpu": found["cpu_seconds"] * 1e3,
                    "memory": found["peak_rss"] / 2**20,
                }
                return Sample(figures, target.versions())

            yield run
