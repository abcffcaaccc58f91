"""dbint's metrics for OpenTelemetry (``pip install 'dbint[opentelemetry]'``).

Counters and gauges are observable instruments: nothing is done per event, each export reads one snapshot. A
distribution is exported as its count, sum and maximum: OpenTelemetry cannot observe a ready-made histogram.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from dbint import __version__
from dbint.metrics import Metric, snapshot
from dbint.metrics.catalogue import CATALOGUE

# An export asks instrument after instrument: what was read less than this ago, in s, is the same export's.
_SAME_EXPORT = 0.2


class _Reader:
    """One snapshot for all the instruments of an export."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._metrics: dict[str, list[Metric]] = {}

    def __call__(self, name: str) -> list[Metric]:
        if time.monotonic() - self._read_at > _SAME_EXPORT:
            metrics = defaultdict(list)
            for metric in snapshot():
                metrics[metric.name].append(metric)
            self._metrics, self._read_at = metrics, time.monotonic()
        return self._metrics.get(name, [])


def instrument(meter: Meter | None = None) -> None:
    """Make an instrument for every metric of the catalogue, on ``meter`` or the global provider's."""
    meter = meter or get_meter("dbint", __version__)
    read = _Reader()
    for name, entry in CATALOGUE.items():
        if entry.kind == "counter":
            meter.create_observable_counter(
                name.removesuffix("_total"), [_observe(read, name, _plain)], description=entry.help
            )
        elif entry.kind == "gauge":
            meter.create_observable_gauge(name, [_observe(read, name, _plain)], description=entry.help)
        else:
            meter.create_observable_counter(
                f"{name}_count",
                [_observe(read, name, lambda h: h.number)],
                description=f"{entry.help} Their number.",
            )
            meter.create_observable_counter(
                f"{name}_sum",
                [_observe(read, name, lambda h: h.sum)],
                unit="s",
                description=f"{entry.help} Their sum.",
            )
            meter.create_observable_gauge(
                f"{name}_max",
                [_observe(read, name, lambda h: h.max)],
                unit="s",
                description=f"{entry.help} The longest.",
            )


def _plain(value: Any) -> float:
    return float(value)


def _observe(
    read: _Reader, name: str, part: Callable[[Any], float]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(part(metric.value), dict(metric.labels)) for metric in read(name)]

    return observe
