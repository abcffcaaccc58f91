"""The Stream Load client against a server that loads."""

import json
import secrets

import pymysql
import pytest

from dbint.errors import AuthenticationError
from dbint.flow import LoadError, StreamLoadClient, json_lines, make_label


@pytest.fixture(scope="module")
def shop(doris):
    """A database with a table; ``run(sql)`` asks it."""
    name = f"stream_load_{secrets.token_hex(4)}"
    connection = pymysql.connect(
        host=doris.host,
        port=doris.ports["query"],
        user=doris.credentials["username"],
        password=doris.credentials["password"],
        autocommit=True,
    )

    def run(sql: str):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    run(f"CREATE DATABASE {name}")
    run(f"USE {name}")
    run(
        "CREATE TABLE orders (id BIGINT NOT NULL, name VARCHAR(40) NULL, price DECIMAL(38, 9) NULL, "
        "at DATETIME(6) NULL) UNIQUE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1 "
        'PROPERTIES ("replication_num" = "1")'
    )
    run.database = name
    yield run
    run(f"DROP DATABASE {name} FORCE")
    connection.close()


@pytest.fixture
def client(doris):
    account = (doris.credentials["username"], doris.credentials["password"])
    with StreamLoadClient(
        [f"http://{doris.host}:{doris.ports['http']}"], credentials=account, deadline=20
    ) as client:
        yield client


@pytest.fixture(autouse=True)
def empty(shop):
    shop("TRUNCATE TABLE orders")


ROWS = [
    {"id": 1, "name": "Zoë 🦉", "price": f"{10**28}.123456789", "at": "2026-01-02 03:04:05.678901"},
    {"id": 2, "name": None, "price": None, "at": None},
    {"id": 3, "name": 'tab\tquote"back\\slash', "price": "-0.000000001", "at": "9999-12-31 23:59:59.999999"},
]


def test_json_lines_and_the_label(client, shop):
    label = make_label("test", secrets.token_hex(8))
    first = client.load(shop.database, "orders", json_lines(ROWS), label=label)
    assert (first.status, first.rows_loaded, first.already) == ("Success", 3, False)
    second = client.load(shop.database, "orders", json_lines(ROWS), label=label)
    assert second.already
    found = shop("SELECT id, name, CAST(price AS STRING), CAST(at AS STRING) FROM orders ORDER BY id")
    assert found == tuple((r["id"], r["name"], r["price"], r["at"]) for r in ROWS)


def test_json_array(client, shop):
    body = json.dumps(ROWS).encode()
    client.load(shop.database, "orders", body, label=make_label("a", shop.database), strip_outer_array=True)
    assert shop("SELECT COUNT(*) FROM orders")[0][0] == 3


def test_csv_in_chunks(client, shop):
    lines = (f"{n},name {n},{n}.5,\\N\n".encode() for n in range(20_000))
    loaded = client.load(
        shop.database,
        "orders",
        lines,
        label=make_label("csv", shop.database),
        format="csv",
        column_separator=",",
        columns=["id", "name", "price", "at"],
    )
    assert (loaded.rows_total, loaded.rows_loaded) == (20_000, 20_000)
    assert shop("SELECT COUNT(*), SUM(price), COUNT(at) FROM orders")[0][:1] == (20_000,)


def test_a_bad_row_names_itself(client, shop):
    rows = [*ROWS, {"id": 4, "name": "x" * 100}]
    label = make_label("bad", shop.database)
    with pytest.raises(LoadError) as caught:
        client.load(shop.database, "orders", json_lines(rows), label=label)
    assert caught.value.result.rows_filtered == 1
    assert caught.value.error_lines
    assert shop("SELECT COUNT(*) FROM orders")[0][0] == 0
    assert client.load(shop.database, "orders", json_lines(ROWS), label=label).rows_loaded == 3, (
        "the label is free"
    )


def test_bad_rows_within_the_ratio(client, shop):
    rows = [*ROWS, {"id": 4, "name": "x" * 100}]
    loaded = client.load(
        shop.database,
        "orders",
        json_lines(rows),
        label=make_label("ratio", shop.database),
        max_filter_ratio=0.5,
    )
    assert (loaded.rows_loaded, loaded.rows_filtered) == (3, 1)
    assert client.error_lines(loaded.error_url, 5)


def test_unknown_table(client, shop):
    with pytest.raises(LoadError, match="nowhere"):
        client.load(shop.database, "nowhere", b"{}", label=make_label("t", shop.database))


def test_wrong_password(doris, shop):
    wrong = StreamLoadClient(
        [f"http://{doris.host}:{doris.ports['http']}"],
        credentials=(doris.credentials["username"], "wrong"),
        deadline=5,
    )
    with pytest.raises(AuthenticationError):
        wrong.load(shop.database, "orders", json_lines(ROWS), label=make_label("p", shop.database))


def test_backends_directly(doris, shop):
    account = (doris.credentials["username"], doris.credentials["password"])
    with StreamLoadClient(
        be_urls=[f"http://{doris.host}:{doris.ports['be_http']}"], credentials=account, deadline=20
    ) as direct:
        for number in range(3):
            direct.load(
                shop.database, "orders", json_lines(ROWS), label=make_label("d", shop.database, number)
            )
    assert shop("SELECT COUNT(*) FROM orders")[0][0] == 3
