"""The setting ``DBINT``: its shape, its defaults, and what is wrong with it.

Users write a plain dict, typed by :class:`DbintDict`; the code reads frozen dataclasses from
:func:`get_settings`. docs/settings.md documents each key.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypedDict, cast

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from dbint import discovery
from dbint.errors import ConfigurationError

# -----------------------------------------------------------------------------
# What users write
# -----------------------------------------------------------------------------


class ServiceDict(TypedDict, total=False):
    """Where one service is. ``url``, ``addresses`` and ``host`` exclude each other."""

    host: str
    port: int
    ports: Mapping[str, int]
    hosts: Mapping[str, str]
    addresses: Sequence[str]
    url: str
    namespace: str
    database: str


class CredentialsDict(TypedDict, total=False):
    """Who is asked for credentials, in which order, and where the file provider looks."""

    providers: Sequence[str]
    path: str


class TopicDict(TypedDict, total=False):
    """What a topic has to have at least."""

    partitions: int


class KafkaDict(TypedDict, total=False):
    """What Kafka's clients are told beyond addresses and credentials; option names are librdkafka's.

    ``topics`` are those that the project needs, as names or as name -> what the topic has to have.
    """

    client_id: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    ssl_ca_location: str
    options: Mapping[str, str | int | float | bool]
    producer: Mapping[str, str | int | float | bool]
    consumer: Mapping[str, str | int | float | bool]
    topics: Sequence[str] | Mapping[str, TopicDict]


class DorisDict(TypedDict, total=False):
    """How Doris is used. ``address_map`` and ``allowed_hosts`` are for Stream Load's redirects."""

    replication_num: int
    connect_timeout: float
    address_map: Mapping[str, str]
    allowed_hosts: Sequence[str]


class BudgetDict(TypedDict, total=False):
    """The latency, in milliseconds, that an operation may have."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class VerifyDict(TypedDict, total=False):
    """What ``manage.py verify_database_integration`` measures, and against what."""

    deadline: float
    deadlines: Mapping[str, float]
    samples: int
    messages: int
    rows: int
    connections: int
    topic_prefix: str
    table_prefix: str
    budgets: Mapping[str, Mapping[str, BudgetDict]]
    produce_messages_per_s: float


class TableRetentionDict(TypedDict):
    """Rows of a table go ``days`` after the time in ``column``."""

    column: str
    days: float


class EventsDict(TypedDict, total=False):
    """The layer of events. The keys are fields of ``dbint.events.DatabaseConfig``, whose defaults hold."""

    name: str
    journal_dir: str
    journal_max_bytes: int
    durability: Literal["memory", "process", "interval", "sync"]
    when_full: Literal["block", "reject", "drop_oldest"]
    batch_size: int
    batch_timeout_ms: float
    lanes: int
    shippers: int
    connect_timeout: float
    query_timeout: float
    pool_min_size: int
    pool_max_size: int
    pool_exhaustion_threshold: float
    max_queries_per_connection: int
    connection_max_age: float
    failure_threshold: int
    recovery_timeout: float
    success_threshold: int
    trace_events_retention_days: float | None
    routing_decisions_retention_days: float | None
    performance_metrics_retention_days: float | None
    transformation_events_retention_days: float | None
    retention_tables: Mapping[str, TableRetentionDict]
    retention_interval: float
    partition_interval: Literal["auto", "day", "week", "month"]
    partitions_ahead_days: int
    health_check_interval: float
    background: bool


class FlowTableDict(TypedDict, total=False):
    """One table of a flow: fields of ``dbint.flow.config.TableOptions``."""

    target: str
    exclude: Sequence[str]
    types: Mapping[str, str]
    partition_by: str
    distributed_by: Sequence[str]
    buckets: int | Literal["AUTO"]
    properties: Mapping[str, str]


class FlowDict(TypedDict, total=False):
    """One flow PostgreSQL -> Kafka -> Doris. ``SOURCE`` and ``TARGET`` are aliases of DATABASES; what flows
    is named by ``TABLES`` (``schema.table``), ``MODELS`` (``app_label.Model``), or both. The other keys are
    fields of ``dbint.flow.config.FlowConfig``, whose defaults hold.
    """

    SOURCE: str
    TARGET: str
    TABLES: Sequence[str] | Mapping[str, FlowTableDict]
    MODELS: Sequence[str]
    PREFIX: str
    MODE: Literal["full_load_only", "cdc_only", "full_load_and_cdc"]
    ENGINE: Literal["embedded", "connect"]
    SLOT: str
    PUBLICATION: str
    FAILOVER: bool
    PARTITIONS: int
    REPLICATION: int
    TOPIC_PROPERTIES: Mapping[str, str]
    WINDOW_MESSAGES: int
    WINDOW_BYTES: int
    STREAM_TRANSACTIONS: bool
    MESSAGES: Sequence[str]
    TOO_LARGE: Literal["stop", "dead_letter"]
    LAG_WARNING_BYTES: int
    LAG_DROP_BYTES: int
    CHUNK_ROWS: int
    WORKERS: int
    BATCH_ROWS: int
    BATCH_BYTES: int
    BATCH_SECONDS: float
    MEMORY_BYTES: int
    SESSION_TIMEOUT: float
    INSTANCE: str
    LOAD_TIMEOUT: float
    MAX_BAD_ROWS: int
    DRAIN_TIMEOUT: float
    CONNECT_URL: str
    CONNECT_OPTIONS: Mapping[str, str]


class RoutingDict(TypedDict, total=False):
    """Which alias an app's or a model's tables live in."""

    apps: Mapping[str, str]
    models: Mapping[str, str]


class DbintDict(TypedDict, total=False):
    """The setting ``DBINT``."""

    SERVICES: Mapping[str, ServiceDict]
    CREDENTIALS: CredentialsDict
    KAFKA: KafkaDict
    DORIS: DorisDict
    VERIFY: VerifyDict
    ROUTING: RoutingDict
    EVENTS: EventsDict
    FLOWS: Mapping[str, FlowDict]


# -----------------------------------------------------------------------------
# What the code reads
# -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CredentialsSettings:
    """``DBINT["CREDENTIALS"]``; ``providers`` None means the default chain."""

    providers: tuple[str, ...] | None = None
    path: str | None = None

    def as_mapping(self) -> dict[str, Any]:
        """The form that dbint.credentials.default_chain takes."""
        given = {"providers": self.providers, "path": self.path}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """``DBINT["KAFKA"]``; ``topics`` maps a name to the least number of partitions."""

    client_id: str = "dbint"
    security_protocol: str | None = None
    sasl_mechanism: str | None = None
    ssl_ca_location: str | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    producer: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    consumer: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    topics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DorisSettings:
    """``DBINT["DORIS"]``. ``connect_timeout`` is in seconds."""

    replication_num: int | None = None
    connect_timeout: float = 5.0
    address_map: Mapping[str, str] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """``DBINT["VERIFY"]``.

    ``deadline`` is the time in seconds that a probe has, and ``deadlines`` overrides it by probe name or
    group. ``samples`` is how often an operation is timed, ``messages`` how many messages the produce
    throughput is measured with, ``rows`` how many travel PostgreSQL -> Kafka -> Doris, ``connections`` how
    many the pool may open. ``budgets`` maps an alias, or "kafka", to operation -> {"p50_ms", "p95_ms",
    "p99_ms"}; what is not given has the default of dbint.verify. ``produce_messages_per_s`` is the least
    throughput that passes.
    """

    deadline: float | None = None
    deadlines: Mapping[str, float] = field(default_factory=dict)
    samples: int = 50
    messages: int = 10_000
    rows: int = 100
    connections: int = 4
    topic_prefix: str = "dbint-verify"
    table_prefix: str = "dbint_verify"
    budgets: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    produce_messages_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """``DBINT["ROUTING"]``; model labels are in lower case, as ``model._meta.label_lower`` is."""

    apps: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of ``DBINT``.

    ``services`` stays the mapping that dbint.discovery.locate takes, ``events`` fields of DatabaseConfig,
    ``flows`` maps a flow's name to its keys (dbint.django.flows makes a FlowConfig of them).
    """

    services: Mapping[str, ServiceDict] = field(default_factory=dict)
    credentials: CredentialsSettings = field(default_factory=CredentialsSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    doris: DorisSettings = field(default_factory=DorisSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    events: Mapping[str, Any] = field(default_factory=dict)
    flows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# -----------------------------------------------------------------------------
# Reading
# -----------------------------------------------------------------------------

UNKNOWN_KEY = "E001"
WRONG_VALUE = "E002"
CONTRADICTION = "E003"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in ``DBINT``; ``id`` is the number of the system check that reports it."""

    id: str
    message: str
    hint: str | None = None


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """A value is not what its key wants; ``path`` leads from the key to the value."""

    def __init__(self, wanted: str, path: str = "") -> None:
        super().__init__(wanted)
        self.wanted, self.path = wanted, path

    def below(self, key: str | int) -> "_Wrong":
        """The same, seen from one level up."""
        step = f'["{key}"]' if isinstance(key, str) else f"[{key}]"
        return _Wrong(self.wanted, step + self.path)


_Reader = Callable[[Any], Any]


def parse(value: Any) -> tuple[Settings, list[Problem]]:
    """Read ``DBINT``. A key with a problem has its default in the result."""
    problems: list[Problem] = []
    if not isinstance(value, Mapping):
        return Settings(), [Problem(WRONG_VALUE, f"DBINT is a {type(value).__name__}", "Make it a dict.")]
    sections = _section("DBINT", value, _SECTIONS, problems)
    read = {
        name: _section(f'DBINT["{name}"]', section, _KEYS[name], problems)
        for name, section in sections.items()
        if name not in ("SERVICES", "FLOWS")
    }
    services = _services(sections.get("SERVICES", {}), problems)
    flows = _flows(sections.get("FLOWS", {}), problems)
    credentials, kafka = read.get("CREDENTIALS", {}), read.get("KAFKA", {})
    _find_contradictions(credentials, kafka, problems)
    return (
        Settings(
            services=services,
            credentials=CredentialsSettings(**credentials),
            kafka=KafkaSettings(**kafka),
            doris=DorisSettings(**read.get("DORIS", {})),
            verify=VerifySettings(**read.get("VERIFY", {})),
            routing=RoutingSettings(**read.get("ROUTING", {})),
            events=read.get("EVENTS", {}),
            flows=flows,
        ),
        problems,
    )


def read(value: Any) -> Settings:
    """``value`` as a whole.

    Raises ImproperlyConfigured, naming every key, when values cannot work. An unknown key is left to the
    system check dbint.E001: it may belong to another version.
    """
    parsed, problems = parse(value)
    if wrong := [problem for problem in problems if problem.id != UNKNOWN_KEY]:
        raise ImproperlyConfigured("; ".join(problem.message for problem in wrong))
    return parsed


@cache
def get_settings() -> Settings:
    """The project's ``DBINT``; raises as :func:`read` does."""
    return read(getattr(django_settings, "DBINT", {}))


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "DBINT":
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="dbint.conf")


def _section(
    place: str, value: Mapping[str, Any], keys: Mapping[str, _Reader], problems: list[Problem]
) -> dict[str, Any]:
    read = {}
    for key, entry in value.items():
        reader = keys.get(key)
        if reader is None:
            problems.append(unknown_key(place, key, keys))
            continue
        try:
            read[key] = reader(entry)
        except _Wrong as wrong:
            problems.append(Problem(WRONG_VALUE, f'{place}["{key}"]{wrong.path} is not {wrong.wanted}'))
    return read


def unknown_key(place: str, key: object, known: Mapping[str, Any]) -> Problem:
    """The problem of a key that nobody reads, with the nearest known one as its hint."""
    end = discovery.did_you_mean(str(key), list(known)).removeprefix(": ")
    return Problem(UNKNOWN_KEY, f"{place} has an unknown key {key!r}", end[:1].upper() + end[1:])


def _services(services: Mapping[str, Any], problems: list[Problem]) -> dict[str, ServiceDict]:
    read: dict[str, ServiceDict] = {}
    known = {name: row for row in discovery.SERVICES.values() for name in (row.name, *row.aliases)}
    for name, entry in services.items():
        place = f'DBINT["SERVICES"]["{name}"]'
        row = known.get(name)
        if row is None:
            problems.append(unknown_key('DBINT["SERVICES"]', name, known))
            continue
        if row.name in read:
            problems.append(Problem(CONTRADICTION, f"{place} and its other name describe the same service"))
            continue
        if not isinstance(entry, Mapping):
            problems.append(Problem(WRONG_VALUE, f"{place} is not a dict"))
            continue
        kept = _section(place, entry, _SERVICE_KEYS, problems)
        try:
            discovery.locate(row.name, {row.name: kept}, {}, use_state=False)
        except ConfigurationError as error:
            problems.append(Problem(WRONG_VALUE, str(error)))
        else:
            read[row.name] = cast(ServiceDict, kept)
    return read


def _flows(flows: Mapping[str, Any], problems: list[Problem]) -> dict[str, Mapping[str, Any]]:
    read: dict[str, Mapping[str, Any]] = {}
    for name, entry in flows.items():
        place = f'DBINT["FLOWS"]["{name}"]'
        if not isinstance(entry, Mapping):
            problems.append(Problem(WRONG_VALUE, f"{place} is not a dict"))
            continue
        before = len(problems)
        kept = _section(place, entry, _FLOW_KEYS, problems)
        missing = [key for key in ("SOURCE", "TARGET") if key not in entry]
        if missing:
            hint = "They are aliases of DATABASES: SOURCE a PostgreSQL, TARGET a Doris."
            problems.append(Problem(WRONG_VALUE, f"{place} has no {' and no '.join(missing)}", hint))
        if not entry.get("TABLES") and not entry.get("MODELS"):
            hint = 'Name what flows: "TABLES": ["public.orders"], or "MODELS": ["shop.Order"].'
            problems.append(Problem(WRONG_VALUE, f"{place} has neither TABLES nor MODELS", hint))
        if len(problems) == before or all(p.id == UNKNOWN_KEY for p in problems[before:]):
            read[name] = kept
    return read


# These come from discovery and the credential providers; a second source would contradict them silently.
_OWNED_BY_DISCOVERY = {"bootstrap.servers": "SERVICES", "metadata.broker.list": "SERVICES"}
_OWNED_BY_CREDENTIALS = ("sasl.username", "sasl.password", "ssl.key.password")


def _find_contradictions(credentials: dict[str, Any], kafka: dict[str, Any], problems: list[Problem]) -> None:
    providers = credentials.get("providers")
    if providers is not None and credentials.get("path") and "file" not in providers:
        problems.append(
            Problem(
                CONTRADICTION,
                'DBINT["CREDENTIALS"] has a "path", and its "providers" leave "file" out',
                'Add "file" to the providers or remove the path.',
            )
        )
    protocol = kafka.get("security_protocol")
    if kafka.get("sasl_mechanism") and protocol in ("PLAINTEXT", "SSL"):
        problems.append(
            Problem(
                CONTRADICTION,
                f'DBINT["KAFKA"] has a "sasl_mechanism", and its "security_protocol" {protocol} does no SASL',
                "Use SASL_SSL (or SASL_PLAINTEXT), or remove the mechanism.",
            )
        )
    for section in ("options", "producer", "consumer"):
        for option in kafka.get(section, {}):
            if option in _OWNED_BY_DISCOVERY:
                hint = 'Give the address in DBINT["SERVICES"]["kafka"] or KAFKA_BOOTSTRAP_SERVERS.'
            elif option in _OWNED_BY_CREDENTIALS:
                hint = (
                    "Give it to a credential provider, such as KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD."
                )
            else:
                continue
            problems.append(Problem(CONTRADICTION, f'DBINT["KAFKA"]["{section}"] has {option!r}', hint))


# -----------------------------------------------------------------------------
# Readers of values
# -----------------------------------------------------------------------------

# What brokers accept: clients/src/main/java/org/apache/kafka/common/internals/Topic.java of Kafka.
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong("a text with something in it")
    return value


def _number(value: Any) -> float:
    # The comparison is false for NaN, too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise _Wrong("a number above 0")
    return float(value)


def _days(value: Any) -> float | None:
    if value is None or value == 0:
        return None
    return _number(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("True or False")
    return value


def _retention_tables(value: Any) -> Any:
    def rule(given: Any) -> Any:
        read = {"column": _text, "days": _number}
        if not isinstance(given, Mapping) or given.keys() != read.keys():
            raise _Wrong("a dict with the keys column and days")
        return {key: reader(given[key]) for key, reader in read.items()}

    return _dict_of(rule)(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _Wrong("a whole number above 0")
    return int(value)


def _scalar(value: Any) -> str | int | float | bool:
    if not isinstance(value, (str, int, float)):
        raise _Wrong("a text, a number or a boolean")
    return value


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isidentifier() or len(value) > 32:
        raise _Wrong("a name of up to 32 letters, digits and underscores")
    return value


def _topic(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= 100
        or not value.replace("-", "").replace(".", "").isalnum()
    ):
        raise _Wrong("a topic prefix of up to 100 letters, digits, dots and hyphens")
    return value


def _topics(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        value = {name: {} for name in _list_of(_text)(value)}
    least: dict[str, int] = {}
    for name, wanted in value.items():
        if not isinstance(name, str) or not _TOPIC_NAME.fullmatch(name) or name in (".", ".."):
            raise _Wrong(
                f"a list of topics: {name!r} is no name of 1 to 249 letters, digits, dots, hyphens and "
                "underscores"
            )
        try:
            least[name] = _dict_of(_count, ("partitions",))(wanted).get("partitions", 1)
        except _Wrong as wrong:
            raise wrong.below(name) from None
    return least


def _one_of(*choices: str) -> _Reader:
    def read(value: Any) -> Any:
        if value not in choices:
            raise _Wrong(f"one of {', '.join(choices)}")
        return value

    return read


def _list_of(item: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise _Wrong("a list")
        made = []
        for index, entry in enumerate(value):
            try:
                made.append(item(entry))
            except _Wrong as wrong:
                raise wrong.below(index) from None
        return tuple(made)

    return read


def _dict_of(item: _Reader, keys: Sequence[str] | None = None) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _Wrong("a dict with texts as keys")
        made = {}
        for key, entry in value.items():
            if keys is not None and key not in keys:
                raise _Wrong(f"a key: known are {', '.join(keys)}").below(key)
            try:
                made[key] = item(entry)
            except _Wrong as wrong:
                raise wrong.below(key) from None
        return made

    return read


def _anything(value: Any) -> Any:
    return value


def _section_dict(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _Wrong("a dict")
    return value


def _alias(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong("an alias of DATABASES")
    return value


def _model_rules(value: Any) -> Any:
    rules = _dict_of(_alias)(value)
    for label in rules:
        if label.count(".") != 1:
            raise _Wrong(f'a dict from "app_label.Model" to an alias: it has {label!r}')
    return {label.lower(): alias for label, alias in rules.items()}


def _flow_tables(value: Any) -> dict[str, dict[str, Any]]:
    given = value if isinstance(value, Mapping) else {name: {} for name in _list_of(_text)(value)}
    read: dict[str, dict[str, Any]] = {}
    for name, options in given.items():
        if not isinstance(name, str) or not all(name.partition(".")):
            raise _Wrong(f"a list of schema.table, or a dict with such keys: {name!r} is none")
        if not isinstance(options, Mapping):
            raise _Wrong("a dict").below(name)
        read[name] = {}
        for key, option in options.items():
            if key not in _FLOW_TABLE_KEYS:
                raise _Wrong(f"a key: known are {', '.join(_FLOW_TABLE_KEYS)}").below(key).below(name)
            try:
                read[name][key] = _FLOW_TABLE_KEYS[key](option)
            except _Wrong as wrong:
                raise wrong.below(key).below(name) from None
    return read


def _buckets(value: Any) -> int | str:
    return "AUTO" if value == "AUTO" else _count(value)


def _model_label(value: Any) -> str:
    if not isinstance(value, str) or value.count(".") != 1:
        raise _Wrong("a model, written as app_label.Model")
    return value


_SECTIONS: Mapping[str, _Reader] = dict.fromkeys(
    ("SERVICES", "CREDENTIALS", "KAFKA", "DORIS", "VERIFY", "ROUTING", "EVENTS", "FLOWS"), _section_dict
)
_FLOW_TABLE_KEYS: Mapping[str, _Reader] = {
    "target": _text,
    "exclude": _list_of(_text),
    "types": _dict_of(_text),
    "partition_by": _text,
    "distributed_by": _list_of(_text),
    "buckets": _buckets,
    "properties": _dict_of(_text),
}
_FLOW_KEYS: Mapping[str, _Reader] = {
    **dict.fromkeys(("SOURCE", "TARGET"), _alias),
    "TABLES": _flow_tables,
    "MODELS": _list_of(_model_label),
    **dict.fromkeys(("PREFIX", "SLOT", "PUBLICATION", "INSTANCE", "CONNECT_URL"), _text),
    "MODE": _one_of("full_load_only", "cdc_only", "full_load_and_cdc"),
    "ENGINE": _one_of("embedded", "connect"),
    "MESSAGES": _list_of(_text),
    "TOO_LARGE": _one_of("stop", "dead_letter"),
    **dict.fromkeys(("FAILOVER", "STREAM_TRANSACTIONS"), _boolean),
    **dict.fromkeys(("TOPIC_PROPERTIES", "CONNECT_OPTIONS"), _dict_of(_text)),
    **dict.fromkeys(
        (
            "PARTITIONS",
            "REPLICATION",
            "WINDOW_MESSAGES",
            "WINDOW_BYTES",
            "LAG_WARNING_BYTES",
            "LAG_DROP_BYTES",
            "CHUNK_ROWS",
            "WORKERS",
            "BATCH_ROWS",
            "BATCH_BYTES",
            "MEMORY_BYTES",
            "MAX_BAD_ROWS",
        ),
        _count,
    ),
    **dict.fromkeys(("BATCH_SECONDS", "SESSION_TIMEOUT", "LOAD_TIMEOUT", "DRAIN_TIMEOUT"), _number),
}
# dbint.discovery.locate checks the values.
_SERVICE_KEYS: Mapping[str, _Reader] = dict.fromkeys(
    ("host", "port", "ports", "hosts", "addresses", "url", "namespace", "database"), _anything
)
_KEYS: Mapping[str, Mapping[str, _Reader]] = {
    "CREDENTIALS": {"providers": _list_of(_text), "path": _text},
    "KAFKA": {
        "client_id": _text,
        "security_protocol": _one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "sasl_mechanism": _one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        "ssl_ca_location": _text,
        "options": _dict_of(_scalar),
        "producer": _dict_of(_scalar),
        "consumer": _dict_of(_scalar),
        "topics": _topics,
    },
    "DORIS": {
        "replication_num": _count,
        "connect_timeout": _number,
        "address_map": _dict_of(_text),
        "allowed_hosts": _list_of(_text),
    },
    "VERIFY": {
        "deadline": _number,
        "deadlines": _dict_of(_number),
        "samples": _count,
        "messages": _count,
        "rows": _count,
        "connections": _count,
        "topic_prefix": _topic,
        "table_prefix": _identifier,
        "budgets": _dict_of(_dict_of(_dict_of(_number, ("p50_ms", "p95_ms", "p99_ms")))),
        "produce_messages_per_s": _number,
    },
    "ROUTING": {"apps": _dict_of(_alias), "models": _model_rules},
    "EVENTS": {
        **dict.fromkeys(("name", "journal_dir"), _text),
        **dict.fromkeys(
            (
                "journal_max_bytes",
                "batch_size",
                "lanes",
                "shippers",
                "pool_min_size",
                "pool_max_size",
                "max_queries_per_connection",
                "failure_threshold",
                "success_threshold",
                "partitions_ahead_days",
            ),
            _count,
        ),
        **dict.fromkeys(
            (
                "batch_timeout_ms",
                "connect_timeout",
                "query_timeout",
                "pool_exhaustion_threshold",
                "connection_max_age",
                "recovery_timeout",
                "retention_interval",
                "health_check_interval",
            ),
            _number,
        ),
        **dict.fromkeys(
            (
                "trace_events_retention_days",
                "routing_decisions_retention_days",
                "performance_metrics_retention_days",
                "transformation_events_retention_days",
            ),
            _days,
        ),
        "durability": _one_of("memory", "process", "interval", "sync"),
        "when_full": _one_of("block", "reject", "drop_oldest"),
        "partition_interval": _one_of("auto", "day", "week", "month"),
        "retention_tables": _retention_tables,
        "background": _boolean,
    },
}
