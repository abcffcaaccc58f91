"""Random values for columns, by the column's type, as hypothesis strategies."""

from __future__ import annotations

import datetime as dt
import ipaddress as ip
import math
from copy import deepcopy
from decimal import Decimal
from typing import Any, Literal

from hypothesis import strategies as st

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(_CHARACTERS)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=30,
)


def _decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    """Decimals below 10**digits with 1 to so many places, and round ones with an exponent."""
    fractions = st.builds(
        lambda number, exponent: Decimal(f"{number}E{exponent}"),
        st.integers(-(10**digits), 10**digits),
        st.integers(-places, -1),
    )
    return fractions | st.integers(0, 10 ** (digits - 4)).map(lambda number: Decimal(f"{number}E+3"))


def _interfaces(version: Literal[4, 6], bits: int) -> st.SearchStrategy[Any]:
    return st.tuples(st.ip_addresses(v=version), st.integers(0, bits)).map(ip.ip_interface)


# INSERT goes through the text form of a timestamp: whole seconds of offset, and fewer than 16 hours of it.
# With any offset within the years 1 to 9999 of UTC.
_FIRST, _LAST = dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30, 23, 59, 59, 999999)
_OFFSETS = st.integers(-57599, 57599).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))


def _one_nan(value: float) -> float:
    """The encoder knows one NaN; INSERT keeps the bits of others, or not, as psycopg sends them."""
    return math.nan if math.isnan(value) else value


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int2": st.integers(-(2**15), 2**15 - 1),
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "float4": st.floats(width=32).map(_one_nan) | st.floats(1e-30, 1e30),
    "float8": st.floats().map(_one_nan),
    "numeric": _decimals(60, 60) | st.sampled_from(["NaN", "Infinity", "-Infinity"]).map(Decimal),
    "numeric(12,3)": _decimals(8, 6),
    "text": TEXT,
    "varchar(5)": st.builds(
        lambda text, spaces: text + " " * spaces,
        st.text(_CHARACTERS, max_size=5),
        st.integers(0, 3),
    ),
    "char(3)": st.text(_CHARACTERS, max_size=3),
    "bytea": st.binary(),
    "timestamptz": st.datetimes(_FIRST, _LAST, timezones=_OFFSETS | st.timezones()),
    "timestamptz(3)": st.datetimes(_FIRST, _LAST, timezones=_OFFSETS),
    "timestamp": st.datetimes(),
    "date": st.dates(),
    "time": st.times(),
    "interval": st.timedeltas(),
    "uuid": st.uuids(),
    "json": JSON,
    "jsonb": JSON,
    "inet": _interfaces(4, 32) | _interfaces(6, 128),
    "cidr": (_interfaces(4, 32) | _interfaces(6, 128)).map(lambda interface: interface.network),
}


def _nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arrays of up to three dimensions, with NULLs: in psycopg's nested ones the first element is none."""
    element = st.none() | values
    pairs = st.tuples(values, element).map(list)
    flat = st.lists(element, max_size=4)
    table = st.lists(pairs, min_size=1, max_size=3)
    return flat | table | table.map(lambda one: [one, deepcopy(one)])


ARRAYS: dict[str, st.SearchStrategy[Any]] = {
    f"{name}[]": st.lists(st.none() | values, max_size=3) if name.startswith("json") else _nested(values)
    for name, values in SCALARS.items()
}

COLUMNS = SCALARS | ARRAYS
"""One strategy for each type, and for arrays of each."""
