"""A table of dbint's own for each alias: made by the schema editor, dropped whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps.registry import Apps
from django.conf import settings
from django.db import DatabaseError, models
from django.db.backends.base.base import BaseDatabaseWrapper

from dbint.django.verification.access import clean_up_connection
from dbint.verify import values
from dbint.verify.probe import Scope
from dbint.verify.scratch import is_stale, scratch_name


def make_model(table: str) -> type[models.Model]:
    """A model over ``table`` with a column for each kind of value in `dbint.verify.values`.

    It lives in a registry of its own: the project's apps, migrations and routers never hear of it.
    """
    meta = type("Meta", (), {"app_label": "dbint_verification", "db_table": table, "apps": Apps()})
    attributes: dict[str, Any] = {
        "__module__": __name__,
        "Meta": meta,
        "id": models.BigAutoField(primary_key=True),
        "name": models.CharField(max_length=64),
        "words": models.TextField(null=True),
        "small": models.IntegerField(null=True),
        "big": models.BigIntegerField(null=True),
        "ratio": models.FloatField(null=True),
        "amount": models.DecimalField(
            max_digits=values.AMOUNT_DIGITS, decimal_places=values.AMOUNT_PLACES, null=True
        ),
        "flag": models.BooleanField(null=True),
        "day": models.DateField(null=True),
        "moment": models.DateTimeField(null=True),
        "code": models.UUIDField(null=True),
        "document": models.JSONField(null=True),
    }
    return type("Scratch", (models.Model,), attributes)


def columns() -> tuple[str, ...]:
    """The columns that carry values."""
    return tuple(name for name in values.rows()[0] if name != "name")


def project_rows(connection: BaseDatabaseWrapper) -> list[dict[str, Any]]:
    """The rows of `dbint.verify.values`, as this project and this database can store them."""
    rows = values.rows()
    for row in rows:
        if row["moment"] is not None and not settings.USE_TZ:
            row["moment"] = row["moment"].replace(tzinfo=None)
        if row["amount"] is not None and connection.vendor == "sqlite":
            # SQLite keeps decimals as doubles: 15 digits are what it can hold.
            row["amount"] = row["amount"] % 10_000
    return rows


@contextmanager
def scratch_table(
    connection: BaseDatabaseWrapper, scope: Scope, prefix: str, suffix: str = ""
) -> Iterator[type[models.Model]]:
    """A new table of `make_model` on ``connection``; its removal is left to the scope's clean-up."""
    alias = connection.alias
    scope.doing("old scratch tables to be dropped")
    scope.details.setdefault("leftovers_removed", []).extend(remove_leftovers(connection, prefix))
    table = scratch_name(prefix, suffix)
    model = make_model(table)

    def drop() -> None:
        with clean_up_connection(alias) as fresh:
            if table in fresh.introspection.table_names():
                with fresh.schema_editor() as editor:
                    editor.delete_model(model)

    scope.defer(f"table {table} on {alias}", drop)
    scope.doing(f"CREATE TABLE {table}")
    with connection.schema_editor() as editor:
        editor.create_model(model)
    yield model


def remove_leftovers(connection: BaseDatabaseWrapper, prefix: str) -> list[str]:
    """Drops what killed runs left: tables of exactly our shape that are more than an hour old."""
    removed = []
    for table in connection.introspection.table_names():
        if is_stale(table, prefix):
            try:
                with connection.schema_editor() as editor:
                    editor.delete_model(make_model(table))
            except DatabaseError:
                # The probe beside this one, or another run, may have dropped it meanwhile.
                if table in connection.introspection.table_names():
                    raise
            else:
                removed.append(table)
    return removed


def leftovers_note(scope: Scope) -> str:
    """For the end of a message: what a killed run had left, if anything."""
    removed = scope.details.get("leftovers_removed")
    return f"; removed {len(removed)} left by killed runs: {', '.join(removed)}" if removed else ""
