"""Which type of Doris holds the values of which type of PostgreSQL, all of them and exactly.

The messages' side is Debezium's: temporal values as ISO strings, decimals and intervals as strings, bytes as
base64. Doris' side: sql-manual/basic-element/sql-data-types/data-type-overview.
"""

import re
from typing import NamedTuple

from dbint.flow.mapping import Conversion
from dbint.flow.source import SourceColumn

MAX_VARCHAR = 65533  # bytes
_MAX_DIGITS = 38
_HEADER = 4  # bytes that a typmod counts before a length or a pair of digits
_LABEL_BYTES = 63  # of an enum: NAMEDATALEN - 1

_EXACT = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INT",
    "int8": "BIGINT",
    "oid": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "uuid": "VARCHAR(36)",
    "inet": "VARCHAR(49)",
    "cidr": "VARCHAR(49)",
    "macaddr": "VARCHAR(17)",
    "macaddr8": "VARCHAR(23)",
    "interval": "VARCHAR(64)",
    "timetz": "VARCHAR(24)",
    "name": "VARCHAR(63)",
    "text": "STRING",
    "xml": "STRING",
    "citext": "STRING",
    "ltree": "STRING",
    "int4range": "STRING",
    "int8range": "STRING",
    "numrange": "STRING",
    "tsrange": "STRING",
    "tstzrange": "STRING",
    "daterange": "STRING",
}
_LIST_ELEMENTS = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INT",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    **dict.fromkeys(("text", "varchar", "bpchar", "uuid", "numeric", "citext", "name"), "STRING"),
    **dict.fromkeys(("inet", "cidr", "timestamp", "timestamptz", "date"), "STRING"),
}
_AS_TEXT = "stored as text: sums and comparisons need a CAST. Where all values fit, say so in types"
_DATETIME = re.compile(r"DATETIME(?:\(\s*(\d)\s*\))?", re.IGNORECASE)
_DECIMAL = re.compile(r"DECIMAL\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", re.IGNORECASE)
_VARCHAR = re.compile(r"(?:VAR)?CHAR\(\s*(\d+)\s*\)", re.IGNORECASE)
_INTEGERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT")


class TargetType(NamedTuple):
    """A Doris type, what its values need on the way, and what whoever reads the plan should know."""

    type: str
    conversion: Conversion = ""
    warning: str = ""


class Unmappable(Exception):  # noqa: N818 - it never leaves this package
    """No type of Doris holds the column exactly: why, and what to do."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.why, self.advice = why, advice


def target_type(column: SourceColumn, *, in_key: bool, chosen: str = "") -> TargetType:
    """The type of Doris for ``column``; ``chosen`` is what the user says instead. Raises Unmappable."""
    if chosen:
        return _chosen(column, chosen)
    found = _of_column(column)
    if not in_key:
        return found
    if found.type == "STRING":
        # The manual: a STRING cannot be in a key. No VARCHAR is longer than this.
        return TargetType(
            f"VARCHAR({MAX_VARCHAR})", found.conversion, "stored as VARCHAR: Doris refuses keys of more than "
            f"{MAX_VARCHAR} bytes, which become dead letters"
        )  # fmt: skip
    if found.type in ("FLOAT", "DOUBLE", "JSON") or found.type.startswith("ARRAY"):
        raise Unmappable(
            f"a key of type {column.type}: Doris has no {found.type} in keys",
            "give the table another primary key",
        )
    return found


def _of_column(column: SourceColumn) -> TargetType:
    if column.element is not None:
        return _of_list(column)
    if column.enum:
        return TargetType(f"VARCHAR({_LABEL_BYTES})")
    if column.composite:
        raise Unmappable(f"a composite value ({column.type})", _exclude(column))
    base, modifier = column.base, column.modifier
    if base in _EXACT:
        return TargetType(_EXACT[base])
    if base in ("varchar", "bpchar"):
        characters = modifier - _HEADER if modifier >= _HEADER else 0
        # Doris counts bytes; a character takes up to four.
        fits = 0 < 4 * characters <= MAX_VARCHAR
        return TargetType(f"VARCHAR({4 * characters})" if fits else "STRING")
    if base == "numeric":
        return _of_numeric(modifier)
    if base == "date":
        return TargetType("DATE", "date")
    if base in ("timestamp", "timestamptz"):
        precision = modifier if 0 <= modifier <= 6 else 6
        zone = "stored in UTC: Doris' DATETIME has no zone" if base == "timestamptz" else ""
        return TargetType(f"DATETIME({precision})" if precision else "DATETIME", "", zone)
    if base == "time":
        return TargetType("VARCHAR(15)", "time", "stored as text HH:MM:SS.ffffff: Doris cannot store a TIME")
    if base == "bytea":
        return TargetType("STRING", "", "stored as base64: Doris has no bytes (FROM_BASE64 reads it)")
    if base in ("json", "jsonb", "hstore"):
        return TargetType("JSON", "", _json_warning(base))
    if base == "bit" and modifier == 1:
        return TargetType("BOOLEAN")
    if base == "money":
        raise Unmappable(
            "money, whose digits behind the point depend on lc_monetary",
            f"say its type, such as types={{{column.name!r}: 'DECIMAL(19, 2)'}}",
        )
    raise Unmappable(
        f"values of type {column.type}, which the messages hold in no form of Doris'", _exclude(column)
    )


def _of_numeric(modifier: int) -> TargetType:
    if modifier < _HEADER:
        return TargetType("STRING", "", f"numeric without bounds, {_AS_TEXT}: DECIMAL(38, 9) for one")
    digits, scale = ((modifier - _HEADER) >> 16) & 0xFFFF, (modifier - _HEADER) & 0x7FF
    if digits <= _MAX_DIGITS and scale <= digits:
        return TargetType(f"DECIMAL({digits},{scale})")
    return TargetType("STRING", "", f"more than the {_MAX_DIGITS} digits of Doris' DECIMAL, {_AS_TEXT}")


def _of_list(column: SourceColumn) -> TargetType:
    element = "STRING" if column.element_enum else _LIST_ELEMENTS.get(column.element or "")
    if element is None:
        raise Unmappable(f"an array of {column.element}", _exclude(column))
    texts = element == "STRING" and column.element in ("numeric", "timestamp", "timestamptz", "date")
    warning = f"elements of type {column.element} are stored as texts" if texts else ""
    return TargetType(f"ARRAY<{element}>", "date_list" if column.element == "date" else "", warning)


def _json_warning(base: str) -> str:
    if base == "hstore":
        return ""
    kept = ", and spaces and order of the text are not kept" if base == "json" else ""
    return (
        f"Doris' JSON rounds numbers beyond 64 bits and beyond a double{kept}: types can make it a STRING, "
        "which keeps the text"
    )


def _chosen(column: SourceColumn, chosen: str) -> TargetType:
    """The user's own type, if it holds every value, or refuses those that it does not hold."""
    name = chosen.strip()
    if column.composite or (column.element is not None and not name.upper().startswith(("ARRAY", "STRING"))):
        raise Unmappable(f"{column.type} as {name}", _exclude(column))
    upper = name.upper()
    if upper in ("STRING", "TEXT"):
        if column.base in ("date", "time"):
            return TargetType(name, "time")
        return TargetType(name)
    if column.base == "uuid" and upper.replace(" ", "") in ("VARCHAR(32)", "CHAR(32)"):
        return TargetType(name, "bare_uuid")
    try:
        usual = _of_column(column)
    except Unmappable:
        usual = TargetType("STRING")
    reason = _narrower(column, usual.type, name)
    if reason:
        raise Unmappable(
            f"{column.type} as {name}: {reason}", f"leave types out, which makes it {usual.type}"
        )
    return TargetType(name, usual.conversion if usual.type == "DATE" and upper == "DATE" else "")


def _narrower(column: SourceColumn, usual: str, chosen: str) -> str:
    """Why ``chosen`` would lose something of the column's values without a word; "" when it would not.

    What Doris checks by row (digits before the point, bytes of a VARCHAR, ranges of integers) refuses a row,
    which then is a dead letter: that loses nothing silently. What it rounds is what must not be chosen.
    """
    upper = chosen.upper()
    if column.base in ("numeric", "money"):
        decimal = _DECIMAL.fullmatch(upper)
        if decimal is None:
            return "" if _VARCHAR.fullmatch(upper) else "Doris would round it"
        given = int(decimal[2] or 0)
        scale = (column.modifier - _HEADER) & 0x7FF if column.modifier >= _HEADER else None
        if scale is not None and scale > given:
            return f"digits behind the point would be rounded away ({scale} become {given})"
        return ""
    if column.base in ("timestamp", "timestamptz"):
        datetime = _DATETIME.fullmatch(upper)
        wanted = column.modifier if 0 <= column.modifier <= 6 else 6
        if datetime is None:
            return "" if _VARCHAR.fullmatch(upper) else "the time would be cut off"
        return "fractions of seconds would be rounded" if int(datetime[1] or 0) < wanted else ""
    if column.base == "float8" and upper == "FLOAT":
        return "digits would be lost"
    if column.base == "float4" and upper == "DOUBLE":
        return ""
    if column.base in ("float4", "float8"):
        return "" if upper == usual else "Doris would round it"
    if usual in _INTEGERS and upper in _INTEGERS:
        narrow = _INTEGERS.index(upper) < _INTEGERS.index(usual)
        return "larger numbers do not fit" if narrow else ""
    if _VARCHAR.fullmatch(upper) and (usual == "STRING" or _VARCHAR.fullmatch(usual)):
        return ""
    if upper in ("JSON", "VARIANT") and usual == "JSON":
        return ""
    return "" if upper.replace(" ", "") == usual.replace(" ", "") else f"it does not hold what {usual} holds"


def _exclude(column: SourceColumn) -> str:
    return f"leave it out (exclude={column.name!r}), or flow a generated column with its text"


# -- types as Doris shows them

_ALIASES = (
    (re.compile(r"\s+"), ""),
    (re.compile(r"^string$"), "text"),
    (re.compile(r"^varchar\(\*\)$"), "varchar(65533)"),
    (re.compile(r"^jsonb$"), "json"),
    (re.compile(r"\b(tinyint|smallint|int|bigint|largeint)\(\d+\)"), r"\1"),
    (re.compile(r"\binteger\b"), "int"),
    (re.compile(r"\bdecimalv3\b"), "decimal"),
    (re.compile(r"\bdatev2\b"), "date"),
    (re.compile(r"\bdatetimev2\b"), "datetime"),
    (re.compile(r"\bdatetime\(0\)"), "datetime"),
    (re.compile(r"<string>"), "<text>"),
)


def normal_type(shown: str) -> str:
    """A type in the one form in which two can be compared."""
    text = shown.strip().lower()
    for pattern, replacement in _ALIASES:
        text = pattern.sub(replacement, text)
    return text


def holds(wide: str, narrow: str) -> bool:
    """Whether a column of type ``wide`` holds every value of type ``narrow`` (both in any spelling)."""
    a, b = normal_type(wide), normal_type(narrow)
    if a == b or (a == "text" and (b.startswith(("varchar", "char")) or b == "text")):
        return True
    integers = tuple(name.lower() for name in _INTEGERS)
    if a in integers and b in integers:
        return integers.index(a) >= integers.index(b)
    lengths = _VARCHAR.fullmatch(a), _VARCHAR.fullmatch(b)
    if lengths[0] and lengths[1]:
        return int(lengths[0][1]) >= int(lengths[1][1])
    decimals = _DECIMAL.fullmatch(a), _DECIMAL.fullmatch(b)
    if decimals[0] and decimals[1]:
        (p, s), (q, t) = ((int(m[1]), int(m[2] or 0)) for m in (decimals[0], decimals[1]))
        return s >= t and p - s >= q - t
    times = _DATETIME.fullmatch(a), _DATETIME.fullmatch(b)
    if times[0] and times[1]:
        return int(times[0][1] or 0) >= int(times[1][1] or 0)
    return (a, b) == ("double", "float")


def can_widen(old: str, new: str) -> bool:
    """Whether ALTER TABLE … MODIFY COLUMN makes ``new`` of ``old`` without a loss.

    "Schema Change" of the manual: integers and FLOAT upwards, longer VARCHAR, VARCHAR to STRING, more digits
    before the point of a DECIMAL of the same scale, more of a DATETIME's. A VARCHAR never becomes a CHAR
    (ColumnType of apache/doris).
    """
    if not holds(new, old) or normal_type(old) == normal_type(new):
        return False
    if normal_type(new).startswith("char") and not normal_type(old).startswith("char"):
        return False
    decimals = _DECIMAL.fullmatch(normal_type(old)), _DECIMAL.fullmatch(normal_type(new))
    if decimals[0] and decimals[1]:
        return (decimals[0][2] or "0") == (decimals[1][2] or "0")
    return True
