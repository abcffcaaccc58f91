"""Dead letters: the rows and messages that a server refused (csrc/core/dead.h)."""

import json
import os
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from dbint.errors import JournalError
from dbint.journal.damage import DamageError
from dbint.journal.messages import Message
from dbint.journal.schema import TYPES, Column, Schema
from dbint.journal.values import Value, decode

_FILE: Final = re.compile(r"([0-9a-f]{32})\.jsonl")
_TYPES: Final = {
    "character varying": "text",
    "character": "text",
    '"char"': "text",
    "name": "text",
    "citext": "text",
    "bpchar": "text",
}
_NAMED: Final = frozenset(TYPES) - {"enum"}


@dataclass(frozen=True, slots=True)
class Letter:
    """One refused row. ``columns`` are pairs of name and SQL type; ``row`` is a tuple of COPY BINARY."""

    chain: UUID
    sequence: int
    stream: str
    table: tuple[str, str]
    sqlstate: str
    message: str
    at: datetime
    columns: tuple[tuple[str, str], ...]
    row: bytes = field(repr=False)

    def values(self) -> dict[str, Value]:
        """The fields by name. Raises DamageError."""
        return decode(self.schema, self.row)

    @property
    def schema(self) -> Schema:
        """Enough of a schema to read the row."""
        return Schema(*self.table, tuple(_column(name, sql_type) for name, sql_type in self.columns))


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """One refused message. ``error`` is Kafka's name of the reason, ``message`` its text."""

    chain: UUID
    sequence: int
    stream: str
    error: str
    message: str
    at: datetime
    content: Message

    def values(self) -> dict[str, Any]:
        """What the message consists of."""
        return self.content.shown()


def _column(name: str, sql_type: str) -> Column:
    array = sql_type.endswith("[]")
    plain = re.sub(r"\(.*?\)", "", sql_type.removesuffix("[]")).strip()
    kind = _TYPES.get(plain.rpartition(".")[2], plain)
    # What has a name of its own is an enum: its value is text.
    kind = kind if kind in _NAMED else "enum"
    return Column(name, kind, sql_type, 0, 0, 0, -1, array, nullable=True, fill="none")


def letters(directory: Path) -> Iterator[Letter | DeadMessage]:
    """The letters of all chains that were not withdrawn, oldest sequence first within a chain.

    Whether the row is still in the journal, too, is not known here: a letter counts once its chain has landed
    up to it. Lines that are not whole are passed over. Raises JournalError when a file cannot be read.
    """
    for path in sorted(directory.glob("*.jsonl")) if directory.is_dir() else []:
        named = _FILE.fullmatch(path.name)
        if not named:
            continue
        found: dict[int, Letter | DeadMessage | None] = {}
        try:
            with path.open("rb") as file:
                for line in file:
                    with suppress(DamageError):
                        sequence, letter = _read_line(line, UUID(named[1]))
                        found[sequence] = letter
        except OSError as error:
            raise JournalError(f"cannot read {path}: {error.strerror}") from error
        yield from (letter for _, letter in sorted(found.items()) if letter is not None)


def _read_line(line: bytes, chain: UUID) -> tuple[int, Letter | DeadMessage | None]:
    """Sequence and letter, None for a withdrawal. Raises DamageError for a line that is not whole."""
    try:
        content = json.loads(line)
        if content["v"] != 1 or content["chain"] != chain.hex or type(content["sequence"]) is not int:
            raise DamageError("not a line of this file")
        sequence: int = content["sequence"]
        if content.get("withdrawn") is True:
            return sequence, None
        if "topic" in content:
            return sequence, _read_message(content, chain)
        nspname, relname = map(str, content["table"])
        return sequence, Letter(
            chain,
            sequence,
            str(content["stream"]),
            (nspname, relname),
            str(content["sqlstate"]),
            str(content["message"]),
            _time(content["at"]),
            tuple((str(name), str(sql_type)) for name, sql_type in content["columns"]),
            b64decode(content["tuple"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamageError(f"not a whole line ({type(error).__name__})") from None


def _read_message(content: dict[str, Any], chain: UUID) -> DeadMessage:
    partition, identity = int(content["partition"]), content["id"]
    return DeadMessage(
        chain,
        content["sequence"],
        str(content["stream"]),
        str(content["error"]),
        str(content["message"]),
        _time(content["at"]),
        Message(
            str(content["topic"]),
            None if partition < 0 else partition,
            int(content["timestamp"]),
            None if identity is None else UUID(identity),
            _bytes(content["key"]),
            _bytes(content["value"]),
            tuple((str(name), _bytes(value)) for name, value in content["headers"]),
        ),
    )


def _bytes(text: Any) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _time(text: Any) -> datetime:
    return datetime.fromisoformat(text) if text is not None else datetime.fromtimestamp(0, UTC)


class Done:
    """Which letters of a chain were resubmitted: ``<chain>.done`` beside the letters, one JSON line each."""

    def __init__(self, directory: Path, chain: UUID) -> None:
        self._path = directory / f"{chain.hex}.done"
        self._sequences: set[int] = set()
        with suppress(FileNotFoundError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    self._sequences.add(int(json.loads(line)["sequence"]))

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._sequences

    def add(self, sequence: int) -> None:
        """Writes it down, and returns when it is on disk. Raises OSError."""
        line = {"v": 1, "sequence": sequence, "at": datetime.now(UTC).isoformat()}
        handle = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            # A line that a crash has cut in two must not spoil this one.
            data = f"\n{json.dumps(line)}\n".encode()
            if os.write(handle, data) != len(data):
                raise OSError(28, "No space left on device", str(self._path))
            os.fsync(handle)
        finally:
            os.close(handle)
        self._sequences.add(sequence)
