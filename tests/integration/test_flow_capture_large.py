"""Transactions of any size, in bounded memory: sent after their commit, or streamed before and put aside."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dbint import _core
from dbint.flow.capture import Capture
from dbint.flow.config import SourceAccess
from tests.integration.flow_source import Source, folded, sequence, source_database, table_rows


@pytest.fixture
def source(postgres, kafka) -> Iterator[Source]:
    with source_database(postgres, kafka) as made:
        yield made


def streamed_early(source: Source) -> Source:
    """The source, whose server holds no more than 64 kB of a transaction before it streams or spills it."""
    given = {**source.config.source.parameters(), "options": "-c logical_decoding_work_mem=64kB"}
    source.config = replace(
        source.config, source=SourceAccess("test", lambda: given), stream_transactions=True
    )
    return source


def core(source: Source, **fields: object) -> _core.Capture:
    """The core's capture with what the flow's configuration does not have."""
    outlet = _core.Outlet(
        {"bootstrap.servers": source.bootstrap}, partitions=2, max_messages=2000, max_bytes=1 << 20
    )
    return _core.Capture(
        outlet,
        name="large",
        conninfo=source.config.source.conninfo(),
        slot=source.config.slot,
        publication=source.config.publication,
        prefix=source.config.prefix,
        version="test",
        **fields,  # type: ignore[arg-type]
    )


def settle(source: Source, capture: _core.Capture) -> None:
    wanted = source.position()
    for _ in range(1200):
        if capture.status()["confirmed"] >= wanted:
            return
        assert not capture.join(0.05)
    raise AssertionError(capture.status())


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_large_transaction_passes_through_a_small_window(source: Source) -> None:
    Capture(source.config).prepare()
    capture = core(source)
    before = resident()
    capture.start()
    source(
        "INSERT INTO t SELECT i, repeat('x', 500), i FROM generate_series(1, 100000) AS i"
    )  # 50 MB and more
    settle(source, capture)
    grown = resident() - before
    status = capture.status()
    capture.stop(20)
    assert capture.join(25)
    assert status["inserts"] == 100_000
    assert status["stalls"] > 0
    assert grown < 48 << 20
    assert len(source.messages()) == 100_000


def test_streamed_transactions_are_put_aside_until_they_commit(source: Source, tmp_path: Path) -> None:
    streamed_early(source)
    Capture(source.config).prepare()
    capture = core(source, streaming=True, spool_memory=256 << 10, spool_directory=str(tmp_path))
    capture.start()
    with (
        closing(source.config.source.connect()) as other,
        closing(source.config.source.connect()) as third,
        source.connection.transaction(),
    ):
        source("INSERT INTO t SELECT i, repeat('a', 100), 0 FROM generate_series(1, 20000) AS i")
        with other.transaction(force_rollback=True):
            other.execute(
                "INSERT INTO t SELECT i, repeat('b', 100), 0 FROM generate_series(30001, 50000) AS i"
            )
        with source.connection.transaction(force_rollback=True):  # a subtransaction
            source("INSERT INTO t SELECT i, repeat('c', 100), 0 FROM generate_series(60001, 70000) AS i")
        third.execute("INSERT INTO t VALUES (100001, 'between', 0)")
        source("UPDATE t SET n = 1 WHERE mod(id, 2) = 0")
        source("ALTER TABLE t ADD COLUMN extra int DEFAULT 5")
        source("INSERT INTO t SELECT i, 'late', 0, 6 FROM generate_series(80001, 85000) AS i")
    settle(source, capture)
    status = capture.status()
    capture.stop(20)
    assert capture.join(25)
    assert status["skipped"] > 0, "nothing was streamed"
    assert status["spooled_bytes"] == 0
    assert list(tmp_path.iterdir()) == []
    rows = table_rows(source)
    assert len(rows) == 25_001
    found = folded(source.messages())
    assert found.keys() == rows.keys()
    # What was written before the column was there lacks it in its message; its default is the reader's.
    assert all({**rows[key], **row} == rows[key] for key, row in found.items())
    values = [json.loads(message.value or b"{}") for message in source.messages()]
    assert not [v for v in values if v["op"] == "c" and 30_000 < v["after"]["id"] <= 70_000]


def test_streaming_gives_what_waiting_for_the_commit_gives(source: Source) -> None:
    streamed_early(source)
    with source.captured(), source.connection.transaction():
        source("INSERT INTO t SELECT i, repeat('a', 200), i FROM generate_series(1, 5000) AS i")
        source("DELETE FROM t WHERE mod(id, 3) = 0")
    values = source.values()
    # One transaction: one commit position, and the changes in their order.
    assert len({sequence(value)[0] for value in values}) == 1
    assert len(values) == 5000 + 5000 // 3
    assert source.rows() == table_rows(source)
