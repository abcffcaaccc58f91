"""What listens at a port where no Kafka answers: nobody, somebody silent, somebody else?

librdkafka says "brokers are down" to all of these. This asks once more, with the one request that a broker
answers before anything else: ApiVersions, https://kafka.apache.org/protocol#The_Messages_ApiVersions.
"""

import socket
import struct

from dbint.verify.diagnosis import Kind, classify, one_line

_API_VERSIONS, _CORRELATION = 18, 0x6462
_REQUEST = struct.pack("!hhih", _API_VERSIONS, 0, _CORRELATION, -1)
# The answer lists a broker's few dozen requests.
_LONGEST_ANSWER = 65536
_TLS_RECORDS = (0x15, 0x16)


def diagnose_port(host: str, port: int, seconds: float) -> tuple[Kind, str]:
    """What is wrong there, and one line that says it; Kind.OTHER when it does look like Kafka."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(struct.pack("!i", len(_REQUEST)) + _REQUEST)
            answer = connection.recv(8, socket.MSG_WAITALL)
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
    size, correlation = struct.unpack("!ii", answer)
    if correlation != _CORRELATION or not 0 < size <= _LONGEST_ANSWER:
        return Kind.NOT_THE_PROTOCOL, f"{where} answers, and not in Kafka's protocol"
    return Kind.OTHER, f"{where} answers as a Kafka broker"
