# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""Several frontends and backends, releases, and the hooks that take nodes down.

Source: SHOW FRONTENDS and SHOW BACKENDS of the Doris SQL manual; apache/doris#66732 for the keys of
release 4.1.
"""

import base64
import collections
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from tests.unit.emulators.conftest import PASSWORD, Client, connect, fresh_database


@pytest.fixture(scope="module")
def cluster() -> Iterator[DorisEmulator]:
    with DorisEmulator(password=PASSWORD, frontends=3, backends=2, faults=True, version="4.1.0") as running:
        yield running


@pytest.fixture
def client(cluster: DorisEmulator) -> Iterator[Client]:
    with fresh_database(cluster) as found:
        yield found
    for node in cluster.nodes.all:
        cluster.bring_up(node.name)


def rows(connection: Any, sql: str) -> list[dict[str, Any]]:
    cursor = connection.cursor()
    cursor.execute(sql)
    return [dict(zip([d[0] for d in cursor.description], row, strict=True)) for row in cursor.fetchall()]


def through(cluster: DorisEmulator, number: int, database: str | None = None) -> Any:
    """A connection to one of the frontends."""
    port = cluster.nodes.frontends[number - 1].ports["query"]
    return pymysql.connect(host="127.0.0.1", port=port, user="root", password=PASSWORD, database=database)


def request(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    connection.request(method, path, headers={"Authorization": f"Basic {login}", **(headers or {})})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_followers_read_and_forward(cluster: DorisEmulator, client: Client) -> None:
    client.table("id INT NOT NULL, v INT")
    follower = through(cluster, 3, client.database)
    follower.cursor().execute("INSERT INTO t VALUES (1, 2)")
    assert client.rows("SELECT * FROM t") == [(1, 2)]
    frontends = rows(follower, "SHOW FRONTENDS")
    assert [f["IsMaster"] for f in frontends] == ["true", "false", "false"]
    assert [f["CurrentConnected"] for f in frontends] == ["No", "No", "Yes"]
    assert [f["QueryPort"] for f in frontends] == [
        str(node.ports["query"]) for node in cluster.nodes.frontends
    ]
    assert [b["Alive"] for b in rows(follower, "SHOW BACKENDS")] == ["true", "true"]
    follower.close()


def test_master_goes_down(cluster: DorisEmulator, client: Client) -> None:
    client.table("id INT NOT NULL, v INT")
    cluster.take_down("fe1")
    with pytest.raises(pymysql.OperationalError):
        through(cluster, 1)
    second = through(cluster, 2, client.database)
    frontends = rows(second, "SHOW FRONTENDS")
    assert [f["Alive"] for f in frontends] == ["false", "true", "true"]
    assert [f["IsMaster"] for f in frontends] == ["false", "true", "false"]
    assert "Connection refused" in frontends[0]["ErrMsg"]
    second.cursor().execute("INSERT INTO t VALUES (1, 2)")
    cluster.take_down("fe3")
    with pytest.raises(pymysql.MySQLError, match="no frontend is master: 1 of 3 are up"):
        second.cursor().execute("INSERT INTO t VALUES (2, 2)")
    assert rows(second, "SELECT COUNT(*) AS n FROM t") == [{"n": 1}]
    cluster.bring_up("fe1")
    back = through(cluster, 1, client.database)
    assert rows(back, "SELECT COUNT(*) AS n FROM t") == [{"n": 1}]
    back.close()
    second.close()


def test_connections_break_when_a_node_goes(cluster: DorisEmulator, client: Client) -> None:
    open_one = through(cluster, 2)
    cluster.take_down("fe2")
    with pytest.raises(pymysql.OperationalError):
        collections.deque((rows(open_one, "SELECT 1") for _ in range(5000)), maxlen=0)
    client.value("SELECT 1")


def test_loads_go_to_the_backends_in_turn(cluster: DorisEmulator, client: Client) -> None:
    client.table("id INT NOT NULL, v INT")
    path = f"/api/{client.database}/t/_stream_load"
    port = cluster.nodes.frontends[1].ports["http"]

    def target() -> int:
        status, headers, _ = request(port, "PUT", path, {"Expect": "100-continue"})
        assert status == 307
        return int(headers["Location"].rpartition(":")[2].partition("/")[0])

    first, second = (node.ports["http"] for node in cluster.nodes.backends)
    assert {target(), target()} == {first, second}
    cluster.take_down("be1")
    assert {target(), target(), target()} == {second}
    assert [b["Alive"] for b in rows(client.connection, "SHOW BACKENDS")] == ["false", "true"]
    health = json.loads(request(port, "GET", "/api/health")[2])["data"]
    assert health == {"online_backend_num": 1, "total_backend_num": 2}
    message = client.refused(
        "CREATE TABLE two (id INT) DISTRIBUTED BY HASH(id) PROPERTIES ('replication_num' = '2')"
    )[1]
    assert message.startswith("Failed to find enough backend")


def test_hooks(cluster: DorisEmulator, client: Client) -> None:
    port = cluster.nodes.frontends[0].ports["http"]
    status, _, body = request(port, "POST", "/_emulator/nodes?node=fe3&state=down")
    assert status == 200
    alive = {n["name"]: n["alive"] for n in json.loads(body)["nodes"]}
    assert alive == {"fe1": True, "fe2": True, "fe3": False, "be1": True, "be2": True}
    with pytest.raises(pymysql.OperationalError):
        through(cluster, 3)
    assert request(port, "POST", "/_emulator/nodes?node=fe3&state=up")[0] == 200
    through(cluster, 3).close()
    assert request(port, "POST", "/_emulator/nodes?node=fe9&state=up")[0] == 400
    assert request(port, "POST", "/_emulator/alter?seconds=0")[0] == 200
    client.table("id INT NOT NULL, v INT")
    client.run("ALTER TABLE t MODIFY COLUMN v BIGINT")
    assert client.rows("DESC t")[1][1] == "bigint"
    assert request(port, "POST", "/_emulator/alter?seconds=x")[0] == 400
    assert request(port, "POST", "/_emulator/partitions")[0] == 200


def test_keys_of_release_4_1(client: Client) -> None:
    client.table("id INT NOT NULL, day DATE NOT NULL, v VARCHAR(9), INDEX i (v)", "UNIQUE KEY(id, day)")
    client.table("id INT NOT NULL, n INT SUM", "AGGREGATE KEY(id)", name="a")
    client.table("id INT NOT NULL, n INT", "DUPLICATE KEY(id)", name="d")
    where = f"WHERE table_schema = '{client.database}' ORDER BY 1, 2"
    assert "doris-4.1.0-" in client.value("SELECT @@version_comment")
    assert client.rows(
        f"SELECT table_name, ordinal_position, column_key FROM information_schema.columns {where}"
    ) == [
        *[("a", 1, "PRI"), ("a", 2, "")],
        *[("d", 1, ""), ("d", 2, "")],
        *[("t", 1, "PRI"), ("t", 2, "PRI"), ("t", 3, "MUL")],
    ]
    constraints = f"SELECT table_name, constraint_type FROM information_schema.table_constraints {where}"
    assert client.rows(constraints) == [("a", "PRIMARY KEY"), ("t", "PRIMARY KEY")]
    assert client.rows(
        f"SELECT table_name, ordinal_position, column_name FROM information_schema.key_column_usage {where}"
    ) == [("a", 1, "id"), ("t", 1, "id"), ("t", 2, "day")]
    assert client.rows(
        "SELECT index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics "
        f"WHERE table_schema = '{client.database}' AND table_name = 't' ORDER BY 1, 2"
    ) == [("PRIMARY", 1, "id", 0), ("PRIMARY", 2, "day", 0), ("i", 1, "v", 1)]
    assert [row[:5] for row in client.rows("SHOW INDEX FROM t")] == [
        ("t", "0", "PRIMARY", "1", "id"),
        ("t", "0", "PRIMARY", "2", "day"),
        ("t", "1", "i", "1", "v"),
    ]
    assert client.rows("SHOW KEYS FROM d") == []


def test_one_frontend_alone_is_master(emulator: DorisEmulator) -> None:
    connection = connect(emulator)
    (frontend,) = rows(connection, "SHOW FRONTENDS")
    assert (frontend["IsMaster"], frontend["CurrentConnected"]) == ("true", "Yes")
    connection.close()
