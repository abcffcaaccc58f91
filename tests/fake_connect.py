"""A Kafka Connect that runs nothing: its REST API as far as a deployment uses it, for what happens there."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dbint.flow.connect import CONNECTOR_CLASS

_PATH = re.compile(r"/connectors/([\w-]+)(?:/(\w+))?(?:\?.*)?")


class FakeConnect:
    """One worker. ``trace`` is why a connector's task fails as soon as it is started, ``refusal`` the status
    of all answers while it is set, ``requests`` what came (but what only asks).
    """

    def __init__(self) -> None:
        self.url = ""
        self.trace = ""
        self.refusal = 0
        self.requests: list[str] = []
        self.connectors: dict[str, dict[str, Any]] = {}

    def fail(self, trace: str) -> None:
        """The tasks that run fail now, and those that are started later do not."""
        for connector in self.connectors.values():
            connector["trace"] = trace

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method != "GET":
            self.requests.append(f"{method} {path}")
        if self.refusal:
            return self.refusal, {"message": "it cannot"}
        if path == "/connector-plugins":
            return 200, [{"class": CONNECTOR_CLASS, "type": "source", "version": "3.7.0.Final"}]
        if path == "/connectors" and method == "POST":
            self._make(body["name"], body["config"], body.get("initial_state", "RUNNING"))
            return 201, body
        found = _PATH.fullmatch(path)
        name, what = (found[1], found[2]) if found else ("", "")
        if (method, what) == ("PUT", "config"):
            self._make(name, body, "RUNNING")
            return 201, body
        if name not in self.connectors:
            return 404, {"error_code": 404, "message": f"Connector {name} not found"}
        return self._of(self.connectors[name], name, method, what, body)

    def _make(self, name: str, config: dict[str, str], state: str) -> None:
        self.connectors[name] = {"config": config, "state": state, "offsets": [], "trace": self.trace}

    def _of(
        self, connector: dict[str, Any], name: str, method: str, what: str | None, body: Any
    ) -> tuple[int, Any]:
        match method, what:
            case "GET", "config":
                return 200, {**connector["config"], "name": name}
            case "GET", "status":
                state, trace = connector["state"], connector["trace"]
                task = {"id": 0, "state": "FAILED", "trace": trace} if trace else {"id": 0, "state": state}
                tasks = [] if state == "STOPPED" else [task]
                return 200, {"name": name, "connector": {"state": state}, "tasks": tasks}
            case "GET", "offsets":
                return 200, {"offsets": connector["offsets"]}
            case "PATCH", "offsets":
                if connector["state"] != "STOPPED":
                    return 400, {"message": "Connectors must be in the STOPPED state"}
                connector["offsets"] = body["offsets"]
                return 200, {"message": "done"}
            case "POST", "restart":
                connector["trace"] = self.trace
                return 202, None
            case "PUT", "stop" | "resume" | "pause":
                states = {"stop": "STOPPED", "resume": "RUNNING", "pause": "PAUSED"}
                connector["state"] = states[str(what)]
                return 202, None
            case "DELETE", None:
                del self.connectors[name]
                return 204, None
            case "DELETE", "offsets":
                connector["offsets"] = []
                return 200, {"message": "done"}
        return 405, {"message": f"{method} {what}"}


@contextmanager
def fake_connect() -> Iterator[FakeConnect]:
    """It serves until the end, on a port of its own."""
    fake = FakeConnect()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fake.answer(self.command, self.path, json.loads(body) if body else None)
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - names of http.server

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
