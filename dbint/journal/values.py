"""Reads tuples of COPY BINARY: the bytes that a type's send function writes, as csrc/core/row.h says.

https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; the types' bytes are those of their
receive functions. A value becomes what JSON can hold: a number where JSON's is exact, else the text that
PostgreSQL reads.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from dbint.journal.damage import DamageError
from dbint.journal.schema import Column, Schema

# What a decoded value is: None, bool, int, float, str, list or dict.
Value = Any

_DAYS_TO_2000: Final = 10_957  # since 1970
_MICROS_OF_DAY: Final = 86_400_000_000


def split(schema: Schema, data: bytes) -> list[bytes | None]:
    """The fields of one tuple, None for NULL. Raises DamageError."""
    if len(data) < 2:
        raise DamageError(f"a tuple of {len(data)} bytes")
    (count,) = struct.unpack_from(">h", data)
    if count != len(schema.columns):
        raise DamageError(f"a tuple of {count} fields, for {len(schema.columns)} columns")
    fields: list[bytes | None] = []
    at = 2
    for column in schema.columns:
        field, at = _length_and_bytes(data, at, f'field "{column.name}"')
        if field is None and not column.nullable:
            raise DamageError(f'field "{column.name}" is NULL, which its column cannot be')
        fields.append(field)
    if at != len(data):
        raise DamageError(f"{len(data) - at} bytes follow the last field of a tuple")
    return fields


def decode(schema: Schema, data: bytes) -> dict[str, Value]:
    """One tuple as a mapping of names to values. Raises DamageError, which names the field."""
    return {
        column.name: None if field is None else decode_field(column, field)
        for column, field in zip(schema.columns, split(schema, data), strict=True)
    }


def decode_field(column: Column, data: bytes) -> Value:
    """One field that is not NULL. Raises DamageError."""
    reader = _READERS[column.type]
    try:
        if not column.array:
            return reader(data)
        sizes, elements = _array(column, data)
        values = (None if element is None else reader(element) for element in elements)
        return _nest(list(values), sizes)
    except (DamageError, struct.error) as error:
        raise DamageError(f'field "{column.name}" ({column.sql_type}): {error}') from None


def text(column: Column, data: bytes) -> str:
    """One field that is not NULL as the text that PostgreSQL reads back. Raises DamageError."""
    value = decode_field(column, data)
    if column.array:
        sizes, elements = _array(column, data)
        words = [None if element is None else _text(column.type, element) for element in elements]
        return _literal(words, sizes)
    return _text(column.type, data) if column.type in ("json", "jsonb") else _text_of(value)


def _text(kind: str, data: bytes) -> str:
    if kind in ("json", "jsonb"):
        return _json_text(kind, data)
    return _text_of(_READERS[kind](data))


def _text_of(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _length_and_bytes(data: bytes, at: int, what: str) -> tuple[bytes | None, int]:
    if len(data) - at < 4:
        raise DamageError(f"{what} has no length")
    (length,) = struct.unpack_from(">i", data, at)
    at += 4
    if length == -1:
        return None, at
    if length < 0 or length > len(data) - at:
        raise DamageError(f"{what} has length {length}, and {len(data) - at} bytes are left")
    return data[at : at + length], at + length


# Arrays


def _array(column: Column, data: bytes) -> tuple[list[int], list[bytes | None]]:
    """The sizes of the dimensions, and the elements, the last index running fastest."""
    dimensions, flags, oid = struct.unpack_from(">iiI", data)
    if not 0 <= dimensions <= 6 or flags not in (0, 1):
        raise DamageError(f"an array of {dimensions} dimensions, flags {flags}")
    if column.element_oid not in (0, oid):
        raise DamageError(f"elements of the type {oid}, not {column.element_oid}")
    at, sizes = 12, []
    for _ in range(dimensions):
        size, _lower = struct.unpack_from(">ii", data, at)
        if size < 1:
            raise DamageError(f"a dimension of {size} elements")
        sizes.append(size)
        at += 8
    count = math.prod(sizes) if sizes else 0
    if count * 4 > len(data) - at:
        raise DamageError(f"{count} elements in {len(data) - at} bytes")
    elements = []
    for _ in range(count):
        element, at = _length_and_bytes(data, at, "an element")
        elements.append(element)
    if at != len(data):
        raise DamageError(f"{len(data) - at} bytes follow the last element")
    return sizes, elements


def _nest(flat: list[Value], sizes: Sequence[int]) -> list[Value]:
    for size in reversed(sizes[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


def _literal(words: list[str | None], sizes: Sequence[int]) -> str:
    """https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO"""

    def quoted(word: str | None) -> str:
        return "NULL" if word is None else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def braces(value: Any) -> str:
        return "{" + ",".join(map(braces, value)) + "}" if isinstance(value, list) else str(value)

    return braces(_nest([quoted(word) for word in words], sizes))


# Single values


def _fixed(form: str) -> Callable[[bytes], Any]:
    layout = struct.Struct(form)

    def read(data: bytes) -> Any:
        if len(data) != layout.size:
            raise DamageError(f"{len(data)} bytes, not {layout.size}")
        return layout.unpack(data)[0]

    return read


def _bool(data: bytes) -> bool:
    if data not in (b"\0", b"\1"):
        raise DamageError("neither true nor false")
    return data == b"\1"


def _float(form: str) -> Callable[[bytes], float | str]:
    read_number = _fixed(form)

    def read(data: bytes) -> float | str:
        value: float = read_number(data)
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return _shortest(value) if form == ">f" else value

    return read


def _shortest(value: float) -> float:
    """The float4 with the fewest digits: 0.1, not 0.10000000149011612."""
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if struct.pack(">f", short) == struct.pack(">f", value):
            return short
    return value


_NUMERIC_WORDS: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}


def _numeric(data: bytes) -> str:
    """Digits of base 10,000; ``weight`` is the power of 10,000 of the first one."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", data)
    if len(data) != 8 + 2 * count:
        raise DamageError(f"{count} digits in {len(data) - 8} bytes")
    if sign in _NUMERIC_WORDS:
        return _NUMERIC_WORDS[sign]
    if sign not in (0x0000, 0x4000) or scale > 0x3FFF:
        raise DamageError(f"sign {sign:#06x}, scale {scale}")
    digits = struct.unpack_from(f">{count}H", data, 8)
    if any(digit > 9999 for digit in digits):
        raise DamageError("a digit above 9999")
    whole = "".join(f"{digit:04}" for digit in digits[: max(0, weight + 1)])
    whole += "0000" * (weight + 1 - count)
    fraction = "0000" * -(weight + 1) + "".join(f"{digit:04}" for digit in digits[max(0, weight + 1) :])
    fraction = fraction[:scale].ljust(scale, "0")
    value = (whole.lstrip("0") or "0") + (f".{fraction}" if scale else "")
    return f"-{value}" if sign else value


def _utf8(data: bytes) -> str:
    try:
        value = data.decode()
    except UnicodeDecodeError as error:
        raise DamageError(f"not UTF-8 (byte {error.start})") from None
    if "\0" in value:
        raise DamageError("a NUL in text")
    return value


def _bytea(data: bytes) -> str:
    return f"\\x{data.hex()}"


def _civil(days: int) -> tuple[str, bool]:
    """The date so many days after 1970-01-01, and whether it is BC: proleptic Gregorian, of any year."""
    # Years that begin in March have their leap day at the end, and repeat every 400 years (146,097 days).
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    before = year <= 0
    return f"{1 - year if before else year:04}-{month:02}-{day:02}", before


def _clock(micros: int) -> str:
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}" + (f".{fraction:06}" if fraction else "")


def _timestamp(zone: str) -> Callable[[bytes], str]:
    read_micros = _fixed(">q")

    def read(data: bytes) -> str:
        micros: int = read_micros(data)
        if micros in (-(2**63), 2**63 - 1):
            return "infinity" if micros > 0 else "-infinity"
        days, of_day = divmod(micros, _MICROS_OF_DAY)
        date, before = _civil(days + _DAYS_TO_2000)
        return f"{date}T{_clock(of_day)}{zone}" + (" BC" if before else "")

    return read


def _date(data: bytes) -> str:
    days: int = _fixed(">i")(data)
    if days in (-(2**31), 2**31 - 1):
        return "infinity" if days > 0 else "-infinity"
    date, before = _civil(days + _DAYS_TO_2000)
    return date + (" BC" if before else "")


def _time(data: bytes) -> str:
    micros: int = _fixed(">q")(data)
    if not 0 <= micros <= _MICROS_OF_DAY:
        raise DamageError(f"{micros} µs in a day")
    return _clock(micros)


def _interval(data: bytes) -> str:
    if len(data) != 16:
        raise DamageError(f"{len(data)} bytes, not 16")
    micros, days, months = struct.unpack(">qii", data)
    seconds, fraction = divmod(abs(micros), 1_000_000)
    sign = "-" if micros < 0 else ""
    return f"P{months}M{days}DT{sign}{seconds}" + (f".{fraction:06}" if fraction else "") + "S"


def _uuid(data: bytes) -> str:
    if len(data) != 16:
        raise DamageError(f"{len(data)} bytes, not 16")
    return str(UUID(bytes=data))


def _json_text(kind: str, data: bytes) -> str:
    if kind == "jsonb":
        if data[:1] != b"\1":
            raise DamageError(f"jsonb of version {data[0] if data else 'none'}")
        data = data[1:]
    return _utf8(data)


def _json(kind: str) -> Callable[[bytes], Value]:
    def read(data: bytes) -> Value:
        try:
            return json.loads(
                _json_text(kind, data),
                parse_float=_float_or_text,
                parse_int=_int_or_text,
                parse_constant=_refuse,
            )
        except (json.JSONDecodeError, RecursionError) as error:
            raise DamageError(f"not JSON ({type(error).__name__})") from None

    return read


def _float_or_text(number: str) -> float | str:
    """What would become infinite stays text."""
    value = float(number)
    return value if math.isfinite(value) else number


def _int_or_text(number: str) -> int | str:
    """What Python does not convert, for want of time, stays text."""
    return int(number) if len(number) <= 4000 else number


def _refuse(word: str) -> Value:
    raise DamageError(f"{word} in JSON")


def _inet(data: bytes) -> str:
    """Family (2 = IPv4, 3 = IPv6), bits of the network, is it a cidr, length of the address, the address."""
    if len(data) < 4:
        raise DamageError(f"{len(data)} bytes")
    family, bits, is_cidr, length = data[:4]
    size = {2: 4, 3: 16}.get(family)
    if size is None or length != size or len(data) != 4 + size or bits > size * 8 or is_cidr > 1:
        raise DamageError("no address of the internet")
    address = str(ip_address(data[4:]))
    return address if bits == size * 8 and not is_cidr else f"{address}/{bits}"


_READERS: Final[dict[str, Callable[[bytes], Value]]] = {
    "boolean": _bool,
    "smallint": _fixed(">h"),
    "integer": _fixed(">i"),
    "bigint": _fixed(">q"),
    "real": _float(">f"),
    "double precision": _float(">d"),
    "numeric": _numeric,
    "text": _utf8,
    "bytea": _bytea,
    "timestamp with time zone": _timestamp("+00:00"),
    "timestamp without time zone": _timestamp(""),
    "date": _date,
    "uuid": _uuid,
    "json": _json("json"),
    "jsonb": _json("jsonb"),
    "inet": _inet,
    "cidr": _inet,
    "enum": _utf8,
    "time without time zone": _time,
    "interval": _interval,
}


def csv_line(values: Iterator[str | None]) -> str:
    """One line that COPY … (FORMAT csv) reads: NULL is an empty field, an empty text is quoted."""
    return ",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in values) + "\n"
