"""What writes events without being asked for each: logging, OpenTelemetry, the trace logger."""

import asyncio
import json
import logging
import logging.config
import math
import os
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from dbint.errors import InvalidEventError, QueueFullError
from dbint.events import context
from dbint.events.handlers import EventHandler
from dbint.events.process import get_database_layer
from dbint.events.sanitizing import json_value, text
from dbint.events.spans import EventSpanExporter
from dbint.events.trace_logger import TraceLogger, get_trace_logger
from dbint.testing import CapturedEvents, capture_events


@pytest.fixture
def events() -> Iterator[CapturedEvents]:
    with capture_events() as events:
        yield events


@pytest.fixture
def logger(events: CapturedEvents) -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.orders")
    logger.propagate, logger.level = False, logging.DEBUG
    handler = EventHandler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


# --- what an event belongs to ---


def test_context_nests_and_keeps_what_is_not_given() -> None:
    with context.trace_context("t1", agent_name="router"), context.trace_context(task_id="7") as inner:
        assert inner == context.TraceContext("t1", "router", "7") == context.current_trace()
    assert context.current_trace() == context.TraceContext()


def test_context_follows_tasks_and_does_not_leak_between_them() -> None:
    async def work(name: str) -> str | None:
        with context.trace_context(name):
            await asyncio.sleep(0.01)
            return context.current_trace().trace_id

    async def both() -> list[str | None]:
        return await asyncio.gather(work("one"), work("two"))

    assert asyncio.run(both()) == ["one", "two"]


# --- what a table can hold ---


class Rude:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("a\0b", "a\\x00b"),
        ("\ud800", "\\ud800"),
        (math.nan, "nan"),
        (1 << 70, str(1 << 70)),
        ({1: {2.5}, "b": (None, True)}, {"1": [2.5], "b": [None, True]}),
        (Rude(), "<Rude: its repr raised ZeroDivisionError>"),
        (
            datetime(2026, 1, 2, tzinfo=UTC),
            "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)",
        ),
    ],
)
def test_json_holds_whatever_there_is(value: Any, held: Any) -> None:
    assert json_value(value) == held


def test_what_is_too_deep_or_too_long_is_cut() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert json.dumps(json_value(deep)).count("[[") < 30
    assert text("x" * 300, 255) == "x" * 254 + "…"
    assert len(text(["x"] * 100_000)) < 11_000


# --- logging ---


def test_a_record_becomes_a_trace_event(logger: logging.Logger, events: CapturedEvents) -> None:
    with context.trace_context("t1", agent_name="router"):
        logger.warning("order %d is late", 7, extra={"task_id": "k", "customer": {"id": 9}})
    event = events.one("trace_events")
    assert (event["trace_id"], event["agent_name"], event["task_id"]) == ("t1", "router", "k")
    assert (event["event_type"], event["level"], event["message"]) == ("LOG", "WARNING", "order 7 is late")
    assert event["metadata"]["logger"] == "shop.orders"
    assert event["metadata"]["function"] == "test_a_record_becomes_a_trace_event"
    assert event["metadata"]["extra"] == {"customer": {"id": 9}}
    assert abs((datetime.now(UTC) - event["timestamp"]).total_seconds()) < 5


def test_an_exception_is_in_the_metadata(logger: logging.Logger, events: CapturedEvents) -> None:
    try:
        {}["gone"]
    except KeyError:
        logger.exception("failed", stack_info=True)
    metadata = events.one("trace_events", level="ERROR")["metadata"]
    assert metadata["exception"].endswith("KeyError: 'gone'")
    assert "test_an_exception_is_in_the_metadata" in metadata["stack"]


@pytest.mark.parametrize("message", ["nul \0", "surrogate \ud800", "x" * 100_000])
def test_no_message_is_too_strange(logger: logging.Logger, events: CapturedEvents, message: str) -> None:
    logger.info(message)
    assert len(events) == 1


def test_records_of_what_writes_events_are_left_out(events: CapturedEvents) -> None:
    handler = EventHandler()
    for name in ("dbint", "dbint.events.layer", "psycopg.pool"):
        handler.handle(logging.makeLogRecord({"name": name, "msg": "x", "levelname": "INFO"}))
    handler.handle(logging.makeLogRecord({"name": "dbinternals", "msg": "x", "levelname": "INFO"}))
    assert len(events) == 1


def test_a_record_written_while_a_record_is_written_is_left_out(
    logger: logging.Logger, events: CapturedEvents
) -> None:
    class Chatty:
        def __repr__(self) -> str:
            logger.info("from inside")
            return "chatty"

    logger.info("outer", extra={"thing": Chatty()})
    assert [event["message"] for event in events] == ["outer"]


def test_a_full_journal_is_counted_and_no_error_of_the_application(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logger.handlers[0]
    assert isinstance(handler, EventHandler)

    def full(**_: object) -> None:
        raise QueueFullError("the journal is full")

    monkeypatch.setattr(handler._stream(), "write_sync", full)
    logger.info("refused")
    assert handler.refused == 1


def test_other_errors_are_told_as_logging_tells_them(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logger.handlers[0]
    assert isinstance(handler, EventHandler)

    def broken(**_: object) -> None:
        raise InvalidEventError("not like this")

    monkeypatch.setattr(handler._stream(), "write_sync", broken)
    logger.info("refused")
    assert "InvalidEventError: not like this" in capsys.readouterr().err


def test_it_is_configured_by_name(events: CapturedEvents) -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
            "handlers": {
                "events": {
                    "class": "dbint.events.handlers.EventHandler",
                    "level": "INFO",
                    "formatter": "short",
                    "event_type": "SHOP",
                }
            },
            "loggers": {"configured": {"handlers": ["events"], "propagate": False}},
        }
    )
    logging.getLogger("configured").debug("too low")
    logging.getLogger("configured").error("hello", extra={"event_type": "OWN"})
    logging.getLogger("configured").error("hello")
    assert [(event["event_type"], event["message"]) for event in events] == [
        ("OWN", "ERROR hello"),
        ("SHOP", "ERROR hello"),
    ]


# --- OpenTelemetry ---


def test_spans_become_trace_events(events: CapturedEvents) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(EventSpanExporter()))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("checkout", kind=SpanKind.SERVER, attributes={"items": 3}) as outer:
        outer.add_event("paid", {"by": "card"})
        with tracer.start_as_current_span("stock", links=[Link(outer.get_span_context())]) as inner:
            inner.set_status(Status(StatusCode.ERROR, "sold out"))
    assert provider.force_flush()
    provider.shutdown()
    stock, checkout = (
        events.one("trace_events", message="stock"),
        events.one("trace_events", message="checkout"),
    )
    assert stock["trace_id"] == checkout["trace_id"] == f"{outer.get_span_context().trace_id:032x}"
    assert stock["metadata"]["parent_span_id"] == checkout["task_id"]
    assert (stock["level"], checkout["level"], checkout["agent_name"]) == ("ERROR", "INFO", "shop")
    assert stock["metadata"]["status"] == {"code": "ERROR", "description": "sold out"}
    assert stock["metadata"]["links"][0]["span_id"] == checkout["task_id"]
    assert checkout["metadata"]["attributes"] == {"items": 3}
    assert checkout["metadata"]["events"][0]["attributes"] == {"by": "card"}
    assert (checkout["metadata"]["kind"], checkout["metadata"]["scope"]) == ("SERVER", "tests")
    assert checkout["metadata"]["duration_ms"] >= stock["metadata"]["duration_ms"] > 0


def test_a_span_that_the_journal_refuses_is_a_failed_export(
    events: CapturedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = EventSpanExporter()
    results = []
    export = exporter.export
    monkeypatch.setattr(exporter, "export", lambda spans: results.append(export(spans)))
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def full(**_: object) -> None:
        raise QueueFullError("the journal is full")

    monkeypatch.setattr(exporter._stream(), "write_sync", full)
    provider.get_tracer("tests").start_span("refused").end()
    monkeypatch.undo()
    assert [result.name for result in results] == ["FAILURE"]
    assert len(events) == 0


# --- the trace logger ---


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_in_the_file_and_in_the_database_under_one_id(
    events: CapturedEvents, tmp_path: Path
) -> None:
    logger = TraceLogger(tmp_path / "logs" / "traces.jsonl")

    async def work() -> Any:
        with context.trace_context("t1"):
            return await logger.log_event("STEP", "done", agent_name="router", metadata={"n": [1, 2]})

    event_id = asyncio.run(work())
    logger.log_event_sync("STEP", "again", level="DEBUG")
    logger.close()
    first, second = lines(logger.path)
    event = events.one("trace_events", event_id=event_id)
    assert first["event_id"] == str(event_id)
    assert (first["trace_id"], first["agent_name"], first["metadata"]) == ("t1", "router", {"n": [1, 2]})
    assert first["timestamp"] == str(event["timestamp"])
    assert (second["message"], second["trace_id"]) == ("again", "")
    assert stat.S_IMODE(logger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(logger.path.parent.stat().st_mode) == 0o700


def test_a_file_that_was_moved_away_is_begun_anew(events: CapturedEvents, tmp_path: Path) -> None:
    logger = TraceLogger(tmp_path / "traces.jsonl")
    logger.log_event_sync("STEP", "old")
    logger.path.rename(tmp_path / "traces.jsonl.1")
    logger.log_event_sync("STEP", "new")
    assert [line["message"] for line in lines(tmp_path / "traces.jsonl.1")] == ["old"]
    assert [line["message"] for line in lines(logger.path)] == ["new"]
    assert stat.S_IMODE(logger.path.stat().st_mode) == 0o600


def test_what_one_refuses_the_other_has(events: CapturedEvents, tmp_path: Path) -> None:
    no_file = TraceLogger(tmp_path / "file" / "traces.jsonl")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        no_file.log_event_sync("STEP", "kept in the database")
    assert events.one("trace_events")["message"] == "kept in the database"

    logger = TraceLogger(tmp_path / "traces.jsonl")
    with pytest.raises(InvalidEventError):
        logger.log_event_sync("S" * 101, "kept in the file")
    assert [line["message"] for line in lines(logger.path)] == ["kept in the file"]
    assert len(events) == 1


def test_lines_of_many_threads_are_whole(events: CapturedEvents, tmp_path: Path) -> None:
    logger = TraceLogger(tmp_path / "traces.jsonl")

    def work(number: int) -> None:
        for _ in range(50):
            logger.log_event_sync("STEP", "x" * 500, trace_id=str(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(logger.path)) == len(events) == 200


def test_the_process_has_one_in_its_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBINT_TRACE_LOG", str(tmp_path / "mine.jsonl"))
    assert TraceLogger().path == tmp_path / "mine.jsonl"
    monkeypatch.delenv("DBINT_TRACE_LOG")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert TraceLogger().path == tmp_path / "dbint" / "traces.jsonl"
    assert get_trace_logger() is get_trace_logger()


def test_the_layer_is_the_one_of_the_process_at_each_event(tmp_path: Path) -> None:
    logger = TraceLogger(tmp_path / "traces.jsonl")
    with capture_events() as first:
        logger.log_event_sync("STEP", "one")
    with capture_events() as second:
        logger.log_event_sync("STEP", "two")
        get_database_layer()
    assert [event["message"] for event in (*first, *second)] == ["one", "two"]
