# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""ALTER TABLE: columns added, dropped, renamed and changed, and tables renamed. Jobs are done when the
statement is.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from dbint.emulators.doris.ddl import parse_column
from dbint.emulators.doris.definition import check_column
from dbint.emulators.doris.errors import DUPLICATE_COLUMN, TABLE_EXISTS, DorisError, NotEmulatedError
from dbint.emulators.doris.lexer import Cursor
from dbint.emulators.doris.model import Column, Table, identifier
from dbint.emulators.doris.storage import Storage
from dbint.emulators.doris.write import WriteOptions, convert, default_value

_WIDENING = ("TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT")


@dataclass(frozen=True, slots=True)
class AlterJob:
    """A finished schema change, as SHOW ALTER TABLE COLUMN lists it."""

    id: int
    database: str
    table: str
    table_id: int
    created: str
    finished: str


def alter_table(storage: Storage, cursor: duckdb.DuckDBPyConnection, table: Table, clauses: Cursor) -> None:
    """Run the clauses of ALTER TABLE, all or none. The caller holds a transaction."""
    changed = table
    while True:
        changed = _clause(storage, cursor, changed, clauses)
        if not clauses.accept(","):
            break
    clauses.end()
    storage.put_table(cursor, changed)


def new_job(storage: Storage, table: Table) -> AlterJob:
    now = dt.datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return AlterJob(storage.next_number("alter_job"), table.database, table.name, table.id, now, now)


def _clause(storage: Storage, cursor: duckdb.DuckDBPyConnection, table: Table, clauses: Cursor) -> Table:
    if clauses.accept("ADD", "COLUMN"):
        if clauses.accept("("):
            raise NotEmulatedError("ADD COLUMN (…), several columns at once; repeat the clause")
        return _add_column(cursor, table, clauses)
    if clauses.accept("DROP", "COLUMN"):
        return _drop_column(cursor, table, clauses.identifier())
    if clauses.accept("MODIFY", "COLUMN"):
        if clauses.word(1) == "COMMENT":
            name = clauses.identifier()
            clauses.expect("COMMENT")
            return _replace(table, _existing(table, name), comment=clauses.string())
        return _modify_column(cursor, table, clauses)
    if clauses.accept("MODIFY", "COMMENT"):
        return table.with_(comment=clauses.string())
    if clauses.accept("RENAME", "COLUMN"):
        old, new = clauses.identifier(), clauses.identifier()
        return _rename_column(cursor, table, old, new)
    if clauses.accept("RENAME"):
        if clauses.word() in ("PARTITION", "ROLLUP", "TO", "AS") and clauses.peek(1) is not None:
            if clauses.word() in ("TO", "AS"):
                clauses.fail("{IDENTIFIER, 'COLUMN', 'PARTITION', 'ROLLUP'}")
            raise NotEmulatedError(f"RENAME {clauses.word()}")
        return _rename(storage, table, clauses.identifier())
    if clauses.accept("SET"):
        return table.with_(properties={**table.properties, **clauses.properties()})
    if clauses.accept("ADD", "INDEX"):
        raise NotEmulatedError("ALTER TABLE ADD INDEX (use CREATE INDEX)")
    if clauses.word() in ("ADD", "DROP", "ORDER", "ENABLE", "REPLACE", "MODIFY") and clauses.word(1) in (
        "PARTITION",
        "ROLLUP",
        "CONSTRAINT",
        "BY",
        "FEATURE",
        "WITH",
        "TEMPORARY",
        "PARTITIONS",
        "DISTRIBUTION",
        "ENGINE",
        "INDEX",
        "GENERATED",
    ):
        raise NotEmulatedError(f"ALTER TABLE … {clauses.word()} {clauses.word(1)}")
    return clauses.fail("{'ADD', 'DROP', 'ENABLE', 'MODIFY', 'ORDER', 'RENAME', 'REPLACE', 'SET'}")


def _position(table: Table, clauses: Cursor, *, key: bool) -> int | None:
    """The place that FIRST or AFTER names; None where none is named."""
    if clauses.accept("FIRST"):
        if not key:
            raise DorisError("Can not set value column at first")
        return 0
    if clauses.accept("AFTER"):
        before = clauses.identifier()
        names = [c.name.lower() for c in table.columns]
        if before.lower() not in names:
            raise DorisError(f"Column[{before}] does not found")
        return names.index(before.lower()) + 1
    return None


def _tail(clauses: Cursor) -> None:
    if clauses.word() == "TO":
        raise NotEmulatedError("a change of a rollup")
    if clauses.accept("PROPERTIES"):
        clauses.properties()


def _add_column(cursor: duckdb.DuckDBPyConnection, table: Table, clauses: Cursor) -> Table:
    spec = parse_column(clauses)
    if table.find(spec.name) is not None:
        raise DorisError(
            f"Can not add column which already exists in base table: {spec.name}", DUPLICATE_COLUMN
        )
    if spec.aggregation:
        raise DorisError(
            f"Can not assign aggregation method on column in {table.model} data model table: {spec.name}"
        )
    if spec.auto_increment is not None:
        raise DorisError(f"Can not add auto-increment column {spec.name} to table {table.name}")
    if spec.key and table.model == "UNIQUE":
        raise NotEmulatedError("adding a key column to a UNIQUE table")
    position = _position(table, clauses, key=spec.key)
    _tail(clauses)
    column = check_column(spec, key=spec.key)
    must_fill = not column.nullable and column.default is None
    if must_fill and cursor.execute(f"SELECT 1 FROM {table.relation} LIMIT 1").fetchall():
        # Doris fills the old rows with the type's zero value; refused here, for the zero is nobody's value
        raise NotEmulatedError(
            f"ADD COLUMN {column.name} NOT NULL without a default on a table that has rows"
        )
    keys = len(table.keys)
    if position is None:
        position = keys if column.key else len(table.columns)
    if column.key and position > keys:
        raise DorisError(f"Can not add key column {column.name} after value column")
    if not column.key and position < keys:
        raise DorisError(f"Can not add value column {column.name} before key column")
    cursor.execute(f"ALTER TABLE {table.relation} ADD COLUMN {identifier(column.name)} {column.type.duckdb}")
    if column.default is not None:
        value = default_value(column, WriteOptions())
        cursor.execute(f"UPDATE {table.relation} SET {identifier(column.name)} = {value}")
    columns = list(table.columns)
    columns.insert(position, column)
    return table.with_(columns=tuple(columns))


def _drop_column(cursor: duckdb.DuckDBPyConnection, table: Table, name: str) -> Table:
    column = _existing(table, name)
    if column.key:
        if table.model == "UNIQUE":
            raise DorisError("Can not drop key column in Unique data model table")
        if len(table.keys) == 1:
            raise DorisError("Can not drop the only key column of a table")
    if column.name in table.distribution:
        raise DorisError(f"Distribution column[{column.name}] cannot be dropped")
    if table.partitioning is not None and column.name in table.partitioning.columns:
        raise DorisError(f"Partition column[{column.name}] cannot be dropped")
    if column.name == table.sequence:
        raise DorisError(
            f"Can not drop sequence mapping column[{column.name}] in Unique data model table[{table.name}]"
        )
    if len(table.columns) == 1:
        raise DorisError("Can not drop the last column of a table")
    cursor.execute(f"ALTER TABLE {table.relation} DROP COLUMN {identifier(column.name)}")
    indexes = tuple(i for i in table.indexes if column.name.lower() not in (c.lower() for c in i.columns))
    return table.with_(columns=tuple(c for c in table.columns if c is not column), indexes=indexes)


def _rename_column(cursor: duckdb.DuckDBPyConnection, table: Table, old: str, new: str) -> Table:
    column = _existing(table, old)
    if table.find(new) is not None and new.lower() != old.lower():
        raise DorisError(f"Column name[{new}] is already used", DUPLICATE_COLUMN)
    if table.partitioning is not None and column.name in table.partitioning.columns:
        raise DorisError(f"Renaming sequence or partition columns is not supported: {column.name}")
    if column.name == table.sequence:
        raise DorisError(f"Can not rename sequence column {column.name}")
    if column.name != new:
        cursor.execute(
            f"ALTER TABLE {table.relation} RENAME COLUMN {identifier(column.name)} TO {identifier(new)}"
        )
    distribution = tuple(new if c == column.name else c for c in table.distribution)
    return _replace(table, column, name=new).with_(distribution=distribution)


def _modify_column(cursor: duckdb.DuckDBPyConnection, table: Table, clauses: Cursor) -> Table:
    spec = parse_column(clauses)
    old = _existing(table, spec.name)
    position = _position(table, clauses, key=old.key)
    _tail(clauses)
    if position is not None:
        raise NotEmulatedError("MODIFY COLUMN … FIRST | AFTER")
    if old.key and not spec.key:
        raise DorisError(f"Can not modify key column to value column: {old.name} (KEY is missing)")
    if spec.key and not old.key:
        raise DorisError(f"Can not modify value column to key column: {old.name}")
    new = check_column(spec, key=old.key)
    if old.nullable and not new.nullable:
        raise DorisError("Can not change from nullable to non-nullable")
    if new.default != old.default or new.default_is_expression != old.default_is_expression:
        raise DorisError(f"Can not change default value: {old.name}")
    if old.type != new.type:
        _check_change(old, new)
        name = identifier(old.name)
        value = convert(name, old.type.duckdb, new.type, "UTC")
        lost = cursor.execute(
            f"SELECT count(*) FROM {table.relation} WHERE {name} IS NOT NULL AND {value} IS NULL"
        ).fetchall()[0][0]
        if lost:
            raise DorisError(
                f"Can not change {old.type.sql} to {new.type.sql}: {lost} values of {old.name} do not fit"
            )
        if old.type.duckdb != new.type.duckdb:
            cursor.execute(
                f"ALTER TABLE {table.relation} ALTER COLUMN {name} TYPE {new.type.duckdb} USING {value}"
            )
    changed = Column(
        name=old.name,
        type=new.type,
        nullable=new.nullable,
        key=old.key,
        default=old.default,
        has_default=old.has_default,
        default_is_expression=old.default_is_expression,
        auto_increment=old.auto_increment,
        comment=new.comment or old.comment,
    )
    return table.with_(columns=tuple(changed if c is old else c for c in table.columns))


def _check_change(old: Column, new: Column) -> None:
    """Let the changes of type pass that lose nothing. Raises DorisError for others."""
    a, b = old.type, new.type
    refusal = DorisError(f"Can not change {a.sql.upper()} to {b.sql.upper()}")
    if a.name in _WIDENING and b.name in _WIDENING:
        if _WIDENING.index(b.name) < _WIDENING.index(a.name):
            raise refusal
        return
    if a.name in ("CHAR", "VARCHAR") and b.name in ("CHAR", "VARCHAR"):
        if b.args[0] < a.args[0]:
            raise DorisError(f"Shorten type length is prohibited, srcType={a.sql}, dstType={b.sql}")
        return
    if b.is_string and a.name in (*_WIDENING, "CHAR", "VARCHAR", "DATE", "DATETIME"):
        return
    if a.name == b.name == "DECIMAL" and b.args[1] == a.args[1] and b.args[0] >= a.args[0]:
        return
    if (a.name, b.name) in (("FLOAT", "DOUBLE"), ("DATE", "DATETIME")):
        return
    if a.name == b.name == "DATETIME" and b.args[0] >= a.args[0]:
        return
    raise refusal


def _rename(storage: Storage, table: Table, name: str) -> Table:
    if storage.find_table(table.database, name) is not None:
        raise DorisError(f"Table name[{name}] is already used", TABLE_EXISTS)
    return table.with_(name=name)


def _existing(table: Table, name: str) -> Column:
    column = table.find(name)
    if column is None:
        raise DorisError(f"Column does not exists: {name}")
    return column


def _replace(table: Table, column: Column, **changes: Any) -> Table:

    return table.with_(columns=tuple(replace(c, **changes) if c is column else c for c in table.columns))
