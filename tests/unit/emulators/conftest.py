"""One emulator for the unit tests of a run, and a database of its own for each test."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from pymysql.cursors import Cursor

from dbint.emulators.doris import DorisEmulator

PASSWORD = "p$:word/@%"
_numbers = itertools.count(1)


@dataclass
class Client:
    """A connection, and the shortest way to run a statement and see what came."""

    emulator: DorisEmulator
    connection: Any
    database: str

    def run(self, sql: str, *args: Any) -> Cursor:
        cursor = self.connection.cursor()
        cursor.execute(sql, args or None)
        return cursor

    def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        return list(self.run(sql, *args).fetchall())

    def value(self, sql: str) -> Any:
        ((value,),) = self.rows(sql)
        return value

    def refused(self, sql: str) -> tuple[int, str]:
        """Code and message of the error that the statement must give."""
        with pytest.raises(pymysql.MySQLError) as caught:
            self.run(sql)
        code, message = caught.value.args
        assert message.startswith("errCode = 2, detailMessage = ")
        return code, message.removeprefix("errCode = 2, detailMessage = ")

    def table(
        self, columns: str, keys: str = "UNIQUE KEY(id)", properties: str = "", name: str = "t"
    ) -> None:
        self.run(
            f"CREATE TABLE {name} ({columns}) {keys} DISTRIBUTED BY HASH(id) BUCKETS 1 "
            f"PROPERTIES ('replication_num' = '1'{properties})"
        )

    def wait_for_jobs(self) -> None:
        """Until the schema changes of this database are done."""
        deadline = time.monotonic() + 10
        while any(row[9] not in ("FINISHED", "CANCELLED") for row in self.rows("SHOW ALTER TABLE COLUMN")):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def another(self) -> "Client":
        """A second connection to the same database."""
        return Client(self.emulator, connect(self.emulator, self.database), self.database)


def connect(emulator: DorisEmulator, database: str | None = None, **given: Any) -> Any:
    settings = {"user": "root", "password": PASSWORD, "autocommit": True, "ssl_disabled": True, **given}
    return pymysql.connect(host="127.0.0.1", port=emulator.query_port, database=database, **settings)


@pytest.fixture(scope="session")
def emulator() -> Iterator[DorisEmulator]:
    with DorisEmulator(password=PASSWORD, faults=True) as running:
        yield running


@pytest.fixture(scope="session")
def reader(emulator: DorisEmulator) -> Iterator[Client]:
    """For statements that need no database."""
    with connect(emulator) as connection:
        yield Client(emulator, connection, "")


@contextmanager
def fresh_database(emulator: DorisEmulator) -> Iterator[Client]:
    name = f"test_{next(_numbers)}"
    connection = connect(emulator)
    client = Client(emulator, connection, name)
    client.run(f"CREATE DATABASE {name}")
    client.run(f"USE {name}")
    yield client
    connection.close()
    with connect(emulator) as cleaner:
        cleaner.cursor().execute(f"DROP DATABASE {name} FORCE")


@pytest.fixture
def doris(emulator: DorisEmulator) -> Iterator[Client]:
    with fresh_database(emulator) as client:
        yield client


@pytest.fixture(scope="module")
def shared(emulator: DorisEmulator) -> Iterator[Client]:
    """One database for all tests of a module that only read, or are refused."""
    with fresh_database(emulator) as client:
        yield client
