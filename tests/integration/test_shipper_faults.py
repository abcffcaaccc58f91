"""Events on their way into PostgreSQL while the server, or the way to it, breaks: all land, none twice."""

import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbint._core import BatchWriter, Pool, Stream, ledger_sql
from stack import Endpoint, Stack
from stack.servers.postgres import give, installations, run_as, server_account
from tests.faults import Proxy, Toxiproxy

# Without a unique index: what comes twice is there twice.
TABLE = "CREATE TABLE events (id bigint NOT NULL, name varchar(50) NOT NULL, payload jsonb)"


def conninfo_of(endpoint: Endpoint, **more: object) -> str:
    credentials = endpoint.credentials
    given = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": credentials["username"],
        "password": credentials["password"],
        "dbname": credentials["database"],
    }
    return psycopg.conninfo.make_conninfo(**given | more)


@pytest.fixture
def database(postgres: Endpoint) -> Iterator[str]:
    """The name of a database of the test's own, with the table."""
    name = f"shipper_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(conninfo_of(postgres), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(conninfo_of(postgres, dbname=name)) as connection:
            connection.execute(TABLE)
        yield name
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Sender:
    """A writer with a stream into the table, and the numbers of the events that it took."""

    def __init__(self, writer: BatchWriter, stream: Stream) -> None:
        self.writer = writer
        self.stream = stream
        self.sent = 0

    def send(self, count: int) -> None:
        for number in range(self.sent, self.sent + count):
            self.stream.write_sync(id=number, name=f"event {number}", payload={"n": number})
        self.sent += count

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Sends, from a thread, as long as the block lasts."""
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.001):
                self.send(20)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def drain(self) -> dict[str, Any]:
        """Waits until all has landed; the account of the stream."""
        deadline = time.monotonic() + 60
        while self.writer.flush(timeout=2):
            assert time.monotonic() < deadline, self.writer.snapshot()
            self.writer.retry()
        return dict(self.writer.snapshot()["streams"]["events"])

    def settle(self) -> dict[str, Any]:
        """The same; the account adds up."""
        account = self.drain()
        lost = account["lost_by_server"] + account["damaged"] + sum(account["dropped"].values())
        assert account["accepted"] == self.sent
        assert account["accepted"] + account["recovered"] == account["landed"] + account["dead"] + lost
        return account


@contextmanager
def sender(conninfo: str, journal: Path, **options: Any) -> Iterator[Sender]:
    with Pool(conninfo, connect_timeout=5) as pool, BatchWriter(pool, journal, **options) as writer:
        columns = {"id": "bigint not null", "name": "varchar(50) not null", "payload": "jsonb"}
        yield Sender(
            writer, writer.stream("public.events", name="events", columns=columns, batch_timeout=0.05)
        )


def check_landed(conninfo: str, count: int) -> None:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM events"
        ).fetchone()
    assert row == (count, count, 0, count - 1)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# PgBouncer


def test_transaction_pooling_is_enough(
    pgbouncer: Endpoint, postgres: Endpoint, database: str, tmp_path: Path
) -> None:
    """Nothing outlasts a transaction: not for good rows, not for bad ones, not for a table that changed."""
    direct = conninfo_of(postgres, dbname=database)
    with sender(conninfo_of(pgbouncer, dbname=database), tmp_path / "journal") as events:
        events.send(3000)
        events.settle()
        check_landed(direct, 3000)
        with psycopg.connect(direct) as connection:
            connection.execute("ALTER TABLE events ALTER id TYPE numeric, ADD CHECK (id <> 3500)")
        events.send(1000)
        account = events.settle()
    assert account["dead"] == 1
    with psycopg.connect(direct) as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT id), max(id) FROM events").fetchone()
    assert row == (3999, 3999, 3999)


# A bad way to the server

TOXICS: dict[str, Callable[[Proxy], str]] = {
    "slow": lambda way: way.add("latency", latency=150, jitter=100),
    "reset": lambda way: way.add("reset_peer", timeout=0),
    "reset within a shipment": lambda way: way.add("reset_peer", timeout=30),
    "answers are lost": lambda way: way.add("timeout", timeout=0),
    "requests are lost": lambda way: way.add("timeout", "upstream", timeout=0),
    "half a message": lambda way: way.add("limit_data", "upstream", bytes=40_000),
    "half an answer": lambda way: way.add("limit_data", bytes=900),
    "in small pieces": lambda way: way.add(
        "slicer", "upstream", average_size=500, size_variation=300, delay=50
    ),
}


@pytest.mark.parametrize("kind", TOXICS)
def test_a_bad_way_loses_and_repeats_nothing(
    kind: str, postgres: Endpoint, database: str, toxiproxy: Toxiproxy, tmp_path: Path
) -> None:
    way = toxiproxy.proxy(postgres.host, postgres.port)
    conninfo = conninfo_of(postgres, host=way.host, port=way.port, dbname=database, sslmode="disable")
    with sender(conninfo, tmp_path / "journal", stall_timeout=1.0) as events:
        events.send(100)
        events.settle()
        with events.sending():
            time.sleep(0.1)
            for _ in range(2):
                toxic = TOXICS[kind](way)
                time.sleep(0.5)
                way.remove(toxic)
                events.writer.retry()
                time.sleep(0.2)
        way.clear()
        account = events.settle()
    assert account["dead"] == account["lost_by_server"] == 0
    check_landed(conninfo_of(postgres, dbname=database), events.sent)


# Servers that die


def test_a_killed_server_loses_and_repeats_nothing(postgres_private: Stack, tmp_path: Path) -> None:
    conninfo = conninfo_of(postgres_private.endpoint("postgres"))
    with psycopg.connect(conninfo) as connection:
        connection.execute(TABLE)
    with sender(conninfo, tmp_path / "journal") as events:
        with events.sending():
            for _ in range(3):
                time.sleep(0.5)
                postgres_private.kill("postgres")
                time.sleep(0.2)
                postgres_private.start("postgres")
                events.writer.retry()
            time.sleep(0.2)
            postgres_private.restart("postgres")
        account = events.settle()
    assert account["dead"] == account["lost_by_server"] == 0
    check_landed(conninfo, events.sent)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Standby:
    """A copy of a server as it is now, that answers and takes no writes, and hears nothing more of it."""

    def __init__(self, source: Endpoint, programs: Path, directory: Path, port: int) -> None:
        self._directory = directory
        self._programs = programs
        account = server_account()
        self._as: dict[str, Any] = dict(run_as(account))
        directory.mkdir(mode=0o700)
        give(directory, account)
        replication = conninfo_of(source, dbname="replication")
        self._run(
            "pg_basebackup",
            "-D",
            str(directory / "data"),
            "-d",
            replication,
            "--checkpoint=fast",
            "-X",
            "stream",
        )
        signal = directory / "data" / "standby.signal"
        signal.touch()
        give(signal, account)
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._ctl("start", "-l", str(directory / "log"), "-o", settings)

    def promote(self) -> None:
        self._ctl("promote")

    def remove(self) -> None:
        self._ctl("stop", "-m", "immediate")
        shutil.rmtree(self._directory)

    def _ctl(self, verb: str, *more: str) -> None:
        self._run("pg_ctl", verb, "-D", str(self._directory / "data"), "-w", "-s", *more)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            timeout=60,
            **self._as,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("known", [True, False], ids=["a chain it knows", "a chain it has never heard of"])
def test_after_a_failover_what_the_new_server_lacks_is_sent_again(
    known: bool, postgres_private: Stack, tmp_path: Path
) -> None:
    """The standby has not heard of what landed last. It is read-only, until it is promoted."""
    primary = postgres_private.endpoint("postgres")
    with psycopg.connect(conninfo_of(primary)) as connection:
        connection.execute(TABLE)
        programs = installations()[connection.info.server_version // 10000]
    port = free_port()
    both = conninfo_of(primary, host=f"{primary.host},127.0.0.1", port=f"{primary.port},{port}")
    with sender(both, tmp_path / "journal") as events, ExitStack() as cleanup:
        if known:
            events.send(100)
            events.settle()
        else:  # the ledger is there, for another chain
            with psycopg.connect(conninfo_of(primary)) as connection:
                connection.execute(ledger_sql())
        # Beside the server's data, where its account may enter.
        standby = Standby(primary, programs, postgres_private.directory / "standby", port)
        cleanup.callback(standby.remove)
        events.send(500)
        events.settle()
        postgres_private.kill("postgres")
        events.send(300)
        wait_for(lambda: "read-only" in str(chain_of(events)["last_error"]))
        assert chain_of(events)["state"] in ("backing_off", "shipping")
        standby.promote()
        assert events.settle()["lost_by_server"] == 0
        check_landed(conninfo_of(primary, port=port), events.sent)


def chain_of(events: Sender) -> Any:
    (chain,) = events.writer.snapshot()["streams"]["events"]["chains"]
    return chain
