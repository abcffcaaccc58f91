"""gunicorn and uWSGI whose workers write, are recycled, ended and killed: what was answered has landed."""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig
from stack import Endpoint
from tests.faults.events import environment, landed, until, writing
from tests.integration.events_database import installed

EVENTS = 5  # of a request

# With AT_LOAD an event is written when the application is loaded: with preloading, in the process that forks.
APPLICATION = f"""
import os
from dbint.events import get_database_layer

def write(name):
    get_database_layer().write_trace_event_sync(
        trace_id="servers", event_type="STEP", level="INFO", message=name
    )

if "AT_LOAD" in os.environ:
    write(f"load-{{os.getpid()}}")

def application(environ, start_response):
    for number in range({EVENTS}):
        write(f"{{environ['PATH_INFO'][1:]}}-{{number}}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

GUNICORN = [sys.executable, "-m", "gunicorn", "--workers=2", "--max-requests=80", "--log-level=warning"]
GUNICORN += ["--bind=127.0.0.1:{port}", "--no-control-socket", "application:application"]
UWSGI = [str(Path(sys.executable).with_name("uwsgi")), "--http-socket=127.0.0.1:{port}", "--master"]
UWSGI += [
    "--processes=2",
    "--max-requests=80",
    "--min-worker-lifetime=1",
    "--die-on-term",
    "--disable-logging",
    "--need-app",
]
UWSGI += ["--module=application"]

# uWSGI forks without the GIL: a thread of Python's in the process that forks may hold it, and then the worker
# never gets it. So nothing may be written there, before the fork.
NOT_AT_LOAD = "uwsgi, which preloads"

SERVERS = {
    "gunicorn": GUNICORN,
    "gunicorn that preloads": [*GUNICORN, "--preload"],
    NOT_AT_LOAD: UWSGI,
    "uwsgi with lazy-apps": [*UWSGI, "--enable-threads", "--lazy-apps"],
}


class Client:
    """Sends requests; knows which events were asked for, which were answered for, and by whom."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: set[str] = set()
        self.answered: set[str] = set()
        self.workers: dict[int, int] = {}  # requests by process

    def request(self, name: str) -> bool:
        events = {f"{name}-{number}" for number in range(EVENTS)}
        self.asked |= events
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", f"/{name}")
            answer = connection.getresponse()
            worker = int(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return False  # the worker was killed: the events may have been taken
        finally:
            connection.close()
        assert answer.status == 200
        self.answered |= events
        self.workers[worker] = self.workers.get(worker, 0) + 1
        return True

    def signal_worker(self, number: int) -> bool:
        """One of the last two that answered; False if that one has just ended."""
        try:
            os.kill(random.choice(list(self.workers)[-2:]), number)
        except ProcessLookupError:
            return False
        return True

    @contextmanager
    def sending(self) -> Iterator[None]:
        """One request after the other, from two threads, for the time of the block."""
        over = threading.Event()

        def send(caller: str) -> None:
            number = 0
            while not over.is_set():
                self.request(f"{caller}{number}")
                number += 1

        threads = [threading.Thread(target=send, args=(caller,)) for caller in "ab"]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextmanager
def serving(server: str, config: DatabaseConfig, directory: Path) -> Iterator[Client]:
    """The server for the time of the block; it is stopped by SIGTERM."""
    (directory / "application.py").write_text(APPLICATION)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in SERVERS[server]],
            cwd=directory,
            env={
                **environment(config),
                "PYTHONPATH": os.fspath(directory),
                **({} if server == NOT_AT_LOAD else {"AT_LOAD": "1"}),
            },
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    client = Client(port)
    numbers = iter(range(10**6))
    try:
        until(lambda: client.request(f"first{next(numbers)}"))
        yield client
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


@pytest.mark.parametrize("server", SERVERS)
def test_what_was_answered_has_landed(server: str, postgres: Endpoint, tmp_path: Path) -> None:
    with installed(postgres, journal=tmp_path / "journal", recovery_timeout=0.2) as (_, config):
        with serving(server, config, tmp_path) as client:
            with client.sending():
                for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                    before = len(client.answered)
                    until(lambda: len(client.answered) > before + 60 * EVENTS)  # noqa: B023 - at once
                    until(lambda: client.signal_worker(kill))  # noqa: B023 - at once
                until(lambda: len(client.workers) >= 6)
            # The workers ship while they live: nobody has to end for that.
            until(lambda: len(landed(config)) >= len(client.answered) // 2)
        with writing(config) as events:
            events.layer.writer.start()
            until(lambda: events.land() or client.answered <= set(landed(config)))
            figures = events.figures()
            assert figures["recovered"] == figures["landed"]
            assert figures["dead"] == figures["damaged"] == figures["lost_by_server"] == 0
        found = set(landed(config))
        loads = {message for message in found if message.startswith("load-")}
        assert (not loads) == (server == NOT_AT_LOAD)
        assert client.answered <= found - loads <= client.asked
