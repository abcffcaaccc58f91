# ruff: noqa: S608 - names and values are quoted by sql.Identifier, sql.Literal and quote_name
"""Values of a row, as one text that PostgreSQL and Doris make alike, and keys as both can look for them.

``float``, ``json`` and arrays have no text that is always alike. They have one that is alike only where the
values are the same, and nearly always is then: it goes into checksums. Where those differ, the values are
read from both sides and compared here.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg import sql

from dbint.doris.names import quote_name
from dbint.flow.mapping import ColumnMapping, TableMapping
from dbint.flow.source import SourceColumn, SourceTable
from dbint.flow.types import normal_type

_NUMBERS = re.compile(r"tinyint|smallint|int|bigint|largeint|decimal")
_TIME = "YYYY-MM-DD HH24:MI:SS.US"
_DORIS_TIME = "%Y-%m-%d %H:%i:%s.%f"
# A date-time in a list: as the messages have it, and as PostgreSQL writes it.
_LIST_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ]([0-9:]+(?:\.\d*[1-9])?)\.?0*(?:Z|\+00)?")
# Doris shows 16 digits of a DOUBLE, and 7 of a FLOAT ("Cast to String" of its manual).
_TOLERANCE = {"double": 1e-15, "float": 1e-6}
# White space between the parts of a JSON text: what is not within a string.
_JSON_SPACE = r"""("(?:[^"\\]|\\.)*")|\s+"""
# Between the items of a list, and in place of one that is NULL; hardly a text has them.
_ITEM_END, _ITEM_NULL = "\x1f", "\x1e"


@dataclass(frozen=True, slots=True)
class Compared:
    """A column on both sides. ``postgres`` and ``doris`` are its text in SQL, NULL for NULL.

    Without ``exact`` the texts differ even where the values are the same, and :meth:`same` decides;
    ``checks`` are then the texts that go into checksums.
    """

    name: str
    target: str
    base: str
    type: str
    postgres: str
    doris: str
    exact: bool
    checks: tuple[str, str] | None = None

    # -- in keys

    @property
    def _in_words(self) -> bool:
        """Whether the two databases order and find it by its text."""
        return not (_NUMBERS.match(self.type) or self.type.startswith(("date", "boolean")))

    @property
    def postgres_order(self) -> str:
        """By what PostgreSQL sorts as Doris does: text by its bytes."""
        if self.base == "uuid":
            return _name(self.name)
        return f'({self.postgres}) COLLATE "C"' if self._in_words else _name(self.name)

    def postgres_literal(self, text: str) -> str:
        """A key's value, to be compared with :attr:`postgres_order`."""
        if self.base == "uuid":
            return f"{_literal(text)}::uuid"
        if self._in_words:
            return _literal(text)
        if self.base == "timestamptz":
            return f"{_literal(text + '+00')}::timestamptz"
        return f"{_literal(text)}::{'boolean' if self.type == 'boolean' else self.base}"

    def doris_literal(self, text: str) -> str:
        """The same for Doris."""
        if self.type == "boolean":
            return "true" if text == "t" else "false"
        if _NUMBERS.match(self.type):
            return text
        return _doris_text(text)

    @property
    def doris_order(self) -> str:
        """By what Doris sorts."""
        return quote_name(self.target)

    def place(self, text: str) -> Any:
        """What puts the key's values into the order of both databases."""
        return Decimal(text) if _NUMBERS.match(self.type) else text.encode()

    # -- values

    def same(self, left: Any, right: Any) -> bool:
        """Whether PostgreSQL's text and Doris' are the same value."""
        if left is None or right is None:
            return left is right
        if self.exact:
            return bool(left == right)
        try:
            if self.type in _TOLERANCE:
                return _close(float(left), float(right), _TOLERANCE[self.type])
            if self.type == "json":
                return _same(json.loads(left), json.loads(right))
            return self._same_list(json.loads(left), right)
        except ValueError:  # Doris holds something that is no such value at all
            return False

    def _same_list(self, left: list[Any], right: str) -> bool:
        if self.type == "array<boolean>":  # Doris shows 1 and 0
            return _same(left, [item if item is None else bool(item) for item in json.loads(right)])
        if self.type != "array<text>":
            return _same(left, json.loads(right))
        # Doris puts texts in quotes as they are, without escapes: so what it shows is made here, too.
        shown = "[" + ", ".join("null" if item is None else f'"{item}"' for item in left) + "]"
        if self.base in ("_timestamp", "_timestamptz"):
            shown, right = (_LIST_TIME.sub(r"\1 \2", text) for text in (shown, right))
        return shown == right


def _name(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _doris_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def compared(column: ColumnMapping, source: SourceColumn) -> Compared:
    """How a column is compared."""
    name, target, kind = _name(column.source), quote_name(column.name), normal_type(column.type)
    plain = f"CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"
    postgres, doris, exact = plain, f"CAST({target} AS STRING)", True
    checks = None
    if source.element is not None:
        texts = f"{name}::text[]" if kind == "array<text>" else name
        postgres, doris, exact = f"to_jsonb({texts})::text", target, False
        is_list = kind.startswith("array<")
        checks = _list_checks(name, target, kind) if is_list else _json_checks(postgres, target)
    elif kind == "boolean":
        postgres = (
            f"CASE WHEN {name}::text IN ('t', 'true', '1') THEN 't' WHEN {name} IS NOT NULL THEN 'f' END"
        )
        doris = f"CASE WHEN {target} THEN 't' WHEN NOT {target} THEN 'f' END"
    elif kind in ("float", "double", "json"):
        exact = False
        doris = target
        if source.base == "hstore":
            postgres = f"to_jsonb({name})::text"
        checks = _json_checks(postgres, target) if kind == "json" else _float_checks(name, target)
    elif kind.startswith("datetime"):
        zoned = f"{name} AT TIME ZONE 'UTC'" if source.base == "timestamptz" else name
        postgres = f"to_char({zoned}, '{_TIME}')"
        doris = f"DATE_FORMAT({target}, '{_DORIS_TIME}')"
    elif kind == "date":
        postgres = f"to_char({name}, 'YYYY-MM-DD')"
    elif kind.startswith("decimal"):
        match = re.search(r",(\d+)\)", kind)
        scale = int(match[1]) if match else 0
        amount = f"{name}::numeric"
        postgres = f"CASE WHEN {name} IS NOT NULL THEN round({amount}, {scale})::text END"
    elif column.conversion == "bare_uuid":
        postgres = f"replace({name}::text, '-', '')"
    elif source.base == "bytea":
        postgres = f"translate(encode({name}, 'base64'), E'\\n', '')"
    elif source.base == "numeric":
        postgres = (
            f"CASE {name}::text WHEN 'NaN' THEN 'NAN' WHEN 'Infinity' THEN 'POSITIVE_INFINITY' "
            f"WHEN '-Infinity' THEN 'NEGATIVE_INFINITY' ELSE {name}::text END"
        )
    elif source.base == "timetz":
        postgres = f"({name} AT TIME ZONE 'UTC')::time::text || 'Z'"
    elif source.base == "interval":
        postgres = _interval(name)
    elif source.base in ("timestamp", "timestamptz"):
        postgres, exact = f"to_char({name}, '{_TIME}')", True
        doris = f"DATE_FORMAT(CAST({target} AS DATETIME(6)), '{_DORIS_TIME}')"
        if source.base == "timestamptz":
            postgres = f"to_char({name} AT TIME ZONE 'UTC', '{_TIME}')"
    if exact and _is_text(kind) and doris == f"CAST({target} AS STRING)":
        doris = target
    return Compared(column.source, column.name, source.base, kind, postgres, doris, exact, checks)


def _float_checks(name: str, target: str) -> tuple[str, str]:
    """A number as a whole one of 53 bits and a power of two, for its digits are shown in other numbers.

    Multiplying by powers of two rounds nothing. The power comes from a logarithm, which may be one off beside
    a power of two: then the whole number is, too, and both together say the same number. What is so large or
    small that it could overflow, zero and what is no number have their text.
    """
    parts = []
    for x, two in ((f"{name}::float8", "2::float8"), (target, "2")):
        power = f"FLOOR(LN(ABS({x})) / LN({two}))"
        within = f"ABS({x}) BETWEEN POWER({two}, -900) AND POWER({two}, 900)"
        parts.append((within, f"{x} * POWER({two}, 52 - {power})", power))
    (within, digits, power), (of_doris, doris_digits, doris_power) = parts
    return (
        f"CASE WHEN {within} THEN ({digits})::bigint::text || 'p' || ({power})::int::text "
        f"ELSE {name}::text END",
        f"CASE WHEN {of_doris} THEN CONCAT(CAST(CAST({doris_digits} AS BIGINT) AS STRING), 'p', "
        f"CAST(CAST({doris_power} AS BIGINT) AS STRING)) ELSE CAST({target} AS STRING) END",
    )


def _json_checks(postgres: str, target: str) -> tuple[str, str]:
    """The text without white space, as Doris has it; order of names and forms of numbers may differ."""
    return (
        f"regexp_replace({postgres}, {_literal(_JSON_SPACE)}, {_literal(chr(92) + '1')}, 'g')",
        f"CAST({target} AS STRING)",
    )


def _list_checks(name: str, target: str, kind: str) -> tuple[str, str]:
    """The number of items, and their texts."""
    items = f"{name}::int[]" if kind == "array<boolean>" else name
    end, null = _ITEM_END, _ITEM_NULL
    return (
        f"cardinality({name})::text || ':' || array_to_string({items}, {_literal(end)}, {_literal(null)})",
        f"CONCAT(CAST(ARRAY_SIZE({target}) AS STRING), ':', "
        f"ARRAY_JOIN({target}, {_doris_text(end)}, {_doris_text(null)}))",
    )


def _is_text(kind: str) -> bool:
    return kind == "text" or kind.startswith(("varchar", "char"))


def _interval(name: str) -> str:
    """As the messages have it: every part, also those that are zero."""
    parts = [
        f"trunc(extract({part} FROM {name})::numeric)::text || '{mark}'"
        for part, mark in (("year", "Y"), ("month", "M"), ("day", "DT"), ("hour", "H"), ("minute", "M"))
    ]
    seconds = f"trim_scale(extract(second FROM {name})::numeric)::text || 'S'"
    return " || ".join(["'P'", *parts, seconds])


def _close(left: float, right: float, tolerance: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right or math.isclose(left, right, rel_tol=tolerance)


def _same(left: Any, right: Any) -> bool:
    """Equal but for the last digits of numbers; a jsonb keeps more of them than Doris."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _close(float(left), float(right), _TOLERANCE["double"])
    return bool(left == right)


# -- rows


def _postgres_hash(texts: Iterable[str]) -> str:
    parts = " || '|' || ".join(f"COALESCE('=' || ({text}), '-')" for text in texts)
    return f"md5({parts})"


def _doris_hash(texts: Iterable[str]) -> str:
    parts = ", '|', ".join(f"COALESCE(CONCAT('=', {text}), '-')" for text in texts)
    return f"MD5(CONCAT({parts}))"


class TableComparison:
    """The SQL that reads a table on both sides."""

    def __init__(self, mapping: TableMapping, table: SourceTable) -> None:
        by_name = {column.name: column for column in table.columns}
        self.mapping = mapping
        self.columns = [compared(column, by_name[column.source]) for column in mapping.columns]
        self.keys = [column for column in self.columns if column.target in mapping.key]
        self.exact = [column for column in self.columns if column.exact]
        self.by_value = [column for column in self.columns if not column.exact]
        relation = sql.SQL("{}.{}").format(sql.Identifier(table.schema), sql.Identifier(table.name))
        only = "" if table.partitioned else "ONLY "
        self._postgres = only + relation.as_string(None)
        self._doris = mapping.target

    # Sums of 60 bits of each row's MD5: alike on both sides, whatever the order of the rows.

    def postgres_sum(self, where: str) -> str:
        """Number of rows, and the checksum of all that they hold."""
        texts = [c.checks[0] if c.checks else c.postgres for c in self.columns]
        number = f"('x' || substr({_postgres_hash(texts)}, 1, 15))::bit(60)::bigint"
        return f"SELECT count(*), COALESCE(sum({number}), 0) FROM {self._postgres} WHERE {where}"

    def doris_sum(self, where: str) -> str:
        """The same of Doris."""
        texts = [c.checks[1] if c.checks else c.doris for c in self.columns]
        hashes = f"SELECT {_doris_hash(texts)} AS dbint_hash FROM {self._doris} WHERE {where}"
        number = "CAST(CONV(SUBSTR(dbint_hash, 1, 15), 16, 10) AS LARGEINT)"
        return f"SELECT COUNT(*), COALESCE(SUM({number}), 0) FROM ({hashes}) hashed"

    def postgres_rows(self, where: str) -> str:
        """Of each row, in the order of the keys: the key, the hash of its exact columns, and the values of
        the others.
        """
        chosen = [*(c.postgres for c in self.keys), _postgres_hash([c.postgres for c in self.exact])]
        order = [c.postgres_order for c in self.keys]
        return self._rows([*chosen, *(c.postgres for c in self.by_value)], self._postgres, where, order)

    def doris_rows(self, where: str) -> str:
        """The same of Doris."""
        chosen = [*(c.doris for c in self.keys), _doris_hash([c.doris for c in self.exact])]
        order = [c.doris_order for c in self.keys]
        return self._rows([*chosen, *(c.doris for c in self.by_value)], self._doris, where, order)

    @staticmethod
    def _rows(chosen: list[str], table: str, where: str, order: list[str]) -> str:
        # With names of their own (no column begins with dbint_), so that ORDER BY means the table's columns.
        named = ", ".join(f"{text} AS dbint_{n}" for n, text in enumerate(chosen))
        return f"SELECT {named} FROM {table} WHERE {where} ORDER BY {', '.join(order)}"

    def place(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """What puts such rows into the order of their keys, on both sides."""
        return tuple(column.place(text) for column, text in zip(self.keys, row, strict=False))

    def postgres_values(self, keys: Sequence[tuple[str, ...]]) -> str:
        """Key and all values of the rows with these keys."""
        chosen = ", ".join(c.postgres for c in (*self.keys, *self.columns))
        return f"SELECT {chosen} FROM {self._postgres} WHERE {self.postgres_keys(keys)}"

    def doris_values(self, keys: Sequence[tuple[str, ...]]) -> str:
        """The same of Doris."""
        chosen = ", ".join(c.doris for c in (*self.keys, *self.columns))
        any_of = " OR ".join(
            "("
            + " AND ".join(
                f"{c.doris_order} = {c.doris_literal(v)}" for c, v in zip(self.keys, key, strict=True)
            )
            + ")"
            for key in keys
        )
        return f"SELECT {chosen} FROM {self._doris} WHERE {any_of}"

    def postgres_keys(self, keys: Sequence[tuple[str, ...]]) -> str:
        """A condition that takes the rows with these keys."""
        return " OR ".join(
            "("
            + " AND ".join(
                f"{c.postgres_order} = {c.postgres_literal(v)}" for c, v in zip(self.keys, key, strict=True)
            )
            + ")"
            for key in keys
        )

    def boundaries(self, rows: int) -> str:
        """The key of every so manieth row of PostgreSQL's, in order."""
        texts = ", ".join(f"{c.postgres} AS k{n}" for n, c in enumerate(self.keys))
        order = ", ".join(c.postgres_order for c in self.keys)
        names = ", ".join(f"k{n}" for n in range(len(self.keys)))
        return (
            f"SELECT {names} FROM (SELECT {texts}, row_number() OVER (ORDER BY {order}) AS n "
            f"FROM {self._postgres}) numbered WHERE n % {rows} = 0 ORDER BY n"
        )

    def within(self, low: tuple[str, ...] | None, high: tuple[str, ...] | None) -> tuple[str, str]:
        """The conditions for keys above ``low`` and up to ``high``, for PostgreSQL and for Doris."""
        postgres: list[str] = []
        doris: list[str] = []
        for bound, negated in ((low, False), (high, True)):
            if bound is None:
                continue
            for found, above in (
                (postgres, self._above(bound, [(c.postgres_order, c.postgres_literal) for c in self.keys])),
                (doris, self._above(bound, [(c.doris_order, c.doris_literal) for c in self.keys])),
            ):
                found.append(f"NOT ({above})" if negated else f"({above})")
        return " AND ".join(postgres) or "true", " AND ".join(doris) or "true"

    @staticmethod
    def _above(bound: tuple[str, ...], keys: Sequence[tuple[str, Any]]) -> str:
        """(a, b) > (x, y), written out: Doris does not compare rows."""
        cases = []
        for n, (order, literal) in enumerate(keys):
            equal = [f"{o} = {make(v)}" for (o, make), v in zip(keys[:n], bound[:n], strict=True)]
            cases.append(" AND ".join([*equal, f"{order} > {literal(bound[n])}"]))
        return " OR ".join(f"({case})" for case in cases)
