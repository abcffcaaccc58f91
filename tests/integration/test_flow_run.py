"""run_flow: the whole flow in one process, with all servers real, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dbint import errors
from dbint.flow.config import FlowConfig, SourceAccess
from dbint.flow.plan import apply_plan, plan
from dbint.flow.runner import FAILED, FINISHED, MISCONFIGURED, Runner
from dbint.flow.slots import drop_slot
from dbint.flow.snapshot import read_progress
from dbint.flow.status_line import status_line
from tests.integration.flow_source import Source, source_database
from tests.integration.flow_tables import run, target

__all__ = ["target"]  # a fixture

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(postgres, kafka, target) -> Iterator[Source]:
    """A flow from a database of its own into one of Doris'."""
    made = source_database(postgres, kafka, "CREATE TABLE t (id int PRIMARY KEY, name text)")
    with made as source:
        source.config = replace(source.config, target=target, batch_seconds=0.1, chunk_rows=20)
        apply(source.config)
        yield source


def apply(config: FlowConfig) -> None:
    apply_plan(config, plan(config))


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return found


def in_doris(source: Source) -> list[tuple[Any, ...]]:
    return sorted(run(source.config.target, "SELECT id, name FROM t"))


def in_postgres(source: Source) -> list[tuple[Any, ...]]:
    return sorted(source("SELECT id, name FROM t"))


def settled(source: Source) -> bool:
    return in_doris(source) == in_postgres(source)


class Running:
    """A runner in a thread."""

    def __init__(self, config: FlowConfig, **options: Any) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.runner = Runner(config, on_status=self.statuses.append, interval=0.5, **options)
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.runner.run()

    def end(self, seconds: float = 45.0) -> int | None:
        self.runner.stop()
        return self.ended(seconds)

    def ended(self, seconds: float = 45.0) -> int | None:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), self.runner.status()
        return self.code


@contextmanager
def running(config: FlowConfig, **options: Any) -> Iterator[Running]:
    made = Running(config, **options)
    try:
        yield made
    finally:
        made.runner.stop()
        made.thread.join(60)


def fill(source: Source, first: int, last: int) -> None:
    source("INSERT INTO t SELECT n, 'name ' || n FROM generate_series(%s::int, %s::int) n", first, last)


def test_what_is_there_and_what_changes(source):
    fill(source, 1, 100)
    with running(source.config) as flow:
        until(lambda: settled(source))
        source("INSERT INTO t VALUES (101, 'new')")
        source("UPDATE t SET name = 'changed' WHERE id = 5")
        source("UPDATE t SET id = 1000 WHERE id = 6")
        source("DELETE FROM t WHERE id BETWEEN 10 AND 20")
        until(lambda: settled(source))
        source("TRUNCATE t")
        source("INSERT INTO t VALUES (1, 'after')")
        until(lambda: settled(source))
        status = until(
            lambda: flow.statuses[-1] if flow.statuses and "rows" in flow.statuses[-1]["sink"] else None
        )
        assert status["capture"]["failure"] is None
        json.dumps(status, default=str)
        assert "capture: streaming" in status_line(flow.runner.status())
        assert flow.end() == FINISHED
    # what comes while it is away is there when it is back
    source("INSERT INTO t VALUES (2, 'meanwhile')")
    with running(source.config) as flow:
        until(lambda: settled(source))
        assert flow.end() == FINISHED


def test_a_drain_leaves_nothing_behind(source):
    """What was read is confirmed when it ends: a second run has nothing to send again."""
    with running(source.config, parts=["capture"]) as flow:
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming")
        fill(source, 1, 5000)
        end = source.position()
        until(lambda: flow.runner.status()["capture"]["transactions"] >= 1)
        assert flow.end() == FINISHED
    (confirmed,) = source(
        "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = %s",
        source.config.slot,
    )[0]
    assert confirmed >= end - 2000 or len(source.messages()) == 0
    sent = len(source.messages())
    assert sent == 5000
    with running(source.config, parts=["capture"]) as flow:
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming")
        source("INSERT INTO t VALUES (9999, 'one more')")
        until(lambda: len(source.messages()) > sent)
        assert flow.end() == FINISHED
    assert len(source.messages()) == sent + 1


def test_halves_in_processes_of_their_own(source):
    fill(source, 1, 50)
    with running(source.config, parts=["capture"]) as capture, running(source.config, parts=["sink"]) as sink:
        until(lambda: settled(source))
        assert "sink" not in capture.runner.status()
        assert "capture" not in sink.runner.status()
        assert (sink.end(), capture.end()) == (FINISHED, FINISHED)


def test_a_table_that_comes_later(source):
    """It is loaded while the stream stands still, changes of others and of its own included."""
    fill(source, 1, 30)
    with running(source.config) as flow:
        until(lambda: settled(source))
        assert flow.end() == FINISHED
    source("CREATE TABLE later (id int PRIMARY KEY, name text)")
    source("INSERT INTO later SELECT n, 'later ' || n FROM generate_series(1, 30) n")
    fill(source, 31, 40)
    config = replace(source.config, tables=("public.t", "public.later"))
    apply(config)
    with running(config) as flow:
        until(lambda: settled(source))
        until(lambda: run(config.target, "SELECT COUNT(*) FROM later") == [(30,)])
        source("DELETE FROM later WHERE id = 1")
        until(lambda: run(config.target, "SELECT COUNT(*) FROM later") == [(29,)])
        assert flow.end() == FINISHED


def test_full_load_only_ends_by_itself(source):
    fill(source, 1, 70)
    with running(replace(source.config, mode="full_load_only")) as flow:
        assert flow.ended(90) == FINISHED
    assert settled(source)
    assert source("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", source.config.slot) == []


def test_cdc_only_begins_with_what_changes(source):
    fill(source, 1, 5)
    with running(replace(source.config, mode="cdc_only")) as flow:
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming")
        fill(source, 6, 8)
        until(lambda: len(in_doris(source)) == 3)
        assert flow.end() == FINISHED
    assert source("SELECT to_regclass('dbint.flow_snapshot')") in ([(None,)], [("dbint.flow_snapshot",)])
    assert [row[0] for row in in_doris(source)] == [6, 7, 8]


def test_a_full_load_that_becomes_a_flow_is_loaded_again(source):
    """Between the one and the other there is no slot that would have kept the changes."""
    fill(source, 1, 20)
    with running(replace(source.config, mode="full_load_only")) as flow:
        assert flow.ended(90) == FINISHED
    source("DELETE FROM t WHERE id <= 5")
    source("UPDATE t SET name = 'changed' WHERE id = 6")
    with running(source.config) as flow:
        until(lambda: settled(source))
        assert flow.end() == FINISHED


def test_a_lost_slot_ends_the_run_and_a_resync_mends_it(source):
    fill(source, 1, 20)
    with running(source.config) as flow:
        until(lambda: settled(source))
        assert flow.end() == FINISHED
    drop_slot(source.connection, source.config.slot)
    source("DELETE FROM t WHERE id <= 5")
    source("UPDATE t SET name = 'changed' WHERE id = 6")
    with running(source.config) as flow:
        assert flow.ended() == MISCONFIGURED
        assert "--resync" in flow.runner.status()["capture"]["failure"]["text"]
    with running(source.config, resync=source.config.tables) as flow:
        until(lambda: settled(source))
        assert flow.end() == FINISHED


def test_what_no_message_can_hold_ends_the_run(source):
    source("INSERT INTO t VALUES (1, repeat('x', 2000000))")
    with running(source.config) as flow:
        assert flow.ended() == FAILED
        assert 'row with the key {"id":1}' in flow.runner.status()["capture"]["failure"]["text"]


def test_a_server_that_is_away_is_waited_for(source):
    """Each part fails and is begun again, the pauses said, until the server is back."""
    fill(source, 1, 20)
    real = source.config.source
    away = threading.Event()
    away.set()

    def parameters() -> Any:
        return {**real.parameters(), **({"port": 1} if away.is_set() else {})}

    with running(replace(source.config, source=SourceAccess("away for a while", parameters))) as flow:
        failure = until(lambda: flow.runner.status()["capture"]["failure"])
        assert "PostgreSQL (away for a while)" in failure["text"]
        until(lambda: (flow.runner.status()["capture"]["failure"] or {"failures": 0})["failures"] >= 2)
        assert "capture: failed (" in status_line(flow.runner.status())
        away.clear()
        until(lambda: settled(source))
        assert flow.runner.status()["capture"]["failure"] is None
        assert flow.end() == FINISHED


def test_it_stops_while_it_waits_to_try_again(source):
    config = replace(source.config, source=SourceAccess("away", lambda: {"host": "127.0.0.1", "port": 1}))
    with running(config) as flow:
        until(lambda: flow.runner.status()["capture"]["failure"])
        begun = time.monotonic()
        assert flow.end() == FINISHED
        assert time.monotonic() - begun < 10


def test_an_engine_of_other_processes_is_refused(source):
    with pytest.raises(errors.ConfigurationError, match="flow_deploy"):
        Runner(replace(source.config, engine="connect"))


SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["dbint.django"]
DATABASES = {databases!r}
DBINT = {dbint!r}
"""


@pytest.fixture
def project(source, doris, tmp_path) -> tuple[Path, dict[str, str]]:
    """A Django project with the flow in its settings: its directory and the environment of its commands."""
    info = source.connection.info
    databases = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": info.host,
            "PORT": info.port,
            "NAME": info.dbname,
            "USER": info.user,
            "PASSWORD": info.password,
        },
        "doris": {
            "ENGINE": "dbint.django.backends.doris",
            "HOST": doris.host,
            "PORT": doris.ports["query"],
            "USER": doris.credentials["username"],
            "PASSWORD": doris.credentials["password"],
            "NAME": source.config.target.database,
            "OPTIONS": {"http_port": doris.ports["http"]},
        },
    }
    config = source.config
    flow = {
        "SOURCE": "default",
        "TARGET": "doris",
        "TABLES": ["public.t"],
        "PREFIX": config.prefix,
        "SLOT": config.slot,
        "PUBLICATION": config.publication,
        "PARTITIONS": config.partitions,
        "BATCH_SECONDS": 0.1,
        "CHUNK_ROWS": 20,
    }
    host, _, port = source.bootstrap.partition(":")
    dbint = {"FLOWS": {config.name: flow}, "SERVICES": {"kafka": {"host": host, "port": int(port)}}}
    (tmp_path / "flow_settings.py").write_text(SETTINGS.format(databases=databases, dbint=dbint))
    return (
        tmp_path,
        {**os.environ, "DJANGO_SETTINGS_MODULE": "flow_settings", "PYTHONPATH": f"{tmp_path}:{CHECKOUT}"},
    )


def command(project: tuple[Path, dict[str, str]], *arguments: str) -> "subprocess.Popen[str]":
    directory, environment = project
    return subprocess.Popen(
        [sys.executable, "-m", "django", "run_flow", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_runs_and_sigterm_drains_it(project, source):
    fill(source, 1, 50)
    process = command(project, source.config.name, "--format", "json", "--status-every", "1")
    try:
        until(lambda: settled(source) or process.poll() is not None)
        fill(source, 51, 60)
        until(lambda: settled(source) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    statuses = [json.loads(line) for line in out.splitlines()]
    assert statuses
    assert all(status["flow"] == source.config.name for status in statuses)


def test_the_command_says_what_is_wrong(project, source):
    process = command(project, "nothing")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "has no flow 'nothing'" in err
    assert "Traceback" not in err


def test_a_killed_first_load_goes_on(project, source):
    """kill -9 in the middle; the next process goes on behind the last chunk that was noted."""
    fill(source, 1, 20_000)
    process = command(project, "--part", "capture", "--status-every", "0")

    def begun() -> bool:
        assert process.poll() is None, process.communicate()
        return any(progress.rows >= 1000 for progress in read_progress(source.connection, source.config.name))

    try:
        until(begun)
    finally:
        process.kill()
        process.communicate(timeout=30)
    (before,) = read_progress(source.connection, source.config.name)
    assert before.state == "running"
    with running(source.config) as flow:
        until(lambda: settled(source), 120)
        assert flow.end() == FINISHED
    (after,) = read_progress(source.connection, source.config.name)
    assert (after.state, after.rows, after.point) == ("done", 20_000, before.point)
    loaded = sum(value["op"] == "r" for value in source.values())
    assert 20_000 <= loaded <= 20_000 + source.config.chunk_rows


def test_the_connection_is_closed_at_the_end(source):
    """Nothing of the flow's stays connected."""
    with running(source.config) as flow:
        until(lambda: flow.runner.status()["capture"].get("state") == "streaming")
        assert flow.end() == FINISHED

    def others() -> list[Any]:
        return source(
            "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')"
        )

    deadline = time.monotonic() + 10
    while others():
        assert time.monotonic() < deadline, others()
        time.sleep(0.1)


def test_a_mistake_of_ours_is_no_endless_loop(source, monkeypatch):
    def broken(_config: FlowConfig) -> Any:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("dbint.flow.runner.load_mappings", broken)
    with running(source.config) as flow:
        assert flow.ended() == FAILED
        assert flow.runner.status()["sink"]["failure"]["text"] == "ZeroDivisionError: broken"
    assert isinstance(source.connection, psycopg.Connection)
