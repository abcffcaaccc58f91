"""Finds whole records in what was set aside: in quarantine nothing but a record's own CRC can be trusted.

The CRC needs the salt of the segment. That is read from the header, damaged or not, and for a part from the
segment that it was taken from; with a wrong one nothing is found, and never a wrong record.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from uuid import UUID

from dbint.journal.damage import DamageError
from dbint.journal.directory import Journal
from dbint.journal.rows import Row, Selection
from dbint.journal.schema import Meta, meta_length, read_meta
from dbint.journal.segment import KINDS, META_AT, META_MAX, RECORD, VOID, padded, record_crc

# As the core and repair name them: the segment's name; of a part, where it began; a number for another copy.
_NAME: Final = re.compile(
    r"(?P<segment>(?P<chain>[0-9a-f]{32})\.[0-9a-f]{16}\.seg)(?P<part>\.[0-9]+\.part)?(\.[0-9]+)?"
)


def salvaged(journal: Journal, selection: Selection) -> Iterator[Row]:
    """The chosen rows that are whole in the files of the quarantine. Some may have landed before."""
    for path in journal.quarantined():
        named = _NAME.fullmatch(path.name)
        if not named or path.is_symlink() or not path.is_file():
            continue
        chain, data = UUID(named["chain"]), path.read_bytes()
        if not named["part"]:
            yield from filter(selection.has, _rows(chain, data, data))
            continue
        # The slot may have been drained since, and then nobody knows the salt any more.
        for origin in [*journal.path.glob(f"slot-*/{named['segment']}"), path.with_name(named["segment"])]:
            with suppress(FileNotFoundError), origin.open("rb") as file:
                head = file.read(META_AT + META_MAX)
                yield from filter(selection.has, _rows(chain, head, data))
                break


def _rows(chain: UUID, head: bytes, data: bytes) -> Iterator[Row]:
    """The whole records in ``data``, by the header and meta in ``head``."""
    if len(head) < META_AT:
        return
    salt, (lane,), (first,) = (
        head[64:72],
        struct.unpack_from("<I", head, 84),
        struct.unpack_from("<Q", head, 128),
    )
    meta: Meta | None = None
    with suppress(DamageError):
        meta = read_meta(head[META_AT : META_AT + meta_length(head[META_AT:])])
    # A record has the lower 32 bits of its sequence: the upper ones are those of the first, or one more.
    upper = first >> 32 & 0xFFFF
    at = 0
    while at + RECORD.size <= len(data):
        found = _record_at(data, at, salt, {0, upper, upper + 1})
        if found is None:
            at += 8
            continue
        sequence, kind, body = found
        if kind != VOID:
            schema = meta.schema if meta and KINDS[kind] == "row" else None
            yield Row(chain, lane, meta.stream if meta else "?", sequence, KINDS[kind], schema, body)
        at += RECORD.size + padded(len(body))


def _record_at(data: bytes, at: int, salt: bytes, uppers: set[int]) -> tuple[int, int, bytes] | None:
    head = data[at : at + RECORD.size]
    length, crc, low, kind, zero = RECORD.unpack(head)
    body_at = at + RECORD.size
    if kind not in KINDS or zero or length > len(data) - body_at:
        return None
    body = data[body_at : body_at + length]
    for upper in uppers:
        sequence = upper << 32 | low
        if sequence and record_crc(salt, sequence, head, body) == crc:
            return sequence, kind, body
    return None
