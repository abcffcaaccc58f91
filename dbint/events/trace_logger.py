"""TraceLogger: each event in a file at once, and batched into the database.

The file is for whoever looks now, with ``tail -f`` and without a database; the table is for queries.
"""

import json
import os
import threading
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID, uuid4

from dbint.events.context import current_trace
from dbint.events.layer import DatabaseIntegrationLayer
from dbint.events.process import get_database_layer
from dbint.state import state_directory


class TraceLogger:
    """Logs events of traces to a file of JSON lines and to trace_events, with the same id and time in both.

    ``path``: default is ``$DBINT_TRACE_LOG``, else ``dbint/traces.jsonl`` in the user's state directory. The
    file is made for its owner alone (0600), is appended to, line by line, by as many processes as like, and
    may be moved away by logrotate: the next line begins a new one. ``layer``: default is the process's own.

    The two do not depend on each other: what one refuses, the other has. The error is raised all the same:
    OSError for the file, those of DatabaseIntegrationLayer's writes for the database.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, layer: DatabaseIntegrationLayer | None = None
    ) -> None:
        self.path = Path(path or os.environ.get("DBINT_TRACE_LOG") or state_directory("traces.jsonl"))
        self._layer = layer
        self._file: _PrivateFile | None = None
        self._lock = threading.Lock()

    async def log_event(
        self,
        event_type: str,
        message: str,
        *,
        trace_id: str | None = None,
        level: str = "INFO",
        agent_name: str | None = None,
        task_id: str | None = None,
        metadata: Any = None,
    ) -> UUID:
        """Log one event and return its id.

        What is not given of trace, agent and task comes from :func:`~dbint.events.context.trace_context`;
        without either the trace is "".
        """
        event_id = uuid4()
        event = self._event(event_id, event_type, message, trace_id, level, agent_name, task_id, metadata)
        error = self._append(event)
        await self._database().write_trace_event(**event)
        if error:
            raise error
        return event_id

    def log_event_sync(
        self,
        event_type: str,
        message: str,
        *,
        trace_id: str | None = None,
        level: str = "INFO",
        agent_name: str | None = None,
        task_id: str | None = None,
        metadata: Any = None,
    ) -> UUID:
        """As log_event, for threads."""
        event_id = uuid4()
        event = self._event(event_id, event_type, message, trace_id, level, agent_name, task_id, metadata)
        error = self._append(event)
        self._database().write_trace_event_sync(**event)
        if error:
            raise error
        return event_id

    def close(self) -> None:
        """Close the file; the next event opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _database(self) -> DatabaseIntegrationLayer:
        return self._layer or get_database_layer()

    def _event(
        self,
        event_id: UUID,
        event_type: str,
        message: str,
        trace_id: str | None,
        level: str,
        agent_name: str | None,
        task_id: str | None,
        metadata: Any,
    ) -> dict[str, Any]:
        context = current_trace()
        return {
            "event_id": event_id,
            "timestamp": datetime.now(UTC),
            "trace_id": trace_id if trace_id is not None else context.trace_id or "",
            "event_type": event_type,
            "level": level,
            "message": message,
            "agent_name": agent_name if agent_name is not None else context.agent_name,
            "task_id": task_id if task_id is not None else context.task_id,
            "metadata": metadata,
        }

    def _append(self, event: dict[str, Any]) -> OSError | None:
        """Write the line; the error, if there is one, is for after the database has the event."""
        line = json.dumps(event, default=str, ensure_ascii=True)
        try:
            with self._lock:
                if self._file is None:
                    self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._file = _PrivateFile(self.path)
                self._file.append(line)
        except OSError as error:
            return error
        return None


class _PrivateFile(WatchedFileHandler):
    """logging's file that notices when it was moved away; its lines are ours, and it is its owner's alone."""

    def append(self, line: str) -> None:
        """One line, in one write, or OSError."""
        self.reopenIfNeeded()
        stream: TextIO | None = self.stream
        if stream is None:
            raise FileNotFoundError(f"{self.baseFilename} could not be opened again")
        stream.write(f"{line}\n")
        stream.flush()

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


_lock = threading.Lock()
_logger: TraceLogger | None = None


def get_trace_logger() -> TraceLogger:
    """The trace logger of this process."""
    global _logger  # noqa: PLW0603 - a process has one
    with _lock:
        if _logger is None:
            _logger = TraceLogger()
        return _logger
