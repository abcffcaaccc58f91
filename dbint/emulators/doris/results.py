"""What a statement answers, independent of the wire: columns with their Doris types, rows, counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class ResultField:
    """A column of a result: ``kind`` is DuckDB's name of its type; ``scale`` the digits of a DATETIME, if
    known.
    """

    name: str
    kind: str = "VARCHAR"
    scale: int | None = None


@dataclass(slots=True)
class Result:
    """The answer to a statement: rows where ``fields`` is not empty, else an OK with its counts."""

    fields: list[ResultField] = field(default_factory=list)
    rows: Sequence[Sequence[Any]] = ()
    affected: int = 0
    info: str = ""


def text_result(names: str | Sequence[str], rows: Sequence[Sequence[Any]]) -> Result:
    """A result of strings, as all SHOW statements give; ``names`` in one string are separated by spaces."""
    return Result([ResultField(n) for n in (names.split() if isinstance(names, str) else names)], rows)


def as_text(value: Any, kind: str, scale: int | None) -> str:
    """A value as Doris prints it in the text protocol."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float):
        return _float_text(value, single=kind == "FLOAT")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
        digits = scale if scale is not None else (6 if value.microsecond else 0)
        return f"{text}.{value.microsecond:06d}"[: 20 + digits] if digits else text
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(_item_text(item, kind[:-2], scale) for item in value)}]"
    return str(value)


def _item_text(value: Any, kind: str, scale: int | None) -> str:
    """An item of an ARRAY: text and times stand in quotes."""
    if value is None:
        return "null"
    text = as_text(value, kind, scale)
    return f'"{text}"' if isinstance(value, str | date) else text


def _float_text(value: float, *, single: bool) -> str:
    """A number with 7 or 16 significant digits: the 17th of a DOUBLE is lost on the way to the client, as in
    Doris ("Floating-Point Output" in its manual).
    """
    if math.isfinite(value):
        return f"{value:.7g}" if single else f"{value:.16g}"
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
