# ruff: noqa: S608 - makes SQL of conditions that partitions.py has quoted
"""SHOW and DESC."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.nodes import Node, Nodes
from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.show import information_schema
from dbint.emulators.doris.show.cluster import CLUSTER_HANDLERS
from dbint.emulators.doris.show.create import create_table_sql
from dbint.emulators.doris.show.information_schema import TABLES
from dbint.emulators.doris.show.transactions import show_transaction
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.tables import dynamic, partitions, views
from dbint.emulators.doris.tables.jobs import Jobs
from dbint.emulators.doris.tables.model import Table, quoted
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.variables import Variables

_PARTITION = (
    "PartitionId PartitionName VisibleVersion VisibleVersionTime State PartitionKey Range "
    "DistributionKey Buckets ReplicationNum StorageMedium CooldownTime RemoteStoragePolicy "
    "LastConsistencyCheckTime DataSize IsInMemory ReplicaAllocation IsMutable SyncWithBaseTables "
    "UnsyncTables CommittedVersion RowCount"
)
_INDEX = (
    "Table Non_unique Key_name Seq_in_index Column_name Collation Cardinality Sub_part Packed Null "
    "Index_type Comment Properties"
)
_ALTER = (
    "JobId TableName CreateTime FinishTime IndexName IndexId OriginIndexId SchemaVersion "
    "TransactionId State Msg Progress Timeout"
)
_DYNAMIC = (
    "TableName Enable TimeUnit Start End Prefix Buckets ReplicationNum ReplicaAllocation StartOf "
    "LastUpdateTime LastSchedulerTime State LastCreatePartitionMsg LastDropPartitionMsg "
    "ReservedHistoryPeriods"
)


@dataclass(frozen=True, slots=True)
class ShowContext:
    """What SHOW may look at."""

    storage: Storage
    cursor: duckdb.DuckDBPyConnection
    database: str | None
    variables: Variables
    find: Callable[[tuple[str, ...]], Table]
    nodes: Nodes
    frontend: Node | None
    version: str
    jobs: Jobs
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
        extra = "" if column.key else column.aggregation or "NONE"
        if column.auto_increment is not None:
            extra = "AUTO_INCREMENT"
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
    if kind in ("TABLE", "VIEW"):
        table = context.find(cursor.qualified_name())
        if table.is_view:
            names = ["View", "Create View", "character_set_client", "collation_connection"]
            row = (table.name, views.create_view_sql(table), "utf8mb4", "utf8mb4_0900_bin")
            return text_result(names, [row])
        if kind == "VIEW":
            raise views.wrong_object(table, "VIEW")
        return text_result(["Table", "Create Table"], [(table.name, create_table_sql(table))])
    if kind in ("DATABASE", "SCHEMA"):
        name = context.storage.require_database(cursor.identifier())
        return text_result(["Database", "Create Database"], [(name, f"CREATE DATABASE `{name}`")])
    raise NotEmulatedError(f"SHOW CREATE {kind}")


def _show_alter(context: ShowContext, cursor: Cursor) -> Result:
    """``SHOW ALTER TABLE COLUMN [FROM db] [WHERE …] [ORDER BY …] [LIMIT n]``, oldest first unless told
    otherwise.
    """
    cursor.expect("TABLE")
    if not cursor.accept("COLUMN"):
        raise NotEmulatedError(f"SHOW ALTER TABLE {cursor.word()}")
    database = context.database
    if cursor.accept("FROM") or cursor.accept("IN"):
        database = cursor.identifier()
    database = context.storage.require_database(database)
    names = _ALTER.split()
    rows = [
        (
            str(j.id),
            j.table,
            j.created,
            j.finished or "NULL",
            j.table,
            str(j.table_id),
            str(j.table_id),
            f"{j.id - 10000}:0",
            str(j.txn_id),
            j.state,
            j.message,
            "0/1" if j.state == "RUNNING" else "NULL",
            "2592000",
        )
        for j in context.jobs.of(database)
    ]
    return text_result(names, _tail(cursor, names, rows))


def _tail(cursor: Cursor, names: list[str], rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The WHERE (equations joined by AND), ORDER BY and LIMIT of a SHOW statement."""

    def column() -> int:
        name = cursor.identifier()
        for n, known in enumerate(names):
            if known.lower() == name.lower():
                return n
        raise DorisError(f"Title name[{name}] does not exist")

    if cursor.accept("WHERE"):
        while True:
            n = column()
            exact = not cursor.accept("LIKE")
            if exact:
                cursor.expect("=")
            value = cursor.string()
            rows = [r for r in rows if (r[n] == value if exact else _like(str(r[n]), value))]
            if not cursor.accept("AND"):
                break
    if cursor.accept("ORDER", "BY"):
        orders = []
        while True:
            orders.append((column(), cursor.accept("DESC")))
            cursor.accept("ASC")
            if not cursor.accept(","):
                break
        for n, descending in reversed(orders):
            rows = sorted(rows, key=lambda r: (r[n] is not None, r[n]), reverse=descending)
    if cursor.accept("LIMIT"):
        first = cursor.integer()
        if cursor.accept(","):
            rows = rows[first : first + cursor.integer()]
        else:
            start = cursor.integer() if cursor.accept("OFFSET") else 0
            rows = rows[start : start + first]
    cursor.end()
    return rows


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
        rows = [_table_row(t) for t in context.storage.tables(database)]
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


def _table_row(table: Table) -> tuple[str, str, str, str]:
    return (table.name, "VIEW", "", "") if table.is_view else (table.name, "BASE TABLE", "V2", "V3")


def _views(context: ShowContext, cursor: Cursor, full: bool) -> Result:
    """SHOW VIEWS is SHOW TABLES of the views alone."""
    result = _tables(context, cursor, full=True)
    result.rows = [row if full else row[:1] for row in result.rows if row[1] == "VIEW"]
    if not full:
        result.fields = result.fields[:1]
    return result


def _index(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    table = _from_table(context, cursor)
    rows: list[tuple[Any, ...]]
    if information_schema.has_keys(context.version):
        entries = information_schema.key_entries(table)
        rows = [(*entry.show, entry.kind, entry.comment, entry.properties) for entry in entries]
    else:
        rows = [
            (
                *(table.name, "", i.name, "", ",".join(i.columns), "", "", "", "", ""),
                i.kind,
                i.comment,
                _properties(i.properties),
            )
            for i in table.indexes
        ]
    return text_result(_INDEX, rows)


def _properties(properties: dict[str, str]) -> str:
    shown = ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in properties.items())
    return f"({shown})" if shown else ""


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
    """``SHOW PARTITIONS FROM t [WHERE …] [ORDER BY …] [LIMIT n]``; a table without partitions has one, with
    its name.
    """
    table = _from_table(context, cursor)
    if table.is_view:
        raise DorisError(f"Table[{table.name}] is not a OLAP table")
    partitioning = table.partitioning
    replicas = table.properties["replication_allocation"].rpartition(":")[2].strip()
    key = ", ".join(partitioning.columns) if partitioning else ""
    distribution = ", ".join(table.distribution) or "RANDOM"
    buckets = "10" if table.buckets == "AUTO" else table.buckets
    parts = [(table.id * 10000, table.name, "", table.created, "true")]
    if partitioning is not None:
        parts = [
            (
                table.id * 10000 + p.id,
                p.name,
                partitions.describe(table, p),
                p.created or table.created,
                partitions.rows_condition(table, p),
            )
            for p in partitioning.partitions
        ]
    rows = [
        (
            str(number),
            name,
            "2" if count else "1",
            created,
            "SCHEMA_CHANGE" if context.jobs.is_busy(table) else "NORMAL",
            key,
            values,
            distribution,
            buckets,
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
            "2" if count else "1",
            str(count),
        )
        for (number, name, values, created, _), count in zip(
            parts, _counts(context, table, parts), strict=True
        )
    ]
    names = _PARTITION.split()
    return text_result(names, _tail(cursor, names, rows))


def _counts(context: ShowContext, table: Table, parts: list[tuple[int, str, str, str, str]]) -> list[int]:
    """How many rows each partition has."""
    if not parts:
        return []
    counts = ", ".join(f"count(*) FILTER (WHERE {part[4]})" for part in parts)
    deleted = ' WHERE NOT "__deleted"' if table.sequence else ""
    return list(context.cursor.execute(f"SELECT {counts} FROM {table.relation}{deleted}").fetchall()[0])


def _dynamic_partitions(context: ShowContext, cursor: Cursor, _full: bool) -> Result:
    """``SHOW DYNAMIC PARTITION TABLES [FROM db]``."""
    cursor.expect("TABLES")
    database = context.database
    if cursor.accept("FROM") or cursor.accept("IN"):
        database = cursor.identifier()
    database = context.storage.require_database(database)
    rows = []
    for table in context.storage.tables(database):
        found = dynamic.rule(table)
        if found is None:
            continue
        values = {k.removeprefix(dynamic.PREFIX): v for k, v in table.properties.items()}
        runtime = context.jobs.runtimes.get(table.id, dynamic.Runtime())
        allocation = values["replication_allocation"]
        problems = (runtime.created, runtime.dropped) != ("NULL", "NULL")
        rows.append(
            (
                table.name,
                values["enable"].lower(),
                found.unit,
                values["start"],
                values["end"],
                found.prefix,
                values["buckets"],
                allocation.rpartition(":")[2].strip(),
                allocation,
                dynamic.start_of(found),
                runtime.updated,
                runtime.scheduled,
                "ERROR" if problems else "NORMAL",
                runtime.created,
                runtime.dropped,
                values["reserved_history_periods"],
            )
        )
    return text_result(_DYNAMIC, _pattern(cursor, rows))


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
    "VIEWS": _views,
    "DYNAMIC PARTITION": _dynamic_partitions,
    "TRANSACTION": show_transaction,
    **CLUSTER_HANDLERS,
}
