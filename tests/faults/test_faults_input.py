"""Bad input to each write method: an error that names field and stream, and nothing else is disturbed."""

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from dbint.errors import InvalidEventError
from dbint.events import DatabaseConfig, DatabaseIntegrationLayer
from dbint.events.reader import connected
from tests.faults.events import TABLE, event, landed, writing

GIBIBYTE = 1 << 30


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# Stream: its name in methods, a good event, a field of text, one of numbers where there is one, one of JSON.
STREAMS: dict[str, tuple[str, dict[str, Any], str, str | None, str]] = {
    "trace_events": (
        "trace_event",
        {"trace_id": "t", "event_type": "STEP", "level": "INFO", "message": "m"},
        "message",
        None,
        "metadata",
    ),
    "routing_decisions": (
        "routing_decision",
        {
            "user_request": "r",
            "selected_agent": "a",
            "confidence_score": 0.5,
            "routing_strategy": "s",
        },
        "user_request",
        "confidence_score",
        "context",
    ),
    "performance_metrics": (
        "performance_metric",
        {"metric_name": "n", "metric_value": 1.0, "metric_type": "gauge", "component": "c"},
        "component",
        "metric_value",
        "metadata",
    ),
    "transformation_events": (
        "transformation_event",
        {"source_agent": "a", "target_agent": "b", "transformation_type": "t", "success": True},
        "target_agent",
        "duration_ms",
        "metadata",
    ),
}

# What is wrong, by the kind of field that it is put into; made late, for some of it is large.
TEXT: dict[str, Callable[[], Any]] = {
    "a number": lambda: 3,
    "bytes": lambda: b"text",
    "None": lambda: None,
    "NUL": lambda: "a\0b",
    "a lone surrogate": lambda: "a\ud800b",
    "1 GiB": lambda: "x" * GIBIBYTE,
}
NUMBERS: dict[str, Callable[[], Any]] = {
    "text": lambda: "0.5",
    "a number without end": lambda: 10**400,
    "a list": lambda: [0.5],
}
JSON: dict[str, Callable[[], Any]] = {
    "NaN": lambda: {"n": math.nan},
    "infinity": lambda: [-math.inf],
    "nested 10,000 deep": lambda: nested(10_000),
    "a set": lambda: {"s": {1}},
    "NUL": lambda: {"s": "\0"},
    "a lone surrogate": lambda: ["\udfff"],
    "a key that is none": lambda: {(1, 2): 3},
}
TIMES: dict[str, Callable[[], Any]] = {
    "without a zone": lambda: datetime(2026, 1, 1),
    "a date": lambda: date(2026, 1, 1),
    "text": lambda: "2026-01-01T00:00:00Z",
}
IDS: dict[str, Callable[[], Any]] = {"no UUID": lambda: "id", "a number": lambda: 7}


def cases(stream: str) -> list[tuple[str, Any]]:
    """Fields, each with what makes a bad value for it."""
    _, _, text, number, json = STREAMS[stream]
    by_field = {text: TEXT, json: JSON, "timestamp": TIMES, "event_id": IDS}
    if number is not None:
        by_field[number] = NUMBERS
    return [(field, make) for field, makers in by_field.items() for make in makers.values()]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_bad_event_is_refused_and_its_neighbours_land(stream: str, config: DatabaseConfig) -> None:
    kind, good, text, *_ = STREAMS[stream]
    with writing(config) as events:
        write = getattr(events.layer, f"write_{kind}_sync")
        taken = 0
        for field, make in cases(stream):
            write(**good)
            refused(stream, field, write, **{**good, field: make()})
            taken += 1
        refused(stream, "colour", write, **good, colour="red")
        refused(stream, text, write, **{name: value for name, value in good.items() if name != text})
        write(**good)
        taken += 1
        assert events.layer.flush_sync(30) == 0
        figures = events.layer.writer.snapshot()["streams"][stream]
        assert (figures["accepted"], figures["landed"], figures["dead"]) == (taken, taken, 0)
    with connected(config) as connection:
        query = f"SELECT count(*), count(DISTINCT event_id) FROM agent_observability.{stream}"  # noqa: S608
        assert connection.execute(query).fetchall() == [(taken, taken)]  # type: ignore[call-overload]


def refused(stream: str, field: str, write: Callable[..., None], **fields: Any) -> None:
    """The event is; who reads why knows where to look, and is not shown what was to be written."""
    with pytest.raises(InvalidEventError) as caught:
        write(**fields)
    message = str(caught.value)
    assert f'"{field}"' in message
    assert f'"{stream}"' in message
    assert len(message) < 500


def test_an_awaited_write_refuses_when_it_is_called(config: DatabaseConfig) -> None:
    """Not when it is awaited: who forgets that hears of the bad event all the same."""

    async def write() -> None:
        async with DatabaseIntegrationLayer(config) as layer:
            await layer.write_trace_event(**event(0))
            with pytest.raises(InvalidEventError, match=r'"message".*"trace_events"'):
                layer.write_trace_event(**{**event(1), "message": "a\0b"})
            await layer.write_trace_event(**event(2))
            assert await layer.flush(30) == 0

    asyncio.run(write())
    assert landed(config) == ["0", "2"]


def test_values_at_the_edge_land(config: DatabaseConfig) -> None:
    """What PostgreSQL can hold is taken: NaN in a float, the first and the last moment, deep JSON."""
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    with writing(config) as events:
        for number, moment in enumerate(moments):
            events.layer.write_trace_event_sync(**event(number), timestamp=moment, metadata=nested(500))
        for value in (math.nan, math.inf, -math.inf):
            events.layer.write_performance_metric_sync(
                metric_name="edge", metric_value=value, metric_type="gauge", component="faults"
            )
        assert events.layer.flush_sync(30) == 0
        found = events.layer.query_performance_metrics_sync("edge")
        assert sorted(str(one["metric_value"]) for one in found) == ["-inf", "inf", "nan"]
        assert events.figures()["dead"] == 0
    with connected(config) as connection:
        found_times = connection.execute(
            f"SELECT timestamp FROM {TABLE} ORDER BY timestamp"  # noqa: S608 - a constant
        ).fetchall()
    assert [moment for (moment,) in found_times] == moments
