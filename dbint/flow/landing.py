"""Lands one range of messages in Doris: its loads in their order, each under its label, bad rows set aside.

What is here runs in the sink's threads and knows of Kafka only the dead letters. It either lands the whole
range, visibly, or raises :class:`LaterError`; then the same range is tried again, and what had landed of it
is found under its labels.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql
from psycopg import sql

from dbint.doris.names import quote_name
from dbint.errors import AuthenticationError, ClosedError, ConfigurationError, Error
from dbint.flow.config import FlowConfig
from dbint.flow.dead_letters import DeadLetter, DeadLetters
from dbint.flow.load_options import LoadOptions
from dbint.flow.load_result import LoadError, LoadResult
from dbint.flow.mapping import SEQUENCE, TableMapping
from dbint.flow.ranges import Range, Split, Stage, field_names, split
from dbint.flow.stream_load import FailedAttempt
from dbint.flow.toast import PLACEHOLDERS, missing_columns

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 10.0  # how long what a table's columns are is believed
_LONGEST_LOOK_S = 1.0  # between two looks whether rows are visible
_HOPELESS_ROWS = 100  # bad rows without a good one between them: it is not the rows
_NEW_KEY = re.compile(r"E-7003|[Cc]an't append new rows in partial update")
_CROWDED = re.compile(r"-235\b|too many versions", re.IGNORECASE)
_ELAPSED = re.compile(r" after \d+ ms")  # in libcurl's texts
_NO_ENVELOPE = "the message is no change in Debezium's envelope, as one JSON object on one line"


class LaterError(Exception):
    """The range has not landed and is to be tried again: ``reason`` says why, for whoever looks at the flow.

    ``held`` is true where somebody has to mend something first; ``columns`` are those that messages have and
    the mapping has not; ``crowded``: Doris has too many versions of the table.
    """

    def __init__(self, reason: str, *, held: bool, columns: frozenset[str] = frozenset()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.held = held
        self.columns = columns
        self.crowded = _CROWDED.search(reason) is not None


class AbandonedError(Exception):
    """The sink does not want the range any more: the partition is another's, or it is to end."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a range. Times in ms since 1970; ``committed_ms`` is None where no change tells."""

    rows: int
    nbytes: int
    loads: int
    already: int
    """Loads that an earlier attempt had made."""
    partials: int
    truncates: int
    dead: int
    superseded: int
    """Updates of rows that were gone again."""
    crowded: bool
    committed_ms: int | None
    visible_ms: int


@dataclass(slots=True)
class _Work:
    """A range on its way, and what has become of it so far."""

    range: Range
    mapping: TableMapping
    cancel: threading.Event
    tell: Callable[[str], None]
    parts: Split
    nbytes: int = 0
    loads: int = 0
    already: int = 0
    superseded: int = 0
    crowded: bool = False
    bad: list[DeadLetter] = field(default_factory=list)

    def set_aside(self, offset: int, reason: str, label: str) -> None:
        message = self.range.message(offset)
        table = f"{self.mapping.target_database}.{self.mapping.target_table}"
        self.bad.append(DeadLetter.of(message, reason=reason, table=table, label=label))


class Lander:
    """Lands ranges; safe for use by many threads, each with a connection of its own."""

    def __init__(self, config: FlowConfig, dead_letters: DeadLetters) -> None:
        self._config = config
        self._client = config.target.stream_load_client(deadline=config.load_timeout)
        self._dead_letters = dead_letters
        self._local = threading.local()
        self._lock = threading.Lock()
        self._columns: dict[str, tuple[float, frozenset[str]]] = {}
        self._missing: dict[int, tuple[str, ...]] = {}
        self._fields: dict[tuple[str, int], frozenset[str]] = {}
        self._hopeless: dict[str, int] = {}

    def close(self) -> None:
        """End the loads that are under way."""
        self._client.close()

    def land(
        self, found: Range, mapping: TableMapping, cancel: threading.Event, tell: Callable[[str], None]
    ) -> Landed:
        """Land a range. What it waits for meanwhile it says by ``tell``, at each attempt that fails. Raises
        LaterError, AbandonedError.
        """
        try:
            return self._land(found, mapping, cancel, tell)
        except (LaterError, AbandonedError):
            raise
        except Error as error:
            if cancel.is_set():
                raise AbandonedError from error
            if isinstance(error, ClosedError):
                raise
            held = isinstance(error, LoadError | ConfigurationError | AuthenticationError)
            raise LaterError(str(error), held=held) from error
        except pymysql.Error as error:
            self._forget_connection()
            if cancel.is_set():
                raise AbandonedError from error
            raise LaterError(f"Doris ({self._config.target.name}): {_told(error)}", held=False) from error

    def _land(
        self, found: Range, mapping: TableMapping, cancel: threading.Event, tell: Callable[[str], None]
    ) -> Landed:
        self._check_table(mapping)
        work = _Work(found, mapping, cancel, tell, split(found, self._missing))
        self._check_fields(work)
        for offset in work.parts.unknown:
            work.set_aside(offset, _NO_ENVELOPE, "")
        for number, stage in enumerate(work.parts.stages):
            if cancel.is_set():
                raise AbandonedError
            if stage.kind == "truncate":
                self._delete_older(work, stage)
            else:
                if stage.kind == "partial":
                    self._learn(work, stage)
                self._load(work, stage, number)
        self._set_aside(work)
        return Landed(
            rows=work.parts.rows + work.parts.partials,
            nbytes=work.nbytes,
            loads=work.loads,
            already=work.already,
            partials=work.parts.partials,
            truncates=sum(stage.kind == "truncate" for stage in work.parts.stages),
            dead=len(work.bad),
            superseded=work.superseded,
            crowded=work.crowded,
            committed_ms=found.committed_ms(),
            visible_ms=int(time.time() * 1000),
        )

    # -- before anything is loaded

    def _check_table(self, mapping: TableMapping) -> None:
        """Doris passes over a column of a load that the table has not, and so would the sink lose values."""
        now = time.monotonic()
        with self._lock:
            looked, columns = self._columns.get(mapping.target, (0.0, frozenset()))
        if not columns or now - looked > _LOOK_AGAIN_S:
            rows = self._ask(
                "SELECT COLUMN_NAME FROM information_schema.columns "
                "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                (mapping.target_database, mapping.target_table),
            )
            columns = frozenset(str(row[0]) for row in rows)
            with self._lock:
                self._columns[mapping.target] = now, columns
        if not columns:
            raise LaterError(
                f"Doris has no table {mapping.target} for {mapping.source}: make it with flow_plan --apply",
                held=True,
            )
        wanted = [*(column.name for column in mapping.columns), SEQUENCE]
        if absent := [name for name in wanted if name not in columns]:
            with self._lock:
                del self._columns[mapping.target]
            raise LaterError(
                f"the table {mapping.target} of Doris has no column {', '.join(absent)}, and values of "
                f"{mapping.source} would be lost: run flow_plan, and flow_plan --apply where it can add them",
                held=True,
            )

    def _check_fields(self, work: _Work) -> None:
        """Every field of the rows has a column, or is left out on purpose."""
        mapping = work.mapping
        known = {column.source for column in mapping.columns}
        known.update(self._config.table_options(mapping.source).exclude)
        for shape, offset in work.parts.shapes.items():
            key = (mapping.topic, shape)
            names = self._fields.get(key)
            if names is None:
                try:
                    names = field_names(work.range.message(offset))
                except ValueError:
                    continue  # a bad row, which the load will find
                self._fields[key] = names
            if unknown := names - known:
                raise LaterError(
                    f"messages of {mapping.source} have {', '.join(sorted(unknown))} (from offset {offset} "
                    f"of partition {work.range.partition} on), for which the flow has no column: run "
                    "flow_plan --apply to add it, or exclude it in the flow's OPTIONS",
                    held=True,
                    columns=unknown,
                )

    def _learn(self, work: _Work, stage: Stage) -> None:
        """Remember which columns a hash stands for, so that they are not read out of a message every time."""
        if len(self._missing) > 1000:
            self._missing.clear()
        for piece in work.range.pieces:
            if piece.start <= stage.offsets[0] < piece.end:
                found = piece.batch.survey(
                    PLACEHOLDERS, work.range.topic, work.range.partition, only=[stage.offsets[0]]
                )[3]
                self._missing.update({missing: stage.missing for _, _, missing in found})

    # -- loads

    def _load(
        self, work: _Work, stage: Stage, number: int, only: Sequence[int] | None = None, path: str = ""
    ) -> None:
        """Load a stage, or ``only`` of its offsets; where rows are bad, one half after the other."""
        body = work.range.body(stage, only)
        if not body.size:
            return
        label = work.range.label(self._config.name, number, path)
        try:
            result = self._client.load(
                work.mapping.target_database,
                work.mapping.target_table,
                body,
                label=label,
                first_attempt=work.range.first_attempt(),
                cancel=work.cancel,
                on_retry=lambda failed: work.tell(_waits_for(failed)),
                error_lines=1 if only is not None and len(only) == 1 else 0,
                **_options(work.mapping, stage),
            )
        except LoadError as error:
            self._load_around(work, stage, number, only, path, error)
            return
        work.loads += 1
        work.nbytes += body.size
        work.already += result.already
        work.crowded |= result.crowded
        if result.already or not result.visible:
            self._await_visible(work, result)

    def _load_around(
        self,
        work: _Work,
        stage: Stage,
        number: int,
        only: Sequence[int] | None,
        path: str,
        error: LoadError,
    ) -> None:
        is_new_key = stage.kind == "partial" and _NEW_KEY.search(str(error)) is not None
        filtered = (error.result.rows_filtered or 0) if error.result is not None else 0
        if not filtered and not is_new_key:
            raise error
        if filtered > self._config.max_bad_rows:
            raise LaterError(self._too_many(work, filtered, str(error)), held=True) from error
        offsets = list(only) if only is not None else work.range.offsets(stage)
        if only is None and len(offsets) == 1:
            self._load(work, stage, number, offsets, "0")
        elif len(offsets) > 1:
            half = len(offsets) // 2
            self._load(work, stage, number, offsets[:half], path + "0")
            self._load(work, stage, number, offsets[half:], path + "1")
        elif is_new_key:
            self._set_aside_orphan(work, offsets[0], error.label)
        else:
            work.set_aside(offsets[0], "; ".join(error.error_lines) or str(error), error.label)
            if len(work.bad) > self._config.max_bad_rows:
                raise LaterError(self._too_many(work, len(work.bad), str(error)), held=True)

    def _set_aside_orphan(self, work: _Work, offset: int, label: str) -> None:
        """An update that lacks values, of a row that Doris has not: PostgreSQL says what that means.

        Where the row is gone there, too, its delete has come or comes; messages that are sent again after a
        crash of the capture bring such updates. Where it is there, somebody has to send it again as a whole.
        """
        message = work.range.message(offset)
        if not self._row_exists(work.mapping, _row(message.value)):
            work.superseded += 1
            return
        missing = ", ".join(missing_columns(message))
        work.set_aside(
            offset,
            f"the change has no value for {missing}, and Doris has not the row: flow_verify --repair sends "
            "it again, and REPLICA IDENTITY FULL makes such values part of every change",
            label,
        )

    def _row_exists(self, mapping: TableMapping, row: Mapping[str, Any]) -> bool:
        schema, _, table = mapping.source.partition(".")
        keys = [column for column in mapping.columns if column.name in mapping.key]
        conditions = [
            sql.SQL("{} = CAST({} AS {})").format(
                sql.Identifier(column.source),
                sql.Literal(_text(row.get(column.source))),
                sql.SQL(column.source_type),  # what format_type() says, no text of a user
            )
            for column in keys
        ]
        question = sql.SQL("SELECT 1 FROM {} WHERE {} LIMIT 1").format(
            sql.Identifier(schema, table), sql.SQL(" AND ").join(conditions)
        )
        try:
            with self._config.source.connect(connect_timeout=10) as connection:
                found = connection.execute(question).fetchone()
        except psycopg.Error as error:
            raise LaterError(f"PostgreSQL ({self._config.source.name}): {error}", held=False) from error
        return found is not None

    def _await_visible(self, work: _Work, result: LoadResult) -> None:
        """What is loaded next may rest on these rows, and freshness is when they can be seen."""
        deadline = time.monotonic() + self._config.load_timeout
        pause = 0.05
        while True:
            status = self._transaction_status(work.mapping.target_database, result.label)
            if status in ("VISIBLE", ""):
                return
            if time.monotonic() > deadline:
                raise LaterError(
                    f"Stream Load {result.label} is committed and has not become visible within "
                    f"{self._config.load_timeout:g} s (transaction {status}): SHOW PROC '/transactions' says "
                    "which backend does not publish",
                    held=True,
                )
            if work.cancel.wait(pause):
                raise AbandonedError
            if pause == _LONGEST_LOOK_S:
                work.tell(
                    f"Stream Load {result.label} is committed and not visible yet (transaction {status})"
                )
            pause = min(pause * 1.5, _LONGEST_LOOK_S)

    def _transaction_status(self, database: str, label: str) -> str:
        """What SHOW TRANSACTION says; empty where Doris does not know the label any more."""
        connection = self._connection()
        with connection.cursor(pymysql.cursors.DictCursor) as cursor:
            try:
                cursor.execute(f"SHOW TRANSACTION FROM {quote_name(database)} WHERE LABEL = %s", (label,))
            except pymysql.Error as error:
                if "not exist" in _told(error) or "not found" in _told(error):
                    return ""
                raise
            rows = cursor.fetchall()
        return str(rows[0].get("TransactionStatus", "")).upper() if rows else ""

    def _delete_older(self, work: _Work, stage: Stage) -> None:
        """TRUNCATE: what is older by its sequence goes. A row that came later stays, in whatever order."""
        connection = self._connection()
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {work.mapping.target} WHERE {quote_name(SEQUENCE)} < {stage.sequence}"  # noqa: S608 - a quoted name and a number
            )

    # -- bad rows

    def _too_many(self, work: _Work, count: int, reason: str) -> str:
        first = reason.splitlines()[-1].strip()
        return (
            f"{count} rows of {work.mapping.source} in one load are bad, more than max_bad_rows "
            f"({self._config.max_bad_rows}): mend the table {work.mapping.target} or the mapping; none was "
            f"set aside. One of them: {first}"
        )

    def _set_aside(self, work: _Work) -> None:
        """Write the dead letters of the range, unless it looks as if all rows were to become such."""
        topic, bad = work.mapping.topic, len(work.bad)
        if not bad:
            if work.parts.rows + work.parts.partials:
                self._hopeless.pop(topic, None)
            return
        if bad > self._config.max_bad_rows:
            raise LaterError(self._too_many(work, bad, work.bad[0].reason), held=True)
        hopeless = 0
        if bad >= work.parts.rows + work.parts.partials:
            hopeless = self._hopeless.get(topic, 0) + bad
            if hopeless > _HOPELESS_ROWS:
                raise LaterError(
                    f"the last {hopeless} rows of {work.mapping.source} were all bad, and no more are set "
                    f"aside: mend the table {work.mapping.target} or the mapping. "
                    f"The last: {work.bad[-1].reason}",
                    held=True,
                )
        self._dead_letters.write(work.bad)
        self._hopeless[topic] = hopeless
        for letter in work.bad:
            log.warning(
                "%s, partition %d, offset %d is a dead letter: %s",
                letter.topic,
                letter.partition,
                letter.offset,
                letter.reason,
            )

    # -- SQL

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._config.target.connect()
        return connection

    def _forget_connection(self) -> None:
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            try:
                connection.close()
            except pymysql.Error:
                log.debug("a broken connection to Doris could not be closed", exc_info=True)

    def _ask(self, question: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._connection().cursor() as cursor:
            cursor.execute(question, values)
            return list(cursor.fetchall())


def _options(mapping: TableMapping, stage: Stage) -> LoadOptions:
    known = {column.source for column in mapping.columns}
    missing = [name for name in stage.missing if name in known]
    return mapping.partial(missing) if missing else mapping.load_options()


def _waits_for(failed: FailedAttempt) -> str:
    reason = _ELAPSED.sub("", failed.reason)  # the same trouble is told in the same words
    return (
        f"Doris cannot be reached at {reason}" if failed.unreachable else f"a load is tried again: {reason}"
    )


def _row(value: bytes | None) -> Mapping[str, Any]:
    """The row after the change."""
    try:
        after = json.loads(value or b"{}").get("after")
    except ValueError:
        after = None
    return after if isinstance(after, dict) else {}


def _text(value: Any) -> str | None:
    """A value of the envelope as text that PostgreSQL can cast."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _told(error: pymysql.Error) -> str:
    return " ".join(str(part) for part in error.args[-1:]) or type(error).__name__
