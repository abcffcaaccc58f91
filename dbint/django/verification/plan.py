"""Which probes a run consists of, from the project's settings and what was asked for."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections

from dbint.discovery import SERVICES
from dbint.django.conf import VerifySettings, get_settings
from dbint.django.databases import provider
from dbint.django.verification.access import is_configured, service_of
from dbint.django.verification.connection import ConnectionProbe, NoDatabaseProbe
from dbint.django.verification.crud import CrudProbe
from dbint.django.verification.events import (
    CorePoolProbe,
    EventsRoundTripProbe,
    NoEventsProbe,
    ReplayProbe,
    alias_of_events,
)
from dbint.django.verification.flow import CommitProbe, FlowProbe
from dbint.django.verification.kafka import kafka_access
from dbint.django.verification.models import ModelsProbe
from dbint.django.verification.performance import PerformanceProbe
from dbint.django.verification.pooling import PersistentConnectionProbe, PostgresPoolProbe
from dbint.django.verification.routers import RoutersProbe
from dbint.errors import ConfigurationError
from dbint.verify import Probe, Redactor
from dbint.verify.breaker import BreakerProbe
from dbint.verify.credentials import VaultProbe
from dbint.verify.kafka import (
    BrokerProbe,
    IdempotenceProbe,
    ProducePerformanceProbe,
    RoundTripProbe,
    TopicsProbe,
    TransactionProbe,
)
from dbint.verify.latency import DEFAULT_BUDGETS, DEFAULT_MESSAGES_PER_S
from dbint.verify.redaction import find_secrets

READ_ONLY = "read-only"


@dataclass(frozen=True)
class Plan:
    """The probes of a run, and those that were left out on request, with the reason."""

    probes: list[Probe]
    not_run: dict[str, str] = field(default_factory=dict)


def make_plan(
    selection: Iterable[str] = ("all",), *, read_only: bool = False, deadline: float | None = None
) -> Plan:
    """The probes for ``selection``: any of "all", "connections", "postgres", "doris", "kafka", "integration".

    What a chosen probe requires is part of the plan too.
    """
    verify = get_settings().verify
    everything = {probe.name: _with_deadline(probe, verify, deadline) for probe in _all(verify, read_only)}
    chosen = {name for name, probe in everything.items() if _is_chosen(probe, set(selection))}
    not_run = {
        name: READ_ONLY for name in everything if name in chosen and read_only and everything[name].writes
    }
    wanted: set[str] = set()
    pending = [name for name in chosen if name not in not_run]
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending += everything[name].requires
    return Plan([probe for name, probe in everything.items() if name in wanted], not_run)


def _is_chosen(probe: Probe, selection: set[str]) -> bool:
    if "all" in selection:
        return True
    if "connections" in selection and probe.group == "connections":
        return True
    if "integration" in selection and probe.group == "routers":
        return True
    return probe.server in selection


def _with_deadline(probe: Probe, verify: VerifySettings, deadline: float | None) -> Probe:
    """The command line wins, then settings: for the probe, its group, all; then the probe's default."""
    for seconds in (
        deadline,
        verify.deadlines.get(probe.name),
        verify.deadlines.get(probe.group),
        verify.deadline,
    ):
        if seconds is not None:
            return replace(probe, deadline=seconds)
    return probe


def _all(verify: VerifySettings, read_only: bool) -> list[Probe]:
    aliases = {alias: service_of(alias) for alias in connections if is_configured(alias)}
    probes: list[Probe] = []
    for alias, server in aliases.items():
        probes += _of_database(alias, server, verify, read_only)
    probes += [
        NoDatabaseProbe(name=f"connections.{server}", server=server)
        for server in ("postgres", "doris")
        if server not in aliases.values()
    ]
    return [
        *probes,
        *_of_events(verify),
        *_of_kafka(verify),
        *_of_integration(aliases, verify),
        RoutersProbe(name="routers", server="project"),
        VaultProbe(name="credentials.vault", server="vault"),
        BreakerProbe(name="breaker", server="project"),
    ]


def _of_database(alias: str, server: str, verify: VerifySettings, read_only: bool) -> list[Probe]:
    connection = f"connections.{alias}"
    common: dict[str, Any] = {"server": server, "alias": alias}
    after: dict[str, Any] = common | {"requires": (connection,)}
    probes: list[Probe] = [
        ConnectionProbe(name=connection, **common),
        CrudProbe(name=f"crud.{alias}", prefix=verify.table_prefix, **after),
        ModelsProbe(name=f"models.{alias}", **after),
        PerformanceProbe(
            name=f"performance.{alias}",
            samples=verify.samples,
            prefix=verify.table_prefix,
            budgets=_budgets(verify, alias),
            read_only=read_only,
            writes=not read_only,
            **after,
        ),
    ]
    if server == "postgres":
        probes.append(PostgresPoolProbe(name=f"pooling.{alias}", size=verify.connections, **after))
    elif server == "doris":
        probes.append(PersistentConnectionProbe(name=f"pooling.{alias}", **after))
    return probes


def _of_events(verify: VerifySettings) -> list[Probe]:
    alias = alias_of_events()
    if alias is None:
        return [NoEventsProbe(name="events", server="postgres")]
    common: dict[str, Any] = {
        "server": "postgres",
        "alias": alias,
        "prefix": verify.table_prefix,
        "requires": (f"connections.{alias}",),
    }
    return [
        EventsRoundTripProbe(name="events.round_trip", **common),
        ReplayProbe(name="events.replay", **common),
        CorePoolProbe(name="pooling.core", **common),
    ]


def _of_kafka(verify: VerifySettings) -> list[Probe]:
    access = kafka_access()
    after: dict[str, Any] = {"server": "kafka", "access": access, "requires": ("connections.kafka",)}
    prefix, topics = verify.topic_prefix, get_settings().kafka.topics
    # A list of no topics is not configured, whether the brokers answer or not.
    if_any = after if topics else after | {"requires": ()}
    return [
        BrokerProbe(name="connections.kafka", server="kafka", access=access, prefix=prefix),
        TopicsProbe(name="kafka.topics", prefix=prefix, topics=topics, **if_any),
        RoundTripProbe(name="kafka.round_trip", prefix=prefix, **after),
        TransactionProbe(name="kafka.transactions", prefix=prefix, **after),
        IdempotenceProbe(name="kafka.idempotence", prefix=prefix, **after),
        ProducePerformanceProbe(
            name="performance.kafka",
            prefix=prefix,
            messages=verify.messages,
            samples=verify.samples,
            budgets=_budgets(verify, "kafka"),
            budget_messages_per_s=verify.produce_messages_per_s or DEFAULT_MESSAGES_PER_S,
            **after,
        ),
    ]


def _of_integration(aliases: Mapping[str, str], verify: VerifySettings) -> list[Probe]:
    source, sink = _first_of(aliases, "postgres"), _first_of(aliases, "doris")
    postgres, doris = (f"connections.{source or 'postgres'}", f"connections.{sink or 'doris'}")
    common: dict[str, Any] = {
        "server": "integration",
        "access": kafka_access(),
        "source": source or "",
        "table_prefix": verify.table_prefix,
        "topic_prefix": verify.topic_prefix,
    }
    return [
        FlowProbe(
            name="integration.flow",
            sink=sink or "",
            rows=verify.rows,
            requires=(postgres, "connections.kafka", doris),
            **common,
        ),
        CommitProbe(name="integration.commit", requires=(postgres, "connections.kafka"), **common),
    ]


def _first_of(aliases: Mapping[str, str], server: str) -> str | None:
    """The default alias if it is of this kind, else the first one that is."""
    if aliases.get(DEFAULT_DB_ALIAS) == server:
        return DEFAULT_DB_ALIAS
    return next((alias for alias, found in aliases.items() if found == server), None)


def _budgets(verify: VerifySettings, key: str) -> dict[str, Mapping[str, float]]:
    """The defaults, operation by operation replaced by what the project says."""
    return {**DEFAULT_BUDGETS, **verify.budgets.get(key, {})}


def make_redactor() -> Redactor:
    """Knows every secret that this process could print: of settings, environment and credential providers."""
    values = {name: getattr(django_settings, name) for name in dir(django_settings) if name.isupper()}
    secrets = [*find_secrets(values), *find_secrets(dict(os.environ))]
    users = [str(entry.get("USER") or "") for entry in values.get("DATABASES", {}).values()]
    for name in SERVICES:
        try:
            found = provider().get(name)
        except ConfigurationError:
            continue  # unusable credentials are reported where they are used
        if found:
            secrets.append(found.password)
            users.append(found.username)
    return Redactor(secrets, users)
