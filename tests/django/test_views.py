"""The views that a project can put into its URLs."""

import uuid

from django.test import RequestFactory
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dbint.breaker import CircuitBreaker
from dbint.django.views import metrics


def test_metrics_are_openmetrics_for_those_who_accept_it() -> None:
    breaker = CircuitBreaker(f"view {uuid.uuid4()}")
    breaker.call(lambda: None)
    answer = metrics(
        RequestFactory().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    )
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "no-store" in answer.headers["Cache-Control"]
    calls = {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
        if sample.labels.get("breaker") == breaker.name and "outcome" in sample.labels
    }
    assert calls["succeeded"] == 1


def test_metrics_are_text_for_everyone_else_and_only_read() -> None:
    assert metrics(RequestFactory().get("/metrics")).headers["Content-Type"].startswith("text/plain")
    assert metrics(RequestFactory().post("/metrics")).status_code == 405
