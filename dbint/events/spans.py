"""OpenTelemetry spans as trace events (``pip install 'dbint[opentelemetry]'``).

    provider.add_span_processor(BatchSpanProcessor(EventSpanExporter()))

The SDK keeps spans in memory and drops them when their exporter's server is away; here a span that was
exported is in the journal, and lands when the server is back.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from dbint.errors import Error
from dbint.events.layer import DatabaseIntegrationLayer
from dbint.events.process import ProcessStream
from dbint.events.sanitizing import json_value, text
from dbint.events.tables import TRACE_EVENTS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventSpanExporter(SpanExporter):
    """Writes each span as a trace event.

    ``trace_id`` is the span's in 32 hexadecimal digits, ``task_id`` the span's id in 16, ``message`` its
    name, ``agent_name`` the resource's service.name, ``timestamp`` its start; ``event_type`` is "SPAN" and
    ``level`` "ERROR" where its status is, else "INFO". The rest is in ``metadata``.

    ``export`` answers SUCCESS when the journal has taken every span, FAILURE as soon as it refuses one (the
    SDK drops the rest of that batch, and counts it). The layer is the process's own, or the given one;
    ``shutdown`` leaves it open.
    """

    def __init__(self, layer: DatabaseIntegrationLayer | None = None) -> None:
        self._stream = ProcessStream(layer, TRACE_EVENTS, "spans")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the spans; never raises."""
        try:
            stream = self._stream()
            for span in spans:
                stream.write_sync(**_fields(span))
        except Error:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True at once: what was exported is in the journal."""
        del timeout_millis
        return True


def _fields(span: ReadableSpan) -> dict[str, Any]:
    context, start, end = span.context, span.start_time or 0, span.end_time
    service = span.resource.attributes.get("service.name")
    metadata: dict[str, Any] = {
        "parent_span_id": format_span_id(span.parent.span_id) if span.parent else None,
        "kind": span.kind.name,
        "status": {"code": span.status.status_code.name, "description": span.status.description},
        "duration_ms": None if end is None else (end - start) / 1e6,
        "attributes": dict(span.attributes or {}),
        "events": [
            {
                "name": event.name,
                "at_ms": (event.timestamp - start) / 1e6,
                "attributes": dict(event.attributes or {}),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": format_trace_id(link.context.trace_id),
                "span_id": format_span_id(link.context.span_id),
                "attributes": dict(link.attributes or {}),
            }
            for link in span.links
        ],
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else None,
    }
    return {
        "timestamp": _EPOCH + timedelta(microseconds=start // 1000),
        "trace_id": format_trace_id(context.trace_id),
        "event_type": "SPAN",
        "level": "ERROR" if span.status.status_code is StatusCode.ERROR else "INFO",
        "message": text(span.name),
        "agent_name": None if service is None else text(service, 255),
        "task_id": format_span_id(context.span_id),
        "metadata": json_value(metadata),
    }
