"""The rules of Doris' table models: what CREATE TABLE and ADD COLUMN may ask for, and what is filled in.

The refusals are worded as Doris words them (org.apache.doris.nereids.trees.plans.commands.info).
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from dbint.emulators.doris.errors import DUPLICATE_COLUMN, DorisError, NotEmulatedError
from dbint.emulators.doris.tables import dynamic, indexes, partitions
from dbint.emulators.doris.tables.ddl import ColumnSpec, PartitionSpec, TableSpec
from dbint.emulators.doris.tables.model import SEQUENCE_COLUMN, Column, KeyModel, Partitioning, Table
from dbint.emulators.doris.tables.types import INTEGERS, DorisType

_SHORT_KEY_COLUMNS = 3
_SHORT_KEY_BYTES = 36
_INDEX_BYTES = {
    "BOOLEAN": 1,
    "TINYINT": 1,
    "SMALLINT": 2,
    "INT": 4,
    "BIGINT": 8,
    "LARGEINT": 16,
    "DATE": 4,
    "DATETIME": 8,
    "DECIMAL": 16,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_NOT_KEYS = ("FLOAT", "DOUBLE", "STRING", "JSON", "VARIANT", "ARRAY")
_TRUNC_UNITS = ("year", "quarter", "month", "week", "day", "hour")
_NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
_ORDERED = (*_NUMBERS, "DATE", "DATETIME", "CHAR", "VARCHAR", "STRING")
# The types that an aggregation takes; those that are not here take all.
_AGGREGATED = {"SUM": _NUMBERS, "MIN": _ORDERED, "MAX": _ORDERED}
_EMULATED_AGGREGATIONS = (*_AGGREGATED, "REPLACE", "REPLACE_IF_NOT_NULL")
# The properties that a table can have, besides those of dynamic partitions (PropertyAnalyzer).
_PROPERTIES = frozenset((
    "replication_num", "replication_allocation", "storage_type", "storage_medium", "storage_cooldown_time",
    "storage_policy", "storage_format", "storage_page_size", "storage_dict_page_size", "tablet_type",
    "bloom_filter_columns", "bloom_filter_fpp", "colocate_with", "distribution_type", "in_memory",
    "compression",
    "inverted_index_storage_format", "inverted_index_file_storage_format", "light_schema_change",
    "disable_auto_compaction", "enable_single_replica_compaction", "function_column.sequence_col",
    "function_column.sequence_type", "store_row_column", "row_store_columns", "row_store_page_size",
    "skip_write_index_on_load", "estimate_partition_size", "enable_unique_key_merge_on_write",
    "enable_unique_key_skip_bitmap_column", "enable_mow_light_delete", "min_load_replica_num",
    "enable_duplicate_without_keys_by_default", "is_being_synced", "binlog.enable", "binlog.ttl_seconds",
    "binlog.max_bytes", "binlog.max_history_nums", "group_commit_interval_ms", "group_commit_data_bytes",
    "group_commit_mode", "compaction_policy", "time_series_compaction_goal_size_mbytes",
    "time_series_compaction_file_count_threshold", "time_series_compaction_time_threshold_seconds",
    "time_series_compaction_empty_rowsets_threshold", "time_series_compaction_level_threshold",
    "variant_max_subcolumns_count", "variant_enable_flatten_nested",
    "variant_max_sparse_column_statistics_size", "variant_enable_typed_paths_to_sparse",
    "file_cache_ttl_seconds", "auto_analyze_policy", "partition.retention_count", "storage_vault_name",
))  # fmt: skip
_NOT_EMULATED = {
    "enable_duplicate_without_keys_by_default": "true",
    "partition.retention_count": "",
}


def build_table(spec: TableSpec, table_id: int, database: str, backends: int) -> Table:
    """A checked table from a definition. Raises DorisError as Doris' CREATE TABLE would."""
    if spec.engine.upper() != "OLAP":
        raise DorisError(f"Do not support table with engine name = {spec.engine.lower()}")
    _check_names(c.name for c in spec.columns)
    if not spec.columns:
        raise DorisError("table should contain at least one column")
    model, keys = _model(spec)
    _check_keys(spec, keys, model)
    columns = tuple(check_column(c, key=n < len(keys), model=model) for n, c in enumerate(spec.columns))
    _check_auto_increment(columns, model)
    properties = _properties(spec, model, backends)
    table = Table(
        id=table_id,
        database=database,
        name=spec.name[-1],
        columns=columns,
        model=model,
        distribution=_distribution(spec, columns, model),
        buckets=spec.buckets,
        properties=properties,
        comment=spec.comment,
        indexes=tuple(spec.indexes),
        created=dt.datetime.now().isoformat(" ", "seconds"),
    )
    if spec.partition is not None:
        table = table.with_(partitioning=_partitioning(spec.partition, table))
        table = partitions.resolve(table, spec.partition.partitions)
    table = indexes.check_all(table)
    _check_sequence(table)
    if indexes.BLOOM_FILTER in properties:
        bloom = indexes.bloom_filter_columns(table, properties[indexes.BLOOM_FILTER])
        table = table.with_(properties={**properties, indexes.BLOOM_FILTER: bloom})
    table = table.with_(properties=dynamic.check(table.properties, table, backends))
    if dynamic.is_dynamic(table.properties):
        table = dynamic.apply(table, dt.datetime.now(dt.UTC))[0]
    return table


def check_column(spec: ColumnSpec, *, key: bool, model: KeyModel = "DUPLICATE") -> Column:
    """A checked column. Raises DorisError for a type, a default or a combination that Doris refuses."""
    name = spec.name
    if name.upper().startswith("__DORIS_"):
        raise DorisError(f"Disable to create table column with name start with __DORIS_: {name.upper()}")
    if key:
        spec.type.check_key(name)
        if spec.aggregation:
            raise DorisError(f"Key column {name} can not set aggregation type")
    _check_aggregation(spec, key=key, model=model)
    if spec.has_default and spec.default is None and not spec.nullable:
        raise DorisError(f"Can not set null default value to non nullable column: {name}")
    if spec.default is not None:
        _check_default(spec)
    if spec.on_update and not (spec.default_is_expression and spec.default):
        raise DorisError(
            f"You must set the default value of the column[{name}] to CURRENT_TIMESTAMP "
            "when using 'ON UPDATE CURRENT_TIMESTAMP'."
        )
    if spec.on_update:
        raise NotEmulatedError("ON UPDATE CURRENT_TIMESTAMP")
    return Column(
        name=name,
        type=spec.type,
        nullable=spec.nullable,
        key=key,
        default=spec.default,
        has_default=spec.has_default,
        default_is_expression=spec.default_is_expression,
        auto_increment=spec.auto_increment,
        comment=spec.comment,
        aggregation=spec.aggregation,
    )


def _model(spec: TableSpec) -> tuple[KeyModel, list[str]]:
    """The key model and the key columns, as given or as Doris chooses them."""
    if spec.model is None and any(c.aggregation for c in spec.columns):
        names = [c.name for c in spec.columns]
        first = next(n for n, c in enumerate(spec.columns) if c.aggregation)
        keys, model = names[:first], "AGGREGATE"
        if not keys:
            raise _no_key()
    else:
        keys, model = spec.keys, spec.model or "DUPLICATE"
    checked: KeyModel = (
        "AGGREGATE" if model == "AGGREGATE" else "UNIQUE" if model == "UNIQUE" else "DUPLICATE"
    )
    return checked, keys or _default_keys(spec.columns)


def _check_aggregation(spec: ColumnSpec, *, key: bool, model: KeyModel) -> None:
    """Raise DorisError where the column has an aggregation that it cannot have, or lacks one."""
    kind = spec.aggregation
    if kind is None:
        if model == "AGGREGATE" and not key:
            raise DorisError("should set aggregation type to non-key column in aggregate key table")
        return
    if kind not in _EMULATED_AGGREGATIONS:
        raise NotEmulatedError(f"the aggregation {kind}")
    if spec.type.name not in _AGGREGATED.get(kind, (spec.type.name,)):
        if spec.type.name == "ARRAY":
            raise DorisError(f"ARRAY column can't support aggregation {kind}")
        raise DorisError(
            f"Aggregate type {kind} is not compatible with primitive type {spec.type.sql.upper()}"
        )
    if kind == "REPLACE_IF_NOT_NULL":
        if not spec.nullable:
            raise DorisError(
                f"REPLACE_IF_NOT_NULL column must be nullable, maybe should use REPLACE, column:{spec.name}"
            )
        spec.has_default = True


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise DorisError(f"Duplicate column name '{name}'", DUPLICATE_COLUMN)
        seen.add(name.lower())


def _default_keys(columns: list[ColumnSpec]) -> list[str]:
    """The keys of a table that names none: its first columns, to three, 36 bytes or a VARCHAR."""
    keys: list[str] = []
    size = 0
    for column in columns:
        size += column.type.args[0] if column.type.is_string and column.type.args else 0
        size += _INDEX_BYTES.get(column.type.name, 0)
        if len(keys) >= _SHORT_KEY_COLUMNS or size > _SHORT_KEY_BYTES:
            if not keys and column.type.is_string:
                keys.append(column.name)
            break
        if column.type.name in _NOT_KEYS:
            break
        keys.append(column.name)
        if column.type.name == "VARCHAR":
            break
    if not keys:
        raise _no_key()
    return keys


def _no_key() -> DorisError:
    return DorisError(
        "The olap table first column could not be float, double, string or array, struct, map, "
        "please use decimal or varchar instead."
    )


def _check_keys(spec: TableSpec, keys: list[str], model: KeyModel) -> None:
    if len(keys) > len(spec.columns):
        raise DorisError("The number of key columns should be less than the number of columns.")
    for n, key in enumerate(keys):
        name = spec.columns[n].name
        if key.lower() == name.lower():
            continue
        if key.lower() not in (c.name.lower() for c in spec.columns):
            raise DorisError(f"Key column[{key}] doesn't exist.")
        raise DorisError(
            f"Key columns should be a ordered prefix of the schema. KeyColumns[{n}] (starts from zero) is"
            f" {key}, but corresponding column is {name} in the previous columns declaration."
        )
    for column in spec.columns[len(keys) :]:
        if column.key:
            raise DorisError(
                f"Key columns should be a ordered prefix of the schema. {column.name} is declared KEY, but"
                " not listed."
            )
        if column.aggregation and model != "AGGREGATE":
            raise DorisError(
                f"{model[:3] if model == 'DUPLICATE' else model}_KEYS table should not specify aggregate type"
                f" for non-key column[{column.name}]"
            )


def _check_auto_increment(columns: tuple[Column, ...], model: KeyModel) -> None:
    found = [c for c in columns if c.auto_increment is not None]
    if found and model == "AGGREGATE":
        raise DorisError("the auto increment is only supported in duplicate table and unique table.")
    if len(found) > 1:
        raise DorisError("there can not be more than one auto increment column.")
    for column in found:
        if column.type.name != "BIGINT":
            raise DorisError(f"the auto increment column must be BIGINT type. column: {column.name}")
        if column.nullable:
            raise DorisError(f"the auto increment column should be NOT NULL. column: {column.name}")
        if column.has_default:
            raise DorisError(f"the auto increment column can not have default value. column: {column.name}")


def _check_default(spec: ColumnSpec) -> None:
    kind, text = spec.type, spec.default or ""
    if kind.name in ("JSON", "VARIANT"):
        raise DorisError("Json or Variant type column default value just support null")
    if kind.name == "ARRAY":
        if text != "[]":
            raise DorisError("Array type column default value only support null or []")
        return
    if spec.default_is_expression:
        if kind.name != "DATETIME":
            raise DorisError(
                "Types other than DATETIME and DATETIMEV2 cannot use current_timestamp as the default value:"
                f" [{spec.name}]"
            )
        return
    if not _fits(kind, text):
        raise DorisError(f"Invalid default value for '{spec.name}': {text} is no {kind.sql}")


def _fits(kind: DorisType, text: str) -> bool:
    """Whether the text of a default is a value of the type."""
    try:
        if kind.name in INTEGERS:
            low, high = INTEGERS[kind.name]
            return low <= int(text) <= high
        if kind.name == "BOOLEAN":
            return text.lower() in ("true", "false", "0", "1")
        if kind.name in ("FLOAT", "DOUBLE"):
            float(text)
        elif kind.name == "DECIMAL":
            value = Decimal(text)
            precision, scale = kind.args
            return value.is_finite() and abs(value) < Decimal(10) ** (precision - scale)
        elif kind.name == "DATE":
            dt.date.fromisoformat(text)
        elif kind.name == "DATETIME":
            dt.datetime.fromisoformat(text)
        elif kind.max_bytes is not None:
            return len(text.encode()) <= kind.max_bytes
    except (ValueError, InvalidOperation):
        return False
    return True


def _properties(spec: TableSpec, model: KeyModel, backends: int) -> dict[str, str]:
    properties = dict(spec.properties)
    check_properties(properties)
    if "enable_unique_key_merge_on_write" in properties and model != "UNIQUE":
        raise DorisError("enable_unique_key_merge_on_write property only support unique key table")
    replicas = properties.pop("replication_num", None)
    allocation = properties.pop("replication_allocation", None)
    text = replicas if replicas is not None else (allocation or ": 3").rpartition(":")[2].strip()
    if not text.isdigit() or int(text) < 1:
        raise DorisError(f"Replication num should be a positive number. replication_num: {text}")
    if int(text) > backends:
        raise dynamic.not_enough_backends(int(text))
    shown = {"replication_allocation": f"tag.location.default: {text}"}
    if model == "UNIQUE":
        properties.setdefault("enable_unique_key_merge_on_write", "true")
        if properties["enable_unique_key_merge_on_write"].lower() != "true":
            raise NotEmulatedError("merge-on-read (enable_unique_key_merge_on_write = false)")
    return {**shown, **properties}


def check_properties(properties: dict[str, str]) -> None:
    """Raise DorisError for properties that no table has, NotEmulatedError for what the emulator has not."""
    unknown = {
        n: v for n, v in properties.items() if n not in _PROPERTIES and not n.startswith(dynamic.PREFIX)
    }
    if unknown:
        raise DorisError(f"Unknown properties: {{{', '.join(f'{n}={v}' for n, v in unknown.items())}}}")
    for name, refused in _NOT_EMULATED.items():
        if name in properties and refused in ("", properties[name].lower()):
            raise NotEmulatedError(f"the table property {name}")


def _distribution(spec: TableSpec, columns: tuple[Column, ...], model: KeyModel) -> tuple[str, ...]:
    names = spec.distribution or []
    if not names and model == "UNIQUE":
        raise DorisError("Should not be distributed by random when keys type is unique")
    if not names and model == "AGGREGATE":
        for value in columns:
            if (value.aggregation or "").startswith("REPLACE"):
                raise DorisError(
                    "Should not be distributed by random when keys type is aggand column is in replace, "
                    f"[{value.name}] is invalid"
                )
    by_name = {c.name.lower(): c for c in columns}
    for name in names:
        column = by_name.get(name.lower())
        if column is None:
            raise DorisError(f"Distribution column({name}) doesn't exist.")
        if model != "DUPLICATE" and not column.key:
            raise DorisError(f"Distribution column[{name}] is not key column")
        if column.type.name in ("STRING", "JSON", "VARIANT", "ARRAY"):
            raise DorisError(
                f"{column.type.name.title()} Type should not be used in distribution column[{name}]."
            )
        if column.type.name in ("FLOAT", "DOUBLE"):
            raise DorisError("Floating point type should not be used in distribution column")
    if spec.buckets == "0":
        raise DorisError("Number of hash distribution should be greater than zero.")
    return tuple(by_name[n.lower()].name for n in names)


def _partitioning(spec: PartitionSpec, table: Table) -> Partitioning:
    columns = []
    for name in spec.columns:
        column = table.find(name)
        if column is None:
            raise DorisError(f"partition key {name} is not exists")
        if table.model == "UNIQUE" and not column.key:
            raise DorisError("Merge-on-Write table's partition column must be KEY column")
        if table.model == "AGGREGATE" and not column.key:
            raise DorisError("The partition column could not be aggregated column")
        if column.type.name in ("FLOAT", "DOUBLE"):
            raise DorisError("Floating point type column can not be partition column")
        if column.type.name in ("STRING", "JSON", "VARIANT", "ARRAY"):
            raise DorisError(
                f"{column.type.name.title()} Type should not be used in partition column[{name}]."
            )
        if spec.kind == "RANGE" and (column.type.is_string or column.type.name in ("BOOLEAN", "DECIMAL")):
            raise DorisError(f"Column[{name}] type[{column.type.sql}] cannot be a range partition key.")
        if spec.auto and spec.kind == "RANGE" and column.nullable:
            raise DorisError("AUTO RANGE PARTITION doesn't support NULL column")
        columns.append(column.name)
    if spec.auto and spec.kind == "RANGE":
        if not spec.unit:
            raise DorisError("auto create partition only support one slotRef in function expr: date_trunc")
        if spec.unit not in _TRUNC_UNITS:
            raise DorisError(
                f"auto partition by range only support date_trunc with one of {', '.join(_TRUNC_UNITS)}"
            )
    return Partitioning(spec.kind, tuple(columns), (), spec.auto, spec.unit)


def _check_sequence(table: Table) -> None:
    given = table.properties.get("function_column.sequence_col")
    if given is None and not table.hidden:
        return
    if table.model != "UNIQUE":
        raise DorisError("sequence column only support UNIQUE_KEYS")
    if given is not None and table.hidden:
        raise DorisError("The sequence_col and sequence_type cannot be set at the same time")
    name = given or SEQUENCE_COLUMN
    column = table.find(name)
    if column is None:
        raise DorisError(f"The sequence column[{name}] not exists")
    if column.type.name not in (*INTEGERS, "DATE", "DATETIME"):
        raise DorisError("Sequence type only support integer types and date types")
