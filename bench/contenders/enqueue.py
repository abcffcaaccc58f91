"""Ways to hand an event over: ``python -m bench.contenders.enqueue HOW SLICES CALLS [NOOP]``.

Each makes SLICES slices of CALLS calls with the seed's six fields, first without a clock in the loop, then
with every single call timed. What has been handed over is taken away between slices, off the clock, and
counted. The rate is that of the median slice, loop included; the percentiles are of all timed calls, less
what reading the clock takes. Prints one line of JSON.
"""

import asyncio
import importlib.machinery
import importlib.util
import json
import logging
import logging.handlers
import queue
import statistics
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import repeat
from time import perf_counter_ns
from typing import Any

from bench.measure import cpu_seconds, peak_rss

EVENT = {
    "trace_id": "coord_123",
    "event_type": "AGENT_START",
    "level": "INFO",
    "message": "Agent execution started",
    "agent_name": "agent-debug-intelligence",
    "task_id": "task_456",
}
FIELDS = ", ".join(EVENT)
KEYWORDS = ", ".join(f"{name}={name}" for name in EVENT)
DICT = "{" + ", ".join(f"{name!r}: {name}" for name in EVENT) + "}"

# Without what a LogRecord has anyway.
EXTRA = "{" + ", ".join(f"{name!r}: {name}" for name in EVENT if name not in {"level", "message"}) + "}"

# As in timeit: the statement stands in the loop itself, because a function around it would cost as much as
# what is measured.
LOOPS = f"""
async def bulk(calls, write, {FIELDS}):
    begun = perf_counter_ns()
    for _ in repeat(None, calls):
        {{statement}}
    return perf_counter_ns() - begun

async def timed(taken, write, {FIELDS}):
    for index in range(len(taken)):
        begun = perf_counter_ns()
        {{statement}}
        taken[index] = perf_counter_ns() - begun
"""

PAUSE = 0.001  # seconds between slices, in which other threads get their turn

Loop = Callable[..., Awaitable[Any]]


def loops(statement: str) -> tuple[Loop, Loop]:
    """Nanoseconds for so many calls in one figure, and into a list one by one."""
    names: dict[str, Any] = {"repeat": repeat, "perf_counter_ns": perf_counter_ns}
    exec(LOOPS.format(statement=statement), names)  # noqa: S102 - text of this file
    return names["bulk"], names["timed"]


class Handover:
    """One way. ``write`` is what the statement calls; it is warm when ``start`` has returned."""

    statement = f"await write({KEYWORDS})"
    write: Callable[..., Any]
    versions: dict[str, str] = {}

    async def start(self, calls: int) -> None:
        """Whatever has to be up. ``calls`` is how many will be made."""

    def take(self) -> int:
        """Take away what has been handed over since the last time, where it does not go by itself.

        Says how many events that were.
        """
        return 0

    async def stop(self) -> int:
        """The same, for good."""
        return self.take()


class Noop(Handover):
    """An awaited call into C that looks at nothing."""

    def __init__(self, path: str) -> None:
        loader = importlib.machinery.ExtensionFileLoader("noop", path)
        spec = importlib.util.spec_from_loader("noop", loader)
        assert spec is not None  # noqa: S101 - a loader was given
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        self.write = module.noop


class SimpleQueue(Handover):
    """queue.SimpleQueue.put of a dict: the cheapest handover to a thread that Python itself has."""

    statement = f"write({DICT})"

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.write = self.queue.put

    def take(self) -> int:
        count = self.queue.qsize()
        for _ in repeat(None, count):
            self.queue.get_nowait()
        return count


class AsyncioBuffer(Handover):
    """A buffer in pure Python: async method, dict with timestamp, asyncio.Lock, list.

    A full batch of 100 is handed on; what it costs to write it is not in this figure.
    """

    BATCH = 100

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.events: list[dict[str, Any]] = []
        self.full: deque[list[dict[str, Any]]] = deque()
        self.write = self.write_trace_event

    async def write_trace_event(
        self,
        trace_id: str,
        event_type: str,
        level: str,
        message: str,
        agent_name: str | None = None,
        task_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        await self.add(
            {
                "trace_id": trace_id,
                "event_type": event_type,
                "level": level,
                "message": message,
                "agent_name": agent_name,
                "task_id": task_id,
                "metadata": metadata,
                "timestamp": datetime.now(UTC),
            }
        )

    async def add(self, event: dict[str, Any]) -> None:
        async with self.lock:
            self.events.append(event)
            if len(self.events) >= self.BATCH:
                self.full.append(self.events)
                self.events = []

    def take(self) -> int:
        count = sum(map(len, self.full)) + len(self.events)
        self.full.clear()
        self.events = []
        return count


class QueueHandler(Handover):
    """logging with a QueueHandler over a SimpleQueue.

    Caller, thread, process and task are switched off, as logging's manual advises ("Optimization").
    """

    statement = f"write(message, extra={EXTRA})"

    def __init__(self) -> None:
        logging._srcfile = None  # type: ignore[attr-defined]
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from Python 3.12 on
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        logger = logging.getLogger("bench")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(logging.handlers.QueueHandler(self.queue))  # type: ignore[arg-type]
        self.write = logger.info

    def take(self) -> int:
        count = self.queue.qsize()
        for _ in repeat(None, count):
            self.queue.get_nowait()
        return count


class OpenTelemetry(Handover):
    """A span with the six fields, begun and ended: on_end() of a BatchSpanProcessor that never drops."""

    statement = f"write('event', attributes={DICT}).end()"

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
        from opentelemetry.sdk.version import __version__

        class Count(SpanExporter):
            count = taken = 0

            def export(self, spans: Any) -> Any:
                self.count += len(spans)
                return SpanExportResult.SUCCESS

        self.exporter = Count()
        self.processor = BatchSpanProcessor(self.exporter, max_queue_size=1 << 20)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.write = provider.get_tracer("bench").start_span
        self.versions = {"opentelemetry-sdk": __version__}

    def take(self) -> int:
        self.processor.force_flush()
        count = self.exporter.count - self.exporter.taken
        self.exporter.taken = self.exporter.count
        return count


class Dbint(Handover):
    """DatabaseIntegrationLayer.write_trace_event, durability "process", while the server takes nothing."""

    draining = False

    def __init__(self) -> None:
        from dbint.events import DatabaseConfig, DatabaseIntegrationLayer

        self.layer = DatabaseIntegrationLayer(DatabaseConfig.from_env())

    async def start(self, calls: int) -> None:
        await self.layer.initialize()
        self.write = self.layer.write_trace_event
        self.backlog = calls if self.draining else 0
        for _ in repeat(None, self.backlog):
            await self.write(**EVENT)

    def counts(self) -> dict[str, int]:
        return self.layer.writer.snapshot()["streams"]["trace_events"]  # type: ignore[no-any-return]

    async def stop(self) -> int:
        found = self.counts()
        if bool(found["landed"]) != self.draining or not found["journaled"]:
            raise SystemExit(
                f"events should {'' if self.draining else 'not '}have been landing all the time: {found}"
            )
        await self.layer.shutdown(timeout=120.0 if self.draining else 0.0)
        return found["accepted"] - self.backlog


class DbintDraining(Dbint):
    """The same, while a backlog as large as all that is measured goes to the server."""

    draining = True


HOW: dict[str, Callable[..., Handover]] = {
    "noop": Noop,
    "dbint": Dbint,
    "dbint-draining": DbintDraining,
    "simplequeue": SimpleQueue,
    "asyncio-buffer": AsyncioBuffer,
    "queuehandler": QueueHandler,
    "otel": OpenTelemetry,
}


async def measure(handover: Handover, slices: int, calls: int) -> dict[str, float]:
    """The figures of one way in ns, and how many events it has taken."""
    bulk, timed = loops(handover.statement)
    _, clock = loops("pass")
    rates, singles, reading, taken = [], [], [], 0
    slot = [0] * calls
    cpu = 0.0
    for _ in repeat(None, slices):
        before = cpu_seconds()
        rates.append(await bulk(calls, handover.write, **EVENT) / calls)
        cpu += cpu_seconds() - before
        taken += handover.take()
        await asyncio.sleep(PAUSE)
    for _ in repeat(None, slices):
        await timed(slot, handover.write, **EVENT)
        singles += slot
        taken += handover.take()
        await clock(slot, None, **EVENT)
        reading += slot
        await asyncio.sleep(PAUSE)
    singles.sort()
    overhead = statistics.median(reading)
    return {
        "ns": statistics.median(rates),
        "p50_ns": singles[len(singles) // 2] - overhead,
        "p999_ns": singles[len(singles) * 999 // 1000] - overhead,
        "clock_ns": overhead,
        "cpu_ns": cpu * 1e9 / (slices * calls),
        "taken": taken,
    }


async def main(how: str, slices: str, calls: str, *arguments: str) -> None:
    """Warm up, measure, and print."""
    handover = HOW[how](*arguments)
    total = 2 * int(slices) * int(calls)
    await handover.start(total)
    found = await measure(handover, int(slices), int(calls))
    taken = found.pop("taken") + await handover.stop()
    if how != "noop" and taken != total:
        raise SystemExit(f"{total} events were handed over, {taken:g} have arrived")
    print(json.dumps({**found, "peak_rss": peak_rss(), "versions": handover.versions}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
