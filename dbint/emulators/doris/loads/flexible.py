# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""Flexible partial updates: every row of a JSON load changes the columns that it has, and no others.

Rows with one key act one after the other; a row with ``__DORIS_DELETE_SIGN__`` deletes, and what comes after
it begins a new row. Source: "Partial Column Update" of the Doris manual; NereidsStreamLoadPlanner of
apache/doris.
"""

from dataclasses import replace

import duckdb

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.columns import DELETE_SIGN
from dbint.emulators.doris.loads.formats import ParsedRows
from dbint.emulators.doris.loads.json_rows import PRESENT
from dbint.emulators.doris.tables.model import Column, Table, identifier, literal
from dbint.emulators.doris.tables.write import DELETE, WriteOptions, convert, default_value, read_relation

_PROPERTY = "enable_unique_key_skip_bitmap_column"
_ROWS = "load_typed"


def check_table(table: Table) -> None:
    """Raise DorisError where the table cannot be loaded so."""
    if table.properties.get(_PROPERTY, "").lower() != "true" or table.model != "UNIQUE":
        raise DorisError(
            "Flexible partial update can only support table with skip bitmap hidden column. But table"
            f" {table.name} doesn't have it. You can use `ALTER TABLE {table.name} ENABLE FEATURE"
            ' "UPDATE_FLEXIBLE_COLUMNS";` to add it to the table.'
        )
    if any(c.type.name == "VARIANT" for c in table.columns):
        raise DorisError("Flexible partial update can only support table without variant columns.")
    if table.sequence is not None:
        raise NotEmulatedError("a flexible partial update of a table with a sequence column")


def source_names(table: Table) -> tuple[str, ...]:
    """The keys of a JSON object that count."""
    return (*(c.name for c in table.columns), DELETE_SIGN)


def flexible_source(
    cursor: duckdb.DuckDBPyConnection, table: Table, parsed: ParsedRows, options: WriteOptions
) -> tuple[str, int]:
    """The relation of the rows as they are to be, one for each key, and how many rows of the load have a
    value that cannot be converted. Such rows keep their NULL where Doris is told not to be strict.
    """
    values, wrong = [], ["false"]
    for n, column in enumerate(table.columns):
        raw = f"r.{identifier(column.name)}"
        values.append(f"{convert(raw, 'VARCHAR', column.type, options.time_zone)} AS {_typed(n)}")
        if not column.type.is_string:
            wrong.append(f"({raw} IS NOT NULL AND {_typed(n)} IS NULL)")
    gone = f"coalesce(TRY_CAST(r.{identifier(DELETE_SIGN)} AS BIGINT), 0) <> 0"
    cursor.execute(
        f'CREATE OR REPLACE TEMP TABLE {_ROWS} AS SELECT row_number() OVER () AS "__n", {gone} AS "__gone", '
        f'r.{identifier(PRESENT)}, {", ".join(values)}, {" OR ".join(wrong)} AS "__wrong" '
        f"FROM {parsed.relation} r"
    )
    bad = cursor.execute(f'SELECT count(*) FROM {_ROWS} WHERE "__wrong"').fetchall()[0][0]
    return _merged(table, options), int(bad)


def _merged(table: Table, options: WriteOptions) -> str:
    """One row a key: of each column the last value that came behind the last delete, or what was there."""
    keys = ", ".join(_typed(n) for n, column in enumerate(table.columns) if column.key)
    last_gone = f'max("__n") FILTER (WHERE "__gone") OVER (PARTITION BY {keys})'
    live = '"__n" > "__from"'
    columns = [keys, 'bool_or("__from" > 0) AS "__new"', f'NOT bool_or({live}) AS "__only_gone"']
    outputs, matches = [], []
    for n, column in enumerate(table.columns):
        name = identifier(column.name)
        if column.key:
            outputs.append(f"g.{_typed(n)} AS {name}")
            matches.append(f"g.{_typed(n)} IS NOT DISTINCT FROM e.{name}")
            continue
        given = f"({live} AND substr({identifier(PRESENT)}, {n + 1}, 1) = '1')"
        columns.append(f'bool_or({given}) AS "__has{n}"')
        columns.append(f'arg_max_null({_typed(n)}, "__n") FILTER (WHERE {given}) AS {_typed(n)}')
        outputs.append(
            f'CASE WHEN g."__has{n}" THEN g.{_typed(n)} WHEN e."__hit" AND NOT g."__new" THEN e.{name} '
            f'WHEN g."__only_gone" THEN {_anything(column)} '
            f"ELSE {default_value(column, replace(options, partial=True))} END AS {name}"
        )
    rows = f'SELECT *, coalesce({last_gone}, 0) AS "__from" FROM {_ROWS}'
    return (
        f'SELECT {", ".join(outputs)}, g."__only_gone" AS {identifier(DELETE)} '
        f"FROM (SELECT {', '.join(columns)} FROM ({rows}) GROUP BY {keys}) g "
        f'LEFT JOIN (SELECT true AS "__hit", * FROM {read_relation(table)}) e ON {" AND ".join(matches)}'
    )


def _anything(column: Column) -> str:
    """A value for a column of a row that only deletes; it is never seen."""
    if column.type.is_string:
        return "''"
    if column.type.item is not None:
        return "[]"
    text = {"DATE": "1970-01-01", "DATETIME": "1970-01-01", "JSON": "null"}.get(column.type.name, "0")
    return f"CAST({literal(text)} AS {column.type.duckdb})"


def _typed(n: int) -> str:
    return f'"__t{n}"'
