"""What stands between a client and PostgreSQL in the tests of faults: PgBouncer, Toxiproxy, a small disk."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psycopg
import pytest

from stack import Endpoint, Stack, StackError, golang
from stack.progress import Progress
from stack.servers import pgbouncer as pgbouncer_recipe
from tests.faults import Proxy, Toxiproxy


def connect(endpoint: Endpoint, **more: Any) -> psycopg.Connection[Any]:
    credentials = endpoint.credentials
    given = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": credentials["username"],
        "password": credentials["password"],
        "dbname": credentials["database"],
        "connect_timeout": 5,
        "autocommit": True,
        **more,
    }
    return psycopg.connect(**given)


# PgBouncer


def test_transactions_share_server_connections(pgbouncer: Endpoint, postgres: Endpoint) -> None:
    """Transaction mode: two clients that take turns get the same backend, two open transactions do not."""
    query = "SELECT pg_backend_pid()"
    with connect(pgbouncer) as one, connect(pgbouncer) as other:
        assert one.execute(query).fetchone() == other.execute(query).fetchone()
        with one.transaction(), other.transaction():
            assert one.execute(query).fetchone() != other.execute(query).fetchone()
    with connect(postgres) as direct:
        system = "SELECT system_identifier FROM pg_control_system()"
        with connect(pgbouncer) as through:
            assert through.execute(system).fetchone() == direct.execute(system).fetchone()


def test_pgbouncer_asks_for_the_password(pgbouncer: Endpoint) -> None:
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(pgbouncer, password="wrong")


def test_pgbouncer_has_its_console(pgbouncer: Endpoint) -> None:
    with connect(pgbouncer, dbname="pgbouncer") as console:
        rows = console.cursor(row_factory=psycopg.rows.dict_row).execute("SHOW CONFIG").fetchall()
        assert {"transaction"} == {row["value"] for row in rows if row["key"] == "pool_mode"}


def test_pgbouncer_outlives_its_server(private_stack: Stack) -> None:
    """A client waits in PgBouncer while PostgreSQL is away, and is served when it is back."""
    private_stack.up(["pgbouncer"])
    endpoint = private_stack.endpoint("pgbouncer")
    with connect(endpoint) as connection:
        private_stack.kill("postgres")
        returned = threading.Timer(0.5, private_stack.start, ["postgres"])
        returned.start()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        returned.join()
    private_stack.kill("pgbouncer")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(endpoint)
    private_stack.start("pgbouncer")
    with connect(endpoint) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_pgbouncer_that_is_not_there(monkeypatch: pytest.MonkeyPatch, private_stack: Stack) -> None:
    monkeypatch.setattr(pgbouncer_recipe, "_program", lambda: None)
    stack = Stack(private_stack.directory, install=False)
    with pytest.raises(StackError, match="missing: pgbouncer"):
        stack.up(["pgbouncer"])


# Toxiproxy


@pytest.fixture
def proxy(toxiproxy: Toxiproxy, postgres: Endpoint) -> Proxy:
    return toxiproxy.proxy(postgres.host, postgres.port)


@pytest.fixture
def through(proxy: Proxy, postgres: Endpoint) -> Iterator[psycopg.Connection[Any]]:
    with connect(postgres, host=proxy.host, port=proxy.port) as connection:
        yield connection


def seconds(do: Callable[[], Any]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def test_toxiproxy_is_the_pinned_version(toxiproxy: Toxiproxy) -> None:
    assert toxiproxy.call("GET", "/version") == {"version": "2.12.0"}


def test_latency_comes_and_goes(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    def query() -> None:
        through.execute("SELECT 1")

    query()
    with proxy.toxic("latency", latency=400):
        assert seconds(query) >= 0.4
    assert seconds(query) < 0.4


def test_bandwidth(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    with proxy.toxic("bandwidth", rate=40):
        assert seconds(lambda: through.execute("SELECT repeat('x', 20000)")) >= 0.3


def test_reset(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    proxy.add("reset_peer", timeout=0)
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT 1")


def test_a_black_hole(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    """The connection stays and nothing comes: only the client's own deadline ends the wait."""
    proxy.add("timeout", timeout=0)
    timer = threading.Timer(1.0, proxy.disable)
    timer.start()
    with pytest.raises(psycopg.OperationalError):
        assert seconds(lambda: through.execute("SELECT 1")) >= 1.0
    timer.join()


def test_swallowed_then_closed(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    proxy.add("timeout", "upstream", timeout=300)
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT 1")


def test_half_a_message(proxy: Proxy, through: psycopg.Connection[Any]) -> None:
    proxy.add("limit_data", bytes=5000)
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT repeat('x', 20000)")


def test_slow_close(proxy: Proxy, postgres: Endpoint) -> None:
    """That the server has closed a connection is passed on late."""
    proxy.add("slow_close", delay=500)
    with connect(postgres) as direct, connect(postgres, host=proxy.host, port=proxy.port) as connection:
        direct.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

        def wait_for_the_end() -> None:
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.setblocking(True)
                while line.recv(4096):
                    pass

        assert seconds(wait_for_the_end) >= 0.4


def test_disabled_and_enabled(proxy: Proxy, postgres: Endpoint, through: psycopg.Connection[Any]) -> None:
    proxy.disable()
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(postgres, host=proxy.host, port=proxy.port)
    proxy.enable()
    with connect(postgres, host=proxy.host, port=proxy.port) as again:
        assert again.execute("SELECT 1").fetchone() == (1,)


def test_clear_and_delete(proxy: Proxy, postgres: Endpoint, through: psycopg.Connection[Any]) -> None:
    proxy.add("latency", latency=10_000)
    proxy.add("bandwidth", rate=1)
    proxy.clear()
    assert seconds(lambda: through.execute("SELECT 1")) < 5
    proxy.delete()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(postgres, host=proxy.host, port=proxy.port)
    with pytest.raises(HTTPError, match="404"):
        proxy.delete()


# Building it


def test_the_build_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "go"
    program.write_text(
        "#!/bin/sh\n[ $1 = version ] && echo go1.99 || { echo 'dial tcp: no route'; exit 1; }\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StackError, match=r"could not build a/b: dial tcp: no route\nIs the network there\?"):
        golang.build("toxiproxy", "a/b", tmp_path / "out", {}, Progress())


@pytest.mark.long
def test_an_old_compiler_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "go"
    program.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        StackError, match=r"(?s)cannot fetch a Go compiler by pip: .*Or put Go 1.24 or newer on"
    ):
        golang.build("toxiproxy", "a/b", tmp_path / "out", {}, Progress())


# The disk


def test_a_small_disk_is_soon_full(small_disk: Callable[[int], Path]) -> None:
    one, other = small_disk(1 << 20), small_disk(2 << 20)
    with pytest.raises(OSError, match="No space left") as caught, (one / "file").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 << 20)
    assert caught.value.errno == errno.ENOSPC
    (other / "file").write_bytes(bytes(1 << 20))
