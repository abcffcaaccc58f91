"""Rows into Doris by Stream Load, exactly once, whoever is killed: the loader, the server, or both."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pymysql

from tests.crash.account import Found, Promise, item
from tests.crash.frame import CrashError, python
from tests.crash.scenarios.base import StackScenario
from tests.crash.victims.stream_load import ROWS, payload

TABLE = "crash_rows"

# The table keeps duplicates, so that rows loaded twice are seen twice.
TABLE_DEFINITION = f"""
CREATE TABLE `{TABLE}` (
    `caller` INT NOT NULL, `number` BIGINT NOT NULL, `unit` INT NOT NULL, `payload` VARCHAR(200) NOT NULL
)
DUPLICATE KEY (`caller`, `number`, `unit`)
DISTRIBUTED BY HASH (`caller`) BUCKETS 1
PROPERTIES ("replication_num" = "1")
"""


class StreamLoadScenario(StackScenario):
    """Each call of the victim is one load of numbered rows, under a label that follows from its number."""

    name = "stream_load"
    promise = Promise("every row exactly once; a load is there whole or not at all", units=ROWS, atomic=True)
    server = "doris"
    calls_between = 10

    def setup(self) -> None:
        super().setup()
        self.endpoint = self.stack.endpoint(self.server)
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(TABLE_DEFINITION)

    @property
    def database(self) -> str:
        return str(self.endpoint.credentials["database"])

    @contextlib.contextmanager
    def connect(self) -> Iterator[pymysql.Connection]:
        credentials = self.endpoint.credentials
        try:
            connection = pymysql.connect(
                host=self.endpoint.host,
                port=self.endpoint.ports["query"],
                user=str(credentials["username"]),
                password=str(credentials["password"]),
                database=self.database,
                autocommit=True,
            )
            with connection:
                yield connection
        except pymysql.MySQLError as error:
            raise CrashError(f"{self.server}: {error}") from error

    def victim_command(self, witness: Path) -> list[str]:
        frontend = f"http://{self.endpoint.host}:{self.endpoint.ports['http']}"
        return python("tests.crash.victims.stream_load", str(witness), frontend, self.database, TABLE)

    def victim_environment(self) -> dict[str, str]:
        return {**os.environ, **self.stack.env([self.server])}

    def find(self) -> Found:
        landed: Counter[int] = Counter()
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT `caller`, `number`, `unit`, `payload` FROM `{TABLE}`")  # noqa: S608 - a constant
            for caller, number, unit, text in cursor.fetchall():
                if text != payload(caller, number, unit):
                    raise CrashError(f"row {caller}, {number}, {unit} came back with the payload {text!r}")
                landed[item(caller, number, unit)] += 1
        return Found(landed)
