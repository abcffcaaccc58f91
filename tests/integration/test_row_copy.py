"""RowEncoder against a real server: its bytes and ours, COPY of ours and INSERT of the values."""

import enum
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Json, Jsonb

from dbint._core import RowEncoder
from dbint.errors import InvalidEventError
from stack import Endpoint
from tests.golden_rows import CASES, Golden
from tests.row_strategies import COLUMNS

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def connection(postgres: Endpoint) -> Iterator[Connection]:
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.credentials["username"],
        password=postgres.credentials["password"],
        dbname=postgres.credentials["database"],
        autocommit=True,
    ) as made:
        yield made


def copy_out(connection: Connection, query: str) -> bytes:
    """What COPY … (FORMAT binary) sends, without header and trailer."""
    with connection.cursor().copy(f"COPY {query} TO STDOUT (FORMAT binary)") as copy:  # type: ignore[arg-type]
        sent = b"".join(copy)
    assert sent.startswith(HEADER)
    assert sent.endswith(TRAILER)
    return sent[len(HEADER) : -len(TRAILER)]


def copy_in(connection: Connection, table: str, tuples: Iterable[bytes]) -> None:
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:  # type: ignore[arg-type]
        copy.write(HEADER + b"".join(tuples) + TRAILER)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_golden_bytes_are_the_servers(connection: Connection, case: Golden) -> None:
    sent = copy_out(connection, f"(SELECT ({case.sql})::{case.type})")
    length = (-1 if case.bytes is None else len(case.bytes)).to_bytes(4, "big", signed=True)
    assert sent == b"\0\1" + length + (case.bytes or b"")


# --- the same values by COPY and by INSERT ---

NAMES = {type_text: f"c{i}" for i, type_text in enumerate(COLUMNS)}

CELLS = st.sampled_from(list(COLUMNS)).flatmap(
    lambda type_text: st.tuples(st.just(type_text), COLUMNS[type_text])
)
ROWS = st.lists(st.lists(CELLS, max_size=8).map(dict), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def tables(connection: Connection) -> Iterator[RowEncoder]:
    """Tables ``copied`` and ``inserted`` with a column of each type."""
    columns = {name: type_text for type_text, name in NAMES.items()}
    declared = ", ".join(f"{name} {type_text}" for name, type_text in columns.items())
    connection.execute("CREATE SCHEMA row_encoder")
    for table in ("copied", "inserted"):
        connection.execute(f"CREATE TABLE row_encoder.{table} ({declared})")  # type: ignore[arg-type]
    yield RowEncoder(columns, fill=dict.fromkeys(columns, "null"))
    connection.execute("DROP SCHEMA row_encoder CASCADE")


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def for_psycopg(type_text: str, value: Any) -> Any:
    """The value as psycopg wants it to be given."""
    if not type_text.startswith("json") or value is None:
        return value
    wrap = Jsonb if type_text.startswith("jsonb") else Json
    if type_text.endswith("[]"):
        return [None if item is None else wrap(item, dumps) for item in value]
    return wrap(value, dumps)


@settings(max_examples=300, deadline=None)
@given(rows=ROWS)
def test_copy_of_our_bytes_gives_what_insert_gives(
    connection: Connection, tables: RowEncoder, rows: list[dict[str, Any]]
) -> None:
    connection.execute("TRUNCATE row_encoder.copied, row_encoder.inserted")
    by_name = [{NAMES[type_text]: value for type_text, value in row.items()} for row in rows]
    copy_in(connection, "row_encoder.copied", [tables.encode(**row) for row in by_name])
    insert = f"INSERT INTO row_encoder.inserted VALUES ({', '.join(['%s'] * len(NAMES))})"  # noqa: S608 - constants
    connection.cursor().executemany(
        insert,  # type: ignore[arg-type]
        [[for_psycopg(type_text, row.get(type_text)) for type_text in NAMES] for row in rows],
    )
    copied, inserted = (copy_out(connection, f"row_encoder.{table}") for table in ("copied", "inserted"))
    assert copied == inserted


def test_what_the_encoder_takes_at_the_limits_the_server_takes(connection: Connection) -> None:
    """The widest values: had the encoder let pass too much, COPY would fail."""
    columns = {
        "n": "numeric",
        "small": "numeric(2,4)",
        "hundreds": "numeric(4,-2)",
        "j": "jsonb",
        "a": "int4[]",
    }
    deep: Any = 1
    for _ in range(1000):
        deep = [deep]
    rows = [
        (Decimal("9E+131071"), Decimal("0.00994"), 949949, deep, [[[[[[1]]]]]]),
        (Decimal("-1E-16383"), Decimal("0.0000499"), -99949, {"a": 10**4000, "b": 5e-324}, [None]),
        (Decimal("1." + "0" * 16383), Decimal("-0.0099"), 0, "x" * (1 << 20), []),
    ]
    declared = ", ".join(f"{name} {type_text}" for name, type_text in columns.items())
    connection.execute(f"CREATE TEMP TABLE limits ({declared})")  # type: ignore[arg-type]
    encoder = RowEncoder(columns)
    copy_in(connection, "limits", [encoder.encode(**dict(zip(columns, row, strict=True))) for row in rows])
    assert connection.execute("SELECT count(*), sum(scale(n)) FROM limits").fetchone() == (3, 2 * 16383)
    connection.execute("DROP TABLE limits")


@pytest.mark.parametrize(
    ("type_text", "value"),
    [
        ("numeric(2,4)", "0.00995"),
        ("numeric(4,-2)", "999950"),
        ("numeric(4,2)", "99.995"),
        ("numeric(4,2)", "Infinity"),
    ],
)
def test_what_the_encoder_finds_too_large_the_server_does(
    connection: Connection, type_text: str, value: str
) -> None:
    with pytest.raises(InvalidEventError, match=r"too large|infinite"):
        RowEncoder({"c": type_text}).encode(c=Decimal(value))
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        connection.execute(f"SELECT '{value}'::{type_text}")  # type: ignore[arg-type]


def test_text_goes_into_enums(connection: Connection) -> None:
    """An enum's oid is the database's own, so it cannot be declared; its bytes are those of text."""

    class Mood(enum.Enum):
        OK = "ok"

    connection.execute("CREATE TYPE mood AS ENUM ('ok', 'größe')")
    connection.execute("CREATE TEMP TABLE moods (m mood)")
    encoder = RowEncoder({"m": "text"})
    copy_in(
        connection, "moods", [encoder.encode(m="größe"), encoder.encode(m=Mood.OK), encoder.encode(m=None)]
    )
    assert connection.execute("SELECT m FROM moods ORDER BY m").fetchall() == [("ok",), ("größe",), (None,)]
    connection.execute("DROP TABLE moods")
    connection.execute("DROP TYPE mood")
