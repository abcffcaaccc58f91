"""The recipes, one module each, and the profiles that name them."""

from __future__ import annotations

from stack.servers.base import Server
from stack.servers.doris import Doris
from stack.servers.kafka import Kafka
from stack.servers.kafka_connect import KafkaConnect
from stack.servers.postgres import Postgres

SERVERS: dict[str, Server] = {
    server.name: server for server in (Postgres(), Kafka(), Doris(), KafkaConnect())
}

LIGHT = ("postgres", "kafka", "doris")
PROFILES: dict[str, tuple[str, ...]] = {"light": LIGHT, "full": (*LIGHT, "kafka_connect")}
