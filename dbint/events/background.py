"""The thread that looks after a layer: health from time to time, retention when it is due."""

import logging
import threading
import time
from typing import TYPE_CHECKING
from weakref import ref

from dbint.events.health import DatabaseHealthStatus

if TYPE_CHECKING:
    from dbint.events.layer import DatabaseIntegrationLayer

logger = logging.getLogger(__name__)

ATTENTIVE = 5.0  # seconds between looks while the status is not HEALTHY
RETENTION_LOOK = 3600.0  # seconds between looks at whether retention is due


class Background(threading.Thread):
    """Looks at the health of a layer from time to time, and has retention applied when it is due."""

    def __init__(self, layer: "DatabaseIntegrationLayer") -> None:
        super().__init__(name="dbint-events", daemon=True)
        # A layer that nobody holds any more is not kept alive by its thread.
        self._layer = ref(layer)
        self._interval = layer.config.health_check_interval
        self._retention_look = min(layer.config.retention_interval, RETENTION_LOOK)
        self._ending = threading.Event()
        self._retention: threading.Thread | None = None

    def run(self) -> None:
        next_retention = time.monotonic()
        delay = 0.0
        while not self._ending.wait(delay):
            layer = self._layer()
            if layer is None or layer.closed:
                return
            try:
                status = layer.get_health_metrics_sync().status
            except Exception:  # whatever it is: the next look may tell more
                logger.exception("looking at the health of the database layer failed")
                status = DatabaseHealthStatus.DEGRADED
            if time.monotonic() >= next_retention:
                next_retention = time.monotonic() + self._retention_look
                self._start_retention(layer)
            healthy = status == DatabaseHealthStatus.HEALTHY
            delay = self._interval if healthy else min(self._interval, ATTENTIVE)
            del layer

    def _start_retention(self, layer: "DatabaseIntegrationLayer") -> None:
        """In a thread of its own: deleting may take long, and health is looked at meanwhile."""
        if self._retention is None or not self._retention.is_alive():
            self._retention = threading.Thread(
                target=layer.apply_retention_when_due, name="dbint-events-retention", daemon=True
            )
            self._retention.start()

    def stop(self) -> None:
        """Has it end soon; whoever calls does not wait for what it is just doing."""
        self._ending.set()

    def wait(self, deadline: float) -> None:
        """Waits for its end, and for that of retention, until ``deadline`` (of time.monotonic())."""
        for thread in (self, self._retention):
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
