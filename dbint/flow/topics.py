"""The topics of a flow."""

from dbint.flow.config import FlowConfig
from dbint.kafka import KafkaAdmin


def make_topic(admin: KafkaAdmin, config: FlowConfig, topic: str) -> bool:
    """Make a topic as the flow wants its own; False when it exists, as it is. Raises KafkaError."""
    properties = {"cleanup.policy": "delete", **config.topic_properties}
    return admin.create_if_missing(topic, config.partitions, config.replication, properties)
