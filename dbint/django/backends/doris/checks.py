"""System checks of models that live on Doris. They run with ``check --database ALIAS`` and before
``migrate``.
"""

# ruff: noqa: ARG001 - these signatures are Django's

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import DatabaseError, connections, router
from django.db.models import Index, Model, UniqueConstraint

from dbint.django.backends.doris.ddl import TableDefinition
from dbint.django.backends.doris.table import DorisTable, table_options
from dbint.django.backends.doris.types import NO_KEY_TYPES


@checks.register(checks.Tags.database)
def check_doris_models(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """All models whose tables belong on one of the Doris databases."""
    found: list[checks.CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor != "doris":
            continue
        for config in app_configs or apps.get_app_configs():
            for model in router.get_migratable_models(config, alias):
                if model._meta.managed:
                    found += check_model(model, connection)
    return found


def check_model(model: type[Model], connection: Any) -> list[checks.CheckMessage]:
    """One model: its options, its key, its constraints, and the table that is there already."""
    try:
        table = table_options(model)
        key, distribution = key_fields(model, table), distribution_fields(model, table)
    except (ImproperlyConfigured, FieldDoesNotExist) as error:
        return [checks.Error(str(error), obj=model, id="dbint.doris.E003")]
    return [
        *_check_key(model, table, key, distribution, connection),
        *_check_constraints(model, table, key, lenient=connection.option("lenient_models", False)),
        *_check_foreign_keys(model),
        *_check_existing_table(model, table, key, distribution, connection),
    ]


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
        kind = (field.db_type(connection) or "").upper()
        if kind.startswith(NO_KEY_TYPES):
            yield checks.Error(
                f"{field.name} is {kind}, which cannot be in a table's key.",
                obj=field,
                hint="Keys are numbers, dates, booleans or a CharField with max_length.",
                id="dbint.doris.E005",
            )
    if table.key_model == "UNIQUE":
        outside = [field.name for field in distribution if field not in key]
        if outside:
            yield checks.Error(
                f"distributed_by names {', '.join(outside)}, which is not in the key of the UNIQUE table.",
                obj=model,
                id="dbint.doris.E006",
            )
        missing = [field.name for field in model._meta.pk_fields if field not in key]
        if missing:
            yield checks.Error(
                f"The key of the UNIQUE table lacks the primary key ({', '.join(missing)}): rows would be "
                "replaced though their primary keys differ.",
                obj=model,
                hint="Add it to DorisTable(key=…).",
                id="dbint.doris.E007",
            )
    if table.sequence_column:
        names = {field.name for field in model._meta.local_concrete_fields}
        if table.sequence_column not in names:
            yield checks.Error(
                f"sequence_column {table.sequence_column!r} is no field of the model.",
                obj=model,
                id="dbint.doris.E003",
            )


def unsupported_constraints(model: type[Model], table: DorisTable, key: list[Any]) -> list[str]:
    """The uniqueness that the model asks for and that is not the table's key, in words."""
    keys = {field.name for field in key} if table.key_model == "UNIQUE" else set()
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
    for index in model._meta.indexes:
        if not is_inverted_index(index):
            yield kind(
                f"Doris cannot make the index {index.name}: its secondary indexes have one column and no "
                "conditions.",
                obj=model,
                hint="It is left out."
                if lenient
                else "The table is sorted by its key: put the fields there (DorisTable(key=…)) or drop it.",
                id=f"dbint.doris.{letter}009",
            )


def is_inverted_index(index: Index) -> bool:
    """Whether ``index`` can be an inverted index of Doris."""
    return (
        len(index.fields) == 1
        and not index.expressions
        and index.condition is None
        and not index.include
        and not index.opclasses
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


def _check_existing_table(
    model: type[Model], table: DorisTable, key: list[Any], distribution: list[Any], connection: Any
) -> Iterator[checks.CheckMessage]:
    """Doris cannot change these of a table, and makemigrations sees no difference: say so here."""
    try:
        with connection.cursor() as cursor:
            name = model._meta.db_table
            if name not in connection.introspection.table_names(cursor):
                return
            actual: TableDefinition = connection.introspection.table_definition(cursor, name)
    except DatabaseError:
        return  # unreachable, or no table of ours: other checks and migrate itself say so
    differences = [
        (what, wanted, present)
        for what, wanted, present in (
            ("key_model", table.key_model, actual.key_model),
            ("key", [field.column for field in key], actual.key),
            ("distributed_by", [field.column for field in distribution], actual.distributed_by),
        )
        if wanted != present
    ]
    for what, wanted, present in differences:
        yield checks.Error(
            f"DorisTable: {what} is {wanted} in the model and {present} in the table {model._meta.db_table}.",
            obj=model,
            hint="Doris cannot change it. Put the model back, or make a new table, copy the rows by "
            "INSERT INTO … SELECT, and rename.",
            id="dbint.doris.E011",
        )


def concrete_fields(model: type[Model]) -> list[Any]:
    """The fields that are columns of the model's own table."""
    return [field for field in model._meta.local_concrete_fields if field.column is not None]
