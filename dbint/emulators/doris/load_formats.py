# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""The formats of Stream Load: CSV and JSON bodies as relations of text columns.

A parser gives a temporary table and a SELECT over it, one text column per name; rows that are not rows at all
(a wrong number of fields, no JSON) are counted and set aside with their reasons.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.model import identifier, literal
from dbint.emulators.doris.write import MAX_ERROR_LINES

_BLOCK = 4 << 20


@dataclass(slots=True)
class ParsedRows:
    """``select`` reads the good rows of ``relation`` as text columns ``names``; ``bad`` rows are none of
    them.
    """

    relation: str
    select: str
    names: tuple[str, ...]
    total: int
    bad: int
    bad_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """``separator`` and ``delimiter`` as in the headers: text, with ``\\t`` and ``\\xNN`` escapes."""

    separator: str = "\\t"
    delimiter: str = "\\n"
    enclose: str = ""
    escape: str = ""
    skip: int = 0
    trim_quotes: bool = False


@dataclass(frozen=True, slots=True)
class JsonFormat:
    by_line: bool = False
    strip_outer_array: bool = False
    root: str = ""
    paths: str = ""


def parse_csv(
    cursor: duckdb.DuckDBPyConnection, data: bytes, names: Sequence[str], options: CsvFormat
) -> ParsedRows:
    """Split a CSV body. NULL is ``\\N``."""
    separator, delimiter = _unescape(options.separator), _unescape(options.delimiter)
    if options.enclose or options.escape:
        fields = _quoted_rows(data.decode(), separator, delimiter, options)
        cursor.register("load_body", pa.table({"f": pa.array(fields, pa.list_(pa.string()))}))
        rows = "SELECT f FROM load_body"
    else:
        cursor.register("load_body", pa.table({"block": _blocks(data, delimiter.encode(), options.skip)}))
        line = "l"
        if delimiter == "\n":
            line = "CASE WHEN l[-1] = chr(13) THEN l[:-2] ELSE l END"
        rows = (
            f"SELECT string_split({line}, {literal(separator)}) AS f FROM "
            f"(SELECT unnest(string_split(block, {literal(delimiter)})) AS l FROM load_body) WHERE l <> ''"
        )
    try:
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE load_rows AS {rows}")
    finally:
        cursor.unregister("load_body")
    wrong = f"len(f) <> {len(names)}"
    total, bad = _counts(cursor, wrong)
    lines = []
    if bad:
        joined = f"array_to_string(f, {literal(separator)})"
        for size, line in cursor.execute(
            f"SELECT len(f), {joined} FROM load_rows WHERE {wrong} LIMIT {MAX_ERROR_LINES}"
        ).fetchall():
            relation = "less" if size < len(names) else "more"
            lines.append(
                f"Reason: actual column number in csv file is {relation} than schema column number.actual"
                f" number: {size}, schema column number: {len(names)}; src line [{line}]; "
            )
    value = "f[{0}]"
    if options.trim_quotes:
        value = "regexp_replace(f[{0}], '^\"(.*)\"$', '\\1')"
    columns = ", ".join(
        f"nullif({value.format(n)}, '\\N') AS {identifier(c)}" for n, c in enumerate(names, 1)
    )
    select = f"SELECT {columns} FROM load_rows WHERE NOT ({wrong})"
    return ParsedRows("load_rows", select, tuple(names), total, bad, lines)


def parse_json(
    cursor: duckdb.DuckDBPyConnection,
    data: bytes,
    names: Sequence[str],
    options: JsonFormat,
    optional: Sequence[str],
) -> ParsedRows:
    """Split a JSON body. A column of ``optional`` that no object has is left out, so that its default
    applies.
    """
    if options.by_line and options.strip_outer_array:
        raise NotEmulatedError("read_json_by_line together with strip_outer_array")
    text = data.decode()
    by_line = options.by_line or (not options.strip_outer_array and not _is_document(text))
    if by_line:
        cursor.register("load_body", pa.table({"block": _blocks(data, b"\n", 0)}))
        rows = (
            "SELECT trim(unnest(string_split(block, chr(10))), chr(13) || ' ' || chr(9)) AS j FROM load_body"
        )
        rows = f"SELECT j FROM ({rows}) WHERE j <> ''"
    else:
        cursor.register("load_body", pa.table({"j": pa.array([text], pa.large_string())}))
        rows = _document_rows(text, options)
    try:
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE load_rows AS {rows}")
    finally:
        cursor.unregister("load_body")
    wrong = "CASE WHEN json_valid(j) THEN json_type(j) <> 'OBJECT' ELSE true END"
    total, bad = _counts(cursor, wrong)
    lines = [
        f"Reason: Parse json data for JsonDoc failed, or it is no object. src line [{line}]; "
        for (line,) in (
            cursor.execute(f"SELECT j FROM load_rows WHERE {wrong} LIMIT {MAX_ERROR_LINES}").fetchall()
            if bad
            else []
        )
    ]
    root = f"json_extract(j, {literal(options.root)})" if options.root and by_line else "CAST(j AS JSON)"
    paths = _paths(options.paths, names)
    good = f"(SELECT {root} AS j FROM load_rows WHERE NOT ({wrong}))"
    if optional and total > bad:
        checks = [f"coalesce(bool_or(json_exists(j, {literal(paths[n])})), false)" for n in optional]
        found = cursor.execute(f"SELECT {', '.join(checks)} FROM {good}").fetchall()[0]
        absent = {n for n, is_there in zip(optional, found, strict=True) if not is_there}
        names = [n for n in names if n not in absent]
    columns = ", ".join(f"json_extract_string(j, {literal(paths[n])}) AS {identifier(n)}" for n in names)
    return ParsedRows("load_rows", f"SELECT {columns} FROM {good}", tuple(names), total, bad, lines)


def _document_rows(text: str, options: JsonFormat) -> str:
    """The objects of a body that is one JSON document."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DorisError(f"[DATA_QUALITY_ERROR]Parse json data for JsonDoc failed: {error}") from None
    value = "CAST(j AS JSON)"
    if options.root:
        for key in options.root.removeprefix("$").strip(".").split("."):
            document = document.get(key) if isinstance(document, dict) else None
        value = f"json_extract(j, {literal(options.root)})"
    if isinstance(document, list):
        if not options.strip_outer_array:
            raise DorisError(
                "[DATA_QUALITY_ERROR]JSON data is array-object, `strip_outer_array` must be TRUE."
            )
        return f"SELECT CAST(unnest(from_json({value}, '[\"JSON\"]')) AS VARCHAR) AS j FROM load_body"
    if options.strip_outer_array:
        raise DorisError(
            "[DATA_QUALITY_ERROR]JSON data is not an array-object, `strip_outer_array` must be FALSE."
        )
    return f"SELECT CAST({value} AS VARCHAR) AS j FROM load_body"


def _is_document(text: str) -> bool:
    """Whether a body is one JSON document rather than one a line; the first line decides."""
    first, newline, rest = text.lstrip().partition("\n")
    if first.startswith("[") or not newline or not rest.strip():
        return True
    try:
        json.loads(first)
    except ValueError:
        return True
    return False


def _paths(header: str, names: Sequence[str]) -> dict[str, str]:
    """The JSON path of each column."""
    if not header:
        return {name: '$."' + name.replace('"', '\\"') + '"' for name in names}
    try:
        paths = json.loads(header)
    except ValueError:
        raise DorisError(f"Invalid json path: {header}") from None
    if not isinstance(paths, list) or not all(isinstance(p, str) and p.startswith("$") for p in paths):
        raise DorisError(f"Invalid json path: {header}")
    if len(paths) < len(names):
        raise DorisError(f"jsonpaths has {len(paths)} paths for {len(names)} columns")
    return dict(zip(names, paths, strict=False))


def _blocks(data: bytes, delimiter: bytes, skip: int) -> pa.Array:
    """The body in pieces of some megabytes that end at line ends."""
    start = 0
    for _ in range(skip):
        end = data.find(delimiter, start)
        start = end + len(delimiter) if end >= 0 else len(data)
    blocks = []
    while start < len(data):
        end = data.find(delimiter, start + _BLOCK)
        end = len(data) if end < 0 else end
        try:
            blocks.append(data[start:end].decode())
        except UnicodeDecodeError:
            raise DorisError(
                "[DATA_QUALITY_ERROR]Only support csv data in utf8 codec" if delimiter else "not utf8"
            ) from None
        start = end + len(delimiter)
    return pa.array(blocks, pa.large_string())


def _quoted_rows(text: str, separator: str, delimiter: str, options: CsvFormat) -> list[list[str]]:
    if len(separator) != 1 or delimiter not in ("\n", "\r\n"):
        raise NotEmulatedError(
            "enclose or escape with a separator of several characters, or another line delimiter"
        )
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quotechar=options.enclose or None,
        escapechar=options.escape or None,
        quoting=csv.QUOTE_MINIMAL if options.enclose else csv.QUOTE_NONE,
    )
    try:
        return [row for row in reader if row][options.skip :]
    except csv.Error as error:
        raise DorisError(f"[DATA_QUALITY_ERROR]line {reader.line_num}: {error}") from None


def _unescape(text: str) -> str:
    """A separator of a header: ``\\t``, ``\\n``, ``\\r``, ``\\x01`` and plain text."""
    if text[:2].lower() == "\\x":
        try:
            return bytes.fromhex(text[2:]).decode()
        except ValueError:
            raise DorisError(f"Hex str is not valid: {text}") from None
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") or "\t"


def _counts(cursor: duckdb.DuckDBPyConnection, wrong: str) -> tuple[int, int]:
    row: tuple[int, int] = cursor.execute(
        f"SELECT count(*), count(*) FILTER ({wrong}) FROM load_rows"
    ).fetchall()[0]
    return row
