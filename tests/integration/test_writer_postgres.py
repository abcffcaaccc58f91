"""BatchWriter on a real server: what lands, in which order, and what becomes of it when things change."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbint._core import BatchWriter, Pool, Stream
from dbint.errors import ConfigurationError, QueueFullError
from stack import Endpoint, Stack

COLUMNS = {"id": "int8 not null", "name": "text"}
CREATE = "CREATE TABLE {} (id int8 PRIMARY KEY, name text, landed_at timestamptz DEFAULT clock_timestamp())"


def conninfo_of(endpoint: Endpoint) -> str:
    credentials = endpoint.credentials
    return psycopg.conninfo.make_conninfo(
        host=endpoint.host,
        port=endpoint.port,
        user=credentials["username"],
        password=credentials["password"],
        dbname=credentials["database"],
    )


@pytest.fixture
def conninfo(postgres: Endpoint) -> str:
    return conninfo_of(postgres)


@pytest.fixture
def server(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with an empty table ``writer_test``."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS writer_test")
        connection.execute(CREATE.format("writer_test"))
        yield connection
        connection.execute("DROP TABLE writer_test")


Maker = Callable[..., BatchWriter]


@pytest.fixture
def make(conninfo: str, tmp_path: Path) -> Iterator[Maker]:
    made: list[BatchWriter] = []

    def writer(**arguments: Any) -> BatchWriter:
        made.append(BatchWriter(Pool(arguments.pop("conninfo", conninfo)), tmp_path / "journal", **arguments))
        return made[-1]

    yield writer
    for one in made:
        one.close(0)


def ids(server: psycopg.Connection[Any]) -> list[int]:
    return [row[0] for row in server.execute("SELECT id FROM writer_test ORDER BY id")]


def total(figures: Any) -> int:
    return int(
        sum(figures[key] for key in ("landed", "journaled", "dead", "damaged", "lost_by_server"))
        + figures["dropped"]["oldest"]
    )


def until(condition: Callable[[], object], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_landed(stream: Stream, count: int) -> None:
    figures = stream.snapshot()
    assert (figures["landed"], figures["journaled"]) == (count, 0)
    assert figures["accepted"] + figures["recovered"] == total(figures) == count


# --- landing ---


def test_what_was_written_lands_once(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make()
    stream = writer.stream("public.writer_test")
    assert list(stream.columns) == [
        "id",
        "name",
        "landed_at",
    ]  # the last need not be given: its default is a time

    async def run() -> None:
        for number in range(5000):
            await stream.write(id=number, name=f"event {number}")
        assert await writer.flush_async(30) == 0

    asyncio.run(run())
    assert ids(server) == list(range(5000))
    check_landed(stream, 5000)
    assert writer.close() == 0
    check_landed(stream, 5000)


def test_a_whole_batch_goes_at_once_and_a_part_of_one_after_its_time(
    make: Maker, server: psycopg.Connection[Any]
) -> None:
    stream = make().stream("writer_test", columns=COLUMNS, batch_size=10, batch_timeout=1.5)
    for number in range(10):
        stream.write_sync(id=number, name=None)
    began = time.monotonic()
    until(lambda: ids(server) == list(range(10)))
    assert time.monotonic() - began < 1.2
    stream.write_sync(id=10, name=None)
    began = time.monotonic()
    until(lambda: ids(server) == list(range(11)))
    assert 1.2 < time.monotonic() - began < 6


THREADS = Path("/proc/self/task")


def wakes(threads: set[Path]) -> int:
    """How often these threads of this process have waited for something."""
    statuses = [(thread / "status").read_text() for thread in threads]
    return sum(
        int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[0]) for text in statuses
    )


def test_a_writer_with_little_to_do_lets_its_machine_sleep(
    make: Maker, server: psycopg.Connection[Any]
) -> None:
    others = set(THREADS.iterdir())
    stream = make().stream("writer_test", columns=COLUMNS)
    stream.write_sync(id=1, name="only")
    until(lambda: ids(server) == [1])
    threads = set(THREADS.iterdir()) - others
    assert len(threads) >= 2  # the shipper and the keeper, at least
    least = 1000
    for _ in range(5):  # a check of a connection may come between
        before = wakes(threads)
        time.sleep(0.5)
        least = min(least, wakes(threads) - before)
    assert least <= 12  # of which 5 looks for rows and 3 rounds of the keeper


def test_lanes_land_side_by_side(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make(shippers=4)
    stream = writer.stream("writer_test", columns=COLUMNS, lanes=4)
    for number in range(20_000):
        stream.write_sync(id=number, name=None)
    assert writer.flush(60) == 0
    assert ids(server) == list(range(20_000))
    figures = stream.snapshot()
    assert [chain["landed"] > 0 for chain in figures["chains"]] == [True] * 4
    check_landed(stream, 20_000)


def test_a_key_keeps_its_order(make: Maker, server: psycopg.Connection[Any]) -> None:
    """Rows of one key go through one lane, so what is later in it is in the same or a later transaction."""
    writer = make(shippers=4)
    stream = writer.stream("writer_test", columns=COLUMNS, lanes=4, lane_key="name", batch_size=10)
    for number in range(5000):
        stream.write_sync(id=number, name=f"key {number % 7}")
        if number % 100 == 0:
            time.sleep(0.002)
    assert writer.flush(60) == 0
    rows = server.execute("SELECT id, name, xmin::text::int8, ctid FROM writer_test ORDER BY id").fetchall()
    assert len(rows) == 5000
    last: dict[str, int] = {}
    for _, name, transaction, _ in rows:
        assert last.get(name, 0) <= transaction
        last[name] = transaction


def test_several_loops_and_threads_share_a_stream(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make()
    stream = writer.stream("writer_test", columns=COLUMNS, durability="sync", lanes=2)

    async def some(first: int) -> None:
        await asyncio.gather(*(stream.write(id=first + number, name=None) for number in range(100)))
        await writer.flush_async(30)

    def loops(first: int) -> None:
        for part in range(3):
            asyncio.run(some(first + 100 * part))

    def plain(first: int) -> None:
        for number in range(300):
            stream.write_sync(id=first + number, name=None)

    threads = [
        threading.Thread(target=target, args=(1000 * index,))
        for index, target in enumerate((loops, loops, plain, plain))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(30) == 0
    assert len(ids(server)) == 1200
    check_landed(stream, 1200)


def test_memory_lands_too(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make()
    stream = writer.stream("writer_test", columns=COLUMNS, durability="memory")
    for number in range(100):
        stream.write_sync(id=number, name=None)
    assert writer.flush(30) == 0
    assert ids(server) == list(range(100))


# --- no room, and then room ---


def test_those_who_wait_for_room_go_on_in_order(make: Maker, server: psycopg.Connection[Any]) -> None:
    """The table is locked, so that nothing lands; then it is unlocked."""
    writer = make(max_bytes=200 * 1024, segment_min=16384, segment_max=65536, keep_bytes=0, keep_seconds=0.0)
    stream = writer.stream("writer_test", columns=COLUMNS, batch_size=1)
    done: list[int] = []

    async def one(number: int) -> None:
        await stream.write(id=number, name="x" * 100)
        done.append(number)

    async def run() -> None:
        with server.transaction():
            server.execute("LOCK TABLE writer_test")
            number = 0
            while not stream.snapshot()["waiting"]:
                task = asyncio.create_task(one(number))
                await asyncio.sleep(0)
                number += 1
            tasks = [task, *(asyncio.create_task(one(number + more)) for more in range(500))]
            await asyncio.sleep(0.2)
            assert stream.snapshot()["waiting"] == 501
            assert not task.done()
        await asyncio.gather(*tasks)
        assert await writer.flush_async(60) == 0
        assert done == sorted(done)
        assert len(done) == number + 500

    asyncio.run(run())
    check_landed(stream, len(done))
    assert ids(server) == sorted(done)


def test_a_thread_that_waits_for_room_goes_on(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make(max_bytes=200 * 1024, segment_min=16384, segment_max=65536, keep_bytes=0, keep_seconds=0.0)
    stream = writer.stream("writer_test", columns=COLUMNS, batch_size=1)
    for number in range(20_000):  # fifty times what there is room for
        stream.write_sync(id=number, name="x" * 500)
    assert writer.flush(60) == 0
    assert ids(server) == list(range(20_000))
    check_landed(stream, 20_000)


def test_what_was_dropped_and_what_landed_are_all_there_was(
    make: Maker, server: psycopg.Connection[Any]
) -> None:
    """The oldest rows go while the table is locked, and while others are landing."""
    writer = make(max_bytes=300 * 1024, segment_min=16384, segment_max=65536, keep_bytes=0, keep_seconds=0.0)
    stream = writer.stream("writer_test", columns=COLUMNS, batch_size=1, when_full="drop_oldest")
    with server.transaction():
        server.execute("LOCK TABLE writer_test")
        for number in range(5000):
            stream.write_sync(id=number, name="x" * 200)
    for number in range(5000, 30_000):
        stream.write_sync(id=number, name="x" * 200)
    assert writer.flush(60) == 0
    figures = stream.snapshot()
    dropped = figures["dropped"]["oldest"]
    landed = ids(server)
    assert dropped > 1000
    assert landed[-1] == 29_999
    assert len(landed) == figures["landed"] == 30_000 - dropped
    assert figures["accepted"] == total(figures) == 30_000


def test_a_disk_that_is_full(
    conninfo: str, server: psycopg.Connection[Any], small_disk: Callable[[int], Path]
) -> None:
    """Less room than the cap allows: full is full, and room that is made is used again."""
    writer = BatchWriter(Pool(conninfo), small_disk(8 << 20) / "journal", keep_bytes=0, keep_seconds=0.0)
    rejecting = writer.stream("writer_test", columns=COLUMNS, name="rejecting", when_full="reject")
    blocking = writer.stream("writer_test", columns=COLUMNS, name="blocking")

    def write_on() -> None:
        for number in range(100_000):
            rejecting.write_sync(id=number, name="x" * 500)

    with server.transaction():
        server.execute("LOCK TABLE writer_test")
        with pytest.raises(QueueFullError, match=r'"rejecting" is full'):
            write_on()
    taken = rejecting.snapshot()["accepted"]
    assert taken > 5000
    assert writer.flush(60) == 0
    for number in range(20_000):
        blocking.write_sync(id=100_000 + number, name="x" * 500)
    assert writer.close(60) == 0
    assert (rejecting.snapshot()["landed"], rejecting.snapshot()["rejected"]) == (taken, 1)
    check_landed(blocking, 20_000)
    assert len(ids(server)) == taken + 20_000


def test_bad_rows_are_accounted_for(make: Maker, server: psycopg.Connection[Any], tmp_path: Path) -> None:
    server.execute("ALTER TABLE writer_test ADD CHECK (name <> 'bad')")
    writer = make()
    stream = writer.stream("writer_test", columns=COLUMNS)
    for number in range(10_000):
        stream.write_sync(id=number, name="bad" if number in (17, 5000, 9999) else "good")
    assert writer.flush(60) == 0
    figures = stream.snapshot()
    assert (figures["accepted"], figures["landed"], figures["dead"]) == (10_000, 9997, 3)
    assert total(figures) == 10_000
    [letters] = (tmp_path / "journal" / "dead").iterdir()
    assert len(letters.read_text().splitlines()) == 3
    assert set(range(10_000)) - set(ids(server)) == {17, 5000, 9999}


# --- columns ---


def test_columns_are_remembered_while_the_server_is_away(
    make: Maker, server: psycopg.Connection[Any], tmp_path: Path
) -> None:
    first = make()
    known = first.stream("public.writer_test").columns
    named = first.stream("public.writer_test", name="named", columns=["name", "id"]).columns
    first.close(0)
    kept = sorted((tmp_path / "journal" / "schemas").iterdir())
    assert len(kept) == 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}

    away = make(conninfo="host=127.0.0.1 port=1 gssencmode=disable")
    stream = away.stream("public.writer_test")
    assert stream.columns == known
    assert away.stream("public.writer_test", name="named", columns=["name", "id"]).columns == named
    stream.write_sync(id=1, name="while it is away")
    assert away.close(0) == 1

    for path in kept:  # what is damaged is as good as nothing
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    again = make(conninfo="host=127.0.0.1 port=1 gssencmode=disable")
    with pytest.raises(Exception, match="not known"):
        again.stream("public.writer_test", timeout=1)
    again.close(0)

    last = make()
    last.start()
    until(lambda: ids(server) == [1])


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("public.nowhere", None, "nowhere"),
        ("writer_test", ["id", "colour"], "colour"),
    ],
)
def test_a_table_that_is_not_there(
    make: Maker, server: psycopg.Connection[Any], table: str, columns: list[str] | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make().stream(table, columns=columns)


def test_events_follow_a_column_that_changes_its_type(make: Maker, server: psycopg.Connection[Any]) -> None:
    server.execute("ALTER TABLE writer_test ADD COLUMN amount int4")
    writer = make()
    stream = writer.stream("public.writer_test", columns=["id", "amount"])
    stream.write_sync(id=1, amount=1)
    assert writer.flush(30) == 0
    server.execute("ALTER TABLE writer_test ALTER COLUMN amount TYPE numeric, ADD COLUMN more text")
    stream.write_sync(id=2, amount=2)
    assert writer.flush(30) == 0
    until(lambda: stream.columns["amount"] == "numeric")
    stream.write_sync(id=3, amount=3)
    assert writer.flush(30) == 0
    rows = server.execute("SELECT id, amount::int FROM writer_test ORDER BY id").fetchall()
    assert rows == [(1, 1), (2, 2), (3, 3)]
    check_landed(stream, 3)


def test_a_held_stream_holds_up_no_other_and_is_retried(make: Maker, server: psycopg.Connection[Any]) -> None:
    writer = make(shippers=1)
    held = writer.stream("public.not_yet", columns=COLUMNS)
    fine = writer.stream("writer_test", columns=COLUMNS)
    held.write_sync(id=1, name="held")
    until(lambda: writer.snapshot()["held"] == 1)
    [chain] = held.snapshot()["chains"]
    assert "not_yet" in (chain["reason"] or "")
    for number in range(100):
        fine.write_sync(id=number, name=None)
    until(lambda: fine.snapshot()["landed"] == 100)
    server.execute(CREATE.format("not_yet"))
    try:
        writer.retry()
        until(lambda: held.snapshot()["landed"] == 1)
        assert writer.snapshot()["held"] == 0
    finally:
        server.execute("DROP TABLE not_yet")


# --- processes ---


def script(directory: Path, conninfo: str, body: str) -> list[str]:
    head = f"""
        import os, signal, sys, time
        from dbint._core import BatchWriter, Pool
        writer = BatchWriter(Pool({conninfo!r}), {os.fspath(directory)!r})
        stream = writer.stream("writer_test", columns={COLUMNS!r}, batch_timeout=60.0, batch_size=10**6)
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


def test_the_interpreters_end_lands_what_is_pending(
    conninfo: str, server: psycopg.Connection[Any], tmp_path: Path
) -> None:
    body = "for number in range(1000): stream.write_sync(id=number, name=None)"
    ended = subprocess.run(
        script(tmp_path / "journal", conninfo, body), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ids(server) == list(range(1000))


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_a_death_loses_nothing(
    conninfo: str, server: psycopg.Connection[Any], tmp_path: Path, make: Maker, end: str
) -> None:
    body = f"""
        for number in range(1000): stream.write_sync(id=number, name=None)
        {end}
        time.sleep(10)
    """
    subprocess.run(script(tmp_path / "journal", conninfo, body), timeout=60, check=False)
    assert ids(server) == []
    make().start()
    until(lambda: ids(server) == list(range(1000)))


def test_one_that_is_killed_while_it_ships(
    conninfo: str, server: psycopg.Connection[Any], tmp_path: Path, make: Maker
) -> None:
    body = """
        number = 0
        while True:
            stream.write_sync(id=number, name="x" * 100)
            number += 1
            if number % 1000 == 0:
                print(number, flush=True)
                writer.flush(0)
    """
    for _ in range(5):
        server.execute("TRUNCATE writer_test")
        with subprocess.Popen(
            script(tmp_path / "journal", conninfo, body), stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            accepted = 0
            for line in victim.stdout:
                accepted = int(line)
                if accepted >= 20_000:
                    victim.send_signal(signal.SIGKILL)
                    break
        writer = make()
        writer.start()
        until(lambda: writer.snapshot()["streams"]["writer_test"]["journaled"] == 0)  # noqa: B023 - at once
        landed = ids(server)
        assert landed == list(range(len(landed)))
        assert len(landed) >= accepted
        writer.close()


# --- the server goes away ---


def test_a_server_that_restarts(postgres_private: Stack, tmp_path: Path) -> None:
    conninfo = conninfo_of(postgres_private.endpoint("postgres"))
    with psycopg.connect(conninfo, autocommit=True) as server:
        server.execute(CREATE.format("writer_test"))
    writer = BatchWriter(Pool(conninfo), tmp_path / "journal")
    stream = writer.stream("writer_test", columns=COLUMNS)
    for number in range(1000):
        stream.write_sync(id=number, name=None)
    assert writer.flush(30) == 0
    postgres_private.stop("postgres")
    for number in range(1000, 2000):
        stream.write_sync(id=number, name=None)
    assert writer.flush(1) == 1000
    postgres_private.up(["postgres"])
    writer.retry()
    assert writer.flush(60) == 0
    check_landed(stream, 2000)
    with psycopg.connect(conninfo) as server:
        assert ids(server) == list(range(2000))
    assert writer.close() == 0
