"""How probes reach the project's databases: by connections of their own, bounded in time."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from dbint.credentials import default_chain
from dbint.discovery import SERVICES, locate
from dbint.django.conf import get_settings
from dbint.errors import ConfigurationError
from dbint.verify.advice import Target
from dbint.verify.probe import Scope

APPLICATION_NAME = "dbint-verify"

# How discovery's table calls the vendors of Django's backends.
_SERVICES = {"postgresql": "postgres"}


def service_of(alias: str) -> str:
    """The service behind ``alias``: "postgres", "doris", or the backend's vendor name."""
    vendor = connections[alias].vendor
    return _SERVICES.get(vendor, vendor)


def is_configured(alias: str) -> bool:
    """False for the dummy backend that Django puts where DATABASES is empty."""
    return connections[alias].vendor != "unknown"


def target_of(alias: str) -> Target:
    """What ``alias`` speaks to, and where its address and credentials came from, in words."""
    settings = connections[alias].settings_dict
    service = service_of(alias)
    host, port = str(settings.get("HOST") or ""), settings.get("PORT")
    address_from, credentials_from = _origins(alias, service, settings)
    row = SERVICES.get(service)
    name = settings.get("NAME")
    return Target(
        service=service,
        host=host or ("localhost" if row else str(name)),
        port=int(port) if port else (row.ports[row.main_port].number if row else None),
        address_from=address_from,
        credentials_from=credentials_from,
        alias=alias,
        user=settings.get("USER") or None,
        database=str(name) if name and row else None,
    )


def _origins(alias: str, service: str, settings: dict[str, Any]) -> tuple[str, str]:
    """Discovery and the credential providers answer for what they gave; the rest stands in the settings."""
    address_from = credentials_from = f'settings.DATABASES["{alias}"]'
    if service in SERVICES:
        project = get_settings()
        # An alias that has nothing to do with discovery must not fail over what discovery finds wrong.
        with contextlib.suppress(ConfigurationError):
            endpoint = locate(service, project.services)
            if (endpoint.host, endpoint.port()) == (settings.get("HOST"), _number(settings.get("PORT"))):
                address_from = endpoint.source
        with contextlib.suppress(ConfigurationError):
            chain = default_chain(project.credentials.as_mapping(), project.services)
            given = chain.get(service)
            if given and (given.username, given.password) == (settings.get("USER"), settings.get("PASSWORD")):
                credentials_from = given.source
    return address_from, credentials_from


def _number(port: Any) -> int | None:
    return int(port) if port else None


def is_emulated_here(alias: str) -> bool:
    """Whether the development stack says that the server at this alias' address is an emulator."""
    service, settings = service_of(alias), connections[alias].settings_dict
    if service not in SERVICES:
        return False
    try:
        endpoint = locate(service, get_settings().services)
    except ConfigurationError:
        return False
    same = (endpoint.host, endpoint.port()) == (settings.get("HOST"), _number(settings.get("PORT")))
    return same and bool(endpoint.emulated)


def bounded_copy(alias: str, seconds: float, *, name: str = APPLICATION_NAME) -> BaseDatabaseWrapper:
    """A connection like ``alias``, not yet open, without a pool, whose waits end after ``seconds``."""
    copy = connections[alias].copy()
    settings = copy.settings_dict
    settings["CONN_MAX_AGE"], settings["CONN_HEALTH_CHECKS"] = 0, False
    options = dict(settings.get("OPTIONS", {}))
    if copy.vendor == "postgresql":
        options.pop("pool", None)
        options["application_name"] = name
        # libpq counts whole seconds and takes 1 for 2.
        options["connect_timeout"] = max(math.floor(seconds), 2)
    elif copy.vendor == "doris":
        options |= {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
    settings["OPTIONS"] = options
    return copy


@contextlib.contextmanager
def private_connection(
    alias: str, scope: Scope, *, name: str = APPLICATION_NAME
) -> Iterator[BaseDatabaseWrapper]:
    """While inside, ``alias`` is in this thread the probe's own connection, which an abort breaks off."""
    connection = bounded_copy(alias, scope.remaining() * 0.8, name=name)
    with installed(connection), scope.abortable(lambda: break_off(connection)):
        yield connection


@contextlib.contextmanager
def installed(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """While inside, the ORM uses ``connection`` for its alias in this thread; closed in the end."""
    connections[connection.alias] = connection
    try:
        yield connection
    finally:
        del connections[connection.alias]
        # A connection that is already gone is closed.
        with contextlib.suppress(Exception):
            connection.close()


def break_off(connection: BaseDatabaseWrapper) -> None:
    """Ends what ``connection`` is waiting for, from another thread."""
    raw = connection.connection
    # psycopg's connection cancels on the server; PyMySQL's waits end by their own timeouts.
    if raw is not None and hasattr(raw, "cancel_safe"):
        raw.cancel_safe(timeout=1.0)


def clean_up_connection(alias: str) -> contextlib.AbstractContextManager[BaseDatabaseWrapper]:
    """A fresh connection for undoing: the probe's own may be stuck or broken."""
    return installed(bounded_copy(alias, 4.0, name=f"{APPLICATION_NAME} clean-up"))
