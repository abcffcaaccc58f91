"""The Kafka consumer."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Unpack

from dbint._core import Consumer
from dbint.errors import ConfigurationError
from dbint.kafka.client import Client, ClientOptions, Property, client_properties, milliseconds


class TopicPartition(NamedTuple):
    """A partition, and where in it.

    ``offset`` is a number, "earliest", "latest", "stored" (what the group has committed) or None;
    ``metadata`` is a text of the application's own that is committed with it.
    """

    topic: str
    partition: int
    offset: int | Literal["earliest", "latest", "stored"] | None = None
    metadata: str | None = None


Place = TopicPartition | tuple[str, int] | tuple[str, int, int | str | None]

# librdkafka's names for them (rdkafka.h, RD_KAFKA_OFFSET_*)
_OFFSETS = {"earliest": -2, "latest": -1, "stored": -1000}


class KafkaConsumer(Consumer, Client):
    """A consumer that reads in batches and commits only when told to.

    :param bootstrap: "host:port,..." or a sequence of such; None finds the service "kafka".
    :param group: the consumer group; None for reading with ``assign`` and committing nothing.
    :param topics: subscribed to at once, with a group; a name that begins with ``^`` is a pattern.
    :param offset_reset: where to begin when there is no (valid) offset: "earliest", "latest", or "error".
    :param read_uncommitted: also read messages of open and aborted transactions.
    :param session_timeout: seconds without a heartbeat after which the group gives its partitions to others.

    Raises ConfigurationError for options that cannot work.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str] | None = None,
        *,
        group: str | None = None,
        topics: Sequence[str] = (),
        offset_reset: Literal["earliest", "latest", "error"] = "earliest",
        read_uncommitted: bool = False,
        session_timeout: float | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        if topics and group is None:
            raise ConfigurationError("subscribing to topics needs a group")
        own: dict[str, Property] = {
            # librdkafka wants one in any case; nothing is ever committed for it.
            "group.id": group if group is not None else f"dbint-{uuid.uuid4()}",
            "auto.offset.reset": offset_reset,
            "isolation.level": "read_uncommitted" if read_uncommitted else "read_committed",
            "session.timeout.ms": None
            if session_timeout is None
            else milliseconds("session_timeout", session_timeout),
        }
        properties = client_properties(bootstrap, own, options)
        super().__init__(properties)
        self.bootstrap = properties.get("bootstrap.servers", "")
        self.group = group
        self._serve_tokens(options)
        if topics:
            self.subscribe(topics)

    def __repr__(self) -> str:
        return f"<KafkaConsumer {self.bootstrap} group={self.group!r}{' (closed)' if self.closed else ''}>"

    def assign(self, partitions: Iterable[Place], /) -> None:
        """Read exactly these partitions, each from its offset (None: as ``offset_reset`` says)."""
        super().assign([_place(partition) for partition in partitions])

    def seek(self, partitions: Iterable[Place], timeout: float | None = None) -> None:
        """Go to each partition's offset; they must be assigned."""
        super().seek([_place(partition) for partition in partitions], timeout)

    def commit(self, offsets: Iterable[Place], timeout: float | None = None) -> None:
        """Commit each partition's offset (the next one to be read) with its metadata, and wait for it.

        A rebalance takes effect in ``poll_batch`` alone, so what was assigned at the last poll is still under
        the same generation of the group here, or the brokers refuse. Raises ConfigurationError without a
        group; KafkaError when the group has moved on; DeadlineError after ``timeout`` seconds, and then the
        offsets may be committed or not.
        """
        if self.group is None:
            raise ConfigurationError("committing offsets needs a group")
        super().commit([_place(offset) for offset in offsets], timeout)

    def committed(  # type: ignore[override]  # answers in terms of this module
        self, partitions: Iterable[Place], timeout: float | None = None
    ) -> list[TopicPartition]:
        """The partitions with the offset and metadata that the group has committed; None: nothing."""
        return [TopicPartition(*row) for row in super().committed([_place(p) for p in partitions], timeout)]

    def position(self, partitions: Iterable[Place], /) -> list[TopicPartition]:  # type: ignore[override]
        """The partitions with the offset that is read next; None before the first message."""
        return [TopicPartition(*row) for row in super().position([_place(p) for p in partitions])]

    def assignment(self) -> list[TopicPartition]:  # type: ignore[override]
        """The partitions that are assigned now."""
        return [TopicPartition(*row) for row in super().assignment()]


def _place(place: Place) -> tuple[Any, ...]:
    topic, partition, *rest = place
    offset: Any = rest[0] if rest else None
    if isinstance(offset, str):
        if offset not in _OFFSETS:
            raise ConfigurationError(
                f"offset must be a number or one of {', '.join(_OFFSETS)}, not {offset!r}"
            )
        offset = _OFFSETS[offset]
    return (topic, partition, offset, *rest[1:])
