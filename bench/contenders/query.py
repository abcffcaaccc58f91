"""Questions to a full database: ``python -m bench.contenders.query load ROWS``, ``… FILTER QUERIES SEED``.

``load`` brings ROWS events into each of the four tables by the writer, spread over the 30 days up to now.
FILTER is one of FILTERS: what a caller asks, with other values each time. Server and journal come in the
environment (``POSTGRES_…``, ``DBINT_JOURNAL_DIR``). Both print one line of JSON.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import psycopg

from bench.measure import cpu_seconds, peak_rss
from dbint.events import partitions
from dbint.events.tables import (
    PERFORMANCE_METRICS,
    ROUTING_DECISIONS,
    TABLES,
    TRACE_EVENTS,
    TRANSFORMATION_EVENTS,
    EventTable,
)

DAYS = 30
LANDING_SECONDS = 1800.0
AGENTS = 40
EVENTS_OF_A_TRACE = 20
LEVELS = ("DEBUG", "INFO", "INFO", "INFO", "WARNING", "ERROR")
EVENT_TYPES = ("AGENT_START", "TOOL_CALL", "TOOL_RESULT", "ROUTING", "AGENT_ERROR", "AGENT_END")
STRATEGIES = ("enhanced", "fuzzy", "explicit", "fallback")
METRICS = ("routing_decision_latency", "tool_latency", "tokens_used", "queue_length", "cache_hit_rate")
METRIC_TYPES = ("latency", "count", "ratio")
COMPONENTS = tuple(f"component_{number}" for number in range(20))
TRANSFORMATIONS = ("delegation", "specialisation", "escalation")

Fields = dict[str, Any]


def agent(number: int) -> str:
    """One of forty: the first has three events in ten, the last one in 120."""
    return f"agent-{int(AGENTS * (number * 2654435761 % 4096 / 4096) ** 3)}"


def trace(number: int) -> str:
    return f"coord_{number // EVENTS_OF_A_TRACE:08}"


def pick(choices: tuple[str, ...], number: int) -> str:
    return choices[number * 40503 % 65536 % len(choices)]


def trace_event(number: int) -> Fields:
    return {
        "trace_id": trace(number),
        "event_type": pick(EVENT_TYPES, number),
        "level": pick(LEVELS, number),
        "message": f"Agent execution step {number}",
        "agent_name": agent(number),
        "task_id": f"task_{number}",
    }


def routing_decision(number: int) -> Fields:
    return {
        "user_request": f"please look at case {number}",
        "selected_agent": agent(number),
        "confidence_score": number * 7919 % 1000 / 1000,
        "routing_strategy": pick(STRATEGIES, number),
        "reasoning": "the words of the request are nearest to what this agent says of itself",
        "trace_id": trace(number),
    }


def performance_metric(number: int) -> Fields:
    return {
        "metric_name": pick(METRICS, number),
        "metric_value": number * 7919 % 1000 / 10,
        "metric_type": pick(METRIC_TYPES, number),
        "component": pick(COMPONENTS, number),
        "trace_id": trace(number),
    }


def transformation_event(number: int) -> Fields:
    return {
        "source_agent": agent(number),
        "target_agent": agent(number + 1),
        "transformation_type": pick(TRANSFORMATIONS, number),
        "success": number % 50 != 0,
        "reason": "another agent knows more about this",
        "duration_ms": number * 7919 % 1000 / 10,
        "trace_id": trace(number),
    }


MAKERS: Mapping[EventTable, Callable[[int], Fields]] = {
    TRACE_EVENTS: trace_event,
    ROUTING_DECISIONS: routing_decision,
    PERFORMANCE_METRICS: performance_metric,
    TRANSFORMATION_EVENTS: transformation_event,
}


@dataclass(frozen=True)
class Filter:
    """What is asked of one table; ``names`` are fields, with the values of an event that is there.

    ``hours`` asks for so long a range of time, anywhere in the 30 days; ``least`` for that confidence or
    more.
    """

    table: EventTable
    names: tuple[str, ...] = ()
    hours: float = 0.0
    least: float | None = None
    fixed: Mapping[str, Any] | None = None

    def arguments(self, source: random.Random, rows: int, end: datetime) -> Fields:
        event = MAKERS[self.table](source.randrange(rows))
        found = {name: event[name] for name in self.names} | dict(self.fixed or {})
        if self.hours:
            span = timedelta(hours=self.hours)
            found["start_time"] = end - timedelta(days=DAYS) + source.random() * (timedelta(days=DAYS) - span)
            found["end_time"] = found["start_time"] + span
        if self.least is not None:
            found["min_confidence"] = self.least
        return found


FILTERS: Mapping[str, Filter] = {
    "trace-newest": Filter(TRACE_EVENTS),
    "trace-id": Filter(TRACE_EVENTS, ("trace_id",)),
    "trace-agent": Filter(TRACE_EVENTS, ("agent_name",)),
    "trace-type": Filter(TRACE_EVENTS, ("event_type",)),
    "trace-time": Filter(TRACE_EVENTS, hours=1.0),
    "trace-agent-type": Filter(TRACE_EVENTS, ("agent_name", "event_type")),
    "trace-agent-type-time": Filter(TRACE_EVENTS, ("agent_name", "event_type"), hours=24.0),
    "routing-agent": Filter(ROUTING_DECISIONS, ("selected_agent",)),
    "routing-strategy": Filter(ROUTING_DECISIONS, ("routing_strategy",)),
    "routing-confidence": Filter(ROUTING_DECISIONS, least=0.5),
    "routing-sure": Filter(ROUTING_DECISIONS, least=0.999),
    "routing-agent-confidence": Filter(ROUTING_DECISIONS, ("selected_agent",), least=0.9),
    "routing-trace": Filter(ROUTING_DECISIONS, ("trace_id",)),
    "routing-time": Filter(ROUTING_DECISIONS, hours=1.0),
    "metric-name": Filter(PERFORMANCE_METRICS, ("metric_name",)),
    "metric-component": Filter(PERFORMANCE_METRICS, ("component",)),
    "metric-type": Filter(PERFORMANCE_METRICS, ("metric_type",)),
    "metric-name-component": Filter(PERFORMANCE_METRICS, ("metric_name", "component")),
    "metric-trace": Filter(PERFORMANCE_METRICS, ("trace_id",)),
    "metric-time": Filter(PERFORMANCE_METRICS, hours=1.0),
    "transformation-source": Filter(TRANSFORMATION_EVENTS, ("source_agent",)),
    "transformation-target": Filter(TRANSFORMATION_EVENTS, ("target_agent",)),
    "transformation-type": Filter(TRANSFORMATION_EVENTS, ("transformation_type",)),
    "transformation-failed": Filter(TRANSFORMATION_EVENTS, fixed={"success": False}),
    "transformation-trace": Filter(TRANSFORMATION_EVENTS, ("trace_id",)),
    "transformation-time": Filter(TRANSFORMATION_EVENTS, hours=1.0),
}


def load(rows: int) -> None:
    """Fill the tables, by the writer, and say how long it took."""
    from dbint._core import BatchWriter, Pool
    from dbint.events import DatabaseConfig

    config = DatabaseConfig.from_env()
    parameters = config.connection_parameters() | {"password": config.password}
    pool = Pool(psycopg.conninfo.make_conninfo("", **parameters))
    begun, end = time.perf_counter(), datetime.now(UTC)
    start, step = end - timedelta(days=DAYS), timedelta(days=DAYS) / rows
    # Two events of each day first: a day's partition is made when there is a row for it.
    firsts = range(0, rows, max(1, rows // DAYS // 2))
    with BatchWriter(pool, config.journal_path, max_bytes=8 << 30) as writer:
        for table, make in MAKERS.items():
            write = writer.stream(table.qualified, fill=table.fills).write_sync
            for number in firsts:
                write(timestamp=start + number * step, **make(number))
            landed(writer)
            with psycopg.connect(**parameters, autocommit=True) as connection:
                partitions.ensure_partitions(connection, table.qualified, "timestamp", "day", days_ahead=1)
            for number in range(rows):
                if number not in firsts:
                    write(timestamp=start + number * step, **make(number))
            landed(writer)
    found = {"seconds": time.perf_counter() - begun, "rows": rows * len(TABLES)}
    print(json.dumps({**found, "peak_rss": peak_rss()}))


def landed(writer: Any) -> None:
    """Wait for it."""
    if left := writer.flush(LANDING_SECONDS):
        raise SystemExit(f"{left} events have not landed: {writer.snapshot()}")


async def ask(name: str, queries: int, seed: int) -> None:
    """Ask one question so many times, and say how long each answer took."""
    from dbint.events import DatabaseConfig, DatabaseIntegrationLayer

    chosen, source = FILTERS[name], random.Random(seed)
    rows, end = int(os.environ["BENCH_ROWS"]), datetime.now(UTC)
    taken, answers = [], 0
    async with DatabaseIntegrationLayer(DatabaseConfig.from_env(background=False)) as db:
        query = getattr(db, f"query_{chosen.table.name}")
        await query(limit=1)  # connects
        before = cpu_seconds()
        for _ in range(queries):
            arguments = chosen.arguments(source, rows, end)
            begun = perf_counter()
            answers += len(await query(**arguments))
            taken.append(perf_counter() - begun)
        cpu = cpu_seconds() - before
    taken.sort()
    found = {
        "p50": taken[len(taken) // 2],
        "p99": taken[len(taken) * 99 // 100],
        "rows": answers / queries,
        "cpu_seconds": cpu / queries,
        "peak_rss": peak_rss(),
    }
    print(json.dumps(found))


def main(how: str, number: str, seed: str = "0") -> None:
    """Load, or ask."""
    if how == "load":
        load(int(number))
    else:
        asyncio.run(ask(how, int(number), int(seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
