# ruff: noqa: S608 - makes SQL; names are quoted by model.identifier
"""Views: CREATE, ALTER and DROP VIEW, and the relation that a query reads for one.

As in Doris, a view keeps the columns that its query had when it was made, and names its tables in full.
Source: "CREATE VIEW" of the Doris SQL manual; BaseViewInfo of apache/doris.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import SqlglotError

from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import (
    DUPLICATE_COLUMN,
    TABLE_EXISTS,
    UNKNOWN_TABLE,
    WRONG_OBJECT,
    DorisError,
)
from dbint.emulators.doris.results import Result
from dbint.emulators.doris.sql import translate
from dbint.emulators.doris.tables.model import Column, Table, identifier, quoted, single_quoted
from dbint.emulators.doris.tables.types import MAX_VARCHAR_BYTES, DorisType, array_of

if TYPE_CHECKING:
    from dbint.emulators.doris.session import DorisSession
    from dbint.emulators.doris.sql.lexer import Cursor

_TYPES = {
    "BOOLEAN": DorisType("BOOLEAN"),
    "TINYINT": DorisType("TINYINT"),
    "SMALLINT": DorisType("SMALLINT"),
    "INTEGER": DorisType("INT"),
    "BIGINT": DorisType("BIGINT"),
    "FLOAT": DorisType("FLOAT"),
    "DOUBLE": DorisType("DOUBLE"),
    "DATE": DorisType("DATE"),
    "TIMESTAMP": DorisType("DATETIME", (6,)),
    "JSON": DorisType("JSON"),
    "VARCHAR": DorisType("VARCHAR", (MAX_VARCHAR_BYTES,)),
}


def create(session: DorisSession, cursor: Cursor, *, replaces: bool) -> Result:
    """``CREATE [OR REPLACE] VIEW [IF NOT EXISTS] v [(columns)] [COMMENT 'c'] AS SELECT …``; the cursor stands
    behind VIEW.
    """
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    if replaces and if_not_exists:
        raise DorisError("[OR REPLACE] and [IF NOT EXISTS] cannot used at the same time")
    target = cursor.qualified_name()
    database = session.storage.require_database(target[-2] if len(target) > 1 else session.database)
    view = _define(session, cursor, database, target[-1])
    with session.storage.transaction(session.cursor):
        old = session.storage.find_table(database, view.name)
        if old is not None:
            if if_not_exists:
                return Result()
            if not replaces or not old.is_view:
                raise DorisError(f"Table '{view.name}' already exists", TABLE_EXISTS)
            session.storage.drop_table(session.cursor, old)
        numbered = view.with_(id=session.storage.next_number("table_id"))
        session.storage.put_table(session.cursor, numbered)
    return Result()


def alter(session: DorisSession, cursor: Cursor) -> Result:
    """``ALTER VIEW v [(columns)] AS SELECT …`` and ``ALTER VIEW v MODIFY COMMENT 'c'``; the cursor stands
    behind VIEW.
    """
    target = cursor.qualified_name()
    old = session.find(target)
    if not old.is_view:
        raise wrong_object(old, "VIEW")
    if cursor.accept("MODIFY", "COMMENT"):
        view = old.with_(comment=cursor.string())
        cursor.end()
    else:
        view = _define(session, cursor, old.database, old.name).with_(id=old.id, created=old.created)
        view = view.with_(comment=view.comment or old.comment)
    with session.storage.transaction(session.cursor):
        session.storage.require(old.id)
        session.storage.put_table(session.cursor, view)
    return Result()


def drop(session: DorisSession, cursor: Cursor) -> Result:
    """``DROP VIEW [IF EXISTS] v``; the cursor stands behind VIEW."""
    if_exists = cursor.accept("IF", "EXISTS")
    target = cursor.qualified_name()
    cursor.end()
    database = session.storage.require_database(target[-2] if len(target) > 1 else session.database)
    with session.storage.transaction(session.cursor):
        view = session.storage.find_table(database, target[-1])
        if view is None:
            if if_exists:
                return Result()
            raise DorisError(f"Unknown table '{target[-1]}' in {database}", UNKNOWN_TABLE)
        if not view.is_view:
            raise wrong_object(view, "VIEW")
        session.storage.drop_table(session.cursor, view)
    return Result()


def wrong_object(table: Table, wanted: str) -> DorisError:
    """The refusal of a statement that wants a table and meets a view, or the reverse."""
    kind = "VIEW" if table.is_view else "TABLE"
    return DorisError(
        f"'{table.database}.{table.name}' is not '{wanted}'. Use 'DROP {kind}"
        f" {table.database}.{table.name}'.",
        WRONG_OBJECT,
    )


def _define(session: DorisSession, cursor: Cursor, database: str, name: str) -> Table:
    """The view that the rest of the statement defines."""
    named = _names(cursor)
    comment = cursor.string() if cursor.accept("COMMENT") else ""
    cursor.expect("AS")
    if cursor.word() not in ("SELECT", "WITH", "("):
        cursor.fail("{'(', 'SELECT', 'WITH'}")
    query = _qualify(cursor.rest(), session.database)
    translation = translate.translate_query(query, session)
    try:
        found = session.cursor.execute(f"DESCRIBE {translation.sql}").fetchall()
    except duckdb.Error as error:
        raise from_duckdb(error, translation.clauses) from None
    known: list[DorisType | None] = [*translation.types, *[None] * len(found)]
    columns = [
        Column(row[0], kind or _column_type(row[1], has_largeint=translation.has_largeint))
        for row, kind in zip(found, known, strict=False)
    ]
    sources = tuple(c.name for c in columns)
    if named:
        if len(named) != len(columns):
            raise DorisError("View's SELECT and view's field list have different column counts", 1353)
        columns = [replace(c, name=n, comment=t) for c, (n, t) in zip(columns, named, strict=True)]
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise DorisError(f"Duplicate column name '{column.name}'", DUPLICATE_COLUMN)
        seen.add(column.name.lower())
    return Table(
        id=0,
        database=database,
        name=name,
        columns=tuple(columns),
        model="VIEW",
        distribution=(),
        buckets="",
        properties={},
        comment=comment,
        created=dt.datetime.now().isoformat(" ", "seconds"),
        query=query,
        sources=sources,
    )


def _names(cursor: Cursor) -> list[tuple[str, str]]:
    """The columns that the view itself names, with their comments."""
    if not cursor.accept("("):
        return []
    names = []
    while True:
        name = cursor.identifier()
        names.append((name, cursor.string() if cursor.accept("COMMENT") else ""))
        if cursor.accept(")"):
            return names
        cursor.expect(",")


def _column_type(duck_type: str, *, has_largeint: bool) -> DorisType:
    """The Doris type for an expression of which only DuckDB knows the type."""
    if duck_type.endswith("[]"):
        return array_of(_column_type(duck_type[:-2], has_largeint=has_largeint))
    decimal = re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", duck_type)
    if decimal:
        return DorisType("DECIMAL", (int(decimal[1]), int(decimal[2])))
    if duck_type == "HUGEINT":
        return DorisType("LARGEINT" if has_largeint else "BIGINT")
    return _TYPES.get(duck_type, _TYPES["VARCHAR"])


def _qualify(query: str, database: str | None) -> str:
    """The query with its tables' names written out in full, so that it means the same in any database."""
    try:
        tree = parse_one(query, read="doris", error_level=ErrorLevel.IMMEDIATE)
    except SqlglotError:
        return query  # translate_query will say what is wrong with it
    with_names = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    changes: list[tuple[int, int, str]] = []
    for node in tree.find_all(exp.Table):
        table, owner = node.this, node.args.get("db")
        if not isinstance(table, exp.Identifier) or "start" not in table.meta:
            continue
        if owner is None and (table.name.lower() in with_names or table.name.lower() == "dual"):
            continue
        if owner is None and database is None:
            continue
        first = node.args.get("catalog") or owner or table
        name = owner.name if owner is not None else database
        text = f"`internal`.`{name}`.`{table.name}`"
        changes.append((first.meta["start"], table.meta["end"] + 1, text))
    for start, end, text in sorted(changes, reverse=True):
        query = query[:start] + text + query[end:]
    return query


def relation(session: DorisSession, view: Table) -> str:
    """DuckDB's relation for a view. Raises DorisError where its query is no longer possible."""
    translation = translate.translate_query(view.query, session)
    names = ", ".join(
        f"{identifier(source)} AS {identifier(column.name)}"
        for source, column in zip(view.sources, view.columns, strict=True)
    )
    return f"(SELECT {names} FROM ({translation.sql}))"


def create_view_sql(view: Table) -> str:
    """CREATE VIEW as SHOW CREATE VIEW prints it."""
    columns = ""
    if view.sources != tuple(c.name for c in view.columns) or any(c.comment for c in view.columns):
        listed = (f"`{c.name}`{f' COMMENT {quoted(c.comment)}' if c.comment else ''}" for c in view.columns)
        columns = f" ({', '.join(listed)})"
    comment = f" COMMENT {single_quoted(view.comment)}" if view.comment else ""
    return f"CREATE VIEW `{view.name}`{columns}{comment} AS {view.query};"
