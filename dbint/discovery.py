"""The one table of services, and how each is found.

``locate("postgres")`` answers with an :class:`Endpoint`. Each value has a source; the first of these wins:

1. an environment variable (``POSTGRES_HOST``, ``KAFKA_BOOTSTRAP_SERVERS``, ...);
2. the settings: ``settings.DBINT["SERVICES"]``;
3. discovery: inside Kubernetes the service's cluster DNS name; outside, the state file of the development
   stack (``python -m stack up`` writes it);
4. ``localhost`` and the standard port.

Needs no Django and connects nowhere.
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from dbint.errors import ConfigurationError
from dbint.state import DiscoveryError as DiscoveryError  # part of this module's interface
from dbint.state import StackService, read_state

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
LOCALHOST = "localhost"
DEFAULT = "default"
SETTINGS = "settings"
CLUSTER_DNS = "cluster DNS"


# -----------------------------------------------------------------------------
# The table
# -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a service.

    ``dns`` and ``host_variables`` are for a port behind another Kubernetes service than the first port's:
    Doris' backends beside its frontends.
    """

    number: int
    variables: tuple[str, ...] = ()
    dns: str | None = None
    host_variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How the service is asked whether it is well: ``kind`` of check on the port named ``port``."""

    kind: Literal["postgresql", "mysql", "kafka", "redis", "mongodb", "bolt", "http", "tcp"]
    port: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One row of the table.

    ``ports`` maps a role to its port; the first role is the service's main one. The ``*_variables`` name the
    environment variables of a value; where several name the same value, they must not contradict each other.
    ``url_variables`` hold an address in one piece: a URL, or a list ``host:port,host:port`` where
    ``list_separator`` is set.
    """

    name: str
    title: str
    dns: str
    ports: Mapping[str, Port]
    protocol: str
    health: HealthCheck
    namespace: str = "default"
    aliases: tuple[str, ...] = ()
    host_variables: tuple[str, ...] = ()
    url_variables: tuple[str, ...] = ()
    list_separator: str = ""
    username_variables: tuple[str, ...] = ()
    password_variables: tuple[str, ...] = ()
    database_variables: tuple[str, ...] = ()
    # Services that know a password or token alone, without a user's name.
    username_optional: bool = False

    @property
    def main_port(self) -> str:
        """The role of the first port."""
        return next(iter(self.ports))

    def variables(self) -> tuple[str, ...]:
        """Every environment variable that this service reads, ``*_FILE`` twins aside."""
        names = [*self.host_variables, *self.url_variables]
        for port in self.ports.values():
            names += [*port.variables, *port.host_variables]
        return (*names, *self.username_variables, *self.password_variables, *self.database_variables)


def _postgresql_like(
    name: str, title: str, dns: str, prefix: str, number: int = 5432, **more: Any
) -> Service:
    return Service(
        name=name,
        title=title,
        dns=dns,
        ports={"sql": Port(number, (f"{prefix}_PORT",))},
        protocol="postgresql",
        health=HealthCheck("postgresql", "sql"),
        host_variables=(f"{prefix}_HOST",),
        username_variables=(f"{prefix}_USER",),
        password_variables=(f"{prefix}_PASSWORD",),
        **more,
    )


_TABLE = (
    _postgresql_like(
        "postgres",
        "PostgreSQL (CrunchyData)",
        # The operator makes the service <cluster>-primary for the writable server of a cluster.
        "postgres-cluster-primary",
        "POSTGRES",
        database_variables=("POSTGRES_DATABASE", "POSTGRES_DB"),
    ),
    _postgresql_like(
        "supabase",
        "PostgreSQL (Supabase)",
        "supabase-db",
        "SUPABASE_DB",
        database_variables=("SUPABASE_DB_NAME",),
    ),
    _postgresql_like(
        "cdc",
        "CDC management database (PostgreSQL)",
        "postgres-management",
        "CDC_DATABASE",
        number=5434,
        url_variables=("DATABASE_URL",),
        database_variables=("CDC_DATABASE_NAME",),
    ),
    Service(
        name="doris",
        title="Apache Doris",
        dns="doris-fe",
        ports={
            "query": Port(9030, ("DORIS_QUERY_PORT", "DORIS_PORT")),
            "http": Port(8030, ("DORIS_HTTP_PORT",)),
            "be_http": Port(8040, ("DORIS_BE_HTTP_PORT",), dns="doris-be", host_variables=("DORIS_BE_HOST",)),
        },
        protocol="mysql",
        health=HealthCheck("http", "http", "/api/health"),
        host_variables=("DORIS_HOST",),
        username_variables=("DORIS_USER",),
        password_variables=("DORIS_PASSWORD",),
        database_variables=("DORIS_DATABASE",),
    ),
    Service(
        name="kafka",
        title="Apache Kafka",
        dns="kafka",
        ports={"bootstrap": Port(9092, ("KAFKA_PORT",))},
        protocol="kafka",
        health=HealthCheck("kafka", "bootstrap"),
        host_variables=("KAFKA_HOST",),
        url_variables=("KAFKA_BOOTSTRAP_SERVERS",),
        list_separator=",",
        username_variables=("KAFKA_SASL_USERNAME",),
        password_variables=("KAFKA_SASL_PASSWORD",),
    ),
    Service(
        name="kafka_connect",
        title="Kafka Connect",
        dns="kafka-connect",
        ports={"http": Port(8083, ("KAFKA_CONNECT_PORT",))},
        protocol="http",
        health=HealthCheck("http", "http", "/connectors"),
        host_variables=("KAFKA_CONNECT_HOST",),
        url_variables=("KAFKA_CONNECT_URL",),
        username_variables=("KAFKA_CONNECT_USER",),
        password_variables=("KAFKA_CONNECT_PASSWORD",),
    ),
    Service(
        name="redis",
        title="DragonflyDB or Redis",
        dns="dragonfly",
        aliases=("dragonfly",),
        ports={"resp": Port(6379, ("REDIS_PORT", "DRAGONFLY_PORT"))},
        protocol="redis",
        health=HealthCheck("redis", "resp"),
        host_variables=("REDIS_HOST", "DRAGONFLY_HOST"),
        url_variables=("REDIS_URL",),
        username_variables=("REDIS_USER",),
        password_variables=("REDIS_PASSWORD", "DRAGONFLY_PASSWORD"),
        username_optional=True,
    ),
    Service(
        name="ragflow",
        title="RAGflow",
        dns="ragflow",
        ports={"http": Port(9380, ("RAGFLOW_PORT",))},
        protocol="http",
        health=HealthCheck("http", "http", "/api/v1/system/healthz"),
        host_variables=("RAGFLOW_HOST",),
        url_variables=("RAGFLOW_URL",),
        password_variables=("RAGFLOW_API_KEY",),
        username_optional=True,
    ),
    Service(
        name="rocketmq",
        title="Apache RocketMQ",
        dns="rocketmq-namesrv",
        ports={
            "namesrv": Port(9876, ("ROCKETMQ_NAMESRV_PORT",)),
            "proxy": Port(
                8081, ("ROCKETMQ_PROXY_PORT",), dns="rocketmq-proxy", host_variables=("ROCKETMQ_PROXY_HOST",)
            ),
            "broker": Port(
                10911,
                ("ROCKETMQ_BROKER_PORT",),
                dns="rocketmq-broker",
                host_variables=("ROCKETMQ_BROKER_HOST",),
            ),
        },
        protocol="rocketmq",
        health=HealthCheck("tcp", "namesrv"),
        host_variables=("ROCKETMQ_HOST",),
        url_variables=("ROCKETMQ_NAMESRV_ADDR",),
        list_separator=";",
        username_variables=("ROCKETMQ_ACCESS_KEY",),
        password_variables=("ROCKETMQ_SECRET_KEY",),
    ),
    Service(
        name="vault",
        title="HashiCorp Vault",
        dns="vault",
        ports={"http": Port(8200, ("VAULT_PORT",))},
        protocol="http",
        # Answers 200 as a standby, too; the codes tell sealed (503) from uninitialised (501).
        health=HealthCheck("http", "http", "/v1/sys/health?standbyok=true"),
        host_variables=("VAULT_HOST",),
        url_variables=("VAULT_ADDR",),
        password_variables=("VAULT_TOKEN",),
        username_optional=True,
    ),
    Service(
        name="mongodb",
        title="MongoDB",
        dns="mongodb",
        ports={"mongodb": Port(27017, ("MONGODB_PORT",))},
        protocol="mongodb",
        health=HealthCheck("mongodb", "mongodb"),
        host_variables=("MONGODB_HOST",),
        url_variables=("MONGODB_URI",),
        username_variables=("MONGODB_USER",),
        password_variables=("MONGODB_PASSWORD",),
        database_variables=("MONGODB_DATABASE",),
    ),
    Service(
        name="neo4j",
        title="Neo4j",
        dns="neo4j",
        ports={"bolt": Port(7687, ("NEO4J_PORT",)), "http": Port(7474, ("NEO4J_HTTP_PORT",))},
        protocol="bolt",
        health=HealthCheck("bolt", "bolt"),
        host_variables=("NEO4J_HOST",),
        url_variables=("NEO4J_URI",),
        username_variables=("NEO4J_USERNAME", "NEO4J_USER"),
        password_variables=("NEO4J_PASSWORD",),
        database_variables=("NEO4J_DATABASE",),
    ),
)

SERVICES: Mapping[str, Service] = MappingProxyType({service.name: service for service in _TABLE})
_ALIASES = {alias: service.name for service in _TABLE for alias in service.aliases}


def service(name: str) -> Service:
    """The row of ``name`` or of its alias.

    Raises ConfigurationError, with the nearest name, if there is none.
    """
    found = SERVICES.get(_ALIASES.get(name, name))
    if found is None:
        raise ConfigurationError(f"there is no service {name!r}{did_you_mean(name, [*SERVICES, *_ALIASES])}")
    return found


def did_you_mean(word: str, known: list[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    spellings = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), spellings, 1)
    return f": did you mean {spellings[near[0]]!r}?" if near else f": known are {', '.join(sorted(known))}"


# -----------------------------------------------------------------------------
# Where we run
# -----------------------------------------------------------------------------


def is_running_in_kubernetes(environ: Mapping[str, str] | None = None) -> bool:
    """True in a Kubernetes pod: ``KUBERNETES_SERVICE_HOST`` is set or a service account's token is mounted.

    ``DBINT_IN_KUBERNETES=0`` or ``=1`` decides it by hand. Raises ConfigurationError for another value of it.
    """
    environ = os.environ if environ is None else environ
    forced = environ.get("DBINT_IN_KUBERNETES")
    if forced is not None:
        if forced not in ("0", "1"):
            raise ConfigurationError(f"DBINT_IN_KUBERNETES is {forced!r}: set it to 0 or 1, or unset it")
        return forced == "1"
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) or SERVICE_ACCOUNT_TOKEN.exists()


# -----------------------------------------------------------------------------
# Endpoints
# -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is.

    ``addresses`` maps each role to its addresses: one, or several where a list was given (Kafka's bootstrap
    servers).
    ``sources`` maps each value ("host", "port.sql", "database", ...) to where it came from, such as
    "environment variable POSTGRES_HOST", "settings", "cluster DNS", "state file /path" or "default".
    ``options`` are the parameters of a URL (``sslmode=require``).
    ``emulated`` and ``version`` are what the development stack says; None with an address from elsewhere.
    """

    service: str
    addresses: Mapping[str, tuple[Address, ...]]
    sources: Mapping[str, str]
    database: str | None = None
    tls: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    emulated: bool | None = None
    version: str | None = None

    @property
    def host(self) -> str:
        """The host of the main port."""
        return self.address().host

    @property
    def ports(self) -> Mapping[str, int]:
        """Role -> port number."""
        return {role: found[0].port for role, found in self.addresses.items()}

    def port(self, role: str | None = None) -> int:
        """The number of the port ``role`` (default: the main one)."""
        return self.address(role).port

    def address(self, role: str | None = None) -> Address:
        """The first address of the port ``role`` (default: the main one).

        Raises ConfigurationError for an unknown role.
        """
        if role is None:
            return next(iter(self.addresses.values()))[0]
        if role not in self.addresses:
            raise ConfigurationError(
                f"service {self.service!r} has no port {role!r}{did_you_mean(role, list(self.addresses))}"
            )
        return self.addresses[role][0]

    def bootstrap(self, role: str | None = None) -> str:
        """All addresses of ``role`` as ``host:port,host:port``: what Kafka's clients take."""
        role = role or next(iter(self.addresses))
        return ",".join(str(address) for address in self.addresses[role])

    def url(self, role: str | None = None, path: str = "", scheme: str | None = None) -> str:
        """``scheme://host:port/path`` without credentials.

        The default scheme is http, https when TLS is on.
        """
        scheme = scheme or ("https" if self.tls else "http")
        return f"{scheme}://{self.address(role)}{path if path.startswith('/') or not path else '/' + path}"

    @property
    def source(self) -> str:
        """Where the main address came from, in words."""
        role = next(iter(self.addresses))
        host, port = self.sources["host"], self.sources[f"port.{role}"]
        return host if host == port else f"{host}, port: {port}"


def locate(
    name: str,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    use_state: bool = True,
) -> Endpoint:
    """Find a service.

    ``settings`` is the mapping ``DBINT["SERVICES"]``: service name -> {"host", "port", "ports", "hosts",
    "addresses", "url", "namespace", "database"}. ``use_state=False`` leaves the state file unread.
    Raises ConfigurationError, which names the variable or key, for a value that cannot work, and
    DiscoveryError for an unusable state file.
    """
    row = service(name)
    environ = os.environ if environ is None else environ
    chosen = _own_settings(row, settings)
    layers = [_from_environment(row, environ), _from_settings(row, chosen)]
    # Whoever gives the host has left discovery: its ports would belong to another server.
    complete = any("host" in layer for layer in layers)
    entry: StackService | None = None
    if not complete:
        if is_running_in_kubernetes(environ):
            layers.append(_from_cluster(row, str(chosen.get("namespace") or row.namespace)))
        elif use_state and (state := read_state(environ)) and (entry := state.services.get(row.name)):
            layers.append(_from_state(row, entry, state.path))
    return _merge(row, layers, entry)


# What one source knows: value name -> (value, source). The value of "host" is a host or a tuple of Addresses.
_Layer = dict[str, tuple[Any, str]]


def _merge(row: Service, layers: list[_Layer], entry: StackService | None) -> Endpoint:
    def first(name: str) -> tuple[Any, str] | None:
        return next((layer[name] for layer in layers if name in layer), None)

    sources: dict[str, str] = {}
    addresses: dict[str, tuple[Address, ...]] = {}
    for role in row.ports:
        is_main = role == row.main_port
        host, host_source = first(f"host.{role}") or first("host") or (LOCALHOST, DEFAULT)
        number, number_source = first(f"port.{role}") or (row.ports[role].number, DEFAULT)
        if isinstance(host, tuple) and is_main:
            addresses[role], number_source = host, host_source
        else:
            addresses[role] = (Address(host[0].host if isinstance(host, tuple) else host, number),)
        sources["host" if is_main else f"host.{role}"] = host_source
        sources[f"port.{role}"] = number_source
    database, database_source = first("database") or (None, DEFAULT)
    if database is not None:
        sources["database"] = database_source
    tls, _ = first("tls") or (False, DEFAULT)
    options, _ = first("options") or ({}, DEFAULT)
    return Endpoint(
        service=row.name,
        addresses=addresses,
        sources=sources,
        database=database,
        tls=tls,
        options=options,
        emulated=entry.emulated if entry else None,
        version=entry.version if entry else None,
    )


def _from_environment(row: Service, environ: Mapping[str, str]) -> _Layer:
    layer: _Layer = {}
    for variable in row.url_variables:
        if text := variable_value(environ, variable):
            _add_url(layer, row, text, variable, f"environment variable {variable}")
    if found := _one_of(environ, row.host_variables):
        host = _host(row, *found)
        if "host" in layer and _hosts(layer) != [host]:
            raise ConfigurationError(
                f"{layer['host'][1]} and {found[0]} name different hosts of {row.title}: unset one of them"
            )
        layer.setdefault("host", (host, f"environment variable {found[0]}"))
    for role, port in row.ports.items():
        if found := _one_of(environ, port.variables):
            variable, text = found
            if not _SERVICE_LINK.fullmatch(text):
                layer[f"port.{role}"] = (_port(variable, text), f"environment variable {variable}")
        if found := _one_of(environ, port.host_variables):
            layer[f"host.{role}"] = (_host(row, *found), f"environment variable {found[0]}")
    if found := _one_of(environ, row.database_variables):
        layer["database"] = (found[1], f"environment variable {found[0]}")
    return layer


# Kubernetes gives each pod <SERVICE>_PORT=tcp://10.0.0.1:5432 for the services of its namespace: such a value
# was not meant for us.
_SERVICE_LINK = re.compile(r"(tcp|udp)://[0-9a-fA-F.:\[\]]+:\d+")


def _own_settings(row: Service, settings: Mapping[str, Mapping[str, Any]] | None) -> Mapping[str, Any]:
    for name in (row.name, *row.aliases):
        entry = (settings or {}).get(name)
        if entry is not None:
            if not isinstance(entry, Mapping):
                raise ConfigurationError(f'DBINT["SERVICES"]["{name}"] is not a dict')
            return entry
    return {}


def _from_settings(row: Service, entry: Mapping[str, Any]) -> _Layer:
    place = f'DBINT["SERVICES"]["{row.name}"]'
    layer: _Layer = {}
    given = [key for key in ("url", "addresses", "host") if key in entry]
    if len(given) > 1:
        raise ConfigurationError(f"{place} has both {given[0]!r} and {given[1]!r}: keep one of them")
    if "url" in entry:
        _add_url(layer, row, _text(entry, "url", place), f'{place}["url"]', SETTINGS)
    if "addresses" in entry:
        several = entry["addresses"]
        if isinstance(several, str) or not isinstance(several, (list, tuple)) or not several:
            raise ConfigurationError(f'{place}["addresses"] is not a list of "host:port"')
        layer["host"] = (
            tuple(
                _address(row, f'{place}["addresses"]', str(one), row.ports[row.main_port].number)
                for one in several
            ),
            SETTINGS,
        )
    if "host" in entry:
        layer["host"] = (_host(row, f'{place}["host"]', _text(entry, "host", place)), SETTINGS)
    ports = _mapping(entry, "ports", place)
    if "port" in entry and ports.setdefault(row.main_port, entry["port"]) != entry["port"]:
        raise ConfigurationError(
            f'{place} gives the port {row.main_port!r} twice, by "port" and by "ports": keep one of them'
        )
    for role, number in ports.items():
        _known_role(row, role, f'{place}["ports"]')
        layer[f"port.{role}"] = (_port(f'{place}["ports"]["{role}"]', str(number)), SETTINGS)
    for role, host in _mapping(entry, "hosts", place).items():
        _known_role(row, role, f'{place}["hosts"]')
        layer[f"host.{role}"] = (_host(row, f'{place}["hosts"]["{role}"]', str(host)), SETTINGS)
    if "database" in entry:
        layer["database"] = (_text(entry, "database", place), SETTINGS)
    return layer


def _from_cluster(row: Service, namespace: str) -> _Layer:
    layer: _Layer = {"host": (cluster_name(row.dns, namespace), CLUSTER_DNS)}
    for role, port in row.ports.items():
        if port.dns:
            layer[f"host.{role}"] = (cluster_name(port.dns, namespace), CLUSTER_DNS)
    return layer


def cluster_name(dns: str, namespace: str = "default") -> str:
    """The cluster DNS name of a Kubernetes service, such as ``supabase-db.default.svc.cluster.local``."""
    return f"{dns}.{namespace}.svc.cluster.local"


def _from_state(row: Service, entry: StackService, path: Path) -> _Layer:
    source = f"state file {path}"
    layer: _Layer = {"host": (entry.host, source)}
    layer.update(
        {f"port.{role}": (number, source) for role, number in entry.ports.items() if role in row.ports}
    )
    if database := entry.credentials.get("database"):
        layer["database"] = (database, source)
    return layer


# -----------------------------------------------------------------------------
# Values
# -----------------------------------------------------------------------------

_TLS_SCHEMES = frozenset({"https", "rediss", "bolt+s", "bolt+ssc", "neo4j+s", "neo4j+ssc"})
_SCHEMES = {
    "postgresql": {"postgresql", "postgres"},
    "mysql": {"mysql"},
    "kafka": {"kafka"},
    "http": {"http", "https"},
    "redis": {"redis", "rediss"},
    "rocketmq": {"rocketmq"},
    "mongodb": {"mongodb"},
    "bolt": {"bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"},
}
_WEB_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def variable_value(environ: Mapping[str, str], variable: str) -> str | None:
    """The value of ``variable``, or None when it is unset. Raises ConfigurationError when it is empty."""
    text = environ.get(variable)
    if text is not None and not text.strip():
        raise ConfigurationError(f"the environment variable {variable} is empty: give it a value or unset it")
    return text.strip() if text is not None else None


def _one_of(environ: Mapping[str, str], variables: tuple[str, ...]) -> tuple[str, str] | None:
    """(variable, value) of the one that is set. Raises ConfigurationError when two are set and differ."""
    found = [
        (variable, text) for variable in variables if (text := variable_value(environ, variable)) is not None
    ]
    for variable, text in found[1:]:
        if text != found[0][1]:
            raise ConfigurationError(f"{found[0][0]} and {variable} are set and differ: unset one of them")
    return found[0] if found else None


def _host(row: Service, place: str, text: str) -> str:
    """A host name or address. The messages do not quote it: a misplaced URL may carry a password."""
    if row.protocol == "postgresql" and text.startswith("/"):
        return text  # the directory of a Unix-domain socket, as libpq has it
    if "://" in text:
        raise ConfigurationError(
            f"{place} holds a URL: give the host name alone, without scheme, port and path"
        )
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+(%[\w.-]+)?", bare):
        return bare
    if re.fullmatch(r"[^:/@\s]+:\d+", bare):
        raise ConfigurationError(f"{place} holds a host with a port: the port has a setting of its own")
    if not _LABEL.fullmatch(bare) or len(bare) > 253:
        raise ConfigurationError(f"{place} is not a host name or IP address")
    return bare


def _port(place: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        shown = repr(text) if len(text) <= 20 else "its value"
        raise ConfigurationError(f"{place}: {shown} is not a port number (1 to 65535)")
    return int(text)


def _address(row: Service, place: str, text: str, default_port: int) -> Address:
    """``host``, ``host:port``, ``[v6]:port``."""
    text = text.strip()
    if "://" in text:
        scheme, _, text = text.partition("://")
        # Kafka lists may carry listener names: PLAINTEXT://host:port.
        if row.protocol != "kafka" or not scheme.replace("_", "").isalnum():
            raise ConfigurationError(f"{place} is a list of host:port, without scheme")
    matched = re.fullmatch(r"(\[[^\]]+\]|[^:]*)(?::(.*))?", text)
    if not matched or not matched[1]:
        raise ConfigurationError(f"{place}: an entry is not of the form host:port")
    return Address(
        _host(row, place, matched[1]), _port(place, matched[2]) if matched[2] is not None else default_port
    )


def split_url(row: Service, text: str, place: str) -> SplitResult:
    """``text`` as a URL of the service ``row``.

    Raises ConfigurationError, which does not quote it: a URL may carry a password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ConfigurationError(f"{place} is not a valid URL") from None
    schemes = _SCHEMES[row.protocol]
    if parts.scheme not in schemes or not parts.netloc:
        forms = " or ".join(f"{scheme}://host:port" for scheme in sorted(schemes))
        raise ConfigurationError(f"{place} is not a URL of {row.title}: write {forms}")
    return parts


def _add_url(layer: _Layer, row: Service, text: str, place: str, source: str) -> None:
    default_port = row.ports[row.main_port].number
    if row.list_separator:
        entries = [entry for entry in text.split(row.list_separator) if entry.strip()]
        layer["host"] = (tuple(_address(row, place, entry, default_port) for entry in entries), source)
        if not entries:
            raise ConfigurationError(f"{place} names no server")
        return
    parts = split_url(row, text, place)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    default_port = _WEB_PORTS.get(parts.scheme, default_port)
    layer["host"] = (tuple(_address(row, place, unquote(host), default_port) for host in hosts), source)
    if parts.scheme in _TLS_SCHEMES:
        layer["tls"] = (True, source)
    if row.protocol != "http" and (database := unquote(parts.path.strip("/"))):
        layer["database"] = (database, source)
    if options := dict(parse_qsl(parts.query, keep_blank_values=True)):
        layer["options"] = (options, source)


def _hosts(layer: _Layer) -> list[str]:
    host = layer["host"][0]
    return [address.host for address in host] if isinstance(host, tuple) else [host]


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f'{place}["{key}"] is not a text with a value in it')
    return value.strip()


def _mapping(entry: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigurationError(f'{place}["{key}"] is not a dict')
    return dict(value)


def _known_role(row: Service, role: str, place: str) -> None:
    if role not in row.ports:
        raise ConfigurationError(f"{place} has no {role!r}{did_you_mean(role, list(row.ports))}")
