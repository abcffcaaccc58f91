"""Rows that have broken somebody's pipeline before: what CRUD and the flow are verified with.

Every value is one that PostgreSQL, Doris and Django can all hold exactly; a NUL character, which PostgreSQL
refuses, is not among them.
"""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

_NONE: dict[str, Any] = dict.fromkeys(
    ("words", "small", "big", "ratio", "amount", "flag", "day", "moment", "code", "document")
)

# Columns: DECIMAL(27, 9), 64-bit and 32-bit integers, double, microseconds. The doubles have 16 digits, which
# is what Doris sends to a client.
AMOUNT_DIGITS, AMOUNT_PLACES = 27, 9


def rows() -> list[dict[str, Any]]:
    """The rows, each with a unique ``name``; datetimes are in UTC."""
    utc = dt.UTC
    plain = {
        "words": "plain",
        "small": 42,
        "big": 42,
        "ratio": 0.5,
        "amount": Decimal("12.340000000"),
        "flag": True,
        "day": dt.date(2026, 2, 28),
        "moment": dt.datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=utc),
        "code": uuid.UUID("0189f7e2-5b9c-7cc3-98c4-dc0c0c07398f"),
        "document": {"a": [1, 2.5, None, True], "b": {"c": "é"}},
    }
    return [
        {"name": "plain", **plain},
        {"name": "null", **_NONE},
        {
            "name": "smallest",
            **plain,
            "words": "",
            "small": -(2**31),
            "big": -(2**63),
            "ratio": -1.797693134862315e308,
            "amount": Decimal("-999999999999999999.999999999"),
            "flag": False,
            "day": dt.date(1, 1, 1),
            "moment": dt.datetime(1000, 1, 1, 0, 0, 0, 1, tzinfo=utc),
            "code": uuid.UUID(int=0),
            "document": [],
        },
        {
            "name": "largest",
            **plain,
            "words": "x" * 4000,
            "small": 2**31 - 1,
            "big": 2**63 - 1,
            "ratio": 2.225073858507202e-308,
            "amount": Decimal("999999999999999999.999999999"),
            "day": dt.date(9999, 12, 31),
            "moment": dt.datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=utc),
            "code": uuid.UUID(int=2**128 - 1),
            "document": {"deep": [[[["nested"]]]], "empty": {}},
        },
        {
            "name": "fractions",
            **plain,
            "ratio": 0.1,
            "amount": Decimal("0.000000001"),
            "moment": dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=utc),
            "big": 2**53 + 1,
        },
        {"name": "space", **plain, "words": "  leading, trailing  "},
        {"name": "quotes", **plain, "words": "it's \"quoted\" `twice` \\ and \\' again"},
        {"name": "controls", **plain, "words": "tab\tnewline\nreturn\r\nbell\x07 end"},
        {"name": "csv", **plain, "words": "\\N,NULL;null\t%s %(name)s {0} $1 ?"},
        {"name": "scripts", **plain, "words": "Grüße Καλημέρα Привет שלום مرحبا 数据库 データベース"},
        {"name": "composed", **plain, "words": "é e\u0301 — \u200bzero width\u200b \ufeffmark"},
        {
            "name": "astral",
            **plain,
            "words": "🐘→🦀 👩‍👩‍👧 𐍈 𠀋",
            "document": {"🐘": '\\u0041 "\t'},
        },
    ]


def difference(name: str, column: str, wrote: Any, read: Any) -> str | None:
    """None when both are the same value of the same type, else a line that shows both."""
    if wrote == read and (type(wrote) is type(read) or wrote is None):
        return None
    return f"row {name!r}, column {column!r}: wrote {_shown(wrote)}, read {_shown(read)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
