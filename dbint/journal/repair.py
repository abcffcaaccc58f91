"""Changes a journal that no process owns: puts what is damaged aside, gives its events to another server.

Nothing is deleted: what is taken out of a segment is in ``quarantine`` first, with a text beside it.
"""

import os
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final
from uuid import UUID

from dbint.errors import JournalError
from dbint.journal.check import check_slot
from dbint.journal.directory import Chain, Finding, Gap, Journal, Piece, Slot
from dbint.journal.rows import Selection
from dbint.journal.segment import (
    BASE_AT,
    COUNTERS,
    COUNTERS_AT,
    ENDED,
    MISSING_FROM_AT,
    MISSING_TO_AT,
    SEALED,
    STATE_AT,
    TARGET_CRC_AT,
    Broken,
    Segment,
    seal,
    target_crc,
)

_STEP: Final = 1 << 20
_END: Final = b"END!"
_DAMAGED: Final = COUNTERS.index("damaged")


def repair(journal: Journal, *, dry_run: bool) -> Iterator[str]:
    """Puts what is damaged into quarantine and says what it did, a sentence each.

    Afterwards the rest can be shipped, and ``check`` finds nothing more, but for events that are gone
    altogether in several places. Slots of live processes, and of later versions of dbint, are left alone.
    Raises JournalError and OSError.
    """
    for slot in journal.slots():
        owner = slot.owner()
        if owner is not None:
            if any(finding.damage for finding in check_slot(slot)):
                yield f"{slot.path}: left alone, because a live process owns it ({owner})"
            continue
        with slot.taken():
            contents = slot.read()
            if contents.newer:
                yield f"{slot.path}: left alone, because a later version of dbint has written there"
                continue
            surgeon = _Surgeon(journal, slot, dry_run)
            for finding in contents.findings:
                if finding.damage:
                    yield surgeon.set_file_aside(finding)
            for chain in contents.chains:
                yield from surgeon.mend(chain)


class _Surgeon:
    """Repairs one slot, which it owns."""

    def __init__(self, journal: Journal, slot: Slot, dry_run: bool) -> None:
        self._journal = journal
        self._slot = slot
        self._dry_run = dry_run

    def set_file_aside(self, finding: Finding) -> str:
        """Moves a whole file."""
        target = self._quarantine_path(finding.path.name)
        if not self._dry_run:
            self._explain(target, finding.path, f"the whole file: {finding.what}")
            finding.path.rename(target)
            _sync_directory(target.parent)
            _sync_directory(self._slot.path)
        return f"{finding.path}: {finding.what}: moved to {target}"

    def mend(self, chain: Chain) -> Iterator[str]:
        """Mends what is wrong with one chain."""
        lost, set_aside_to, cut = 0, 0, chain.newest.state == SEALED
        gaps: list[Gap] = []
        if cut:
            yield f"{chain.pieces[-1].path}: the segments behind it are missing: the chain is ended"
        for piece, found in chain.walk():
            if isinstance(found, Gap):
                if found.last > set_aside_to:
                    gaps.append(Gap(max(found.first, set_aside_to + 1), found.last))
            elif isinstance(found, Broken) and not found.torn:
                set_aside_to, path = self._set_aside(piece, found)
                lost += chain.not_landed(found.sequence, set_aside_to)
                cut = cut or (found.tail and piece is chain.pieces[-1])
                events = f"sequence {found.sequence}"
                events += f" to {set_aside_to}" if set_aside_to > found.sequence else ""
                yield f"{piece.path}, byte {found.offset}: {events}: {found.why}: copied to {path}"
        for piece in chain.pieces:
            if piece.cut:
                yield f"{piece.path}: has its {piece.header.size} bytes again"
                cut = cut or piece is chain.pieces[-1]
                if not self._dry_run:
                    with Segment(piece.path, writable=True) as segment:
                        os.posix_fallocate(segment.fileno(), 0, piece.header.size)
        yield from self._account_for(chain, gaps)
        with Segment(chain.pieces[-1].path, writable=not self._dry_run) as newest:
            if lost and not self._dry_run:
                _count_damaged(newest, lost)
            if cut and chain.newest.state != ENDED and not self._dry_run:
                _write(newest, STATE_AT, _END)

    def _set_aside(self, piece: Piece, broken: Broken) -> tuple[int, Path]:
        """Copies the bytes and writes a void in their place; the last sequence that it stands for."""
        with Segment(piece.path, writable=not self._dry_run) as segment:
            last = broken.last
            if last is None:
                last = segment.guess_last(broken.offset, broken.sequence)
            target = self._quarantine_path(f"{piece.path.name}.{broken.offset}.part")
            if self._dry_run:
                return last, target
            self._copy(segment, broken, target)
            what = (
                f"{broken.length} bytes from byte {broken.offset} on, sequences {broken.sequence} to {last}"
            )
            self._explain(target, piece.path, f"{what}: {broken.why}")
            if segment.cut:
                os.posix_fallocate(segment.fileno(), 0, segment.header.size)
            end = broken.offset + broken.length
            # To the end of the file where nothing follows: what was there must not be found again.
            if broken.tail or segment.cut:
                end = segment.header.size
            if end - broken.offset < 16:
                raise JournalError(f"{piece.path}: no room to mark byte {broken.offset} as damaged")
            _write(segment, broken.offset, segment.void(end - broken.offset, broken.sequence, last))
        return last, target

    def _account_for(self, chain: Chain, gaps: list[Gap]) -> Iterator[str]:
        """Counts events whose segments are gone, where the header can say so: it has room for one range."""
        if not gaps:
            return
        known = chain.newest.missing
        first, last = gaps[0].first, gaps[-1].last
        told = "; ".join(f"{gap.first} to {gap.last}" for gap in gaps)
        if len(gaps) > 1 or (known and not (first == known.stop or last + 1 == known.start)):
            yield f"{chain.pieces[0].path}: sequences {told} are gone, and nothing can be done about it"
            return
        if not self._dry_run:
            with Segment(chain.pieces[-1].path, writable=True) as newest:
                _count_damaged(newest, chain.not_landed(first, last))
                salt = newest.header.salt
                if known:
                    first, last = min(first, known.start), max(last, known.stop - 1)
                numbers = seal(salt, MISSING_FROM_AT, first), seal(salt, MISSING_TO_AT, last)
                _write(newest, MISSING_FROM_AT, struct.pack("<QQ", *numbers))
        yield f"{chain.pieces[0].path}: sequences {told} are gone: counted as damaged"

    def _copy(self, segment: Segment, broken: Broken, target: Path) -> None:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            end = broken.offset + broken.length
            for offset in range(broken.offset, end, _STEP):
                file.write(segment.read(offset, min(_STEP, end - offset)))
            file.flush()
            os.fsync(file.fileno())

    def _quarantine_path(self, name: str) -> Path:
        """A name that is not taken, in the quarantine, which is made if need be."""
        quarantine = self._journal.quarantine
        if not self._dry_run:
            quarantine.mkdir(mode=0o700, exist_ok=True)
        names = (name if number == 1 else f"{name}.{number}" for number in count(1))
        return next(quarantine / one for one in names if not os.path.lexists(quarantine / one))

    def _explain(self, target: Path, source: Path, what: str) -> None:
        text = (
            f"From {source}\n{what}\nSet aside by repair, {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        )
        path = target.with_name(f"{target.name}.txt")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def retarget(
    journal: Journal, selection: Selection, identity: UUID | None, *, dry_run: bool
) -> Iterator[str]:
    """Gives what has not landed of the chosen chains to a database: ``identity``, or None: the first one met.

    What has landed stays where it is: records that are still kept are not sent again. Says what it did, a
    sentence each. Raises JournalError for a slot that a live process owns, and OSError.
    """
    for slot in journal.slots():
        chosen = [chain for chain in slot.read().chains if selection.has_chain(chain.id, chain.stream)]
        if not any(chain.waiting for chain in chosen):
            continue
        with slot.taken():
            contents = slot.read()
            if contents.newer:
                raise JournalError(f"{slot.path}: a later version of dbint has written there: use that one")
            for chain in contents.chains:
                if chain.waiting and selection.has_chain(chain.id, chain.stream):
                    if not dry_run:
                        _retarget_chain(chain, identity)
                    what = f"{chain.waiting} rows of stream {chain.stream}, chain {chain.id.hex}"
                    before, after = chain.newest.target or "no database", identity or "the first one met"
                    yield f"{slot.path}: {what}: from {before} to {after}"


def _retarget_chain(chain: Chain, identity: UUID | None) -> None:
    target = identity or UUID(int=0)
    for piece in chain.pieces:
        with Segment(piece.path, writable=True) as segment:
            salt = segment.header.salt
            # The other ledger does not know the chain, which begins there behind what has landed here.
            _write(segment, BASE_AT, struct.pack("<Q", seal(salt, BASE_AT, chain.landed)))
            _write(segment, TARGET_CRC_AT, struct.pack("<I", target_crc(salt, target)) + target.bytes)


def _count_damaged(segment: Segment, number: int) -> None:
    total = segment.header.counters[_DAMAGED] + number
    offset = COUNTERS_AT + 8 * _DAMAGED
    _write(segment, offset, struct.pack("<Q", seal(segment.header.salt, offset, total)))


def _write(segment: Segment, offset: int, data: bytes) -> None:
    if os.pwrite(segment.fileno(), data, offset) != len(data):
        raise JournalError(f"{segment.path}: could not write {len(data)} bytes at byte {offset}")
    os.fsync(segment.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
