"""The query API's four questions, as statements with bound parameters.

Answers come newest first. ``start_time`` is included, ``end_time`` is not; both are aware. ``limit`` is
at most MAX_LIMIT. To turn the page, give the last event of the one before as ``before``. Wrong arguments
raise ConfigurationError, which names the argument.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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


# A query looks at the last days first, and only when these hold too few events at those before: so most look
# into a few partitions alone. Of one trace there are few events anyway: one look at everything is quicker.
WINDOWS = (timedelta(days=1), timedelta(days=8))


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters."""

    text: str
    parameters: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. ``conditions`` are pairs of SQL and its parameters."""

    table: EventTable
    conditions: tuple[tuple[str, tuple[Any, ...]], ...]
    start: datetime | None
    end: datetime | None
    limit: int
    one_look: bool

    def statements(self) -> Iterator[Statement]:
        """To be run one after the other until together they have brought ``limit`` rows."""
        latest = min(filter(None, (self.end, datetime.now(UTC))))
        edges = [] if self.one_look else [_midnight(latest - width) for width in WINDOWS]
        ends = [self.end, *edges]
        starts = [*edges, None]
        for start, end in zip(starts, ends, strict=True):
            last = start is None or (self.start is not None and start <= self.start)
            yield self._statement(self.start if last else start, end)
            if last:
                return

    def _statement(self, start: datetime | None, end: datetime | None) -> Statement:
        conditions = list(self.conditions)
        if start is not None:
            conditions.append(("timestamp >= %s", (start,)))
        if end is not None:
            conditions.append(("timestamp < %s", (end,)))
        columns = ", ".join(column.name for column in self.table.columns)
        where = f" WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""
        return Statement(
            f"SELECT {columns} FROM {self.table.qualified}{where} "  # noqa: S608 - made of this module's texts
            f"ORDER BY timestamp DESC, event_id DESC LIMIT {self.limit}",
            [parameter for _, parameters in conditions for parameter in parameters],
        )


def _midnight(moment: datetime) -> datetime:
    """Where partitions begin."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


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
    conditions: list[tuple[str, tuple[Any, ...]]] = []
    for column, value in equal.items():
        if value is None:
            continue
        if not isinstance(value, str):
            raise ConfigurationError(f"{column} must be a text, not {type(value).__name__}")
        conditions.append((f"{column} = %s", (value,)))
    if min_confidence is not None:
        if isinstance(min_confidence, bool) or not isinstance(min_confidence, int | float):
            raise ConfigurationError(f"min_confidence must be a number, not {min_confidence!r}")
        conditions.append(("confidence_score >= %s", (float(min_confidence),)))
    if success is not None:
        # Not a parameter: the index on what failed is for this very condition.
        conditions.append(("success" if success else "NOT success", ()))
    start = _aware("start_time", start_time) if start_time is not None else None
    end = _aware("end_time", end_time) if end_time is not None else None
    if before is not None:
        place = _place(before)
        conditions.append(("(timestamp, event_id) < (%s, %s)", place))
        # Events of the same microsecond may still come.
        after = place[0] + timedelta(microseconds=1)
        end = min(end, after) if end else after
    return Query(
        table,
        tuple(conditions),
        start,
        end,
        limit,
        one_look=equal.get("trace_id") is not None,
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
