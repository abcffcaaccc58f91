"""The verification as a command, on the real servers of the light stack."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import LiteralString
from xml.etree import ElementTree as ET

import psycopg
import pymysql
import pytest

from dbint.kafka import KafkaAdmin
from dbint.verify import Result, Runner, Status
from dbint.verify.advice import Target
from dbint.verify.kafka import BrokerProbe, KafkaAccess, TopicsProbe
from dbint.verify.reports import FORMATS
from stack import Endpoint, Stack
from tests.integration.verification_project import QUICK, Outcome, Project, statuses, two_at_a_time

CHECKOUT = Path(__file__).parents[2]
EVERYWHERE = {"default": {"kind": "postgres"}, "doris": {"kind": "doris"}}
ROUTED = {
    "VERIFY": QUICK,
    "ROUTING": {"apps": {"notes": "default", "dbint_observability": "default"}},
    "KAFKA": {"topics": {"wanted-orders": {"partitions": 2}}},
}
ROUTERS = ["dbint.django.routers.DatabaseRouter"]


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> Iterator[Project]:
    """A project on all three servers, with its one app on PostgreSQL, and the topic that it names."""
    directory = tmp_path_factory.mktemp("project")
    with KafkaAdmin(f"{kafka.host}:{kafka.port}") as admin:
        admin.create_topic("wanted-orders", partitions=2)
    project = Project(directory, EVERYWHERE, ROUTED, ROUTERS, {"DBINT_IN_KUBERNETES": "0"})
    yield replace(project, apps=(*project.apps, "dbint.django.observability")).migrated()
    with KafkaAdmin(f"{kafka.host}:{kafka.port}") as admin:
        admin.delete_topic("wanted-orders")


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copied_to(tmp_path)


def postgres_connection(postgres: Endpoint) -> "psycopg.Connection[tuple[object, ...]]":
    given = postgres.credentials
    return psycopg.connect(
        host=postgres.host,
        port=postgres.ports["sql"],
        user=str(given["username"]),
        password=str(given["password"]),
        dbname=str(given["database"]),
        autocommit=True,
    )


def postgres_names(postgres: Endpoint, query: LiteralString) -> set[str]:
    with postgres_connection(postgres) as connection:
        return {str(name) for (name,) in connection.execute(query)}


def postgres_tables(postgres: Endpoint) -> set[str]:
    return postgres_names(postgres, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")


def postgres_flows(postgres: Endpoint) -> set[str]:
    """What a flow has on the server: its slot, its publication, its notes."""
    return postgres_names(
        postgres,
        """SELECT slot_name FROM pg_replication_slots UNION SELECT pubname FROM pg_publication
           UNION SELECT flow FROM dbint.flow_capture UNION SELECT flow FROM dbint.flow_snapshot""",
    )


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


# What killed runs may have left: only names of exactly our shape, and only old ones, are removed.
OLD, YOUNG = "dbint_verify_1000000000_abcdef", f"dbint_verify_{int(time.time())}_abcdef"
FOREIGN = "dbint_verify_of_mine"


@dataclass
class Whole:
    """A run of everything, and which of our names were on the servers right after it."""

    outcome: Outcome
    postgres: set[str]
    flows: set[str]
    doris: set[str]
    topics: set[str]


@pytest.fixture(scope="module")
def whole(prepared: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint) -> Whole:
    """One run of everything, on servers where killed runs have left tables, topics, slots, publications."""
    with postgres_connection(postgres) as connection, KafkaAdmin(f"{kafka.host}:{kafka.port}") as admin:
        try:
            for table in (OLD, YOUNG, FOREIGN):
                connection.execute(f"CREATE TABLE {table} (id int)")
            for topic in (OLD, YOUNG):
                admin.create_topic(topic.replace("_", "-"))
            admin.create_topic(OLD.replace("_", "-") + ".public.t")
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [OLD])
            for publication in (OLD, YOUNG):
                connection.execute(f"CREATE PUBLICATION {publication} FOR TABLE {FOREIGN}")
            outcome = prepared.verify("--all")
            return Whole(
                outcome,
                ours(postgres_tables(postgres)),
                ours(postgres_flows(postgres)),
                ours(doris_tables(doris)),
                ours(topics(kafka)),
            )
        finally:
            connection.execute(f"DROP PUBLICATION IF EXISTS {YOUNG}")
            for table in (OLD, YOUNG, FOREIGN):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            admin.delete_topic(YOUNG.replace("_", "-"))


def test_everything_is_verified(whole: Whole) -> None:
    outcome = whole.outcome
    assert outcome.code == 0, outcome.stderr + outcome.stdout
    found = statuses(outcome)
    assert {name for name, status in found.items() if status != "passed"} == {
        "credentials.vault",
        "models.doris",
    }
    assert found["credentials.vault"] == found["models.doris"] == "not_configured"
    for name in ("crud.default", "crud.doris", "pooling.default", "integration.flow", "integration.commit"):
        assert found[name] == "passed"
    for name in ("events.round_trip", "events.replay", "pooling.core"):
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
    assert flow["sink"]["loads"] > 0
    assert outcome.seconds < 25


def test_chains_of_the_probes_are_gone(whole: Whole, postgres: Endpoint) -> None:
    assert whole.outcome.probes["events.round_trip"]["details"]["events"] == 1000
    with postgres_connection(postgres) as connection:
        chains = connection.execute("SELECT count(*) FROM dbint.chains WHERE stream LIKE 'dbint_verify%'")
        assert chains.fetchone() == (0,)


def test_events_need_the_ledger(project: Project, postgres: Endpoint) -> None:
    name = f"dbint_events_{secrets.token_hex(4)}"
    with postgres_connection(postgres) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            project.databases["default"]["with"] = {"NAME": name}
            project.write()
            outcome = project.verify("--postgres")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for probe in ("events.round_trip", "events.replay"):
        result = outcome.probes[probe]
        assert result["status"] == "failed"
        assert "no ledger (table dbint.chains)" in result["message"]
        assert result["advice"] == ["python manage.py migrate dbint_observability --database default"]
    assert outcome.probes["pooling.core"]["status"] == "passed"
    assert outcome.json["leftovers"] == []


def test_nothing_is_left_and_what_killed_runs_left_is_removed(whole: Whole) -> None:
    assert whole.postgres == {YOUNG, FOREIGN}
    assert whole.flows == {YOUNG}
    assert whole.doris == set()
    assert whole.topics == {YOUNG.replace("_", "-")}
    assert OLD in whole.outcome.stdout


def test_the_report_says_with_which_libraries(whole: Whole) -> None:
    libraries = whole.outcome.json["libraries"]
    assert {"dbint", "Django", "psycopg", "PyMySQL", "libpq", "librdkafka"} <= libraries.keys()


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
def test_a_selection_has_its_probes_and_what_they_require(
    project: Project, flag: str, servers: set[str]
) -> None:
    outcome = project.run("verify_database_integration", flag, "--list")
    assert outcome.code == 0, outcome.stderr
    assert {line.split()[1].rstrip(",") for line in outcome.stdout.splitlines()} == servers


def test_every_format_goes_to_stdout_alone_or_into_the_file(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    text, junit, openmetrics, to_file = two_at_a_time(
        *(partial(project.connections, "--format", form) for form in ("text", "junit", "openmetrics")),
        partial(project.connections, "--format", "json", "--output", str(file)),
    )
    assert text.stdout.startswith("PostgreSQL 15")
    assert "connections.default" in text.stdout
    assert text.stdout.splitlines()[-1].startswith("With dbint ")
    assert ET.fromstring(junit.stdout).tag == "testsuites"  # noqa: S314 - our own output
    assert openmetrics.stdout.endswith("# EOF\n")
    assert to_file.stdout == ""
    assert "3 passed, 0 failed" in to_file.lines()[-1]
    assert json.loads(file.read_text())["summary"]["failed"] == 0
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report.json"]


def probe_topics(kafka: Endpoint, topics: dict[str, int], version: str | None = None) -> dict[str, Result]:
    """The broker's and the topics' probes, as a project has them that knows no stack."""
    target = Target(service="kafka", host=kafka.host, port=kafka.port, address_from="settings")
    bootstrap = {"bootstrap.servers": f"{kafka.host}:{kafka.port}"}
    common = {"access": KafkaAccess(target=target, options=lambda role: bootstrap), "prefix": "dbint-verify"}
    probes = [BrokerProbe(name="broker", **common), TopicsProbe(name="topics", topics=topics, **common)]
    return {result.name: result for result in Runner(probes).run().results}


def test_topics_that_a_project_needs(kafka: Endpoint) -> None:
    address, name = f"{kafka.host}:{kafka.port}", f"needed-{secrets.token_hex(4)}"
    with KafkaAdmin(address) as admin:
        admin.create_topic(name, partitions=2)
        try:
            assert probe_topics(kafka, {name: 2})["topics"].message == f"1 topic is there: {name} (2)"
            failed = probe_topics(kafka, {name: 3, f"{name}.missing": 6})["topics"]
            after = set(admin.topics())
        finally:
            admin.delete_topic(name)
    assert failed.status is Status.FAILED
    assert f"topic '{name}' has 2 partitions of at least 3" in failed.message
    assert f"there is no topic '{name}.missing'" in failed.message
    tool = f"kafka-topics.sh --bootstrap-server {address}"
    assert f"Create it: {tool} --create --topic {name}.missing --partitions 6" in failed.advice
    assert f"Add some (keys will move): {tool} --alter --topic {name} --partitions 3" in failed.advice
    assert f"{name}.missing" not in after
    assert probe_topics(kafka, {})["topics"].status is Status.NOT_CONFIGURED


def test_a_broker_tells_its_release(stack: Stack, kafka: Endpoint) -> None:
    exact = json.loads((stack.directory / "state.json").read_text())["services"]["kafka"]["version"]
    found = probe_topics(kafka, {})["broker"]
    assert found.version == ".".join(exact.split(".")[:2])
    assert found.details["metadata_version"]["supported"] >= found.details["metadata_version"]["finalized"]
    assert found.details["version_from"] == (
        f"the broker knows metadata.version {found.details['metadata_version']['supported']}"
    )


def interrupt(project: Project, number: signal.Signals) -> Outcome:
    """Runs everything and sends the signal when the long probes are in the middle of it."""
    began = time.monotonic()
    process = project.start("verify_database_integration", "--all", "--format", "json")
    assert process.stderr is not None
    for line in process.stderr:
        if "connections.kafka" in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    return Outcome(process.returncode, stdout, stderr, time.monotonic() - began)


def test_an_interrupt_leaves_nothing_behind(
    project: Project, postgres: Endpoint, kafka: Endpoint, doris: Endpoint
) -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    ended = two_at_a_time(*(partial(interrupt, project, number) for number in signals))
    for number, outcome in zip(signals, ended, strict=True):
        assert outcome.code == 128 + number
        assert outcome.json["summary"]["interrupted"] is True
        assert outcome.json["leftovers"] == []
        assert any(probe["message"] == "interrupted" for probe in outcome.probes.values())
    assert not ours(postgres_tables(postgres))
    assert not ours(doris_tables(doris))
    assert not ours(topics(kafka))


def test_no_secret_in_any_output(project: Project, tmp_path: Path) -> None:
    """Secrets are planted in every place; servers refuse and quote them; no output shows one."""
    planted = [
        "planted-password-1",
        "pl@nted/päss wörd'2",
        "planted-token-3",
        "planted-site-key-4",
        "planted-url-5",
    ]
    project.databases = {
        **EVERYWHERE,
        "refused": {"kind": "postgres", "with": {"PASSWORD": planted[0], "USER": "nobody_here"}},
        "dead": {"kind": "postgres", "with": {"PASSWORD": planted[1], "PORT": 1}},
        "wrong": {"kind": "doris", "with": {"PASSWORD": planted[1]}},
        "broken": {"kind": "postgres", "with": {"OPTIONS": {"application_name": f"x password={planted[4]}"}}},
    }
    project.environ |= {"VAULT_TOKEN": planted[2], "CACHE_URL": f"redis://me:{planted[4]}@cache/0"}
    project.dbint = {**ROUTED, "VERIFY": {**QUICK, "samples": 1, "messages": 50, "rows": 2}}
    ended = two_at_a_time(
        partial(project.run, "verify_database_integration", "--traceback", "--format", "text"),
        *(partial(project.connections, "--traceback", "--format", form) for form in FORMATS),
    )
    assert {outcome.code for outcome in ended} == {1}
    shown = "".join(outcome.stdout + outcome.stderr for outcome in ended)
    state = json.loads((Path(os.environ["DBINT_STACK_DIR"]) / "state.json").read_text())
    real = [entry["credentials"].get("password") for entry in state["services"].values()]
    assert any(real)
    for secret in [*planted, *filter(None, real)]:
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
    project = Project(tmp_path, {"default": {"kind": "postgres"}}, {"VERIFY": QUICK})
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
        {"VERIFY": QUICK},
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
    outcome = project.connections("--format", "json")
    assert outcome.code == 0, outcome.stdout
    assert statuses(outcome) == {
        "connections.default": "passed",
        "connections.doris": "passed",
        "connections.kafka": "passed",
    }
    assert outcome.seconds < 10


def test_kafka_stopped(project: Project, stack: Stack, kafka: Endpoint) -> None:
    """Its probes and the flow fail with advice; the others pass; in less than half a minute."""
    stack.stop("kafka")
    try:
        outcome = project.verify("--all")
    finally:
        stack.start("kafka")
    assert outcome.code == 1
    assert outcome.seconds < 30
    for probe in outcome.probes.values():
        if probe["server"] in ("kafka", "integration"):
            assert probe["status"] == "failed", probe
            assert "python -m stack start kafka" in " ".join(probe["advice"])
        else:
            assert probe["status"] in ("passed", "not_configured"), probe


def checkout_environment() -> dict[str, str]:
    return {**os.environ, "DBINT_IN_KUBERNETES": "0"}


@pytest.fixture(scope="module")
def reference_project(postgres: Endpoint, kafka: Endpoint, doris: Endpoint) -> None:
    """The reference project's tables."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate_databases"],
        cwd=CHECKOUT,
        env=checkout_environment(),
        check=True,
        capture_output=True,
    )


PYTHON_SCRIPT = [sys.executable, "django_app/run_database_verification.py"]


@pytest.mark.parametrize(
    ("script", "argument", "groups"),
    [
        (["django_app/run_database_verification.sh"], "--connections", {"connections"}),
        (PYTHON_SCRIPT, "--connections", {"connections"}),
        (
            PYTHON_SCRIPT,
            "--postgres",
            {"connections", "crud", "events", "models", "performance", "pooling"},
        ),
        (PYTHON_SCRIPT, "--cross", {"connections", "integration", "routers"}),
    ],
)
@pytest.mark.usefixtures("reference_project")
def test_the_scripts_of_the_reference_project(script: list[str], argument: str, groups: set[str]) -> None:
    ended = subprocess.run(
        [*script, argument, "--format", "json"],
        cwd=CHECKOUT,
        env=checkout_environment(),
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
