"""``python -m dbint.journal`` on files written by hand: as the core writes them, and as it never would."""

import errno
import fcntl
import json
import os
import struct
import time
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbint._core import crc32c
from dbint.journal.cli import main
from dbint.journal.damage import DamageError
from dbint.journal.dead import letters
from dbint.journal.directory import Journal
from dbint.journal.rows import Row, Selection, rows
from dbint.journal.salvage import salvaged
from dbint.journal.schema import TYPES, Column, read_meta
from dbint.journal.values import decode_field, text
from tests.unit import journal_files as files
from tests.unit.journal_files import CHAIN, META, record, segment

SEALED = b"SEAL"
ANOTHER_BOOT = uuid.UUID("deadbeef-0000-4000-8000-000000000000")
# Every third byte meets each field of four bytes and more; with more rounds (make test-rest) each byte.
STEP = 1 if int(os.environ.get("DBINT_TEST_ROUNDS", "1")) > 1 else 3


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of repairs: what they write is looked at here, not when it is on disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "slot-0000"


class Tool:
    """Runs the tool on the test's journal."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, command: str, *arguments: str) -> int:
        self._capsys.readouterr()
        code = main([command, "--directory", str(self.directory), *arguments])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, command: str, *arguments: str) -> Any:
        self(command, "--format", "json", *arguments)
        return json.loads(self.out)

    def sequences(self, *arguments: str) -> list[int]:
        self("dump", "--format", "json", *arguments)
        return [json.loads(line)["sequence"] for line in self.out.splitlines()]

    def chain(self) -> Any:
        (journal,) = self.json("ls")["journals"]
        (chain,) = (chain for slot in journal["slots"] for chain in slot["chains"])
        return chain


@pytest.fixture
def tool(slot: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(slot.parent, capsys)


def test_crc32c_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, and every other list of check values
    assert crc32c(b"") == 0
    assert crc32c(memoryview(b"6789"), crc32c(b"12345")) == 0xE3069283
    for wrong in ((), (b"", 0, 0)):
        with pytest.raises(TypeError, match="takes 1 or 2 arguments"):
            crc32c(*wrong)
    for value in (-1, 1 << 32, 1 << 80):
        with pytest.raises(OverflowError):
            crc32c(b"", value)
    with pytest.raises(TypeError):
        crc32c("text")  # type: ignore[arg-type]


# Reading


def test_a_chain_of_two_segments(slot: Path, tool: Tool) -> None:
    target = uuid.uuid4()
    segment(slot, files.rows(1, 5), state=SEALED, landed=2)
    segment(slot, files.rows(6, 9), first=6, number=2, landed=3, target=target, counters=[1, 2, 0, 3])
    chain = tool.chain()
    assert chain["id"] == CHAIN.hex
    assert (chain["stream"], chain["lane"], chain["table"]) == ("s", 0, "public.t")
    assert (chain["waiting"], chain["landed_to"], chain["last"], chain["segments"]) == (6, 3, 9, 2)
    assert chain["durability"] == "process"
    assert chain["target"] == str(target)
    assert chain["state"] == "open"
    assert chain["oldest"] == "2023-11-14T22:13:20+00:00"
    assert chain["counters"] == {
        "dropped_oldest": 1,
        "dropped_full": 2,
        "damaged": 0,
        "dead": 3,
        "lost_by_server": 0,
        "ambiguous_commits_resolved": 0,
    }
    assert tool("check") == 0
    assert tool.out == "sound\n"
    assert tool("dump", "--limit", "2") == 0
    assert tool.out == (
        '00112233 4 s {"id": 4, "note": "note 4"}\n00112233 5 s {"id": 5, "note": "note 5"}\n'
    )
    assert tool.sequences() == [4, 5, 6, 7, 8, 9]
    assert tool.sequences("--landed") == list(range(1, 10))
    assert tool.sequences("--from", "5", "--to", "7") == [5, 6, 7]
    assert tool.sequences("--chain", "0011-22") == [4, 5, 6, 7, 8, 9]
    assert tool.sequences("--chain", "ff") == tool.sequences("--stream", "other") == []


def test_the_table_for_people(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 5))
    segment(slot.parent / "slot-0001", [], chain=uuid.uuid4(), first=0)
    assert tool("ls") == 0
    head, titles, chain, empty = tool.out.splitlines()
    assert head == f"{slot.parent}: 5 rows wait, 16.0 KiB"
    assert titles.split()[-7:] == ["WAITING", "LANDED", "TO", "SIZE", "OLDEST", "TARGET", "STATE"]
    assert chain.split()[:9] == ["slot-0000", "none", "00112233", "s", "0", "public.t", "process", "5", "0"]
    assert empty.split() == ["slot-0001", "none", "-"]


def test_records_that_are_not_the_chains(slot: Path, tool: Tool) -> None:
    """What lies up to ``base`` belongs to the chain that this one was split from."""
    segment(slot, files.rows(1, 9), base=4)
    assert tool.chain()["waiting"] == 5
    assert tool.sequences("--landed") == [5, 6, 7, 8, 9]


def test_voids_are_passed_over(slot: Path, tool: Tool) -> None:
    records = [
        *files.rows(1, 2),
        record(3, b"", kind=0),
        record(4, struct.pack("<Q", 6) + b"what was there", kind=0, covered=8),
        *files.rows(7, 8),
    ]
    segment(slot, records)
    assert tool("check") == 0
    assert tool.sequences() == [1, 2, 7, 8]


def test_messages_of_kafka(slot: Path, tool: Tool) -> None:
    segment(slot, [*files.rows(1, 1), record(2, b"a message", kind=2)])
    assert tool("check") == 0
    assert tool("dump", "--format", "json", "--from", "2") == 1
    assert json.loads(tool.out)["error"] == "9 bytes are no message"


def test_segments_made_ahead_of_time(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 3))
    segment(slot, [], first=0, number=2)
    (slot / f"{CHAIN.hex}.{3:016x}.tmp").write_bytes(b"half made")
    assert tool("check") == 0
    assert tool.chain()["segments"] == 1
    assert tool.chain()["bytes"] == 2 * 16384


def test_bytes_behind_the_end_that_were_never_acknowledged(slot: Path, tool: Tool) -> None:
    begun = record(4, files.row(4, "unfinished"))[:-9]
    segment(slot, [*files.rows(1, 3), begun], published=4096 + sum(map(len, files.rows(1, 3))))
    assert tool("check") == 0
    assert tool.out == "sound\n"
    assert tool.sequences() == [1, 2, 3]


def test_a_whole_record_that_was_not_yet_published_counts(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 4), published=4096 + sum(map(len, files.rows(1, 3))))
    assert tool.sequences() == [1, 2, 3, 4]


def test_a_power_loss_leaves_an_unfinished_end(slot: Path, tool: Tool) -> None:
    """Of another boot, what was synced must be whole; then records count up to the first broken one."""
    whole = files.rows(1, 4)
    records = [*whole, b"\1" * 40, record(6, files.row(6, "beyond"))]
    segment(slot, records, boot=ANOTHER_BOOT, synced=4096 + len(whole[0]))
    assert tool("check") == 0
    assert "note: " in tool.out
    assert "sequence 5…: the unfinished end that a power loss has left" in tool.out
    assert tool.sequences() == [1, 2, 3, 4]


def test_damage_in_what_was_synced(slot: Path, tool: Tool) -> None:
    records = [*files.rows(1, 2), b"\1" * 40]
    segment(slot, records, boot=ANOTHER_BOOT, synced=4096 + sum(map(len, records)))
    assert tool("check") == 1
    assert tool.sequences() == [1, 2]


# Damage, and mending it


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def test_one_damaged_record(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 5))
    at = 4096 + 2 * len(files.rows(1, 1)[0])
    flip(path, at + 30)
    before = path.read_bytes()
    assert tool("check") == 1
    assert f"damage: {path}, byte {at}: sequence 3: the record does not fit its CRC" in tool.out
    assert tool("dump") == 1
    assert "damage at sequence 3" in tool.err
    assert tool.sequences() == [1, 2, 4, 5]

    assert tool("repair", "--dry-run") == 0
    assert "sequence 3" in tool.out
    assert path.read_bytes() == before
    assert not (slot.parent / "quarantine").exists()

    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2, 4, 5]
    assert tool.chain()["counters"]["damaged"] == 1
    assert tool.chain()["state"] == "open"  # its end is where it was
    (set_aside,) = Journal(slot.parent).quarantined()
    assert set_aside.read_bytes() == before[at : at + len(files.rows(3, 3)[0])]
    assert "sequences 3 to 3: the record does not fit its CRC" in Path(f"{set_aside}.txt").read_text()
    assert oct(set_aside.stat().st_mode & 0o777) == "0o600"
    assert oct(set_aside.parent.stat().st_mode & 0o777) == "0o700"
    assert tool("repair") == 0
    assert tool.out == "nothing is damaged\n"


def test_damage_in_what_has_landed_is_no_loss(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 5), landed=3)
    flip(path, 4096 + 2 * len(files.rows(1, 1)[0]) + 20)
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [4, 5]
    assert tool.chain()["counters"]["damaged"] == 0


def test_a_damaged_length_takes_the_rest(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 5))
    at = 4096 + 2 * len(files.rows(1, 1)[0])
    flip(path, at, 0x10)
    assert tool("check") == 1
    assert "sequence 3…: " in tool.out
    assert "nor can the ones behind it be found" in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2]
    assert tool.chain()["state"] == "ended"


@pytest.mark.parametrize(
    ("last", "told"), [(5, "sequence 3 to 5: "), (2, "sequence 3…: "), (99, "sequence 3…: ")]
)
def test_the_header_says_how_many_were_lost(slot: Path, tool: Tool, last: int, told: str) -> None:
    """Unless it says what cannot be."""
    path = segment(slot, files.rows(1, 5), last=last)
    flip(path, 4096 + 2 * len(files.rows(1, 1)[0]), 0x10)
    assert tool("check") == 1
    assert told in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2]
    chain = tool.chain()
    assert (chain["state"], chain["counters"]["damaged"]) == ("ended", 3 if last == 5 else 1)


def test_the_successor_says_how_many_were_lost(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 5), state=SEALED)
    segment(slot, files.rows(6, 7), first=6, number=2)
    at = 4096 + 2 * len(files.rows(1, 1)[0])
    flip(path, at, 0x10)
    assert tool("check") == 1
    assert "sequence 3 to 5: " in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2, 6, 7]
    assert tool.chain()["counters"]["damaged"] == 3
    assert tool.chain()["state"] == "open"


def test_a_foreign_file_and_a_damaged_header(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 2), state=SEALED)
    bad = segment(slot, files.rows(3, 4), first=3, number=2)
    segment(slot, files.rows(5, 6), first=5, number=3)
    flip(bad, 20)
    foreign = slot / f"{uuid.uuid4().hex}.{1:016x}.seg"
    foreign.write_bytes(b"GIF89a")
    (slot / "notes").write_text("of somebody")
    before = bad.read_bytes()
    assert tool("check") == 1
    assert f"damage: {bad}, byte 0: the header does not fit its CRC" in tool.out
    assert f"damage: {foreign}, byte 0: the file has 6 bytes, fewer than a header" in tool.out
    assert f"note: {slot / 'notes'}, byte 0: not a file of a journal" in tool.out
    assert "sequence 3 to 4: the segments in front of this one are missing" in tool.out
    assert tool.sequences() == [1, 2, 5, 6]
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2, 5, 6]
    assert tool.chain()["counters"]["damaged"] == 2
    quarantined = Journal(slot.parent).quarantined()
    assert sorted(path.read_bytes() for path in quarantined) == sorted([before, b"GIF89a"])
    assert (slot / "notes").exists()
    assert tool.json("ls")["journals"][0]["quarantined"] == 2


def test_missing_segments(slot: Path, tool: Tool) -> None:
    """In front, in between and behind; what was given up on purpose is no damage."""
    segment(slot, files.rows(4, 5), first=4, landed=1, state=SEALED)
    assert tool("check") == 1
    assert "sequence 2 to 3: the segments in front of this one are missing" in tool.out
    assert "the segments behind this one are missing" in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    chain = tool.chain()
    assert (chain["state"], chain["counters"]["damaged"], chain["waiting"]) == ("ended", 2, 2)

    other = slot.parent / "slot-0001"
    segment(other, files.rows(4, 5), first=4, landed=1, missing=(2, 3), chain=uuid.uuid4())
    assert tool("check") == 0


def test_the_rest_in_front_of_a_file_that_is_set_aside_too(slot: Path, tool: Tool) -> None:
    """Nobody says where the first one ended; what its records say of themselves is not counted twice."""
    first = segment(slot, files.rows(1, 5), state=SEALED)
    second = segment(slot, files.rows(6, 7), first=6, number=2)
    segment(slot, files.rows(8, 9), first=8, number=3)
    flip(first, 4096 + len(files.rows(1, 1)[0]), 0x10)
    flip(second, 20)
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 8, 9]
    assert tool.chain()["counters"]["damaged"] == 6
    assert tool.chain()["state"] == "open"


def test_several_gaps_are_named_and_left(slot: Path, tool: Tool) -> None:
    for first, number in ((1, 1), (5, 3), (9, 5)):
        segment(slot, files.rows(first, first + 1), first=first, number=number)
    assert tool("repair") == 0
    assert "sequences 3 to 4; 7 to 8 are gone, and nothing can be done about it" in tool.out
    assert tool.sequences() == [1, 2, 5, 6, 9, 10]


def test_a_gap_beside_one_that_is_known(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(8, 9), first=8, number=4, missing=(3, 5), landed=2)
    assert tool("check") == 1
    assert "sequence 6 to 7: " in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0


@pytest.mark.parametrize("newest", [True, False])
def test_a_truncated_file(slot: Path, tool: Tool, newest: bool) -> None:
    path = segment(slot, files.rows(1, 5))
    if not newest:
        segment(slot, files.rows(6, 7), first=6, number=2)
    os.truncate(path, 4096 + 2 * len(files.rows(1, 1)[0]) + 20)
    assert tool("check") == 1
    assert "the file is shorter than the 16384 bytes it was made with" in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences() == [1, 2] if newest else [1, 2, 6, 7]
    assert tool.chain()["state"] == ("ended" if newest else "open")
    assert path.stat().st_size == 16384


def test_records_in_a_segment_that_says_it_is_not_in_use(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 2), first=0)
    assert tool("check") == 1
    assert "the sequence of the first one cannot be read" in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert len(Journal(slot.parent).quarantined()) == 1


def test_a_later_version_is_left_alone(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 2), version=2)
    with path.open("r+b") as file:
        file.seek(92)
        file.write(b"CRC2")  # the later version's way
    assert tool("check") == 2
    assert f"note: {path}, byte 0: format version 2, of a later version of dbint" in tool.out
    assert tool("repair") == 0
    assert "left alone, because a later version of dbint has written there" in tool.out
    assert tool.json("ls")["journals"][0]["slots"][0]["newer_version"] is True
    assert "1 slots of a later version" in (tool("ls"), tool.out)[1]


def test_a_version_that_is_damaged_is_no_later_one(slot: Path, tool: Tool) -> None:
    flip(segment(slot, files.rows(1, 2)), 8, 0x02)
    assert tool("check") == 1
    assert "the format version 3 is damaged" in tool.out


def test_a_meta_that_cannot_be_read(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(1, 2), meta=b"of another kind")
    assert tool("check") == 1
    assert "its rows cannot be read: the meta has 15 bytes" in tool.out
    assert tool.chain()["table"] is None
    assert tool("dump") == 1
    assert tool.out.count("a row record whose columns are not known") == 2
    assert tool("export", "--output", "-") == 2
    assert "no row whose columns are known" in tool.err


def test_the_slot_of_a_live_process(slot: Path, tool: Tool) -> None:
    path = segment(slot, files.rows(1, 3))
    flip(path, 4096 + 20)
    lock = slot / "lock"
    since = int((time.time() - 300) * 1e6)
    lock.write_text(f"pid 4711 on example since {since} us after 1970\n")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = path.read_bytes()
        assert (
            tool.json("ls")["journals"][0]["slots"][0]["owner"]
            == f"pid 4711 on example since {since} us after 1970"
        )
        assert "pid 4711 on example, 5 min" in (tool("ls"), tool.out)[1]
        assert tool("check") == 1
        assert tool("repair") == 0
        assert "left alone, because a live process owns it (pid 4711 on example since" in tool.out
        assert tool("retarget", "--clear", "--yes") == 2
        assert "belongs to a live process (pid 4711 on example since" in tool.err
        assert path.read_bytes() == before
    assert tool.json("ls")["journals"][0]["slots"][0]["owner"] is None
    assert tool("repair") == 0
    assert tool("check") == 0


def outcome(slot: Path, good: dict[int, bytes]) -> tuple[dict[int, bytes], int]:
    """The rows that are delivered, none of them a wrong one, and check's exit code."""
    found = rows(Journal(slot.parent), Selection(), landed=True)
    delivered = {row.sequence: row.data for row in found if isinstance(row, Row)}
    assert all(good.get(sequence) == data for sequence, data in delivered.items())
    again = salvaged(Journal(slot.parent), Selection())
    assert all(good.get(row.sequence) == row.data for row in again)
    return delivered, main(["check", "--directory", str(slot.parent)])


def test_every_byte_flipped(slot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No wrong row, no exception, and a verdict that fits: what is not delivered is told by check."""
    good = {number: files.row(number, f"note {number}") for number in range(1, 5)}
    path = segment(slot, files.rows(1, 4), target=uuid.uuid4())
    whole = path.read_bytes()
    used = [*range(512 + len(META)), *range(4096, 4096 + sum(map(len, files.rows(1, 4))) + 8)]
    unheard = []
    for offset in used[::STEP]:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        delivered, code = outcome(slot, good)
        if delivered != good:
            assert code == 1, f"byte {offset}: rows are missing, and nobody says so"
        elif code == 0:
            unheard.append(offset)
        assert main(["repair", "--directory", str(slot.parent)]) == 0
        assert outcome(slot, good) == (delivered, 0), f"byte {offset}"
        for entry in (slot.parent / "quarantine").glob("*"):
            entry.unlink()
    # What no check covers: reserved zeros, and numbers of which each by itself may be true.
    changeable = [*range(96, 128), *range(136, 384)]
    padding = [4096 + at for at in range(sum(map(len, files.rows(1, 4))) + 8)]
    assert set(unheard) <= {*changeable, *padding}
    capsys.readouterr()


def test_every_length(slot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file cut at every byte: nothing wrong is delivered, and check says what is wrong."""
    good = {number: files.row(number, f"note {number}") for number in range(1, 4)}
    path = segment(slot, files.rows(1, 3))
    whole = path.read_bytes()
    lengths = [*range(0, 520, 7), *range(4090, 4096 + sum(map(len, files.rows(1, 3))))]
    for length in (*lengths[::STEP], len(whole) - 1):
        path.write_bytes(whole[:length])
        delivered, code = outcome(slot, good)
        assert code == 1
        assert main(["repair", "--directory", str(slot.parent)]) == 0
        assert main(["check", "--directory", str(slot.parent)]) == 0
        assert outcome(slot, good)[0] == delivered
    capsys.readouterr()


@settings(max_examples=150, deadline=None)
@given(
    notes=st.lists(st.none() | st.text(max_size=40).filter(lambda text: "\0" not in text), max_size=12),
    cuts=st.lists(st.tuples(st.integers(0, 16383), st.binary(min_size=1, max_size=64)), max_size=4),
    split=st.integers(0, 12),
    boot=st.sampled_from([None, ANOTHER_BOOT]),
)
def test_any_damage(
    tmp_path_factory: pytest.TempPathFactory,
    notes: list[str | None],
    cuts: list[tuple[int, bytes]],
    split: int,
    boot: uuid.UUID | None,
) -> None:
    """Random bytes over random places of one or two segments: no exception, no wrong row, repair mends it."""
    journal = tmp_path_factory.mktemp("journal")
    slot = journal / "slot-0000"
    good = {number: files.row(number, note) for number, note in enumerate(notes, 1)}
    split = min(split, len(notes))
    records = [record(number, data) for number, data in good.items()]
    paths = [segment(slot, records[:split], boot=boot)]
    if split < len(notes):
        paths.append(segment(slot, records[split:], first=split + 1, number=2, boot=boot))
    for place, (offset, junk) in enumerate(cuts):
        with paths[place % len(paths)].open("r+b") as file:
            file.seek(min(offset, 16384 - len(junk)))
            file.write(junk)
    delivered, code = outcome(slot, good)
    assert boot or delivered == good or code
    assert main(["repair", "--directory", str(journal)]) == 0
    assert outcome(slot, good)[0] == delivered


def test_what_is_whole_in_quarantine(slot: Path, tool: Tool, tmp_path: Path) -> None:
    """A file with a damaged header still holds its rows, and so does the rest behind a damaged length."""
    head = segment(slot, files.rows(1, 5), state=SEALED)
    rest = segment(slot, files.rows(6, 9), first=6, number=2)
    flip(head, 90)
    flip(rest, 4096 + len(files.rows(6, 6)[0]), 0x10)
    assert tool("repair") == 0
    assert tool.sequences() == [6]
    assert sorted(tool.sequences("--quarantine")) == [1, 2, 3, 4, 5, 8, 9]
    output = tmp_path / "rows.csv"
    assert tool("export", "--quarantine", "--to", "2", "--output", str(output)) == 0
    assert output.read_text() == '"id","note"\n"1","note 1"\n"2","note 2"\n'
    rest.unlink()  # drained, and removed by its process: nobody knows the salt any more
    assert tool.sequences("--quarantine") == [1, 2, 3, 4, 5]


def test_sequences_of_more_than_32_bits(slot: Path, tool: Tool) -> None:
    first = (1 << 33) - 2
    records = [record(number, files.row(number, "far")) for number in range(first, first + 4)]
    path = segment(slot, records, first=first, landed=first - 1)
    assert tool("check") == 0
    assert tool.sequences() == list(range(first, first + 4))
    flip(path, 90)
    assert tool("repair") == 0
    assert tool.sequences("--quarantine") == list(range(first, first + 4))


# Meta and columns


def test_metas_that_are_damaged() -> None:
    meta = read_meta(META)
    assert meta.stream == "s"
    assert [(column.name, column.type, column.sql_type) for column in meta.schema.columns] == [
        ("id", "bigint", "bigint"),
        ("note", "text", "text"),
    ]
    for length in range(len(META)):
        with pytest.raises(DamageError):
            read_meta(META[:length])
    for place in range(len(META)):
        with pytest.raises(DamageError):
            read_meta(META[:place] + bytes([META[place] ^ 0x40]) + META[place + 1 :])


@given(st.binary(max_size=120))
def test_columns_that_are_nonsense(junk: bytes) -> None:
    """With a CRC that fits: whatever they are, it is DamageError or columns."""
    for schema in (junk, struct.pack("<4sHH", b"dbis", 1, 1) + junk):
        try:
            read_meta(files.pack_meta("s", schema))
        except DamageError:
            continue


def column(kind: str, *, array: bool) -> Column:
    return Column("c", kind, kind, 0, 0, 0, -1, array, nullable=True, fill="none")


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    array=st.booleans(),
    data=st.binary(max_size=40) | st.binary(min_size=4, max_size=4) | st.binary(min_size=8, max_size=8),
)
def test_values_that_are_nonsense(kind: str, array: bool, data: bytes) -> None:
    """Whatever the bytes are: DamageError, or a value that JSON and CSV can hold."""
    one = column(kind, array=array)
    try:
        value = decode_field(one, data)
    except DamageError:
        with pytest.raises(DamageError):
            text(one, data)
        return
    json.dumps(value, allow_nan=False)
    assert isinstance(text(one, data), str)


@given(st.integers(-(2**31) + 1, 2**31 - 2))
def test_dates_are_those_of_the_calendar(days: int) -> None:
    """As Python has them where it has any; beyond that the day after is a later one."""
    value = decode_field(column("date", array=False), struct.pack(">i", days))
    ordinal = days + date(2000, 1, 1).toordinal()
    if 1 <= ordinal <= date.max.toordinal():
        assert value == date.fromordinal(ordinal).isoformat()
    else:
        assert value.endswith(" BC") == (ordinal < 1)


def test_json_that_python_finds_too_much(slot: Path, tool: Tool) -> None:
    """A lone surrogate, numbers of thousands of digits, and nesting that is deeper than Python's stack."""
    meta = files.pack_meta("s", files.pack_schema([("j", 13, 114, "json")]))
    texts = [b'"\\ud800"', b"1" * 5000, b"-1e999", b"[" * 100_000 + b"]" * 100_000, b"NaN"]
    records = [
        record(number, struct.pack(">hi", 1, len(data)) + data) for number, data in enumerate(texts, 1)
    ]
    segment(slot, records, meta=meta, size=1 << 18)
    assert tool("dump", "--format", "json") == 1
    found = [json.loads(line) for line in tool.out.splitlines()]
    assert [one.get("row", {}).get("j") for one in found[:3]] == ["\ud800", "1" * 5000, "-1e999"]
    assert found[3]["error"] == 'field "j" (json): not JSON (RecursionError)'
    assert found[4]["error"] == 'field "j" (json): NaN in JSON'


# Taking rows out


def test_export_as_csv(slot: Path, tool: Tool, tmp_path: Path) -> None:
    records = [
        record(1, files.row(1, None)),
        record(2, files.row(2, "")),
        record(3, files.row(3, 'a "b",\nc')),
    ]
    segment(slot, records)
    output = tmp_path / "rows.csv"
    assert tool("export", "--output", str(output)) == 0
    assert output.read_text() == '"id","note"\n"1",\n"2",""\n"3","a ""b"",\nc"\n'
    assert tool.err == f'\\copy "public"."t" ("id", "note") from \'{output}\' with (FORMAT csv, HEADER)\n'
    assert oct(output.stat().st_mode & 0o777) == "0o600"
    assert tool("export", "--output", str(output)) == 2
    assert "File exists" in tool.err


def test_export_as_binary(slot: Path, tool: Tool, tmp_path: Path) -> None:
    segment(slot, files.rows(1, 3))
    output = tmp_path / "rows.bin"
    assert tool("export", "--as", "binary", "--output", str(output), "--to", "2") == 0
    tuples = [files.row(number, f"note {number}") for number in (1, 2)]
    assert output.read_bytes() == b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(tuples) + b"\xff\xff"


def test_export_of_what_does_not_go_into_one_file(slot: Path, tool: Tool, tmp_path: Path) -> None:
    segment(slot, files.rows(1, 2))
    other = files.pack_meta("other", files.pack_schema([("n", 2, 23, "integer")]))
    one = record(1, struct.pack(">hii", 1, 4, 7))
    segment(slot, [one], chain=uuid.UUID(int=0xFF << 120), meta=other, name=b"other")
    output = tmp_path / "rows.csv"
    assert tool("export", "--output", str(output)) == 2
    assert "are for other columns or another table (public.t, stream 'other')" in tool.err
    assert not output.exists()
    assert tool("export", "--output", str(output), "--stream", "other") == 0
    assert output.read_text() == '"n"\n"7"\n'
    assert tool("export", "--output", "-", "--stream", "none") == 1
    assert "no row was chosen" in tool.err


def test_export_tells_damage(slot: Path, tool: Tool) -> None:
    flip(segment(slot, files.rows(1, 3)), 4096 + 20)
    assert tool("export", "--output", "-") == 1
    assert "damage at sequence 1" in tool.err
    assert tool.out == '"id","note"\n"2","note 2"\n"3","note 3"\n'


# Another server


def test_retarget(slot: Path, tool: Tool) -> None:
    old, new = uuid.uuid4(), uuid.uuid4()
    paths = [
        segment(slot, files.rows(1, 5), state=SEALED, landed=2, target=old),
        segment(slot, files.rows(6, 7), first=6, number=2, landed=3, target=old),
    ]
    landed = uuid.uuid4()
    untouched = segment(slot, files.rows(1, 2), chain=landed, landed=2, target=old)
    before = [path.read_bytes() for path in (*paths, untouched)]
    assert tool("retarget", "--to", str(new)) == 0
    assert f"4 rows of stream s, chain {CHAIN.hex}: from {old} to {new}" in tool.out
    assert "nothing was changed: --yes does it" in tool.err
    assert [path.read_bytes() for path in (*paths, untouched)] == before
    assert tool("retarget", "--to", str(new), "--yes") == 0
    (journal,) = tool.json("ls")["journals"]
    targets = {chain["id"]: chain["target"] for slot in journal["slots"] for chain in slot["chains"]}
    assert targets == {CHAIN.hex: str(new), landed.hex: str(old)}
    assert tool("check") == 0
    # What has landed in the old database is not sent to the new one.
    assert tool.sequences("--landed", "--chain", CHAIN.hex) == [4, 5, 6, 7]
    assert tool("retarget", "--clear", "--yes", "--stream", "s") == 0
    assert tool.json("ls")["journals"][0]["slots"][0]["chains"][0]["target"] is None
    assert tool("retarget", "--clear", "--stream", "unknown") == 0
    assert tool.out == "no chain holds events that have not landed\n"


# Dead letters


def letter(sequence: int, **more: Any) -> str:
    line = {
        "v": 1,
        "chain": CHAIN.hex,
        "sequence": sequence,
        "stream": "s",
        "table": ["public", "t"],
        "sqlstate": "22001",
        "message": "value too long",
        "at": "2026-01-31T12:00:00.000001Z",
        "columns": [["id", "bigint"], ["tags", "character varying(9)[]"]],
        "tuple": "AAIAAAAIAAAAAAAAAAf/////",
        **more,
    }
    return json.dumps(line) + "\n"


def test_dead_letters(slot: Path, tool: Tool) -> None:
    segment(slot, files.rows(8, 9), first=8, landed=7)
    dead = slot.parent / "dead"
    dead.mkdir()
    withdrawn = json.dumps({"v": 1, "chain": CHAIN.hex, "sequence": 4, "withdrawn": True, "at": None}) + "\n"
    torn = letter(9)[:60]
    (dead / f"{CHAIN.hex}.jsonl").write_text(
        letter(3) + letter(4) + withdrawn + letter(5, message="first") + letter(5) + letter(8) + torn + "\n\n"
    )
    (dead / "README").write_text("not ours")
    assert [one.sequence for one in letters(dead)] == [3, 5, 8]
    assert tool.sequences("--dead") == [3, 5]
    assert tool.json("ls")["journals"][0]["dead_letters"] == 2  # the row of 8 is still in the journal
    assert "2 dead letters" in (tool("ls"), tool.out)[1]
    assert tool("dump", "--dead", "--limit", "1") == 0
    assert tool.out == '00112233 3 s refused by 22001: value too long {"id": 7, "tags": null}\n'
    described = tool.json("dump", "--dead", "--from", "5", "--to", "5")
    assert described == {
        "chain": CHAIN.hex,
        "sequence": 5,
        "stream": "s",
        "table": "public.t",
        "sqlstate": "22001",
        "message": "value too long",
        "at": "2026-01-31T12:00:00.000001+00:00",
        "row": {"id": 7, "tags": None},
    }


_ANYTHING = st.none() | st.integers() | st.text() | st.lists(st.text())


@given(
    junk=st.binary(max_size=200),
    wrong=st.dictionaries(st.sampled_from(list(json.loads(letter(1)))), _ANYTHING),
)
def test_letters_that_are_nonsense(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, wrong: dict[str, Any]
) -> None:
    dead = tmp_path_factory.mktemp("dead")
    line = json.dumps({**json.loads(letter(1)), **wrong})
    (dead / f"{CHAIN.hex}.jsonl").write_bytes(junk + f"\n{line}\n{letter(2)}".encode())
    found = list(letters(dead))
    assert any(one.sequence == 2 for one in found)
    for one in found:
        try:
            one.values()
        except DamageError:
            continue


# What cannot be done


def test_no_journal_there(tool: Tool, tmp_path: Path) -> None:
    assert tool("ls") == 2
    assert tool.err.startswith(f"dbint.journal: cannot read the journal {tool.directory}: No such file")
    (tmp_path / "journal").mkdir()
    assert tool("ls") == 0
    (tmp_path / "journal" / "picture.png").write_bytes(b"")
    assert tool("check") == 2
    assert "is not a journal's directory: it has no slot" in tool.err


def test_a_directory_of_journals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        segment(tmp_path / name / "slot-0000", files.rows(1, 2))
    tool = Tool(tmp_path, capsys)
    assert [Path(journal["directory"]).name for journal in tool.json("ls")["journals"]] == ["one", "two"]
    assert tool("ls") == 0
    assert tool.out.count("2 rows wait") == 2
    assert tool("check") == 0
    assert tool("dump") == 2
    named = f"{tmp_path / 'one'}, {tmp_path / 'two'}"
    assert f"there are several journals, name one by --directory: {named}" in tool.err
    assert Tool(tmp_path / "one", capsys).sequences() == [1, 2]


def test_the_directory_of_the_environment(
    slot: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(slot, files.rows(1, 2))
    monkeypatch.setenv("DBINT_JOURNAL_DIR", str(slot.parent.parent))
    assert main(["ls"]) == 0
    assert capsys.readouterr().out.startswith(f"{slot.parent}: 2 rows wait")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["dump", "--limit", "-1"], "argument --limit"),
        (["dump", "--chain", "xyz"], "'xyz' is not the beginning of a chain's id"),
        (["export"], "the following arguments are required: --output"),
        (["dump", "--quarantine", "--landed"], "not allowed with argument --quarantine"),
        (["retarget"], "one of the arguments --clear --to is required"),
        (["retarget", "--to", "nobody"], "invalid UUID value: 'nobody'"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_what_is_no_file(slot: Path, tool: Tool, kind: str) -> None:
    path = segment(slot, files.rows(1, 2))
    path.unlink()
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert tool("check") == 1
    assert f"damage: {path}, byte 0: it is no regular file" in tool.out
    assert tool("repair") == 0
    assert tool("check") == 0
    assert tool.sequences("--quarantine") == []


def test_a_disk_that_cannot_be_read(slot: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = segment(slot, files.rows(1, 2))

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("os.pread", broken)
    for command in ("ls", "check", "dump", "repair"):
        assert tool(command) == 2
        assert tool.err == f"dbint.journal: cannot read {path}: Input/output error\n"
