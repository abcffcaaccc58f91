"""The Kafka producer while things break: the broker killed, answers lost."""

import contextlib
import socket
import struct
import threading
import time
import uuid
from collections import Counter

import pytest

from dbint.errors import UnreachableError
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer
from stack import Endpoint, Stack


def read_values(bootstrap: str, topic: str) -> list[bytes]:
    """The values of partition 0, in order."""
    values: list[bytes] = []
    with KafkaConsumer(bootstrap) as consumer:
        consumer.assign([(topic, 0, "earliest")])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (batch := consumer.poll_batch(10_000, timeout=5)) is not None:
                values.extend(message.value or b"" for message in batch)
                if batch.ends:
                    return values
    raise AssertionError(f"no end of {topic} after {len(values)} messages")


def create_topic(bootstrap: str) -> str:
    name = f"test-{uuid.uuid4()}"
    with KafkaAdmin(bootstrap) as admin:
        admin.create_topic(name, 1)
    return name


# -- a broker that is killed -----------------------------------------------------------------------------


def test_a_killed_broker_costs_no_message_and_no_count(kafka_private: Stack) -> None:
    endpoint = kafka_private.endpoint("kafka")
    bootstrap = f"{endpoint.host}:{endpoint.port}"
    topic = create_topic(bootstrap)
    stop = threading.Event()
    sent = 0
    with KafkaProducer(bootstrap, delivery_timeout=120, config={"reconnect.backoff.max.ms": 500}) as producer:

        def send() -> None:
            nonlocal sent
            while not stop.is_set():
                producer.enqueue(topic, b"%d" % sent)
                sent += 1
                if sent % 100 == 0:
                    time.sleep(0.01)

        thread = threading.Thread(target=send)
        thread.start()
        time.sleep(1)
        kafka_private.kill("kafka")
        time.sleep(1)
        metrics = producer.metrics()
        assert metrics["in_flight"] > 0
        assert metrics["accepted"] == metrics["delivered"] + metrics["failed"] + metrics["in_flight"]
        with KafkaAdmin(bootstrap) as admin, pytest.raises(UnreachableError, match="refused"):
            admin.describe_cluster(2)
        kafka_private.start("kafka")
        time.sleep(1)
        stop.set()
        thread.join()
        assert producer.flush(60) == 0
        metrics = producer.metrics()
    assert (metrics["accepted"], metrics["delivered"], metrics["failed"]) == (sent, sent, 0)
    assert read_values(bootstrap, topic) == [b"%d" % number for number in range(sent)]


# -- answers that are lost -------------------------------------------------------------------------------


class LossyProxy:
    """Forwards Kafka connections; some answers to Produce requests it throws away, with the connection.

    The broker has then applied what the client must send again. Addresses in answers are rewritten, so that
    the client keeps coming through here.
    """

    def __init__(self, broker: Endpoint, every: int) -> None:
        self._broker = (broker.host, broker.port)
        self._every = every
        self._requests = self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        host = broker.host.encode()
        self._theirs = host + struct.pack(">i", broker.port)
        self._ours = host + struct.pack(">i", self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._broker)
            doomed: set[int] = set()
            for source, target, forward in (
                (client, server, self._request),
                (server, client, self._answer),
            ):
                threading.Thread(
                    target=self._forward, args=(source, target, forward, doomed), daemon=True
                ).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket, forward: object, doomed: set[int]) -> None:
        stream = source.makefile("rb")
        try:
            while len(head := stream.read(4)) == 4:
                body = stream.read(struct.unpack(">i", head)[0])
                frame = forward(head + body, doomed)  # type: ignore[operator]
                if frame is None:
                    break
                target.sendall(frame)
        except OSError:
            pass
        finally:
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _request(self, frame: bytes, doomed: set[int]) -> bytes:
        api, _, correlation = struct.unpack(">hhi", frame[4:12])
        if api == 0:
            self._requests += 1
            if self._requests % self._every == 0:
                doomed.add(correlation)
        return frame

    def _answer(self, frame: bytes, doomed: set[int]) -> bytes | None:
        if struct.unpack(">i", frame[4:8])[0] in doomed:
            self.lost += 1
            return None
        return frame.replace(self._theirs, self._ours)


@pytest.mark.parametrize("idempotence", [True, False])
def test_answers_that_are_lost_make_no_duplicates(kafka: Endpoint, idempotence: bool) -> None:
    """With idempotence; the same without it shows that the proxy does what it is for."""
    topic = create_topic(f"{kafka.host}:{kafka.port}")
    proxy = LossyProxy(kafka, every=16)
    try:
        with KafkaProducer(
            f"{kafka.host}:{proxy.port}",
            idempotence=idempotence,
            config={
                "batch.num.messages": 50,  # at least 60 requests
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 50,
                "retry.backoff.ms": 10,
            },
        ) as producer:
            for number in range(3000):
                producer.enqueue(topic, b"%d" % number)
            assert producer.flush(60) == 0
            assert producer.metrics()["delivered"] == 3000
    finally:
        proxy.close()
    values = read_values(f"{kafka.host}:{kafka.port}", topic)
    assert proxy.lost >= 3
    if idempotence:
        assert values == [b"%d" % number for number in range(3000)]
    else:
        assert set(Counter(values)) == {b"%d" % number for number in range(3000)}
        assert len(values) > 3000
