"""The Doris type of each kind of field, and back.

Doris' manual, sql-manual/basic-element/sql-data-types/data-type-overview.
"""

from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError

MAX_VARCHAR = 65533  # bytes


def _varchar(field: dict[str, Any]) -> str:
    """Doris counts bytes where Django counts characters; one character takes up to four."""
    length = field.get("max_length")
    return "STRING" if length is None else f"VARCHAR({min(4 * length, MAX_VARCHAR)})"


def _refused(what: str, instead: str) -> Callable[[dict[str, Any]], str]:
    def refuse(field: dict[str, Any]) -> str:
        raise NotSupportedError(f"{field.get('name')}: Doris has no type for {what}: {instead}")

    return refuse


DATA_TYPES: dict[str, str | Callable[[dict[str, Any]], str]] = {
    # Ids are 64-bit numbers made in the client, whatever the size of the field.
    "AutoField": "BIGINT",
    "BigAutoField": "BIGINT",
    "SmallAutoField": "BIGINT",
    "BinaryField": _refused("bytes", "keep them in another store, or as base64 in a TextField"),
    "BooleanField": "BOOLEAN",
    "CharField": _varchar,
    "DateField": "DATE",
    "DateTimeField": "DATETIME(6)",
    "DecimalField": "DECIMAL(%(max_digits)s, %(decimal_places)s)",
    "DurationField": "BIGINT",
    "FileField": _varchar,
    "FilePathField": _varchar,
    "FloatField": "DOUBLE",
    "IntegerField": "INT",
    "BigIntegerField": "BIGINT",
    "GenericIPAddressField": "VARCHAR(39)",
    "IPAddressField": "VARCHAR(15)",  # of old migrations
    "JSONField": "JSON",
    "LargeIntegerField": "LARGEINT",
    "PositiveBigIntegerField": "BIGINT",
    "PositiveIntegerField": "INT",
    "PositiveSmallIntegerField": "SMALLINT",
    "SlugField": _varchar,
    "SmallIntegerField": "SMALLINT",
    "TextField": "STRING",
    # TIME cannot be stored; HH:MM:SS.ffffff sorts and compares like the time that it is.
    "TimeField": "VARCHAR(15)",
    "UUIDField": "VARCHAR(32)",
}

# Types of columns that cannot be in a table's key.
NO_KEY_TYPES = ("STRING", "TEXT", "FLOAT", "DOUBLE", "JSON", "JSONB", "VARIANT", "ARRAY", "MAP", "STRUCT")

# Those with a dot are of this package.
FIELD_OF_TYPE = {
    "boolean": "BooleanField",
    "tinyint": "SmallIntegerField",
    "smallint": "SmallIntegerField",
    "int": "IntegerField",
    "bigint": "BigIntegerField",
    "largeint": "doris.LargeIntegerField",
    "float": "FloatField",
    "double": "FloatField",
    "decimal": "DecimalField",
    "decimalv3": "DecimalField",
    "date": "DateField",
    "datev2": "DateField",
    "datetime": "DateTimeField",
    "datetimev2": "DateTimeField",
    "char": "CharField",
    "varchar": "CharField",
    "string": "TextField",
    "text": "TextField",
    "json": "JSONField",
    "jsonb": "JSONField",
    "ipv4": "GenericIPAddressField",
    "ipv6": "GenericIPAddressField",
    "variant": "doris.VariantField",
}
