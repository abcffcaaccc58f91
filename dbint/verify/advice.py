"""What to do about a failure: the setting, the service and the command, for this server in this place."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from dbint.discovery import DEFAULT, SERVICES, Service, is_running_in_kubernetes
from dbint.verify.diagnosis import Kind, classify


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a probe speaks to, and how the project came to it.

    ``service`` is a row of discovery's table, or the vendor's name where there is none ("sqlite").
    ``address_from`` and ``credentials_from`` are in words, such as "environment variable POSTGRES_HOST".
    ``user`` and ``database`` are None where the server has no such thing.
    """

    service: str
    host: str
    port: int | None
    address_from: str
    credentials_from: str = ""
    alias: str | None = None
    user: str | None = None
    database: str | None = None

    @property
    def row(self) -> Service | None:
        return SERVICES.get(self.service)

    @property
    def title(self) -> str:
        return self.row.title if self.row else self.service

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def on_the_stack(self) -> bool:
        return self.address_from.startswith("state file")

    @property
    def settings_place(self) -> str:
        """Where a project's settings have this server."""
        return f'DATABASES["{self.alias}"]' if self.alias else f'DBINT["SERVICES"]["{self.service}"]'

    def client(self, statement: str) -> str:
        """A shell command that runs ``statement`` by hand; its client asks for the password."""
        if self.service == "doris":
            line = ["mysql", "-h", self.host, "-P", str(self.port), "-u", self.user or "", "-p"]
            line += [self.database] if self.database else []
            return shlex.join([*line, "-e", statement])
        pairs = {"host": self.host, "port": self.port, "user": self.user, "dbname": self.database}
        conninfo = " ".join(f"{key}={value}" for key, value in pairs.items() if value)
        return shlex.join(["psql", conninfo, "-c", statement])


def advise(target: Target, error: BaseException | Kind) -> list[str]:
    """Steps for ``error`` met at ``target``, the likeliest first."""
    kind = error if isinstance(error, Kind) else classify(error)
    return _STEPS[kind](target)


def _variables(target: Target, *groups: str) -> str:
    """The environment variables that set these values: "POSTGRES_HOST, POSTGRES_PORT"."""
    row = target.row
    if row is None:
        return ""
    names: list[str] = []
    for group in groups:
        if group == "port":
            names += row.ports[row.main_port].variables[:1]
        else:
            names += getattr(row, f"{group}_variables")[:1]
    return ", ".join(names)


def _where_the_address_is_set(target: Target) -> str:
    keys = "HOST and PORT" if target.alias else "host and port"
    step = f"The address {target.address} came from {target.address_from}."
    if target.address_from == DEFAULT:
        step = f"Nobody gave an address, so it is {target.address}."
    variables = _variables(target, "url", "host", "port")
    change = f"{keys} in {target.settings_place}"
    return f"{step} To change it, set {variables + ', or ' if variables else ''}{change}."


def _unreachable(target: Target) -> list[str]:
    row = target.row
    if is_running_in_kubernetes() and row:
        return [
            f"See whether it has endpoints: kubectl get service,endpoints {row.dns} -n {row.namespace}",
            f"See whether its pods run: kubectl get pods -n {row.namespace} -o wide",
            _where_the_address_is_set(target),
        ]
    if target.on_the_stack:
        return [
            f"Start it: python -m stack start {target.service}",
            f"If it does not stay up, read its log: python -m stack logs {target.service}",
        ]
    steps = [_where_the_address_is_set(target)]
    if row and target.service in ("postgres", "kafka", "doris"):
        steps.append(
            f"Without a {row.title} of your own, start one from dbint's checkout: python -m stack up"
        )
    return steps


def _timeout(target: Target) -> list[str]:
    steps = [
        f"{target.title} at {target.address} was reached, or its packets are dropped on the way, and gave no "
        "answer: look at the server's load and log, and at the firewall or network policy between."
    ]
    if target.on_the_stack:
        steps.append(f"Restart it: python -m stack restart {target.service}")
    elif is_running_in_kubernetes() and target.row:
        steps.append(f"kubectl get networkpolicy,service,endpoints -n {target.row.namespace}")
    else:
        steps.append(_where_the_address_is_set(target))
    steps.append("If the server is only slow, give the probes more time: --deadline SECONDS")
    return steps


def _not_the_protocol(target: Target) -> list[str]:
    return [
        f"Something other than {target.title} listens at {target.address}: "
        f"ss -ltnp 'sport = :{target.port}' on that host says what.",
        _where_the_address_is_set(target),
    ]


def _authentication(target: Target) -> list[str]:
    who = f"The user {target.user!r} and its password" if target.user else "The credentials"
    origin = f"{who} came from {target.credentials_from}. " if target.credentials_from else ""
    places = [_variables(target, "username", "password")]
    places += [f"USER and PASSWORD in {target.settings_place}"] if target.alias else []
    steps = [f"{origin}Correct them there, or set {', or '.join(filter(None, places))}."]
    if target.service in ("postgres", "doris"):
        steps.append(f"Try them by hand: {target.client('SELECT 1')}")
    if is_running_in_kubernetes() and target.row:
        steps.append(f"See which secret the pod mounts: kubectl get secrets -n {target.row.namespace}")
    return steps


def _tls(target: Target) -> list[str]:
    option = (
        'OPTIONS["sslmode"] and OPTIONS["sslrootcert"]' if target.service == "postgres" else "its TLS options"
    )
    return [f"Compare what the server offers with {option} in {target.settings_place}."]


def _database_missing(target: Target) -> list[str]:
    if target.service not in ("postgres", "doris"):
        return [f"Create the database, or name another one in {target.settings_place}."]
    elsewhere = replace(target, database="postgres" if target.service == "postgres" else None)
    return [
        f"Create it: {elsewhere.client(f'CREATE DATABASE {target.database}')}",
        f"Or name another one: {_variables(target, 'database')}, or NAME in {target.settings_place}.",
    ]


def _table_missing(target: Target) -> list[str]:
    return [f"python manage.py migrate --database {target.alias or 'default'}"]


def _column_missing(target: Target) -> list[str]:
    return [
        f"python manage.py showmigrations --database {target.alias or 'default'}",
        f"python manage.py migrate --database {target.alias or 'default'}",
    ]


def _topic_missing(target: Target) -> list[str]:
    return [
        f"See which topics there are: kafka-topics.sh --bootstrap-server {target.address} --list",
        "Create the one that is missing, or let the broker do it (auto.create.topics.enable).",
    ]


def _no_permission(target: Target) -> list[str]:
    user = target.user or "the client"
    if target.service == "postgres":
        return [
            f"Grant what is missing, for example: GRANT CREATE, USAGE ON SCHEMA public TO {user};",
            "Or verify without writing: add --read-only",
        ]
    if target.service == "doris":
        return [
            f"GRANT SELECT_PRIV, LOAD_PRIV, CREATE_PRIV, DROP_PRIV ON {target.database}.* TO '{user}';",
            "Or verify without writing: add --read-only",
        ]
    return [
        f'Allow {user} Create, Read, Write and Describe on topics named as DBINT["VERIFY"] says: '
        f"kafka-acls.sh --bootstrap-server {target.address} --list",
        "Or verify without writing: add --read-only",
    ]


def _too_many(target: Target) -> list[str]:
    if target.service != "postgres":
        return [f"Raise the connection limit of {target.user!r} on {target.title}, or close idle clients."]
    return [
        f"See who holds them: {target.client('TABLE pg_stat_activity')}",
        "Lower the pools' max_size, put PgBouncer in front, or raise max_connections.",
    ]


def _read_only(target: Target) -> list[str]:
    return [
        f"{target.address} is a standby or set read-only: point {target.settings_place} at the primary",
        "Or verify without writing: add --read-only",
    ]


def _starting(target: Target) -> list[str]:
    return [f"Wait until {target.title} has started, then run the verification again."]


def _disk_full(target: Target) -> list[str]:
    return [f"Free disk space on {target.host}, then run the verification again."]


def _version(target: Target) -> list[str]:
    return [
        f"Upgrade {target.title} at {target.address}, or point {target.settings_place} at a newer server: "
        "docs/verification.md lists the versions that are supported."
    ]


def _lost(target: Target) -> list[str]:
    steps = [f"{target.title} at {target.address} closed the connection: its log says why."]
    if target.on_the_stack:
        steps.append(f"python -m stack logs {target.service}")
    return steps


def _other(target: Target) -> list[str]:
    log = f"python -m stack logs {target.service}" if target.on_the_stack else f"the log of {target.title}"
    return [f"Read {log}, and add --traceback to see where the error comes from."]


def _configuration(target: Target) -> list[str]:
    return [f"Correct {target.settings_place}; python manage.py check says more."]


_STEPS: dict[Kind, Callable[[Target], list[str]]] = {
    Kind.UNREACHABLE: _unreachable,
    Kind.NAME_UNKNOWN: _unreachable,
    Kind.TIMEOUT: _timeout,
    Kind.NOT_THE_PROTOCOL: _not_the_protocol,
    Kind.AUTHENTICATION: _authentication,
    Kind.TLS: _tls,
    Kind.DATABASE_MISSING: _database_missing,
    Kind.TABLE_MISSING: _table_missing,
    Kind.COLUMN_MISSING: _column_missing,
    Kind.TOPIC_MISSING: _topic_missing,
    Kind.NO_PERMISSION: _no_permission,
    Kind.TOO_MANY_CONNECTIONS: _too_many,
    Kind.READ_ONLY: _read_only,
    Kind.STARTING: _starting,
    Kind.DISK_FULL: _disk_full,
    Kind.VERSION: _version,
    Kind.LOST: _lost,
    Kind.CONFIGURATION: _configuration,
    Kind.OTHER: _other,
}
