"""JSON bodies of Stream Load, read as Doris' NewJsonReader does.

A number keeps its text, so that no digit of a DECIMAL is lost. Of two equal keys the first counts. A key that
an object does not have gives its column the default. Source: be/src/format/json/new_json_reader.cpp and
parse_json_paths of apache/doris.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

import duckdb
import pyarrow as pa

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.csv_rows import unescape
from dbint.emulators.doris.loads.formats import (
    BATCH_ROWS,
    ParsedRows,
    RowTable,
    blocks,
    lines,
    text_array,
    whole,
)

_MAX_DOCUMENT = 100 << 20  # streaming_load_json_max_mb
_PLAIN = frozenset([str, type(None)])
PRESENT = "__present"
_MISSING: Any = object()
_STEP = re.compile(r"""\s*(?:\.?"(?P<quoted>[^"]*)"|\.?(?P<key>[^.\[\]"]+)|\.)?((?:\[(?:\d+|\*)\])*)""")

Step = str | int


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """``paths`` and ``root`` as in the headers ``jsonpaths`` and ``json_root``; ``defaults`` are the texts of
    columns that an object does not have. With ``flexible`` a further column says which ones it has, as text
    of ``1`` and ``0``, and it must have ``keys``.
    """

    by_line: bool = True
    strip_outer_array: bool = False
    root: str = ""
    paths: str = ""
    delimiter: str = "\\n"
    compression: str = ""
    defaults: Mapping[str, str | None] = field(default_factory=dict)
    flexible: bool = False
    keys: tuple[str, ...] = ()


class _Number(str):
    """A number inside a list or an object: its text, to be written without quotes."""

    __slots__ = ()


class _BadRowError(Exception):
    """A document that gives no rows, with the reason."""


def parse_json(
    cursor: duckdb.DuckDBPyConnection, body: IO[bytes], names: Sequence[str], options: JsonFormat
) -> ParsedRows:
    """Split a JSON body into text columns. Raises DorisError."""
    columns = (*names, PRESENT) if options.flexible else names
    return _Reader(RowTable(cursor, columns), options, names).read(body)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _scanner(number: Callable[[str], Any]) -> Callable[[str, int], tuple[Any, int]]:
    decoder = json.JSONDecoder(
        parse_int=number,
        parse_float=number,
        parse_constant=_no_constant,
        object_pairs_hook=_first_wins,
    )
    scan: Callable[[str, int], tuple[Any, int]] = decoder.raw_decode
    return scan


_scan_flat, _scan_nested = _scanner(str), _scanner(_Number)


class _Reader:
    def __init__(self, table: RowTable, options: JsonFormat, names: Sequence[str]) -> None:
        self._table = table
        self._options = options
        self._names = tuple(names)
        self._defaults = [options.defaults.get(name) for name in table.names]
        self._paths = parse_paths(options.paths) if options.paths else []
        self._root = parse_path(options.root) if options.root else ()
        self._plain = not (options.strip_outer_array or self._root or self._paths or options.flexible)
        self._rows: list[list[Any]] = []

    def read(self, body: IO[bytes]) -> ParsedRows:
        pieces = blocks(body, self._options.compression)
        if self._options.by_line:
            for group in lines(pieces, unescape(self._options.delimiter, "\n").encode()):
                if self._plain and self._take_at_once(group):
                    continue
                for line in group:
                    if line:
                        self._document(line)
                if len(self._rows) >= BATCH_ROWS:
                    self._flush()
        else:
            data = whole(pieces, _MAX_DOCUMENT)
            if data:
                try:
                    self._document(data.decode("utf-8-sig"))
                except UnicodeDecodeError:
                    self._document(data)
        self._flush()
        return self._table.result()

    def _take_at_once(self, group: list[bytes | str]) -> bool:
        """Read lines as one array, in a fraction of the time; False where they have to be read one by one.

        Each line begins an object, none holds a list, and no text can hold the line end between them: so no
        object goes over the end of a line, and as many objects as lines are one a line.
        """
        rows = [line for line in group if line]
        if not all(isinstance(line, str) and line[0] == "{" for line in rows):
            return False
        text = ",\n".join(cast("list[str]", rows))
        if "[" in text or "\\u" in text:
            return False
        scan = _scan_flat if text.count("{") == len(rows) else _scan_nested
        try:
            documents, _ = scan(f"[{text}]", 0)
        except (ValueError, RecursionError):
            return False
        if len(documents) != len(rows):
            return False
        columns = [[d.get(name, _MISSING) for d in documents] for name in self._names]
        if all(_MISSING in column for column in columns):
            return False
        if rows:
            self._flush()
            self._table.add([_column(c, d) for c, d in zip(columns, self._defaults, strict=True)])
        return True

    def _document(self, line: bytes | str) -> None:
        if isinstance(line, bytes):
            reason = "Parse json data for JsonDoc failed. error info: not valid UTF-8"
            self._table.refuse(reason, line.decode(errors="replace"))
            return
        before = len(self._rows)
        try:
            self._take(line.removeprefix("\ufeff"))
        except _BadRowError as error:
            del self._rows[before:]
            self._table.refuse(str(error), line)

    def _take(self, text: str) -> None:
        document = _parse(text)
        from_root = False
        if self._root and isinstance(document, dict):
            document = self._extract_root(document)
            from_root = True
        strip = self._options.strip_outer_array
        if isinstance(document, list):
            if not strip:
                raise _BadRowError("JSON data is array-object, `strip_outer_array` must be TRUE.")
        elif strip:
            raise _BadRowError("JSON data is not an array-object, `strip_outer_array` must be FALSE.")
        if self._paths:
            self._take_by_paths(document, text, from_root=from_root)
            return
        if not isinstance(document, list):
            self._row_of(document)
            return
        if not document:
            raise _BadRowError("Empty json line")
        for element in document:
            self._row_of(element)

    def _extract_root(self, document: Any) -> Any:
        found = extract(document, self._root)
        if found is _MISSING:
            raise _BadRowError("[NOT_FOUND]JSON Root not found.")
        return found

    def _row_of(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise _BadRowError("Parse json data failed. error info: the JSON element is not an object")
        self._append([value.get(name, _MISSING) for name in self._names], value)

    def _take_by_paths(self, document: Any, text: str, *, from_root: bool) -> None:
        for item in document if isinstance(document, list) else [document]:
            element = self._extract_root(item) if self._root and not from_root else item
            if not isinstance(element, dict):
                raise _BadRowError("Not object item")
            values = [extract(element, path) if path else text for path in self._paths[: len(self._names)]]
            values += [_MISSING] * (len(self._names) - len(values))
            self._append(values, element)

    def _append(self, values: list[Any], source: Any) -> None:
        if values.count(_MISSING) == len(values):
            columns = "".join(f"{name}, " for name in self._names)
            self._table.refuse(
                f"There is no column matching jsonpaths in the json file, columns:[{columns}], please check"
                f" columns and jsonpaths:{self._options.paths}",
                _dump(source),
            )
            return
        if self._options.flexible:
            for key in self._options.keys:
                if key not in source:
                    self._table.refuse(
                        "The key columns can not be ommited in flexible partial update, missing key column:"
                        f" {key}",
                        _dump(source),
                    )
                    return
            values.append("".join("0" if value is _MISSING else "1" for value in values))
        self._rows.append(values)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._table.add([_column(c, d) for c, d in zip(columns, self._defaults, strict=True)])
            self._rows = []


def _parse(text: str) -> Any:
    """One document; its numbers are text. Raises _BadRowError."""
    stripped = text.strip(" \t\r\n")
    nested = "[" in stripped or stripped.find("{", 1) > 0
    try:
        document, end = (_scan_nested if nested else _scan_flat)(stripped, 0)
        if "\\u" in stripped:
            json.dumps(document, ensure_ascii=False).encode()  # half of a pair of surrogates is no character
    except (ValueError, RecursionError) as error:
        raise _BadRowError(f"Parse json data for JsonDoc failed. error info: {error}") from None
    if end != len(stripped):
        raise _BadRowError("Parse json data for JsonDoc failed. error info: something follows the document")
    if not isinstance(document, dict | list):
        raise _BadRowError("Not an json object or json array")
    return document


def _column(values: Sequence[Any], default: str | None) -> pa.Array:
    if not set(map(type, values)) <= _PLAIN:
        values = [_text(v, default) for v in values]
    return text_array(values)


def _text(value: Any, default: str | None) -> str | None:
    """A value as the text that Doris' reader gives to the column."""
    if value is None or value.__class__ is str:
        text: str | None = value
        return text
    if value is _MISSING:
        return default
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return _dump(value)


def _dump(value: Any) -> str:
    """JSON text, its numbers as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dump(k)}:{_dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def parse_paths(header: str) -> list[tuple[Step, ...]]:
    """The header ``jsonpaths``: a JSON array of paths. Raises DorisError."""
    try:
        paths = json.loads(header)
    except ValueError:
        paths = None
    if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths):
        raise DorisError(f"[INVALID_JSON_PATH]Invalid json path: {header}")
    return [parse_path(path) for path in paths]


def parse_path(path: str) -> tuple[Step, ...]:
    """The steps of ``$.a."b.c"[0]``; none for the document itself. Raises DorisError, NotEmulatedError."""
    text = path.strip()
    if not text.startswith("$"):
        raise DorisError(f"[INVALID_JSON_PATH]Invalid json path: {path}")
    steps: list[Step] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or match.end() == position:
            raise DorisError(f"[INVALID_JSON_PATH]Invalid json path: {path}")
        key = match["quoted"] if match["quoted"] is not None else match["key"]
        if key is not None:
            if key == "*":
                raise NotEmulatedError("a JSON path with *")
            steps.append(key)
        for index in re.findall(r"\[(\d+|\*)\]", match[3]):
            if index == "*":
                raise NotEmulatedError("a JSON path with *")
            steps.append(int(index))
        position = match.end()
    return tuple(steps)


def extract(value: Any, path: Sequence[Step]) -> Any:
    """What stands at a path, or _MISSING."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else _MISSING
        if value is _MISSING:
            return _MISSING
    return value
