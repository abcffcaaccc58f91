# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""ALTER TABLE: what each clause makes of a table, and what must be done to its rows.

Planning checks everything that Doris checks when the statement comes. Whether the change is there at once, or
is left to a job (jobs.py), depends on the clause, as in Doris.
Source: org.apache.doris.alter.SchemaChangeHandler and Alter; "Schema Change" of the documentation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb

from dbint.emulators.doris.errors import DUPLICATE_COLUMN, TABLE_EXISTS, DorisError, NotEmulatedError
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.tables import dynamic, indexes, partitions
from dbint.emulators.doris.tables.ddl import ColumnSpec, parse_column, parse_index, parse_partition
from dbint.emulators.doris.tables.definition import check_column, check_properties
from dbint.emulators.doris.tables.model import Column, Table, identifier
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.tables.write import WriteOptions, convert, default_value

_WIDENING = ("TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT")
_TOGETHER = ("SCHEMA_CHANGE", "MODIFY_COLUMN_COMMENT")  # operations that one statement may have several of
Step = Callable[[duckdb.DuckDBPyConnection], None]
# The properties that ALTER TABLE … SET takes; those of dynamic partitions may come together.
_SETTABLE = frozenset((
    indexes.BLOOM_FILTER, "bloom_filter_fpp", "colocate_with", "storage_policy", "in_memory",
    "replication_num", "default.replication_num", "replication_allocation",
    "default.replication_allocation", "light_schema_change", "min_load_replica_num",
    "disable_auto_compaction", "enable_single_replica_compaction", "store_row_column",
    "row_store_columns", "skip_write_index_on_load", "group_commit_interval_ms", "group_commit_data_bytes",
    "group_commit_mode", "compaction_policy", "time_series_compaction_goal_size_mbytes",
    "time_series_compaction_file_count_threshold", "time_series_compaction_time_threshold_seconds",
    "time_series_compaction_empty_rowsets_threshold", "time_series_compaction_level_threshold",
    "estimate_partition_size", "file_cache_ttl_seconds", "auto_analyze_policy", "enable_mow_light_delete",
))  # fmt: skip


@dataclass(slots=True)
class Plan:
    """A table as it will be, and the ``steps`` that bring its rows there.

    ``operation`` is Doris' name of the kind of change. A SCHEMA_CHANGE leaves a job behind, which is done at
    once where it is ``light``.
    """

    table: Table
    operation: str = ""
    light: bool = True
    steps: list[Step] = field(default_factory=list)

    @property
    def makes_job(self) -> bool:
        return self.operation == "SCHEMA_CHANGE"

    def run(self, storage: Storage, cursor: duckdb.DuckDBPyConnection) -> None:
        """Carry the change out. The caller holds a transaction."""
        for step in self.steps:
            step(cursor)
        storage.put_table(cursor, self.table)

    def sql(self, statement: str) -> None:
        self.steps.append(lambda cursor: _execute(cursor, statement))

    def schema_change(self, *, light: bool) -> None:
        """Note that the columns change; they do at once where the table and all of its clauses allow it."""
        self.light = self.light and light and self.table.properties.get("light_schema_change") != "false"


def _execute(cursor: duckdb.DuckDBPyConnection, statement: str) -> None:
    cursor.execute(statement)


def plan(storage: Storage, table: Table, clauses: Cursor, backends: int) -> Plan:
    """What the clauses of ALTER TABLE ask for, all or none. Raises DorisError for what Doris refuses."""
    found = Plan(table)
    while True:
        operation = _clause(storage, found, clauses, backends)
        if found.operation and (operation != found.operation or operation not in _TOGETHER):
            raise DorisError(f"Alter operation {operation} conflicts with operation {found.operation}")
        found.operation = operation
        if not clauses.accept(","):
            break
    clauses.end()
    if found.makes_job and found.table == table:
        raise DorisError("Nothing is changed. please check your alter stmt.")
    return found


def _clause(storage: Storage, found: Plan, clauses: Cursor, backends: int) -> str:
    """Add one clause to the plan; gives the name of its operation."""
    table = found.table
    if clauses.word(3) == "COMMENT" and clauses.accept("MODIFY", "COLUMN"):
        column = _existing(table, clauses.identifier())
        clauses.expect("COMMENT")
        found.table = _replace(table, column, comment=clauses.string())
        return "MODIFY_COLUMN_COMMENT"
    for words, handler in _SCHEMA_CHANGES.items():
        if clauses.accept(*words):
            handler(found, clauses)
            return "SCHEMA_CHANGE"
    if clauses.accept("MODIFY", "COMMENT"):
        found.table = table.with_(comment=clauses.string())
        return "MODIFY_TABLE_COMMENT"
    if clauses.accept("RENAME"):
        return _rename(storage, found, clauses)
    if clauses.accept("SET"):
        return _set(found, clauses.properties(), backends)
    if clauses.accept("REPLACE", "WITH", "TABLE"):
        return _swap(storage, found, clauses)
    if clauses.word(1) in ("PARTITION", "PARTITIONS", "TEMPORARY"):
        if clauses.accept("ADD"):
            return _add_partition(found, clauses)
        if clauses.accept("DROP"):
            return _drop_partition(found, clauses)
    if clauses.word() in ("ADD", "DROP", "ENABLE", "REPLACE", "MODIFY") and clauses.word(1) in (
        "PARTITION",
        "PARTITIONS",
        "TEMPORARY",
        "ROLLUP",
        "CONSTRAINT",
        "FEATURE",
        "DISTRIBUTION",
        "ENGINE",
        "GENERATED",
    ):
        raise NotEmulatedError(f"ALTER TABLE … {clauses.word()} {clauses.word(1)}")
    return clauses.fail("{'ADD', 'DROP', 'ENABLE', 'MODIFY', 'ORDER', 'RENAME', 'REPLACE', 'SET'}")


# -- columns


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
    if clauses.word() in ("TO", "FROM", "IN"):
        raise NotEmulatedError("a change of a rollup")
    if clauses.accept("PROPERTIES"):
        clauses.properties()


def _add_column(found: Plan, clauses: Cursor) -> None:
    if not clauses.accept("("):
        spec = parse_column(clauses)
        _add_one(found, spec, _position(found.table, clauses, key=spec.key))
    else:
        while True:
            _add_one(found, parse_column(clauses), None)
            if clauses.accept(")"):
                break
            clauses.expect(",")
    _tail(clauses)


def _add_one(found: Plan, spec: ColumnSpec, position: int | None) -> None:
    table = found.table
    if table.find(spec.name) is not None:
        raise DorisError(
            f"Can not add column which already exists in base table: {spec.name}", DUPLICATE_COLUMN
        )
    if spec.auto_increment is not None:
        raise DorisError(f"Can not add auto-increment column {spec.name}")
    _check_aggregation(table, spec)
    if spec.key and table.model == "UNIQUE":
        raise NotEmulatedError("adding a key column to a UNIQUE table")
    if spec.aggregation == "SUM" and spec.default not in (None, "0"):
        raise DorisError(f"The default value of '{spec.name}' with SUM aggregation function must be zero")
    column = check_column(spec, key=spec.key, model=table.model)
    keys = len(table.keys)
    if position is None:
        position = keys if column.key else len(table.columns)
    if column.key and position > keys:
        raise DorisError(f"Can not add key column {column.name} after value column")
    if not column.key and position < keys:
        raise DorisError(f"Can not add value column {column.name} before key column")
    if not column.nullable and column.default is None:
        # Doris fills the old rows with the type's zero value; refused here, for the zero is nobody's value
        found.steps.append(lambda cursor: _refuse_rows(cursor, table, column.name))
    found.sql(f"ALTER TABLE {table.relation} ADD COLUMN {identifier(column.name)} {column.type.duckdb}")
    if column.default is not None:
        value = default_value(column, WriteOptions())
        found.sql(f"UPDATE {table.relation} SET {identifier(column.name)} = {value}")
    columns = list(table.columns)
    columns.insert(position, column)
    found.table = table.with_(columns=tuple(columns))
    found.schema_change(light=not column.key)


def _refuse_rows(cursor: duckdb.DuckDBPyConnection, table: Table, name: str) -> None:
    if cursor.execute(f"SELECT 1 FROM {table.relation} LIMIT 1").fetchall():
        raise NotEmulatedError(f"ADD COLUMN {name} NOT NULL without a default on a table that has rows")


def _check_aggregation(table: Table, spec: ColumnSpec) -> None:
    """An aggregation belongs to the value columns of an AGGREGATE table, where a column without is a key."""
    if table.model == "AGGREGATE":
        if spec.key and spec.aggregation:
            raise DorisError(f"Can not assign aggregation method on key column: {spec.name}")
        spec.key = spec.key or spec.aggregation is None
    elif spec.aggregation:
        raise DorisError(
            f"Can not assign aggregation method on column in {table.model.title()} data model table:"
            f" {spec.name}"
        )


def _drop_column(found: Plan, clauses: Cursor) -> None:
    table = found.table
    column = _existing(table, clauses.identifier())
    _tail(clauses)
    if column.key:
        if table.model == "UNIQUE":
            raise DorisError("Can not drop key column in Unique data model table")
        if any((c.aggregation or "").startswith("REPLACE") for c in table.columns):
            raise DorisError(
                "Can not drop key column when table has value column with REPLACE aggregation method"
            )
        if table.model == "AGGREGATE":
            raise NotEmulatedError("dropping a key column of an AGGREGATE table")
        if len(table.keys) == 1:
            raise DorisError("Can not drop the only key column of a table")
    if column.name == table.sequence:
        raise DorisError(
            f"Can not drop sequence mapping column[{column.name}] in Unique data model table[{table.name}]"
        )
    if table.partitioning is not None and column.name in table.partitioning.columns:
        raise DorisError(f"Partition column[{column.name}] cannot be dropped. index[{table.name}]")
    if column.name in table.distribution:
        raise DorisError(f"Distribution column[{column.name}] cannot be dropped. index[{table.name}]")
    if len(table.columns) == 1:
        raise DorisError("Can not drop the last column of a table")
    found.sql(f"ALTER TABLE {table.relation} DROP COLUMN {identifier(column.name)}")
    kept = tuple(i for i in table.indexes if column.name.lower() not in (c.lower() for c in i.columns))
    changed = table.with_(columns=tuple(c for c in table.columns if c is not column), indexes=kept)
    found.table = _without_bloom_filter(changed, column.name)
    found.schema_change(light=not column.key)


def _without_bloom_filter(table: Table, name: str) -> Table:
    text = table.properties.get(indexes.BLOOM_FILTER)
    if text is None:
        return table
    kept = [n for n in text.split(", ") if n != name]
    properties = {k: v for k, v in table.properties.items() if k != indexes.BLOOM_FILTER}
    if kept:
        properties[indexes.BLOOM_FILTER] = ", ".join(kept)
    return table.with_(properties=properties)


def _modify_column(found: Plan, clauses: Cursor) -> None:
    table = found.table
    spec = parse_column(clauses)
    old = _existing(table, spec.name)
    position = _position(table, clauses, key=old.key)
    _tail(clauses)
    if table.model == "AGGREGATE" and not spec.key and not old.key and spec.aggregation is None:
        raise DorisError(f"Aggregate method must be specified for value column: {spec.name}")
    _check_aggregation(table, spec)
    if old.key and not spec.key:
        raise DorisError(f"Can not modify key column to value column: {old.name} (KEY is missing)")
    if spec.key and not old.key:
        raise DorisError(f"Can not modify value column to key column: {old.name}")
    checked = check_column(spec, key=old.key, model=table.model)
    new = replace(checked, name=old.name, comment=checked.comment or old.comment)
    if new != old:
        _check_modification(table, old, new)
    if old.type != new.type:
        _convert_column(found, old, new)
    columns = [new if c is old else c for c in table.columns]
    if position is not None:
        at = columns.index(new)
        columns.insert(position - (position > at), columns.pop(at))
        _check_order(table, columns)
    found.table = table.with_(columns=tuple(columns))
    grows = old.type.name == new.type.name == "VARCHAR" and position is None
    found.schema_change(light=grows)
    if new != old and not found.light and table.auto_increment is not None:
        raise DorisError(
            f"Can not modify column {old.name} becasue table {table.name} has auto-increment column "
            f"{table.auto_increment.name}"
        )


def _check_modification(table: Table, old: Column, new: Column) -> None:
    """Raise DorisError where a column cannot become what MODIFY COLUMN says."""
    if old.name == table.sequence:
        raise DorisError(f"Can not alter sequence column[{old.name}]")
    if old.auto_increment != new.auto_increment:
        raise DorisError(f"Can't modify the column[{old.name}]'s auto-increment attribute.")
    if old.type != new.type:
        _check_change(old, new)
    if old.aggregation != new.aggregation:
        raise DorisError("Can not change aggregation type")
    if old.nullable and not new.nullable:
        raise DorisError("Can not change from nullable to non-nullable")
    if (old.default, old.default_is_expression) != (new.default, new.default_is_expression):
        raise DorisError("Can not change default value")
    if table.partitioning is not None and old.name in table.partitioning.columns:
        raise DorisError(f"Can not modify partition column[{old.name}].")
    if old.name in table.distribution:
        raise DorisError(f"Can not modify distribution column[{old.name}]. index[{table.name}]")


def _convert_column(found: Plan, old: Column, new: Column) -> None:
    table, name = found.table, identifier(old.name)
    value = convert(name, old.type.duckdb, new.type, "UTC")

    def check_values(cursor: duckdb.DuckDBPyConnection) -> None:
        lost = cursor.execute(
            f"SELECT count(*) FROM {table.relation} WHERE {name} IS NOT NULL AND {value} IS NULL"
        ).fetchall()[0][0]
        if lost:
            raise DorisError(
                f"Can not change {old.type.sql} to {new.type.sql}: {lost} values of {old.name} do not fit"
            )

    found.steps.append(check_values)
    if old.type.duckdb != new.type.duckdb:
        found.sql(f"ALTER TABLE {table.relation} ALTER COLUMN {name} TYPE {new.type.duckdb} USING {value}")


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


def _order(found: Plan, clauses: Cursor) -> None:
    """``ORDER BY (a, b, c)``: all columns in another order, the keys still first."""
    table, names = found.table, clauses.names()
    _tail(clauses)
    columns: list[Column] = []
    for name in names:
        column = table.find(name)
        if column is None:
            raise DorisError(f"Column[{name}] not exists")
        if column in columns:
            raise DorisError(f"Reduplicative column[{name}]")
        columns.append(column)
    if len(columns) != len(table.columns):
        raise DorisError("Reorder stmt should contains all columns")
    _check_order(table, columns)
    found.table = table.with_(columns=tuple(columns))
    found.schema_change(light=False)


def _check_order(table: Table, columns: list[Column]) -> None:
    keys = len(table.keys)
    if not all(c.key for c in columns[:keys]):
        raise DorisError(f"Invalid column order. value should be after key. index[{table.name}]")


# -- indexes


def _add_index(found: Plan, clauses: Cursor) -> None:
    found.table = with_index(found.table, clauses)
    found.schema_change(light=found.table.indexes[-1].kind == "INVERTED")


def with_index(table: Table, clauses: Cursor, name: str | None = None) -> Table:
    """The table with the index that ADD INDEX or, with its name given, CREATE INDEX defines."""
    if name is None:
        clauses.accept("IF", "NOT", "EXISTS")
        name = clauses.identifier()
    if name.lower() in (i.name.lower() for i in table.indexes):
        raise DorisError(f"index `{name}` already exist.")
    return table.with_(indexes=(*table.indexes, indexes.check(table, parse_index(clauses, name))))


def _drop_index(found: Plan, clauses: Cursor) -> None:
    if_exists = clauses.accept("IF", "EXISTS")
    found.table = without_index(found.table, clauses.identifier(), if_exists=if_exists)
    found.schema_change(light=True)


def without_index(table: Table, name: str, *, if_exists: bool) -> Table:
    kept = tuple(i for i in table.indexes if i.name.lower() != name.lower())
    if len(kept) == len(table.indexes) and not if_exists:
        raise DorisError(f"Index {name} does not exist")
    return table.with_(indexes=kept)


_SCHEMA_CHANGES: dict[tuple[str, ...], Callable[[Plan, Cursor], None]] = {
    ("ADD", "COLUMN"): _add_column,
    ("DROP", "COLUMN"): _drop_column,
    ("MODIFY", "COLUMN"): _modify_column,
    ("ORDER", "BY"): _order,
    ("ADD", "INDEX"): _add_index,
    ("DROP", "INDEX"): _drop_index,
}


# -- names


def _rename(storage: Storage, found: Plan, clauses: Cursor) -> str:
    if clauses.accept("COLUMN"):
        _rename_column(found, clauses.identifier(), clauses.identifier())
    elif clauses.word() in ("TO", "AS") and clauses.peek(1) is not None:
        clauses.fail("{IDENTIFIER, 'COLUMN', 'PARTITION', 'ROLLUP'}")
    elif clauses.word() == "ROLLUP" and clauses.peek(1) is not None:
        raise NotEmulatedError("RENAME ROLLUP")
    elif clauses.word() == "PARTITION" and clauses.peek(1) is not None:
        clauses.next()
        found.table = partitions.renamed(found.table, clauses.identifier(), clauses.identifier())
    else:
        name = clauses.identifier()
        if name == found.table.name:
            raise DorisError("Same table name")
        if storage.find_table(found.table.database, name) is not None:
            raise DorisError(f"Table name[{name}] is already used", TABLE_EXISTS)
        found.table = found.table.with_(name=name)
    return "RENAME"


def _rename_column(found: Plan, old: str, new: str) -> None:
    table = found.table
    column = _existing(table, old)
    if column.name == new:
        raise DorisError("Same column name")
    if table.find(new) is not None and new.lower() != old.lower():
        raise DorisError(f"Column name[{new}] is already used", DUPLICATE_COLUMN)
    if table.partitioning is not None and column.name in table.partitioning.columns:
        raise DorisError(f"Renaming sequence or partition columns is not supported: {column.name}")
    if column.name == table.sequence:
        raise DorisError(f"Can not rename sequence column {column.name}")
    found.sql(f"ALTER TABLE {table.relation} RENAME COLUMN {identifier(column.name)} TO {identifier(new)}")
    distribution = tuple(new if c == column.name else c for c in table.distribution)
    renamed_indexes = tuple(
        replace(i, columns=tuple(new if c == column.name else c for c in i.columns)) for i in table.indexes
    )
    properties = dict(table.properties)
    if indexes.BLOOM_FILTER in properties:
        names = properties[indexes.BLOOM_FILTER].split(", ")
        properties[indexes.BLOOM_FILTER] = ", ".join(new if n == column.name else n for n in names)
    found.table = _replace(table, column, name=new).with_(
        distribution=distribution, indexes=renamed_indexes, properties=properties
    )


def _swap(storage: Storage, found: Plan, clauses: Cursor) -> str:
    """``REPLACE WITH TABLE b [PROPERTIES ('swap' = 'true')]``: b gets this table's name, and the reverse or
    nothing.
    """
    table = found.table
    other = storage.find_table(table.database, clauses.identifier())
    properties = clauses.properties() if clauses.accept("PROPERTIES") else {}
    clauses.accept("FORCE")
    if other is None or other.is_view:
        raise DorisError("The table to replace with does not exist or is no table")
    swapped = other.with_(name=table.name)

    swaps = properties.get("swap", "true").lower() == "true"

    def exchange(cursor: duckdb.DuckDBPyConnection) -> None:
        if not swaps:
            storage.drop_table(cursor, table)
        storage.put_table(cursor, swapped)

    found.table = table.with_(name=other.name) if swaps else swapped
    found.steps.append(exchange)
    return "REPLACE_TABLE"


# -- properties


def _set(found: Plan, given: dict[str, str], backends: int) -> str:
    table = found.table
    are_dynamic = [name for name in given if name.startswith(dynamic.PREFIX)]
    if len(given) != 1 and len(are_dynamic) != len(given):
        raise DorisError("Can only set one table property(without dynamic partition && binlog) at a time")
    if not are_dynamic and not set(given) <= _SETTABLE:
        raise DorisError(f"Unknown table property: [{', '.join(given)}]")
    if are_dynamic:
        merged = {**table.properties, **given}
        if f"{dynamic.PREFIX}replication_num" in given:
            merged.pop(f"{dynamic.PREFIX}replication_allocation", None)
        found.table = table.with_(properties=dynamic.check(merged, table, backends))
        return "MODIFY_TABLE_PROPERTY"
    ((name, value),) = given.items()
    if name == indexes.BLOOM_FILTER:
        checked = indexes.bloom_filter_columns(table, value)
        properties = {k: v for k, v in table.properties.items() if k != name}
        found.table = table.with_(properties={**properties, name: checked} if checked else properties)
        found.schema_change(light=False)
        return "SCHEMA_CHANGE"
    if name.removeprefix("default.") in ("replication_num", "replication_allocation"):
        count = value.rpartition(":")[2].strip()
        if not count.isdigit() or int(count) < 1:
            raise DorisError(f"Replication num should be a positive number. replication_num: {count}")
        if int(count) > backends:
            raise dynamic.not_enough_backends(int(count))
        name, value = "replication_allocation", f"tag.location.default: {count}"
    check_properties({name: value})
    found.table = table.with_(properties={**table.properties, name: value})
    return "MODIFY_TABLE_PROPERTY"


# -- partitions


def _add_partition(found: Plan, clauses: Cursor) -> str:
    table = found.table
    if clauses.word() == "TEMPORARY":
        raise NotEmulatedError("a TEMPORARY PARTITION")
    partitioning = partitions.require(table)
    dynamic.check_manual(table)
    if partitioning.auto and partitioning.kind == "RANGE" and clauses.word() == "PARTITIONS":
        raise DorisError("can't add multi partition to auto partition table")
    if clauses.accept("PARTITIONS") and clauses.word() != "FROM":
        clauses.fail("'FROM'")
    item = parse_partition(clauses, partitioning.kind)
    if clauses.word() == "(":
        clauses.properties()
    if clauses.accept("DISTRIBUTED", "BY"):
        if not clauses.accept("RANDOM"):
            clauses.expect("HASH")
            clauses.names()
        if clauses.accept("BUCKETS") and not clauses.accept("AUTO"):
            clauses.integer()
    if clauses.accept("PROPERTIES"):
        clauses.properties()
    found.table = partitions.resolve(table, [item])
    return "ADD_PARTITION"


def _drop_partition(found: Plan, clauses: Cursor) -> str:
    table = found.table
    if clauses.word() == "TEMPORARY":
        raise NotEmulatedError("a TEMPORARY PARTITION")
    clauses.expect("PARTITION")
    if_exists = clauses.accept("IF", "EXISTS")
    name = clauses.identifier()
    clauses.accept("FORCE")
    partitioning = partitions.require(table)
    dynamic.check_manual(table)
    if partitioning.find(name) is None and if_exists:
        return "DROP_PARTITION"
    partition = partitions.find(table, name)
    found.sql(partitions.delete_rows(table, partition))
    found.table = partitions.without(table, [name])
    return "DROP_PARTITION"


def _existing(table: Table, name: str) -> Column:
    column = table.find(name)
    if column is None:
        raise DorisError(f"Column does not exists: {name}")
    return column


def _replace(table: Table, column: Column, **changes: Any) -> Table:
    return table.with_(columns=tuple(replace(c, **changes) if c is column else c for c in table.columns))
