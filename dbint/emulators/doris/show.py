# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""SHOW and DESC."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbint.emulators.doris.alter import AlterJob
from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.information_schema import TABLES
from dbint.emulators.doris.lexer import Cursor
from dbint.emulators.doris.model import Table, identifier, quoted
from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.show_cluster import CLUSTER_HANDLERS
from dbint.emulators.doris.show_create import create_table_sql, partition_bounds
from dbint.emulators.doris.storage import Storage
from dbint.emulators.doris.variables import Variables

_PARTITION = (
    "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range "
    "DistributionKey Buckets ReplicationNum StorageMedium CooldownTime RemoteStoragePolicy "
    "LastConsistencyCheckTime DataSize IsInMemory ReplicaAllocation IsMutable SyncWithBaseTables "
    "UnsyncTables"
)
_INDEX = (
    "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part Packed Null "
    "Index_type Comment Properties"
)


@dataclass(frozen=True, slots=True)
class ShowContext:
    """What SHOW may look at."""

    storage: Storage
    cursor: duckdb.DuckDBPyConnection
    database: str | None
    variables: Variables
    find: Callable[[tuple[str, ...]], Table]
    query_port: int
    http_port: int
    be_http_port: int
    backends: int
    started: str
    alter_jobs: list[AlterJob]
    connections: Callable[[], list[tuple[int, str, str, str | None]]]


def show(context: ShowContext, sql: str) -> Result:
    """Answer a SHOW statement. Raises DorisError for what Doris refuses, NotEmulatedError for the rest."""
    cursor = Cursor(sql)
    cursor.expect("SHOW")
    full = cursor.accept("FULL")
    cursor.accept("GLOBAL") or cursor.accept("SESSION")
    what = cursor.word()
    second = cursor.word(1)
    if what in ("ALTER", "CREATE"):
        cursor.next()
        return _show_alter(context, cursor) if what == "ALTER" else _show_create(context, cursor)
    handler = _HANDLERS.get(what) or _HANDLERS.get(f"{what} {second}")
    if handler is None:
        raise NotEmulatedError(f"SHOW {what} {second}".rstrip())
    cursor.next()
    if what not in _HANDLERS:
        cursor.next()
    return handler(context, cursor, full)


def describe(table: Table, *, full: bool = False) -> Result:
    """DESC and SHOW [FULL] COLUMNS."""
    rows: list[tuple[Any, ...]] = []
    for column in table.columns:
        extra = "AUTO_INCREMENT" if column.auto_increment is not None else "" if column.key else "NONE"
        null = "Yes" if column.nullable else "No"
        key = "true" if column.key else "false"
        if full:
            rows.append(
                (
                    column.name,
                    column.type.sql,
                    "",
                    null,
                    "YES" if column.key else "",
                    column.default,
                    extra,
                    "",
                    column.comment,
                )
            )
        else:
            rows.append((column.name, column.type.sql, null, key, column.default, extra))
    names = (
        "Field Type Collation Null Key Default Extra Privileges Comment"
        if full
        else "Field Type Null Key Default Extra"
    )
    return text_result(names.split(), rows)


def _show_create(context: ShowContext, cursor: Cursor) -> Result:
    kind = cursor.word()
    cursor.next()
    if kind == "TABLE":
        table = context.find(cursor.qualified_name())
        return text_result(["Table", "Create Table"], [(table.name, create_table_sql(table))])
    if kind in ("DATABASE", "SCHEMA"):
        name = context.storage.require_database(cursor.identifier())
        return text_result(["Database", "Create Database"], [(name, f"CREATE DATABASE `{name}`")])
    raise NotEmulatedError(f"SHOW CREATE {kind}")


def _show_alter(context: ShowContext, cursor: Cursor) -> Result:
    cursor.expect("TABLE")
    if not cursor.accept("COLUMN"):
        raise NotEmulatedError(f"SHOW ALTER TABLE {cursor.word()}")
    database = context.database
    if cursor.accept("FROM") or cursor.accept("IN"):
        database = cursor.identifier()
    name = None
    if cursor.accept("WHERE"):
        match = re.search(r"(?i)TableName\s*=\s*['\"]([^'\"]+)['\"]", cursor.rest())
        if match is None:
            raise NotEmulatedError("this condition of SHOW ALTER TABLE (TableName = '…' is)")
        name = match[1]
    names = (
        "JobId TableName CreateTime FinishTime IndexName IndexId OriginIndexId SchemaVersion "
        "TransactionId State Msg Progress Timeout"
    )
    jobs = [j for j in context.alter_jobs if j.database == database and name in (None, j.table)]
    if "desc" in cursor.rest().lower():
        jobs.reverse()
    if "limit 1" in re.sub(r"\s+", " ", cursor.rest().lower()):
        jobs = jobs[:1]
    rows = [
        (
            str(j.id),
            j.table,
            j.created,
            j.finished,
            j.table,
            str(j.table_id),
            str(j.table_id),
            "1:0",
            str(j.id),
            "FINISHED",
            "",
            None,
            "2592000",
        )
        for j in jobs
    ]
    return text_result(names, rows)


def _pattern(cursor: Cursor, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The LIKE of a SHOW statement, on its first column."""
    if not cursor.accept("LIKE"):
        if cursor.word() == "WHERE":
            match = re.fullmatch(r"(?is)WHERE\s+`?\w+`?\s*(=|LIKE)\s*(['\"])(.*?)\2", cursor.rest().strip())
            if match is None:
                raise NotEmulatedError("this condition of SHOW")
            return [r for r in rows if _like(str(r[0]), match[3], exact=match[1] == "=")]
        cursor.end()
        return list(rows)
    pattern = cursor.string()
    cursor.end()
    return [r for r in rows if _like(str(r[0]), pattern)]


def _like(value: str, pattern: str, *, exact: bool = False) -> bool:
    if exact:
        return value.lower() == pattern.lower()
    glob = re.sub(r"([\[*?])", r"[\1]", pattern).replace("\\%", "\0").replace("\\_", "\1")
    glob = glob.replace("%", "*").replace("_", "?").replace("\0", "%").replace("\1", "_")
    return fnmatch.fnmatchcase(value.lower(), glob.lower())


def _databases(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    return text_result(["Database"], _pattern(cursor, [(name,) for name in context.storage.databases]))


def _tables(context: ShowContext, cursor: Cursor, full: bool) -> Result:
    database = context.database
    if cursor.accept("FROM") or cursor.accept("IN"):
        database = cursor.identifier()
    database = context.storage.require_database(database)
    rows: Sequence[Sequence[Any]]
    if database.lower() == "information_schema":
        rows = [(name, "SYSTEM VIEW", "", "") for name in sorted(TABLES)]
    else:
        rows = [(t.name, "BASE TABLE", "V2", "V3") for t in context.storage.tables(database)]
    rows = _pattern(cursor, rows)
    if full:
        names = [f"Tables_in_{database}", "Table_type", "Storage_format", "Inverted_index_storage_format"]
        return text_result(names, rows)
    return text_result([f"Tables_in_{database}"], [r[:1] for r in rows])


def _columns(context: ShowContext, cursor: Cursor, full: bool) -> Result:
    table = _from_table(context, cursor)
    result = describe(table, full=full)
    result.rows = _pattern(cursor, result.rows)
    return result


def _index(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    table = _from_table(context, cursor)
    rows = [
        (
            table.name,
            "",
            i.name,
            "",
            ",".join(i.columns),
            "",
            "",
            "",
            "",
            "",
            i.kind,
            i.comment,
            (
                "(" + ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in i.properties.items()) + ")"
                if i.properties
                else ""
            ),
        )
        for i in table.indexes
    ]
    return text_result(_INDEX, rows)


def _from_table(context: ShowContext, cursor: Cursor) -> Table:
    if not (cursor.accept("FROM") or cursor.accept("IN")):
        cursor.fail("{'FROM', 'IN'}")
    name = cursor.qualified_name()
    if cursor.accept("FROM") or cursor.accept("IN"):
        name = (cursor.identifier(), name[-1])
    return context.find(name)


def _variables(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    rows: list[tuple[Any, ...]] = [(name, value, value, "0") for name, value in context.variables.items()]
    return text_result(["Variable_name", "Value", "Default_Value", "Changed"], _pattern(cursor, rows))


def _partitions(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    table = _from_table(context, cursor)
    partitioning = table.partitioning
    replicas = table.properties["replication_allocation"].rpartition(":")[2].strip()
    key = ", ".join(partitioning.columns) if partitioning else ""
    distribution = ", ".join(table.distribution) or "RANDOM"
    parts: list[tuple[str, str]] = []
    if partitioning is None:
        parts.append((table.name, ""))
    elif partitioning.auto:
        parts += _auto_partitions(context, table)
    else:
        for part in partitioning.partitions:
            parts.append((part.name, partition_bounds(table, part)))
    rows = [
        (
            str(table.id * 1000 + n),
            name,
            "1",
            table.created,
            "NORMAL",
            key,
            values,
            distribution,
            table.buckets,
            replicas,
            "HDD",
            "9999-12-31 23:59:59",
            "",
            None,
            "0.000",
            "false",
            f"tag.location.default: {replicas}",
            "true",
            "true",
            None,
        )
        for n, (name, values) in enumerate(parts)
    ]
    return text_result(_PARTITION, rows)


def _auto_partitions(context: ShowContext, table: Table) -> list[tuple[str, str]]:
    """The partitions of an AUTO table are those that its rows need."""
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    column = identifier(partitioning.columns[0])
    if partitioning.kind == "LIST":
        sql = f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM {table.relation} ORDER BY 1"
        return [(f"p{n}", f"({value})") for n, (value,) in enumerate(context.cursor.execute(sql).fetchall())]
    sql = (
        f"SELECT DISTINCT strftime(date_trunc('{partitioning.unit}', CAST({column} AS TIMESTAMP)),"
        f" '%Y%m%d%H%M%S') FROM {table.relation} ORDER BY 1"
    )
    return [(f"p{value}", "") for (value,) in context.cursor.execute(sql).fetchall()]


_HANDLERS: dict[str, Callable[[ShowContext, Cursor, bool], Result]] = {
    "DATABASES": _databases,
    "SCHEMAS": _databases,
    "TABLES": _tables,
    "COLUMNS": _columns,
    "FIELDS": _columns,
    "INDEX": _index,
    "INDEXES": _index,
    "KEY": _index,
    "KEYS": _index,
    "VARIABLES": _variables,
    "PARTITIONS": _partitions,
    **CLUSTER_HANDLERS,
}


def refuse_unknown(sql: str) -> DorisError:
    """The error for a statement that starts with no word of the grammar."""
    cursor = Cursor(sql)
    try:
        cursor.fail(
            "{'ADMIN', 'ALTER', 'CREATE', 'DELETE', 'DROP', 'INSERT', 'SELECT', 'SET', 'SHOW', 'UPDATE', ...}"
        )
    except DorisError as error:
        return error
