"""What is broken is named in one clear line, within its deadline, and the rest is verified all the same."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stack import Endpoint
from tests.integration.verification_project import Project, statuses

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
        {"VERIFY": {"samples": 3, "messages": 300, "connections": 2}},
        environ={"DBINT_IN_KUBERNETES": "0"},
    ).migrated()


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copied_to(tmp_path)


def check_only_this_failed(
    project: Project, alias: str, *words: str, within: float = 15
) -> dict[str, object]:
    """Runs the verification: ``alias`` fails with these words, the default alias passes."""
    outcome = project.verify("--postgres", "--doris", timeout=60)
    probe = outcome.probes[f"connections.{alias}"]
    assert outcome.code == 1, outcome.stderr
    assert probe["status"] == "failed"
    for word in words:
        assert word in probe["message"], probe["message"]
    assert probe["advice"]
    found = statuses(outcome)
    assert {found[name] for name in found if name.endswith(".default")} == {"passed"}
    assert all(found[name] in ("failed", "not_configured") for name in found if name.endswith(f".{alias}"))
    assert probe["duration"] <= within
    assert outcome.seconds < within + 15
    return probe


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.mark.parametrize("kind", ["postgres", "doris"])
def test_unreachable(project: Project, kind: str) -> None:
    port = closed_port()
    project.databases["other"] = {"kind": kind, "with": {"HOST": "127.0.0.1", "PORT": port, "NAME": "x"}}
    probe = check_only_this_failed(project, "other", str(port), within=6)
    assert 'DATABASES["other"]' in " ".join(probe["advice"])


@pytest.mark.parametrize("kind", ["postgres", "doris"])
@pytest.mark.parametrize("script", [talks_http, talks_noise])
def test_a_port_that_answers_garbage(project: Project, kind: str, script: Script) -> None:
    with scripted_server(script) as port:
        project.databases["other"] = {"kind": kind, "with": {"HOST": "127.0.0.1", "PORT": port, "NAME": "x"}}
        check_only_this_failed(project, "other", within=6)


@pytest.mark.parametrize("kind", ["postgres", "doris"])
def test_a_port_that_never_answers(project: Project, kind: str) -> None:
    with scripted_server(says_nothing) as port:
        project.databases["other"] = {"kind": kind, "with": {"HOST": "127.0.0.1", "PORT": port, "NAME": "x"}}
        check_only_this_failed(project, "other", within=7)


def test_a_host_that_does_not_exist(project: Project) -> None:
    project.databases["other"] = {"kind": "postgres", "with": {"HOST": "no-such-host.invalid", "PORT": 5432}}
    check_only_this_failed(project, "other", "no-such-host.invalid", within=7)


def test_wrong_password(project: Project) -> None:
    project.databases["other"] = {"kind": "postgres", "with": {"PASSWORD": "not-the-password"}}
    probe = check_only_this_failed(project, "other", "password authentication failed")
    assert "POSTGRES_PASSWORD" in " ".join(probe["advice"])
    assert "not-the-password" not in str(probe)


def test_missing_database(project: Project) -> None:
    project.databases["other"] = {"kind": "postgres", "with": {"NAME": "no_such_database"}}
    probe = check_only_this_failed(project, "other", "no_such_database")
    assert "CREATE DATABASE no_such_database" in " ".join(probe["advice"])


@pytest.mark.parametrize("version", ["9.6.24", "14.11"])
def test_a_server_that_is_too_old(project: Project, version: str) -> None:
    with scripted_server(postgres_of_version(version)) as port:
        project.databases["other"] = {"kind": "postgres", "with": {"HOST": "127.0.0.1", "PORT": port}}
        probe = check_only_this_failed(project, "other")
    assert probe["status"] == "failed"


@pytest.mark.parametrize(
    ("comment", "words"),
    [("Doris version doris-1.2.8-rc01", "2.1"), ("MySQL Community Server - GPL", "not Apache Doris")],
)
def test_a_doris_that_is_too_old_or_none(project: Project, comment: str, words: str) -> None:
    with scripted_server(mysql_of_version(comment)) as port:
        project.databases["other"] = {
            "kind": "doris",
            "with": {"HOST": "127.0.0.1", "PORT": port, "NAME": "x", "USER": "root", "PASSWORD": ""},
        }
        check_only_this_failed(project, "other", words)


def test_wrong_password_for_doris(project: Project, doris: Endpoint) -> None:
    project.databases["other"] = {"kind": "doris", "with": {"PASSWORD": "not-the-password"}}
    probe = check_only_this_failed(project, "other", "does not accept the password")
    assert "DORIS_PASSWORD" in " ".join(probe["advice"])
    assert "not-the-password" not in str(probe)


def test_missing_database_in_doris(project: Project, doris: Endpoint) -> None:
    project.databases["other"] = {"kind": "doris", "with": {"NAME": "no_such_database"}}
    probe = check_only_this_failed(project, "other", "no_such_database")
    assert "CREATE DATABASE no_such_database" in " ".join(probe["advice"])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "Connection refused"),
        (says_nothing, "never answers"),
        (talks_http, "not in Kafka's protocol"),
        (talks_noise, "not in Kafka's protocol"),
    ],
)
def test_a_kafka_that_is_none(project: Project, script: Script | None, words: str) -> None:
    """Refused, silent or not Kafka at all: its probes fail by their deadline, PostgreSQL's pass."""
    with scripted_server(script) if script else contextlib.nullcontext(closed_port()) as port:
        project.environ["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
        outcome = project.verify("--kafka", "--postgres", "--integration", timeout=60)
    assert outcome.code == 1
    probe = outcome.probes["connections.kafka"]
    assert f"127.0.0.1:{port}" in probe["message"]
    assert words in probe["message"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in " ".join(probe["advice"])
    assert probe["duration"] < 6
    found = statuses(outcome)
    assert found["kafka.round_trip"] == found["integration.commit"] == "failed"
    assert {status for name, status in found.items() if name.endswith(".default")} == {"passed"}
    assert outcome.seconds < 25


def test_unapplied_migration(project: Project) -> None:
    models = project.directory / "notes" / "models.py"
    models.write_text(models.read_text() + "\n\nclass Late(models.Model):\n    pass\n")
    project_write, project.write = project.write, lambda: None  # type: ignore[method-assign]
    assert project.run("makemigrations", "notes").code == 0
    outcome = project.verify("--postgres")
    project.write = project_write  # type: ignore[method-assign]
    probe = outcome.probes["models.default"]
    assert outcome.code == 1
    assert probe["status"] == "failed"
    assert "1 migration not applied: notes.0002_late" in probe["message"]
    assert probe["advice"][0] == "python manage.py migrate --database default"
    assert outcome.probes["crud.default"]["status"] == "passed"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE notes_note", "table notes_note does not exist"),
        ("ALTER TABLE notes_note DROP COLUMN body", "column body is missing"),
        ("ALTER TABLE notes_note ALTER title TYPE varchar(40)", "character varying(40)"),
        ("ALTER TABLE notes_note ALTER written TYPE timestamp", "timestamp without time zone"),
        ("ALTER TABLE notes_note ALTER body SET NOT NULL", "does not allow NULL"),
        ("ALTER TABLE notes_note ADD extra int NOT NULL", "extra"),
        ("ALTER TABLE notes_note DROP CONSTRAINT notes_title_not_empty", "notes_title_not_empty"),
        ("DROP INDEX notes_by_title", "notes_by_title"),
        (
            "DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE notes_note DROP CONSTRAINT ' || conname "
            "FROM pg_constraint WHERE conrelid = 'notes_note'::regclass AND contype = 'f'); END $$",
            "no foreign key",
        ),
    ],
)
def test_a_table_that_is_not_what_the_model_says(
    project: Project, postgres: Endpoint, statement: str, words: str
) -> None:
    with psycopg.connect(dsn(postgres), autocommit=True) as connection:
        try:
            connection.execute(statement)
            outcome = project.verify("--postgres")
        finally:
            connection.execute("DROP TABLE IF EXISTS notes_note")
            connection.execute("DELETE FROM django_migrations WHERE app = 'notes'")
            assert project.run("migrate").code == 0
    probe = outcome.probes["models.default"]
    assert outcome.code == 1
    assert words in probe["message"]
    assert probe["advice"]
    assert outcome.probes["crud.default"]["status"] == "passed"


def dsn(postgres: Endpoint) -> str:
    given = postgres.credentials
    return (
        f"host={postgres.host} port={postgres.ports['sql']} user={given['username']} "
        f"password={given['password']} dbname={given['database']}"
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
    with (tmp_path / "notes" / "models.py").open("a") as models:
        models.write("\n\nclass Tag(models.Model):\n    pass\n")
    project.write = lambda: None  # type: ignore[method-assign]
    outcome = project.verify("--integration")
    assert outcome.code in (1, 2)
    shown = outcome.stderr if outcome.code == 2 else outcome.probes["routers"]["message"]
    assert words in shown
    if outcome.code == 1:
        assert outcome.probes["routers"]["status"] == "failed"
        assert outcome.probes["routers"]["advice"]
