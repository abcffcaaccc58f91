# ruff: noqa: S608 - names and values are quoted by sql.Identifier, sql.Literal and quote_name
"""Values of a row, as one text that PostgreSQL and Doris make alike, and keys as both can look for them.

``float``, ``json`` and arrays have no such text: their values are read from both sides and compared here.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
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
# Doris shows 16 digits of a DOUBLE in some releases, and 7 of a FLOAT.
_TOLERANCE = {"double": 1e-15, "float": 1e-6}


@dataclass(frozen=True, slots=True)
class Compared:
    """A column on both sides. ``postgres`` and ``doris`` are its text in SQL, NULL for NULL.

    Without ``exact`` the texts differ even where the values are the same, and :meth:`same` decides.
    """

    name: str
    target: str
    base: str
    type: str
    postgres: str
    doris: str
    exact: bool

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
    if source.element is not None:
        texts = f"{name}::text[]" if kind == "array<text>" else name
        postgres, doris, exact = f"to_jsonb({texts})::text", target, False
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
    return Compared(column.source, column.name, source.base, kind, postgres, doris, exact)


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

    @property
    def _postgres_hash(self) -> str:
        parts = " || '|' || ".join(f"COALESCE('=' || ({c.postgres}), '-')" for c in self.exact)
        return f"md5({parts})"

    @property
    def _doris_hash(self) -> str:
        parts = ", '|', ".join(f"COALESCE(CONCAT('=', {c.doris}), '-')" for c in self.exact)
        return f"MD5(CONCAT({parts}))"

    def postgres_sum(self, where: str) -> str:
        """Number of rows, and their checksum."""
        number = f"('x' || substr({self._postgres_hash}, 1, 15))::bit(60)::bigint"
        return f"SELECT count(*), COALESCE(sum({number}), 0) FROM {self._postgres} WHERE {where}"

    def doris_sum(self, where: str) -> str:
        """The same of Doris."""
        number = f"CAST(CONV(SUBSTR({self._doris_hash}, 1, 15), 16, 10) AS LARGEINT)"
        return f"SELECT COUNT(*), COALESCE(SUM({number}), 0) FROM {self._doris} WHERE {where}"

    def postgres_rows(self, where: str) -> str:
        """Of each row the key, the hash of its exact columns, and the values of the others."""
        chosen = [*(c.postgres for c in self.keys), self._postgres_hash, *(c.postgres for c in self.by_value)]
        return f"SELECT {', '.join(chosen)} FROM {self._postgres} WHERE {where}"

    def doris_rows(self, where: str) -> str:
        """The same of Doris."""
        chosen = [*(c.doris for c in self.keys), self._doris_hash, *(c.doris for c in self.by_value)]
        return f"SELECT {', '.join(chosen)} FROM {self._doris} WHERE {where}"

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
