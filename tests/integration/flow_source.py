"""A database to be captured from, and what its flow has sent, for the tests of the flow."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dbint.flow.capture import Capture
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.slots import drop_slot, read_slot
from dbint.kafka import KafkaAdmin, KafkaConsumer, Message
from stack import Endpoint
from tests.integration.events_database import config_for, fresh_database

PARTITIONS = 2


def read_topic(bootstrap: str, topic: str, timeout: float = 30.0) -> list[Message]:
    """All messages from the beginning to the end of each partition; none when there is no such topic."""
    with KafkaAdmin(bootstrap) as admin:
        if topic not in admin.topics():
            return []
        numbers = [partition.id for partition in admin.topic(topic).partitions]
    messages: list[Message] = []
    ended: set[int] = set()
    deadline = time.monotonic() + timeout
    with KafkaConsumer(bootstrap) as consumer:
        consumer.assign([(topic, number, "earliest") for number in numbers])
        while len(ended) < len(numbers):
            assert time.monotonic() < deadline, f"read {len(messages)} messages of {topic}, no end"
            if (batch := consumer.poll_batch(10_000, timeout=5)) is not None:
                messages.extend(batch)
                ended.update(partition for _, partition, _, _ in batch.ends)
    return messages


def sequence(value: dict[str, Any]) -> tuple[int, int]:
    hi, lo = json.loads(value["source"]["sequence"])
    return int(hi or 0), int(lo)


def folded(messages: list[Message]) -> dict[str, dict[str, Any]]:
    """The table that the messages make: of each key the change with the highest sequence, as Doris keeps it.

    A message that comes again changes nothing; neither does an older one that comes late.
    """
    newest: dict[str, tuple[tuple[int, int], dict[str, Any] | None]] = {}
    emptied = (0, 0)
    for message in messages:
        value = json.loads(message.value or b"{}")
        at = sequence(value)
        if value["op"] == "t":
            emptied = max(emptied, at)
            continue
        assert message.key is not None
        key = message.key.decode()
        if key not in newest or at >= newest[key][0]:
            newest[key] = (at, None if value["op"] == "d" else value["after"])
    return {key: row for key, (at, row) in newest.items() if row is not None and at >= emptied}


@dataclass
class Source:
    """A database of the test's own with the flow that reads it."""

    connection: psycopg.Connection[Any]
    config: FlowConfig
    bootstrap: str

    def __call__(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description is not None else []

    def position(self) -> int:
        ((at,),) = self("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(at)

    def messages(self, table: str = "public.t") -> list[Message]:
        return read_topic(self.bootstrap, self.config.topic(table))

    def values(self, table: str = "public.t") -> list[dict[str, Any]]:
        return [json.loads(message.value or b"null") for message in self.messages(table)]

    def rows(self, table: str = "public.t") -> dict[str, dict[str, Any]]:
        """What the messages of a table make of it."""
        return folded(self.messages(table))

    @contextmanager
    def captured(self, **fields: Any) -> Iterator[Capture]:
        """A capture that runs meanwhile, drained at the end."""
        with closing(Capture(replace(self.config, **fields))) as capture:
            capture.prepare()
            capture.start()
            yield capture
            self.settle(capture)
            capture.stop(20)
            assert capture.wait(25)

    def settle(self, capture: Capture, timeout: float = 60.0) -> None:
        """Wait until all that has been committed is confirmed."""
        wanted, deadline = self.position(), time.monotonic() + timeout
        core = capture._core
        assert core is not None
        while core.status()["confirmed"] < wanted:
            assert not capture.wait(0.05), "it has ended"
            assert time.monotonic() < deadline, capture.status()


@contextmanager
def source_database(postgres: Endpoint, kafka: Endpoint, *statements: LiteralString) -> Iterator[Source]:
    """A fresh database with table ``public.t`` (or what the statements make), and a flow over it."""
    bootstrap = f"{kafka.host}:{kafka.port}"
    name = f"t{uuid.uuid4().hex[:10]}"
    with fresh_database(postgres) as database:
        access = config_for(postgres, database)
        parameters = {
            "host": access.host,
            "port": access.port,
            "dbname": database,
            "user": access.user,
            "password": access.password,
        }
        config = FlowConfig(
            name=name,
            source=SourceAccess("test", lambda: parameters),
            target=TargetAccess("none", "none", [("127.0.0.1", 1)], ["http://127.0.0.1:1"], lambda: ("", "")),
            kafka=lambda _role: {"bootstrap.servers": bootstrap},
            tables=("public.t",),
            partitions=PARTITIONS,
        )
        with closing(config.source.connect()) as connection:
            for statement in statements or ("CREATE TABLE t (id int PRIMARY KEY, name text, n bigint)",):
                connection.execute(statement)
            try:
                yield Source(connection, config, bootstrap)
            finally:
                with closing(config.source.connect()) as last:  # the other one may have been lost
                    if read_slot(last, config.slot) is not None:
                        drop_slot(last, config.slot)
        with KafkaAdmin(bootstrap) as admin:
            for topic in admin.topics():
                if topic.startswith(f"{name}."):
                    admin.delete_topic(topic)


def table_rows(source: Source, table: str = "t") -> dict[str, dict[str, Any]]:
    """What the table holds, as the messages would show it: whole rows of int and text columns."""
    query = sql.SQL("SELECT to_jsonb(t) FROM {} AS t").format(sql.Identifier(table))
    rows = [row for (row,) in source.connection.execute(query)]
    return {json.dumps({"id": row["id"]}, separators=(",", ":")): row for row in rows}
