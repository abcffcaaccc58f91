"""Messages that Doris refuses, set aside in a topic of their own: ``<prefix>.dead-letter``.

A dead letter is the message as it was (key, value, headers), with headers that say why and where it was. Its
value carries the sequence of its change, so that it can be sent to its topic again at any time, once what was
wrong is mended: where a newer state of the row is in Doris, that one stays.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from dbint.errors import KafkaError, MessageTooLargeError
from dbint.flow.config import FlowConfig
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, Message
from dbint.kafka.admin import UNKNOWN_TOPIC

log = logging.getLogger(__name__)

_PREFIX = "dbint.dead."
_MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was set aside: where it stood, what it was, and why. ``time`` is in ms since 1970.

    ``value`` is None where the message was too large to be kept a second time: it is still in its topic.
    ``offset`` tells one letter from another; one that was written twice, by a sink that was killed meanwhile,
    has the same.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    table: str
    label: str
    time: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the message stood."""
        return self.topic, self.partition, self.offset

    @classmethod
    def of(cls, message: Message, *, reason: str, table: str, label: str) -> Self:
        """The letter for a message."""
        return cls(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            reason=" ".join(reason.split())[:_MAX_REASON],
            table=table,
            label=label,
            time=int(time.time() * 1000),
            key=message.key,
            value=message.value,
            headers=tuple(message.headers),
        )

    @classmethod
    def read(cls, message: Message) -> Self | None:
        """The letter that a message of the topic is; None where it is none."""
        own = {
            n.removeprefix(_PREFIX): (v or b"").decode() for n, v in message.headers if n.startswith(_PREFIX)
        }
        try:
            return cls(
                topic=own["topic"],
                partition=int(own["partition"]),
                offset=int(own["offset"]),
                reason=own["reason"],
                table=own["table"],
                label=own["label"],
                time=int(own["time"]),
                key=message.key,
                value=message.value,
                headers=tuple((n, v) for n, v in message.headers if not n.startswith(_PREFIX)),
            )
        except (KeyError, ValueError):
            return None

    def own_headers(self) -> list[tuple[str, bytes | None]]:
        """The message's headers, and behind them those of the letter."""
        fields = ("topic", "partition", "offset", "reason", "table", "label", "time")
        return [*self.headers, *((_PREFIX + n, str(getattr(self, n)).encode()) for n in fields)]


class DeadLetters:
    """The topic of dead letters of a flow: written by its sink, read by whoever mends. Safe for threads."""

    def __init__(self, config: FlowConfig) -> None:
        self._config = config
        self._topic = config.dead_letter_topic
        self._producer: KafkaProducer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the producer, if one was needed."""
        if self._producer is not None:
            self._producer.close(5.0)

    def write(self, letters: Iterable[DeadLetter]) -> None:
        """Write letters, and wait until all brokers that should have them have them. Raises KafkaError."""
        producer = self._ready()
        for letter in letters:
            headers: list[tuple[str, Any]] = letter.own_headers()
            try:
                producer.send_sync(self._topic, letter.value, key=letter.key, headers=headers)
            except MessageTooLargeError:
                producer.send_sync(self._topic, None, key=letter.key, headers=headers)

    def _ready(self) -> KafkaProducer:
        if self._producer is None:
            with KafkaAdmin(config=self._config.kafka(None)) as admin:
                admin.create_if_missing(self._topic, 1, self._config.replication)
            self._producer = KafkaProducer(
                config=self._config.kafka("producer"),
                delivery_timeout=30.0,
                client_id="dbint-flow-dead-letter",
            )
        return self._producer

    def read(self, timeout: float = 30.0) -> Iterator[DeadLetter]:
        """All letters that are in the topic now, each once, the oldest first. Raises KafkaError.

        ``timeout`` is in seconds, for each answer of the brokers; DeadlineError follows as for any consumer.
        """
        seen: set[tuple[str, int, int]] = set()
        with KafkaConsumer(config=self._config.kafka("consumer")) as consumer:
            try:
                with KafkaAdmin(config=self._config.kafka(None)) as admin:
                    partitions = admin.topic(self._topic, timeout).partitions
            except KafkaError as error:
                if error.kafka_code == UNKNOWN_TOPIC:
                    return
                raise
            consumer.assign([(self._topic, partition.id, "earliest") for partition in partitions])
            ended: set[int] = set()
            deadline = time.monotonic() + timeout
            while len(ended) < len(partitions) and time.monotonic() < deadline:
                batch = consumer.poll_batch(500, timeout=1.0)
                if batch is None:
                    continue
                deadline = time.monotonic() + timeout
                ended |= {place[1] for place in batch.ends}
                for message in batch:
                    letter = DeadLetter.read(message)
                    if (
                        letter is not None
                        and (place := (letter.topic, letter.partition, letter.offset)) not in seen
                    ):
                        seen.add(place)
                        yield letter

    def resubmit(self, letters: Iterable[DeadLetter]) -> int:
        """Send letters to the topics that they came from, and how many that were. Raises KafkaError.

        A letter without its value is passed over, with a warning.
        """
        count = 0
        producer = self._ready()
        for letter in letters:
            if letter.value is None:
                log.warning(
                    "%s, partition %d, offset %d: too large to be kept as a dead letter; repair the row with "
                    "flow_verify --repair",
                    letter.topic,
                    letter.partition,
                    letter.offset,
                )
                continue
            producer.send_sync(
                letter.topic,
                letter.value,
                key=letter.key,
                headers=list(letter.headers),
                partition=letter.partition,
            )
            count += 1
        return count
