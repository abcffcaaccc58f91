"""The Kafka admin client: topics, and what the cluster consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

from dbint._core import Admin
from dbint.errors import KafkaError
from dbint.kafka.client import Client, ClientOptions, client_properties

UNKNOWN_TOPIC = 3  # Kafka's error codes (protocol guide, "Error Codes")
TOPIC_FORBIDDEN = 29
TOPIC_EXISTS = 36


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker, as it says it can be reached."""

    id: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster. ``cluster_id`` and ``controller`` are None where the brokers do not say."""

    cluster_id: str | None
    controller: int | None
    brokers: tuple[Broker, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition. ``leader`` is a broker's id, None while there is none."""

    id: int
    leader: int | None
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic."""

    name: str
    partitions: tuple[Partition, ...]


class KafkaAdmin(Admin, Client):
    """Administrative calls. Each takes a ``timeout`` in seconds, within which it answers or raises.

    Raises UnreachableError when no broker answers, AuthenticationError when they refuse the credentials,
    DeadlineError when they do not answer in time, KafkaError for what they answer.
    """

    def __init__(
        self, bootstrap: str | Sequence[str] | None = None, **options: Unpack[ClientOptions]
    ) -> None:
        properties = client_properties(bootstrap, {}, options)
        super().__init__(properties)
        self.bootstrap = properties.get("bootstrap.servers", "")
        self._serve_tokens(options)

    def __repr__(self) -> str:
        return f"<KafkaAdmin {self.bootstrap}>"

    def create_topic(
        self,
        topic: str,
        partitions: int | None = None,
        replication: int | None = None,
        configs: Mapping[str, str] | None = None,
        timeout: float | None = 15.0,
    ) -> None:
        """Create a topic and wait until the cluster has it; None stands for the broker's default.

        ``configs`` are topic properties ("retention.ms"). KafkaError has kafka_code 36 when it exists.
        """
        super().create_topic(topic, partitions, replication, configs, timeout)

    def create_if_missing(
        self,
        topic: str,
        partitions: int | None = None,
        replication: int | None = None,
        configs: Mapping[str, str] | None = None,
        timeout: float | None = 15.0,
    ) -> bool:
        """The same; False when it exists, as it is."""
        try:
            self.create_topic(topic, partitions, replication, configs, timeout)
        except KafkaError as error:
            if error.kafka_code != TOPIC_EXISTS:
                raise
            return False
        return True

    def delete_topic(self, topic: str, timeout: float | None = 15.0) -> None:
        """Delete a topic. KafkaError has kafka_code 3 when there is none."""
        super().delete_topic(topic, timeout)

    def delete_if_there(self, topic: str, timeout: float | None = 15.0) -> bool:
        """Delete the topic; False when there is none, any more or yet."""
        try:
            self.delete_topic(topic, timeout)
        except KafkaError as error:
            if error.kafka_code != UNKNOWN_TOPIC:
                raise
            return False
        return True

    def describe_cluster(self, timeout: float | None = 10.0) -> Cluster:
        """The cluster's id, controller and brokers."""
        cluster_id, controller, brokers, _ = self.describe(None, timeout)
        return Cluster(
            cluster_id,
            controller if controller >= 0 else None,
            tuple(Broker(*broker) for broker in sorted(brokers)),
        )

    def topics(self, timeout: float | None = 10.0) -> dict[str, Topic]:
        """All topics by name."""
        _, _, _, topics = self.describe(None, timeout, True)
        return {name: _topic(name, partitions) for name, error, partitions in sorted(topics) if not error}

    def topic(self, name: str, timeout: float | None = 10.0) -> Topic:
        """One topic; does not create it. KafkaError has kafka_code 3 when there is none."""
        _, _, _, topics = self.describe(name, timeout)
        for found, code, partitions in topics:
            if found == name and not code:
                return _topic(name, partitions)
        codes = [code for found, code, _ in topics if found == name and code]
        error = KafkaError(
            f"there is no topic {name!r}"
            if not codes or codes[0] == UNKNOWN_TOPIC
            else f"topic {name!r}: the brokers answer with error {codes[0]}"
        )
        error.code, error.kafka_code = "DBI_EKAFKA", codes[0] if codes else UNKNOWN_TOPIC
        raise error


def _topic(name: str, partitions: list[tuple[int, int, int, int]]) -> Topic:
    return Topic(
        name,
        tuple(
            Partition(number, leader if leader >= 0 else None, replicas, in_sync)
            for number, leader, replicas, in_sync in sorted(partitions)
        ),
    )
