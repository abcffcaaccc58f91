"""From PostgreSQL's log to Kafka: the same changes, read by each contender from a slot of its own. Then from
Kafka into Doris, and how fresh rows are at the end of the whole way.
"""

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from bench.benches.produce import FastBroker
from bench.contenders.flow import flow_config
from bench.frame import BenchError, Contender, Ratio, Sample, run_contender
from bench.servers import Database, RoomyPostgres, private_servers
from dbint.errors import Error
from dbint.flow.config import FlowConfig
from dbint.flow.connect import KafkaConnect, connector_config, connector_name, first_offset
from dbint.flow.plan import apply_plan, plan
from dbint.flow.positions import format_lsn
from dbint.flow.removal import remove_flow
from dbint.kafka import KafkaAdmin, KafkaConsumer
from stack import Stack
from stack.servers.base import Command, Site
from stack.servers.doris import Doris
from stack.servers.kafka_connect import KafkaConnect as ConnectServer
from stack.state import Entry

CHANGES = 1_000_000
QUICK_DIVISOR = 50
PER_TRANSACTION = 10
PARTITIONS = 4
TIMEOUT = 900.0
SECONDS, PAUSE = 30, 0.01  # the whole flow: for so long, a transaction every so often
PUBLICATION, BASE_SLOT = "bench", "bench_base"
TABLE, FRESH = "public.bench_accounts", "public.bench_fresh"
# The shape of pgbench's accounts. 505 rows are there before, so that every UPDATE and DELETE finds one.
DEFINITION = """
CREATE TABLE bench_accounts
    (aid bigint PRIMARY KEY, bid int, abalance bigint, filler char(84), changed timestamptz);
INSERT INTO bench_accounts SELECT i, i % 10, 0, '', now() FROM generate_series(1, 505) AS i;
CREATE TABLE bench_fresh (LIKE bench_accounts INCLUDING ALL);
INSERT INTO bench_fresh SELECT i - 11, i, 0, '', now() FROM generate_series(1, 10) AS i;
CREATE TABLE bench_other (id int);
CREATE PUBLICATION bench FOR TABLE bench_accounts;
"""
# 5 rows inserted, 4 updated, 1 deleted, and a commit.
WORKLOAD = """
DO $$ BEGIN
    FOR i IN 101..{last} LOOP
        INSERT INTO bench_accounts SELECT i * 5 + k, k, i, 'a row of the benchmark', now()
            FROM generate_series(1, 5) AS k;
        UPDATE bench_accounts SET abalance = abalance + i, changed = now()
            WHERE aid BETWEEN (i - 50) * 5 + 2 AND (i - 50) * 5 + 5;
        DELETE FROM bench_accounts WHERE aid = (i - 100) * 5 + 1;
        COMMIT;
    END LOOP;
END $$
"""


class WholeConnect(ConnectServer):
    """The stack's worker with the whole compiler, and the heap and the collector of Kafka's own start script.

    The stack's own flags make it start sooner and run slower. Of contradicting flags Java takes the last.
    """

    def command(self, site: Site) -> Command:
        usual = super().command(site)
        before = usual.argv.index("-cp")
        own = ["-XX:TieredStopAtLevel=4", "-Xms256m", "-Xmx2g", "-XX:MaxDirectMemorySize=1g"]
        collector = ["-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
        return replace(usual, argv=[*usual.argv[:before], *own, *collector, *usual.argv[before:]])


class FlowBench:
    """The comparison of captures; docs/benchmarks.md says what is the same for all."""

    name = "flow"
    title = (
        f"changes from PostgreSQL's log to Kafka, {PER_TRANSACTION} a transaction, {PARTITIONS} partitions"
    )
    units = {"value": "changes/s", "p50": "s", "p99": "s", "cpu": "µs/change", "memory": "MiB"}
    contenders = (
        Contender("dbint", "dbint's capture"),
        Contender("debezium", "Debezium on Kafka Connect"),
        Contender("recvlogical", "pg_recvlogical, written to nowhere: the limit of any reader"),
        Contender("sink", "dbint's sink, from Kafka into the Doris emulator"),
        Contender("whole", "dbint's whole flow, a transaction every 10 ms: from commit to visible"),
    )
    ratios = (
        Ratio("rate_over_debezium", "value", "dbint", "debezium"),
        Ratio("rate_over_recvlogical", "value", "dbint", "recvlogical"),
        Ratio("debezium_cpu_over_dbint", "cpu", "debezium", "dbint"),
        Ratio("memory_over_debezium", "memory", "dbint", "debezium"),
        Ratio("cpu_us", "cpu", "dbint"),
        Ratio("sink_rate", "value", "sink"),
        Ratio("freshness_p50", "p50", "whole"),
        Ratio("freshness_p99", "p99", "whole"),
    )
    rounds = 3
    quick_rounds = 2  # what a round leaves behind must not disturb the next

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """Servers of the bench's own, and the changes in the log."""
        with private_servers(RoomyPostgres(), FastBroker(), WholeConnect(), Doris()) as servers:
            divisor = QUICK_DIVISOR if quick else 1
            try:
                yield Workload(servers, CHANGES // divisor, SECONDS // (4 if quick else 1)).run
            except (psycopg.Error, Error) as error:
                raise BenchError(f"the flow: {error}") from error


class Workload:
    """The changes, made once; each run reads them from a copy of the slot that stands before them."""

    def __init__(self, servers: Stack, count: int, seconds: int) -> None:
        self.count, self.seconds, self.servers = count, seconds, servers
        self.database = Database(servers)
        broker, doris = servers.endpoint("kafka"), servers.endpoint("doris")
        self.bootstrap = f"{broker.host}:{broker.port}"
        self.source = psycopg.conninfo.conninfo_to_dict(self.database.conninfo)
        self.target = {
            "host": doris.host,
            "query": doris.ports["query"],
            "http": doris.ports["http"],
            "user": doris.credentials["username"],
            "database": doris.credentials["database"],
        }
        self.environment = {
            **self.database.environment,
            "DORIS_PASSWORD": str(doris.credentials["password"]),
        }
        with self.database.connect() as connection:
            for statement in DEFINITION.strip().split(";\n"):
                connection.execute(statement)  # type: ignore[call-overload]
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [BASE_SLOT])
            connection.execute("SET synchronous_commit = off")
            connection.execute(WORKLOAD.replace("{last}", str(100 + count // PER_TRANSACTION)))  # type: ignore[call-overload]
            self.end = int(one(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
            # So that the log goes on behind the end, for whoever looks whether it is reached.
            connection.execute("INSERT INTO bench_other VALUES (1)")
            connection.execute("SET synchronous_commit = on")
            connection.execute("INSERT INTO bench_other VALUES (2)")

    def run(self, contender: str) -> Sample:
        """One contender once."""
        name = f"bench_{contender}_{uuid.uuid4().hex[:8]}"
        if contender == "sink":
            return self._sample(self._sink(name), self.count)
        if contender == "whole":
            found = self._whole(name)
            return self._sample(found, int(found["count"]), p50=found["p50"], p99=found["p99"])
        return self._sample(self._read(contender, name), self.count)

    def _sample(self, found: dict[str, Any], count: int, **more: float) -> Sample:
        figures = {
            "value": count / found["seconds"],
            "cpu": found["cpu_seconds"] / count * 1e6,
            "memory": found["peak_rss"] / 2**20,
            **more,
        }
        return Sample(figures, self.database.versions() | found.get("versions", {}))

    def _read(self, contender: str, name: str) -> dict[str, Any]:
        """The slot's changes into a topic of the contender's own; what the topic then holds is counted."""
        config = self._config(name=name)
        with self.database.connect() as connection:
            connection.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [BASE_SLOT, name])
            connection.execute("CHECKPOINT")
        if contender != "recvlogical":
            with KafkaAdmin(self.bootstrap) as admin:
                admin.create_topic(config.topic(TABLE), partitions=PARTITIONS)
        found = self._debezium(config) if contender == "debezium" else self._process(contender, name)
        if contender != "recvlogical" and (held := self._held(config)) != self.count:
            raise BenchError(f"{contender}: {self.count} changes were made, and {held} messages are there")
        with self.database.connect() as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
        with KafkaAdmin(self.bootstrap) as admin:
            admin.delete_if_there(config.topic(TABLE))
        return found

    def _sink(self, name: str) -> dict[str, Any]:
        """Messages that are in Kafka, into a new table of Doris, which then has to have PostgreSQL's rows."""
        flow = {"name": name, "publication": name}  # none: its removal leaves the one that the others read
        config = self._config(**flow)
        with self.database.connect() as connection:
            connection.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [BASE_SLOT, name])
        with KafkaAdmin(self.bootstrap) as admin:
            admin.create_topic(config.topic(TABLE), partitions=PARTITIONS)
        self._process("dbint", name)
        apply_plan(config, plan(config))
        found = self._contender("sink", flow, self.count)
        with self.database.connect() as connection:
            rows = one(connection, "SELECT count(*) FROM bench_accounts WHERE abalance <> 0")  # that changed
        self._clear(config, rows)
        return found

    def _whole(self, name: str) -> dict[str, Any]:
        """Rows that are written meanwhile, from their commit until they can be seen in Doris."""
        flow = {"name": name, "publication": name, "table": FRESH, "mode": "cdc_only"}
        config = self._config(**flow)
        apply_plan(config, plan(config))
        stop = threading.Event()
        writer = threading.Thread(target=self._write, args=(stop,))
        writer.start()
        try:
            found = self._contender("whole", flow, self.seconds)
        finally:
            stop.set()
            writer.join()
        self._clear(config, None)
        return found

    def _write(self, stop: threading.Event) -> None:
        """A transaction of ten changes every PAUSE seconds, in a table that no other contender reads."""
        with self.database.connect() as connection:
            while not stop.wait(PAUSE):
                connection.execute("UPDATE bench_fresh SET abalance = abalance + 1, changed = now()")

    def _contender(self, how: str, flow: dict[str, Any], amount: int) -> dict[str, Any]:
        given = {"flow": self._fields(flow), "source": self.source, "target": self.target}
        given["bootstrap"] = self.bootstrap
        command = [sys.executable, "-m", "bench.contenders.flow", how, json.dumps(given), str(amount)]
        return run_contender(command, timeout=TIMEOUT, environment=self.environment)

    def _clear(self, config: FlowConfig, rows: int | None) -> None:
        """Remove the flow and its table, of which ``rows`` says how many rows it has to have had."""
        target = f"`{config.target.database}`.`{config.name}`"
        with config.target.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {target}")  # noqa: S608 - a name of our own
            ((held,),) = cursor.fetchall()
            cursor.execute(f"DROP TABLE {target} FORCE")
        remove_flow(config, topics=True)
        if rows is not None and held != rows:
            raise BenchError(f"PostgreSQL has {rows} rows, and {held} are in Doris")

    def _fields(self, flow: dict[str, Any]) -> dict[str, Any]:
        usual = {"slot": flow["name"], "publication": PUBLICATION, "table": TABLE, "partitions": PARTITIONS}
        return usual | flow

    def _config(self, **flow: Any) -> FlowConfig:
        return flow_config(
            self._fields(flow), self.source, self.target, self.bootstrap, environment=self.environment
        )

    def _process(self, contender: str, name: str) -> dict[str, float]:
        command = [sys.executable, "-m", "bench.contenders.flow", contender, self.database.conninfo]
        command += [self.bootstrap, name, PUBLICATION, format_lsn(self.end), str(self.count)]
        return run_contender(command, timeout=TIMEOUT, environment=self.database.environment)

    def _held(self, config: FlowConfig) -> int:
        with KafkaConsumer(self.bootstrap) as consumer:
            marks = [consumer.watermarks(config.topic(TABLE), number, 10) for number in range(PARTITIONS)]
        return sum(high - low for low, high in marks)

    def _debezium(self, config: FlowConfig) -> dict[str, float]:
        """From the connector's start to its last message; the worker is up before, and counts alone."""
        worker = self.servers.endpoint("kafka_connect")
        connect = KafkaConnect(f"http://{worker.host}:{worker.port}")
        name = connector_name(config)
        properties = connector_config(config) | {"snapshot.mode": "no_data"}
        connect("POST", "/connectors", {"name": name, "config": properties, "initial_state": "STOPPED"})
        connect.wait_for(name, "STOPPED", 60)
        with self.database.connect() as connection:
            position = one(
                connection,
                "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s",
                config.slot,
            )
        connect("PATCH", f"/connectors/{name}/offsets", first_offset(config, position))
        entry = self.servers.entry("kafka_connect")
        cpu, begun = process_cpu(entry), time.perf_counter()
        connect("PUT", f"/connectors/{name}/resume")
        asked = begun
        while (held := self._held(config)) < self.count:
            now = time.perf_counter()
            if now - begun > TIMEOUT:
                raise BenchError(f"debezium: {held} of {self.count} messages after {TIMEOUT:g} s")
            if now - asked > 10:  # seldom, for the answer costs time of the processor that is measured
                asked = now
                if (status := connect.status(name)).has_failed:
                    raise BenchError(f"debezium: {status.error}")
            time.sleep(0.1)
        seconds, cpu = time.perf_counter() - begun, process_cpu(entry) - cpu
        found = {"seconds": seconds, "cpu_seconds": cpu, "peak_rss": process_peak(entry)}
        connect("DELETE", f"/connectors/{name}")
        self._release(config)
        return found

    def _release(self, config: FlowConfig) -> None:
        """Wait until the connector has let go of its slot."""
        query: LiteralString = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
        deadline = time.monotonic() + 60
        with self.database.connect() as connection:
            while one(connection, query, config.slot):
                if time.monotonic() > deadline:
                    raise BenchError("debezium: the connector was deleted, and its slot is still read")
                time.sleep(0.2)


def one(connection: psycopg.Connection, query: LiteralString, *parameters: str) -> Any:
    """The first column of the only row."""
    ((value, *_),) = connection.execute(query, parameters).fetchall()
    return value


def process_cpu(entry: Entry) -> float:
    """User and system seconds of a server's process so far."""
    fields = Path(f"/proc/{entry.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_peak(entry: Entry) -> int:
    """The most memory that it has held, in bytes."""
    for line in Path(f"/proc/{entry.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise BenchError("the worker has ended")
