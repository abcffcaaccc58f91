"""The recipes, one module each, and the profiles that name them."""

from __future__ import annotations

from stack.servers.base import Server
from stack.servers.doris import Doris
from stack.servers.kafka import Kafka
from stack.servers.kafka_connect import KafkaConnect
from stack.servers.pgbouncer import PgBouncer
from stack.servers.postgres import Postgres
from stack.servers.toxiproxy import Toxiproxy

SERVERS: dict[str, Server] = {
    server.name: server for server in (Postgres(), Kafka(), Doris(), KafkaConnect(), PgBouncer(), Toxiproxy())
}

LIGHT = ("postgres", "kafka", "doris")
# What stands between a client and its server, for tests that break the way.
FAULTS = ("pgbouncer", "toxiproxy")
PROFILES: dict[str, tuple[str, ...]] = {
    "light": LIGHT,
    "faults": FAULTS,
    "full": (*LIGHT, "kafka_connect", *FAULTS),
}
