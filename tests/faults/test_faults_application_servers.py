"""gunicorn, uWSGI and uvicorn whose workers write, are recycled, ended and killed: what was answered landed.

All servers run side by side, for one fixture: they mostly wait for each other's workers to start.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig
from stack import Stack
from tests.faults.events import environment, landed, until, writing
from tests.integration.events_database import installed

EVENTS = 4  # of a request
THREADS = 4  # of a threaded worker

# Half of the events are written by the twin for threads, half are awaited. With AT_LOAD, one is written when
# the application is loaded: with preloading, in the process that forks.
APPLICATION = f"""
import asyncio, os, threading
from contextlib import asynccontextmanager
from asgiref.sync import async_to_sync
from dbint.events import get_database_layer

def fields(name):
    return dict(trace_id="servers", event_type="STEP", level="INFO", message=name)

def write(name):
    get_database_layer().write_trace_event_sync(**fields(name))

async def write_async(name):
    await get_database_layer().write_trace_event(**fields(name))

def who():
    return f"{{os.getpid()}} {{threading.get_ident()}}".encode()

if "AT_LOAD" in os.environ:
    write(f"{{os.environ['AT_LOAD']}}-load-{{os.getpid()}}")

def application(environ, start_response):
    for number in range(0, {EVENTS}, 2):
        name = environ["PATH_INFO"][1:]
        write(f"{{name}}-{{number}}")
        async_to_sync(write_async)(f"{{name}}-{{number + 1}}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [who()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await get_database_layer().initialize()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        assert await get_database_layer().shutdown() == 0
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    name = scope["path"][1:]
    for number in range(0, {EVENTS}, 2):
        await write_async(f"{{name}}-{{number}}")
        await asyncio.sleep(0.002)
        await asyncio.to_thread(write, f"{{name}}-{{number + 1}}")
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": who()}})
"""


@dataclass(frozen=True)
class Server:
    """How one is started, and what may be expected of it."""

    command: list[str]
    threads: int = 1  # that take requests in a worker
    at_load: bool = True  # an event is written when the application is loaded
    workers: int = 4  # processes that have to answer before it is stopped; 1: none is killed
    graceful: signal.Signals = signal.SIGTERM  # what a worker answers by finishing its requests
    respawning: bool = False  # it is stopped while a worker is loading the application


GUNICORN = [sys.executable, "-m", "gunicorn", "--workers=2", "--max-requests=60", "--log-level=warning"]
GUNICORN += ["--bind=127.0.0.1:{port}", "--no-control-socket", "application:application"]
GTHREAD = [*GUNICORN, "--worker-class=gthread", f"--threads={THREADS}"]
UWSGI = [str(Path(sys.executable).with_name("uwsgi")), "--http-socket=127.0.0.1:{port}", "--master"]
UWSGI += ["--processes=2", "--max-requests=60", "--min-worker-lifetime=1", "--disable-logging"]
UWSGI += ["--need-app", "--module=application"]
# docs/events.md says why.
UWSGI += ["--hook-master-start=unix_signal:15 gracefully_kill_them_all"]
UWSGI += ["--hook-post-fork=unix_signal:1 gracefully_kill"]
UVICORN = [sys.executable, "-m", "uvicorn", "--port={port}", "--log-level=warning", "application:asgi"]

SERVERS = {
    "gunicorn": Server(GUNICORN),
    "gunicorn with threads": Server(GTHREAD, THREADS),
    "gunicorn with threads that preloads": Server([*GTHREAD, "--preload"], THREADS),
    # uWSGI forks without the GIL: a thread of Python's in the process that forks may hold it, and then the
    # worker never gets it. So nothing may be written there, before the fork.
    "uwsgi that preloads": Server(UWSGI, at_load=False, graceful=signal.SIGHUP),
    "uwsgi with threads that preloads": Server(
        [*UWSGI, f"--threads={THREADS}"], THREADS, at_load=False, graceful=signal.SIGHUP
    ),
    # Without the second hook, the signal that a worker gets while it is loading would be lost.
    "uwsgi with threads and lazy-apps": Server(
        [*UWSGI, f"--threads={THREADS}", "--lazy-apps"],
        THREADS,
        graceful=signal.SIGHUP,
        respawning=True,
    ),
    "uvicorn with lifespan": Server([*UVICORN, "--lifespan=on"], workers=1),
    "uvicorn without lifespan": Server(
        [*UVICORN, "--workers=2", "--limit-max-requests=60", "--lifespan=off"]
    ),
}


class Client:
    """Sends requests; knows which events were asked for, which were answered for, and by whom."""

    def __init__(self, port: int, prefix: str) -> None:
        self.port, self.prefix = port, prefix
        self.asked: set[str] = set()
        self.answered: set[str] = set()
        self.workers: dict[int, set[int]] = {}  # threads that answered, by process
        self.latest = 0  # the process that answered last

    def request(self, name: str) -> bool:
        events = {f"{self.prefix}-{name}-{number}" for number in range(EVENTS)}
        self.asked |= events
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"/{self.prefix}-{name}")
            answer = connection.getresponse()
            worker, thread = map(int, answer.read().split())
        except (OSError, http.client.HTTPException, ValueError):
            return False  # nobody listens, or the worker was killed: the events may have been taken
        finally:
            connection.close()
        assert answer.status == 200
        self.answered |= events
        self.workers.setdefault(worker, set()).add(thread)
        self.latest = worker
        return True

    def signal_worker(self, number: int) -> bool:
        """The one that answered last; False if it has just ended."""
        try:
            os.kill(self.latest, number)
        except ProcessLookupError:
            return False
        return True

    @contextmanager
    def sending(self) -> Iterator[None]:
        """One request after the other, from as many threads as a worker may have."""
        over = threading.Event()

        def send(caller: str) -> None:
            number = 0
            while not over.is_set():
                if not self.request(f"{caller}{number}"):
                    over.wait(0.02)
                number += 1

        threads = [threading.Thread(target=send, args=(caller,)) for caller in "abcd"[:THREADS]]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


@dataclass
class Outcome:
    """What became of a server: how it ended, what it said, who was asked, and where its journal is."""

    client: Client
    config: DatabaseConfig
    returncode: int
    log: str


def respawned(log: Path) -> int:
    return log.read_text().count("Respawned uWSGI worker")


def living(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def disturb(server: Server, client: Client, log: Path) -> None:
    """Ends workers in turn, and sees others come, until the server may be stopped."""
    for kill in (signal.SIGKILL, server.graceful) if server.workers > 1 else ():
        before = len(client.answered)
        until(lambda: len(client.answered) > before + 40 * EVENTS, 60)  # noqa: B023 - at once
        until(lambda: client.signal_worker(kill))  # noqa: B023 - at once
    until(lambda: len(client.workers) >= server.workers and len(client.answered) > 100 * EVENTS, 60)
    if server.respawning:
        before = respawned(log)
        until(lambda: client.signal_worker(signal.SIGKILL))
        until(lambda: respawned(log) > before)


def serve(name: str, config: DatabaseConfig, directory: Path) -> Outcome:
    """Starts the server, has it written to by many and disturbed, and stops it while it is at work."""
    server = SERVERS[name]
    prefix = str(list(SERVERS).index(name))
    directory.mkdir()
    (directory / "application.py").write_text(APPLICATION)
    config = replace(config, journal_dir=os.fspath(directory / "journal"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in server.command],
            cwd=directory,
            env={
                **environment(config),
                "PYTHONPATH": os.fspath(directory),
                **({"AT_LOAD": prefix} if server.at_load else {}),
            },
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    client = Client(port, prefix)
    numbers = iter(range(10**6))
    try:
        until(lambda: client.request(f"first{next(numbers)}"), 60)
        with client.sending():
            disturb(server, client, log)
            process.terminate()
            process.wait(20)
        until(lambda: not living(process.pid), 5)  # it has left nobody behind
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Outcome(client, config, process.returncode, log.read_text())


@pytest.fixture(scope="module")
def outcomes(
    server: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Outcome]]]:
    """Of each server, in one database; all of them are under way."""
    directory = tmp_path_factory.mktemp("servers")
    with (
        installed(server.endpoint("postgres"), recovery_timeout=0.2) as (_, config),
        ThreadPoolExecutor(len(SERVERS)) as pool,
    ):
        yield {
            name: pool.submit(serve, name, config, directory / str(number))
            for number, name in enumerate(SERVERS)
        }


def landed_of(outcome: Outcome) -> set[str]:
    prefix = f"{outcome.client.prefix}-"
    return {message for message in landed(outcome.config) if message.startswith(prefix)}


@pytest.mark.parametrize("name", SERVERS)
def test_what_was_answered_has_landed(name: str, outcomes: Mapping[str, Future[Outcome]]) -> None:
    server, outcome = SERVERS[name], outcomes[name].result(120)
    client = outcome.client
    assert "Traceback" not in outcome.log, outcome.log[-3000:]
    if server.threads > 1:
        assert max(map(len, client.workers.values())) >= server.threads - 1
    if "--lifespan=on" in server.command:  # the interpreter's end is not reached, the application's is
        assert outcome.returncode == -signal.SIGTERM
        assert client.answered <= landed_of(outcome)
    with writing(outcome.config) as events:
        events.layer.writer.start()
        until(lambda: events.land() or client.answered <= landed_of(outcome))
        figures = events.figures()
        assert figures["recovered"] == figures["landed"]
        assert figures["dead"] == figures["damaged"] == figures["lost_by_server"] == 0
    found = landed_of(outcome)
    loads = {message for message in found if "-load-" in message}
    assert bool(loads) == server.at_load
    assert client.answered <= found - loads <= client.asked
