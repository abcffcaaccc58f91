"""From the table that Doris has to the one that its mapping asks for, as far as nothing is lost by it.

A new column is added, a wider one made wider. All else (a narrower type, another key, a column of another
kind) is refused in words: Doris would need a new table, filled anew.
"""

import time
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pymysql

from dbint.doris.names import quote_name
from dbint.doris.show_create import ColumnDefinition, TableDefinition, parse_create_table
from dbint.errors import ConfigurationError, DatabaseError, DeadlineError
from dbint.flow.mapping import SEQUENCE, TableMapping
from dbint.flow.types import can_widen, holds, normal_type

_NO_TABLE = (1051, 1146)  # MySQL's ER_BAD_TABLE_ERROR, ER_NO_SUCH_TABLE
_DONE, _FAILED = "FINISHED", "CANCELLED"
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_REBUILD = (
    "make the table anew: stop the flow, drop or rename the table in Doris, and load it again with "
    "run_flow --resync"
)

_Connection: TypeAlias = "pymysql.connections.Connection[Any]"


@dataclass(frozen=True, slots=True)
class Change:
    """One statement, and in words what it does."""

    text: str
    sql: str


@dataclass(frozen=True, slots=True)
class Evolution:
    """What has to be done to a table. With ``refusals`` nothing is done at all."""

    changes: tuple[Change, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    changes: list[Change] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def current_definition(connection: _Connection, mapping: TableMapping) -> TableDefinition | None:
    """The table as Doris has it now, None when there is none. Raises ConfigurationError for a view."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SHOW CREATE TABLE {mapping.target}")
            row = cursor.fetchone()
    except pymysql.Error as error:
        text = str(error)
        if error.args and (error.args[0] in _NO_TABLE or "nknown table" in text or "not exist" in text):
            return None
        raise DatabaseError(f"{mapping.target}: {text}") from error
    try:
        return parse_create_table(row[1] if row else "")
    except ValueError as error:
        raise ConfigurationError(f"{mapping.target} is no table that can be loaded: {error}") from None


def evolve(mapping: TableMapping, actual: TableDefinition | None) -> Evolution:
    """What makes the table that ``mapping`` asks for of the one that is there."""
    if actual is None:
        return Evolution((Change("the table is new", mapping.create_table(if_not_exists=False)),))
    found = _Found()
    _compare_table(mapping, actual, found)
    new = []
    for column in mapping.columns:
        there = actual.column(column.name)
        if there is None:
            if column.name in mapping.key:
                continue  # said of the key as a whole
            found.changes.append(
                Change(
                    f"column {column.name} is new ({column.source_type} -> {column.type})",
                    f"ALTER TABLE {mapping.target} ADD COLUMN {mapping.column_definition(column)}",
                )
            )
            new.append(column.name)
            continue
        _compare_type(mapping, column.name, column.type, there, found)
        if not there.nullable and column.name not in mapping.key:
            found.refusals.append(
                f"column {there.name} is NOT NULL in Doris, and a delete has no value for it: {_REBUILD}"
            )
    if new:
        found.notes.append(
            f"{_are(new)} NULL in the rows that are there: PostgreSQL sends no change for a default that a "
            "new column brings to old rows. flow_verify --repair loads them anew"
        )
    alone = []
    known = {column.name.lower() for column in mapping.columns} | {SEQUENCE}
    for there in actual.columns:
        if there.name.lower() in known:
            continue
        if there.nullable or there.default is not None:
            alone.append(there.name)
        else:
            found.refusals.append(
                f"column {there.name} is in Doris alone, and NOT NULL without a default, so no row can be "
                f"loaded: ALTER TABLE {mapping.target} DROP COLUMN {quote_name(there.name)}"
            )
    if alone:
        found.notes.append(
            f"{_are(alone)} in Doris alone: new rows say nothing of it. After a RENAME in PostgreSQL: ALTER "
            f"TABLE {mapping.target} RENAME COLUMN {quote_name(alone[0])} <new>, before the new one is added"
        )
    return Evolution(tuple(found.changes), tuple(found.refusals), tuple(found.notes))


def _are(columns: list[str]) -> str:
    return f"column {columns[0]} is" if len(columns) == 1 else f"columns {', '.join(columns)} are"


def _compare_table(mapping: TableMapping, actual: TableDefinition, found: _Found) -> None:
    if actual.key_model != "UNIQUE":
        found.refusals.append(
            f"{mapping.target} is a table of model {actual.key_model}: only UNIQUE KEY has one row of a key. "
            f"Give the flow another table (target), or {_REBUILD}"
        )
    key = [name.lower() for name in actual.key]
    if key != [name.lower() for name in mapping.key]:
        found.refusals.append(
            f"the key is ({', '.join(actual.key)}) in Doris and ({', '.join(mapping.key)}) in PostgreSQL: "
            f"{_REBUILD}"
        )
    if actual.properties.get("enable_unique_key_merge_on_write", "true").lower() != "true":
        found.refusals.append(
            f"{mapping.target} is merge-on-read: partial updates need merge-on-write. {_REBUILD}"
        )
    there = actual.column(SEQUENCE)
    named = actual.properties.get("function_column.sequence_col", "").lower()
    if there is None or normal_type(there.type) != "largeint" or named not in ("", SEQUENCE):
        found.refusals.append(
            f"{mapping.target} does not tell the newest state of a row by {SEQUENCE} LARGEINT "
            f'("function_column.sequence_col" = "{SEQUENCE}"): {_REBUILD}'
        )


def _compare_type(
    mapping: TableMapping, name: str, wanted: str, there: ColumnDefinition, found: _Found
) -> None:
    actual = there.type
    if holds(actual, wanted):
        return
    if name in mapping.key:
        found.refusals.append(f"key column {name} is {actual} in Doris and has to be {wanted}: {_REBUILD}")
        return
    if not can_widen(actual, wanted):
        found.refusals.append(
            f"column {name} is {actual} in Doris and would have to be {wanted}: Doris cannot change it "
            f"without losing something. {_REBUILD}"
        )
        return
    modify = f"ALTER TABLE {mapping.target} MODIFY COLUMN {quote_name(name)} {wanted} NULL"
    if there.default is not None:
        # Only the type may change, says the manual; whether a default is an expression, SHOW does not say.
        found.refusals.append(
            f"column {name} is {actual} in Doris and has to be {wanted}; it has a default there, which the "
            f"statement has to repeat: {modify} DEFAULT … ({there.default}), then plan again"
        )
        return
    found.changes.append(Change(f"column {name} is widened from {actual} to {wanted}", modify))


def apply(
    connection: _Connection, mapping: TableMapping, evolution: Evolution, *, timeout: float = 600.0
) -> None:
    """Run the changes, one after the other, and wait for the jobs that they begin.

    Raises ConfigurationError when something is refused, DatabaseError when Doris refuses a statement or gives
    a job up, DeadlineError when a job is not finished after ``timeout`` seconds (it goes on in Doris).
    """
    if evolution.refusals:
        raise ConfigurationError(f"{mapping.target}: {'; '.join(evolution.refusals)}")
    deadline = time.monotonic() + timeout
    for change in evolution.changes:
        before = _jobs(connection, mapping)
        running = {name for name, job in before.items() if job.get("State") not in (_DONE, _FAILED)}
        # Doris takes one job a table: somebody else's is waited for first, however it ends.
        _wait(connection, mapping, running, deadline, own=False)
        try:
            with connection.cursor() as cursor:
                cursor.execute(change.sql)
        except pymysql.Error as error:
            raise DatabaseError(
                f"{mapping.target}: {change.text}, and Doris refuses it: {error.args[-1]}"
            ) from error
        if not change.sql.startswith("CREATE"):
            _wait(connection, mapping, _jobs(connection, mapping).keys() - before.keys(), deadline, own=True)


def _wait(
    connection: _Connection, mapping: TableMapping, names: set[str], deadline: float, *, own: bool
) -> None:
    pause = _PAUSE_S
    while names:
        jobs = {name: job for name, job in _jobs(connection, mapping).items() if name in names}
        for job in jobs.values():
            if own and job.get("State") == _FAILED:
                raise DatabaseError(
                    f"Doris gave up changing {mapping.target} (job {job.get('JobId')}): "
                    f"{job.get('Msg') or 'no reason given'}. The table is as it was before"
                )
        names = {name for name, job in jobs.items() if job.get("State") not in (_DONE, _FAILED)}
        if not names:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineError(
                f"changing {mapping.target} is not finished and goes on in Doris: wait until "
                "SHOW ALTER TABLE COLUMN says FINISHED, then plan again"
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _jobs(connection: _Connection, mapping: TableMapping) -> dict[str, dict[str, Any]]:
    """The jobs of the table, old and new. A job has a row for each of the table's indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SHOW ALTER TABLE COLUMN FROM {quote_name(mapping.target_database)} WHERE TableName = %s",
            [mapping.target_table],
        )
        names = [column[0] for column in cursor.description or ()]
        jobs = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {f"{job.get('JobId')} {job.get('IndexName', '')}": job for job in jobs}
