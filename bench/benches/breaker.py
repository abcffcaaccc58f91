"""What a closed circuit breaker adds to a call that does nothing, from C and from Python."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.compiler import CORE, NATIVE, build
from bench.frame import Contender, Ratio, Sample, run_contender

SOURCES = (
    NATIVE / "breaker.c",
    *(CORE / f"{noun}.c" for noun in ("breaker", "window", "metrics", "alloc", "clock", "err")),
)

# Loops of a few ms, and many of them: on a busy machine some fall between two interruptions.
REPEATS = 150
CALLS = {"c": 400_000, "dbint": 20_000, "pybreaker": 1_000}
QUICK_DIVISOR = 10
TIMEOUT = 60.0


class BreakerBench:
    """The comparison of circuit breakers."""

    name = "breaker"
    title = "what a closed circuit breaker adds to a call that does nothing, in ns"
    units = {"value": "ns", "cpu": "ns/call", "memory": "MiB"}
    contenders = (
        Contender("c", "dbint from C: acquire, call, done"),
        Contender("dbint-call", "dbint from Python: breaker.call(f)"),
        Contender("dbint-decorator", "dbint from Python: @breaker"),
        Contender("dbint-with", "dbint from Python: with breaker"),
        Contender("pybreaker-call", "pybreaker: breaker.call(f)"),
        Contender("pybreaker-decorator", "pybreaker: @breaker"),
        Contender("pybreaker-with", "pybreaker: with breaker.calling()"),
    )
    ratios = (
        Ratio("c_ns", "value", "c"),
        Ratio("python_call_ns", "value", "dbint-call"),
        Ratio("python_decorator_ns", "value", "dbint-decorator"),
        Ratio("python_with_ns", "value", "dbint-with"),
        Ratio("pybreaker_call_over_dbint", "value", "pybreaker-call", "dbint-call"),
        Ratio("pybreaker_decorator_over_dbint", "value", "pybreaker-decorator", "dbint-decorator"),
        Ratio("pybreaker_with_over_dbint", "value", "pybreaker-with", "dbint-with"),
    )
    rounds = 7
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """The C contender, built from the core's own sources."""
        native = build(SOURCES, [f"-I{CORE}", "-lm"])
        python = [sys.executable, "-m", "bench.contenders.breaker"]

        def run(contender: str) -> Sample:
            calls = CALLS[contender.partition("-")[0]] // (QUICK_DIVISOR if quick else 1)
            program = [str(native)] if contender == "c" else [*python, contender]
            command = [*program, str(REPEATS), str(calls)]
            found = run_contender(command, timeout=TIMEOUT)
            figures = {
                "value": found["guarded_ns"] - found["bare_ns"],
                "cpu": found["cpu_ns"],
                "memory": found["peak_rss"] / 2**20,
            }
            return Sample(figures, found["versions"])

        yield run
