"""How this project reaches Kafka."""

from collections.abc import Mapping
from typing import Any

from dbint.discovery import CLUSTER_DNS, DEFAULT, locate
from dbint.django.conf import get_settings
from dbint.django.databases import kafka_options, provider
from dbint.verify.advice import Target
from dbint.verify.kafka import KafkaAccess

# A probe ends long before librdkafka's own patience does.
_PATIENCE = {"socket.timeout.ms": 5000, "socket.connection.setup.timeout.ms": 4000}


def kafka_access() -> KafkaAccess:
    """Address, credentials and options of the project's Kafka, or why it has none."""
    project = get_settings()
    endpoint = locate("kafka", project.services)
    credentials = provider().get("kafka")
    mentioned = project.kafka != type(project.kafka)() or "kafka" in project.services
    why_not = ""
    if endpoint.source == DEFAULT and not mentioned:
        why_not = 'nothing names Kafka: neither KAFKA_BOOTSTRAP_SERVERS nor DBINT["SERVICES"]["kafka"] is set'
    address = endpoint.address()
    return KafkaAccess(
        target=Target(
            service="kafka",
            host=address.host,
            port=address.port,
            address_from=endpoint.source,
            credentials_from=credentials.source if credentials else "",
            user=credentials.username if credentials else None,
        ),
        options=_options,
        why_not=why_not,
        guessed=endpoint.source == CLUSTER_DNS and not mentioned,
        version=endpoint.version,
        emulated=bool(endpoint.emulated),
    )


def _options(role: str | None) -> Mapping[str, Any]:
    return {**_PATIENCE, **kafka_options(role)}
