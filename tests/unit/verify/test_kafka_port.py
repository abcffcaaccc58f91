"""What listens where no Kafka answers."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dbint.kafka.admin import Broker
from dbint.verify.advice import Target
from dbint.verify.diagnosis import Kind
from dbint.verify.kafka import BrokerProbe, KafkaAccess
from dbint.verify.kafka_port import Release, diagnose_port, find_release
from dbint.verify.probe import Scope


@contextlib.contextmanager
def server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Takes one connection and one request."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                answer(connection, connection.recv(64))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def silence(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)


def as_kafka(connection: socket.socket, request: bytes) -> None:
    size, key, version, correlation, client = struct.unpack("!ihhih", request)
    assert (size, key, version, client) == (len(request) - 4, 18, 0, -1)
    connection.sendall(struct.pack("!iihi", 10, correlation, 0, 0))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (silence, Kind.TIMEOUT, "never answers"),
        (lambda c, r: c.sendall(b"HTTP/1.1 400 Bad Request\r\n"), Kind.NOT_THE_PROTOCOL, "not in Kafka's"),
        (lambda c, r: c.sendall(b"\x15\x03\x03\x00\x02\x02\x50\x00"), Kind.TLS, "wants TLS"),
        (lambda c, r: None, Kind.NOT_THE_PROTOCOL, "ends the conversation"),
        (as_kafka, Kind.OTHER, "as a Kafka broker"),
    ],
)
def test_what_answers(answer: Callable[[socket.socket, bytes], None], kind: Kind, words: str) -> None:
    with server(answer) as port:
        found, text = diagnose_port("127.0.0.1", port, 0.5)
    assert found is kind
    assert words in text
    assert f"127.0.0.1:{port}" in text


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert diagnose_port("127.0.0.1", port, 0.5)[0] is Kind.UNREACHABLE


def test_no_such_host() -> None:
    assert diagnose_port("no-such-host.invalid", 9092, 2)[0] is Kind.NAME_UNKNOWN


def string(text: str) -> bytes:
    return bytes([len(text) + 1]) + text.encode()


def tagged(**features: tuple[int, int]) -> bytes:
    """A list of features, each with two levels."""
    body = bytes([len(features) + 1])
    for name, levels in features.items():
        body += string(name.replace("_", ".")) + struct.pack("!hh", *levels) + b"\0"
    return body


def api_versions(supported: bytes, finalized: bytes) -> bytes:
    """ApiVersions response, version 3: error 0, two requests, throttle time, three tagged fields."""
    requests = b"\x03" + struct.pack("!hhh", 0, 0, 11) + b"\0" + struct.pack("!hhh", 18, 0, 4) + b"\0"
    tags = b"\x03"
    for tag, value in ((0, supported), (1, struct.pack("!q", 4711)), (2, finalized)):
        tags += bytes([tag, len(value)]) + value
    return struct.pack("!h", 0) + requests + struct.pack("!i", 0) + tags


def says(body: bytes, cut: int = 0) -> Callable[[socket.socket, bytes], None]:
    """A broker that answers ``body``, in two parts, without its last ``cut`` bytes."""

    def answer(connection: socket.socket, request: bytes) -> None:
        size, key, version, correlation, client = struct.unpack_from("!ihhih", request)
        assert (size, key, version, client) == (len(request) - 4, 18, 3, -1)
        assert request[14:] == b"\0" + string("dbint") + string("1") + b"\0"
        whole = struct.pack("!ii", len(body) + 4, correlation) + body
        connection.sendall(whole[:20])
        time.sleep(0.02)
        connection.sendall(whole[20 : len(whole) - cut])

    return answer


@pytest.mark.parametrize(
    ("level", "version"),
    [(7, "3.3"), (19, "3.7"), (20, "3.8"), (25, "4.0"), (26, "4.1"), (30, "4.3"), (31, "newer than 4.3")],
)
def test_the_release_follows_from_the_levels_that_the_broker_knows(level: int, version: str) -> None:
    supported = tagged(group_version=(0, 1), metadata_version=(7, level))
    finalized = tagged(metadata_version=(7, 7))
    with server(says(api_versions(supported, finalized))) as port:
        found = find_release("127.0.0.1", port, 2)
    assert found == Release(version, f"the broker knows metadata.version {level}", level, 7)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(struct.pack("!h", 35) + b"\0\0\0\0"), "older than 2.4"),
        (says(struct.pack("!h", 0) + b"\x01" + b"\0" * 4 + b"\0"), "older than 3.3"),
        (says(api_versions(tagged(metadata_version=(7, 30)), tagged()), cut=9), "cannot be read"),
        (lambda c, r: c.sendall(b"\x15\x03\x03\x00\x02\x02\x50\x00"), "does not answer ApiVersions"),
        (lambda c, r: c.sendall(b"HTTP/1.1 400 Bad Request\r\n"), "does not answer ApiVersions"),
        (lambda c, r: None, "does not answer ApiVersions"),
        (silence, "does not answer ApiVersions"),
    ],
)
def test_a_release_that_nobody_tells_is_unknown(
    answer: Callable[[socket.socket, bytes], None], why: str
) -> None:
    with server(answer) as port:
        found = find_release("127.0.0.1", port, 0.3)
    assert found.version is None
    assert why in found.why


@pytest.mark.parametrize(
    ("from_the_stack", "security", "version", "words"),
    [
        ("4.3.1", "SASL_SSL", "4.3.1", "state file"),
        (None, "SASL_SSL", None, "over PLAINTEXT alone, this is SASL_SSL"),
        (None, "SASL_PLAINTEXT", None, "over PLAINTEXT alone, this is SASL_PLAINTEXT"),
    ],
)
def test_a_version_is_asked_for_only_where_a_broker_tells_it(
    from_the_stack: str | None, security: str, version: str | None, words: str
) -> None:
    target = Target(service="kafka", host="none", port=1, address_from="state file /x")
    access = KafkaAccess(target=target, options=lambda role: {}, version=from_the_stack)
    scope = Scope(1)
    BrokerProbe(name="b", access=access, prefix="p").find_version(scope, security, Broker(1, "none", 1))
    assert scope.version == version
    assert words in scope.details["version_from"]
