"""The sink against a real broker and the Doris emulator: what lands, and how exactly."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from dbint.flow.config import SourceAccess
from dbint.flow.dead_letters import DeadLetters
from dbint.flow.ranges import Note, Range
from dbint.flow.sink import GapError, Sink
from dbint.kafka import KafkaAdmin, KafkaConsumer, TopicPartition
from tests.integration.sink_messages import PLACEHOLDER, Flow, a_flow, wait_for, widened


@pytest.fixture
def flow(kafka, doris) -> Iterator[Flow]:
    with a_flow(kafka, doris) as made:
        yield made


@pytest.mark.parametrize("flavour", ["dbint", "debezium"])
def test_changes_of_both_engines_become_rows(flow: Flow, flavour: str) -> None:
    flow.send("r", 1, flavour=flavour, name="from a snapshot", amount=1, snapshot=True, sequence=(50, 50))
    flow.send("c", 2, flavour=flavour, name="Zoë 🦉", amount=-7, doc='{"a": "b\\n\\"c\\""}')
    flow.send("c", 3, flavour=flavour, name="gone", amount=3)
    flow.send("u", 2, flavour=flavour, name="Zoë 🦉", amount=8, doc=None)
    flow.send("d", 3, flavour=flavour)
    flow.send("m", value=b'{"op":"m","message":{"prefix":"p","content":""},"source":{}}')
    flow.producer.enqueue(flow.topic, None, key=b'{"id":3}', partition=0)
    flow.sent += 1
    seen = flow.load()
    assert flow.rows() == ((1, "from a snapshot", 1, None), (2, "Zoë 🦉", 8, None))
    assert (seen.rows, seen.dead_letters, seen.lag_rows, seen.trouble) == (5, 0, 0, "")
    assert seen.freshness_p50 is not None
    assert 0 <= seen.freshness_p50 < 30
    [(offset, note)] = flow.committed()
    assert offset == flow.sent
    assert Note.parse(note).end is None
    assert Note.parse(note).visible_ms >= Note.parse(note).committed_ms > 0
    assert json.loads(json.dumps(seen.to_json()))["lag_rows"] == 0


def test_the_order_of_commits_decides_not_the_order_of_changes(flow: Flow) -> None:
    """A key deleted by a change with the higher LSN, in a transaction that committed first."""
    flow.send("d", 1, sequence=(200, 180))
    flow.send("c", 1, sequence=(300, 150), name="inserted again")
    flow.load()
    assert flow.rows("id, name") == ((1, "inserted again"),)
    flow.send("u", 1, sequence=(250, 240), name="comes late")  # sent again after a crash of the capture
    flow.load()
    assert flow.rows("id, name") == ((1, "inserted again"),)


def test_a_batch_is_many_rows_and_few_loads(kafka, doris) -> None:
    with a_flow(kafka, doris, batch_rows=2000, batch_bytes=1 << 20, batch_seconds=0.3) as flow:
        for number in range(5000):
            flow.send("c", number % 1000, name=f"n{number}", amount=number)
        seen = flow.load()
        assert flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((1000, sum(range(4000, 5000))),)
        assert seen.rows == 5000
        assert 2 <= seen.loads <= 12


# -- values that are missing


@pytest.mark.parametrize("flavour", ["dbint", "debezium"])
def test_unchanged_values_stay_as_they_were(flow: Flow, flavour: str) -> None:
    def update(number: int, **fields: object) -> None:
        missing = [name for name, value in fields.items() if value == PLACEHOLDER]
        headers = [("dbint.unchanged", ",".join(missing).encode())] if flavour == "dbint" and missing else []
        flow.send("u", number, flavour=flavour, headers=headers, **fields)

    for number in range(6):
        flow.send("c", number, flavour=flavour, name=f"n{number}", amount=number, doc=f"long {number}")
    update(0, name="n0", amount=10, doc=PLACEHOLDER)
    update(1, name=PLACEHOLDER, amount=11, doc="new")
    update(1, name="named", amount=12, doc=PLACEHOLDER)  # other columns are missing: after the one before
    update(1, name=PLACEHOLDER, amount=13, doc="newest")
    update(2, name="n2", amount=20, doc=PLACEHOLDER)
    update(2, name="whole", amount=21, doc="whole")  # replaces what was before
    update(3, name="n3", amount=30, doc=PLACEHOLDER)
    flow.send("d", 3, flavour=flavour)
    update(4, name=PLACEHOLDER, amount=40, doc=PLACEHOLDER)
    update(5, name=PLACEHOLDER, amount=51, doc="new 5")  # not after the one below, whose set came up earlier
    update(5, name="named 5", amount=52, doc=PLACEHOLDER)
    seen = flow.load()
    assert flow.rows() == (
        (0, "n0", 10, "long 0"),
        (1, "named", 13, "newest"),
        (2, "whole", 21, "whole"),
        (4, "n4", 40, "long 4"),
        (5, "named 5", 52, "new 5"),
    )
    assert (seen.partials, seen.dead_letters) == (7, 0)
    # In ranges of their own, too.
    update(5, name="n5", amount=50, doc=PLACEHOLDER)
    flow.load()
    assert flow.rows()[-1] == (5, "n5", 50, "new 5")


def test_the_placeholder_as_a_value_of_its_own(flow: Flow) -> None:
    """dbint's capture says by a header what is missing; without it the text is a text."""
    flow.send("c", 1, name="a", doc=PLACEHOLDER)
    flow.send("u", 2, name="b", doc=PLACEHOLDER)
    flow.load()
    assert flow.rows("id, doc") == ((1, PLACEHOLDER), (2, PLACEHOLDER))


def test_an_update_without_its_row_is_told(kafka, doris, postgres) -> None:
    """Where PostgreSQL has not the row, either, nothing is missing; else it is a dead letter."""
    account = {
        "host": postgres.host,
        "port": postgres.ports["sql"],
        "user": postgres.credentials["username"],
        "password": postgres.credentials["password"],
        "dbname": postgres.credentials["database"],
    }
    source = SourceAccess("test", lambda: account)
    with source.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS public.orders")
        connection.execute(
            "CREATE TABLE public.orders (id bigint PRIMARY KEY, name text, amount int, doc text)"
        )
        connection.execute("INSERT INTO public.orders VALUES (1, 'there', 1, 'long')")
    try:
        with a_flow(kafka, doris, source=source) as flow:
            header = [("dbint.unchanged", b"doc")]
            flow.send("u", 1, name="there", amount=2, doc=PLACEHOLDER, headers=header)
            flow.send("u", 2, name="gone", amount=2, doc=PLACEHOLDER, headers=header)
            flow.send("c", 3, name="good")
            seen = flow.load()
            assert flow.rows("id") == ((3,),)
            assert (seen.dead_letters, seen.superseded) == (1, 1)
            [letter] = flow.dead()
            assert letter.key == b'{"id":1}'
            reason = dict(letter.headers)["dbint.dead.reason"].decode()
            assert "no value for doc" in reason
            assert "flow_verify --repair" in reason
    finally:
        with source.connect() as connection:
            connection.execute("DROP TABLE public.orders")


# -- TRUNCATE


def test_truncate_takes_what_is_older_in_any_order(kafka, doris) -> None:
    with a_flow(kafka, doris, partitions=2) as flow:
        for number in range(4):
            flow.send("c", number, partition=number % 2, sequence=(100, number), name="old")
        flow.send("t", partition=0, sequence=(200, 5))
        flow.send("c", 10, partition=0, sequence=(300, 1), name="new")
        seen = flow.load()
        # Of the other partition nothing was emptied yet: its own message says so, after all that is older.
        assert flow.rows("id") == ((10,),) or flow.rows("id") == ((1,), (3,), (10,))
        assert seen.truncates == 1
        flow.send("c", 11, partition=1, sequence=(150, 1), name="old, and late")
        flow.send("t", partition=1, sequence=(200, 5))
        flow.send("c", 12, partition=1, sequence=(200, 6), name="same transaction")
        flow.load()
        assert flow.rows("id, name") == ((10, "new"), (12, "same transaction"))


# -- bad rows


def test_bad_rows_stand_alone(flow: Flow) -> None:
    bad = {7, 8, 31}
    for number in range(32):
        flow.send("c", number, name="x" * 50 if number in bad else f"n{number}", amount=number)
    flow.send("c", 200, value=b'{"op":"c",\n"after":{"id":200}}')
    flow.send("c", 201, value=b"no JSON at all")
    seen = flow.load()
    assert [row[0] for row in flow.rows("id")] == [number for number in range(32) if number not in bad]
    assert seen.dead_letters == 5
    with DeadLetters(flow.config) as letters:
        found = list(letters.read())
        assert sorted(letter.offset for letter in found) == [7, 8, 31, 32, 33]
        by_offset = {letter.offset: letter for letter in found}
        assert "name" in by_offset[7].reason
        assert "envelope" in by_offset[32].reason
        assert by_offset[33].value == b"no JSON at all"
        assert by_offset[7].topic == flow.topic
        assert by_offset[7].table == f"{flow.config.name}.orders"
        # The table is mended, the rows are sent again.
        flow.sql(f"ALTER TABLE {flow.mapping.target} MODIFY COLUMN name VARCHAR(60) NULL")
        wait_for(
            lambda: flow.sql(f"SHOW COLUMNS FROM {flow.mapping.target} LIKE 'name'")[0][1] == "varchar(60)"
        )
        assert letters.resubmit([by_offset[o] for o in sorted(bad)]) == 3
        flow.sent += 3
    flow.load()
    assert len(flow.rows("id")) == 32


def test_too_many_bad_rows_hold_the_partition_until_somebody_mends(kafka, doris) -> None:
    with a_flow(kafka, doris, max_bad_rows=5) as flow:
        for number in range(40):
            flow.send("c", number, name="x" * 30)
        with flow.running() as sink:
            flow.flush()
            wait_for(lambda: sink.snapshot().held)
            assert "more than max_bad_rows (5)" in sink.snapshot().held[0].reason
            assert sink.snapshot().dead_letters == 0
            flow.sql(f"ALTER TABLE {flow.mapping.target} MODIFY COLUMN name VARCHAR(60) NULL")
            flow.drained(sink)
        assert len(flow.rows("id")) == 40
        assert not sink.snapshot().held


# -- columns


def test_a_missing_column_of_doris_is_never_left_out(flow: Flow) -> None:
    flow.send("c", 1, name="a", amount=5)
    flow.sql(f"ALTER TABLE {flow.mapping.target} DROP COLUMN amount")
    with flow.running() as sink:
        flow.flush()
        wait_for(lambda: sink.snapshot().held)
        assert "no column amount" in sink.snapshot().held[0].reason
        assert "flow_plan" in sink.snapshot().held[0].reason
        assert flow.rows("id") == ()
        flow.sql(f"ALTER TABLE {flow.mapping.target} ADD COLUMN amount INT NULL")
        flow.drained(sink)
    assert flow.rows("id, amount") == ((1, 5),)


def test_a_new_column_of_postgresql_waits_for_its_mapping(flow: Flow) -> None:
    flow.send("c", 1, name="a")
    flow.send("c", 2, name="b", extra=5)
    mappings = [flow.mapping]
    with flow.running(refresh=lambda: mappings) as sink:
        flow.flush()
        wait_for(lambda: sink.snapshot().held)
        assert "have extra (from offset 1 of partition 0 on)" in sink.snapshot().held[0].reason
        flow.sql(f"ALTER TABLE {flow.mapping.target} ADD COLUMN extra INT NULL")
        mappings[0] = widened(flow.mapping)
        flow.drained(sink)
    assert flow.rows("id, extra") == ((1, None), (2, 5))


# -- exactly the range


def test_a_range_that_was_begun_is_repeated_to_the_message(flow: Flow) -> None:
    for number in range(10):
        flow.send("c", number, name=f"n{number}")
    flow.flush()
    at = int(time.time() * 1000) - 5000
    note = Note(end=7, at=at)
    with KafkaConsumer(config=flow.config.kafka("consumer"), group=flow.config.group) as consumer:
        consumer.commit([TopicPartition(flow.topic, 0, 2, note.text())], 20)
    seen = flow.load()
    assert [row[0] for row in flow.rows("id")] == list(range(2, 10)), "what was before had been loaded"
    assert (seen.repeated, seen.already, seen.ranges) == (1, 0, 2)
    label = Range(flow.topic, 0, 2, 7, at, ()).label(flow.config.name, 0)
    [transaction] = flow.sql(f"SHOW TRANSACTION FROM {flow.config.name} WHERE LABEL = '{label}'")
    assert transaction[3] == "VISIBLE"
    # The same note again, as after a kill: Doris has the label, so nothing is loaded a second time.
    flow.sql(f"DELETE FROM {flow.mapping.target} WHERE id >= 0")  # noqa: S608
    with KafkaConsumer(config=flow.config.kafka("consumer"), group=flow.config.group) as consumer:
        consumer.commit([TopicPartition(flow.topic, 0, 2, note.text())], 20)
    seen = flow.load()
    assert seen.already == 1
    assert [row[0] for row in flow.rows("id")] == [7, 8, 9], "the rest was another range then"


def test_a_topic_made_anew_is_loaded_though_its_offsets_come_again(kafka, doris) -> None:
    with a_flow(kafka, doris) as flow:
        flow.send("c", 1, name="first")
        flow.load()
        with KafkaAdmin(config=flow.config.kafka(None)) as admin:
            admin.delete_topic(flow.topic)
            wait_for(lambda: flow.topic not in admin.topics())
            admin.create_topic(flow.topic, 1, 1)
        with KafkaConsumer(config=flow.config.kafka("consumer"), group=flow.config.group) as consumer:
            consumer.commit([TopicPartition(flow.topic, 0, 0)], 20)
        flow.sent = 0
        flow.send("c", 2, name="again")
        flow.load()
        assert flow.rows("id") == ((1,), (2,))


def test_messages_that_kafka_has_deleted_are_not_passed_over(flow: Flow) -> None:
    for number in range(10):
        flow.send("c", number, name=f"n{number}")
    flow.flush()
    with KafkaConsumer(config=flow.config.kafka("consumer"), group=flow.config.group) as consumer:
        consumer.commit([TopicPartition(flow.topic, 0, 50)], 20)  # the topic was made anew since
    with pytest.raises(GapError, match="flow_verify"), flow.running():
        wait_for(_ended)
    with flow.running(on_gap="continue"):
        wait_for(lambda: len(flow.rows("id")) == 10)


# -- groups


def test_sinks_share_the_partitions(kafka, doris) -> None:
    with a_flow(kafka, doris, partitions=4) as flow, ExitStack() as open_sinks:
        for number in range(400):
            flow.send("c", number, partition=number % 4, name=f"n{number}", amount=0)
        first = open_sinks.enter_context(flow.running())
        wait_for(lambda: len(first.snapshot().partitions) == 4)
        second = open_sinks.enter_context(flow.running())
        wait_for(lambda: second.snapshot().partitions and len(first.snapshot().partitions) < 4)
        for number in range(400):
            flow.send("u", number, partition=number % 4, name=f"n{number}", amount=1)
        flow.flush()
        wait_for(lambda: flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((400, 400),))
        held = {(p.topic, p.partition) for s in (first, second) for p in s.snapshot().partitions}
        assert len(held) == 4
        wait_for(lambda: second.snapshot().rows > 0)  # rows can be seen a moment before they are counted
        open_sinks.close()
        assert sum(offset or 0 for offset, _ in flow.committed()) == 800
        assert all(Note.parse(note).end is None for _, note in flow.committed())


def test_stop_lands_what_is_under_way(flow: Flow) -> None:
    for number in range(50):
        flow.send("c", number, name=f"n{number}")
    with flow.running() as sink:
        flow.flush()
        wait_for(
            lambda: any(p.state == "loading" for p in sink.snapshot().partitions) or sink.snapshot().rows
        )
    [(offset, note)] = flow.committed()
    assert Note.parse(note).end is None
    assert len(flow.rows("id")) == offset


def test_two_flows_do_not_touch(kafka, doris) -> None:
    with a_flow(kafka, doris) as one, a_flow(kafka, doris) as other:
        one.send("c", 1, name="one")
        other.send("c", 2, name="other")
        one.load()
        other.load()
        assert (one.rows("id"), other.rows("id")) == (((1,),), ((2,),))


def test_a_sink_without_tables_is_refused(flow: Flow) -> None:
    from dbint.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="no table"):
        Sink(flow.config, [])
    missing = replace(flow.mapping, target_table="nonesuch")
    flow.send("c", 1, name="a")
    flow.flush()
    whole, flow.mapping = flow.mapping, missing
    with flow.running() as sink:
        wait_for(lambda: sink.snapshot().held)
        assert "make it with flow_plan --apply" in sink.snapshot().held[0].reason
    flow.mapping = whole


def _ended() -> bool:
    return all(thread.name != "sink under test" for thread in threading.enumerate())
