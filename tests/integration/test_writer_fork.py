"""Forks: what the parent took is the parent's, and a child's writer begins afresh, with a slot of its own."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbint._core import BatchWriter, Pool
from stack import Endpoint

COLUMNS = {"id": "int8 not null", "name": "text"}


@pytest.fixture
def conninfo(postgres: Endpoint) -> str:
    credentials = postgres.credentials
    return psycopg.conninfo.make_conninfo(
        host=postgres.host,
        port=postgres.port,
        user=credentials["username"],
        password=credentials["password"],
        dbname=credentials["database"],
    )


@pytest.fixture
def server(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS writer_fork")
        connection.execute(
            "CREATE TABLE writer_fork (id int8 NOT NULL, name text)"
        )  # no key: doubles would show
        yield connection
        connection.execute("DROP TABLE writer_fork")


def rows(server: psycopg.Connection[Any]) -> dict[str, int]:
    """How many rows of each name there are, all of them different."""
    found = server.execute(
        "SELECT name, count(*), count(DISTINCT id) FROM writer_fork GROUP BY name"
    ).fetchall()
    assert all(count == distinct for _, count, distinct in found)
    return {name: count for name, count, _ in found}


def until(condition: Callable[[], object], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What a script begins with: put(name, count) writes events, child(function) forks and runs it in the child.
HEAD = """
    import multiprocessing, os, sys, threading, time
    from dbint._core import BatchWriter, Pool

    pool = Pool({conninfo!r})
    writer = BatchWriter(pool, {directory!r}, adopt_every=0.2)
    stream = writer.stream("writer_fork", columns={columns!r})

    def put(name, count=100):
        for number in range(count):
            stream.write_sync(id=number, name=name)

    def child(function):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                function()
                code = 0
            finally:
                os._exit(code)
        return pid

    def ended(*pids):
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0, pid
"""


@pytest.fixture
def run(conninfo: str, tmp_path: Path) -> Callable[[str], None]:
    """Runs a script to its end, which must be good."""

    def run_script(body: str) -> None:
        head = HEAD.format(conninfo=conninfo, directory=os.fspath(tmp_path / "journal"), columns=COLUMNS)
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(head) + textwrap.dedent(body))
        ended = subprocess.run(
            [sys.executable, path], capture_output=True, text=True, timeout=120, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, "")

    return run_script


def test_parent_and_child_write_side_by_side(
    run: Callable[[str], None], server: psycopg.Connection[Any]
) -> None:
    run("""
        put("parent")

        def in_child():
            assert stream.snapshot()["accepted"] == 0
            assert writer.flush(0) == 0
            put("child")
            assert stream.snapshot()["accepted"] == 100
            assert writer.snapshot()["journal"]["slot"] == 1
            assert writer.close(30) == 0

        pid = child(in_child)
        put("parent after")
        ended(pid)
        assert stream.snapshot()["accepted"] == 200
        assert writer.close(30) == 0
    """)
    assert rows(server) == {"parent": 100, "child": 100, "parent after": 100}


def test_what_a_child_leaves_the_parent_adopts(
    run: Callable[[str], None], server: psycopg.Connection[Any]
) -> None:
    run("""
        put("parent")
        ended(child(lambda: put("child")), child(lambda: put("other child")))
        deadline = time.monotonic() + 30
        while stream.snapshot()["recovered"] < 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert writer.flush(30) == 0
    """)
    assert rows(server) == {"parent": 100, "child": 100, "other child": 100}


def test_prefork(run: Callable[[str], None], server: psycopg.Connection[Any]) -> None:
    """As gunicorn with preload_app: all is made before the fork, nothing is written before it."""
    run("""
        def worker(number):
            put(f"worker {number}", 1000)
            assert writer.close(30) == 0

        ended(*[child(lambda number=number: worker(number)) for number in range(4)])
        assert not writer.snapshot()["running"]
    """)
    assert rows(server) == {f"worker {number}": 1000 for number in range(4)}


def test_a_child_of_a_child(run: Callable[[str], None], server: psycopg.Connection[Any]) -> None:
    run("""
        put("parent")

        def in_child():
            put("child")
            ended(child(in_grandchild))
            assert writer.close(30) == 0

        def in_grandchild():
            put("grandchild")
            assert writer.close(30) == 0

        ended(child(in_child))
        assert writer.close(30) == 0
    """)
    assert rows(server) == {"parent": 100, "child": 100, "grandchild": 100}


def test_forks_from_threads_while_others_write(
    run: Callable[[str], None], server: psycopg.Connection[Any]
) -> None:
    run("""
        stop = threading.Event()

        def forever(name):
            number = 0
            while not stop.is_set():
                stream.write_sync(id=number, name=name)
                number += 1
                if number % 50 == 0:
                    time.sleep(0.001)

        def fork_one(name):
            def in_child():
                put(name, 50)
                assert writer.close(30) == 0

            ended(child(in_child))

        writers = [threading.Thread(target=forever, args=(f"thread {index}",)) for index in range(2)]
        forkers = [threading.Thread(target=fork_one, args=(f"child {index}",)) for index in range(6)]
        for thread in writers + forkers:
            thread.start()
        for _ in range(5):
            ended(child(lambda: None))
        for thread in forkers:
            thread.join()
        stop.set()
        for thread in writers:
            thread.join()
        assert writer.close(30) == 0
        figures = stream.snapshot()
        assert figures["landed"] == figures["accepted"]
    """)
    found = rows(server)
    assert {name: count for name, count in found.items() if name.startswith("child")} == {
        f"child {index}": 50 for index in range(6)
    }


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(conninfo: str, server: psycopg.Connection[Any], tmp_path: Path, method: str) -> None:
    """A process of multiprocessing ends without atexit: what it did not flush, another adopts."""
    directory = os.fspath(tmp_path / "journal")
    context = multiprocessing.get_context(method)
    processes = [
        context.Process(target=write_some, args=(conninfo, directory, f"process {index}"))
        for index in range(3)
    ]
    writer = BatchWriter(Pool(conninfo), directory, adopt_every=0.2)
    stream = writer.stream("writer_fork", columns=COLUMNS)
    stream.write_sync(id=0, name="main")
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    expected = {"main": 1, **{f"process {index}": 100 for index in range(3)}}
    until(lambda: rows(server) == expected)
    assert writer.close(30) == 0


def write_some(conninfo: str, directory: str, name: str) -> None:
    writer = BatchWriter(Pool(conninfo), directory)
    stream = writer.stream("writer_fork", columns=COLUMNS, batch_timeout=60.0, batch_size=10**6)
    for number in range(100):
        stream.write_sync(id=number, name=name)


def test_a_child_may_end_by_the_interpreters_end(
    run: Callable[[str], None], server: psycopg.Connection[Any]
) -> None:
    """sys.exit() in a child runs atexit hooks: they land the child's events and leave the parent's alone."""
    run("""
        put("parent", 10)
        if os.fork() == 0:
            put("child", 10)
            sys.exit(0)
        os.wait()
        put("parent again", 10)
    """)
    assert rows(server) == {"parent": 10, "child": 10, "parent again": 10}


def test_a_childs_event_loop(run: Callable[[str], None], server: psycopg.Connection[Any]) -> None:
    run("""
        import asyncio
        synced = writer.stream("writer_fork", columns={"id": "int8 not null", "name": "text"}, name="synced",
                               durability="sync")

        async def some(name):
            await asyncio.gather(*(synced.write(id=number, name=name) for number in range(50)))
            assert await writer.flush_async(30) == 0

        asyncio.run(some("parent"))

        def in_child():
            asyncio.run(some("child"))

        ended(child(in_child))
        asyncio.run(some("parent again"))
    """)
    assert rows(server) == {"parent": 50, "child": 50, "parent again": 50}


def test_a_fork_from_a_running_loop(run: Callable[[str], None], server: psycopg.Connection[Any]) -> None:
    """The child's loop is another one, and takes no answer away from the parent's."""
    run("""
        import asyncio
        synced = writer.stream("writer_fork", columns={"id": "int8 not null", "name": "text"}, name="synced",
                               durability="sync")

        async def some(name, first):
            for number in range(first, first + 50):
                await synced.write(id=number, name=name)

        def in_child():
            asyncio.events._set_running_loop(None)
            asyncio.run(some("child", 0))
            assert writer.close(30) == 0

        async def main():
            for turn in range(3):
                before = asyncio.create_task(some("parent", 50 * turn))
                await asyncio.sleep(0.001)
                if turn == 1:
                    pid = child(in_child)
                await asyncio.wait_for(before, 20)
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                await asyncio.sleep(0.01)

        asyncio.run(main())
    """)
    assert rows(server) == {"parent": 150, "child": 50}
