"""Apache Kafka: what clients are told beyond the address and the credentials.

A client takes all of it from ``dbint.django.databases.kafka_options("producer")``.
"""

from dbint.django.conf import KafkaDict

KAFKA: KafkaDict = {
    "client_id": "agent_runtime",
    "producer": {"compression.type": "lz4", "linger.ms": 5},
}
