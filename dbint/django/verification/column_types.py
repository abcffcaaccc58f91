"""Whether a column has the type that its field would be given by a migration.

PostgreSQL decides for itself: NULL is cast to the type that the field wants, and what the server reports of
the result is compared with what its catalogue says of the column: synonyms, extensions and arrays come right.
Elsewhere the names are compared, where the backend's introspection gives names at all.
"""

import re
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

# A domain counts as the type below it: that is what a result's description shows.
_COLUMNS = """
SELECT a.attname,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""


def type_differences(connection: BaseDatabaseWrapper, model: type[models.Model]) -> tuple[int, list[str]]:
    """(how many columns were compared, a line for each that differs)."""
    wanted = {
        field.column: (field, sql_type)
        for field in model._meta.local_concrete_fields
        if (sql_type := field.db_type(connection))
        # The key of a many-to-many table: migrations take its type from DEFAULT_AUTO_FIELD, models from the
        # app's configuration. Django lets the two differ, and nobody chooses either.
        and not (field.primary_key and model._meta.auto_created)
    }
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        return _compare_on_postgres(connection, model._meta.label, table, wanted)
    return _compare_names(connection, model._meta.label, table, wanted)


def _compare_on_postgres(
    connection: BaseDatabaseWrapper, label: str, table: str, wanted: dict[str, tuple[Any, str]]
) -> tuple[int, list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [connection.ops.quote_name(table)])
        found = {name: (oid, modifier) for name, oid, modifier in cursor.fetchall()}
        shared = [column for column in wanted if column in found]
        if not shared:
            return 0, []
        casts = ", ".join(f"CAST(NULL AS {_castable(wanted[column][1])})" for column in shared)
        cursor.execute(f"SELECT {casts}")
        result: Any = cursor.cursor.pgresult
        should = {column: (result.ftype(n), result.fmod(n)) for n, column in enumerate(shared)}
        wrong = [column for column in shared if should[column] != found[column]]
        lines = []
        for column in wrong:
            cursor.execute(
                "SELECT format_type(%s, %s), format_type(%s, %s)", [*found[column], *should[column]]
            )
            is_type, should_be = cursor.fetchone()
            name = wanted[column][0].name
            lines.append(f"{label}.{name}: column {column} is {is_type}, the model wants {should_be}")
    return len(shared), lines


def _castable(sql_type: str) -> str:
    # serial is a shorthand of CREATE TABLE, not a type.
    return re.sub(r"^(big|small)?serial$", lambda match: f"{match[1] or ''}int", sql_type)


def _compare_names(
    connection: BaseDatabaseWrapper, label: str, table: str, wanted: dict[str, tuple[Any, str]]
) -> tuple[int, list[str]]:
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, table)
    lines, compared = [], 0
    for info in described:
        found = getattr(info, "doris_type", None) or info.type_code
        if info.name not in wanted or not isinstance(found, str):
            continue
        compared += 1
        field, should_be = wanted[info.name]
        if not _same(found, should_be):
            lines.append(f"{label}.{field.name}: column {info.name} is {found}, the model wants {should_be}")
    return compared, lines


# Different spellings of one type.
_SYNONYMS = {"integer": "int", "boolean": "bool", "tinyint": "bool", "string": "text", "decimalv3": "decimal"}


def _same(found: str, wanted: str) -> bool:
    return _normal(found) == _normal(wanted)


def _normal(sql_type: str) -> str:
    text = re.sub(r"\s+", "", sql_type.lower())
    name, bracket, rest = text.partition("(")
    name = _SYNONYMS.get(name, name)
    # MySQL's family shows a display width that means nothing: bigint(20), tinyint(1).
    return name if name in {"int", "bigint", "smallint", "bool", "largeint"} else name + bracket + rest
