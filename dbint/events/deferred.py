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


def teach_on_commit(stream: Stream, table: EventTable, transactions: Transactions) -> None:
    """Makes ``on_commit`` a keyword of the stream's write methods; calls without it cost nothing more."""
    deferred = _Deferred(stream, table, transactions)
    stream.divert("on_commit", deferred.write, deferred.write_sync)


class _Deferred:
    """What the write methods do when ``on_commit`` is among the keywords."""

    def __init__(self, stream: Stream, table: EventTable, transactions: Transactions) -> None:
        self._stream = stream
        self._transactions = transactions
        self._check = _core.RowEncoder(table.declarations, fill=table.fills).encode

    def write(self, /, *, on_commit: bool | str, **fields: Any) -> Coroutine[Any, Any, None]:
        """To be awaited."""
        return self._write_later(on_commit, fields) if on_commit else self._stream.write(**fields)

    def write_sync(self, /, *, on_commit: bool | str, **fields: Any) -> None:
        """The same for threads."""
        if on_commit:
            self._transactions.on_commit(self._prepared(fields), _using(on_commit))
        else:
            self._stream.write_sync(**fields)

    async def _write_later(self, on_commit: bool | str, fields: dict[str, Any]) -> None:
        await self._transactions.on_commit_async(self._prepared(fields), _using(on_commit))

    def _prepared(self, fields: dict[str, Any]) -> Callable[[], None]:
        """The event as it is now, to be written later. A bad one is refused now."""
        fields.setdefault("timestamp", datetime.now(UTC))
        self._check(**fields)
        return partial(self._stream.write_sync, **copy.deepcopy(fields))


def _using(on_commit: bool | str) -> str | None:
    return on_commit if isinstance(on_commit, str) else None
