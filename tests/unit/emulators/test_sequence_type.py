"""A UNIQUE table with ``function_column.sequence_type``: a hidden column says which row is the newer.

Source: "Sequence Column" of the Doris documentation.
"""

import base64
import http.client
import json
from typing import Any

import pytest

from tests.unit.emulators.conftest import PASSWORD, Client

MISSING = "Table t has sequence column, need to specify the sequence column"


@pytest.fixture
def table(doris: Client) -> Client:
    doris.table("id INT NOT NULL, v INT, w INT", properties=", 'function_column.sequence_type' = 'bigint'")
    doris.run("INSERT INTO t (id, v, w, __DORIS_SEQUENCE_COL__) VALUES (1, 10, 1, 5)")
    return doris


def load(doris: Client, body: str, **headers: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", doris.emulator.be_http_port, timeout=10)
    login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    given = {"Authorization": f"Basic {login}", "Expect": "100-continue", "column_separator": ","}
    path = f"/api/{doris.database}/t/_stream_load"
    connection.putrequest("PUT", path)
    given["Content-Length"] = str(len(body.encode()))
    for name, value in {**given, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(body.encode())
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_the_newer_row_stays(table: Client) -> None:
    insert = "INSERT INTO t (id, v, w, __DORIS_SEQUENCE_COL__) VALUES "
    table.run(insert + "(1, 20, 2, 4)")  # older than what is there
    assert table.rows("SELECT * FROM t") == [(1, 10, 1)]
    table.run(insert + "(1, 30, 3, 6), (1, 40, 4, 5)")
    assert table.rows("SELECT * FROM t") == [(1, 30, 3)]
    assert [row[0] for row in table.rows("DESC t")] == ["id", "v", "w"]
    assert table.refused("INSERT INTO t VALUES (1, 1, 1)")[1] == MISSING
    assert table.refused("INSERT INTO t (id, v, w) VALUES (1, 1, 1)")[1] == MISSING


def test_update_and_delete_keep_it(table: Client) -> None:
    table.run("UPDATE t SET v = 11 WHERE id = 1")
    table.run("INSERT INTO t (id, v, w, __DORIS_SEQUENCE_COL__) VALUES (1, 20, 2, 4)")
    assert table.rows("SELECT * FROM t") == [(1, 11, 1)]
    table.run("DELETE FROM t WHERE id = 1")
    table.run("INSERT INTO t (id, v, w, __DORIS_SEQUENCE_COL__) VALUES (1, 20, 2, 4)")
    assert table.rows("SELECT * FROM t") == []
    table.run("INSERT INTO t (id, v, w, __DORIS_SEQUENCE_COL__) VALUES (1, 50, 5, 7)")
    assert table.rows("SELECT * FROM t") == [(1, 50, 5)]


def test_stream_load(table: Client) -> None:
    sequence = {"columns": "id,v,w,at", "function_column.sequence_col": "at"}
    assert load(table, "1,20,2,4\n2,7,7,1\n", **sequence)["Status"] == "Success"
    assert table.rows("SELECT * FROM t ORDER BY id") == [(1, 10, 1), (2, 7, 7)]
    assert load(table, "1,30,3,6\n", **sequence)["Status"] == "Success"
    own = {"function_column.sequence_col": "w"}  # a column of the table itself
    assert load(table, "2,8,0\n", **own)["Status"] == "Success"
    assert load(table, "2,9,9\n", **own)["Status"] == "Success"
    assert table.rows("SELECT * FROM t ORDER BY id") == [(1, 30, 3), (2, 9, 9)]
    answer = load(table, "1,1,1\n", columns="id,v,w")
    assert answer["Status"] == "Fail"
    assert MISSING in answer["Message"]


@pytest.mark.parametrize(
    ("properties", "detail"),
    [
        (
            "'function_column.sequence_type' = 'varchar(9)'",
            "Sequence type only support integer types and date types",
        ),
        (
            "'function_column.sequence_type' = 'int', 'function_column.sequence_col' = 'v'",
            "The sequence_col and sequence_type cannot be set at the same time",
        ),
        ("'function_column.sequence_type' = 'often'", "unknown sequence type: often"),
    ],
)
def test_refusals(shared: Client, properties: str, detail: str) -> None:
    sql = (
        "CREATE TABLE new (id INT, v INT) UNIQUE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1 "
        f"PROPERTIES ('replication_num' = '1', {properties})"
    )
    assert shared.refused(sql)[1] == detail


def test_only_unique_tables(shared: Client) -> None:
    sql = (
        "CREATE TABLE new (id INT, v INT) DUPLICATE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1 "
        "PROPERTIES ('replication_num' = '1', 'function_column.sequence_type' = 'int')"
    )
    assert shared.refused(sql)[1] == "sequence column only support UNIQUE_KEYS"
