"""The capture on a real PostgreSQL and a real Kafka: what is committed is what is read from the topics."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.integration.flow_source import (
    PARTITIONS,
    Source,
    read_topic,
    sequence,
    source_database,
    table_rows,
)


@pytest.fixture
def source(postgres, kafka) -> Iterator[Source]:
    with source_database(postgres, kafka) as made:
        yield made


def ops(values: list[dict[str, Any]]) -> str:
    return "".join(value["op"] for value in sorted(values, key=sequence))


def test_changes_become_messages(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'one', 10), (2, NULL, 9007199254740993)")
        source("UPDATE t SET n = 11 WHERE id = 1")
        source("DELETE FROM t WHERE id = 2")
    values = source.values()
    assert ops(values) == "ccud"
    assert source.rows() == table_rows(source) == {'{"id":1}': {"id": 1, "name": "one", "n": 11}}
    for value in values:
        about = value["source"]
        assert (about["connector"], about["name"]) == ("postgresql", source.config.prefix)
        assert (about["schema"], about["table"], about["snapshot"]) == ("public", "t", "false")
        assert about["lsn"] == sequence(value)[1]
    # Of one transaction: one commit position; of a later one: a higher one.
    inserted = [sequence(value)[0] for value in values if value["op"] == "c"]
    updated = [sequence(value)[0] for value in values if value["op"] == "u"]
    assert inserted[0] == inserted[1] < updated[0]


def test_a_changed_key_is_a_delete_and_a_create(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'one', 10)")
        source("UPDATE t SET id = 7 WHERE id = 1")
    messages = {message.key: dict(message.headers) for message in source.messages() if message.headers}
    assert messages == {
        b'{"id":1}': {"__debezium.newkey": b'{"id":7}'},
        b'{"id":7}': {"__debezium.oldkey": b'{"id":1}'},
    }
    assert source.rows() == table_rows(source) == {'{"id":7}': {"id": 7, "name": "one", "n": 10}}


def test_truncate_reaches_every_partition(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t SELECT i, 'x', i FROM generate_series(1, 20) AS i")
        source("TRUNCATE t")
        source("INSERT INTO t VALUES (3, 'again', 1)")
    messages = source.messages()
    emptied = [message for message in messages if json.loads(message.value or b"{}")["op"] == "t"]
    assert sorted(message.partition for message in emptied) == list(range(PARTITIONS))
    assert all(message.key is None for message in emptied)
    assert source.rows() == table_rows(source)
    # In each partition it stands behind what it empties.
    for message in emptied:
        before = [m for m in messages if m.partition == message.partition and m.offset < message.offset]
        assert all(json.loads(m.value or b"{}")["op"] == "c" for m in before)


def test_a_value_that_the_server_does_not_send_is_named(source: Source) -> None:
    source("ALTER TABLE t ALTER name SET STORAGE EXTERNAL")
    with source.captured():
        source("INSERT INTO t VALUES (1, %s, 0)", "long " * 2000)
        source("UPDATE t SET n = 1 WHERE id = 1")
    (updated,) = [m for m in source.messages() if json.loads(m.value or b"{}")["op"] == "u"]
    assert dict(updated.headers) == {"dbint.unchanged": b"name"}
    assert json.loads(updated.value or b"{}")["after"] == {
        "id": 1,
        "name": "__debezium_unavailable_value",
        "n": 1,
    }


def test_what_was_rolled_back_is_not_sent(source: Source) -> None:
    with source.captured():
        with source.connection.transaction(force_rollback=True):
            source("INSERT INTO t VALUES (1, 'never', 0)")
        with source.connection.transaction():
            source("INSERT INTO t VALUES (2, 'kept', 0)")
            with source.connection.transaction(force_rollback=True):
                source("INSERT INTO t VALUES (3, 'never', 0)")
    assert list(source.rows()) == ['{"id":2}']


def test_the_next_run_goes_on_where_the_last_one_was(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'first', 0)")
    source("INSERT INTO t VALUES (2, 'between', 0)")
    with source.captured():
        source("INSERT INTO t VALUES (3, 'third', 0)")
    values = source.values()
    assert sorted(value["after"]["id"] for value in values) == [1, 2, 3]  # drained: nothing comes twice


def test_what_other_tables_do_is_confirmed(source: Source) -> None:
    source("CREATE TABLE other (id int)")
    with source.captured(tables=("public.t",)) as capture:
        source("INSERT INTO other SELECT generate_series(1, 10000)")
        source.settle(capture)  # by keepalives alone: the publication's tables did not change
    assert source.messages() == []


def test_a_table_that_is_altered_goes_on(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'old', 0)")
        source("ALTER TABLE t ADD COLUMN extra text DEFAULT 'd', DROP COLUMN n")
        source("INSERT INTO t VALUES (2, 'new', 'e')")
        source("UPDATE t SET extra = 'f' WHERE id = 1")
    assert source.rows() == table_rows(source)


def test_names_that_topics_cannot_hold(source: Source) -> None:
    source('CREATE TABLE "Odd Näme" (id int PRIMARY KEY)')
    with source.captured(tables=("public.t", "public.Odd Näme")):
        source('INSERT INTO "Odd Näme" VALUES (1)')
    assert source.config.topic("public.Odd Näme").endswith(".public.Odd_N_me")
    assert [value["source"]["table"] for value in source.values("public.Odd Näme")] == ["Odd Näme"]


def test_partitions_are_one_table(source: Source) -> None:
    source("DROP TABLE t")
    source("CREATE TABLE t (id int PRIMARY KEY, name text, n bigint) PARTITION BY RANGE (id)")
    source("CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    source("CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (10) TO (20)")
    with source.captured():
        source("INSERT INTO t VALUES (1, 'low', 0), (11, 'high', 0), (2, 'low', 0)")
        source("UPDATE t SET id = 12 WHERE id = 2")  # goes over to the other partition
    assert source.rows() == table_rows(source)
    assert {value["source"]["table"] for value in source.values()} == {"t"}


def test_truncate_of_several_tables_reaches_each(source: Source) -> None:
    source("CREATE TABLE child (id int PRIMARY KEY REFERENCES t (id))")
    with source.captured(tables=("public.t", "public.child")):
        source("INSERT INTO t VALUES (1, 'one', 0); INSERT INTO child VALUES (1)")
        source("TRUNCATE t CASCADE")
        source("INSERT INTO t VALUES (2, 'two', 0)")
    assert source.rows("public.child") == {}
    assert source.rows() == table_rows(source)
    for table in ("public.t", "public.child"):
        emptied = [value for value in source.values(table) if value["op"] == "t"]
        assert len(emptied) == PARTITIONS


def test_a_key_deleted_and_inserted_again_by_transactions_that_end_in_the_other_order(source: Source) -> None:
    """With a second unique index a DELETE can stand behind an INSERT in the log and commit before it."""
    source("ALTER TABLE t ADD UNIQUE (name)")
    source("INSERT INTO t VALUES (1, 'held', 0)")
    with source.captured(), closing(source.config.source.connect()) as other:
        with source.connection.transaction():
            source("DELETE FROM t WHERE id = 1")
            source("INSERT INTO t VALUES (2, 'early', 0)")
            with other.transaction():
                other.execute("INSERT INTO t VALUES (3, 'late', 0)")
            source("UPDATE t SET n = 5 WHERE id = 2")
        with source.connection.transaction():
            source("INSERT INTO t VALUES (1, 'held', 7)")
            with other.transaction():
                other.execute("UPDATE t SET n = 9 WHERE id = 3")
    assert source.rows() == table_rows(source)
    # Of two transactions the one that commits first has the lower sequence, wherever its changes are.
    by_id = {v["after"]["id"]: v for v in source.values() if v["op"] == "c"}
    assert sequence(by_id[3])[0] < sequence(by_id[2])[0]
    assert sequence(by_id[3])[1] > sequence(by_id[2])[1]


def test_logical_messages_are_carried_where_they_are_wanted(source: Source) -> None:
    emit = "SELECT pg_logical_emit_message(%s, %s, %s::text)"
    with source.captured(messages=("audit",)) as capture:
        with source.connection.transaction():
            source("INSERT INTO t VALUES (1, 'one', 0)")
            source(emit, True, "audit", "with a transaction")
            source(emit, True, "other", "of another prefix")
        with source.connection.transaction(force_rollback=True):
            source(emit, True, "audit", "rolled back")
            source(emit, False, "audit", "by itself")
        source.settle(capture)
        assert capture.status()["messages"] == 2
    topic = source.config.message_topic
    found = read_topic(source.bootstrap, topic)
    assert {message.key for message in found} == {b'{"prefix":"audit"}'}
    together, alone = (json.loads(message.value or b"{}") for message in found)
    for value, content in ((together, b"with a transaction"), (alone, b"by itself")):
        assert (value["op"], value["message"]["prefix"]) == ("m", "audit")
        assert base64.b64decode(value["message"]["content"]) == content
        assert (value["source"]["schema"], value["source"]["table"]) == ("", "")
    assert together["source"]["txId"] == source.values()[0]["source"]["txId"]
    assert alone["source"]["txId"] is None
    assert sequence(together) < sequence(alone)

    with source.captured():  # off by default
        source(emit, True, "audit", "unwanted")
        source("INSERT INTO t VALUES (2, 'two', 0)")
    with source.captured(messages=["*"]):
        source(emit, True, "other", "all are wanted")
    assert len(read_topic(source.bootstrap, topic)) == 3
    assert source.rows() == table_rows(source)
