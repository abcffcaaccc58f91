"""What listens where no Kafka answers."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from dbint.verify.diagnosis import Kind
from dbint.verify.kafka_port import diagnose_port


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
