"""Apache Kafka: one broker that is its own controller (KRaft), from its Maven artifacts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from stack import maven, probe
from stack.cache import MANIFEST, cache_path, cached
from stack.errors import StackError
from stack.packages import Requirement
from stack.process import run
from stack.progress import Progress
from stack.servers.base import Command, Server, Site, clean_environment
from stack.state import Entry

VERSION = "4.3.1"
LOG4J = (
    # Kafka speaks slf4j 1.7, whose binding this is (log4j-slf4j2-impl would be slf4j 2's).
    maven.Artifact("org.apache.logging.log4j:log4j-slf4j-impl:2.26.1"),
    maven.Artifact("org.apache.logging.log4j:log4j-core:2.26.1"),
)
ARTIFACTS = (
    # kafka-tools-api serves the console tools only.
    maven.Artifact(f"org.apache.kafka:kafka_2.13:{VERSION}", exclude=("org.apache.kafka:kafka-tools-api",)),
    *LOG4J,
)
# A small heap, a collector without threads of its own and the quick compiler only: a third of the memory
# and half of the CPU to start with. Throughput is not what a development broker is for.
JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-Xss512k",
    "-XX:MaxDirectMemorySize=64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)


class Kafka(Server):
    name = "kafka"
    summary = "Apache Kafka"
    roles = ("bootstrap", "controller")
    stop_timeout = 60.0  # the first one writes the class-data archive
    format_options: Sequence[str] = ()  # of StorageTool, such as the first SCRAM users

    def version(self) -> str:
        return VERSION

    def requirements(self) -> list[Requirement]:
        return [maven.JAVA, maven.MAVEN]

    def install(self, progress: Progress) -> None:
        def build(directory: Path) -> None:
            progress.step(self.name, f"fetching {self.summary} {VERSION} by Maven")
            maven.fetch(ARTIFACTS, directory)

        cached(self.name, VERSION, maven.project(ARTIFACTS), build, progress)

    def prepare(self, site: Site) -> None:
        directory = site.directory
        (directory / "log4j2.properties").write_text(LOGGING)
        (directory / "server.properties").write_text(self._configuration(site, directory / "data"))
        if (directory / "data").exists():
            return
        # Formatted under another name, so that a format that was cut off is done again.
        fresh = directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        if self.format_options:
            self._format(site, fresh)
        else:
            self._copy_format(site, fresh)
        fresh.rename(directory / "data")

    def _copy_format(self, site: Site, data: Path) -> None:
        """Makes what the tool makes of an empty directory, which takes a JVM, from what it has made once.

        Of its two files one holds the versions of the features, the other the names of cluster and directory,
        which every broker has of its own.
        """
        cached(
            f"{self.name}-format",
            VERSION,
            f"StorageTool {VERSION}",
            lambda empty: self._format(site, empty),
            Progress(),
        )
        shutil.copytree(
            cache_path(f"{self.name}-format", VERSION), data, ignore=shutil.ignore_patterns(MANIFEST)
        )
        properties = data / "meta.properties"
        text, found = re.subn(
            r"(?m)^(cluster|directory)\.id=.*$",
            lambda line: f"{line[1]}.id={_new_id()}",
            properties.read_text(),
        )
        if found != 2:
            raise StackError(f"Kafka's {properties} is not as expected:\n{text}")
        properties.write_text(text)

    def _format(self, site: Site, data: Path) -> None:
        configuration = site.directory / "format.properties"
        configuration.write_text(self._configuration(site, data))
        tool = [*self._java(site, self._use_archive()), "kafka.tools.StorageTool", "format"]
        tool += ["--cluster-id", _new_id(), "--config", configuration, *self.format_options]
        outcome = run(tool, cwd=site.directory, environment=clean_environment())
        if outcome.status != 0:
            raise StackError(f"formatting Kafka's data directory failed:\n{outcome.text[-1500:].strip()}")
        configuration.unlink()

    def _configuration(self, site: Site, data: Path) -> str:
        return "".join(f"{name}={value}\n" for name, value in self.settings(site, data).items())

    def settings(self, site: Site, data: Path) -> dict[str, str | int]:
        """The broker's properties. Tests that need another broker (other listeners, say) override it."""
        listener, controller = (f"{site.host}:{site.port(role)}" for role in self.roles)
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{listener},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{listener}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(data),
            "auto.create.topics.enable": "true",
            "num.partitions": 1,
            # One broker: one replica. And one partition for the internal topics, whose 50 are slow to create.
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "background.threads": 2,
            "num.recovery.threads.per.data.dir": 1,
            "group.initial.rebalance.delay.ms": 0,
            "log.segment.bytes": 64 << 20,
            # On the heap, and 128 MiB by default.
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            # After a kill -9 the controller refuses the same broker until its old session ends: 9 s by
            # default. Much less than 3 s would fence a live broker on a busy machine.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
        }

    def command(self, site: Site) -> Command:
        flags = self._use_archive() or (f"-XX:ArchiveClassesAtExit={_own_archive(site)}",)
        return Command([*self._java(site, flags), "kafka.Kafka", site.directory / "server.properties"])

    def recover(self, site: Site) -> None:
        """Takes over the archive that a clean stop has left, if the JVM accepts it."""
        own, archive = _own_archive(site), self._archive()
        if not own.exists() or maven.java() is None:
            return
        flags = (f"-XX:SharedArchiveFile={own}", "-Xshare:on")
        moved = archive.with_suffix(f".{os.getpid()}")
        # A JVM that was killed while writing leaves a part, on which another one fails.
        if run([*self._java(site, flags), "-version"], cwd=site.directory).status == 0:
            try:
                for older in archive.parent.glob(f"{self.name}-{VERSION}-*.jsa"):
                    older.unlink()
                shutil.move(own, moved)
                moved.replace(archive)
            except OSError:  # starts take longer without an archive, that is all
                moved.unlink(missing_ok=True)
        own.unlink(missing_ok=True)

    def _archive(self) -> Path:
        """The class-data archive of these jars and this JVM: half the CPU of a start is loading classes.

        There is none at first. A broker that is stopped cleanly while there is none writes one.
        """
        jars, java = cache_path(self.name, VERSION), maven.java()
        marks = [path.stat().st_mtime_ns for path in (jars / MANIFEST, java) if path and path.exists()]
        key = hashlib.sha256(f"{java}{marks}".encode()).hexdigest()[:12]
        return jars.with_name(f"{self.name}-{VERSION}-{key}.jsa")

    def _use_archive(self) -> tuple[str, ...]:
        archive = self._archive()
        return (f"-XX:SharedArchiveFile={archive}",) if archive.exists() else ()

    def probe(self, site: Site) -> None:
        probe.kafka(site.host, site.port("bootstrap"))

    def environment(self, entry: Entry) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": f"{entry.host}:{entry.ports['bootstrap']}"}

    def _java(self, site: Site, flags: tuple[str, ...]) -> list[str | Path]:
        return java_command((*JVM, *flags), cache_path(self.name, VERSION), site)


def java_command(jvm: tuple[str, ...], jars: Path, site: Site) -> list[str | Path]:
    """The command line up to the main class; log4j2.properties lies in the server's directory."""
    java = maven.java()
    if java is None:
        raise StackError(f"not found: {maven.JAVA.what}")
    logging = f"-Dlog4j2.configurationFile=file:{site.directory / 'log4j2.properties'}"
    return [java, *jvm, logging, "-cp", f"{jars}/*"]


LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p [%t] %m (%c{1})%n
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
"""


def _own_archive(site: Site) -> Path:
    return site.directory / "classes.jsa"


def _new_id() -> str:
    """22 characters of URL-safe base64; the tool would take a first dash for an option."""
    while True:
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not name.startswith("-"):
            return name
