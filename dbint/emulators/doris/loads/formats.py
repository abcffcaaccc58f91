# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""What the formats of Stream Load have in common: bodies in blocks, rows in a temporary table, bad rows with
their reasons.

A body is read in pieces and its rows go to DuckDB in batches, so that a large load needs little memory here.
Source: "Stream Load" of the Doris manual; be/src/format and be/src/util/load_util.cpp of apache/doris.
"""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import duckdb
import pyarrow as pa

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.tables.model import identifier
from dbint.emulators.doris.tables.write import MAX_ERROR_LINES

BLOCK = 4 << 20
BATCH_ROWS = 50_000
_BOM = b"\xef\xbb\xbf"
COMPRESSIONS = frozenset(["", "gz", "bz2", "deflate", "lz4"])
NOT_EMULATED_COMPRESSIONS = frozenset(["lzo", "lzop", "lz4_block", "snappy_block"])


@dataclass(slots=True)
class ParsedRows:
    """The good rows of a body: ``relation``, a temporary table of columns ``names``; ``bad`` rows are none of
    them.
    """

    relation: str
    names: tuple[str, ...]
    good: int
    bad: int
    bad_lines: list[str] = field(default_factory=list)
    is_text: bool = True

    @property
    def total(self) -> int:
        return self.good + self.bad


def error_line(reason: str, line: str) -> str:
    """A line of an error log, as the backend writes it."""
    return f"Reason: {reason}. src line [{line}]; "


class RowTable:
    """Collects rows of text, NULL as None, and hands them to DuckDB in batches."""

    relation = "load_rows"

    def __init__(self, cursor: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.good = self.bad = 0
        self.bad_lines: list[str] = []
        self._cursor = cursor
        columns = ", ".join(f"{identifier(name)} VARCHAR" for name in names)
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE {self.relation} ({columns})")

    def refuse(self, reason: str, line: str) -> None:
        """Count a row that is none."""
        self.bad += 1
        if len(self.bad_lines) < MAX_ERROR_LINES:
            self.bad_lines.append(error_line(reason, line))

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Append a batch, one array for each column."""
        batch = pa.table(list(columns), names=[str(n) for n in range(len(columns))])
        self.good += batch.num_rows
        self._cursor.register("load_batch", batch)
        try:
            self._cursor.execute(f"INSERT INTO {self.relation} SELECT * FROM load_batch")
        finally:
            self._cursor.unregister("load_batch")

    def result(self) -> ParsedRows:
        return ParsedRows(self.relation, self.names, self.good, self.bad, self.bad_lines)


def text_array(values: Sequence[Any]) -> pa.Array:
    return pa.array(values, pa.string())


def blocks(body: IO[bytes], compression: str) -> Iterator[bytes]:
    """The body, decompressed, in pieces. Raises NotEmulatedError and the errors of the decompressors."""
    if compression in NOT_EMULATED_COMPRESSIONS:
        raise NotEmulatedError(f"compress_type {compression}")
    if compression == "deflate":
        yield from _inflate(body)
        return
    source: Any = body
    if compression == "gz":
        source = gzip.GzipFile(fileobj=body, mode="rb")
    elif compression == "bz2":
        source = bz2.BZ2File(body)
    elif compression == "lz4":
        source = pa.CompressedInputStream(pa.PythonFile(body, mode="r"), "lz4")
    while piece := source.read(BLOCK):
        yield piece


def _inflate(body: IO[bytes]) -> Iterator[bytes]:
    """A raw deflate stream, without zlib's header, as Doris' DeflateDecompressor reads it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while piece := body.read(BLOCK):
        yield inflater.decompress(piece)
    yield inflater.flush()
    if not inflater.eof:
        raise EOFError("the deflate stream is cut off")


def lines(pieces: Iterator[bytes], delimiter: bytes, skip: int = 0) -> Iterator[list[bytes | str]]:
    """The lines of a body in groups, without their ends; text, or bytes for one that is not UTF-8.

    Where the delimiter is LF, a CR before it belongs to it. The first ``skip`` lines are left out; a byte
    order mark before the first line is, too.
    """
    rest, first = b"", skip == 0
    for piece in pieces:
        data = rest + piece
        end = data.rfind(delimiter)
        if end < 0:
            rest = data
            continue
        rest = data[end + len(delimiter) :]
        group = _decoded(data[:end], delimiter)
        if first:
            first = _without_mark(group)
        group, skip = group[skip:], max(0, skip - len(group))
        yield group
    if rest:
        group = [_decoded_line(rest)]
        if first:
            _without_mark(group)
        yield group[skip:]


def _decoded(data: bytes, delimiter: bytes) -> list[bytes | str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        separate = data.split(delimiter)
        if delimiter == b"\n":
            separate = [line.removesuffix(b"\r") for line in separate]
        return [_decoded_line(line) for line in separate]
    if delimiter == b"\n":
        text = text.replace("\r\n", "\n").removesuffix("\r")
    return list(text.split(delimiter.decode()))


def _decoded_line(line: bytes) -> bytes | str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line


def _without_mark(group: list[bytes | str]) -> bool:
    """Take the byte order mark off the first line; gives False, for it is looked for once."""
    line = group[0]
    if isinstance(line, bytes):
        group[0] = line.removeprefix(_BOM)
    else:
        group[0] = line.removeprefix("\ufeff")
    return False


def whole(pieces: Iterator[bytes], limit: int) -> bytes:
    """A body that has to be read as a whole. Raises DorisError where it is larger than ``limit`` bytes."""
    out = io.BytesIO()
    for piece in pieces:
        out.write(piece)
        if out.tell() > limit:
            raise DorisError(
                f"[E-217]json body size {out.tell()} exceed BE's conf `streaming_load_json_max_mb` {limit}."
                " increase it if you are sure this load is reasonable"
            )
    return out.getvalue()
