"""The MySQL protocol around a session, on mysql-mimic; what Doris does differently from it is here.

Doris' OK packets carry affected rows and an info text; a failed login ends the connection; errors have Doris'
SQLSTATEs.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from mysql_mimic import ResultColumn, ResultSet, packets
from mysql_mimic.auth import IdentityProvider, NativePasswordAuthPlugin, User
from mysql_mimic.charset import CharacterSet
from mysql_mimic.connection import Connection
from mysql_mimic.control import LocalControl
from mysql_mimic.session import BaseSession
from mysql_mimic.stream import ConnectionClosed, MysqlStream
from mysql_mimic.types import ColumnType, uint_len

from dbint.emulators.doris import statement_log
from dbint.emulators.doris.errors import ACCESS_DENIED, NOT_EMULATED, SQLSTATES, UNKNOWN_ERROR, DorisError
from dbint.emulators.doris.nodes import Node
from dbint.emulators.doris.results import Result, ResultField, as_text
from dbint.emulators.doris.session import Cluster, DorisSession

logger = logging.getLogger("dbint.emulators.doris")
_GONE = (ConnectionError, asyncio.IncompleteReadError, ConnectionClosed)
_WIRE_TYPES = {
    "BOOLEAN": ColumnType.TINY,
    "TINYINT": ColumnType.TINY,
    "UTINYINT": ColumnType.SHORT,
    "SMALLINT": ColumnType.SHORT,
    "USMALLINT": ColumnType.LONG,
    "INTEGER": ColumnType.LONG,
    "UINTEGER": ColumnType.LONGLONG,
    "BIGINT": ColumnType.LONGLONG,
    "UBIGINT": ColumnType.LONGLONG,
    "FLOAT": ColumnType.FLOAT,
    "DOUBLE": ColumnType.DOUBLE,
    "DATE": ColumnType.DATE,
    "TIMESTAMP": ColumnType.DATETIME,
    "TIMESTAMP_S": ColumnType.DATETIME,
    "TIMESTAMP_MS": ColumnType.DATETIME,
}


class _Accounts(IdentityProvider):  # type: ignore[misc] # mysql-mimic is compiled, without types that mypy sees
    """The one account."""

    def __init__(self, user: str, password: str) -> None:
        self._user = User(
            user,
            NativePasswordAuthPlugin.create_auth_string(password) if password else None,
            NativePasswordAuthPlugin.name,
        )

    def get_plugins(self) -> list[Any]:
        return [NativePasswordAuthPlugin()]

    async def get_user(self, username: str) -> User | None:
        if hmac.compare_digest(username.encode(), self._user.name.encode()):
            return self._user
        return None


class _Variables:
    """What mysql-mimic's connection asks of a session's variables: the character sets and the version."""

    def __init__(self, session: DorisSession) -> None:
        self._session = session

    def get(self, name: str) -> Any:
        return (
            CharacterSet.utf8mb4.name
            if name.startswith("character_set")
            else self._session.variables.get(name)
        )

    def set(self, name: str, value: Any, **_force: bool) -> None:
        if name == "external_user":
            self._session.user = value


class _Session(BaseSession):  # type: ignore[misc] # see _Accounts
    """mysql-mimic's side of a session; statements run in a thread."""

    def __init__(self, session: DorisSession, executor: Executor) -> None:
        self.session = session
        self.variables = _Variables(session)
        self.username: str | None = None
        self.database: str | None = None
        self._executor = executor

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    async def handle_query(self, sql: str, attrs: dict[str, str]) -> ResultSet:
        del attrs
        with statement_log.statement(self.session, sql):
            result: Result = await self.run(self.session.execute, sql)
        if not result.fields:
            raise _Ok(result)
        return ResultSet(result.rows, [_column(f) for f in result.fields])

    async def use(self, database: str) -> None:
        await self.run(self.session.use, database)

    async def reset(self) -> None:
        """COM_RESET_CONNECTION and COM_CHANGE_USER."""
        await self.run(self.session.rollback)

    async def close(self) -> None:
        await self.run(self.session.close)


class _Ok(Exception):  # noqa: N818 - an answer, carried past mysql-mimic, which has no place for its counts
    def __init__(self, result: Result) -> None:
        self.result = result


class _Connection(Connection):  # type: ignore[misc] # see _Accounts
    """A connection that answers as Doris' frontend does."""

    _database: str | None = None
    _in_login = False

    async def connection_phase(self) -> None:
        try:
            await super().connection_phase()
        except _GONE:
            logger.debug("a client left before its login")  # what probes of the port do
            raise asyncio.CancelledError from None

    async def authenticate(self, **given: Any) -> None:
        self._database, self.session.database = self.session.database, None
        self.session.username = None
        self._in_login = True
        try:
            await super().authenticate(**given)
        finally:
            self._in_login = False
        if self.session.username is None:
            raise asyncio.CancelledError  # mysql-mimic would go on to take commands

    def ok(self, **given: Any) -> bytes:
        """The OK packet; for a login only where its database exists."""
        if self._in_login and self._database:
            try:
                self.session.session.use(self._database)
            except DorisError as error:
                self.session.username = None
                return self._refusal(error)
        packet: bytes = super().ok(**given)
        return packet

    def error(self, **given: Any) -> bytes:
        message, code = given.get("msg", ""), int(given.get("code", UNKNOWN_ERROR))
        if self._in_login:
            user = self.session.session.user
            return _error_packet(
                ACCESS_DENIED, f"Access denied for user '{user}@127.0.0.1' (using password: YES)"
            )
        if isinstance(message, Exception):
            logger.error("a statement failed inside the emulator", exc_info=message)
            message = f"{NOT_EMULATED} internal error: {type(message).__name__}: {message}"
        return _error_packet(code, str(message))

    def _refusal(self, error: DorisError) -> bytes:
        return _error_packet(error.code, error.message)

    async def handle_query(self, data: bytes) -> None:
        try:
            await super().handle_query(data)
        except _GONE:
            raise asyncio.CancelledError from None
        except _Ok as ok:
            await self._write_ok(ok.result)
        except DorisError as error:
            await self.stream.write(self._refusal(error))

    async def handle_stmt_execute(self, data: bytes) -> None:
        try:
            await super().handle_stmt_execute(data)
        except _Ok as ok:
            await self._write_ok(ok.result)
        except DorisError as error:
            await self.stream.write(self._refusal(error))

    async def handle_init_db(self, data: bytes) -> None:
        try:
            await super().handle_init_db(data)
        except DorisError as error:
            await self.stream.write(self._refusal(error))

    async def _write_ok(self, result: Result) -> None:
        packet = packets.make_ok(
            capabilities=self.capabilities, status_flags=self.status_flags, affected_rows=result.affected
        )
        if result.info:
            info = result.info.encode()
            packet += uint_len(len(info)) + info
        await self.stream.write(packet)


class QueryServer:
    """The query port of a frontend."""

    def __init__(self, cluster: Cluster, user: str, password: str, executor: Executor, node: Node) -> None:
        self._cluster = cluster
        self._node = node
        self._accounts = _Accounts(user, password)
        self._control = LocalControl()
        self._executor = executor
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with one client until it leaves."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        session = DorisSession(self._cluster)
        session.frontend = self._node
        connection = _Connection(
            stream=MysqlStream(reader, writer),
            session=_Session(session, self._executor),
            control=self._control,
            identity_provider=self._accounts,
        )
        connection.connection_id = session.id
        try:
            await connection.start()
        except (*_GONE, asyncio.CancelledError):
            pass  # the client has gone, was refused, or the emulator stops
        except Exception:
            logger.exception("a connection failed")
        finally:
            if task is not None:
                self._tasks.discard(task)
            writer.close()
            session.interrupt()
            await asyncio.get_running_loop().run_in_executor(self._executor, session.close)

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _column(field: ResultField) -> ResultColumn:
    kind = (
        ColumnType.NEWDECIMAL
        if field.kind.startswith("DECIMAL") and not field.kind.endswith("]")
        else _WIRE_TYPES.get(field.kind, ColumnType.STRING)
    )

    def encode(_column: ResultColumn, value: Any) -> bytes:
        return as_text(value, field.kind, field.scale).encode()

    return ResultColumn(field.name, kind, text_encoder=encode)


def _error_packet(code: int, message: str) -> bytes:
    """An ERR packet with Doris' SQLSTATE; mysql-mimic has a list of its own."""
    return b"\xff" + code.to_bytes(2, "little") + b"#" + SQLSTATES.get(code, b"HY000") + message.encode()
