"""Is the server ready? Each probe asks once, in the server's protocol, and raises NotReadyError if not."""

from __future__ import annotations

import http.client
import socket
import struct

_TIMEOUT = 2.0


class NotReadyError(Exception):
    """The server does not answer as a ready one does (yet); the message says how it answered."""


def postgres(host: str, port: int, user: str, database: str) -> None:
    """Ready when a start-up message is answered by a request to authenticate.

    https://www.postgresql.org/docs/current/protocol-message-formats.html (StartupMessage)
    """
    parameters = b"".join(
        word.encode() + b"\0"
        for word in ("user", user, "database", database, "application_name", "dbint stack")
    )
    body = struct.pack(">i", 0x30000) + parameters + b"\0"
    with _connect(host, port) as connection:
        connection.sendall(struct.pack(">i", len(body) + 4) + body)
        kind, length = struct.unpack(">ci", _receive(connection, 5))
        if kind not in (b"R", b"E") or not 4 <= length <= 65536:
            raise NotReadyError("something else than PostgreSQL answers")
        # All of it, or closing would reset the connection, which the server writes into its log.
        fields = _receive(connection, length - 4).split(b"\0")
        if kind == b"R":
            return
        message = next(
            (field[1:] for field in fields if field.startswith(b"M")), b"an error without a message"
        )
        raise NotReadyError(message.decode(errors="replace"))


def kafka(host: str, port: int) -> None:
    """Ready when a Metadata request (version 1, no topics) is answered with at least one broker.

    https://kafka.apache.org/protocol.html#The_Messages_Metadata
    """
    body = struct.pack(">hhih", 3, 1, 1, 5) + b"dbint" + struct.pack(">i", 0)
    with _connect(host, port) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (length,) = struct.unpack(">i", _receive(connection, 4))
        if not 8 <= length <= 1 << 20:
            raise NotReadyError("something else than Kafka answers")
        correlation, brokers = struct.unpack(">ii", _receive(connection, length)[:8])
        if correlation != 1:
            raise NotReadyError("something else than Kafka answers")
        if brokers < 1:
            raise NotReadyError("no broker is registered yet")


def mysql(host: str, port: int) -> None:
    """Ready when the server opens with a handshake of protocol version 10.

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
    """
    with _connect(host, port) as connection:
        size = int.from_bytes(_receive(connection, 3), "little")
        if size > 1024 or _receive(connection, 1 + size)[1:2] != b"\x0a":
            raise NotReadyError("something else than a server of MySQL's protocol answers")


def http_get(host: str, port: int, path: str) -> None:
    """Ready when GET ``path`` is answered with status 200."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise NotReadyError(f"GET {path}: {error}") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise NotReadyError(f"GET {path} is answered with status {status}")


def _connect(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), _TIMEOUT)
    except OSError as error:
        raise NotReadyError(f"connecting to {host}:{port}: {error.strerror or error}") from error


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    try:
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                raise NotReadyError("the connection was closed")
            data += part
    except OSError as error:
        raise NotReadyError(f"no answer: {error.strerror or error}") from error
    return data
