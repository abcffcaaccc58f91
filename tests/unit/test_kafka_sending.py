"""Sending, on the mock cluster inside librdkafka: accounting, event loops, full queues, signals, forks."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from types import MappingProxyType

import pytest

from dbint.errors import DeadlineError, InterfaceError, KafkaError, QueueFullError
from dbint.kafka import Delivery, KafkaProducer

NOWHERE = "127.0.0.1:1"


def mocked(**options: object) -> KafkaProducer:
    return KafkaProducer("mock", linger=0, config={"test.mock.num.brokers": 1}, **options)  # type: ignore[arg-type]


@pytest.fixture
def producer() -> Iterator[KafkaProducer]:
    with mocked() as made:
        yield made


@pytest.fixture
def stuck() -> Iterator[KafkaProducer]:
    """A producer whose messages go nowhere, with room for ten."""
    made = KafkaProducer(NOWHERE, queue_messages=10, block_timeout=0.3)
    yield made
    made.close(0)


def fill(producer: KafkaProducer) -> None:
    for _ in range(10):
        producer.enqueue("t", b"x")


@pytest.mark.parametrize(
    "value", [b"bytes", "str \u00e9", bytearray(b"array"), memoryview(b"view"), None, b"", ""]
)
def test_values_that_can_be_sent(producer: KafkaProducer, value: bytes | str | None) -> None:
    delivery = producer.send_sync("t", value, value, headers=MappingProxyType({"h": value}), timeout=10)
    assert isinstance(delivery, Delivery)
    assert delivery.topic == "t"
    assert delivery.offset == 0
    assert delivery == ("t", delivery.partition, 0, delivery.timestamp)


def test_enqueue_counts_every_report(producer: KafkaProducer) -> None:
    for number in range(5000):
        producer.enqueue("t", b"%d" % number)
    assert producer.flush(30) == 0
    metrics = producer.metrics()
    assert (metrics["accepted"], metrics["delivered"], metrics["failed"]) == (5000, 5000, 0)
    assert metrics["accepted_bytes"] == sum(len(b"%d" % number) for number in range(5000))
    assert producer.in_flight == 0


def test_send_resolves_for_each_message(producer: KafkaProducer) -> None:
    async def main() -> list[Delivery]:
        futures = [producer.send("t", b"x", partition=number % 2) for number in range(2000)]
        return await asyncio.gather(*futures)

    deliveries = asyncio.run(main())
    for partition in (0, 1):
        assert [d.offset for d in deliveries if d.partition == partition] == list(range(1000))
    assert asyncio.run(main())[-1].offset == 1999, "another loop, the same producer"


def test_loops_in_many_threads_at_once(producer: KafkaProducer) -> None:
    offsets: list[int | None] = []

    async def main() -> None:
        for _ in range(50):
            sent = await asyncio.gather(*[producer.send("t", b"x", partition=0) for _ in range(20)])
            offsets.extend(delivery.offset for delivery in sent)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offsets) == list(range(4000))  # type: ignore[type-var]


def test_a_cancelled_wait_stays_accounted_for(producer: KafkaProducer) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(producer.send("t", b"x")) for _ in range(3000)]
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, Delivery) for result in results) == 1500

    asyncio.run(main())
    assert producer.flush(10) == 0
    assert producer.metrics()["delivered"] == 3000


def test_a_loop_may_be_closed_before_its_reports() -> None:
    with mocked() as producer:
        producer.send_sync("t", b"x", timeout=10)

        async def leave() -> None:
            for _ in range(100):
                producer.send("t", b"x")

        for _ in range(5):
            asyncio.run(leave())
        assert producer.flush(10) == 0
        assert producer.metrics()["delivered"] == 501
        assert asyncio.run(asyncio.wait_for(_one(producer), 10)).topic == "t"


async def _one(producer: KafkaProducer) -> Delivery:
    return await producer.send("t", b"x")


def test_a_failed_delivery_is_raised_and_counted() -> None:
    with KafkaProducer(NOWHERE, delivery_timeout=0.2) as producer:
        with pytest.raises(DeadlineError, match="not delivered") as caught:
            asyncio.run(_one(producer))
        assert caught.value.kafka_code == -192
        with pytest.raises(DeadlineError):
            producer.send_sync("t", b"x")
        assert producer.metrics()["failed_by"] == {"_MSG_TIMED_OUT": 2}
        assert producer.metrics()["purged"] == 0


def test_send_sync_gives_up_waiting_not_the_message(stuck: KafkaProducer) -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="still in flight"):
        stuck.send_sync("t", b"x", timeout=0.1)
    assert time.monotonic() - start < 2
    assert stuck.in_flight == 1


def test_a_full_queue_blocks_until_its_time_is_up(stuck: KafkaProducer) -> None:
    fill(stuck)
    start = time.monotonic()
    with pytest.raises(QueueFullError, match="block_timeout"):
        stuck.enqueue("t", b"x")
    assert 0.25 < time.monotonic() - start < 3
    assert stuck.metrics()["refused_by"] == {"_QUEUE_FULL": 1}
    assert stuck.metrics()["accepted"] == 10


def test_a_full_queue_never_blocks_the_loop(stuck: KafkaProducer) -> None:
    async def main() -> None:
        fill(stuck)
        waiting = [stuck.send("t", b"x") for _ in range(3)]
        assert stuck.waiting == 3
        waiting[2].cancel()
        ticks = 0
        while not waiting[0].done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10
        with pytest.raises(QueueFullError):
            await waiting[0]
        with pytest.raises(QueueFullError):
            await waiting[1]

    asyncio.run(main())
    assert stuck.waiting == 0
    assert stuck.metrics()["accepted"] == 10
    assert stuck.metrics()["refused"] == 2


def test_sends_that_waited_keep_their_order() -> None:
    with mocked(queue_messages=5) as producer:

        async def main() -> None:
            deliveries = await asyncio.gather(*[producer.send("t", b"x", partition=0) for _ in range(300)])
            assert [delivery.offset for delivery in deliveries] == list(range(300))

        asyncio.run(main())
        assert producer.waiting == 0


def test_reject_and_drop() -> None:
    with KafkaProducer(NOWHERE, queue_messages=10, when_full="reject") as producer:
        fill(producer)
        with pytest.raises(QueueFullError, match="10 messages in flight"):
            producer.enqueue("t", b"x")
        assert producer.close(0) == 10
        assert producer.metrics()["failed_by"] in ({"_PURGE_QUEUE": 10}, {"_PURGE_INFLIGHT": 10})
    with KafkaProducer(NOWHERE, queue_messages=10, when_full="drop_newest") as producer:
        fill(producer)
        producer.enqueue("t", b"x")
        assert producer.metrics()["dropped"] == 1
        assert producer.metrics()["accepted"] == 10
        producer.close(0)


def test_close_resolves_what_is_left() -> None:
    producer = KafkaProducer(NOWHERE)

    async def main() -> None:
        futures = [producer.send("t", b"x") for _ in range(5)]
        assert await producer.aclose(0.05) == 5
        for result in await asyncio.gather(*futures, return_exceptions=True):
            assert isinstance(result, KafkaError)
            assert "Purged" in str(result)

    asyncio.run(main())
    metrics = producer.metrics()
    assert (metrics["accepted"], metrics["failed"], metrics["purged"], metrics["in_flight"]) == (5, 5, 5, 0)


def test_a_signal_is_seen_while_waiting(stuck: KafkaProducer) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    stuck.enqueue("t", b"x")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for wait in (lambda: stuck.flush(30), lambda: stuck.send_sync("t", b"x", timeout=30)):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                wait()
            assert time.monotonic() - start < 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_fork_leaves_the_producer_with_the_parent() -> None:
    unused = mocked()
    with mocked() as producer:
        producer.send_sync("t", b"x", timeout=10)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                with pytest.raises(InterfaceError, match="fork"):
                    producer.enqueue("t", b"x")
                with pytest.raises(InterfaceError, match="fork"):
                    producer.close()
                del producer
                gc.collect()
                assert unused.send_sync("t", b"x", timeout=10).offset == 0
                unused.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        producer.send_sync("t", b"x", timeout=10)
    unused.close()


def test_a_producer_that_was_not_closed_warns() -> None:
    producer = mocked()
    producer.send_sync("t", b"x", timeout=10)
    with pytest.warns(ResourceWarning, match="not closed"):
        del producer  # the last reference
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mocked()  # never used: nothing to close


def test_logs_and_trouble_are_kept_and_not_printed(
    stuck: KafkaProducer, capfd: pytest.CaptureFixture[str]
) -> None:
    stuck.enqueue("t", b"x")
    lines: list[tuple[float, int, str, str]] = []
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:
        time.sleep(0.05)
        lines, lost = stuck.logs()
        assert lost == 0
    assert any("127.0.0.1:1" in text for _, _, _, text in lines)
    assert capfd.readouterr() == ("", "")


def test_statistics() -> None:
    with mocked(stats_interval=0.1) as producer:
        assert producer.stats() is None
        producer.send_sync("t", b"x", timeout=10)
        deadline = time.monotonic() + 10
        while (stats := producer.stats()) is None or stats.sent_messages == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stats.sent_messages == 1
        assert any(broker.state == "UP" for broker in stats.brokers.values())


def test_nothing_leaks() -> None:
    with mocked() as producer:

        async def main() -> None:
            await asyncio.gather(*[producer.send("t", b"x", headers={"a": "b"}) for _ in range(500)])
            cancelled = producer.send("t", b"x")
            cancelled.cancel()

        def once() -> None:
            asyncio.run(main())
            for number in range(500):
                producer.enqueue("t", f"{number}", headers=[("a", b"b")])
            with pytest.raises(TypeError):
                producer.enqueue("t", 5)  # type: ignore[arg-type]
            producer.flush(10)

        for _ in range(3):
            once()
        gc.collect()
        before = sys.getallocatedblocks()
        references = sys.getrefcount(producer)
        for _ in range(10):
            once()
        gc.collect()
        assert sys.getallocatedblocks() - before < 400
        assert abs(sys.getrefcount(producer) - references) <= 1
