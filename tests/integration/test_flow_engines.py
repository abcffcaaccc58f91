"""Engine "connect" against the real Debezium, Kafka Connect and Kafka, and the Doris emulator's Routine
Load."""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.connect import KafkaConnect
from dbint.flow.deployment import Deployment
from dbint.flow.plan import apply_plan, plan
from stack import Stack
from tests.faults.events import superuser

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

    def make_doris(self, config: FlowConfig) -> None:
        from dataclasses import replace

        connection = replace(config.target, database="").connect()
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {config.target.database}")
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
    active = "SELECT count(*) FROM pg_replication_slots WHERE database = %s AND active"
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
    with superuser(full_stack) as admin:
        until(lambda: admin.execute(active, [name]).fetchone() == (0,))
        admin.execute(drop, [name])
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


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
