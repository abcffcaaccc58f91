"""Ranges of messages: what one load is, what is committed about it, and how it falls into parts.

A range is what one partition holds from ``start`` up to, not including, ``end``. Before the first of its
loads is sent, ``start`` is committed to Kafka with a note that names ``end`` and the time; whoever owns the
partition next finds the note, reads exactly these messages again and repeats the loads under the same labels,
which Doris runs at most once. So everything here follows from the messages and the note alone: what a range
is divided into, in which order, and what its loads are called.
"""

import datetime as dt
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dbint._core import Batch, Message
from dbint.flow.labels import make_label
from dbint.flow.toast import PLACEHOLDERS, missing_columns

_NOTE = re.compile(r"dbint1((?: [a-z0-9]+=\d+)+)(?:: (.+))?")
_MAX_TROUBLE = 400  # characters; brokers take 4096 bytes of metadata

_LOOK_BACK = 20  # messages without a time, before it is given up

StageKind = Literal["rows", "partial", "truncate"]


@dataclass(frozen=True, slots=True)
class Note:
    """What is committed with an offset, as a text.

    ``end``, when set, says that the range from the offset up to it is being loaded, first tried at ``at``.
    The rest is for whoever watches: of the newest change that is visible in Doris the time of its commit and
    the time when it could be seen, and how long the latest ones took; and while the range does not land, why
    (``trouble``), since when, how often it was tried, when the sink said so, and whether somebody has to
    mend something (``held``). All times in ms, points in time since 1970.
    """

    end: int | None = None
    at: int = 0
    committed_ms: int = 0
    visible_ms: int = 0
    p50_ms: int = 0
    p99_ms: int = 0
    since_ms: int = 0
    attempts: int = 0
    told_ms: int = 0
    held: bool = False
    trouble: str = ""

    def text(self) -> str:
        """The note as it is committed."""
        fields = {"end": self.end, "at": self.at, "src": self.committed_ms, "seen": self.visible_ms}
        fields |= {"p50": self.p50_ms, "p99": self.p99_ms}
        trouble = " ".join(self.trouble.split())[:_MAX_TROUBLE]
        if trouble:
            fields |= {
                "since": self.since_ms,
                "tries": self.attempts,
                "told": self.told_ms,
                "held": self.held,
            }
        text = "dbint1" + "".join(
            f" {n}={int(v)}" for n, v in fields.items() if v or (n == "end" and v is not None)
        )
        return f"{text}: {trouble}" if trouble else text

    @classmethod
    def parse(cls, text: str | None) -> "Note":
        """The note in a committed offset's metadata; an empty one where it holds something else."""
        match = _NOTE.fullmatch(text or "")
        if match is None:
            return cls()
        found = {name: int(value) for name, _, value in (w.partition("=") for w in match[1].split())}
        return cls(
            end=found.get("end"),
            at=found.get("at", 0),
            committed_ms=found.get("src", 0),
            visible_ms=found.get("seen", 0),
            p50_ms=found.get("p50", 0),
            p99_ms=found.get("p99", 0),
            since_ms=found.get("since", 0),
            attempts=found.get("tries", 0),
            told_ms=found.get("told", 0),
            held=bool(found.get("held", 0)),
            trouble=match[2] or "",
        )


class Piece(NamedTuple):
    """Messages of one partition that came in one batch, from ``start`` up to ``end``. ``memory`` is what they
    take, in bytes.
    """

    batch: Batch
    start: int
    end: int
    messages: int
    nbytes: int
    memory: int


class Lines(io.RawIOBase):
    """Values of messages, one a line, as a file that is made piece by piece while it is read.

    ``chosen`` has for each piece which of its messages are meant, in the words of ``Batch.concat``. One can
    go back to the beginning, or to the end.
    """

    def __init__(self, topic: str, partition: int, chosen: Sequence[tuple[Piece, Mapping[str, Any]]]) -> None:
        self._place = topic, partition
        sizes = [piece.batch.concat_size(b"\n", *self._place, **which) for piece, which in chosen]
        self._chosen = [which for which, size in zip(chosen, sizes, strict=True) if size]
        self.size = sum(sizes) + max(0, len(self._chosen) - 1)
        self._at = 0
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        position = {io.SEEK_SET: 0, io.SEEK_END: self.size}.get(whence, self._at) + offset
        if position not in (0, self.size):
            raise io.UnsupportedOperation("only the beginning and the end can be found")
        self._at = position
        self._chunks = self._made() if position == 0 else iter(())
        self._rest = memoryview(b"")
        return position

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        data = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        self._at += len(data)
        return data

    def _made(self) -> Iterator[bytes]:
        for number, (piece, which) in enumerate(self._chosen):
            if number:
                yield b"\n"
            yield piece.batch.concat(b"\n", *self._place, **which)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a range that is one load, or one DELETE.

    ``rows`` takes all messages but ``offsets``, the others take these alone. ``missing`` names the columns
    whose values the messages lack, ``sequence`` is that of a TRUNCATE.
    """

    kind: StageKind
    offsets: tuple[int, ...]
    missing: tuple[str, ...] = ()
    sequence: int = 0


@dataclass(slots=True)
class Split:
    """A range's stages in the order in which they are loaded, and what is not loaded."""

    stages: list[Stage]
    rows: int
    shapes: dict[int, int]
    """Hash of the names of a row's fields: the first offset at which they stand."""
    unknown: list[int] = field(default_factory=list)
    """Offsets of what is no change."""
    partials: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """The messages of ``topic``/``partition`` from ``start`` up to ``end``, first tried at ``at`` (ms)."""

    topic: str
    partition: int
    start: int
    end: int
    at: int
    pieces: tuple[Piece, ...]
    repeated: bool = False

    @property
    def messages(self) -> int:
        return sum(piece.messages for piece in self.pieces)

    @property
    def nbytes(self) -> int:
        return sum(piece.nbytes for piece in self.pieces)

    @property
    def memory(self) -> int:
        return sum(piece.memory for piece in self.pieces)

    def first_attempt(self) -> dt.datetime:
        """When the range was first begun."""
        return dt.datetime.fromtimestamp(self.at / 1000, dt.UTC)

    def label(self, flow: str, stage: int, path: str = "") -> str:
        """The name of one of its loads. ``at`` is in it, so that offsets that come again, because a topic was
        made anew or the group's offsets were set back, are another range."""
        return make_label(
            f"dbint-{flow}", self.topic, self.partition, self.start, self.end, self.at, stage, path
        )

    def message(self, offset: int) -> Message:
        """The message at an offset. Raises KeyError."""
        for piece in self.pieces:
            if piece.start <= offset < piece.end:
                return piece.batch.at(self.topic, self.partition, offset)
        raise KeyError(offset)

    def committed_ms(self) -> int | None:
        """When the newest of its changes was committed; None where none of the last ones says."""
        for piece in reversed(self.pieces):
            if not piece.messages:
                continue
            found = commit_time(self.message(piece.end - 1))
            if found is not None:
                return found
            keyed = piece.batch.keys(self.topic, self.partition, start=piece.start, end=piece.end)
            for offset, _ in reversed(keyed[-_LOOK_BACK:-1]):
                found = commit_time(self.message(offset))
                if found is not None:
                    return found
            return None
        return None

    def keyed(self) -> Iterator[tuple[int, bytes | None]]:
        """Offset and key of each message."""
        for piece in self.pieces:
            yield from piece.batch.keys(self.topic, self.partition, start=piece.start, end=piece.end)

    def offsets(self, stage: Stage) -> list[int]:
        """The offsets of a stage's messages."""
        if stage.kind != "rows":
            return list(stage.offsets)
        without = set(stage.offsets)
        return [offset for offset, _ in self.keyed() if offset not in without]

    def body(self, stage: Stage, only: Sequence[int] | None = None) -> Lines:
        """The values of a stage's messages, or ``only`` of these offsets, one a line."""
        if only is not None:
            chosen = self._choose(only, leave_out=False)
        else:
            chosen = self._choose(stage.offsets, leave_out=stage.kind == "rows")
        return Lines(self.topic, self.partition, list(chosen))

    def _choose(
        self, offsets: Sequence[int], *, leave_out: bool
    ) -> Iterator[tuple[Piece, Mapping[str, Any]]]:
        for piece in self.pieces:
            within = [offset for offset in offsets if piece.start <= offset < piece.end]
            if leave_out:
                yield piece, {"start": piece.start, "end": piece.end, "without": within or None}
            elif within:
                yield piece, {"only": within}


def split(found: Range, known: Mapping[int, tuple[str, ...]]) -> Split:
    """Divide a range into what can be loaded at once.

    First all whole rows and deletes, in one load: the sequence decides among those of one key. Then the rows
    that lack values: of each key those after its last whole row, for that one had replaced the earlier ones
    anyway; one load for each set of missing columns, with as many loads more as it takes to keep the order in
    which one key lacks different ones. Last the newest TRUNCATE, which deletes by the sequence what was
    older. ``known`` holds the columns for hashes that stood in ranges before; what is new joins it by the
    caller (:func:`columns_missing`).
    """
    rows = 0
    shapes: dict[int, int] = {}
    special: list[tuple[int, str, int]] = []
    for piece in found.pieces:
        count, _, of_piece, more = piece.batch.survey(
            PLACEHOLDERS, found.topic, found.partition, start=piece.start, end=piece.end
        )
        rows += count - len(more)
        special += more
        for shape, offset in of_piece:
            shapes.setdefault(shape, offset)
    aside = tuple(offset for offset, _, _ in special)
    result = Split([], rows, shapes, [offset for offset, kind, _ in special if kind == "?"])
    if rows:
        result.stages.append(Stage("rows", aside))
    partial = [(offset, missing) for offset, kind, missing in special if kind == "p"]
    if partial:
        stages, result.partials = _partial_stages(found, partial, set(aside), known)
        result.stages += stages
    emptied = [offset for offset, kind, _ in special if kind == "t"]
    if emptied:
        newest = max((sequence_of(found.message(offset)), offset) for offset in emptied)
        result.stages.append(Stage("truncate", (newest[1],), sequence=newest[0]))
    return result


def _partial_stages(
    found: Range,
    partial: Sequence[tuple[int, int]],
    aside: set[int],
    known: Mapping[int, tuple[str, ...]],
) -> tuple[list[Stage], int]:
    last_whole: dict[bytes | None, int] = {}
    keys: dict[int, bytes | None] = {}
    for offset, key in found.keyed():
        if offset not in aside:
            last_whole[key] = offset
        keys[offset] = key
    columns = dict(known)
    order: list[tuple[tuple[str, ...], list[int]]] = []
    at_stage: dict[bytes | None, int] = {}
    count = 0
    for offset, missing in partial:
        key = keys[offset]
        if last_whole.get(key, -1) > offset:
            continue
        names = columns.get(missing)
        if names is None:
            names = columns[missing] = missing_columns(found.message(offset))
        number = at_stage.get(key, 0)
        while number < len(order) and order[number][0] != names:
            number += 1
        if number == len(order):
            order.append((names, []))
        order[number][1].append(offset)
        at_stage[key] = number
        count += 1
    return [Stage("partial", tuple(offsets), missing=names) for names, offsets in order], count


def sequence_of(message: Message) -> int:
    """``source.sequence`` of a message as the number that stands in Doris; 0 where there is none."""
    try:
        hi, lo = json.loads(json.loads(message.value or b"")["source"]["sequence"])
        return (int(hi or 0) << 64) + int(lo or 0)
    except (ValueError, KeyError, TypeError):
        return 0


def field_names(message: Message) -> frozenset[str]:
    """The names of the fields of the row after the change."""
    after = json.loads(message.value or b"{}").get("after")
    return frozenset(after) if isinstance(after, dict) else frozenset()


def commit_time(message: Message) -> int | None:
    """When the change was committed, in ms since 1970; None for rows of a snapshot and what is no change."""
    try:
        envelope = json.loads(message.value or b"")
        source = envelope["source"]
        if envelope["op"] == "r" or source.get("snapshot") not in (None, "false", False):
            return None
        return int(source["ts_ms"])
    except (ValueError, KeyError, TypeError):
        return None
