"""Messages for Kafka in a journal: what the producer writes, the tool reads, by the text of the format."""

import base64
import json
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbint.errors import ConfigurationError
from dbint.journal.cli import main
from dbint.journal.damage import DamageError
from dbint.journal.directory import Journal
from dbint.journal.messages import read_message
from dbint.journal.rows import Row, Selection, rows
from dbint.kafka import KafkaProducer, ProducerJournal
from tests.unit import journal_files as files

NOWHERE = "127.0.0.1:1"

topics = st.text("abcdefghijklmnopqrstuvwxyz._-", min_size=1, max_size=40).filter(
    lambda t: t not in (".", "..")
)
payloads = st.none() | st.binary(max_size=300)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
messages = st.tuples(
    topics,
    payloads,
    payloads,
    st.lists(st.tuples(names, payloads), max_size=4),
    st.none() | st.integers(0, 2**31 - 1),
    st.none() | st.integers(1, 2**48),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(messages, min_size=1, max_size=20))
def test_the_tool_reads_what_the_producer_writes(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Any]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    with KafkaProducer(NOWHERE, journal=directory) as producer:
        for topic, value, key, headers, partition, timestamp in sent:
            producer.enqueue(topic, value, key, headers=headers, partition=partition, timestamp=timestamp)
        assert producer.close(0) == len(sent)
    found = [row.message() for row in rows(Journal(directory), Selection()) if isinstance(row, Row)]
    assert len(found) == len(sent)
    identities = set()
    for message, (topic, value, key, headers, partition, timestamp) in zip(found, sent, strict=True):
        assert (message.topic, message.value, message.key) == (topic, value, key)
        assert (list(message.headers), message.partition) == (headers, partition)
        assert message.timestamp == timestamp or (timestamp is None and message.timestamp > 1_700_000_000_000)
        brought = any(name == "dbint.id" for name, _ in headers)
        assert (message.identity is None) == brought
        identities.add(message.identity or uuid.uuid4())
    assert len(identities) == len(sent)


# The same bytes as in csrc/tests/test_producer_journal.c.
GOLDEN = (
    struct.pack("<BBHiq", 1, 3, 1, -1, 1_700_000_000_000)
    + bytes(range(1, 17))
    + struct.pack("<IIII", 1, 2, 2, 0)
    + b"tkvw"
    + struct.pack("<II", 1, 1)
    + b"hx"
    + struct.pack("<II", 1, 0xFFFFFFFF)
    + b"n"
)


def test_a_message_by_the_text_of_the_format() -> None:
    message = read_message(GOLDEN)
    assert (message.topic, message.key, message.value) == ("t", b"k", b"vw")
    assert (message.partition, message.timestamp) == (None, 1_700_000_000_000)
    assert message.identity == uuid.UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
    assert message.headers == (("h", b"x"), ("n", None))
    assert message.all_headers()[-1] == ("dbint.id", b"01020304-0506-0708-090a-0b0c0d0e0f10")


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_half_a_message_is_damage(length: int) -> None:
    with pytest.raises(DamageError):
        read_message(GOLDEN[:length])


@given(st.binary(max_size=200), st.integers(0, len(GOLDEN) - 1), st.integers(0, 255))
def test_whatever_the_bytes_are_they_are_read_or_refused(noise: bytes, place: int, byte: int) -> None:
    for data in (noise, GOLDEN[:place] + bytes([byte]) + GOLDEN[place + 1 :], GOLDEN + noise):
        try:
            read_message(data)
        except DamageError:
            continue


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(list(arguments))
    return code, capsys.readouterr().out


def test_ls_check_dump_and_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "journal"
    with KafkaProducer(NOWHERE, journal=directory) as producer:
        producer.enqueue("orders", b"\xff\x00", "kä", headers={"h": "x"})
        producer.enqueue("orders", None, b"k2")
        producer.close(0)
    where = ("--directory", str(directory))
    code, out = run(capsys, "ls", *where)
    assert code == 0
    assert "2 messages wait" in out
    assert "(Kafka)" in out
    code, out = run(capsys, "ls", *where, "--format", "json")
    (chain,) = json.loads(out)["journals"][0]["slots"][0]["chains"]
    assert (chain["holds"], chain["stream"], chain["table"], chain["waiting"]) == (
        "messages",
        "kafka",
        None,
        2,
    )
    assert run(capsys, "check", *where) == (0, "sound\n")
    code, out = run(capsys, "dump", *where, "--format", "json")
    assert code == 0
    first, second = (json.loads(line)["row"] for line in out.splitlines())
    assert (first["topic"], first["key"], first["headers"]) == ("orders", "kä", [["h", "x"]])
    assert first["value"] == {"base64": base64.b64encode(b"\xff\x00").decode()}
    assert second["value"] is None
    code, _ = run(capsys, "export", *where, "--as", "json", "--output", str(tmp_path / "out"))
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["a8Ok", "azI="]
    assert lines[0]["id"] == first["id"]
    code, _ = run(capsys, "export", *where, "--output", str(tmp_path / "csv"))
    assert code == 2  # messages are no rows


def test_dead_messages_are_shown_by_their_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = tmp_path / "slot-0000"
    files.segment(slot, [files.record(1, GOLDEN, kind=2)], meta=b"", name=b"kafka", landed=1)
    chain = files.CHAIN.hex
    letter = {
        "v": 1,
        "chain": chain,
        "sequence": 1,
        "stream": "kafka",
        "topic": "t",
        "error": "MSG_SIZE_TOO_LARGE",
        "message": "Broker: Message size too large",
        "at": "2026-01-31T12:00:00.000001Z",
        "partition": -1,
        "timestamp": 1,
        "id": None,
        "key": None,
        "value": "dnc=",
        "headers": [["h", "eA=="], ["n", None]],
    }
    withdrawn = {"v": 1, "chain": chain, "sequence": 2, "withdrawn": True, "at": "2026-01-31T12:00:00Z"}
    (tmp_path / "dead").mkdir()
    lines = [letter, letter | {"sequence": 2}, withdrawn, letter | {"sequence": 3, "value": "not base64"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "dead" / f"{chain}.jsonl").write_text(text + '{"v":1,"torn')
    code, out = run(capsys, "dump", "--directory", str(tmp_path), "--dead")
    assert code == 0
    assert out.count("\n") == 1
    assert "refused by MSG_SIZE_TOO_LARGE: Broker: Message size too large" in out
    assert '"value": "vw"' in out
    code, out = run(capsys, "resubmit", "--directory", str(tmp_path), "--dry-run", "--bootstrap", NOWHERE)
    assert (code, out) == (0, "00112233 1 kafka: would be resubmitted\n1 would be resubmitted\n")


# The producer's options


def test_a_journal_by_its_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBINT_JOURNAL_DIR", str(tmp_path))
    assert ProducerJournal.of(False) is None
    assert (by_default := ProducerJournal.of(True)) is not None
    assert by_default.path == tmp_path / "@kafka"
    assert ProducerJournal.of(tmp_path) == ProducerJournal(tmp_path)
    with KafkaProducer(NOWHERE, journal=True) as producer:
        assert producer.journal_status() is not None
        producer.start()
        status = producer.journal_status()
        assert status is not None
        assert (status["directory"], status["state"]) == (str(tmp_path / "@kafka"), "waiting")
    with KafkaProducer(NOWHERE) as plain:
        assert plain.journal_status() is None
        assert "journaled" not in plain.metrics()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"transactional_id": "x"}, "transactional.id"),
        ({"idempotence": False}, "enable.idempotence"),
        ({"delivery_timeout": 5}, "delivery_timeout"),
        ({"topic_timeout": 5}, "topic"),
        ({"config": {"message.timeout.ms": 5}}, "message.timeout.ms"),
        ({"journal": ProducerJournal("/nowhere", lanes=0)}, "lanes"),
        ({"journal": ProducerJournal("/nowhere", durability="memory")}, "durability"),  # type: ignore[arg-type]
    ],
)
def test_what_a_journal_excludes(tmp_path: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        KafkaProducer(NOWHERE, **{"journal": tmp_path, **options})
    with pytest.raises(ConfigurationError, match="drop the oldest"):
        KafkaProducer(NOWHERE, when_full="drop_oldest")
