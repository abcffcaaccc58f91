"""The verification as a command, on the real servers of the light stack."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import psycopg
import pymysql
import pytest

from dbint.kafka import KafkaAdmin
from stack import Endpoint, Stack
from tests.integration.verification_project import Project, statuses

CHECKOUT = Path(__file__).parents[2]
EVERYWHERE = {"default": {"kind": "postgres"}, "doris": {"kind": "doris"}}
# Small numbers: these tests are about what is found out, not about how fast it is.
QUICK = {"VERIFY": {"samples": 5, "messages": 500, "rows": 24}}
ROUTED = {**QUICK, "ROUTING": {"apps": {"notes": "default"}}}
ROUTERS = ["dbint.django.routers.DatabaseRouter"]


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> Project:
    """A project on all three servers, with its one app on PostgreSQL."""
    directory = tmp_path_factory.mktemp("project")
    return Project(directory, EVERYWHERE, ROUTED, ROUTERS, {"DBINT_IN_KUBERNETES": "0"}).migrated()


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copied_to(tmp_path)


def postgres_tables(postgres: Endpoint) -> set[str]:
    given = postgres.credentials
    with psycopg.connect(
        host=postgres.host,
        port=postgres.ports["sql"],
        user=str(given["username"]),
        password=str(given["password"]),
        dbname=str(given["database"]),
    ) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {str(name) for (name,) in rows.fetchall()}


def doris_connection(doris: Endpoint) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    given = doris.credentials
    return pymysql.connect(
        host=doris.host,
        port=doris.ports["query"],
        user=str(given["username"]),
        password=str(given["password"]),
        database=str(given["database"]),
        autocommit=True,
    )


def doris_tables(doris: Endpoint) -> set[str]:
    with doris_connection(doris) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        return {row[0] for row in cursor.fetchall()}


def topics(kafka: Endpoint) -> set[str]:
    with KafkaAdmin(f"{kafka.host}:{kafka.port}") as admin:
        return set(admin.topics())


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(("dbint_verify", "dbint-verify"))}


def test_everything_is_verified_and_nothing_is_left(
    project: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> None:
    outcome = project.verify("--all")
    assert outcome.code == 0, outcome.stderr + outcome.stdout
    found = statuses(outcome)
    assert {name for name, status in found.items() if status != "passed"} == {
        "credentials.vault",
        "models.doris",
    }
    assert found["credentials.vault"] == found["models.doris"] == "not_configured"
    for name in ("crud.default", "crud.doris", "pooling.default", "integration.flow", "integration.commit"):
        assert found[name] == "passed"
    assert outcome.json["leftovers"] == []
    servers = {entry["server"]: entry for entry in outcome.json["summary"]["servers"]}
    assert servers["doris"]["emulated"] is True
    assert servers["postgres"]["emulated"] is False
    assert servers["kafka"]["versions"]
    assert re.fullmatch(r"\d+\.\d+", servers["postgres"]["versions"][0])
    assert outcome.probes["connections.default"]["details"]["address_from"].startswith("state file")
    flow = outcome.probes["integration.flow"]["details"]
    assert flow["rows"] == 24
    assert flow["loads"] == len(flow["labels"]) > 0
    assert not ours(postgres_tables(postgres))
    assert not ours(doris_tables(doris))
    assert not ours(topics(kafka))
    assert outcome.seconds < 25


def test_read_only_writes_nothing(
    project: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> None:
    before = (postgres_tables(postgres), doris_tables(doris), topics(kafka))
    outcome = project.verify("--all", "--read-only")
    assert outcome.code == 0, outcome.stdout
    assert (postgres_tables(postgres), doris_tables(doris), topics(kafka)) == before
    assert set(outcome.json["not_run"]) >= {
        "crud.default",
        "crud.doris",
        "integration.flow",
        "kafka.round_trip",
    }
    assert set(outcome.json["not_run"].values()) == {"read-only"}
    assert not set(outcome.json["not_run"]) & set(outcome.probes)
    assert set(outcome.probes["performance.default"]["details"]["latency"]) == {"connect", "ping"}


@pytest.mark.parametrize(
    ("flag", "servers"),
    [
        ("--postgres", {"postgres"}),
        ("--doris", {"doris"}),
        ("--kafka", {"kafka"}),
        ("--integration", {"integration", "postgres", "kafka", "doris", "project"}),
    ],
)
def test_a_selection_runs_its_probes_and_what_they_require(
    project: Project, flag: str, servers: set[str]
) -> None:
    outcome = project.verify(flag)
    assert outcome.code == 0, outcome.stdout
    assert {probe["server"] for probe in outcome.probes.values()} == servers


def test_every_format_goes_to_stdout_alone_or_into_the_file(project: Project, tmp_path: Path) -> None:
    text = project.verify("--postgres", form="text")
    assert text.stdout.startswith("PostgreSQL 15")
    assert "connections.default" in text.stdout
    assert ET.fromstring(project.verify("--postgres", form="junit").stdout).tag == "testsuites"  # noqa: S314
    assert project.verify("--postgres", form="openmetrics").stdout.endswith("# EOF\n")
    file = tmp_path / "report.json"
    outcome = project.verify("--postgres", "--output", str(file))
    assert outcome.stdout == ""
    assert json.loads(file.read_text())["summary"]["failed"] == 0
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report.json"]


def test_what_killed_runs_left_is_removed_and_nothing_else(
    project: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> None:
    old, young = "dbint_verify_1000000000_abcdef", f"dbint_verify_{int(time.time())}_abcdef"
    foreign = "dbint_verify_of_mine"
    given = postgres.credentials
    with (
        psycopg.connect(
            f"host={postgres.host} port={postgres.ports['sql']} user={given['username']} "
            f"password={given['password']} dbname={given['database']}",
            autocommit=True,
        ) as connection,
        KafkaAdmin(f"{kafka.host}:{kafka.port}") as admin,
    ):
        try:
            for table in (old, young, foreign):
                connection.execute(f"CREATE TABLE {table} (id int)")
            admin.create_topic(old.replace("_", "-"))
            admin.create_topic(young.replace("_", "-"))
            outcome = project.verify("--all")
            assert outcome.code == 0, outcome.stdout
            assert ours(postgres_tables(postgres)) == {young, foreign}
            assert ours(topics(kafka)) == {young.replace("_", "-")}
            assert old in outcome.stdout
        finally:
            for table in (old, young, foreign):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            admin.delete_topic(young.replace("_", "-"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(
    project: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint, number: signal.Signals
) -> None:
    process = project.start("verify_database_integration", "--all", "--format", "json")
    assert process.stderr is not None
    for line in process.stderr:
        # The long probes are in the middle of it when the first connections are through.
        if "connections.kafka" in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    report = json.loads(stdout)
    assert report["summary"]["interrupted"] is True
    assert report["leftovers"] == []
    assert any(probe["message"] == "interrupted" for probe in report["probes"])
    assert not ours(postgres_tables(postgres))
    assert not ours(doris_tables(doris))
    assert not ours(topics(kafka))


def test_no_secret_in_any_output(project: Project, tmp_path: Path) -> None:
    """Secrets are planted in every place; servers refuse and quote them; no output shows one."""
    secrets = [
        "planted-password-1",
        "pl@nted/päss wörd'2",
        "planted-token-3",
        "planted-site-key-4",
        "planted-url-5",
    ]
    project.databases = {
        **EVERYWHERE,
        "refused": {"kind": "postgres", "with": {"PASSWORD": secrets[0], "USER": "nobody_here"}},
        "dead": {"kind": "postgres", "with": {"PASSWORD": secrets[1], "PORT": 1}},
        "wrong": {"kind": "doris", "with": {"PASSWORD": secrets[1]}},
        "broken": {"kind": "postgres", "with": {"OPTIONS": {"application_name": f"x password={secrets[4]}"}}},
    }
    project.environ |= {"VAULT_TOKEN": secrets[2], "CACHE_URL": f"redis://me:{secrets[4]}@cache/0"}
    shown = ""
    for form in ("text", "json", "junit", "openmetrics"):
        outcome = project.run("verify_database_integration", "--traceback", "--format", form)
        assert outcome.code == 1
        shown += outcome.stdout + outcome.stderr
    state = json.loads((Path(os.environ["DBINT_STACK_DIR"]) / "state.json").read_text())
    real = [entry["credentials"].get("password") for entry in state["services"].values()]
    assert any(real)
    for secret in [*secrets, *filter(None, real)]:
        assert secret not in shown
    assert "password authentication failed" in shown


def test_a_project_with_postgres_alone(tmp_path: Path, postgres: Endpoint) -> None:
    """Kafka and Doris that nobody uses are not configured, and that is no failure."""
    state = json.loads((Path(os.environ["DBINT_STACK_DIR"]) / "state.json").read_text())
    state["services"] = {"postgres": state["services"]["postgres"]}
    own = tmp_path / "stack"
    own.mkdir(mode=0o700)
    (own / "state.json").write_text(json.dumps(state))
    (own / "state.json").chmod(0o600)
    project = Project(tmp_path, {"default": {"kind": "postgres"}}, QUICK)
    project.environ |= {"DBINT_STACK_DIR": str(own), "DBINT_IN_KUBERNETES": "0"}
    outcome = project.migrated().verify()
    assert outcome.code == 0, outcome.stdout
    found = statuses(outcome)
    assert found["connections.doris"] == found["connections.kafka"] == "not_configured"
    assert found["integration.flow"] == found["kafka.round_trip"] == "not_configured"
    assert found["crud.default"] == found["routers"] == found["breaker"] == "passed"
    assert "failed" not in found.values()


def test_a_project_on_sqlite(tmp_path: Path) -> None:
    """What startproject makes: every probe that means something there works."""
    project = Project(
        tmp_path,
        {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}},
        QUICK,
        environ={"DBINT_STACK_DIR": str(tmp_path / "none"), "DBINT_IN_KUBERNETES": "0"},
    )
    outcome = project.migrated().verify()
    assert outcome.code == 0, outcome.stdout
    found = statuses(outcome)
    assert {name for name, status in found.items() if status == "passed"} == {
        "breaker",
        "connections.default",
        "crud.default",
        "models.default",
        "performance.default",
        "routers",
    }


def test_verify_db_connections_asks_every_server_and_is_quick(project: Project) -> None:
    outcome = project.run("verify_db_connections", "--format", "json")
    assert outcome.code == 0, outcome.stdout
    assert statuses(outcome) == {
        "connections.default": "passed",
        "connections.doris": "passed",
        "connections.kafka": "passed",
    }
    assert outcome.seconds < 10


def test_kafka_stopped(tmp_path: Path, private_stack: Stack) -> None:
    """Its probes and the flow fail with advice; the others pass; in less than half a minute."""
    private_stack.up(["postgres", "kafka", "doris"])
    private_stack.stop("kafka")
    project = Project(tmp_path, EVERYWHERE, ROUTED, ROUTERS)
    project.environ |= {"DBINT_STACK_DIR": str(private_stack.directory), "DBINT_IN_KUBERNETES": "0"}
    outcome = project.migrated().verify("--all")
    assert outcome.code == 1
    assert outcome.seconds < 30
    for probe in outcome.probes.values():
        if probe["server"] in ("kafka", "integration"):
            assert probe["status"] == "failed", probe
            assert "python -m stack start kafka" in " ".join(probe["advice"])
        else:
            assert probe["status"] in ("passed", "not_configured"), probe


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        (["--connections"], {"connections"}),
        (["--postgres"], {"connections", "crud", "models", "performance", "pooling"}),
        (["--cross"], {"connections", "integration", "routers"}),
    ],
)
def test_the_scripts_of_the_reference_project(
    postgres: Endpoint, kafka: Endpoint, doris: Endpoint, arguments: list[str], groups: set[str]
) -> None:
    environ = {**os.environ, "DBINT_IN_KUBERNETES": "0"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate_databases"],
        cwd=CHECKOUT,
        env=environ,
        check=True,
        capture_output=True,
    )
    for script in (
        [sys.executable, "django_app/run_database_verification.py"],
        ["django_app/run_database_verification.sh"],
    ):
        ended = subprocess.run(
            [*script, *arguments, "--format", "json"],
            cwd=CHECKOUT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert {probe["group"] for probe in json.loads(ended.stdout)["probes"]} == groups


def test_the_script_refuses_a_wrong_flag_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "django_app/run_database_verification.py", "--oracle"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "--oracle" in ended.stderr
