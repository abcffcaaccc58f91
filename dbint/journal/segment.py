"""One segment of a journal, read by the text in csrc/core/journal.h.

This is a second reader beside the C core's, written from that text alone.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from uuid import UUID

from dbint._core import crc32c
from dbint.journal.damage import DamageError

MAGIC: Final = b"DBINTJRN"
VERSION: Final = 1
ALIGNMENT: Final = 4096
META_AT: Final = 512
META_MAX: Final = 1 << 20
NAME_AT: Final = 384
_FIXED: Final = struct.Struct("<8sII16sQQ16sQQIIB3xI")
RECORD: Final = struct.Struct("<IIIHH")
VOID: Final = 0
KINDS: Final = {VOID: "void", 1: "row", 2: "kafka"}
DURABILITIES: Final = {1: "process", 2: "interval", 3: "sync"}
OPEN, SEALED, ENDED = "open", "sealed", "ended"
COUNTERS: Final = (
    *("dropped_oldest", "dropped_full", "damaged", "dead", "lost_by_server"),
    "ambiguous_commits_resolved",
)
_SEQUENCE_MAX: Final = (1 << 48) - 1
_WINDOW: Final = 256 << 10

# Where the checked numbers are (journal.h marks them by a star), and the rest of what changes.
FIRST_AT, BASE_AT, UNMET_AT, MISSING_FROM_AT, MISSING_TO_AT, LANDED_AT = 128, 136, 144, 152, 160, 208
COUNTERS_AT = 256
STATE_AT, TARGET_CRC_AT, TARGET_AT, PUBLISHED_AT, SYNCED_AT, LAST_AT = 168, 172, 176, 192, 200, 216


class NewerVersionError(DamageError):
    """The segment was written by a later version of dbint: it is not damaged, and not for us to judge."""


@dataclass(frozen=True, slots=True)
class Header:
    """A segment's header. Offsets and sizes in bytes, ``made_at`` in microseconds since 1970.

    ``first`` is 0 in a spare; ``target`` is None as long as the chain belongs to no database.
    """

    records_at: int
    chain: UUID
    number: int
    size: int
    boot_id: UUID
    salt: bytes
    made_at: int
    lane: int
    durability: str
    name: str
    meta: bytes
    first: int
    base: int
    unmet: int
    missing: range
    landed: int
    state: str
    target: UUID | None
    published: int
    synced: int
    last: int
    counters: tuple[int, ...]

    @property
    def of_present_boot(self) -> bool:
        """Whether the machine has been running since this was written, so that nothing written was lost."""
        return self.boot_id.int != 0 and self.boot_id == present_boot()


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record; of a void, ``last`` is the last sequence that it stands for."""

    offset: int
    length: int
    sequence: int
    last: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes where a record should be. ``last`` is None where it is not known how many records were there.

    ``tail``: nothing is known to follow it. ``torn``: the unfinished end that a power loss leaves, of records
    that nobody was promised would survive.
    """

    offset: int
    length: int
    sequence: int
    last: int | None
    why: str
    tail: bool = False
    torn: bool = False


@cache
def present_boot() -> UUID | None:
    """The boot id of this machine, None where the kernel does not say."""
    try:
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def checked(salt: bytes, offset: int, data: bytes) -> int:
    """The checked number at ``offset`` of a header; 0 for one that does not fit."""
    (word,) = struct.unpack_from("<Q", data, offset)
    number: int = word & (1 << 48) - 1
    return number if word == 0 or word == seal(salt, offset, number) else 0


def seal(salt: bytes, offset: int, number: int) -> int:
    """The 8 bytes, as a number, that stand for ``number`` as a checked number at ``offset``."""
    if number == 0:
        return 0
    return number | (crc32c(salt + struct.pack("<QQ", offset, number)) & 0xFFFF) << 48


def target_crc(salt: bytes, target: UUID) -> int:
    return crc32c(salt + target.bytes)


def header_crc(data: bytes) -> int:
    """Of the parts of a header that never change; ``data`` ends with the meta."""
    return crc32c(data[META_AT:], crc32c(data[NAME_AT:META_AT], crc32c(data[:92])))


def _fits(data: bytes, meta_length: int, crc: int) -> bool:
    return len(data) == META_AT + meta_length and header_crc(data) == crc


def record_crc(salt: bytes, sequence: int, head: bytes, body: bytes) -> int:
    """The CRC of a record with these first 16 bytes and this body."""
    (kind,) = struct.unpack_from("<H", head, 12)
    counted = body if kind != VOID else body[:8]
    return crc32c(head[:4] + head[8:16] + salt + struct.pack("<Q", sequence), crc32c(counted))


def padded(length: int) -> int:
    """What a body of that length takes in the file."""
    return (length + 7) // 8 * 8


def _open_regular(path: Path, flags: int) -> int:
    """Raises DamageError for what is no file, such as a link."""
    try:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise DamageError("it is no regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise DamageError("it is no regular file")
    return file


class Segment:
    """An open segment file. Raises DamageError for a header that is not whole, NewerVersionError, OSError."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self._file = _open_regular(path, os.O_RDWR if writable else os.O_RDONLY)
        try:
            self._window = (0, b"")
            self.size = os.fstat(self._file).st_size
            self.header = self._read_header()
            # Whether somebody has truncated the file, which dbint never does.
            self.cut = self.size < self.header.size
            self.size = min(self.size, self.header.size)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "Segment":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def fileno(self) -> int:
        return self._file

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file as it is now; fewer at its end."""
        return os.pread(self._file, length, offset)

    def _ahead(self, offset: int, length: int) -> bytes:
        """As ``read``, of a part of the file that is read once and kept."""
        begin, data = self._window
        if not begin <= offset <= offset + length <= begin + len(data):
            begin, data = self._window = offset, self.read(offset, max(length, _WINDOW))
        return data[offset - begin : offset - begin + length]

    def _read_header(self) -> Header:
        data = self.read(0, META_AT)
        if len(data) < META_AT:
            raise DamageError(f"the file has {self.size} bytes, fewer than a header")
        magic, version, records_at, chain, number, size, boot, salt_number, made_at, meta_length, *rest = (
            _FIXED.unpack_from(data)
        )
        lane, durability, crc = rest
        if magic != MAGIC:
            raise DamageError("the file does not begin as a segment does")
        salt = struct.pack("<Q", salt_number)
        if meta_length <= META_MAX:
            data += self.read(META_AT, meta_length)
        if version != VERSION:
            as_ours = data[:8] + struct.pack("<I", VERSION) + data[12:]
            if version > VERSION and not _fits(as_ours, meta_length, crc):
                raise NewerVersionError(
                    f"format version {version}, of a later version of dbint (this one reads {VERSION})"
                )
            raise DamageError(f"the format version {version} is damaged")
        if not _fits(data, meta_length, crc):
            raise DamageError("the header does not fit its CRC")
        name = self.path.name
        if name != f"{chain.hex()}.{number:016x}.seg":
            raise DamageError(
                f"the header says chain {chain.hex()}, number {number}, the file's name does not"
            )
        if (
            records_at % ALIGNMENT
            or size % ALIGNMENT
            or not META_AT + meta_length <= records_at <= size
            or durability not in DURABILITIES
        ):
            raise DamageError(f"the header speaks of {size} bytes with records from {records_at} on")

        def number_at(offset: int) -> int:
            return checked(salt, offset, data)

        target = UUID(bytes=data[TARGET_AT : TARGET_AT + 16])
        fits = struct.unpack_from("<I", data, TARGET_CRC_AT)[0] == target_crc(salt, target)
        state = data[STATE_AT : STATE_AT + 4]
        missing_from, missing_to = number_at(MISSING_FROM_AT), number_at(MISSING_TO_AT)
        published, synced = struct.unpack_from("<QQ", data, PUBLISHED_AT)
        return Header(
            records_at,
            UUID(bytes=chain),
            number,
            size,
            UUID(bytes=boot),
            salt,
            made_at,
            lane,
            DURABILITIES[durability],
            data[NAME_AT:META_AT].rstrip(b"\0").decode(errors="replace"),
            data[META_AT:],
            first=number_at(FIRST_AT),
            base=number_at(BASE_AT),
            unmet=number_at(UNMET_AT),
            missing=range(missing_from, missing_to + 1) if missing_from else range(0),
            landed=number_at(LANDED_AT),
            state={bytes(4): OPEN, b"SEAL": SEALED}.get(state, ENDED),
            target=target if target.int and fits else None,
            published=published,
            synced=synced,
            last=struct.unpack_from("<Q", data, LAST_AT)[0],
            counters=tuple(number_at(COUNTERS_AT + 8 * place) for place in range(len(COUNTERS))),
        )

    @property
    def trusted(self) -> int:
        """Up to where every record must be whole; in a file that was cut that may be behind its end."""
        for offset in (self.header.published if self.header.of_present_boot else 0, self.header.synced):
            if self.header.records_at <= offset <= self.header.size and offset % 8 == 0:
                return offset
        return self.header.records_at

    @property
    def _told_last(self) -> int:
        """The sequence of the last record that was published; 0 where the header cannot tell."""
        header = self.header
        room = (header.published - header.records_at) // RECORD.size
        believed = header.of_present_boot and self.trusted == header.published
        return header.last if believed and 0 <= header.last - header.first < room else 0

    @property
    def spare(self) -> bool:
        """Whether it was made ahead of time and holds nothing."""
        header = self.header
        return header.first == 0 and not self._holds_something()

    def _holds_something(self) -> bool:
        header = self.header
        return header.published > header.records_at or any(self.read(header.records_at, RECORD.size))

    def check_use(self) -> None:
        """Raises DamageError for a segment with records that does not say where they begin."""
        if self.header.first == 0 and self._holds_something():
            raise DamageError("there are records, and the sequence of the first one cannot be read")

    def record_at(self, offset: int, sequence: int) -> Record | str:
        """The record at that place if it is whole, else why it is not."""
        found = self._record_at(offset, sequence)
        if isinstance(found, str):
            # It may have been written since we looked: its process may be at work.
            self._window = (0, b"")
            found = self._record_at(offset, sequence)
        return found

    def _record_at(self, offset: int, sequence: int) -> Record | str:
        head = self._ahead(offset, RECORD.size)
        if len(head) < RECORD.size:
            return "the file ends"
        length, crc, low, kind, zero = RECORD.unpack(head)
        if padded(length) > self.size - offset - RECORD.size:
            return f"a body of {length} bytes does not fit into the file"
        if kind not in KINDS:
            return f"a record of kind {kind}"
        if low != sequence & 0xFFFFFFFF or zero:
            return f"not the record {sequence}"
        body = self._ahead(offset + RECORD.size, length)
        if len(body) != length:
            return "the file ends in a body"
        if crc != record_crc(self.header.salt, sequence, head, body):
            return "the record does not fit its CRC"
        last = sequence
        if kind == VOID and length >= 8:
            (last,) = struct.unpack_from("<Q", body)
            if not sequence <= last <= _SEQUENCE_MAX:
                return f"a void from {sequence} to {last}"
        return Record(offset, RECORD.size + padded(length), sequence, last, kind, body)

    def void(self, length: int, sequence: int, last: int) -> bytes:
        """What is written over the start of ``length`` bytes to make them a void, up to sequence ``last``."""
        size = length - RECORD.size
        body = struct.pack("<Q", last)[:size]
        head = RECORD.pack(size, 0, sequence & 0xFFFFFFFF, VOID, 0)
        return (
            head[:4] + struct.pack("<I", record_crc(self.header.salt, sequence, head, body)) + head[8:] + body
        )

    def replay(self, last: int | None) -> Iterator[Record | Broken]:
        """All records in order, voids included, and what is broken in between.

        ``last`` is the sequence before the first one of the segment's successor, None where there is none.
        """
        at, sequence, trusted = self.header.records_at, self.header.first, self.trusted
        while last is None or sequence <= last:
            found = self.record_at(at, sequence)
            if isinstance(found, Record):
                yield found
                at, sequence = at + found.length, found.last + 1
                continue
            if at >= trusted:
                yield from self._end(at, sequence, last, found)
                return
            if 0 < self._told_last < sequence and at + RECORD.size > self.size:
                return  # a file that was cut, and mended
            next_at = self._after(at)
            if next_at is not None and isinstance(self.record_at(next_at, sequence + 1), Record):
                yield Broken(at, next_at - at, sequence, sequence, found)
                at, sequence = next_at, sequence + 1
                continue
            end = min(trusted, self.size) if last is None else self.size
            why = f"{found}, nor can the ones behind it be found"
            told = self._told_last if self._told_last >= sequence else None
            yield Broken(at, max(0, end - at), sequence, last or told, why, tail=last is None)
            return

    def guess_last(self, at: int, sequence: int) -> int:
        """The last sequence written from ``at`` on, by lengths and sequences alone; at least ``sequence``."""
        last, head = sequence - 1, self.read(at, RECORD.size)
        while len(head) == RECORD.size:
            length, _, low, kind, _ = RECORD.unpack(head)
            if low != last + 1 & 0xFFFFFFFF or kind not in KINDS or kind == VOID:
                break
            at, last = at + RECORD.size + padded(length), last + 1
            head = self.read(at, RECORD.size)
        return max(last, sequence)

    def _after(self, at: int) -> int | None:
        """Where the next record begins, by the length of the one at ``at``."""
        head = self.read(at, RECORD.size)
        if len(head) < RECORD.size:
            return None
        following: int = at + RECORD.size + padded(RECORD.unpack(head)[0])
        return following if following < self.size else None

    def _end(self, at: int, sequence: int, last: int | None, why: str) -> Iterator[Broken]:
        """What is behind the last whole record, which may have been the last one indeed."""
        if last is not None:
            yield Broken(
                at, self.size - at, sequence, last, f"{why}, though {last - sequence + 1} must follow"
            )
        elif not self.header.of_present_boot:
            tail = self._tail(at)
            if tail:
                yield Broken(at, tail, sequence, None, why, tail=True, torn=True)

    def _tail(self, at: int) -> int:
        """The number of bytes from ``at`` to the last one that is not zero."""
        step, end = 1 << 20, self.size
        while end > at:
            begin = max(at, end - step)
            data = self.read(begin, end - begin).rstrip(b"\0")
            if data:
                return begin + len(data) - at
            end = begin
        return 0
