"""What a flow is: where it reads, where it writes, which tables, and how much at a time."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import psycopg
import pymysql
import pymysql.cursors
from psycopg.conninfo import make_conninfo

from dbint.doris.mysql import Connection
from dbint.errors import AuthenticationError, ConfigurationError, UnreachableError
from dbint.flow.http_exchange import Tls
from dbint.flow.stream_load import StreamLoadClient

Mode = Literal["full_load_only", "cdc_only", "full_load_and_cdc"]
Engine = Literal["embedded", "connect"]
MODES: tuple[Mode, ...] = ("full_load_only", "cdc_only", "full_load_and_cdc")
ENGINES: tuple[Engine, ...] = ("embedded", "connect")

# The server's rule for the names of slots, less what would not fit behind the prefix.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SERVER_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PREFIX = re.compile(r"[a-zA-Z0-9._-]{1,100}")
_NOT_IN_TOPICS = re.compile(r"[^a-zA-Z0-9._-]")
_MAX_TOPIC = 249
_LEAST_MEMORY = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """The PostgreSQL that a flow reads.

    ``name`` stands in messages (``"alias default"``). ``parameters`` gives libpq's parameters with user and
    password; it is asked anew for each connection, so that rotated credentials are taken up.
    """

    name: str
    parameters: Callable[[], Mapping[str, Any]] = field(repr=False)

    def conninfo(self, **more: Any) -> str:
        """libpq's connection string. It holds the password: never log it."""
        return make_conninfo("", **{**self.parameters(), **more})

    def connect(self, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of its own, in autocommit mode. Raises UnreachableError, AuthenticationError."""
        try:
            return psycopg.connect(self.conninfo(**more), autocommit=True)
        except psycopg.OperationalError as error:
            refused = error.sqlstate is not None and error.sqlstate.startswith("28")
            kind = AuthenticationError if refused or "authentication" in str(error) else UnreachableError
            made = kind(f"PostgreSQL ({self.name}): {' '.join(str(error).split())}")
            made.sqlstate = error.sqlstate
            raise made from error


@dataclass(frozen=True, slots=True)
class TargetAccess:
    """The Apache Doris that a flow writes.

    ``sql_addresses`` are frontends' MySQL ports, tried in turn; ``http_urls`` their HTTP side, or with
    ``through_backends`` backends that are asked directly. ``credentials`` gives user and password, anew for
    each connection and load. The rest is :class:`~dbint.flow.StreamLoadClient`'s.
    """

    name: str
    database: str
    sql_addresses: Sequence[tuple[str, int]]
    http_urls: Sequence[str]
    credentials: Callable[[], tuple[str, str]] = field(repr=False)
    through_backends: bool = False
    allowed_hosts: Sequence[str] = ()
    address_map: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    replication_num: int | None = None
    """Replicas of the tables that the flow makes; None: 3, or as many as there are backends."""
    connect_timeout: float = 5.0

    def connect(self) -> "pymysql.connections.Connection[Any]":
        """A MySQL connection in autocommit mode. Raises UnreachableError, AuthenticationError."""
        user, password = self.credentials()
        trouble: list[str] = []
        for host, port in self.sql_addresses:
            try:
                return Connection(
                    host=host,
                    port=port,
                    user=user,
                    password=password,
                    database=self.database or None,
                    autocommit=True,
                    charset="utf8mb4",
                    connect_timeout=max(1, round(self.connect_timeout)),
                    read_timeout=600,
                    write_timeout=600,
                )
            except pymysql.Error as error:
                code, text = (*error.args, "", "")[:2]
                if code in (1044, 1045, 1698):
                    raise AuthenticationError(f"Doris ({self.name}) at {host}:{port}: {text}") from error
                if code == 1049:
                    raise ConfigurationError(
                        f"Doris ({self.name}) at {host}:{port} has no database {self.database!r}: make it "
                        f"with CREATE DATABASE `{self.database}`"
                    ) from error
                trouble.append(f"{host}:{port}: {' '.join(str(text or error).split())}")
        raise UnreachableError(f"Doris ({self.name}) cannot be reached: {'; '.join(trouble)}")

    def stream_load_client(self, **options: Any) -> StreamLoadClient:
        """A client for loads; ``options`` are its further parameters (``deadline``)."""
        given: dict[str, Any] = {"be_urls" if self.through_backends else "fe_urls": list(self.http_urls)}
        named = () if self.through_backends else (backend["Host"] for backend in self._backends())
        allowed = [*self.allowed_hosts, *named]
        return StreamLoadClient(
            **given,
            credentials=self.credentials,
            allowed_hosts=allowed,
            address_map=self.address_map,
            tls=self.tls,
            connect_timeout=self.connect_timeout,
            **options,
        )

    def alive_backends(self) -> int:
        """How many backends live; 0 where we may not ask."""
        return sum(backend.get("Alive", "").lower() == "true" for backend in self._backends())

    def _backends(self) -> list[dict[str, str]]:
        """The backends that a frontend names; none for a user who may not ask."""
        try:
            connection = self.connect()
        except (AuthenticationError, ConfigurationError, UnreachableError):
            return []
        try:
            with connection.cursor(pymysql.cursors.DictCursor) as cursor:
                cursor.execute("SHOW BACKENDS")
                return [{name: str(value) for name, value in row.items()} for row in cursor.fetchall()]
        except pymysql.Error:
            return []
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What is said about one table beyond its name; all of it is optional.

    ``target`` is the table's name in Doris. ``exclude`` names columns that stay behind; ``types`` gives
    columns another Doris type. ``partition_by`` is what follows PARTITION BY (``"RANGE(day) ()"``, or with
    AUTO in front); ``distributed_by`` and ``buckets`` are those of Doris; ``properties`` go into PROPERTIES.
    """

    target: str = ""
    exclude: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    partition_by: str = ""
    distributed_by: tuple[str, ...] = ()
    buckets: int | Literal["AUTO"] = "AUTO"
    properties: Mapping[str, str] = field(default_factory=dict)


KafkaOptions = Callable[[str | None], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowConfig:
    """One flow PostgreSQL -> Kafka -> Doris. Times are in seconds, sizes in bytes.

    ``tables`` are ``schema.table``, in the order in which they are first loaded. ``kafka`` gives librdkafka's
    properties for a role ("producer", "consumer", or None for the admin client), anew for each client.
    ``slot`` and ``publication`` default to ``dbint_<name>``, ``prefix`` (of the topics) to the name. Raises
    ConfigurationError, which names the field, for a value that cannot work.
    """

    name: str
    source: SourceAccess
    target: TargetAccess
    kafka: KafkaOptions = field(repr=False)
    tables: tuple[str, ...]
    options: Mapping[str, TableOptions] = field(default_factory=dict)
    prefix: str = ""
    mode: Mode = "full_load_and_cdc"
    engine: Engine = "embedded"
    slot: str = ""
    publication: str = ""
    failover: bool = False
    """Whether the slot is kept on standbys, too (PostgreSQL 17)."""

    partitions: int = 4
    """Of each topic."""
    replication: int | None = None
    """Replicas of each topic; None leaves it to the brokers."""
    topic_properties: Mapping[str, str] = field(default_factory=dict)

    window_messages: int = 100_000
    """How much capture may have sent without a confirmation; then it stops reading."""
    window_bytes: int = 32 << 20
    stream_transactions: bool = False
    """Whether the server sends transactions that are still open (they are spooled here, not there)."""
    messages: tuple[str, ...] = ()
    """Prefixes of pg_logical_emit_message whose messages go to topic ``<prefix>.message``; ``*``: all."""
    too_large: Literal["stop", "dead_letter"] = "stop"
    """What becomes of a row that no message can hold."""
    lag_warning_bytes: int = 1 << 30
    lag_drop_bytes: int | None = None
    """From here on the slot is dropped, before the server's disk fills; None: never."""

    chunk_rows: int = 50_000
    """Rows of one chunk of the first load."""

    workers: int = 1
    """Threads that load."""
    batch_rows: int = 100_000
    batch_bytes: int = 32 << 20
    batch_seconds: float = 1.0
    """A load begins when one of the three is reached."""
    memory_bytes: int | None = None
    """Messages that a sink holds, waiting or being loaded, 1 MiB or more; None: those of ``workers`` + 2
    loads of ``batch_bytes``. Beside them a sink takes about 100 MiB (docs/flow.md, "The sink")."""
    session_timeout: float = 10.0
    """Seconds without a heartbeat after which the brokers give the partitions of a sink to others."""
    instance: str = ""
    """A name that no other living sink of the flow has: one that comes back under it, within the session
    timeout, takes up its partitions at once."""
    load_timeout: float = 300.0
    max_bad_rows: int = 1000
    """Rows a load may set aside as dead letters before the sink stops."""
    drain_timeout: float = 30.0
    """How long SIGTERM waits for what is under way."""

    connect_url: str = ""
    """Kafka Connect's REST API; engine "connect" alone."""
    connect_options: Mapping[str, str] = field(default_factory=dict)
    """Further properties of the connector."""

    def __post_init__(self) -> None:
        _require(_NAME.fullmatch(self.name), "name", "up to 40 of a-z, 0-9 and _, with a letter first")
        for name in ("slot", "publication"):
            given = getattr(self, name) or f"dbint_{self.name}"
            _require(_SERVER_NAME.fullmatch(given), name, "up to 63 of a-z, 0-9 and _")
            object.__setattr__(self, name, given)
        object.__setattr__(self, "prefix", self.prefix or self.name)
        _require(_PREFIX.fullmatch(self.prefix), "prefix", "up to 100 letters, digits, dots, - and _")
        _require(self.mode in MODES, "mode", f"one of {', '.join(MODES)}")
        _require(self.engine in ENGINES, "engine", f"one of {', '.join(ENGINES)}")
        _require(self.too_large in ("stop", "dead_letter"), "too_large", "stop or dead_letter")
        for name in _COUNTS:
            value = getattr(self, name)
            _require(type(value) is int and value >= 1, name, "a whole number above 0")
        for name in _OPTIONAL_COUNTS:
            value = getattr(self, name)
            _require(value is None or (type(value) is int and value >= 1), name, "a whole number above 0")
        _require(
            self.memory_bytes is None or self.memory_bytes >= _LEAST_MEMORY, "memory_bytes", "1 MiB or more"
        )
        _require(
            _PREFIX.fullmatch(self.instance or "-"), "instance", "up to 100 letters, digits, dots, - and _"
        )
        for name in ("batch_seconds", "session_timeout", "load_timeout", "drain_timeout"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
            _require(number, name, "a number of seconds above 0")
        if self.lag_drop_bytes is not None:
            _require(
                self.lag_drop_bytes > self.lag_warning_bytes, "lag_drop_bytes", "above lag_warning_bytes"
            )
        _require(
            not isinstance(self.messages, str)
            and all(isinstance(prefix, str) and prefix for prefix in self.messages),
            "messages",
            "a list of prefixes",
        )
        object.__setattr__(self, "messages", tuple(self.messages))
        self._check_tables()
        for name in ("options", "topic_properties", "connect_options"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def _check_tables(self) -> None:
        _require(bool(self.tables), "tables", "a list with at least one table")
        topics: dict[str, str] = {}
        for table in self.tables:
            schema, _, relation = table.partition(".")
            _require(bool(schema and relation), "tables", f"a list of schema.table: {table!r} is none")
            topic = self.topic(table)
            _require(len(topic) <= _MAX_TOPIC, "tables", f"fit for Kafka: topic {topic} is too long")
            other = topics.setdefault(topic, table)
            _require(topics[topic] is table, "tables", f"clear: {other} and {table} both make topic {topic}")
        for table in self.options:
            _require(table in self.tables, "options", f"about the flow's tables, and {table!r} is none")

    def topic(self, table: str) -> str:
        """The topic of ``schema.table``; what topics cannot hold becomes ``_``, as Debezium has it."""
        return _NOT_IN_TOPICS.sub("_", f"{self.prefix}.{table}")

    @property
    def message_topic(self) -> str:
        """Where logical messages go."""
        return f"{self.prefix}.message"

    @property
    def dead_letter_topic(self) -> str:
        """Where rows go that Doris refuses."""
        return f"{self.prefix}.dead-letter"

    @property
    def group(self) -> str:
        """The consumer group of the sink."""
        return f"dbint-flow-{self.name}"

    def table_options(self, table: str) -> TableOptions:
        """What is said about ``schema.table``."""
        return self.options.get(table) or TableOptions()


_COUNTS = (
    "partitions",
    "window_messages",
    "window_bytes",
    "lag_warning_bytes",
    "chunk_rows",
    "workers",
    "batch_rows",
    "batch_bytes",
    "max_bad_rows",
)
_OPTIONAL_COUNTS = ("replication", "lag_drop_bytes", "memory_bytes")


def _require(condition: object, name: str, wanted: str) -> None:
    if not condition:
        raise ConfigurationError(f"flow: {name} is not {wanted}")
