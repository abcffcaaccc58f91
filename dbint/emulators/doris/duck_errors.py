"""DuckDB's errors in Doris' words; what has no counterpart says that it comes from the emulator."""

import re

import duckdb

from dbint.emulators.doris.errors import NOT_EMULATED, DorisError

_RULES = (
    # raised by a macro of functions.py: the emulator's own words, or Doris'
    (r"(\[dbint emulator\] .*)", "{0}"),
    (r"doris: (.*)", "{0}"),
    (r'Referenced column "([^"]+)" not found', "Unknown column '{0}'"),
    (
        r'Column "([^"]+)" referenced that exists in the SELECT',
        "Unknown column '{0}'",
    ),
    (r'does not have a column named "([^"]+)"', "Unknown column '{0}'"),
    (r'Referenced table "([^"]+)" not found', "Unknown column '{0}.*'"),
    (r'Ambiguous reference to column name "([^"]+)"', "{0} is ambiguous"),
    (
        r'column "([^"]+)" must appear in the GROUP BY clause',
        "PROJECT expression '{0}' must appear in the GROUP BY clause or be used in an aggregate function",
    ),
    (r"aggregate function calls cannot be nested", "Nested aggregate functions are not allowed"),
    (r"WHERE clause cannot contain aggregates", "LOGICAL_FILTER can not contains AGGREGATE functions"),
    (r"INTERRUPT", "cancel query by user"),
)


def from_duckdb(error: duckdb.Error, clauses: dict[str, str] | None = None) -> DorisError:
    """The error to report for one of DuckDB's; ``clauses`` says where each column of the query stands."""
    text = str(error)
    for pattern, message in _RULES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            detail = message.format(*match.groups())
            if detail.startswith("Unknown column"):
                clause = (clauses or {}).get(match[1].lower(), "PROJECT")
                detail += f" in 'table list' in {clause} clause"
            return DorisError(detail)
    first_line = text.splitlines()[0] if text else type(error).__name__
    return DorisError(f"{NOT_EMULATED} {first_line}")
