"""Record the samples anew: ``python -m tests.golden.debezium.record`` (PostgreSQL, Kafka and Kafka Connect of
its own)."""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from dbint.kafka import KafkaAdmin, KafkaConsumer
from stack import Stack
from stack.disposable import disposable_stack
from tests.faults.events import superuser
from tests.golden.debezium import DIRECTORY, Sample, line
from tests.golden.debezium.workload import NAMESPACE, PREFIX, PUBLICATION, ROWS, SCHEMA, STEPS

DATABASE = "golden"
SLOT = "golden"
WITNESS = "golden_witness"
SETTINGS = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "plugin.name": "pgoutput",
    "slot.name": SLOT,
    "publication.name": PUBLICATION,
    "publication.autocreate.mode": "disabled",
    "topic.prefix": PREFIX,
    "snapshot.mode": "initial",
    "tombstones.on.delete": "false",
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "interval.handling.mode": "string",
    "binary.handling.mode": "base64",
    "hstore.handling.mode": "json",
    "include.unknown.datatypes": "true",
    "unavailable.value.placeholder": "__debezium_unavailable_value",
    "skipped.operations": "none",
    "provide.transaction.metadata": "false",
    "poll.interval.ms": "50",
}


def access(server: Stack) -> dict[str, str]:
    """libpq's parameters, but for the database."""
    entry = server.entry("postgres")
    return {
        "host": entry.host,
        "port": str(entry.ports["sql"]),
        "user": entry.credentials["username"],
        "password": entry.credentials["password"],
    }


def prepare(server: Stack) -> psycopg.Connection[Any]:
    """The database with its tables and the publication; a connection of its owner's, with autocommit."""
    parameters = access(server)
    user = parameters["user"]
    with superuser(server) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER {user}")
    with superuser(server, DATABASE) as admin:
        for extension in ("hstore", "ltree", "citext"):
            admin.execute(f"CREATE EXTENSION {extension}")
        admin.execute(f"CREATE SCHEMA {NAMESPACE} AUTHORIZATION {user}")
        admin.execute(
            f"CREATE PUBLICATION {PUBLICATION} FOR TABLES IN SCHEMA {NAMESPACE}"
            " WITH (publish_via_partition_root = true)"
        )
    connection = psycopg.connect(
        **parameters, dbname=DATABASE, autocommit=True, options="-c TimeZone=UTC -c lc_monetary=C"
    )
    connection.execute(SCHEMA)
    for statement in ROWS:
        connection.execute(statement)
    return connection


def configuration(server: Stack) -> dict[str, str]:
    """The connector's, for the server's PostgreSQL."""
    entry = server.entry("postgres")
    return {
        **SETTINGS,
        "database.hostname": entry.host,
        "database.port": str(entry.ports["sql"]),
        "database.user": entry.credentials["username"],
        "database.password": entry.credentials["password"],
        "database.dbname": DATABASE,
        "schema.include.list": NAMESPACE,
    }


def call(server: Stack, method: str, path: str, body: Any = None) -> Any:
    endpoint = server.endpoint("kafka_connect")
    request = urllib.request.Request(
        f"http://{endpoint.host}:{endpoint.port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def wait_for_stream(server: Stack, connection: psycopg.Connection[Any], name: str) -> None:
    """Until the connector has done its snapshot and reads the slot."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            tasks = call(server, "GET", f"/connectors/{name}/status")["tasks"]
        except urllib.error.HTTPError as error:
            if error.code != 404:  # there is no status yet
                raise
            tasks = []
        for task in tasks:
            if task["state"] == "FAILED":
                sys.exit(task["trace"][:4000])
        found = connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
        ).fetchall()
        if found == [(True,)]:
            return
        time.sleep(0.3)
    sys.exit("the connector does not read the slot within 120 s")


def messages(
    bootstrap: str, prefix: str, *, until: str, timeout: float = 120.0, by_offset: bool = False
) -> list[Sample]:
    """All messages of the topics ``prefix.…``, when topic ``until`` has got one: in the order of the log, or
    of each partition.
    """
    deadline = time.monotonic() + timeout
    with KafkaAdmin(bootstrap) as admin, KafkaConsumer(bootstrap) as consumer:
        while until not in admin.topics():
            if time.monotonic() > deadline:
                sys.exit(f"no topic {until} within {timeout:.0f} s; there are {sorted(admin.topics())}")
            time.sleep(0.2)
        time.sleep(2)
        places = [
            (topic.name, partition.id)
            for topic in admin.topics().values()
            if topic.name.startswith(f"{prefix}.")
            for partition in topic.partitions
        ]
        ends = {place: consumer.watermarks(*place)[1] for place in places}
        consumer.assign([(*place, 0) for place in places])
        found = []
        while len(found) < sum(ends.values()) and time.monotonic() < deadline:
            batch = consumer.poll_batch(1000, timeout=0.5)
            found += [
                Sample(
                    m.topic,
                    m.partition,
                    None if m.key is None else m.key.decode(),
                    None if m.value is None else m.value.decode(),
                    {name: (value or b"").decode() for name, value in m.headers},
                )
                for m in batch or ()
            ]
    return found if by_offset else sorted(found, key=_place)


def _place(sample: Sample) -> tuple[int, int, int]:
    source = sample.envelope.get("source") or {}
    high, low = json.loads(source.get("sequence") or "[null, null]")
    return (source.get("snapshot") not in ("true", "first", "last", "first_in_data_collection",
            "last_in_data_collection"), int(high or 0), int(low or 0))  # fmt: skip


def stream(connection: psycopg.Connection[Any]) -> Iterator[dict[str, Any]]:
    """What pgoutput has sent to the witness."""
    rows = connection.execute(
        "SELECT lsn::text, xid::text, encode(data, 'hex') FROM pg_logical_slot_get_binary_changes(%s, NULL, "
        "NULL,"
        " 'proto_version', '1', 'publication_names', %s, 'messages', 'true')",
        [WITNESS, PUBLICATION],
    ).fetchall()
    for lsn, xid, data in rows:
        yield {"lsn": lsn, "xid": int(xid), "data": data}


_CATALOG = """
SELECT c.oid::int8, n.nspname, c.relname, c.relreplident::text, json_agg(json_build_object(
    'name', a.attname, 'type', a.atttypid::int8, 'typmod', a.atttypmod,
    'type_name', format_type(a.atttypid, a.atttypmod),
    'in_key', coalesce(a.attnum = ANY (k.conkey), false)) ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') GROUP BY 1, 2, 3, 4 ORDER BY 3
"""


def record(directory: Path) -> None:
    with disposable_stack() as server:
        server.up(["postgres", "kafka", "kafka_connect"])
        connection = prepare(server)
        catalog = connection.execute(_CATALOG, [NAMESPACE]).fetchall()
        connection.execute(f"SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")
        connection.execute(f"SELECT pg_create_logical_replication_slot('{WITNESS}', 'pgoutput')")
        call(server, "PUT", "/connectors/golden/config", configuration(server))
        wait_for_stream(server, connection, "golden")
        positions = []
        for name, statements in STEPS:
            before = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            with connection.transaction():
                xid = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
                for statement in statements:
                    connection.execute(statement)
            after = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            positions.append({"step": name, "before": before[0], "after": after[0], "xid": int(xid[0])})
        connection.execute("INSERT INTO golden.marker VALUES (1)")
        kafka = server.endpoint("kafka")
        found = messages(f"{kafka.host}:{kafka.port}", PREFIX, until=f"{PREFIX}.{NAMESPACE}.marker")
        offsets = call(server, "GET", "/connectors/golden/offsets")
        changes = list(stream(connection))
    (directory / "messages.jsonl").write_text("".join(line(s) + "\n" for s in found), encoding="utf-8")
    (directory / "stream.jsonl").write_text("".join(json.dumps(c) + "\n" for c in changes))
    tables = [
        dict(zip(("oid", "namespace", "name", "identity", "columns"), row, strict=True)) for row in catalog
    ]
    document = {"tables": tables, "steps": positions, "offsets": offsets}
    (directory / "catalog.json").write_text(
        json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"{len(found)} messages, {len(changes)} changes in {directory}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    record(parser.parse_args().directory)


if __name__ == "__main__":
    main()
