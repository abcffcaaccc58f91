"""The two drivers: PyMySQL, and mysqlclient for those who say ``OPTIONS["driver"] = "mysqlclient"``.

PyMySQL is the default because mysqlclient, as Debian builds it, hides some of Doris' errors: libmariadb takes
the codes 5001 to 5026 for its own and reports "malformed packet" in their place. What remains to be said of
such an error is in driver_errors.py.
"""

import math
import struct
from typing import Any, Protocol

import pymysql
from django.core.exceptions import ImproperlyConfigured
from pymysql.constants import CR

from dbint.django.backends.doris.fields import ArrayValue
from dbint.doris.mysql import Connection


class Module(Protocol):
    """A module of PEP 249, for the classes of its errors."""

    Error: type[Exception]
    InterfaceError: type[Exception]
    DatabaseError: type[Exception]
    DataError: type[Exception]
    IntegrityError: type[Exception]
    NotSupportedError: type[Exception]
    OperationalError: type[Exception]
    ProgrammingError: type[Exception]


class Driver(Protocol):
    """What the backend asks of a driver."""

    name: str
    module: Module
    options: frozenset[str]  # keys of OPTIONS that it takes

    def connect(self, params: dict[str, Any]) -> Any:
        """A connection as PEP 249 has it. Raises NoHandshakeError, and the module's own errors."""

    def ping(self, connection: Any) -> None:
        """Raise an error of the module when the connection is dead."""


class NoHandshakeError(Exception):
    """What answers does not speak MySQL's protocol."""


class PyMySQL:
    """PyMySQL, which shows all of Doris' errors."""

    name = "pymysql"
    module: Any = pymysql
    options = frozenset(
        (
            "bind_address",
            "connect_timeout",
            "init_command",
            "program_name",
            "read_timeout",
            "ssl",
            "ssl_ca",
            "ssl_cert",
            "ssl_disabled",
            "ssl_key",
            "ssl_verify_cert",
            "ssl_verify_identity",
            "write_timeout",
        )
    )

    def connect(self, params: dict[str, Any]) -> Any:
        connection: Any
        read_timeout = params.get("read_timeout")
        try:
            # PyMySQL's connect_timeout ends with the TCP connection; a server that accepts and says nothing
            # would hold us for ever, so the greeting is read under the same limit.
            connection = Connection(**{**params, "read_timeout": params["connect_timeout"]})
        except (pymysql.InternalError, struct.error, AssertionError, IndexError, ValueError) as error:
            raise NoHandshakeError from error
        connection._read_timeout = read_timeout
        connection.encoders = {**connection.encoders, ArrayValue: _array_literal}
        return connection

    def ping(self, connection: Any) -> None:
        connection.ping(reconnect=False)


def _array_literal(values: ArrayValue, mapping: Any) -> str:
    """An array as Doris' grammar has it, for PyMySQL."""
    return "[" + ", ".join(pymysql.converters.escape_item(v, "utf8mb4", mapping) for v in values) + "]"


class MySQLClient:
    """mysqlclient (MySQLdb), on libmariadb or libmysqlclient."""

    name = "mysqlclient"
    options = frozenset(
        ("connect_timeout", "init_command", "read_timeout", "ssl", "ssl_mode", "write_timeout")
    )

    def __init__(self) -> None:
        """Raises ImproperlyConfigured when it is not installed."""
        try:
            import MySQLdb
            from MySQLdb.connections import Connection
        except ImportError as error:
            raise ImproperlyConfigured(
                f"OPTIONS['driver'] is 'mysqlclient', which cannot be imported ({error}): install it with "
                "pip install mysqlclient (on Debian it needs default-libmysqlclient-dev and pkg-config)"
            ) from error

        class ArrayConnection(Connection):  # type: ignore[misc]  # mysqlclient has no types
            def literal(self, value: Any) -> bytes:
                if isinstance(value, ArrayValue):
                    return b"[" + b", ".join(map(self.literal, value)) + b"]"
                found: bytes = super().literal(value)
                return found

        self.module: Any = MySQLdb
        self._connection: Any = ArrayConnection

    def connect(self, params: dict[str, Any]) -> Any:
        given = {
            **params,
            # By name it would look for a socket in the file system, which Doris has not.
            "host": "127.0.0.1" if params["host"] == "localhost" else params["host"],
            "multi_statements": False,
        }
        for name in ("connect_timeout", "read_timeout", "write_timeout"):
            if name in given:
                given[name] = math.ceil(given[name])
        if given["database"] is None:
            del given["database"]
        try:
            return self._connection(**given)
        except self.module.Error as error:
            if error.args and error.args[0] in _NO_HANDSHAKE:
                raise NoHandshakeError from error
            raise

    def ping(self, connection: Any) -> None:
        connection.ping()


# What libmariadb and libmysqlclient call an answer that is no greeting.
_NO_HANDSHAKE = (CR.CR_VERSION_ERROR, CR.CR_SERVER_HANDSHAKE_ERR, CR.CR_MALFORMED_PACKET)
_DRIVERS: dict[str, type[Driver]] = {driver.name: driver for driver in (PyMySQL, MySQLClient)}
_made: dict[str, Driver] = {}


def driver_named(name: Any) -> Driver:
    """The driver that ``OPTIONS["driver"]`` names. Raises ImproperlyConfigured."""
    if name not in _DRIVERS:
        raise ImproperlyConfigured(f"OPTIONS['driver'] is one of {', '.join(_DRIVERS)}, not {name!r}")
    if name not in _made:
        _made[name] = _DRIVERS[name]()
    return _made[name]
