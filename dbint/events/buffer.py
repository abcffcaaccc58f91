"""The front of a stream: what is on its way, and sending it now."""

from typing import TYPE_CHECKING, Any

from dbint._core import BatchWriter, Stream

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from dbint._core import StreamSnapshot


class BatchWriteBuffer:
    """Events of one kind between the call that takes them and the table.

    They are shipped when ``batch_size`` of them wait or the oldest has waited for ``batch_timeout_ms``; the
    shipment takes all that wait. Nothing is kept in Python: the events are in the journal.
    """

    def __init__(
        self, stream: Stream, writer: BatchWriter, batch_size: int = 100, batch_timeout_ms: float = 1000.0
    ) -> None:
        self.stream = stream
        self.batch_size = batch_size
        self.batch_timeout_ms = batch_timeout_ms
        self._writer = writer

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def pending(self) -> int:
        """How many events have not landed yet, those included that an earlier process left."""
        return self.stream.snapshot()["journaled"]

    def __len__(self) -> int:
        return self.pending

    def snapshot(self) -> "StreamSnapshot":
        """All that is counted."""
        return self.stream.snapshot()

    def add(self, event: dict[str, Any]) -> "Coroutine[Any, Any, None]":
        """Takes an event; to be awaited."""
        return self.stream.write_mapping(event)

    async def flush(self, timeout: float | None = None) -> int:
        """Ships what waits now. Returns how many events of this kind have not landed within ``timeout`` s.

        The other streams of the layer are shipped along.
        """
        return self.pending if await self._writer.flush_async(timeout) else 0
