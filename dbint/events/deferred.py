"""Events that wait for a transaction: they are written when it has committed, or never."""

import copy
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from dbint import _core
from dbint._core import Stream
from dbint.events.tables import EventTable


class Deferred:
    """The write methods of a stream where there are transactions: they know ``on_commit``."""

    def __init__(
        self,
        stream: Stream,
        table: EventTable,
        on_commit: Callable[[Callable[[], None], str | None], None],
    ) -> None:
        self._write, self._write_sync, self._on_commit = stream.write, stream.write_sync, on_commit
        self._check = _core.RowEncoder(
            {column.name: column.declaration for column in table.columns},
            fill={column.name: column.fill for column in table.columns if column.fill},
        ).encode

    def write(self, /, *, on_commit: bool | str = False, **fields: Any) -> Coroutine[Any, Any, None]:
        if not on_commit:
            return self._write(**fields)
        return self._later_async(on_commit, fields)

    def write_sync(self, /, *, on_commit: bool | str = False, **fields: Any) -> None:
        if not on_commit:
            self._write_sync(**fields)
        else:
            self._later(on_commit, fields)

    async def _later_async(self, on_commit: bool | str, fields: dict[str, Any]) -> None:
        self._later(on_commit, fields)

    def _later(self, on_commit: bool | str, fields: dict[str, Any]) -> None:
        fields.setdefault("timestamp", datetime.now(UTC))
        self._check(**fields)  # a bad event is refused here, not after the commit
        kept = copy.deepcopy(fields)
        self._on_commit(lambda: self._write_sync(**kept), on_commit if isinstance(on_commit, str) else None)
