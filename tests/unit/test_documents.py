"""The examples of the documents run, one after the other, as a reader would try them."""

import re
from pathlib import Path
from typing import Any

import pytest

from dbint.events.process import get_database_layer
from dbint.events.trace_logger import TraceLogger
from dbint.testing import CapturedEvents, capture_events

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def test_observability(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logger = TraceLogger(tmp_path / "traces.jsonl")
    monkeypatch.setattr("dbint.events.trace_logger._logger", logger)
    import logging

    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    namespace: dict[str, Any] = {}
    blocks = examples("observability.md")
    assert len(blocks) >= 8
    try:
        with capture_events() as events:
            for block in blocks:
                exec(compile(block, "docs/observability.md", "exec"), namespace)  # noqa: S102 - our own document
            get_database_layer()
    finally:
        root.level, root.handlers = level, handlers
    check(events, logger)


def check(events: CapturedEvents, logger: TraceLogger) -> None:
    assert (
        events.one("trace_events", event_type="LOG", trace_id="coord_123")["message"]
        == "order 7 is on its way"
    )
    assert events.one("trace_events", event_type="SPAN")["message"] == "checkout"
    assert events.one("trace_events", event_type="AGENT_START")["agent_name"] == "agent-debug-intelligence"
    assert "Agent execution started" in logger.path.read_text()
    assert [event["user_request"] for event in events.of("routing_decisions")] == [
        "why does this fail?",
        "and this?",
    ]
    assert events.one("performance_metrics")["component"] == "enhanced_router"
