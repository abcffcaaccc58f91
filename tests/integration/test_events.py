"""DatabaseIntegrationLayer on a real server: what the seed promises, with the server there and away."""

import asyncio
import gc
import inspect
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbint import errors
from dbint.events import (
    BatchWriteBuffer,
    CircuitState,
    DatabaseConfig,
    DatabaseHealthStatus,
    DatabaseIntegrationLayer,
    HealthChange,
    get_database_layer,
    retention,
    set_database_layer,
)
from dbint.events.host import Host, current_host, use_host
from dbint.events.reader import connected
from stack import Endpoint, Stack
from tests.integration.events_database import config_for, fresh_database, one

TRACE: dict[str, Any] = {
    "trace_id": "coord_123",
    "event_type": "AGENT_START",
    "level": "INFO",
    "message": "Agent execution started",
    "agent_name": "agent-debug-intelligence",
    "task_id": "task_456",
}
ROUTING: dict[str, Any] = {
    "user_request": "find the bug",
    "selected_agent": "agent-debug-intelligence",
    "confidence_score": 0.92,
    "alternatives": [{"agent": "agent-tester", "score": 0.4}],
    "reasoning": "it says bug",
    "routing_strategy": "enhanced",
}
METRIC: dict[str, Any] = {
    "metric_name": "routing_decision_latency",
    "metric_value": 45.2,
    "metric_type": "latency",
    "component": "enhanced_router",
}
TRANSFORMATION: dict[str, Any] = {
    "source_agent": "agent-workflow-coordinator",
    "target_agent": "agent-debug-intelligence",
    "transformation_type": "delegation",
    "success": True,
    "duration_ms": 12.5,
}


@pytest.fixture(scope="module")
def database(postgres: Endpoint) -> Iterator[str]:
    with fresh_database(postgres) as name:
        config = config_for(postgres, name)
        with connected(config) as connection:
            retention.install(connection, config)
        yield name


@pytest.fixture
def config(postgres: Endpoint, database: str, tmp_path: Path) -> DatabaseConfig:
    """Empty tables, and a journal of the test's own."""
    found = config_for(postgres, database, tmp_path)
    with connected(found) as connection:
        connection.execute(
            "TRUNCATE agent_observability.trace_events, agent_observability.routing_decisions, "
            "agent_observability.performance_metrics, agent_observability.transformation_events"
        )
    return found


@pytest.fixture
def layer(config: DatabaseConfig) -> Iterator[DatabaseIntegrationLayer]:
    with DatabaseIntegrationLayer(config) as found:
        yield found


@pytest.fixture
def process_layer(config: DatabaseConfig) -> Iterator[None]:
    """The process's own layer has the test's configuration."""
    before, before_layer = current_host(), set_database_layer(None)
    use_host(Host(config=lambda: config))
    yield
    use_host(before)
    if (mine := set_database_layer(before_layer)) is not None:
        mine.shutdown_sync()


def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Waits until ``condition()`` holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s: {inspect.getsource(condition).strip()}"
        time.sleep(0.02)


class TestTheSeed:
    """The six cases of test_database_integration.py."""

    def test_initialisation(self, config: DatabaseConfig) -> None:
        async def main() -> None:
            db = DatabaseIntegrationLayer(config)
            await db.initialize(require_server=True)
            health = await db.get_health_metrics()
            assert health.status == DatabaseHealthStatus.HEALTHY
            assert health.circuit_state == CircuitState.CLOSED
            assert health.pool_size >= 1
            assert health.pool_free == health.pool_size
            assert health.pool_utilization_pct == 0.0
            await db.shutdown()

        asyncio.run(main())

    def test_batch_writes(self, config: DatabaseConfig) -> None:
        async def main() -> None:
            async with DatabaseIntegrationLayer(config) as db:
                began = time.perf_counter()
                for _ in range(5000):
                    await db.write_trace_event(**TRACE)
                rate = 5000 / (time.perf_counter() - began)
                assert await db.flush(30) == 0
                assert rate > 1000
                assert db.trace_event_buffer.snapshot()["landed"] == 5000

        asyncio.run(main())
        with connected(config) as connection:
            assert one(connection, "SELECT count(*) FROM agent_observability.trace_events") == 5000
            assert (
                one(connection, "SELECT count(DISTINCT event_id) FROM agent_observability.trace_events")
                == 5000
            )

    def test_what_is_written_can_be_queried(self, config: DatabaseConfig) -> None:
        async def main() -> None:
            async with DatabaseIntegrationLayer(config) as db:
                await db.write_trace_event(**TRACE, metadata={"attempt": 1})
                await db.write_routing_decision(**ROUTING)
                await db.write_performance_metric(**METRIC)
                await db.write_transformation_event(**TRANSFORMATION)
                assert await db.flush(30) == 0
                (trace,) = await db.query_trace_events(trace_id="coord_123", limit=100)
                (routing,) = await db.query_routing_decisions(min_confidence=0.9)
                (metric,) = await db.query_performance_metrics(component="enhanced_router")
                (transformation,) = await db.query_transformation_events(success=True)
            for event, given in (
                (trace, {**TRACE, "metadata": {"attempt": 1}}),
                (routing, ROUTING),
                (metric, METRIC),
                (transformation, TRANSFORMATION),
            ):
                assert {name: event[name] for name in given} == given
                assert isinstance(event["event_id"], uuid.UUID)
                assert event["event_id"].version == 7
                assert abs(event["timestamp"] - datetime.now(UTC)) < timedelta(minutes=1)
                assert event["timestamp"].tzinfo is UTC

        asyncio.run(main())

    def test_health(self, layer: DatabaseIntegrationLayer) -> None:
        before = layer.get_health_metrics_sync()
        layer.query_trace_events_sync()
        after = layer.get_health_metrics_sync()
        assert after.total_queries == before.total_queries + 2
        assert after.failed_queries == 0
        assert after.avg_query_time_ms > 0
        assert after.uptime_seconds > before.uptime_seconds
        assert after.last_error is None
        assert after.recovery_attempts == 0

    def test_the_circuit_breaker(self, config: DatabaseConfig) -> None:
        away = replace(config, port=1, connect_timeout=1, failure_threshold=2, recovery_timeout=600)
        with DatabaseIntegrationLayer(away) as db:
            refused = []
            for _ in range(3):
                with pytest.raises(errors.OperationalError) as caught:
                    db.query_trace_events_sync()
                refused.append(type(caught.value))
            assert refused == [errors.UnreachableError, errors.UnreachableError, errors.CircuitOpenError]
            health = db.get_health_metrics_sync()
            assert health.circuit_state == CircuitState.OPEN
            assert "the circuit breaker is open" in health.reasons

    def test_retention(self, config: DatabaseConfig) -> None:
        async def main() -> None:
            async with DatabaseIntegrationLayer(config) as db:
                await db.write_trace_event(**TRACE, timestamp=datetime.now(UTC) - timedelta(days=31))
                await db.write_trace_event(**TRACE)
                assert await db.flush(30) == 0
                assert (await db.apply_retention_policy(dry_run=True)).removed_rows == 1
                assert len(await db.query_trace_events("coord_123")) == 2
                assert (await db.apply_retention_policy()).removed_rows == 1
                assert len(await db.query_trace_events("coord_123")) == 1

        asyncio.run(main())

    def test_the_guides_example(
        self, config: DatabaseConfig, capsys: pytest.CaptureFixture[str], process_layer: None
    ) -> None:
        guide = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
        (example,) = (block for block in blocks if "async def work" in block)
        namespace: dict[str, Any] = {}
        exec(example, namespace)  # noqa: S102 - the text is ours

        async def main() -> None:
            await namespace["work"]()
            await get_database_layer().shutdown()

        asyncio.run(main())
        assert re.fullmatch(r"[01] events, status: healthy, pool: \d+\.\d %\n", capsys.readouterr().out)
        with DatabaseIntegrationLayer(config) as db:
            assert db.flush_sync(20) == 0
            assert len(db.query_trace_events_sync("coord_123")) == 1


class TestOpening:
    def test_nothing_is_opened_before_it_is_used(self, config: DatabaseConfig) -> None:
        threads = threading.active_count()
        db = DatabaseIntegrationLayer(replace(config, background=True))
        assert not list(Path(config.journal_dir).iterdir())
        assert threading.active_count() == threads
        db.write_trace_event_sync(**TRACE)
        assert db.trace_event_buffer.pending + db.trace_event_buffer.snapshot()["landed"] == 1
        assert db.shutdown_sync() == 0

    def test_the_journal_is_private(self, layer: DatabaseIntegrationLayer) -> None:
        assert layer.config.journal_path.stat().st_mode & 0o777 == 0o700

    def test_a_server_that_is_away_is_a_degraded_start(self, config: DatabaseConfig) -> None:
        db = DatabaseIntegrationLayer(replace(config, port=1))
        db.initialize_sync()
        assert db.status == DatabaseHealthStatus.DEGRADED
        db.write_trace_event_sync(**TRACE)
        health = db.get_health_metrics_sync()
        assert health.reasons[0] == "the server is away; events go to the journal"
        assert health.events_pending == 1
        assert health.recovery_attempts >= 1
        assert health.last_error is not None
        assert "refused" in health.last_error
        assert config.password not in health.last_error
        assert db.shutdown_sync(0.1) == 1

    def test_what_was_kept_lands_with_the_next_process(self, config: DatabaseConfig) -> None:
        away = DatabaseIntegrationLayer(replace(config, port=1))
        for _ in range(10):
            away.write_trace_event_sync(**TRACE)
        assert away.shutdown_sync(0.1) == 10
        with DatabaseIntegrationLayer(config) as db:
            assert db.flush_sync(20) == 0
            assert len(db.query_trace_events_sync("coord_123")) == 10
            assert db.get_health_metrics_sync().events_recovered == 10

    def test_unless_the_server_is_required(self, config: DatabaseConfig) -> None:
        db = DatabaseIntegrationLayer(replace(config, port=1))
        with pytest.raises(errors.UnreachableError):
            db.initialize_sync(require_server=True)
        assert db.closed

    def test_wrong_credentials(self, config: DatabaseConfig) -> None:
        wrong = replace(config, password="wrong", user="nobody")
        with pytest.raises(errors.AuthenticationError) as caught:
            DatabaseIntegrationLayer(wrong).initialize_sync(require_server=True)
        assert "wrong" not in str(caught.value)

    def test_a_journal_that_cannot_be_made(self, config: DatabaseConfig, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        db = DatabaseIntegrationLayer(replace(config, journal_dir=str(tmp_path / "file")))
        with pytest.raises(errors.JournalError, match=r"file/events_\w+ cannot be made .*DBINT_JOURNAL_DIR"):
            db.write_trace_event_sync(**TRACE)
        health = db.get_health_metrics_sync()
        assert health.status == DatabaseHealthStatus.UNHEALTHY
        assert "cannot be made" in str(health.last_error)

    def test_tables_are_made_on_request(self, postgres: Endpoint, tmp_path: Path) -> None:
        with fresh_database(postgres) as name:
            db = DatabaseIntegrationLayer(config_for(postgres, name, tmp_path))
            with pytest.raises(errors.DatabaseError, match=r"python -m dbint\.events install"):
                db.query_trace_events_sync()
            db.initialize_sync(create=True)
            db.write_trace_event_sync(**TRACE)
            assert db.flush_sync(20) == 0
            assert len(db.query_trace_events_sync()) == 1
            db.shutdown_sync()

    def test_after_the_shutdown_there_is_nothing(self, config: DatabaseConfig) -> None:
        db = DatabaseIntegrationLayer(config)
        db.initialize_sync()
        write = db.write_trace_event_sync
        db.shutdown_sync()
        assert db.shutdown_sync() == 0
        for call in (db.write_trace_event_sync, write):
            with pytest.raises(errors.ClosedError):
                call(**TRACE)
        for again in (db.initialize_sync, db.query_trace_events_sync):
            with pytest.raises(errors.ClosedError):
                again()
        assert db.get_health_metrics_sync().reasons[0].startswith("no events are taken")

    def test_an_event_loop_that_ends_takes_nothing_along(self, config: DatabaseConfig) -> None:
        db = DatabaseIntegrationLayer(config)

        async def work() -> int:
            await db.write_trace_event(**TRACE)
            await db.flush(20)
            return len(await db.query_trace_events("coord_123"))

        assert [asyncio.run(work()) for _ in range(3)] == [1, 2, 3]
        db.shutdown_sync()


class TestWriting:
    def test_a_bad_event_is_refused_by_name_and_disturbs_nothing(
        self, layer: DatabaseIntegrationLayer
    ) -> None:
        bad: list[tuple[dict[str, Any], str]] = [
            ({**TRACE, "level": 3}, "level"),
            ({**TRACE, "trace_id": "x" * 256}, "trace_id"),
            ({**TRACE, "message": "a\0b"}, "message"),
            ({**TRACE, "timestamp": datetime(2026, 1, 1)}, "timestamp"),
            ({**TRACE, "metadata": {"n": float("nan")}}, "metadata"),
            ({**TRACE, "colour": "red"}, "colour"),
            ({name: value for name, value in TRACE.items() if name != "message"}, "message"),
        ]
        for event, field in bad:
            with pytest.raises(errors.InvalidEventError) as caught:
                layer.write_trace_event_sync(**event)
            assert f'"{field}"' in str(caught.value)
            assert '"trace_events"' in str(caught.value)
        layer.write_trace_event_sync(**TRACE)
        assert layer.flush_sync(20) == 0
        assert len(layer.query_trace_events_sync()) == 1

    def test_what_is_optional_may_be_none(self, layer: DatabaseIntegrationLayer) -> None:
        layer.write_trace_event_sync(**{**TRACE, "agent_name": None, "task_id": None, "metadata": None})
        assert layer.flush_sync(20) == 0
        (event,) = layer.query_trace_events_sync()
        assert (event["agent_name"], event["task_id"], event["metadata"]) == (None, None, None)

    def test_time_and_id_may_be_given(self, layer: DatabaseIntegrationLayer) -> None:
        moment, event_id = datetime(2026, 11, 1, 12, tzinfo=UTC), uuid.uuid4()
        layer.write_trace_event_sync(**TRACE, timestamp=moment, event_id=event_id)
        assert layer.flush_sync(20) == 0
        (event,) = layer.query_trace_events_sync()
        assert (event["timestamp"], event["event_id"]) == (moment, event_id)

    def test_an_open_layer_calls_the_streams_method(self, layer: DatabaseIntegrationLayer) -> None:
        stream = layer.trace_event_buffer.stream
        assert layer.write_trace_event == stream.write
        assert layer.write_trace_event_sync == stream.write_sync

    def test_a_subclass_may_add_to_it(self, config: DatabaseConfig) -> None:
        class Tagged(DatabaseIntegrationLayer):
            def write_trace_event_sync(self, **fields: Any) -> None:
                super().write_trace_event_sync(**{**fields, "metadata": {"tag": "mine"}})

        with Tagged(config) as db:
            db.write_trace_event_sync(**TRACE)
            db.write_trace_event_sync(**TRACE)
            assert db.flush_sync(20) == 0
            assert [event["metadata"] for event in db.query_trace_events_sync()] == [{"tag": "mine"}] * 2

    def test_each_buffer_has_the_seeds_name(self, layer: DatabaseIntegrationLayer) -> None:
        layer.write_routing_decision_sync(**ROUTING)
        buffers = {
            "trace_events": layer.trace_event_buffer,
            "routing_decisions": layer.routing_decision_buffer,
            "performance_metrics": layer.performance_metrics_buffer,
            "transformation_events": layer.transformation_event_buffer,
        }
        for name, buffer in buffers.items():
            assert isinstance(buffer, BatchWriteBuffer)
            assert buffer.name == name
            assert (buffer.batch_size, buffer.batch_timeout_ms) == (100, 1000)

        async def main() -> None:
            await buffers["trace_events"].add(TRACE)
            assert await buffers["trace_events"].flush(20) == 0

        asyncio.run(main())
        assert len(buffers["trace_events"]) == 0
        assert buffers["routing_decisions"].snapshot()["landed"] == 1

    def test_many_threads(self, layer: DatabaseIntegrationLayer) -> None:
        def work(number: int) -> None:
            for index in range(200):
                layer.write_trace_event_sync(**{**TRACE, "task_id": f"{number}-{index}"})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert layer.flush_sync(30) == 0
        found = layer.query_trace_events_sync("coord_123", limit=10_000)
        assert {event["task_id"] for event in found} == {
            f"{number}-{index}" for number in range(8) for index in range(200)
        }
        assert len(found) == 1600


class TestQuerying:
    @pytest.fixture
    def filled(self, layer: DatabaseIntegrationLayer) -> DatabaseIntegrationLayer:
        now = datetime.now(UTC)
        for number in range(60):
            # Two events a moment, over twenty days: pages break in the middle of a moment.
            moment = now - timedelta(hours=8 * (number // 2 * 2))
            layer.write_trace_event_sync(
                trace_id=f"trace-{number % 6}",
                event_type=("START", "END")[number % 2],
                level="INFO",
                message=str(number),
                agent_name=f"agent-{number % 3}",
                timestamp=moment,
            )
            layer.write_routing_decision_sync(
                user_request=str(number),
                selected_agent=f"agent-{number % 3}",
                confidence_score=number / 60,
                routing_strategy=("enhanced", "simple")[number % 2],
                trace_id=f"trace-{number % 6}",
                timestamp=moment,
            )
            layer.write_performance_metric_sync(
                metric_name=f"metric-{number % 3}",
                metric_value=number,
                metric_type=("latency", "count")[number % 2],
                component=f"component-{number % 5}",
                trace_id=f"trace-{number % 6}",
                timestamp=moment,
            )
            layer.write_transformation_event_sync(
                source_agent=f"agent-{number % 3}",
                target_agent=f"agent-{number % 4}",
                transformation_type=("delegation", "merge")[number % 2],
                success=number % 10 != 0,
                reason=str(number),
                trace_id=f"trace-{number % 6}",
                timestamp=moment,
            )
        assert layer.flush_sync(30) == 0
        return layer

    @pytest.mark.parametrize(
        ("method", "field", "filters", "expected"),
        [
            ("trace_events", "message", {"trace_id": "trace-1"}, lambda n: n % 6 == 1),
            ("trace_events", "message", {"agent_name": "agent-2"}, lambda n: n % 3 == 2),
            ("trace_events", "message", {"event_type": "END"}, lambda n: n % 2 == 1),
            ("trace_events", "message", {"agent_name": "agent-0", "event_type": "END"}, lambda n: n % 6 == 3),
            ("trace_events", "message", {}, lambda n: True),
            ("trace_events", "message", {"trace_id": "nobody's"}, lambda n: False),
            ("routing_decisions", "user_request", {"selected_agent": "agent-1"}, lambda n: n % 3 == 1),
            ("routing_decisions", "user_request", {"min_confidence": 0.5}, lambda n: n >= 30),
            ("routing_decisions", "user_request", {"routing_strategy": "simple"}, lambda n: n % 2 == 1),
            ("routing_decisions", "user_request", {"trace_id": "trace-4"}, lambda n: n % 6 == 4),
            ("performance_metrics", "metric_value", {"metric_name": "metric-0"}, lambda n: n % 3 == 0),
            ("performance_metrics", "metric_value", {"component": "component-4"}, lambda n: n % 5 == 4),
            ("performance_metrics", "metric_value", {"metric_type": "count"}, lambda n: n % 2 == 1),
            ("performance_metrics", "metric_value", {"trace_id": "trace-0"}, lambda n: n % 6 == 0),
            ("transformation_events", "reason", {"source_agent": "agent-2"}, lambda n: n % 3 == 2),
            ("transformation_events", "reason", {"target_agent": "agent-3"}, lambda n: n % 4 == 3),
            ("transformation_events", "reason", {"transformation_type": "merge"}, lambda n: n % 2 == 1),
            ("transformation_events", "reason", {"success": False}, lambda n: n % 10 == 0),
            ("transformation_events", "reason", {"success": True}, lambda n: n % 10 != 0),
            ("transformation_events", "reason", {"trace_id": "trace-5"}, lambda n: n % 6 == 5),
        ],
    )
    def test_each_filter_in_both_forms_and_in_pages(
        self,
        filled: DatabaseIntegrationLayer,
        method: str,
        field: str,
        filters: dict[str, Any],
        expected: Callable[[int], bool],
    ) -> None:
        query = getattr(filled, f"query_{method}_sync")
        found = query(**filters)
        assert {int(event[field]) for event in found} == {n for n in range(60) if expected(n)}
        places = [(event["timestamp"], event["event_id"]) for event in found]
        assert places == sorted(places, reverse=True)
        assert asyncio.run(self.async_query(filled, method, filters)) == found
        assert self.all_pages(query, filters) == found

    @staticmethod
    async def async_query(layer: DatabaseIntegrationLayer, method: str, filters: dict[str, Any]) -> Any:
        found = await getattr(layer, f"query_{method}")(**filters)
        await layer._reader.close_loop(5)
        return found

    @staticmethod
    def all_pages(
        query: Callable[..., list[dict[str, Any]]], filters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := query(**filters, limit=7, before=found[-1] if found else None):
            found += page
            assert len(page) <= 7
        return found

    def test_a_range_of_time_has_its_start_and_not_its_end(self, filled: DatabaseIntegrationLayer) -> None:
        times = sorted({event["timestamp"] for event in filled.query_trace_events_sync()})
        start, end = times[5], times[20]
        found = filled.query_trace_events_sync(start_time=start, end_time=end)
        assert sorted({event["timestamp"] for event in found}) == times[5:20]

    def test_the_limit_takes_the_newest(self, filled: DatabaseIntegrationLayer) -> None:
        everything = filled.query_trace_events_sync()
        for limit in (1, 9, 59):
            assert filled.query_trace_events_sync(limit=limit) == everything[:limit]

    def test_a_cancelled_query_is_no_failure(self, layer: DatabaseIntegrationLayer) -> None:
        async def main() -> None:
            with connected(layer.config) as other, other.transaction():
                other.execute("LOCK agent_observability.trace_events IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(layer.query_trace_events(), 0.3)
            assert await layer.query_trace_events() == []
            await layer._reader.close_loop(5)

        asyncio.run(main())
        health = layer.get_health_metrics_sync()
        assert health.failed_queries == 0

    def test_a_query_that_takes_too_long_is_ended(self, config: DatabaseConfig) -> None:
        with (
            DatabaseIntegrationLayer(replace(config, query_timeout=0.2)) as db,
            connected(config) as other,
            other.transaction(),
        ):
            other.execute("LOCK agent_observability.trace_events IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(errors.DeadlineError, match="statement timeout"):
                db.query_trace_events_sync()
            assert db.get_health_metrics_sync().failed_queries == 1

    def test_new_credentials_are_taken_at_once(self, config: DatabaseConfig) -> None:
        db = DatabaseIntegrationLayer(replace(config, user="nobody", password="x", connect_timeout=1))
        db.initialize_sync()
        assert db.status == DatabaseHealthStatus.DEGRADED
        with pytest.raises(errors.OperationalError, match="nobody"):
            db.query_trace_events_sync()
        db.set_credentials(config.user, config.password)
        assert db.query_trace_events_sync() == []
        assert db.get_health_metrics_sync().status == DatabaseHealthStatus.RECOVERING
        assert db.get_health_metrics_sync().status == DatabaseHealthStatus.HEALTHY
        db.shutdown_sync()


class TestOutage:
    def test_down_and_back_up(self, postgres_private: Stack, tmp_path: Path) -> None:
        server = postgres_private.endpoint("postgres")
        changes: list[HealthChange] = []
        config = replace(
            config_for(server, str(server.credentials["database"]), tmp_path),
            background=True,
            health_check_interval=0.1,
            recovery_timeout=0.5,
            connect_timeout=2,
        )
        with DatabaseIntegrationLayer(config) as db:
            db.create_tables()
            db.add_health_listener(changes.append)
            assert db.status == DatabaseHealthStatus.HEALTHY
            numbers = itertools.count()

            def write(events: int) -> None:
                for _ in range(events):
                    db.write_trace_event_sync(**{**TRACE, "message": str(next(numbers))})

            write(500)
            postgres_private.kill("postgres")
            until(lambda: db.status == DatabaseHealthStatus.DEGRADED)
            write(500)
            time.sleep(1)
            health = db.get_health_metrics_sync()
            assert health.events_pending >= 500
            assert health.recovery_attempts >= 2
            with pytest.raises(errors.OperationalError):
                db.query_trace_events_sync()
            postgres_private.start("postgres")
            until(lambda: db.status == DatabaseHealthStatus.HEALTHY)
            assert db.flush_sync(20) == 0
            found = db.query_trace_events_sync("coord_123", limit=10_000)
            assert sorted(int(event["message"]) for event in found) == list(range(1000))
            health = db.get_health_metrics_sync()
            assert health.events_accepted == health.events_landed == 1000
            assert (health.events_lost, health.events_dead, health.recovery_attempts) == (0, 0, 0)
        statuses = [change.to_status for change in changes]
        assert statuses[0] == DatabaseHealthStatus.DEGRADED
        assert statuses[-2:] == [DatabaseHealthStatus.RECOVERING, DatabaseHealthStatus.HEALTHY]

    def test_a_dropped_table_is_held_and_repaired(self, postgres: Endpoint, tmp_path: Path) -> None:
        with fresh_database(postgres) as name:
            db = DatabaseIntegrationLayer(config_for(postgres, name, tmp_path))
            db.initialize_sync()
            db.write_trace_event_sync(**TRACE)
            until(lambda: db.get_health_metrics_sync().held_chains == 1)
            health = db.get_health_metrics_sync()
            assert health.status == DatabaseHealthStatus.DEGRADED
            assert "1 chains of events are held until somebody acts" in health.reasons
            db.create_tables()
            db.writer.retry()
            assert db.flush_sync(20) == 0
            assert len(db.query_trace_events_sync()) == 1
            db.shutdown_sync()


class TestBackground:
    def test_retention_is_applied_when_it_is_due(self, config: DatabaseConfig) -> None:
        busy = replace(config, background=True, health_check_interval=0.05)
        with connected(config) as connection:
            connection.execute("DELETE FROM dbint.retention_log")
            with DatabaseIntegrationLayer(busy), DatabaseIntegrationLayer(replace(busy, name="other")):
                runs = "SELECT count(*) FROM dbint.retention_log WHERE action = 'run'"
                until(lambda: one(connection, runs) == 1)
                time.sleep(0.5)
                assert one(connection, runs) == 1

    def test_its_thread_ends_with_the_layer(self, config: DatabaseConfig) -> None:
        def threads() -> list[str]:
            return [t.name for t in threading.enumerate() if t.name == "dbint-events"]

        busy = replace(config, background=True, health_check_interval=0.05)
        db = DatabaseIntegrationLayer(busy)
        db.initialize_sync()
        assert threads() == ["dbint-events"]
        db.shutdown_sync()
        until(lambda: not threads())

        forgotten = DatabaseIntegrationLayer(busy)
        forgotten.initialize_sync()
        forgotten.flush_sync(5)
        del forgotten
        until(lambda: gc.collect() >= 0 and not threads())


class TestTheProcess:
    @pytest.mark.usefixtures("process_layer")
    def test_has_one_layer(self) -> None:
        db = get_database_layer()
        assert get_database_layer() is db
        db.write_trace_event_sync(**TRACE)
        db.shutdown_sync()
        again = get_database_layer()
        assert again is not db
        again.write_trace_event_sync(**TRACE)
        assert again.flush_sync(20) == 0
        assert len(again.query_trace_events_sync()) == 2

    def run(self, config: DatabaseConfig, script: str) -> str:
        environ = {
            "POSTGRES_HOST": config.host,
            "POSTGRES_PORT": str(config.port),
            "POSTGRES_DATABASE": config.database,
            "POSTGRES_USER": config.user,
            "POSTGRES_PASSWORD": config.password,
            "DBINT_JOURNAL_DIR": config.journal_dir,
        }
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(script)],
            env={**os.environ, **environ},
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def messages(self, config: DatabaseConfig) -> list[str]:
        with connected(config) as connection:
            rows = connection.execute("SELECT message FROM agent_observability.trace_events").fetchall()
        return sorted(str(row[0]) for row in rows)

    def test_what_waits_at_the_exit_is_shipped(self, config: DatabaseConfig) -> None:
        self.run(
            config,
            """
            import asyncio
            from dbint.events import get_database_layer

            async def main():
                for number in range(10):
                    await get_database_layer().write_trace_event(
                        trace_id="t", event_type="e", level="INFO", message=str(number))

            asyncio.run(main())
            """,
        )
        assert self.messages(config) == [str(number) for number in range(10)]

    def test_a_forked_child_has_its_own(self, config: DatabaseConfig) -> None:
        self.run(
            config,
            """
            import os, threading, warnings
            from dbint.events import get_database_layer

            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
            db = get_database_layer()
            write = lambda text: db.write_trace_event_sync(
                trace_id="t", event_type="e", level="INFO", message=text)
            write("parent before")
            assert db.query_trace_events_sync(limit=1) is not None
            children = []
            for number in range(3):
                if (child := os.fork()) == 0:
                    assert get_database_layer() is db
                    assert not [t for t in threading.enumerate() if t.name == "dbint-events"]
                    write(f"child {number}")
                    assert [t for t in threading.enumerate() if t.name == "dbint-events"]
                    left = db.flush_sync(20)
                    found = db.query_trace_events_sync("t")
                    db.shutdown_sync()
                    os._exit(0 if left == 0 and found else 1)
                children.append(child)
            write("parent after")
            assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
            assert db.query_trace_events_sync(limit=1)
            assert db.shutdown_sync(20) == 0
            """,
        )
        assert self.messages(config) == ["child 0", "child 1", "child 2", "parent after", "parent before"]

    def test_importing_starts_nothing(self, config: DatabaseConfig) -> None:
        printed = self.run(
            config,
            """
            import os, threading
            import dbint.events
            print(threading.active_count(), len(os.listdir("/proc/self/task")))
            print(os.listdir(os.environ["DBINT_JOURNAL_DIR"]))
            """,
        )
        assert printed == "1 1\n[]\n"


def test_signatures_are_shown_to_people() -> None:
    write = inspect.signature(DatabaseIntegrationLayer.write_trace_event)
    assert list(write.parameters)[:5] == ["self", "trace_id", "event_type", "level", "message"]
    assert inspect.signature(DatabaseIntegrationLayer.write_trace_event_sync).parameters == write.parameters
    query = inspect.signature(DatabaseIntegrationLayer.query_routing_decisions)
    assert list(query.parameters) == [
        "self",
        "selected_agent",
        "min_confidence",
        "routing_strategy",
        "start_time",
        "end_time",
        "limit",
        "trace_id",
        "before",
    ]
    for name, method in vars(DatabaseIntegrationLayer).items():
        if not name.startswith("_") and callable(method):
            assert inspect.getdoc(method), name
