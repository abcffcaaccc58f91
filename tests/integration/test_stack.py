"""The stack itself, through its command line and its Python interface, on real servers."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from stack import Endpoint, Stack, StackError
from stack.cache import cache_path
from stack.disposable import disposable_stack
from stack.paths import CHECKOUT
from stack.process import Process, processes_in
from stack.progress import Progress
from stack.servers import SERVERS
from stack.servers import kafka as kafka_recipe

Cli = Callable[..., subprocess.CompletedProcess[str]]


def start_cli(stack: Stack, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stack", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "DBINT_STACK_DIR": str(stack.directory), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def cli(private_stack: Stack) -> Cli:
    """Runs ``python -m stack`` on the test's own stack."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = start_cli(private_stack, *arguments, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


def connect(endpoint: Endpoint, **more: Any) -> psycopg.Connection[Any]:
    credentials = endpoint.credentials
    given = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": credentials["username"],
        "password": credentials["password"],
        "dbname": credentials["database"],
        "connect_timeout": 5,
        **more,
    }
    return psycopg.connect(**given)


def pid_of(stack: Stack, name: str) -> int:
    pid = stack.entry(name).pid
    assert pid is not None
    return pid


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


# The commands, one after the other


def test_a_server_through_all_commands(private_stack: Stack, cli: Cli) -> None:
    outcome = cli("up", "postgres")
    assert outcome.returncode == 0, outcome.stderr
    assert "postgres: ready after" in outcome.stderr

    state_file = private_stack.state_file
    assert stat.S_IMODE(state_file.stat().st_mode) == 0o600
    document = json.loads(state_file.read_text())
    assert document["format"] == 1
    entry = document["services"]["postgres"]
    assert entry["host"] == "127.0.0.1"
    assert entry["emulated"] is False
    assert entry["credentials"]["databases"] == ["agent_runtime", "agent_db"]
    password = entry["credentials"]["password"]
    assert len(password) >= 20

    endpoint = private_stack.endpoint("postgres")
    with connect(endpoint) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        connection.execute("INSERT INTO kept VALUES (42)")
        settings = connection.execute(
            "SELECT current_setting('wal_level'), current_setting('fsync'), pg_encoding_to_char(encoding)"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert settings == ("logical", "on", "UTF8")

    again = cli("up", "postgres")
    assert again.returncode == 0
    assert "runs already" in again.stderr
    assert pid_of(private_stack, "postgres") == entry["pid"]

    shown = cli("status", "--json")
    assert shown.returncode == 0
    (row,) = json.loads(shown.stdout)["servers"]
    assert (row["server"], row["running"], row["pid"]) == ("postgres", True, entry["pid"])
    assert row["memory"] > 1 << 20
    assert 0 <= row["uptime"] < 120

    for command in ("kill", "stop"):
        assert cli(command, "postgres").returncode == 0
        with pytest.raises(psycopg.OperationalError, match="refused"):
            connect(endpoint)
        assert cli("status").returncode == 3
        started = cli("start", "postgres")
        assert started.returncode == 0, started.stderr
        assert private_stack.endpoint("postgres") == endpoint, "ports and passwords stay"
        with connect(endpoint) as connection:
            assert connection.execute("SELECT x FROM kept").fetchall() == [(42,)]

    before = pid_of(private_stack, "postgres")
    assert cli("restart").returncode == 0
    assert pid_of(private_stack, "postgres") != before

    log = cli("logs", "-n", "5", "postgres").stdout
    assert len(log.splitlines()) == 5
    assert "database system is ready to accept connections" in cli("logs").stdout

    down = cli("down")
    assert down.returncode == 0
    assert f"removed {private_stack.directory}" in down.stdout.splitlines()
    assert not private_stack.directory.exists()
    shown_anywhere = (outcome, again, shown, down)
    assert not any(password in said.stdout + said.stderr for said in shown_anywhere)
    assert "there is no stack" in cli("down").stdout
    private_stack.directory.mkdir()


def test_env_is_for_the_shell(private_stack: Stack, cli: Cli) -> None:
    private_stack.reserve(["postgres", "kafka", "doris"])
    exports = cli("env").stdout
    program = f'{exports}printf "%s\\n" "$POSTGRES_PASSWORD" "$KAFKA_BOOTSTRAP_SERVERS" "$DORIS_QUERY_PORT"'
    said = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        private_stack.entry("postgres").credentials["password"],
        f"127.0.0.1:{private_stack.endpoint('kafka').port}",
        str(private_stack.endpoint("doris").port),
    ]


def test_kafka_keeps_its_messages_over_a_kill(kafka_private: Stack) -> None:
    endpoint = kafka_private.endpoint("kafka")
    servers = f"{endpoint.host}:{endpoint.port}"
    producer = Producer({"bootstrap.servers": servers})
    producer.produce("kept", b"before the kill")
    assert producer.flush(30) == 0

    killed = kafka_private.entry("kafka").process()
    kafka_private.kill("kafka")
    assert killed is not None
    assert not killed.alive()
    kafka_private.start("kafka")
    assert kafka_private.endpoint("kafka") == endpoint

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["kept"])
    try:
        message = consumer.poll(30)
        assert message is not None
        assert message.value() == b"before the kill"
    finally:
        consumer.close()
    kafka_private.stop("kafka")
    assert "kafka-shutdown-hook" in kafka_private.log("kafka").read_text().splitlines()[-1], "a clean stop"


@pytest.mark.long
def test_kafka_starts_from_an_archive_of_its_classes(
    private_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first clean stop writes it; what is no archive is thrown away."""
    SERVERS["kafka"].install(Progress())
    jars = cache_path("kafka", kafka_recipe.VERSION)
    monkeypatch.setenv("DBINT_CACHE_DIR", str(tmp_path))
    (tmp_path / jars.name).symlink_to(jars)

    def command_line() -> str:
        return Path(f"/proc/{pid_of(private_stack, 'kafka')}/cmdline").read_text()

    private_stack.reserve(["kafka"])
    own = private_stack.directory / "kafka" / "classes.jsa"
    own.parent.mkdir()
    own.write_bytes(b"no archive")
    private_stack.up(["kafka"])
    assert f"-XX:ArchiveClassesAtExit={own}" in command_line()
    assert not own.exists()
    assert not list(tmp_path.glob("*.jsa"))
    private_stack.restart("kafka")
    (archive,) = tmp_path.glob("*.jsa")
    assert f"-XX:SharedArchiveFile={archive}" in command_line()
    private_stack.kill("kafka")


@pytest.mark.long
def test_kafka_connect_brings_its_broker_and_debezium(private_stack: Stack) -> None:
    private_stack.up(["kafka_connect"])
    assert [row.server for row in private_stack.status() if row.running] == ["kafka", "kafka_connect"]
    url = f"http://127.0.0.1:{private_stack.endpoint('kafka_connect').port}/connector-plugins"
    with urllib.request.urlopen(url, timeout=10) as answer:
        plugins = {plugin["class"]: plugin["version"] for plugin in json.load(answer)}
    assert plugins["io.debezium.connector.postgresql.PostgresConnector"] == "3.7.0.Final"
    private_stack.kill()


def test_two_stacks_side_by_side(postgres: Endpoint, postgres_private: Stack) -> None:
    other = postgres_private.endpoint("postgres")
    assert other.port != postgres.port
    assert other.credentials["password"] != postgres.credentials["password"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(other, password=postgres.credentials["password"])
    with connect(postgres) as ours, connect(other) as theirs:
        query = "SELECT system_identifier FROM pg_control_system()"
        assert ours.execute(query).fetchone() != theirs.execute(query).fetchone()


# PostgreSQL's own ways


def test_postgres_killed_by_somebody_else(postgres: Endpoint, stack: Stack, postgres_private: Stack) -> None:
    """Its backends live on for a while and keep a new server out; the pid in its lock file is reused."""
    endpoint = postgres_private.endpoint("postgres")
    with closing(connect(endpoint, autocommit=True)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
        connection.pgconn.send_query(b"SELECT pg_sleep(300)")
        connection.pgconn.flush()
        time.sleep(0.2)
        data = postgres_private.directory / "postgres" / "data"
        server = postgres_private.entry("postgres").process()
        assert server is not None
        assert server.send(signal.SIGKILL)
        assert server.wait(10)
        assert not postgres_private.is_running("postgres")

        lock = data / "postmaster.pid"
        lock.write_text(
            "\n".join([str(pid_of(stack, "postgres")), *lock.read_text().splitlines()[1:]]) + "\n"
        )
        postgres_private.start("postgres")
        server = postgres_private.entry("postgres").process()
        assert server is not None
        family = {server, *server.descendants()}
        assert set(processes_in(data, "postgres")) <= family, "no backend of the killed server is left"
    with connect(endpoint) as connection:
        assert connection.execute("SELECT x FROM kept").fetchall() == [(1,)]
    assert stack.is_running("postgres"), "the other server, whose pid stood in the lock file, was left alone"


def test_kill_leaves_no_backend(postgres_private: Stack) -> None:
    server = postgres_private.entry("postgres").process()
    assert server is not None
    with connect(postgres_private.endpoint("postgres")) as connection:
        backend = Process.of(connection.info.backend_pid)
        assert backend in server.descendants()
        postgres_private.kill("postgres")
        assert backend is not None
        assert not backend.alive()


def test_the_owner_is_superuser_through_the_socket(private_stack: Stack) -> None:
    """… also where the stack's own path is too long for a socket's name."""
    deep = Stack(private_stack.directory / ("d" * 100))
    private_stack.directory.chmod(0o711)
    try:
        deep.up(["postgres"])
        directory = deep.entry("postgres").extra["socket_directory"]
        port = deep.endpoint("postgres").port
        with psycopg.connect(host=directory, port=port, user="postgres", dbname="postgres") as connection:
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (True,)
    finally:
        deep.down()
    assert not Path(directory).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_directory_that_postgres_cannot_enter(private_stack: Stack) -> None:
    private_stack.directory.chmod(0o700)
    closed = Stack(private_stack.directory / "closed")
    with pytest.raises(
        StackError, match=f"cannot enter {private_stack.directory} .mode 0700.*DBINT_STACK_DIR"
    ):
        closed.up(["postgres"])
    closed.down()


# What goes wrong


def test_a_server_that_does_not_start_says_why(postgres_private: Stack, cli: Cli) -> None:
    postgres_private.stop("postgres")
    automatic = postgres_private.directory / "postgres" / "data" / "postgresql.auto.conf"
    automatic.write_text("no_such_setting = 1\n")
    outcome = cli("start")
    assert outcome.returncode == 1
    assert "postgres ended while it was starting" in outcome.stderr
    assert 'unrecognized configuration parameter "no_such_setting"' in outcome.stderr
    assert str(postgres_private.log("postgres")) in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert postgres_private.entry("postgres").pid is None


def test_a_port_that_is_taken(postgres_private: Stack, cli: Cli) -> None:
    postgres_private.stop("postgres")
    port = postgres_private.endpoint("postgres").port
    with listening(port):
        outcome = cli("start", "postgres")
    assert outcome.returncode == 1
    assert f"port {port}, postgres's sql port in this stack, is taken by pid {os.getpid()}" in outcome.stderr
    assert "python3 -m stack down postgres" in outcome.stderr


def test_a_recycled_pid_is_left_alone(private_stack: Stack, cli: Cli) -> None:
    """The state file names a pid that belongs to somebody else by now."""
    private_stack.reserve(["kafka"])
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        document = json.loads(private_stack.state_file.read_text())
        now = Process.of(bystander.pid)
        assert now is not None
        boot, _, ticks = now.born.partition(":")
        document["services"]["kafka"] |= {"pid": bystander.pid, "born": f"{boot}:{int(ticks) - 1}"}
        private_stack.state_file.write_text(json.dumps(document))
        assert cli("status").returncode == 3
        for command in ("kill", "stop", "down"):
            document["services"]["kafka"]["pid"] = bystander.pid
            assert cli(command).returncode == 0
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    private_stack.directory.mkdir()


def test_interrupted(private_stack: Stack) -> None:
    """What Ctrl-C leaves running is said, and can be stopped."""
    process = start_cli(private_stack, "up", "kafka")
    deadline = time.monotonic() + 60
    while not private_stack.is_running("kafka"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert f"started and still running: kafka (pid {pid_of(private_stack, 'kafka')})" in said
    assert "Traceback" not in said
    server = private_stack.entry("kafka").process()
    private_stack.kill()
    assert server is not None
    assert not server.alive()


def test_servers_do_not_outlive_a_killed_test() -> None:
    """A disposable stack goes down when the process that made it is killed."""
    program = """
        from stack.disposable import disposable_stack
        with disposable_stack() as stack:
            stack.up(["postgres"])
            print(stack.directory, flush=True)
            input()
    """
    victim = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    directory = Path(victim.stdout.readline().strip())
    server = Stack(directory).entry("postgres").process()
    assert server is not None
    victim.kill()
    victim.communicate()
    assert server.wait(20)
    deadline = time.monotonic() + 20
    while directory.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_directory_that_is_not_a_stack(tmp_path: Path, private_stack: Stack, cli: Cli) -> None:
    (private_stack.directory / "letters").mkdir()
    outcome = cli("up", "kafka")
    assert outcome.returncode == 1
    assert f"{private_stack.directory} holds letters, but no stack" in outcome.stderr
    assert cli("down").returncode == 0
    assert (private_stack.directory / "letters").rmdir() is None


def test_missing_prerequisites(cli: Cli) -> None:
    outcome = cli("up", "kafka", "--no-install", PATH="/nonexistent", JAVA_HOME="")
    assert outcome.returncode == 1
    assert "missing: Java 17 or newer" in outcome.stderr
    assert "missing: mvn" in outcome.stderr
    assert "default-jre-headless maven" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("up", "oracle"), "no server is called 'oracle'; there are " + ", ".join(SERVERS)),
        (("up", "--profile", "heavy"), "invalid choice: 'heavy'"),
        (("logs", "-n", "many"), "a number of lines, not 'many'"),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    outcome = cli(*arguments)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_commands_on_no_stack_and_on_a_server_it_has_not(private_stack: Stack, cli: Cli) -> None:
    elsewhere = str(private_stack.directory / "none")
    outcome = cli("start", DBINT_STACK_DIR=elsewhere)
    assert outcome.returncode == 1
    assert outcome.stderr == f"stack: there is no stack in {elsewhere}: python3 -m stack up\n"
    private_stack.reserve(["postgres"])
    outcome = cli("kill", "kafka")
    assert outcome.returncode == 1
    assert "has postgres, not kafka: python3 -m stack up kafka" in outcome.stderr
    assert cli("status", DBINT_STACK_DIR="relative").returncode == 1


def test_disposable_stacks_leave_nothing() -> None:
    with disposable_stack() as stack:
        stack.reserve(["kafka"])
        assert stack.state_file.exists()
    assert not stack.directory.exists()
