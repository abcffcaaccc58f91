"""What the tests of the sink are made of: a flow with a table, messages as both engines write them, a sink
that runs in a thread.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pymysql

from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.mapping import ColumnMapping, TableMapping
from dbint.flow.sink import Sink
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, Message

PLACEHOLDER = "__debezium_unavailable_value"
COLUMNS = (
    ColumnMapping("id", "bigint", "id", "BIGINT"),
    ColumnMapping("name", "text", "name", "VARCHAR(20)", toast=True),
    ColumnMapping("amount", "integer", "amount", "INT"),
    ColumnMapping("doc", "text", "doc", "STRING", toast=True),
)
Row = dict[str, Any]


def change(
    op: str,
    *,
    number: int | None = None,
    sequence: tuple[int, int],
    after: Row | None = None,
    before: Row | None = None,
    flavour: str = "dbint",
    ts_ms: int | None = None,
    snapshot: bool = False,
) -> bytes:
    """The value of one message. ``after`` gets the key."""
    now = int(time.time() * 1000) if ts_ms is None else ts_ms
    if op in "cur":
        after = {"id": number, **(after or {})}
    if op == "d":
        before = {"id": number, "name": None, "amount": None, "doc": None} if before is None else before
    source = {
        "version": "dbint 0.1.0" if flavour == "dbint" else "3.7.0.Final",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": now,
        "snapshot": "true" if snapshot else "false",
        "db": "shop",
        "sequence": json.dumps([str(part) for part in sequence], separators=(",", ":")),
        "schema": "public",
        "table": "orders",
        "txId": 700,
        "lsn": sequence[1],
        "xmin": None,
    }
    envelope = {
        "before": before,
        "after": after,
        "source": source,
        "transaction": None,
        "op": op,
        "ts_ms": now,
    }
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()


def key(number: int) -> bytes:
    return b'{"id":%d}' % number


@dataclass
class Flow:
    """A flow of one table, its topic and its table in Doris."""

    config: FlowConfig
    mapping: TableMapping
    producer: KafkaProducer
    sql: Callable[..., tuple[tuple[Any, ...], ...]]
    doris: Any
    clock: int = 100
    sent: int = field(default=0)

    @property
    def topic(self) -> str:
        return self.mapping.topic

    def send(
        self,
        op: str,
        number: int | None = None,
        *,
        sequence: tuple[int, int] | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        flavour: str = "dbint",
        value: bytes | None = None,
        **fields: Any,
    ) -> None:
        """One change of a row with these ``fields``. Without a sequence it comes after those before."""
        self.clock += 1
        ts_ms, snapshot = fields.pop("ts_ms", None), fields.pop("snapshot", False)
        if value is None:
            row = {"name": None, "amount": None, "doc": None, **fields} if op in "cur" else None
            value = change(
                op,
                number=number,
                sequence=sequence or (self.clock, self.clock),
                after=row,
                flavour=flavour,
                ts_ms=ts_ms,
                snapshot=snapshot,
            )
        self.producer.enqueue(
            self.topic,
            value,
            key=None if number is None else key(number),
            headers=list(headers),
            partition=partition,
        )
        self.sent += 1

    def place(self) -> dict[str, Any]:
        """The arguments of flow_config for another process."""
        target = self.config.target
        return {
            "name": self.config.name,
            "bootstrap": self.config.kafka(None)["bootstrap.servers"],
            "sql": target.sql_addresses[0],
            "http": target.http_urls[0],
            "account": target.credentials(),
        }

    def flush(self) -> None:
        assert self.producer.flush(20) == 0

    def rows(self, columns: str = "id, name, amount, doc") -> tuple[tuple[Any, ...], ...]:
        return self.sql(f"SELECT {columns} FROM {self.mapping.target} ORDER BY 1")  # noqa: S608

    def committed(self) -> list[tuple[int | None, str | None]]:
        with KafkaConsumer(config=self.config.kafka("consumer"), group=self.config.group) as consumer:
            places = [(self.topic, number) for number in range(self.config.partitions)]
            rows = consumer.committed(places, 20)
        return [(row.offset if isinstance(row.offset, int) else None, row.metadata) for row in rows]

    def dead(self) -> list[Message]:
        found: list[Message] = []
        topic = self.config.dead_letter_topic
        with KafkaConsumer(config=self.config.kafka("consumer")) as consumer:
            consumer.assign([(topic, 0, "earliest")])
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                batch = consumer.poll_batch(timeout=1)
                found += batch or ()
                if batch is not None and batch.ends:
                    return found
        raise AssertionError("the topic of dead letters has no end")

    @contextmanager
    def running(self, config: FlowConfig | None = None, **options: Any) -> Iterator[Sink]:
        """A sink that runs in a thread; what it raises is raised at the end."""
        raised: list[BaseException] = []
        with Sink(config or self.config, [self.mapping], **options) as sink:

            def run() -> None:
                try:
                    sink.run()
                except BaseException as error:  # noqa: BLE001 - raised again below
                    raised.append(error)

            thread = threading.Thread(target=run, name="sink under test")
            thread.start()
            try:
                yield sink
            finally:
                sink.stop()
                thread.join(60)
                assert not thread.is_alive(), "the sink does not stop"
        if raised:
            raise raised[0]

    def drained(self, sink: Sink, timeout: float = 120) -> None:
        """Wait until the sink has landed all that was sent."""
        self.flush()
        wait_for(
            lambda: (
                sink.snapshot().lag_rows == 0
                and sum(p.loaded or 0 for p in sink.snapshot().partitions) >= self.sent
            ),
            timeout,
            lambda: str(sink.snapshot()),
        )

    def load(self, config: FlowConfig | None = None, **options: Any) -> Any:
        """Land all that was sent with a sink of its own; its last snapshot."""
        with self.running(config, **options) as sink:
            self.drained(sink)
        return sink.snapshot()


def wait_for(
    condition: Callable[[], object], timeout: float = 90, told: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain {told()}"
        time.sleep(0.05)


def flow_config(
    name: str,
    *,
    bootstrap: str,
    sql: tuple[str, int],
    http: str,
    account: tuple[str, str],
    source: SourceAccess | None = None,
    **options: Any,
) -> FlowConfig:
    """A flow of one table, as all processes of a test see it."""
    nowhere = SourceAccess("nowhere", lambda: {"host": "127.0.0.1", "port": 1, "connect_timeout": 2})
    return FlowConfig(
        name=name,
        source=source or nowhere,
        target=TargetAccess(
            name="emulator",
            database=name,
            sql_addresses=[sql],
            http_urls=[http],
            credentials=lambda: account,
        ),
        kafka=lambda role: {"bootstrap.servers": bootstrap},
        tables=("public.orders",),
        **{"partitions": 1, "batch_seconds": 0.2, "load_timeout": 60.0, "drain_timeout": 30.0, **options},
    )


def flow_mapping(config: FlowConfig) -> TableMapping:
    """Its table."""
    return TableMapping(
        source="public.orders",
        topic=config.topic("public.orders"),
        target_database=config.name,
        target_table="orders",
        columns=COLUMNS,
        key=("id",),
        buckets=1,
        properties={"replication_num": "1"},
    )


@contextmanager
def a_flow(kafka: Any, doris: Any, *, source: SourceAccess | None = None, **options: Any) -> Iterator[Flow]:
    """A flow with an empty topic and table of its own; both are gone at the end."""
    name = f"f{uuid.uuid4().hex[:10]}"
    account = (doris.credentials["username"], doris.credentials["password"])

    def sql(text: str) -> tuple[tuple[Any, ...], ...]:
        connection = pymysql.connect(
            host=doris.host, port=doris.ports["query"], user=account[0], password=account[1], autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall()

    bootstrap = f"{kafka.host}:{kafka.ports['bootstrap']}"
    config = flow_config(
        name,
        bootstrap=bootstrap,
        sql=(doris.host, doris.ports["query"]),
        http=f"http://{doris.host}:{doris.ports['http']}",
        account=account,
        source=source,
        **options,
    )
    mapping = flow_mapping(config)
    sql(f"CREATE DATABASE {name}")
    sql(mapping.create_table())
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(mapping.topic, config.partitions, 1)
        try:
            with KafkaProducer(bootstrap, linger=0.01) as producer:
                yield Flow(config, mapping, producer, sql, doris)
        finally:
            admin.delete_topic(mapping.topic)
            sql(f"DROP DATABASE {name} FORCE")


def widened(mapping: TableMapping) -> TableMapping:
    """The mapping with one column more."""
    return replace(mapping, columns=(*mapping.columns, ColumnMapping("extra", "integer", "extra", "INT")))
