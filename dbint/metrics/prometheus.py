"""dbint's metrics for Prometheus, by way of prometheus_client (``pip install 'dbint[prometheus]'``).

:func:`register` adds them to a registry, :func:`exposition` is the body of an HTTP answer. Each process has
numbers of its own: where several workers share a port, give each worker a port for metrics (:func:`serve`).
"""

from collections.abc import Iterable
from itertools import groupby

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from dbint.metrics import Histogram, Metric, snapshot
from dbint.metrics.catalogue import help_text

# The core keeps some 1,200 buckets; Prometheus gets these. Seconds; 1 µs to 50 s, three to a decade.
BOUNDS = tuple(float(f"{digits}e{power}") for power in range(-6, 2) for digits in (1, 2.5, 5))


class DbintCollector(Collector):
    """All of :func:`dbint.metrics.snapshot`, read anew at each scrape."""

    def collect(self) -> Iterable[Family]:
        for name, group in groupby(snapshot(), key=lambda metric: metric.name):
            yield _family(name, list(group))


def _family(name: str, metrics: list[Metric]) -> Family:
    labels = sorted({label for metric in metrics for label in metric.labels})
    makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    family = makers[metrics[0].kind](name, help_text(name), labels=labels)
    for metric in metrics:
        values = [metric.labels.get(label, "") for label in labels]
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(metric.value, Histogram)  # noqa: S101 - the kind says so
            family.add_metric(values, buckets=_cumulative(metric.value), sum_value=metric.value.sum)
        else:
            assert not isinstance(metric.value, Histogram)  # noqa: S101 - as above
            family.add_metric(values, metric.value)
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """The core's buckets in Prometheus' coarser ones: each lands where its upper bound does."""
    counts = [0] * (len(BOUNDS) + 1)
    for upper, count in histogram.buckets:
        counts[next((i for i, bound in enumerate(BOUNDS) if upper <= bound), len(BOUNDS))] += count
    total, cumulative = 0, []
    for label, count in zip([*map(floatToGoString, BOUNDS), "+Inf"], counts, strict=True):
        total += count
        cumulative.append((label, float(total)))
    return cumulative


def register(registry: CollectorRegistry = REGISTRY) -> DbintCollector:
    """Add dbint's metrics to a registry of prometheus_client, the default one if none is given."""
    collector = DbintCollector()
    registry.register(collector)
    return collector


_own = CollectorRegistry()
_own.register(DbintCollector())


def exposition(accept: str = "") -> tuple[bytes, str]:
    """dbint's metrics alone, as (body, content type).

    ``accept`` is the request's header: OpenMetrics where it asks for that, else Prometheus' text format.
    """
    encoder, content_type = choose_encoder(accept)
    return encoder(_own), content_type


def serve(port: int, host: str = "127.0.0.1") -> int:
    """Serve dbint's metrics at ``http://host:port/metrics`` from a daemon thread; port 0 takes a free one.

    Returns the port. Raises OSError when it is taken.
    """
    server, _ = start_http_server(port, host, registry=_own)
    return int(server.server_port)
