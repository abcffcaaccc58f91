# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""Parquet, ORC and Arrow bodies of Stream Load: columns are found by their names and come with types.

The format ``arrow`` is an Arrow IPC stream. A column that the file does not have takes its default. Source:
"Stream Load" of the Doris manual; be/src/format of apache/doris.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.formats import BATCH_ROWS, ParsedRows, text_array
from dbint.emulators.doris.tables.model import identifier, literal

COLUMNAR = frozenset(["parquet", "orc", "arrow"])
_RELATION = "load_rows"


@dataclass(frozen=True, slots=True)
class ColumnarFormat:
    """``kind`` is one of COLUMNAR; moments become local times of ``time_zone``; with ``as_text``
    all columns become text.
    """

    kind: str
    time_zone: str
    as_text: bool = False
    defaults: Mapping[str, str | None] = field(default_factory=dict)


def parse_columnar(
    cursor: duckdb.DuckDBPyConnection, body: IO[bytes], names: Sequence[str], options: ColumnarFormat
) -> ParsedRows:
    """Read a body into typed columns. Raises DorisError for what is not a file of that format."""
    total = 0
    try:
        for batch in _batches(options.kind, body):
            rows = _selected(batch, names, options)
            cursor.register("load_batch", rows)
            try:
                columns = ", ".join(_expression(rows, name, options) for name in names)
                create = f"CREATE OR REPLACE TEMP TABLE {_RELATION} AS" if not total else None
                cursor.execute(f"{create or f'INSERT INTO {_RELATION}'} SELECT {columns} FROM load_batch")
            finally:
                cursor.unregister("load_batch")
            total += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DorisError(f"[INTERNAL_ERROR]Failed to read the {options.kind} body: {text}") from None
    if not total:
        columns = ", ".join(f"{identifier(name)} VARCHAR" for name in names)
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE {_RELATION} ({columns})")
    return ParsedRows(_RELATION, tuple(names), total, 0, is_text=options.as_text or not total)


def _batches(kind: str, body: IO[bytes]) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        yield from pq.ParquetFile(body).iter_batches(batch_size=BATCH_ROWS)
    elif kind == "orc":
        file = orc.ORCFile(body)
        for n in range(file.nstripes):
            yield file.read_stripe(n)
    else:
        with pa.ipc.open_stream(body) as reader:
            yield from reader


def _selected(batch: pa.RecordBatch, names: Sequence[str], options: ColumnarFormat) -> pa.Table:
    """The wanted columns of a batch, by name, case not counting where there is no exact match."""
    exact = {name: n for n, name in enumerate(batch.schema.names)}
    folded = {name.lower(): n for n, name in enumerate(batch.schema.names)}
    found = {name: exact.get(name, folded.get(name.lower())) for name in names}
    if names and all(place is None for place in found.values()):
        raise DorisError(
            f"[INTERNAL_ERROR]no column of the {options.kind} body is one of: {', '.join(names)}"
        )
    columns = []
    for name, place in found.items():
        if place is None:
            columns.append(text_array([options.defaults.get(name)] * batch.num_rows))
        else:
            columns.append(_plain(batch.column(place), name))
    return pa.table(columns, names=list(names))


def _plain(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode(), name)
    if pa.types.is_nested(kind):
        return text_array([_json(value) for value in column.to_pylist()])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return column.cast(pa.binary()).cast(pa.string())
    if pa.types.is_duration(kind) or pa.types.is_time(kind) or pa.types.is_decimal256(kind):
        raise NotEmulatedError(f"a load of {kind} (column {name})")
    return column


def _json(value: object) -> str | None:
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))


def _expression(rows: pa.Table, name: str, options: ColumnarFormat) -> str:
    kind, column = rows.schema.field(name).type, identifier(name)
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            column = f"timezone({literal(options.time_zone)}, {column})"
        column = f"CAST({column} AS TIMESTAMP)"
    if options.as_text:
        column = f"CAST({column} AS VARCHAR)"
    return f"{column} AS {identifier(name)}"
