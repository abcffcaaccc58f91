"""Rows as JSON lines, such that Doris reads back exactly the values that went in."""

import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbint.errors import ConfigurationError

_INT64 = range(-(2**63), 2**63)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode rows for ``StreamLoadClient.load(format="json")``: one object a line, UTF-8.

    Decimals, and integers beyond 64 bits, are written as strings: Doris' JSON reader would take them for
    doubles and round. Aware date-times become UTC, naive ones stay. Raises ConfigurationError for NaN,
    infinity and values of other types, naming the column.
    """
    return b"".join(json_line_chunks(rows))


def json_line_chunks(rows: Iterable[Mapping[str, Any]], size: int = 1 << 20) -> Iterator[bytes]:
    """As :func:`json_lines`, in pieces of about ``size`` bytes that are made when they are sent.

    A load of any size then needs little memory here. It has one attempt, for a generator cannot be read
    again: where repeating matters, write the pieces to a file and load that.
    """
    out = bytearray()
    for number, row in enumerate(rows):
        document = {}
        for name, value in row.items():
            try:
                document[name] = _value(value)
            except ConfigurationError as error:
                raise ConfigurationError(f"row {number}, column {name!r}: {error}") from None
        try:
            out += json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(f"row {number}: not valid Unicode: {error.reason}") from None
        out += b"\n"
        if len(out) >= size:
            yield bytes(out)
            out.clear()
    if out:
        yield bytes(out)


def _value(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _value(value.value)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigurationError(f"{value} cannot be written as JSON")
        return value
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise ConfigurationError(f"{value} cannot be written as JSON")
        return format(value, "f")
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return value.isoformat(" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    raise ConfigurationError(f"a value of type {type(value).__name__} cannot be written as JSON")
