# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""The tables of information_schema that tools ask for, as relations made from the catalog.

Before release 4.1 constraints and index statistics are there and empty, and COLUMN_KEY names the key model;
since then keys look as they do in MySQL (apache/doris#66732).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dbint.emulators.doris.tables.model import KEY_MARKS, Column, Table, identifier, literal, quoted
from dbint.emulators.doris.tables.storage import SYSTEM_DATABASES, Storage
from dbint.emulators.doris.tables.types import INTEGERS

_CATALOG, _CHARSET, _COLLATION = "internal", "utf8mb4", "utf8mb4_0900_bin"
_PRECISIONS = {"TINYINT": 3, "SMALLINT": 5, "INT": 10, "BIGINT": 19, "LARGEINT": 39, "FLOAT": 7, "DOUBLE": 15}
Row = tuple[Any, ...]


def has_keys(version: str) -> bool:
    """Whether a release shows keys as MySQL does."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) >= (4, 1)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A column of a key or of an index, as MySQL's SHOW INDEX has it."""

    table: str
    unique: bool
    name: str
    position: int
    column: str
    nullable: bool
    kind: str
    comment: str = ""
    properties: str = ""

    @property
    def show(self) -> Row:
        """The row of SHOW INDEX, up to its Index_type."""
        null = "YES" if self.nullable else ""
        unique = "0" if self.unique else "1"
        return (self.table, unique, self.name, str(self.position), self.column, "A", "0", None, None, null)


def key_entries(table: Table) -> list[KeyEntry]:
    """The key of a UNIQUE or AGGREGATE table, which makes its rows unique, and the indexes of any table."""
    entries = []
    if table.model in ("UNIQUE", "AGGREGATE"):
        entries += [
            KeyEntry(table.name, True, "PRIMARY", n, c.name, c.nullable, "BTREE")
            for n, c in enumerate(table.keys, 1)
        ]
    for index in table.indexes:
        shown = ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in index.properties.items())
        for n, name in enumerate(index.columns, 1):
            column = table.column(name)
            entries.append(
                KeyEntry(
                    table=table.name,
                    unique=False,
                    name=index.name,
                    position=n,
                    column=column.name,
                    nullable=column.nullable,
                    kind=index.kind,
                    comment=index.comment,
                    properties=f"({shown})" if shown else "",
                )
            )
    return entries


def _mark(table: Table, column: Column, *, has_keys: bool) -> str:
    """COLUMN_KEY: of old the key model, in new releases MySQL's PRI and MUL."""
    if not has_keys:
        return KEY_MARKS[table.model] if column.key else ""
    if column.key and table.model in ("UNIQUE", "AGGREGATE"):
        return "PRI"
    return "MUL" if any(i.columns and i.columns[0] == column.name for i in table.indexes) else ""


def _schemata(storage: Storage) -> list[Row]:
    return [(_CATALOG, name, _CHARSET, _COLLATION, None, "NO") for name in storage.databases]


def _tables(storage: Storage) -> list[Row]:
    user = [
        (
            _CATALOG,
            t.database,
            t.name,
            "VIEW" if t.is_view else "BASE TABLE",
            "View" if t.is_view else "Doris",
            0,
            "Dynamic",
            0,
            t.created,
            _COLLATION,
            None,
            t.comment,
        )
        for t in storage.tables()
    ]
    system = [
        (
            _CATALOG,
            "information_schema",
            name,
            "SYSTEM VIEW",
            "SCHEMA",
            0,
            None,
            0,
            None,
            _COLLATION,
            None,
            "",
        )
        for name in sorted(TABLES)
    ]
    return system + user


def _columns(storage: Storage, *, has_keys: bool = False) -> list[Row]:
    rows: list[Row] = []
    for table in storage.tables():
        for position, column in enumerate(table.columns, 1):
            kind = column.type
            length = kind.max_bytes
            data_type, column_type = kind.information_schema
            precision = kind.args[0] if kind.name == "DECIMAL" else _PRECISIONS.get(kind.name)
            scale = kind.args[1] if kind.name == "DECIMAL" else 0 if kind.name in INTEGERS else None
            rows.append(
                (
                    _CATALOG,
                    table.database,
                    table.name,
                    column.name,
                    position,
                    column.default,
                    "YES" if column.nullable else "NO",
                    data_type,
                    length,
                    length,
                    precision,
                    scale,
                    kind.args[0] if kind.name == "DATETIME" else None,
                    _CHARSET if length else None,
                    _COLLATION if length else None,
                    column_type,
                    _mark(table, column, has_keys=has_keys),
                    "auto_increment" if column.auto_increment is not None else "",
                    "",
                    column.comment,
                )
            )
    return rows


def _nothing(_storage: Storage) -> list[Row]:
    return []


def _views(storage: Storage) -> list[Row]:
    return [
        (
            _CATALOG,
            t.database,
            t.name,
            t.query,
            "NONE",
            "NO",
            "root@%",
            "DEFINER",
            _CHARSET,
            _COLLATION,
        )
        for t in storage.tables()
        if t.is_view
    ]


def _statistics(storage: Storage) -> list[Row]:
    return [
        (
            _CATALOG,
            t.database,
            t.name,
            0 if e.unique else 1,
            t.database,
            e.name,
            e.position,
            e.column,
            "A",
            0,
            None,
            None,
            "YES" if e.nullable else "",
            e.kind,
            e.comment,
        )
        for t in storage.tables()
        for e in key_entries(t)
    ]


def _key_column_usage(storage: Storage) -> list[Row]:
    return [
        (
            _CATALOG,
            t.database,
            e.name,
            _CATALOG,
            t.database,
            t.name,
            e.column,
            e.position,
            None,
            None,
            None,
            None,
        )
        for t in storage.tables()
        for e in key_entries(t)
        if e.unique
    ]


def _table_constraints(storage: Storage) -> list[Row]:
    return [
        (_CATALOG, t.database, "PRIMARY", t.database, t.name, "PRIMARY KEY")
        for t in storage.tables()
        if t.model in ("UNIQUE", "AGGREGATE")
    ]


# name -> (columns, with :type where it is not text; rows)
TABLES: dict[str, tuple[str, Callable[[Storage], list[Row]]]] = {
    "schemata": (
        (
            "CATALOG_NAME SCHEMA_NAME DEFAULT_CHARACTER_SET_NAME DEFAULT_COLLATION_NAME SQL_PATH"
            " DEFAULT_ENCRYPTION"
        ),
        _schemata,
    ),
    "tables": (
        (
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_TYPE ENGINE VERSION:BIGINT ROW_FORMAT"
            " TABLE_ROWS:BIGINT CREATE_TIME:TIMESTAMP TABLE_COLLATION CREATE_OPTIONS TABLE_COMMENT"
        ),
        _tables,
    ),
    "columns": (
        (
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION:BIGINT COLUMN_DEFAULT"
            " IS_NULLABLE DATA_TYPE CHARACTER_MAXIMUM_LENGTH:BIGINT CHARACTER_OCTET_LENGTH:BIGINT"
            " NUMERIC_PRECISION:BIGINT NUMERIC_SCALE:BIGINT DATETIME_PRECISION:BIGINT CHARACTER_SET_NAME"
            " COLLATION_NAME COLUMN_TYPE COLUMN_KEY EXTRA PRIVILEGES COLUMN_COMMENT"
        ),
        _columns,
    ),
    "statistics": (
        (
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME NON_UNIQUE:BIGINT INDEX_SCHEMA INDEX_NAME"
            " SEQ_IN_INDEX:BIGINT COLUMN_NAME COLLATION CARDINALITY:BIGINT SUB_PART:BIGINT PACKED NULLABLE"
            " INDEX_TYPE COMMENT"
        ),
        _nothing,
    ),
    "key_column_usage": (
        (
            "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_CATALOG TABLE_SCHEMA TABLE_NAME"
            " COLUMN_NAME ORDINAL_POSITION:BIGINT POSITION_IN_UNIQUE_CONSTRAINT:BIGINT"
            " REFERENCED_TABLE_SCHEMA REFERENCED_TABLE_NAME REFERENCED_COLUMN_NAME"
        ),
        _nothing,
    ),
    "table_constraints": (
        "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME TABLE_SCHEMA TABLE_NAME CONSTRAINT_TYPE",
        _nothing,
    ),
    "referential_constraints": (
        (
            "CONSTRAINT_CATALOG CONSTRAINT_SCHEMA CONSTRAINT_NAME UNIQUE_CONSTRAINT_SCHEMA"
            " UNIQUE_CONSTRAINT_NAME MATCH_OPTION UPDATE_RULE DELETE_RULE TABLE_NAME REFERENCED_TABLE_NAME"
        ),
        _nothing,
    ),
    "views": (
        (
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME VIEW_DEFINITION CHECK_OPTION IS_UPDATABLE DEFINER"
            " SECURITY_TYPE CHARACTER_SET_CLIENT COLLATION_CONNECTION"
        ),
        _views,
    ),
    "engines": (
        "ENGINE SUPPORT COMMENT TRANSACTIONS XA SAVEPOINTS",
        lambda _s: [("Olap", "YES", "Default storage engine of Doris", "NO", "NO", "NO")],
    ),
}


# What release 4.1 has made of some of them.
_KEY_TABLES: dict[str, Callable[[Storage], list[Row]]] = {
    "columns": lambda storage: _columns(storage, has_keys=True),
    "statistics": _statistics,
    "key_column_usage": _key_column_usage,
    "table_constraints": _table_constraints,
}


def relation(storage: Storage, name: str, version: str) -> str | None:
    """A DuckDB relation with a table of information_schema; None where it has no such table."""
    found = TABLES.get(name.lower())
    if found is None:
        return None
    columns = [(c.partition(":")[0], c.partition(":")[2] or "VARCHAR") for c in found[0].split()]
    rows = (_KEY_TABLES.get(name.lower(), found[1]) if has_keys(version) else found[1])(storage)
    casts = ", ".join(f"CAST({identifier(c)} AS {kind}) AS {identifier(c)}" for c, kind in columns)
    names = ", ".join(identifier(c) for c, _ in columns)
    values = ", ".join(f"({', '.join(map(_value, row))})" for row in rows)
    if not values:
        values, suffix = f"({', '.join(['NULL'] * len(columns))})", " WHERE false"
    else:
        suffix = ""
    return f"(SELECT {casts} FROM (VALUES {values}) v({names}){suffix})"


def _value(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else literal(value)


def is_system(database: str) -> bool:
    return database.lower() in SYSTEM_DATABASES
