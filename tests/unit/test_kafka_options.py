"""Options of the Kafka clients: what they become, and what is refused before anything is opened."""

import pytest

from dbint.errors import ClosedError, ConfigurationError, Error, MessageTooLargeError
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer, OAuthToken
from dbint.kafka.client import client_properties

NOWHERE = "127.0.0.1:1"


def test_options_become_properties() -> None:
    properties = client_properties(
        ["a:1", "b:2"],
        {"acks": "all", "enable.idempotence": True, "transactional.id": None},
        {"username": "u", "password": "p", "tls": "/ca.pem", "stats_interval": 0.5, "config": {"acks": 1}},
    )
    assert properties["bootstrap.servers"] == "a:1,b:2"
    assert properties["enable.idempotence"] == "true"
    assert properties["acks"] == "1", "config wins"
    assert properties["security.protocol"] == "SASL_SSL"
    assert properties["sasl.mechanisms"] == "SCRAM-SHA-512"
    assert properties["ssl.ca.location"] == "/ca.pem"
    assert properties["statistics.interval.ms"] == "500"
    assert "transactional.id" not in properties


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({}, None),
        ({"tls": True}, "SSL"),
        ({"username": "u", "password": "p"}, "SASL_PLAINTEXT"),
        ({"oauth_token": lambda: OAuthToken("t", 0, "me"), "tls": True}, "SASL_SSL"),
    ],
)
def test_security_protocol_follows_from_the_options(options: dict, protocol: str | None) -> None:
    assert client_properties(NOWHERE, {}, options).get("security.protocol") == protocol


def test_without_an_address_the_service_is_discovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "x:1,y:2")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hidden")
    properties = client_properties(None, {}, {})
    assert properties["bootstrap.servers"] == "x:1,y:2"
    assert properties["sasl.username"] == "me"
    assert KafkaProducer.from_env().bootstrap == "x:1,y:2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"acks": 1}, "idempotence=False"),
        ({"transactional_id": "t", "idempotence": False}, "idempotent"),
        ({"when_full": "wait"}, "'block', 'reject' or 'drop_newest'"),
        ({"linger": -1}, "linger"),
        ({"linger": "soon"}, "linger"),
        ({"delivery_timeout": True}, "delivery_timeout"),
        ({"block_timeout": float("nan")}, "block_timeout"),
        ({"queue_messages": -5}, "queue.buffering.max.messages"),
        ({"compression": "rar"}, "compression.type"),
        ({"username": "u"}, "password"),
        ({"username": "u", "password": "p", "oauth_token": lambda: None}, "exclude"),
        ({"bootstrap_servers": "x"}, "'bootstrap_servers'"),
        ({"config": {"linger.mss": 5}}, 'did you mean "linger.ms"'),
        ({"config": {"linger.ms": object()}}, "linger.ms"),
    ],
)
def test_a_wrong_option_is_named(options: dict, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        KafkaProducer(NOWHERE, **options)


def test_no_secret_is_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        KafkaProducer(NOWHERE, config={"ssl.key.pem": "s3cret", "security.protocol": "ssl"}).check_topic("t")
    assert "s3cret" not in str(caught.value)
    producer = KafkaProducer(NOWHERE, username="u", password="s3cret")
    assert "s3cret" not in repr(producer)
    assert "s3cret" not in repr(OAuthToken("s3cret", 0, "me"))


def test_what_only_librdkafka_can_judge_is_judged_on_first_use() -> None:
    producer = KafkaProducer(NOWHERE, transactional_id="t", delivery_timeout=3600)
    with pytest.raises(ConfigurationError, match=r"message\.timeout\.ms"):
        producer.init_transactions(1)


def test_the_core_types_must_be_initialised() -> None:
    class Careless(KafkaProducer):
        def __init__(self) -> None:
            pass

    producer = Careless()
    with pytest.raises(RuntimeError, match="__init__"):
        producer.enqueue("t", b"")
    with pytest.raises(RuntimeError, match="__init__"):
        producer.logs()


def test_a_closed_producer_says_so() -> None:
    producer = KafkaProducer(NOWHERE)
    assert producer.close() == 0
    assert producer.close() == 0
    assert producer.closed
    with pytest.raises(ClosedError):
        producer.enqueue("t", b"")
    with pytest.raises(ClosedError):
        producer.flush(1)
    assert "closed" in repr(producer)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((b"t", b""), TypeError, "topic must be a str"),
        (("t", 5), TypeError, "value must be bytes, str, a buffer or None, not int"),
        (("t", None, 5), TypeError, "key must be"),
        (("a\0b",), ConfigurationError, "NUL"),
        (("",), Error, "empty"),
        ((), TypeError, "'topic'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple, kind: type[Exception], words: str) -> None:
    producer = KafkaProducer(NOWHERE)
    with pytest.raises(kind, match=words):
        producer.enqueue(*arguments)
    assert producer.metrics()["accepted"] == 0
    producer.close(0)


@pytest.mark.parametrize(
    ("named", "kind", "words"),
    [
        ({"headers": 5}, TypeError, "headers"),
        ({"headers": [("a",)]}, TypeError, "headers"),
        ({"headers": b"ab"}, TypeError, "headers"),
        ({"headers": {5: b""}}, TypeError, "header's name"),
        ({"headers": {"a": 5}}, TypeError, "header's value"),
        ({"partition": -1}, ConfigurationError, "partition"),
        ({"partition": "0"}, TypeError, "partition"),
        ({"timestamp": 1.5}, TypeError, "timestamp"),
        ({"colour": 1}, TypeError, "'colour'"),
    ],
)
def test_a_wrong_keyword_is_named(named: dict, kind: type[Exception], words: str) -> None:
    producer = KafkaProducer(NOWHERE)
    with pytest.raises(kind, match=words):
        producer.enqueue("t", b"", **named)
    producer.close(0)


def test_a_message_that_is_too_large_is_refused() -> None:
    producer = KafkaProducer(NOWHERE, config={"message.max.bytes": 1000})
    with pytest.raises(MessageTooLargeError, match=r"message\.max\.bytes"):
        producer.enqueue("t", bytes(2000))
    assert producer.metrics()["refused_by"] == {"MSG_SIZE_TOO_LARGE": 1}
    producer.close(0)


def test_consumer_options() -> None:
    with pytest.raises(ConfigurationError, match="group"):
        KafkaConsumer(NOWHERE, topics=["t"])
    with pytest.raises(ConfigurationError, match=r"auto\.offset\.reset"):
        KafkaConsumer(NOWHERE, offset_reset="newest")  # type: ignore[arg-type]
    with KafkaConsumer(NOWHERE) as consumer:
        with pytest.raises(ConfigurationError, match="group"):
            consumer.commit([("t", 0, 5)])
        with pytest.raises(ConfigurationError, match="earliest"):
            consumer.assign([("t", 0, "first")])
        with pytest.raises(TypeError, match="not one str"):
            consumer.subscribe("t")
        with pytest.raises(ConfigurationError, match="max_messages"):
            consumer.poll_batch(0)
    with pytest.raises(ClosedError):
        consumer.poll_batch(1)


def test_admin_options() -> None:
    with KafkaAdmin(NOWHERE) as admin, pytest.raises(ConfigurationError, match="partitions"):
        admin.create_topic("t", 0)
