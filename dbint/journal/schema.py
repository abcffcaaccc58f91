"""What a segment says of its stream: name, table and columns (csrc/core/stream.h and schema.h)."""

import struct
from dataclasses import dataclass
from typing import Any, Final

from dbint._core import crc32c
from dbint.journal.damage import DamageError

_META: Final = struct.Struct("<4sHHII")
_SCHEMA: Final = struct.Struct("<4sHH")
_COLUMN: Final = struct.Struct("<IIIiBBB")

# DBI_COLUMN_TYPE_MAP and DBI_FILL_MAP: the places in these tuples are the numbers in the file.
TYPES: Final = (
    *("boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "text", "bytea"),
    *("timestamp with time zone", "timestamp without time zone", "date", "uuid", "json", "jsonb"),
    *("inet", "cidr", "enum", "time without time zone", "interval"),
)
FILLS: Final = ("none", "null", "uuid7", "now")
_ARRAY, _NULLABLE = 1, 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``type`` is one of TYPES, of an array its elements'; ``sql_type`` is as SQL writes it.

    ``oid`` is the type's, of a domain that of the type below it. ``element_oid`` and ``domain_oid`` are 0
    where there is none, ``typmod`` is -1.
    """

    name: str
    type: str
    sql_type: str
    oid: int
    element_oid: int
    domain_oid: int
    typmod: int
    array: bool
    nullable: bool
    fill: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The table that a stream's rows are for, and the columns that they have, in this order."""

    nspname: str
    relname: str
    columns: tuple[Column, ...]

    @property
    def table(self) -> str:
        return f"{self.nspname}.{self.relname}"


@dataclass(frozen=True, slots=True)
class Meta:
    """A segment's meta."""

    stream: str
    schema: Schema


def meta_length(data: bytes) -> int:
    """How many bytes of ``data`` are a meta, by what it says itself. Raises DamageError."""
    if len(data) < _META.size:
        raise DamageError(f"{len(data)} bytes are no meta")
    _, _, name_length, schema_length, _ = _META.unpack_from(data)
    return _META.size + int(name_length) + int(schema_length)


def read_meta(data: bytes) -> Meta:
    """Reads a segment's meta. Raises DamageError."""
    if len(data) < _META.size:
        raise DamageError(f"the meta has {len(data)} bytes, fewer than the {_META.size} of its head")
    magic, version, name_length, schema_length, crc = _META.unpack_from(data)
    if magic != b"DBSM":
        raise DamageError(f"the meta begins with {magic!r}, not with 'DBSM'")
    if version != 1:
        raise DamageError(f"the meta has version {version}; this version of dbint reads 1")
    rest = data[_META.size :]
    if not 1 <= name_length <= 127 or name_length + schema_length != len(rest):
        raise DamageError(
            f"the meta's lengths do not fit: name {name_length}, columns {schema_length}, both {len(rest)}"
        )
    if crc32c(rest, crc32c(data[:12])) != crc:
        raise DamageError("the meta does not fit its CRC")
    return Meta(_text(rest[:name_length], "the stream's name"), read_schema(rest[name_length:]))


def read_schema(data: bytes) -> Schema:
    """Reads a packed schema. Raises DamageError, which says at which byte."""
    reader = _Reader(data)
    magic, version, count = reader.take(_SCHEMA)
    if magic != b"dbis":
        raise DamageError(f"the columns begin with {magic!r}, not with 'dbis'")
    if version != 1:
        raise DamageError(f"the columns have version {version}; this version of dbint reads 1")
    if not 1 <= count <= 1600:
        raise DamageError(f"a table has 1 to 1600 columns, not {count}")
    nspname, relname = reader.string("schema"), reader.string("table")
    columns = tuple(_read_column(reader) for _ in range(count))
    if reader.at != len(data):
        raise DamageError(f"{len(data) - reader.at} bytes follow the last column")
    return Schema(nspname, relname, columns)


def _read_column(reader: "_Reader") -> Column:
    start = reader.at
    oid, element_oid, domain_oid, typmod, kind, flags, fill = reader.take(_COLUMN)
    name = reader.string("name")
    sql_type = reader.string("type")
    if kind >= len(TYPES) or fill >= len(FILLS) or flags & ~(_ARRAY | _NULLABLE):
        raise DamageError(
            f'column "{name}" at byte {start} has the unknown type {kind}, flags {flags} or fill {fill}'
        )
    return Column(
        name,
        TYPES[kind],
        sql_type,
        oid,
        element_oid,
        domain_oid,
        typmod,
        array=bool(flags & _ARRAY),
        nullable=bool(flags & _NULLABLE),
        fill=FILLS[fill],
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        self._need(form.size)
        values = form.unpack_from(self._data, self.at)
        self.at += form.size
        return values

    def string(self, what: str) -> str:
        self._need(1)
        length = self._data[self.at]
        self.at += 1
        self._need(length)
        value = self._data[self.at : self.at + length]
        self.at += length
        if not value:
            raise DamageError(f"an empty {what} at byte {self.at - 1} of the columns")
        return _text(value, what)

    def _need(self, size: int) -> None:
        if len(self._data) - self.at < size:
            raise DamageError(f"the columns end at byte {len(self._data)}, in the middle of something")


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DamageError(f"{what} is not UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise DamageError(f"{what} holds a NUL")
    return text
