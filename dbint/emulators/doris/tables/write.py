# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""The one way in which rows enter a table: values are converted and checked as Doris does, then the key model
applies.

`stage` turns a source relation into typed rows in a temporary table, each with the reason why it is refused,
if it is. `apply` merges the good ones. Between the two lies the decision (strict INSERT: any bad row fails
the statement;
Stream Load: max_filter_ratio).
"""

import itertools
from dataclasses import dataclass, field

import duckdb

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.tables import partitions
from dbint.emulators.doris.tables.model import Column, Table, identifier, literal
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.tables.types import DorisType

_NUMBERS = itertools.count(1)
MAX_ERROR_LINES = 100
DELETE = "__delete"
_INTEGER_PATTERN = r"^\s*([+-]?\d+)(?:\.\d*)?\s*$"
_ZONE_PATTERN = r":\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})\s*$"
_TIME_PATTERN = r"^\s*\d{1,4}[-/]"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to treat what does not fit.

    strict: a value that cannot be converted makes its row bad (else it becomes NULL).
    partial: columns that are not given keep the values of the row with the same key.
    time_zone: of timestamps with an offset, and of CURRENT_TIMESTAMP.
    """

    strict: bool = True
    partial: bool = False
    time_zone: str = "UTC"


@dataclass(slots=True)
class Staged:
    """Rows on their way into a table. ``relation`` is a temporary table of the cursor that staged them."""

    storage: Storage
    table: Table
    relation: str
    total: int
    filtered: int
    error_lines: list[str] = field(default_factory=list)

    @property
    def loaded(self) -> int:
        return self.total - self.filtered

    def drop(self, cursor: duckdb.DuckDBPyConnection) -> None:
        cursor.execute(f"DROP TABLE IF EXISTS {self.relation}")


def stage(
    storage: Storage, cursor: duckdb.DuckDBPyConnection, table: Table, source: str, options: WriteOptions
) -> Staged:
    """Convert the rows of ``source`` (a SELECT whose columns are named as the table's) and say which are bad.

    A column ``__delete`` of the source says which rows delete their key instead of writing it. Raises
    DorisError for an unknown column or one that has neither a value nor a default, duckdb.Error for a source
    that fails.
    """
    described = dict(_describe(cursor, source))
    delete = 't."__delete"' if described.pop(DELETE, None) else "false"
    given = {table.column(name).name: duck_type for name, duck_type in described.items()}
    if options.partial:
        _check_partial(table, given)
    typed, outputs, reasons = [], [], []
    for n, column in enumerate(table.stored):
        raw, value = f"t.{identifier(column.name)}", f't."__v{n}"'
        outputs.append(f"{value} AS {identifier(column.name)}")
        if column.name in given:
            expression = convert(
                f"r.{identifier(column.name)}", given[column.name], column.type, options.time_zone
            )
            reasons += _reasons(column, raw, value, strict=options.strict)
        else:
            if column in table.hidden and not options.partial:
                raise DorisError(
                    f"Table {table.name} has sequence column, need to specify the sequence column"
                )
            expression = default_value(column, options)
            if options.partial:
                expression = f'CASE WHEN e."__hit" THEN e.{identifier(column.name)} ELSE {expression} END'
        typed.append(f'{expression} AS "__v{n}"')
        if not column.nullable and column.auto_increment is None:
            text = f"null value for not null column, column={column.name}, type={column.type.sql}"
            reasons.append(f"CASE WHEN {value} IS NULL THEN {literal(text)} END")
    if table.partitioning is not None:
        positions = {c.name: n for n, c in enumerate(table.columns)}
        values = [f't."__v{positions[name]}"' for name in table.partitioning.columns]
        reasons.append(partitions.refusal(table, values))
    name = f"stage{next(_NUMBERS)}"
    existing = ""
    if options.partial:
        existing = (
            f' LEFT JOIN (SELECT true AS "__hit", * FROM {read_relation(table, hidden=True)}) e ON'
            f" {match_keys(table, 'r', 'e')}"
        )
    line = ", ".join(f"CAST(t.{identifier(name)} AS VARCHAR)" for name in given)
    cursor.execute(
        f"CREATE TEMP TABLE {name} AS "
        f'SELECT "__row", {", ".join(outputs)}, {delete} AS "__delete", '
        f"nullif(concat_ws('; ', {', '.join(reasons) or 'NULL'}), '') AS \"__reason\", "
        f'CASE WHEN "__reason" IS NOT NULL THEN concat_ws(chr(9), {line}) END AS "__line" '
        f"FROM (SELECT r.*, {', '.join(typed)} "
        f'FROM (SELECT row_number() OVER () AS "__row", * FROM ({source})) r{existing}) t'
    )
    return _finish(storage, cursor, table, f"temp.{name}")


def _finish(storage: Storage, cursor: duckdb.DuckDBPyConnection, table: Table, relation: str) -> Staged:
    """Count the staged rows and number them."""
    total, filtered = _row(cursor, f'SELECT count(*), count("__reason") FROM {relation}')
    staged = Staged(storage, table, relation, total, filtered)
    if filtered:
        lines = cursor.execute(
            f'SELECT "__reason", "__line" FROM {relation} WHERE "__reason" IS NOT NULL '
            f'ORDER BY "__row" LIMIT {MAX_ERROR_LINES}'
        ).fetchall()
        staged.error_lines = [f"Reason: {reason}. src line [{line}]; " for reason, line in lines]
    column = table.auto_increment
    if column is not None and total:
        base = storage.next_number(f"auto_increment:{table.id}", total, first=column.auto_increment or 1)
        name = identifier(column.name)
        cursor.execute(f'UPDATE {relation} SET {name} = {base} + "__row" - 1 WHERE {name} IS NULL')
    return staged


def apply(cursor: duckdb.DuckDBPyConnection, staged: Staged) -> None:
    """Merge the good rows into the table, by its key model. The caller holds a transaction."""
    table, relation = staged.table, staged.relation
    good = f'SELECT * FROM {relation} WHERE "__reason" IS NULL'
    _find_partitions(cursor, staged, good)
    if table.model == "DUPLICATE":
        names = _names(table)
        cursor.execute(
            f'INSERT INTO {table.relation} ({names}) SELECT {names} FROM ({good}) ORDER BY "__row"'
        )
    elif table.model == "AGGREGATE":
        _aggregate(cursor, table, good)
    else:
        _upsert(cursor, table, good)


def _names(table: Table) -> str:
    return ", ".join(identifier(c.name) for c in table.stored)


def _find_partitions(cursor: duckdb.DuckDBPyConnection, staged: Staged, good: str) -> None:
    """Make the AUTO partitions that the rows need. Raises DorisError where a partition that a row was checked
    against has gone meanwhile.
    """
    if staged.table.partitioning is None:
        return
    table = staged.storage.require(staged.table.id)
    if table.partitioning is None:
        return
    if table.partitioning.auto:
        keys = cursor.execute(f"SELECT DISTINCT {partitions.auto_keys(table)} FROM ({good})").fetchall()
        changed = partitions.with_auto_partitions(table, keys)
        if changed is not table:
            staged.storage.put_table(cursor, changed)
    elif table.partitioning != staged.table.partitioning:
        reason = partitions.refusal(table, [identifier(name) for name in table.partitioning.columns])
        for (text,) in cursor.execute(f"SELECT any_value({reason}) FROM ({good})").fetchall():
            if text is not None:
                raise DorisError(text)


def _upsert(cursor: duckdb.DuckDBPyConnection, table: Table, good: str) -> None:
    """A UNIQUE table: of rows with the same key the newest stays."""
    names = _names(table)
    newest = f"newest{next(_NUMBERS)}"
    keys = ", ".join(identifier(c.name) for c in table.keys)
    order = (
        f'{identifier(table.sequence)} DESC NULLS LAST, "__row" DESC' if table.sequence else '"__row" DESC'
    )
    cursor.execute(
        f"CREATE TEMP TABLE {newest} AS {good} QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY"
        f" {order}) = 1"
    )
    matches = match_keys(table, "old", "new")
    if table.sequence:
        sequence = identifier(table.sequence)
        cursor.execute(
            f"DELETE FROM {newest} AS new USING {table.relation} AS old WHERE {matches} AND (old.{sequence} >"
            f" new.{sequence} OR (old.{sequence} IS NOT NULL AND new.{sequence} IS NULL))"
        )
    cursor.execute(f"DELETE FROM {table.relation} AS old USING {newest} AS new WHERE {matches}")
    if table.sequence:  # a delete keeps its sequence, so that an older row that comes later stays deleted
        cursor.execute(
            f'INSERT INTO {table.relation} ({names}, "__deleted") SELECT {names}, "__delete" FROM {newest}'
        )
    else:
        cursor.execute(
            f'INSERT INTO {table.relation} ({names}) SELECT {names} FROM {newest} WHERE NOT "__delete"'
        )
    cursor.execute(f"DROP TABLE {newest}")


_MERGES = {
    "SUM": "sum({0})",
    "MIN": "min({0})",
    "MAX": "max({0})",
    "REPLACE": 'arg_max_null({0}, "__row")',
    "REPLACE_IF_NOT_NULL": 'arg_max({0}, "__row") FILTER (WHERE {0} IS NOT NULL)',
}


def _aggregate(cursor: duckdb.DuckDBPyConnection, table: Table, good: str) -> None:
    """An AGGREGATE table: rows with the same key become one, each value by its aggregation.

    Doris does so at every load, when it compacts and when it reads; the result is the same.
    """
    names = _names(table)
    merged = f"merged{next(_NUMBERS)}"
    keys = ", ".join(identifier(c.name) for c in table.keys)
    values = "".join(
        f", CAST({_MERGES[c.aggregation or 'REPLACE'].format(identifier(c.name))} AS {c.type.duckdb})"
        f" AS {identifier(c.name)}"
        for c in table.columns
        if not c.key
    )
    matches = match_keys(table, "old", "new")
    cursor.execute(
        f"CREATE TEMP TABLE {merged} AS SELECT {keys}{values} FROM ("
        f'SELECT {names}, "__row" FROM ({good}) UNION ALL BY NAME '
        f'SELECT {names}, 0 AS "__row" FROM {table.relation} AS old SEMI JOIN ({good}) AS new ON {matches}) '
        f"GROUP BY {keys}"
    )
    cursor.execute(f"DELETE FROM {table.relation} AS old USING {merged} AS new WHERE {matches}")
    cursor.execute(f"INSERT INTO {table.relation} ({names}) SELECT {names} FROM {merged}")
    cursor.execute(f"DROP TABLE {merged}")


def create_relation(cursor: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Make the DuckDB table that holds the rows of a new table."""
    columns = [f"{identifier(c.name)} {c.type.duckdb}" for c in table.stored]
    if table.sequence:
        columns.append('"__deleted" BOOLEAN DEFAULT false')
    cursor.execute(f"CREATE TABLE {table.relation} ({', '.join(columns)})")


def read_relation(table: Table, *, hidden: bool = False) -> str:
    """The relation that a query reads: without the rows that only remember a delete, and without ``hidden``
    columns unless they are asked for.
    """
    names = ", ".join(identifier(c.name) for c in (table.stored if hidden else table.columns))
    where = ' WHERE NOT "__deleted"' if table.sequence else ""
    return f"(SELECT {names} FROM {table.relation}{where})"


def match_keys(table: Table, left: str, right: str) -> str:
    """The condition that two rows have the same key; NULL is a key value like others."""
    conditions = []
    for column in table.keys:
        name = identifier(column.name)
        operator = "IS NOT DISTINCT FROM" if column.nullable else "="
        conditions.append(f"{left}.{name} {operator} {right}.{name}")
    return " AND ".join(conditions)


def convert(raw: str, duck_type: str, target: DorisType, time_zone: str) -> str:
    """DuckDB's expression for a source value as a value of a Doris type; NULL where it cannot be one."""
    if duck_type == "BOOLEAN" and target.name != "BOOLEAN":
        raw, duck_type = f"CAST({raw} AS TINYINT)", "TINYINT"
    if target.is_string:
        if duck_type in ("FLOAT", "DOUBLE"):
            return f"regexp_replace(CAST({raw} AS VARCHAR), '\\.0$', '')"
        return f"CAST({raw} AS VARCHAR)"
    if target.item is not None:
        return _convert_array(raw, duck_type, target)
    if target.name in ("JSON", "VARIANT"):
        return f"CASE WHEN json_valid(CAST({raw} AS VARCHAR)) THEN json(CAST({raw} AS VARCHAR)) END"
    if duck_type == "VARCHAR":
        return parse_text(raw, target, time_zone)
    if target.duckdb in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT") and (
        duck_type in ("FLOAT", "DOUBLE") or duck_type.startswith("DECIMAL")
    ):
        raw = f"trunc({raw})"
    return _round_time(f"TRY_CAST({raw} AS {target.duckdb})", target)


def _convert_array(raw: str, duck_type: str, target: DorisType) -> str:
    """An ARRAY from another, or from text such as ``[1, null]`` or ``["a", "b"]``."""
    if duck_type != "VARCHAR":
        return f"TRY_CAST({raw if duck_type.endswith(']') else 'NULL'} AS {target.duckdb})"
    depth, item = 1, target.item
    while item is not None and item.item is not None:
        depth, item = depth + 1, item.item
    text = f"trim({raw})"
    texts = f"VARCHAR{'[]' * depth}"
    if item is not None and item.is_string:
        # as JSON where it is JSON, which has more escapes than DuckDB
        array = f"coalesce(TRY_CAST(TRY_CAST({text} AS JSON) AS {texts}), TRY_CAST({text} AS {texts}))"
        return f"CASE WHEN {text} LIKE '[%]' THEN {array} END"
    typed, plain = (f"TRY_CAST({text} AS {kind})" for kind in (target.duckdb, texts))

    def nulls(array: str) -> str:
        flat = "flatten(" * (depth - 1) + array + ")" * (depth - 1)
        return f"len(list_filter({flat}, lambda x: x IS NULL))"

    # an item that cannot be converted has become NULL
    return f"CASE WHEN {text} LIKE '[%]' AND {nulls(typed)} = {nulls(plain)} THEN {typed} END"


def parse_text(raw: str, target: DorisType, time_zone: str) -> str:
    """The conversions from text."""
    if target.duckdb in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"):
        return f"TRY_CAST(regexp_extract({raw}, {literal(_INTEGER_PATTERN)}, 1) AS {target.duckdb})"
    if target.name == "BOOLEAN":
        text = f"lower(trim({raw}))"
        return (
            f"CASE WHEN {text} IN ('1', 'true', 't', 'yes', 'y', 'on') THEN true "
            f"WHEN {text} IN ('0', 'false', 'f', 'no', 'n', 'off') THEN false END"
        )
    if target.name not in ("DATE", "DATETIME"):
        return f"TRY_CAST(trim({raw}) AS {target.duckdb})"
    century = f"CASE WHEN left({raw}, 2) < '70' THEN '20' ELSE '19' END"
    raw = f"CASE WHEN regexp_matches({raw}, '^\\d{{2}}[-/]') THEN {century} || {raw} ELSE {raw} END"
    # a plain number, a local time, or a moment: one with an offset, which is turned into the zone's local
    # time
    time = (
        f"CASE WHEN regexp_full_match({raw}, '\\d{{8}}') THEN try_strptime({raw}, '%Y%m%d') "
        f"WHEN regexp_full_match({raw}, '\\d{{14}}') THEN try_strptime({raw}, '%Y%m%d%H%M%S') "
        f"WHEN regexp_matches({raw}, {literal(_ZONE_PATTERN)}) "
        f"THEN timezone({literal(time_zone)}, TRY_CAST({raw} AS TIMESTAMPTZ)) "
        f"WHEN regexp_matches({raw}, {literal(_TIME_PATTERN)}) "
        f"THEN TRY_CAST(replace({raw}, '/', '-') AS TIMESTAMP) END"
    )
    if target.name == "DATE":
        return f"CAST({time} AS DATE)"
    return _round_time(time, target)


def _round_time(expression: str, target: DorisType) -> str:
    """A DATETIME(p) keeps p digits of a second, rounded half up."""
    scale = target.args[0] if target.name == "DATETIME" else 6
    if scale == 6:
        return expression
    unit = 10 ** (6 - scale)
    return f"make_timestamp((epoch_us({expression}) + {unit // 2}) // {unit} * {unit})"


def _reasons(column: Column, raw: str, value: str, *, strict: bool) -> list[str]:
    """The reasons for which a given value is refused."""
    reasons = []
    if strict and not column.type.is_string:
        text = f"parse value failed, column={column.name}, type={column.type.sql}, value="
        reasons.append(
            f"CASE WHEN {raw} IS NOT NULL AND {value} IS NULL THEN {literal(text)} || CAST({raw} AS"
            " VARCHAR) END"
        )
    if column.type.item is not None and column.type.item.max_bytes is not None:
        limit = column.type.item.max_bytes
        text = (
            f"the length of input is too long than schema. column_name: {column.name}; schema length: {limit}"
        )
        longest = f"list_max(list_transform({value}, lambda x: strlen(x)))"
        reasons.append(f"CASE WHEN {longest} > {limit} THEN {literal(text)} END")
    if column.type.max_bytes is not None:
        text = (
            f"the length of input is too long than schema. column_name: {column.name}; schema length:"
            f" {column.type.max_bytes}; actual length: "
        )
        reasons.append(
            f"CASE WHEN strlen({value}) > {column.type.max_bytes} THEN {literal(text)} || strlen({value}) END"
        )
    return reasons


def default_value(column: Column, options: WriteOptions) -> str:
    """The value of a column that the source does not give. Raises DorisError where there is none."""
    if column.default_is_expression:
        return _round_time(f"timezone({literal(options.time_zone)}, now())", column.type)
    if column.default is not None:
        return convert(literal(column.default), "VARCHAR", column.type, "UTC")
    if column.nullable or column.auto_increment is not None or options.partial:
        return f"CAST(NULL AS {column.type.duckdb})"
    raise DorisError(f"Column has no default value, column={column.name}")


def _check_partial(table: Table, given: dict[str, str]) -> None:
    if table.model != "UNIQUE":
        raise DorisError("Only unique key merge on write support partial update")
    missing = [c.name for c in table.keys if c.name not in given]
    if missing:
        raise DorisError(f"Partial update should include all key columns, missing: {missing[0]}")


def _describe(cursor: duckdb.DuckDBPyConnection, source: str) -> list[tuple[str, str]]:
    """Names and DuckDB types of a relation's columns."""
    return [(row[0], row[1]) for row in cursor.execute(f"DESCRIBE {source}").fetchall()]


def _row(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row: tuple[int, ...] = cursor.execute(sql).fetchall()[0]
    return row
