"""dbint.metrics: one snapshot, and the exporters on top of it."""

import re
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dbint import metrics
from dbint.breaker import CircuitBreaker
from dbint.metrics import Histogram, Metric, otel, prometheus
from dbint.metrics.catalogue import CATALOGUE, help_text

CORE = Path(__file__).parents[2] / "csrc" / "core"


@pytest.fixture
def breaker() -> CircuitBreaker:
    breaker = CircuitBreaker(f"shop {uuid.uuid4()}", slow_call_duration=10.0, window="count")
    for _ in range(3):
        breaker.call(lambda: None)
    return breaker


@pytest.fixture
def waits() -> Iterator[None]:
    def source() -> list[Metric]:
        value = Histogram(6, 12.5, 9.0, ((0.0009, 1), (0.002, 3), (3.0, 1), (9.0, 1)))
        return [Metric("dbint_breaker_call_duration_seconds", "histogram", {"breaker": "made up"}, value)]

    metrics.add_source(source)
    yield
    metrics.remove_source(source)


def test_the_catalogue_has_the_metrics_of_the_core() -> None:
    texts = [path.read_text() for path in CORE.rglob("*.c")]
    assert len(texts) > 10
    names = {name for text in texts for name in re.findall(r'"(dbint_[a-z_]+)"', text)}
    python = {"dbint_events_status"}
    # Of a flow the core counts the capture alone.
    python |= {n for n in CATALOGUE if n.startswith("dbint_flow_") and "_capture_" not in n}
    assert names | python == set(CATALOGUE)


def test_what_is_shown_has_the_kind_and_the_labels_that_the_catalogue_says(breaker: CircuitBreaker) -> None:
    shown = [metric for metric in metrics.snapshot() if metric.name in CATALOGUE]
    assert any(metric.labels.get("breaker") == breaker.name for metric in shown)
    for metric in shown:
        assert (metric.kind, set(metric.labels)) == (
            CATALOGUE[metric.name].kind,
            set(CATALOGUE[metric.name].labels),
        )


def test_help_of_a_metric_that_is_not_in_the_catalogue_is_its_name() -> None:
    assert help_text("shop_orders_total") == "shop orders total"


def test_things_of_one_name_are_shown_as_one() -> None:
    one, other = CircuitBreaker("twin"), CircuitBreaker("twin")
    one.call(lambda: None)
    other.call(lambda: None)
    other.force("open")
    values = {
        (metric.name, metric.labels.get("outcome") or metric.labels.get("state")): metric.value
        for metric in metrics.snapshot()
        if metric.labels.get("breaker") == "twin"
    }
    assert values["dbint_breaker_calls_total", "succeeded"] == 2
    assert values["dbint_breaker_state", "open"] == values["dbint_breaker_state", "closed"] == 1


def test_distributions_of_one_name_are_added() -> None:
    one = Histogram(3, 4.0, 2.0, ((1.0, 1), (2.0, 2)))
    other = Histogram(2, 9.0, 8.0, ((1.0, 1), (8.0, 1)))
    assert one + other == Histogram(5, 13.0, 8.0, ((1.0, 2), (2.0, 2), (8.0, 1)))


def test_a_source_that_fails_hides_only_itself(
    breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[Metric]:
        raise ZeroDivisionError

    metrics.add_source(broken)
    try:
        assert any(metric.labels.get("breaker") == breaker.name for metric in metrics.snapshot())
    finally:
        metrics.remove_source(broken)
    assert "A source of metrics failed" in caplog.text
    caplog.clear()
    metrics.snapshot()
    assert caplog.text == ""


def test_prometheus_reads_both_formats(breaker: CircuitBreaker, waits: None) -> None:
    text, text_type = prometheus.exposition()
    assert text_type.startswith("text/plain")
    accept = "application/openmetrics-text; version=1.0.0"
    openmetrics, openmetrics_type = prometheus.exposition(accept)
    assert openmetrics_type.startswith("application/openmetrics-text")
    for families in (list(parse_text(text.decode())), list(parse_openmetrics(openmetrics.decode()))):
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }
        calls = ("dbint_breaker_calls_total", (("breaker", breaker.name), ("outcome", "succeeded")))
        assert samples[calls] == 3

        def bucket(
            bound: str, samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = samples
        ) -> float:
            return samples[
                "dbint_breaker_call_duration_seconds_bucket", (("breaker", "made up"), ("le", bound))
            ]

        assert [bucket(bound) for bound in ("0.0005", "0.001", "0.0025", "5.0", "10.0", "+Inf")] == [
            0,
            1,
            4,
            5,
            6,
            6,
        ]


def test_prometheus_registers_with_a_registry_of_the_users(breaker: CircuitBreaker) -> None:
    registry = CollectorRegistry()
    prometheus.register(registry)
    labels = {"breaker": breaker.name, "outcome": "succeeded"}
    assert registry.get_sample_value("dbint_breaker_calls_total", labels) == 3
    breaker.call(lambda: None)
    assert registry.get_sample_value("dbint_breaker_calls_total", labels) == 4


def test_prometheus_is_served_on_a_port_of_its_own(breaker: CircuitBreaker) -> None:
    port = prometheus.serve(0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert f'dbint_breaker_opened_total{{breaker="{breaker.name}"}} 0.0'.encode() in answer.read()


def test_opentelemetry_exports_counters_gauges_and_distributions(
    breaker: CircuitBreaker, waits: None
) -> None:
    reader = InMemoryMetricReader()
    otel.instrument(MeterProvider([reader]).get_meter("test"))

    def exported() -> dict[tuple[str, tuple[object, ...]], float]:
        data = reader.get_metrics_data()
        assert data is not None
        return {
            (metric.name, tuple(sorted(point.attributes.values()))): point.value
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            for point in metric.data.data_points
        }

    first = exported()
    assert first["dbint_breaker_calls", (breaker.name, "succeeded")] == 3
    assert first["dbint_breaker_state", ("closed", breaker.name)] == 1
    duration = "dbint_breaker_call_duration_seconds"
    assert [first[f"{duration}_{part}", ("made up",)] for part in ("count", "sum", "max")] == [6, 12.5, 9.0]
    breaker.call(lambda: None)
    time.sleep(0.3)
    assert exported()["dbint_breaker_calls", (breaker.name, "succeeded")] == 4
