"""PgBouncer in transaction mode between the layer and the server: writing, asking and looking after."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig, DatabaseHealthStatus, DatabaseIntegrationLayer
from stack import Endpoint
from tests.faults.events import event, writing
from tests.integration.events_database import installed


@pytest.fixture
def config(pgbouncer: Endpoint, postgres: Endpoint, tmp_path: Path) -> Iterator[DatabaseConfig]:
    """The way of the run's PgBouncer to a database of the test's own."""
    with installed(postgres, journal=tmp_path / "journal") as (_, direct):
        yield replace(direct, host=pgbouncer.host, port=pgbouncer.port)


def test_everything_goes_through_it(config: DatabaseConfig) -> None:
    """From threads and from an event loop; what is prepared on one connection is asked for on another."""
    with writing(config) as events:
        layer = events.layer
        assert layer.get_health_metrics_sync().status is DatabaseHealthStatus.HEALTHY

        def ask() -> None:
            for _ in range(15):
                layer.query_trace_events_sync(trace_id="faults", limit=5)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        events.write(2000)
        for thread in threads:
            thread.join()
        events.settle()

        async def ask_async() -> list[int]:
            queries = (layer.query_trace_events(event_type="STEP", limit=3000) for _ in range(12))
            return [len(found) for found in await asyncio.gather(*queries)]

        assert asyncio.run(ask_async()) == [2000] * 12
        health = layer.get_health_metrics_sync()
        assert (health.failed_queries, health.last_error) == (0, None)


def test_retention_has_one_leader(config: DatabaseConfig) -> None:
    """Its lock lasts as long as a transaction, or it would stay with a connection of PgBouncer's."""
    with writing(config) as events:
        events.layer.write_trace_event_sync(**event("old"), timestamp=datetime.now(UTC) - timedelta(days=40))
        assert events.layer.flush_sync(30) == 0
        for removed in (1, 0, 0):
            report = events.layer.apply_retention_policy_sync()
            assert (report.ran, report.removed_rows) == (True, removed)
        with DatabaseIntegrationLayer(replace(config, name="other")) as other:
            assert other.apply_retention_policy_sync().ran
