"""Events of a test, in a list instead of a database.

What is captured has passed the encoder that the batch writer uses: an event that its table cannot hold is
refused here as it is there.
"""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from dbint import _core
from dbint.errors import ConfigurationError, InterfaceError
from dbint.events.config import DatabaseConfig
from dbint.events.layer import DatabaseIntegrationLayer
from dbint.events.process import get_database_layer, set_database_layer
from dbint.events.reader import Reader


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """One event: the table that it was for, without its schema, and its fields as they were given."""

    table: str
    fields: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """A field; KeyError when the event was written without it."""
        return self.fields[name]


class CapturedEvents(Sequence[CapturedEvent]):
    """The events of a test, in the order in which they were written."""

    def __init__(self) -> None:
        self._events: list[CapturedEvent] = []

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"CapturedEvents({self._events!r})"

    def of(self, table: str, **fields: Any) -> list[CapturedEvent]:
        """Those for ``table`` ("trace_events") that have these fields."""
        return [
            event
            for event in self._events
            if event.table == table
            and all(name in event.fields and event.fields[name] == value for name, value in fields.items())
        ]

    def one(self, table: str, **fields: Any) -> CapturedEvent:
        """The only one for ``table`` that has these fields. AssertionError, with what there is, otherwise."""
        found = self.of(table, **fields)
        if len(found) != 1:
            what = f"events for {table} with {fields}" if fields else f"events for {table}"
            raise AssertionError(f"{len(found)} {what}, and there should be 1; captured: {self._events!r}")
        return found[0]

    def clear(self) -> None:
        """Forget all of them."""
        self._events.clear()

    def add(self, event: CapturedEvent) -> None:
        """Keep one more."""
        self._events.append(event)


class _Stream:
    """What a captured layer has for a Stream."""

    def __init__(self, events: CapturedEvents, table: str, name: str, encoder: _core.RowEncoder) -> None:
        self.table, self.name = table, name
        self._events, self._encoder = events, encoder

    def write(self, /, **fields: Any) -> Coroutine[Any, Any, None]:
        self.write_sync(**fields)
        return _completed()

    def write_mapping(self, fields: Mapping[str, Any], /) -> Coroutine[Any, Any, None]:
        return self.write(**fields)

    def write_sync(self, /, **fields: Any) -> None:
        self._encoder.encode_mapping(fields)
        self._events.add(CapturedEvent(self.table.rpartition(".")[2], dict(fields)))


async def _completed() -> None:
    """What there is to await of an event that was taken at once."""


class _Writer:
    """What a captured layer has for a BatchWriter."""

    def __init__(self, events: CapturedEvents) -> None:
        self._events = events

    def stream(
        self,
        table: str,
        *,
        name: str | None = None,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        fill: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> _Stream:
        if not isinstance(columns, Mapping):
            raise ConfigurationError(
                f'the stream into "{table}" must declare its columns with their types to be captured: '
                "without a server nobody knows them"
            )
        return _Stream(
            self._events,
            table,
            name or table,
            _core.RowEncoder(columns, fill=dict(fill or {}), name=name or table),
        )

    def start(self) -> None:
        """Nothing is shipped."""

    def retry(self) -> None:
        """Nothing is held."""

    def flush(self, timeout: float | None = None) -> int:
        del timeout
        return 0

    async def flush_async(self, timeout: float | None = None) -> int:
        del timeout
        return 0

    def close(self, timeout: float | None = None) -> int:
        del timeout
        return 0

    def snapshot(self) -> Any:
        raise InterfaceError("events are captured: there is no journal to look at")


class _NoReader:
    """What a captured layer has for a Reader."""

    def fetch(self, query: object) -> Any:
        del query
        raise InterfaceError("events are captured: there is nothing to query")

    async def fetch_async(self, query: object) -> Any:
        return self.fetch(query)

    def connection(self) -> Any:
        raise InterfaceError("events are captured: there is no server")

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""

    async def close_async(self, timeout: float | None = None) -> None:
        """Nothing is open."""


class _CapturingLayer(DatabaseIntegrationLayer):
    """A layer whose events end in a list."""

    def __init__(self, events: CapturedEvents) -> None:
        super().__init__(DatabaseConfig(database="captured", background=False))
        self._events = events
        self._reader = cast(Reader, _NoReader())

    def _make_writer(self, pool: _core.Pool) -> _core.BatchWriter:
        del pool
        return cast(_core.BatchWriter, _Writer(self._events))

    def initialize_sync(self, require_server: bool = False, create: bool = False) -> None:
        del require_server, create
        self._open()


@contextmanager
def capture_events() -> Iterator[CapturedEvents]:
    """Inside, the events of the process's own layer are kept in the list that is given; no server is needed.

    Code under test that asks :func:`dbint.events.get_database_layer` gets a layer that writes there. Queries
    raise InterfaceError: there is nothing to query. A layer that was asked for before is back afterwards.
    """
    events = CapturedEvents()
    layer = _CapturingLayer(events)
    with ExitStack() as stack:
        stack.callback(layer.shutdown_sync, 0)
        stack.callback(set_database_layer, set_database_layer(layer))
        yield events


def flush_events(timeout: float = 10.0) -> None:
    """Wait until the events of the process's own layer have landed; AssertionError after ``timeout`` s."""
    left = get_database_layer().flush_sync(timeout)
    if left:
        raise AssertionError(f"{left} events have not landed within {timeout:g} s")


class EventsMixin:
    """For unittest.TestCase and Django's: each test has its events in ``self.captured_events``."""

    captured_events: CapturedEvents

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]  # TestCase's
        capture = capture_events()
        self.captured_events = capture.__enter__()
        self.addCleanup(capture.__exit__, None, None, None)  # type: ignore[attr-defined]  # as above
