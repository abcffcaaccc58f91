"""CSV bodies of Stream Load, split as Doris' CsvReader does.

Source: be/src/format/csv/csv_reader.cpp, be/src/format/file_reader/new_plain_text_line_reader.cpp and
escape_string_for_csv of apache/doris.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.formats import BATCH_ROWS, ParsedRows, RowTable, blocks, lines, text_array

_NULL = "\\N"


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """``separator`` and ``delimiter`` as in the headers: text, with ``\\t`` and ``\\xNN`` escapes."""

    separator: str = "\\t"
    delimiter: str = "\\n"
    enclose: str = ""
    escape: str = ""
    skip: int = 0
    trim_quotes: bool = False
    empty_is_null: bool = False
    compression: str = ""


def parse_csv(
    cursor: duckdb.DuckDBPyConnection, body: IO[bytes], names: Sequence[str], options: CsvFormat
) -> ParsedRows:
    """Split a CSV body into text columns. NULL is ``\\N``; empty lines are no rows. Raises DorisError."""
    separator, delimiter = unescape(options.separator, "\t"), unescape(options.delimiter, "\n")
    table = RowTable(cursor, names)
    pieces = blocks(body, options.compression)
    if options.enclose:
        groups = EnclosedRows(options, separator, delimiter).groups(pieces)
    else:
        groups = _plain(table, pieces, separator, delimiter, options.skip)
    mismatch = _mismatch(len(names), separator, delimiter, options)
    waiting: list[list[str]] = []
    for group in groups:
        for row in group:
            if len(row) == len(names):
                waiting.append(row)
            else:
                table.refuse(mismatch.format(found=len(row)), separator.join(row))
        if len(waiting) >= BATCH_ROWS:
            _add(table, waiting, options)
            waiting = []
    _add(table, waiting, options)
    return table.result()


def _plain(
    table: RowTable, pieces: Iterator[bytes], separator: str, delimiter: str, skip: int
) -> Iterator[list[list[str]]]:
    for group in lines(pieces, delimiter.encode(), skip):
        rows = []
        for line in group:
            if not line:
                continue
            if isinstance(line, bytes):
                table.refuse(
                    "Invalid file encoding: all CSV files must be UTF-8 encoded",
                    line.decode(errors="replace"),
                )
            else:
                rows.append(line.split(separator))
        yield rows


def _add(table: RowTable, rows: list[list[str]], options: CsvFormat) -> None:
    if rows:
        table.add([_column(values, options) for values in zip(*rows, strict=True)])


def _column(values: Sequence[str], options: CsvFormat) -> pa.Array:
    array = text_array(values)
    null = pc.equal(array, _NULL)
    if options.trim_quotes:  # what is in quotes is never NULL
        quoted = pc.match_substring_regex(array, r'(?s)\A".*"\z')
        array = pc.if_else(quoted, pc.utf8_slice_codeunits(array, 1, -1), array)
    if options.empty_is_null:
        null = pc.or_(null, pc.equal(pc.utf8_length(text_array(values)), 0))
    array = pc.if_else(null, pa.scalar(None, pa.string()), array)
    if not options.escape or not any(options.escape in v or options.enclose * 2 in v for v in values):
        return array
    return text_array([None if v is None else unescape_field(v, options) for v in array.to_pylist()])


def unescape_field(value: str, options: CsvFormat) -> str:
    """Take the escape character, and the first of two enclosing ones, out of a field."""
    out, skipped = [], False
    for n, char in enumerate(value):
        doubled = bool(options.enclose) and char == options.enclose and value[n + 1 : n + 2] == char
        skipped = (doubled or char == options.escape) and not skipped
        if not skipped:
            out.append(char)
    return "".join(out)


def _mismatch(expected: int, separator: str, delimiter: str, options: CsvFormat) -> str:
    """The reason for a row with another number of fields than there are columns."""
    shown = separator.replace("\t", "\\t"), delimiter.replace("\n", "\\n")
    text = f"Column count mismatch: expected {expected}, but found {{found}} "
    text += f"(sep:{shown[0]} delim:{shown[1]}".replace("{", "{{").replace("}", "}}")
    for name, value in (("encl", options.enclose), ("esc", options.escape)):
        if value:
            text += f" {name}:{value}".replace("{", "{{").replace("}", "}}")
    return text + ")"


class EnclosedRows:
    """Rows whose fields may be enclosed, and then hold separators and line ends.

    A field is enclosed where it begins with the character; two of them stand for one, and the escape
    character takes the meaning from what follows it. What comes between the closing one and the next
    separator belongs to the field, which then keeps its enclosing characters.
    """

    def __init__(self, options: CsvFormat, separator: str, delimiter: str) -> None:
        self._enclose = options.enclose
        self._separator, self._delimiter = separator, delimiter
        self._skip = options.skip
        enclose, escape = re.escape(options.enclose), re.escape(options.escape)
        if options.escape and options.escape != options.enclose:
            closing = f"{enclose}(?:{escape}.)*+"  # what is escaped right behind it belongs to it
            inside = f"[^{enclose}{escape}]+|{escape}.|{closing}{enclose}"
        else:
            closing = enclose
            inside = f"[^{enclose}]+|{enclose}{enclose}"
        self._enclosed = re.compile(f"(?:{inside})*+(?:{closing})?", re.DOTALL)

    def groups(self, pieces: Iterator[bytes]) -> Iterator[list[list[str]]]:
        rest, first = b"", self._skip == 0
        for piece in pieces:
            rest += piece
            text, undecoded = _decodable(rest)
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            rows, used = self._rows(text, final=False)
            rest = text[used:].encode() + undecoded
            yield rows
        text, undecoded = _decodable(rest)
        if undecoded:
            raise NotEmulatedError("a row that is not UTF-8 beside enclosed fields")
        yield self._rows(text, final=True)[0]

    def _rows(self, text: str, *, final: bool) -> tuple[list[list[str]], int]:
        """The complete rows of ``text``, and where the first incomplete one begins."""
        rows, start = [], 0
        while start < len(text):
            found = self._row(text, start, final=final)
            if found is None:
                break
            row, start = found
            if self._skip:
                self._skip -= 1
            elif row != [""]:
                rows.append(row)
        return rows, start

    def _row(self, text: str, start: int, *, final: bool) -> tuple[list[str], int] | None:
        row: list[str] = []
        position = begin = start
        while True:
            if text.startswith(self._enclose, position):
                position = self._closing(text, position + 1)
            line_end = text.find(self._delimiter, position)
            if line_end < 0 and not final:
                return None
            end = len(text) if line_end < 0 else line_end
            next_separator = text.find(self._separator, position, end)
            if next_separator < 0:
                value = text[begin:end]
                if line_end >= 0 and self._delimiter == "\n":
                    value = value.removesuffix("\r")
                row.append(self._trimmed(value))
                return row, min(len(text), end + len(self._delimiter))
            row.append(self._trimmed(text[begin:next_separator]))
            position = begin = next_separator + len(self._separator)

    def _closing(self, text: str, position: int) -> int:
        """Behind the character that closes the field, or the end of the text."""
        match = self._enclosed.match(text, position)
        return match.end() if match else position

    def _trimmed(self, value: str) -> str:
        if len(value) > 1 and value[0] == value[-1] == self._enclose:
            return value[1:-1]
        return value


def _decodable(data: bytes) -> tuple[str, bytes]:
    """Text, and the beginning of a character that is not complete yet. Raises NotEmulatedError."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        if error.end < len(data) or len(data) - error.start > 3:
            raise NotEmulatedError("a row that is not UTF-8 beside enclosed fields") from None
        return data[: error.start].decode(), data[error.start :]


def unescape(text: str, default: str) -> str:
    """A separator of a header: ``\\t``, ``\\n``, ``\\r``, ``\\x01`` and plain text."""
    if text[:2].lower() == "\\x":
        try:
            return bytes.fromhex(text[2:]).decode() or default
        except ValueError:
            raise DorisError(f"Hex str format error: {text}") from None
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") or default
