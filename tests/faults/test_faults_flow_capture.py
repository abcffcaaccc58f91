"""The capture while its servers and its own process are killed: no commit is missing from the topics."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from dbint import _core
from dbint.errors import ConfigurationError
from dbint.flow.capture import Capture
from stack import Stack
from tests.faults.events import until
from tests.integration.flow_source import Source, source_database, table_rows


@pytest.fixture
def source(server: Stack) -> Iterator[Source]:
    server.up(["kafka"])
    with source_database(server.endpoint("postgres"), server.endpoint("kafka")) as made:
        yield made


class Load:
    """Writes to table t until told to stop, over whatever happens to the server."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ended = threading.Event()
        self.commits = 0
        self.trouble: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self.ended.is_set():
            try:
                with closing(self.source.config.source.connect(connect_timeout=5)) as connection:
                    while not self.ended.is_set():
                        number += 1
                        self._write(connection, number)
                        self.commits += 1
            except Exception as error:  # noqa: BLE001 - the server is being killed
                self.trouble = error
                time.sleep(0.05)

    def _write(self, connection: psycopg.Connection[Any], number: int) -> None:
        key = number % 200
        with connection.transaction():
            connection.execute(
                "INSERT INTO t VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
                [key, f"name {key}", number],
            )
            if number % 7 == 0:
                connection.execute("DELETE FROM t WHERE id = %s", [(key + 50) % 200])


@contextmanager
def load(source: Source) -> Iterator[Load]:
    writing = Load(source)
    writing.thread.start()
    try:
        yield writing
    finally:
        writing.ended.set()
        writing.thread.join(30)
    assert not writing.thread.is_alive()


def reconnect(source: Source) -> None:
    source.connection.close()
    source.connection = until(lambda: attempt(source), 60)


def attempt(source: Source) -> psycopg.Connection[Any] | None:
    try:
        return source.config.source.connect(connect_timeout=2)
    except Exception:  # noqa: BLE001 - not yet
        return None


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_the_server_goes_and_comes_back(server: Stack, source: Source, how: str) -> None:
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        with load(source) as writing:
            for _ in range(2):
                until(lambda seen=writing.commits: writing.commits > seen + 200, 60)
                if how == "kill":
                    server.kill("postgres")
                    until(lambda: capture.status()["state"] in ("waiting", "connecting"))
                    server.up(["postgres"])
                else:
                    server.restart("postgres")  # it waits until its log has been sent
                until(lambda: capture.status()["state"] == "streaming", 60)
            until(lambda seen=writing.commits: writing.commits > seen + 100, 60)
        reconnect(source)
        source.settle(capture)
        assert capture.status()["connects"] >= 3
        capture.stop(20)
        assert capture.wait(25)
    assert source.rows() == table_rows(source)


def test_the_broker_goes_and_comes_back(server: Stack, source: Source) -> None:
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        with load(source) as writing:
            until(lambda: writing.commits > 200, 60)
            server.kill("kafka")
            until(lambda seen=writing.commits: writing.commits > seen + 500, 60)
            error = until(lambda: capture.status()["error"], 60)
            assert "no Kafka broker can be reached" in error
            assert capture.status()["state"] == "streaming"
            server.up(["kafka"])
        source.settle(capture)
        assert capture.status()["connects"] == 1  # the server was answered all the while
        assert capture.status()["error"] is None
        capture.stop(20)
        assert capture.wait(25)
    assert source.rows() == table_rows(source)


PROGRAM = """
import sys
from dbint.flow.capture import Capture
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess

conninfo, bootstrap, name = sys.argv[1:]
parameters = dict(pair.split("=", 1) for pair in conninfo.split())
target = TargetAccess("none", "none", [("127.0.0.1", 1)], ["http://127.0.0.1:1"], lambda: ("", ""))
config = FlowConfig(name=name, source=SourceAccess("test", lambda: parameters), target=target,
                    kafka=lambda _role: {"bootstrap.servers": bootstrap}, tables=("public.t",), partitions=2)
capture = Capture(config)
capture.prepare()
capture.start()
print("started", flush=True)
while not capture.wait(1.0):
    pass
"""


def program(source: Source) -> subprocess.Popen[str]:
    pairs = " ".join(f"{name}={value}" for name, value in source.config.source.parameters().items())
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), pairs, source.bootstrap, source.config.name],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_its_process_is_killed(source: Source) -> None:
    with load(source) as writing:
        for _ in range(3):
            process = program(source)
            try:
                until(lambda seen=writing.commits: writing.commits > seen + 300, 60)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
    with source.captured():
        pass
    assert source.rows() == table_rows(source)
    assert len(source.values()) >= writing.commits


def test_a_server_that_has_lost_commits_is_not_followed(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'one', 0)")
    # As after a failover to a standby that was behind: its log ends before what was delivered.
    outlet = _core.Outlet({"bootstrap.servers": source.bootstrap})
    core = _core.Capture(
        outlet,
        name="t",
        conninfo=source.config.source.conninfo(),
        slot=source.config.slot,
        publication=source.config.publication,
        prefix="t",
        version="test",
        start=source.position() + (1 << 32),
    )
    core.start()
    with pytest.raises(ConfigurationError, match="the server has lost commits"):
        core.join(30)
