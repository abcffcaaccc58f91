"""Log records as trace events: a handler for the standard library's logging.

LOGGING = {
    "version": 1,
    "handlers": {"events": {"class": "dbint.events.handlers.EventHandler", "level": "INFO"}},
    "root": {"handlers": ["events"]},
}
"""

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from dbint.errors import QueueFullError
from dbint.events.context import current_trace
from dbint.events.layer import DatabaseIntegrationLayer
from dbint.events.process import ProcessStream
from dbint.events.sanitizing import json_value, text
from dbint.events.tables import TRACE_EVENTS

# What every record has; anything else on it came by ``extra``.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTEXT = ("trace_id", "agent_name", "task_id")
# Records of what writes the events would beget events without end.
_SILENT = ("dbint", "psycopg")


class EventHandler(logging.Handler):
    """Writes each log record as a trace event: into the journal, so that it survives the process.

    Logging never waits for it and never fails by it. When the journal is full, records are refused and
    counted (``refused``, and ``rejected`` of the stream "log_records"); other errors go to ``handleError``,
    as with every handler. Records of dbint and psycopg are left out.

    ``layer``: default is the process's own. ``event_type``: of records that bring none. ``extra`` may bring
    ``trace_id``, ``agent_name``, ``task_id`` and ``event_type``; what it does not bring comes from
    :func:`~dbint.events.context.trace_context`; without either the trace is "". All the rest of ``extra``,
    the place in the code and the exception are in ``metadata``.
    """

    def __init__(
        self,
        layer: DatabaseIntegrationLayer | None = None,
        level: int | str = logging.NOTSET,
        *,
        event_type: str = "LOG",
    ) -> None:
        super().__init__(level)
        self.refused = 0
        self._stream = ProcessStream(layer, TRACE_EVENTS, "log_records")
        self._event_type = event_type
        self._thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless it comes from writing another."""
        if record.name.partition(".")[0] in _SILENT or getattr(self._thread, "writing", False):
            return
        self._thread.writing = True
        try:
            self._stream().write_sync(**self._fields(record))
        except QueueFullError:
            self.refused += 1
        except Exception:  # noqa: BLE001 - what a handler does with errors
            self.handleError(record)
        finally:
            self._thread.writing = False

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        fields: dict[str, Any] = {}
        for name in _CONTEXT:
            value = extra.pop(name, None)
            value = getattr(current_trace(), name) if value is None else value
            fields[name] = None if value is None else text(value, 255)
        event_type = extra.pop("event_type", self._event_type)
        metadata = {
            "logger": record.name,
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
            "process": record.process,
            "thread": record.threadName,
        }
        if record.exc_info and record.exc_info[0] is not None:
            metadata["exception"] = logging.Formatter().formatException(record.exc_info)
        elif record.exc_text:
            metadata["exception"] = record.exc_text
        if record.stack_info:
            metadata["stack"] = record.stack_info
        if extra:
            metadata["extra"] = extra
        return fields | {
            "trace_id": fields["trace_id"] or "",
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "event_type": text(event_type, 100),
            "level": text(record.levelname, 20),
            "message": text(self.format(record) if self.formatter else record.getMessage()),
            "metadata": json_value(metadata),
        }
