"""Engine "connect": Debezium's connector for PostgreSQL in a Kafka Connect cluster, over its REST API.

The connector writes the same topics and fields as the embedded capture (docs/flow.md says where they differ),
so one replaces the other at the same slot. The slot is Debezium's to make where there is none: it exports the
snapshot with which the first load begins. Where there is one, the connector begins at the slot's confirmed
position, which is written into Connect's offsets before it starts.
Source: "Connect REST API" of Kafka's documentation; properties of Debezium's connector for PostgreSQL, 3.7.
"""

import base64
import http.client
import json
import math
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbint.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseError,
    OperationalError,
    UnreachableError,
)
from dbint.flow.config import FlowConfig, Mode
from dbint.flow.mapping import PLACEHOLDER, TableMapping
from dbint.flow.positions import parse_lsn

CONNECTOR_CLASS = "io.debezium.connector.postgresql.PostgresConnector"
_SNAPSHOT_MODES: dict[Mode, str] = {
    "full_load_only": "initial_only",
    "cdc_only": "no_data",
    "full_load_and_cdc": "initial",
}
# What makes Debezium write what the embedded capture writes.
_MESSAGES = {
    "tombstones.on.delete": "false",
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "interval.handling.mode": "string",
    "binary.handling.mode": "base64",
    "hstore.handling.mode": "json",
    "include.unknown.datatypes": "true",
    "unavailable.value.placeholder": PLACEHOLDER,
    "provide.transaction.metadata": "false",
    "topic.delimiter": ".",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
    # Without it NULL in a column that has a default is written as that default.
    "key.converter.replace.null.with.default": "false",
    "value.converter.replace.null.with.default": "false",
}
# libpq's names for what Debezium has under database.…
_TLS = {
    "sslmode": "database.sslmode",
    "sslrootcert": "database.sslrootcert",
    "sslcert": "database.sslcert",
    "sslkey": "database.sslkey",
    "sslpassword": "database.sslpassword",
}
_OWN = frozenset(("name", "connector.class", "topic.prefix", "slot.name", "publication.name", *_MESSAGES))
_SECRETS = ("password", "secret", "sasl.jaas.config")
_MASK = "********"


def connector_name(config: FlowConfig) -> str:
    """Under which the connector is known to Kafka Connect."""
    return f"dbint-{config.name}"


def connector_config(config: FlowConfig) -> dict[str, str]:
    """The connector's properties, with the password of the source database.

    Kafka Connect keeps them in a topic of its own: where that is not to hold the password, name a config
    provider in ``connect_options``, as in ``{"database.password": "${file:/…:password}"}``. Raises
    ConfigurationError.
    """
    parameters = config.source.parameters()
    host = str(parameters.get("host", ""))
    if not host or host.startswith(("/", "@")):
        raise ConfigurationError(
            f"flow {config.name}: Debezium reads PostgreSQL over TCP, and {config.source.name} names "
            f"{f'the socket {host}' if host else 'no host'}: give it a host"
        )
    made = {
        "connector.class": CONNECTOR_CLASS,
        "tasks.max": "1",
        "plugin.name": "pgoutput",
        "database.hostname": host,
        "database.port": str(parameters.get("port") or 5432),
        "database.user": str(parameters.get("user", "")),
        "database.password": str(parameters.get("password", "")),
        "database.dbname": str(parameters.get("dbname", "")),
        "topic.prefix": config.prefix,
        "slot.name": config.slot,
        "slot.drop.on.stop": "false",
        "publication.name": config.publication,
        "publication.autocreate.mode": "disabled",
        "table.include.list": ",".join(_pattern(table) for table in config.tables),
        "snapshot.mode": _SNAPSHOT_MODES[config.mode],
        "skipped.operations": "none",
        # An idle table in a busy database: without it the slot would hold the log back.
        "heartbeat.interval.ms": "10000",
        # Of the heartbeat's topic; those of the tables are made before the connector.
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": str(config.replication or -1),
        **_MESSAGES,
    }
    made |= {ours: str(parameters[theirs]) for theirs, ours in _TLS.items() if parameters.get(theirs)}
    if "*" not in config.messages:  # Debezium carries all logical messages by itself
        prefixes = ",".join(map(_pattern, config.messages))
        made |= (
            {"message.prefix.include.list": prefixes} if prefixes else {"message.prefix.exclude.list": ".*"}
        )
    if excluded := _excluded(config):
        made["column.exclude.list"] = excluded
    if config.failover:
        made["slot.failover"] = "true"
    for name, value in config.connect_options.items():
        if name in _OWN:
            raise ConfigurationError(
                f"flow {config.name}: connect_options may not set {name}: it is the flow's own"
            )
        made[name] = str(value)
    return made


def _pattern(name: str) -> str:
    """A regular expression of Java that matches this name alone, and has no comma, which parts patterns."""
    return re.sub(r"[^A-Za-z0-9_]", lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 128 else m[0], name)


def _excluded(config: FlowConfig) -> str:
    return ",".join(
        _pattern(f"{table}.{column}")
        for table in config.tables
        for column in config.table_options(table).exclude
    )


def sink_connector_config(config: FlowConfig, mapping: TableMapping) -> dict[str, str]:
    """A configuration of the Doris Kafka connector (org.apache.doris.kafka.connector) for one table, as
    another way from Kafka to Doris than Routine Load.

    **Untested**: no package registry has its artifact, so dbint has never run it. It sends messages as Stream
    Loads with the options below; each table is a connector, for its jsonpaths are its own.
    """
    options = mapping.load_options()
    user, password = config.target.credentials()
    frontends = [urllib.parse.urlsplit(url) for url in config.target.http_urls]
    return {
        "connector.class": "org.apache.doris.kafka.connector.DorisSinkConnector",
        "tasks.max": str(config.partitions),
        "topics": mapping.topic,
        "doris.topic2table.map": f"{mapping.topic}:{mapping.target_table}",
        "doris.urls": ",".join(str(part.hostname) for part in frontends),
        "doris.http.port": str(frontends[0].port or 8030),
        "doris.query.port": str(config.target.sql_addresses[0][1]),
        "doris.user": user,
        "doris.password": password,
        "doris.database": mapping.target_database,
        "label.prefix": f"dbint_{config.name}",
        "enable.2pc": "true",
        "buffer.count.records": str(config.batch_rows),
        "buffer.size.bytes": str(config.batch_bytes),
        "buffer.flush.time": str(max(1, math.ceil(config.batch_seconds))),
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "sink.properties.format": "json",
        "sink.properties.read_json_by_line": "true",
        "sink.properties.strict_mode": "true",
        "sink.properties.timezone": "UTC",
        "sink.properties.merge_type": "MERGE",
        "sink.properties.delete": str(options.get("delete", "")),
        "sink.properties.jsonpaths": json.dumps(options.get("jsonpaths", [])),
        "sink.properties.columns": ",".join(options.get("columns", [])),
    }


def masked(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties as they may be shown."""
    return {
        name: _MASK if any(word in name for word in _SECRETS) and not value.startswith("${") else value
        for name, value in properties.items()
    }


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """How the connector is. ``state`` is Connect's (RUNNING, PAUSED, STOPPED, FAILED, UNASSIGNED), or ABSENT;
    ``tasks`` are the states of its tasks, ``error`` the first line of what ended one.
    """

    name: str
    state: str
    tasks: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "RUNNING" and bool(self.tasks) and set(self.tasks) == {"RUNNING"}

    @property
    def has_failed(self) -> bool:
        return "FAILED" in (self.state, *self.tasks)

    def __str__(self) -> str:
        why = f": {self.error}" if self.error else ""
        return f"connector {self.name} is {self.state}, its tasks {', '.join(self.tasks) or 'none'}{why}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "tasks": list(self.tasks), "error": self.error}


class ConnectRequestError(DatabaseError):
    """Kafka Connect refused a request; ``status`` is its HTTP status."""

    status: int = 0


@dataclass(frozen=True, slots=True)
class KafkaConnect:
    """The REST API of a Kafka Connect cluster. ``user`` and ``password`` go as Basic authorization.

    Calls raise UnreachableError, AuthenticationError, and ConnectRequestError for what Connect refuses.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 30.0

    @classmethod
    def of(cls, config: FlowConfig) -> "KafkaConnect":
        """The cluster that a flow names, or the service "kafka_connect" (dbint.discovery)."""
        if config.connect_url:
            parts = urllib.parse.urlsplit(config.connect_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigurationError(f"flow {config.name}: connect_url is no http:// or https:// address")
            plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
            user = urllib.parse.unquote(parts.username or "")
            return cls(plain, user, urllib.parse.unquote(parts.password or ""))
        # Imported here: with an address given, none of it is needed.
        from dbint import discovery
        from dbint.credentials import default_chain

        found = default_chain().get("kafka_connect")
        url = discovery.locate("kafka_connect").url()
        return cls(url, found.username, found.password) if found is not None and found.username else cls(url)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """One request; gives the JSON of its answer, None for an empty one."""
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.user:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, parts.path + path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(
                f"Kafka Connect at {self.url} does not answer: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()
        if answer.status in (401, 403):
            raise AuthenticationError(
                f"Kafka Connect at {self.url} refuses the credentials (HTTP {answer.status})"
            )
        if answer.status >= 400:
            refused = ConnectRequestError(
                f"Kafka Connect: {_message(text)} (HTTP {answer.status}, {method} {path})"
            )
            refused.status = answer.status
            raise refused
        try:
            return json.loads(text) if text.strip() else None
        except ValueError:
            raise OperationalError(
                f"{self.url} does not answer as Kafka Connect does: {' '.join(text.split())[:200]!r}"
            ) from None

    def check_plugin(self) -> str:
        """The version of Debezium's connector. Raises ConfigurationError where the workers have none."""
        for plugin in self("GET", "/connector-plugins"):
            if plugin["class"] == CONNECTOR_CLASS:
                return str(plugin.get("version", ""))
        raise ConfigurationError(
            f"Kafka Connect at {self.url} has no Debezium connector for PostgreSQL: unpack it into a "
            f"directory of its"
            " plugin.path, on every worker"
        )

    def config(self, name: str) -> dict[str, str] | None:
        """The properties of a connector; None where there is none of that name."""
        found: dict[str, str] | None = self._or_none("GET", f"/connectors/{name}/config")
        return found

    def status(self, name: str) -> ConnectorStatus:
        found = self._or_none("GET", f"/connectors/{name}/status")
        if found is None:
            return ConnectorStatus(name, "ABSENT")
        traces = [found["connector"].get("trace"), *(task.get("trace") for task in found["tasks"])]
        error = next((_cause(trace) for trace in traces if trace), "")
        tasks = tuple(task["state"] for task in found["tasks"])
        return ConnectorStatus(name, found["connector"]["state"], tasks, error)

    def offsets(self, name: str) -> list[dict[str, Any]]:
        found = self._or_none("GET", f"/connectors/{name}/offsets") or {}
        offsets: list[dict[str, Any]] = found.get("offsets", [])
        return offsets

    def _or_none(self, method: str, path: str) -> Any:
        try:
            return self(method, path)
        except ConnectRequestError as error:
            if error.status == 404:
                return None
            raise

    def wait_for(self, name: str, state: str, timeout: float) -> ConnectorStatus:
        """Until a connector is in a state (RUNNING: its task, too). Raises OperationalError."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.status(name)
            if found.state == state and (state != "RUNNING" or found.is_running):
                return found
            if found.has_failed:
                raise OperationalError(
                    f"connector {name} has failed: {found.error or 'Connect does not say why'}"
                )
            if time.monotonic() >= deadline:
                raise OperationalError(
                    f"connector {name} is {found.state} (tasks: {', '.join(found.tasks) or 'none'}) and not "
                    f"{state}"
                    f" after {timeout:.0f} s"
                )
            time.sleep(0.3)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:300] or "no reason given"


def _cause(trace: str) -> str:
    """The innermost cause of a Java stack trace, in one line."""
    lines = [line.strip() for line in trace.splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0] if lines else "")[:500]


def first_offset(config: FlowConfig, confirmed: str) -> dict[str, Any]:
    """Connect's offset of a connector that goes on at a slot's confirmed position (``"0/16B3748"``).

    With ``lsn_commit`` Debezium's first sequence has a first element, so that it stands above all that the
    embedded capture has sent.
    """
    lsn = parse_lsn(confirmed)
    offset = {"lsn": lsn, "lsn_proc": lsn, "lsn_commit": lsn, "ts_usec": time.time_ns() // 1000}
    return {"offsets": [{"partition": {"server": config.prefix}, "offset": offset}]}
