"""Kafka Connect with Debezium's connector for PostgreSQL: one distributed worker, from Maven artifacts."""

from __future__ import annotations

from pathlib import Path

from stack import maven, probe
from stack.cache import cache_path, cached
from stack.packages import Requirement
from stack.progress import Progress
from stack.servers import kafka
from stack.servers.base import Command, Server, Site
from stack.state import Entry

VERSION = kafka.VERSION
DEBEZIUM = "3.7.0.Final"
WORKER = (
    *(
        maven.Artifact(f"org.apache.kafka:connect-{part}:{VERSION}")
        for part in ("runtime", "api", "json", "transforms")
    ),
    *kafka.LOG4J,
)
# What Connect gives to its plugins is left out of them.
PLUGIN = (
    maven.Artifact(
        f"io.debezium:debezium-connector-postgres:{DEBEZIUM}", exclude=("org.apache.kafka:*", "org.slf4j:*")
    ),
)
JVM = tuple("-Xmx384m" if flag.startswith("-Xmx") else flag for flag in kafka.JVM)


class KafkaConnect(Server):
    name = "kafka_connect"
    summary = f"Kafka Connect with Debezium {DEBEZIUM}"
    roles = ("http",)
    needs = ("kafka",)

    def version(self) -> str:
        return VERSION

    def requirements(self) -> list[Requirement]:
        return [maven.JAVA, maven.MAVEN]

    def install(self, progress: Progress) -> None:
        def build_worker(directory: Path) -> None:
            progress.step(self.name, f"fetching Kafka Connect {VERSION} by Maven")
            maven.fetch(WORKER, directory)

        def build_plugin(directory: Path) -> None:
            progress.step(self.name, f"fetching Debezium {DEBEZIUM} by Maven")
            # plugin.path names a directory of plugins, each of them a directory.
            (directory / "debezium-connector-postgres").mkdir()
            maven.fetch(PLUGIN, directory / "debezium-connector-postgres")

        cached(self.name, VERSION, maven.project(WORKER), build_worker, progress)
        cached("debezium", DEBEZIUM, maven.project(PLUGIN), build_plugin, progress)

    def prepare(self, site: Site) -> None:
        (site.directory / "log4j2.properties").write_text(kafka.LOGGING)
        (site.directory / "connect.properties").write_text(self._configuration(site))

    def _configuration(self, site: Site) -> str:
        broker = site.neighbours["kafka"]
        settings: dict[str, str | int] = {
            "bootstrap.servers": f"{broker.host}:{broker.ports['bootstrap']}",
            "group.id": "connect",
            "listeners": f"http://{site.host}:{site.port('http')}",
            "rest.advertised.host.name": site.host,
            "plugin.path": str(cache_path("debezium", DEBEZIUM)),
            "plugin.discovery": "service_load",
            "config.storage.topic": "_connect_configs",
            "offset.storage.topic": "_connect_offsets",
            "status.storage.topic": "_connect_status",
            # One broker: one replica. Few partitions are created faster.
            "config.storage.replication.factor": 1,
            "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1,
            "offset.storage.partitions": 1,
            "status.storage.partitions": 1,
            "offset.flush.interval.ms": 1000,
            # A worker that comes back takes its tasks at once; by default they wait five minutes for the
            # old one.
            "scheduled.rebalance.max.delay.ms": 0,
        }
        for side in ("key", "value"):
            settings[f"{side}.converter"] = "org.apache.kafka.connect.json.JsonConverter"
            settings[f"{side}.converter.schemas.enable"] = "false"
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def command(self, site: Site) -> Command:
        java = kafka.java_command(JVM, cache_path(self.name, VERSION), site)
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return Command([*java, main, site.directory / "connect.properties"])

    def probe(self, site: Site) -> None:
        # GET / answers as soon as there is an HTTP server, this one when the worker has joined its group.
        probe.http_get(site.host, site.port("http"), "/connectors")

    def environment(self, entry: Entry) -> dict[str, str]:
        return {"KAFKA_CONNECT_HOST": entry.host, "KAFKA_CONNECT_PORT": str(entry.ports["http"])}
