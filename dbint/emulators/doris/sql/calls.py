"""The functions that a DuckDB macro cannot express: those whose result type or text depends on the call."""

import re
from typing import TYPE_CHECKING

from sqlglot import exp

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.sql.functions import AGGREGATES, PREFIX
from dbint.emulators.doris.tables.model import literal
from dbint.emulators.doris.tables.types import INTEGERS, DorisType
from dbint.emulators.doris.tables.write import parse_text

if TYPE_CHECKING:
    from dbint.emulators.doris.sql.translate import _Translator

_DATE = DorisType("DATE")
_DATETIME = DorisType("DATETIME", (0,))
_NUMERIC_AGGREGATES = frozenset((
    "avg", "sum", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "variance_pop",
    "variance_samp", "var_samp", "median", "percentile",
))  # fmt: skip
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAY_UNITS = ("year", "quarter", "month", "week", "day")
_DATE_CALLS = tuple(PREFIX + name for name in ("date", "to_date", "last_day", "makedate"))
_SHIFTS = {"adddate": ("day", 1), "date_add": ("day", 1), "date_sub": ("day", -1), "subdate": ("day", -1)}
_STRFTIME = {
    "Y": "%Y",
    "y": "%y",
    "m": "%m",
    "c": "%-m",
    "d": "%d",
    "e": "%-d",
    "H": "%H",
    "k": "%-H",
    "h": "%I",
    "I": "%I",
    "l": "%-I",
    "i": "%M",
    "s": "%S",
    "S": "%S",
    "f": "%f",
    "j": "%j",
    "M": "%B",
    "b": "%b",
    "W": "%A",
    "a": "%a",
    "p": "%p",
    "T": "%H:%M:%S",
    "r": "%I:%M:%S %p",
    "w": "%w",
    "v": "%V",
    "x": "%G",
    "%": "%%",
}
_FORMATS = {
    "yyyy-MM-dd": "%Y-%m-%d",
    "yyyyMMdd": "%Y%m%d",
    "yyyy-MM-dd HH:mm:ss": "%Y-%m-%d %H:%i:%s",
}


def raw(sql: str, kind: DorisType | None = None) -> exp.Expr:
    """A finished piece of DuckDB SQL as a node."""
    node = exp.Var(this=sql)
    if kind is not None:
        node.meta["doris_type"] = kind
    return node


def constant(value: str | int | None) -> exp.Expr:
    if value is None:
        return exp.Null()
    return exp.Literal.number(value) if isinstance(value, int) else exp.Literal.string(value)


def sql_of(node: exp.Expr) -> str:
    return node.sql("duckdb")


def aggregate(
    translator: "_Translator", name: str, arguments: list[exp.Expr], *, in_window: bool
) -> exp.Expr:
    """An aggregate under DuckDB's name, with Doris' result type."""
    native = AGGREGATES[name]
    if name == "group_concat":
        return _group_concat(translator, arguments)
    if name in _NUMERIC_AGGREGATES and len(arguments) == 1 and not isinstance(arguments[0], exp.Distinct):
        arguments = [exp.Anonymous(this=f"{PREFIX}number", expressions=arguments)]
        arguments[0].meta["doris_type"] = translator.type_of(arguments[0].expressions[0])
    node = exp.Anonymous(this=native, expressions=arguments)
    kind = translator.type_of(arguments[0]) if len(arguments) == 1 else None
    if kind is not None and kind.name == "DECIMAL" and name in ("sum", "min", "max"):
        node.meta["doris_type"] = kind
    if kind is not None and kind.name == "DECIMAL" and name == "avg":
        scale = max(kind.args[1], 4)
        node.meta["doris_type"] = DorisType("DECIMAL", (38, scale))
        if in_window:  # `window` does it: each part needs the OVER clause
            node.meta["average_of"] = kind.args[1]
            return node
        return _average(node, kind.args[1])
    return node


def window(node: exp.Window) -> exp.Expr:
    """An aggregate over a window. The average of DECIMAL is made of two."""
    scale = node.this.meta.get("average_of")
    if scale is None:
        return node
    parts = []
    for name in ("sum", "count"):
        part = node.copy()
        part.set("this", exp.Anonymous(this=name, expressions=[e.copy() for e in node.this.expressions]))
        parts.append(part)
    return _quotient(parts[0], parts[1], scale, max(scale, 4))


def _average(average: exp.Expr, scale: int) -> exp.Expr:
    """AVG of a DECIMAL: the digits after the last are cut off, which a DOUBLE would not do."""
    total, count = (
        exp.Anonymous(this=name, expressions=[e.copy() for e in average.expressions])
        for name in ("sum", "count")
    )
    return _quotient(total, count, scale, max(scale, 4))


def quotient(
    left: tuple[exp.Expr, tuple[int, int]], right: tuple[exp.Expr, tuple[int, int]], result: DorisType
) -> exp.Expr:
    """``DECIMAL / DECIMAL``: a division of whole numbers, as Doris does it; NULL for a division by 0."""
    (dividend, (_, s1)), (divisor, (_, s2)) = left, right
    return _quotient(dividend, divisor, s1, result.args[1], s2)


def _quotient(dividend: exp.Expr, divisor: exp.Expr, s1: int, scale: int, s2: int = 0) -> exp.Expr:
    shift = 10 ** (scale - s1 + s2)
    whole = f"({_unscaled(dividend, s1)} * CAST({shift} AS HUGEINT)) // nullif({_unscaled(divisor, s2)}, 0)"
    kind = DorisType("DECIMAL", (38, scale))
    return raw(f"CAST(CAST({whole} AS VARCHAR) || 'e-{scale}' AS {kind.duckdb})", kind)


def _unscaled(node: exp.Expr, scale: int) -> str:
    """A DECIMAL as the whole number of its last digits."""
    if not scale:
        return f"CAST({sql_of(node)} AS HUGEINT)"
    return f"CAST(replace(CAST(CAST({sql_of(node)} AS DECIMAL(38,{scale})) AS VARCHAR), '.', '') AS HUGEINT)"


def _group_concat(translator: "_Translator", arguments: list[exp.Expr]) -> exp.Expr:
    """``GROUP_CONCAT([DISTINCT] text [, separator] [ORDER BY …])``; the separator is ', ' by default."""
    order = None
    first = arguments[0] if arguments else exp.Null()
    rest = arguments[1:]
    if isinstance(first, exp.Order):
        order, first = first, first.this
    elif rest and isinstance(rest[-1], exp.Order):
        order = rest[-1]
        rest = [*rest[:-1], order.this]
    distinct = ""
    if isinstance(first, exp.Distinct):
        distinct = "DISTINCT "
        first, rest = first.expressions[0], [*first.expressions[1:], *rest]
    if len(rest) > 1:
        raise DorisError("group_concat requires one or two parameters")
    separator = sql_of(rest[0]) if rest else "', '"
    ordering = f" ORDER BY {', '.join(sql_of(o) for o in order.expressions)}" if order is not None else ""
    return raw(f"string_agg({distinct}{text_of(translator, first)}, {separator}{ordering})")


def cast(translator: "_Translator", value: exp.Expr, kind: DorisType) -> exp.Expr:
    """CAST gives NULL, not an error, for what cannot be converted (enable_strict_cast = false)."""
    source = sql_of(value)
    text = f"CAST({source} AS VARCHAR)"
    if kind.item is not None:
        if not isinstance(value, exp.Array):
            raise NotEmulatedError("a CAST of something else than an array literal to ARRAY")
        return raw(f"CAST({source} AS {kind.duckdb})", kind)
    if kind.is_string:
        plain = text_of(translator, value)
        return raw(plain if kind.name == "STRING" else f"left({plain}, {kind.args[0]})", kind)
    if kind.name in ("JSON", "VARIANT"):
        return raw(f"TRY_CAST({text} AS JSON)", kind)
    if kind.name in ("DATE", "DATETIME"):
        return raw(parse_text(text, kind, translator.scope.time_zone), kind)
    if kind.name == "BOOLEAN":
        known = f"WHEN typeof({source}) = 'BOOLEAN' THEN TRY_CAST({text} AS BOOLEAN)"
        known += f" WHEN typeof({source}) = 'VARCHAR' THEN {parse_text(text, kind, 'UTC')}"
        parsed = f"TRY_CAST({text} AS DOUBLE) <> 0"
    else:
        as_number = f"CAST(TRY_CAST({text} AS BOOLEAN) AS TINYINT)"
        known = f"WHEN typeof({source}) = 'BOOLEAN' THEN TRY_CAST({as_number} AS {kind.duckdb})"
        parsed = f"TRY_CAST({text} AS {kind.duckdb})"
        if kind.name in INTEGERS:
            known += (
                f" WHEN typeof({source}) IN ('DOUBLE', 'FLOAT')"
                f" THEN TRY_CAST(trunc(TRY_CAST({text} AS DOUBLE)) AS {kind.duckdb})"
            )
            parsed = parse_text(text, kind, "UTC")
    known += "".join(
        f" WHEN typeof({source}) = '{moment}' THEN {_moment_as_number(text, moment, kind)}"
        for moment in ("DATE", "TIMESTAMP")
    )
    return raw(f"CASE {known} ELSE {parsed} END", kind)


def _moment_as_number(text: str, moment: str, kind: DorisType) -> str:
    """A DATE as 20240229, a DATETIME as 20240229101112, where Doris allows the cast."""
    if kind.name in (("INT", "BIGINT", "LARGEINT") if moment == "DATE" else ("BIGINT", "LARGEINT")):
        digits = f"regexp_replace(split_part({text}, '.', 1), '[^0-9]', '', 'g')"
        return f"TRY_CAST({digits} AS {kind.duckdb})"
    name = "DATE" if moment == "DATE" else "DATETIME"
    return f"error('doris: cannot cast {name} to {kind.name}')"


def text_of(translator: "_Translator", value: exp.Expr) -> str:
    """A value as text, as Doris prints it: a DATETIME(p) with all its digits."""
    kind = translator.type_of(value)
    source = sql_of(value)
    if kind is not None and kind.is_string:
        return source
    if kind is not None and kind.name == "DATETIME" and kind.args[0]:
        point = f"CASE WHEN epoch_us({source}) % 1000000 = 0 THEN '.' ELSE '' END"
        return f"rpad(CAST({source} AS VARCHAR) || {point}, {20 + kind.args[0]}, '0')"
    return f"{PREFIX}text({source})"


def shift(translator: "_Translator", value: exp.Expr, interval: exp.Expr, *, negative: bool) -> exp.Expr:
    """A date or time plus or minus an INTERVAL; a DATE stays a DATE where the unit is a day or longer."""
    unit = interval.text("unit").lower()
    return _shift(translator, value, interval.this, unit, -1 if negative else 1)


def _shift(translator: "_Translator", value: exp.Expr, amount: exp.Expr, unit: str, sign: int) -> exp.Expr:
    if isinstance(amount, exp.Literal) and not re.fullmatch(r"-?\d+", amount.name):
        raise NotEmulatedError(f"an interval of {amount.name} {unit.upper()}")
    count = step = f"CAST({PREFIX}whole({sql_of(amount)}) AS BIGINT)"
    name = f"{unit}s_{'add' if sign > 0 else 'sub'}"
    if unit == "quarter":
        unit, step = "month", f"3 * {count}"
    moved = f"({_time(value)} {'+' if sign > 0 else '-'} to_{unit}s({step}))"
    moved = f"{PREFIX}in_range({moved}, '{name}', CAST({sql_of(value)} AS VARCHAR), {count})"
    if unit in ("microsecond", "millisecond"):
        return raw(moved, DorisType("DATETIME", (6,)))
    if unit in _DAY_UNITS and is_date(translator, value):
        return raw(f"CAST({moved} AS DATE)", _DATE)
    return raw(moved, translator.type_of(value) or _DATETIME)


def is_date(translator: "_Translator", node: exp.Expr) -> bool:
    """Whether an expression is a DATE, not a DATETIME, to Doris."""
    if isinstance(node, exp.Literal) and node.is_string:
        return bool(re.fullmatch(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*", node.name))
    if isinstance(node, exp.Anonymous) and node.name in (
        "fn__date",
        "fn__to_date",
        "fn__last_day",
        "fn__makedate",
    ):
        return True
    kind = translator.type_of(node)
    return kind is not None and kind.name == "DATE"


def _time(node: exp.Expr) -> str:
    return f"CAST({sql_of(node)} AS TIMESTAMP)"


def write_out(translator: "_Translator", name: str, arguments: list[exp.Expr]) -> exp.Expr:
    """The call of a function in functions.WRITTEN_OUT."""
    scope = translator.scope
    texts = [sql_of(a) for a in arguments]
    if name in ("version", "database", "schema", "user", "current_user", "session_user", "connection_id"):
        return constant(scope.function_value(name))
    if name == "concat":
        return raw("(" + " || ".join(text_of(translator, a) for a in arguments) + ")")
    if name == "concat_ws":
        return raw(f"concat_ws({', '.join(text_of(translator, a) for a in arguments)})")
    if name == "coalesce":
        return raw(f"coalesce({', '.join(texts)})", translator.type_of(arguments[0]))
    if name in ("greatest", "least"):
        null = " OR ".join(f"{t} IS NULL" for t in texts)
        return raw(f"CASE WHEN NOT ({null}) THEN {name}({', '.join(texts)}) END")
    if name == "field":
        return raw(f"coalesce(list_position([{', '.join(texts[1:])}], {texts[0]}), 0)")
    if name == "json_object":
        return raw(f"json_object({', '.join(texts)})")
    if name == "json_array":
        return raw(f"json_array({', '.join(texts)})")
    if name == "truncate":
        return _truncate(texts)
    if name == "sha2":
        if texts[1] != "256":
            raise NotEmulatedError(f"SHA2 of {texts[1]} bits")
        return raw(f"sha256({PREFIX}text({texts[0]}))")
    return _time_function(translator, name, arguments, texts)


def _truncate(texts: list[str]) -> exp.Expr:
    value, digits = texts
    if not re.fullmatch(r"-?\d+", digits):
        raise NotEmulatedError("TRUNCATE to a number of digits that is not a constant")
    return raw(f"trunc({PREFIX}number({value}), {digits})")


def _time_function(
    translator: "_Translator", name: str, arguments: list[exp.Expr], texts: list[str]
) -> exp.Expr:
    zone = literal(translator.scope.time_zone)
    if name in ("now", "current_timestamp", "localtime", "localtimestamp", "utc_timestamp"):
        scale = int(texts[0]) if texts else 0
        if name == "utc_timestamp":
            zone = "'UTC'"
        local = f"timezone({zone}, now())"
        unit = 10 ** (6 - scale)
        return raw(f"make_timestamp(epoch_us({local}) // {unit} * {unit})", DorisType("DATETIME", (scale,)))
    if name in ("curdate", "current_date"):
        return raw(f"CAST(timezone({zone}, now()) AS DATE)", _DATE)
    if name == "unix_timestamp":
        if not texts:
            return raw("CAST(epoch(now()) AS BIGINT)")
        return _unix_timestamp(translator, arguments[0])
    if name == "from_unixtime":
        seconds = f"CAST({PREFIX}whole({texts[0]}) AS BIGINT)"
        wrong = f"error('doris: Operation from_unixtime of ' || {seconds} || ' is invalid')"
        checked = f"CASE WHEN {seconds} NOT BETWEEN 0 AND 253402271999 THEN {wrong} ELSE {seconds} END"
        local = f"timezone({zone}, to_timestamp({checked}))"
        pattern = arguments[1] if len(arguments) > 1 else exp.Literal.string("%Y-%m-%d %H:%i:%s")
        return raw(f"strftime({local}, {_strftime(pattern)})")
    if name == "date_format":
        return raw(f"strftime({_time(arguments[0])}, {_strftime(arguments[1])})")
    if name == "str_to_date":
        return _str_to_date(arguments)
    if name == "date_trunc":
        return _date_trunc(translator, arguments)
    if name in ("week", "yearweek"):
        return _week(name, arguments)
    if name in ("timestampdiff", "timestampadd"):
        unit = _unit(arguments[0])
        if name == "timestampdiff" and unit in _MONTHS:
            months = f"{PREFIX}month_count({_time(arguments[1])}, {_time(arguments[2])})"
            return raw(f"({months} // {_MONTHS[unit]})")
        if name == "timestampdiff":
            return raw(f"datesub('{unit}', {_time(arguments[1])}, {_time(arguments[2])})")
        return _shift(translator, arguments[2], arguments[1], unit, 1)
    if name == "convert_tz":
        return _convert_tz(arguments)
    if name in _SHIFTS and isinstance(arguments[1], exp.Interval):
        return shift(translator, arguments[0], arguments[1], negative=_SHIFTS[name][1] < 0)
    unit, sign = _SHIFTS.get(name) or (
        name.split("_")[0].removesuffix("s"),
        1 if name.endswith("add") else -1,
    )
    return _shift(translator, arguments[0], arguments[1], unit, sign)


def _strftime(pattern: exp.Expr) -> str:
    """MySQL's date pattern as DuckDB's."""
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        raise NotEmulatedError("a date format that is not a constant")
    text = _FORMATS.get(pattern.name, pattern.name)

    def replace(match: re.Match[str]) -> str:
        letter = match[1]
        if letter in "DuUVX":
            raise NotEmulatedError(f"%{letter} in a date format")
        return _STRFTIME.get(letter, letter)

    return literal(re.sub(r"%(.)", replace, text))


def _str_to_date(arguments: list[exp.Expr]) -> exp.Expr:
    pattern = _strftime(arguments[1])
    parsed = f"try_strptime(CAST({sql_of(arguments[0])} AS VARCHAR), {pattern})"
    if re.search(r"%-?[HIMSfp]", pattern):
        return raw(parsed, DorisType("DATETIME", (6 if "%f" in pattern else 0,)))
    return raw(f"CAST({parsed} AS DATE)", _DATE)


def _date_trunc(translator: "_Translator", arguments: list[exp.Expr]) -> exp.Expr:
    value, unit = arguments
    if isinstance(value, exp.Literal) and not isinstance(unit, exp.Literal):
        value, unit = unit, value  # both orders are allowed
    if not isinstance(unit, exp.Literal) or not unit.is_string:
        raise DorisError("date_trunc function time unit param must be a string literal")
    name = unit.name.lower()
    if name not in (*_DAY_UNITS, "hour", "minute", "second"):
        raise DorisError(
            "date_trunc function time unit param only support argument is "
            "year|quarter|month|week|day|hour|minute|second"
        )
    moved = f"date_trunc('{name}', {_time(value)})"
    if is_date(translator, value):
        return raw(f"CAST({moved} AS DATE)", _DATE)
    return raw(moved, translator.type_of(value) or _DATETIME)


def _unix_timestamp(translator: "_Translator", value: exp.Expr) -> exp.Expr:
    """Whole seconds; for a DATETIME(p) a DECIMAL with p digits. 0 before 1970."""
    kind = translator.type_of(value)
    scale = kind.args[0] if kind is not None and kind.name == "DATETIME" else 0
    if isinstance(value, exp.Literal) and value.is_string:
        scale = min(len(value.name.partition(".")[2].rstrip()), 6)
    micros = f"greatest(epoch_us(timezone({literal(translator.scope.time_zone)}, {_time(value)})), 0)"
    if scale:
        exact = f"(CAST({micros} AS DECIMAL(18,0)) * CAST(0.000001 AS DECIMAL(7,6)))"
        number = f"CAST({exact} AS DECIMAL(18,{scale}))"
    else:
        what = "UNIX_TIMESTAMP of an expression with fractions of a second"
        fraction = f"error({literal(NotEmulatedError(what).detail)})"
        number = f"CASE WHEN {micros} % 1000000 = 0 THEN {micros} // 1000000 ELSE {fraction} END"
    return raw(f"CASE WHEN {_time(value)} IS NOT NULL THEN {number} END")


def _week(name: str, arguments: list[exp.Expr]) -> exp.Expr:
    """WEEK and YEARWEEK in MySQL's eight modes. Bit 0: weeks start on Monday; bit 1: the days before week 1
    belong to the last year's last week, not to week 0; bit 2 turns the rule for week 1 over, which is the
    first with four days of the year (odd modes) or the first whole one (even modes).
    """
    given = sql_of(arguments[1]) if len(arguments) > 1 else "0"
    if not re.fullmatch(r"-?\d+", given):
        raise NotEmulatedError(f"{name.upper()}() in a mode that is not a constant")
    mode = int(given) if 0 <= int(given) <= 7 else 7
    day = f"CAST({sql_of(arguments[0])} AS TIMESTAMP)"
    monday_first, four_days = mode & 1, (mode & 1) ^ (mode >> 2 & 1)
    start = f"({day} - to_days(CAST((dayofweek({day}) + {6 if monday_first else 0}) % 7 AS INTEGER)))"
    anchor = f"({start} + to_days({3 if four_days else 0}))"  # a week belongs to the year of this day
    number = f"((dayofyear({anchor}) - 1) // 7 + 1)"
    if name == "yearweek":
        return raw(f"CAST(year({anchor}) * 100 + {number} AS INTEGER)")
    if not mode & 2:
        before = f"((dayofyear({anchor} - to_days(7)) - 1) // 7 + 2)"
        number = (
            f"CASE WHEN year({anchor}) < year({day}) THEN 0"
            f" WHEN year({anchor}) > year({day}) THEN {before} ELSE {number} END"
        )
    return raw(f"CAST({number} AS TINYINT)")


def _unit(node: exp.Expr) -> str:
    unit = node.name.lower()
    if unit not in (*_DAY_UNITS, "hour", "minute", "second", "microsecond"):
        raise DorisError(f"Unsupported time stamp diff time unit: {unit.upper()}")
    return unit


def _convert_tz(arguments: list[exp.Expr]) -> exp.Expr:
    value = _time(arguments[0])
    for node, sign in ((arguments[1], "-"), (arguments[2], "+")):
        if not isinstance(node, exp.Literal) or not node.is_string:
            raise NotEmulatedError("CONVERT_TZ with a zone that is not a constant")
        offset = re.fullmatch(r"([+-])(\d{1,2}):(\d{2})", node.name)
        if offset:
            minutes = (int(offset[2]) * 60 + int(offset[3])) * (-1 if offset[1] == "-" else 1)
            value = f"({value} {sign} to_minutes({minutes}))"
        else:
            zone = literal(node.name)
            value = (
                f"timezone('UTC', timezone({zone}, {value}))"
                if sign == "-"
                else f"timezone({zone}, timezone('UTC', {value}))"
            )
    return raw(f"TRY({value})", DorisType("DATETIME", (6,)))
