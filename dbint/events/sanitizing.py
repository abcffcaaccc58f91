"""Makes what a program says fit for a table: log records and spans were not written with one in mind."""

import math
from collections.abc import Mapping
from typing import Any

DEPTH = 20
_LONG = 10_000  # characters of what is shown by its repr


def text(value: object, limit: int | None = None) -> str:
    """``value`` as a text that PostgreSQL stores: no NUL, no lone surrogate, at most ``limit`` characters."""
    shown = value if isinstance(value, str) else _shown(value)
    if not shown.isascii() or "\0" in shown:
        shown = shown.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def json_value(value: object, depth: int = DEPTH) -> Any:
    """``value`` as JSON holds it; what JSON does not know, or what is too deep, is shown by its repr."""
    if value is None or isinstance(value, bool | int):
        return value if not isinstance(value, int) or abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return text(value)
    if depth > 0 and isinstance(value, Mapping):
        return {text(key): json_value(item, depth - 1) for key, item in value.items()}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [json_value(item, depth - 1) for item in value]
    return text(value)


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's __repr__ does, the event is written
        shown = f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return shown if len(shown) <= _LONG else f"{shown[:_LONG]}…"
