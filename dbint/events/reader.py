"""Reading: runs the query API's statements on psycopg's pools, for threads and for event loops."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self
from weakref import WeakKeyDictionary

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from dbint import _core, errors
from dbint.breaker import CircuitBreaker
from dbint.events.config import DatabaseConfig
from dbint.events.health import QueryWindow
from dbint.events.queries import Event, Query, events

SERVER_REFUSED = -19  # DBI_ESERVER of csrc/core/err.h
MAX_IDLE = 600.0  # seconds

# What says that the server or the way to it is ill. Any other refusal is about the query.
FAILURES = (psycopg.OperationalError, psycopg.InterfaceError)

_Connection = psycopg.Connection[tuple[Any, ...]]
_AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
_Pools = WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool[_AsyncConnection]]

# The pools of a parent process, seen from a child: kept, for their finalizers would work on what is not ours.
_abandoned: list[object] = []


class Reader:
    """One pool for threads and one for each event loop, made when they are first needed in a process.

    Each query runs in a read-only transaction of its own, within ``query_timeout``, in one round trip.
    ``login`` is asked for user and password for each new connection.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        breaker: CircuitBreaker,
        window: QueryWindow,
        login: Callable[[], Mapping[str, str]],
    ) -> None:
        self._config, self._breaker, self._window, self._login = config, breaker, window, login
        timeout_ms = round(config.query_timeout * 1000)
        self._begin = ("BEGIN READ ONLY", f"SET LOCAL statement_timeout = {timeout_ms}")
        self._lock = threading.Lock()
        self._closed = False
        self._pool: ConnectionPool[_Connection] | None = None
        self._loop_pools: _Pools = WeakKeyDictionary()
        self._connection_error = "all connections are in use"

    def after_fork(self) -> None:
        """To be called in a child: it has pools of its own."""
        _abandoned.extend((self._pool, *self._loop_pools.values()))
        self._lock, self._pool, self._loop_pools = threading.Lock(), None, WeakKeyDictionary()

    def fetch(self, query: Query) -> list[Event]:
        """The rows. Raises CircuitOpenError, and what else dbint.errors has for servers."""
        found: list[Event] = []
        with (
            translated(self._config, self._why),
            self._breaker.acquire(),
            self._window.timed(),
            self._thread_pool().connection() as connection,
        ):
            for statement in query.statements():
                try:
                    with connection.pipeline():
                        for command in self._begin:
                            connection.execute(command)
                        cursor = connection.execute(statement.text, statement.parameters)
                        connection.execute("COMMIT")
                except psycopg.Error:
                    with suppress(psycopg.Error):
                        connection.rollback()
                    raise
                found += events([column.name for column in cursor.description or ()], cursor.fetchall())
                if len(found) >= query.limit:
                    break
        return found[: query.limit]

    async def fetch_async(self, query: Query) -> list[Event]:
        """The same; cancelling the task cancels the query."""
        found: list[Event] = []
        with translated(self._config, self._why), self._breaker.acquire(), self._window.timed():
            pool = await self._loop_pool()
            async with pool.connection() as connection:
                for statement in query.statements():
                    try:
                        async with connection.pipeline():
                            for command in self._begin:
                                await connection.execute(command)
                            cursor = await connection.execute(statement.text, statement.parameters)
                            await connection.execute("COMMIT")
                    except psycopg.Error:
                        with suppress(psycopg.Error):
                            await connection.rollback()
                        raise
                    names = [column.name for column in cursor.description or ()]
                    found += events(names, await cursor.fetchall())
                    if len(found) >= query.limit:
                        break
        return found[: query.limit]

    def size(self) -> tuple[int, int]:
        """How many connections are open in all pools, and how many of these are idle."""
        with self._lock:
            pools: list[Any] = [self._pool, *self._loop_pools.values()]
        stats = [pool.get_stats() for pool in pools if pool is not None]
        return sum(one["pool_size"] for one in stats), sum(one["pool_available"] for one in stats)

    def drain(self) -> None:
        """Has all connections replaced: those in use when they come back."""
        with self._lock:
            pool, others = self._pool, list(self._loop_pools.items())
        if pool is not None:
            pool.drain()
        for loop, other in others:
            if not loop.is_closed():
                asyncio.run_coroutine_threadsafe(other.drain(), loop)

    def close(self, timeout: float) -> None:
        """Closes the pools; those of event loops are closed by their loops, a moment later."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            others = list(self._loop_pools.items())
            self._loop_pools.clear()
        if pool is not None:
            pool.close(timeout)
        for loop, other in others:
            if not loop.is_closed():
                asyncio.run_coroutine_threadsafe(other.close(timeout), loop)

    async def close_async(self, timeout: float) -> None:
        """The same, but waits for the pool of the running loop."""
        await self.close_loop(timeout)
        await asyncio.to_thread(self.close, timeout)

    async def close_loop(self, timeout: float) -> None:
        """Closes the pool of the running loop alone: the next query opens another."""
        with self._lock:
            own = self._loop_pools.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close(timeout)

    def _parameters(self) -> dict[str, Any]:
        return {**self._config.connection_parameters(), **self._login()}

    def _options(self) -> dict[str, Any]:
        return {
            # Never prepared: the plan has to know which partitions and how rare a value is asked for.
            "kwargs": lambda: {**self._parameters(), "autocommit": True, "prepare_threshold": None},
            "min_size": 0,
            "max_size": self._config.pool_max_size,
            "max_lifetime": self._config.connection_max_age,
            "max_idle": MAX_IDLE,
            "timeout": self._config.connect_timeout,
            "reconnect_timeout": self._config.connect_timeout,
            "name": "dbint-events",
            "open": False,
        }

    def _thread_pool(self) -> ConnectionPool[_Connection]:
        with self._lock:
            self._check_open()
            if self._pool is None:
                self._pool = ConnectionPool(
                    connection_class=_noting(self._note_connection_error),
                    check=ConnectionPool.check_connection,
                    **self._options(),
                )
                self._pool.open()
            return self._pool

    async def _loop_pool(self) -> AsyncConnectionPool[_AsyncConnection]:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check_open()
            pool = self._loop_pools.get(loop)
            if pool is None:
                pool = self._loop_pools[loop] = AsyncConnectionPool(
                    connection_class=_noting_async(self._note_connection_error),
                    check=AsyncConnectionPool.check_connection,
                    **self._options(),
                )
        if pool.closed:
            await pool.open()
        return pool

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ClosedError("the database layer has been shut down")

    def _why(self) -> str:
        return self._connection_error

    def _note_connection_error(self, error: psycopg.Error) -> None:
        self._connection_error = " ".join(str(error).split())


@contextmanager
def connected(config: DatabaseConfig, login: Mapping[str, str] | None = None) -> Iterator[_Connection]:
    """A connection of its own in autocommit mode: for retention and for installing.

    ``login`` has user and password, by default those of ``config``.
    """
    login = {"user": config.user, "password": config.password} if login is None else login
    given = {key: value for key, value in login.items() if value}
    parameters: dict[str, Any] = {**config.connection_parameters(), **given}
    with translated(config), psycopg.connect(**parameters, autocommit=True) as connection:
        yield connection


@contextmanager
def translated(config: DatabaseConfig, why: Callable[[], str] = str) -> Iterator[None]:
    """psycopg's exceptions become dbint's, by SQLSTATE. ``why`` says why a pool has no connection."""
    where = f"PostgreSQL at {config.host}:{config.port}"
    try:
        yield
    except PoolTimeout as error:
        raise errors.UnreachableError(
            f"no connection to {where} within {config.connect_timeout:g} s: {why()}"
        ) from error
    except psycopg.Error as error:
        raise _translate(error, where) from error


def _translate(error: psycopg.Error, where: str) -> errors.Error:
    text = " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__
    if error.sqlstate is None:
        unreachable = isinstance(error, FAILURES)
        kind: type[Exception] = errors.UnreachableError if unreachable else errors.DatabaseError
    else:
        kind = _core.error_class(SERVER_REFUSED, error.sqlstate)
    advice = ""
    if error.sqlstate in ("42P01", "3F000"):
        advice = ": run 'manage.py migrate', or without Django 'python -m dbint.events install'"
    made = kind(f"{where}: {text}{advice}")
    if not isinstance(made, errors.Error):  # class 28 to 58 and the rest have one; no memory has not
        made = errors.DatabaseError(str(made))
    made.sqlstate = error.sqlstate
    return made


def _noting(note: Callable[[psycopg.Error], None]) -> type[_Connection]:
    """A class of connections that says why one could not be made: the pool does not."""

    class Noting(_Connection):
        @classmethod
        def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
            try:
                return super().connect(conninfo, **kwargs)
            except psycopg.Error as error:
                note(error)
                raise

    return Noting


def _noting_async(note: Callable[[psycopg.Error], None]) -> type[_AsyncConnection]:
    class Noting(_AsyncConnection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
            try:
                return await super().connect(conninfo, **kwargs)
            except psycopg.Error as error:
                note(error)
                raise

    return Noting
