"""A producer's journal on a real broker: receipts, dead messages sent again, other clusters, metrics."""

import asyncio
import json
import time
import uuid
from pathlib import Path

import pytest

from dbint import metrics
from dbint.errors import InterfaceError, KafkaError, QueueFullError
from dbint.journal.cli import main
from dbint.kafka import Delivery, KafkaAdmin, KafkaConsumer, KafkaProducer, Message, ProducerJournal
from stack import Endpoint

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def bootstrap(kafka: Endpoint) -> str:
    return f"{kafka.host}:{kafka.port}"


@pytest.fixture
def topic(bootstrap: str) -> str:
    name = f"test-{uuid.uuid4()}"
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(name, 2)
    return name


def contents(bootstrap: str, topic: str, count: int) -> list[Message]:
    found: list[Message] = []
    with KafkaConsumer(bootstrap) as consumer:
        consumer.assign([(topic, partition, "earliest") for partition in range(2)])
        deadline = time.monotonic() + 30
        while len(found) < count and time.monotonic() < deadline:
            if (batch := consumer.poll_batch(1000, timeout=2)) is not None:
                found.extend(batch)
    return found


def test_a_receipt_says_where_a_message_went(bootstrap: str, topic: str, tmp_path: Path) -> None:
    async def send(producer: KafkaProducer) -> list[Delivery]:
        futures = [producer.send(topic, b"%d" % number, b"key") for number in range(100)]
        return list(await asyncio.wait_for(asyncio.gather(*futures), 30))

    before = time.time() * 1000
    with KafkaProducer(bootstrap, journal=tmp_path) as producer:
        deliveries = asyncio.run(send(producer))
        last = producer.send_sync(topic, b"100", b"key", timeout=30)
    assert [delivery.offset for delivery in (*deliveries, last)] == list(range(101))
    assert len({delivery.partition for delivery in (*deliveries, last)}) == 1
    messages = contents(bootstrap, topic, 101)
    assert [message.value for message in messages] == [b"%d" % number for number in range(101)]
    identities = [dict(message.headers)["dbint.id"] for message in messages]
    assert identities == sorted(set(identities))  # they ascend with time
    assert all(uuid.UUID((identity or b"").decode()).version == 7 for identity in identities)
    assert all(before - 1 <= message.timestamp <= time.time() * 1000 for message in messages)


@pytest.mark.parametrize("durability", ["process", "interval", "sync"])
def test_every_durability_delivers(bootstrap: str, topic: str, tmp_path: Path, durability: str) -> None:
    journal = ProducerJournal(tmp_path, durability=durability, lanes=4)  # type: ignore[arg-type]
    with KafkaProducer(bootstrap, journal=journal) as producer:
        for number in range(50):
            producer.enqueue(topic, b"%d" % number, b"key-%d" % number, headers={"dbint.id": "mine"})
        assert producer.flush(30) == 0
    messages = contents(bootstrap, topic, 50)
    assert sorted(int(message.value or b"") for message in messages) == list(range(50))
    assert all(dict(message.headers) == {"dbint.id": b"mine"} for message in messages)  # its own is kept


def test_a_dead_message_is_sent_again_once_its_topic_is_there(
    bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = f"missing-{uuid.uuid4()}"
    config = {"topic.metadata.propagation.max.ms": 1000, "allow.auto.create.topics": False}
    with KafkaProducer(bootstrap, journal=tmp_path, config=config) as producer:

        async def send() -> None:
            with pytest.raises(KafkaError):
                await asyncio.wait_for(producer.send(missing, b"v", b"k", headers={"h": "x"}), 60)

        asyncio.run(send())
        assert producer.flush(30) == 0
        assert producer.metrics()["failed"] == 1
    assert main(["dump", "--dead", "--directory", str(tmp_path), "--format", "json"]) == 0
    (dead,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (dead["row"]["topic"], dead["row"]["value"]) == (missing, "v")
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(missing, 2)
    command = ["resubmit", "--directory", str(tmp_path), "--bootstrap", bootstrap]
    assert main(command) == 0
    assert "1 has landed" in capsys.readouterr().out
    assert main(command) == 0
    assert "1 was resubmitted before" in capsys.readouterr().out
    (message,) = contents(bootstrap, missing, 1)
    assert (message.key, message.value) == (b"k", b"v")
    assert dict(message.headers) == {"h": b"x", "dbint.id": dead["row"]["id"].encode()}


def test_messages_are_given_to_another_cluster_by_hand(
    bootstrap: str, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"test.mock.num.brokers": 1}
    with KafkaProducer("mock", journal=tmp_path, config=config) as producer:
        producer.send_sync(topic, b"0", b"k", timeout=30)  # the journal belongs to this cluster now
    with KafkaProducer(NOWHERE, journal=tmp_path) as producer:
        producer.enqueue(topic, b"1", b"k")
    with KafkaProducer(bootstrap, journal=tmp_path) as producer:
        producer.start()
        deadline = time.monotonic() + 30
        while (status := producer.journal_status() or {})["state"] != "held" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "another Kafka cluster" in status["why"]
        assert producer.close(0) == 1
    command = ["retarget", "--directory", str(tmp_path), "--clear"]
    assert main([*command, "--yes"]) == 0
    capsys.readouterr()
    with KafkaProducer(bootstrap, journal=tmp_path) as producer:
        producer.start()
        assert producer.flush(30) == 0
    assert [message.value for message in contents(bootstrap, topic, 1)] == [b"1"]


def test_a_full_journal_blocks_or_rejects(tmp_path: Path) -> None:
    journal = ProducerJournal(tmp_path, max_bytes=4 << 20)
    with KafkaProducer(NOWHERE, journal=journal, when_full="block", block_timeout=0.2) as producer:

        def fill() -> None:
            for _ in range(100):
                producer.enqueue("t", bytes(100_000))

        with pytest.raises(QueueFullError):
            fill()
        taken = producer.metrics()["accepted"]
        assert 20 < taken < 45

        async def send() -> None:
            with pytest.raises(QueueFullError):
                await asyncio.wait_for(producer.send("t", bytes(100_000)), 30)

        asyncio.run(send())
        found = producer.metrics()
        assert (found["refused"], found["journaled"]) == (2, taken)
        with pytest.raises(InterfaceError):
            producer.purge()
        producer.close(0)


def test_its_metrics_are_in_the_snapshot(bootstrap: str, topic: str, tmp_path: Path) -> None:
    client = f"journaled-{uuid.uuid4()}"
    with KafkaProducer(bootstrap, journal=tmp_path, client_id=client) as producer:
        producer.send_sync(topic, b"1", timeout=30)
        shown = {
            metric.name: metric.value
            for metric in metrics.snapshot()
            if metric.labels.get("client_id") == client and metric.kind != "histogram"
        }
    assert shown["dbint_kafka_producer_delivered_messages_total"] == 1
    assert shown["dbint_kafka_producer_held"] == 0
    assert shown["dbint_kafka_producer_journal_bytes"] > 0
