"""Producing to a real broker: 200-byte messages, acks=all, idempotent, linger 5 ms, one partition."""

import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.compiler import NATIVE, build, pkg_config
from bench.frame import BenchError, Contender, Ratio, Sample, run_contender
from bench.servers import private_server
from stack.servers.base import Command, Site
from stack.servers.kafka import Kafka

SIZE = 200
WARMUP = 2_000  # the first idempotent producer after a start waits for its coordinator: never on the clock
MESSAGES = 500_000
MESSAGES_AWAITED = 100_000  # a future each costs several times as much, and the figures are per message
QUICK_DIVISOR = 20
TIMEOUT = 180.0


class FastBroker(Kafka):
    """The stack's broker with the whole compiler and enough heap, so that the clients are what differs.

    The stack's own flags make it start sooner and run slower. Of contradicting flags Java takes the last.
    """

    def command(self, site: Site) -> Command:
        usual = super().command(site)
        before = usual.argv.index("-cp")
        faster = ["-XX:TieredStopAtLevel=4", "-Xms512m", "-Xmx512m"]
        return replace(usual, argv=[*usual.argv[:before], *faster, *usual.argv[before:]])


class ProduceBench:
    """The comparison of producers; docs/benchmarks.md says what is the same for all."""

    name = "produce"
    title = f"{SIZE}-byte messages, acks=all, idempotent, linger 5 ms, one partition, a real broker"
    units = {
        "value": "messages/s",
        "cpu": "µs/message",
        "caller_cpu": "µs/message",  # without librdkafka's own threads
        "memory": "MiB",
    }
    contenders = (
        Contender("c", "C loop, delivery callback"),
        Contender("enqueue", "dbint enqueue, every report counted"),
        Contender("confluent-callback", "confluent-kafka, delivery callback"),
        Contender("confluent-plain", "confluent-kafka, no callback"),
        Contender("confluent-batch", "confluent-kafka produce_batch, no callback"),
        Contender("send", "dbint await send"),
        Contender("aioproducer", "confluent-kafka AIOProducer"),
    )
    ratios = (
        Ratio("enqueue_cpu_over_c", "cpu", "enqueue", "c"),
        Ratio("enqueue_rate_over_c", "value", "enqueue", "c"),
        Ratio("enqueue_caller_cpu_over_c", "caller_cpu", "enqueue", "c"),
        Ratio("enqueue_cpu_over_confluent_callback", "cpu", "enqueue", "confluent-callback"),
        Ratio("confluent_callback_cpu_over_c", "cpu", "confluent-callback", "c"),
        Ratio("confluent_callback_caller_cpu_over_c", "caller_cpu", "confluent-callback", "c"),
        Ratio("confluent_plain_cpu_over_c", "cpu", "confluent-plain", "c"),
        Ratio("confluent_batch_cpu_over_c", "cpu", "confluent-batch", "c"),
        Ratio("send_cpu_over_aioproducer", "cpu", "send", "aioproducer"),
        Ratio("send_caller_cpu_over_aioproducer", "caller_cpu", "send", "aioproducer"),
        Ratio("send_rate_over_aioproducer", "value", "send", "aioproducer"),
    )
    rounds = 5
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A broker of the bench's own, and one librdkafka for all contenders."""
        program = build([NATIVE / "produce.c"], pkg_config("rdkafka"))
        with tempfile.TemporaryDirectory(prefix="dbint-bench-") as scratch:
            environment = one_librdkafka(Path(scratch))
            with broker() as bootstrap:
                run = ProduceRun(bootstrap, program, environment, quick)
                run("c")  # a new broker compiles itself on its first messages: whoever came first would pay
                yield run


@contextmanager
def broker() -> Iterator[str]:
    """A broker for this run alone, by its bootstrap address."""
    with private_server(FastBroker()) as servers:
        address = servers.endpoint("kafka")
        yield f"{address.host}:{address.port}"


def one_librdkafka(scratch: Path) -> dict[str, str]:
    """An environment in which everything that asks for librdkafka gets the one that confluent-kafka carries.

    The wheel's library has another file name, so a directory with that library under the common name goes
    first on the loader's path. That it worked is checked by what each contender then reports, not here.
    """
    try:
        import confluent_kafka
    except ImportError as error:
        raise BenchError("confluent-kafka is not installed (pip install --group bench)") from error
    bundled = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    libraries = sorted(bundled.glob("librdkafka-*.so.1"))
    if len(libraries) != 1:
        raise BenchError(
            f"{bundled} should hold one librdkafka, the wheel's own; found {len(libraries)}. "
            "Install confluent-kafka from its wheel (pip install --only-binary :all: confluent-kafka)."
        )
    directory = scratch / "lib"
    directory.mkdir()
    (directory / "librdkafka.so.1").symlink_to(libraries[0])
    path = os.pathsep.join(filter(None, (str(directory), os.environ.get("LD_LIBRARY_PATH"))))
    return {**os.environ, "LD_LIBRARY_PATH": path}


class ProduceRun:
    """Runs one contender once, on a topic of its own, and checks what the broker has got."""

    def __init__(self, bootstrap: str, program: Path, environment: dict[str, str], quick: bool) -> None:
        from confluent_kafka.admin import AdminClient

        self.bootstrap, self.program, self.environment, self.quick = bootstrap, program, environment, quick
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})

    def __call__(self, contender: str) -> Sample:
        messages = MESSAGES_AWAITED if contender in {"send", "aioproducer"} else MESSAGES
        if self.quick:
            messages //= QUICK_DIVISOR
        with self.topic() as topic:
            program = [str(self.program)]
            if contender != "c":
                program = [sys.executable, "-m", "bench.contenders.produce", contender]
            command = [*program, self.bootstrap, topic, str(messages), str(WARMUP), str(SIZE)]
            found = run_contender(command, timeout=TIMEOUT, environment=self.environment)
            # What a contender says of itself is not enough: the end offset is the broker's count.
            arrived, expected = self.end_offset(topic), messages + WARMUP
            if arrived != expected:
                raise BenchError(f"{contender}: sent {expected} messages, the broker holds {arrived}")
        figures = {
            "value": messages / found["seconds"],
            "cpu": found["cpu_seconds"] / messages * 1e6,
            "caller_cpu": (found["cpu_seconds"] - found["librdkafka_seconds"]) / messages * 1e6,
            "memory": found["peak_rss"] / 2**20,
        }
        return Sample(figures, found["versions"])

    @contextmanager
    def topic(self) -> Iterator[str]:
        """A new topic of one partition. Its files go as soon as it does: a round fills some 400 MB."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import NewTopic

        name = f"bench-{uuid.uuid4().hex}"
        new = NewTopic(name, 1, 1, config={"file.delete.delay.ms": "0"})
        try:
            self.admin.create_topics([new])[name].result(30)
            yield name
            self.admin.delete_topics([name])[name].result(30)
        except KafkaException as error:
            raise BenchError(f"asking the broker: {error}") from error

    def end_offset(self, topic: str) -> int:
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        partition = TopicPartition(topic, 0)
        return int(self.admin.list_offsets({partition: OffsetSpec.latest()})[partition].result(30).offset)
