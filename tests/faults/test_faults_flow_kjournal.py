"""A producer's journal and a real broker: away, killed and started again, and the producer killed as well."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbint.errors import ClosedError, MessageTooLargeError
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, ProducerJournal
from stack import Endpoint, Stack

KEYS = 50

# Enqueues COUNT numbers from START on, says each hundredth one and pauses, and waits to be killed.
VICTIM = """
import sys
import time
from dbint.kafka import KafkaProducer
bootstrap, journal, topic, start, count, pause = sys.argv[1:]
producer = KafkaProducer(bootstrap, journal=journal, config={"reconnect.backoff.max.ms": 500})
for number in range(int(start), int(start) + int(count)):
    producer.enqueue(topic, b"%d" % number, b"key-%d" % (number % 50))
    if number % 100 == 99:
        print(number + 1, flush=True)
        time.sleep(float(pause))
print("all", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Arrived:
    """One message as a consumer sees it."""

    number: int
    key: bytes
    identity: str


def bootstrap_of(stack: Stack) -> str:
    endpoint = stack.endpoint("kafka")
    return f"{endpoint.host}:{endpoint.port}"


def create_topic(bootstrap: str, partitions: int = 3, **config: str) -> str:
    name = f"test-{uuid.uuid4()}"
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(name, partitions, configs=config)
    return name


def arrivals(bootstrap: str, topic: str, partitions: int = 3) -> Iterator[Arrived]:
    """All messages, partition by partition."""
    for partition in range(partitions):
        with KafkaConsumer(bootstrap) as consumer:
            consumer.assign([(topic, partition, "earliest")])
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                batch = consumer.poll_batch(10_000, timeout=5)
                if batch is None:
                    continue
                for message in batch:
                    headers = dict(message.headers)
                    identity = (headers["dbint.id"] or b"").decode()
                    yield Arrived(int(message.value or b""), message.key or b"", identity)
                if batch.ends:
                    break
            else:
                raise AssertionError(f"no end of {topic}/{partition}")


def check(bootstrap: str, topic: str, expected: set[int]) -> int:
    """Every number is there, in order per key, what came twice has one id; how many came twice.

    In order: when a message is there for the first time, all before it, of its key, have been there.
    """
    seen: dict[int, str] = {}
    newest: dict[bytes, int] = {}
    twice = 0
    for message in arrivals(bootstrap, topic):
        if message.number in seen:
            assert seen[message.number] == message.identity
            twice += 1
            continue
        assert message.number > newest.get(message.key, -1), f"{message} came behind {newest[message.key]}"
        newest[message.key] = message.number
        seen[message.number] = message.identity
    assert set(seen) == expected
    assert len(set(seen.values())) == len(seen)
    return twice


@pytest.fixture
def victim(tmp_path: Path) -> Iterator["Victim"]:
    made = Victim(tmp_path)
    yield made
    made.kill()


class Victim:
    """A producer in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.script = directory / "victim.py"
        self.script.write_text(VICTIM)
        self.process: subprocess.Popen[str] | None = None

    def start(
        self, bootstrap: str, journal: Path, topic: str, start: int, count: int, pause: float = 0
    ) -> None:
        arguments = [bootstrap, str(journal), topic, str(start), str(count), str(pause)]
        self.process = subprocess.Popen(
            [sys.executable, str(self.script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.communicate(timeout=30)
            self.process = None


def test_messages_wait_while_no_broker_is_there_and_outlive_their_process(
    kafka_private: Stack, tmp_path: Path, victim: Victim
) -> None:
    bootstrap = bootstrap_of(kafka_private)
    topic, journal = create_topic(bootstrap), tmp_path / "journal"
    kafka_private.stop("kafka")
    victim.start(bootstrap, journal, topic, 0, 20_000)  # every broker is away at its start, too
    while victim.said() != "all":
        pass
    victim.kill()
    with KafkaProducer(bootstrap, journal=journal) as producer:
        for number in range(20_000, 21_000):
            producer.enqueue(topic, b"%d" % number, b"key-%d" % (number % KEYS))
        assert producer.flush(0.5) == 21_000
        metrics = producer.metrics()
        assert (metrics["accepted"], metrics["recovered"], metrics["journaled"]) == (1000, 20_000, 21_000)
        kafka_private.start("kafka")
        assert producer.flush(60) == 0
        assert producer.metrics()["delivered"] == 21_000
    assert check(bootstrap, topic, set(range(21_000))) == 0  # nobody was killed while anything was on its way


def test_killed_producers_and_a_killed_broker_lose_nothing_and_keep_order(
    kafka_private: Stack, tmp_path: Path, victim: Victim
) -> None:
    bootstrap = bootstrap_of(kafka_private)
    topic, journal = create_topic(bootstrap), tmp_path / "journal"
    told, start, killed = set[int](), 0, False
    for round_ in range(4):
        victim.start(bootstrap, journal, topic, start, 1_000_000, 0.005)
        deadline = time.monotonic() + 2.5
        last = start
        while time.monotonic() < deadline:
            last = int(victim.said())
            if round_ == 1 and not killed and time.monotonic() > deadline - 1.5:
                kafka_private.kill("kafka")
                killed = True
        victim.kill()
        if round_ == 1:
            kafka_private.start("kafka")
        told |= set(range(start, last))
        start = last + 1000  # some more may have been taken than were said
    with KafkaProducer(bootstrap, journal=journal) as producer:
        producer.start()
        assert producer.flush(120) == 0
        status = producer.journal_status()
        assert status is not None
        assert status["state"] == "running"
    seen: dict[int, str] = {}
    newest: dict[bytes, int] = {}
    for message in arrivals(bootstrap, topic):
        if message.number not in seen:
            assert message.number > newest.get(message.key, -1)
            newest[message.key] = message.number
        assert seen.setdefault(message.number, message.identity) == message.identity
    assert told <= set(seen)


def test_a_broker_that_restarts_again_and_again_costs_nothing(kafka_private: Stack, tmp_path: Path) -> None:
    bootstrap = bootstrap_of(kafka_private)
    topic = create_topic(bootstrap)
    count = 0
    with KafkaProducer(bootstrap, journal=tmp_path, config={"reconnect.backoff.max.ms": 500}) as producer:
        for _ in range(2):
            for _ in range(3000):
                producer.enqueue(topic, b"%d" % count, b"key-%d" % (count % KEYS))
                count += 1
            kafka_private.kill("kafka")
            for _ in range(3000):
                producer.enqueue(topic, b"%d" % count, b"key-%d" % (count % KEYS))
                count += 1
            kafka_private.start("kafka")
        assert producer.flush(120) == 0
        metrics = producer.metrics()
        assert (metrics["delivered"], metrics["failed"]) == (count, 0)
    assert check(bootstrap, topic, set(range(count))) == 0


@pytest.mark.parametrize("lanes", [1, 4])
def test_messages_too_large_for_their_topic_are_dead_and_harm_no_others(
    kafka: Endpoint, tmp_path: Path, lanes: int
) -> None:
    """Those that shared a refused request come before what was sent after them, to each key."""
    bootstrap = f"{kafka.host}:{kafka.port}"
    topic = create_topic(bootstrap, **{"max.message.bytes": "20000"})
    with KafkaProducer(bootstrap, journal=ProducerJournal(tmp_path, lanes=lanes)) as producer:

        async def send() -> None:
            futures = []
            for number in range(2000):
                futures.append(producer.send(topic, b"%d" % number, b"key-%d" % (number % KEYS)))
                if number % 400 == 200:
                    futures.append(producer.send(topic, b"9" * 30_000, b"key-0"))
                if number % 20 == 0:  # many requests, also while one of them is refused
                    await asyncio.sleep(0.001)
            results = await asyncio.gather(*futures, return_exceptions=True)
            refused = [result for result in results if isinstance(result, BaseException)]
            assert [type(result) for result in refused] == [MessageTooLargeError] * 5, refused[:3]

        asyncio.run(asyncio.wait_for(send(), 60))
        assert producer.flush(30) == 0
        metrics = producer.metrics()
        assert (metrics["delivered"], metrics["failed"], metrics["journaled"]) == (2000, 5, 0)
        assert metrics["failed_by"] == {"MSG_SIZE_TOO_LARGE": 5}
    letters = [line for path in (tmp_path / "dead").iterdir() for line in path.read_text().splitlines()]
    assert len(letters) == 5
    assert all(topic in letter for letter in letters)
    check(bootstrap, topic, set(range(2000)))


def test_a_missing_topic_goes_to_the_dead_letters(kafka: Endpoint, tmp_path: Path) -> None:
    bootstrap = f"{kafka.host}:{kafka.port}"
    topic, missing = create_topic(bootstrap), f"missing-{uuid.uuid4()}"
    config = {"topic.metadata.propagation.max.ms": 1000, "allow.auto.create.topics": False}
    with KafkaProducer(bootstrap, journal=tmp_path, config=config) as producer:
        for number in range(100):
            producer.enqueue(topic, b"%d" % number, b"key-%d" % (number % KEYS))
            if number % 10 == 0:
                producer.enqueue(missing, b"%d" % number, b"key")
        assert producer.flush(60) == 0
        metrics = producer.metrics()
        assert (metrics["delivered"], metrics["failed"]) == (100, 10), metrics
    check(bootstrap, topic, set(range(100)))


def test_a_closed_producer_says_that_nothing_is_lost(tmp_path: Path) -> None:
    producer = KafkaProducer("127.0.0.1:1", journal=tmp_path)

    async def send() -> None:
        future = producer.send("t", b"1", b"k")
        assert await producer.aclose(0) == 1
        with pytest.raises(ClosedError, match="in the journal"):
            await asyncio.wait_for(future, 10)

    asyncio.run(send())
    assert producer.metrics()["journaled"] == 1
