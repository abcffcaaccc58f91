"""The configuration of the layer of events in a Django project."""

from typing import Any

import psycopg
from django.db import connections, router

from dbint.django import conf
from dbint.errors import ConfigurationError
from dbint.events.config import DatabaseConfig, TableRetention

# What Django's backend and the layer each decide for themselves.
_NOT_HANDED_ON = frozenset({"application_name", "connect_timeout", "password", "user", "dbname"})

LEDGER_SCHEMA = "dbint"


def database_config() -> DatabaseConfig:
    """The server is that of the alias in which TraceEvent lives; the rest is ``DBINT["EVENTS"]``.

    The environment's variables win over the latter. Raises ConfigurationError.
    """
    from dbint.django.observability.models import TraceEvent

    alias = router.db_for_write(TraceEvent)
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise ConfigurationError(
            f"{TraceEvent._meta.label} lives in the database {alias!r}, which is no PostgreSQL: "
            f'route it to one, by DBINT["ROUTING"]["apps"]["{TraceEvent._meta.app_label}"]'
        )
    entry = connection.settings_dict
    settings: dict[str, Any] = dict(conf.get_settings().events)
    if tables := settings.get("retention_tables"):
        settings["retention_tables"] = {name: TableRetention(**rule) for name, rule in tables.items()}
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()} - _NOT_HANDED_ON
    return DatabaseConfig.resolve(
        settings,
        host=entry["HOST"],
        port=int(entry["PORT"] or 5432),
        database=entry["NAME"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        options={key: str(value) for key, value in entry["OPTIONS"].items() if key in known},
    )
