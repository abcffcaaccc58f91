"""The query API's four questions, as statements with bound parameters.

Answers come newest first. ``start_time`` is included, ``end_time`` is not; both are aware. ``limit`` is
at most MAX_LIMIT. To turn the page, give the last event of the one before as ``before``. Wrong arguments
raise ConfigurationError, which names the argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dbint.errors import ConfigurationError
from dbint.events.tables import (
    PERFORMANCE_METRICS,
    ROUTING_DECISIONS,
    TRACE_EVENTS,
    TRANSFORMATION_EVENTS,
    EventTable,
)

MAX_LIMIT = 10_000

Event = dict[str, Any]
Place = Mapping[str, Any] | tuple[datetime, UUID]
"""Where a page ends: an event, or its ``(timestamp, event_id)``."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and its parameters. ``reusable``: one plan does for all values of the parameters."""

    statement: str
    parameters: Sequence[Any]
    reusable: bool = True


def query_trace_events(
    trace_id: str | None = None,
    agent_name: str | None = None,
    event_type: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    *,
    before: Place | None = None,
) -> Query:
    """Trace events, newest first, with every given property; dbint.events.queries says how to page."""
    equal = {"trace_id": trace_id, "agent_name": agent_name, "event_type": event_type}
    return _select(TRACE_EVENTS, equal, start_time, end_time, limit, before)


def query_routing_decisions(
    selected_agent: str | None = None,
    min_confidence: float | None = None,
    routing_strategy: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    *,
    trace_id: str | None = None,
    before: Place | None = None,
) -> Query:
    """Routing decisions, newest first, with every given property; ``min_confidence`` is included."""
    equal = {
        "selected_agent": selected_agent,
        "routing_strategy": routing_strategy,
        "trace_id": trace_id,
    }
    return _select(ROUTING_DECISIONS, equal, start_time, end_time, limit, before, min_confidence)


def query_performance_metrics(
    metric_name: str | None = None,
    component: str | None = None,
    metric_type: str | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    *,
    trace_id: str | None = None,
    before: Place | None = None,
) -> Query:
    """Performance metrics, newest first, with every given property."""
    equal = {
        "metric_name": metric_name,
        "component": component,
        "metric_type": metric_type,
        "trace_id": trace_id,
    }
    return _select(PERFORMANCE_METRICS, equal, start_time, end_time, limit, before)


def query_transformation_events(
    source_agent: str | None = None,
    target_agent: str | None = None,
    transformation_type: str | None = None,
    success: bool | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    *,
    trace_id: str | None = None,
    before: Place | None = None,
) -> Query:
    """Transformation events, newest first, with every given property."""
    equal = {
        "source_agent": source_agent,
        "target_agent": target_agent,
        "transformation_type": transformation_type,
        "trace_id": trace_id,
    }
    return _select(TRANSFORMATION_EVENTS, equal, start_time, end_time, limit, before, success=success)


def _select(
    table: EventTable,
    equal: Mapping[str, str | None],
    start_time: datetime | None,
    end_time: datetime | None,
    limit: int,
    before: Place | None,
    min_confidence: float | None = None,
    success: bool | None = None,
) -> Query:
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise ConfigurationError(f"limit must be a whole number from 1 to {MAX_LIMIT}, not {limit!r}")
    where: list[str] = []
    parameters: list[Any] = []

    def condition(text: str, *values: Any) -> None:
        where.append(text)
        parameters.extend(values)

    for column, value in equal.items():
        if value is None:
            continue
        if not isinstance(value, str):
            raise ConfigurationError(f"{column} must be a text, not {type(value).__name__}")
        condition(f"{column} = %s", value)
    if min_confidence is not None:
        if isinstance(min_confidence, bool) or not isinstance(min_confidence, int | float):
            raise ConfigurationError(f"min_confidence must be a number, not {min_confidence!r}")
        condition("confidence_score >= %s", float(min_confidence))
    if success is not None:
        # Without a parameter: the index on what failed is found also by a plan for all parameters.
        condition("success" if success else "NOT success")
    if start_time is not None:
        condition("timestamp >= %s", _aware("start_time", start_time))
    if end_time is not None:
        condition("timestamp < %s", _aware("end_time", end_time))
    if before is not None:
        timestamp, event_id = _place(before)
        # The first comparison is implied by the second, and the one by which partitions are left out.
        condition("timestamp <= %s AND (timestamp, event_id) < (%s, %s)", timestamp, timestamp, event_id)
    columns = ", ".join(column.name for column in table.columns)
    conditions = f" WHERE {' AND '.join(where)}" if where else ""
    return Query(
        f"SELECT {columns} FROM {table.qualified}{conditions} "  # noqa: S608 - names and texts of this module
        f"ORDER BY timestamp DESC, event_id DESC LIMIT {limit}",
        parameters,
        # Nearly all decisions or nearly none may be so sure: the best way there depends on the number.
        reusable=min_confidence is None,
    )


def _aware(name: str, moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigurationError(
            f"{name} must be a datetime with a time zone, such as datetime.now(UTC), not {moment!r}"
        )
    return moment


def _place(before: Place) -> tuple[datetime, UUID]:
    try:
        place: Any = before
        if isinstance(before, Mapping):
            place = before["timestamp"], before["event_id"]
        timestamp, event_id = place
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(
            "before must be an event of an earlier answer, or its (timestamp, event_id)"
        ) from None
    if isinstance(event_id, str):
        try:
            event_id = UUID(event_id)
        except ValueError:
            raise ConfigurationError(f"before: {event_id[:40]!r} is no event_id") from None
    return _aware("the timestamp of before", timestamp), event_id


def events(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Event]:
    """Rows as dicts. Times are in UTC, whatever the session's time zone."""
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    for event in found:
        event["timestamp"] = event["timestamp"].astimezone(UTC)
    return found
