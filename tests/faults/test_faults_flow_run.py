"""A flow whose servers go away at the worst moments: in the first load, and while it drains."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from dbint.flow.runner import FAILED, FINISHED
from dbint.flow.snapshot import read_progress
from stack import Stack
from tests.integration.flow_source import Source, source_database
from tests.integration.test_flow_run import fill, running, until

ROWS = 3_000


@pytest.fixture
def broken(private_stack: Stack) -> Iterator[tuple[Stack, Source]]:
    """PostgreSQL and Kafka of the test's own, and a flow's source on them."""
    private_stack.up(["postgres", "kafka"])
    postgres, kafka = private_stack.endpoint("postgres"), private_stack.endpoint("kafka")
    made = source_database(postgres, kafka, "CREATE TABLE t (id int PRIMARY KEY, name text)")
    with made as source:
        source.config = replace(source.config, chunk_rows=20, drain_timeout=5.0)
        fill(source, 1, ROWS)
        yield private_stack, source


def loaded(source: Source) -> int:
    with closing(source.config.source.connect()) as connection:
        return sum(progress.rows for progress in read_progress(connection, source.config.name))


def all_there(source: Source) -> bool:
    rows = source.rows()
    return len(rows) == ROWS


@pytest.mark.parametrize("server", ["kafka", "postgres"])
def test_a_server_killed_in_the_first_load(broken, server):
    """What is noted is in Kafka; it goes on there when the server is back, and repeats a chunk at most."""
    stack, source = broken
    with running(source.config, parts=["capture"]) as flow:
        until(lambda: loaded(source) >= 200)
        stack.kill(server)
        time.sleep(1.0)
        assert flow.thread.is_alive()
        stack.start(server)
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming", 120)
        assert flow.end() == FINISHED
    assert all_there(source)
    sent = len(source.messages())
    assert ROWS <= sent <= ROWS + 2 * source.config.chunk_rows
    if server == "kafka":  # nothing had to begin again: the messages waited
        assert loaded(source) == ROWS


def test_a_drain_without_a_broker_gives_up_and_loses_nothing(broken, caplog):
    stack, source = broken
    with running(source.config, parts=["capture"]) as flow:
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming", 120)
        source("UPDATE t SET name = 'the topic is known now' WHERE id = 1")
        until(lambda: len(source.messages()) > ROWS)
        stack.kill("kafka")
        source("UPDATE t SET name = 'while the broker was away'")
        until(lambda: flow.runner.status()["capture"]["undelivered"] > 0)
        begun = time.monotonic()
        with caplog.at_level(logging.ERROR, "dbint.flow"):
            assert flow.end() == FAILED
        assert time.monotonic() - begun < 5 + 15
        assert caplog.text
    stack.start("kafka")
    with running(source.config, parts=["capture"]) as flow:
        until(lambda: {row["name"] for row in source.rows().values()} == {"while the broker was away"}, 120)
        assert flow.end() == FINISHED
    assert all_there(source)
