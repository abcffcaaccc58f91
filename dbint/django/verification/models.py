"""The project's models against the tables that are really there. Looks, never touches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from dbint.django.verification.access import private_connection
from dbint.django.verification.column_types import type_differences
from dbint.django.verification.connection import DatabaseProbe
from dbint.verify.probe import ProbeFailed, ProbeNotConfigured, Scope


def concrete_models() -> list[type[models.Model]]:
    """Every model of the project that has a table of its own, many-to-many tables among them."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy and not model._meta.swapped
    ]


def models_of(alias: str) -> list[type[models.Model]]:
    """The models whose tables live on ``alias``: the routers let them migrate there and write there."""
    return [
        model
        for model in concrete_models()
        if router.allow_migrate_model(alias, model) and router.db_for_write(model) == alias
    ]


@dataclass(frozen=True, kw_only=True)
class ModelsProbe(DatabaseProbe):
    """Tables, columns, types, nullability, indexes and constraints; and migrations that wait."""

    group: str = "models"
    deadline: float = 15.0

    def run(self, scope: Scope) -> str:
        mine = models_of(self.alias)
        if not mine:
            raise ProbeNotConfigured(f"no model of this project lives on {self.alias}")
        problems: list[str] = []
        with private_connection(self.alias, scope) as connection:
            scope.doing("the list of tables")
            tables = tables_by_schema(connection, {_schema(model._meta.db_table) for model in mine})
            scope.doing("the list of applied migrations")
            pending = pending_migrations(connection)
            inspected, types = 0, 0
            for model in mine:
                table = model._meta.db_table
                if _bare(table) not in tables[_schema(table)]:
                    problems.append(f"{model._meta.label}: table {table} does not exist")
                    continue
                scope.doing(f"the columns of {table}")
                look_into(connection, _schema(table))
                problems += column_problems(connection, model)
                inspected += 1
                if model._meta.managed:
                    compared, wrong = type_differences(connection, model)
                    types += compared
                    problems += wrong
                    scope.doing(f"the indexes of {table}")
                    problems += index_problems(connection, model)
        scope.details.update(
            tables=sorted(model._meta.db_table for model in mine),
            pending_migrations=pending,
            problems=problems,
            column_types_compared=types,
        )
        if pending or problems:
            raise ProbeFailed(self.summary(pending, problems), self.steps(pending, problems, mine))
        return (
            f"{inspected} tables, {types} column types and their indexes are as the models say; "
            "no migration waits"
        )

    def summary(self, pending: list[str], problems: list[str]) -> str:
        parts = []
        if pending:
            # Their tables are missing because of it; that is not a second problem.
            missing = [problem for problem in problems if problem.endswith(" does not exist")]
            problems = [problem for problem in problems if problem not in missing]
            parts.append(f"{_some(len(pending), 'migration')} not applied: {_first(pending)}")
        if problems:
            parts.append(f"{_some(len(problems), 'difference')} from the models: {_first(problems, '; ')}")
        return "; ".join(parts)

    def steps(self, pending: list[str], problems: list[str], mine: Iterable[type[models.Model]]) -> list[str]:
        if pending:
            return [
                f"python manage.py migrate --database {self.alias}",
                f"To see the list: python manage.py showmigrations --database {self.alias}",
            ]
        labels = sorted(
            {m._meta.app_label for m in mine if any(p.startswith(m._meta.label) for p in problems)}
        )
        return [
            f"Every migration is applied, so the models or the tables were changed beside them: "
            f"python manage.py makemigrations --dry-run {' '.join(labels)}",
            f"If the tables were changed by hand, put them back: python manage.py sqlmigrate {labels[0]} "
            f"MIGRATION --database {self.alias} shows what they should be."
            if labels
            else "Compare with: python manage.py inspectdb",
        ]


def pending_migrations(connection: BaseDatabaseWrapper) -> list[str]:
    """ "app.name" of each migration that is not applied here and that makes something on this alias."""
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    here = {model._meta.app_label for model in models_of(connection.alias)}
    elsewhere = {model._meta.app_label for model in concrete_models()} - here
    return [
        f"{migration.app_label}.{migration.name}"
        for migration, _ in plan
        # An app without any model may still run SQL; one whose models live elsewhere has nothing to do here.
        if migration.app_label not in elsewhere
    ]


def tables_by_schema(
    connection: BaseDatabaseWrapper, schemas: Iterable[str | None]
) -> dict[str | None, set[str]]:
    """The tables of each schema; None is where names without a schema are found."""
    found = {}
    for schema in schemas:
        look_into(connection, schema)
        with connection.cursor() as cursor:
            found[schema] = {info.name for info in connection.introspection.get_table_list(cursor)}
    look_into(connection, None)
    return found


def look_into(connection: BaseDatabaseWrapper, schema: str | None) -> None:
    """Django's introspection sees what the search path shows: from now on that is this schema."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("RESET search_path")
        if schema is not None:
            cursor.execute(f"SET search_path TO {connection.ops.quote_name(schema)}")


def column_problems(connection: BaseDatabaseWrapper, model: type[models.Model]) -> Iterator[str]:
    """Columns that are missing, and NULLs that one side allows and the other does not."""
    table, label = model._meta.db_table, model._meta.label
    with connection.cursor() as cursor:
        description = connection.introspection.get_table_description(cursor, _bare(table))
        found = {info.name: info for info in description}
    fields = {field.column: field for field in model._meta.local_concrete_fields if field.db_type(connection)}
    for column, field in fields.items():
        if column not in found:
            yield f"{label}.{field.name}: column {column} is missing in {table}"
        elif model._meta.managed and bool(found[column].null_ok) != _nullable(connection, field):
            allows = "allows" if found[column].null_ok else "does not allow"
            yield f"{label}.{field.name}: column {column} {allows} NULL, the model says null={field.null}"
    if model._meta.managed:
        for column in found.keys() - fields.keys():
            if not found[column].null_ok and found[column].default is None and not _generated(model, column):
                yield (
                    f"{label}: column {column} of {table} is NOT NULL and has neither default nor field: "
                    "INSERT fails"
                )


def _nullable(connection: BaseDatabaseWrapper, field: "models.Field[Any, Any]") -> bool:
    # Oracle stores empty strings as NULL, and so Django makes such columns nullable there.
    empty_is_null = connection.features.interprets_empty_strings_as_nulls and field.empty_strings_allowed
    return field.null or (empty_is_null and not field.primary_key)


def _generated(model: type[models.Model], column: str) -> bool:
    """A column that a base class of multi-table inheritance brings along, or the database makes."""
    return any(field.column == column for field in model._meta.concrete_fields)


def index_problems(connection: BaseDatabaseWrapper, model: type[models.Model]) -> Iterator[str]:
    """Primary key, unique constraints, foreign keys and indexes that the model has and the table has not."""
    if connection.vendor == "doris":
        # Uniqueness is the table's own key there. Imported here: a project without Doris wants none of it.
        from dbint.django.verification.doris_tables import table_problems

        yield from table_problems(connection, model)
        return
    features: Any = connection.features
    meta: Any = model._meta
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, _bare(meta.db_table))
    unique = {tuple(entry["columns"]) for entry in found.values() if entry["unique"] or entry["primary_key"]}
    leading = {entry["columns"][0] for entry in found.values() if entry["columns"]}
    names = {name.lower() for name in found}
    for field in meta.local_concrete_fields:
        if field.unique and (field.column,) not in unique and not _composite(field):
            yield f"{meta.label}.{field.name}: no unique index on column {field.column}"
        elif _wants_index(field, features) and field.column not in leading:
            yield f"{meta.label}.{field.name}: no index on column {field.column}"
        if field.remote_field and getattr(field, "db_constraint", False) and features.supports_foreign_keys:
            target = field.target_field
            wanted = (_bare(target.model._meta.db_table), target.column)
            keys = [e["foreign_key"] for e in found.values() if e["columns"] == [field.column]]
            if wanted not in keys:
                yield f"{meta.label}.{field.name}: no foreign key to {wanted[0]}.{wanted[1]}"
    for index in meta.indexes:
        possible = features.supports_partial_indexes or not index.condition
        possible = possible and (features.supports_expression_indexes or not index.expressions)
        if possible and index.name.lower() not in names:
            yield f"{meta.label}: index {index.name} is missing"
    for constraint in meta.constraints:
        if _can_exist(constraint, features) and constraint.name.lower() not in names:
            yield f"{meta.label}: constraint {constraint.name} is missing"
    for together in meta.unique_together:
        columns = tuple(meta.get_field(name).column for name in together)
        if columns not in unique:
            yield f"{meta.label}: no unique index on columns {', '.join(columns)}"


def _wants_index(field: Any, features: Any) -> bool:
    return bool(field.db_index and (features.indexes_foreign_keys or not field.remote_field))


def _can_exist(constraint: Any, features: Any) -> bool:
    if isinstance(constraint, models.CheckConstraint):
        return bool(features.supports_table_check_constraints and features.can_introspect_check_constraints)
    if isinstance(constraint, models.UniqueConstraint):
        unique: Any = constraint
        return bool(
            (features.supports_partial_indexes or not unique.condition)
            and (features.supports_expression_indexes or not unique.expressions)
            and (features.supports_nulls_distinct_unique_constraints or unique.nulls_distinct is None)
            and (features.supports_deferrable_unique_constraints or not unique.deferrable)
            and (features.supports_covering_indexes or not unique.include)
        )
    return True


def _composite(field: "models.Field[Any, Any]") -> bool:
    return bool(field.primary_key and len(field.model._meta.pk_fields) > 1)


def _bare(table: str) -> str:
    """A table's name as introspection lists it: '"schema"."table"' is the trick for another schema."""
    return table.rpartition('"."')[2].strip('"')


def _schema(table: str) -> str | None:
    """The schema in '"schema"."table"'; None for a plain name."""
    return table.strip('"').partition('"."')[0] if '"."' in table else None


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _first(items: list[str], separator: str = ", ") -> str:
    more = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return separator.join(items[:3]) + more
