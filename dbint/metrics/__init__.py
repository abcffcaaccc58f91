"""What dbint measures, for any metrics system.

The C core counts without Python's help; :func:`snapshot` reads everything at once. Python parts that have
numbers of their own add a source. Exporters sit on top: :mod:`dbint.metrics.prometheus` and
:mod:`dbint.metrics.otel`. :mod:`dbint.metrics.catalogue` says what each metric means.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from dbint._core import metrics_snapshot

if TYPE_CHECKING:
    from dbint._core import HistogramValue

Kind = Literal["counter", "gauge", "histogram"]


class Histogram(NamedTuple):
    """A distribution of durations in seconds.

    ``buckets`` are (upper bound, number of values), in order, not cumulative, without the empty ones.
    """

    number: int
    sum: float
    max: float
    buckets: tuple[tuple[float, int], ...]

    def __add__(self, other: object) -> "Histogram":
        """Both distributions in one."""
        if not isinstance(other, Histogram):
            return NotImplemented
        buckets = Counter(dict(self.buckets))
        buckets.update(dict(other.buckets))
        return Histogram(
            self.number + other.number,
            self.sum + other.sum,
            max(self.max, other.max),
            tuple(sorted(buckets.items())),
        )


class Metric(NamedTuple):
    """One value at one time. Names follow Prometheus: counters end in ``_total``, times are seconds."""

    name: str
    kind: Kind
    labels: Mapping[str, str]
    value: float | Histogram


Source = Callable[[], Iterable[Metric]]

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_sources: dict[Source, None] = {}


def add_source(source: Source) -> None:
    """Let ``source`` contribute to every snapshot from now on. Adding it twice is adding it once."""
    with _lock:
        _sources[source] = None


def remove_source(source: Source) -> None:
    """Take a source out again; one that was never added is ignored."""
    with _lock:
        _sources.pop(source, None)


def snapshot() -> list[Metric]:
    """Every metric of the process now, one for each name and set of labels, ordered by name.

    Things of the same name (two breakers called "orders") are shown as one: counters and histograms are
    added, of gauges the highest counts. A source that raises is left out, and logged: one part's fault must
    not blind the others.
    """
    metrics = [
        Metric(name, cast(Kind, kind), labels, _value(value))
        for name, kind, labels, value in metrics_snapshot()
    ]
    with _lock:
        sources = list(_sources)
    for source in sources:
        try:
            metrics.extend(source())
        except Exception:  # whatever it is: see above
            _logger.exception("A source of metrics failed; its metrics are missing from this snapshot")
    one: dict[tuple[str, tuple[tuple[str, str], ...]], Metric] = {}
    for metric in metrics:
        key = (metric.name, tuple(sorted(metric.labels.items())))
        one[key] = (
            metric._replace(value=_joined(metric.kind, one[key].value, metric.value))
            if key in one
            else metric
        )
    return [one[key] for key in sorted(one)]


def _value(value: "float | HistogramValue") -> float | Histogram:
    if isinstance(value, dict):
        return Histogram(value["count"], value["sum"], value["max"], tuple(value["buckets"]))
    return value


def _joined(kind: Kind, one: Any, other: Any) -> float | Histogram:
    value: float | Histogram = max(one, other) if kind == "gauge" else one + other
    return value
