"""Messages into Kafka by an idempotent producer; the broker, the producer's process, or both are killed."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.crash.account import Found, Promise
from tests.crash.frame import CrashError, python
from tests.crash.scenarios.base import StackScenario
from tests.crash.victims.message import EVENT_ID, PARTITIONS, event_id, payload

TOPIC = "crash"
READ_SECONDS = 60.0


class ProduceScenario(StackScenario):
    """Each call of the victim is one awaited message, which names itself in a header.

    The broker is asked by another client than ours what it holds. A killed producer's successor sends again
    what was in doubt, under the same event id: only such a message may be there twice, and its id says so.
    """

    name = "produce"
    promise = Promise(
        "nothing acknowledged is lost; a message is there once while its producer lives, and again only "
        "when a successor sent it again, recognisable by its event id",
        repeats=True,
    )
    server = "kafka"
    calls_between = 500

    def setup(self) -> None:
        super().setup()
        self.bootstrap = "{0.host}:{0.port}".format(self.stack.endpoint(self.server))
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})
        with kafka_errors():
            self.admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)

    def victim_command(self, witness: Path) -> list[str]:
        return python("tests.crash.victims.produce", str(witness), self.bootstrap, TOPIC)

    def find(self) -> Found:
        latest = {TopicPartition(TOPIC, number): OffsetSpec.latest() for number in range(PARTITIONS)}
        with kafka_errors():
            asked = self.admin.list_offsets(latest)
            ends = {where.partition: answer.result(30).offset for where, answer in asked.items()}
            consumer = Consumer(
                {"bootstrap.servers": self.bootstrap, "group.id": "crash", "enable.auto.commit": False}
            )
            try:
                consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in ends])
                return Found(Counter(read(consumer, ends)))
            finally:
                consumer.close()


def read(consumer: Consumer, ends: Mapping[int, int]) -> Iterator[int]:
    """The names of all messages up to the end offsets, each checked against what its name says it holds."""
    waiting = {number for number, end in ends.items() if end}
    deadline = time.monotonic() + READ_SECONDS
    while waiting:
        if time.monotonic() > deadline:
            raise CrashError(f"the topic could not be read to its end within {READ_SECONDS:g} s")
        for message in consumer.consume(10_000, 0.5):
            if message.error():
                raise KafkaException(message.error())
            name = int(dict(message.headers() or [])[EVENT_ID])
            if message.value() != payload(name) or message.key() != event_id(name):
                raise CrashError(f"message {name} came back with another key or value")
            if message.offset() == ends[message.partition()] - 1:
                waiting.discard(message.partition())
            yield name


@contextmanager
def kafka_errors() -> Iterator[None]:
    """What the broker refuses while it is asked, not tested, makes the run void."""
    try:
        yield
    except KafkaException as error:
        raise CrashError(f"asking the broker: {error}") from error
