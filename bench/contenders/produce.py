"""Producers in Python: ``python -m bench.contenders.produce HOW BOOTSTRAP TOPIC MESSAGES WARMUP SIZE``.

Each delivers WARMUP messages before the clock starts and counts what was delivered; the topic's end offset is
checked by the caller. The payloads exist before the clock starts, here as in native/produce.c: making them is
not the producer's work.
"""

import asyncio
import ctypes
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.measure import Stopwatch, report

PAYLOADS = 1024
FLUSH_SECONDS = 120.0

# How many awaited messages are under way at once. Below the queue's limit, so that no contender meets a full
# queue.
WINDOW = 10_000


def payloads(count: int, size: int) -> Iterator[bytes]:
    """``count`` messages of ``size`` bytes, drawn in turn from a ring that is made here and now."""
    ring = [bytes(97 + (k + i * 7) % 26 for i in range(size)) for k in range(PAYLOADS)]
    return itertools.islice(itertools.cycle(ring), count)


def settings(bootstrap: str) -> dict[str, Any]:
    """The same for all, in librdkafka's names."""
    return {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "queue.buffering.max.messages": 100_000,
    }


def librdkafka_version() -> str:
    """The version of the one librdkafka that this process has loaded; of two, which one was timed?"""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    loaded = {line.split(maxsplit=5)[5] for line in lines if "librdkafka" in line}
    if len(loaded) != 1:
        raise SystemExit(
            f"one librdkafka must be loaded, not {len(loaded)}: {', '.join(sorted(loaded)) or 'none'}"
        )
    version = ctypes.CDLL(loaded.pop()).rd_kafka_version_str
    version.restype = ctypes.c_char_p
    return str(version().decode())


def expect(delivered: int, count: int) -> None:
    """End the run as failed unless every message was reported as delivered."""
    if delivered != count:
        raise SystemExit(f"{delivered} of {count} messages were reported as delivered")


class Confluent:
    """confluent-kafka's Producer. How it is used is in the subclasses."""

    extra: dict[str, Any] = {}

    def __init__(self, bootstrap: str, topic: str) -> None:
        from confluent_kafka import Producer

        self.producer = Producer(settings(bootstrap) | self.extra)
        self.topic = topic

    def flush(self) -> None:
        if self.producer.flush(FLUSH_SECONDS):
            raise SystemExit("flush() left messages behind")


class ConfluentCallback(Confluent):
    """A delivery callback for each message.

    The README polls after each message; polling after each 1024th costs less.
    """

    def run(self, values: Iterable[bytes], count: int) -> None:
        produce, poll, topic, delivered = self.producer.produce, self.producer.poll, self.topic, 0

        def on_delivery(error: object, _message: object) -> None:
            nonlocal delivered
            if error is None:
                delivered += 1

        for index, value in enumerate(values):
            while True:
                try:
                    produce(topic, value, on_delivery=on_delivery)
                    break
                except BufferError:
                    poll(0.01)
            if not index & 1023:
                poll(0)
        self.flush()
        expect(delivered, count)


class ConfluentPlain(Confluent):
    """No callback: nothing tells the caller what became of a message, and only the end offset is counted.

    ``delivery.report.only.error`` (librdkafka's CONFIGURATION.md) spares it the reports that nobody reads.
    """

    extra = {"delivery.report.only.error": True}

    def run(self, values: Iterable[bytes], _count: int) -> None:
        produce, poll, topic = self.producer.produce, self.producer.poll, self.topic
        for index, value in enumerate(values):
            while True:
                try:
                    produce(topic, value)
                    break
                except BufferError:
                    poll(0.01)
            if not index & 1023:
                poll(0)
        self.flush()


class ConfluentBatch(ConfluentPlain):
    """produce_batch, 1000 messages a call, without callbacks; it takes no headers."""

    def run(self, values: Iterable[bytes], _count: int) -> None:
        produce_batch, poll, topic = self.producer.produce_batch, self.producer.poll, self.topic
        source = iter(values)
        while batch := [{"value": value} for value in itertools.islice(source, 1000)]:
            while batch:
                produce_batch(topic, batch)
                # Those that the full queue refused, and no others, are marked.
                batch = [{"value": entry["value"]} for entry in batch if "_error" in entry]
                poll(0.01 if batch else 0)
        self.flush()


class AIOProducer:
    """confluent-kafka's AIOProducer, every future collected.

    Its worker threads resolve the futures and do not wake the loop, so that awaiting them one by one would
    stall until something else does: the quick way is to flush, then read them.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap, self.topic = bootstrap, topic
        self.runner = asyncio.Runner()
        self.producer = self.runner.run(self.connect())

    async def connect(self) -> Any:
        from confluent_kafka.aio import AIOProducer as Producer

        return Producer(settings(self.bootstrap))

    def run(self, values: Iterable[bytes], count: int) -> None:
        expect(self.runner.run(self.send(values)), count)

    async def send(self, values: Iterable[bytes]) -> int:
        produce, topic, source, delivered = self.producer.produce, self.topic, iter(values), 0
        while futures := [await produce(topic, value) for value in itertools.islice(source, WINDOW)]:
            await self.producer.flush(FLUSH_SECONDS)
            delivered += len([future.result() for future in futures])  # result() raises for one that failed
        return delivered


class DbintEnqueue:
    """KafkaProducer.enqueue, with every report counted in the core."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        from dbint.kafka import KafkaProducer

        self.producer = KafkaProducer(config=settings(bootstrap))
        self.topic = topic

    def delivered(self) -> int:
        return int(self.producer.metrics()["delivered"])

    def run(self, values: Iterable[bytes], count: int) -> None:
        before = self.delivered()
        enqueue, topic = self.producer.enqueue, self.topic
        for value in values:
            enqueue(topic, value)
        if self.producer.flush(FLUSH_SECONDS):
            raise SystemExit("flush() left messages behind")
        expect(self.delivered() - before, count)


class DbintSend(DbintEnqueue):
    """KafkaProducer.send, each report awaited."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(bootstrap, topic)
        self.runner = asyncio.Runner()

    def run(self, values: Iterable[bytes], count: int) -> None:
        expect(self.runner.run(self.send(values)), count)

    async def send(self, values: Iterable[bytes]) -> int:
        send, topic, source, delivered = self.producer.send, self.topic, iter(values), 0
        while futures := [send(topic, value) for value in itertools.islice(source, WINDOW)]:
            delivered += len([await future for future in futures])  # raises for one that failed
        return delivered


HOW = {
    "confluent-callback": ConfluentCallback,
    "confluent-plain": ConfluentPlain,
    "confluent-batch": ConfluentBatch,
    "aioproducer": AIOProducer,
    "enqueue": DbintEnqueue,
    "send": DbintSend,
}


def main(how: str, bootstrap: str, topic: str, messages: str, warmup: str, size: str) -> None:
    """Warm up, then time."""
    contender = HOW[how](bootstrap, topic)
    contender.run(payloads(int(warmup), int(size)), int(warmup))
    values = payloads(int(messages), int(size))
    with Stopwatch() as watch:
        contender.run(values, int(messages))
    report(watch, int(messages), {"librdkafka": librdkafka_version()})


if __name__ == "__main__":
    main(*sys.argv[1:])
