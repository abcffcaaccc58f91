"""A journal that outlives its server, or its process: where its events go to, and that they add up."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbint._core import BatchWriter, Pool, ledger_sql
from dbint.journal.cli import main
from stack import Endpoint

TABLE = "targets"
COLUMNS = {"id": "int8 not null", "name": "text"}
NOWHERE = "host=127.0.0.1 port=1 user=nobody dbname=nothing"

Database = Callable[[], str]
Open = Callable[..., BatchWriter]


@pytest.fixture
def database(postgres: Endpoint) -> Iterator[Database]:
    """``database()`` makes a database with an empty table: where to connect to."""
    credentials = postgres.credentials
    conninfo = psycopg.conninfo.make_conninfo(
        host=postgres.host,
        port=postgres.port,
        user=str(credentials["username"]),
        password=str(credentials["password"]),
        dbname=str(credentials["database"]),
    )
    made: list[sql.Identifier] = []
    with psycopg.connect(conninfo, autocommit=True) as admin:

        def make() -> str:
            name = f"targets_{secrets.token_hex(6)}"
            made.append(sql.Identifier(name))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(made[-1]))
            with psycopg.connect(conninfo, dbname=name) as connection:
                connection.execute("CREATE TABLE targets (id int8, name text)")
            return psycopg.conninfo.make_conninfo(conninfo, dbname=name)

        yield make
        for one in made:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(one))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def open_(journal: Path) -> Iterator[Open]:
    """``open_(conninfo)`` is a writer on the test's journal; the one before is closed."""
    made: list[BatchWriter] = []

    def writer(conninfo: str, **arguments: Any) -> BatchWriter:
        if made:
            made[-1].close(0)
        made.append(BatchWriter(Pool(conninfo, connect_timeout=2), journal, **arguments))
        return made[-1]

    yield writer
    made[-1].close(0)


def write(writer: BatchWriter, *numbers: int) -> None:
    stream = writer.stream(TABLE, columns=COLUMNS)
    for number in numbers:
        stream.write_sync(id=number, name="x" * 100)


def landed(conninfo: str) -> list[int]:
    with psycopg.connect(conninfo) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM targets ORDER BY id")]


def figures(writer: BatchWriter) -> dict[str, Any]:
    """Of the stream; they add up."""
    found: dict[str, Any] = dict(writer.snapshot()["streams"][TABLE])
    kinds = ("landed", "journaled", "dead", "damaged", "lost_by_server")
    there = sum(found[kind] for kind in kinds) + found["dropped"]["oldest"]
    assert found["accepted"] + found["recovered"] == there, found
    return found


# --- the server is exchanged ---


@pytest.mark.parametrize("ledger", [False, True], ids=["an empty one", "one with a ledger"])
def test_when_all_had_landed_new_events_go_to_the_new_server(
    database: Database, open_: Open, ledger: bool
) -> None:
    first, second = database(), database()
    if ledger:
        with psycopg.connect(second) as connection:
            connection.execute(ledger_sql())
    writer = open_(first)
    write(writer, *range(300))
    assert writer.flush(20) == 0
    writer = open_(second)
    write(writer, *range(1000, 1100))
    assert writer.flush(20) == 0
    write(writer, *range(1100, 1200))
    assert writer.flush(20) == 0
    assert landed(second) == list(range(1000, 1200))
    assert (figures(writer)["landed"], figures(writer)["recovered"], writer.snapshot()["held"]) == (200, 0, 0)
    writer = open_(second)
    write(writer, *range(1200, 1210))
    assert writer.flush(20) == 0
    assert landed(second) == list(range(1000, 1210))
    writer = open_(first)  # and back
    write(writer, *range(2000, 2010))
    assert writer.flush(20) == 0
    assert landed(first) == [*range(300), *range(2000, 2010)]
    assert figures(writer)["landed"] == 10


def test_what_had_not_landed_waits_for_its_server_and_holds_up_nothing_new(
    database: Database, open_: Open, journal: Path
) -> None:
    first, second = database(), database()
    writer = open_(first)
    write(writer, *range(300))
    assert writer.flush(20) == 0
    write(open_(NOWHERE), *range(300, 310))
    writer = open_(second)
    write(writer, *range(1000, 1100))
    assert writer.flush(3) == 10
    write(writer, *range(1100, 1200))
    assert writer.flush(1) == 10
    assert landed(second) == list(range(1000, 1200))
    found = figures(writer)
    assert (found["accepted"], found["recovered"], found["landed"], found["journaled"]) == (200, 10, 200, 10)
    (held,) = [chain for chain in found["chains"] if chain["state"] == "held"]
    assert "python -m dbint.journal retarget" in held["reason"]
    assert writer.snapshot()["held"] == 1
    writer = open_(first)
    writer.start()
    assert writer.flush(20) == 0
    assert landed(first) == list(range(310))
    assert figures(writer)["landed"] == 10
    writer.close()
    assert main(["check", "-d", os.fspath(journal)]) == 0


def test_what_waits_can_be_given_to_the_new_server(database: Database, open_: Open, journal: Path) -> None:
    first, second = database(), database()
    writer = open_(first)
    write(writer, *range(10))
    assert writer.flush(20) == 0
    write(open_(NOWHERE), *range(10, 20))
    writer = open_(second)
    write(writer, *range(100, 110))
    assert writer.flush(3) == 10
    writer.close(0)
    assert main(["retarget", "-d", os.fspath(journal), "--clear", "--yes"]) == 0
    writer = open_(second)
    write(writer, 110)
    assert writer.flush(20) == 0
    assert landed(second) == [*range(10, 20), *range(100, 111)]
    assert (figures(writer)["recovered"], figures(writer)["landed"]) == (10, 11)


def test_a_server_that_is_exchanged_under_a_process(database: Database, open_: Open) -> None:
    """What is written while nobody knows of it may belong to either: it waits for somebody to say."""
    conninfo = database()
    writer = open_(conninfo)
    write(writer, *range(10))
    assert writer.flush(20) == 0
    with psycopg.connect(conninfo) as connection:
        connection.execute("UPDATE dbint.server SET identity = gen_random_uuid()")
    write(writer, *range(10, 20))
    assert writer.flush(2) == 10
    (chain,) = figures(writer)["chains"]
    assert chain["state"] == "held"
    assert landed(conninfo) == list(range(10))
    writer = open_(conninfo)
    write(writer, 20)
    assert writer.flush(3) == 10
    assert landed(conninfo) == [*range(10), 20]


# --- the account ---


def test_what_a_server_lost_between_two_processes_is_recovered(database: Database, open_: Open) -> None:
    conninfo = database()
    writer = open_(conninfo)
    write(writer, *range(1, 101))
    assert writer.flush(20) == 0
    writer.close()
    with psycopg.connect(conninfo) as connection:
        connection.execute("DELETE FROM targets WHERE id > 30")
        connection.execute("UPDATE dbint.chains SET last = 30")
    writer = open_(conninfo)
    write(writer, *range(101, 111))
    assert writer.flush(20) == 0
    assert landed(conninfo) == list(range(1, 111))
    found = figures(writer)
    assert (found["accepted"], found["recovered"], found["landed"]) == (10, 70, 80)


def damaged(journal: Path) -> None:
    """Breaks one record of the oldest of several segments."""
    first, *others = sorted((journal / "slot-0000").glob("*.seg"))
    assert others
    with first.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(b"???")


def left(open_: Open) -> None:
    writer = open_(NOWHERE, segment_min=1 << 14, segment_max=1 << 14)
    write(writer, *range(300))
    writer.close(0)


def test_damage_that_was_set_aside_by_the_tool_is_nothing_recovered(
    database: Database, open_: Open, journal: Path
) -> None:
    left(open_)
    damaged(journal)
    assert main(["repair", "-d", os.fspath(journal)]) == 0
    conninfo = database()
    writer = open_(conninfo)
    writer.start()
    assert writer.flush(20) == 0
    assert len(landed(conninfo)) == 299
    found = figures(writer)
    assert (found["recovered"], found["landed"], found["damaged"]) == (299, 299, 0)


def test_damage_that_was_set_aside_by_a_process_that_died(
    database: Database, open_: Open, journal: Path
) -> None:
    left(open_)
    damaged(journal)
    conninfo = database()
    with psycopg.connect(conninfo) as connection:
        connection.execute("ALTER TABLE targets RENAME TO away")
    program = f"""
        import json, os, signal, sys, time
        from dbint._core import BatchWriter, Pool
        writer = BatchWriter(Pool({conninfo!r}), {os.fspath(journal)!r})
        writer.start()
        while True:
            found = writer.snapshot()["streams"][{TABLE!r}]
            if found["damaged"] and writer.snapshot()["held"]:
                break
            time.sleep(0.01)
        print(found["recovered"], found["journaled"], found["damaged"], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGKILL, "", "300 299 1\n")
    with psycopg.connect(conninfo) as connection:
        connection.execute("ALTER TABLE away RENAME TO targets")
    writer = open_(conninfo)
    writer.start()
    assert writer.flush(20) == 0
    assert len(landed(conninfo)) == 299
    found = figures(writer)
    assert (found["recovered"], found["landed"], found["damaged"]) == (299, 299, 0)


def test_a_segment_that_was_deleted_was_there(database: Database, open_: Open, journal: Path) -> None:
    left(open_)
    second = sorted((journal / "slot-0000").glob("*.seg"))[1]
    second.unlink()
    conninfo = database()
    writer = open_(conninfo)
    writer.start()
    assert writer.flush(20) == 0
    found = figures(writer)
    assert (found["recovered"], found["landed"]) == (300, len(landed(conninfo)))
    assert found["damaged"] == 300 - found["landed"] > 0


# --- the slot ---


def test_a_slot_that_is_deleted_under_the_process_is_told_of(open_: Open, journal: Path) -> None:
    writer = open_(NOWHERE)
    write(writer, 1)
    assert writer.snapshot()["journal"]["error"] is None
    shutil.rmtree(journal / "slot-0000")
    deadline = time.monotonic() + 20
    while (error := writer.snapshot()["journal"]["error"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "was deleted under the process" in error
