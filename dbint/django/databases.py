"""Entries of ``settings.DATABASES`` and options of Kafka's clients, from discovery and credentials::

    DBINT = {...}
    DATABASES = {"default": postgres_database(dbint=DBINT), "doris": doris_database(dbint=DBINT)}

Nothing connects here. ``dbint`` is handed over because the settings are not there yet while they are being
written.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from dbint import discovery
from dbint.credentials import PROVIDERS, ChainProvider, Credentials, default_chain
from dbint.django import conf
from dbint.errors import ConfigurationError

CONNECT_TIMEOUT = 5  # seconds

# By default Django lets each test database wait for that of the alias "default", and fails when a run has
# no use for the latter.
_TEST: dict[str, Any] = {"DEPENDENCIES": []}


def postgres_database(
    service: str = "postgres",
    database: str | None = None,
    *,
    dbint: Mapping[str, Any] | None = None,
    pool: Mapping[str, Any] | bool = True,
    **overrides: Any,
) -> dict[str, Any]:
    """An entry of DATABASES for a PostgreSQL server.

    ``service`` is a PostgreSQL of the table of services (postgres, supabase, cdc), ``database`` the
    database's name (default: what environment, settings, state file or credentials say), ``dbint`` the
    setting ``DBINT``. ``overrides`` replace keys of the entry; ``OPTIONS`` and ``TEST`` are merged.

    ``pool`` chooses between the two ways in which Django keeps connections. True, or a dict of
    psycopg_pool's options: one pool a process, never more than its ``max_size`` (8) connections, which
    threads take turns with. False: one connection a thread, kept 60 seconds.

    Raises ImproperlyConfigured for values that can only be wrong.
    """
    endpoint, credentials = _find(service, dbint)
    options: dict[str, Any] = {
        "application_name": "dbint",
        "connect_timeout": CONNECT_TIMEOUT,
        **endpoint.options,
    }
    if pool:
        # min_size 1: a management command would otherwise open psycopg_pool's four connections to use one.
        options["pool"] = {
            "min_size": 1,
            "max_size": 8,
            "timeout": 10,
            **(pool if isinstance(pool, Mapping) else {}),
        }
    entry = {
        "ENGINE": "django.db.backends.postgresql",
        **_address(endpoint, credentials, database),
        "CONN_MAX_AGE": 0 if pool else 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
        "TEST": _TEST,
    }
    return _merged(entry, overrides)


def doris_database(
    service: str = "doris",
    database: str | None = None,
    *,
    dbint: Mapping[str, Any] | None = None,
    stream_load: Mapping[str, Any] | bool = False,
    **overrides: Any,
) -> dict[str, Any]:
    """An entry of DATABASES for Apache Doris; most parameters are postgres_database's.

    PORT is the frontend's MySQL port; ``OPTIONS["http_port"]`` is its HTTP port. One connection a thread is
    kept 60 seconds. ``stream_load``: True, or a dict of the backend's options, lets large ``bulk_create``
    calls go by Stream Load, with the addresses and hosts that ``DBINT["DORIS"]`` allows.
    """
    settings = conf.read(dbint or {}).doris
    endpoint, credentials = _find(service, dbint)
    options: dict[str, Any] = {
        "http_port": endpoint.port("http"),
        "connect_timeout": settings.connect_timeout,
    }
    if settings.replication_num is not None:
        options["replication_num"] = settings.replication_num
    if stream_load:
        options["stream_load"] = {
            "address_map": settings.address_map,
            "allowed_hosts": settings.allowed_hosts,
            **(stream_load if isinstance(stream_load, Mapping) else {}),
        }
    entry = {
        "ENGINE": "dbint.django.backends.doris",
        **_address(endpoint, credentials, database),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
        "TEST": _TEST,
    }
    return _merged(entry, overrides)


def kafka_options(role: str | None = None, *, dbint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """librdkafka's options for a client: addresses, security, credentials, and what ``DBINT["KAFKA"]`` adds.

    ``role`` is "producer" or "consumer" for the options of one kind of client. ``dbint`` defaults to
    ``settings.DBINT``. The result holds a password: make it where a client is made, keep it out of the
    settings. Raises ConfigurationError, or ImproperlyConfigured for ``DBINT`` itself.
    """
    settings = conf.get_settings() if dbint is None else conf.read(dbint)
    kafka = settings.kafka
    endpoint = discovery.locate("kafka", settings.services)
    credentials = (provider() if dbint is None else make_provider(settings)).get("kafka")
    options: dict[str, Any] = {"bootstrap.servers": endpoint.bootstrap(), "client.id": kafka.client_id}
    protocol = kafka.security_protocol
    if credentials:
        # Without a word on the protocol a password only travels encrypted.
        protocol = protocol or "SASL_SSL"
        if not protocol.startswith("SASL_"):
            raise ConfigurationError(
                f"Kafka credentials come from {credentials.source}, and the security protocol is {protocol}: "
                'set DBINT["KAFKA"]["security_protocol"] to SASL_SSL, or take the credentials away'
            )
        options["sasl.mechanism"] = kafka.sasl_mechanism or "SCRAM-SHA-512"
        options["sasl.username"], options["sasl.password"] = credentials.username, credentials.password
    if protocol:
        options["security.protocol"] = protocol
    if kafka.ssl_ca_location:
        options["ssl.ca.location"] = kafka.ssl_ca_location
    options.update(kafka.options)
    if role is not None:
        options.update({"producer": kafka.producer, "consumer": kafka.consumer}[role])
    return options


def doris_credentials() -> Credentials | None:
    """What the project's chain of providers says for Doris now.

    ``OPTIONS["credentials"] = "dbint.django.databases.doris_credentials"`` asks it for each connection, so
    that a password can change while the process runs.
    """
    return provider().get("doris")


@cache
def provider() -> ChainProvider:
    """The project's chain of credential providers: always the same one, so that it can see a rotation."""
    return make_provider(conf.get_settings())


def make_provider(settings: conf.Settings) -> ChainProvider:
    """The chain of credential providers that ``settings`` asks for. Raises ConfigurationError."""
    return default_chain(settings.credentials.as_mapping(), settings.services)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "DBINT":
        provider.cache_clear()


setting_changed.connect(_forget, dispatch_uid="dbint.databases")


def _find(service: str, dbint: Mapping[str, Any] | None) -> tuple[discovery.Endpoint, Credentials | None]:
    settings = conf.read(dbint or {})
    try:
        try:
            return discovery.locate(service, settings.services), make_provider(settings).get(service)
        except discovery.DiscoveryError:
            # A damaged file of a development aid must not keep the settings from loading, or no command could
            # help: the system check dbint.E010 says what is wrong.
            without_stack = {
                **settings.credentials.as_mapping(),
                "providers": [
                    name for name in settings.credentials.providers or PROVIDERS if name != "stack"
                ],
            }
            return (
                discovery.locate(service, settings.services, use_state=False),
                default_chain(without_stack, settings.services).get(service),
            )
    except ConfigurationError as error:
        raise ImproperlyConfigured(str(error)) from None


def _address(
    endpoint: discovery.Endpoint, credentials: Credentials | None, database: str | None
) -> dict[str, str | int]:
    return {
        "NAME": database or endpoint.database or (credentials and credentials.database) or "",
        "USER": credentials.username if credentials else "",
        "PASSWORD": credentials.password if credentials else "",
        "HOST": endpoint.host,
        "PORT": endpoint.port(),
    }


def _merged(entry: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    if lower := [key for key in overrides if not key.isupper()]:
        raise ImproperlyConfigured(
            f"{lower[0]!r} is no key of an entry of DATABASES: they are written in capitals"
        )
    merged = {key: {**entry[key], **overrides.get(key, {})} for key in ("OPTIONS", "TEST")}
    return {**entry, **overrides, **merged}
