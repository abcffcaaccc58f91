"""What is made of pgoutput's messages, against what Debezium's connector made of the same workload.

The workload of ``tests/golden/debezium`` runs on a real server; its slot is read by ``_core.decode_changes``
with the catalogue's answers of that server, and each message is held against the recorded one. Where ours is
different on purpose, ``DIFFERENT`` says so; nothing else may differ.
"""

# ruff: noqa: S608 - the names in the SQL are made here

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from dbint import _core
from dbint.errors import ConfigurationError
from stack import Endpoint, Stack
from tests.faults.events import superuser
from tests.golden.debezium import Sample, samples
from tests.golden.debezium.workload import NAMESPACE, PREFIX, PUBLICATION, ROWS, SCHEMA, STEPS

SLOT = f"decode_{uuid4().hex[:8]}"
PLACEHOLDER = "__debezium_unavailable_value"

# (table, column) -> (ours, Debezium's): what is different on purpose, value by value.
DIFFERENT: dict[tuple[str, str], tuple[tuple[Any, Any], ...]] = {
    # Debezium has years past the end of time for these, but not for timestamptz.
    ("every_type", "c_date"): (("infinity", "+5877611-06-21Z"),),
    ("every_type", "c_date2"): (("-infinity", "-5877611-06-22Z"),),
    ("every_type", "c_timestamp"): (("infinity", "+292278994-08-16T23:00:00Z"),),
    ("every_type", "c_timestamp2"): (("-infinity", "-292275055-05-16T23:00:00Z"),),
    # The end of a day is not its beginning.
    ("every_type", "c_time"): (("24:00:00Z", "00:00:00Z"),),
    # PostgreSQL's shortest text of the same float4.
    ("every_type", "c_real2"): ((1e-45, 1.4e-45),),
    # Arrays by way of java.sql.Time and java.sql.Timestamp lose microseconds, and days before 1582.
    ("every_type", "a_time"): ((["12:34:56.789012Z", None], ["12:34:56.789Z", None]),),
    ("every_type", "a_timestamp"): ((["0001-01-01T00:00:00Z"], ["0000-12-30T00:00:00Z"]),),
    # An element in quotes.
    ("every_type", "a_enum"): ((["happy", None, "with space"], None),),
    # null would be taken for the value.
    ("toast", "b"): ((PLACEHOLDER, None),),
    ("toast", "d"): ((PLACEHOLDER, None),),
}
OMITTED = {"a_money", "a_interval"}  # Debezium leaves these columns out


def _result(connection: psycopg.Connection[Any], question: str) -> list[list[str | None]]:
    """Rows as the server's text."""
    answer = connection.pgconn.exec_(question.encode())
    assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, answer.error_message
    return [
        [
            None if (value := answer.get_value(row, field)) is None else value.decode()
            for field in range(answer.nfields)
        ]
        for row in range(answer.ntuples)
    ]


def _changes(connection: psycopg.Connection[Any], slot: str, publication: str) -> list[tuple[int, bytes]]:
    with connection.transaction():
        connection.execute(_core.capture_settings())
        rows = connection.execute(
            "SELECT lsn - '0/0'::pg_lsn, data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL,"
            " 'proto_version', '1', 'publication_names', %s, 'messages', 'true')",
            [slot, publication],
        ).fetchall()
    return [(int(lsn), data) for lsn, data in rows]


def _decode(connection: psycopg.Connection[Any], slot: str, publication: str) -> list[tuple[Any, ...]]:
    return _core.decode_changes(
        _changes(connection, slot, publication),
        name=PREFIX,
        database="golden",
        version="3.7.0.Final",
        catalogue=lambda question: _result(connection, question),
        captured_us=1_700_000_000_123_456,
    )


@pytest.fixture(scope="module")
def database(stack: Stack, postgres: Endpoint) -> Iterator[psycopg.Connection[Any]]:
    """A database of this module's own, whose connection may make slots."""
    name = f"decode_{uuid4().hex[:8]}"
    with superuser(stack) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with superuser(stack, name) as connection:
                for extension in ("hstore", "ltree", "citext"):
                    connection.execute(f"CREATE EXTENSION {extension}")
                yield connection
        finally:
            admin.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
                [name],
            )
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def decoded(database: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """The messages of the workload."""
    database.execute(f"CREATE SCHEMA {NAMESPACE}")
    database.execute(
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLES IN SCHEMA {NAMESPACE}"
        " WITH (publish_via_partition_root = true)"
    )
    database.execute("SET TimeZone = UTC; SET lc_monetary = 'C'")
    database.execute(SCHEMA)
    for statement in ROWS:
        database.execute(statement)
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
    for _, statements in STEPS:
        with database.transaction():
            for statement in statements:
                database.execute(statement)
    database.execute("INSERT INTO golden.marker VALUES (1)")
    return _decode(database, SLOT, PUBLICATION)


@pytest.fixture(scope="module")
def pairs(decoded: list[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], Sample]]:
    recorded = [s for s in samples() if s.envelope["source"]["snapshot"] in ("false", None)]
    assert len(decoded) == len(recorded) > 70
    return list(zip(decoded, recorded, strict=True))


def test_tables_operations_and_order_are_debeziums(pairs: list[tuple[tuple[Any, ...], Sample]]) -> None:
    for (table, _, value, _), sample in pairs:
        envelope = json.loads(value)
        assert table == ".".join(
            filter(None, (sample.envelope["source"]["schema"], sample.envelope["source"]["table"]))
        )
        assert list(envelope) == list(sample.envelope)
        assert envelope["op"] == sample.envelope["op"]
        assert envelope["transaction"] is None


def test_sources_have_debeziums_fields(pairs: list[tuple[tuple[Any, ...], Sample]]) -> None:
    for (_, _, value, _), sample in pairs:
        ours, theirs = json.loads(value)["source"], sample.envelope["source"]
        assert list(ours) == list(theirs)
        same = (
            "version",
            "connector",
            "name",
            "db",
            "schema",
            "table",
            "xmin",
            "origin",
            "origin_lsn",
        )
        assert {f: ours[f] for f in same} == {f: theirs[f] for f in same}
        assert ours["snapshot"] == "false"  # a default, which Kafka Connect may be told to leave out
        assert (ours["txId"] is None) == (theirs["txId"] is None)
        assert ours["ts_ms"] == ours["ts_us"] // 1000
        assert ours["ts_ns"] == ours["ts_us"] * 1000


def test_sequences_rise_in_the_order_of_commits(decoded: list[tuple[Any, ...]]) -> None:
    found = []
    for _, _, value, _ in decoded:
        source = json.loads(value)["source"]
        high, low = json.loads(source["sequence"])
        assert int(low) == source["lsn"]
        found.append((int(high), int(low)))
    assert found == sorted(found)
    assert len(set(found)) > len(found) * 0.8


def test_keys_are_debeziums(pairs: list[tuple[tuple[Any, ...], Sample]]) -> None:
    compared = 0
    for (table, key, _, headers), sample in pairs:
        if table == "golden.by_index":
            continue  # its deletes do not say the primary key: Debezium makes {"id":0} of them
        theirs = None if sample.key is None else json.loads(sample.key)
        ours = None if key is None else json.loads(key)
        assert ours == theirs
        assert list(ours or ()) == list(theirs or ())
        for header in ("__debezium.newkey", "__debezium.oldkey"):
            assert (header in headers) == (header in sample.headers)
            if header in headers:
                assert headers[header].decode() == sample.headers[header]
                compared += 1
    assert compared >= 4


def test_a_key_that_deletes_do_not_have_is_the_replica_identity(
    pairs: list[tuple[tuple[Any, ...], Sample]],
) -> None:
    found = [
        (json.loads(v)["op"], json.loads(k)) for (table, k, v, _), _ in pairs if table == "golden.by_index"
    ]
    assert found == [
        ("c", {"code": "c"}),
        ("u", {"code": "c"}),
        ("d", {"code": "c"}),
        ("c", {"code": "d"}),
        ("u", {"code": "d"}),
        ("d", {"code": "d"}),
    ]


def _same(table: str, column: str, ours: Any, theirs: Any) -> bool:
    name = table.removeprefix("golden.")
    if (ours, theirs) in DIFFERENT.get((name, column), ()):
        return True
    if "numeric" in column and isinstance(ours, str) and ours != theirs:
        return "E" in theirs and Decimal(ours) == Decimal(theirs)  # Java's notation of the same number
    if isinstance(theirs, float):  # 100 and 100.0 are one number of JSON
        return isinstance(ours, int | float) and not isinstance(ours, bool) and ours == theirs
    return type(ours) is type(theirs) and bool(ours == theirs)


def test_rows_are_debeziums(pairs: list[tuple[tuple[Any, ...], Sample]]) -> None:
    wrong = []
    compared = 0
    for (table, _, value, _), sample in pairs:
        for side in ("before", "after"):
            ours, theirs = json.loads(value).get(side), sample.envelope.get(side)
            assert (ours is None) == (theirs is None), (table, side)
            if ours is None:
                continue
            assert [c for c in ours if c not in OMITTED] == list(theirs)
            for column in theirs:
                if side == "before" and ours[column] is None:
                    continue  # not in the log: Debezium puts the default there
                compared += 1
                if not _same(table, column, ours[column], theirs[column]):
                    wrong.append((table, side, column, ours[column], theirs[column]))
    assert not wrong
    assert compared > 600


def test_what_is_different_is_still_different(pairs: list[tuple[tuple[Any, ...], Sample]]) -> None:
    """So that the list above does not grow old."""
    seen = set()
    for (table, _, value, _), sample in pairs:
        ours, theirs = json.loads(value).get("after"), sample.envelope.get("after")
        for column in theirs or ():
            if ours[column] != theirs[column]:
                seen.add((table.removeprefix("golden."), column))
    assert set(DIFFERENT) <= seen


def test_columns_that_debezium_leaves_out_are_written(decoded: list[tuple[Any, ...]]) -> None:
    first = next(json.loads(v)["after"] for t, _, v, _ in decoded if t == "golden.every_type")
    assert first["a_money"] == ["1.50", None]
    assert first["a_interval"] == ["P0Y0M1DT0H0M0S", None]


def test_unchanged_values_are_named_in_a_header(decoded: list[tuple[Any, ...]]) -> None:
    found = [(json.loads(v)["op"], h.get("dbint.unchanged")) for t, _, v, h in decoded if t == "golden.toast"]
    assert found == [
        ("c", None),
        ("u", b"t,b,j,a,i,h,x,d"),
        ("u", b"b,j,a,i,h,x,d"),
        ("d", None),
        ("c", b"b,j,a,i,h,x,d"),
        ("d", None),
    ]


def test_the_whole_old_row_has_what_the_new_one_leaves_out(decoded: list[tuple[Any, ...]]) -> None:
    found = [(json.loads(v), h) for t, _, v, h in decoded if t == "golden.toast_full"]
    assert [e["op"] for e, _ in found] == ["c", "u", "d"]
    assert found[0][0]["after"]["t"] == found[1][0]["after"]["t"] != PLACEHOLDER
    assert not any(h for _, h in found)


# --- random rows: what the server reads back out of a message is what it wrote ---

_LETTERS = string.printable + "äß€漢字😀\u2028\x7f\x01"


def _text(rng: random.Random) -> str:
    return "".join(rng.choices(_LETTERS, k=rng.choice((0, 1, 5, 40, 300))))


def _day(rng: random.Random) -> str:
    return f"{rng.randint(1, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _clock(rng: random.Random) -> str:
    fraction = rng.choice(("", f".{rng.randint(0, 999999):06}", ".5"))
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}{fraction}"


def _zone(rng: random.Random) -> str:
    return f"{rng.choice('+-')}{rng.randint(0, 12):02}:{rng.choice((0, 30, 45)):02}"


def _interval(rng: random.Random) -> str:
    parts = [f"{rng.randint(-99, 99)} {unit}" for unit in ("years", "mons", "days") if rng.random() < 0.6]
    return " ".join([*parts, f"{rng.choice('+-')}{rng.randint(0, 300)}:{_clock(rng)[3:]}"])


def _number(rng: random.Random) -> str:
    digits = "".join(rng.choices(string.digits, k=rng.choice((1, 5, 30))))
    return f"{rng.choice(('', '-'))}{digits}{rng.choice(('', '.5', f'.{rng.randint(0, 10**12)}'))}"


def _object(rng: random.Random) -> str:
    return json.dumps(
        {_text(rng).replace("\0", ""): [rng.random(), None, _text(rng)]}, ensure_ascii=rng.random() < 0.5
    )


# type -> (a value as the server's input, what a message's value is cast from)
_RANDOM: dict[str, Callable[[random.Random], Any]] = {
    "boolean": lambda rng: rng.choice((True, False)),
    "smallint": lambda rng: rng.randint(-(2**15), 2**15 - 1),
    "integer": lambda rng: rng.randint(-(2**31), 2**31 - 1),
    "bigint": lambda rng: rng.randint(-(2**63), 2**63 - 1),
    "real": lambda rng: rng.choice((rng.uniform(-1e30, 1e30), rng.random(), "NaN", "Infinity", 0.0)),
    "double precision": lambda rng: rng.choice(
        (rng.uniform(-1e300, 1e300), rng.random(), "-Infinity", 5e-324)
    ),
    "numeric": _number,
    "numeric(30,10)": lambda rng: f"{rng.uniform(-1e15, 1e15):.6f}",
    "money": lambda rng: f"{rng.uniform(-1e12, 1e12):.2f}",
    "text": _text,
    "varchar(400)": _text,
    "uuid": lambda rng: str(uuid4()),
    "json": _object,
    "jsonb": _object,
    "bytea": lambda rng: rng.randbytes(rng.choice((0, 1, 2, 3, 700, 2000))),
    "date": _day,
    "time": _clock,
    "timetz": lambda rng: _clock(rng) + _zone(rng),
    "timestamp": lambda rng: f"{_day(rng)} {_clock(rng)}",
    "timestamp(3)": lambda rng: f"{_day(rng)} {_clock(rng)}",
    "timestamptz": lambda rng: f"{_day(rng)} {_clock(rng)}+00",
    "timestamptz(0)": lambda rng: f"{_day(rng)} {_clock(rng)}+00",
    "interval": _interval,
    "hstore": lambda rng: {_text(rng): rng.choice((_text(rng), None)) for _ in range(rng.randint(0, 4))},
    "varbit": lambda rng: "1" + "".join(rng.choices("01", k=rng.choice((0, 7, 8, 30)))),
    "text[]": lambda rng: [rng.choice((_text(rng), None, "NULL", "")) for _ in range(rng.randint(0, 4))],
    "integer[]": lambda rng: [[rng.randint(-9, 9) for _ in range(3)] for _ in range(rng.randint(1, 3))],
    "hstore[]": lambda rng: [{_text(rng): _text(rng)}, None],
}


def _given(kind: str, value: Any) -> Any:
    """A random value as a parameter."""
    if kind == "hstore":
        return "".join(
            f'"{_quoted(k)}"=>' + ("NULL," if v is None else f'"{_quoted(v)}",') for k, v in value.items()
        ).rstrip(",")
    if kind == "hstore[]":
        return [None if v is None else _given("hstore", v) for v in value]
    return value


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _back(kind: str, value: Any) -> Any:
    """What a message says, as a parameter of the same type."""
    if value is None:
        return None
    if kind == "bytea":
        return base64.b64decode(value, validate=True)
    if kind == "varbit":
        raw = base64.b64decode(value, validate=True)
        return format(int.from_bytes(raw, "little"), "b")
    if kind == "hstore":
        return _given("hstore", json.loads(value))
    if kind == "hstore[]":
        return [_back("hstore", v) for v in value]
    if kind in ("date", "time"):
        return value.removesuffix("Z")
    return value


def _seen(value: str, kind: str) -> str:
    """What two values are compared by: a time of day by its moment."""
    return f"{value} AT TIME ZONE 'UTC'" if kind == "timetz" else value


@pytest.mark.parametrize("seed", range(3))
def test_random_rows_are_read_back_as_they_were(database: psycopg.Connection[Any], seed: int) -> None:
    rng = random.Random(f"decode {seed}")
    name, slot = f"random_{seed}", f"{SLOT}_{seed}"
    kinds = list(_RANDOM)
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(kinds))
    database.execute(
        f"SET TimeZone = UTC; SET lc_monetary = 'C'; CREATE TABLE {name} (id integer PRIMARY KEY, {columns})"
    )
    database.execute(f"CREATE PUBLICATION {name} FOR TABLE {name}")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    places = ", ".join(f"%s::{kind}" for kind in kinds)
    with database.transaction():
        for number in range(60):
            values = [
                None if rng.random() < 0.1 else _given(kind, make(rng)) for kind, make in _RANDOM.items()
            ]
            values = [v.replace("\0", "") if isinstance(v, str) else v for v in values]
            insert = f"INSERT INTO {name} VALUES (%s, {places})"
            database.execute(insert, [number, *values])
    found = _decode(database, slot, name)
    assert len(found) == 60
    same = ", ".join(
        f"({_seen(f'c{i}', kind)})::text IS NOT DISTINCT FROM ({_seen(f'%s::{kind}', kind)})::text"
        for i, kind in enumerate(kinds)
    )
    for number, (table, key, value, headers) in enumerate(found):
        after = json.loads(value)["after"]
        assert (table, json.loads(key), headers) == (f"public.{name}", {"id": number}, {})
        back = [_back(kind, after[f"c{i}"]) for i, kind in enumerate(kinds)]
        question = f"SELECT {same} FROM {name} WHERE id = %s"
        row = database.execute(question, [*back, number]).fetchone()
        assert row is not None
        wrong = {
            kind: after[f"c{i}"] for i, (kind, equal) in enumerate(zip(kinds, row, strict=True)) if not equal
        }
        assert not wrong


# --- the catalogue is of now, the messages are of then ---


def _messages(
    database: psycopg.Connection[Any], name: str, before: tuple[str, ...], after: tuple[str, ...] = ()
) -> list[tuple[Any, ...]]:
    """What ``before`` (the first: the table's DDL) makes, when ``after`` has happened before it is read."""
    database.execute(before[0])
    database.execute(f"CREATE PUBLICATION {name} FOR TABLES IN SCHEMA public")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [f"{SLOT}_{name}"])
    try:
        for statement in (*before[1:], *after):
            database.execute(statement)
        return _decode(database, f"{SLOT}_{name}", name)
    finally:
        database.execute("SELECT pg_drop_replication_slot(%s)", [f"{SLOT}_{name}"])
        database.execute(f"DROP PUBLICATION {name}")


def _rows(found: list[tuple[Any, ...]]) -> list[Any]:
    return [json.loads(value)["after"] for _, _, value, _ in found]


@pytest.mark.parametrize(
    ("ddl", "key"),
    [
        ("(b text, a integer, PRIMARY KEY (a, b))", ["a", "b"]),
        ("(a integer PRIMARY KEY DEFERRABLE, b text)", ["a"]),
        ("(a integer, b text NOT NULL, UNIQUE (b))", ["b"]),
        ("(a integer NOT NULL UNIQUE, b text NOT NULL, CONSTRAINT aa UNIQUE (b, a))", ["b", "a"]),
        ("(a integer, b text UNIQUE)", None),  # NULLs may be the same
        ("(a integer NOT NULL, b text, UNIQUE (a) DEFERRABLE)", None),
        ("(a integer NOT NULL, b text, EXCLUDE (a WITH =))", None),
        ("(a integer PRIMARY KEY, b text NOT NULL, UNIQUE (a) INCLUDE (b))", ["a"]),
    ],
)
def test_the_key_of_a_table(database: psycopg.Connection[Any], ddl: str, key: list[str] | None) -> None:
    name = f"key_{uuid4().hex[:8]}"
    found = _messages(
        database, name, (f"CREATE TABLE {name} {ddl}", f"INSERT INTO {name} (a, b) VALUES (1, 'x')")
    )
    assert [None if k is None else list(json.loads(k)) for _, k, _, _ in found] == [key]


@pytest.mark.parametrize(
    ("index", "key"),
    [
        ("UNIQUE INDEX {0}_i ON {0} (b, a)", ["a"]),  # holds the primary key: deletes tell it
        ("UNIQUE INDEX {0}_i ON {0} (b)", ["b"]),
    ],
)
def test_the_key_with_an_index_as_identity(
    database: psycopg.Connection[Any], index: str, key: list[str]
) -> None:
    name = f"identity_{uuid4().hex[:8]}"
    table = f"CREATE TABLE {name} (a integer PRIMARY KEY, b text NOT NULL)"
    found = _messages(
        database,
        name,
        (
            f"{table}; CREATE {index.format(name)}; ALTER TABLE {name} REPLICA IDENTITY USING INDEX {name}_i",
            f"INSERT INTO {name} VALUES (1, 'x')",
            f"UPDATE {name} SET b = 'y'",
            f"DELETE FROM {name}",
        ),
    )
    assert {tuple(json.loads(k)) for _, k, _, _ in found} == {tuple(key)}
    assert json.loads(found[-1][1]) == {c: {"a": 1, "b": "y"}[c] for c in key}


def test_types_are_known_that_no_column_has_any_more(database: psycopg.Connection[Any]) -> None:
    name = f"then_{uuid4().hex[:8]}"
    found = _messages(
        database,
        name,
        (
            f"CREATE TYPE {name}_mood AS ENUM ('happy', 'sad'); CREATE DOMAIN {name}_amount AS numeric(10,2);"
            f" CREATE TABLE {name} (id integer PRIMARY KEY, mood {name}_mood, moods {name}_mood[],"
            f" amount {name}_amount, h hstore, n integer)",
            f"INSERT INTO {name} VALUES (1, 'happy', '{{sad,NULL}}', 1.5, 'a=>1', 7)",
        ),
        (
            f"ALTER TABLE {name} ALTER mood TYPE text, ALTER moods TYPE text[], ALTER amount TYPE float8,"
            " ALTER h TYPE text, ALTER n TYPE text",
        ),
    )
    then = {"id": 1, "mood": "happy", "moods": ["sad", None], "amount": "1.50", "h": '{"a":"1"}', "n": 7}
    # ALTER rewrites the table, but sends no row again.
    assert _rows(found) == [then]


def test_a_table_that_is_gone_is_still_read(database: psycopg.Connection[Any]) -> None:
    name = f"gone_{uuid4().hex[:8]}"
    found = _messages(
        database,
        name,
        (
            f"CREATE TABLE {name} (id integer PRIMARY KEY, h hstore)",
            f"INSERT INTO {name} VALUES (1, 'a=>1')",
        ),
        (f"DROP TABLE {name}",),
    )
    assert [(t, json.loads(k)) for t, k, _, _ in found] == [(f"public.{name}", {"id": 1})]
    assert _rows(found) == [{"id": 1, "h": '{"a":"1"}'}]


def test_types_are_followed_down(database: psycopg.Connection[Any]) -> None:
    name = f"deep_{uuid4().hex[:8]}"
    found = _messages(
        database,
        name,
        (
            f"CREATE DOMAIN {name}_ints AS integer[]; CREATE DOMAIN {name}_small AS {name}_ints;"
            f" CREATE DOMAIN {name}_word AS text; CREATE TYPE {name}_pair AS (a integer, b text);"
            f" CREATE TYPE {name}_span AS RANGE (subtype = time);"
            f" CREATE TABLE {name} (id integer PRIMARY KEY, ints {name}_small, words {name}_word[],"
            f" pair {name}_pair, pairs {name}_pair[], boxes box[], vec int2vector, span {name}_span,"
            f" lists {name}_ints[])",
            f"""INSERT INTO {name} VALUES (1, '{{1,2}}', '{{a,"b c"}}', '(1,x)', '{{"(1,x)"}}',
                '{{(1,1),(0,0);(2,2),(1,1)}}', '1 2', '[00:00:00,12:00:00)', '{{"{{1}}","{{2}}"}}')""",
        ),
    )
    (row,) = _rows(found)
    assert row["ints"] == [1, 2]
    assert row["words"] == ["a", "b c"]
    assert base64.b64decode(row["pair"]) == b"(1,x)"
    assert [base64.b64decode(p) for p in row["pairs"]] == [b"(1,x)"]
    assert [b["extensions"] for b in row["boxes"]] == [{"type": "box"}, {"type": "box"}]
    assert base64.b64decode(row["vec"]) == b"1 2"
    assert base64.b64decode(row["span"]) == b"[00:00:00,12:00:00)"
    assert [base64.b64decode(p) for p in row["lists"]] == [b"{1}", b"{2}"]


def test_without_the_catalogue_the_identity_stands_for_the_key(database: psycopg.Connection[Any]) -> None:
    name = f"blind_{uuid4().hex[:8]}"
    database.execute(f"CREATE TABLE {name} (a integer, b integer, m numeric, h hstore, PRIMARY KEY (b, a))")
    database.execute(f"CREATE PUBLICATION {name} FOR TABLE {name}")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [f"{SLOT}_{name}"])
    database.execute(f"INSERT INTO {name} VALUES (1, 2, 1.50, 'a=>1')")
    ((table, key, value, _),) = _core.decode_changes(
        _changes(database, f"{SLOT}_{name}", name), name=PREFIX, database="golden", version="x"
    )
    assert (table, json.loads(key or b"")) == (f"public.{name}", {"a": 1, "b": 2})
    after = json.loads(value)["after"]
    assert after["m"] == "1.50"
    assert base64.b64decode(after["h"]) == b'"a"=>"1"'


# --- what is refused ---


def _pending(database: psycopg.Connection[Any], setting: str, *options: str) -> list[tuple[int, bytes]]:
    """A timestamptz and 2000 rows, read by a session with that setting."""
    name = f"refused_{uuid4().hex[:8]}"
    database.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, at timestamptz DEFAULT now())")
    database.execute(f"CREATE PUBLICATION {name} FOR TABLE {name}")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [f"{SLOT}_{name}"])
    database.execute(f"INSERT INTO {name} SELECT generate_series(1, 2000)")
    with database.transaction():
        database.execute(setting)
        rows = database.execute(
            "SELECT lsn - '0/0'::pg_lsn, data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL,"
            " VARIADIC %s)",
            [f"{SLOT}_{name}", ["publication_names", name, *options]],
        ).fetchall()
    return [(int(lsn), data) for lsn, data in rows]


@pytest.mark.parametrize("setting", ["SET LOCAL DateStyle = German", "SET LOCAL TimeZone = 'Europe/Berlin'"])
def test_another_session_is_refused_not_misread(database: psycopg.Connection[Any], setting: str) -> None:
    changes = _pending(database, setting, "proto_version", "1")
    with pytest.raises(Exception, match=r'column "at" of table public\.refused_.* \(type OID 1184\)'):
        _core.decode_changes(changes, name=PREFIX, database="golden", version="x")


def test_a_streamed_transaction_is_refused(database: psycopg.Connection[Any]) -> None:
    """It may be undone yet: a capture puts it aside, this function has nowhere to."""
    changes = _pending(
        database, "SET LOCAL logical_decoding_work_mem = '64kB'", "proto_version", "2", "streaming", "on"
    )
    assert any(data[:1] == b"S" for _, data in changes)
    with pytest.raises(ConfigurationError, match="proto_version 1"):
        _core.decode_changes(changes, name=PREFIX, database="golden", version="x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(1, b"")], "an empty replication message"),
        ([(1, b"I\0\0\0\1")], r"kind 'I' \(5 bytes\): no row at byte 5"),
        ([(1, b"I\0\0\0\1N\0\0")], "the table with OID 1, which no message has announced"),
        ([(1, b"b")], "no kind that protocol version 2"),
    ],
)
def test_messages_that_cannot_be_are_refused(changes: list[tuple[int, bytes]], message: str) -> None:
    with pytest.raises(Exception, match=message):
        _core.decode_changes(changes, name=PREFIX, database="golden", version="x")
