"""Lookups into ``JSONField``, with the functions that Doris has for paths.

Doris compares no JSON values. What a path leads to is compared as the type that the other side has, and only
where the document has that type there: ``"1"`` is not ``1``. Whole documents, lists and dicts cannot be
compared. Doris' manual, sql-manual/sql-functions/scalar-functions/json-functions.
"""

# ruff: noqa: ARG001 - these signatures are Django's

from collections.abc import Callable
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import NotSupportedError
from django.db.models.expressions import Value
from django.db.models.fields.json import (  # type: ignore[attr-defined]  # a name that the stubs lack
    ContainedBy,
    DataContains,
    HasKeyLookup,
    JSONExact,
    JSONIContains,
    KeyTextTransform,
    KeyTransform,
    KeyTransformExact,
    KeyTransformGt,
    KeyTransformGte,
    KeyTransformIn,
    KeyTransformIsNull,
    KeyTransformLt,
    KeyTransformLte,
    compile_json_path,
)

Sql = tuple[str, Any]
_NUMBERS = "'int', 'bigint', 'largeint', 'double'"
_EXACT_DOUBLE = 2**53


def _refuse(node: Any, compiler: Any, connection: Any) -> Sql:
    raise NotSupportedError(
        "Doris does not compare JSON documents: look at a key (document__key=…, document__has_key=…), or "
        "keep what you filter or order by in a field of its own"
    )


def _located(node: Any, compiler: Any) -> tuple[str, tuple[Any, ...]]:
    """``document, path`` of a key, as the arguments of a function."""
    sql, params, keys = node.preprocess_lhs(compiler, compiler.connection)
    return f"{sql}, %s", (*params, compile_json_path(keys))


def _key(node: Any, compiler: Any, connection: Any) -> Sql:
    arguments, params = _located(node, compiler)
    return f"JSON_EXTRACT({arguments})", params


def _text(node: Any, compiler: Any, connection: Any) -> Sql:
    arguments, params = _located(node, compiler)
    # JSON's null would be the text "null".
    return (
        f"IF(JSON_TYPE({arguments}) = 'null', NULL, JSON_EXTRACT_STRING({arguments}))",
        (*params, *params),
    )


def _compared(node: Any, compiler: Any, operator: str, value: Any) -> Sql:
    arguments, params = _located(node.lhs, compiler)
    kind = f"JSON_TYPE({arguments})"
    if value is None and operator == "=":
        return f"{kind} = 'null'", params
    if isinstance(value, bool):
        test = f"({kind} = 'bool' AND JSON_EXTRACT_BOOL({arguments}) {operator} %s)"
    elif isinstance(value, int) and abs(value) > _EXACT_DOUBLE:
        test = f"({kind} IN ('int', 'bigint') AND JSON_EXTRACT_BIGINT({arguments}) {operator} %s)"
    elif isinstance(value, int | float):
        test = f"({kind} IN ({_NUMBERS}) AND JSON_EXTRACT_DOUBLE({arguments}) {operator} %s)"
    elif isinstance(value, str):
        test = f"({kind} = 'string' AND JSON_EXTRACT_STRING({arguments}) {operator} %s)"
    else:
        return _refuse(node, compiler, compiler.connection)
    return test, (*params, *params, value)


def _values(node: Any, compiler: Any) -> list[Any]:
    """The right-hand side as Python values; refused where it is an expression."""
    given = (
        node.rhs if isinstance(node.rhs, list | tuple) and isinstance(node, KeyTransformIn) else [node.rhs]
    )
    given = [value.value if isinstance(value, Value) else value for value in given]
    if any(hasattr(value, "as_sql") for value in given):
        _refuse(node, compiler, compiler.connection)
    return given


def _comparison(operator: str) -> Callable[[Any, Any, Any], Sql]:
    def write(node: Any, compiler: Any, connection: Any) -> Sql:
        (value,) = _values(node, compiler)
        return _compared(node, compiler, operator, value)

    return write


def _any_of(node: Any, compiler: Any, connection: Any) -> Sql:
    tests = [_compared(node, compiler, "=", value) for value in _values(node, compiler)]
    if not tests:
        raise EmptyResultSet
    return f"({' OR '.join(sql for sql, _ in tests)})", tuple(p for _, params in tests for p in params)


def _exists(arguments: str) -> str:
    return f"COALESCE(JSON_EXISTS_PATH({arguments}), FALSE)"


def _is_null(node: Any, compiler: Any, connection: Any) -> Sql:
    arguments, params = _located(node.lhs, compiler)
    return f"{'NOT ' if node.rhs else ''}{_exists(arguments)}", params


def _has_key(node: Any, compiler: Any, connection: Any) -> Sql:
    parts, params = [], []
    for sql, lhs_params, path in node._as_sql_parts(compiler, connection):
        parts.append(_exists(f"{sql}, %s"))
        params += [*lhs_params, path]
    return node._combine_sql_parts(parts), tuple(params)


WRITERS: dict[type, Callable[[Any, Any, Any], Sql]] = {
    KeyTextTransform: _text,
    KeyTransform: _key,
    KeyTransformExact: _comparison("="),
    KeyTransformLt: _comparison("<"),
    KeyTransformLte: _comparison("<="),
    KeyTransformGt: _comparison(">"),
    KeyTransformGte: _comparison(">="),
    KeyTransformIn: _any_of,
    KeyTransformIsNull: _is_null,
    HasKeyLookup: _has_key,
    JSONExact: _refuse,
    JSONIContains: _refuse,
    DataContains: _refuse,
    ContainedBy: _refuse,
}
