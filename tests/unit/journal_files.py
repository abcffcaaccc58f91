"""Writes segments by hand, from the text in csrc/core/journal.h: what the C core would not write, too."""

import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

from dbint._core import crc32c
from dbint.journal.segment import present_boot

CHAIN = uuid.UUID("00112233445566778899aabbccddeeff")
SALT = 0x0123456789ABCDEF


def string(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def pack_schema(
    columns: Sequence[tuple[str, int, int, str]], table: tuple[str, str] = ("public", "t")
) -> bytes:
    """``columns``: name, number of the type, oid, SQL's text."""
    data = struct.pack("<4sHH", b"dbis", 1, len(columns)) + string(table[0]) + string(table[1])
    for name, kind, oid, sql_type in columns:
        array = sql_type.endswith("[]")
        data += struct.pack("<IIIiBBB", oid, 23 if array else 0, 0, -1, kind, 2 | array, 0)
        data += string(name) + string(sql_type)
    return data


def pack_meta(stream: str, schema: bytes) -> bytes:
    name = stream.encode()
    head = struct.pack("<4sHHI", b"DBSM", 1, len(name), len(schema))
    return head + struct.pack("<I", crc32c(head + name + schema)) + name + schema


META = pack_meta("s", pack_schema([("id", 3, 20, "bigint"), ("note", 7, 25, "text")]))


def row(number: int, note: str | None) -> bytes:
    data = struct.pack(">hiq", 2, 8, number)
    if note is None:
        return data + struct.pack(">i", -1)
    return data + struct.pack(">i", len(note.encode())) + note.encode()


def record(sequence: int, body: bytes, kind: int = 1, salt: int = SALT, covered: int | None = None) -> bytes:
    length, rest = struct.pack("<I", len(body)), struct.pack("<IHH", sequence & 0xFFFFFFFF, kind, 0)
    crc = crc32c(length + rest + struct.pack("<QQ", salt, sequence), crc32c(body[:covered]))
    return (length + struct.pack("<I", crc) + rest + body).ljust(16 + (len(body) + 7) // 8 * 8, b"\0")


def checked(offset: int, number: int, salt: int = SALT) -> bytes:
    if number == 0:
        return bytes(8)
    return struct.pack("<Q", number | (crc32c(struct.pack("<QQQ", salt, offset, number)) & 0xFFFF) << 48)


def segment(
    directory: Path,
    records: Sequence[bytes],
    *,
    first: int = 1,
    number: int = 1,
    chain: uuid.UUID = CHAIN,
    meta: bytes = META,
    name: bytes = b"s",
    boot: uuid.UUID | None = None,
    landed: int = 0,
    base: int = 0,
    missing: tuple[int, int] = (0, 0),
    state: bytes = bytes(4),
    target: uuid.UUID | None = None,
    published: int | None = None,
    synced: int | None = None,
    last: int = 0,
    counters: Sequence[int] = (),
    size: int = 16384,
    version: int = 1,
) -> Path:
    """A file of a slot. By default its records are all published, and none is synced."""
    boot = boot or present_boot() or uuid.UUID(int=0)
    records_at = (512 + len(meta) + 4095) // 4096 * 4096
    end = records_at + sum(map(len, records))
    head = struct.pack("<8sII16sQQ", b"DBINTJRN", version, records_at, chain.bytes, number, size)
    head += struct.pack("<16sQQIIB3x", boot.bytes, SALT, 1_700_000_000_000_000, len(meta), 0, 1)
    padded = name.ljust(128, b"\0")
    head += struct.pack("<I", crc32c(head + padded + meta)) + bytes(32)
    for offset, value in ((128, first), (136, base), (144, 0), (152, missing[0]), (160, missing[1])):
        head += checked(offset, value)
    head += state
    identity = target.bytes if target else bytes(16)
    head += struct.pack("<I", crc32c(struct.pack("<Q", SALT) + identity)) + identity
    head += struct.pack(
        "<QQ", end if published is None else published, records_at if synced is None else synced
    )
    head += checked(208, landed) + struct.pack("<Q", last) + bytes(32)
    head += b"".join(checked(256 + 8 * place, value) for place, value in enumerate(counters))
    head = head.ljust(384, b"\0") + padded + meta
    data = (head.ljust(records_at, b"\0") + b"".join(records)).ljust(size, b"\0")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{chain.hex}.{number:016x}.seg"
    path.write_bytes(data)
    os.chmod(path, 0o600)  # noqa: PTH101 - as the core makes them
    return path


def rows(first: int, last: int) -> list[bytes]:
    """Records of rows whose id is their sequence."""
    return [record(number, row(number, f"note {number}")) for number in range(first, last + 1)]
