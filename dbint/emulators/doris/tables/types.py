"""The column types of Doris: what they accept, how they are kept in DuckDB, and how they look to a client.

Source: "Data Type Overview" of the Doris SQL manual.
"""

from dataclasses import dataclass

from dbint.emulators.doris.errors import DorisError, NotEmulatedError

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INT": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "LARGEINT": (-(2**127), 2**127 - 1),
}
_DUCKDB = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INT": "INTEGER",
    "BIGINT": "BIGINT",
    "LARGEINT": "HUGEINT",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "CHAR": "VARCHAR",
    "VARCHAR": "VARCHAR",
    "STRING": "VARCHAR",
    "JSON": "JSON",
    "VARIANT": "JSON",
}
_ALIASES = {
    "INTEGER": "INT",
    "TEXT": "STRING",
    "JSONB": "JSON",
    "DATEV2": "DATE",
    "DATETIMEV2": "DATETIME",
    "DECIMALV3": "DECIMAL",
    "NUMERIC": "DECIMAL",
    "BOOL": "BOOLEAN",
}
_NOT_EMULATED = frozenset(
    [
        "MAP",
        "STRUCT",
        "BITMAP",
        "HLL",
        "QUANTILE_STATE",
        "AGG_STATE",
        "IPV4",
        "IPV6",
        "TIMESTAMPTZ",
        "VARBINARY",
    ]
)
# The display names in information_schema: (DATA_TYPE, COLUMN_TYPE).
_INFORMATION_SCHEMA = {
    "BOOLEAN": ("tinyint", "tinyint(1)"),
    "TINYINT": ("tinyint", "tinyint(4)"),
    "SMALLINT": ("smallint", "smallint(6)"),
    "INT": ("int", "int(11)"),
    "BIGINT": ("bigint", "bigint(20)"),
    "LARGEINT": ("bigint unsigned", "bigint(20) unsigned"),
    "STRING": ("string", "string"),
}
MAX_VARCHAR_BYTES = 65533
MAX_STRING_BYTES = 2**31 - 1
TYPE_NAMES = frozenset([*_DUCKDB, *_ALIASES, *_NOT_EMULATED, "DECIMAL", "ARRAY"])
MAX_ARRAY_DEPTH = 9


@dataclass(frozen=True, slots=True)
class DorisType:
    """A column type: ``name`` is Doris' canonical name in capitals, ``args`` its length, or precision and
    scale; an ARRAY has an ``item`` type.
    """

    name: str
    args: tuple[int, ...] = ()
    item: "DorisType | None" = None  # of an ARRAY

    @property
    def sql(self) -> str:
        """The type as SHOW CREATE TABLE and DESC print it: lower case, STRING as ``text``."""
        if self.item is not None:
            return f"array<{self.item.sql}>"
        name = "text" if self.name == "STRING" else self.name.lower()
        if not self.args or (self.name == "DATETIME" and self.args == (0,)):
            return name
        return f"{name}({','.join(map(str, self.args))})"

    @property
    def duckdb(self) -> str:
        """The type of the column that keeps it."""
        if self.item is not None:
            return f"{self.item.duckdb}[]"
        return f"DECIMAL({self.args[0]},{self.args[1]})" if self.name == "DECIMAL" else _DUCKDB[self.name]

    @property
    def is_string(self) -> bool:
        return self.name in ("CHAR", "VARCHAR", "STRING")

    @property
    def max_bytes(self) -> int | None:
        """The longest value in bytes, for strings."""
        if self.name in ("CHAR", "VARCHAR"):
            return self.args[0]
        return MAX_STRING_BYTES if self.name == "STRING" else None

    @property
    def information_schema(self) -> tuple[str, str]:
        """DATA_TYPE and COLUMN_TYPE of information_schema.columns."""
        return _INFORMATION_SCHEMA.get(self.name, (self.name.lower(), self.sql))

    @property
    def primitive(self) -> str:
        """The name that Doris' catalog has for the type (PrimitiveType)."""
        if self.name == "DECIMAL":
            return "DECIMAL32" if self.args[0] <= 9 else "DECIMAL64" if self.args[0] <= 18 else "DECIMAL128"
        return {"DATE": "DATEV2", "DATETIME": "DATETIMEV2", "JSON": "JSONB"}.get(self.name, self.name)

    def check_key(self, column: str) -> None:
        """Raise DorisError where the type cannot be a key column."""
        if self.name in ("FLOAT", "DOUBLE"):
            raise DorisError("Float or double can not used as a key, use decimal instead.")
        if self.name == "STRING":
            raise DorisError(f"String Type should not be used in key column[{column}]")
        if self.name == "JSON":
            raise DorisError(f"JsonType type should not be used in key column[{column}].")
        if self.name == "VARIANT":
            raise DorisError(f"Variant type should not be used in key column[{column}].")
        if self.name == "ARRAY":
            raise DorisError(
                "Array can only be used in the non-key column of the duplicate table at present."
            )


def make_type(name: str, args: tuple[int, ...]) -> DorisType:
    """The type for a name and its arguments, with Doris' defaults filled in. Raises DorisError where Doris
    does.
    """
    upper = name.upper()
    if upper in _NOT_EMULATED:
        raise NotEmulatedError(f"the column type {upper}")
    if upper == "ARRAY":
        raise NotEmulatedError("ARRAY here")
    upper = _ALIASES.get(upper, upper)
    if upper == "DECIMAL":
        return _decimal(args)
    if upper == "DATETIME":
        scale = args[0] if args else 0
        if scale > 6:
            raise DorisError(f"Scale of Datetime/Time must between 0 and 6. Scale was set to: {scale}")
        return DorisType(upper, (scale,))
    if upper == "CHAR":
        length = args[0] if args else 1
        if not 1 <= length <= 255:
            raise DorisError(f"Char size must be <= 255: {length}" if length else "Char size must be > 0: 0")
        return DorisType(upper, (length,))
    if upper == "VARCHAR":
        length = args[0] if args else MAX_VARCHAR_BYTES
        if not 1 <= length <= MAX_VARCHAR_BYTES:
            limit = f"<= {MAX_VARCHAR_BYTES}" if length else "> 0"
            raise DorisError(f"VARCHAR size must be {limit}: {length}")
        return DorisType(upper, (length,))
    return DorisType(upper)


def array_of(item: DorisType) -> DorisType:
    """ARRAY<item>. Raises DorisError where it is nested too deep, NotEmulatedError for items of JSON."""
    if item.name in ("JSON", "VARIANT"):
        raise NotEmulatedError(f"an ARRAY of {item.name}")
    depth, inner = 1, item
    while inner.item is not None:
        depth, inner = depth + 1, inner.item
    if depth > MAX_ARRAY_DEPTH:
        raise DorisError(f"Type exceeds the maximum nesting depth of {MAX_ARRAY_DEPTH}")
    return DorisType("ARRAY", (), item)


def _decimal(args: tuple[int, ...]) -> DorisType:
    precision, scale = (*args, 0)[:2] if args else (38, 9)
    if precision > 38:
        raise NotEmulatedError(f"DECIMAL of {precision} digits (more than 38)")
    if precision < 1:
        raise DorisError(f"Precision of decimal must between 1 and 38. Precision was set to: {precision}.")
    if scale > precision:
        raise DorisError(
            f"Scale of decimal must be smaller than precision. Scale is {scale} and precision is {precision}"
        )
    return DorisType("DECIMAL", (precision, scale))
