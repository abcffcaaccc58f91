"""What listens at Kafka's port, and which release of Kafka it is.

librdkafka says "brokers are down" to nobody, to somebody silent and to somebody else alike, and never tells
a release. Both come out of the one request that a broker answers before anything else, ApiVersions:
https://kafka.apache.org/protocol#The_Messages_ApiVersions.
"""

import socket
import struct
from dataclasses import dataclass

from dbint.verify.diagnosis import Kind, classify, one_line

_API_VERSIONS, _CORRELATION = 18, 0x6462
_PLAIN = struct.pack("!hhih", _API_VERSIONS, 0, _CORRELATION, -1)
# From version 3 on: strings and arrays have their length + 1 in a varint before them, and every structure
# ends with tagged fields, here none. The client has to say its name and version.
_FLEXIBLE = struct.pack("!hhih", _API_VERSIONS, 3, _CORRELATION, -1) + b"\0" + b"\x06dbint" + b"\x021" + b"\0"
# The answer lists a broker's few dozen requests and features.
_LONGEST_ANSWER = 65536
_TLS_RECORDS = (0x15, 0x16)
_UNSUPPORTED_VERSION = 35
_SUPPORTED_FEATURES, _FINALIZED_FEATURES = 0, 2

# The last level of "metadata.version" that each release knows: MetadataVersion.java of Kafka.
_LAST_LEVELS = {
    7: "3.3",
    8: "3.4",
    11: "3.5",
    14: "3.6",
    19: "3.7",
    20: "3.8",
    21: "3.9",
    25: "4.0",
    27: "4.1",
    29: "4.2",
    30: "4.3",
}


@dataclass(frozen=True)
class Release:
    """Which Kafka a broker is: ``version`` ("4.3", "newer than 4.3") or None, and ``why`` it is known or not.

    ``supported`` is the highest metadata.version that the broker knows, ``finalized`` the one that the
    cluster uses; it stays behind after an upgrade until somebody raises it.
    """

    version: str | None
    why: str
    supported: int | None = None
    finalized: int | None = None


def diagnose_port(host: str, port: int, seconds: float) -> tuple[Kind, str]:
    """What is wrong there, and one line that says it; Kind.OTHER when it does look like Kafka."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(struct.pack("!i", len(_PLAIN)) + _PLAIN)
            answer = _receive(connection, 8)
    except TimeoutError:
        return Kind.TIMEOUT, f"{where} accepts connections or drops them, and never answers"
    except OSError as error:
        kind = classify(error)
        if kind is Kind.LOST:
            return Kind.NOT_THE_PROTOCOL, f"{where} ends the conversation at Kafka's first request"
        return kind, f"{where}: {error.strerror or one_line(error)}"
    if answer[:1] and answer[0] in _TLS_RECORDS and answer[1:2] == b"\x03":
        return Kind.TLS, f"{where} wants TLS, and the security protocol here is without"
    if len(answer) < 8:
        return Kind.NOT_THE_PROTOCOL, f"{where} ends the conversation at Kafka's first request"
    if not _is_ours(answer):
        return Kind.NOT_THE_PROTOCOL, f"{where} answers, and not in Kafka's protocol"
    return Kind.OTHER, f"{where} answers as a Kafka broker"


def find_release(host: str, port: int, seconds: float) -> Release:
    """The release of the broker behind a PLAINTEXT listener, from the levels of metadata.version it knows."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(struct.pack("!i", len(_FLEXIBLE)) + _FLEXIBLE)
            head = _receive(connection, 8)
            if len(head) < 8 or not _is_ours(head):
                return Release(None, "the listener does not answer ApiVersions")
            body = _receive(connection, struct.unpack_from("!i", head)[0] - 4)
    except OSError as error:
        return Release(None, f"the listener does not answer ApiVersions: {one_line(error)}")
    try:
        return _release(_Reader(body))
    except EOFError:
        return Release(None, "the broker's answer to ApiVersions cannot be read")


def _receive(connection: socket.socket, size: int) -> bytes:
    """``size`` bytes, fewer when the other side ends the conversation before."""
    received = bytearray()
    while len(received) < size and (part := connection.recv(size - len(received))):
        received += part
    return bytes(received)


def _is_ours(head: bytes) -> bool:
    size, correlation = struct.unpack("!ii", head)
    return bool(correlation == _CORRELATION and 4 < size <= _LONGEST_ANSWER)


def _release(answer: "_Reader") -> Release:
    if answer.short() == _UNSUPPORTED_VERSION:
        return Release(None, "the broker is older than 2.4 and does not say more")
    for _ in range(answer.length()):
        answer.take(6)  # a request, its lowest and its highest version
        answer.tags()
    answer.take(4)  # throttle_time_ms
    tags = answer.tags()
    level = _level(tags.get(_SUPPORTED_FEATURES))
    if level is None:
        return Release(None, "the broker does not say which metadata.version it knows: it is older than 3.3")
    known = next((release for last, release in _LAST_LEVELS.items() if level <= last), None)
    return Release(
        known or f"newer than {_LAST_LEVELS[max(_LAST_LEVELS)]}",
        f"the broker knows metadata.version {level}",
        level,
        _level(tags.get(_FINALIZED_FEATURES)),
    )


def _level(features: bytes | None) -> int | None:
    """The highest level of metadata.version in one of the two lists of features."""
    reader = _Reader(features or b"\x01")
    for _ in range(reader.length()):
        name = reader.take(reader.length())
        level = max(reader.short(), reader.short())  # one list has the lowest first, the other the highest
        reader.tags()
        if name == b"metadata.version":
            return level
    return None


class _Reader:
    """Reads the flexible encoding from the front; raises EOFError past the end."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def take(self, size: int) -> bytes:
        if size > len(self._body):
            raise EOFError
        taken, self._body = self._body[:size], self._body[size:]
        return taken

    def short(self) -> int:
        return int.from_bytes(self.take(2), signed=True)

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def length(self) -> int:
        """How long the string or array is that comes next; null counts as empty."""
        return max(self.varint() - 1, 0)

    def tags(self) -> dict[int, bytes]:
        return {self.varint(): self.take(self.varint()) for _ in range(self.varint())}
