"""What tests of flows share: databases of their own on both sides, and messages as capture writes them."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dbint.flow.config import FlowConfig, SourceAccess, TableOptions, TargetAccess
from dbint.flow.mapping import TableMapping
from dbint.flow.plan import map_table
from dbint.flow.source import read_table
from tests.faults.events import superuser

EVERY_TYPE = """
CREATE TYPE {schema}.mood AS ENUM ('sad', 'glad');
CREATE DOMAIN {schema}.cents AS numeric(12, 2);
CREATE DOMAIN {schema}.price AS {schema}.cents;
CREATE TABLE {schema}.everything (
    id bigint, day date, label varchar(20),
    flag boolean, small smallint, medium integer, large bigint, number numeric(20, 5), free numeric,
    single real, double double precision, short varchar(10), fixed char(4), long text, bytes bytea,
    born date, at timestamp, at3 timestamp(3), zoned timestamptz, clock time, span interval, uid uuid,
    doc jsonb, raw json, feeling {schema}.mood, cost {schema}.price, address inet,
    numbers integer[], words text[], days date[], amounts numeric(8, 2)[],
    PRIMARY KEY (id, day, label)
)
"""
ROW: dict[str, Any] = {
    "id": 7,
    "day": "2026-11-22Z",
    "label": "a'\"b",
    "flag": True,
    "small": -3,
    "medium": 4,
    "large": 9007199254740993,
    "number": "123456789012345.12345",
    "free": "1e2000"[:1] + "0" * 50,
    "single": 1.5,
    "double": 0.1,
    "short": "äöü",
    "fixed": "ab  ",
    "long": "line\nbreak \\ \t \u0001 \U0001f600",
    "bytes": "AAEC/w==",
    "born": "1999-12-31Z",
    "at": "2026-11-22T01:02:03.123456Z",
    "at3": "2026-11-22T01:02:03.123Z",
    "zoned": "2026-11-22T00:02:03.5Z",
    "clock": "23:59:59.123456Z",
    "span": "P1Y2M3DT4H5M6.789S",
    "uid": "b7a1c7de-0000-4000-8000-00000000000f",
    "doc": '{"a": [1, null, "x"], "b": {"c": 1.5}}',
    "raw": "[1]",
    "feeling": "glad",
    "cost": "9.90",
    "address": "10.0.0.1/8",
    "numbers": [1, None, 3],
    "words": ["a", None, 'b"'],
    "days": ["2026-01-01Z"],
    "amounts": ["1.10", None],
}


def message(op: str, before: Any, after: Any, sequence: tuple[int | None, int]) -> dict[str, Any]:
    pair = json.dumps([None if part is None else str(part) for part in sequence], separators=(",", ":"))
    return {"before": before, "after": after, "source": {"sequence": pair, "lsn": 1}, "op": op}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(message).encode() for message in messages)


@pytest.fixture
def source(stack, postgres) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    schema = f"flow_{secrets.token_hex(4)}"
    with superuser(stack) as admin:
        admin.execute(f"CREATE SCHEMA {schema}")
        yield admin, schema
        admin.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def target(doris) -> Iterator[TargetAccess]:
    database = f"flow_{secrets.token_hex(4)}"
    access = TargetAccess(
        "the test's Doris",
        "",
        [(doris.host, doris.ports["query"])],
        [f"http://{doris.host}:{doris.ports['http']}"],
        lambda: (doris.credentials["username"], doris.credentials["password"]),
        replication_num=1,
    )
    with access.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database}")
    yield TargetAccess(
        access.name, database, access.sql_addresses, access.http_urls, access.credentials, replication_num=1
    )
    with access.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {database} FORCE")


def run(target: TargetAccess, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with target.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall())


def load(target: TargetAccess, mapping: TableMapping, body: bytes, options: Any = None) -> Any:
    with target.stream_load_client() as client:
        return client.load(
            target.database,
            mapping.target_table,
            body,
            label=f"t{secrets.token_hex(8)}",
            format="json",
            **(mapping.load_options() if options is None else options),
        )


def mapped(
    source: Any, table: str, target: TargetAccess, options: TableOptions | None = None
) -> TableMapping:
    connection, schema = source
    options = options or TableOptions(properties={"replication_num": "1"})
    mapping, findings = map_table(
        read_table(connection, f"{schema}.{table}"), f"t.{schema}.{table}", target.database, options
    )
    assert mapping is not None, findings
    return mapping


def config(stack: Any, source: Any, target: TargetAccess, *tables: str, **options: Any) -> FlowConfig:
    connection, schema = source
    return FlowConfig(
        name="orders",
        source=SourceAccess("the test's PostgreSQL", lambda: conninfo(connection)),
        target=target,
        kafka=lambda role: {},
        tables=tuple(f"{schema}.{table}" for table in tables),
        **options,
    )


def parameters_of(postgres: Any) -> dict[str, Any]:
    """Those of the database that a Django project of the tests has as its "default"."""
    account = postgres.credentials
    return {
        "host": postgres.host,
        "port": postgres.port,
        "user": account["username"],
        "password": account["password"],
        "dbname": account["database"],
    }


def conninfo(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    return {**connection.info.get_parameters(), "password": connection.info.password}
