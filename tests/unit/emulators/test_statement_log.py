"""The log of what clients sent: complete, and without passwords."""

import base64
import http.client
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from dbint.emulators.doris.statement_log import StatementLog, mask
from tests.unit.emulators.conftest import PASSWORD, connect


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statements") / "log.jsonl"


@pytest.fixture(scope="module")
def logged(path: Path) -> Iterator[DorisEmulator]:
    with DorisEmulator(password=PASSWORD, statement_log=path) as running:
        with connect(running) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE seen")
            cursor.execute(
                "CREATE TABLE seen.t (id BIGINT, v INT) UNIQUE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1"
                " PROPERTIES ('replication_num' = '1')"
            )
        yield running


def test_every_statement(logged: DorisEmulator, path: Path) -> None:
    with connect(logged) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        cursor.execute("USE seen")
        cursor.execute("SELECT 'Grüße', %s", ("🙂",))
        with pytest.raises(pymysql.MySQLError):
            cursor.execute("SELECT nothing FROM nowhere")
    last = _records(path)[-4:]
    assert [r["text"] for r in last] == [
        "SHOW DATABASES",
        "USE seen",
        "SELECT 'Grüße', '🙂'",
        "SELECT nothing FROM nowhere",
    ]
    assert [r["database"] for r in last] == [None, None, "seen", "seen"]
    assert {r["kind"] for r in last} == {"sql"}
    assert {r["user"] for r in last} == {"root"}
    assert ["error" in r for r in last] == [False, False, False, True]
    assert "does not exist" in last[3]["error"]
    assert all(r["time"].endswith("+00:00") for r in last)


def test_every_load(logged: DorisEmulator, path: Path) -> None:
    """The redirect of the frontend and the load itself; not other requests."""
    login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    body = b'{"id": 1}\n'
    for port in (logged.http_port, logged.be_http_port):
        headers = {
            "Authorization": f"Basic {login}",
            "Expect": "100-continue",
            "columns": "id, v = length('ä')",
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/api/health")
        connection.getresponse().read()
        connection.close()
        connection.putrequest("PUT", "/api/seen/t/_stream_load")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value.encode())
        connection.endheaders()
        if port == logged.be_http_port:
            connection.send(body)
        connection.getresponse().read()
        connection.close()
    for _ in range(200):  # a load is written down after its answer
        found = [r for r in _records(path) if r["kind"] == "load"]
        if len(found) == 2:
            break
        time.sleep(0.01)
    redirect, load = found
    for record in (redirect, load):
        assert (record["method"], record["path"]) == ("PUT", "/api/seen/t/_stream_load")
        assert (record["database"], record["user"]) == ("seen", "root")
        assert record["headers"]["columns"] == "id, v = length('ä')"
        assert "authorization" not in record["headers"]
    assert (redirect["status"], redirect["bytes"]) == (307, 0)
    assert (load["status"], load["bytes"]) == (200, len(body))
    assert login not in path.read_text()


@pytest.mark.parametrize(
    ("sql", "masked"),
    [
        ("SET PASSWORD = PASSWORD('s3cret')", "SET PASSWORD = PASSWORD('***')"),
        ("SET PASSWORD FOR 'jack'@'%' = '*0123AB'", "SET PASSWORD FOR 'jack'@'%' = '***'"),
        (
            "CREATE USER 'jack' IDENTIFIED BY 'it''s \\'' COMMENT 'c'",
            "CREATE USER 'jack' IDENTIFIED BY '***' COMMENT 'c'",
        ),
        ("ALTER USER jack IDENTIFIED BY PASSWORD '*01'", "ALTER USER jack IDENTIFIED BY PASSWORD '***'"),
        (
            'CREATE RESOURCE r PROPERTIES("s3.secret_key" = "k", "s3.access_key"="a")',
            "CREATE RESOURCE r PROPERTIES(\"s3.secret_key\" = '***', \"s3.access_key\"='***')",
        ),
        ("SELECT name FROM users WHERE password = 'hash'", "SELECT name FROM users WHERE password = '***'"),
        ("SELECT 'password is', 'shown'", "SELECT 'password is', 'shown'"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_secrets(sql: str, masked: str) -> None:
    assert mask(sql) == masked


def test_only_its_owner_reads_it(path: Path, logged: DorisEmulator) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_ends_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = StatementLog(Path("/dev/full"))
    with caplog.at_level(logging.ERROR, "dbint.emulators.doris"):
        log.write({"kind": "sql"})
        log.write({"kind": "sql"})
        log.close()
    assert [r.getMessage() for r in caplog.records] == [
        f"the statement log /dev/full ends here: {os.strerror(28)}"
    ]


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DorisEmulator(password=PASSWORD, statement_log=tmp_path / "none" / "log").start()
