"""Kafka messages of a journal (csrc/core/journal.h: records of kind 2), and sending dead ones again."""

import json
import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from dbint.errors import Error
from dbint.journal.damage import DamageError

if TYPE_CHECKING:
    from dbint.journal.dead import DeadMessage

ID_HEADER: Final = "dbint.id"
_FIXED: Final = struct.Struct("<BBHiq16sIIII")
_HEADER: Final = struct.Struct("<II")
_KEY, _VALUE, _NULL = 1, 2, 0xFFFFFFFF
_SEND_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``partition`` is None where the partitioner chooses, ``timestamp`` in ms since 1970.

    ``identity``: the event id, sent in the header "dbint.id"; None where ``headers`` has one.
    """

    topic: str
    partition: int | None
    timestamp: int
    identity: UUID | None
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)

    def shown(self) -> dict[str, Any]:
        """For people: what is UTF-8 as text, the rest in base64."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "timestamp": self.timestamp,
            "id": str(self.identity) if self.identity else None,
            "key": _shown(self.key),
            "value": _shown(self.value),
            "headers": [[name, _shown(value)] for name, value in self.headers],
        }

    def exact(self) -> dict[str, Any]:
        """For programs: keys and values in base64, as dead letters have them."""
        return {
            "topic": self.topic,
            "partition": -1 if self.partition is None else self.partition,
            "timestamp": self.timestamp,
            "id": str(self.identity) if self.identity else None,
            "key": _exact(self.key),
            "value": _exact(self.value),
            "headers": [[name, _exact(value)] for name, value in self.headers],
        }

    def all_headers(self) -> list[tuple[str, bytes | None]]:
        """The headers that it is sent with."""
        if self.identity is None:
            return list(self.headers)
        return [*self.headers, (ID_HEADER, str(self.identity).encode())]


def _shown(data: bytes | None) -> object:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data or b"").decode()}


def _exact(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def read_message(data: bytes) -> Message:
    """Reads the body of a record. Raises DamageError."""
    if len(data) < _FIXED.size:
        raise DamageError(f"{len(data)} bytes are no message")
    version, flags, topic_length, partition, timestamp, identity, key_length, value_length, count, zero = (
        _FIXED.unpack_from(data)
    )
    if version != 1:
        raise DamageError(f"a message of layout {version}; this version of dbint reads 1")
    reader = _Reader(data)
    topic = reader.take(topic_length)
    key, value = reader.take(key_length), reader.take(value_length)
    headers = [reader.header() for _ in range(count)]
    if (
        not topic
        or zero
        or flags & ~(_KEY | _VALUE)
        or (key and not flags & _KEY)
        or (value and not flags & _VALUE)
        or reader.at != len(data)
    ):
        raise DamageError("a message whose lengths and flags do not fit each other")
    return Message(
        topic.decode(errors="replace"),
        None if partition < 0 else partition,
        timestamp,
        UUID(bytes=identity) if any(identity) else None,
        key if flags & _KEY else None,
        value if flags & _VALUE else None,
        tuple(headers),
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = _FIXED.size

    def take(self, length: int) -> bytes:
        if length > len(self._data) - self.at:
            raise DamageError(f"the message ends at byte {len(self._data)}, in the middle of something")
        self.at += length
        return self._data[self.at - length : self.at]

    def header(self) -> tuple[str, bytes | None]:
        name_length, value_length = _HEADER.unpack(self.take(_HEADER.size))
        name = self.take(name_length).decode(errors="replace")
        return name, None if value_length == _NULL else self.take(value_length)


def json_lines(chosen: Iterable[Message]) -> Iterator[bytes]:
    """One JSON object a line, keys and values in base64."""
    for message in chosen:
        yield json.dumps(message.exact(), ensure_ascii=False).encode() + b"\n"


def resend(
    directory: Path,
    letters: Sequence["DeadMessage"],
    waiting: set[tuple[UUID, int]],
    bootstrap: str | None,
    *,
    dry_run: bool,
) -> Iterator[tuple["DeadMessage", str, str]]:
    """Sends dead messages again, in their order: each, what became of it (as ``resubmit.Outcome`` says), why.

    ``waiting``: those whose message is still in the journal, whose producer decides. Each is sent with the
    event id that it had; killed between the broker's answer and its note, it is sent twice.
    """
    from dbint.journal.dead import Done
    from dbint.kafka import KafkaProducer

    notes: dict[UUID, Done] = {}
    with KafkaProducer(bootstrap, delivery_timeout=_SEND_SECONDS) as producer:
        for letter in letters:
            done = notes.setdefault(letter.chain, Done(directory, letter.chain))
            if letter.sequence in done:
                yield letter, "done", ""
            elif (letter.chain, letter.sequence) in waiting:
                yield letter, "waits", ""
            elif dry_run:
                yield letter, "would", ""
            else:
                message = letter.content
                try:
                    producer.send_sync(
                        message.topic,
                        message.value,
                        message.key,
                        headers=message.all_headers(),
                        partition=message.partition,
                        timestamp=message.timestamp if message.timestamp > 0 else None,
                    )
                except Error as error:
                    yield letter, "refused", str(error)
                else:
                    done.add(letter.sequence)
                    yield letter, "landed", ""
