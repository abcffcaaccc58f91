"""The rows of a journal, chosen by stream, chain and sequence, and written so that others can load them."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from dbint.errors import JournalError
from dbint.journal.damage import DamageError
from dbint.journal.directory import Chain, Journal
from dbint.journal.messages import Message, read_message
from dbint.journal.schema import Meta, Schema, read_meta
from dbint.journal.segment import KINDS, VOID, Broken, Record
from dbint.journal.values import csv_line, decode, split, text

_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = struct.pack(">h", -1)


class _Placed(Protocol):
    """A row or a dead letter."""

    @property
    def chain(self) -> UUID: ...
    @property
    def sequence(self) -> int: ...
    @property
    def stream(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """What is chosen; None and the empty text choose everything. ``chain`` is how its id begins."""

    stream: str | None = None
    chain: str = ""
    first: int | None = None
    last: int | None = None

    def has(self, row: _Placed) -> bool:
        return (
            self.has_chain(row.chain, row.stream)
            and (self.first is None or row.sequence >= self.first)
            and (self.last is None or row.sequence <= self.last)
        )

    def has_chain(self, chain: UUID, stream: str) -> bool:
        return chain.hex.startswith(self.chain.replace("-", "")) and self.stream in (None, stream)


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a chain: a row, or a message for Kafka.

    ``schema`` is None for a message, and where it cannot be read.
    """

    chain: UUID
    lane: int
    stream: str
    sequence: int
    kind: str
    schema: Schema | None
    data: bytes

    def values(self) -> dict[str, Any]:
        """The fields by name, or what a message consists of. Raises DamageError."""
        return self.message().shown() if self.kind == "kafka" else decode(self.readable(), self.data)

    def message(self) -> Message:
        """The message that the record is. Raises DamageError."""
        if self.kind != "kafka":
            raise DamageError(f"sequence {self.sequence} is a {self.kind}, and no message")
        return read_message(self.data)

    def texts(self) -> Iterator[str | None]:
        """The fields as PostgreSQL reads them. Raises DamageError."""
        schema = self.readable()
        for column, data in zip(schema.columns, split(schema, self.data), strict=True):
            yield None if data is None else text(column, data)

    def readable(self) -> Schema:
        """The schema that the row can be read by. Raises DamageError."""
        if self.schema is None:
            raise DamageError(f"a {self.kind} record whose columns are not known")
        return self.schema


def rows(journal: Journal, selection: Selection, *, landed: bool = False) -> Iterator[Row | Broken]:
    """The chosen rows, chain by chain; with ``landed`` also those that have landed and are still kept."""
    for slot in journal.slots():
        for chain in slot.read().chains:
            if selection.has_chain(chain.id, chain.stream):
                yield from _rows_of(chain, selection, landed)


def _rows_of(chain: Chain, selection: Selection, landed: bool) -> Iterator[Row | Broken]:
    metas: dict[bytes, Meta | None] = {}
    after = chain.newest.base if landed else chain.landed
    for piece, found in chain.walk():
        if isinstance(found, Broken) and not found.torn:
            yield found
        if not isinstance(found, Record) or found.kind == VOID or found.sequence <= after:
            continue
        data = piece.header.meta
        if data not in metas:
            try:
                metas[data] = read_meta(data)
            except DamageError:
                metas[data] = None
        meta = metas[data]
        kind = KINDS[found.kind]
        schema = meta.schema if meta and kind == "row" else None
        row = Row(chain.id, piece.header.lane, piece.header.name, found.sequence, kind, schema, found.body)
        if selection.has(row):
            yield row


def copy_binary(chosen: Iterable[Row]) -> Iterator[bytes]:
    """A file for COPY … (FORMAT binary). Raises JournalError when the rows are not all of one shape."""
    yield _COPY_HEADER
    for row in one_shape(chosen):
        yield row.data
    yield _COPY_TRAILER


def csv(chosen: Iterable[Row]) -> Iterator[bytes]:
    """A file for COPY … (FORMAT csv, HEADER). Raises JournalError as ``copy_binary``, DamageError."""
    for place, row in enumerate(one_shape(chosen)):
        if place == 0:
            yield csv_line(column.name for column in row.readable().columns).encode()
        yield csv_line(row.texts()).encode()


def one_shape(chosen: Iterable[Row]) -> Iterator[Row]:
    """The rows again; JournalError at the first that is for another table or has other columns."""
    schema: Schema | None = None
    for row in chosen:
        if row.schema is None:
            raise JournalError(
                f"sequence {row.sequence} of chain {row.chain.hex} is no row whose columns are known"
            )
        if schema is None:
            schema = row.schema
        elif _shape(row.schema) != _shape(schema):
            raise JournalError(
                f"from sequence {row.sequence} of chain {row.chain.hex} on the rows are for other columns or "
                f"another table ({row.schema.table}, stream {row.stream!r}): choose by --stream, --chain, "
                "--from and --to what goes into one file"
            )
        yield row


def _shape(schema: Schema) -> object:
    return schema.table, [(column.name, column.oid, column.array) for column in schema.columns]


def copy_command(schema: Schema, path: str, form: str) -> str:
    """What psql is told to load such a file."""
    columns = ", ".join(quoted(column.name) for column in schema.columns)
    options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT binary"
    table = f"{quoted(schema.nspname)}.{quoted(schema.relname)}"
    literal = "'" + path.replace("'", "''") + "'"
    return f"\\copy {table} ({columns}) from {literal} with ({options})"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
