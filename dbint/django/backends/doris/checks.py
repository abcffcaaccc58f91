"""System checks of models that live on Doris. They run with ``check --database ALIAS`` and before
``migrate``.
"""

# ruff: noqa: ARG001 - these signatures are Django's

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import DatabaseError, NotSupportedError, connections, router
from django.db.models import Index, Model, UniqueConstraint

from dbint.django.backends.doris.gates import lacking
from dbint.django.backends.doris.indexes import (
    BloomFilterIndex,
    DorisIndex,
    InvertedIndex,
    NgramBloomFilterIndex,
    bloom_filter_fields,
)
from dbint.django.backends.doris.partitions import (
    AutoRange,
    ListPartitions,
    PartitionBy,
    RangePartitions,
)
from dbint.django.backends.doris.table import DorisTable, table_options
from dbint.django.backends.doris.types import NO_KEY_TYPES
from dbint.doris.show_create import TableDefinition, partition_shape

_WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT")
_NUMBERS = (*_WHOLE_NUMBERS, "FLOAT", "DOUBLE", "DECIMAL")
_TIMES = ("DATE", "DATETIME")  # a prefix of the other; spelled out for the reader
_TEXTS = ("CHAR", "VARCHAR", "STRING", "TEXT")


@checks.register(checks.Tags.database)
def check_doris_models(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """All models whose tables belong on one of the Doris databases, and the databases' settings."""
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor != "doris":
            continue
        found += check_settings(connection)
        for config in app_configs or apps.get_app_configs():
            for model in router.get_migratable_models(config, alias):
                if model._meta.managed:
                    found += check_model(model, connection)
    return found


def check_settings(connection: Any) -> list[checks.CheckMessage]:
    """What the entry of DATABASES promises and Doris does not keep."""
    if not connection.settings_dict.get("ATOMIC_REQUESTS"):
        return []
    if connection.option("atomic") == "batch":
        return [
            checks.Warning(
                f"ATOMIC_REQUESTS of database {connection.alias!r}: with OPTIONS['atomic'] = 'batch' a view "
                "cannot read from it after its first write.",
                hint="Set it to False, and use atomic() around the writes.",
                id="dbint.doris.W004",
            )
        ]
    return [
        checks.Warning(
            f"ATOMIC_REQUESTS of database {connection.alias!r}: Doris cannot roll back what a view wrote.",
            hint="Set it to False: a failed request leaves its writes either way.",
            id="dbint.doris.W004",
        )
    ]


def check_model(model: type[Model], connection: Any) -> list[checks.CheckMessage]:
    """One model: its options, its key, its constraints, and the table that is there already."""
    try:
        table = table_options(model)
        key, distribution = key_fields(model, table), distribution_fields(model, table)
        partition = partition_fields(model, table)
    except (ImproperlyConfigured, FieldDoesNotExist) as error:
        return [checks.Error(str(error), obj=model, id="dbint.doris.E003")]
    lenient = connection.option("lenient_models", False)
    return [
        *_check_features(model, table, connection),
        *_check_key(model, table, key, distribution, connection),
        *_check_aggregates(model, table, key, connection),
        *_check_partitions(model, table, key, partition, connection),
        *_check_constraints(model, table, key, lenient=lenient),
        *_check_indexes(model, table, connection, lenient=lenient),
        *_check_foreign_keys(model),
        *_check_existing_table(model, table, key, distribution, connection),
    ]


def concrete_fields(model: type[Model]) -> list[Any]:
    """The fields that are columns of the model's own table."""
    return [field for field in model._meta.local_concrete_fields if field.column is not None]


def key_fields(model: type[Model], table: DorisTable) -> list[Any]:
    """The fields of the table's key, in order. Raises FieldDoesNotExist."""
    meta: Any = model._meta
    return [meta.get_field(name) for name in table.key] or list(meta.pk_fields)


def distribution_fields(model: type[Model], table: DorisTable) -> list[Any]:
    """The fields that are hashed to buckets; empty for RANDOM. Raises FieldDoesNotExist."""
    if table.distributed_by == "RANDOM":
        return []
    meta: Any = model._meta
    if table.distributed_by:
        return [meta.get_field(name) for name in table.distributed_by]
    key = key_fields(model, table)
    wanted = [field for field in meta.pk_fields if field in key]
    return wanted or key[:1]


def partition_fields(model: type[Model], table: DorisTable) -> list[Any]:
    """The fields of partitions that are given as objects. Raises FieldDoesNotExist."""
    meta: Any = model._meta
    if not isinstance(table.partition_by, PartitionBy):
        return []
    return [meta.get_field(name) for name in table.partition_by.columns()]


def _kind(field: Any, connection: Any) -> str:
    """The field's type, upper case; "" where there is none (which other checks report)."""
    try:
        return (field.db_type(connection) or "").upper()
    except NotSupportedError:
        return ""


def _check_features(model: type[Model], table: DorisTable, connection: Any) -> Iterator[checks.CheckMessage]:
    features = table.features()
    for index in model._meta.indexes:
        features += index.features() if isinstance(index, DorisIndex) else []
    try:
        found = lacking(connection, features)
    except DatabaseError:
        return  # unreachable: migrate itself says so
    for text in found:
        yield checks.Error(f"{text}.", obj=model, id="dbint.doris.E012")


def _check_key(
    model: type[Model], table: DorisTable, key: list[Any], distribution: list[Any], connection: Any
) -> Iterator[checks.CheckMessage]:
    for field in key:
        if not field.concrete or field.column is None:
            yield checks.Error(
                f"{field.name} cannot be in the table's key: it has no column.",
                obj=model,
                id="dbint.doris.E004",
            )
            continue
        kind = _kind(field, connection)
        if kind.startswith(NO_KEY_TYPES):
            yield checks.Error(
                f"{field.name} is {kind}, which cannot be in a table's key.",
                obj=field,
                hint="Keys are numbers, dates, booleans or a CharField with max_length.",
                id="dbint.doris.E005",
            )
    if table.has_unique_key:
        outside = [field.name for field in distribution if field not in key]
        if outside:
            yield checks.Error(
                f"distributed_by names {', '.join(outside)}, which is not in the key of the "
                f"{table.key_model} table.",
                obj=model,
                id="dbint.doris.E006",
            )
        missing = [field.name for field in model._meta.pk_fields if field not in key]
        if missing and not model._meta.auto_created:
            yield checks.Error(
                f"The key of the {table.key_model} table lacks the primary key ({', '.join(missing)}): rows "
                "would be replaced though their primary keys differ.",
                obj=model,
                hint="Add it to DorisTable(key=…).",
                id="dbint.doris.E007",
            )
    if table.sequence_column:
        yield from _check_sequence_column(model, table, connection)


def _check_sequence_column(
    model: type[Model], table: DorisTable, connection: Any
) -> Iterator[checks.CheckMessage]:
    field = next((f for f in concrete_fields(model) if f.name == table.sequence_column), None)
    if field is None:
        yield checks.Error(
            f"sequence_column {table.sequence_column!r} is no field of the model.",
            obj=model,
            id="dbint.doris.E003",
        )
    elif not _kind(field, connection).startswith((*_WHOLE_NUMBERS, *_TIMES)):
        yield checks.Error(
            f"sequence_column {field.name} is {_kind(field, connection)}: Doris compares whole numbers, "
            "dates and date-times only.",
            obj=field,
            id="dbint.doris.E014",
        )


# -- aggregates


def aggregate_problem(table: DorisTable, field: Any, kind: str) -> str:
    """Why a field cannot be a value of the AGGREGATE table, "" if it can. ``kind`` is its type."""
    function, kind = (table.aggregates or {}).get(field.name), kind.upper()
    if function is None:
        return "DorisTable(aggregates=…) does not say how it adds up"
    if kind.startswith("VARIANT"):
        return "a VARIANT cannot be a value of an AGGREGATE table"
    if function == "SUM" and not kind.startswith(_NUMBERS):
        return f"a SUM of {kind} means nothing"
    if function in ("MIN", "MAX") and not kind.startswith((*_NUMBERS, *_TIMES, *_TEXTS)):
        return f"{kind} has no {function} in an AGGREGATE table"
    if function == "REPLACE_IF_NOT_NULL" and not field.null:
        return "REPLACE_IF_NOT_NULL needs a field with null=True"
    return ""


def _check_aggregates(
    model: type[Model], table: DorisTable, key: list[Any], connection: Any
) -> Iterator[checks.CheckMessage]:
    if table.aggregates is None:
        return
    names = {field.name for field in concrete_fields(model)}
    for name in table.aggregates:
        if name not in names or name in {field.name for field in key}:
            what = "is in the key" if name in names else "is no field of the model"
            yield checks.Error(f"aggregates: {name!r} {what}.", obj=model, id="dbint.doris.E003")
    for field in concrete_fields(model):
        if field not in key and (problem := aggregate_problem(table, field, _kind(field, connection))):
            yield checks.Error(f"{field.name}: {problem}.", obj=field, id="dbint.doris.E013")
    if table.distributed_by == "RANDOM" and any(
        function.startswith("REPLACE") for function in table.aggregates.values()
    ):
        yield checks.Error(
            "A field that is replaced needs all rows of a key in one bucket: distributed_by is not RANDOM.",
            obj=model,
            id="dbint.doris.E013",
        )


# -- partitions


def _check_partitions(
    model: type[Model], table: DorisTable, key: list[Any], fields: list[Any], connection: Any
) -> Iterator[checks.CheckMessage]:
    def error(field: Any, text: str) -> checks.CheckMessage:
        return checks.Error(f"partition_by: {field.name} {text}.", obj=model, id="dbint.doris.E015")

    by = table.partition_by
    if isinstance(by, str) and table.has_unique_key:
        columns = {field.column.lower() for field in key if field.column}
        outside = [name for name in partition_shape(by).columns if name.lower() not in columns]
        if outside:
            yield checks.Error(
                f"partition_by: {', '.join(outside)} is not in the key of the {table.key_model} table.",
                obj=model,
                id="dbint.doris.E015",
            )
    for field in fields:
        kind = _kind(field, connection)
        if table.has_unique_key and field not in key:
            yield error(field, f"is not in the key of the {table.key_model} table")
        if isinstance(by, AutoRange):
            if not kind.startswith(_TIMES):
                yield error(field, f"is {kind}: AutoRange takes a date or date-time")
            elif kind == "DATE" and by.unit == "hour":
                yield error(field, "is a date, which has no hours")
            if field.null:
                yield error(field, "can be null, which AutoRange does not take")
        elif isinstance(by, RangePartitions):
            if not kind.startswith((*_WHOLE_NUMBERS, *_TIMES)):
                yield error(field, f"is {kind}: ranges are of whole numbers, dates and date-times")
            elif by.dynamic is not None and not kind.startswith(_TIMES):
                yield error(field, f"is {kind}: dynamic partitions are of dates and date-times")
            elif by.dynamic is not None and kind == "DATE" and by.dynamic.time_unit.upper() == "HOUR":
                yield error(field, "is a date, which has no hours")
        elif not kind.startswith((*_WHOLE_NUMBERS, *_TIMES, "BOOLEAN", "CHAR", "VARCHAR")):
            what = "ListPartitions" if isinstance(by, ListPartitions) else "AutoList"
            yield error(field, f"is {kind}: {what} takes whole numbers, dates, booleans and short text")


# -- constraints and indexes


def unsupported_constraints(model: type[Model], table: DorisTable, key: list[Any]) -> list[str]:
    """The uniqueness that the model asks for and that is not the table's key, in words."""
    keys = {field.name for field in key} if table.has_unique_key else set()
    found = [
        f"{field.name} (unique=True)"
        for field in model._meta.local_concrete_fields
        if field.unique and not field.primary_key and {field.name} != keys
    ]
    found += [
        f"unique_together ({', '.join(names)})" for names in model._meta.unique_together if set(names) != keys
    ]
    found += [
        f"constraint {constraint.name}"
        for constraint in model._meta.constraints
        if isinstance(constraint, UniqueConstraint)
        and (set(constraint.fields) != keys or constraint.condition is not None)
    ]
    return found


def _check_constraints(
    model: type[Model], table: DorisTable, key: list[Any], *, lenient: bool
) -> Iterator[checks.CheckMessage]:
    """Errors, or warnings where ``OPTIONS["lenient_models"]`` takes models as they are."""
    kind, letter = (checks.Warning, "W") if lenient else (checks.Error, "E")
    for text in unsupported_constraints(model, table, key):
        yield kind(
            f"Doris has no unique constraints beside the key of a UNIQUE table: {text}.",
            obj=model,
            hint="Only full_clean() looks for it."
            if lenient
            else "Make these fields the key, DorisTable(key=…), or drop the constraint.",
            id=f"dbint.doris.{letter}008",
        )


def is_possible_index(index: Index) -> bool:
    """Whether ``index`` can be an index of Doris."""
    return (
        (len(index.fields) == 1 or isinstance(index, BloomFilterIndex))
        and not index.expressions
        and index.condition is None
        and not index.include
        and not index.opclasses
    )


def index_problem(model: type[Model], table: DorisTable, index: Index, connection: Any) -> str:
    """Why the columns of a possible index cannot have it, "" if they can."""
    meta: Any = model._meta
    kind_of_index = index if isinstance(index, DorisIndex) else _PLAIN
    key = {field.name for field in key_fields(model, table)}
    for name, _ in index.fields_orders:
        field = meta.get_field(name)
        if problem := kind_of_index.refuses(_kind(field, connection)):
            return f"the index {index.name} on {name}: {problem}"
        if table.key_model == "AGGREGATE" and field.name not in key:
            return f"the index {index.name} on {name}: in an AGGREGATE table only key columns are indexed"
        others = (i for i in meta.indexes if isinstance(i, NgramBloomFilterIndex) and i is not index)
        if isinstance(index, BloomFilterIndex) and any(name in other.fields for other in others):
            return (
                f"{name} has a NgramBloomFilterIndex too, and Doris takes one kind of bloom filter a column"
            )
    if isinstance(index, BloomFilterIndex) and "bloom_filter_columns" in (table.properties or {}):
        return f"{index.name}: bloom filters are said twice, in DorisTable(properties=…) too"
    return ""


_PLAIN = InvertedIndex(fields=["plain"], name="plain")


def _check_indexes(
    model: type[Model], table: DorisTable, connection: Any, *, lenient: bool
) -> Iterator[checks.CheckMessage]:
    kind, letter = (checks.Warning, "W") if lenient else (checks.Error, "E")
    for index in model._meta.indexes:
        if not is_possible_index(index):
            yield kind(
                f"Doris cannot make the index {index.name}: its secondary indexes have one column and no "
                "conditions.",
                obj=model,
                hint="It is left out."
                if lenient
                else "The table is sorted by its key: put the fields there (DorisTable(key=…)) or drop it.",
                id=f"dbint.doris.{letter}009",
            )
        elif problem := index_problem(model, table, index, connection):
            yield kind(
                f"{problem}.",
                obj=model,
                hint="It is left out." if lenient else None,
                id=f"dbint.doris.{letter}009",
            )


def _check_foreign_keys(model: type[Model]) -> Iterator[checks.CheckMessage]:
    for column in model._meta.local_fields:
        if column.remote_field is not None and getattr(column, "db_constraint", False):
            yield checks.Warning(
                "Doris has no foreign keys: nothing keeps the row that this field points to.",
                obj=column,
                hint="Say so with db_constraint=False.",
                id="dbint.doris.W001",
            )


# -- the table that is there


def _check_existing_table(
    model: type[Model], table: DorisTable, key: list[Any], distribution: list[Any], connection: Any
) -> Iterator[checks.CheckMessage]:
    """Where the table differs from the model: makemigrations sees no difference, so it is said here."""
    try:
        with connection.cursor() as cursor:
            name = model._meta.db_table
            if name not in connection.introspection.table_names(cursor):
                return
            actual: TableDefinition = connection.introspection.table_definition(cursor, name)
    except DatabaseError:
        return  # unreachable, or no table of ours: other checks and migrate itself say so
    columns = {field.name: field.column for field in concrete_fields(model)}
    clause = table.partition_clause(lambda name: f"`{columns.get(name, name)}`")
    differences = [
        ("key_model", table.key_model, actual.key_model),
        ("key", [field.column for field in key], actual.key),
        ("distributed_by", [field.column for field in distribution], actual.distributed_by),
        ("partition_by", partition_shape(clause), partition_shape(actual.partition_by)),
        (
            "sequence_column",
            columns.get(table.sequence_column, ""),
            actual.properties.get("function_column.sequence_col", ""),
        ),
    ]
    differences += [
        (f"the aggregate of {name}", function, column.aggregate)
        for name, function in (table.aggregates or {}).items()
        if (column := actual.column(columns.get(name, ""))) is not None
    ]
    for what, wanted, present in differences:
        if wanted != present:
            yield checks.Error(
                f"DorisTable: {what} is {wanted or 'nothing'} in the model and {present or 'nothing'} in the "
                f"table {model._meta.db_table}.",
                obj=model,
                hint="Doris cannot change it. Put the model back, or make a new table, copy the rows by "
                "INSERT INTO … SELECT, and rename.",
                id="dbint.doris.E011",
            )
    for text in _changeable_differences(model, table, actual, columns):
        yield checks.Warning(
            f"{text} in the table {model._meta.db_table}.",
            obj=model,
            hint='Change it by a migration: AlterTable("'
            f'{model.__name__}", DorisTable(…)) of dbint.django.backends.doris.migrations.',
            id="dbint.doris.W003",
        )


def _changeable_differences(
    model: type[Model], table: DorisTable, actual: TableDefinition, columns: dict[str, str]
) -> Iterator[str]:
    shown = actual.properties
    for name, value in table.all_properties().items():
        present = shown.get(name)
        if present is None and not name.startswith("dynamic_partition."):
            continue  # Doris does not show every property
        if (present or "").lower() != value.lower():
            yield f"The property {name} is {value!r} in the model and {present or 'nothing'!r}"
    filtered = bloom_filter_fields(model._meta.indexes)
    if filtered:
        wanted = {columns[name] for name in filtered if name in columns}
        present_columns = {part.strip() for part in shown.get("bloom_filter_columns", "").split(",")} - {""}
        if wanted != present_columns:
            yield (
                f"Bloom filters are on {', '.join(sorted(wanted))} in the model and on "
                f"{', '.join(sorted(present_columns)) or 'nothing'}"
            )
