"""dbint.testing: what users have for their tests. The plugin is run as pytest runs it."""

import asyncio
import unittest

import pytest

from dbint.errors import ConfigurationError, InterfaceError, InvalidEventError
from dbint.events.process import get_database_layer, set_database_layer
from dbint.testing import CapturedEvent, EventsMixin, capture_events, flush_events

pytest_plugins = ["pytester"]

STEP = {"trace_id": "t", "event_type": "STEP", "level": "INFO", "message": "done"}


def test_events_of_the_process_are_captured_in_order_and_found_by_their_fields() -> None:
    async def work() -> None:
        layer = get_database_layer()
        await layer.write_trace_event(**STEP, metadata={"n": 1})
        await layer.write_performance_metric(
            metric_name="latency", metric_value=1.5, metric_type="gauge", component="router"
        )

    with capture_events() as events:
        asyncio.run(work())
        get_database_layer().write_trace_event_sync(**STEP | {"level": "ERROR"})
        flush_events()
    assert [event.table for event in events] == ["trace_events", "performance_metrics", "trace_events"]
    assert events[0] == CapturedEvent("trace_events", {**STEP, "metadata": {"n": 1}})
    assert events.one("performance_metrics", component="router")["metric_value"] == 1.5
    assert len(events.of("trace_events", trace_id="t")) == 2
    with pytest.raises(AssertionError, match=r"2 events for trace_events with .*should be 1"):
        events.one("trace_events", trace_id="t")
    events.clear()
    assert len(events) == 0


def test_an_event_that_its_table_cannot_hold_is_refused_as_by_the_real_one() -> None:
    with capture_events() as events:
        write = get_database_layer().write_trace_event_sync
        with pytest.raises(InvalidEventError, match=r'"message".*"trace_events"'):
            write(**STEP | {"message": 5})
        with pytest.raises(InvalidEventError, match="trace_id"):
            write(event_type="STEP", level="INFO", message="no trace")
        write(**STEP)
    assert len(events) == 1


def test_captures_nest_and_the_layer_of_before_is_back_afterwards() -> None:
    before = set_database_layer(None)
    try:
        with capture_events() as outer:
            with capture_events() as inner:
                get_database_layer().write_trace_event_sync(**STEP)
            get_database_layer().write_trace_event_sync(**STEP)
            get_database_layer().write_trace_event_sync(**STEP)
        assert (len(inner), len(outer)) == (1, 2)
        assert set_database_layer(None) is None
    finally:
        set_database_layer(before)


def test_there_is_nothing_to_query_and_columns_must_be_declared() -> None:
    with capture_events():
        layer = get_database_layer()
        layer.initialize_sync()
        with pytest.raises(InterfaceError, match="nothing to query"):
            layer.query_trace_events_sync(trace_id="t")
        with pytest.raises(ConfigurationError, match=r'"public\.audit" must declare its columns'):
            layer.writer.stream("public.audit")
        layer.writer.stream("public.audit", columns={"who": "text"}).write_sync(who="me")


class ATestCase(EventsMixin, unittest.TestCase):
    def test_events_are_this_tests_alone(self) -> None:
        get_database_layer().write_trace_event_sync(**STEP)
        assert self.captured_events.one("trace_events")["message"] == "done"

    test_and_not_those_of_the_one_before = test_events_are_this_tests_alone


def test_the_plugin_has_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from dbint.events.process import get_database_layer

        def test_captured(captured_events):
            get_database_layer().write_trace_event_sync(
                trace_id="t", event_type="STEP", level="INFO", message="done"
            )
            assert captured_events.one("trace_events")["trace_id"] == "t"

        def test_empty(captured_events):
            assert len(captured_events) == 0
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)
