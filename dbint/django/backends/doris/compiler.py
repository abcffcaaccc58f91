"""Queries: what Doris writes differently, and what it would do silently wrong."""

# ruff: noqa: ARG001 - these signatures are Django's

from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError
from django.db.models.expressions import (
    Col,
    Combinable,
    CombinedExpression,
    DurationExpression,
    Exists,
    Func,
    Ref,
    Subquery,
)
from django.db.models.functions import (
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    Cast,
    Chr,
    ConcatPair,
    Length,
    Now,
    Ord,
    Random,
    TruncHour,
    TruncMinute,
    TruncSecond,
)
from django.db.models.lookups import In
from django.db.models.sql import Query, compiler
from django.db.models.sql.constants import LOUTER

from dbint.django.backends.doris.json_lookups import WRITERS as JSON_WRITERS
from dbint.django.backends.doris.table import DorisTable, table_options

Sql = tuple[str, Any]


def _refuse_code_points(node: Any, compiler: Any, connection: Any) -> Sql:
    raise NotSupportedError(
        f"Doris has no function for {type(node).__name__}: characters and their code points"
    )


def _sha2(node: Any, compiler: Any, connection: Any) -> Any:
    bits = type(node).function.removeprefix("SHA")
    return node.as_sql(compiler, connection, template=f"SHA2(%(expressions)s, {bits})")


def _combined(node: Any, compiler: Any, connection: Any) -> Any:
    if node.connector != Combinable.BITRIGHTSHIFT:
        return node.as_sql(compiler, connection)
    # BIT_SHIFT_RIGHT moves the sign like any other bit; a number below zero is shifted as its complement.
    value, params = compiler.compile(node.lhs)
    bits, bits_params = compiler.compile(node.rhs)
    shifted = f"BITNOT(BIT_SHIFT_RIGHT(BITNOT({value}), {bits}))"
    return (
        f"IF({value} < 0, {shifted}, BIT_SHIFT_RIGHT({value}, {bits}))",
        (*params, *params, *bits_params, *params, *bits_params),
    )


def _moved(node: Any, compiler: Any, connection: Any) -> Any:
    """A time and a duration: times are text, so they are moved as the times of one day."""
    sides = (node.lhs, node.rhs)
    kinds = [getattr(side, "_output_field_or_none", None) for side in sides]
    names = [kind.get_internal_type() if kind is not None else "" for kind in kinds]
    if set(names) != {"TimeField", "DurationField"}:
        return node.as_sql(compiler, connection)
    time, lasting = sides if names[0] == "TimeField" else sides[::-1]
    sql, params = compiler.compile(time)
    moved, moved_params = compiler.compile(lasting)
    function = "MICROSECONDS_SUB" if node.connector == Combinable.SUB else "MICROSECONDS_ADD"
    at = f"{function}(CAST(CONCAT('1970-01-01 ', {sql}) AS DATETIME(6)), {moved})"
    return f"DATE_FORMAT({at}, %s)", (*params, *moved_params, "%H:%i:%s.%f")


def _cast(node: Any, compiler: Any, connection: Any) -> Any:
    field = node.output_field
    kind = field.get_internal_type()
    source = node.get_source_expressions()[0]
    if kind in ("CharField", "SlugField") and field.max_length:
        # VARCHAR(n) counts bytes, and CAST cuts there.
        return node.as_sql(
            compiler, connection, template=f"LEFT(CAST(%(expressions)s AS STRING), {field.max_length})"
        )
    if kind == "TimeField" and getattr(source, "output_field", field).get_internal_type() == "DateTimeField":
        sql, params = compiler.compile(source)
        return connection.ops.datetime_cast_time_sql(sql, params, None)
    return node.as_sql(compiler, connection)


def _truncated(node: Any, compiler: Any, connection: Any) -> Any:
    """A time that is cut from a date-time: times are text, so it has to be made one first."""
    parts = (node.output_field, node.lhs.output_field)
    if [field.get_internal_type() for field in parts] != ["TimeField", "DateTimeField"]:
        return node.as_sql(compiler, connection)
    sql, params = compiler.compile(node.lhs)
    sql, params = connection.ops.datetime_cast_time_sql(sql, params, node.get_tzname())
    return connection.ops.time_trunc_sql(node.kind, sql, params)


def _exists(node: Any, compiler: Any, connection: Any) -> Any:
    """In parentheses: Doris' grammar has EXISTS as a condition, which can be compared with nothing else."""
    sql, params = node.as_sql(compiler, connection)
    return f"({sql})", params


def _subquery(node: Any, compiler: Any, connection: Any) -> Any:
    """Doris takes ORDER BY … LIMIT 1 out of a subquery that refers to the query around it, and gives any of
    its rows (SubExprAnalyzer in its source): it is written as MAX_BY or MIN_BY where that is the same.
    """
    query = getattr(node, "query", node)
    if not _is_first_of_correlated(query):
        return node.as_sql(compiler, connection)
    # In a template of its own it may be asked whether there is a row.
    plain = node is query or (node.template == Subquery.template and "template" not in node.extra)
    extreme = _extreme(query, connection) if plain else None
    if extreme is None:
        raise NotSupportedError(
            "Doris does not look at the order of a subquery that refers to the query around it, and would "
            "give any of its rows. Order by one field, which is no FloatField, and take one; neither may be "
            "NULL. Or number the rows by a Window() and filter on that"
        )
    if node is query:
        return extreme.as_sql(compiler, connection)
    node = node.copy()
    node.query = extreme
    return node.as_sql(compiler, connection)


def _is_first_of_correlated(query: Any) -> bool:
    ordered = query.order_by or query.extra_order_by or (query.default_ordering and query.get_meta().ordering)
    return bool(query.is_sliced and ordered and query.get_external_cols())


def _in(node: Any, compiler: Any, connection: Any) -> Any:
    """IN (the first of no rows) is false, where an aggregate of no rows is NULL."""
    query = getattr(node.rhs, "query", node.rhs)
    if isinstance(query, Query) and _is_first_of_correlated(query):
        raise NotSupportedError(
            "Doris has no LIMIT in a subquery of IN that refers to the query around it: compare by = with a "
            "Subquery() of one row"
        )
    return node.as_sql(compiler, connection)


def _extreme(query: Any, connection: Any) -> Any:
    """The query for the value of the first row, by MAX_BY or MIN_BY instead of an order; None where the two
    are not the same.

    Both functions leave out rows in which one of their arguments is NULL, where NULL has a place in an order.
    So both are columns that have none, or they are the same column, and NULL comes last. Of rows that are
    equal in their order any may be the first, in either form.
    """
    if (query.low_mark, query.high_mark) != (0, 1) or query.distinct or query.combinator:
        return None
    if query.group_by is not None or query.extra_order_by or query.where.contains_over_clause:
        return None
    query = query.clone()
    inner = query.get_compiler(connection=connection)
    inner.setup_query()
    ordering = inner.get_order_by()
    if len(ordering) != 1 or len(inner.select) != 1:
        return None
    order = ordering[0][0]
    value, key = _column(inner.select[0][0]), _column(order.expression)
    if value is None or key is None or not _is_of(key, connection, _ORDERED):
        return None
    nulls_last = order.nulls_last or (order.descending and not order.nulls_first)
    if value == key and nulls_last:
        best = Func(value, function="MAX" if order.descending else "MIN", output_field=value.output_field)
    elif _never_null(value, query) and _never_null(key, query) and _is_of(value, connection, _KEPT):
        function = "MAX_BY" if order.descending else "MIN_BY"
        best = Func(value, key, function=function, output_field=value.output_field)
    else:
        return None
    query.clear_limits()
    query.clear_ordering(force=True, clear_default=True)
    query.clear_select_clause()
    query.select = (best,)
    return query


# Types whose values MAX_BY compares as ORDER BY does (of floating point NaN is different), and those that it
# gives in every release.
_ORDERED = ("BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT", "DECIMAL", "CHAR", "VARCHAR",
            "STRING", "DATE", "DATETIME")  # fmt: skip
_KEPT = (*_ORDERED, "FLOAT", "DOUBLE")


def _column(expression: Any) -> Any:
    """The column of a table that an expression is, or names; None for anything else."""
    while isinstance(expression, Ref):
        (expression,) = expression.get_source_expressions()
    return expression if isinstance(expression, Col) else None


def _is_of(column: Any, connection: Any, types: tuple[str, ...]) -> bool:
    kind = column.target.db_type(connection) or ""
    return kind.partition("(")[0].upper() in types


def _never_null(column: Any, query: Any) -> bool:
    table = query.alias_map.get(column.alias)  # None for a column of the query around
    return table is not None and not column.target.null and table.join_type != LOUTER


# Expressions that Django writes in another way for each vendor.
_WRITERS: dict[type, Callable[[Any, Any, Any], Sql]] = {
    Length: lambda node, compiler, connection: node.as_sql(compiler, connection, function="CHAR_LENGTH"),
    Now: lambda node, compiler, connection: node.as_sql(compiler, connection, template="NOW(6)"),
    Random: lambda node, compiler, connection: node.as_sql(compiler, connection, function="RAND"),
    # With an empty separator NULLs are left out, as on other databases.
    ConcatPair: lambda node, compiler, connection: node.as_sql(
        compiler, connection, function="CONCAT_WS", template="%(function)s('', %(expressions)s)"
    ),
    CombinedExpression: _combined,
    DurationExpression: _moved,
    Cast: _cast,
    Exists: _exists,
    **dict.fromkeys((Subquery, Query), _subquery),
    In: _in,
    **dict.fromkeys((TruncHour, TruncMinute, TruncSecond), _truncated),
    **dict.fromkeys((SHA224, SHA256, SHA384, SHA512), _sha2),
    Chr: _refuse_code_points,
    Ord: _refuse_code_points,
    **JSON_WRITERS,
}


class SQLCompiler(compiler.SQLCompiler):
    connection: Any
    query: Any

    def compile(self, node: Any) -> Sql:
        for kind in type(node).__mro__:
            writer = _WRITERS.get(kind)
            if writer is not None:
                return writer(node, self, self.connection)
        return super().compile(node)

    def as_sql(self, *args: Any, **kwargs: Any) -> Sql:
        if self.query.select_for_update and not self.connection.option("ignore_row_locks", False):
            raise NotSupportedError(
                "Doris has no row locks, which select_for_update() and update_or_create() ask for. "
                "bulk_create(update_conflicts=True, …) on a UNIQUE table writes a row whether or not it "
                "exists; OPTIONS['ignore_row_locks'] = True goes on without locks, where two that write the "
                "same row at the same moment do not wait for each other"
            )
        return super().as_sql(*args, **kwargs)

    @property
    def table(self) -> DorisTable:
        """The DorisTable of the model that this query writes to."""
        return table_options(self.query.get_meta().concrete_model)


class SQLAggregateCompiler(compiler.SQLAggregateCompiler, SQLCompiler):
    pass
