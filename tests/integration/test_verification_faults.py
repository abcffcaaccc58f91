"""What is broken is named in one clear line, within its deadline, and the rest is verified all the same."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stack import Endpoint
from tests.integration.verification_project import (
    QUICK,
    Outcome,
    Project,
    models_named,
    statuses,
    two_at_a_time,
)

Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def scripted_server(script: Script) -> Iterator[int]:
    """A TCP server whose every connection is handled by ``script``; yields its port."""
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            script(connection)

    def serve(listener: socket.socket) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
        thread.join()


def says_nothing(connection: socket.socket) -> None:
    """Takes what is sent and never answers."""
    while connection.recv(4096):
        pass


def talks_http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    says_nothing(connection)


def talks_noise(connection: socket.socket) -> None:
    connection.sendall(bytes(range(255, -1, -1)) * 8)
    says_nothing(connection)


def postgres_of_version(version: str) -> Script:
    """A PostgreSQL server as far as its greeting: it lets everybody in and says its version."""

    def script(connection: socket.socket) -> None:
        while True:
            size, code = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
            connection.recv(size - 8, socket.MSG_WAITALL)
            if code in (80877103, 80877104):  # SSLRequest, GSSENCRequest
                connection.sendall(b"N")
            else:
                break
        connection.sendall(b"R" + struct.pack("!II", 8, 0))
        for name, value in (("server_version", version), ("client_encoding", "UTF8"), ("TimeZone", "UTC")):
            body = name.encode() + b"\0" + value.encode() + b"\0"
            connection.sendall(b"S" + struct.pack("!I", len(body) + 4) + body)
        connection.sendall(b"Z" + struct.pack("!I", 5) + b"I")
        while (kind := connection.recv(1)) and kind != b"X":
            (size,) = struct.unpack("!I", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(size - 4, socket.MSG_WAITALL)
            if kind in (b"Q", b"S"):
                connection.sendall(b"I" + struct.pack("!I", 4) + b"Z" + struct.pack("!I", 5) + b"I")

    return script


def mysql_of_version(comment: str) -> Script:
    """A server of MySQL's protocol that lets everybody in and answers every query with ``comment``."""

    def packet(number: int, body: bytes) -> bytes:
        return struct.pack("<I", len(body))[:3] + bytes([number]) + body

    ok = b"\0\0\0\2\0\0\0"
    eof = b"\xfe\0\0\2\0"

    def text(value: str) -> bytes:
        return bytes([len(value)]) + value.encode()

    def script(connection: socket.socket) -> None:
        capabilities = 0x000FA68D
        connection.sendall(
            packet(
                0,
                b"\x0a5.7.99\0"
                + struct.pack("<I", 7)
                + b"12345678\0"
                + struct.pack("<H", capabilities & 0xFFFF)
                + b"\x21\2\0"
                + struct.pack("<H", capabilities >> 16)
                + b"\x15"
                + b"\0" * 10
                + b"123456789012\0"
                + b"mysql_native_password\0",
            )
        )
        size = int.from_bytes(connection.recv(4, socket.MSG_WAITALL)[:3], "little")
        connection.recv(size, socket.MSG_WAITALL)
        connection.sendall(packet(2, ok))
        while header := connection.recv(4, socket.MSG_WAITALL):
            body = connection.recv(int.from_bytes(header[:3], "little"), socket.MSG_WAITALL)
            if body[:1] == b"\x03" and body[1:7].upper() == b"SELECT":
                value = comment if b"version_comment" in body else "1"
                kind = b"\xfd" if b"version_comment" in body else b"\x03"
                column = (
                    text("def") + text("") * 3 + text("c") + text("") + b"\x0c\x21\0" + b"\xff\0\0\0" + kind
                )
                connection.sendall(
                    packet(1, b"\1")
                    + packet(2, column + b"\0\0\0\0\0")
                    + packet(3, eof)
                    + packet(4, text(value))
                    + packet(5, eof)
                )
            else:
                connection.sendall(packet(1, ok))

    return script


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, postgres: Endpoint) -> Project:
    """A project whose default alias is the run's own PostgreSQL, migrated, and nothing else."""
    return Project(
        tmp_path_factory.mktemp("project"),
        {"default": {"kind": "postgres"}},
        {"VERIFY": {**QUICK, "connections": 2}},
        environ={"DBINT_IN_KUBERNETES": "0"},
    ).migrated()


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copied_to(tmp_path)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, prepared: Project, doris: Endpoint) -> Outcome:
    """One run over the good alias "default" and an alias for everything that a server can do wrong."""
    project = prepared.copied_to(tmp_path_factory.mktemp("broken"))

    def alias(name: str, kind: str, **values: object) -> None:
        project.databases[name] = {"kind": kind, "with": values}

    with contextlib.ExitStack() as servers:
        for kind in ("postgres", "doris"):
            port = closed_port()
            alias(f"{kind}_refused", kind, HOST="127.0.0.1", PORT=port, NAME="x")
            for script in (says_nothing, talks_http, talks_noise):
                port = servers.enter_context(scripted_server(script))
                alias(f"{kind}_{script.__name__}", kind, HOST="127.0.0.1", PORT=port, NAME="x")
            alias(f"{kind}_password", kind, PASSWORD="not-the-password")
            alias(f"{kind}_database", kind, NAME="no_such_database")
        alias("postgres_nowhere", "postgres", HOST="no-such-host.invalid", PORT=5432)
        for version in ("9.6.24", "14.11"):
            port = servers.enter_context(scripted_server(postgres_of_version(version)))
            alias(f"postgres_{version.partition('.')[0]}", "postgres", HOST="127.0.0.1", PORT=port)
        for name, comment in (
            ("doris_1", "Doris version doris-1.2.8-rc01"),
            ("doris_mysql", "MySQL Community Server - GPL"),
        ):
            port = servers.enter_context(scripted_server(mysql_of_version(comment)))
            alias(name, "doris", HOST="127.0.0.1", PORT=port, NAME="x", USER="root", PASSWORD="")
        return project.verify("--postgres", "--doris", timeout=60)


@pytest.mark.parametrize(
    ("alias", "words", "advice", "within"),
    [
        ("postgres_refused", "Connection refused", 'DATABASES["postgres_refused"]', 6),
        ("doris_refused", "refused", 'DATABASES["doris_refused"]', 6),
        ("postgres_says_nothing", "", "--deadline", 7),
        ("doris_says_nothing", "", "--deadline", 7),
        ("postgres_talks_http", "", "Something other than PostgreSQL", 6),
        ("doris_talks_http", "", "Something other than Apache Doris", 6),
        ("postgres_talks_noise", "", "", 6),
        ("doris_talks_noise", "", "", 6),
        ("postgres_nowhere", "no-such-host.invalid", "", 7),
        ("postgres_password", "password authentication failed", "POSTGRES_PASSWORD", 6),
        ("doris_password", "does not accept the password", "DORIS_PASSWORD", 6),
        ("postgres_database", "no_such_database", "CREATE DATABASE no_such_database", 6),
        ("doris_database", "no_such_database", "CREATE DATABASE no_such_database", 6),
        ("postgres_9", "", "", 6),
        ("postgres_14", "", "", 6),
        ("doris_1", "2.1", "", 6),
        ("doris_mysql", "not Apache Doris", "", 6),
    ],
)
def test_a_server_that_cannot_be_used(
    broken: Outcome, alias: str, words: str, advice: str, within: float
) -> None:
    """Its connection probe names the fault in time; what needs the connection is not tried."""
    probe = broken.probes[f"connections.{alias}"]
    assert probe["status"] == "failed"
    assert words in probe["message"]
    assert advice in " ".join(probe["advice"])
    assert probe["advice"]
    assert probe["duration"] <= within
    assert "not-the-password" not in str(probe)
    others = [status for name, status in statuses(broken).items() if name.endswith(f".{alias}")]
    assert len(others) > 1
    assert set(others) <= {"failed", "not_configured"}


def test_broken_servers_do_not_fail_the_good_one(broken: Outcome) -> None:
    assert broken.code == 1
    assert {status for name, status in statuses(broken).items() if name.endswith(".default")} == {"passed"}
    assert broken.seconds < 20


def test_a_refused_port_is_named(broken: Outcome) -> None:
    for alias in ("postgres_refused", "doris_refused"):
        probe = broken.probes[f"connections.{alias}"]
        assert probe["details"]["address"].rpartition(":")[2] in probe["message"]


@pytest.fixture(scope="module")
def kafkas(tmp_path_factory: pytest.TempPathFactory, prepared: Project) -> dict[str, Outcome]:
    """Runs with something else where Kafka should be, by what it is."""

    def verify(script: Script | None) -> Outcome:
        project = prepared.copied_to(tmp_path_factory.mktemp("kafka"))
        with scripted_server(script) if script else contextlib.nullcontext(closed_port()) as port:
            project.environ["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
            return project.verify("--kafka", "--postgres", "--integration", timeout=60)

    scripts = {"refused": None, "silent": says_nothing, "http": talks_http, "noise": talks_noise}
    ended = two_at_a_time(*(partial(verify, script) for script in scripts.values()))
    return dict(zip(scripts, ended, strict=True))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("refused", "Connection refused"),
        ("silent", "never answers"),
        ("http", "not in Kafka's protocol"),
        ("noise", "not in Kafka's protocol"),
    ],
)
def test_a_kafka_that_is_none(kafkas: dict[str, Outcome], what: str, words: str) -> None:
    """Refused, silent or not Kafka at all: its probes fail by their deadline, PostgreSQL's pass."""
    outcome = kafkas[what]
    assert outcome.code == 1
    probe = outcome.probes["connections.kafka"]
    assert probe["details"]["address"] in probe["message"]
    assert words in probe["message"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in " ".join(probe["advice"])
    assert probe["duration"] < 6
    found = statuses(outcome)
    assert found["kafka.round_trip"] == found["integration.commit"] == "failed"
    assert found["kafka.topics"] == "not_configured"
    assert {status for name, status in found.items() if name.endswith(".default")} == {"passed"}
    assert outcome.seconds < 25


def test_unapplied_migration(project: Project) -> None:
    project.models += "\n\nclass Late(models.Model):\n    pass\n"
    assert project.run("makemigrations", "notes").code == 0
    outcome = project.verify("--postgres")
    probe = outcome.probes["models.default"]
    assert outcome.code == 1
    assert probe["status"] == "failed"
    assert "1 migration not applied: notes.0002_late" in probe["message"]
    assert probe["advice"][0] == "python manage.py migrate --database default"
    assert outcome.probes["crud.default"]["status"] == "passed"


# What is done to a table of its own, and what the verification says about that table's model.
DRIFTS = {
    "Gone": ("DROP TABLE notes_gone", "table notes_gone does not exist"),
    "Dropped": ("ALTER TABLE notes_dropped DROP COLUMN body", "column body is missing"),
    "Short": ("ALTER TABLE notes_short ALTER title TYPE varchar(40)", "character varying(40)"),
    "Naive": ("ALTER TABLE notes_naive ALTER written TYPE timestamp", "timestamp without time zone"),
    "Strict": ("ALTER TABLE notes_strict ALTER body SET NOT NULL", "does not allow NULL"),
    "Extra": ("ALTER TABLE notes_extra ADD surplus int NOT NULL", "surplus"),
    "Lax": ("ALTER TABLE notes_lax DROP CONSTRAINT lax_title_not_empty", "lax_title_not_empty"),
    "Slow": ("DROP INDEX slow_by_title", "slow_by_title"),
    "Loose": (
        "DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE notes_loose DROP CONSTRAINT ' || conname "
        "FROM pg_constraint WHERE conrelid = 'notes_loose'::regclass AND contype = 'f'); END $$",
        "no foreign key",
    ),
}


@pytest.fixture(scope="module")
def drifted(
    tmp_path_factory: pytest.TempPathFactory, prepared: Project, postgres: Endpoint
) -> Iterator[Outcome]:
    """A run over one table for each drift, in a database of its own."""
    project = prepared.copied_to(tmp_path_factory.mktemp("drifted"))
    shutil.rmtree(project.directory / "notes" / "migrations")
    project.models = models_named("Note", *DRIFTS)
    project.environ["POSTGRES_DATABASE"] = "verification_drifted"
    with psycopg.connect(dsn(postgres), autocommit=True) as connection:
        connection.execute("CREATE DATABASE verification_drifted")
        try:
            project.migrated()
            with psycopg.connect(dsn(postgres, "verification_drifted"), autocommit=True) as inside:
                for statement, _ in DRIFTS.values():
                    inside.execute(statement)
            yield project.verify("--postgres")
        finally:
            connection.execute("DROP DATABASE verification_drifted WITH (FORCE)")


@pytest.mark.parametrize("model", DRIFTS)
def test_a_table_that_is_not_what_the_model_says(drifted: Outcome, model: str) -> None:
    probe = drifted.probes["models.default"]
    assert probe["status"] == "failed"
    assert probe["advice"]
    about = [text for text in probe["details"]["problems"] if text.startswith(f"notes.{model}")]
    assert any(DRIFTS[model][1] in text for text in about), probe["details"]["problems"]


def test_tables_that_drifted_are_counted_and_the_others_left_in_peace(drifted: Outcome) -> None:
    probe = drifted.probes["models.default"]
    problems = probe["details"]["problems"]
    assert drifted.code == 1
    assert probe["message"].startswith(f"{len(problems)} differences from the models: {problems[0]}")
    assert not [text for text in problems if text.startswith("notes.Note")]
    assert drifted.probes["crud.default"]["status"] == "passed"


def dsn(postgres: Endpoint, database: str | None = None) -> str:
    given = postgres.credentials
    return (
        f"host={postgres.host} port={postgres.ports['sql']} user={given['username']} "
        f"password={given['password']} dbname={database or given['database']}"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dbint": {"VERIFY": {"sample": 3}}}, "dbint.E001"),
        ({"dbint": {"VERIFY": {"samples": -3}}}, "samples"),
        ({"routers": ["no.such.Router"]}, "no.such"),
        ({"databases": {"other": {"ENGINE": "no.such.backend"}}}, "no.such.backend"),
        ({"dbint": {"SERVICES": {"kafka": {"port": "many"}}}}, "many"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    project = Project(tmp_path, {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    change = dict(change)
    project.databases |= change.pop("databases", {})
    for name, value in change.items():
        setattr(project, name, value)
    outcome = project.run("verify_database_integration")
    assert outcome.code == 2, outcome.stderr
    assert words in outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert len(outcome.lines()) == 1, outcome.stderr


@pytest.mark.parametrize("command", ["verify_database_integration", "verify_db_connections"])
def test_a_bad_environment_variable_is_one_line_and_exit_code_2(command: str) -> None:
    """The settings module itself fails over it, before there is a command."""
    ended = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "POSTGRES_HOST": "localhost", "POSTGRES_PORT": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert "POSTGRES_PORT" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--oracle"], "unrecognized arguments: --oracle"),
        (["--format", "yaml"], "'yaml'"),
        (["--deadline", "soon"], "'soon' is not a number of seconds above 0"),
        (["--output", "/no/such/directory/report"], "/no/such/directory/report"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    project = Project(tmp_path, {"default": {"kind": "postgres"}})
    outcome = project.run("verify_database_integration", *arguments)
    assert outcome.code == 2
    assert words in outcome.stderr
    assert len(outcome.lines()) == 1, outcome.stderr
    assert outcome.stdout == ""


def test_a_project_without_databases_is_red(tmp_path: Path) -> None:
    outcome = Project(tmp_path, {}).verify("--postgres", "--doris")
    assert outcome.code == 2
    assert set(statuses(outcome).values()) == {"not_configured"}


SQLITE = "django.db.backends.sqlite3"


@pytest.mark.parametrize(
    ("dbint", "routers", "words"),
    [
        ({}, ["dbint.django.routers.DatabaseRouter"], "migrations would make its table on other too"),
        (
            {"ROUTING": {"models": {"notes.Nothing": "other"}}},
            ["dbint.django.routers.DatabaseRouter"],
            "notes.nothing",
        ),
        ({"ROUTING": {"apps": {"notes": "nowhere"}}}, ["dbint.django.routers.DatabaseRouter"], "nowhere"),
        ({}, ["notes.routers.Everywhere"], "the routers allow relations"),
        ({}, ["notes.routers.Nowhere"], "where no migration may make its table"),
    ],
)
def test_routers_that_lead_astray(
    tmp_path: Path, dbint: dict[str, Any], routers: list[str], words: str
) -> None:
    """The system checks see some of it (exit code 2), the probe the rest (exit code 1)."""
    databases = {alias: {"ENGINE": SQLITE, "NAME": str(tmp_path / alias)} for alias in ("default", "other")}
    project = Project(tmp_path, databases, dbint, routers)
    project.models += "\n\nclass Tag(models.Model):\n    pass\n"
    project.write()
    (tmp_path / "notes" / "routers.py").write_text(
        """
class Everywhere:
    def db_for_write(self, model, **hints):
        return "other" if model.__name__ == "Tag" else "default"
    db_for_read = db_for_write
    def allow_relation(self, one, other, **hints):
        return True
    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db == ("other" if model_name == "tag" else "default")

class Nowhere:
    def allow_migrate(self, db, app_label, **hints):
        return False
"""
    )
    outcome = project.verify("--integration")
    assert outcome.code in (1, 2)
    shown = outcome.stderr if outcome.code == 2 else outcome.probes["routers"]["message"]
    assert words in shown
    if outcome.code == 1:
        assert outcome.probes["routers"]["status"] == "failed"
        assert outcome.probes["routers"]["advice"]
