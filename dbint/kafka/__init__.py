"""Kafka: a producer that accounts for every message, a consumer in batches, an admin client.

All three open their connection on first use, so they may be made before a fork; one that has been used
belongs to its process. They need no Django.
"""

from dbint._core import Batch, Delivery, Message
from dbint.kafka.admin import Broker, Cluster, KafkaAdmin, Partition, Topic
from dbint.kafka.client import BrokerStatistics, ClientOptions, OAuthToken, Statistics
from dbint.kafka.consumer import KafkaConsumer, TopicPartition
from dbint.kafka.producer import KafkaProducer, ProducerJournal, Transaction

__all__ = [
    "Batch",
    "Broker",
    "BrokerStatistics",
    "ClientOptions",
    "Cluster",
    "Delivery",
    "KafkaAdmin",
    "KafkaConsumer",
    "KafkaProducer",
    "Message",
    "OAuthToken",
    "Partition",
    "ProducerJournal",
    "Statistics",
    "Topic",
    "TopicPartition",
    "Transaction",
]
