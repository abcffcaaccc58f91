"""A million messages while the broker is away: what they take meanwhile, and whether all arrive, in order."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contenders.journal_kafka import WARMUP
from bench.frame import BenchError, Contender, Ratio, Sample
from bench.outages import MIB, outage
from bench.servers import private_server
from dbint.kafka import KafkaAdmin, KafkaConsumer
from stack import Stack
from stack.servers.kafka import Kafka

MESSAGES = 1_000_000
QUICK_DIVISOR = 50
PARTITIONS = 4
READ_SECONDS = 300.0


class JournalKafkaBench:
    """One producer with a journal and an outage, watched from outside; every message is read again."""

    name = "journal_kafka"
    title = f"{MESSAGES:,} messages while the broker is away, then back: taken a second"
    units = {
        "value": "messages/s",
        "delivered": "messages/s",
        "cpu": "µs/message",
        "memory": "MiB",
        "rss_anon": "MiB",
        "directory": "MiB",
        "twice": "messages",
    }
    contenders = (Contender("dbint", "KafkaProducer with a journal, 1 lane"),)
    ratios = (
        Ratio("taken_per_s", "value", "dbint"),
        Ratio("delivered_per_s", "delivered", "dbint"),
        Ratio("rss_anon_over_idle_mib", "rss_anon", "dbint"),
        Ratio("delivered_twice", "twice", "dbint"),
    )
    rounds = 1
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A broker of the bench's own, to be taken away."""
        count = MESSAGES // (QUICK_DIVISOR if quick else 1)
        with private_server(Kafka()) as servers:
            yield lambda _contender: run(servers, count)


def run(servers: Stack, count: int) -> Sample:
    """One outage; what the topic holds in the end is read, not believed."""
    endpoint = servers.endpoint("kafka")
    bootstrap, topic = f"{endpoint.host}:{endpoint.port}", f"bench-{uuid.uuid4()}"
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(topic, PARTITIONS)
    found = outage(servers, "kafka", "bench.contenders.journal_kafka", bootstrap, topic, count=count)
    figures = {
        "value": count / found.said["taken_seconds"],
        "delivered": count / found.said["delivered_seconds"],
        "cpu": found.said["cpu_seconds"] / count * 1e6,
        "memory": found.said["peak_rss"] / MIB,
        "rss_anon": found.grown_mib,
        "directory": found.most["directory"] / MIB,
        "twice": look(bootstrap, topic, count + WARMUP),
    }
    return Sample(figures, {"kafka": servers.entry("kafka").version})


def look(bootstrap: str, topic: str, count: int) -> int:
    """How many messages came twice. BenchError when one is missing, or behind a later one of its key."""
    seen, newest, twice = bytearray(count), dict[bytes, int](), 0
    for partition in range(PARTITIONS):
        for key, value in contents(bootstrap, topic, partition):
            number = int(value[:9])
            if seen[number]:
                twice += 1
                continue
            if number < newest.get(key, 0):
                raise BenchError(f"message {number} of {key!r} came behind {newest[key]}")
            seen[number], newest[key] = 1, number
    if missing := count - sum(seen):
        raise BenchError(f"{missing} of {count} messages are missing")
    return twice


def contents(bootstrap: str, topic: str, partition: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a partition, in order."""
    deadline = time.monotonic() + READ_SECONDS
    with KafkaConsumer(bootstrap) as consumer:
        consumer.assign([(topic, partition, "earliest")])
        while time.monotonic() < deadline:
            batch = consumer.poll_batch(10_000, timeout=5)
            if batch is None:
                continue
            for message in batch:
                yield message.key or b"", message.value or b""
            if batch.ends:
                return
    raise BenchError(f"{topic} could not be read to its end")
