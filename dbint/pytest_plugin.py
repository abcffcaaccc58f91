"""dbint's pytest plugin: fixtures for the tests of projects that use dbint.

Imports dbint only where a fixture is asked for: other projects in the same environment have the plugin too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbint.events.layer import DatabaseIntegrationLayer
    from dbint.testing import CapturedEvents


@pytest.fixture
def captured_events() -> Iterator[CapturedEvents]:
    """The events that the test writes, in a list; no server is needed."""
    from dbint.testing import capture_events

    with capture_events() as events:
        yield events


@pytest.fixture
def event_layer(tmp_path: Path) -> Iterator[DatabaseIntegrationLayer]:
    """The process's own layer for this test, on the configured database, with a journal of the test's own.

    The server must be there; missing tables are made.
    """
    from dataclasses import replace

    from dbint.events.host import current_host
    from dbint.events.layer import DatabaseIntegrationLayer
    from dbint.events.process import set_database_layer

    layer = DatabaseIntegrationLayer(replace(current_host().config(), journal_dir=str(tmp_path / "journal")))
    before = set_database_layer(layer)
    try:
        layer.initialize_sync(require_server=True, create=True)
        yield layer
    finally:
        set_database_layer(before)
        layer.shutdown_sync()
