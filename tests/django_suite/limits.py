"""``refused.toml``: what of Django's tests Doris cannot pass, and why."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_FILE = Path(__file__).with_name("refused.toml")


@dataclass(frozen=True)
class Limit:
    """Something that Doris does not do: ``page`` is where its documentation or source says so."""

    name: str
    says: str
    page: str
    tests: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def covers(self, test: str) -> bool:
        """Whether a pattern of ``tests`` matches the id of a test."""
        return any(fnmatchcase(test, pattern) for pattern in self.tests)


def limits() -> list[Limit]:
    """All limits. Raises ValueError for an entry that lacks a reason or a page."""
    found = []
    for name, entry in tomllib.loads(_FILE.read_text()).items():
        if not entry.get("says") or not entry.get("page"):
            raise ValueError(f"{_FILE.name}: [{name}] needs says and page")
        found.append(
            Limit(
                name,
                entry["says"],
                entry["page"],
                tuple(entry.get("tests", ())),
                tuple(entry.get("fields", ())),
            )
        )
    return found


def fields_refused(module: str) -> list[str]:
    """The fields of a module's models that Doris can have no column for: the tables are made without."""
    return [field for limit in limits() for field in limit.fields if field.partition(".")[0] == module]
