"""Values of every type, and the bytes that a PostgreSQL 15 server writes for them in COPY … (FORMAT binary).

``sql`` is an expression of the type; the bytes are what ``COPY (SELECT sql) TO STDOUT (FORMAT binary)`` gives
for the one field. The unit tests hold the encoder to them, the integration tests hold them to a server.
"""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress as ip
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Golden:
    type: str
    sql: str
    value: Any
    bytes: bytes | None  # None = NULL

    @property
    def id(self) -> str:
        return f"{self.type}: {self.sql}"[:80]


def golden(type_text: str, sql: str, value: Any, hexadecimal: str | None) -> Golden:
    return Golden(type_text, sql, value, None if hexadecimal is None else bytes.fromhex(hexadecimal))


UTC = dt.UTC
OSLO = dt.timezone(dt.timedelta(hours=1))
ODD = dt.timezone(-dt.timedelta(hours=3, minutes=30, seconds=15, microseconds=5))

CASES = [
    golden("text", "NULL", None, None),
    golden("bool", "true", True, "01"),
    golden("bool", "false", False, "00"),
    golden("int2", "-32768", -32768, "8000"),
    golden("int2", "32767", 32767, "7fff"),
    golden("int4", "-2147483648", -2147483648, "80000000"),
    golden("int4", "3", Level.HIGH, "00000003"),
    golden("int8", "9223372036854775807", 2**63 - 1, "7fffffffffffffff"),
    golden("int8", "-9223372036854775808", -(2**63), "8000000000000000"),
    golden("float4", "1.5", 1.5, "3fc00000"),
    golden("float4", "3.4028235e38", 3.4028234663852886e38, "7f7fffff"),
    golden("float4", "16777216", 2**24, "4b800000"),
    golden("float4", "'NaN'", float("nan"), "7fc00000"),
    golden("float8", "0.1", 0.1, "3fb999999999999a"),
    golden("float8", "'-0'", -0.0, "8000000000000000"),
    golden("float8", "'Infinity'", float("inf"), "7ff0000000000000"),
    golden("float8", "'-Infinity'", float("-inf"), "fff0000000000000"),
    golden("float8", "9007199254740992", 2**53, "4340000000000000"),
    golden("float8", "1180591620717411303424", 2**70, "4450000000000000"),
    golden("numeric", "0", Decimal(0), "0000000000000000"),
    golden("numeric", "0.000", Decimal("0.000"), "0000000000000003"),
    golden("numeric", "1", 1, "00010000000000000001"),
    golden("numeric", "-1.5", Decimal("-1.5"), "000200004000000100011388"),
    golden("numeric", "10000", 10000, "00010001000000000001"),
    golden("numeric", "12345678.00012300", Decimal("12345678.00012300"), "000400010000000804d2162e000108fc"),
    golden("numeric", "0.00001", Decimal("0.00001"), "0001fffe0000000503e8"),
    golden("numeric", "0.0000100000", Decimal("0.0000100000"), "0001fffe0000000a03e8"),
    golden("numeric", "99999999.99999999", Decimal("99999999.99999999"), "0004000100000008270f270f270f270f"),
    golden("numeric", "1e20", Decimal("1E+20"), "00010005000000000001"),
    golden("numeric", "1e-20", Decimal("1E-20"), "0001fffb000000140001"),
    golden(
        "numeric",
        "123456789012345678901234567890",
        123456789012345678901234567890,
        "0008000700000000000c0d801ed204d2162e23340d801ed2",
    ),
    golden("numeric", "-9223372036854775808", -(2**63), "0005000440000000039a0d2c0170156516b0"),
    golden("numeric", "'NaN'", Decimal("NaN"), "00000000c0000000"),
    golden("numeric", "'Infinity'", Decimal("Infinity"), "00000000d0000020"),
    golden("numeric", "'-Infinity'", Decimal("-Infinity"), "00000000f0000020"),
    golden("numeric(10,2)", "12.34", Decimal("12.34"), "0002000000000002000c0d48"),
    golden("text", "''", "", ""),
    golden("text", "'plain'", "plain", "706c61696e"),
    golden("text", "'exactly8'", "exactly8", "65786163746c7938"),
    golden("text", "'größe'", "größe", "6772c3b6c39f65"),
    golden("text", "'日本語'", "日本語", "e697a5e69cace8aa9e"),
    golden("text", "U&'\\+01F600'", "\U0001f600", "f09f9880"),
    golden(
        "text",
        "repeat('x', 100)",
        "x" * 100,
        "78787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878",
    ),
    golden("varchar(5)", "'größe'", "größe", "6772c3b6c39f65"),
    golden("varchar(5)", "'five5'", "five5", "6669766535"),
    golden("char(5)", "'ab'", "ab   ", "6162202020"),
    golden("text", "'red'", Color.RED, "726564"),
    golden("bytea", "'\\x'", b"", ""),
    golden("bytea", "'\\x00ff10'", b"\x00\xff\x10", "00ff10"),
    golden("bytea", "'\\x0102'", bytearray(b"\x01\x02"), "0102"),
    golden("bytea", "'\\x0203'", memoryview(b"\x01\x02\x03")[1:], "0203"),
    golden(
        "timestamptz", "'2000-01-01 00:00:00+00'", dt.datetime(2000, 1, 1, tzinfo=UTC), "0000000000000000"
    ),
    golden(
        "timestamptz",
        "'2026-02-28 23:59:59.999999+01'",
        dt.datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=OSLO),
        "0002eee914f7dbff",
    ),
    golden(
        "timestamptz",
        "'1970-01-01 00:00:00.000001+00'",
        dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "fffca2fec4c82001",
    ),
    golden("timestamptz", "'0001-01-01 00:00:00+00'", dt.datetime(1, 1, 1, tzinfo=UTC), "ff1fe2ffc59c6000"),
    golden(
        "timestamptz",
        "'9999-12-31 23:59:59.999999+00'",
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "0380e70b913b7fff",
    ),
    golden(
        "timestamptz", "'1900-03-01 00:00:00+00'", dt.datetime(1900, 3, 1, tzinfo=UTC), "fff4ce915caea000"
    ),
    golden("timestamp", "'2024-02-29 12:30:00'", dt.datetime(2024, 2, 29, 12, 30), "0002b5832fc1e200"),
    golden("timestamp", "'0001-01-01 00:00:00'", dt.datetime(1, 1, 1), "ff1fe2ffc59c6000"),
    golden("date", "'2000-01-01'", dt.date(2000, 1, 1), "00000000"),
    golden("date", "'0001-01-01'", dt.date(1, 1, 1), "fff4dbf9"),
    golden("date", "'9999-12-31'", dt.date(9999, 12, 31), "002c95d3"),
    golden("date", "'2100-03-01'", dt.date(2100, 3, 1), "00008ee8"),
    golden("time", "'00:00'", dt.time(0), "0000000000000000"),
    golden("time", "'23:59:59.999999'", dt.time(23, 59, 59, 999999), "000000141dd75fff"),
    golden(
        "interval",
        "'1 day 2 hours 3.000004 seconds'",
        dt.timedelta(days=1, hours=2, seconds=3, microseconds=4),
        "00000001ad550ec40000000100000000",
    ),
    golden("interval", "'-1 day 23:59:59'", -dt.timedelta(seconds=1), "000000141dc81dc0ffffffff00000000"),
    golden(
        "uuid",
        "'12345678-1234-5678-9abc-def012345678'",
        uuid.UUID("12345678-1234-5678-9abc-def012345678"),
        "12345678123456789abcdef012345678",
    ),
    golden(
        "uuid",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        uuid.UUID(int=2**128 - 1),
        "ffffffffffffffffffffffffffffffff",
    ),
    golden(
        "json",
        '\'{"a":[1,2.5,true,null,"x"]}\'',
        {"a": [1, 2.5, True, None, "x"]},
        "7b2261223a5b312c322e352c747275652c6e756c6c2c2278225d7d",
    ),
    golden(
        "json",
        '\'"a \\"quoted\\\\\\n\\u0001 string"\'',
        'a "quoted\\\n\x01 string',
        "2261205c2271756f7465645c5c5c6e5c753030303120737472696e6722",
    ),
    golden("json", "'[]'", [], "5b5d"),
    golden("json", "'{}'", {}, "7b7d"),
    golden("json", "'1e+16'", 1e16, "31652b3136"),
    golden(
        "json",
        "'123456789012345678901234567890'",
        123456789012345678901234567890,
        "313233343536373839303132333435363738393031323334353637383930",
    ),
    golden(
        "json",
        '\'["red",3,{"é":"日"}]\'',
        [Color.RED, Level.HIGH, {"é": "日"}],
        "5b22726564222c332c7b22c3a9223a22e697a5227d5d",
    ),
    golden("jsonb", "'true'", True, "0174727565"),
    golden("inet", "'192.168.0.1'", ip.ip_address("192.168.0.1"), "02200004c0a80001"),
    golden("inet", "'192.168.0.1/24'", ip.ip_interface("192.168.0.1/24"), "02180004c0a80001"),
    golden("inet", "'10.0.0.0/8'", ip.ip_network("10.0.0.0/8"), "020800040a000000"),
    golden("inet", "'2001:db8::1'", ip.ip_address("2001:db8::1"), "0380001020010db8000000000000000000000001"),
    golden(
        "inet",
        "'2001:db8::1/64'",
        ip.ip_interface("2001:db8::1/64"),
        "0340001020010db8000000000000000000000001",
    ),
    golden("cidr", "'10.0.0.0/8'", ip.ip_network("10.0.0.0/8"), "020801040a000000"),
    golden("cidr", "'192.168.0.1'", ip.ip_address("192.168.0.1"), "02200104c0a80001"),
    golden(
        "cidr", "'2001:db8::/32'", ip.ip_network("2001:db8::/32"), "0320011020010db8000000000000000000000000"
    ),
    golden("int4[]", "'{}'", [], "000000000000000000000017"),
    golden(
        "int4[]",
        "'{1,NULL,3}'",
        [1, None, 3],
        "00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003",
    ),
    golden(
        "int4[]",
        "'{{1,2},{3,4},{5,6}}'",
        [(1, 2), [3, 4], [5, 6]],
        "00000002000000000000001700000003000000010000000200000001000000040000000100000004000000020000000400000003000000040000000400000004000000050000000400000006",
    ),
    golden(
        "text[]",
        "'{\"\",a,NULL}'",
        ("", "a", None),
        "0000000100000001000000190000000300000001000000000000000161ffffffff",
    ),
    golden("varchar(3)[]", "'{abc}'", ["abc"], "000000010000000000000413000000010000000100000003616263"),
    golden(
        "numeric(4,1)[]",
        "'{1.5,100}'",
        [Decimal("1.5"), Decimal("100.0")],
        "0000000100000000000006a400000002000000010000000c0002000000000001000113880000000a00010000000000010064",
    ),
    golden(
        "json[]",
        "array['[1,2]', NULL]::json[]",
        [[1, 2], None],
        "0000000100000001000000720000000200000001000000055b312c325dffffffff",
    ),
    golden(
        "timestamptz[]",
        "'{2000-01-01 00:00:00+00}'",
        [dt.datetime(2000, 1, 1, tzinfo=UTC)],
        "0000000100000000000004a00000000100000001000000080000000000000000",
    ),
    golden(
        "uuid[]",
        "'{12345678-1234-5678-9abc-def012345678}'",
        [uuid.UUID("12345678-1234-5678-9abc-def012345678")],
        "000000010000000000000b8600000001000000010000001012345678123456789abcdef012345678",
    ),
    golden(
        "inet[]",
        "'{10.0.0.1}'",
        [ip.ip_address("10.0.0.1")],
        "000000010000000000000365000000010000000100000008022000040a000001",
    ),
    golden(
        "bool[]",
        "'{{{{{{t}}}}}}'",
        [[[[[[True]]]]]],
        "0000000600000000000000100000000100000001000000010000000100000001000000010000000100000001000000010000000100000001000000010000000101",
    ),
    golden(
        "float8[]",
        "'{0.5,NaN}'",
        [0.5, float("nan")],
        "0000000100000000000002bd0000000200000001000000083fe0000000000000000000087ff8000000000000",
    ),
    golden(
        "bytea[]", "array['\\x01'::bytea]", [b"\x01"], "00000001000000000000001100000001000000010000000101"
    ),
    golden(
        "date[]",
        "'{2000-01-02}'",
        [dt.date(2000, 1, 2)],
        "00000001000000000000043a00000001000000010000000400000001",
    ),
]
