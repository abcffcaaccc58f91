"""The topics of a flow, and the way into them."""

from dbint._core import Outlet
from dbint.flow.config import FlowConfig
from dbint.kafka import KafkaAdmin


def make_topic(admin: KafkaAdmin, config: FlowConfig, topic: str) -> bool:
    """Make a topic as the flow wants its own; False when it exists, as it is. Raises KafkaError."""
    properties = {"cleanup.policy": "delete", **config.topic_properties}
    return admin.create_if_missing(topic, config.partitions, config.replication, properties)


def open_outlet(config: FlowConfig) -> Outlet:
    """What capture, first load and repair send a flow's messages by; it makes the topics that are missing."""
    properties = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in config.kafka("producer").items()
    }
    return Outlet(
        properties,
        max_messages=config.window_messages,
        max_bytes=config.window_bytes,
        partitions=config.partitions,
        replication=config.replication,
        topic_properties=dict(config.topic_properties),
    )
