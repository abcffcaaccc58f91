"""What a job reads from Kafka, through dbint's own consumer: partitions, offsets, messages."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from dbint.emulators.doris.routine_load.job import OFFSET_BEGINNING
from dbint.kafka import KafkaAdmin, KafkaConsumer

_TIMEOUT = 10.0  # seconds that a broker has for an answer
_QUIET = 1.0  # without a message for as long, a partition is taken to be at its end


@dataclass(slots=True)
class Messages:
    """The messages of a task: their values, in order within a partition, and where to go on."""

    values: list[bytes] = field(default_factory=list)
    received: int = 0
    ends: dict[int, int] = field(default_factory=dict)


class Source:
    """One topic, for one thread."""

    def __init__(self, brokers: str, topic: str, properties: Mapping[str, str]) -> None:
        self._topic = topic
        config: dict[str, str | int] = {
            "metadata.max.age.ms": 5000,
            "topic.metadata.refresh.interval.ms": 5000,
            **properties,
        }
        self._consumer = KafkaConsumer(brokers, offset_reset="error", config=config)
        admin_config = {n: v for n, v in properties.items() if n.split(".")[0] in ("security", "sasl", "ssl")}
        self._admin = KafkaAdmin(brokers, config=admin_config)

    def close(self) -> None:
        self._consumer.close()
        self._admin.close()

    def partitions(self) -> list[int]:
        """Raises KafkaError where there is no such topic."""
        return [partition.id for partition in self._admin.topic(self._topic, _TIMEOUT).partitions]

    def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is there, and the one that the next message will get."""
        return self._consumer.watermarks(self._topic, partition, _TIMEOUT)

    def real_offset(self, partition: int, offset: int) -> int:
        """The number that OFFSET_BEGINNING or OFFSET_END stands for now."""
        if offset >= 0:
            return offset
        low, high = self.bounds(partition)
        return low if offset == OFFSET_BEGINNING else high

    def read(
        self, begin: Mapping[int, int], ends: Mapping[int, int], *, seconds: float, rows: int, size: int
    ) -> Messages:
        """The messages from ``begin`` on, up to ``ends``, to so many rows or bytes, or for so many seconds.

        Messages without a value are passed by, as Doris does.
        """
        found = Messages(ends=dict(begin))
        self._consumer.assign([(self._topic, partition, offset) for partition, offset in begin.items()])
        try:
            deadline = time.monotonic() + seconds
            quiet = time.monotonic() + _QUIET
            while (
                any(found.ends[p] < ends[p] for p in begin)
                and len(found.values) < rows
                and found.received < size
                and (now := time.monotonic()) < min(deadline, quiet)
            ):
                batch = self._consumer.poll_batch(
                    min(rows - len(found.values), 10_000), size - found.received, min(0.2, deadline - now)
                )
                if batch is None or not len(batch):
                    continue
                quiet = time.monotonic() + _QUIET
                for message in batch:
                    found.ends[message.partition] = message.offset + 1
                    if message.value:
                        found.values.append(message.value)
                        found.received += len(message.value)
        finally:
            self._consumer.unassign()
        return found
