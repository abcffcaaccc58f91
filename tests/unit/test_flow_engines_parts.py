"""Engine "connect" without servers: what is sent to Kafka Connect and Doris, and what their answers mean."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from dbint.errors import AuthenticationError, ConfigurationError, OperationalError, UnreachableError
from dbint.flow.config import FlowConfig, SourceAccess, TableOptions, TargetAccess
from dbint.flow.connect import (
    ConnectorStatus,
    ConnectRequestError,
    KafkaConnect,
    connector_config,
    first_offset,
    masked,
    sink_connector_config,
)
from dbint.flow.deployment import Deployment
from dbint.flow.mapping import ColumnMapping, TableMapping
from dbint.flow.plan import Finding, connect_findings, map_table
from dbint.flow.routine_load import Job, RoutineLoads, job_name
from dbint.flow.source import SourceColumn, SourceTable

ACCESS = {
    "host": "db",
    "port": "5433",
    "user": "u",
    "password": "pw-of-db",
    "dbname": "shop",
    "sslmode": "require",
}


def config(**changes: Any) -> FlowConfig:
    given: dict[str, Any] = {
        "name": "orders",
        "source": SourceAccess("alias default", lambda: ACCESS),
        "target": TargetAccess(
            "doris", "dw", [("fe", 9030)], ["http://fe:8030"], lambda: ("root", "pw-of-doris")
        ),
        "kafka": lambda _role: {"bootstrap.servers": "k1:9092,k2:9092"},
        "tables": ("public.orders",),
        "engine": "connect",
        "connect_url": "http://connect:8083",
    }
    return FlowConfig(**{**given, **changes})


MAPPING = TableMapping(
    source="public.orders",
    topic="orders.public.orders",
    target_database="dw",
    target_table="orders",
    columns=(
        ColumnMapping("id", "bigint", "id", "BIGINT"),
        ColumnMapping("note", "text", "note", "STRING", toast=True),
    ),
    key=("id",),
)


# -- the connector


def test_the_connector_writes_what_the_embedded_capture_writes():
    made = connector_config(config())
    assert made["table.include.list"] == r"public\x2eorders"
    assert (made["slot.name"], made["publication.name"], made["topic.prefix"]) == (
        "dbint_orders", "dbint_orders", "orders")  # fmt: skip
    assert made["publication.autocreate.mode"] == "disabled"
    assert made["slot.drop.on.stop"] == "false"
    assert (made["time.precision.mode"], made["decimal.handling.mode"]) == ("isostring", "string")
    assert made["value.converter.schemas.enable"] == "false"
    assert made["database.sslmode"] == "require"
    assert made["database.password"] == "pw-of-db"


@pytest.mark.parametrize(
    ("mode", "snapshot"),
    [("full_load_only", "initial_only"), ("cdc_only", "no_data"), ("full_load_and_cdc", "initial")],
)
def test_each_mode_is_one_of_debeziums(mode, snapshot):
    assert connector_config(config(mode=mode))["snapshot.mode"] == snapshot


def test_names_with_commas_and_dots_are_one_pattern_each():
    made = connector_config(config(tables=("public.a,b", "public.ä"), options={
        "public.a,b": TableOptions(exclude=("x.y",))}))  # fmt: skip
    assert made["table.include.list"] == r"public\x2ea\x2cb,public\x2eä"
    assert made["column.exclude.list"] == r"public\x2ea\x2cb\x2ex\x2ey"


def test_logical_messages_are_those_that_the_flow_names():
    def said(*prefixes: str) -> dict[str, str]:
        made = connector_config(config(messages=prefixes))
        return {name.split(".")[2]: value for name, value in made.items() if name.startswith("message.")}

    assert said() == {"exclude": ".*"}
    assert said("audit", "a.b") == {"include": r"audit,a\x2eb"}
    assert said("*") == {}


def test_further_properties_are_passed_on_but_not_the_flows_own():
    assert connector_config(config(connect_options={"max.batch.size": "10"}))["max.batch.size"] == "10"
    with pytest.raises(ConfigurationError, match=r"connect_options may not set slot\.name"):
        connector_config(config(connect_options={"slot.name": "x"}))


def test_a_socket_is_no_address_for_debezium():
    with pytest.raises(
        ConfigurationError, match=r"reads PostgreSQL over TCP, and alias default names the socket /run"
    ):
        connector_config(config(source=SourceAccess("alias default", lambda: {**ACCESS, "host": "/run"})))


def test_secrets_are_masked_and_references_to_them_are_not():
    shown = masked({"database.password": "pw", "a": "b", "ssl.key.password": "${file:/x:y}"})
    assert shown == {"database.password": "********", "a": "b", "ssl.key.password": "${file:/x:y}"}


def test_the_first_offset_has_a_commit_so_that_the_first_sequence_has_a_first_element():
    offset = first_offset(config(), "1/10")["offsets"][0]
    assert offset["partition"] == {"server": "orders"}
    assert {offset["offset"][n] for n in ("lsn", "lsn_proc", "lsn_commit")} == {(1 << 32) + 16}


def column(name: str, **changes: Any) -> SourceColumn:
    given: dict[str, Any] = {
        "name": name, "type": "text", "base": "text", "builtin": True, "enum": False, "composite": False,
        "modifier": -1, "element": None, "element_enum": False, "required": False, "generated": False,
        "toastable": True, "length": -1,
    }  # fmt: skip
    return SourceColumn(**{**given, **changes})


def table(identity: Any, *columns: SourceColumn) -> SourceTable:
    return SourceTable(1, "public", "orders", columns, ("id",), identity, (), partitioned=False, rows=0)


def refused(identity: Any, note: SourceColumn, **options: Any) -> list[str]:
    """What the plan of a table with this column says against engine connect, and not against the other."""
    number = column("id", type="int", base="int4", toastable=False, length=4)
    given = replace(table(identity, number, note), identity_index=("id",))
    own, other = (
        {f for f in map_table(given, "topic", "dw", TableOptions(**options), engine)[1] if f.level == "error"}
        for engine in ("connect", "embedded")
    )
    return [str(finding) for finding in own - other]


def test_what_debezium_loses_is_refused():
    (refusal,) = refused("default", column("note"))
    assert refusal.startswith("public.orders (note): an UPDATE leaves out large values")
    assert "REPLICA IDENTITY FULL" in refusal
    assert refused("full", column("note")) == []
    money = column("note", element="money", type="money[]")
    (refusal,) = refused("full", money, types={"note": "STRING"})
    assert refusal.startswith("public.orders (note): Debezium leaves money[] out")
    (refusal,) = refused("full", column("note", element="mood", element_enum=True))
    assert "exclude" in refusal
    # Either of two mends it, and they exclude each other: one is said.
    (refusal,) = refused("index", column("note"))
    assert "FULL" in refusal
    (refusal,) = refused("index", column("note", type="int", base="int4", toastable=False, length=4))
    assert refusal.endswith("REPLICA IDENTITY DEFAULT")


def test_settings_that_keep_a_flow_from_connect_are_in_its_plan():
    def errors(**changes: Any) -> list[str]:
        return [finding.text for finding in connect_findings(config(**changes)) if finding.level == "error"]

    assert errors() == []
    (socket,) = errors(source=SourceAccess("alias default", lambda: {**ACCESS, "host": "/run"}))
    assert "Debezium reads PostgreSQL over TCP" in socket
    (file,) = errors(kafka=lambda _role: {"bootstrap.servers": "k:1", "ssl.ca.location": "/etc/ca.pem"})
    assert "cannot read it" in file
    (address,) = errors(connect_url="connect:8083")
    assert "no http:// or https:// address" in address


def test_a_finding_is_said_once_with_all_that_it_is_about():
    finding = Finding("warning", "public.t", "it surprises", "do this", ("a", "b"))
    assert str(finding) == "public.t (a, b): it surprises. Do this"


def test_a_flow_of_the_other_engine_is_not_deployed():
    with pytest.raises(ConfigurationError, match=r"has the engine embedded: manage.py run_flow runs it"):
        Deployment(config(engine="embedded"))


def test_the_sink_connector_has_the_options_of_the_stream_loads():
    made = sink_connector_config(config(), MAPPING)
    assert made["topics"] == "orders.public.orders"
    assert made["sink.properties.merge_type"] == "MERGE"
    assert "dbint_sequence" in made["sink.properties.columns"]
    assert "pw-of-doris" not in json.dumps(masked(made))


# -- Kafka Connect's REST API


@pytest.fixture
def rest() -> Iterator[Any]:
    """A server that answers what the test puts into ``answers``, by path; and ``requests`` that it got."""

    class Handler(BaseHTTPRequestHandler):
        answers: dict[str, tuple[int, str]] = {}
        requests: list[tuple[str, str, str | None]] = []

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.requests.append((self.command, self.path, self.headers.get("Authorization")))
            status, text = self.answers.get(self.path, (404, '{"error_code": 404, "message": "none"}'))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of http.server

        def log_message(self, *_arguments: Any) -> None:
            pass

    Handler.answers, Handler.requests = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield Handler
    server.shutdown()
    server.server_close()


def test_the_state_of_a_connector_and_why_it_failed(rest):
    trace = (
        "org.apache.kafka.ConnectException: x\n\tat a.b\nCaused by: java.sql.SQLException: slot gone\n\tat"
    )
    tasks = [{"id": 0, "state": "FAILED", "trace": trace}]
    answer = {"name": "c", "connector": {"state": "RUNNING"}, "tasks": tasks}
    rest.answers["/connectors/c/status"] = (200, json.dumps(answer))
    found = KafkaConnect(rest.url).status("c")
    assert (found.state, found.tasks, found.error) == (
        "RUNNING",
        ("FAILED",),
        "java.sql.SQLException: slot gone",
    )
    assert found.has_failed
    assert not found.is_running
    assert KafkaConnect(rest.url).status("other").state == "ABSENT"
    with pytest.raises(OperationalError, match=r"connector c has failed: java.sql.SQLException: slot gone"):
        KafkaConnect(rest.url).wait_for("c", "RUNNING", 5)


def test_what_connect_refuses_is_told_in_its_words(rest):
    rest.answers["/x"] = (400, '{"error_code": 400, "message": "Connector configuration is invalid"}')
    with pytest.raises(
        ConnectRequestError, match=r"Connector configuration is invalid \(HTTP 400, PUT /x\)"
    ) as caught:
        KafkaConnect(rest.url)("PUT", "/x", {})
    assert caught.value.status == 400


def test_credentials_in_the_address_are_sent_and_not_shown(rest):
    rest.answers["/connectors"] = (200, "[]")
    address = rest.url.replace("http://", "http://me:s%40cret@")
    connect = KafkaConnect.of(config(connect_url=address))
    assert connect("GET", "/connectors") == []
    assert rest.requests[0][2] == "Basic bWU6c0BjcmV0"
    assert "s@cret" not in repr(connect)
    rest.answers["/connectors"] = (401, "")
    with pytest.raises(AuthenticationError) as caught:
        connect("GET", "/connectors")
    assert "cret" not in str(caught.value)


def test_something_else_than_connect_is_told_as_such(rest):
    rest.answers["/connectors"] = (200, "<html>hello</html>")
    with pytest.raises(OperationalError, match="does not answer as Kafka Connect does"):
        KafkaConnect(rest.url)("GET", "/connectors")
    with pytest.raises(UnreachableError, match=r"Kafka Connect at http://127.0.0.1:1 does not answer"):
        KafkaConnect("http://127.0.0.1:1")("GET", "/connectors")


NOWHERE: dict[str, Any] = {
    "source": SourceAccess("nowhere", lambda: {"host": "127.0.0.1", "port": "1"}),
    "target": TargetAccess("nowhere", "x", [("127.0.0.1", 1)], ["http://127.0.0.1:1"], lambda: ("", "")),
}


def failing(rest: Any) -> None:
    task = {"id": 0, "state": "FAILED", "trace": "java.lang.Error: it broke"}
    status = {"connector": {"state": "RUNNING"}, "tasks": [task]}
    rest.answers["/connectors/dbint-orders/status"] = (200, json.dumps(status))


def test_a_connector_that_fails_again_and_again_is_left_as_it_is(rest, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("dbint.flow.deployment.time", SimpleNamespace(monotonic=lambda: now[0]))
    restart = "/connectors/dbint-orders/restart?includeTasks=true&onlyFailed=true"
    failing(rest)
    deployment = Deployment(config(connect_url=rest.url, **NOWHERE))
    status = deployment.status()
    assert status.connector.has_failed
    (step,) = deployment.mend(status)  # Connect refuses, as while it rebalances: that is no restart
    assert str(step) == "could not restart connector dbint-orders"
    assert "HTTP 404" in step.detail
    rest.answers[restart] = (202, "")
    restarted_at = []
    while now[0] < 2000:
        if steps := deployment.mend(status):
            assert [step.action for step in steps] == ["restart"]
            restarted_at.append(now[0] - 1000)
        now[0] += 10
    assert restarted_at == [0, 10, 30, 70, 150]
    problems = " ".join(deployment.status().problems)
    assert "was started again 5 times and failed each time" in problems
    # Somebody has mended it: once it has run for a while it may fail again.
    running = replace(status, connector=ConnectorStatus("dbint-orders", "RUNNING", ("RUNNING",)))
    for _ in range(2):
        assert deployment.mend(running) == []
        now[0] += 200
    assert [step.action for step in deployment.mend(status)] == ["restart"]


def test_a_server_that_is_away_is_one_problem(rest):
    rest.answers["/connectors/dbint-orders/status"] = (503, '{"message": "it begins"}')
    status = Deployment(config(connect_url=rest.url, **NOWHERE)).status()
    assert (status.connector.state, status.slot, status.jobs) == ("UNKNOWN", None, ())
    assert [problem.partition(":")[0] for problem in status.problems] == [
        "Kafka Connect", "PostgreSQL (nowhere)", "Doris (nowhere) cannot be reached"]  # fmt: skip
    assert json.loads(json.dumps(status.to_json()))["well"] is False


def test_workers_without_debezium_are_told(rest):
    rest.answers["/connector-plugins"] = (200, '[{"class": "org.example.Other", "version": "1"}]')
    with pytest.raises(ConfigurationError, match="has no Debezium connector for PostgreSQL: unpack it"):
        KafkaConnect(rest.url).check_plugin()


# -- Routine Load


class _Shown(RoutineLoads):
    """Answers SHOW from a list of rows."""

    def __init__(self, flow: FlowConfig, rows: list[dict[str, Any]]) -> None:
        self.config = flow
        self.rows = rows

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        return [
            row for row in self.rows if "ALL" in statement or row["State"] not in ("STOPPED", "CANCELLED")
        ]


def shown(**changes: Any) -> dict[str, Any]:
    flow = config()
    digest = _Shown(flow, []).digest(MAPPING)
    return {
        "Id": "1", "Name": job_name(flow, MAPPING), "State": "RUNNING",
        "Comment": f"dbint {digest} flow orders",
        "Progress": '{"0":"41","1":"OFFSET_ZERO","2":"OFFSET_BEGINNING"}', "Lag": '{"0":3,"1":4}',
        "Statistic": '{"loadedRows": 7, "errorRows": 1}', "ReasonOfStateChanged": "", "ErrorLogUrls": "",
        **changes,
    }  # fmt: skip


def job(**changes: Any) -> Job:
    found = _Shown(config(), [shown(**changes)]).job(MAPPING)
    assert found is not None
    return found


def test_a_job_that_runs():
    found = job()
    assert found.is_well
    assert found.offsets == {0: 42, 1: 0, 2: "OFFSET_BEGINNING"}
    assert (found.lag, found.loaded_rows, found.error_rows) == (7, 7, 1)


@pytest.mark.parametrize(
    ("state", "reason", "cause"),
    [
        ("PAUSED", "ErrorReason{code=errCode = 100, msg='User root pauses routine load job'}", "paused"),
        ("PAUSED", "ErrorReason{code=errCode = 102, msg='current error rows is more than …'}", "bad_rows"),
        ("PAUSED", "ErrorReason{code=errCode = 105, msg='… Offset out of range …'}", "offset_gone"),
        ("PAUSED", "ErrorReason{code=errCode = 4, msg='Failed to get all partitions …'}", "failing"),
        ("PAUSED", "", "other"),
    ],
)
def test_why_a_job_stands_still(state, reason, cause):
    found = job(State=state, ReasonOfStateChanged=reason)
    assert (found.cause, found.is_well) == (cause, False)
    assert found.advice


def test_a_job_of_another_mapping_is_outdated():
    assert job(Comment="dbint 0123456789abcdef flow orders").cause == "outdated"


def test_a_job_is_sought_in_the_history_when_none_is_left():
    loads = _Shown(config(), [shown(State="STOPPED", Id="1"), shown(State="CANCELLED", Id="2")])
    assert loads.job(MAPPING) is None
    assert loads.status([MAPPING])[0].cause == "cancelled"
    assert _Shown(config(), []).status([MAPPING])[0].state == "ABSENT"


@pytest.mark.parametrize(
    ("target", "offsets"), [("orders", {0: 42, 1: 0, 2: "OFFSET_BEGINNING"}), ("12007", {})]
)
def test_a_table_that_was_made_anew_is_read_from_the_beginning(target, offsets, monkeypatch):
    made = []
    loads = _Shown(config(), [shown(State="STOPPED", TableName=target)])
    monkeypatch.setattr(loads, "create_statement", lambda _mapping, given: made.append(given) or "")
    Deployment(config(), dry_run=True)._job(loads, MAPPING, from_beginning=False)
    assert made == [offsets]


def test_the_statement_begins_where_it_is_told_and_limits_bad_rows():
    loads = _Shown(config(batch_seconds=2.5), [])
    statement = loads.create_statement(MAPPING, {1: 7, 0: "OFFSET_BEGINNING"})
    assert '"kafka_partitions" = "0,1"' in statement
    assert '"kafka_offsets" = "OFFSET_BEGINNING,7"' in statement
    assert '"max_error_number" = "0"' in statement
    assert '"max_batch_interval" = "3"' in statement
    assert "WITH MERGE" in statement
    assert '"property.kafka_default_offsets" = "OFFSET_BEGINNING"' in loads.create_statement(MAPPING)


def test_names_of_jobs_fit_and_differ():
    long = TableMapping(
        **{f: getattr(MAPPING, f) for f in MAPPING.__slots__} | {"source": "public." + "x" * 80}
    )
    other = TableMapping(
        **{f: getattr(MAPPING, f) for f in MAPPING.__slots__} | {"source": "public." + "x" * 81}
    )
    names = {job_name(config(), mapping) for mapping in (MAPPING, long, other)}
    assert len(names) == 3
    assert all(len(name) <= 64 for name in names)


def test_a_file_that_doris_cannot_read_is_refused():
    flow = config(kafka=lambda _role: {"bootstrap.servers": "k:1", "ssl.ca.location": "/etc/ca.pem"})
    with pytest.raises(
        ConfigurationError, match=r"ssl.ca.location is a file here, and Doris' backends cannot read it"
    ):
        _Shown(flow, []).create_statement(MAPPING)
    flow = config(
        kafka=lambda _role: {"bootstrap.servers": "k:1", "sasl.mechanisms": "PLAIN", "sasl.password": "x"}
    )
    assert '"property.sasl.mechanism" = "PLAIN"' in _Shown(flow, []).create_statement(MAPPING)
