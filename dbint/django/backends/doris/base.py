"""The connection: settings, the driver, errors, and what stands in for transactions."""

# ruff: noqa: ARG002 - these signatures are Django's

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property
from pymysql.constants import CLIENT, CR, ER

from dbint.django.backends.doris import checks  # noqa: F401 - registers the system checks
from dbint.django.backends.doris.account import account_of, addresses_of
from dbint.django.backends.doris.bulk import BulkLoader, loader_from_settings
from dbint.django.backends.doris.client import DatabaseClient
from dbint.django.backends.doris.creation import DatabaseCreation
from dbint.django.backends.doris.cursor import DorisCursor
from dbint.django.backends.doris.driver_errors import LOST
from dbint.django.backends.doris.drivers import NoHandshakeError, driver_named
from dbint.django.backends.doris.features import DatabaseFeatures
from dbint.django.backends.doris.frontends import Address, Frontends, frontends
from dbint.django.backends.doris.ids import MAX_NODE, IdGenerator
from dbint.django.backends.doris.introspection import DatabaseIntrospection
from dbint.django.backends.doris.operations import DatabaseOperations
from dbint.django.backends.doris.schema import DatabaseSchemaEditor
from dbint.django.backends.doris.transactions import ATOMIC, TransactionWrapper
from dbint.django.backends.doris.types import DATA_TYPES
from dbint.django.backends.doris.validation import DatabaseValidation

_VERSION = re.compile(r"(?:doris|selectdb|velodb)\D*?-(\d+)\.(\d+)(?:\.(\d+))?", re.IGNORECASE)
_NOT_READY = -1  # our own code, in the errors of connecting
_OWN_OPTIONS = (
    "atomic",
    "credentials",
    "driver",
    "hosts",
    "http_port",
    "id_node",
    "ignore_row_locks",
    "insert_checks_keys",
    "lenient_models",
    "replication_num",
    "schema_change_timeout",
    "session",
    "stream_load",
)


class DatabaseWrapper(TransactionWrapper):
    vendor = "doris"
    display_name = "Apache Doris"
    data_types: Any = DATA_TYPES
    data_types_suffix: dict[str, str] = {}

    # Comparison is exact: the case-insensitive lookups lower both sides (here, and in lookup_cast).
    operators = {
        "exact": "= %s",
        "iexact": "= LOWER(%s)",
        "contains": "LIKE %s",
        "icontains": "LIKE LOWER(%s)",
        "gt": "> %s",
        "gte": ">= %s",
        "lt": "< %s",
        "lte": "<= %s",
        "startswith": "LIKE %s",
        "endswith": "LIKE %s",
        "istartswith": "LIKE LOWER(%s)",
        "iendswith": "LIKE LOWER(%s)",
    }
    # The right-hand side is an expression here: its own wildcards are escaped by the server.
    pattern_esc = r"REPLACE(REPLACE(REPLACE({}, '\\', '\\\\'), '%%', '\\%%'), '_', '\\_')"
    pattern_ops = {
        "contains": "LIKE CONCAT('%%', {}, '%%')",
        "icontains": "LIKE LOWER(CONCAT('%%', {}, '%%'))",
        "startswith": "LIKE CONCAT({}, '%%')",
        "istartswith": "LIKE LOWER(CONCAT({}, '%%'))",
        "endswith": "LIKE CONCAT('%%', {})",
        "iendswith": "LIKE LOWER(CONCAT('%%', {}))",
    }

    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations
    validation_class = DatabaseValidation

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        try:
            self.driver = driver_named(self.option("driver", "pymysql"))
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"DATABASES[{alias!r}]: {error}") from error
        self.Database: Any = self.driver.module
        self.address: Address | None = None  # the frontend of the connection
        self._cut_off = False
        self._check_options()

    # -- settings

    def _check_options(self) -> None:
        options = self.settings_dict["OPTIONS"]
        known = {*self.driver.options, *_OWN_OPTIONS}
        if unknown := options.keys() - known:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']: unknown {', '.join(map(repr, sorted(unknown)))}; "
                f"known are, with the driver {self.driver.name}, {', '.join(sorted(known))}"
            )
        for name, low, high in (
            ("http_port", 1, 65535),
            ("id_node", 0, MAX_NODE),
            ("replication_num", 1, 32767),
            ("schema_change_timeout", 1, 7 * 86400),
        ):
            value = options.get(name)
            if value is not None and not (type(value) is int and low <= value <= high):
                raise ImproperlyConfigured(
                    f"DATABASES[{self.alias!r}]['OPTIONS'][{name!r}] is a number from {low} to {high}, not "
                    f"{value!r}"
                )
        if options.get("atomic", "plain") not in ATOMIC:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']['atomic'] is one of {', '.join(ATOMIC)}, not "
                f"{options['atomic']!r}"
            )
        for name in ("enable_insert_strict", "insert_max_filter_ratio"):
            if name in (options.get("session") or {}):
                raise ImproperlyConfigured(
                    f"DATABASES[{self.alias!r}]['OPTIONS']['session'][{name!r}]: with it Doris could leave "
                    "rows out of an INSERT and call it a success"
                )
        if options.get("stream_load") is not None and "http_port" not in options:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['OPTIONS']: stream_load needs http_port, the frontend's HTTP "
                "port (8030)"
            )

    def option(self, name: str, default: Any = None) -> Any:
        """One of ``OPTIONS``."""
        return self.settings_dict["OPTIONS"].get(name, default)

    @cached_property
    def ids(self) -> IdGenerator:
        """Source of the ids of this database's rows; one for all connections of the process."""
        return _generator(self.alias, self.option("id_node"))

    @cached_property
    def bulk_loader(self) -> BulkLoader | None:
        """Loads large ``bulk_create`` calls by Stream Load, when ``OPTIONS["stream_load"]`` says so."""
        return loader_from_settings(self)

    # -- connecting

    def get_connection_params(self) -> dict[str, Any]:
        settings, options = self.settings_dict, self.settings_dict["OPTIONS"]
        name = settings["NAME"]
        if name is not None and not name:
            raise ImproperlyConfigured(
                f"DATABASES[{self.alias!r}]['NAME'] is missing: the Doris database to use"
            )
        try:
            address, account = addresses_of(settings)[0], account_of(settings)
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"DATABASES[{self.alias!r}]: {error}") from error
        return {
            "host": address.host,
            "port": address.port,
            "user": account.username,
            "password": account.password,
            "database": name,
            "charset": "utf8mb4",
            "autocommit": True,
            "connect_timeout": 10,
            # UPDATE tells how many rows matched, not how many changed.
            "client_flag": CLIENT.FOUND_ROWS,
            **{key: options[key] for key in self.driver.options if key in options},
        }

    @property
    def frontends(self) -> Frontends:
        """The frontends that the settings name."""
        return frontends(addresses_of(self.settings_dict))

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection to the first frontend that works. Raises OperationalError when none does."""
        known = self.frontends
        if len(known.addresses) == 1:
            self.address = known.addresses[0]
            return self._connect(conn_params)
        problems = []
        for address in known.order():
            try:
                connection = self._connect({**conn_params, "host": address.host, "port": address.port})
                self._check_ready(connection, address)
            except self.Database.Error as error:
                if error.args and error.args[0] not in _OTHER_MAY_WORK:
                    raise
                known.failed(address)
                problems.append(f"{address}: {error.args[-1]}")
            else:
                known.worked(address)
                self.address = address
                return connection
        raise self.Database.OperationalError(
            CR.CR_CONN_HOST_ERROR, f"none of the Doris frontends works: {'; '.join(problems)}"
        )

    def note_failure(self, error: Exception) -> None:
        """Let the next connection go elsewhere, when a statement failed because of the frontend: it went
        away, or does not reach its master.
        """
        code, text = (error.args[0], str(error.args[-1])) if error.args else (0, "")
        if self.address is not None and (code in LOST or _NO_MASTER.search(text)):
            self.frontends.failed(self.address)
            self._cut_off = True

    def _connect(self, conn_params: dict[str, Any]) -> Any:
        where = f"{conn_params['host']}:{conn_params['port']}"
        try:
            connection = self.driver.connect(conn_params)
        except NoHandshakeError as error:
            raise self.Database.OperationalError(
                CR.CR_SERVER_HANDSHAKE_ERR,
                f"what answers at {where} does not speak MySQL's protocol; {_PORT_ADVICE}",
            ) from error
        except self.Database.Error as error:
            raise _explained(error, where, conn_params) from error
        self._cut_off = False
        return connection

    def _check_ready(self, connection: Any, address: Address) -> None:
        """Raise OperationalError when the frontend takes connections and answers no question: it is
        starting.
        """
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchall()
        except self.Database.Error as error:
            connection.close()
            raise self.Database.OperationalError(
                _NOT_READY,
                f"the frontend at {address} takes connections and answers nothing: {error.args[-1]}",
            ) from error

    def session_variables(self) -> dict[str, Any]:
        return {
            "time_zone": self.timezone_name,  # of the date-times that are stored
            "sql_mode": "ONLY_FULL_GROUP_BY",
            "enable_insert_strict": True,  # a value that does not fit is an error
            # A DELETE from a partitioned table that is not UNIQUE goes through all of its partitions.
            "delete_without_partition": True,
            **self.option("session", {}),
        }

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            for name, value in self.session_variables().items():
                if not re.fullmatch(r"\w+", name):
                    raise ImproperlyConfigured(f"OPTIONS['session']: {name!r} is not the name of a variable")
                cursor.execute(f"SET {name} = %s", [value])

    @async_unsafe
    def create_cursor(self, name: str | None = None) -> DorisCursor:
        return DorisCursor(self.connection.cursor(), self)

    def is_usable(self) -> bool:
        if self._cut_off:
            return False
        try:
            self.driver.ping(self.connection)
        except self.Database.Error:
            return False
        return True

    # -- the server

    @cached_property
    def server_comment(self) -> str:
        """``@@version_comment``: where Doris says its real version (VERSION() is a constant of MySQL)."""
        with self.temporary_connection() as cursor:
            cursor.execute("SELECT @@version_comment")
            return str(cursor.fetchone()[0])

    @property
    def emulated(self) -> bool:
        """True when the server is an emulator for development."""
        return "emulat" in self.server_comment.lower()

    def get_database_version(self) -> tuple[int, ...]:
        match = _VERSION.search(self.server_comment)
        if match is None:
            raise NotSupportedError(
                f"the server at {self.frontends.addresses[0]} is not Apache Doris: it calls itself "
                f"{self.server_comment!r}"
            )
        return tuple(int(part) for part in match.groups(default="0"))

    def check_constraints(self, table_names: list[str] | None = None) -> None:
        """Nothing to check: Doris has no constraints."""


# Errors of one frontend, where another may work: not a wrong password, nor a database that is not there.
_OTHER_MAY_WORK = (
    CR.CR_CONNECTION_ERROR,
    CR.CR_CONN_HOST_ERROR,
    CR.CR_UNKNOWN_HOST,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_HANDSHAKE_ERR,
    CR.CR_SERVER_LOST,
    ER.CON_COUNT_ERROR,
    _NOT_READY,
)
# What a frontend says that has lost its cluster, when it should forward a write, or when it starts.
_NO_MASTER = re.compile(
    r"catalog is not ready|(?:get|no|unknown|to|is) master\b|forward(?:ing)? .*master|master client",
    re.IGNORECASE,
)
_PORT_ADVICE = "check HOST and PORT: PORT is the frontend's query port (9030), not its HTTP port (8030)"


_generators: dict[tuple[str, int | None], IdGenerator] = {}


def _generator(alias: str, node: int | None) -> IdGenerator:
    return _generators.setdefault((alias, node), IdGenerator(node))


def _explained(error: Exception, where: str, params: dict[str, Any]) -> Exception:
    """The connection error with what to do about it."""
    code = error.args[0] if error.args else 0
    advice = {
        ER.ACCESS_DENIED_ERROR: f"Doris at {where} does not accept the password of user {params['user']!r}; "
        "check USER and PASSWORD",
        ER.BAD_DB_ERROR: f"Doris at {where} has no database {params['database']!r}; check NAME, or run "
        f"CREATE DATABASE `{params['database']}`",
        **dict.fromkeys(
            (CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_UNKNOWN_HOST),
            f"no Doris answers at {where}; {_PORT_ADVICE}",
        ),
        CR.CR_SERVER_LOST: f"the server at {where} ended the conversation or did not answer within "
        f"{params['connect_timeout']} s; {_PORT_ADVICE}",
    }.get(code)
    if advice is None:
        return error
    return type(error)(code, f"{advice} (server said: {error.args[-1]})")
