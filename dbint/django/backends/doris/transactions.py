"""What ``atomic()`` means on a database that has batches of writes, and no transactions.

By default every statement stays when it ends, and ``atomic()`` is a plain block. When it fails after
statements have written, or a rollback is asked for, pretending would be the error: the exception that leaves
the block gets a note, a warning is given and logged; and a rollback with no exception under way raises
:class:`RollbackNotPossibleError`.

With ``OPTIONS["atomic"] = "batch"`` the writes of a block are one Doris transaction: its first INSERT, UPDATE
or DELETE sends BEGIN, its end COMMIT or ROLLBACK. What Doris cannot do inside is refused before it is sent,
because much of it would be answered wrongly instead (Doris' manual, data-operate/transaction):

- no statement sees what the block has written. A query after the first write is refused; so is an UPDATE or
  DELETE that may meet a row which the block wrote before: it would work on the row as it was.
- DDL and TRUNCATE are no part of a transaction; a DELETE cannot follow an INSERT or UPDATE of its table.
- INSERT … VALUES goes with nothing else, so rows are inserted by INSERT … SELECT.
- a Stream Load is a transaction of its own, so ``bulk_create`` and ``bulk_update`` send SQL.
"""

import logging
import re
import sys
import warnings
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import NotSupportedError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import Error as DjangoDatabaseError

log = logging.getLogger("dbint.django.backends.doris")

ATOMIC = ("plain", "batch")
# The first release whose transactions take UPDATE, DELETE and several tables.
BATCH_VERSION = (3, 0)
_WRITES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|TRUNCATE|CREATE|ALTER|DROP)\b", re.IGNORECASE)
_IN_BATCH = re.compile(r"\s*(?:INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
# Doris reports by an error that a commit is done but not yet visible.
_COMMITTED = re.compile(r"commit successfully", re.IGNORECASE)

Keys = Collection[Hashable]


class RollbackNotPossibleError(RuntimeError):
    """A rollback was asked for after Doris had written. No DatabaseError: ``atomic()`` swallows those."""


class DorisRollbackWarning(RuntimeWarning):
    """An ``atomic()`` block on Doris failed, and what it had written stays."""


def refuse_rollback(alias: str, writes: int) -> None:
    """Say that ``writes`` statements stay."""
    message = (
        f"Doris cannot roll back: {writes} statement{'s' if writes > 1 else ''} of this atomic() block on "
        f"the database {alias!r} had already written, and the rows stay"
    )
    failure = sys.exception()
    if failure is None:
        raise RollbackNotPossibleError(f"{message}. Delete or overwrite them yourself")
    failure.add_note(message)
    log.error("%s (after %s)", message, type(failure).__name__)
    warnings.warn(message, DorisRollbackWarning, stacklevel=4)


class WriteBatch:
    """One block of writes between BEGIN and COMMIT, and which rows it has written so far.

    Rows are known by their primary keys; where a statement's are not known, ``None`` stands for all rows.
    """

    def __init__(self) -> None:
        self.connection: Any = None  # the driver's connection, once BEGIN was sent on it
        self.aside: Any = None  # another one, for the backend's own questions
        self._changed: dict[str, set[Hashable] | None] = {}  # by INSERT and UPDATE
        self._deleted: dict[str, set[Hashable] | None] = {}

    @property
    def begun(self) -> bool:
        """Whether BEGIN was sent."""
        return self.connection is not None

    def is_inserted(self, table: str, key: Hashable) -> bool:
        """Whether the block has written the row ``key`` already."""
        changed = self._changed.get(table, set())
        return changed is None or key in changed

    def is_deleted(self, table: str, key: Hashable) -> bool:
        """Whether the block is known to have deleted the row ``key``."""
        deleted = self._deleted.get(table)
        return deleted is not None and key in deleted

    def check_update(self, table: str, keys: Keys | None) -> None:
        """Raises NotSupportedError for an UPDATE of rows that the block may have written."""
        for written in (self._changed.get(table, set()), self._deleted.get(table, set())):
            if written is None or (written and (keys is None or not written.isdisjoint(keys))):
                raise NotSupportedError(
                    f"this atomic() block has already written rows of {table!r} that this UPDATE may meet, "  # noqa: S608
                    "and within a transaction Doris would update them as they were before. Write each row "
                    "once a block: set all fields before you save it, or end the block between the writes"
                )

    def check_delete(self, table: str) -> None:
        """Raises NotSupportedError for a DELETE from a table that the block has written to."""
        if table in self._changed:
            raise NotSupportedError(
                f"rows of {table!r} cannot be deleted in an atomic() block that has written to it: Doris "
                "does all deletions of a transaction first. Delete first, or in a block of its own"
            )

    def note_change(self, table: str, keys: Keys | None) -> None:
        """Remember which rows an INSERT or UPDATE has written."""
        _note(self._changed, table, keys)

    def note_delete(self, table: str, keys: Keys | None) -> None:
        """Remember which rows a DELETE has deleted."""
        _note(self._deleted, table, keys)

    def close(self) -> None:
        """Close the connection aside."""
        if self.aside is not None:
            self.aside.close()
            self.aside = None


def _note(written: dict[str, set[Hashable] | None], table: str, keys: Keys | None) -> None:
    known = written.get(table, set())
    written[table] = None if known is None or keys is None else known | {*keys}


class TransactionWrapper(BaseDatabaseWrapper):
    """The part of the DatabaseWrapper that ``atomic()`` calls."""

    connection: Any

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        self._writes = 0
        self._batch: WriteBatch | None = None

    def session_variables(self) -> dict[str, Any]:
        """What every connection is told when it starts."""
        raise NotImplementedError

    @property
    def write_batch(self) -> WriteBatch | None:
        """The batch that a write would join, None where every statement stands alone."""
        if self.autocommit or self.settings_dict["OPTIONS"].get("atomic", "plain") != "batch":
            return None
        if self._batch is None:
            self._batch = WriteBatch()
        return self._batch

    def before_statement(self, sql: str) -> None:
        """Send BEGIN before a block's first write; refuse what Doris would not do, or do wrongly, in a batch.

        Raises NotSupportedError.
        """
        batch = self.write_batch
        if batch is None:
            return
        if _IN_BATCH.match(sql):
            if not batch.begun:
                self._check_version()
                self._send("BEGIN")
                batch.connection = self.connection
            return
        if _WRITES.match(sql):
            raise NotSupportedError(
                f"{sql.split(None, 1)[0].upper()} cannot be part of a transaction of Doris, and "
                f"OPTIONS['atomic'] of {self.alias!r} is 'batch': run it outside atomic()"
            )
        if batch.begun:
            raise NotSupportedError(
                "Doris answers no queries in a transaction that has written, since they would not see what "
                f"it wrote, and OPTIONS['atomic'] of {self.alias!r} is 'batch': read before the first write "
                "of the atomic() block, or after the block"
            )

    def note_write(self, sql: str) -> None:
        """Count a statement that writes, when it runs inside ``atomic()``."""
        if not self.autocommit and _WRITES.match(sql):
            self._writes += 1

    @contextmanager
    def questions(self) -> Iterator[Any]:
        """A cursor for the backend's own questions: on a connection aside where a batch takes none.

        It sees what is committed, as the batch's own statements do.
        """
        batch = self._batch
        if batch is None or not batch.begun:
            with self.cursor() as cursor:
                yield cursor
            return
        with self.wrap_database_errors:
            if batch.aside is None:
                batch.aside = self.get_new_connection(self.get_connection_params())
                with batch.aside.cursor() as cursor:
                    for name, value in self.session_variables().items():
                        cursor.execute(f"SET {name} = %s", [value])
            with batch.aside.cursor() as cursor:
                yield cursor

    def _check_version(self) -> None:
        version = self.get_database_version()
        if version < BATCH_VERSION:
            raise NotSupportedError(
                f"OPTIONS['atomic'] = 'batch' of {self.alias!r} needs Doris "
                f"{'.'.join(map(str, BATCH_VERSION))}; this is {'.'.join(map(str, version))}"
            )

    def _send(self, word: str) -> None:
        with self.wrap_database_errors, self.connection.cursor() as cursor:
            cursor.execute(word)

    def _take_batch(self) -> WriteBatch | None:
        """The batch that has begun, if one has; it is over."""
        batch, self._batch = self._batch, None
        self._writes = 0
        if batch is None:
            return None
        batch.close()
        return batch if batch.begun else None

    def _commit(self) -> None:
        batch = self._take_batch()
        if batch is None:
            return
        if batch.connection is not self.connection:
            raise OperationalError(
                "the connection was lost during the atomic() block: Doris has rolled its writes back"
            )
        try:
            self._send("COMMIT")
        except DjangoDatabaseError as error:
            if not _COMMITTED.search(str(error)):
                raise
            log.warning("the transaction is committed, and will be visible a little later")

    def _rollback(self) -> None:
        writes = self._writes
        batch = self._take_batch()
        if batch is not None:
            if batch.connection is self.connection:  # a lost one has rolled back by itself
                self._send("ROLLBACK")
        elif writes:
            refuse_rollback(self.alias, writes)

    def _set_autocommit(self, autocommit: bool) -> None:
        # As MySQL: to turn it on commits what waits. After a lost connection nothing does.
        if autocommit and self._batch is not None and self._batch.connection is self.connection:
            self._commit()
        self._take_batch()
