"""Numbered events, written by a layer or by a program, and their account: how each test of a fault ends."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from dbint._core import BatchWriter, Pool, Stream
from dbint.events import DatabaseConfig, DatabaseIntegrationLayer
from dbint.events.reader import connected
from dbint.events.tables import TRACE_EVENTS
from stack import Stack

if TYPE_CHECKING:
    from dbint._core import StreamSnapshot

Admin = psycopg.Connection[Any]

TABLE = "agent_observability.trace_events"
OUTCOMES = ("dead", "damaged", "lost_by_server")


def superuser(server: Stack, database: str = "postgres") -> Admin:
    """A connection that may do everything."""
    entry = server.entry("postgres")
    return psycopg.connect(
        host=os.fspath(entry.extra["socket_directory"]),
        port=entry.ports["sql"],
        user="postgres",
        dbname=database,
        autocommit=True,
    )


def event(number: int | str) -> dict[str, Any]:
    """The fields of one; its number is its message."""
    return {"trace_id": "faults", "event_type": "STEP", "level": "INFO", "message": str(number)}


def until(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """What ``condition()`` gives as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.02)
    return found


def landed(config: DatabaseConfig) -> list[str]:
    """The messages in the database, sorted. No event is there twice, neither under one id nor under two."""
    with connected(config) as connection:
        rows = connection.execute(f"SELECT event_id, message FROM {TABLE}").fetchall()  # noqa: S608
    messages = [str(message) for _, message in rows]
    assert len({event_id for event_id, _ in rows}) == len(set(messages)) == len(rows)
    return sorted(messages)


class Writing:
    """A layer that numbers its events."""

    def __init__(self, layer: DatabaseIntegrationLayer) -> None:
        self.layer = layer
        self.sent = 0

    def write(self, count: int, first: int | None = None) -> None:
        """Numbered from ``first`` on, by default where it left off."""
        first = self.sent if first is None else first
        for number in range(first, first + count):
            self.layer.write_trace_event_sync(**event(number))
        self.sent += count

    def figures(self) -> "StreamSnapshot":
        return self.layer.trace_event_buffer.stream.snapshot()

    def held(self) -> str:
        """Why events are held; "" when they are not."""
        return next((str(one["reason"]) for one in self.figures()["chains"] if one["state"] == "held"), "")

    def land(self) -> None:
        """Waits until nothing is left; what stands in the way must have been repaired."""
        deadline = time.monotonic() + 40
        while self.layer.flush_sync(0.5):
            assert time.monotonic() < deadline, self.layer.writer.snapshot()
            self.layer.writer.retry()

    def settle(self, recovered: int = 0, others: int = 0, dropped: int = 0, **lost: int) -> None:
        """Lands everything, and closes the account: what is not in the database is in ``lost``, exactly.

        ``recovered`` events come from processes before this one, ``others`` were landed by these.
        """
        self.land()
        figures = self.figures()
        assert (figures["accepted"], figures["recovered"]) == (self.sent, recovered), figures
        found = {name: int(figures[name]) for name in OUTCOMES}  # type: ignore[literal-required]
        assert found == dict.fromkeys(OUTCOMES, 0) | lost
        assert sum(figures["dropped"].values()) == dropped
        assert figures["landed"] == self.sent + recovered - sum(lost.values()) - dropped
        assert len(landed(self.layer.config)) == figures["landed"] + others


@contextmanager
def writing(config: DatabaseConfig, **fields: Any) -> Iterator[Writing]:
    """A layer for the time of the block; ``fields`` differ from ``config``."""
    with DatabaseIntegrationLayer(replace(config, **fields)) as layer:
        yield Writing(layer)


@contextmanager
def direct_writer(config: DatabaseConfig, **options: Any) -> Iterator[tuple[BatchWriter, Stream]]:
    """A batch writer with settings that the layer does not have, and its stream into the table."""
    parameters = make_conninfo(**config.connection_parameters(), password=config.password)
    with Pool(parameters) as pool, BatchWriter(pool, config.journal_path, **options) as writer:
        yield (
            writer,
            writer.stream(
                TABLE, columns=TRACE_EVENTS.declarations, fill=TRACE_EVENTS.fills, batch_timeout=0.05
            ),
        )


def environment(config: DatabaseConfig) -> dict[str, str]:
    """What a program finds database and journal by."""
    return {
        **os.environ,
        "POSTGRES_HOST": config.host,
        "POSTGRES_PORT": str(config.port),
        "POSTGRES_DATABASE": config.database,
        "POSTGRES_USER": config.user,
        "POSTGRES_PASSWORD": config.password,
        "DBINT_JOURNAL_DIR": config.journal_dir,
    }


def program(body: str | Path) -> list[str]:
    """The command of a program in Python: its text, or its file."""
    what = [str(body)] if isinstance(body, Path) else ["-c", textwrap.dedent(body)]
    return [sys.executable, *what]


def run(config: DatabaseConfig, body: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    return subprocess.run(
        program(body),
        env=environment(config),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def journal_tool(config: DatabaseConfig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m dbint.journal``, on the journal of ``config``."""
    command = [sys.executable, "-m", "dbint.journal", *arguments, "--directory", str(config.journal_path)]
    return subprocess.run(
        command, env=environment(config), capture_output=True, text=True, timeout=60, check=False
    )
