"""Disks that are full or read-only, journals that were damaged or put back: each event is accounted for."""

import json
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dbint.errors import JournalError
from dbint.events import DatabaseConfig, DatabaseIntegrationLayer
from tests.faults.events import event, journal_tool, landed, run, writing

NOWHERE = 1  # a port on which no server listens
RECORDS = 4096  # where the records of a segment begin here (csrc/core/journal.h)


def left_behind(config: DatabaseConfig, first: int, count: int, size: int = 0, port: int = NOWHERE) -> None:
    """Events of a process that was killed, with ``size`` bytes of JSON each; with a port they have landed."""
    done = run(
        replace(config, port=port),
        f"""
        import os, signal
        from dbint.events import get_database_layer
        layer = get_database_layer()
        for number in range({first}, {first + count}):
            layer.write_trace_event_sync(
                trace_id="faults", event_type="STEP", level="INFO", message=str(number), metadata="x" * {size}
            )
        assert {port == NOWHERE} or layer.flush_sync(30) == 0
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -9, done.stderr


def head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(RECORDS)


def number_at(path: Path, offset: int) -> int:
    """A checked number, or another one, of a segment's header."""
    return int.from_bytes(head(path)[offset : offset + 6], "little")


def segments(config: DatabaseConfig) -> list[Path]:
    """The files with events, oldest first; not those that were made ahead of time."""
    found = [path for path in config.journal_path.glob("slot-*/*.seg") if b"trace_events" in head(path)]
    return sorted(path for path in found if number_at(path, 192) > RECORDS)


@contextmanager
def opened(path: Path) -> Iterator[bytearray]:
    """The bytes of a file, to be changed."""
    content = bytearray(path.read_bytes())
    yield content
    path.write_bytes(content)


# Damage. Each gets the only file, in which b"1150" stands once: in the message of the 151st of 300 events.


def flip(path: Path) -> None:
    """One bit of one record."""
    with opened(path) as content:
        content[content.index(b"1150", RECORDS)] ^= 1


def tear(path: Path) -> None:
    """All after the middle of one record, as after a power loss."""
    with opened(path) as content:
        middle = content.index(b"1150", RECORDS)
        content[middle:] = bytes(len(content) - middle)


def cut(path: Path) -> None:
    """The same, with the end of the file."""
    with opened(path) as content:
        del content[content.index(b"1150", RECORDS) :]


@pytest.mark.parametrize(("damage", "lost"), [(flip, 1), (tear, 150), (cut, 150)])
def test_damage_costs_what_it_hit_and_is_told(
    damage: Callable[[Path], None], lost: int, config: DatabaseConfig
) -> None:
    left_behind(config, 1000, 300)
    (path,) = segments(config)
    damage(path)
    told = journal_tool(config, "check", "--format", "json")
    assert told.returncode == 1
    places = [one for one in json.loads(told.stdout)["findings"] if one["path"].endswith(path.name)]
    assert (151, 150 + lost) in [(one["first"], one["last"]) for one in places]
    with writing(config) as events:
        events.write(100)
        events.settle(recovered=300, damaged=lost)
    kept = [number for number in range(1000, 1300) if not 1150 <= number < 1150 + lost]
    assert landed(config) == sorted(str(number) for number in (*range(100), *kept))
    if damage is not cut:  # of which next to nothing is left to be set aside
        told_of = [text.read_text() for text in (config.journal_path / "quarantine").glob("*.txt")]
        assert any(path.name in text for text in told_of)


def test_a_deleted_segment_is_counted(config: DatabaseConfig) -> None:
    left_behind(config, 1000, 400, size=10_000)
    _, second, third = segments(config)
    gone = range(999 + number_at(second, 128), 999 + number_at(third, 128))
    assert gone
    second.unlink()
    with writing(config) as events:
        events.write(100)
        events.settle(recovered=400, damaged=len(gone))
        assert events.figures()["damaged"] == events.layer.get_health_metrics_sync().events_lost == len(gone)
    kept = [number for number in range(1000, 1400) if number not in gone]
    assert landed(config) == sorted(str(number) for number in (*range(100), *kept))


def test_a_later_format_is_left_alone(config: DatabaseConfig) -> None:
    """Until a version comes that knows it; meanwhile there is another slot."""
    left_behind(config, 1000, 300)
    (path,) = segments(config)
    before = path.read_bytes()
    with opened(path) as content:
        content[8:12] = (2).to_bytes(4, "little")
        content[92:96] = b"else"  # where version 1 has its checksum: this is no version 1 with a flipped bit
    later = path.read_bytes()
    with writing(config) as events:
        events.write(100)
        events.settle()
        (warning,) = events.layer.writer.snapshot()["journal"]["warnings"]
        assert f"{path.parent.name}/{path.name} has a newer format" in warning
    assert path.read_bytes() == later
    path.write_bytes(before)
    with writing(config) as events:
        events.settle(recovered=300, others=100)


def test_a_copy_of_the_volume_that_is_put_back(config: DatabaseConfig) -> None:
    """The ledger knows sequences that the copy does not: new events are not taken for those."""
    left_behind(config, 10_000, 100, port=config.port)
    copy = config.journal_path.with_name("copy")
    shutil.copytree(config.journal_path, copy)
    left_behind(config, 20_000, 200, port=config.port)
    shutil.rmtree(config.journal_path)
    copy.rename(config.journal_path)
    with writing(config) as events:
        events.write(150)
        events.settle(others=300)
    with writing(config) as events:
        events.write(10, first=150)
        events.settle(others=450)


# --- disks ---

# What a program does until its journal is full; more than the disk may then be asked for.
FILL = """
import asyncio, json, os, sys, time
from dbint.errors import QueueFullError
from dbint.events import DatabaseConfig, DatabaseIntegrationLayer

def layer(**fields):
    return DatabaseIntegrationLayer(DatabaseConfig.from_env(background=False, **fields))

def event(number):
    fields = dict(trace_id="faults", event_type="STEP", level="INFO", message=str(number))
    return dict(fields, metadata="x" * 10_000)
"""


def program_said(config: DatabaseConfig, body: str) -> dict[str, str | int]:
    """The JSON that a program prints. One that is killed (by SIGBUS, on a full disk) is an error."""
    done = run(config, FILL + textwrap.dedent(body))
    assert done.returncode == 0, (done.returncode, done.stderr)
    said: dict[str, str | int] = json.loads(done.stdout)
    return said


def test_a_full_disk(config: DatabaseConfig, small_disk: Callable[[int], Path]) -> None:
    """What was taken stays, what is refused is told so, and with room again it goes on."""
    disk = small_disk(12 << 20)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    on_disk = replace(config, journal_dir=str(disk))
    said = program_said(
        replace(on_disk, port=NOWHERE),
        f"""
        db = layer(when_full="reject")
        taken = 0

        def fill():
            global taken
            try:
                while taken < 3000:
                    db.write_trace_event_sync(**event(taken))
                    taken += 1
            except QueueFullError as error:
                return str(error)

        why = fill()
        first = taken
        assert fill() and taken == first
        os.unlink({str(ballast)!r})
        deadline = time.monotonic() + 20
        while taken == first and time.monotonic() < deadline:
            fill()
            time.sleep(0.05)
        print(json.dumps({{"why": why, "first": first, "taken": taken}}), flush=True)
        os._exit(0)
        """,
    )
    why = str(said["why"])
    assert f'stream "trace_events" is full: the journal {on_disk.journal_path} holds ' in why
    assert "make room on its disk" in why
    assert why.endswith("(when_full): No space left on device")
    assert 0 < int(said["first"]) < int(said["taken"]) < 3000
    with writing(on_disk) as events:
        events.layer.writer.start()
        events.settle(recovered=int(said["taken"]))


def test_who_waits_for_room_on_a_full_disk_goes_on(
    config: DatabaseConfig, small_disk: Callable[[int], Path]
) -> None:
    """More than four times what the disk holds goes through it, while the server takes it."""
    on_disk = replace(config, journal_dir=str(small_disk(8 << 20)))
    said = program_said(
        on_disk,
        """
        async def main():
            db = layer()
            await db.initialize()
            for number in range(3500):
                await asyncio.wait_for(db.write_trace_event(**event(number)), 30)
            return await db.shutdown(30)

        print(json.dumps({"left": asyncio.run(main())}))
        """,
    )
    assert said == {"left": 0}
    assert len(landed(config)) == 3500


def test_a_read_only_directory_is_named(config: DatabaseConfig, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1 << 20)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    layer = DatabaseIntegrationLayer(replace(config, journal_dir=str(disk)))
    with pytest.raises(JournalError, match=f"{disk}.*Read-only file system.*DBINT_JOURNAL_DIR"):
        layer.write_trace_event_sync(**event(0))
    layer.shutdown_sync(0)
