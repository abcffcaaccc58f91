"""What the backend sends to Doris, in its own tests and in Django's: for each kind of statement a file with
as few as show all.

Each file begins with the page of Doris' documentation that describes its kind of statement (a path in the
repository of Doris' website). All of them have been parsed with Doris' own grammar (rule singleStatement of
DorisParser.g4 in ``fe/fe-core/src/main/antlr4`` of its source): that of release 4.0.1, that of its master
branch of January 2026 (4.1) and, as far as it goes, that of October 2024 (before 3.1 much was left to an
older parser).

A run of the tests fails when it sends something made otherwise, and says what. Look it up in that page, parse
it with the grammar, then add it: ``python -m tests.django.doris.corpus add FILE``.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tests.django.doris.corpus.shapes import constructs, kind, without_what_varies

DIRECTORY = Path(__file__).parent
PAGES = "docs/sql-manual/sql-statements/"


def read(path: Path) -> tuple[str, list[str]]:
    """The page and the statements of a file."""
    head, _, rest = path.read_text().partition("\n")
    return head.removeprefix("-- "), [s.strip() for s in rest.split(";\n") if s.strip()]


def statements() -> list[str]:
    """All statements of the corpus."""
    return [sql for path in sorted(DIRECTORY.glob("*.sql")) for sql in read(path)[1]]


class Corpus:
    """What the statements of the corpus are made of."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}
        for sql in statements():
            self.learn(sql)

    def learn(self, sql: str) -> None:
        self._known.setdefault(kind(sql), set()).update(constructs(sql))

    def missing(self, sql: str) -> set[str]:
        """What the statement is made of and no statement of its kind shows."""
        return set(constructs(sql) - self._known.get(kind(sql), set()))


def add(found: Iterable[str]) -> list[str]:
    """Write the statements that show something new into their files; the short ones first, so that few are
    needed. Gives the files that have no page yet.
    """
    corpus = Corpus()
    new: dict[Path, list[str]] = {}
    for sql in sorted(map(without_what_varies, found), key=lambda s: (len(s), s)):
        if corpus.missing(sql):
            corpus.learn(sql)
            new.setdefault(DIRECTORY / f"{kind(sql)}.sql", []).append(sql)
    for path, added in new.items():
        page, known = read(path) if path.exists() else (PAGES, [])
        path.write_text(
            f"-- {page}\n\n" + "".join(f"{sql};\n\n" for sql in [*known, *added]).rstrip("\n") + "\n"
        )
    return [path.name for path in new if read(path)[0] == PAGES]


def read_log(path: Path) -> list[str]:
    """The statements in a log of ``--log-statements`` that Doris' emulator took."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [r["text"] for r in records if r["kind"] == "sql" and "error" not in r]
