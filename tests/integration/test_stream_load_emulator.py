"""The Stream Load client against a server that loads."""

import base64
import contextlib
import io
import json
import secrets
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from dbint.errors import AuthenticationError, UnreachableError
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


# -- formats, updates, and what a server of another shape does


def test_partial_columns_and_new_keys(client, shop):
    client.load(shop.database, "orders", json_lines(ROWS), label=make_label("o", shop.database))
    changed = [{"id": 1, "name": "one"}, {"id": 9, "name": "nine"}]
    partial = {"partial_columns": True, "columns": ["id", "name"]}
    with pytest.raises(LoadError, match="Can't append new rows"):
        client.load(
            shop.database,
            "orders",
            json_lines(changed),
            label=make_label("p", shop.database),
            partial_update_new_key_behavior="ERROR",
            **partial,
        )
    client.load(shop.database, "orders", json_lines(changed), label=make_label("p", shop.database), **partial)
    found = shop("SELECT id, name, CAST(price AS STRING) FROM orders WHERE id IN (1, 9) ORDER BY id")
    assert found == ((1, "one", ROWS[0]["price"]), (9, "nine", None))


def test_merge_deletes_what_the_condition_says(client, shop):
    client.load(shop.database, "orders", json_lines(ROWS), label=make_label("m", 1, shop.database))
    rows = [{"id": 1, "name": "x", "gone": 1}, {"id": 2, "name": "kept", "gone": 0}]
    client.load(
        shop.database,
        "orders",
        json_lines(rows),
        label=make_label("m", 2, shop.database),
        columns=["id", "name", "gone"],
        merge_type="MERGE",
        delete="gone = 1",
    )
    assert shop("SELECT id, name FROM orders WHERE id < 3 ORDER BY id") == ((2, "kept"),)


def test_parquet(client, shop):
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", None]}), out)
    label = make_label("parquet", shop.database)
    loaded = client.load(shop.database, "orders", out.getvalue(), label=label, format="parquet")
    assert loaded.rows_loaded == 2
    assert shop("SELECT id, name, price FROM orders ORDER BY id") == ((1, "a", None), (2, None, None))


def test_enclosed_csv(client, shop):
    body = b'1,"a, ""b""\nc",1.5,2026-01-02 03:04:05.678901\n'
    client.load(
        shop.database,
        "orders",
        body,
        label=make_label("enclosed", shop.database),
        format="csv",
        column_separator=",",
        enclose='"',
        escape="\\",
    )
    assert shop("SELECT name FROM orders") == (('a, "b"\nc',),)


def test_group_commit_in_sync_mode(client, shop):
    result = client.load_in_group(shop.database, "orders", json_lines(ROWS), mode="sync_mode")
    assert result.label.startswith("group_commit_")
    assert shop("SELECT COUNT(*) FROM orders")[0][0] == 3


@contextlib.contextmanager
def small_cluster(**options):
    """An emulated cluster with a table ``d.t``, its client, and ``ask``."""
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(DorisEmulator(password="secret", **options))

        def ask(sql: str):
            with (
                pymysql.connect(
                    host="127.0.0.1",
                    port=emulator.query_port,
                    user="root",
                    password="secret",
                    autocommit=True,
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(sql)
                return cursor.fetchall()

        ask("CREATE DATABASE d")
        ask(
            "CREATE TABLE d.t (id BIGINT NOT NULL) DUPLICATE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1 "
            'PROPERTIES ("replication_num" = "1")'
        )
        urls = [f"http://127.0.0.1:{node.ports['http']}" for node in emulator.nodes.frontends]
        client = StreamLoadClient(urls, credentials=("root", "secret"), deadline=15)
        yield emulator, stack.enter_context(client), ask


def test_nodes_that_go_and_come_back():
    """A load goes to the frontends and backends that are there."""
    with small_cluster(frontends=2, backends=2) as (emulator, client, ask):
        body, labels = json_lines([{"id": 1}]), (f"l{n}" for n in range(100))
        for gone in ("fe1", "be1", "fe2", "be2"):
            emulator.take_down(gone)
            for _ in range(3):
                client.load("d", "t", body, label=next(labels))
            emulator.bring_up(gone)
        for node in ("be1", "be2"):
            emulator.take_down(node)
        with pytest.raises((LoadError, UnreachableError)):
            client.load("d", "t", body, label=next(labels), deadline=0.5)
        emulator.bring_up("be2")
        client.load("d", "t", body, label=next(labels))
        assert ask("SELECT COUNT(*) FROM d.t")[0][0] == 13


def test_a_chunked_load_keeps_its_label():
    """Doris 4.1 forgets it where the load does not say that it is no group commit; the client says so."""
    with small_cluster(version="4.1.0") as (emulator, client, ask):
        for _ in range(2):
            client.load("d", "t", iter([b'{"id": 1}\n']), label="once")
        assert ask("SELECT COUNT(*) FROM d.t")[0][0] == 1
        head = (
            b"PUT /api/d/t/_stream_load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nlabel: twice\r\n"
        )
        login = base64.b64encode(b"root:secret")
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", emulator.be_http_port)) as raw:
                raw.sendall(head + b"Authorization: Basic " + login + b"\r\n\r\n2\r\n1\n\r\n0\r\n\r\n")
                answer = b""
                while piece := raw.recv(65536):
                    answer += piece
                assert b'"Success"' in answer
                assert b'"Label": "twice"' not in answer
        assert ask("SELECT COUNT(*) FROM d.t")[0][0] == 3
