"""What PostgreSQL's catalogue says about a table that is to flow."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from dbint.errors import ConfigurationError

_Connection = psycopg.Connection[Any]

_HEADER = 4  # bytes in front of a value; a typmod counts them
# TOAST of PostgreSQL's manual: rows up to here are left as they are, and values up to a pointer's size.
_SMALL_ROW, _SMALL_VALUE = 2000, 24

ReplicaIdentity = Literal["default", "nothing", "full", "index"]
_IDENTITIES: dict[str, ReplicaIdentity] = {"d": "default", "n": "nothing", "f": "full", "i": "index"}

# Domains are followed to the type beneath, whose modifier the innermost domain may have set. An array's
# element may be a domain in turn.
_COLUMNS = """
WITH RECURSIVE walk AS (
    SELECT a.attnum, 0 AS depth, t.oid, a.atttypmod AS typmod
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %(relation)s AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT w.attnum, w.depth + 1, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE w.typmod END
    FROM walk w JOIN pg_type t ON t.oid = w.oid WHERE t.typtype = 'd'
)
SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.typname, bn.nspname = 'pg_catalog', b.typtype,
       w.typmod, e.typname, e.typtype, a.attnotnull, a.attgenerated <> '', a.attstorage <> 'p', a.attlen
FROM pg_attribute a
JOIN walk w ON w.attnum = a.attnum
JOIN pg_type b ON b.oid = w.oid AND b.typtype <> 'd'
JOIN pg_namespace bn ON bn.oid = b.typnamespace
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
WHERE a.attrelid = %(relation)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_INDEX = """
SELECT array_agg(a.attname ORDER BY k.position)
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(relation)s AND
"""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column. ``base`` is the name of the type beneath all domains, ``modifier`` its typmod (-1: none);
    of an array ``element`` names the type of its elements.
    """

    name: str
    type: str
    base: str
    builtin: bool
    enum: bool
    composite: bool
    modifier: int
    element: str | None
    element_enum: bool
    required: bool
    generated: bool
    toastable: bool
    length: int
    """In bytes, of a type of fixed length; else -1."""

    @property
    def max_bytes(self) -> float:
        """The most bytes that a value takes in a row of PostgreSQL's."""
        if self.length > 0:
            return self.length
        if self.base in ("varchar", "bpchar") and self.element is None and self.modifier >= _HEADER:
            return 4 * (self.modifier - _HEADER) + _HEADER
        if self.base == "numeric" and self.element is None and self.modifier >= _HEADER:
            return (((self.modifier - _HEADER) >> 16) & 0xFFFF) // 2 + 12
        return math.inf


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table. ``key`` is its primary key, empty without one; ``rows`` an estimate."""

    oid: int
    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]
    identity: ReplicaIdentity
    identity_index: tuple[str, ...]
    partitioned: bool
    rows: int

    @property
    def full_name(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"

    @property
    def toasted(self) -> tuple[str, ...]:
        """Columns whose values PostgreSQL may keep outside the row. A change that does not touch such a value
        does not have it, unless the replica identity is full.
        """
        if sum(column.max_bytes for column in self.columns) <= _SMALL_ROW:
            return ()
        return tuple(c.name for c in self.columns if c.toastable and c.max_bytes > _SMALL_VALUE)


def read_table(connection: _Connection, table: str) -> SourceTable:
    """``schema.table`` as the catalogue has it. Raises ConfigurationError when it cannot flow at all: it is
    not there, is no table, or is a partition of another.
    """
    schema, _, name = table.partition(".")
    row = connection.execute(
        "SELECT c.oid, c.relkind, c.relpersistence, c.relreplident, c.relispartition, c.reltuples::bigint "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s",
        (schema, name),
    ).fetchone()
    if row is None:
        raise ConfigurationError(f"{table}: PostgreSQL has no such table (names are as in the catalogue)")
    oid, kind, persistence, identity, is_partition, rows = row
    if kind not in ("r", "p"):
        raise ConfigurationError(f"{table} is no table: only tables are in the commit log")
    if persistence != "p":
        what = "temporary" if persistence == "t" else "unlogged"
        raise ConfigurationError(f"{table} is {what}: its changes are not in the commit log")
    if is_partition:
        raise ConfigurationError(f"{table} is a partition: name the partitioned table, which has all rows")
    relation = {"relation": oid}
    columns = connection.execute(_COLUMNS, relation).fetchall()
    return SourceTable(
        oid,
        schema,
        name,
        tuple(
            SourceColumn(
                name=attribute,
                type=declared,
                base=base,
                builtin=builtin,
                enum=kind_of_type == "e",
                composite=kind_of_type == "c",
                modifier=modifier,
                element=element,
                element_enum=element_kind == "e",
                required=required,
                generated=generated,
                toastable=toastable,
                length=length,
            )
            for (
                attribute,
                declared,
                base,
                builtin,
                kind_of_type,
                modifier,
                element,
                element_kind,
                required,
                generated,
                toastable,
                length,
            ) in columns
        ),
        _index(connection, oid, "i.indisprimary"),
        _IDENTITIES[identity],
        _index(connection, oid, "i.indisreplident"),
        kind == "p",
        max(0, rows),
    )


def _index(connection: _Connection, oid: int, which: str) -> tuple[str, ...]:
    row = connection.execute(_INDEX + which, {"relation": oid}).fetchone()
    return tuple(row[0]) if row and row[0] else ()
