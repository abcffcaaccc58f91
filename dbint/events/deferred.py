"""Events that wait for a transaction: they are written when it has committed, or never."""

import copy
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dbint import _core
from dbint._core import Stream
from dbint.events.host import Transactions
from dbint.events.tables import EventTable


class Deferred:
    """The write methods of a stream where there are transactions: they know ``on_commit``."""

    def __init__(self, stream: Stream, table: EventTable, transactions: Transactions) -> None:
        # From a dict that is there anyway, write_mapping is quicker than the same dict made keywords again.
        self._write, self._write_sync = stream.write_mapping, stream.write_sync
        self._transactions = transactions
        self._check = _core.RowEncoder(table.declarations, fill=table.fills).encode

    def write(self, /, *, on_commit: bool | str = False, **fields: Any) -> Coroutine[Any, Any, None]:
        """To be awaited."""
        return self._write_later(on_commit, fields) if on_commit else self._write(fields)

    def write_sync(self, /, *, on_commit: bool | str = False, **fields: Any) -> None:
        """The same for threads."""
        if on_commit:
            self._transactions.on_commit(self._prepared(fields), _using(on_commit))
        else:
            self._write_sync(**fields)

    async def _write_later(self, on_commit: bool | str, fields: dict[str, Any]) -> None:
        await self._transactions.on_commit_async(self._prepared(fields), _using(on_commit))

    def _prepared(self, fields: dict[str, Any]) -> Callable[[], None]:
        """The event as it is now, to be written later. A bad one is refused now."""
        fields.setdefault("timestamp", datetime.now(UTC))
        self._check(**fields)
        return partial(self._write_sync, **copy.deepcopy(fields))


def _using(on_commit: bool | str) -> str | None:
    return on_commit if isinstance(on_commit, str) else None
