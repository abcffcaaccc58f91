"""What keeps a flow from capturing: each has its words, and nothing is lost by it."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from dbint.errors import ConfigurationError, DatabaseError, KafkaError, MessageTooLargeError
from dbint.flow import capture as capture_module
from dbint.flow.capture import Capture, unloaded_tables
from dbint.flow.config import SourceAccess
from dbint.flow.slots import SlotLostError, drop_slot, read_slot
from dbint.flow.snapshot import Snapshot
from dbint.kafka import KafkaAdmin
from stack import Stack
from tests.faults.events import superuser, until
from tests.integration.flow_source import PARTITIONS, Source, read_topic, source_database, table_rows


@pytest.fixture
def source(postgres, kafka) -> Iterator[Source]:
    with source_database(postgres, kafka) as made:
        yield made


def ended(capture: Capture, timeout: float = 30.0) -> None:
    """Wait until it has; what ended it is raised."""
    deadline = time.monotonic() + timeout
    while not capture.wait(0.2):
        assert time.monotonic() < deadline, capture.status()


def test_wal_level_is_checked(postgres_private, kafka) -> None:
    with superuser(postgres_private) as admin:
        admin.execute("ALTER SYSTEM SET wal_level = 'replica'")
    postgres_private.restart("postgres")
    with (
        source_database(postgres_private.endpoint("postgres"), kafka) as source,
        closing(Capture(source.config)) as capture,
        pytest.raises(ConfigurationError, match=r"wal_level = replica.*ALTER SYSTEM SET wal_level"),
    ):
        capture.prepare()


def test_a_role_without_replication_is_told_so(source: Source, stack) -> None:
    role, password = f"plain_{secrets.token_hex(4)}", secrets.token_hex(8)
    with superuser(stack, source.connection.info.dbname) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")  # type: ignore[call-overload]
        admin.execute(f"ALTER TABLE t OWNER TO {role}")  # type: ignore[call-overload]
        admin.execute(f"GRANT CREATE ON DATABASE {source.connection.info.dbname} TO {role}")  # type: ignore[call-overload]
        try:
            given = {**source.config.source.parameters(), "user": role, "password": password}
            config = replace(source.config, source=SourceAccess("test", lambda: given))
            with pytest.raises(ConfigurationError, match=f"ALTER ROLE {role} REPLICATION"):
                Capture(config).prepare()
        finally:
            admin.execute(f"DROP OWNED BY {role}")  # type: ignore[call-overload]
            admin.execute(f"DROP ROLE {role}")  # type: ignore[call-overload]


def test_a_table_without_identity_is_not_published(source: Source) -> None:
    source("CREATE TABLE bare (id int)")
    with pytest.raises(
        ConfigurationError, match=r"public\.bare has no replica identity.*REPLICA IDENTITY FULL"
    ):
        Capture(replace(source.config, tables=("public.t", "public.bare"))).prepare()
    source("INSERT INTO bare VALUES (1)")
    source("UPDATE bare SET id = 2")  # which PostgreSQL would refuse
    source("ALTER TABLE bare REPLICA IDENTITY FULL")
    assert Capture(replace(source.config, tables=("public.t", "public.bare"))).prepare()


def test_tables_come_and_go(source: Source) -> None:
    source("CREATE TABLE u (id int PRIMARY KEY)")
    with pytest.raises(ConfigurationError, match=r"has no table public\.w"):
        Capture(replace(source.config, tables=("public.w",))).prepare()
    published = "SELECT tablename FROM pg_publication_tables ORDER BY 1"
    assert Capture(source.config).prepare()
    assert source(published) == [("t",)]
    assert Capture(replace(source.config, tables=("public.t", "public.u"))).prepare() is None
    assert source(published) == [("t",), ("u",)]
    assert Capture(replace(source.config, tables=("public.u",))).prepare() is None
    assert source(published) == [("u",)]


def test_a_table_that_waits_for_a_restart_is_named(source: Source, monkeypatch, caplog) -> None:
    monkeypatch.setattr(capture_module, "WATCH_INTERVAL", 0.1)
    wider = replace(source.config, tables=("public.t", "public.later"))
    source("CREATE TABLE later (id int PRIMARY KEY)")
    Snapshot(source.config).run(Capture(source.config).prepare())
    with source.captured() as capture:
        assert unloaded_tables(source.connection, source.config) == []
        (told,) = unloaded_tables(source.connection, wider)
        assert "public.later is not in publication" in told
        source(f"ALTER PUBLICATION {source.config.publication} ADD TABLE later")  # type: ignore[arg-type]
        until(lambda: not capture.wait(0.05) and "public.later is in publication" in caplog.text)
        (told,) = unloaded_tables(source.connection, source.config)
        assert "but not loaded, for it is none of the flow's tables: name it in TABLES and restart" in told
        assert told in caplog.text
        (told,) = unloaded_tables(source.connection, wider)
        assert told.endswith("but not loaded: restart run_flow")
    assert caplog.text.count("public.later") == 1
    Capture(wider).prepare()
    Snapshot(wider).run(None)
    assert unloaded_tables(source.connection, wider) == []


def test_a_publication_that_leaves_changes_out_is_refused(source: Source) -> None:
    source(f"CREATE PUBLICATION {source.config.publication} FOR TABLE t WITH (publish = 'insert')")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="leaves changes out: ALTER PUBLICATION"):
        Capture(source.config).prepare()


def test_a_slot_that_is_gone_is_not_made_again_by_itself(source: Source) -> None:
    with source.captured():
        source("INSERT INTO t VALUES (1, 'one', 0)")
    drop_slot(source.connection, source.config.slot)
    source("INSERT INTO t VALUES (2, 'missed', 0)")
    with pytest.raises(
        SlotLostError, match=r"is gone\. At least up to [0-9A-F]+/[0-9A-F]+, committed at .*--resync"
    ):
        Capture(source.config).prepare()
    assert read_slot(source.connection, source.config.slot) is None
    assert Capture(source.config).prepare(resync=True)
    assert Capture(source.config).prepare() is None


def test_a_slot_of_something_else_is_left_alone(source: Source) -> None:
    source("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", source.config.slot)
    with pytest.raises(ConfigurationError, match="is of plugin test_decoding"):
        Capture(source.config).prepare()


def test_a_slot_that_vanishes_ends_the_capture(source: Source) -> None:
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        until(lambda: capture.status()["state"] == "streaming")
        drop_slot(source.connection, source.config.slot)
        with pytest.raises(SlotLostError, match=r"is gone\. At least up to .*--resync"):
            ended(capture)
        assert "The slot is gone" in capture.status()["error"]


def test_a_publication_that_vanishes_ends_the_capture(source: Source) -> None:
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        until(lambda: capture.status()["state"] == "streaming")
        source(f"DROP PUBLICATION {source.config.publication}")  # type: ignore[arg-type]
        source("INSERT INTO t VALUES (1, 'one', 0)")
        with pytest.raises(DatabaseError, match=r"publication .* does not exist.*begin anew"):
            ended(capture)
        assert capture.status()["state"] == "failed"


def test_a_slot_that_is_taken_is_waited_for(source: Source) -> None:
    with closing(Capture(source.config)) as second:
        with source.captured() as first:
            source("INSERT INTO t VALUES (1, 'one', 0)")
            source.settle(first)
            second.start()
            error = until(lambda: second.status()["error"])
            assert "is active for PID" in error
            assert "Another process reads this slot" in error
            assert second.status()["state"] in ("waiting", "connecting")
        source("INSERT INTO t VALUES (2, 'two', 0)")
        source.settle(second)
    assert source.rows() == table_rows(source)


def test_a_topic_with_other_partitions_is_refused(source: Source) -> None:
    with KafkaAdmin(source.bootstrap) as admin:
        admin.create_topic(source.config.topic("public.t"), partitions=5)
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        source("INSERT INTO t VALUES (1, 'one', 0)")
        with pytest.raises(ConfigurationError, match="has 5 partitions, and 2 are configured"):
            ended(capture)
    with source.captured(partitions=5):  # nothing was confirmed past it
        pass
    assert source.rows() == table_rows(source)


def test_a_message_too_large_ends_the_capture_or_leaves_a_note(source: Source) -> None:
    small = replace(
        source.config,
        kafka=lambda _role: {"bootstrap.servers": source.bootstrap, "message.max.bytes": 20_000},
    )
    with closing(Capture(small)) as capture:
        capture.prepare()
        capture.start()
        source("INSERT INTO t VALUES (1, 'before', 0)")
        source("INSERT INTO t VALUES (2, %s, 0)", "long " * 10_000)
        source("INSERT INTO t VALUES (3, 'behind', 0)")
        with pytest.raises(
            MessageTooLargeError, match=r"table public\.t at .* message of 50.* bytes.*max\.message\.bytes"
        ):
            ended(capture)
    assert '{"id":3}' not in source.rows()
    with source.captured(kafka=small.kafka, too_large="dead_letter") as capture:
        source.settle(capture)
        assert capture.status()["dead_letters"] == 1
    assert sorted(source.rows()) == ['{"id":1}', '{"id":3}']
    (letter,) = read_topic(source.bootstrap, source.config.dead_letter_topic)
    note = json.loads(letter.value or b"{}")
    assert letter.key == b'{"id":2}'
    assert (note["reason"], note["schema"], note["table"], note["op"]) == (
        "message too large",
        "public",
        "t",
        "c",
    )
    assert note["bytes"] > 50_000


def test_what_brokers_refuse_ends_the_capture_or_leaves_a_note(source: Source, caplog) -> None:
    """The topic takes less than the producer. A request is refused whole: rows that fit must not go, too."""
    config = replace(source.config, topic_properties={"max.message.bytes": "3000"})
    with closing(Capture(config)) as capture:
        capture.prepare()
        capture.start()
        with source.connection.transaction():
            source("TRUNCATE t")
            source("INSERT INTO t SELECT i, repeat('x', 500), 0 FROM generate_series(1, 100) AS i")
            source("INSERT INTO t VALUES (101, %s, 0)", secrets.token_hex(5000))
            source("INSERT INTO t SELECT i, 'behind', 0 FROM generate_series(102, 110) AS i")
        source("UPDATE t SET n = 1 WHERE id <= 10")
        with pytest.raises(
            MessageTooLargeError,
            match=r"table public\.t at .* message of 10.* bytes, more than Kafka takes.*max\.message\.bytes",
        ):
            ended(capture)
    with source.captured(topic_properties=config.topic_properties, too_large="dead_letter") as capture:
        source.settle(capture)
        status = capture.status()
    assert status["dead_letters"] == 1
    assert status["refusals"] > 0
    assert f"too large for Kafka: 1; notes about them are in {source.config.dead_letter_topic}" in caplog.text
    assert "brokers refused messages as too large" in caplog.text
    rows = table_rows(source)
    del rows['{"id":101}']
    assert source.rows() == rows
    emptied = [message.partition for message in source.messages() if b'"op":"t"' in (message.value or b"")]
    assert set(emptied) == set(range(PARTITIONS))
    (letter,) = read_topic(source.bootstrap, source.config.dead_letter_topic)
    note = json.loads(letter.value or b"{}")
    assert letter.key == b'{"id":101}'
    assert (note["reason"], note["table"], note["op"]) == ("message too large", "t", "c")
    assert note["bytes"] > 10_000


def test_two_tables_do_not_share_a_topic(source: Source) -> None:
    source('CREATE TABLE "a b" (id int PRIMARY KEY); CREATE TABLE "a_b" (id int PRIMARY KEY)')
    config = replace(source.config, tables=("public.a b",))
    with closing(Capture(config)) as capture:
        capture.prepare()
        source(f"ALTER PUBLICATION {config.publication} ADD TABLE a_b")  # type: ignore[arg-type]
        capture.start()
        source('INSERT INTO "a b" VALUES (1)')
        source('INSERT INTO "a_b" VALUES (1)')
        with pytest.raises(ConfigurationError, match=r"would share topic .*public.a_b"):
            ended(capture)


def test_a_slot_is_given_up_before_the_disk_fills(source: Source, monkeypatch, caplog) -> None:
    monkeypatch.setattr(capture_module, "WATCH_INTERVAL", 0.1)
    config = replace(source.config, lag_warning_bytes=1, lag_drop_bytes=64 << 20)
    with closing(Capture(config)) as capture:
        capture.prepare()
        capture.start()
        until(lambda: not capture.wait(0.1) and "the server keeps" in caplog.text)
    assert read_slot(source.connection, config.slot) is not None
    # What is held back now is over the limit: as if it had grown.
    with closing(Capture(replace(config, lag_drop_bytes=2))) as capture:
        capture.start()
        with pytest.raises(SlotLostError, match=r"was dropped.*LAG_DROP_BYTES.*--resync"):
            ended(capture)
    assert read_slot(source.connection, config.slot) is None
    with pytest.raises(SlotLostError):
        Capture(config).prepare()


def invalidate(source: Source, stack: Stack) -> None:
    """Have the server remove log that the slot needs."""
    with superuser(stack) as admin:
        admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            for _ in range(4):
                source("INSERT INTO t SELECT i, 'x', 0 FROM generate_series(1, 10) i ON CONFLICT DO NOTHING")
                admin.execute("SELECT pg_switch_wal()")
            admin.execute("CHECKPOINT")
        finally:
            admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            admin.execute("SELECT pg_reload_conf()")
    slot = read_slot(source.connection, source.config.slot)
    assert slot is not None
    assert slot.lost


def test_an_invalidated_slot_is_told_from_a_missing_one(source: Source, stack) -> None:
    Capture(source.config).prepare()
    invalidate(source, stack)
    lost = r"was invalidated by the server\. At least up to [0-9A-F]+/[0-9A-F]+.*--resync"
    with pytest.raises(SlotLostError, match=lost):
        Capture(source.config).prepare()
    with closing(Capture(source.config)) as capture:  # and who starts all the same
        capture.start()
        with pytest.raises(SlotLostError, match=lost):
            ended(capture)
        assert "begin anew with a snapshot" in capture.status()["error"]
    assert Capture(source.config).prepare(resync=True)


def test_a_slot_that_is_invalidated_while_it_is_read_ends_the_capture(source: Source, stack) -> None:
    nowhere = replace(source.config, kafka=lambda _role: {"bootstrap.servers": "127.0.0.1:1"})
    with closing(Capture(nowhere)) as capture:  # nothing is delivered, so nothing confirmed
        capture.prepare()
        capture.start()
        source("INSERT INTO t VALUES (0, 'zero', 0)")
        until(lambda: capture.status()["error"])
        invalidate(source, stack)
        with pytest.raises(SlotLostError, match=r"was invalidated by the server.*--resync"):
            ended(capture)
        assert capture.status()["state"] == "failed"


def test_a_server_without_a_free_slot_says_so(source: Source) -> None:
    ((free,),) = source(
        "SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
    )
    taken = [f"{source.config.slot}_{number}" for number in range(free)]
    try:
        for name in taken:
            source("SELECT pg_create_physical_replication_slot(%s)", name)
        with pytest.raises(
            ConfigurationError, match=r"all replication slots are in use.*max_replication_slots"
        ):
            Capture(source.config).prepare()
    finally:
        for name in taken:
            drop_slot(source.connection, name)


def test_a_topic_that_is_deleted_ends_the_capture(source: Source) -> None:
    with closing(Capture(source.config)) as capture:
        capture.prepare()
        capture.start()
        source("INSERT INTO t VALUES (1, 'one', 0)")
        source.settle(capture)
        with KafkaAdmin(source.bootstrap) as admin:
            admin.delete_topic(source.config.topic("public.t"))
        source("INSERT INTO t VALUES (2, 'two', 0)")
        with pytest.raises(KafkaError, match="the topic was deleted while it was written to"):
            ended(capture, 60)
    with source.captured():  # who starts it again has been told; nothing was confirmed past it
        pass
    assert '{"id":2}' in source.rows()
