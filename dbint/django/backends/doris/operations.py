"""How expressions are written in Doris' SQL, and how values go in and come back.

Functions: Doris' manual, sql-manual/sql-functions.
"""

# ruff: noqa: ARG001, ARG002 - these signatures are Django's

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.conf import settings
from django.core.management.color import Style
from django.db import NotSupportedError
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.backends.utils import format_number, split_tzname_delta  # type: ignore[attr-defined]  # stubs
from django.utils import timezone
from django.utils.dateparse import parse_time
from django.utils.encoding import force_str

from dbint.django.backends.doris.fields import LARGEINT_RANGE
from dbint.django.backends.doris.types import DATA_TYPES

Sql = tuple[str, tuple[Any, ...]]
_ROWS_OF_ONE_INSERT = 1000
_TABLES_OF_ONE_QUERY = 50
_ROWS_IN_TRANSACTION = 200  # each a SELECT of its own


class _Duration(str):
    """SQL of a duration, in microseconds: marks it for combine_duration_expression."""

    __slots__ = ()


class DatabaseOperations(BaseDatabaseOperations):
    connection: Any
    compiler_module = "dbint.django.backends.doris.writes"
    explain_prefix = "EXPLAIN"
    cast_data_types = {name: kind for name, kind in DATA_TYPES.items() if isinstance(kind, str)}
    cast_char_field_without_max_length = "STRING"
    # Every id is 64 bits wide; the other fields keep Django's ranges, which are those of the types.
    integer_field_ranges = {
        **BaseDatabaseOperations.integer_field_ranges,
        "AutoField": BaseDatabaseOperations.integer_field_ranges["BigAutoField"],
        "SmallAutoField": BaseDatabaseOperations.integer_field_ranges["BigAutoField"],
        "LargeIntegerField": LARGEINT_RANGE,
    }

    # -- names and literals

    def quote_name(self, name: str) -> str:
        if name.startswith("`") and name.endswith("`") and len(name) > 1:
            return name
        return "`" + name.replace("`", "``") + "`"

    def max_name_length(self) -> int:
        return 64  # table_name_length_limit

    def no_limit_value(self) -> int:  # type: ignore[override]  # Django formats it with %d
        return 2**63 - 1

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        return force_str(getattr(cursor, "_executed", None) or sql, errors="replace")

    # -- inserting

    def bulk_batch_size(self, fields: Sequence[Any], objs: Sequence[Any]) -> int:
        """Each INSERT makes a new version of its tablets, so large ones are better."""
        if self.connection.write_batch is not None:
            return _ROWS_IN_TRANSACTION
        loader = self.connection.bulk_loader
        # bulk_update() names the primary key twice before the fields; a deletion, fields of other models.
        plain = [field for field in fields if not getattr(field, "primary_key", False)]
        own = bool(objs) and all(isinstance(objs[0], getattr(field, "model", ())) for field in plain)
        if loader is not None and own and loader.takes(objs, plain):
            return int(loader.batch_size)
        return _ROWS_OF_ONE_INSERT

    def bulk_insert_sql(self, fields: Any, placeholder_rows: Iterable[Iterable[str]]) -> str:
        if self.connection.write_batch is not None:  # where VALUES goes with no other statement
            return " UNION ALL ".join(f"SELECT {', '.join(row)}" for row in placeholder_rows)
        return "VALUES " + ", ".join(f"({', '.join(row)})" for row in placeholder_rows)

    def on_conflict_suffix_sql(
        self, fields: Any, on_conflict: Any, update_fields: Any, unique_fields: Any
    ) -> str:
        """Nothing: an INSERT into a UNIQUE table replaces rows. The insert compiler checks the
        arguments.
        """
        return ""

    # -- flushing

    def sql_flush(
        self,
        style: Style,
        tables: Sequence[str],
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        """TRUNCATE, which takes time in Doris, for the tables that have rows."""
        return [
            f"{style.SQL_KEYWORD('TRUNCATE TABLE')} {style.SQL_FIELD(self.quote_name(table))}"
            for table in self._with_rows(tables)
        ]

    def _with_rows(self, tables: Sequence[str]) -> list[str]:
        found: set[str] = set()
        with self.connection.cursor() as cursor:
            for start in range(0, len(tables), _TABLES_OF_ONE_QUERY):
                part = tables[start : start + _TABLES_OF_ONE_QUERY]
                selects = [f"(SELECT %s AS name FROM {self.quote_name(table)} LIMIT 1)" for table in part]  # noqa: S608
                cursor.execute(" UNION ALL ".join(selects), part)
                found.update(row[0] for row in cursor.fetchall())
        return [table for table in tables if table in found]

    # -- lookups

    def lookup_cast(self, lookup_type: str, internal_type: str | None = None) -> str:
        if lookup_type in ("iexact", "icontains", "istartswith", "iendswith"):
            return "LOWER(%s)"
        return "%s"

    def prep_for_iexact_query(self, x: Any) -> str:
        return str(x)  # compared with =, so wildcards mean nothing

    def regex_lookup(self, lookup_type: str) -> str:
        return "%s REGEXP %s" if lookup_type == "regex" else "%s REGEXP CONCAT('(?i)', %s)"

    def combine_expression(self, connector: str, sub_expressions: list[str]) -> str:
        # Doris' operator ^ is XOR, where Django means a power; >> and << are functions.
        function = {
            "^": "POW",
            "#": "BITXOR",
            "&": "BITAND",
            "|": "BITOR",
            "<<": "BIT_SHIFT_LEFT",
            ">>": "BIT_SHIFT_RIGHT",
        }.get(connector)
        if function is None:
            return super().combine_expression(connector, sub_expressions)
        return f"{function}({', '.join(sub_expressions)})"

    # -- dates and times. Date-times are stored without a zone, in UTC when USE_TZ is on.

    def _in_zone(self, sql: str, params: Any, tzname: str | None) -> Sql:
        if tzname and settings.USE_TZ and self.connection.timezone_name != tzname:
            name, sign, offset = split_tzname_delta(tzname)
            return f"CONVERT_TZ({sql}, %s, %s)", (
                *params,
                self.connection.timezone_name,
                f"{sign}{offset}" if offset else name,
            )
        return sql, tuple(params)

    def date_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Sql:
        functions = {
            "year": "YEAR({})",
            "quarter": "QUARTER({})",
            "month": "MONTH({})",
            "week": "WEEK({}, 3)",
            "day": "DAY({})",
            "hour": "HOUR({})",
            "minute": "MINUTE({})",
            "second": "SECOND({})",
            "week_day": "DAYOFWEEK({})",
            "iso_week_day": "(WEEKDAY({}) + 1)",
            # The year of the week's Thursday.
            "iso_year": "YEAR(DATE_ADD(DATE_TRUNC({}, 'week'), INTERVAL 3 DAY))",
        }
        if lookup_type not in functions:
            raise NotSupportedError(f"Doris backend: {lookup_type!r} cannot be extracted from a date")
        return functions[lookup_type].format(sql), tuple(params)

    def datetime_extract_sql(self, lookup_type: str, sql: str, params: Any, tzname: str | None) -> Sql:
        return self.date_extract_sql(lookup_type, *self._in_zone(sql, params, tzname))

    def _trunc(self, lookup_type: str, sql: str) -> str:
        if lookup_type not in ("year", "quarter", "month", "week", "day", "hour", "minute", "second"):
            raise NotSupportedError(f"Doris backend: dates cannot be cut to {lookup_type!r}")
        return f"DATE_TRUNC({sql}, '{lookup_type}')"

    def date_trunc_sql(self, lookup_type: str, sql: str, params: Any, tzname: str | None = None) -> Sql:
        sql, params = self._in_zone(sql, params, tzname)
        return f"CAST({self._trunc(lookup_type, sql)} AS DATE)", params

    def datetime_trunc_sql(self, lookup_type: str, sql: str, params: Any, tzname: str | None) -> Any:
        sql, params = self._in_zone(sql, params, tzname)
        return self._trunc(lookup_type, sql), params

    def datetime_cast_date_sql(self, sql: str, params: Any, tzname: str | None) -> Sql:
        sql, params = self._in_zone(sql, params, tzname)
        return f"CAST({sql} AS DATE)", params

    def datetime_cast_time_sql(self, sql: str, params: Any, tzname: str | None) -> Sql:
        sql, params = self._in_zone(sql, params, tzname)
        return f"DATE_FORMAT({sql}, %s)", (*params, "%H:%i:%s.%f")

    # Times are the text HH:MM:SS.ffffff.

    def time_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Any:
        start = {"hour": 1, "minute": 4, "second": 7}.get(lookup_type)
        if start is None:
            raise NotSupportedError(f"Doris backend: {lookup_type!r} cannot be extracted from a time")
        return f"CAST(SUBSTR({sql}, {start}, 2) AS INT)", tuple(params)

    def time_trunc_sql(self, lookup_type: str, sql: str, params: Any, tzname: str | None = None) -> Any:
        kept = {"hour": (2, ":00:00.000000"), "minute": (5, ":00.000000"), "second": (8, ".000000")}
        if lookup_type not in kept:
            raise NotSupportedError(f"Doris backend: times cannot be cut to {lookup_type!r}")
        length, rest = kept[lookup_type]
        return f"CONCAT(SUBSTR({sql}, 1, {length}), '{rest}')", tuple(params)

    # -- durations: microseconds in a BIGINT

    def format_for_duration_arithmetic(self, sql: str) -> str:
        return _Duration(sql)

    def combine_duration_expression(self, connector: str, sub_expressions: list[str]) -> str:
        left, right = sub_expressions
        if connector in ("*", "/") and not (isinstance(left, _Duration) and isinstance(right, _Duration)):
            return f"({left} {connector} {right})"
        if connector not in ("+", "-"):
            raise NotSupportedError(f"Doris backend: {connector!r} between a duration and something else")
        if isinstance(left, _Duration) and isinstance(right, _Duration):
            return f"({left} {connector} {right})"
        if isinstance(left, _Duration):
            if connector == "-":
                raise NotSupportedError("Doris backend: a date cannot be taken from a duration")
            left, right = right, left
        return f"MICROSECONDS_{'ADD' if connector == '+' else 'SUB'}({left}, {right})"

    def subtract_temporals(self, internal_type: str, lhs: Sql, rhs: Sql) -> Sql:
        left, right = lhs[0], rhs[0]
        if internal_type == "TimeField":  # text: as the times of one day
            left, right = (f"CAST(CONCAT('1970-01-01 ', {side}) AS DATETIME(6))" for side in (left, right))
        return f"MICROSECONDS_DIFF({left}, {right})", (*lhs[1], *rhs[1])

    # -- values on their way in

    def adapt_datetimefield_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        if timezone.is_aware(value):
            if not settings.USE_TZ:
                raise ValueError("Doris stores date-times without a zone: aware ones need USE_TZ = True")
            value = timezone.make_naive(value, self.connection.timezone)
        return str(value)

    def adapt_timefield_value(self, value: Any) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return value
        if isinstance(value, str):
            value = parse_time(value)
        if timezone.is_aware(value):
            raise ValueError("Doris backend: times with a zone cannot be stored")
        return value.isoformat(timespec="microseconds")

    def adapt_decimalfield_value(
        self, value: Any, max_digits: int | None = None, decimal_places: int | None = None
    ) -> Any:
        # A number, not a string: compared with a string, Doris would turn the column into a double.
        text = format_number(value, max_digits, decimal_places)
        return decimal.Decimal(text) if text is not None else None

    # -- values on their way back

    def get_db_converters(self, expression: Any) -> list[Callable[..., Any]]:
        converters = super().get_db_converters(expression)
        kind = expression.output_field.get_internal_type()
        own: dict[str, Callable[..., Any]] = {
            "BooleanField": _to_bool,
            "DateField": _to_date,
            "DecimalField": _to_decimal,
            "TimeField": _to_time,
            "UUIDField": _to_uuid,
        }
        if kind in own:
            converters.append(own[kind])
        elif kind == "DateTimeField" and settings.USE_TZ:
            converters.append(self._to_aware)
        return converters

    def convert_durationfield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        exact = isinstance(value, int) or value == int(value)
        return dt.timedelta(microseconds=int(value) if exact else float(value))

    def _to_aware(self, value: Any, expression: Any, connection: Any) -> Any:
        return value if value is None else timezone.make_aware(value, self.connection.timezone)


def _to_bool(value: Any, expression: Any, connection: Any) -> Any:
    return bool(value) if value in (0, 1) else value


def _to_date(value: Any, expression: Any, connection: Any) -> Any:
    return value.date() if isinstance(value, dt.datetime) else value


def _to_decimal(value: Any, expression: Any, connection: Any) -> Any:
    return decimal.Decimal(value) if isinstance(value, str | int) else value


def _to_time(value: Any, expression: Any, connection: Any) -> Any:
    return parse_time(value) if isinstance(value, str) else value


def _to_uuid(value: Any, expression: Any, connection: Any) -> Any:
    return value if value is None else uuid.UUID(value)
