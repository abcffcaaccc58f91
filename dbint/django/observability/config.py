"""The configuration of the layer of events in a Django project."""

from typing import Any

import psycopg
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.utils.connection import ConnectionDoesNotExist

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


def check_events(**_options: Any) -> list[checks.CheckMessage]:
    """E050: the layer of events cannot be configured as the settings and the environment say.

    W051: the database's user is named as the ledger's schema.
    """
    try:
        config = database_config()
    except ImproperlyConfigured:
        return []  # E002 and E003 have it
    except (ConfigurationError, ConnectionDoesNotExist) as error:
        return [
            checks.Error(
                f"The layer of events cannot be configured: {error}",
                hint='docs/events.md lists the keys of DBINT["EVENTS"] and the variables.',
                id="dbint.E050",
            )
        ]
    if config.user == LEDGER_SCHEMA:
        return [
            checks.Warning(
                f'The user "{config.user}" has the name of the schema that the ledger of events is in: '
                "PostgreSQL looks there first, and makes new tables there.",
                hint="Take another user, or set its search path: ALTER ROLE dbint SET search_path TO public.",
                id="dbint.W051",
            )
        ]
    return []
