"""Webhooks on changes of health, against a local HTTP server that answers as it is told."""

import hashlib
import hmac
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dbint.breaker import CircuitState
from dbint.errors import ConfigurationError
from dbint.events.health import DatabaseHealthMetrics, DatabaseHealthStatus, HealthChange
from dbint.events.webhooks import SIGNATURE_HEADER, Webhook


class Endpoint:
    """An HTTP server: its answers, in turn, the last for ever; what it got."""

    def __init__(self) -> None:
        self.answers = [204]
        self.gate = threading.Event()
        self.gate.set()
        self.got: list[tuple[dict[str, str], bytes]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.gate.wait(10)
                endpoint.got.append((dict(self.headers), body))
                status = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=geheim"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.gate.set()
    endpoint.server.shutdown()
    endpoint.server.server_close()


def change(to: str, *reasons: str, was: str = "healthy") -> HealthChange:
    metrics = DatabaseHealthMetrics(
        status=DatabaseHealthStatus(to),
        pool_size=5,
        pool_free=5,
        pool_utilization_pct=0.0,
        total_queries=7,
        failed_queries=1,
        avg_query_time_ms=0.4,
        circuit_state=CircuitState.OPEN,
        last_error="server closed the connection",
        last_error_time=None,
        recovery_attempts=1,
        uptime_seconds=3.0,
        reasons=reasons,
    )
    return HealthChange(DatabaseHealthStatus(was), DatabaseHealthStatus(to), metrics)


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.01)


def test_a_change_is_posted_with_its_reasons_and_its_metrics(endpoint: Endpoint) -> None:
    hook = Webhook(endpoint.url, secret="s3cret", headers={"Authorization": "Bearer abc"})
    hook(change("degraded", "the server is away; events go to the journal"))
    hook.close()
    [(headers, body)] = endpoint.got
    told = json.loads(body)
    assert (told["event"], told["from"], told["to"]) == ("health_changed", "healthy", "degraded")
    assert told["reasons"] == ["the server is away; events go to the journal"]
    assert (told["metrics"]["circuit_state"], told["metrics"]["failed_queries"]) == ("open", 1)
    assert told["pid"] == os.getpid()
    assert (headers["Content-Type"], headers["Authorization"]) == ("application/json", "Bearer abc")
    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE_HEADER] == f"sha256={expected}"
    assert (hook.delivered, hook.given_up) == (1, 0)


def test_without_a_secret_there_is_no_signature(endpoint: Endpoint) -> None:
    hook = Webhook(endpoint.url)
    hook(change("degraded"))
    hook.close()
    assert SIGNATURE_HEADER not in endpoint.got[0][0]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [status, status, 200]
    hook = Webhook(endpoint.url, first_wait=0.01)
    hook(change("unhealthy"))
    hook.close()
    assert (len(endpoint.got), hook.delivered, hook.given_up) == (3, 1, 0)


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_what_will_not_pass_is_logged_once_and_shows_no_secret(
    endpoint: Endpoint, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.answers = [status]
    hook = Webhook(endpoint.url, first_wait=0.01)
    with caplog.at_level(logging.WARNING):
        hook(change("unhealthy"))
        hook.close()
    assert (len(endpoint.got), hook.delivered, hook.given_up) == (1, 0, 1)
    [record] = caplog.records
    assert str(status) in record.getMessage()
    assert hook.place in record.getMessage()
    assert "geheim" not in record.getMessage() + repr(hook)


def test_an_endpoint_that_is_away_is_given_up_after_so_many_attempts(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.server.shutdown()
    endpoint.server.server_close()
    hook = Webhook(endpoint.url, attempts=3, first_wait=0.01)
    hook(change("unhealthy"))
    hook.close()
    assert (hook.delivered, hook.given_up) == (0, 1)
    assert "no answer" in caplog.text


def test_only_the_wanted_statuses_are_told(endpoint: Endpoint) -> None:
    hook = Webhook(endpoint.url, statuses=[DatabaseHealthStatus.UNHEALTHY, DatabaseHealthStatus.HEALTHY])
    for status in ("degraded", "unhealthy", "recovering", "healthy"):
        hook(change(status))
    hook.close()
    assert [body["to"] for body in endpoint.bodies()] == ["unhealthy", "healthy"]


def test_the_caller_does_not_wait_and_the_newest_changes_win(endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    hook = Webhook(endpoint.url, pending=2)
    hook(change("degraded", "first"))
    until(hook._queue.empty)  # it is on its way, and not answered
    began = time.monotonic()
    for number in range(10):
        hook(change("degraded", str(number)))
    assert time.monotonic() - began < 1
    endpoint.gate.set()
    hook.close()
    reasons = [body["reasons"] for body in endpoint.bodies()]
    assert reasons[0] == ["first"]
    assert reasons[-1] == ["9"]
    assert hook.delivered + hook.given_up == 11


def test_a_forked_child_sends_its_own_changes_and_not_its_parents(endpoint: Endpoint) -> None:
    endpoint.gate.clear()
    hook = Webhook(endpoint.url)
    hook(change("degraded", "parent"))
    child = os.fork()
    if child == 0:
        hook(change("degraded", "child"))
        hook.close()
        os._exit(0)
    endpoint.gate.set()
    assert os.waitpid(child, 0)[1] == 0
    hook.close()
    assert sorted(str(body["reasons"]) for body in endpoint.bodies()) == ["['child']", "['parent']"]


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "http://", "host/x", ""])
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="http:// or https://"):
        Webhook(url)
