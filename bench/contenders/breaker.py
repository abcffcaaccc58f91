"""Circuit breakers in Python: ``python -m bench.contenders.breaker HOW REPEATS CALLS``.

Times CALLS calls of a function that does nothing, bare and guarded, REPEATS times in turn, and keeps the
quickest of each: whatever the machine does in between only ever adds (timeit's documentation reasons the same
way).
"""

import itertools
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter_ns
from typing import Any

from bench.measure import cpu_seconds, peak_rss

Loop = Callable[[int], int]


def nothing() -> None:
    """The call that is guarded."""


def loop_of(function: Callable[..., Any], *arguments: object) -> Loop:
    """Nanoseconds for so many calls of ``function``."""

    def bare(calls: int) -> int:
        begun = perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            function()
        return perf_counter_ns() - begun

    def with_argument(calls: int) -> int:
        (argument,) = arguments
        begun = perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            function(argument)
        return perf_counter_ns() - begun

    return with_argument if arguments else bare


def loop_of_with(manager: Callable[[], AbstractContextManager[Any]] | AbstractContextManager[Any]) -> Loop:
    """The same for ``with manager:``, or ``with manager():`` where one is needed for each block."""

    def reused(calls: int) -> int:
        begun = perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            with manager:  # type: ignore[union-attr]
                nothing()
        return perf_counter_ns() - begun

    def made(calls: int) -> int:
        begun = perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            with manager():  # type: ignore[operator]
                nothing()
        return perf_counter_ns() - begun

    return reused if hasattr(manager, "__enter__") else made


def dbint_loop(form: str) -> Loop:
    from dbint.breaker import CircuitBreaker

    breaker = CircuitBreaker("bench")
    if form == "call":
        return loop_of(breaker.call, nothing)
    return loop_of(breaker(nothing)) if form == "decorator" else loop_of_with(breaker)


def pybreaker_loop(form: str) -> Loop:
    from pybreaker import CircuitBreaker

    breaker = CircuitBreaker(fail_max=5, reset_timeout=60)
    if form == "call":
        return loop_of(breaker.call, nothing)
    return loop_of(breaker(nothing)) if form == "decorator" else loop_of_with(breaker.calling)


def main(how: str, repeats: str, calls: str) -> None:
    """Time, and print one line of JSON."""
    library, _, form = how.partition("-")
    guarded = {"dbint": dbint_loop, "pybreaker": pybreaker_loop}[library](form)
    bare = loop_of(nothing)
    number = int(calls)
    best_bare = best_guarded = sys.maxsize
    cpu = 0.0
    for _ in range(int(repeats)):
        best_bare = min(best_bare, bare(number))
        before = cpu_seconds()
        best_guarded = min(best_guarded, guarded(number))
        cpu += cpu_seconds() - before
    print(
        json.dumps(
            {
                "bare_ns": best_bare / number,
                "guarded_ns": best_guarded / number,
                "cpu_ns": cpu * 1e9 / (int(repeats) * number),
                "peak_rss": peak_rss(),
                "versions": {},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
