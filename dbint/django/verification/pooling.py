"""Are connections bounded, reused, and replaced when one dies? The server is asked, not the client."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from dbint.django.verification.access import bounded_copy, break_off, private_connection
from dbint.django.verification.connection import DatabaseProbe
from dbint.verify.probe import ProbeFailed, ProbeUnknown, Scope

EXTRA_USERS = 4
_ROUNDS = 3
_HOLD = 0.03  # seconds that a user keeps a connection


@dataclass(frozen=True, kw_only=True)
class PostgresPoolProbe(DatabaseProbe):
    """N + M users at once on Django's psycopg pool of N connections.

    The pool is one of the probe's own, with the alias' address, credentials and options; its connections are
    recognised in pg_stat_activity by a name that nobody else has.
    """

    group: str = "pooling"
    deadline: float = 15.0
    size: int

    def run(self, scope: Scope) -> str:
        name = f"dbint-verify-pool-{token_hex(4)}"
        users = self.size + EXTRA_USERS
        with private_connection(self.alias, scope) as monitor, self.pool(name, scope) as user:
            scope.doing(f"{users} users of {self.size} connections")
            pids, peak = self.rush(scope, monitor, user, name, users)
            scope.details.update(size=self.size, users=users, uses=len(pids), peak=peak)
            scope.details["connections_opened"] = len(set(pids))
            if peak > self.size:
                raise ProbeFailed(
                    f"{users} users opened {peak} connections at once, and the pool may open {self.size}",
                    self.steps(),
                )
            if peak == 0:
                raise ProbeUnknown(
                    "pg_stat_activity shows none of the pool's connections: a pooler in between hides them"
                )
            if len(set(pids)) > self.size:
                raise ProbeFailed(
                    f"{len(pids)} uses took {len(set(pids))} connections: they are not reused", self.steps()
                )
            scope.doing("a killed connection to be replaced")
            victim = pids[-1]
            with monitor.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [victim])
                if cursor.fetchone() != (True,):
                    raise ProbeUnknown(f"the server would not terminate our own backend {victim}")
            after, peak = self.rush(scope, monitor, user, name, users)
            if victim in after or peak > self.size:
                raise ProbeFailed(
                    f"after one was killed, {users} users had {peak} connections of {self.size}", self.steps()
                )
        return (
            f"{users} users at once never held more than {self.size} connections (counted by the server), "
            f"{len(pids)} uses reused {len(set(pids))}, a killed one was replaced"
        )

    def steps(self) -> list[str]:
        return [
            f'Let Django pool: DATABASES["{self.alias}"]["OPTIONS"]["pool"] = {{"max_size": N}}, '
            "CONN_MAX_AGE = 0 and CONN_HEALTH_CHECKS = True."
        ]

    @contextmanager
    def pool(self, name: str, scope: Scope) -> Iterator[BaseDatabaseWrapper]:
        """A connection whose alias is the pool's key in Django; copies of it share the pool."""
        wrapper = bounded_copy(self.alias, scope.remaining() * 0.5, name=name)
        wrapper.alias = name
        settings = wrapper.settings_dict
        settings["CONN_HEALTH_CHECKS"] = True
        settings["OPTIONS"]["pool"] = {
            "min_size": 0,
            "max_size": self.size,
            "timeout": scope.remaining() * 0.5,
        }
        try:
            yield wrapper
        finally:
            wrapper.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's backend has it

    def rush(
        self, scope: Scope, monitor: BaseDatabaseWrapper, pooled: BaseDatabaseWrapper, name: str, users: int
    ) -> tuple[list[int], int]:
        """All users at once, some rounds each: the backend of every use, and the most seen at once."""
        pids: list[int] = []
        errors: list[BaseException] = []
        start = threading.Barrier(users)

        def use() -> None:
            try:
                start.wait(timeout=5)
                for _ in range(_ROUNDS):
                    mine = pooled.copy(name)
                    try:
                        with mine.cursor() as cursor:
                            cursor.execute("SELECT pg_backend_pid(), pg_sleep(%s)", [_HOLD])
                            pids.append(cursor.fetchone()[0])
                    finally:
                        mine.close()
            except BaseException as error:  # noqa: BLE001 - carried into the probe's own thread
                errors.append(error)

        threads = [threading.Thread(target=use, daemon=True) for _ in range(users)]
        for thread in threads:
            thread.start()
        peak = 0
        while any(thread.is_alive() for thread in threads):
            scope.check()
            peak = max(peak, self.count(monitor, name))
            time.sleep(0.005)
        if errors:
            raise errors[0]
        return pids, peak

    def count(self, monitor: BaseDatabaseWrapper, name: str) -> int:
        with monitor.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
            return int(cursor.fetchone()[0])


@dataclass(frozen=True, kw_only=True)
class PersistentConnectionProbe(DatabaseProbe):
    """Django's persistent connections, where there is no pool: kept between requests, replaced when dead."""

    group: str = "pooling"
    deadline: float = 10.0

    def run(self, scope: Scope) -> str:
        wrapper = bounded_copy(self.alias, scope.remaining() * 0.8)
        wrapper.settings_dict["CONN_MAX_AGE"], wrapper.settings_dict["CONN_HEALTH_CHECKS"] = None, True
        with closing(wrapper), scope.abortable(lambda: break_off(wrapper)):
            scope.doing("two requests on one connection")
            first, second = self.request(wrapper), self.request(wrapper)
            if first != second:
                raise ProbeFailed(
                    f"two requests had two connections ({first}, {second}): connections are not reused",
                    [f'Set CONN_MAX_AGE in DATABASES["{self.alias}"].'],
                )
            scope.doing("a broken connection to be replaced")
            # Cut below the driver, as a firewall or a restarted frontend would do it.
            wrapper.connection._sock.shutdown(socket.SHUT_RDWR)
            third = self.request(wrapper)
        scope.details.update(connections=[first, third])
        return "one connection served two requests; cut off, it was replaced without an error"

    def request(self, wrapper: BaseDatabaseWrapper) -> Any:
        """What Django does before a request: closes the connection if it is not well; then one query."""
        wrapper.health_check_done = False  # type: ignore[attr-defined]  # the stubs have forgotten it
        wrapper.close_if_unusable_or_obsolete()
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            return cursor.fetchone()[0]
