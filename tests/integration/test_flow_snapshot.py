"""The first load of a flow, from a real PostgreSQL into a real Kafka: every row, whatever happens."""

import json
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dbint import errors
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.positions import format_lsn, parse_lsn
from dbint.flow.snapshot import SCHEMA_SQL, Snapshot, TableProgress, fresh_point, read_progress
from dbint.kafka import KafkaConsumer
from stack import Stack
from tests.faults.events import superuser

PARTITIONS = 3


@dataclass
class Place:
    """A database and a prefix of topics of one test's own."""

    admin: psycopg.Connection[Any]
    parameters: dict[str, Any]
    bootstrap: str
    prefix: str

    def config(self, *tables: str, **changes: Any) -> FlowConfig:
        return FlowConfig(
            **{
                "name": "orders",
                "source": SourceAccess("the test's", lambda: self.parameters),
                "target": TargetAccess("none", "none", [], [], lambda: ("", "")),
                "kafka": lambda _role: {"bootstrap.servers": self.bootstrap},
                "tables": tables,
                "prefix": self.prefix,
                "partitions": PARTITIONS,
                "publication": "flow",
                "slot": f"slot_{self.prefix}",
                "chunk_rows": 10,
                **changes,
            }
        )

    def messages(self, table: str) -> list[tuple[int, Any, Any]]:
        """All that the table's topic holds: partition, key, value."""
        topic = f"{self.prefix}.{table}"
        with KafkaConsumer(self.bootstrap) as consumer:
            ends = {part: consumer.watermarks(topic, part)[1] for part in range(PARTITIONS)}
            consumer.assign([(topic, part, "earliest") for part in range(PARTITIONS)])
            found: list[tuple[int, Any, Any]] = []
            deadline = time.monotonic() + 30
            while len(found) < sum(ends.values()):
                assert time.monotonic() < deadline, f"{len(found)} of {sum(ends.values())} messages were read"
                for message in consumer.poll_batch(10_000, timeout=1.0) or ():
                    key = json.loads(message.key) if message.key is not None else None
                    found.append((message.partition, key, json.loads(message.value)))
        return found

    def rows(self, table: str) -> list[Any]:
        """The rows of its op r messages."""
        return [value["after"] for _, _, value in self.messages(table) if value["op"] == "r"]

    def publish(self, what: str = "FOR ALL TABLES") -> None:
        self.admin.execute(sql.SQL("CREATE PUBLICATION flow ") + sql.SQL(what))


@pytest.fixture
def place(stack: Stack, postgres, kafka) -> Iterator[Place]:
    name = f"snapshot_{secrets.token_hex(4)}"
    with superuser(stack) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        entry = stack.entry("postgres")
        parameters = {
            "host": str(entry.extra["socket_directory"]),
            "port": entry.ports["sql"],
            "user": "postgres",
            "dbname": name,
        }
        try:
            with superuser(stack, name) as admin:
                yield Place(admin, parameters, f"{kafka.host}:{kafka.port}", name)
        finally:
            server.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
                (name,),
            )
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def numbered(place: Place, count: int) -> None:
    place.admin.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
    place.admin.execute("INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, %s) n", (count,))


def stopping_after(
    chunks: int,
) -> tuple[list[TableProgress], Callable[[TableProgress], None], list[Snapshot]]:
    """What a Snapshot reports; it is stopped with its nth chunk."""
    seen: list[TableProgress] = []
    whose: list[Snapshot] = []

    def on_progress(progress: TableProgress) -> None:
        seen.append(progress)
        if len(seen) == chunks:
            whose[0].stop()

    return seen, on_progress, whose


def test_every_row_once_with_one_sequence(place):
    numbered(place, 95)
    place.publish()
    seen: list[TableProgress] = []
    point = fresh_point(place.admin)
    (done,) = Snapshot(place.config("public.orders"), on_progress=seen.append).run(point)
    messages = place.messages("public.orders")
    assert sorted(value["after"]["id"] for _, _, value in messages) == list(range(1, 96))
    assert {value["op"] for _, _, value in messages} == {"r"}
    assert all(key == {"id": value["after"]["id"]} for _, key, value in messages)
    assert all(value["before"] is None for _, _, value in messages)
    assert {value["source"]["sequence"] for _, _, value in messages} == {f'["{point}","{point}"]'}
    assert {value["source"]["table"] for _, _, value in messages} == {"orders"}
    assert {partition for partition, _, _ in messages} == set(range(PARTITIONS))
    assert [progress.rows for progress in seen] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95]
    assert [progress.state for progress in seen] == ["running"] * 9 + ["done"]
    assert (done.state, done.rows, done.share, done.eta, done.point) == ("done", 95, 1.0, 0.0, point)
    assert done.bytes > 95 * 100
    # and again: there is nothing to do
    assert Snapshot(place.config("public.orders")).run(None) == [done]
    assert len(place.messages("public.orders")) == 95


def test_it_goes_on_behind_the_last_chunk(place):
    numbered(place, 60)
    place.publish()
    _, on_progress, whose = stopping_after(3)
    config = place.config("public.orders")
    whose.append(Snapshot(config, on_progress=on_progress))
    (stopped,) = whose[0].run(fresh_point(place.admin))
    assert (stopped.state, stopped.rows) == ("running", 30)
    assert stopped.total is not None
    (done,) = Snapshot(config).run(None)
    assert (done.state, done.rows, done.point) == ("done", 60, stopped.point)
    assert Counter(row["id"] for row in place.rows("public.orders")) == Counter(range(1, 61))


def test_a_key_of_several_columns_and_every_odd_character(place):
    texts = ["a\tb", "a\nb", "a\\b", "a'b", 'a"b', "ÄÖ€😀", "", "\\N", "NULL", "a\rb", "\x01\x7f"]
    place.admin.execute(
        'CREATE TABLE "Odd Name" (kind text COLLATE "C", at timestamptz, "two words" int, note text, '
        "PRIMARY KEY (kind, at))"
    )
    rows = [
        (text, f"2026-01-{day:02} 12:00:00+02", None if day == 2 else day, text)
        for text in texts
        for day in (1, 2, 3)
    ]
    with place.admin.cursor() as cursor:
        cursor.executemany('INSERT INTO "Odd Name" VALUES (%s, %s, %s, %s)', rows)
    place.publish()
    config = place.config("public.Odd Name", chunk_rows=1)
    (done,) = Snapshot(config).run(fresh_point(place.admin))
    assert done.rows == len(rows)
    found = [(row["kind"], row["at"], row["two words"], row["note"]) for row in place.rows("public.Odd_Name")]
    assert Counter(found) == Counter(
        (kind, f"{at[:10]}T10:00:00.000000Z", number, note) for kind, at, number, note in rows
    )


def test_a_table_without_a_key_is_one_chunk(place):
    place.admin.execute("CREATE TABLE log (line text)")
    place.admin.execute("INSERT INTO log SELECT 'same' FROM generate_series(1, 35)")
    place.publish()
    seen: list[TableProgress] = []
    Snapshot(place.config("public.log"), on_progress=seen.append).run(fresh_point(place.admin))
    assert [(progress.rows, progress.state) for progress in seen] == [(35, "done")]
    sent = [(key, value["after"]) for _, key, value in place.messages("public.log")]
    assert sent == [(None, {"line": "same"})] * 35


def test_an_empty_table_is_done(place):
    place.admin.execute("CREATE TABLE nothing (id int PRIMARY KEY)")
    place.publish()
    (done,) = Snapshot(place.config("public.nothing")).run(fresh_point(place.admin))
    assert (done.state, done.rows, done.share) == ("done", 0, 1.0)


def test_what_the_publication_leaves_out_stays_out(place):
    place.admin.execute(
        "CREATE TABLE people (id int PRIMARY KEY, name text, secret text, "
        "loud text GENERATED ALWAYS AS (upper(name)) STORED)"
    )
    place.admin.execute("INSERT INTO people SELECT n, 'name ' || n, 'secret' FROM generate_series(1, 30) n")
    place.publish("FOR TABLE people (id, name) WHERE (id > 10)")
    Snapshot(place.config("public.people")).run(fresh_point(place.admin))
    assert sorted((row["id"], row["name"]) for row in place.rows("public.people")) == [
        (n, f"name {n}") for n in range(11, 31)
    ]
    assert all(set(row) == {"id", "name"} for row in place.rows("public.people"))


def test_generated_columns_are_not_in_the_stream_and_not_in_the_load(place):
    place.admin.execute(
        "CREATE TABLE sums (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED)"
    )
    place.admin.execute("INSERT INTO sums VALUES (1, 4)")
    place.publish()
    Snapshot(place.config("public.sums")).run(fresh_point(place.admin))
    assert place.rows("public.sums") == [{"id": 1, "a": 4}]


def partitioned(place: Place) -> None:
    place.admin.execute(
        "CREATE TABLE facts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)"
    )
    for year in (2025, 2026):
        place.admin.execute(
            f"CREATE TABLE facts_{year} PARTITION OF facts "
            f"FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')"
        )
    place.admin.execute("INSERT INTO facts SELECT n, date '2025-12-20' + n FROM generate_series(1, 25) n")


def test_a_partitioned_table_is_one_table(place):
    partitioned(place)
    place.publish("FOR TABLE facts WITH (publish_via_partition_root = true)")
    Snapshot(place.config("public.facts")).run(fresh_point(place.admin))
    assert sorted(row["id"] for row in place.rows("public.facts")) == list(range(1, 26))
    assert {value["source"]["table"] for _, _, value in place.messages("public.facts")} == {"facts"}


def test_a_partitioned_table_that_is_published_by_partitions_is_refused(place):
    partitioned(place)
    place.publish("FOR TABLE facts")
    with pytest.raises(errors.ConfigurationError, match="publish_via_partition_root = true"):
        Snapshot(place.config("public.facts")).run(fresh_point(place.admin))


def test_rows_of_child_tables_are_theirs(place):
    place.admin.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    place.admin.execute("CREATE TABLE child () INHERITS (parent)")
    place.admin.execute("INSERT INTO parent VALUES (1)")
    place.admin.execute("INSERT INTO child VALUES (2)")
    place.publish()
    Snapshot(place.config("public.parent")).run(fresh_point(place.admin))
    assert place.rows("public.parent") == [{"id": 1}]


@pytest.mark.parametrize(
    ("statement", "of_its_new_shape"),
    [
        ("ALTER TABLE orders ADD COLUMN more int DEFAULT 7", lambda row: row.get("more") == 7),
        ("ALTER TABLE orders DROP COLUMN note", lambda row: "note" not in row),
        ("ALTER TABLE orders ALTER COLUMN id TYPE numeric", lambda row: isinstance(row["id"], str)),
        ("ALTER PUBLICATION flow SET TABLE orders (id)", lambda row: "note" not in row),
    ],
)
def test_a_table_that_is_altered_begins_again(place, statement, of_its_new_shape):
    numbered(place, 50)
    place.publish("FOR TABLE orders")
    seen: list[TableProgress] = []

    def on_progress(progress: TableProgress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            place.admin.execute(statement)

    (done,) = Snapshot(place.config("public.orders"), on_progress=on_progress).run(fresh_point(place.admin))
    assert (done.state, done.rows) == ("done", 50)
    assert [progress.rows for progress in seen] == [10, 20, 0, 10, 20, 30, 40, 50, 50]
    found = [int(row["id"]) for row in place.rows("public.orders") if of_its_new_shape(row)]
    assert sorted(found) == list(range(1, 51))


def test_a_table_that_was_altered_while_nobody_read_it_begins_again(place):
    numbered(place, 40)
    place.publish()
    _, on_progress, whose = stopping_after(2)
    config = place.config("public.orders")
    whose.append(Snapshot(config, on_progress=on_progress))
    whose[0].run(fresh_point(place.admin))
    place.admin.execute("ALTER TABLE orders ADD COLUMN more int DEFAULT 7")
    (done,) = Snapshot(config).run(None)
    assert done.rows == 40
    assert {row["id"] for row in place.rows("public.orders") if "more" in row} == set(range(1, 41))


def test_a_table_that_is_altered_all_the_time_is_given_up(place):
    numbered(place, 20)
    place.publish()
    number = iter(range(1000))

    def on_progress(progress: TableProgress) -> None:
        if progress.rows:
            place.admin.execute(f"ALTER TABLE orders ADD COLUMN c{next(number)} int")

    with pytest.raises(errors.OperationalError, match="altered 20 times"):
        Snapshot(place.config("public.orders"), on_progress=on_progress).run(fresh_point(place.admin))


def test_a_table_that_is_dropped_is_said_to_be_gone(place):
    numbered(place, 30)
    place.publish()

    def on_progress(_progress: TableProgress) -> None:
        place.admin.execute("DROP TABLE IF EXISTS orders")

    with pytest.raises(errors.ConfigurationError, match=r"public\.orders: PostgreSQL has no such table"):
        Snapshot(place.config("public.orders"), on_progress=on_progress).run(fresh_point(place.admin))


def test_rows_that_change_meanwhile_are_left_to_the_stream(place):
    """A row that moves before the place of reading is missed, and its change comes with a higher sequence."""
    numbered(place, 30)
    place.publish()
    point = fresh_point(place.admin)
    place.admin.execute("SELECT pg_create_logical_replication_slot('stream', 'pgoutput')")
    seen: list[TableProgress] = []

    def on_progress(progress: TableProgress) -> None:
        seen.append(progress)
        if len(seen) == 1:
            place.admin.execute("UPDATE orders SET id = 0 WHERE id = 25")
            place.admin.execute("UPDATE orders SET id = 100 WHERE id = 5")

    Snapshot(place.config("public.orders"), on_progress=on_progress).run(point)
    ids = Counter(row["id"] for row in place.rows("public.orders"))
    assert ids == Counter([*(n for n in range(1, 31) if n != 25), 100])
    changes = place.admin.execute(
        "SELECT lsn::text FROM pg_logical_slot_peek_binary_changes('stream', NULL, NULL, "
        "'proto_version', '1', 'publication_names', 'flow')"
    ).fetchall()
    assert min(parse_lsn(lsn) for (lsn,) in changes if parse_lsn(lsn)) > point


def test_a_reset_sends_all_again_and_then_clears_what_is_older(place):
    numbered(place, 20)
    place.publish()
    config = place.config("public.orders")
    Snapshot(config).run(fresh_point(place.admin))
    place.admin.execute("DELETE FROM orders WHERE id <= 5")  # nobody hears of it
    snapshot = Snapshot(config)
    snapshot.reset(["public.orders"])
    (pending,) = snapshot.progress()
    assert (pending.state, pending.rows, pending.point) == ("pending", 0, None)
    (done,) = snapshot.run(None)
    messages = place.messages("public.orders")
    again = [m for m in messages if m[2]["source"]["sequence"] == f'["{done.point}","{done.point}"]']
    assert sorted(value["after"]["id"] for _, _, value in again if value["op"] == "r") == list(range(6, 21))
    swept = [(partition, key) for partition, key, value in again if value["op"] == "t"]
    assert sorted(swept) == [(partition, None) for partition in range(PARTITIONS)]
    for partition in range(PARTITIONS):  # behind the last row of each partition
        assert [value["op"] for where, _, value in again if where == partition][-1] == "t"
    # a first load has none
    assert sum(value["op"] == "t" for _, _, value in messages) == PARTITIONS
    with pytest.raises(
        errors.ConfigurationError, match=r"has no table public\.others: it has public\.orders"
    ):
        snapshot.reset(["public.others"])


def test_a_later_table_gets_a_later_point(place):
    numbered(place, 5)
    place.publish()
    place.admin.execute(
        "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (f"slot_{place.prefix}",)
    )
    (first,) = Snapshot(place.config("public.orders")).run(fresh_point(place.admin))
    place.admin.execute("CREATE TABLE later (id int PRIMARY KEY)")
    place.admin.execute("INSERT INTO later VALUES (1)")
    before = parse_lsn(place.admin.execute("SELECT pg_current_wal_lsn()::text").fetchone()[0])
    known, later = Snapshot(place.config("public.orders", "public.later")).run(None)
    assert known == first
    assert later.point >= before
    assert len(place.rows("public.orders")) == 5
    assert place.rows("public.later") == [{"id": 1}]
    slots = place.admin.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    )
    assert slots.fetchall() == [(f"slot_{place.prefix}",)]


def test_a_point_waits_for_what_is_under_way(place):
    """A commit before the point is seen by whoever reads after it."""
    numbered(place, 1)
    other = psycopg.connect(**place.parameters)
    other.execute("INSERT INTO orders VALUES (2, 'under way')")
    points: list[int] = []

    def find() -> None:
        with psycopg.connect(**place.parameters, autocommit=True) as connection:
            points.append(fresh_point(connection))

    thread = threading.Thread(target=find)
    thread.start()
    time.sleep(0.5)
    assert points == []
    other.commit()
    thread.join(30)
    other.close()
    assert len(points) == 1


def test_the_stream_must_stand_still(place):
    numbered(place, 5)
    place.publish()
    config = place.config("public.orders")
    place.admin.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (config.slot,))
    streaming = Streaming(place, config.slot)
    try:
        with pytest.raises(errors.OperationalError, match="is read by process"):
            Snapshot(config).run(None)
    finally:
        streaming.close()


class Streaming:
    """pg_recvlogical on a slot."""

    def __init__(self, place: Place, slot: str) -> None:
        self.process = subprocess.Popen(
            [
                "pg_recvlogical",
                "--start",
                f"--slot={slot}",
                f"--dbname={make_conninfo('', **place.parameters)}",
                "--option=proto_version=1",
                "--option=publication_names=flow",
                "--file=/dev/null",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while (
            place.admin.execute(
                "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active", (slot,)
            ).fetchone()
            is None
        ):
            assert time.monotonic() < deadline, "pg_recvlogical does not read the slot"
            time.sleep(0.05)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def test_two_processes_do_not_load_at_once(place):
    numbered(place, 5)
    place.publish()
    config = place.config("public.orders")
    Snapshot(config).pending()  # makes the table
    place.admin.execute("SELECT pg_advisory_lock(hashtextextended('dbint.flow orders', 0))")
    with pytest.raises(errors.OperationalError, match="another process is at the first load"):
        Snapshot(config).run(1)


def test_a_row_that_no_message_can_hold_is_named(place):
    numbered(place, 3)
    place.admin.execute("INSERT INTO orders VALUES (4, repeat('x', 3000000))")
    place.publish()
    with pytest.raises(errors.MessageTooLargeError, match=r'public\.orders, row with the key {"id":4}'):
        Snapshot(place.config("public.orders")).run(fresh_point(place.admin))
    (progress,) = Snapshot(place.config("public.orders")).progress()
    assert progress.state == "running"


def test_a_note_takes_the_place_of_a_row_that_no_message_can_hold(place):
    numbered(place, 3)
    place.admin.execute("INSERT INTO orders VALUES (4, repeat('x', 3000000))")
    place.publish()
    config = place.config("public.orders", too_large="dead_letter")
    (done,) = Snapshot(config).run(fresh_point(place.admin))
    assert (done.state, done.rows) == ("done", 4)
    assert sorted(row["id"] for row in place.rows("public.orders")) == [1, 2, 3]
    ((_, key, note),) = place.messages("dead-letter")
    assert key == {"id": 4}
    assert (note["reason"], note["schema"], note["table"], note["op"]) == (
        "message too large",
        "public",
        "orders",
        "r",
    )
    assert note["bytes"] > 3_000_000
    assert note["sequence"] == [str(done.point)] * 2


def test_rows_that_brokers_refuse_are_sorted(place):
    """The topic takes less than the producer, and a request is refused whole."""
    numbered(place, 50)
    place.admin.execute("INSERT INTO orders SELECT n, repeat('x', 500) FROM generate_series(51, 80) n")
    place.admin.execute("INSERT INTO orders VALUES (81, repeat('x', 5000)), (82, 'behind')")
    place.publish()
    config = place.config(
        "public.orders", chunk_rows=60, topic_properties={"max.message.bytes": "3000"}, partitions=PARTITIONS
    )
    point = fresh_point(place.admin)
    with pytest.raises(errors.MessageTooLargeError, match=r'key {"id":81}: it is a message of 5'):
        Snapshot(config).run(point)
    (done,) = Snapshot(replace(config, too_large="dead_letter")).run(point)
    assert (done.state, done.rows) == ("done", 82)
    assert {row["id"] for row in place.rows("public.orders")} == set(range(1, 83)) - {81}
    ((_, key, note),) = place.messages("dead-letter")
    assert key == {"id": 81}
    assert (note["reason"], note["op"]) == ("message too large", "r")


def test_full_load_only_needs_no_publication_and_no_slot(place):
    numbered(place, 5)
    (done,) = Snapshot(place.config("public.orders", mode="full_load_only")).run(None)
    assert (done.state, done.rows) == ("done", 5)
    assert len(place.rows("public.orders")) == 5


@pytest.fixture
def poor(place: Place) -> Iterator[Place]:
    """The same, as a role that owns nothing and may replicate."""
    name = f"role_{secrets.token_hex(4)}"
    place.admin.execute(f"CREATE ROLE {name} LOGIN REPLICATION PASSWORD 'poor'")
    try:
        yield replace(place, parameters={**place.parameters, "user": name, "password": "poor"})
    finally:
        place.admin.execute(f"DROP OWNED BY {name}")
        place.admin.execute(f"DROP ROLE {name}")


def test_a_role_that_may_make_no_table_is_told_what_to_do(place, poor):
    numbered(place, 1)
    place.publish()
    with pytest.raises(errors.ConfigurationError, match=r"GRANT CREATE ON DATABASE.*SCHEMA_SQL"):
        Snapshot(poor.config("public.orders")).run(1)


def test_row_security_is_refused_not_obeyed(place, poor):
    numbered(place, 3)
    place.publish()
    place.admin.execute(SCHEMA_SQL)
    user = poor.parameters["user"]
    place.admin.execute(f"GRANT USAGE ON SCHEMA dbint TO {user}")
    place.admin.execute(f"GRANT SELECT, INSERT, UPDATE ON dbint.flow_snapshot, orders TO {user}")
    place.admin.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    place.admin.execute("CREATE POLICY few ON orders USING (id = 1)")
    with pytest.raises(errors.DatabaseError, match="row-level security"):
        Snapshot(poor.config("public.orders")).run(fresh_point(place.admin))
    place.admin.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    (done,) = Snapshot(poor.config("public.orders")).run(None)
    assert done.rows == 3


def test_a_role_without_replication_is_told_so(place, poor):
    place.admin.execute(f"ALTER ROLE {poor.parameters['user']} NOREPLICATION")
    with (
        psycopg.connect(**poor.parameters, autocommit=True) as connection,
        pytest.raises(errors.ConfigurationError, match="REPLICATION"),
    ):
        fresh_point(connection)


def test_time_limits_of_the_role_do_not_end_a_chunk(place, poor):
    numbered(place, 3)
    place.publish()
    place.admin.execute(SCHEMA_SQL)
    user = poor.parameters["user"]
    place.admin.execute(f"GRANT USAGE ON SCHEMA dbint TO {user}")
    place.admin.execute(f"GRANT SELECT, INSERT, UPDATE ON dbint.flow_snapshot, orders TO {user}")
    place.admin.execute(f"ALTER ROLE {user} SET statement_timeout = '100ms'")
    point = fresh_point(place.admin)
    blocker = psycopg.connect(**place.parameters)
    blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
    timer = threading.Timer(0.6, blocker.rollback)
    timer.start()
    (done,) = Snapshot(poor.config("public.orders", mode="full_load_only")).run(point)
    timer.join()
    blocker.close()
    assert done.rows == 3


def test_it_stops_while_it_waits_for_a_lock(place):
    numbered(place, 3)
    place.publish()
    snapshot = Snapshot(place.config("public.orders"))
    point = fresh_point(place.admin)
    with psycopg.connect(**place.parameters) as blocker:
        blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        timer = threading.Timer(0.5, snapshot.stop)
        timer.start()
        begun = time.monotonic()
        (progress,) = snapshot.run(point)
        assert time.monotonic() - begun < 10
        timer.join()
        blocker.rollback()
    assert progress.rows == 0


def test_no_broker_is_told_and_does_not_keep_it_from_stopping(place):
    numbered(place, 3)
    place.publish()
    nowhere = {"kafka": lambda _role: {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}}
    point = fresh_point(place.admin)
    begun = time.monotonic()
    with pytest.raises(errors.OperationalError):
        Snapshot(place.config("public.orders", **nowhere)).run(point)
    assert 5 < time.monotonic() - begun < 30
    snapshot = Snapshot(place.config("public.orders", **nowhere))
    timer = threading.Timer(1.0, snapshot.stop)
    timer.start()
    begun = time.monotonic()
    (progress,) = snapshot.run(point)
    assert time.monotonic() - begun < 6
    assert progress.rows == 0
    timer.join()


def test_progress_as_text_and_numbers(place):
    numbered(place, 30)
    place.admin.execute("ANALYZE orders")
    place.publish()
    _, on_progress, whose = stopping_after(1)
    whose.append(Snapshot(place.config("public.orders"), on_progress=on_progress))
    whose[0].run(fresh_point(place.admin))
    (progress,) = read_progress(place.admin, "orders")
    found = progress.to_json()
    assert found["table"] == "public.orders"
    assert (found["rows"], found["total_estimate"], found["share"]) == (10, 30, pytest.approx(1 / 3))
    assert found["rows_per_s"] > 0
    assert found["eta_s"] > 0
    assert found["consistent_point"] == format_lsn(progress.point)
    assert "10 rows of about 30 (33%)" in str(progress)
    json.dumps(found)


@pytest.mark.parametrize("text", ["", "1", "1/", "/1", "1/G", "123456789/0", "1/123456789", "-1/0", "1/0/0"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(errors.ConfigurationError, match="no position"):
        parse_lsn(text)


def test_positions_come_back():
    for number in (0, 1, 1 << 32, (1 << 64) - 1, 0x16B374D848):
        assert parse_lsn(format_lsn(number)) == number
