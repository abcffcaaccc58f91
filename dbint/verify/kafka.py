"""Does Kafka keep its promises to this project: messages whole, in order, once, and only when committed?

Every probe has a topic of its own, with a name that nobody else has, and deletes it.
"""

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbint.errors import DeadlineError, KafkaError, KafkaRetriableError, UnreachableError
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer
from dbint.kafka.admin import Broker
from dbint.verify.advice import Target, advise
from dbint.verify.diagnosis import Kind, classify, one_line
from dbint.verify.kafka_port import diagnose_port, find_release
from dbint.verify.latency import Stopwatch, over_budget
from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, Scope
from dbint.verify.scratch import is_stale, scratch_name

# A topic is at the broker before every broker has heard of it.
_POLL = 0.25
_CLOSE = 2.0
# Of a connection probe's deadline; the rest is for finding out what is wrong.
_SHARE = 0.7


@dataclass(frozen=True, kw_only=True)
class KafkaAccess:
    """How a project reaches Kafka.

    ``options`` gives librdkafka's options for a role ("producer", "consumer" or None), anew for each
    client. ``why_not`` says why there is nothing to verify, or is empty. ``guessed`` marks an address that
    nobody gave: when no such host exists, Kafka is not configured rather than down.
    """

    target: Target
    options: Callable[[str | None], Mapping[str, Any]]
    why_not: str = ""
    guessed: bool = False
    version: str | None = None
    emulated: bool = False

    def admin(self) -> KafkaAdmin:
        return KafkaAdmin(config=self.options(None))

    @contextlib.contextmanager
    def producer(self, scope: Scope, **arguments: Any) -> Iterator[KafkaProducer]:
        """A producer as the project has them; an abort gives up what it has in flight."""
        producer = KafkaProducer(config=self.options("producer"), **arguments)
        try:
            with scope.abortable(producer.purge):
                yield producer
        finally:
            producer.close(timeout=_CLOSE)

    def consumer(self, **properties: Any) -> KafkaConsumer:
        return KafkaConsumer(config={**self.options("consumer"), **properties})


@dataclass(frozen=True, kw_only=True)
class KafkaProbe(Probe):
    """A probe of the project's Kafka; diagnoses its errors with the project's own settings."""

    group: str = "kafka"
    server: str = "kafka"
    access: KafkaAccess
    prefix: str

    def advice(self, error: BaseException) -> Sequence[str]:
        return advise(self.access.target, error)


@contextlib.contextmanager
def scratch_topic(
    access: KafkaAccess, scope: Scope, prefix: str, suffix: str, partitions: int = 1
) -> Iterator[str]:
    """A new topic; its removal is left to the scope's clean-up."""
    topic = scratch_name(prefix, suffix).replace("_", "-")
    created = False

    def delete() -> None:
        # What was interrupted while it was being created may come yet.
        patience = 1 if created else 10
        with access.admin() as admin:
            while not admin.delete_if_there(topic, timeout=5) and (patience := patience - 1):
                time.sleep(_POLL)

    scope.doing(f"topic {topic} to be created")
    scope.defer(f"topic {topic}", delete)
    with access.admin() as admin:
        admin.create_topic(topic, partitions=partitions, timeout=scope.remaining())
        created = True
    yield topic


def remove_leftovers(access: KafkaAccess, prefix: str) -> list[str]:
    """Deletes what killed runs left: topics of exactly our shape, or a flow's of such a prefix, that are more
    than an hour old.
    """
    with access.admin() as admin:
        stale = [topic for topic in admin.topics(timeout=5) if is_stale(topic.partition(".")[0], prefix)]
        return [topic for topic in stale if admin.delete_if_there(topic, timeout=5)]


def read_messages(
    access: KafkaAccess, scope: Scope, topic: str, partitions: int = 1, *, isolation: str | None = None
) -> list[Any]:
    """Every message that is in the topic now, in order within each partition."""
    found: list[Any] = []
    for batch in read_batches(access, scope, topic, partitions, isolation=isolation):
        found.extend(batch)
    return found


def read_batches(
    access: KafkaAccess, scope: Scope, topic: str, partitions: int = 1, *, isolation: str | None = None
) -> Iterator[Any]:
    """The same as batches, up to the end of each partition.

    ``isolation`` is read_committed or read_uncommitted; None leaves it to the project's own options.
    """
    ended: set[int] = set()
    properties = {"enable.partition.eof": True} | ({"isolation.level": isolation} if isolation else {})
    with access.consumer(**properties) as consumer:
        consumer.assign([(topic, partition, 0) for partition in range(partitions)])
        while len(ended) < partitions:
            scope.check()
            batch = consumer.poll_batch(1000, timeout=_POLL)
            if batch is not None:
                ended.update(partition for _, partition, *_ in batch.ends)
                if len(batch):
                    yield batch


@dataclass(frozen=True, kw_only=True)
class BrokerProbe(KafkaProbe):
    """Asks the cluster who it is: id, brokers, controller. Writes nothing."""

    group: str = "connections"
    deadline: float = 5.0

    def run(self, scope: Scope) -> str:
        access, target = self.access, self.access.target
        if access.why_not:
            raise ProbeNotConfigured(access.why_not)
        scope.details.update(
            address=target.address,
            address_from=target.address_from,
            credentials_from=target.credentials_from,
        )
        scope.doing(f"the brokers at {target.address}")
        try:
            with access.admin() as admin:
                cluster = admin.describe_cluster(timeout=scope.remaining() * _SHARE)
                topics = len(admin.topics(timeout=scope.remaining() * _SHARE))
        except (UnreachableError, DeadlineError, KafkaError) as error:
            raise self.diagnosed(scope, error) from error
        if not cluster.brokers:
            raise ProbeFailed(f"{target.address} knows no broker", advise(target, Kind.STARTING))
        security = str(access.options(None).get("security.protocol", "PLAINTEXT"))
        tls = "SSL" in security.replace("SASL", "")
        scope.emulated = access.emulated
        self.find_version(scope, security, cluster.brokers[0])
        scope.details.update(
            cluster_id=cluster.cluster_id,
            controller=cluster.controller,
            brokers=[f"{broker.host}:{broker.port}" for broker in cluster.brokers],
            topics=topics,
            security_protocol=security,
            tls=tls,
        )
        count = len(cluster.brokers)
        parts = [f"{count} broker{'s' if count > 1 else ''} at {target.address}"]
        parts.append(f"{topics} topics, TLS {'on' if tls else 'off'}")
        if scope.version is None:
            parts.append(f"version unknown: {scope.details['version_from']}")
        return ", ".join(parts)

    def find_version(self, scope: Scope, security: str, broker: Broker) -> None:
        """The stack knows the version to its last digit; a broker tells its release, without TLS and SASL."""
        known = self.access.version
        if known:
            scope.version, scope.details["version_from"] = known, self.access.target.address_from
        elif security != "PLAINTEXT":
            scope.details["version_from"] = (
                f"brokers are asked for it over PLAINTEXT alone, this is {security}"
            )
        else:
            scope.doing(f"the release of {broker.host}:{broker.port}")
            release = find_release(broker.host, broker.port, scope.remaining() * _SHARE)
            scope.version = release.version
            scope.details.update(
                version_from=release.why,
                metadata_version={"supported": release.supported, "finalized": release.finalized},
            )

    def diagnosed(self, scope: Scope, error: Exception) -> Exception:
        """The verdict for brokers that do not answer: what does listen at the address, if anything?"""
        target = self.access.target
        kind, text = diagnose_port(target.host, target.port or 0, max(scope.remaining() - 0.2, 0.2))
        if self.access.guessed and kind is Kind.NAME_UNKNOWN:
            return ProbeNotConfigured(f"nothing names Kafka's address, and the cluster has no {target.host}")
        if kind is Kind.OTHER:
            kind = classify(error)
        scope.details["error"] = kind.value
        if kind not in (Kind.UNREACHABLE, Kind.NAME_UNKNOWN):
            text = f"{text} ({one_line(error)})"
        return ProbeFailed(text, advise(target, kind))


@dataclass(frozen=True, kw_only=True)
class TopicsProbe(KafkaProbe):
    """Every topic that the project names is there, with partitions enough and a leader for each.

    ``topics`` maps a name to the least number of partitions. Creates nothing.
    """

    deadline: float = 5.0
    topics: Mapping[str, int]

    def run(self, scope: Scope) -> str:
        if not self.topics:
            raise ProbeNotConfigured('DBINT["KAFKA"]["topics"] names no topic')
        scope.doing(f"{len(self.topics)} topics to be looked up")
        problems: list[str] = []
        steps: list[str] = []
        partitions = scope.details["topics"] = dict.fromkeys(self.topics, 0)
        with self.access.admin() as admin:
            for name, least in self.topics.items():
                try:
                    topic = admin.topic(name, timeout=scope.remaining())
                except KafkaError as error:
                    kind = classify(error)
                    problems.append(one_line(error))
                    if kind is Kind.TOPIC_MISSING:
                        steps.append(f"Create it: {self.command('--create', name, least)}")
                    elif kind is Kind.NO_PERMISSION:
                        user = self.access.target.user or "the client"
                        steps.append(
                            f"Allow {user} to Describe topic {name!r}, and to use it, in the brokers' ACLs."
                        )
                    else:
                        steps += advise(self.access.target, kind)
                    continue
                count = partitions[name] = len(topic.partitions)
                if count < least:
                    problems.append(f"topic {name!r} has {count} partitions of at least {least}")
                    steps.append(f"Add some (keys will move): {self.command('--alter', name, least)}")
                if headless := [str(part.id) for part in topic.partitions if part.leader is None]:
                    problems.append(f"topic {name!r} has no leader for partition {', '.join(headless)}")
                    steps.append(f"Start the brokers that hold it: {self.command('--describe', name)}")
        if problems:
            steps.append('If the project does not need them, take them out of DBINT["KAFKA"]["topics"].')
            raise ProbeFailed("; ".join(problems), list(dict.fromkeys(steps)))
        said = "1 topic is" if len(partitions) == 1 else f"{len(partitions)} topics are"
        return f"{said} there: {', '.join(f'{name} ({count})' for name, count in partitions.items())}"

    def command(self, action: str, topic: str, partitions: int | None = None) -> str:
        """A line for Kafka's own tool, which reads what a secured cluster wants from a file."""
        line = ["kafka-topics.sh", "--bootstrap-server", self.access.target.address]
        if self.access.options(None).get("security.protocol", "PLAINTEXT") != "PLAINTEXT":
            line += ["--command-config", "client.properties"]
        line += [action, "--topic", topic]
        return shlex.join(line + (["--partitions", str(partitions)] if partitions else []))


def messages_to_send() -> list[dict[str, Any]]:
    """What a message may consist of, at its edges."""
    now = time.time_ns() // 1_000_000
    headers = [
        ("event-id", b"1"),
        ("event-id", b"2"),
        ("empty", b""),
        ("null", None),
        ("bytes", bytes(range(256))),
    ]
    return [
        {"key": b"plain", "value": b"value", "headers": [], "timestamp": now},
        {"key": None, "value": b"no key", "headers": [], "timestamp": now + 1},
        {"key": b"tombstone", "value": None, "headers": [], "timestamp": now + 2},
        {"key": b"", "value": b"", "headers": [], "timestamp": now + 3},
        {
            "key": "clé 🐘".encode(),
            "value": "Grüße 数据库 🦀".encode(),
            "headers": headers,
            "timestamp": now + 4,
        },
        {"key": bytes(range(256)), "value": bytes(range(256)) * 16, "headers": [], "timestamp": now + 5},
        {"key": b"large", "value": b"x" * 500_000, "headers": [], "timestamp": now + 6},
    ]


@dataclass(frozen=True, kw_only=True)
class RoundTripProbe(KafkaProbe):
    """Keys, values, headers and timestamps come back as they went, nulls and emptiness told apart."""

    writes: bool = True
    deadline: float = 15.0

    def run(self, scope: Scope) -> str:
        scope.doing("old scratch topics to be deleted")
        removed = scope.details["leftovers_removed"] = remove_leftovers(self.access, self.prefix)
        sent = messages_to_send()
        with scratch_topic(self.access, scope, self.prefix, "roundtrip") as topic:
            scope.doing(f"delivery reports for {topic}")
            with self.access.producer(scope) as producer:
                for message in sent:
                    delivery = producer.send_sync(topic, timeout=scope.remaining(), **message)
                    if delivery.partition != 0 or (delivery.offset or 0) < 0:
                        raise ProbeFailed(
                            f"a delivery report says partition {delivery.partition}, offset {delivery.offset}"
                        )
            scope.doing(f"messages of {topic} to be read back")
            found = read_messages(self.access, scope, topic)
        if len(found) != len(sent):
            raise ProbeFailed(f"sent {len(sent)} messages, read {len(found)}")
        for wrote, read in zip(sent, found, strict=True):
            for part, value in wrote.items():
                same = list(read.headers or []) if part == "headers" else getattr(read, part)
                if same != value:
                    raise ProbeFailed(
                        f"message {wrote['key']!r}: {part} was {value!r:.80}, came back {same!r:.80}"
                    )
        said = f"{len(sent)} messages with keys, headers and timestamps came back as they were sent"
        return said + (f"; removed {len(removed)} topics left by killed runs" if removed else "")


@dataclass(frozen=True, kw_only=True)
class TransactionProbe(KafkaProbe):
    """What is committed becomes visible, what is aborted never does, and nothing before the commit."""

    writes: bool = True
    deadline: float = 20.0

    def run(self, scope: Scope) -> str:
        access = self.access
        with scratch_topic(access, scope, self.prefix, "transactions") as topic:
            scope.doing("the transaction coordinator")
            with access.producer(scope, transactional_id=topic) as producer:
                self.begin(scope, producer)
                scope.doing("a transaction to be aborted")
                producer.begin_transaction()
                producer.enqueue(topic, b"aborted", b"k")
                producer.flush(timeout=scope.remaining())
                producer.abort_transaction(timeout=scope.remaining())
                scope.doing("a transaction to be committed")
                producer.begin_transaction()
                producer.enqueue(topic, b"committed", b"k")
                producer.flush(timeout=scope.remaining())
                self.expect(scope, topic, "read_committed", [], "before the commit")
                producer.commit_transaction(timeout=scope.remaining())
            scope.doing("the committed message to be read")
            self.expect(scope, topic, "read_committed", [b"committed"], "after the commit")
            self.expect(scope, topic, "read_uncommitted", [b"aborted", b"committed"], "uncommitted")
        return (
            "a commit became visible at once and whole, an abort never; nothing was visible before the commit"
        )

    def begin(self, scope: Scope, producer: KafkaProducer) -> None:
        """Registers the producer; a broker that has just started says for a while that it is not ready."""
        while True:
            try:
                return producer.init_transactions(timeout=scope.remaining())
            except KafkaRetriableError as error:
                scope.doing(f"the transaction coordinator, which says: {one_line(error)}")
                scope.sleep(_POLL)

    def expect(self, scope: Scope, topic: str, isolation: str, values: list[bytes], when: str) -> None:
        found = [m.value for m in read_messages(self.access, scope, topic, isolation=isolation)]
        if found != values:
            raise ProbeFailed(
                f"{when}, a {isolation} consumer saw {found}, and should have seen {values}",
                ['Look at isolation.level in DBINT["KAFKA"] and at the broker\'s transaction settings.'],
            )


@dataclass(frozen=True, kw_only=True)
class IdempotenceProbe(KafkaProbe):
    """The producer of this project is idempotent: each message once, in order per key, all accounted for."""

    writes: bool = True
    deadline: float = 20.0
    messages: int = 3000
    partitions: int = 3

    def run(self, scope: Scope) -> str:
        with scratch_topic(self.access, scope, self.prefix, "idempotence", self.partitions) as topic:
            with self.access.producer(scope) as producer:
                scope.doing(f"{self.messages} messages to be delivered")
                for number in range(self.messages):
                    producer.enqueue(topic, b"%d" % number, b"%d" % (number % 10))
                left = producer.flush(timeout=scope.remaining())
                counts = producer.metrics()
            if left or counts["delivered"] != self.messages:
                raise ProbeFailed(
                    f"{self.messages} messages sent, {counts['delivered']} delivered, "
                    f"{counts['failed']} failed ({counts['failed_by']}), {left} without a report"
                )
            scope.doing(f"{self.messages} messages to be read back")
            found = read_messages(self.access, scope, topic, self.partitions)
        per_key: dict[bytes, list[int]] = {}
        for message in found:
            per_key.setdefault(message.key, []).append(int(message.value))
        for key, numbers in per_key.items():
            if numbers != list(range(int(key), self.messages, 10)):
                raise ProbeFailed(f"key {key.decode()}: messages are missing, repeated or out of order")
        if len(found) != self.messages:
            raise ProbeFailed(f"sent {self.messages} messages, read {len(found)}")
        settings = {**self.access.options("producer")}
        if str(settings.get("enable.idempotence", True)).lower() == "false":
            raise ProbeFailed(
                "the producer is not idempotent: a retry can write a message twice",
                ['Remove enable.idempotence from DBINT["KAFKA"]["producer"].'],
            )
        return (
            f"{self.messages} messages by the idempotent producer: all delivered, each read once, "
            "in order per key"
        )


@dataclass(frozen=True, kw_only=True)
class ProducePerformanceProbe(KafkaProbe):
    """How many messages a second, and how long until the broker has acknowledged one."""

    group: str = "performance"
    writes: bool = True
    quiet: bool = True
    deadline: float = 20.0
    messages: int
    samples: int
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    budget_messages_per_s: float = 0.0

    def run(self, scope: Scope) -> str:
        watch = Stopwatch()
        payload = b"x" * 200
        with scratch_topic(self.access, scope, self.prefix, "performance") as topic:
            with self.access.producer(scope, linger=0) as producer:
                scope.doing("single messages to be acknowledged")
                producer.send_sync(topic, payload, timeout=scope.remaining())  # the first one also connects
                ends = time.monotonic() + self.deadline * 0.2
                for _ in range(self.samples):
                    with watch.time("produce"):
                        producer.send_sync(topic, payload, timeout=scope.remaining())
                    if time.monotonic() > ends:
                        break
            with self.access.producer(scope) as producer:
                producer.send_sync(topic, payload, timeout=scope.remaining())
                scope.doing(f"{self.messages} messages to be acknowledged")
                began = time.monotonic()
                for _ in range(self.messages):
                    producer.enqueue(topic, payload)
                left = producer.flush(timeout=scope.remaining())
                seconds = time.monotonic() - began
        if left:
            raise DeadlineError(
                f"{left} of {self.messages} messages were not acknowledged within {seconds:.1f} s"
            )
        rate = self.messages / seconds
        measured = watch.summary()
        scope.details.update(
            latency=measured,
            budgets={"produce": dict(self.budgets.get("produce", {}))},
            messages_per_s=round(rate),
            budget_messages_per_s=self.budget_messages_per_s,
        )
        broken = over_budget(measured, self.budgets)
        if rate < self.budget_messages_per_s:
            broken.append(f"{rate:,.0f} messages/s, at least {self.budget_messages_per_s:,.0f} are wanted")
        if broken:
            raise ProbeFailed(
                "; ".join(broken),
                [
                    "See what else keeps the brokers or this machine busy now, and the network between them.",
                    'If that is what this place can do, set DBINT["VERIFY"]["produce_messages_per_s"] and '
                    'DBINT["VERIFY"]["budgets"]["kafka"].',
                ],
            )
        return f"{rate:,.0f} messages/s of 200 bytes, each acknowledged; within the budget"
