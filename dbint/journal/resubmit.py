"""Inserts dead letters into their tables, each exactly once.

Each letter is one transaction that also moves a chain of the letter's own in the ledger from 0 to 1
(csrc/core/ledger.h: ``dbint.advance``). So a letter that has landed is refused the second time, whatever
became of the answer to the first, or of the process. What has landed is noted beside the letters, too.

The row goes as it was encoded, with the types that its columns had then: where a column has changed since,
the server casts as in any assignment.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import pq

from dbint.errors import JournalError
from dbint.journal.damage import DamageError
from dbint.journal.dead import DeadMessage, Done, Letter
from dbint.journal.rows import quoted
from dbint.journal.values import split

_ALREADY: Final = "DBI01"
# The database answered, and neither it nor the connection is at fault: another letter may do better.
_OF_THE_ROW: Final = ("21", "22", "23", "27", "40", "42", "44", "54", "55", "P0")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter: ``state`` is landed, earlier, done, waits, would or refused."""

    letter: Letter | DeadMessage
    state: str
    why: str = ""

    @property
    def refused(self) -> bool:
        return self.state == "refused"

    def __str__(self) -> str:
        where = f"{self.letter.chain.hex[:8]} {self.letter.sequence} {self.letter.stream}"
        return f"{where}: {_WORDS[self.state]}" + (f": {self.why}" if self.why else "")

    def describe(self) -> dict[str, Any]:
        letter = self.letter
        return {
            "chain": letter.chain.hex,
            "sequence": letter.sequence,
            "stream": letter.stream,
            "state": self.state,
            "why": self.why,
        }


_WORDS: Final = {
    "landed": "has landed",
    "earlier": "had landed already",
    "done": "was resubmitted before",
    "waits": "is still in the journal, whose writer decides",
    "would": "would be resubmitted",
    "refused": "was refused again",
}


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line."""
    counts = Counter(outcome.state for outcome in outcomes)
    if not counts:
        return "no dead letter was chosen"
    return ", ".join(
        f"{count:,} {_WORDS[state].partition(',')[0]}" for state, count in sorted(counts.items())
    )


def resubmit(
    directory: Path,
    letters: Sequence[Letter],
    connection: "psycopg.Connection[Any]",
    *,
    dry_run: bool = False,
) -> Iterator[Outcome]:
    """Resubmits the letters in ``directory``, in their order. ``connection`` is in autocommit mode.

    Raises psycopg.OperationalError when the server is lost: what has landed by then stays landed;
    JournalError when the database has no ledger, or has never heard of a letter's chain.
    """
    notes: dict[UUID, Done] = {}
    ledger = _Ledger(connection)
    for letter in letters:
        done = notes.setdefault(letter.chain, Done(directory, letter.chain))
        if letter.sequence in done:
            yield Outcome(letter, "done")
        elif not ledger.has_passed(letter):
            yield Outcome(letter, "waits")
        elif dry_run:
            yield Outcome(letter, "would")
        else:
            outcome = _submit(connection, letter)
            if not outcome.refused:
                done.add(letter.sequence)
            yield outcome


class _Ledger:
    """Up to where the chains have landed."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        if connection.execute("SELECT to_regclass('dbint.chains')").fetchone() == (None,):
            database = connection.info.dbname
            raise JournalError(f"the database {database} has no ledger: these events were never sent to it")
        row = connection.execute("SELECT collected_before FROM dbint.server").fetchone()
        self._collected_before = row[0] if row else None
        self._connection = connection
        self._last: dict[UUID, int | None] = {}

    def has_passed(self, letter: Letter) -> bool:
        """Whether the letter counts: before, its row is still in the journal. Raises JournalError."""
        if letter.chain not in self._last:
            row = self._connection.execute(
                "SELECT last FROM dbint.chains WHERE chain = %s", [letter.chain]
            ).fetchone()
            self._last[letter.chain] = row[0] if row else None
        last = self._last[letter.chain]
        if last is not None:
            return letter.sequence <= last
        # A ledger forgets chains that have stood still for long.
        if self._collected_before is not None and letter.at < self._collected_before:
            return True
        raise JournalError(
            f"the database {self._connection.info.dbname} does not know chain {letter.chain.hex}: "
            "it is not the one that refused its letters"
        )


def _submit(connection: "psycopg.Connection[Any]", letter: Letter) -> Outcome:
    try:
        fields = split(letter.schema, letter.row)
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = on")
            own = _chain_of(letter)
            connection.execute(
                "INSERT INTO dbint.chains (chain, stream, relation, lane, slot, host) "
                "VALUES (%s, %s, %s, 0, %s, '') ON CONFLICT DO NOTHING",
                [own, letter.stream, ".".join(map(quoted, letter.table)), f"dead {letter.chain.hex}"],
            )
            connection.execute("SELECT dbint.advance(%s, 0, 1, 0)", [own])
            _insert(connection, letter, fields)
    except psycopg.Error as error:
        if error.sqlstate == _ALREADY:
            return Outcome(letter, "earlier")
        if error.sqlstate is None or not error.sqlstate.startswith(_OF_THE_ROW):
            raise
        return Outcome(letter, "refused", f"{error.sqlstate}: {error.diag.message_primary}")
    except DamageError as error:
        return Outcome(letter, "refused", str(error))
    return Outcome(letter, "landed")


def _chain_of(letter: Letter) -> UUID:
    """The letter's own chain in the ledger: the same each time."""
    name = f"dbint dead letter {letter.chain.hex} {letter.sequence}"
    return UUID(bytes=hashlib.sha256(name.encode()).digest()[:16])


def _insert(connection: "psycopg.Connection[Any]", letter: Letter, fields: Sequence[bytes | None]) -> None:
    types = []
    for name, sql_type in letter.columns:
        row = connection.execute("SELECT to_regtype(%s)::oid", [sql_type]).fetchone()
        if row is None or row[0] is None:
            raise DamageError(f'field "{name}" is of the type {sql_type}, which this database does not have')
        types.append(row[0])
    table = ".".join(map(quoted, letter.table))
    names = ", ".join(quoted(name) for name, _ in letter.columns)
    places = ", ".join(f"${place}" for place in range(1, len(fields) + 1))
    # The bytes go as they are: psycopg's own parameters would have to be decoded and encoded again.
    result = connection.pgconn.exec_params(
        f"INSERT INTO {table} ({names}) VALUES ({places})".encode(),  # noqa: S608 - names are quoted
        fields,
        types,
        [pq.Format.BINARY] * len(fields),
    )
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
