"""The layer of the process, and what becomes of layers at a fork and at the interpreter's exit."""

import atexit
import os
import threading
import time
from collections.abc import Iterator

from dbint._core import Stream
from dbint.events.health import DatabaseHealthStatus
from dbint.events.layer import DatabaseIntegrationLayer, living_layers
from dbint.events.tables import EventTable
from dbint.metrics import Metric, add_source

EXIT_TIMEOUT = 2.0  # seconds, at the interpreter's exit, for what looks after layers

_lock = threading.Lock()
_layer: DatabaseIntegrationLayer | None = None


def get_database_layer() -> DatabaseIntegrationLayer:
    """The layer of this process: made when it is first asked for, opened by its first use.

    Events that wait at the interpreter's exit are shipped then, within a few seconds; the rest stays in the
    journal. After a fork the child has its own under the same reference.
    """
    global _layer  # noqa: PLW0603 - a process has one
    with _lock:
        if _layer is None or _layer.closed:
            _layer = DatabaseIntegrationLayer()
        return _layer


def set_database_layer(layer: DatabaseIntegrationLayer | None) -> DatabaseIntegrationLayer | None:
    """Makes ``layer`` that of this process, or with None none, and returns the one before. For tests."""
    global _layer
    with _lock:
        before, _layer = _layer, layer
        return before


class ProcessStream:
    """A stream of its own into one of the four tables, of the given layer or of the process's: by calling it.

    For senders that must not wait: what the journal has no room for is refused. It is opened by the first
    call, and anew when the process's layer is another one.
    """

    def __init__(self, layer: DatabaseIntegrationLayer | None, table: EventTable, name: str) -> None:
        self._layer, self._table, self._name = layer, table, name
        self._opened: tuple[DatabaseIntegrationLayer, Stream] | None = None

    def __call__(self) -> Stream:
        layer = self._layer or get_database_layer()
        if self._opened is None or self._opened[0] is not layer:
            self._opened = layer, layer.open_stream(self._table, self._name, when_full="reject")
        return self._opened[1]


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread that is not here any more may have held it
    _lock = threading.Lock()
    for layer in living_layers():
        layer.after_fork()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _stop_looking() -> None:
    """Ends the threads that look after layers, and waits for what they are just doing.

    After this the process takes its libraries apart. A thread that is just connecting needs no interpreter to
    go on with that, and would crash in what is left of OpenSSL. One that waits for a server which does not
    answer is left behind: it sleeps until the process is gone.
    """
    deadline = time.monotonic() + EXIT_TIMEOUT
    for background in [layer.stop_looking() for layer in living_layers()]:
        if background is not None:
            background.wait(deadline)


def _status_metrics() -> Iterator[Metric]:
    """The health of each layer at its last look."""
    for layer in living_layers():
        name = layer.config.name or layer.config.database
        for status in () if layer.closed else DatabaseHealthStatus:
            labels = {"layer": name, "status": str(status)}
            yield Metric("dbint_events_status", "gauge", labels, float(layer.status is status))


add_source(_status_metrics)
