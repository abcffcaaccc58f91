"""Rows of a Django model as events: taken at once, kept in the journal, landed by COPY, once each.

    visits = for_model(Visit)
    visits.write_sync(path="/", visitor_id=7)

It is for tables that are written much and read later. No object is made, no signal is sent, validators and
``save()`` do not run; the table's own constraints hold, and a row that they refuse becomes a dead letter.
"""

from typing import Any, Literal

from django.db import connections, models, router

from dbint._core import BatchWriter, Stream
from dbint.errors import ConfigurationError, InterfaceError
from dbint.events.process import get_database_layer

Fill = Literal["null", "uuid7", "now"]


def for_model(model: type[models.Model], *, writer: BatchWriter | None = None, **options: Any) -> Stream:
    """The stream into the table of ``model``; its fields are the model's columns (``author_id``).

    An event gives what the model requires. What it leaves out is filled: ``uuid7`` where a UUIDField has a
    default, ``now`` where a DateTimeField has auto_now or auto_now_add, NULL where the field allows it. Keys
    that the database counts up, generated columns and those with ``db_default`` are the database's: they are
    no fields of the stream. Other defaults of Python are not applied, and such a field must be given. Values
    are taken strictly (docs/values.md): an address is one of module ipaddress, not a text.

    ``writer``: default is that of the process's own layer, whose database the model's must then be.
    ``options`` are those of ``BatchWriter.stream``. Raises ConfigurationError, which names the model and the
    field, for a model that lives elsewhere or has a column that cannot be encoded.
    """
    alias = router.db_for_write(model)
    connection = connections[alias]
    label = model._meta.label
    if connection.vendor != "postgresql":
        raise ConfigurationError(
            f"{label} lives in {alias!r}, which is no PostgreSQL: events cannot land there"
        )
    if model._meta.parents:
        raise ConfigurationError(f"{label} inherits the table of another model: one event would be two rows")
    if writer is None:
        layer = get_database_layer()
        settings = connection.settings_dict
        here = (settings["HOST"] or "localhost", int(settings["PORT"] or 5432), settings["NAME"])
        config = layer.config
        if here != (config.host or "localhost", config.port, config.database):
            raise ConfigurationError(
                f"{label} lives in {alias!r} ({here[2]} at {here[0]}:{here[1]}), the layer writes to "
                f"{config.database} at {config.host}:{config.port}: give a writer of its own"
            )
        writer = layer.writer
    columns: dict[str, str] = {}
    fill: dict[str, Fill] = {}
    for field in model._meta.local_concrete_fields:
        if _is_the_databases(field):
            continue
        kind = field.db_type(connection)
        if kind is None:
            continue  # it is made of other columns
        columns[field.column] = kind if field.null else f"{kind} not null"
        if filled := _fill(field):
            fill[field.column] = filled
    options.setdefault("name", label.lower())
    try:
        return writer.stream(_table(model), columns=columns, fill=fill, **options)
    except (ConfigurationError, InterfaceError) as error:
        raise ConfigurationError(f"{label}: {error}") from None


def _table(model: type[models.Model]) -> str:
    """``schema.table`` as streams take it; Django's trick for another schema is '"schema"."table"'."""
    table = model._meta.db_table
    return table.strip('"').replace('"."', ".") if '"."' in table else table


def _is_the_databases(field: "models.Field[Any, Any]") -> bool:
    given: Any = field
    return isinstance(field, models.AutoField | models.BigAutoField | models.SmallAutoField) or (
        given.generated or given.has_db_default()
    )


def _fill(field: "models.Field[Any, Any]") -> Fill | None:
    if isinstance(field, models.UUIDField) and callable(field.default):
        return "uuid7"
    if isinstance(field, models.DateTimeField) and (field.auto_now or field.auto_now_add):
        return "now"
    return "null" if field.null else None
