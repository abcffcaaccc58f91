"""Handing an event over: what one call costs its caller."""

import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.compiler import NATIVE, build
from bench.frame import Contender, Ratio, Sample, run_contender
from bench.servers import Database, database

SLICES, CALLS = 400, 1_000
QUICK_DIVISOR = 10
TIMEOUT = 180.0

NOWHERE = {"POSTGRES_PORT": "9"}  # the discard port of this host: nobody listens there


class EnqueueBench:
    """The comparison of handovers; docs/benchmarks.md says what is the same for all."""

    name = "enqueue"
    title = "an event of six fields handed over, in ns"
    units = {"value": "ns", "p50": "ns", "p999": "ns", "cpu": "ns/call", "memory": "MiB"}
    contenders = (
        Contender("noop", "await of a C call that does nothing, same keywords"),
        Contender("dbint", "dbint await write_trace_event, server away"),
        Contender("dbint-draining", "dbint await write_trace_event, while draining"),
        Contender("simplequeue", "SimpleQueue.put of the dict"),
        Contender("asyncio-buffer", "asyncio buffer in pure Python"),
        Contender("queuehandler", "logging QueueHandler"),
        Contender("otel", "OpenTelemetry span, BatchSpanProcessor"),
    )
    ratios = (
        Ratio("buffer_over_dbint", "value", "asyncio-buffer", "dbint"),
        Ratio("buffer_over_dbint_draining", "value", "asyncio-buffer", "dbint-draining"),
        Ratio("dbint_over_noop", "value", "dbint", "noop"),
        Ratio("dbint_draining_over_noop", "value", "dbint-draining", "noop"),
        Ratio("dbint_p999_ns", "p999", "dbint"),
        Ratio("dbint_draining_p999_ns", "p999", "dbint-draining"),
        Ratio("simplequeue_over_dbint", "value", "simplequeue", "dbint"),
        Ratio("queuehandler_over_dbint", "value", "queuehandler", "dbint"),
        Ratio("otel_over_dbint", "value", "otel", "dbint"),
    )
    rounds = 5
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A server of the bench's own, its tables, and the call that does nothing."""
        noop = build([NATIVE / "noop.c"], ["-shared", f"-I{sysconfig.get_path('include')}"])
        slices = SLICES // (QUICK_DIVISOR if quick else 1)
        with database() as target:
            target.migrate()

            def run(contender: str) -> Sample:
                arguments = [contender, str(slices), str(CALLS)]
                if contender == "noop":
                    arguments.append(str(noop))
                command = [sys.executable, "-m", "bench.contenders.enqueue", *arguments]
                with journal(target, away=contender == "dbint") as environment:
                    found = run_contender(command, timeout=TIMEOUT, environment=environment)
                figures = {
                    "value": found["ns"],
                    "p50": found["p50_ns"],
                    "p999": found["p999_ns"],
                    "cpu": found["cpu_ns"],
                    "memory": found["peak_rss"] / 2**20,
                }
                return Sample(figures, target.versions() | found["versions"])

            yield run


@contextmanager
def journal(target: Database, *, away: bool) -> Iterator[dict[str, str]]:
    """The environment of a run with an empty journal of its own, and the server or, if ``away``, none."""
    with tempfile.TemporaryDirectory(prefix="dbint-bench-") as directory:
        yield {**target.environment, "DBINT_JOURNAL_DIR": directory, **(NOWHERE if away else {})}
