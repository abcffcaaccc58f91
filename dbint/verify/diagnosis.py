"""From an exception to what is wrong, in one word that advice can be chosen by, and one clean line of text.

Drivers are recognised by what their exceptions carry (SQLSTATE, MySQL error number, a class of
`dbint.errors`), so nothing here imports a driver. libpq reports a failed connection as text alone: there the
text is read.
"""

import re
import socket
from collections.abc import Iterator
from enum import StrEnum

from dbint import errors


class Kind(StrEnum):
    """What is wrong, as far as the exception tells."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    NAME_UNKNOWN = "name_unknown"
    NOT_THE_PROTOCOL = "not_the_protocol"
    AUTHENTICATION = "authentication"
    TLS = "tls"
    DATABASE_MISSING = "database_missing"
    TABLE_MISSING = "table_missing"
    COLUMN_MISSING = "column_missing"
    TOPIC_MISSING = "topic_missing"
    NO_PERMISSION = "no_permission"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    READ_ONLY = "read_only"
    STARTING = "starting"
    DISK_FULL = "disk_full"
    VERSION = "version"
    CONFIGURATION = "configuration"
    LOST = "lost"
    OTHER = "other"


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES = {
    "28P01": Kind.AUTHENTICATION,
    "28000": Kind.AUTHENTICATION,
    "3D000": Kind.DATABASE_MISSING,
    "3F000": Kind.TABLE_MISSING,
    "42P01": Kind.TABLE_MISSING,
    "42703": Kind.COLUMN_MISSING,
    "42501": Kind.NO_PERMISSION,
    "53100": Kind.DISK_FULL,
    "53300": Kind.TOO_MANY_CONNECTIONS,
    "25006": Kind.READ_ONLY,
    "57014": Kind.TIMEOUT,
    "55P03": Kind.TIMEOUT,
    "57P01": Kind.LOST,
    "57P02": Kind.LOST,
    "57P03": Kind.STARTING,
    "08001": Kind.UNREACHABLE,
    "08006": Kind.LOST,
}

# MySQL's numbers, which Doris uses too; 2000 and above are raised by the client.
_MYSQL_CODES = {
    1040: Kind.TOO_MANY_CONNECTIONS,
    1044: Kind.NO_PERMISSION,
    1045: Kind.AUTHENTICATION,
    1049: Kind.DATABASE_MISSING,
    1051: Kind.TABLE_MISSING,
    1054: Kind.COLUMN_MISSING,
    1142: Kind.NO_PERMISSION,
    1146: Kind.TABLE_MISSING,
    1227: Kind.NO_PERMISSION,
    2003: Kind.UNREACHABLE,
    2006: Kind.LOST,
    2013: Kind.LOST,
    2026: Kind.TLS,
}

# Read only where no code says more. The first match wins.
_TEXTS = tuple(
    (re.compile("|".join(texts), re.IGNORECASE), kind)
    for kind, texts in (
        (Kind.NAME_UNKNOWN, ("name or service not known", "could not translate host", "failed to resolve")),
        (Kind.NAME_UNKNOWN, ("nodename nor servname", "temporary failure in name resolution")),
        (Kind.UNREACHABLE, ("connection refused", "no route to host", "network is unreachable")),
        (Kind.UNREACHABLE, (r"connection to server on socket .* failed: no such file",)),
        (Kind.NOT_THE_PROTOCOL, ("invalid response to ssl", "unsupported protocol", "protocol mismatch")),
        (
            Kind.NOT_THE_PROTOCOL,
            ("expected authentication request", "lost synchronization", "invalid length"),
        ),
        (
            Kind.NOT_THE_PROTOCOL,
            ("packet sequence number wrong", "malformed packet", "invalid message length"),
        ),
        (Kind.AUTHENTICATION, ("password authentication failed", "no password supplied", "access denied")),
        (
            Kind.AUTHENTICATION,
            ("authentication failed", r"no pg_hba\.conf entry", r'role ".*" does not exist'),
        ),
        (Kind.TLS, ("server does not support ssl", "certificate verify failed", "ssl error", r"\btls\b")),
        (
            Kind.DATABASE_MISSING,
            (r'database ".*" does not exist', r"database \[.*\] does not exist", "unknown database"),
        ),
        (Kind.TABLE_MISSING, (r'relation ".*" does not exist', "no such table", "unknown table")),
        (Kind.TABLE_MISSING, (r"table .* does not exist",)),
        (Kind.COLUMN_MISSING, ("unknown column",)),  # Doris gives its planner's errors one code, 1105
        (Kind.TOPIC_MISSING, ("unknown topic",)),
        (Kind.TOO_MANY_CONNECTIONS, ("too many (clients|connections)", "remaining connection slots")),
        (Kind.STARTING, ("the database system is (starting up|shutting down|in recovery)",)),
        (Kind.DISK_FULL, ("no space left",)),
        (Kind.VERSION, ("or later is required",)),
        (Kind.TIMEOUT, ("timed? ?out", "timeout expired")),
        (Kind.LOST, ("server closed the connection", "connection reset", "broken pipe", "lost connection")),
        (Kind.LOST, ("server has gone away",)),
    )
)

_CLASSES = (
    (errors.UnreachableError, Kind.UNREACHABLE),
    (errors.AuthenticationError, Kind.AUTHENTICATION),
    (errors.DeadlineError, Kind.TIMEOUT),
    (errors.ConfigurationError, Kind.CONFIGURATION),
    (socket.gaierror, Kind.NAME_UNKNOWN),
    (ConnectionRefusedError, Kind.UNREACHABLE),
    (ConnectionResetError, Kind.LOST),
    (BrokenPipeError, Kind.LOST),
    (TimeoutError, Kind.TIMEOUT),
)

_UNKNOWN_TOPIC = 3  # UNKNOWN_TOPIC_OR_PARTITION, https://kafka.apache.org/protocol#protocol_error_codes
_NOT_AUTHORIZED = (29, 30, 31, 53)
_SASL_FAILED = 58


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def classify(error: BaseException) -> Kind:
    """What ``error`` says is wrong: the most certain evidence in its chain of causes wins."""
    chain = list(causes(error))
    for link in chain:
        if (kind := _by_code(link)) is not None:
            return kind
    text = " ".join(map(str, chain))
    for pattern, kind in _TEXTS:
        if pattern.search(text):
            return kind
    return next((kind for link in chain for cls, kind in _CLASSES if isinstance(link, cls)), Kind.OTHER)


def _by_code(error: BaseException) -> Kind | None:
    kafka_code = getattr(error, "kafka_code", None)
    if kafka_code == _UNKNOWN_TOPIC:
        return Kind.TOPIC_MISSING
    if kafka_code in _NOT_AUTHORIZED:
        return Kind.NO_PERMISSION
    if kafka_code == _SASL_FAILED:
        return Kind.AUTHENTICATION
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str) and sqlstate in _SQLSTATES:
        return _SQLSTATES[sqlstate]
    # (number, text) is how PyMySQL and mysqlclient fill an exception; OSError does it too, with errno.
    if not isinstance(error, OSError) and error.args and isinstance(error.args[0], int):
        if error.args[0] in (2003, 2013) and "timed out" in str(error):
            return Kind.TIMEOUT
        return _MYSQL_CODES.get(error.args[0])
    return None


def one_line(error: BaseException) -> str:
    """The error's own words in one line, the class before them where they alone would not be understood."""
    args = error.args
    text = (
        str(args[1])
        if len(args) == 2 and isinstance(args[0], int) and not isinstance(error, OSError)
        else str(error)
    )
    # libpq adds a hint in a line of its own, psycopg the list of attempts: one line keeps the sense.
    text = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    text = re.sub(r"\s+", " ", text)
    plain = isinstance(error, errors.Error) or type(error).__name__ in {
        "OperationalError",
        "ProgrammingError",
    }
    if not text:
        return type(error).__name__
    return text if plain else f"{type(error).__name__}: {text}"


def place(error: BaseException) -> str:
    """Where the innermost frame of ``error`` stands: "dbint/verify/kafka.py:87 in run"."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    # The last parts of the path tell a reader where to look, and nothing about the machine.
    path = "/".join(code.co_filename.replace("\\", "/").split("/")[-3:])
    return f"{path}:{trace.tb_lineno} in {code.co_name}"
