"""The Kafka clients on a real broker: what a mock cluster cannot show."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbint.errors import (
    ClosedError,
    DeadlineError,
    InterfaceError,
    KafkaError,
    KafkaFatalError,
    UnreachableError,
)
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, Message, TopicPartition
from stack import Endpoint

CODECS = ("gzip", "snappy", "lz4", "zstd")


@pytest.fixture(scope="module")
def bootstrap(kafka: Endpoint) -> str:
    return f"{kafka.host}:{kafka.port}"


@pytest.fixture(scope="module")
def admin(bootstrap: str) -> Iterator[KafkaAdmin]:
    with KafkaAdmin(bootstrap) as made:
        yield made


@pytest.fixture
def topic(admin: KafkaAdmin) -> Iterator[str]:
    name = f"test-{uuid.uuid4()}"
    admin.create_topic(name, partitions=2)
    wait_for_topic(admin, name)
    yield name
    admin.delete_topic(name)


def wait_for_topic(admin: KafkaAdmin, name: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            if all(partition.leader is not None for partition in admin.topic(name).partitions):
                return
        except KafkaError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def read_all(
    bootstrap: str, topic: str, *, read_uncommitted: bool = False, partitions: int = 2
) -> list[Message]:
    """All messages from the beginning to the end of each partition."""
    messages: list[Message] = []
    ended: set[int] = set()
    with KafkaConsumer(bootstrap, read_uncommitted=read_uncommitted) as consumer:
        consumer.assign([(topic, number, "earliest") for number in range(partitions)])
        deadline = time.monotonic() + 30
        while len(ended) < partitions:
            assert time.monotonic() < deadline, f"read {len(messages)} messages, no end"
            if (batch := consumer.poll_batch(10_000, timeout=5)) is not None:
                messages.extend(batch)
                ended.update(partition for _, partition, _, _ in batch.ends)
    return messages


def test_admin_describes_the_cluster(admin: KafkaAdmin, bootstrap: str, topic: str) -> None:
    cluster = admin.describe_cluster()
    assert cluster.cluster_id
    assert [f"{broker.host}:{broker.port}" for broker in cluster.brokers] == [bootstrap]
    assert cluster.controller == cluster.brokers[0].id
    assert topic in admin.topics()
    assert [(p.id, p.replicas, p.in_sync) for p in admin.topic(topic).partitions] == [(0, 1, 1), (1, 1, 1)]


def test_admin_says_what_failed(admin: KafkaAdmin, topic: str) -> None:
    with pytest.raises(KafkaError, match="already exists") as caught:
        admin.create_topic(topic)
    assert caught.value.kafka_code == 36
    with pytest.raises(KafkaError) as caught:
        admin.delete_topic("nonesuch")
    assert caught.value.kafka_code == 3
    with pytest.raises(KafkaError, match="'nonesuch'") as caught:
        admin.topic("nonesuch")
    assert caught.value.kafka_code == 3
    with pytest.raises(KafkaError, match="nonesense"):
        admin.create_topic(f"test-{uuid.uuid4()}", configs={"nonesense.ms": "1"})


def test_what_is_sent_is_what_is_read(bootstrap: str, topic: str) -> None:
    headers = [("id", b"\x00\xff"), ("id", None), ("text", "gr\u00fc\u00df")]
    with KafkaProducer(bootstrap) as producer:
        sent = producer.send_sync(
            topic,
            b"\x00value",
            "k\u00e9y",
            headers=headers,
            partition=1,
            timestamp=1_700_000_000_123,
            timeout=10,
        )
        producer.enqueue(topic, None, b"", partition=1)
    first, second = read_all(bootstrap, topic)
    assert sent == (topic, 1, 0, 1_700_000_000_123)
    assert first == (
        topic,
        1,
        0,
        1_700_000_000_123,
        "k\u00e9y".encode(),
        b"\x00value",
        (("id", b"\x00\xff"), ("id", None), ("text", "gr\u00fc\u00df".encode())),
    )
    assert (second.key, second.value, second.headers) == (b"", None, ())


@pytest.mark.parametrize("codec", CODECS)
def test_compression(bootstrap: str, topic: str, codec: str) -> None:
    values = {b"%d" % number * 50 for number in range(500)}
    with KafkaProducer(bootstrap, compression=codec) as producer:
        for value in values:
            producer.enqueue(topic, value)
    assert {message.value for message in read_all(bootstrap, topic)} == values


def test_fifty_thousand_sends(bootstrap: str, topic: str) -> None:
    async def main(producer: KafkaProducer) -> None:
        futures = [producer.send(topic, b"%d" % number, partition=number % 2) for number in range(50_000)]
        deliveries = await asyncio.gather(*futures)
        for partition in (0, 1):
            assert [d.offset for d in deliveries[partition::2]] == list(range(25_000))

    with KafkaProducer(bootstrap) as producer:
        asyncio.run(main(producer))
        assert producer.metrics()["delivered"] == 50_000
    messages = read_all(bootstrap, topic)
    assert sorted(int(message.value or b"") for message in messages) == list(range(50_000))


def test_a_topic_that_must_exist(bootstrap: str, topic: str) -> None:
    with KafkaProducer(bootstrap, topic_timeout=10) as producer:
        producer.enqueue(topic, b"x")
        for call in (producer.enqueue, producer.send_sync, producer.check_topic):
            with pytest.raises(KafkaError, match="nonesuch") as caught:
                call("nonesuch")
            assert caught.value.kafka_code == 3

        async def main() -> None:
            assert (await producer.send(topic, b"x")).topic == topic
            with pytest.raises(KafkaError, match="nonesuch"):
                await producer.send("nonesuch", b"x")

        asyncio.run(main())
        assert producer.waiting == 0


def test_batches_and_offsets(bootstrap: str, topic: str) -> None:
    with KafkaProducer(bootstrap) as producer:
        for number in range(100):
            producer.enqueue(topic, None if number == 50 else b"%d" % number, partition=number % 2)
    group = f"test-{uuid.uuid4()}"
    with KafkaConsumer(bootstrap, group=group) as consumer:
        consumer.assign([TopicPartition(topic, 0, 10)])
        batch = consumer.poll_batch(5, timeout=10)
        assert batch is not None
        assert len(batch) == 5
        assert batch.ranges() == [(topic, 0, 10, 14, 5, 10)]
        assert batch.concat(b",") == b"20,22,24,26,28"
        assert batch.concat(b"", topic, 1) == b""
        assert [message.offset for message in batch] == [10, 11, 12, 13, 14]
        assert consumer.position([(topic, 0)])[0].offset == 15
        assert batch[-1].offset == 14
        consumer.seek([(topic, 0, 25)], 10)
        batch = consumer.poll_batch(3, timeout=10)
        assert batch is not None
        assert [message.value for message in batch] == [None, b"52", b"54"]
        assert batch.concat(b"\n") == b"52\n54"
        consumer.pause([(topic, 0)])
        assert consumer.poll_batch(1, timeout=0.5) is None
        consumer.resume([(topic, 0)])
        assert consumer.committed([(topic, 0)], 10)[0].offset is None
        consumer.commit([TopicPartition(topic, 0, 28, "range 25-27")])
        assert consumer.watermarks(topic, 0, 10) == (0, 50)
        assert consumer.assignment() == [TopicPartition(topic, 0, None, None)] or consumer.assignment()
    with KafkaConsumer(bootstrap, group=group) as consumer:
        assert consumer.committed([(topic, 0), (topic, 1)], 10) == [
            TopicPartition(topic, 0, 28, "range 25-27"),
            TopicPartition(topic, 1, None, None),
        ]
    assert batch[0].offset == 25, "a batch outlives its consumer"


def test_a_group_shares_and_goes_on_where_it_was(bootstrap: str, topic: str) -> None:
    with KafkaProducer(bootstrap) as producer:
        for number in range(40):
            producer.enqueue(topic, b"%d" % number, partition=number % 2)
    group, seen = f"test-{uuid.uuid4()}", []
    for _ in range(2):  # a second member begins where the first one committed
        with KafkaConsumer(bootstrap, group=group, topics=[topic]) as consumer:
            deadline = time.monotonic() + 30
            take = 20
            while take > 0:
                assert time.monotonic() < deadline
                batch = consumer.poll_batch(take, timeout=5)
                for message in batch or ():
                    seen.append(int(message.value or b""))
                    consumer.commit([(topic, message.partition, message.offset + 1)])
                    take -= 1
    assert sorted(seen) == list(range(40))


def test_transactions_are_all_or_nothing(bootstrap: str, topic: str) -> None:
    with KafkaProducer(bootstrap, transactional_id=f"tx-{uuid.uuid4()}") as producer:
        with pytest.raises(InterfaceError):
            producer.begin_transaction()
        producer.init_transactions(30)
        with pytest.raises(InterfaceError, match="begin_transaction"):
            producer.enqueue(topic, b"outside")
        with producer.transaction():
            for number in range(100):
                producer.enqueue(topic, b"committed %d" % number)

        def fail() -> None:
            with producer.transaction():
                producer.enqueue(topic, b"aborted")
                assert producer.flush(10) == 0
                _ = 1 / 0

        with pytest.raises(ZeroDivisionError):
            fail()

        async def main() -> None:
            async with producer.transaction():
                await producer.send(topic, b"committed 100")

        asyncio.run(main())
    assert len(read_all(bootstrap, topic)) == 101
    assert len(read_all(bootstrap, topic, read_uncommitted=True)) == 102


def test_consumed_offsets_are_part_of_the_transaction(bootstrap: str, topic: str) -> None:
    group = f"test-{uuid.uuid4()}"
    with (
        KafkaConsumer(bootstrap, group=group) as consumer,
        KafkaProducer(bootstrap, transactional_id=f"tx-{uuid.uuid4()}") as producer,
    ):

        def consume_until(offset: int, error: Exception | None) -> None:
            with producer.transaction():
                producer.send_offsets([(topic, 0, offset, "in the transaction")], consumer, 30)
                if error is not None:
                    raise error

        consume_until(5, None)
        with pytest.raises(ValueError, match="given up"):
            consume_until(9, ValueError("given up"))
        assert consumer.committed([(topic, 0)], 10) == [TopicPartition(topic, 0, 5, "in the transaction")]
        with pytest.raises(TypeError, match="consumer"):
            producer.send_offsets([(topic, 0, 1)], producer)  # type: ignore[arg-type]


def test_the_older_of_two_producers_is_fenced(bootstrap: str, topic: str) -> None:
    name = f"tx-{uuid.uuid4()}"
    with (
        KafkaProducer(bootstrap, transactional_id=name) as older,
        KafkaProducer(bootstrap, transactional_id=name) as newer,
    ):
        older.init_transactions(30)
        older.begin_transaction()
        older.enqueue(topic, b"zombie")
        older.flush(10)
        newer.init_transactions(30)
        with pytest.raises(KafkaFatalError):
            older.commit_transaction(30)
        assert isinstance(older.fatal_error, KafkaFatalError)
        with pytest.raises(KafkaFatalError, match="make a new one"):
            older.enqueue(topic, b"zombie")
        with newer.transaction():
            newer.enqueue(topic, b"alive")
    assert [message.value for message in read_all(bootstrap, topic)] == [b"alive"]


def test_the_exit_of_the_interpreter_delivers(bootstrap: str, topic: str) -> None:
    program = (
        "from dbint.kafka import KafkaProducer\n"
        f"producer = KafkaProducer({bootstrap!r}, linger=1)\n"
        f"for number in range(1000): producer.enqueue({topic!r}, b'%d' % number)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert len(read_all(bootstrap, topic)) == 1000


def test_an_unreachable_broker_is_said_within_the_deadline() -> None:
    nowhere = "127.0.0.1:1"
    start = time.monotonic()
    with KafkaAdmin(nowhere) as admin, pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1.*refused"):
        admin.describe_cluster(1)
    with KafkaConsumer(nowhere) as consumer:
        consumer.assign([("t", 0)])
        with pytest.raises(UnreachableError):
            consumer.poll_batch(timeout=5)
    producer = KafkaProducer(nowhere, transactional_id="tx")
    with producer, pytest.raises((UnreachableError, DeadlineError)):
        producer.init_transactions(1)
    with pytest.raises(ClosedError):
        producer.init_transactions(1)
    assert time.monotonic() - start < 10
