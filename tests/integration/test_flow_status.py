"""What a flow says of itself, and how what differs is mended through the flow, with all servers real."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.plan import apply_plan, load_mappings, plan
from dbint.flow.sink import Sink
from dbint.flow.slots import drop_slot
from dbint.flow.snapshot import SCHEMA_SQL
from dbint.flow.status import flow_status
from dbint.flow.verification import verify
from dbint.metrics.catalogue import CATALOGUE
from dbint.metrics.openmetrics import as_openmetrics
from tests.integration.flow_source import Source, source_database
from tests.integration.flow_tables import run


@pytest.fixture
def source(postgres, kafka, target) -> Iterator[Source]:
    """A flow from a database of its own into one of Doris', its table made."""
    made = source_database(
        postgres,
        kafka,
        "CREATE TABLE t (id int, day date, name text, n numeric(9, 2), at timestamptz, "
        "PRIMARY KEY (id, day)); ALTER TABLE t REPLICA IDENTITY FULL",
    )
    with made as source:
        source.config = replace(source.config, target=target, batch_seconds=0.1)
        with source.config.source.connect() as connection:
            apply_plan(source.config, plan(source.config))
            del connection
        yield source


@contextmanager
def sinking(config: FlowConfig) -> Iterator[Sink]:
    stop = threading.Event()
    with closing(Sink(config, load_mappings(config))) as sink:
        thread = threading.Thread(target=sink.run, args=(stop,))
        thread.start()
        try:
            yield sink
        finally:
            stop.set()
            thread.join(40)
            assert not thread.is_alive()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


def landed(source: Source, rows: int) -> bool:
    return run(source.config.target, "SELECT COUNT(*) FROM t") == [(rows,)]


def levels(status: Any) -> set[str]:
    return {finding.level for finding in status.findings}


def test_a_flow_from_its_start_to_its_stop(source):
    config = source.config
    status = flow_status(config)
    assert status.level == "error"
    assert "start run_flow" in status.findings[0].text
    assert status.first_load[0].state == "pending"

    with source.captured():
        for number in range(20):
            source("INSERT INTO t VALUES (%s, '2026-01-01', 'x', 1.5, now())", number)
        until(lambda: len(source.messages()) == 20)
        status = flow_status(config)
        # Captured, and nobody loads it yet.
        assert (status.sink.rows, levels(status)) == (20, set())
        assert status.slot is not None
        assert status.slot.active_pid
        (waits,) = flow_status(replace(config, tables=(*config.tables, "public.later"))).findings
        assert waits.level == "warning"
        assert "public.later is not in publication" in waits.text
        assert status.freshness_p50 is None
        # The oldest of them is as old as its commit; what cannot be known says why.
        assert 0 < (status.sink.seconds or 0) < 120
        assert status.topics[0].seconds == status.sink.seconds
        assert status.sink.unknown == {"bytes": "Kafka counts messages alone"}
        assert set(status.capture.unknown) == {"rows"}
        text = "\n".join(status.lines())
        assert "20 rows" in text
        assert "bytes unknown (Kafka counts messages alone)" in text
        assert "from commit to visible: unknown (the sink has noted no change in Doris yet)" in text
        with sinking(config):
            until(lambda: landed(source, 20))
            status = until(lambda: (s := flow_status(config)).sink.rows == 0 and s)
        assert status.sink.seconds == 0.0
        assert status.freshness_p50 is not None
        assert 0 < status.freshness_p50 <= (status.freshness_p99 or 0) < 120
        document = json.loads(json.dumps(status.to_json()))
        assert document["level"] == "ok"
        assert document["lag"]["sink"] == {"bytes": 0, "rows": 0, "seconds": 0.0, "unknown": {}}
        assert document["freshness_s"]["unknown"] == ""
        text = "\n".join(status.lines())
        assert "p99" in text
        assert "0 rows" in text

    status = flow_status(config)
    assert "nobody reads slot" in status.findings[0].text
    with config.source.connect() as connection:
        drop_slot(connection, config.slot)
    assert f"slot {config.slot} is not there" in flow_status(config).findings[0].text


def test_metrics_are_those_of_the_catalogue(source):
    with source.captured():
        until(lambda: flow_status(source.config).level == "ok")  # the slot is being read
        metrics = list(flow_status(source.config).metrics())
    assert {metric.name for metric in metrics} >= {"dbint_flow_lag_bytes", "dbint_flow_status"}
    for metric in metrics:
        assert set(metric.labels) == set(CATALOGUE[metric.name].labels)
        assert metric.kind == CATALOGUE[metric.name].kind
    text = as_openmetrics(metrics)
    assert text.endswith("# EOF")
    assert f'dbint_flow_status{{flow="{source.config.name}",status="ok"}} 1' in text


def test_while_tables_are_loaded_nobody_has_to_read_the_slot(source):
    config = source.config
    with config.source.connect() as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [config.slot])
        connection.execute(SCHEMA_SQL)
        connection.execute(
            "INSERT INTO dbint.flow_snapshot (flow, relation, state, updated_at) "
            "VALUES (%s, %s, 'running', now())",
            [config.name, config.tables[0]],
        )
        assert levels(flow_status(config)) == set()
        connection.execute("UPDATE dbint.flow_snapshot SET updated_at = now() - interval '2 minutes'")
        assert "nobody reads slot" in flow_status(config).findings[0].text
        drop_slot(connection, config.slot)


def test_servers_that_do_not_answer_are_findings(source):
    nowhere = SourceAccess("nowhere", lambda: {"host": "127.0.0.1", "port": "1", "connect_timeout": "2"})
    kafka = {"bootstrap.servers": "127.0.0.1:1"}
    status = flow_status(replace(source.config, source=nowhere, kafka=lambda _role: kafka))
    assert [finding.level for finding in status.findings] == ["error", "error"]
    assert "nowhere" in status.findings[0].text
    assert (status.capture.bytes, status.sink.rows) == (None, None)
    assert set(status.capture.unknown) == set(status.sink.unknown) == {"bytes", "rows", "seconds"}
    assert "  Kafka -> Doris: lag unknown (a server did not answer)" in status.lines()


def test_what_differs_is_mended_through_the_flow(source):
    config = source.config
    source(
        "INSERT INTO t SELECT i, '2026-01-01'::date + i, 'row ' || i, i, '2026-01-01 00:00+00' "
        "FROM generate_series(1, 50) i"
    )
    with source.captured(), sinking(config):
        source("UPDATE t SET n = n + 1")
        until(lambda: landed(source, 50))
        assert verify(config)[0].same
        # Doris is told what PostgreSQL never said.
        doris = "INSERT INTO t (id, day, name, n, dbint_sequence) VALUES "
        high = str((source.position() << 64) - 1)
        run(
            config.target,
            doris + f"(7, '2026-01-08', 'other', 1, {high}), (999, '2020-02-29', 'extra', 1, {high})",
        )
        run(config.target, "DELETE FROM t WHERE id = 9")
        (found,) = verify(config, settle=1)
        assert {(d.key, d.kind) for d in found.differences} == {
            (("7", "2026-01-08"), "different"),
            (("9", "2026-01-10"), "missing"),
            (("999", "2020-02-29"), "extra"),
        }
        # It waits as long before it repairs as after: so briefly, and then until the sink has loaded it.
        assert verify(config, settle=1, repair=True)[0].repaired == 3
        until(lambda: verify(config, settle=0)[0].same)
        # The flow goes on from there.
        source("UPDATE t SET name = 'again' WHERE id = 7")
        until(lambda: run(config.target, "SELECT name FROM t WHERE id = 7") == [("again",)])
        assert verify(config)[0].same


def test_a_new_column_with_a_default_is_told_of_and_mended(source):
    config = source.config
    source("INSERT INTO t SELECT i, '2026-01-01', 'row', i, now() FROM generate_series(1, 10) i")
    with source.captured(), sinking(config):
        source("UPDATE t SET n = n + 1")
        until(lambda: landed(source, 10))
    source("ALTER TABLE t ADD COLUMN grade int DEFAULT 5")
    made = plan(config)
    assert "--repair" in made.tables[0].evolution.notes[0]
    apply_plan(config, made)
    with source.captured(), sinking(config):
        source("INSERT INTO t VALUES (11, '2026-01-01', 'new', 1, now(), 6)")
        until(lambda: landed(source, 11))
        (found,) = verify(config, settle=1)
        assert {d.columns for d in found.differences} == {("grade",)}
        assert verify(config, settle=1, repair=True)[0].repaired == 10
        until(lambda: verify(config, settle=0)[0].same)
    assert run(config.target, "SELECT grade, COUNT(*) FROM t GROUP BY grade ORDER BY grade") == [
        (5, 10),
        (6, 1),
    ]


def test_a_target_that_does_not_answer(source):
    target = TargetAccess("gone", "x", [("127.0.0.1", 1)], ["http://127.0.0.1:1"], lambda: ("", ""))
    with pytest.raises(Exception, match="Doris \\(gone\\) cannot be reached"):
        verify(replace(source.config, target=target))
