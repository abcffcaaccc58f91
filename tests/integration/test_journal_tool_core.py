"""Two readers of one format: what the core writes and ships, beside what the tool reads."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbint import _core
from dbint.journal.cli import main
from dbint.journal.directory import Journal
from dbint.journal.rows import Row, Selection, rows
from stack import Endpoint

NOWHERE = "host=127.0.0.1 port=1 user=nobody dbname=nothing"
COLUMNS = {"id": "bigint", "note": "text"}
SELECT = "SELECT id FROM {} ORDER BY id"


def dsn_of(endpoint: Endpoint) -> str:
    credentials = {key: str(value) for key, value in endpoint.credentials.items()}
    return psycopg.conninfo.make_conninfo(
        host=endpoint.host,
        port=endpoint.port,
        user=credentials["username"],
        password=credentials["password"],
        dbname=credentials["database"],
    )


@pytest.fixture
def dsn(postgres: Endpoint) -> str:
    return dsn_of(postgres)


@pytest.fixture
def table(dsn: str) -> Iterator[str]:
    """A table of the test's own with COLUMNS."""
    name = f"journal_tool_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id bigint, note text)")
        yield f"public.{name}"
        connection.execute(f"DROP TABLE {name}")


class Writer:
    """A batch writer on a journal, closed and its pool with it at the end of a block."""

    def __init__(self, directory: Path, dsn: str = NOWHERE, **options: Any) -> None:
        self.pool = _core.Pool(dsn, connect_timeout=2)
        self.writer = _core.BatchWriter(self.pool, directory, **options)

    def __enter__(self) -> _core.BatchWriter:
        return self.writer

    def __exit__(self, *_: object) -> None:
        self.writer.close(0)
        self.pool.close(1)


def read(directory: Path, *, landed: bool = False) -> list[Row]:
    """What the tool reads: nothing may be damaged."""
    found = list(rows(Journal(directory), Selection(), landed=landed))
    assert all(isinstance(row, Row) for row in found), found
    return [row for row in found if isinstance(row, Row)]


def check(directory: Path) -> int:
    return main(["check", "-d", str(directory)])


def test_every_kind_of_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte what the encoder made, with the columns that the stream was opened with."""
    columns = {
        "b": "boolean",
        "n": "numeric(10,2)",
        "t": "varchar(50)",
        "j": "jsonb",
        "u": "uuid",
        "at": "timestamptz",
        "a": "int4[]",
        "d": "double precision not null",
    }
    fill = {"u": "uuid7", "at": "now", "j": "null", "a": "null"}
    values: dict[str, Any] = {"b": True, "n": Decimal("-1.50"), "t": "Ünï", "d": 0.5}
    values |= {"u": uuid.UUID(int=7), "at": None, "j": {"k": [1, None]}, "a": [1, None, 3]}
    with Writer(tmp_path / "j") as writer:
        stream = writer.stream("audit.log", name="audit", columns=columns, fill=fill, lanes=1)  # type: ignore[arg-type]
        stream.write_sync(**values)
        stream.write_sync(b=None, n=None, t=None, d=1.5)
        first, second = read(tmp_path / "j")
        assert first.schema is not None
        described = [(column.name, column.fill, column.nullable) for column in first.schema.columns]
        assert described == [(name, fill.get(name, "none"), name != "d") for name in columns]
        assert first.schema.table == "audit.log"
        assert first.stream == "audit"
        assert first.data == _core.RowEncoder(columns).encode(**values)
        assert first.values() | {"at": None} == {
            "b": True,
            "n": "-1.50",
            "t": "Ünï",
            "j": {"k": [1, None]},
            "u": str(uuid.UUID(int=7)),
            "at": None,
            "a": [1, None, 3],
            "d": 0.5,
        }
        filled = second.values()
        assert uuid.UUID(filled["u"]).version == 7
        assert abs(time.time() - datetime.fromisoformat(filled["at"]).timestamp()) < 60
        assert filled["j"] is filled["a"] is None
        # Asked of the slot of a live process, which is this one.
        (described_journal,) = json_of(capsys, "ls", "-d", str(tmp_path / "j"))["journals"]
        assert f"pid {os.getpid()} " in described_journal["slots"][0]["owner"]


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    main([*arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def test_many_segments_streams_and_lanes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "j"
    written: dict[str, int] = {"one": 4000, "two": 1500}
    with Writer(directory, segment_min=1 << 14, segment_max=1 << 15) as writer:
        for name, count in written.items():
            stream = writer.stream("t", name=name, columns=COLUMNS, lanes=1 if name == "one" else 3)
            for number in range(count):
                stream.write_sync(id=number, note="x" * (number % 50))
        snapshot = writer.snapshot()
        found = read(directory)
        for name, count in written.items():
            assert snapshot["streams"][name]["journaled"] == count
            assert sorted(row.values()["id"] for row in found if row.stream == name) == list(range(count))
        assert check(directory) == 0
        (journal,) = json_of(capsys, "ls", "-d", str(directory))["journals"]
        chains = [chain for slot in journal["slots"] for chain in slot["chains"]]
        for name, count in written.items():
            told = snapshot["streams"][name]
            ours = [chain for chain in chains if chain["stream"] == name]
            assert sum(chain["waiting"] for chain in ours) == count
            assert {chain["id"]: chain["last"] for chain in ours} == {
                chain["chain"]: chain["last"] for chain in told["chains"]
            }
        assert max(chain["segments"] for chain in chains) > 5
    assert len(read(directory)) == sum(written.values())
    assert check(directory) == 0


def test_while_it_is_written(tmp_path: Path, dsn: str, table: str) -> None:
    """A live journal is always sound, while segments come and go."""
    directory = tmp_path / "j"
    done = threading.Event()

    with Writer(directory, dsn, segment_min=1 << 14, segment_max=1 << 14, keep_seconds=0.1) as writer:
        stream = writer.stream(table, columns=COLUMNS)

        def write() -> None:
            number = 0
            while not done.is_set():
                number += 1
                stream.write_sync(id=number, note="x" * 100)
                if number % 200 == 0:
                    time.sleep(0.01)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(10):
                assert check(directory) == 0
                # Segments that land and go meanwhile leave holes; nothing else does.
                sequences = [row.sequence for row in read(directory)]
                assert sequences == sorted(set(sequences))
        finally:
            done.set()
            thread.join()
        assert writer.flush(30) == 0
        assert read(directory) == []
        assert check(directory) == 0


VICTIM = """
import sys
from dbint import _core
pool = _core.Pool("host=127.0.0.1 port=1 user=nobody dbname=nothing")
writer = _core.BatchWriter(pool, sys.argv[1], segment_min=1 << 14, segment_max=1 << 15)
stream = writer.stream("t", columns={"id": "bigint", "note": "text"})
number = 0
while True:
    number += 1
    stream.write_sync(id=number, note="x" * (number % 99))
    if number % 50 == 0:
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize("after", [1, 40, 300])
def test_after_kill_9(tmp_path: Path, after: int, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "j"
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(directory)], stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        acknowledged = 0
        for _ in range(after):
            acknowledged = int(victim.stdout.readline())
        victim.send_signal(signal.SIGKILL)
        for line in victim.stdout:
            acknowledged = int(line) if line.endswith("\n") else acknowledged
    assert check(directory) == 0
    found = read(directory)
    assert (
        [row.values()["id"] for row in found]
        == [row.sequence for row in found]
        == list(range(1, len(found) + 1))
    )
    assert len(found) >= acknowledged > 0
    (journal,) = json_of(capsys, "ls", "-d", str(directory))["journals"]
    assert journal["slots"][0]["owner"] is None


def ship(directory: Path, dsn: str, table: str) -> tuple[list[int], Any]:
    """Lets the core land what it finds in the journal: the ids that landed, and the writer's snapshot."""
    name = table.partition(".")[2]
    with Writer(directory, dsn, adopt_every=0.05) as writer:
        writer.start()
        deadline = time.monotonic() + 20
        while writer.flush(5) != 0 and time.monotonic() < deadline:
            pass
        snapshot = writer.snapshot()
    with psycopg.connect(dsn, autocommit=True) as connection:
        ids = [row[0] for row in connection.execute(SELECT.format(name))]
        connection.execute(f"TRUNCATE {name}")
    return ids, snapshot


@pytest.fixture
def original(tmp_path: Path, table: str) -> Path:
    """A journal of three segments, 300 rows, left by a process that has ended."""
    directory = tmp_path / "original"
    with Writer(directory, segment_min=1 << 14, segment_max=1 << 14) as writer:
        stream = writer.stream(table, columns=COLUMNS)
        for number in range(1, 301):
            stream.write_sync(id=number, note="x" * 100)
    segments = list((directory / "slot-0000").glob("*.seg"))
    assert len(segments) >= 3
    assert len(read(directory)) == 300
    return directory


def copy(original: Path, target: Path) -> Path:
    return Path(shutil.copytree(original, target))


def segments(directory: Path) -> list[Path]:
    return sorted((directory / "slot-0000").glob("*.seg"))


def readable(directory: Path) -> list[int]:
    """The ids that the tool can read, whatever is damaged."""
    found = rows(Journal(directory), Selection())
    return [row.values()["id"] for row in found if isinstance(row, Row)]


@pytest.mark.parametrize("mended", [False, True], ids=["as it is", "after repair"])
def test_damage_means_the_same_to_both(
    original: Path, tmp_path: Path, dsn: str, table: str, mended: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bits flipped anywhere: what the tool reads is what the core ships, before and after repair."""
    random.seed(4)
    differed = 0
    for attempt in range(25):
        directory = copy(original, tmp_path / f"copy-{attempt}")
        path = random.choice(segments(directory))
        used = len(path.read_bytes().rstrip(b"\0"))
        # Not the chain's own state, of which each value may be true.
        offset = random.choice(
            [random.randrange(136), random.randrange(512, 600), random.randrange(4096, used)]
        )
        data = bytearray(path.read_bytes())
        data[offset] ^= 1 << random.randrange(8)
        path.write_bytes(data)
        found = readable(directory)
        differed += len(found) != 300
        if mended:
            assert main(["repair", "-d", str(directory)]) == 0
            assert readable(directory) == found
        ids, snapshot = ship(directory, dsn, table)
        assert ids == found, f"attempt {attempt}: byte {offset} of {path.name}"
        if mended:
            assert snapshot["journal"]["quarantined"] == 0, "the core found what the tool had left"
        shutil.rmtree(directory)
    assert differed > 5
    capsys.readouterr()


def of_another_boot(path: Path) -> None:
    """As after a restart of the machine: what was not synced may be anything."""
    data = bytearray(path.read_bytes())
    data[48:64] = uuid.uuid4().bytes
    meta = int.from_bytes(data[80:84], "little")
    crc = _core.crc32c(data[512 : 512 + meta], _core.crc32c(data[384:512], _core.crc32c(data[:92])))
    data[92:96] = crc.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("durability", ["process", "sync"])
def test_a_power_loss_means_the_same_to_both(
    tmp_path: Path, dsn: str, table: str, durability: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pages that were not written, and parts of pages, anywhere behind what was synced."""
    random.seed(5)
    original = tmp_path / "original"
    with Writer(original, segment_min=1 << 14, segment_max=1 << 14) as writer:
        stream = writer.stream(table, columns=COLUMNS, durability=durability)
        for number in range(1, 301):
            if durability == "sync" and number > 250:
                break
            stream.write_sync(id=number, note="x" * 100)
    for path in segments(original):
        of_another_boot(path)
    total = len(readable(original))
    assert total >= 250
    lengths = set()
    for attempt in range(12):
        directory = copy(original, tmp_path / f"copy-{attempt}")
        # What was synced is there; what was not may be missing from any segment.
        path = random.choice(segments(directory)) if durability == "process" else segments(directory)[-1]
        data = bytearray(path.read_bytes())
        synced = int.from_bytes(data[200:208], "little")
        begin = random.randrange(synced, len(data))
        if random.random() < 0.5:
            begin -= begin % 4096
        begin = max(begin, synced)
        end = min(len(data), begin + random.choice([1, 100, 4096, 8192]))
        data[begin:end] = bytes(end - begin)
        path.write_bytes(data)
        found = readable(directory)
        lengths.add(len(found))
        if durability == "sync":
            assert found == list(range(1, total + 1))
        ids, _ = ship(directory, dsn, table)
        assert ids == found, f"attempt {attempt}: bytes {begin} to {end} of {path.name}"
        shutil.rmtree(directory)
    assert durability == "sync" or len(lengths) > 3
    capsys.readouterr()


Breaker = Callable[[list[Path]], object]


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda paths: paths[0].unlink(), id="first deleted"),
        pytest.param(lambda paths: paths[1].unlink(), id="middle deleted"),
        pytest.param(lambda paths: paths[-1].unlink(), id="last deleted"),
        pytest.param(lambda paths: os.truncate(paths[0], 9000), id="first truncated"),
        pytest.param(lambda paths: os.truncate(paths[-1], 5000), id="last truncated"),
        pytest.param(lambda paths: os.truncate(paths[-1], 0), id="last empty"),
        pytest.param(lambda paths: paths[1].write_bytes(b"GIF89a" * 1000), id="foreign"),
    ],
)
@pytest.mark.parametrize("mended", [False, True], ids=["as it is", "after repair"])
def test_lost_files_mean_the_same_to_both(
    original: Path, dsn: str, table: str, breaks: Breaker, mended: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(segments(original))
    assert check(original) == 1
    found = readable(original)
    assert 0 < len(found) < 300
    if mended:
        assert main(["repair", "-d", str(original)]) == 0
        assert check(original) == 0
        assert readable(original) == found
    ids, _ = ship(original, dsn, table)
    assert ids == found
    capsys.readouterr()


def test_retargeted_events_land_in_the_other_server(
    tmp_path: Path, dsn: str, table: str, private_stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held at the other server until they are retargeted; what had landed before does not land again."""
    directory, name = tmp_path / "j", table.partition(".")[2]
    with Writer(directory, dsn) as writer:
        stream = writer.stream(table, columns=COLUMNS)
        for number in range(1, 11):
            stream.write_sync(id=number, note="landed")
        assert writer.flush(20) == 0
    with Writer(directory) as writer:
        stream = writer.stream(table, columns=COLUMNS)
        for number in range(11, 21):
            stream.write_sync(id=number, note="waits")
    private_stack.up(["postgres"])
    elsewhere = dsn_of(private_stack.endpoint("postgres"))
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id bigint, note text)")
    with Writer(directory, elsewhere) as writer:
        writer.start()
        assert writer.flush(3) == 10
        (chain,) = writer.snapshot()["streams"][table]["chains"]
        assert chain["state"] == "held"
    assert main(["retarget", "-d", str(directory), "--clear", "--yes"]) == 0
    assert "10 rows of stream" in capsys.readouterr().out
    ids, snapshot = ship(directory, elsewhere, table)
    assert ids == list(range(11, 21))
    assert snapshot["streams"][table]["lost_by_server"] == 0


def test_dead_letters_of_the_core(
    tmp_path: Path, dsn: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused by the server, read by the tool, resubmitted once somebody has mended the table."""
    directory, name = tmp_path / "j", table.partition(".")[2]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {name} ADD CONSTRAINT odd CHECK (id % 10 <> 3)")
        with Writer(directory, dsn) as writer:
            stream = writer.stream(table, columns=COLUMNS)
            for number in range(100):
                stream.write_sync(id=number, note=f"note {number}")
            assert writer.flush(20) == 0
            assert writer.snapshot()["streams"][table]["dead"] == 10
            (journal,) = json_of(capsys, "ls", "-d", str(directory))["journals"]
            assert journal["dead_letters"] == 10
        assert main(["dump", "--dead", "-d", str(directory), "--limit", "1"]) == 0
        out = capsys.readouterr().out
        assert "refused by 23514: new row for relation" in out
        assert out.endswith('{"id": 3, "note": "note 3"}\n')
        resubmit = ["resubmit", "-d", str(directory), "--dsn", dsn]
        assert main(resubmit) == 1
        assert "10 was refused again" in capsys.readouterr().out
        connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT odd")
        assert main(resubmit) == 0
        assert main(resubmit) == 0
        ids = [row[0] for row in connection.execute(SELECT.format(name))]
        assert ids == list(range(100))
    (journal,) = json_of(capsys, "ls", "-d", str(directory))["journals"]
    assert journal["dead_letters"] == 0
