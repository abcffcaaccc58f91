"""DuckDB's errors in Doris' words; what has no counterpart says that it comes from the emulator."""

import re

import duckdb

from dbint.emulators.doris.errors import NOT_EMULATED, UNKNOWN_COLUMN, DorisError

_RULES = (
    # raised by a macro of functions.py: the emulator's own words, or Doris'
    (r"(\[dbint emulator\] .*)", "{0}", None),
    (r"doris: (.*)", "{0}", None),
    (r'Referenced column "([^"]+)" not found', "Unknown column '{0}' in 'table list'", UNKNOWN_COLUMN),
    (
        r'Column "([^"]+)" referenced that exists in the SELECT',
        "Unknown column '{0}' in 'table list'",
        UNKNOWN_COLUMN,
    ),
    (r'does not have a column named "([^"]+)"', "Unknown column '{0}' in 'table list'", UNKNOWN_COLUMN),
    (r'Referenced table "([^"]+)" not found', "Unknown column '{0}.*' in 'table list'", UNKNOWN_COLUMN),
    (r'Ambiguous reference to column name "([^"]+)"', "{0} is ambiguous", None),
    (
        r'column "([^"]+)" must appear in the GROUP BY clause',
        "PROJECT expression '{0}' must appear in the GROUP BY clause or be used in an aggregate function",
        None,
    ),
    (r"aggregate function calls cannot be nested", "Nested aggregate functions are not allowed", None),
    (r"WHERE clause cannot contain aggregates", "LOGICAL_FILTER can not contains AGGREGATE functions", None),
    (r"INTERRUPT", "cancel query by user", None),
)


def from_duckdb(error: duckdb.Error) -> DorisError:
    """The error to report for one of DuckDB's."""
    text = str(error)
    for pattern, message, code in _RULES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            detail = message.format(*match.groups())
            return DorisError(detail, code) if code else DorisError(detail)
    first_line = text.splitlines()[0] if text else type(error).__name__
    return DorisError(f"{NOT_EMULATED} {first_line}")
