"""How the layer is configured: the server, the pool, the journal, batching, retention, health."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from dbint import discovery
from dbint.credentials import default_chain
from dbint.errors import ConfigurationError
from dbint.state import state_directory

Durability = Literal["memory", "process", "interval", "sync"]
WhenFull = Literal["block", "reject", "drop_oldest"]
PartitionInterval = Literal["auto", "day", "week", "month"]

_CHOICES = {
    "durability": ("memory", "process", "interval", "sync"),
    "when_full": ("block", "reject", "drop_oldest"),
    "partition_interval": ("auto", "day", "week", "month"),
}


@dataclass(frozen=True, slots=True)
class TableRetention:
    """How long rows of a table of your own are kept: ``days`` after the time in ``column``.

    The column is a ``timestamptz``. A table that is partitioned by range on it loses whole partitions,
    any other loses rows, in batches: give it an index on the column.
    """

    column: str
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """The configuration of a :class:`~dbint.events.DatabaseIntegrationLayer`. Times are in seconds.

    Names and defaults of the pool, the breaker, the batches and the retention are those of the seed
    ``database_integration.py``; docs/events.md has the whole list. Raises ConfigurationError, which names
    the field, for a value that cannot work.
    """

    host: str = "localhost"
    port: int = 5432
    database: str
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of libpq, such as ``{"sslmode": "verify-full"}``."""
    connect_timeout: float = 5.0
    query_timeout: float = 10.0
    """The longest that a query of the query API may run."""

    pool_min_size: int = 5
    pool_max_size: int = 20
    pool_exhaustion_threshold: float = 80.0
    """Per cent of the pool in use from which the status is DEGRADED."""
    max_queries_per_connection: int = 10_000
    connection_max_age: float = 3600.0

    name: str = ""
    """The target's name: the journal's sub-directory. Default: the database's name."""
    journal_dir: str = ""
    """The directory that holds the journals of all targets. Default: see :meth:`journal_path`."""
    journal_max_bytes: int = 1 << 30
    durability: Durability = "process"
    when_full: WhenFull = "block"
    batch_size: int = 100
    batch_timeout_ms: float = 1000.0
    lanes: int = 1
    shippers: int = 2

    failure_threshold: int = 5
    recovery_timeout: float = 60.0
    success_threshold: int = 3

    trace_events_retention_days: float | None = 30
    """0 and None keep everything for ever."""
    routing_decisions_retention_days: float | None = 90
    performance_metrics_retention_days: float | None = 180
    transformation_events_retention_days: float | None = 90
    retention_tables: Mapping[str, TableRetention] = field(default_factory=dict)
    """Tables of your own: ``{"public.audit": TableRetention("created_at", 365)}``."""
    retention_interval: float = 86_400.0
    partition_interval: PartitionInterval = "auto"
    partitions_ahead_days: int = 7

    health_check_interval: float = 60.0
    background: bool = True
    """Whether a thread looks after health and retention; without it, call the methods yourself."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _require(getattr(self, name) in choices, name, f"one of {', '.join(choices)}")
        for name in _COUNTS:
            value = getattr(self, name)
            _require(type(value) is int and value >= 1, name, "a whole number above 0")
        for name in _SECONDS:
            _require(_is_number(getattr(self, name)) and getattr(self, name) > 0, name, "a number above 0")
        for name in RETENTION_FIELDS:
            value = getattr(self, name)
            _require(value is None or (_is_number(value) and value >= 0), name, "a number of days, or None")
        _require(self.pool_min_size <= self.pool_max_size, "pool_min_size", "at most pool_max_size")
        _require(0 < self.pool_exhaustion_threshold <= 100, "pool_exhaustion_threshold", "above 0, up to 100")
        _require(bool(self.database), "database", "the name of a database (POSTGRES_DATABASE)")
        _require("password" not in self.options, "options", "free of passwords: use the field password")
        if self.journal_dir:
            _require(Path(self.journal_dir).is_absolute(), "journal_dir", "an absolute path")
        for table, rule in self.retention_tables.items():
            place = f'retention_tables["{table}"]'
            _require(re.fullmatch(r"[^.]+\.[^.]+", table) is not None, place, "written as schema.table")
            _require(bool(rule.column), f"{place}.column", "the name of a column")
            _require(_is_number(rule.days) and rule.days >= 0, f"{place}.days", "a number of days")
        for name in ("options", "retention_tables"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """From the environment (default: ``os.environ``), then the development stack, then the defaults.

        Address and credentials are those of the service ``postgres``: the seed's ``POSTGRES_HOST``,
        ``POSTGRES_PORT``, ``POSTGRES_DATABASE``, ``POSTGRES_USER`` and ``POSTGRES_PASSWORD``, or what
        dbint.discovery finds. ``overrides`` are fields. Raises ConfigurationError, which names the variable.
        """
        return cls.resolve({}, environ=environ, **overrides)

    @classmethod
    def resolve(
        cls,
        settings: Mapping[str, Any],
        *,
        services: Mapping[str, Mapping[str, Any]] | None = None,
        credentials: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> Self:
        """Each value from the first that has it: overrides, environment, settings, discovery, default.

        ``settings`` are fields by name; ``services`` and ``credentials`` are those of the setting ``DBINT``.
        """
        environ = os.environ if environ is None else environ
        given = {**settings, **_from_variables(environ), **overrides}
        if not {"host", "database"} <= given.keys():
            given = {**_located(services, credentials, environ), **given}
        unknown = given.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise ConfigurationError(f"DatabaseConfig has no field {min(unknown)!r}")
        if not given.get("database"):
            raise ConfigurationError(
                "no database is named: set POSTGRES_DATABASE, or start the development stack"
            )
        return cls(**given)

    @property
    def journal_path(self) -> Path:
        """The directory of this target's journal, below ``journal_dir``.

        The default of the latter is ``/var/lib/dbint/journal`` for root and ``$XDG_STATE_HOME/dbint/journal``
        for others.
        """
        # Anything else than letters and digits could lead elsewhere, or be too long for a file's name.
        name = re.sub(r"[^\w.-]", "_", self.name or self.database).lstrip(".") or "_"
        return Path(self.journal_dir or state_directory("journal")) / name[:100]

    def retention_days(self, table: str) -> float | None:
        """For how many days rows of ``table``, one of the four, are kept; None: for ever."""
        days: float | None = getattr(self, f"{table}_retention_days")
        return days or None

    def connection_parameters(self) -> dict[str, str]:
        """libpq's parameters, without the password."""
        # A server or a network that is gone without a word is noticed within about a minute.
        parameters = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            "connect_timeout": str(max(1, math.ceil(self.connect_timeout))),
            "application_name": "dbint events",
            "keepalives_idle": "30",
            "keepalives_interval": "10",
            "keepalives_count": "3",
            "tcp_user_timeout": "30000",
        }
        return {**{key: value for key, value in parameters.items() if value}, **self.options}


RETENTION_FIELDS = (
    "trace_events_retention_days",
    "routing_decisions_retention_days",
    "performance_metrics_retention_days",
    "transformation_events_retention_days",
)
_COUNTS = (
    "pool_min_size",
    "pool_max_size",
    "max_queries_per_connection",
    "journal_max_bytes",
    "batch_size",
    "lanes",
    "shippers",
    "failure_threshold",
    "success_threshold",
    "partitions_ahead_days",
)
_SECONDS = (
    "connect_timeout",
    "query_timeout",
    "connection_max_age",
    "batch_timeout_ms",
    "recovery_timeout",
    "retention_interval",
    "health_check_interval",
)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


# Variable -> field, and how its text is read. The first five are discovery's and the credential providers'.
VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "POSTGRES_POOL_MIN_SIZE": ("pool_min_size", int),
        "POSTGRES_POOL_MAX_SIZE": ("pool_max_size", int),
        "POSTGRES_POOL_EXHAUSTION_THRESHOLD": ("pool_exhaustion_threshold", _number),
        "POSTGRES_MAX_QUERIES_PER_CONNECTION": ("max_queries_per_connection", int),
        "POSTGRES_CONNECTION_MAX_AGE": ("connection_max_age", _number),
        "DBINT_JOURNAL_DIR": ("journal_dir", str),
        "DBINT_JOURNAL_MAX_BYTES": ("journal_max_bytes", int),
        **{name.upper(): (name, _number) for name in RETENTION_FIELDS},
    }
)


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for variable, (name, reader) in VARIABLES.items():
        text = discovery.variable_value(environ, variable)
        if text is None:
            continue
        try:
            found[name] = reader(text)
        except ValueError:
            kind = "whole number" if reader is int else "number"
            raise ConfigurationError(f"{variable} is {text[:40]!r}, which is no {kind}") from None
    return found


def _located(
    services: Mapping[str, Mapping[str, Any]] | None,
    credentials: Mapping[str, Any] | None,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    endpoint = discovery.locate("postgres", services, environ)
    found = default_chain(credentials, services, environ).get("postgres")
    return {
        "host": endpoint.host,
        "port": endpoint.port(),
        "database": endpoint.database or (found.database if found else None) or "",
        "user": found.username if found else "",
        "password": found.password if found else "",
        "options": endpoint.options,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise ConfigurationError(f"DatabaseConfig.{name} is not {wanted}")
