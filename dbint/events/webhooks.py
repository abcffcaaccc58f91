"""Tells an HTTP endpoint when the layer's health changes.

A webhook is a callback for changes of status. The request is made by a thread of its own, so that whoever saw
the change does not wait for somebody else's server.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import os
import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from dbint.errors import ConfigurationError
from dbint.events.health import DatabaseHealthStatus, HealthChange

logger = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Dbint-Signature"


class Webhook:
    """POSTs each change of status as JSON.

    The body has ``event`` ("health_changed"), ``from``, ``to``, ``reasons``, ``at`` (ISO 8601, UTC),
    ``host``, ``pid`` and ``metrics``. With ``secret``, the header X-Dbint-Signature is "sha256=" and the
    HMAC-SHA256 of the body in hexadecimal digits. An answer of 2xx is taken as delivered; no answer, 408, 429
    and 5xx are tried again, up to ``attempts`` times, waiting twice as long each time; anything else is
    logged and not tried again. When more than ``pending`` changes wait, the oldest is given up: the present
    state matters.

    ``statuses`` limits which new statuses are told; the default is all. ``timeout`` and ``first_wait`` are in
    seconds. Raises ConfigurationError for an address that is not http or https.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        statuses: Iterable[DatabaseHealthStatus] = tuple(DatabaseHealthStatus),
        timeout: float = 10.0,
        attempts: int = 5,
        first_wait: float = 1.0,
        pending: int = 100,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("a webhook's address begins with http:// or https:// and a host")
        self.place = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        """Where it goes, without the path and query, which may hold a secret."""
        self.delivered = 0
        self.given_up = 0
        self._url = url
        self._secret = secret.encode() if secret else None
        self._headers = {"User-Agent": "dbint", **(headers or {}), "Content-Type": "application/json"}
        self._statuses = frozenset(statuses)
        self._timeout = timeout
        self._attempts = attempts
        self._first_wait = first_wait
        self._pending = pending
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start()

    def __repr__(self) -> str:
        return f"<Webhook {self.place}: {self.delivered} delivered, {self.given_up} given up>"

    def __call__(self, change: HealthChange) -> None:
        """Send this change, later."""
        if change.to_status not in self._statuses:
            return
        body = {
            "event": "health_changed",
            "from": str(change.from_status),
            "to": str(change.to_status),
            "reasons": list(change.metrics.reasons),
            "at": datetime.now(UTC).isoformat(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "metrics": change.metrics.as_dict(),
        }
        with self._lock:
            if self._pid != os.getpid():
                self._start()  # a forked child has no thread, and its parent's changes are its parent's
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dbint-webhook", daemon=True)
                self._thread.start()
            while True:
                try:
                    self._queue.put_nowait(json.dumps(body).encode())
                except queue.Full:
                    with contextlib.suppress(queue.Empty):
                        self._queue.get_nowait()
                        self.given_up += 1
                else:
                    return

    def close(self, timeout: float = 5.0) -> None:
        """Wait for what is on its way, at most ``timeout`` seconds, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._queue.put(None)
            thread.join(timeout)
            self._closing.set()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._queue: queue.Queue[bytes | None] = queue.Queue(self._pending + 1)
        self._closing = threading.Event()
        self._thread = None

    def _run(self) -> None:
        while (body := self._queue.get()) is not None:
            if self._deliver(body):
                self.delivered += 1
            else:
                self.given_up += 1

    def _deliver(self, body: bytes) -> bool:
        headers = dict(self._headers)
        if self._secret:
            headers[SIGNATURE_HEADER] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        wait = self._first_wait
        for attempt in range(1, self._attempts + 1):
            error, may_pass = self._post(body, headers)
            if error is None:
                return True
            if not may_pass or attempt == self._attempts:
                logger.warning("The webhook at %s was not delivered: %s", self.place, error)
                return False
            if self._closing.wait(wait):
                return False
            wait *= 2
        return False

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[str | None, bool]:
        """One attempt: what went wrong, or None; and whether that may pass."""
        request = urllib.request.Request(self._url, body, dict(headers), method="POST")  # noqa: S310 - http(s)
        try:
            with _OPENER.open(request, timeout=self._timeout) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            again = error.code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
            return (
                f"it answered {error.code} {error.reason}",
                again or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR,
            )
        except urllib.error.URLError as error:
            return f"no answer: {error.reason}", True
        except OSError as error:
            return f"no answer: {error}", True
        return None, False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body, perhaps at a host that nobody chose."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
