"""The four tables of events: what they hold, and the SQL that makes them.

One source for the migration of dbint.django.observability, for ``python -m dbint.events sql`` and for the
streams of the layer. Every statement may be run again.

A table is partitioned by range of ``timestamp`` and has a DEFAULT partition, so that a row is never refused
because nobody has made its partition yet. Texts that are indexed have a limit: an entry of an index has one,
and a row that is refused when the event is written is better than one that the server refuses later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

SCHEMA = "agent_observability"

Fill = Literal["null", "uuid7", "now"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``type`` is PostgreSQL's; ``fill`` is what an event that does not give the field gets."""

    name: str
    type: str
    fill: Fill | None = None

    @property
    def declaration(self) -> str:
        """The type as CREATE TABLE and a stream take it."""
        return self.type if self.fill == "null" else f"{self.type} not null"


@dataclass(frozen=True, slots=True)
class Index:
    """An index over ``column`` and the time, or over the time alone, of the rows that ``where`` holds for.

    It may hold ``also`` another column that is often asked for besides: rows with other values there are
    passed over in the index, where most would each be a page of the table to read.
    """

    name: str
    column: str | None = None
    where: str | None = None
    also: str | None = None


@dataclass(frozen=True, slots=True)
class EventTable:
    """One kind of events."""

    name: str
    comment: str
    own_columns: tuple[Column, ...]
    indexes: tuple[Index, ...]

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{SCHEMA}.{self.name}"

    @property
    def default_partition(self) -> str:
        """``schema.table`` of the partition for rows that have no other."""
        return f"{self.qualified}_default"

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, in the table's order."""
        return (*_COMMON, *self.own_columns)

    @property
    def declarations(self) -> dict[str, str]:
        """Each column's type, as streams and encoders take it."""
        return {column.name: column.declaration for column in self.columns}

    @property
    def fills(self) -> dict[str, Fill]:
        """What fills a column that an event does not give, where there is something."""
        return {column.name: column.fill for column in self.columns if column.fill}

    def statements(self) -> Iterator[str]:
        """The SQL that makes the table, its DEFAULT partition and its indexes."""
        width = max(len(column.name) for column in self.columns)
        columns = "".join(
            f"    {column.name:<{width}} {column.declaration}{_DEFAULTS.get(column.fill, '')},\n"
            for column in self.columns
        )
        yield (
            f"CREATE TABLE IF NOT EXISTS {self.qualified} (\n{columns}"
            f"    PRIMARY KEY (timestamp, event_id)\n) PARTITION BY RANGE (timestamp)"
        )
        yield f"CREATE TABLE IF NOT EXISTS {self.default_partition} PARTITION OF {self.qualified} DEFAULT"
        for index in self.indexes:
            keys = ", ".join(filter(None, (index.column, "timestamp", index.also)))
            where = f" WHERE {index.where}" if index.where else ""
            yield f"CREATE INDEX IF NOT EXISTS {index.name} ON {self.qualified} ({keys}){where}"
        yield f"COMMENT ON TABLE {self.qualified} IS '{self.comment}'"


# For rows that come by INSERT.
_DEFAULTS: Mapping[Fill | None, str] = {"uuid7": " default gen_random_uuid()", "now": " default now()"}

_COMMON = (Column("event_id", "uuid", "uuid7"), Column("timestamp", "timestamptz", "now"))

TRACE_EVENTS = EventTable(
    "trace_events",
    "What agents did, step by step.",
    (
        Column("trace_id", "varchar(255)"),
        Column("event_type", "varchar(100)"),
        Column("level", "varchar(20)"),
        Column("message", "text"),
        Column("agent_name", "varchar(255)", "null"),
        Column("task_id", "varchar(255)", "null"),
        Column("metadata", "jsonb", "null"),
    ),
    (
        Index("trace_events_trace", "trace_id"),
        Index("trace_events_agent", "agent_name", "agent_name IS NOT NULL", also="event_type"),
        Index("trace_events_type", "event_type"),
    ),
)

ROUTING_DECISIONS = EventTable(
    "routing_decisions",
    "Which agent was chosen for a request, and why.",
    (
        Column("user_request", "text"),
        Column("selected_agent", "varchar(255)"),
        Column("confidence_score", "double precision"),
        Column("routing_strategy", "varchar(100)"),
        Column("alternatives", "jsonb", "null"),
        Column("reasoning", "text", "null"),
        Column("context", "jsonb", "null"),
        Column("trace_id", "varchar(255)", "null"),
    ),
    (
        Index("routing_decisions_agent", "selected_agent"),
        Index("routing_decisions_strategy", "routing_strategy"),
        Index("routing_decisions_confidence", "confidence_score"),
        Index("routing_decisions_trace", "trace_id", "trace_id IS NOT NULL"),
    ),
)

PERFORMANCE_METRICS = EventTable(
    "performance_metrics",
    "Measurements of agents and of what they run on.",
    (
        Column("metric_name", "varchar(255)"),
        Column("metric_value", "double precision"),
        Column("metric_type", "varchar(100)"),
        Column("component", "varchar(255)"),
        Column("metadata", "jsonb", "null"),
        Column("trace_id", "varchar(255)", "null"),
    ),
    (
        Index("performance_metrics_name", "metric_name"),
        Index("performance_metrics_type", "metric_type"),
        Index("performance_metrics_component", "component"),
        Index("performance_metrics_trace", "trace_id", "trace_id IS NOT NULL"),
    ),
)

TRANSFORMATION_EVENTS = EventTable(
    "transformation_events",
    "Agents that became other agents.",
    (
        Column("source_agent", "varchar(255)"),
        Column("target_agent", "varchar(255)"),
        Column("transformation_type", "varchar(100)"),
        Column("success", "boolean"),
        Column("reason", "text", "null"),
        Column("duration_ms", "double precision", "null"),
        Column("metadata", "jsonb", "null"),
        Column("trace_id", "varchar(255)", "null"),
    ),
    (
        Index("transformation_events_source", "source_agent"),
        Index("transformation_events_target", "target_agent"),
        Index("transformation_events_type", "transformation_type"),
        Index("transformation_events_failed", where="NOT success"),
        Index("transformation_events_trace", "trace_id", "trace_id IS NOT NULL"),
    ),
)

TABLES = (TRACE_EVENTS, ROUTING_DECISIONS, PERFORMANCE_METRICS, TRANSFORMATION_EVENTS)

RETENTION_LOG = "dbint.retention_log"

_RETENTION_LOG = f"""\
CREATE TABLE IF NOT EXISTS {RETENTION_LOG} (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT now(),
    action          text NOT NULL,   -- run, drop_partition, delete_rows, make_partition, collect_chains
    relation        text,            -- the table that the policy is for; null for a run
    partition       text,
    range_start     timestamptz,     -- of the partition
    range_end       timestamptz,
    removed_rows    bigint NOT NULL DEFAULT 0,
    exact           boolean NOT NULL DEFAULT true, -- false: the planner's estimate
    cutoff          timestamptz,     -- what is older goes
    duration_ms     double precision,
    done_by         text NOT NULL    -- user, host and process
)"""


def statements() -> Iterator[str]:
    """All statements, in order; each may be run again and changes nothing then."""
    yield f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    for table in TABLES:
        yield from table.statements()
    yield "CREATE SCHEMA IF NOT EXISTS dbint"
    yield _RETENTION_LOG
    yield f"CREATE INDEX IF NOT EXISTS retention_log_at ON {RETENTION_LOG} (at)"
    yield f"COMMENT ON TABLE {RETENTION_LOG} IS 'What retention removed, when and by whom.'"


def script() -> str:
    """The same as one text for psql, in one transaction."""
    return "BEGIN;\n\n" + "".join(f"{statement};\n\n" for statement in statements()) + "COMMIT;\n"
