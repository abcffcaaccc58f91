"""The query API as statements: bound parameters, windows, pages, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from dbint.errors import ConfigurationError
from dbint.events import queries
from dbint.events.queries import MAX_LIMIT, Query

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT_ID = UUID("01938f00-0000-7000-8000-000000000001")


def the_only(query: Query) -> tuple[str, list[Any]]:
    (statement,) = query.statements()
    return statement.text, list(statement.parameters)


@pytest.mark.parametrize(
    ("query", "column"),
    [
        (queries.query_trace_events(trace_id="v"), "trace_id"),
        (queries.query_trace_events(agent_name="v"), "agent_name"),
        (queries.query_trace_events(event_type="v"), "event_type"),
        (queries.query_routing_decisions("v"), "selected_agent"),
        (queries.query_routing_decisions(routing_strategy="v"), "routing_strategy"),
        (queries.query_routing_decisions(trace_id="v"), "trace_id"),
        (queries.query_performance_metrics("v"), "metric_name"),
        (queries.query_performance_metrics(component="v"), "component"),
        (queries.query_performance_metrics(metric_type="v"), "metric_type"),
        (queries.query_transformation_events("v"), "source_agent"),
        (queries.query_transformation_events(target_agent="v"), "target_agent"),
        (queries.query_transformation_events(transformation_type="v"), "transformation_type"),
    ],
)
def test_values_are_bound(query: Query, column: str) -> None:
    for statement in query.statements():
        assert f"{column} = %s" in statement.text
        assert statement.parameters[0] == "v"


def test_no_value_gets_into_the_text() -> None:
    evil = "'; DROP TABLE x; --"
    for statement in queries.query_trace_events(evil, evil, evil, NOON, NOON, 5).statements():
        assert evil not in statement.text
        assert list(statement.parameters).count(evil) == 3


class TestWindows:
    def test_the_last_days_come_first_and_all_time_is_covered_once(self) -> None:
        first, second, third = queries.query_trace_events(end_time=NOON).statements()
        assert [len(one.parameters) for one in (first, second, third)] == [2, 2, 1]
        assert first.parameters[1] == NOON
        assert first.parameters[0] == second.parameters[1] <= NOON - timedelta(days=1)
        assert second.parameters[0] == third.parameters[0] <= NOON - timedelta(days=8)
        assert "timestamp >= %s" not in third.text

    def test_the_first_window_has_no_end_of_its_own(self) -> None:
        first = next(queries.query_trace_events().statements())
        assert "timestamp < %s" not in first.text
        assert first.parameters[0] <= datetime.now(UTC) - timedelta(days=1)

    def test_a_short_range_is_looked_at_once(self) -> None:
        text, parameters = the_only(
            queries.query_trace_events(start_time=NOON - timedelta(hours=3), end_time=NOON)
        )
        assert "timestamp >= %s AND timestamp < %s" in text
        assert parameters == [NOON - timedelta(hours=3), NOON]

    def test_a_trace_is_looked_at_once(self) -> None:
        assert len(list(queries.query_trace_events("t").statements())) == 1
        assert len(list(queries.query_routing_decisions(trace_id="t").statements())) == 1

    def test_a_start_time_ends_the_windows(self) -> None:
        start = NOON - timedelta(days=3)
        statements = list(queries.query_trace_events(start_time=start, end_time=NOON).statements())
        assert len(statements) == 2
        assert statements[-1].parameters[0] == start


class TestPages:
    def test_before_is_an_event_or_its_place(self) -> None:
        place = (NOON, EVENT_ID)
        event = {"timestamp": NOON, "event_id": EVENT_ID, "message": "…"}
        texts = {
            (s.text, tuple(s.parameters))
            for before in (place, event, {**event, "event_id": str(EVENT_ID)})
            for s in queries.query_trace_events("t", before=before).statements()
        }
        ((text, parameters),) = texts
        assert "(timestamp, event_id) < (%s, %s)" in text
        # The bound by which partitions are left out keeps the page's own microsecond.
        assert parameters == ("t", NOON, EVENT_ID, NOON + timedelta(microseconds=1))

    @pytest.mark.parametrize("before", [3, {}, {"timestamp": NOON}, (NOON,), (NOON, "x"), "x"])
    def test_anything_else_is_refused(self, before: Any) -> None:
        with pytest.raises(ConfigurationError, match="before"):
            queries.query_trace_events(before=before)

    def test_a_place_without_a_zone_is_refused(self) -> None:
        with pytest.raises(
            ConfigurationError, match="the timestamp of before must be a datetime with a time zone"
        ):
            queries.query_trace_events(before=(datetime(2026, 1, 1), EVENT_ID))


class TestArguments:
    @pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1, 1.5, True, "5"])
    def test_the_limit_is_capped(self, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"limit must be a whole number from 1 to {MAX_LIMIT}"):
            queries.query_trace_events(limit=limit)

    @pytest.mark.parametrize("name", ["start_time", "end_time"])
    @pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01", 3])
    def test_times_have_a_zone(self, name: str, moment: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"{name} must be a datetime with a time zone"):
            queries.query_trace_events(**{name: moment})

    def test_texts_are_texts(self) -> None:
        with pytest.raises(ConfigurationError, match="agent_name must be a text, not int"):
            queries.query_trace_events(agent_name=3)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", ["0.5", True])
    def test_a_confidence_is_a_number(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="min_confidence must be a number"):
            queries.query_routing_decisions(min_confidence=value)

    def test_success_is_the_condition_of_its_index(self) -> None:
        failed = next(queries.query_transformation_events(success=False).statements())
        assert " WHERE NOT success AND" in failed.text
        succeeded = next(queries.query_transformation_events(success=True).statements())
        assert " WHERE success AND" in succeeded.text


def test_rows_become_dicts_in_utc() -> None:
    eastern = NOON.astimezone(tz=None)
    assert queries.events(["timestamp", "x"], [(eastern, 1)]) == [{"timestamp": NOON, "x": 1}]
    assert queries.events(["timestamp"], [(eastern,)])[0]["timestamp"].tzinfo is UTC
