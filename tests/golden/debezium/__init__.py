"""What Debezium's connector for PostgreSQL 3.7.0.Final makes of ``workload``, recorded by ``record``.

``messages.jsonl``: one Kafka message a line, in the order of the log, ``{"topic", "partition", "key",
"value", "headers"}``: key and value byte for byte as they came (so that numbers keep their form).
``stream.jsonl``: the same changes as pgoutput (protocol 1) sent them to another slot, ``{"lsn", "xid",
"data": hexadecimal}``.
``catalog.json``: what the catalog said of the tables then, and the positions of the log around each step.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sample:
    """One message; ``key`` and ``value`` are JSON text, as it came."""

    topic: str
    partition: int
    key: str | None
    value: str | None
    headers: dict[str, str]

    @property
    def envelope(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.value or "null")
        return found


def line(sample: Sample) -> str:
    """A message as a line of ``messages.jsonl``."""
    head = json.dumps({"topic": sample.topic, "partition": sample.partition}, ensure_ascii=False)
    headers = json.dumps(sample.headers, ensure_ascii=False)
    key, value = sample.key or "null", sample.value or "null"
    return f'{head[:-1]}, "key": {key}, "value": {value}, "headers": {headers}}}'


def samples(path: Path = DIRECTORY / "messages.jsonl") -> list[Sample]:
    """The recorded messages, in the order of the log."""
    found = []
    decoder = json.JSONDecoder()
    for text in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        document = json.loads(text)
        start = text.index(', "key": ') + len(', "key": ')
        _, key_end = decoder.raw_decode(text, start)
        value_start = key_end + len(', "value": ')
        _, value_end = decoder.raw_decode(text, value_start)
        key, value = text[start:key_end], text[value_start:value_end]
        found.append(
            Sample(
                document["topic"],
                document["partition"],
                None if key == "null" else key,
                None if value == "null" else value,
                document["headers"],
            )
        )
    return found
