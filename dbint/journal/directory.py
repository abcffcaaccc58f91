"""A journal's directory: its slots, their chains and what else lies there (csrc/core/journal.h)."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import UUID

from dbint.errors import JournalError
from dbint.journal.damage import DamageError
from dbint.journal.schema import Meta, read_meta
from dbint.journal.segment import COUNTERS, Broken, Header, NewerVersionError, Record, Segment

_SLOT: Final = re.compile(r"slot-[0-9]{4}")
_SEGMENT: Final = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{16})\.seg")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, in one file.

    ``damage``: stored events are lost or cannot be read. Other findings are for information.
    ``last`` is None where it is not known how many events that are. ``later_version``: of a later dbint.
    """

    path: Path
    what: str
    damage: bool = True
    offset: int = 0
    first: int | None = None
    last: int | None = None
    later_version: bool = False

    def __str__(self) -> str:
        events = ""
        if self.first is not None:
            end = "…" if self.last is None else f" to {self.last}" if self.last != self.first else ""
            events = f"sequence {self.first}{end}: "
        return f"{self.path}, byte {self.offset}: {events}{self.what}"


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment of a chain as its file said when the chain was read.

    ``last``: its last sequence, where its successor says so; ``cut``: the file has been truncated.
    """

    path: Path
    header: Header
    last: int | None
    cut: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequences that no segment holds."""

    first: int
    last: int


@dataclass(frozen=True)
class Chain:
    """The segments of one chain that are in use, in order. What the newest one says counts for the chain."""

    id: UUID
    pieces: tuple[Piece, ...]
    spare_bytes: int = 0

    @property
    def newest(self) -> Header:
        return self.pieces[-1].header

    @property
    def lane(self) -> int:
        return self.newest.lane

    @property
    def of_messages(self) -> bool:
        """Whether it holds messages for Kafka: these have no meta, and rows always have one."""
        return not self.newest.meta

    @cached_property
    def meta(self) -> Meta | DamageError | None:
        """What its rows are; None where it holds messages."""
        if self.of_messages:
            return None
        try:
            return read_meta(self.newest.meta)
        except DamageError as error:
            return error

    @property
    def stream(self) -> str:
        return self.newest.name

    @property
    def table(self) -> str | None:
        return self.meta.schema.table if isinstance(self.meta, Meta) else None

    @property
    def landed(self) -> int:
        """The last sequence that has landed or is not the chain's (``base``)."""
        return max(self.newest.landed, self.newest.base)

    @property
    def counters(self) -> dict[str, int]:
        return dict(zip(COUNTERS, self.newest.counters, strict=True))

    @property
    def bytes(self) -> int:
        return sum(piece.header.size for piece in self.pieces) + self.spare_bytes

    def walk(self) -> Iterator[tuple[Piece, Record | Broken | Gap]]:
        """Everything in its segments, in order, and the sequences that none of them holds though one should.

        Segments that their process removes meanwhile, because they have landed, are passed over.
        """
        expected = self.landed + 1
        for piece in self.pieces:
            for first, last in _uncovered(expected, piece.header.first - 1, self.newest.missing):
                yield piece, Gap(first, last)
            with suppress(FileNotFoundError), Segment(piece.path) as segment:
                for found in segment.replay(piece.last):
                    yield piece, found
                    expected = max(expected, (found.last or found.sequence) + 1)
            expected = max(expected, (piece.last or 0) + 1)

    @cached_property
    def last(self) -> int:
        """The last sequence in the newest segment."""
        newest = self.pieces[-1]
        last = newest.header.first - 1
        with suppress(FileNotFoundError), Segment(newest.path) as segment:
            for found in segment.replay(newest.last):
                last = max(last, found.last or found.sequence)
        return last

    @property
    def waiting(self) -> int:
        """How many sequences in its segments have not landed."""
        ends = [*(piece.last for piece in self.pieces[:-1]), self.last]
        return sum(
            self.not_landed(piece.header.first, end or 0)
            for piece, end in zip(self.pieces, ends, strict=True)
        )

    def not_landed(self, first: int, last: int) -> int:
        """How many of the sequences ``first`` to ``last`` have not landed, as far as the journal knows."""
        return max(0, last - max(first - 1, self.landed))

    @property
    def oldest(self) -> int | None:
        """When the segment of the oldest record that waits was made, in microseconds since 1970."""
        for piece in self.pieces:
            last = piece.last if piece.last is not None else self.last
            if last > self.landed:
                return piece.header.made_at
        return None


def _uncovered(first: int, last: int, known: range) -> Iterator[tuple[int, int]]:
    """The parts of first..last outside of ``known``."""
    parts = [(first, last)]
    if known:
        parts = [(first, min(last, known.start - 1)), (max(first, known.stop), last)]
    yield from (part for part in parts if part[0] <= part[1])


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot's directory."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def owner(self) -> str | None:
        """What the lock file says of the process that owns the slot now; None when nobody does."""
        try:
            lock = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            # Shared, and given up at once: in this moment a process that starts may take the next slot.
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = os.pread(lock, 512, 0).decode(errors="replace")
                return " ".join(text.split()) or "a process that has not said its pid"
            return None
        finally:
            os.close(lock)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Owns the slot for the time of the block. Raises JournalError when a live process does."""
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JournalError(
                    f"{self.path} belongs to a live process ({self.owner()}): end it, or let it do its work"
                ) from None
            yield
        finally:
            os.close(lock)

    def read(self) -> "Contents":
        """All segments, sorted by chain. Of a live slot, what is found may have changed meanwhile."""
        contents = Contents(self)
        groups: dict[UUID, dict[int, Piece | None]] = {}
        spares: dict[UUID, int] = {}
        for path in sorted(self.path.iterdir()):
            named = _SEGMENT.fullmatch(path.name)
            if not named:
                if path.name != "lock" and not path.name.endswith(".tmp"):
                    contents.findings.append(Finding(path, "not a file of a journal", damage=False))
                continue
            chain, number = UUID(named[1]), int(named[2], 16)
            group = groups.setdefault(chain, {})
            try:
                with Segment(path) as segment:
                    segment.check_use()
                    if segment.spare:
                        spares[chain] = spares.get(chain, 0) + segment.size
                        continue
                    group[number] = Piece(path, segment.header, None, segment.cut)
            except FileNotFoundError:
                continue
            except NewerVersionError as error:
                contents.findings.append(Finding(path, str(error), damage=False, later_version=True))
                contents.newer = True
            except DamageError as error:
                contents.findings.append(Finding(path, str(error)))
                group[number] = None
            except OSError as error:
                raise JournalError(f"cannot read {path}: {error.strerror}") from error
        for chain, group in groups.items():
            pieces = _pieces(group)
            if pieces:
                contents.chains.append(Chain(chain, pieces, spares.get(chain, 0)))
        return contents


def _pieces(group: dict[int, Piece | None]) -> tuple[Piece, ...]:
    """Those that can be read, in order, each told where it ends by its successor."""
    pieces = []
    for number, piece in sorted(group.items()):
        if piece is not None:
            successor = group.get(number + 1)
            pieces.append(replace(piece, last=successor.header.first - 1) if successor else piece)
    return tuple(pieces)


@dataclass
class Contents:
    """What a slot holds. ``newer``: a later version of dbint has written there."""

    slot: Slot
    chains: list[Chain] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    newer: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """The directory of one journal."""

    path: Path

    @property
    def dead(self) -> Path:
        return self.path / "dead"

    @property
    def quarantine(self) -> Path:
        return self.path / "quarantine"

    def slots(self) -> list[Slot]:
        """Raises JournalError when the directory cannot be read or holds no journal."""
        try:
            names = sorted(self.path.iterdir())
        except OSError as error:
            raise JournalError(
                f"cannot read the journal {self.path}: {error.strerror}. "
                "--directory or DBINT_JOURNAL_DIR names another one"
            ) from error
        slots = [Slot(path) for path in names if _SLOT.fullmatch(path.name) and path.is_dir()]
        if not slots and names:
            inner = [path.name for path in names if any(path.glob("slot-[0-9][0-9][0-9][0-9]"))]
            hint = f" It has journals below: {', '.join(inner)}" if inner else ""
            raise JournalError(f"{self.path} is not a journal's directory: it has no slot.{hint}")
        return slots

    def quarantined(self) -> list[Path]:
        """Files that were set aside, without their explanations."""
        if not self.quarantine.is_dir():
            return []
        return sorted(path for path in self.quarantine.iterdir() if path.suffix != ".txt")
