"""flow_deploy as its users run it, with a Kafka Connect that runs nothing: what Debezium then does is in
test_flow_engines.py."""

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fake_connect import FakeConnect, fake_connect
from tests.integration.flow_tables import parameters_of
from tests.integration.test_flow_commands import project as flow_project
from tests.integration.verification_project import Project

__all__ = ["flow_project"]  # a fixture


@pytest.fixture
def project(flow_project, target) -> tuple[Project, str]:
    """A flow of engine connect, whose Kafka Connect is not there."""
    made, schema = flow_project
    flow = made.dbint["FLOWS"]["orders"]
    flow |= {"ENGINE": "connect", "CONNECT_URL": "http://me:s3cret@127.0.0.1:1"}
    made.write()
    return made, schema


def test_the_sink_connector_says_that_it_is_untested(project):
    made, schema = project
    shown = made.run("flow_deploy", "--sink-connector", "--json")
    assert shown.code == 0, shown.stderr
    (flow,) = shown.json["flows"]
    (connector,) = flow["connectors"]
    assert "dbint has never run this" in connector["untested"]
    assert connector["config"]["topics"] == f"{schema}.{schema}.t"
    assert connector["config"]["doris.password"] == "********"


def test_what_cannot_run_says_so_in_a_line(project):
    made, _ = project
    outcome = made.run("flow_deploy")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "Kafka Connect at http://127.0.0.1:1 does not answer" in outcome.stderr
    assert "s3cret" not in outcome.stderr
    status = made.run("flow_deploy", "--status", "--json")
    assert status.code == 1
    (flow,) = status.json["flows"]
    assert not flow["well"]
    assert flow["connector"]["state"] == "UNKNOWN"
    assert [job["state"] for job in flow["jobs"]] == ["ABSENT"]
    made.dbint["FLOWS"]["orders"]["ENGINE"] = "embedded"
    made.write()
    assert 'no flow of DBINT["FLOWS"] has "ENGINE": "connect"' in made.run("flow_deploy").stderr
    assert "manage.py run_flow runs it" in made.run("flow_deploy", "orders").stderr


class Watch:
    """A ``flow_deploy --watch`` that runs, and the lines that it writes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self, wanted: Callable[[str], Any]) -> str:
        """The next line of this kind."""
        while (line := self.lines.get(timeout=60)) is not None:
            if wanted(line):
                return line
        assert self.process.stderr is not None
        raise AssertionError(f"it has ended: {self.process.stderr.read()}")

    def look(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        return dict(json.loads(self.line(lambda line: wanted(json.loads(line)))))

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(60)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextmanager
def watching(made: Project, *arguments: str) -> Iterator[Watch]:
    process = made.start("flow_deploy", "--watch", "--interval", "0.2", *arguments)
    try:
        yield Watch(process)
    finally:
        process.kill()
        process.wait(60)


@pytest.fixture
def deployable(flow_project, postgres) -> Iterator[tuple[Project, str, FakeConnect]]:
    """A flow with its table in Doris, and the slot that Debezium would make."""
    made, schema = flow_project
    parameters = parameters_of(postgres)
    with fake_connect() as connect, psycopg.connect(**parameters, autocommit=True) as connection:
        made.dbint["FLOWS"]["orders"] |= {
            "ENGINE": "connect",
            "CONNECT_URL": connect.url,
            "MODE": "cdc_only",
            "SLOT": schema,
            "PUBLICATION": schema,
        }
        made.write()
        assert made.run("flow_plan", "--apply").code == 0
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [schema])
        try:
            yield made, schema, connect
        finally:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [schema])
            connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(schema)))


def test_watching_a_deployment_until_a_signal(deployable):
    made, _, connect = deployable
    with watching(made, "--json") as watch:
        first = watch.look(lambda look: True)
        assert [step["action"] for step in first["steps"]] == ["create", "create", "create", "resume"]
        look = watch.look(lambda look: look["well"])
        assert (look["steps"], look["connector"]["state"]) == ([], "RUNNING")
        assert [job["state"] for job in look["jobs"]] in (["RUNNING"], ["NEED_SCHEDULE"])

        connect.fail("org.apache.kafka.ConnectException: x\nCaused by: the slot is taken\n\tat y")
        look = watch.look(lambda look: look["steps"])
        assert look["problems"] == ["connector dbint-orders is RUNNING, its tasks FAILED: the slot is taken"]
        assert [(step["action"], step["detail"]) for step in look["steps"]] == [
            ("restart", "the slot is taken")
        ]
        assert connect.requests[-1].startswith("POST /connectors/dbint-orders/restart")
        watch.look(lambda look: look["well"])

        connect.refusal = 503
        look = watch.look(lambda look: not look["well"])
        assert (look["connector"]["state"], look["steps"]) == ("UNKNOWN", [])
        assert "HTTP 503" in look["problems"][0]
        connect.refusal = 0
        watch.look(lambda look: look["well"])
        assert watch.end(signal.SIGTERM) == (0, "")

    connect.trace = "it fails whenever it is started"
    connect.fail(connect.trace)
    with watching(made, "--status") as watch:
        assert "flow orders: 1 to see to" in watch.line(lambda line: "to see to" in line)
        assert connect.trace in watch.line(lambda line: "restart connector dbint-orders" in line)
        assert watch.end(signal.SIGINT) == (1, "")


def test_watching_is_for_what_runs(deployable):
    made, _, _ = deployable
    for arguments, why in ((["--interval", "0"], "above 0"), (["--dry-run"], "not with --dry-run")):
        outcome = made.run("flow_deploy", "--watch", *arguments)
        assert (outcome.code, outcome.stdout) == (2, "")
        assert why in outcome.stderr


def test_the_status_of_a_flow_on_connect_says_what_it_cannot_know(deployable):
    made, schema, connect = deployable
    assert made.run("flow_deploy").code == 0
    document = made.run("flow_status", "--format", "json").json["flows"][0]
    assert document["connector"]["state"] == "RUNNING"
    assert document["lag"]["sink"] == {"bytes": 0, "rows": 0, "seconds": 0.0, "unknown": {}}
    capture = document["lag"]["capture"]
    assert capture["bytes"] >= 0
    assert capture["seconds"] >= 0  # since the position at which the connector began
    assert capture["unknown"] == {"rows": "PostgreSQL's log is counted in bytes alone"}
    assert document["freshness_s"]["p50"] is None
    assert "Routine Load does not say" in document["freshness_s"]["unknown"]
    # Nothing reads the slot here.
    assert [finding["text"] for finding in document["findings"]] == [
        f"nobody reads slot {schema} (Debezium does when it runs)"
    ]
    connect.refusal = 503
    text = made.run("flow_status").stdout
    assert "HTTP 503" in text
    assert "from commit to visible: unknown (Routine Load does not say" in text

    # What no longer flows can be taken away all the same.
    connect.refusal = 0
    made.dbint["FLOWS"]["orders"]["TABLES"] = {f"{schema}.t": {"types": {"at": "DATE"}}}
    made.write()
    assert "the time would be cut off" in made.run("flow_deploy").stderr
    removed = made.run("flow_deploy", "--remove", "--json")
    assert removed.code == 0, removed.stderr
    steps = removed.json["flows"][0]["steps"]
    assert [step["action"] for step in steps] == ["stop", "remove", "remove", "stop"]
    assert connect.connectors == {}
    assert made.run("flow_deploy", "--remove").stdout.endswith("nothing to do\n")
