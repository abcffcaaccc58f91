"""Engine "connect" against the real Debezium, Kafka Connect and Kafka, and the Doris emulator's Routine
Load."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from dbint.errors import ConfigurationError
from dbint.flow.capture import Capture
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.connect import KafkaConnect, connector_config, connector_name
from dbint.flow.deployment import Deployment
from dbint.flow.plan import apply_plan, plan
from dbint.flow.snapshot import Snapshot
from dbint.flow.status import flow_status
from stack import Stack
from tests.faults.events import superuser
from tests.golden.debezium import Sample, record, workload

pytestmark = pytest.mark.long  # Kafka Connect

SCHEMA = """
CREATE TABLE public.orders (id bigint PRIMARY KEY, customer text NOT NULL, amount numeric(12,2), placed
timestamptz,     note varchar(40), paid boolean, day date);
ALTER TABLE public.orders REPLICA IDENTITY FULL;
CREATE TABLE public.lines (order_id bigint, line integer, sku varchar(20), quantity integer,
    PRIMARY KEY (order_id, line));
"""
# Everything but what one engine alone has (TRUNCATE).
WORKLOAD = (
    "INSERT INTO orders VALUES (101, 'a', 1.5, '2026-11-22 12:00:00.123456+02', 'n', true, '2026-11-22')",
    "INSERT INTO lines SELECT 101, g, 'sku' || g, g FROM generate_series(1, 20) g",
    "UPDATE orders SET amount = 12345.67, note = NULL, paid = false WHERE id = 101",
    "UPDATE lines SET line = line + 100 WHERE line > 15",
    "DELETE FROM lines WHERE line = 3",
    "INSERT INTO orders VALUES (102, 'ü€😀 \"quoted\" \\ back', NULL, NULL, '', NULL, NULL)",
    "DELETE FROM orders WHERE id = 1",
    "INSERT INTO orders VALUES (1, 'again', 0, 'epoch', 'x', true, '1969-12-31')",
    "BEGIN; INSERT INTO orders VALUES (103, 'a', 1, NULL, NULL, NULL, NULL); UPDATE orders SET amount = 2 "
    "WHERE id = 103;"
    " DELETE FROM orders WHERE id = 103; INSERT INTO orders VALUES (103, 'b', 3, NULL, NULL, NULL, NULL); "
    "COMMIT",
    "UPDATE orders SET id = 104 WHERE id = 102",
)


def until(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.2)
    return found


class Flow:
    """A flow in a database and a Doris database of its own."""

    def __init__(self, server: Stack, database: str) -> None:
        self.server = server
        self.database = database
        self.postgres = server.entry("postgres")
        self.doris = server.endpoint("doris")
        self.kafka = server.endpoint("kafka")
        credentials = self.postgres.credentials
        self.parameters = {
            "host": self.postgres.host,
            "port": str(self.postgres.ports["sql"]),
            "user": credentials["username"],
            "password": credentials["password"],
            "dbname": database,
        }
        self.connection = psycopg.connect(**self.parameters, autocommit=True)

    def config(self, name: str, **changes: Any) -> FlowConfig:
        connect = self.server.endpoint("kafka_connect") if self.server.is_running("kafka_connect") else None
        user, password = self.doris.credentials["username"], self.doris.credentials["password"]
        return FlowConfig(
            **{
                "name": name,
                "source": SourceAccess("test", lambda: self.parameters),
                "target": TargetAccess(
                    "test",
                    changes.pop("doris_database", name),
                    [(self.doris.host, self.doris.ports["query"])],
                    [f"http://{self.doris.host}:{self.doris.ports['http']}"],
                    lambda: (user, password),
                    replication_num=1,
                ),
                "kafka": lambda _role: {"bootstrap.servers": f"{self.kafka.host}:{self.kafka.port}"},
                "tables": ("public.orders", "public.lines"),
                "partitions": 2,
                "engine": "connect",
                "connect_url": f"http://{connect.host}:{connect.port}" if connect else "",
                "connect_options": {"poll.interval.ms": "50"},
                **changes,
            }
        )

    def doris_rows(self, config: FlowConfig, sql: str) -> list[tuple[Any, ...]]:
        connection = config.target.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def make_doris(self, config: FlowConfig, *, apply: bool = True) -> None:
        connection = replace(config.target, database="").connect()
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {config.target.database}")
        if apply:
            apply_plan(config, plan(config))

    def is_equal(self, config: FlowConfig) -> bool:
        """Whether Doris has what PostgreSQL has."""
        orders = "SELECT id, customer, amount, placed, note, paid, day FROM orders ORDER BY id"
        lines = "SELECT order_id, line, sku, quantity FROM `lines` ORDER BY order_id, line"
        here = self.connection.execute(orders.replace("placed", "placed AT TIME ZONE 'UTC'")).fetchall()
        there = [
            (*row[:5], None if row[5] is None else bool(row[5]), row[6])
            for row in self.doris_rows(config, orders)
        ]
        if here != there:
            return False
        return self.connection.execute(lines.replace("`", "")).fetchall() == self.doris_rows(config, lines)

    def run_workload(self) -> None:
        for statement in WORKLOAD:
            self.connection.execute(statement)


@contextmanager
def captured(config: FlowConfig, connection: psycopg.Connection[Any]) -> Iterator[Capture]:
    """The embedded capture, from the slot; drained at the end."""
    with closing(Capture(config)) as capture:
        capture.prepare()
        capture.start()
        yield capture
        ((wanted,),) = connection.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
        ).fetchall()
        core = capture._core
        assert core is not None
        until(lambda: core.status()["confirmed"] >= wanted)
        capture.stop(20)
        assert capture.wait(25)


def sequence(sample: Sample) -> tuple[int, int]:
    high, low = json.loads(sample.envelope["source"]["sequence"])
    return int(high or 0), int(low)


def drop_database(server: Stack, name: str) -> None:
    """With its slots, when nobody reads them any more."""
    active = "SELECT count(*) FROM pg_replication_slots WHERE database = %s AND active"
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
    with superuser(server) as admin:
        until(lambda: admin.execute(active, [name]).fetchone() == (0,))
        admin.execute(drop, [name])
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def full_stack(stack: Stack) -> Iterator[Stack]:
    stack.up(["postgres", "kafka", "doris", "kafka_connect"])
    yield stack
    stack.stop("kafka_connect")


@pytest.fixture
def flow(full_stack: Stack) -> Iterator[Flow]:
    name = f"engines_{secrets.token_hex(3)}"
    with superuser(full_stack) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER {full_stack.entry('postgres').credentials['username']}")
    found = Flow(full_stack, name)
    found.connection.execute(SCHEMA)
    found.connection.execute(
        "INSERT INTO orders SELECT g, 'c' || g, g, now(), 'n', true, '2026-01-01'"
        " FROM generate_series(1, 50) g"
    )
    yield found
    found.connection.close()
    connect = full_stack.endpoint("kafka_connect")
    rest = KafkaConnect(f"http://{connect.host}:{connect.port}")
    for connector in rest("GET", "/connectors"):
        rest("DELETE", f"/connectors/{connector}")
    drop_database(full_stack, name)


def test_deployed_twice_is_deployed_once_and_the_end_state_is_equal(flow):
    config = flow.config(flow.database)
    flow.make_doris(config)
    dry = Deployment(config, dry_run=True).deploy()
    assert [step.action for step in dry] == ["create", "create", "create", "create", "create", "create"]
    assert all(flow.parameters["password"] not in step.detail for step in dry)
    assert flow.connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
    Deployment(config).deploy()
    until(lambda: flow.is_equal(config))
    flow.run_workload()
    until(lambda: flow.is_equal(config))
    assert Deployment(config).deploy() == []
    status = Deployment(config).status()
    assert status.problems == ()
    assert [job.lag for job in status.jobs] == [0, 0]
    seen = flow_status(config)
    assert (seen.level, seen.sink.rows, seen.sink.seconds) == ("ok", 0, 0.0)
    assert (seen.capture.bytes is not None, set(seen.capture.unknown) - {"seconds"}) == (True, {"rows"})
    assert seen.connector is not None
    assert seen.connector.is_running


def test_engines_take_turns_at_one_slot(flow):
    """Embedded, connect, embedded: no change is lost, none brings an older state back."""
    connect = flow.config(flow.database)
    embedded = replace(connect, engine="embedded")
    flow.make_doris(connect)
    with closing(Capture(embedded)) as capture:
        point = capture.prepare()
    Snapshot(embedded).run(point)
    with captured(embedded, flow.connection):
        flow.connection.execute("UPDATE orders SET customer = 'embedded' WHERE id < 10")
        flow.connection.execute("UPDATE orders SET amount = amount + 1 WHERE id = 20")

    flow.connection.execute("DELETE FROM orders WHERE id = 11; UPDATE orders SET note = 'gap' WHERE id = 12")
    deployment = Deployment(connect)
    deployment.deploy()
    assert any(
        step.subject.startswith(f"connector {connector_name(connect)} at ") for step in deployment.steps
    )
    flow.connection.execute("UPDATE orders SET customer = 'connect' WHERE id BETWEEN 5 AND 15")
    flow.connection.execute("INSERT INTO orders VALUES (11, 'again', 5, NULL, NULL, NULL, NULL)")
    flow.connection.execute("UPDATE orders SET amount = amount + 1 WHERE id = 20")
    until(lambda: flow.is_equal(connect))

    Deployment(connect).stop()
    flow.connection.execute("UPDATE orders SET amount = amount + 1 WHERE id = 20")
    with captured(embedded, flow.connection):
        flow.connection.execute("UPDATE orders SET customer = 'embedded again' WHERE id BETWEEN 8 AND 13")
        flow.connection.execute("DELETE FROM orders WHERE id = 1")
    Deployment(connect).resume()
    until(lambda: flow.is_equal(connect))

    Deployment(connect).deploy()
    flow.connection.execute("UPDATE orders SET amount = amount + 1 WHERE id = 20")
    until(lambda: flow.is_equal(connect))

    found = record.messages(f"{flow.kafka.host}:{flow.kafka.port}", connect.prefix,
                            until=f"{connect.prefix}.public.orders", by_offset=True)  # fmt: skip
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    engines = set()
    for sample in found:
        if sample.topic.endswith(".orders"):
            engines.add("dbint" if "dbint" in sample.envelope["source"]["version"] else "debezium")
            assert sample.envelope["op"] != "r" or "dbint" in sample.envelope["source"]["version"]
            key = (sample.topic, sample.key or "")
            assert sequence(sample)[0] > 0
            assert sequence(sample) >= newest.get(key, (0, 0)), (sample, newest[key])
            newest[key] = sequence(sample)
    assert engines == {"dbint", "debezium"}


def test_what_is_in_the_way_is_told_and_mended(flow):
    """A row that Doris refuses, a table that changes, a server that restarts; and what deploy refuses."""
    config = flow.config(flow.database)
    flow.make_doris(config, apply=False)
    with pytest.raises(ConfigurationError, match=r"flow_plan .* shows what is missing, with --apply it is"):
        Deployment(config).deploy()
    apply_plan(config, plan(config))
    flow.connection.execute("ALTER TABLE orders REPLICA IDENTITY DEFAULT")
    with pytest.raises(
        ConfigurationError, match=r"public.orders \(customer.*\): an UPDATE leaves out large values"
    ):
        Deployment(config).deploy()
    flow.connection.execute("ALTER TABLE orders REPLICA IDENTITY FULL")
    Deployment(config).deploy()
    until(lambda: flow.is_equal(config))

    # a value that the column in Doris cannot hold: passed by, and told
    flow.connection.execute("ALTER TABLE lines ALTER sku TYPE varchar(200)")
    flow.connection.execute("INSERT INTO lines VALUES (7, 1, repeat('x', 150), 1), (7, 2, 'fits', 1)")
    status = until(lambda: next((s for s in [Deployment(config).status()] if s.problems), None))
    assert "is PAUSED" in status.problems[0]
    assert "flow_deploy --resume and flow_verify --repair" in status.problems[0]
    assert "/api/_load_error_log" in status.problems[0]
    apply_plan(config, plan(config))
    actions = [step.action for step in Deployment(config).deploy()]
    assert actions in (["replace"], [])  # the same clauses, or others
    Deployment(config).resume()
    flow.connection.execute("UPDATE lines SET quantity = 2 WHERE order_id = 7")
    until(lambda: flow.is_equal(config))

    # the connector's session ends, then its worker dies: what is told, and that nothing is lost
    flow.connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    flow.connection.execute("INSERT INTO lines VALUES (8, 1, 'after', 1)")
    deployment = Deployment(config)
    deadline = time.monotonic() + 120
    while not flow.is_equal(config):
        assert time.monotonic() < deadline, deployment.status()
        deployment.mend(deployment.status())
        time.sleep(1)
    flow.server.kill("kafka_connect")
    flow.connection.execute(
        "DELETE FROM lines WHERE order_id = 8; INSERT INTO lines VALUES (9, 1, 'then', 1)"
    )
    assert "does not answer" in deployment.status().problems[0]
    flow.server.start("kafka_connect")
    until(lambda: flow.is_equal(config), 120)

    Deployment(config).remove()
    status = Deployment(config).status()
    assert (status.connector.state, [job.state for job in status.jobs]) == ("ABSENT", ["ABSENT", "ABSENT"])
    with pytest.raises(
        ConfigurationError, match=r"the first load of public\.orders, public\.lines is not complete"
    ):
        Deployment(config).deploy()


# Where the embedded capture writes something else than Debezium 3.7.0.Final, which loses or bends these
# values.
DEVIATIONS = {
    "golden.every_type": {
        "a_enum", "a_interval", "a_money", "a_time", "a_timestamp",
        "c_date", "c_date2", "c_real2", "c_time", "c_timestamp", "c_timestamp2",
    },
    "golden.toast": {"b", "d"},
}  # fmt: skip


def test_both_engines_write_the_same_messages(full_stack):
    """One workload with every type and every kind of change, through both at once; field by field."""
    connection = record.prepare(full_stack)
    kafka, connect = full_stack.endpoint("kafka"), full_stack.endpoint("kafka_connect")
    bootstrap = f"{kafka.host}:{kafka.port}"
    rest = KafkaConnect(f"http://{connect.host}:{connect.port}")
    parameters = {**record.access(full_stack), "dbname": record.DATABASE}
    tables = connection.execute(
        "SELECT 'golden.' || relname FROM pg_class WHERE relnamespace = 'golden'::regnamespace AND"
        " relkind IN ('r', 'p') AND NOT relispartition AND relname NOT IN ('insert_only', 'by_index')"
    ).fetchall()
    config = FlowConfig(
        name="golden_own", prefix="own", mode="cdc_only", partitions=1, messages=("prefix",),
        tables=tuple(row[0] for row in tables),
        source=SourceAccess("test", lambda: parameters),
        target=TargetAccess("none", "none", [("127.0.0.1", 1)], ["http://127.0.0.1:1"], lambda: ("", "")),
        kafka=lambda _role: {"bootstrap.servers": bootstrap},
    )  # fmt: skip
    deployed = replace(
        config, name="golden", prefix="golden", slot="golden", publication=workload.PUBLICATION,
        engine="connect", connect_options={"poll.interval.ms": "50"},
    )  # fmt: skip
    try:
        rest("PUT", "/connectors/golden/config", connector_config(deployed))
        record.wait_for_stream(full_stack, connection, "golden")
        with captured(config, connection):
            for _, statements in workload.STEPS:
                with connection.transaction():
                    for statement in statements:
                        connection.execute(statement)
            connection.execute("INSERT INTO golden.marker VALUES (1)")
            theirs = record.messages(bootstrap, "golden", until="golden.golden.marker")
        ours = record.messages(bootstrap, "own", until="own.golden.marker")
        # A table without identity, which is refused; and one that engine connect refuses, for Debezium's
        # deletes of it have a made-up key.
        left_out = ("golden.golden.insert_only", "golden.golden.by_index")
        compare(ours, [s for s in theirs if s.topic not in left_out])
    finally:
        rest("DELETE", "/connectors/golden")
        connection.close()
        drop_database(full_stack, record.DATABASE)


def compare(ours: list[Sample], theirs: list[Sample]) -> None:
    """The messages of each topic, one by one; what may differ is checked for what it has to be."""
    assert {s.topic.partition(".")[2] for s in ours} == {s.topic.partition(".")[2] for s in theirs}
    differing: dict[str, set[str]] = {}
    for topic in sorted({s.topic.partition(".")[2] for s in ours}):
        mine, other = ([s for s in of if s.topic.partition(".")[2] == topic] for of in (ours, theirs))
        assert [s.key for s in mine] == [s.key for s in other], topic
        assert [s.envelope["op"] for s in mine] == [s.envelope["op"] for s in other], topic
        for a, b in zip(mine, other, strict=True):
            left, right = a.envelope, b.envelope
            assert list(left) == list(right)
            for row in ("before", "after"):
                differing.setdefault(topic, set()).update(differences(left.get(row), right.get(row)))
            sources = [dict(e["source"]) for e in (left, right)]
            assert list(sources[0]) == list(sources[1])
            sequences = [json.loads(source.pop("sequence")) for source in sources]
            assert sequences[0][1] == sequences[1][1]
            if left["op"] != "m":
                assert int(sequences[1][0] or 0) <= int(sequences[0][0])
            assert [(s.pop("version"), s.pop("name")) for s in sources][1] == ("3.7.0.Final", "golden")
            # A converter that leaves NULL alone in the rows leaves it here, too.
            assert (sources[0].pop("snapshot"), sources[1].pop("snapshot")) == ("false", None)
            if left["op"] != "m":  # a message outside of a transaction has no time of its own
                assert sources[0] == sources[1]
            assert left["transaction"] is right["transaction"] is None
            assert left.get("message") == right.get("message")
            own = {"__debezium.newkey", "__debezium.oldkey"}
            assert {h: v for h, v in a.headers.items() if h in own} == {
                h: v for h, v in b.headers.items() if h in own
            }
    assert {topic: columns for topic, columns in differing.items() if columns} == DEVIATIONS


def differences(left: dict[str, Any] | None, right: dict[str, Any] | None) -> set[str]:
    """The columns that do not have the same value; 1.0 and 1 are one."""
    if left is None or right is None:
        assert left is right
        return set()
    return {n for n in {*left, *right} if left.get(n) != right.get(n) or (n in left) != (n in right)}
