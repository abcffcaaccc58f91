"""Messages into Kafka by an idempotent producer; the broker, the producer's process, or both are killed."""

import time
from collections import Counter
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
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
    targets = ("victim", "server", "both")
    calls_between = 500

    def setup(self) -> None:
        super().setup()
        self.bootstrap = "{0.host}:{0.port}".format(self.stack.endpoint(self.server))
        self.admin().create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2})

    def victim_command(self, witness: Path) -> list[str]:
        return python("tests.crash.victims.produce", str(witness), self.bootstrap, TOPIC)

    def find(self) -> Found:
        latest = {TopicPartition(TOPIC, number): OffsetSpec.latest() for number in range(PARTITIONS)}
        ends = {
            where.partition: found.result(30).offset
            for where, found in self.admin().list_offsets(latest).items()
        }
        landed: Counter[int] = Counter()
        settings = {"bootstrap.servers": self.bootstrap, "group.id": "crash", "enable.auto.commit": False}
        consumer = Consumer(settings)
        try:
            consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in ends])
            waiting = {number for number, end in ends.items() if end}
            deadline = time.monotonic() + READ_SECONDS
            while waiting:
                if time.monotonic() > deadline:
                    raise CrashError(f"the topic could not be read to its end within {READ_SECONDS:g} s")
                for message in consumer.consume(10_000, 0.5):
                    if message.error():
                        raise CrashError(f"reading the topic: {message.error()}")
                    name = int(dict(message.headers() or [])[EVENT_ID])
                    if message.value() != payload(name) or message.key() != event_id(name):
                        raise CrashError(f"message {name} came back with another key or value")
                    landed[name] += 1
                    if message.offset() == ends[message.partition()] - 1:
                        waiting.discard(message.partition())
        finally:
            consumer.close()
        return Found(landed)
