"""The Kafka clients and a broker with TLS and SASL: trust, refusal, changed credentials."""

import asyncio
import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from dbint._core import library_versions
from dbint.errors import AuthenticationError, UnreachableError
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, OAuthToken
from stack.disposable import disposable_stack
from stack.servers.base import Site
from stack.servers.kafka import Kafka

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"

USERS = {"alice": "right", "bob": "secret"}
SCRAM_WORKS = tuple(map(int, library_versions()["librdkafka"].split(".")[:3])) >= (2, 6, 1)
"""Kafka 4 refuses SCRAM as older librdkafkas do it."""
MECHANISMS = ("PLAIN", "SCRAM-SHA-512") if SCRAM_WORKS else ("PLAIN",)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = directory / "ca.key"
        self.certificate = directory / "ca.pem"
        directory.mkdir()
        self._openssl("ca", "-out", self.certificate, "-keyout", self._key)

    def keystore(self, name: str) -> Path:
        """A PEM file with a key and a certificate for a server that is called ``name`` ("DNS:host")."""
        key, certificate = self._directory / "server.key", self._directory / "server.pem"
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-addext", f"subjectAltName={name}")
        self._openssl("server", "-out", certificate, "-keyout", key, *signed)
        keystore = self._directory / f"{name.replace(':', '-')}.pem"
        keystore.write_text(key.read_text() + certificate.read_text())
        return keystore

    @staticmethod
    def _openssl(subject: str, *options: str | Path) -> None:
        command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "1"]
        subprocess.run([*command, "-subj", f"/CN={subject}", *options], check=True, capture_output=True)


@dataclass(frozen=True)
class SecureBroker:
    """One broker, by its listeners. On all but ``plain``, USERS are let in."""

    plain: str  # no TLS, no credentials
    sasl: str  # no TLS; PLAIN and OAUTHBEARER
    tls: str  # PLAIN and SCRAM-SHA-512; sessions end after 2 s, the client has to authenticate anew
    misnamed: str  # as tls, with the certificate of another host
    ca: Path


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    authority = Authority(tmp_path_factory.mktemp("tls") / "ca")
    ports: dict[str, int] = {}
    probes = {name: socket.create_server(("127.0.0.1", 0)) for name in ("SASL", "TLS", "MISNAMED")}
    for name, probe in probes.items():
        ports[name] = probe.getsockname()[1]
        probe.close()
    users = " ".join(f'user_{user}="{password}"' for user, password in USERS.items())
    security: dict[str, str | int] = {
        # Everything is allowed but what an ACL takes away.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER,SCRAM-SHA-512",
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
        "listener.name.sasl.plain.sasl.jaas.config": f"{PLAIN} required {users};",
        "listener.name.sasl.oauthbearer.sasl.jaas.config": (
            f'{OAUTH} required unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    for name, host in {"tls": "DNS:localhost,IP:127.0.0.1", "misnamed": "DNS:elsewhere.example"}.items():
        security |= {
            f"listener.name.{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"listener.name.{name}.plain.sasl.jaas.config": f"{PLAIN} required {users};",
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
            f"listener.name.{name}.plain.connections.max.reauth.ms": 1000,
            f"listener.name.{name}.scram-sha-512.connections.max.reauth.ms": 1000,
            f"listener.name.{name}.ssl.keystore.type": "PEM",
            f"listener.name.{name}.ssl.keystore.location": str(authority.keystore(host)),
        }
    protocols = {"SASL": "SASL_PLAINTEXT", "TLS": "SASL_SSL", "MISNAMED": "SASL_SSL"}
    plain_settings = Kafka.settings

    def settings(self: Kafka, site: Site, data: Path) -> dict[str, str | int]:
        made = plain_settings(self, site, data)
        added = "".join(f",{name}://{site.host}:{port}" for name, port in ports.items())
        kinds = "".join(f",{name}:{protocol}" for name, protocol in protocols.items())
        for name, more in (
            ("listeners", added),
            ("advertised.listeners", added),
            ("listener.security.protocol.map", kinds),
        ):
            made[name] = f"{made[name]}{more}"
        return made | security

    with pytest.MonkeyPatch.context() as patch, disposable_stack() as stack:
        patch.setattr(Kafka, "settings", settings)
        scram = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in USERS.items()]
        patch.setattr(Kafka, "format_options", [part for user in scram for part in ("--add-scram", user)])
        stack.up(["kafka"])
        endpoint = stack.endpoint("kafka")
        plain = f"{endpoint.host}:{endpoint.port}"
        where = {name: f"{endpoint.host}:{port}" for name, port in ports.items()}
        yield SecureBroker(plain, where["SASL"], where["TLS"], where["MISNAMED"], authority.certificate)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_authority_and_password(broker: SecureBroker, mechanism: str) -> None:
    topic = f"tls-{mechanism.lower()}"
    with KafkaAdmin(
        broker.tls, username="alice", password="right", mechanism=mechanism, tls=broker.ca
    ) as admin:
        admin.create_topic(topic, 1)
    with KafkaProducer(
        broker.tls, username="bob", password="secret", mechanism=mechanism, tls=broker.ca
    ) as producer:
        assert producer.send_sync(topic, b"over TLS", timeout=15).offset == 0
    with KafkaConsumer(
        broker.tls, username="bob", password="secret", mechanism=mechanism, tls=broker.ca
    ) as consumer:
        consumer.assign([(topic, 0, "earliest")])
        batch = consumer.poll_batch(1, timeout=15)
        assert batch is not None
        assert batch[0].value == b"over TLS"


def test_another_authority_is_not_trusted(broker: SecureBroker, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with (
        KafkaAdmin(broker.tls, username="alice", password="right", tls=other.certificate) as admin,
        pytest.raises(UnreachableError, match="certificate"),
    ):
        admin.describe_cluster(10)


def test_the_certificate_of_another_host_is_not_trusted(broker: SecureBroker) -> None:
    with (
        KafkaAdmin(broker.misnamed, username="alice", password="right", tls=broker.ca) as admin,
        pytest.raises(UnreachableError, match="certificate"),
    ):
        admin.describe_cluster(10)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_said_with_the_user(broker: SecureBroker, mechanism: str) -> None:
    with KafkaAdmin(
        broker.tls,
        username="alice",
        password="wr0ng",
        mechanism=mechanism,
        tls=broker.ca,
        config={"reconnect.backoff.max.ms": 500},
    ) as admin:
        with pytest.raises(AuthenticationError, match='"alice"') as caught:
            admin.describe_cluster(10)
        assert "wr0ng" not in str(caught.value)
        with pytest.raises(AuthenticationError, match='"alice"'):
            admin.create_topic("never", 1, timeout=10)
        admin.set_credentials("bob", "wr0ng too")
        with pytest.raises(AuthenticationError, match='"bob"'):
            admin.describe_cluster(3)
        admin.set_credentials("alice", "right")
        assert admin.describe_cluster(15).brokers


def test_scram_that_cannot_work_is_not_blamed_on_the_password_alone(broker: SecureBroker) -> None:
    with KafkaAdmin(broker.tls, username="alice", password="right", tls=broker.ca) as admin:
        if SCRAM_WORKS:
            assert admin.describe_cluster(10).brokers
        else:
            with pytest.raises(AuthenticationError, match=r"SCRAM needs 2\.6\.1"):
                admin.describe_cluster(10)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_credentials_change_under_a_running_producer(broker: SecureBroker, mechanism: str) -> None:
    """Sessions end after 1 s, so within 2 s of sending, the new credentials have been used."""
    topic = f"rotation-{mechanism.lower()}"
    with KafkaAdmin(broker.plain) as admin:
        admin.create_topic(topic, 1)
    sent = 0
    with KafkaProducer(
        broker.tls,
        username="alice",
        password="right",
        mechanism=mechanism,
        tls=broker.ca,
        config={"reconnect.backoff.max.ms": 200},
    ) as producer:

        def send(seconds: float) -> None:
            nonlocal sent
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                producer.enqueue(topic, b"%d" % sent)
                sent += 1
                time.sleep(0.01)

        send(1)
        assert producer.flush(15) == 0
        producer.set_credentials("bob", "secret")
        send(2)
        assert producer.flush(15) == 0, "bob is let in"
        producer.set_credentials("bob", "wr0ng")
        send(2)
        assert producer.flush(0.5) > 0, "bob's old session has ended"
        producer.set_credentials("alice", "right")
        assert producer.flush(15) == 0
        metrics = producer.metrics()
        assert (metrics["accepted"], metrics["delivered"], metrics["failed"]) == (sent, sent, 0)


def test_messages_wait_for_credentials_that_are_put_right(broker: SecureBroker) -> None:
    with KafkaAdmin(broker.plain) as admin:
        admin.create_topic("waits", 1)
    with KafkaProducer(broker.sasl, username="alice", password="wr0ng", mechanism="PLAIN") as producer:
        producer.enqueue("waits", b"waits")
        assert producer.flush(1) == 1
        producer.set_credentials("alice", "right")
        assert producer.flush(30) == 0
        assert producer.metrics()["delivered"] == 1


def test_tokens_are_asked_for(broker: SecureBroker) -> None:
    with KafkaAdmin(broker.plain) as admin:
        admin.create_topic("tokens", 1)
    calls = 0

    def token() -> OAuthToken:
        nonlocal calls
        calls += 1
        now = int(time.time())
        claims = {"sub": "alice", "iat": now, "exp": now + 3600}
        parts = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none"}, claims)
        )
        return OAuthToken(".".join(parts) + ".", now + 3600, "alice")

    with KafkaProducer(broker.sasl, oauth_token=token) as producer:

        async def main() -> None:
            assert (await producer.send("tokens", b"token")).offset == 0

        asyncio.run(asyncio.wait_for(main(), 30))
    assert calls == 1


class Permission:
    """What bob may do with a topic; he may do all with others."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        whom = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:bob", "*")
        self._no_writing = (*whom, AclOperation.WRITE, AclPermissionType.DENY)
        self._create(*whom, AclOperation.ALL, AclPermissionType.ALLOW)

    def _create(self, *acl: Any) -> None:
        for future in self._admin.create_acls([AclBinding(*acl)]).values():
            future.result(10)

    def take(self) -> None:
        self._create(*self._no_writing)

    def give(self) -> None:
        for future in self._admin.delete_acls([AclBindingFilter(*self._no_writing)]).values():
            future.result(10)


def test_a_permission_that_goes_and_comes_costs_neither_messages_nor_order(
    broker: SecureBroker, tmp_path: Path
) -> None:
    """A consumer sees each key's messages in order, whatever comes a second time."""
    keys = 20
    with KafkaAdmin(broker.plain) as admin:
        admin.create_topic("permission", 2)
    permission, stop, sent = Permission(broker.plain, "permission"), threading.Event(), 0
    with KafkaProducer(
        broker.sasl, username="bob", password="secret", mechanism="PLAIN", journal=tmp_path
    ) as producer:

        def send() -> None:
            nonlocal sent
            while not stop.is_set():
                producer.enqueue("permission", b"%d" % sent, b"%d" % (sent % keys))
                sent += 1
                if sent % 20 == 0:
                    time.sleep(0.001)

        def wait_for(state: str, delivered: int = 0) -> None:
            deadline = time.monotonic() + 30
            while True:
                status, metrics = producer.journal_status() or {}, producer.metrics()
                if status["state"] == state and metrics["delivered"] >= delivered:
                    return
                assert time.monotonic() < deadline, f"not {state}: {status} {metrics}"
                time.sleep(0.005)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(2):
                wait_for("running", producer.metrics()["delivered"] + 200)
                permission.take()
                wait_for("held")
                permission.give()
        finally:
            stop.set()
            thread.join()
        assert producer.flush(60) == 0
        metrics = producer.metrics()
        assert (metrics["delivered"], metrics["failed"]) == (sent, 0)
    newest, seen = dict[bytes, int](), set[int]()
    with KafkaConsumer(broker.plain) as consumer:
        consumer.assign([("permission", partition, "earliest") for partition in range(2)])
        deadline = time.monotonic() + 30
        while len(seen) < sent and time.monotonic() < deadline:
            for message in consumer.poll_batch(10_000, timeout=1) or ():
                number, key = int(message.value or b""), message.key or b""
                if number not in seen:
                    assert number > newest.get(key, -1), f"{number} came behind {newest[key]}"
                    newest[key] = number
                    seen.add(number)
    assert len(seen) == sent
