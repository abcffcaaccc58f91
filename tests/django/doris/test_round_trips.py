"""Every value of every field comes back as it went in, whichever way it was written."""

import datetime as dt
import decimal
import ipaddress
import math
import os

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError
from django.test.utils import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import ALIAS
from .models import Everything

BOTH_DRIVERS = True

LOADING, BATCHING = f"{ALIAS}_loading", f"{ALIAS}_batching"
WAYS = ("save", "insert", "load", "transaction")
MICROSECOND = dt.timedelta(microseconds=1)

common = settings(
    max_examples=5 * int(os.environ.get("DBINT_TEST_ROUNDS", "1")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def integers(bits: int, *, positive: bool = False) -> st.SearchStrategy[int]:
    low, high = (0 if positive else -(2 ** (bits - 1))), 2 ** (bits - 1) - 1
    return st.integers(low, high) | st.sampled_from([low, high])


words = st.text(max_size=20) | st.sampled_from(
    ["", " ", "'", '"', "\\", "\\N", "%s", "\0", "\r\n", "🦉", "NULL"]
)
addresses = st.ip_addresses().map(str)
moments = st.datetimes(
    min_value=dt.datetime(1, 1, 2), max_value=dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)
)
durations = st.integers(-(2**63), 2**63 - 1).map(lambda n: n * MICROSECOND)
# 16 digits come back of a DOUBLE, so its very largest values would come back as infinity.
reals = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e308, max_value=1e308)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
VALUES = {
    "flag": st.booleans(),
    "maybe": st.none() | st.booleans(),
    "name": words,
    "unlimited": st.text(max_size=200),
    "text": st.text(max_size=200) | words,
    "slug": words,
    "small": integers(16),
    "number": integers(32),
    "big": integers(64),
    "positive": integers(64, positive=True),
    "real": reals,
    "price": st.decimals(
        min_value=-(10**29) + 1, max_value=10**29 - 1, places=9, allow_nan=False, allow_infinity=False
    ),
    "day": st.none() | st.dates(),
    "at": st.none() | moments,
    "clock": st.none() | st.times(),
    "lasted": st.none() | durations,
    "key": st.uuids(),
    "address": st.none() | addresses,
    "document": documents,
}
rows_of_values = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=4)


@pytest.fixture
def rows(make_connection, table):
    make_connection()
    make_connection(LOADING, OPTIONS={"stream_load": {"threshold": 1, "deadline": 20.0}})
    make_connection(BATCHING, OPTIONS={"atomic": "batch"})
    return table(Everything)


def write(way: str, objects: list[Everything]) -> None:
    if way == "save":
        for thing in objects:
            thing.save(using=ALIAS, force_insert=True)
    else:
        alias = {"insert": ALIAS, "load": LOADING, "transaction": BATCHING}[way]
        Everything.objects.using(alias).bulk_create(objects)


def same(name: str, one, other) -> bool:
    if one is None or other is None:
        return one is other
    if name == "real":
        return math.isclose(one, other, rel_tol=1e-15, abs_tol=0)
    if name == "address":
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    return one == other and type(one) is type(other)


@pytest.mark.parametrize("way", WAYS)
@common
@given(values=rows_of_values)
def test_what_was_written_is_read(rows, way, values):
    objects = [Everything(**row) for row in values]
    write(way, objects)
    found = rows.in_bulk([thing.pk for thing in objects])
    for thing, row in zip(objects, values, strict=True):
        for name, value in row.items():
            stored = getattr(found[thing.pk], name)
            assert same(name, value, stored), f"{name}: {value!r} came back as {stored!r}"
    assert rows.count() == len(objects)
    rows.all().delete()


@pytest.mark.parametrize("way", WAYS)
@common
@given(moment=st.datetimes(min_value=dt.datetime(1, 1, 1)))
def test_naive_date_times(rows, way, moment):
    with override_settings(USE_TZ=False):
        thing = Everything(at=moment)
        write(way, [thing])
        assert rows.get(pk=thing.pk).at == moment


@common
@given(text=st.text(max_size=20), number=integers(64), moment=moments)
def test_a_stored_value_is_found_by_its_value(rows, text, number, moment):
    thing = rows.create(name=text, big=number, at=moment)
    assert rows.filter(pk=thing.pk, name=text, big=number, at=moment).exists()
    assert not rows.filter(pk=thing.pk, name=text + "x").exists()
    assert rows.filter(pk=thing.pk, name__contains=text[:5], name__endswith=text[-3:]).exists()


@common
@given(values=st.fixed_dictionaries(VALUES))
def test_update_writes_the_same(rows, values):
    thing = rows.create()
    assert rows.filter(pk=thing.pk).update(**values) == 1
    found = rows.get(pk=thing.pk)
    for name, value in values.items():
        assert same(name, value, getattr(found, name)), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "values",
    [
        {"real": math.inf},
        {"real": math.nan},
        {"name": "\ud800"},
        {"text": "a\udc80b"},
        {"number": 2**31},
        {"big": 2**63},
        {"small": -(2**15) - 1},
        {"name": "x" * 81},
        {"name": "ü" * 41},
        {"lasted": dt.timedelta.max},
        {"price": decimal.Decimal("NaN")},
        {"price": decimal.Decimal(10) ** 30},
    ],
    ids=str,
)
def test_what_cannot_be_stored_is_refused(rows, way, values):
    with pytest.raises((DatabaseError, ValidationError, ValueError, ArithmeticError)):
        write(way, [Everything(**values)])
    assert rows.count() == 0


def test_a_surrogate_is_a_data_error(rows):
    with pytest.raises(DataError, match="Unicode"):
        rows.create(name="\udc80")
    with pytest.raises(DataError, match="Unicode"):
        rows.filter(name="\udc80").exists()
