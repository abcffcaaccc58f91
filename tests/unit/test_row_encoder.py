"""RowEncoder: Python values as tuples of COPY BINARY, and what it refuses."""

import datetime as dt
import enum
import gc
import ipaddress as ip
import json
import math
import mmap
import resource
import struct
import sys
import threading
import time
import types
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from dbint._core import RowEncoder
from dbint.errors import ConfigurationError, DatabaseError, InvalidEventError
from tests.golden_rows import CASES, Color, Golden, Level
from tests.row_strategies import JSON


def encoder(type_text: str, **more: Any) -> RowEncoder:
    return RowEncoder({"c": type_text}, name="events", **more)


def encode(type_text: str, value: Any) -> bytes | None:
    """The bytes of one value, without what a tuple has around it; None for NULL."""
    row = encoder(type_text).encode(c=value)
    count, length = struct.unpack_from(">hi", row)
    assert count == 1
    assert len(row) == 6 + max(length, 0)
    return row[6:] if length >= 0 else None


def label(value: Any) -> str:
    """Of a parameter: some values cannot be shown, or not in a report."""
    return ascii(value[:40]) if isinstance(value, str) else type(value).__name__


def refusal(type_text: str, value: Any) -> str:
    with pytest.raises(InvalidEventError) as caught:
        encoder(type_text).encode(c=value)
    message = str(caught.value)
    assert message.startswith('field "c" of stream "events": ')
    return message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_writes_the_bytes_that_the_server_writes(case: Golden) -> None:
    assert encode(case.type, case.value) == case.bytes


def test_golden_rows_know_every_type() -> None:
    """Of those that can be declared: an enum's oid is the database's own."""
    bases = {case.type.split("(")[0].removesuffix("[]") for case in CASES}
    assert bases == {
        *("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "char", "bytea"),
        *("timestamptz", "timestamp", "date", "time", "interval", "uuid", "json", "jsonb", "inet", "cidr"),
    }


AWARE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
WEST, EAST = dt.timezone(dt.timedelta(hours=-14)), dt.timezone(dt.timedelta(hours=14))
NAIVE = dt.datetime(2026, 1, 1)
ADDRESS = ip.ip_address("10.0.0.1")

WRONG = {
    "bool": [1, 0, "true", 1.0, b"\x01"],
    "int4": [True, 1.0, "1", Decimal(1), b"1", [1], Fraction(1), np.bool_(True)],
    "float8": [True, "1.0", Decimal("1.0"), Fraction(1, 2), 1j, np.longdouble(1), np.bool_(True)],
    "numeric": [True, 1.5, "1.5", Fraction(1, 2)],
    "text": [b"bytes", 1, True, uuid.UUID(int=1), ["x"], Level.HIGH, dt.date(2026, 1, 1)],
    "bytea": ["text", [1, 2], 5, np.zeros(3)],
    "timestamptz": ["2026-01-01", dt.date(2026, 1, 1), 1767225600, 1767225600.0],
    "timestamp": [dt.date(2026, 1, 1), "2026-01-01T00:00:00"],
    "date": [AWARE, NAIVE, "2026-01-01", 20454],
    "time": [AWARE, "12:00", 43200],
    "interval": [60, "1 minute", 60.0],
    "uuid": ["12345678-1234-5678-9abc-def012345678", b"\0" * 16, 1],
    "inet": ["10.0.0.1", 167772161, b"\x0a\0\0\x01"],
    "cidr": ["10.0.0.0/8"],
    "jsonb": [{1, 2}, b"{}", Decimal(1), AWARE, uuid.UUID(int=1), 1j, object()],
    "int4[]": [1, {1}, "{1}", {1: 2}, iter([1])],
}


@pytest.mark.parametrize(
    ("type_text", "value"),
    [(type_text, value) for type_text, values in WRONG.items() for value in values],
    ids=label,
)
def test_what_is_not_of_the_type_is_refused(type_text: str, value: Any) -> None:
    assert f"not {type(value).__module__}." in refusal(type_text, value) or (
        f"not {type(value).__name__}" in refusal(type_text, value)
    )


@pytest.mark.parametrize(
    ("type_text", "value", "message"),
    [
        ("int2", 32768, "out of range of smallint (-32768 to 32767)"),
        ("int2", -32769, "out of range of smallint"),
        ("int4", 2**31, "out of range of integer"),
        ("int8", 2**63, "out of range of bigint"),
        ("int8", 10**5000, "out of range of bigint"),
        ("float4", 3.5e38, "out of range of real"),
        ("float4", 1e-50, "out of range of real"),
        ("float4", 2**24 + 1, "no exact image in real"),
        ("float8", 2**53 + 1, "no exact image in double precision"),
        ("float8", 2**63 - 1, "no exact image"),
        ("float8", 2**70 + 1, "no exact image"),
        ("float8", 10**400, "out of range"),
        ("float4", 2**70 + 2**45, "no exact image"),
        ("float4", 2**200, "no exact image"),
        ("numeric", 10**5000, "more digits than the interpreter's limit"),
        ("numeric", Decimal("1E+131072"), "more than 131072 digits before the decimal point"),
        ("numeric", Decimal("1E-16384"), "more than 16383 decimal places"),
        ("numeric", Decimal("sNaN"), "not a decimal number"),
        ("numeric(4,2)", 100, "too large for numeric(4,2)"),
        ("numeric(4,2)", Decimal("99.995"), "too large for numeric(4,2)"),
        ("numeric(4,2)", Decimal("Infinity"), "numeric(4,2) cannot hold an infinite value"),
        ("numeric(2,4)", Decimal("0.01"), "too large"),
        ("numeric(2,-3)", 99500, "too large"),
        ("varchar(3)", "four", "4 characters are too many for character varying(3)"),
        ("varchar(3)", "größ", "4 characters are too many"),
        ("char(3)[]", ["abcd"], "4 characters are too many for character(3)[]"),
        ("text", "a\0b", "a NUL character, which PostgreSQL cannot store"),
        ("text", "a long text with a NUL at its end, past the first words\0", "a NUL character"),
        ("text", "12345678\0", "a NUL character"),
        ("text", "x" * 100 + "\0", "a NUL character"),
        ("text", "é\0", "a NUL character"),
        ("text", "a\ud800b", "character 1 is a lone surrogate"),
        ("text", "\U0001f600\udfff", "character 1 is a lone surrogate"),
        ("timestamptz", NAIVE, "the datetime has no time zone"),
        (
            "timestamptz",
            dt.datetime(9999, 12, 31, 23, tzinfo=WEST),
            "in UTC it is not in the years 1 to 9999",
        ),
        ("timestamptz", dt.datetime(1, 1, 1, tzinfo=EAST), "in UTC it is not in the years 1 to 9999"),
        ("timestamp", AWARE, "the datetime has a time zone, which the column would lose"),
        ("time", dt.time(tzinfo=dt.UTC), "the time has a time zone"),
        ("cidr", ip.ip_interface("10.0.0.1/8"), "bits set to the right of its network's 8"),
        ("inet", ip.ip_address("fe80::1%eth0"), "the IPv6 address has a scope"),
        ("bytea", memoryview(b"abcd")[::2], "the value could not be read"),
        ("jsonb", math.nan, "JSON has no NaN and no infinity"),
        ("jsonb", {"a": [math.inf]}, "JSON has no NaN and no infinity"),
        ("json", {1: 2}, "keys of JSON objects are str, not int"),
        ("jsonb", {"a\0": 1}, "a string in the JSON holds a NUL character"),
        ("jsonb", "é\0", "a string in the JSON holds a NUL character"),
        ("json", ["\udc00"], "character 0 of a string in the JSON is a lone surrogate"),
        ("jsonb", {"\ud800": 1}, "lone surrogate"),
        ("jsonb", 10**5000, "more digits than the interpreter's limit"),
        ("jsonb", [{1, 2}], "takes dict, list, tuple, str, int, float or bool, not set"),
        ("int4[]", [[1, 2], [3]], "of the same length in each dimension"),
        ("int4[]", [[1], 2], "of the same length in each dimension"),
        ("int4[]", [1, [2]], "takes int, not list"),
        ("int4[]", [[], []], "an array within the array is empty"),
        ("int4[]", [[[[[[[1]]]]]]], "at most 6 dimensions"),
        ("int4[]", [1, 2**40], "out of range of integer"),
        ("int4[]", [True], "takes int, not bool"),
    ],
    ids=label,
)
def test_what_the_server_would_refuse_is_refused(type_text: str, value: Any, message: str) -> None:
    assert message in refusal(type_text, value)


def test_varchar_lets_pass_the_spaces_that_the_server_cuts_off() -> None:
    assert encode("varchar(3)", "abc   ") == b"abc   "
    assert encode("varchar(3)", "äöü  ") == "äöü  ".encode()


def test_numeric_that_rounds_into_its_precision_is_taken() -> None:
    assert encode("numeric(4,2)", Decimal("99.994")) is not None
    assert encode("numeric(2,4)", Decimal("0.00994")) is not None
    assert encode("numeric(2,-3)", 99499) is not None


def test_an_error_is_one_of_databases_and_a_value_error() -> None:
    assert issubclass(InvalidEventError, (DatabaseError, ValueError))
    with pytest.raises(ValueError, match='field "c": integer takes int'):
        RowEncoder({"c": "int"}).encode(c="1")


def test_no_message_shows_a_value() -> None:
    for type_text, value in [
        ("text", "secret\0"),
        ("int2", 987654),
        ("varchar(3)", "secret"),
        ("int4", "secret"),
    ]:
        message = refusal(type_text, value)
        assert "secret" not in message
        assert "987654" not in message


@pytest.mark.parametrize("make", [lambda: "x" * (1 << 30), lambda: memoryview(mmap.mmap(-1, 1 << 30))])
def test_a_gibibyte_is_refused_before_it_is_copied(make: Any) -> None:
    value = make()
    type_text = "text" if isinstance(value, str) else "bytea"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "an event has at most 16777216" in refusal(type_text, value)
    if isinstance(value, str):
        refusal("jsonb", {"a": value})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_an_event_has_a_largest_size() -> None:
    rows = RowEncoder({"a": "bytea", "b": "bytea"}, name="events")
    eight = b"x" * (8 << 20)
    with pytest.raises(
        InvalidEventError, match=r'field "b" of stream "events": .*larger than 16777216 bytes'
    ):
        rows.encode(a=eight, b=eight)
    assert len(rows.encode(a=eight, b=b"")) == (8 << 20) + 10


# --- fields ---

FILLED = {"id": "uuid not null", "at": "timestamptz not null", "note": "text", "name": "text not null"}
FILL: Mapping[str, Any] = {"id": "uuid7", "at": "now", "note": "null"}


def fields_of(row: bytes) -> list[bytes | None]:
    (count,) = struct.unpack_from(">h", row)
    at, fields = 2, list[bytes | None]()
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, at)
        at += 4
        fields.append(row[at : at + length] if length >= 0 else None)
        at += max(length, 0)
    assert at == len(row)
    return fields


def test_fields_come_in_any_order_and_are_written_in_the_columns_order() -> None:
    rows = RowEncoder({"a": "text", "b": "text"})
    assert rows.encode(a="1", b="2") == rows.encode(b="2", a="1") == rows.encode_mapping({"b": "2", "a": "1"})


def test_what_is_not_given_is_filled() -> None:
    rows = RowEncoder(FILLED, fill=FILL)
    before = time.time()
    identity, at, note, name = fields_of(rows.encode(name="n"))
    assert identity is not None
    assert at is not None
    made = uuid.UUID(bytes=identity)
    moment = int.from_bytes(at, "big") / 1e6 + 946684800
    assert made.version == 7
    assert before - 1 < moment < time.time() + 1
    assert abs((made.int >> 80) / 1000 - moment) < 0.002  # one time for both
    assert (note, name) == (None, b"n")


def test_what_is_given_is_not_filled() -> None:
    rows = RowEncoder(FILLED, fill=FILL)
    given_id, given_at = uuid.uuid4(), dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    assert fields_of(rows.encode(name="n", id=given_id, at=given_at, note="x")) == [
        given_id.bytes,
        bytes(8),
        b"x",
        b"n",
    ]


def test_uuids_ascend() -> None:
    rows = RowEncoder({"id": "uuid"}, fill={"id": "uuid7"})
    made = [rows.encode() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_unknown_field_is_named_with_those_that_there_are() -> None:
    rows = RowEncoder(FILLED, fill=FILL, name="events")
    for call in (
        lambda: rows.encode(name="n", nmae=1),
        lambda: rows.encode_mapping({"name": "n", "nmae": 1}),
    ):
        with pytest.raises(InvalidEventError) as caught:
            call()
        assert str(caught.value) == (
            'field "nmae" of stream "events": there is no such field; there are id, at, note, name'
        )


def test_a_missing_field_is_named() -> None:
    rows = RowEncoder(FILLED, fill=FILL, name="events")
    for call in (lambda: rows.encode(note="n"), rows.encode, lambda: rows.encode_mapping({})):
        with pytest.raises(InvalidEventError, match='field "name" of stream "events": it is missing'):
            call()


def test_none_is_null_where_the_column_takes_it() -> None:
    rows = RowEncoder(FILLED, fill=FILL, name="events")
    assert fields_of(rows.encode(name="n", note=None))[2] is None
    for name in ("name", "id", "at"):  # what is given is not filled
        with pytest.raises(InvalidEventError, match=f'field "{name}" of stream "events": NULL'):
            rows.encode(**{"name": "n", name: None})


def test_fields_have_no_positions() -> None:
    with pytest.raises(TypeError, match="by name"):
        encoder("text").encode("x")  # type: ignore[call-arg]


def test_a_field_may_have_any_name() -> None:
    rows = RowEncoder({"self": "text", "größe": "int", "class": "text"})
    assert fields_of(rows.encode(**{"self": "s", "größe": 1, "class": "c"})) == [b"s", b"\0\0\0\1", b"c"]


def test_many_call_sites_share_an_encoder() -> None:
    rows = RowEncoder(dict.fromkeys("abcdef", "text"), fill=dict.fromkeys("abcdef", "null"))
    calls = [
        (lambda: rows.encode(a="1"), [b"1", None, None, None, None, None]),
        (lambda: rows.encode(f="1", a="2"), [b"2", None, None, None, None, b"1"]),
        (lambda: rows.encode(b="1"), [None, b"1", None, None, None, None]),
        (lambda: rows.encode(c="1", b="2"), [None, b"2", b"1", None, None, None]),
        (lambda: rows.encode(d="1"), [None, None, None, b"1", None, None]),
        (rows.encode, [None] * 6),
        (lambda: rows.encode(e="1"), [None, None, None, None, b"1", None]),
    ]
    for _ in range(3):
        for call, expected in calls:
            assert fields_of(call()) == expected
            assert fields_of(call()) == expected


def test_names_that_are_equal_and_not_the_same_are_found() -> None:
    class Name(str):
        __slots__ = ()

    rows = RowEncoder({"ab": "int"})
    built = "".join(["a", "b"])
    assert rows.encode(**{built: 1}) == rows.encode(**{Name("ab"): 1}) == rows.encode(ab=1)


def test_a_mapping_may_be_of_any_class() -> None:
    rows = RowEncoder({"a": "int", "b": "int"}, fill={"b": "null"})
    expected = rows.encode(a=1)
    for mapping in ({"a": 1}, OrderedDict(a=1), types.MappingProxyType({"a": 1})):
        assert rows.encode_mapping(mapping) == expected
    for no_mapping in (5, ["a"], "a", None):
        with pytest.raises(TypeError, match="mapping"):
            rows.encode_mapping(no_mapping)  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError, match="no such field"):
        rows.encode_mapping({"a": 1, 5: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("columns", "fill", "message"),
    [
        ({}, None, "1 to 1600 columns, not 0"),
        ({"a": "mood"}, None, '"mood" is no built-in type'),
        ({"": "text"}, None, "empty"),
        ({"a" * 64: "text"}, None, "at most 63 bytes"),
        ({"a\0b": "text"}, None, "NUL"),
        ({"a": "varchar(0)"}, None, "not possible"),
        ({str(i): "int" for i in range(1601)}, None, "at most 1600"),
        ({"a": "text"}, {"b": "null"}, "no column 'b'"),
        ({"a": "text"}, {"a": "today"}, "must be 'null', 'uuid7' or 'now', not 'today'"),
        ({"a": "text"}, {"a": "none"}, "must be 'null', 'uuid7' or 'now'"),
        ({"a": "text"}, {"a": "uuid7"}, "cannot be filled with uuid7"),
        ({"a": "text not null"}, {"a": "null"}, "cannot be filled with null"),
        ({"a": "date"}, {"a": "now"}, "cannot be filled with now"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns: Any, fill: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RowEncoder(columns, fill=fill)
    assert message in str(caught.value)


@pytest.mark.parametrize("columns", [5, ["a"], {"a": 5}, {5: "text"}])
def test_columns_are_a_mapping_of_str_to_str(columns: Any) -> None:
    with pytest.raises(TypeError, match="mapping of str to str"):
        RowEncoder(columns)


def test_a_table_may_have_1600_columns() -> None:
    columns = {f"c{i}": "int" for i in range(1600)}
    rows = RowEncoder(columns)
    values = {name: i for i, name in enumerate(columns)}
    assert rows.encode(**values) == rows.encode_mapping(values)
    assert fields_of(rows.encode(**values))[1599] == (1599).to_bytes(4, "big")


# --- values that are not quite of the type ---


class Text(str):
    __slots__ = ()


class Suit(enum.StrEnum):
    HEARTS = "hearts"


class Nothing(enum.Enum):
    NONE = None
    LIST = [1]


def test_subclasses_and_members_stand_for_their_values() -> None:
    assert encode("text", Text("x")) == b"x"
    assert encode("text", Suit.HEARTS) == b"hearts"
    assert encode("text", Color.RED) == b"red"
    assert encode("int4", Level.HIGH) == b"\0\0\0\3"
    assert encode("int4[]", Nothing.LIST.value) == encode("int4[]", [1])
    assert encode("jsonb", {"a": [Color.RED, Level.HIGH, Suit.HEARTS, Nothing.NONE]}) == (
        b'\x01{"a":["red",3,"hearts",null]}'
    )
    refusal("int4", Color.RED)


def test_scalars_of_numpy_are_numbers() -> None:
    assert encode("int4", np.int64(5)) == encode("int4", 5)
    assert encode("int8", np.uint8(5)) == encode("int8", 5)
    assert encode("float8", np.float32(0.5)) == encode("float8", np.float64(0.5)) == encode("float8", 0.5)
    assert encode("float8", np.float16(0.5)) == encode("float8", 0.5)
    assert encode("float8", np.int32(5)) == encode("float8", 5.0)
    assert encode("numeric", np.int64(5)) == encode("numeric", 5)
    assert encode("bool", np.bool_(True)) == b"\x01"
    assert encode("jsonb", [np.int64(5), np.float32(0.5), np.bool_(False)]) == b"\x01[5,0.5,false]"
    assert "out of range" in refusal("int2", np.int64(40000))


def test_time_zones_give_their_offset() -> None:
    class Half(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(minutes=30)

    class Naive(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> None:
            return None

    assert encode("timestamptz", dt.datetime(2000, 1, 1, 0, 30, tzinfo=Half())) == bytes(8)
    assert "no time zone" in refusal("timestamptz", dt.datetime(2000, 1, 1, tzinfo=Naive()))


# --- JSON ---


@given(JSON)
def test_json_is_written_as_the_json_module_writes_it(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if value is None:
        assert encode("jsonb", value) is None
        value, text = [value], b"[null]"
    assert encode("json", value) == text
    assert encode("jsonb", value) == b"\x01" + text


def nested(depth: int, inner: Any = 1) -> Any:
    for level in range(depth):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


def test_json_is_nested_up_to_1000_levels() -> None:
    text = encode("jsonb", nested(1000))
    assert text is not None
    assert text.count(b"{") + text.count(b"[") == 1000
    assert "nested more than 1000 levels deep" in refusal("jsonb", nested(1001))
    assert "nested more than 1000 levels deep" in refusal("jsonb", nested(10_000))


def test_json_that_holds_itself_is_refused() -> None:
    inside: list[Any] = []
    inside.append({"again": inside})
    assert "or holds itself" in refusal("jsonb", inside)
    own: dict[str, Any] = {}
    own["own"] = own
    assert "or holds itself" in refusal("json", own)


def test_json_takes_a_deep_value_in_a_small_stack() -> None:
    results: list[bytes | None] = []
    old = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=lambda: results.append(encode("jsonb", nested(1000))))
        thread.start()
    finally:
        threading.stack_size(old)
    thread.join()
    assert results == [encode("jsonb", nested(1000))]


def test_json_of_a_subclass_of_dict_has_its_items() -> None:
    class Doubled(dict[str, int]):
        def items(self) -> Any:
            return [(key, value * 2) for key, value in super().items()]

    ordered = OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    assert encode("json", ordered) == b'{"b":2,"a":1}'
    assert encode("json", Doubled(a=1)) == b'{"a":2}'
    assert encode("json", types.SimpleNamespace(a=1).__dict__) == b'{"a":1}'


# --- code of the user's that runs while a value is encoded ---


class Index:
    """An int by ``__index__``, which does something else besides."""

    def __init__(self, act: Any, number: int = 1) -> None:
        self.act = act
        self.number = number

    def __index__(self) -> int:
        self.act()
        return self.number


def test_an_event_may_be_encoded_while_another_is() -> None:
    rows = RowEncoder({"a": "text", "b": "int", "c": "text"}, fill={"a": "null", "b": "null"})
    inner: list[bytes] = []

    def act() -> None:
        inner.append(rows.encode(c="inner " * 100))
        inner.append(rows.encode(c="other", b=Index(lambda: inner.append(rows.encode(c="third")))))

    outer = rows.encode(a="outer", b=Index(act), c="end")
    assert outer == rows.encode(a="outer", b=1, c="end")
    assert inner == [
        rows.encode(c="inner " * 100),
        rows.encode(c="third"),
        rows.encode(c="other", b=1),
    ]


def test_threads_share_an_encoder() -> None:
    rows = RowEncoder({"a": "text", "b": "int", "c": "text"})
    right: list[bool] = []

    def work(text: str) -> None:
        expected = rows.encode(a=text, b=1, c=text * 50)
        right.extend(
            rows.encode(c=text * 50, a=text, b=Index(lambda: time.sleep(0))) == expected for _ in range(300)
        )

    threads = [threading.Thread(target=work, args=(text,)) for text in "stuv"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 1200


def test_what_user_code_raises_is_the_cause() -> None:
    def fail() -> None:
        raise KeyError("mine")

    rows = encoder("int4")
    good = rows.encode(c=1)
    with pytest.raises(
        InvalidEventError, match=r'field "c" of stream "events": .* its own code failed'
    ) as caught:
        rows.encode(c=Index(fail))
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None
    with pytest.raises(InvalidEventError):
        encoder("jsonb").encode(c=[Index(fail)])
    assert rows.encode(c=1) == good


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_what_is_no_error_of_the_value_goes_through(error: type[BaseException]) -> None:
    def stop() -> None:
        raise error

    with pytest.raises(error):
        encoder("int4").encode(c=Index(stop))
    with pytest.raises(error):
        encoder("jsonb").encode(c={"a": Index(stop)})


def test_containers_may_change_while_they_are_encoded() -> None:
    numbers: list[Any] = [0, 1, 2]
    numbers[0] = Index(numbers.clear)
    assert "same length" in refusal("int4[]", numbers)

    grown: dict[str, Any] = {"a": 0}
    grown["a"] = Index(lambda: grown.update(b=1))
    assert "changed while it was encoded" in refusal("jsonb", grown)

    emptied: dict[str, Any] = {"a": 0, "b": 1}
    emptied["a"] = Index(emptied.clear)
    assert "changed while it was encoded" in refusal("jsonb", emptied)

    listed: list[Any] = [0, 1]
    listed[0] = Index(listed.clear, 7)
    assert encode("jsonb", listed) == b"\x01[7]"


def test_finalizers_may_encode() -> None:
    rows = RowEncoder({"a": "jsonb", "b": "int"}, fill={"b": "null"})
    made: list[bytes] = []

    class Noisy:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            made.append(rows.encode(b=len(made), a={"from": "a finalizer"}))

    expected = rows.encode(a=[[{"x": 1.5}], "text"], b=None)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Noisy()
            assert rows.encode(a=OrderedDict(x=1) and [[{"x": 1.5}], "text"]) == expected
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(made) == 200


# --- references and life ---


def test_references_are_given_back() -> None:
    rows = RowEncoder({"a": "text", "b": "jsonb", "c": "int4[]", "d": "uuid"}, name="events")
    values: list[Any] = ["text" * 3, {"k": ["v" * 3, 2**80]}, [10**9, None], uuid.uuid4()]

    def counts() -> list[int]:
        return [sys.getrefcount(value) for value in values]

    before = counts()
    for _ in range(50):
        rows.encode(a=values[0], b=values[1], c=values[2], d=values[3])
        rows.encode_mapping(dict(zip("abcd", values, strict=True)))
        with pytest.raises(InvalidEventError):
            rows.encode(a=values[0], b=values[1], c=values[2], d=5)
        with pytest.raises(InvalidEventError):
            rows.encode_mapping({"a": values[0], "b": values[1]})
    assert counts() == before


def test_an_encoder_is_collected() -> None:
    class Holder:
        pass

    holder: Any = Holder()
    holder.rows = RowEncoder({"a": "inet", "b": "numeric"})
    holder.rows.encode(a=ADDRESS, b=1)
    holder.own = holder
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None
