"""The flows of a Django project: ``DBINT["FLOWS"]`` as :class:`~dbint.flow.config.FlowConfig`."""

from collections.abc import Mapping
from typing import Any

import psycopg
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import connections, models
from django.utils.connection import ConnectionDoesNotExist

from dbint.django import conf, databases
from dbint.django.backends.doris.account import account_of, addresses_of
from dbint.django.backends.doris.bulk import DEFAULT_HTTP_PORT
from dbint.django.backends.doris.table import table_options
from dbint.doris.names import quote_name
from dbint.errors import ConfigurationError
from dbint.flow.config import FlowConfig, SourceAccess, TableOptions, TargetAccess
from dbint.flow.http_exchange import Tls

_OWN_KEYS = ("SOURCE", "TARGET", "TABLES", "MODELS")
_SOURCE_TIMEOUT = "10"


def flow_names() -> list[str]:
    """The names of all flows."""
    return list(conf.get_settings().flows)


def flow_config(name: str | None = None) -> FlowConfig:
    """The flow called ``name``; without one, the only flow that there is.

    Opens no connection. Raises ConfigurationError, which names the key, for what cannot work.
    """
    flows = conf.get_settings().flows
    if name is None:
        if len(flows) != 1:
            which = f"which of {', '.join(flows)}?" if flows else 'DBINT["FLOWS"] has none'
            raise ConfigurationError(f"name a flow: {which}")
        name = next(iter(flows))
    if name not in flows:
        known = ", ".join(flows) or "none at all"
        raise ConfigurationError(f'DBINT["FLOWS"] has no flow {name!r}; there is {known}')
    return make_config(name, flows[name])


def make_config(name: str, entry: Mapping[str, Any]) -> FlowConfig:
    """A FlowConfig of one entry, as :func:`dbint.django.conf.parse` has read it."""
    place = f'DBINT["FLOWS"]["{name}"]'
    try:
        source = source_access(entry["SOURCE"])
        target = target_access(entry["TARGET"])
        options = {table: TableOptions(**_tuples(given)) for table, given in entry.get("TABLES", {}).items()}
        for label in entry.get("MODELS", ()):
            table, from_model = model_options(label, entry["SOURCE"])
            # What TABLES says about the same table wins.
            if options.get(table, TableOptions()) == TableOptions():
                options[table] = from_model
        further = {key.lower(): value for key, value in entry.items() if key not in _OWN_KEYS}
        return FlowConfig(
            name=name,
            source=source,
            target=target,
            kafka=databases.kafka_options,
            tables=tuple(options),
            options=options,
            **further,
        )
    except (ConfigurationError, ImproperlyConfigured) as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def _connection(alias: str, role: str, vendor: str, product: str) -> Any:
    try:
        connection = connections[alias]
    except ConnectionDoesNotExist:
        raise ConfigurationError(f"{role} is {alias!r}, and DATABASES has no such alias") from None
    if connection.vendor != vendor:
        raise ConfigurationError(f"{role} is {alias!r}, which is no {product} but {connection.vendor}")
    return connection


def source_access(alias: str) -> SourceAccess:
    """The PostgreSQL of an alias. Raises ConfigurationError for another kind of database."""
    entry = _connection(alias, "SOURCE", "postgresql", "PostgreSQL").settings_dict
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}

    def parameters() -> dict[str, Any]:
        # Read anew each time: whoever rotates credentials writes them into settings_dict.
        options = {key: str(value) for key, value in entry["OPTIONS"].items() if key in known}
        given = {
            "connect_timeout": _SOURCE_TIMEOUT,
            **options,
            "dbname": entry["NAME"],
            "user": entry["USER"],
            "password": entry["PASSWORD"],
            "host": entry["HOST"],
            "port": str(entry["PORT"] or ""),
        }
        return {key: value for key, value in given.items() if value}

    return SourceAccess(f"alias {alias}", parameters)


def target_access(alias: str) -> TargetAccess:
    """The Doris of an alias. Raises ConfigurationError for another kind of database."""
    connection = _connection(alias, "TARGET", "doris", "Doris")
    entry, doris = connection.settings_dict, conf.get_settings().doris
    options = entry["OPTIONS"]
    load = options.get("stream_load")
    load = load if isinstance(load, Mapping) else {}
    scheme = "https" if load.get("https") else "http"
    port = options.get("http_port", DEFAULT_HTTP_PORT)
    frontends = addresses_of(entry)
    if not entry["NAME"]:
        raise ConfigurationError(f"TARGET is {alias!r}, whose entry of DATABASES has no NAME")

    def credentials() -> tuple[str, str]:
        account = account_of(entry)
        return account.username, account.password

    return TargetAccess(
        name=f"alias {alias}",
        database=entry["NAME"],
        sql_addresses=[(frontend.host, frontend.port) for frontend in frontends],
        http_urls=list(dict.fromkeys(f"{scheme}://{fe._replace(port=port)}" for fe in frontends)),
        credentials=credentials,
        allowed_hosts=[*load.get("allowed_hosts", doris.allowed_hosts)],
        address_map=load.get("address_map", doris.address_map),
        tls=Tls(ca_file=load.get("ca_file")),
        replication_num=options.get("replication_num", doris.replication_num),
        connect_timeout=options.get("connect_timeout", doris.connect_timeout),
    )


def model_options(label: str, alias: str) -> tuple[str, TableOptions]:
    """``schema.table`` of a model, and what it says about its table in Doris.

    That is the model's own ``Meta.doris`` where it has one: partitions, distribution, properties. UUIDs
    become VARCHAR(32), as the Doris backend keeps them, so that the same fields read both tables.
    """
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        raise ConfigurationError(f"MODELS names {label}, and no installed app has it") from None
    if model._meta.proxy or not model._meta.managed:
        model = model._meta.concrete_model or model
    vendor_of = connections[alias]
    table = model._meta.db_table
    name = table.strip('"').replace('"."', ".") if '"."' in table else f"public.{table}"
    types = {
        field.column: "VARCHAR(32)"
        for field in model._meta.local_concrete_fields
        if field.db_type(vendor_of) == "uuid"
    }
    if getattr(model._meta, "doris", None) is None:
        return name, TableOptions(types=types)
    doris = table_options(model)
    if doris.key_model != "UNIQUE":
        raise ConfigurationError(
            f"{label}: its Meta.doris is a {doris.key_model} table, and a flow needs a UNIQUE one"
        )

    def column(field_name: str) -> str:
        try:
            return str(model._meta.get_field(field_name).column)
        except FieldDoesNotExist:
            raise ConfigurationError(f"{label}: Meta.doris names {field_name}, which is no field") from None

    key = tuple(column(field_name) for field_name in doris.key)
    primary = tuple(field.column for field in _primary_key(model))
    if key and key != primary:
        raise ConfigurationError(
            f"{label}: Meta.doris has the key ({', '.join(key)}), the primary key is ({', '.join(primary)}): "
            "in a flow they are the same"
        )
    clause = doris.partition_clause(lambda field_name: quote_name(column(field_name)))
    distributed = () if doris.distributed_by == "RANDOM" else doris.distributed_by
    return name, TableOptions(
        types=types,
        partition_by=clause.replace("PARTITION BY ", "", 1),
        distributed_by=tuple(column(field_name) for field_name in distributed),
        buckets=doris.buckets,
        properties=doris.all_properties(),
    )


def _primary_key(model: type[models.Model]) -> "list[models.Field[Any, Any]]":
    fields = getattr(model._meta, "pk_fields", None)  # of a composite key, too
    return list(fields) if fields else [model._meta.pk] if model._meta.pk is not None else []
