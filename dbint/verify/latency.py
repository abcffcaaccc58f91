"""Latencies and their budgets."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

# By operation: "ping" is SELECT 1, "bulk_insert" 100 rows, "produce" one message until it is acknowledged.
# Generous: a laptop with an emulator keeps them. A project sets its own in DBINT["VERIFY"]["budgets"].
DEFAULT_BUDGETS: Mapping[str, Mapping[str, float]] = {
    "connect": {"p50_ms": 250, "p95_ms": 1000},
    "ping": {"p50_ms": 50, "p95_ms": 250},
    "insert": {"p50_ms": 250, "p95_ms": 1000},
    "get": {"p50_ms": 100, "p95_ms": 500},
    "filter": {"p50_ms": 150, "p95_ms": 750},
    "update": {"p50_ms": 250, "p95_ms": 1000},
    "bulk_insert": {"p50_ms": 1000, "p95_ms": 3000},
    "delete": {"p50_ms": 500, "p95_ms": 2000},  # on Doris three statements
    "produce": {"p50_ms": 100, "p95_ms": 500},
}
DEFAULT_MESSAGES_PER_S = 2000.0

QUANTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


def quantile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank quantile: a value that was really measured. ``values`` need not be sorted."""
    if not values:
        raise ValueError("no measurements")
    ordered = sorted(values)
    return ordered[max(math.ceil(fraction * len(ordered)) - 1, 0)]


@dataclass
class Stopwatch:
    """Collects the durations of named operations."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    clock: Callable[[], float] = time.perf_counter

    @contextmanager
    def time(self, operation: str) -> Iterator[None]:
        """Times what is inside; a failed operation is not a measurement."""
        begin = self.clock()
        yield
        self.samples.setdefault(operation, []).append(self.clock() - begin)

    def summary(self) -> dict[str, dict[str, float]]:
        """{operation: {p50_ms, p95_ms, p99_ms, samples}}."""
        return {
            operation: {name: round(quantile(values, q) * 1000, 3) for name, q in QUANTILES.items()}
            | {"samples": len(values)}
            for operation, values in self.samples.items()
        }


def over_budget(
    measured: Mapping[str, Mapping[str, float]], budgets: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """One line per broken budget: "insert: p95 12.3 ms, budget 10 ms"."""
    return [
        f"{operation}: {name.removesuffix('_ms')} {value:g} ms, budget {budget:g} ms"
        for operation, limits in budgets.items()
        for name, budget in limits.items()
        if (value := measured.get(operation, {}).get(name)) is not None and value > budget
    ]
