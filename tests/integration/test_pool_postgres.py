"""Pool on a real server: what ends connections, what is waited for, and who is served."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbint._core import Pool
from dbint.errors import (
    AuthenticationError,
    DatabaseError,
    DeadlineError,
    InterfaceError,
    OperationalError,
    QueueFullError,
    UnreachableError,
)
from stack import Endpoint, Stack


def conninfo_of(endpoint: Endpoint, **more: object) -> str:
    credentials = endpoint.credentials
    given = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": credentials["username"],
        "password": credentials["password"],
        "dbname": credentials["database"],
        **more,
    }
    return psycopg.conninfo.make_conninfo(**given)


@contextmanager
def superuser(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """The stack's owner, through the unix socket."""
    entry = stack.entry("postgres")
    directory, port = entry.extra["socket_directory"], entry.ports["sql"]
    with psycopg.connect(
        host=directory, port=port, user="postgres", dbname="postgres", autocommit=True
    ) as admin:
        yield admin


@dataclass
class Role:
    """A role of one test: what it does to its connections disturbs nobody else."""

    name: str
    password: str
    endpoint: Endpoint
    stack: Stack

    def conninfo(self, **more: object) -> str:
        return conninfo_of(self.endpoint, **{"user": self.name, "password": self.password, **more})

    def alter(self, what: str, *values: Any) -> None:
        with superuser(self.stack) as admin:
            admin.execute(
                sql.SQL("ALTER ROLE {} " + what).format(sql.Identifier(self.name), *map(sql.Literal, values))
            )

    def backends(self) -> set[int]:
        with superuser(self.stack) as admin:
            rows = admin.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", [self.name])
            return {pid for (pid,) in rows}

    def terminate(self) -> None:
        with superuser(self.stack) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [self.name]
            )


@pytest.fixture
def role(stack: Stack, postgres: Endpoint) -> Iterator[Role]:
    made = Role(f"pool_{secrets.token_hex(4)}", secrets.token_hex(8), postgres, stack)
    with superuser(stack) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(made.name), made.password)
        )
    yield made
    made.terminate()
    with superuser(stack) as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(made.name)))


def backend(pool: Pool) -> int:
    [(pid,)] = pool.execute("SELECT pg_backend_pid()")
    assert pid is not None
    return int(pid)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def busy(pool: Pool, count: int, seconds: float = 30) -> Iterator[None]:
    """`count` connections are in use when it begins, and none when it has ended."""

    def run() -> None:
        with contextlib.suppress(OperationalError):  # a test may end it
            pool.execute(f"SELECT pg_sleep({seconds})")

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    until(lambda: pool.snapshot()["in_use"] == count)
    yield
    for thread in threads:
        thread.join()


# -- statements ------------------------------------------------------------------------------------------


def test_rows_come_back_as_text(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres)) as pool:
        assert pool.execute("SELECT 1, NULL, 'é', true") == [("1", None, "é", "t")]
        assert pool.execute("SELECT $1::int + 1, $2::text IS NULL", ("41", None)) == [("42", "t")]
        assert pool.execute("SELECT 1; SELECT n FROM generate_series(1, 3) n") == [("1",), ("2",), ("3",)]
        assert pool.execute("SET search_path = pg_catalog") == []
        assert pool.execute("") == []
        [(text,)] = pool.execute("SELECT repeat('x', 3000000)")
        assert text == "x" * 3_000_000
        assert pool.snapshot()["opened"] == 1


def test_errors_have_the_sqlstate_and_no_row_data(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres)) as pool:
        with pytest.raises(DatabaseError, match="statement: division by zero") as caught:
            pool.execute("SELECT 1 / 0")
        assert (caught.value.sqlstate, caught.value.code) == ("22012", "DBI_ESERVER")
        with pytest.raises(DatabaseError, match="duplicate key value violates") as caught:
            pool.execute(
                "CREATE TEMP TABLE t (k text PRIMARY KEY); INSERT INTO t VALUES ('hunter2'), ('hunter2')"
            )
        assert "hunter2" not in str(caught.value)
        with pytest.raises(InterfaceError, match="COPY needs calls of its own"):
            pool.execute("COPY pg_class TO STDOUT")
        with pytest.raises(DatabaseError, match="cannot insert multiple commands"):
            pool.execute("SELECT $1; SELECT 2", ["1"])
        assert pool.snapshot()["closed_by"]["unfinished"] == 1  # the COPY's
        assert pool.execute("SELECT 1") == [("1",)]


def test_a_transaction_that_is_left_open_is_rolled_back(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres)) as pool:
        first = backend(pool)
        pool.execute("BEGIN; CREATE TABLE left_open (n int)")
        assert backend(pool) != first
        assert pool.execute("SELECT to_regclass('left_open')") == [(None,)]
        assert pool.snapshot()["closed_by"]["unfinished"] == 1


def test_notices_are_not_printed(postgres: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    with Pool(conninfo_of(postgres)) as pool:
        pool.execute("DO $$ BEGIN RAISE WARNING 'for nobody'; END $$")
    assert capfd.readouterr() == ("", "")


def test_the_session_notices_a_client_that_has_gone(postgres: Endpoint) -> None:
    ask = """SELECT current_setting('application_name'), current_setting('client_encoding'),
        current_setting('tcp_keepalives_idle'), current_setting('tcp_user_timeout'),
        current_setting('client_connection_check_interval')"""
    with Pool(conninfo_of(postgres)) as pool:
        assert pool.execute(ask) == [("dbint", "UTF8", "30", "60000", "10s")]
        assert pool.snapshot()["statements"] == 1
    options = "-c client_connection_check_interval=3s"
    with Pool(conninfo_of(postgres, options=options, application_name="mine")) as pool:
        assert pool.execute(ask) == [("mine", "UTF8", "30", "60000", "3s")]


# -- why connections end ---------------------------------------------------------------------------------


def test_connections_end_by_age_by_statements_and_by_idleness(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres), max_age=0.5, max_age_jitter=0) as pool:
        first = backend(pool)
        assert backend(pool) == first
        time.sleep(0.6)
        assert backend(pool) != first
        assert pool.snapshot()["closed_by"]["age"] == 1
    with Pool(conninfo_of(postgres), max_queries=2) as pool:
        pids = [backend(pool) for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert pool.snapshot()["closed_by"]["queries"] == 2
    with Pool(conninfo_of(postgres), min_size=1, max_idle=1) as pool:
        with busy(pool, 3, seconds=0.5):
            pass
        assert pool.snapshot()["size"] == 3
        time.sleep(1.1)
        pool.tidy()
        snapshot = pool.snapshot()
        assert (snapshot["size"], snapshot["closed_by"]["idle"]) == (1, 2)
        assert snapshot["last_close"] == "it was idle for too long"


def test_a_terminated_backend_is_replaced_unseen_or_said_to_be_lost(role: Role) -> None:
    with Pool(role.conninfo()) as pool:
        first = backend(pool)
        role.terminate()
        assert backend(pool) != first  # it was idle: nobody need know
        assert pool.snapshot()["closed_by"]["lost"] == 1
        timer = threading.Timer(0.3, role.terminate)
        timer.start()
        with pytest.raises(
            OperationalError, match=r"connection to 127.0.0.1:\d+ lost: terminating connection"
        ) as caught:
            pool.execute("SELECT pg_sleep(30)")
        timer.join()
        assert (caught.value.sqlstate, caught.value.code) == ("57P01", "DBI_EUNREACHABLE")
        assert pool.execute("SELECT 1") == [("1",)]
        assert pool.snapshot()["closed_by"]["lost"] == 2


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_server_comes_back(postgres_private: Stack, how: str) -> None:
    with Pool(conninfo_of(postgres_private.endpoint("postgres"))) as pool:
        pool.execute("SELECT 1")
        if how == "restart":
            postgres_private.restart("postgres")
        else:
            postgres_private.kill("postgres")
            with pytest.raises(UnreachableError, match="Connection refused"):
                pool.execute("SELECT 1")
            postgres_private.start("postgres")
        assert pool.execute("SELECT 1") == [("1",)]
        assert pool.snapshot()["closed_by"]["lost"] == 1


def test_a_server_that_turns_read_only_loses_its_connections(postgres_private: Stack, role: Role) -> None:
    """The first host of two turns read-only: target_session_attrs leads to the second."""
    endpoint = postgres_private.endpoint("postgres")
    with superuser(postgres_private) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role.name), role.password)
        )
    ports = f"{endpoint.port},{role.endpoint.port}"
    both = role.conninfo(host="127.0.0.1,127.0.0.1", port=ports, target_session_attrs="read-write")
    here = "SELECT inet_server_port()"
    with Pool(both) as pool:
        assert pool.execute(here) == [(str(endpoint.port),)]
        with superuser(postgres_private) as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        until(lambda: pool.execute(here) == [(str(role.endpoint.port),)])
        snapshot = pool.snapshot()
        assert snapshot["closed_by"]["read_only"] == 1
        assert snapshot["last_close"] == "it became read-only"
        assert snapshot["open_errors"] == 0
    # asked for as it is, it may stay read-only; a statement that wants to write ends the connection
    with Pool(role.conninfo(port=endpoint.port)) as pool:
        first = backend(pool)
        assert backend(pool) == first
        with pytest.raises(OperationalError, match="read-only transaction") as caught:
            pool.execute("CREATE TABLE t (n int)")
        assert caught.value.sqlstate == "25006"
        assert backend(pool) != first


# -- connections that cannot be had ----------------------------------------------------------------------


def test_a_wrong_password_is_told_and_not_shown(role: Role) -> None:
    with Pool(role.conninfo(password="hunter2")) as pool:
        with pytest.raises(AuthenticationError, match="password authentication failed for user") as caught:
            pool.execute("SELECT 1")
        assert caught.value.sqlstate == "28P01"
        assert "hunter2" not in f"{caught.value} {pool!r} {pool.snapshot()}"
        pool.set_credentials(role.name, role.password)
        assert pool.execute("SELECT 1") == [("1",)]


def test_too_many_connections(role: Role) -> None:
    role.alter("CONNECTION LIMIT 1")
    with Pool(role.conninfo()) as pool, busy(pool, 1, seconds=2):
        with pytest.raises(OperationalError, match="too many connections for role") as caught:
            pool.execute("SELECT 1")
        assert (caught.value.sqlstate, caught.value.code) == ("53300", "DBI_ESERVER")


def test_a_database_that_is_not_there(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres, dbname="nope")) as pool:
        with pytest.raises(DatabaseError, match='database "nope" does not exist') as caught:
            pool.execute("SELECT 1")
        assert caught.value.sqlstate == "3D000"


def test_a_rotation_replaces_every_connection(role: Role) -> None:
    """Threads work all the time; passwords change under them; no old connection is used afterwards."""
    stop = threading.Event()
    failures: list[Exception] = []

    with Pool(role.conninfo(), max_size=4) as pool:

        def work() -> None:
            while not stop.is_set():
                try:
                    pool.execute("SELECT pg_sleep(0.01)")
                except AuthenticationError:
                    pass  # between the two steps of the rotation below
                except Exception as error:  # noqa: BLE001 - whatever else it is, the test shows it
                    failures.append(error)
                    return

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            time.sleep(0.1)
            before = role.backends()
            password = secrets.token_hex(8)
            role.alter("PASSWORD {}", password)
            pool.set_credentials(role.name, password)
            until(lambda before=before: not before & role.backends())
        stop.set()
        for thread in threads:
            thread.join()
        snapshot = pool.snapshot()
    assert failures == []
    assert snapshot["generation"] == 6
    assert snapshot["closed_by"]["credentials"] >= 5


# -- waiting ---------------------------------------------------------------------------------------------


def test_a_stalled_backend_ends_in_a_deadline(role: Role) -> None:
    with Pool(role.conninfo(), max_size=1) as pool:
        stalled = backend(pool)
        os.kill(stalled, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(DeadlineError, match=r"127.0.0.1:\d+ did not go on before the deadline"):
                pool.execute("SELECT 1", timeout=0.3)
            assert 0.3 <= time.monotonic() - started < 2
            assert pool.snapshot()["last_close"] == "its user gave it up: its statement was not waited for"
            assert backend(pool) != stalled  # its place is free again
        finally:
            os.kill(stalled, signal.SIGCONT)


def test_a_stalled_idle_connection_is_found_out(role: Role) -> None:
    with Pool(role.conninfo(), connect_timeout=0.5, check_after_idle=0) as pool:
        stalled = backend(pool)
        os.kill(stalled, signal.SIGSTOP)
        try:
            assert backend(pool) != stalled
        finally:
            os.kill(stalled, signal.SIGCONT)
        assert pool.snapshot()["closed_by"]["unresponsive"] == 1


def test_a_server_that_takes_connections_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        conninfo = f"host=127.0.0.1 port={silent.getsockname()[1]} user=u"
        pool = Pool(conninfo, connect_timeout=0.2)
        with pytest.raises(UnreachableError, match=r"no connection to 127\.0\.0\.1"):
            pool.execute("SELECT 1")
        with pytest.raises(DeadlineError, match=r"no connection to 127\.0\.0\.1"):
            Pool(conninfo).execute("SELECT 1", timeout=0.2)


def test_fifty_threads_are_served_in_the_order_of_their_coming(postgres: Endpoint) -> None:
    size, count = 5, 50
    served: list[int] = []
    lock = secrets.randbits(31)
    with (
        psycopg.connect(conninfo_of(postgres), autocommit=True) as gate,
        Pool(conninfo_of(postgres), max_size=size, max_waiting=count) as pool,
    ):
        gate.execute("SELECT pg_advisory_lock(%s)", [lock])

        def hold() -> None:
            pool.execute(f"SELECT pg_advisory_lock_shared({lock}), pg_advisory_unlock_shared({lock})")

        def ask(number: int) -> None:
            pool.execute("SELECT pg_sleep(0.01)")
            served.append(number)

        holders = [threading.Thread(target=hold) for _ in range(size)]
        threads = [threading.Thread(target=ask, args=[number]) for number in range(count)]
        for thread in holders:
            thread.start()
        until(lambda: pool.snapshot()["in_use"] == size)
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda number=number: pool.snapshot()["waiting"] == number + 1)
        assert pool.snapshot()["nearly_exhausted"]
        with pytest.raises(QueueFullError, match="50 already wait for one of its 5 connections"):
            pool.execute("SELECT 1")
        gate.execute("SELECT pg_advisory_unlock(%s)", [lock])
        for thread in holders + threads:
            thread.join()
        snapshot = pool.snapshot()
    assert sorted(served) == list(range(count))
    # Five at a time; and who has been served may have to wait for Python before it can write that down.
    assert all(abs(place - number) <= 4 * size for place, number in enumerate(served))
    assert (snapshot["opened"], snapshot["waits"], snapshot["refused"]) == (size, count, 1)
    assert snapshot["exhausted"] == 1


def test_who_waits_too_long_gives_up(postgres: Endpoint) -> None:
    with Pool(conninfo_of(postgres), max_size=1, min_size=1, name="busy") as pool, busy(pool, 1, seconds=2):
        with pytest.raises(DeadlineError, match=r'pool "busy": .* \(1 of 1 in use, 0 others waiting\)'):
            pool.execute("SELECT 1", timeout=0.1)
        with pytest.raises(DeadlineError, match="1 connections are still in use"):
            pool.close(0.1)
    assert pool.snapshot()["timeouts"] == 1


class HandlerError(Exception):
    pass


@pytest.mark.parametrize("where", ["in a statement", "for a connection"])
def test_a_signal_ends_a_wait(postgres: Endpoint, where: str) -> None:
    def handler(*_: object) -> None:
        raise HandlerError

    with Pool(conninfo_of(postgres), min_size=1, max_size=1) as pool:
        before = signal.signal(signal.SIGALRM, handler)
        try:
            with busy(pool, int(where == "for a connection"), seconds=1.5):
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                started = time.monotonic()
                with pytest.raises(HandlerError):
                    pool.execute("SELECT pg_sleep(30)")
                assert time.monotonic() - started < 1
        finally:
            signal.signal(signal.SIGALRM, before)
        assert pool.execute("SELECT 1") == [("1",)]


# -- fork ------------------------------------------------------------------------------------------------


def in_child(run: Callable[[], object]) -> int:
    """Starts a child that exits with 0 when `run` returned; its pid."""
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException:  # noqa: BLE001 - the child's only way out is its exit code
            os._exit(1)
        os._exit(0)
    return child


def test_both_sides_of_a_fork_have_connections(role: Role) -> None:
    with Pool(role.conninfo()) as pool:
        ours = backend(pool)

        def run() -> None:
            assert pool.snapshot()["size"] == 0
            assert backend(pool) != ours
            pool.close()

        child = in_child(run)
        assert os.waitpid(child, 0)[1] == 0
        assert backend(pool) == ours  # and no Terminate message came from the child
        assert pool.snapshot()["opened"] == 1


def test_a_child_that_lives_does_not_keep_the_parents_connections(role: Role) -> None:
    pool = Pool(role.conninfo())
    pool.execute("SELECT 1")
    reading, writing = os.pipe()
    child = in_child(lambda: os.read(reading, 1))
    try:
        pool.close()
        until(lambda: not role.backends())
    finally:
        os.write(writing, b"x")
        assert os.waitpid(child, 0)[1] == 0
        os.close(reading)
        os.close(writing)


def test_forks_while_threads_work(role: Role) -> None:
    stop = threading.Event()
    failures: list[Exception] = []
    # connections come and go, and names are looked up, at every moment
    with Pool(role.conninfo(host="localhost"), max_size=3, max_queries=2) as pool:

        def work() -> None:
            try:
                while not stop.is_set():
                    pool.execute("SELECT 1")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        statuses = []
        for _ in range(20):
            child = in_child(lambda: pool.execute("SELECT 1", timeout=10))
            statuses.append(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert statuses == [0] * 20


# -- in between ------------------------------------------------------------------------------------------


def test_behind_pgbouncer(pgbouncer: Endpoint, postgres: Endpoint) -> None:
    """In transaction mode: it refuses startup options, and a session's settings are anybody's."""
    with Pool(conninfo_of(pgbouncer), check_after_idle=0) as pool:
        for number in range(20):
            assert pool.execute("SELECT $1", [str(number)]) == [(str(number),)]
        assert pool.execute("SELECT 1; SELECT 2") == [("2",)]
        with pytest.raises(DatabaseError, match="division by zero"):
            pool.execute("SELECT 1 / 0")
        snapshot = pool.snapshot()
        assert (snapshot["opened"], snapshot["open_errors"], snapshot["checks"]) == (1, 0, 21)
        with pytest.raises(DatabaseError, match=r"terminating connection|server conn crashed"):
            pool.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert pool.execute("SELECT 1") == [("1",)]


# -- TLS -------------------------------------------------------------------------------------------------


def test_tls(postgres_private: Stack) -> None:
    """libpq's TLS, with more data than one record holds."""
    endpoint = postgres_private.endpoint("postgres")
    with superuser(postgres_private) as admin:
        [(data,)] = admin.execute("SHOW data_directory").fetchall()
        certificate, key = Path(data, "server.crt"), Path(data, "server.key")
        assert shutil.which("openssl"), "openssl is needed: apt-get install openssl"
        request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
        subprocess.run(
            [*request.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
            check=True,
            capture_output=True,
        )
        owner = Path(data).stat()
        for path in (certificate, key):
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o600)
        admin.execute("ALTER SYSTEM SET ssl = on")
        admin.execute("SELECT pg_reload_conf()")
    secure = conninfo_of(endpoint, sslmode="verify-full", sslrootcert=certificate)

    def connected() -> bool:
        try:
            with psycopg.connect(secure):
                return True
        except psycopg.OperationalError:
            return False

    until(connected)
    with Pool(secure) as pool:
        assert pool.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [("t",)]
        started = time.monotonic()
        for size in (1, 8_191, 16_384, 16_385, 100_000, 5_000_000):
            assert pool.execute(f"SELECT repeat('x', {size})") == [("x" * size,)]
        assert time.monotonic() - started < 5
        assert pool.snapshot()["opened"] == 1
    with pytest.raises(UnreachableError, match='root certificate file "/nonexistent" does not exist'):
        Pool(conninfo_of(endpoint, sslmode="verify-full", sslrootcert="/nonexistent")).execute("SELECT 1")
