# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""INSERT, UPDATE and DELETE: statements that write rows.

Each stages its rows and gives them as pending work, which runs at once or, between BEGIN and COMMIT, at
COMMIT: so that, as in Doris, a transaction does not see its own writes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from dbint.emulators.doris.errors import INSERT_FAILED, DorisError, NotEmulatedError
from dbint.emulators.doris.sql import translate
from dbint.emulators.doris.sql.lexer import Cursor, Token
from dbint.emulators.doris.sql.parse import parse_statement
from dbint.emulators.doris.tables import partitions
from dbint.emulators.doris.tables.model import Table, identifier
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.tables.write import (
    DELETE,
    Staged,
    WriteOptions,
    apply,
    match_keys,
    read_relation,
    stage,
)

_SIMPLE_PREDICATES = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


@dataclass(slots=True)
class Pending:
    """Rows that are checked and wait for the commit."""

    table: Table
    run: Callable[[duckdb.DuckDBPyConnection], None]
    discard: Callable[[duckdb.DuckDBPyConnection], None]
    affected: int
    label: str | None = None
    kind: str = ""


@dataclass(slots=True)
class DmlContext:
    """What DML needs of its session."""

    storage: Storage
    cursor: duckdb.DuckDBPyConnection
    scope: translate.Scope
    find: Callable[[tuple[str, ...]], Table]
    error_url: Callable[[list[str]], str]
    strict: bool
    partial: bool


def insert(context: DmlContext, sql: str) -> Pending:
    """``INSERT INTO | OVERWRITE TABLE t [PARTITION (p)] [(columns)] [WITH LABEL l] VALUES … | SELECT …``."""
    cursor = Cursor(sql)
    cursor.expect("INSERT")
    overwrites = cursor.accept("OVERWRITE")
    if not overwrites and cursor.word() != "INTO":
        cursor.fail("{'INTO', 'OVERWRITE'}")
    cursor.expect("TABLE" if overwrites else "INTO")
    whole = context.find(cursor.qualified_name())
    table = _only_partitions(whole, cursor)
    label = None
    if cursor.accept("WITH", "LABEL"):
        label = cursor.identifier()
    columns = [c.name for c in table.columns]
    if cursor.word() == "(" and cursor.word(1) not in ("SELECT", "WITH"):
        columns = [_target(table, name) for name in cursor.names()]
        if len(set(columns)) != len(columns):
            raise DorisError("Duplicate column in the list of columns of INSERT")
    if cursor.accept("WITH", "LABEL"):
        label = cursor.identifier()
    view = f"insert_{id(context.cursor)}"
    kind = "values" if cursor.accept("VALUES") else "select"
    if kind == "values":
        source = _values(context, cursor, table, columns, view)
    else:
        translation = translate.translate_query(cursor.rest(), context.scope)
        source = _renamed(context, translation.sql, columns)
    options = WriteOptions(
        strict=context.strict,
        partial=context.partial and table.model == "UNIQUE" and len(columns) < len(table.columns),
        time_zone=context.scope.time_zone,
    )
    try:
        staged = stage(context.storage, context.cursor, table, source, options)
    finally:
        context.cursor.unregister(view)
    if staged.filtered and context.strict:
        url = context.error_url(staged.error_lines)
        reason = staged.error_lines[0]
        staged.drop(context.cursor)
        raise DorisError(f"Insert has filtered data in strict mode. {reason}url: {url}", INSERT_FAILED)
    if options.partial and context.scope.variable("partial_update_new_key_behavior") == "ERROR":
        try:
            refuse_new_keys(context.cursor, staged, where="(127.0.0.1)")
        except DorisError:
            staged.drop(context.cursor)
            raise
    if overwrites:
        return _overwriting(whole, staged, label)
    return _pending(staged, staged.loaded, label, kind)


def _only_partitions(table: Table, cursor: Cursor) -> Table:
    """The table with the partitions alone that the statement names, so that other rows belong to none."""
    if not (cursor.accept("PARTITION") or cursor.accept("PARTITIONS")):
        return table
    if cursor.word(1) == "*" or (table.partitioning is not None and table.partitioning.auto):
        raise NotEmulatedError("INSERT … PARTITION (*), or into partitions of an AUTO table")
    names = cursor.names() if cursor.word() == "(" else [cursor.identifier()]
    found = tuple(partitions.selected(table, names))
    return table.with_(partitioning=replace(partitions.require(table), partitions=found))


def _overwriting(whole: Table, staged: Staged, label: str | None) -> Pending:
    """The rows in place of all that there are in the table, or in the partitions that are named."""
    chosen = staged.table.partitioning
    if staged.table == whole or chosen is None:
        statements = [f"DELETE FROM {whole.relation}"]
    else:
        statements = [partitions.delete_rows(whole, partition) for partition in chosen.partitions]

    def run(cursor: duckdb.DuckDBPyConnection) -> None:
        for statement in statements:
            cursor.execute(statement)
        apply(cursor, staged)

    return Pending(whole, run, staged.drop, staged.loaded, label, "overwrite")


def refuse_new_keys(cursor: duckdb.DuckDBPyConnection, staged: Staged, *, where: str = "") -> None:
    """Raises DorisError when a row of a partial update has a key that the table does not have; ``where``
    begins its text.
    """
    table = staged.table
    shown = ", ".join(f"CAST(new.{identifier(c.name)} AS VARCHAR)" for c in table.keys)
    stored = f"SELECT 1 FROM {read_relation(table)} old WHERE {match_keys(table, 'old', 'new')}"
    found = cursor.execute(
        f'SELECT {shown} FROM {staged.relation} new WHERE "__reason" IS NULL AND NOT EXISTS ({stored}) '
        'ORDER BY "__row" LIMIT 1'
    ).fetchall()
    if found:
        key = ", ".join("NULL" if value is None else value for value in found[0])
        raise DorisError(
            f"{where}[INTERNAL_ERROR]tablet error: [E-7003]Can't append new rows in partial update when "
            f"partial_update_new_key_behavior is ERROR. Row with key=[{key}] is not in table., "
            "host: 127.0.0.1"
        )


def update(context: DmlContext, sql: str) -> Pending:
    """``UPDATE t SET value = … WHERE …`` on a UNIQUE table: whole rows, as an upsert."""
    tree = _parse(sql, exp.Update)
    table, node = _target_table(context, tree)
    if tree.args.get("from_") or node.args.get("joins"):
        raise NotEmulatedError("UPDATE … FROM")
    if table.model != "UNIQUE":
        raise DorisError("Only unique table could be updated.")
    changes: dict[str, exp.Expr] = {}
    for assignment in tree.expressions:
        if not isinstance(assignment, exp.EQ) or not isinstance(assignment.this, exp.Column):
            raise DorisError("Only column = expression can be set")
        column = table.find(assignment.this.name)
        if column is None:
            raise DorisError(f"unknown column in assignment list: {assignment.this.name}")
        if column.key:
            raise DorisError("Only value columns of unique table could be updated")
        changes[column.name] = assignment.expression
    select = exp.select(
        *(
            # not exp.alias_: of a subquery it would make a table of that name
            exp.Alias(
                this=changes.get(c.name, exp.column(c.name, quoted=True)),
                alias=exp.to_identifier(c.name, quoted=True),
            )
            for c in table.columns
        )
    ).from_(node)
    select.set("where", tree.args.get("where"))
    translation = translate.translate_tree(select, context.scope)
    staged = stage(
        context.storage,
        context.cursor,
        table,
        translation.sql,
        # a hidden column keeps its value
        WriteOptions(time_zone=context.scope.time_zone, partial=bool(table.hidden)),
    )
    if staged.filtered:
        url = context.error_url(staged.error_lines)
        reason = staged.error_lines[0]
        staged.drop(context.cursor)
        raise DorisError(f"Insert has filtered data in strict mode. {reason}url: {url}", INSERT_FAILED)
    return _pending(staged, staged.loaded, None, "update")


def delete(context: DmlContext, sql: str) -> Pending:
    """``DELETE FROM t WHERE …``: any condition on a UNIQUE table, simple ones elsewhere. It always says 0
    rows.
    """
    tree = _parse(sql, exp.Delete)
    if tree.args.get("tables"):
        raise DorisError("\nmismatched input 'FROM' expecting {<EOF>, ';'}(line 1, pos 7)\n")
    table, node = _target_table(context, tree)
    where = tree.args.get("where")
    if tree.args.get("using") or node.args.get("joins"):
        raise NotEmulatedError("DELETE … USING")
    if table.model == "UNIQUE":
        if where is None and table.properties.get("enable_unique_key_merge_on_write") == "false":
            raise DorisError("delete all rows is forbidden temporary.")
        select = exp.select(*(exp.column(c.name, quoted=True) for c in table.columns)).from_(node)
        select.set("where", where)
        translation = translate.translate_tree(select, context.scope)
        source = f"SELECT *, true AS {identifier(DELETE)} FROM ({translation.sql})"
        staged = stage(
            context.storage, context.cursor, table, source, WriteOptions(partial=bool(table.hidden))
        )
        return _pending(staged, 0, None, "delete")
    if where is None:
        raise DorisError("delete command must contain filter")
    _check_simple(where.this)
    if table.model == "AGGREGATE" and any(
        (found := table.find(column.name)) is not None and not found.key
        for column in where.this.find_all(exp.Column)
    ):
        raise DorisError(
            "delete predicate on value column only supports Unique table with merge-on-write enabled and"
            f" Duplicate table, but Table[{table.name}] is an Aggregate table."
        )
    partitioned = table.partitioning is not None and len(table.partitioning.partitions) > 1
    if partitioned and context.scope.variable("delete_without_partition") != "true":
        raise DorisError(
            "This is a range or list partitioned table. You should specify partition in delete stmt, "
            "or set delete_without_partition to true"
        )
    condition = translate.translate_condition(
        where.this.sql("doris"), context.scope, {c.name: c.type for c in table.columns}
    )
    statement = f"DELETE FROM {table.relation} WHERE {condition}"
    return Pending(table, lambda cursor: _execute(cursor, statement), lambda _cursor: None, 0, kind="delete")


def _execute(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    cursor.execute(sql)


def _pending(staged: Staged, affected: int, label: str | None, kind: str) -> Pending:
    def run(cursor: duckdb.DuckDBPyConnection) -> None:
        apply(cursor, staged)

    return Pending(staged.table, run, staged.drop, affected, label, kind)


def _parse(sql: str, kind: type[exp.Expr]) -> exp.Expr:
    tree = parse_statement(sql)
    if not isinstance(tree, kind):
        raise NotEmulatedError("this form of the statement")
    return tree


def _target_table(context: DmlContext, tree: exp.Expr) -> tuple[Table, exp.Table]:
    node = tree.this
    if not isinstance(node, exp.Table):
        raise NotEmulatedError("this target of a write")
    return context.find((node.db, node.name) if node.db else (node.name,)), node


def _target(table: Table, name: str) -> str:
    column = table.find(name)
    if column is None:
        raise DorisError(f"Unknown column '{name}' in target table.")
    return column.name


def _check_simple(node: exp.Expr) -> None:
    """A DELETE from a table that is not UNIQUE takes ``column op value`` joined by AND, IN and IS NULL."""
    if isinstance(node, exp.And):
        _check_simple(node.this)
        _check_simple(node.expression)
        return
    if isinstance(node, exp.Paren):
        _check_simple(node.this)
        return
    plain = node.this if isinstance(node, exp.Not) else node
    if isinstance(plain, exp.In) and isinstance(plain.this, exp.Column) and not plain.args.get("query"):
        return
    if isinstance(plain, exp.Is) and isinstance(plain.this, exp.Column):
        return
    if (
        isinstance(node, _SIMPLE_PREDICATES)
        and isinstance(node.this, exp.Column)
        and isinstance(node.expression, exp.Literal | exp.Neg | exp.Boolean | exp.Cast)
    ):
        return
    raise DorisError(
        "Where clause only supports compound predicate, binary predicate, is_null predicate or in predicate."
    )


def _renamed(context: DmlContext, sql: str, columns: list[str]) -> str:
    """The SELECT of an INSERT, its columns named after the target's."""
    found = context.cursor.execute(f"DESCRIBE {sql}").fetchall()
    if len(found) != len(columns):
        raise DorisError(
            "insert into cols should be corresponding to the query output: "
            f"expected {len(columns)} columns, got {len(found)}"
        )
    names = ", ".join(identifier(c) for c in columns)
    return f"SELECT * FROM ({sql}) v({names})"


def _values(context: DmlContext, cursor: Cursor, table: Table, columns: list[str], view: str) -> str:
    """The rows of VALUES: constants go through Arrow, anything else through a SELECT."""
    rows = _rows(cursor)
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise DorisError(
                f"Column count doesn't match value count at row {number}: {len(columns)} columns, {len(row)}"
                " values"
            )
    constants = [[_constant(item) for item in row] for row in rows]
    if any(value is _NOT_CONSTANT for row in constants for value in row):
        selects = [
            "SELECT "
            + ", ".join(
                f"{_source_text(cursor, item, table.column(name))} AS {_backtick(name)}"
                for item, name in zip(row, columns, strict=True)
            )
            for row in rows
        ]
        return translate.translate_query(" UNION ALL ".join(selects), context.scope).sql
    defaults = {name: table.column(name) for name in columns}
    data = {}
    for n, name in enumerate(columns):
        values = [row[n] for row in constants]
        if any(v is _DEFAULT for v in values):
            column = defaults[name]
            if column.default_is_expression:
                raise NotEmulatedError("DEFAULT for CURRENT_TIMESTAMP in VALUES")
            values = [column.default if v is _DEFAULT else v for v in values]
        data[name] = pa.array(values, pa.string())
    context.cursor.register(view, pa.table(data))
    return f"SELECT * FROM {view}"


_NOT_CONSTANT: Any = object()
_DEFAULT: Any = object()


def _rows(cursor: Cursor) -> list[list[list[Token]]]:
    """The tokens of each value of each row."""
    rows: list[list[list[Token]]] = []
    while True:
        cursor.expect("(")
        row: list[list[Token]] = []
        item: list[Token] = []
        depth = 0
        while True:
            token = cursor.next("')'")
            symbol = token.text if token.kind == "op" else ""
            if depth == 0 and symbol in (",", ")"):
                if not item and (symbol == "," or row):
                    cursor.index -= 1
                    cursor.fail("expression")
                if item:
                    row.append(item)
                item = []
                if symbol == ")":
                    break
                continue
            depth += (symbol in ("(", "[")) - (symbol in (")", "]"))
            item.append(token)
        rows.append(row)
        if not cursor.accept(","):
            cursor.end()
            return rows


def _constant(item: list[Token]) -> Any:
    """The text of a constant, None for NULL; _NOT_CONSTANT for an expression."""
    sign = ""
    if len(item) == 2 and item[0].text in ("-", "+") and item[1].kind == "number":
        sign, item = item[0].text.replace("+", ""), item[1:]
    if item and item[0].text == "[" and item[-1].text == "]":
        return "".join(map(_element, item))  # an ARRAY: read as text
    if len(item) != 1:
        return _NOT_CONSTANT
    token = item[0]
    if token.kind == "string":
        return token.value
    if token.kind == "number":
        text = token.text
        return sign + (format(Decimal(text), "f") if "e" in text.lower() else text)
    return {"NULL": None, "TRUE": "1", "FALSE": "0", "DEFAULT": _DEFAULT}.get(
        token.text.upper(), _NOT_CONSTANT
    )


def _element(token: Token) -> str:
    """A token of an array literal, in the text that DuckDB reads as an array."""
    if token.kind == "string":
        escaped = token.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return token.text if token.text in ("-", "+") else f"{token.text} "


def _source_text(cursor: Cursor, item: list[Token], column: Any) -> str:
    if _constant(item) is _DEFAULT:
        if column.default_is_expression:
            return "now(6)"
        return "NULL" if column.default is None else "'" + column.default.replace("'", "''") + "'"
    text = cursor.sql[item[0].start : item[-1].end]
    return f"CAST(({text}) AS STRING)" if _constant(item) is not _NOT_CONSTANT else f"({text})"


def _backtick(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
