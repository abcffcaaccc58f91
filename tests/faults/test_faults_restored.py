"""A server that was restored to an older state."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread
from typing import Any

from dbint._core import BatchWriter, Stream, metrics_snapshot
from dbint.events import DatabaseConfig
from stack import Stack
from tests.faults.events import direct_writer, event, landed, until

# Of two writers one keeps what has landed for a while, as is usual; the other keeps nothing.
NAMES = ("keeps", "forgets")
NOTHING_KEPT: dict[str, Any] = {"keep_bytes": 0, "keep_seconds": 0.0, "segment_min": 16384}


def write(prefix: str, stream: Stream, first: int, last: int) -> None:
    for number in range(first, last):
        stream.write_sync(**event(f"{prefix}{number}"))


def land(*writers: BatchWriter) -> None:
    for writer in writers:
        until(lambda: writer.retry() or writer.flush(1) == 0)  # noqa: B023 - at once


Counters = dict[tuple[str, str], int]


def counters() -> Counters:
    """Of the two writers: by metric and writer."""
    return {
        (name, labels["writer"]): value
        for name, kind, labels, value in metrics_snapshot()
        if kind == "counter" and name.startswith("dbint_writer_") and isinstance(value, int)
        if "reaction" not in labels and labels["writer"] in NAMES
    }


@contextmanager
def scraping() -> Iterator[list[str]]:
    """Looks at the counters again and again: which of them fell."""
    fell: list[str] = []
    over = Event()

    def scrape() -> None:
        before: Counters = {}
        while not over.wait(0.005):
            now = counters()
            fell.extend(
                f"{key}: {before[key]} to {now[key]}" for key in before if now.get(key, 0) < before[key]
            )
            before = now

    thread = Thread(target=scrape)
    thread.start()
    try:
        yield fell
    finally:
        over.set()
        thread.join()


def test_what_the_server_lost_lands_again_or_is_counted(server: Stack, config: DatabaseConfig) -> None:
    """The data directory is put back: what the journal still has lands again, the rest is lost_by_server."""
    data = server.directory / "postgres" / "data"
    forgetful = replace(config, name="forgets")
    for one in (config, forgetful):
        one.journal_path.mkdir(parents=True)
    with (
        direct_writer(config, name=NAMES[0]) as (first, kept),
        direct_writer(forgetful, name=NAMES[1], **NOTHING_KEPT) as (second, gone),
        scraping() as fell,
    ):
        for through in (1000, 3000, 3500):
            before = {1000: 0, 3000: 1000, 3500: 3000}[through]
            write("k", kept, before, through)
            write("g", gone, before, through)
            land(first, second)
            if through == 1000:
                server.stop("postgres")
                subprocess.run(["cp", "--archive", data, data.with_name("backup")], check=True)  # with owners
                server.start("postgres")
            elif through == 3000:
                server.stop("postgres")
                shutil.rmtree(data)
                data.with_name("backup").rename(data)
                server.start("postgres")
        figures = kept.snapshot(), gone.snapshot()
        shown = counters()
    assert fell == []
    for writer, figure in zip((first, second), figures, strict=True):
        lost = 2000 if figure is figures[0] else figure["lost_by_server"]
        assert shown["dbint_writer_rewound_total", writer.name] >= lost > 0
        assert (
            shown["dbint_writer_landed_total", writer.name]
            == figure["landed"] + shown["dbint_writer_rewound_total", writer.name]
        )
    found = landed(config)
    for prefix, figure in zip("kg", figures, strict=True):
        here = {message for message in found if message.startswith(prefix)}
        assert {f"{prefix}{number}" for number in (*range(1000), *range(3000, 3500))} <= here
        assert figure["landed"] == len(here)
        assert figure["accepted"] == figure["landed"] + figure["lost_by_server"] == 3500
    assert [figure["lost_by_server"] > 0 for figure in figures] == [False, True]
