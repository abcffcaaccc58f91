"""How rows are read out of bodies: the rules of Doris' readers, and random bodies that must come back.

Source: csv_reader.cpp, new_plain_text_line_reader.cpp, new_json_reader.cpp in be/src/format of apache/doris.
"""

import bz2
import datetime as dt
import decimal
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import orc

from dbint.emulators.doris.loads.csv_rows import CsvFormat, EnclosedRows, parse_csv
from dbint.emulators.doris.loads.formats import BLOCK
from dbint.emulators.doris.loads.json_rows import JsonFormat, extract, parse_json, parse_path
from tests.unit.emulators.conftest import Client
from tests.unit.emulators.test_stream_load import load, loaded

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
cursors: list[duckdb.DuckDBPyConnection] = []


@pytest.fixture(scope="module", autouse=True)
def cursor() -> Iterator[None]:
    """What the helpers below read with; hypothesis has no use for a fixture."""
    with duckdb.connect() as connection:
        cursors.append(connection)
        yield
        cursors.clear()


def csv(body: bytes, columns: int = 2, **options: Any) -> list[tuple[str | None, ...]]:
    names = [f"c{n}" for n in range(columns)]
    parsed = parse_csv(cursors[0], io.BytesIO(body), names, CsvFormat(**options))
    return cursors[0].execute(f"SELECT * FROM {parsed.relation}").fetchall()  # noqa: S608


def rows_of_json(body: bytes, *names: str, **options: Any) -> list[tuple[str | None, ...]]:
    parsed = parse_json(cursors[0], io.BytesIO(body), names, JsonFormat(**options))
    return cursors[0].execute(f"SELECT * FROM {parsed.relation}").fetchall()  # noqa: S608


# -- CSV


@FAST
@given(st.lists(st.tuples(TEXT, TEXT | st.none()), max_size=6), st.sampled_from(["\t", "||", "\x01"]))
def test_plain_csv_comes_back(rows: list[tuple[str, str | None]], separator: str) -> None:
    forbidden = ("\n", "\r", "\t", "|", "\x01")
    rows = [r for r in rows if not any(c in (v or "") for v in r for c in forbidden) and "\\N" not in r]
    null = "\\N"
    body = "".join(f"{a}{separator}{null if b is None else b}\n" for a, b in rows).encode()
    if body.startswith(b"\xef\xbb\xbf"):
        return  # a byte order mark is taken off
    assert csv(body, separator=separator) == rows


@FAST
@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), st.booleans(), st.sampled_from([",", "||"]))
def test_enclosed_csv_comes_back(rows: list[tuple[str, str]], crlf: bool, separator: str) -> None:
    """Every field enclosed, the characters that mean something escaped: whatever else may be in it."""

    def field(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    rows = [r for r in rows if r"\N" not in r]
    end = "\r\n" if crlf else "\n"
    body = "".join(separator.join(map(field, row)) + end for row in rows).encode()
    assert csv(body, separator=separator, enclose='"', escape="\\") == rows


@pytest.mark.parametrize(
    ("body", "options", "rows"),
    [
        (b"a,b\n", {}, [("a", "b")]),
        (b"a,b", {}, [("a", "b")]),
        (b"a,b\r\nc,d\r\n", {}, [("a", "b"), ("c", "d")]),
        (b"a,b\r", {}, [("a", "b\r")]),
        (b"\n\na,b\n\n", {}, [("a", "b")]),
        (b"\xef\xbb\xbfa,b\n", {}, [("a", "b")]),
        (b"\xef\xbb\xbfx,y\na,b\n", {"skip": 1}, [("a", "b")]),
        (b"\nx\na,b\n", {"skip": 2}, [("a", "b")]),
        (b",\n", {}, [("", "")]),
        (b",\n", {"empty_is_null": True}, [(None, None)]),
        (b"\\N,\\n\n", {}, [(None, "\\n")]),
        (b'"a","b"\n', {}, [('"a"', '"b"')]),
        (b'"a",b"\n', {"trim_quotes": True}, [("a", 'b"')]),
        (b'"\\N",\\N\n', {"trim_quotes": True}, [("\\N", None)]),
        (b'"\\N",b\n', {"enclose": '"'}, [(None, "b")]),
        (b'"a""b",c\n', {"enclose": '"'}, [('a""b', "c")]),
        (b'"a""b",c\n', {"enclose": '"', "escape": "\\"}, [('a"b', "c")]),
        (b'"a"x,c\n', {"enclose": '"'}, [('"a"x', "c")]),
        (b'"a,b\n"\n,c\n', {"enclose": '"'}, [("", "c")]),
        (b'"a,\n,b",c\n', {"enclose": '"'}, [("a,\n,b", "c")]),
        (b"a\\,b\n", {"escape": "\\"}, [("a", "b")]),
        (b"a\\xb,c\n", {"escape": "\\"}, [("axb", "c")]),
        (b"a,b;c,d;", {"delimiter": ";"}, [("a", "b"), ("c", "d")]),
        (b"aXXXXb\n", {"separator": "XX", "delimiter": "\\n"}, []),
    ],
)
def test_csv_rules(body: bytes, options: dict[str, Any], rows: list[tuple[str | None, ...]]) -> None:
    assert csv(body, **{"separator": ",", **options}) == rows


def test_bad_csv_rows_are_counted() -> None:
    body = b"a,b\nonly\na,b,c\n\xff,x\n"
    parsed = parse_csv(cursors[0], io.BytesIO(body), ["x", "y"], CsvFormat(separator=","))
    assert (parsed.good, parsed.bad) == (1, 3)
    assert parsed.bad_lines[0].startswith(
        "Reason: Invalid file encoding: all CSV files must be UTF-8 encoded. src line [\ufffd,x]"
    )
    assert parsed.bad_lines[1] == (
        "Reason: Column count mismatch: expected 2, but found 1 (sep:, delim:\\n). src line [only]; "
    )


@pytest.mark.parametrize("size", [1, 3, 7, 4096])
def test_bodies_come_in_any_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("dbint.emulators.doris.loads.formats.BLOCK", size)
    body = '"é,\n1",🦉\r\n"b",c\r\n'.encode() * 50
    assert csv(body, separator=",", enclose='"') == [("é,\n1", "🦉"), ("b", "c")] * 50
    plain = "é,🦉\r\nb,\\N\r\n".encode() * 50
    assert csv(plain, separator=",") == [("é", "🦉"), ("b", None)] * 50


# -- JSON


def json_values() -> st.SearchStrategy[Any]:
    return (
        st.none() | TEXT | st.integers(-(2**200), 2**200) | st.decimals(allow_nan=False, allow_infinity=False)
    )


@FAST
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values(), min_size=1), max_size=5))
def test_json_values_keep_their_text(rows: list[dict[str, Any]]) -> None:
    """Text is what it was; a number is what was written, to the last digit."""

    def written(value: Any) -> str:
        return str(value) if isinstance(value, int | decimal.Decimal) else json.dumps(value)

    lines = ["{" + ",".join(f'"{k}":{written(v)}' for k, v in row.items()) + "}" for row in rows]
    expected = [tuple(None if row.get(n) is None else str(row[n]) for n in ("a", "b", "c")) for row in rows]
    assert rows_of_json("\n".join(lines).encode(), "a", "b", "c") == expected


@pytest.mark.parametrize(
    ("body", "options", "rows"),
    [
        (b'{"a": 1.10, "b": 1e3}', {}, [("1.10", "1e3")]),
        (b'{"a": true, "b": false}', {}, [("1", "0")]),
        (b'{"a": {"x": [1.50, "y", null, true]}, "b": []}', {}, [('{"x":[1.50,"y",null,true]}', "[]")]),
        (b'{"a": 1, "a": 2, "b": 3}', {}, [("1", "3")]),
        (b'{"b": 1}', {"defaults": {"a": "7"}}, [("7", "1")]),
        (b'{"a": null, "b": 1}', {"defaults": {"a": "7"}}, [(None, "1")]),
        (b'\xef\xbb\xbf{"a": 1, "b": 2}\r\n{"a": 3}\r\n', {}, [("1", "2"), ("3", None)]),
        (b'[{"a": 1}, {"a": 2}]\n[{"b": 3}]', {"strip_outer_array": True}, [("1", None), ("2", None), (None, "3")]),  # noqa: E501
        (b'{\n "a": 1\n}', {"by_line": False}, [("1", None)]),
        (b'{"r": {"a": 1}}', {"root": "$.r"}, [("1", None)]),
        (b'{"x": {"y z": [5, 6]}, "q": 1}', {"paths": '["$.x.\\"y z\\"[1]", "$.q"]'}, [("6", "1")]),
        (b'{"q": 1}', {"paths": '["$.q"]'}, [("1", None)]),
        (b'{"q": 1}', {"paths": '["$.q", "$"]'}, [("1", '{"q": 1}')]),
        (b'{"q": 1}', {"paths": '["$.none", "$.q"]', "defaults": {"a": "d"}}, [("d", "1")]),
    ],
)  # fmt: skip
def test_json_rules(body: bytes, options: dict[str, Any], rows: list[tuple[str | None, ...]]) -> None:
    assert rows_of_json(body, "a", "b", **options) == rows


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$.a", ("a",)),
        ("$", ()),
        ("$.", ()),
        ("$.a.b[0][12].c", ("a", "b", 0, 12, "c")),
        ('$."a.b"."c"', ("a.b", "c")),
        ("$[3]", (3,)),
    ],
)
def test_json_paths(path: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


def test_what_a_path_finds() -> None:
    document = {"a": [{"b": None}, 5]}
    assert extract(document, ("a", 0, "b")) is None
    assert extract(document, ("a", 1)) == 5
    missing = extract(document, ("a", 2))
    assert missing is extract(document, ("x",)) is extract(document, ("a", "b"))


# -- loads


@pytest.fixture
def t(doris: Client) -> Client:
    doris.table(
        "id BIGINT NOT NULL, name VARCHAR(20) DEFAULT 'none', price DECIMAL(38, 9), at DATETIME(6), day DATE"
    )
    return doris


def columnar(kind: str) -> bytes:
    table = pa.table(
        {
            "ID": pa.array([1, 2], pa.int32()),
            "price": pa.array([decimal.Decimal("1.500000001"), None], pa.decimal128(38, 9)),
            "at": pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 678901), None], pa.timestamp("us")),
            "day": pa.array([dt.date(2024, 1, 2), None], pa.date32()),
        }
    )
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, out)
    elif kind == "orc":
        orc.write_table(table, out)
    else:
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "orc", "arrow"])
def test_columnar_formats(t: Client, kind: str) -> None:
    assert loaded(load(t, columnar(kind), format=kind)) == ("Success", 2, 0, 0)
    shown = "SELECT id, name, CAST(price AS STRING), CAST(at AS STRING), CAST(day AS STRING) FROM t"
    assert t.rows(f"{shown} ORDER BY id") == [
        (1, "none", "1.500000001", "2024-01-02 03:04:05.678901", "2024-01-02"),
        (2, "none", None, None, None),
    ]  # fmt: skip
    chosen = load(t, columnar(kind), format=kind, columns="id,at,name=concat('n', id)", where="id = 2")
    assert loaded(chosen) == ("Success", 1, 0, 1)
    assert t.rows("SELECT id, name FROM t ORDER BY id") == [(1, "none"), (2, "n2")]
    assert load(t, b"PAR1 is not that", format=kind)["Message"].startswith(
        f"[INTERNAL_ERROR]Failed to read the {kind} body"
    )


def test_moments_in_parquet_become_local_times(t: Client) -> None:
    out = io.BytesIO()
    at = pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"id": [1], "at": at}), out)
    load(t, out.getvalue(), format="parquet", timezone="Europe/Berlin")
    assert t.value("SELECT CAST(at AS STRING) FROM t") == "2024-01-01 01:00:00.000000"


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def lz4(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "lz4") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("kind", "compress"), [("bz2", bz2.compress), ("deflate", raw_deflate), ("lz4", lz4)]
)
def test_compression(t: Client, kind: str, compress: Any) -> None:
    body = b"".join(b"%d\tn\n" % n for n in range(1000))
    assert loaded(load(t, compress(body), columns="id,name", compress_type=kind)) == ("Success", 1000, 0, 0)
    rows = b"".join(b'{"id": %d}\n' % n for n in range(1000))
    assert loaded(load(t, compress(rows), format="json", compress_type=kind)) == ("Success", 1000, 0, 0)
    assert load(t, b"not that", columns="id,name", compress_type=kind)["Status"] == "Fail"


def test_defaults_are_per_row_in_json(t: Client) -> None:
    load(t, b'{"id": 1}\n{"id": 2, "name": "x"}\n{"id": 3, "name": null}\n', format="json")
    assert t.rows("SELECT id, name FROM t ORDER BY id") == [(1, "none"), (2, "x"), (3, None)]


def test_numbers_in_json_keep_their_digits(t: Client) -> None:
    load(t, b'{"id": 9007199254740993, "price": 12345678901234567890.123456789, "name": 1.10}', format="json")
    assert t.rows("SELECT id, CAST(price AS STRING), name FROM t") == [
        (9007199254740993, "12345678901234567890.123456789", "1.10")
    ]


def test_partitions_header(doris: Client) -> None:
    doris.run(
        "CREATE TABLE t (id BIGINT NOT NULL, v INT) DUPLICATE KEY(id) PARTITION BY RANGE(id) "
        "(PARTITION p1 VALUES LESS THAN ('10'), PARTITION p2 VALUES LESS THAN ('20')) "
        "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1')"
    )
    answer = load(doris, b"1\t1\n15\t1\n", partitions="p1", max_filter_ratio="0.5")
    assert loaded(answer) == ("Success", 1, 1, 0)
    assert "no partition for this tuple" in answer["FirstErrorMsg"]
    assert loaded(load(doris, b"1\t1\n15\t1\n", partitions="p1, p2")) == ("Success", 2, 0, 0)
    assert load(doris, b"1\t1\n", partitions="p3")["Message"].endswith("Unknown partition 'p3' in table 't'")


def test_new_keys_of_a_partial_update(t: Client) -> None:
    load(t, b"1\ta\n", columns="id,name")
    partial = {"columns": "id,name", "unique_key_update_mode": "UPDATE_FIXED_COLUMNS"}
    refused = load(t, b"1\tb\n7\tc\n", partial_update_new_key_behavior="error", **partial)
    assert "[E-7003]Can't append new rows in partial update" in refused["Message"]
    assert "Row with key=[7] is not in table." in refused["Message"]
    assert t.rows("SELECT id, name FROM t") == [(1, "a")]
    assert loaded(load(t, b"1\tb\n", partial_update_new_key_behavior="ERROR", **partial)) == (
        "Success",
        1,
        0,
        0,
    )
    assert loaded(load(t, b"7\tc\n", partial_update_new_key_behavior="APPEND", **partial)) == (
        "Success",
        1,
        0,
        0,
    )
    assert t.rows("SELECT id, name FROM t ORDER BY id") == [(1, "b"), (7, "c")]


def test_delete_sign(t: Client) -> None:
    load(t, b"1\ta\n2\tb\n", columns="id,name")
    load(t, b"1\tx\t1\n2\ty\t0\n", columns="id,name,__DORIS_DELETE_SIGN__")
    assert t.rows("SELECT id, name FROM t") == [(2, "y")]
    body = b"2\ty\t\\N\t\\N\t\\N\t1\n"
    load(t, body, hidden_columns="__DORIS_DELETE_SIGN__")
    assert t.rows("SELECT id FROM t") == []


def test_the_sequence_column_has_to_come(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, s BIGINT", properties=", 'function_column.sequence_col' = 's'")
    assert load(doris, b"1\t1\n", columns="id,v")["Message"].endswith(
        "Table t has sequence column, need to specify the sequence column"
    )
    assert loaded(load(doris, b"1\t1\t5\n")) == ("Success", 1, 0, 0)
    assert loaded(load(doris, b"1\t2\n", columns="id,v", partial_columns="true")) == ("Success", 1, 0, 0)
    assert doris.rows("SELECT * FROM t") == [(1, 2, 5)]


class WatchedBody(io.BytesIO):
    """Fails when it is read as a whole."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 <= size <= BLOCK
        return super().read(size)


@pytest.mark.parametrize("options", [{}, {"enclose": "'"}, {"compression": "gz"}])
def test_csv_is_read_in_pieces(options: dict[str, Any]) -> None:
    body = b"a,b\n" * 100_000
    if options.get("compression"):
        body = gzip.compress(body)
    parsed = parse_csv(cursors[0], WatchedBody(body), ["x", "y"], CsvFormat(separator=",", **options))
    assert parsed.good == 100_000


def test_json_lines_are_read_in_pieces() -> None:
    parsed = parse_json(cursors[0], WatchedBody(b'{"x": 1}\n' * 100_000), ["x"], JsonFormat())
    assert parsed.good == 100_000


# -- flexible partial updates


FLEXIBLE = {"format": "json", "unique_key_update_mode": "UPDATE_FLEXIBLE_COLUMNS"}


@pytest.fixture
def flexible(doris: Client) -> Client:
    """The table of the manual's example, with its rows."""
    doris.run(
        "CREATE TABLE t (k INT, v1 BIGINT, v2 BIGINT DEFAULT '9876', v3 BIGINT NOT NULL, v4 BIGINT NOT NULL"
        " DEFAULT '1234', v5 BIGINT) UNIQUE KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 1 PROPERTIES"
        " ('replication_num' = '1', 'enable_unique_key_merge_on_write' = 'true',"
        " 'enable_unique_key_skip_bitmap_column' = 'true')"
    )
    load(doris, b"".join(b"\t".join([b"%d" % n] * 6) + b"\n" for n in range(6)))
    return doris


def test_the_example_of_the_manual(flexible: Client) -> None:
    body = b"""{"k": 0, "__DORIS_DELETE_SIGN__": 1}
{"k": 1, "v1": 10}
{"k": 2, "v2": 20, "v5": 25}
{"k": 3, "v3": 30}
{"k": 4, "v4": 20, "v1": 43, "v3": 99}
{"k": 5, "v5": null}
{"k": 6, "v1": 999, "v3": 777}
{"k": 2, "v4": 222}
{"k": 1, "v2": 111, "v3": 111}
"""
    answer = load(flexible, body, strict_mode="false", read_json_by_line="true", **FLEXIBLE)
    assert answer["Message"] == "OK"
    assert loaded(answer) == ("Success", 9, 0, 0)
    assert flexible.rows("SELECT * FROM t ORDER BY k") == [
        (1, 10, 111, 111, 1, 1),
        (2, 2, 20, 2, 222, 25),
        (3, 3, 3, 30, 3, 3),
        (4, 43, 4, 99, 20, 4),
        (5, 5, 5, 5, 5, None),
        (6, 999, 9876, 777, 1234, None),
    ]


def test_a_row_after_a_delete_is_new(flexible: Client) -> None:
    body = b'{"k": 1, "v1": 10}\n{"k": 1, "__DORIS_DELETE_SIGN__": 1}\n{"k": 1, "v3": 7}\n{"k": 01}\n'
    load(flexible, body.replace(b'{"k": 01}\n', b""), **FLEXIBLE)
    assert flexible.rows("SELECT * FROM t WHERE k = 1") == [(1, None, 9876, 7, 1234, None)]


def test_flexible_updates_that_are_refused(flexible: Client) -> None:
    no_key = load(flexible, b'{"v1": 1}\n', **FLEXIBLE)
    assert "missing key column: k" in no_key["FirstErrorMsg"]
    assert load(flexible, b'{"k": 9}\n', **FLEXIBLE)["Status"] == "Fail", "v3 has no default"
    wrong = load(flexible, b'{"k": 1, "v1": "x"}\n', strict_mode="true", **FLEXIBLE)
    assert loaded(wrong) == ("Fail", 0, 1, 0)
    new = load(flexible, b'{"k": 9, "v3": 1}\n', partial_update_new_key_behavior="ERROR", **FLEXIBLE)
    assert "Row with key=[9] is not in table." in new["Message"]
    for header in (
        {"columns": "k,v1"},
        {"where": "k = 1"},
        {"merge_type": "APPEND"},
        {"jsonpaths": '["$.k"]'},
    ):
        assert (
            "Don't support flexible partial update" in load(flexible, b"{}", **FLEXIBLE, **header)["Message"]
        )
    assert "only support json" in load(flexible, b"1", **{**FLEXIBLE, "format": "csv"})["Message"]
    assert flexible.value("SELECT COUNT(*) FROM t") == 6
    flexible.table("id BIGINT NOT NULL, v INT", name="plain")
    refused = load(flexible, b"{}", table="plain", **FLEXIBLE)["Message"]
    assert "skip bitmap hidden column. But table plain doesn't have it." in refused


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a":1},{"b":2}', '{"a":"x', '{","b":1}'],
        ['{"a":1},{"b":2}', '{"a":"}', '{","b":1}'],
        ['{"a":1},{"b":2}', '{"a":{"x":1}', '{"b":1}}'],
        ['{"a":1},', '{"b":1}'],
        ['{"a":1} ', '"b":1}'],
    ],
)
def test_lines_that_look_like_others_when_they_are_joined(lines: list[str]) -> None:
    """Lines are read together where that is the same; each of these has a bad one."""
    body = "\n".join(lines).encode()
    parsed = parse_json(cursors[0], io.BytesIO(body), ["a", "b"], JsonFormat())
    good = [line for line in lines if _is_object(line)]
    assert (parsed.good, parsed.bad) == (len(good), len(lines) - len(good))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def test_tables_without_partial_updates(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT", keys="DUPLICATE KEY(id)")
    answer = load(doris, b"1\t1\n", columns="id,v", partial_columns="true")
    assert answer["Message"].endswith("Only unique key merge on write support partial update")


def states_of_doris(text: str, separator: str, enclose: str, escape: str) -> list[list[str]]:
    """The reader's state machine, character by character, as its source has it; lines end with LF."""
    rows, begin = [], 0
    while begin < len(text):
        index, fields, state = begin, [], "start"
        should_escape = quote_escape = False
        line_end = text.find("\n", begin)
        bound = len(text) if line_end < 0 else line_end + 1
        while index != bound:
            if state == "start":
                state = "enclosed" if text[index] == enclose else "plain"
                index += state == "enclosed"
            elif state == "enclosed":
                if index == len(text):
                    line_end, bound = -1, index
                elif escape != enclose and text[index] == escape:
                    should_escape, index = not should_escape, index + 1
                elif should_escape:
                    should_escape, index = False, index + 1
                elif quote_escape and text[index] != enclose:
                    quote_escape, state = False, "plain"
                    continue
                else:
                    quote_escape = text[index] == enclose and not quote_escape
                    index += 1
                if index == bound and state == "enclosed":
                    line_end = text.find("\n", index)
                    bound = len(text) if line_end < 0 else line_end + 1
            else:
                found = text.find(separator, index, bound if line_end < 0 else line_end)
                fields.append(found)
                index = bound if found < 0 else found + len(separator)
                state = "start"
        end = len(text) if line_end < 0 else line_end
        starts = [begin, *(f + len(separator) for f in fields if f >= 0)]
        ends = [*(f for f in fields if f >= 0), end]
        rows.append([text[a:b] for a, b in zip(starts, ends, strict=True)])
        begin = bound
    return rows


def trimmed(value: str, enclose: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == enclose else value


@settings(max_examples=400, deadline=None)
@given(
    st.text(st.sampled_from("\"\\,\nab|'"), max_size=14),
    st.sampled_from([",", "||"]),
    st.sampled_from(['"', "'"]),
    st.sampled_from(["\\", "", '"']),
)
def test_enclosed_rows_are_those_of_the_state_machine(
    text: str, separator: str, enclose: str, escape: str
) -> None:
    text += "\n"
    options = CsvFormat(enclose=enclose, escape=escape)
    groups = EnclosedRows(options, separator, "\n").groups(iter([text.encode()]))
    expected = [
        [trimmed(v, enclose) for v in row] for row in states_of_doris(text, separator, enclose, escape)
    ]
    assert [row for group in groups for row in group] == [row for row in expected if row != [""]]
