"""The fields that other databases lack: definitions, values, lookups, and what they refuse."""

import datetime as dt
import decimal
import uuid

import pytest
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DataError, NotSupportedError, connections, models
from django.db.models import F
from django.test.utils import isolate_apps

from dbint.django.backends.doris import (
    ArrayField,
    DateTimeField,
    DorisTable,
    LargeIntegerField,
    VariantField,
)
from dbint.django.backends.doris.fields import LARGEINT_RANGE, split_array

from .conftest import ALIAS
from .test_schema import make, sql_of

BOTH_DRIVERS = True

# ruff: noqa: DJ008 - never shown

ELEMENTS = {
    "numbers": (models.IntegerField(), [1, None, -(2**31)], "ARRAY<INT>"),
    "longs": (models.BigIntegerField(), [2**63 - 1], "ARRAY<BIGINT>"),
    "texts": (
        models.CharField(max_length=10),
        ["a", "it's", "é, ]", "", "null", None, "b\\c", "d\ne", " f "],
        "ARRAY<VARCHAR(40)>",
    ),
    "flags": (models.BooleanField(), [True, False, None], "ARRAY<BOOLEAN>"),
    "prices": (
        models.DecimalField(max_digits=9, decimal_places=2),
        [decimal.Decimal("1.50"), decimal.Decimal("-0.01")],
        "ARRAY<DECIMAL(9, 2)>",
    ),
    "reals": (models.FloatField(), [0.5, -1e300], "ARRAY<DOUBLE>"),
    "days": (models.DateField(), [dt.date(2026, 2, 28), None], "ARRAY<DATE>"),
    "moments": (
        models.DateTimeField(),
        [dt.datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=dt.UTC)],
        "ARRAY<DATETIME(6)>",
    ),
    "keys": (models.UUIDField(), [uuid.UUID(int=7)], "ARRAY<VARCHAR(32)>"),
    "spans": (models.DurationField(), [dt.timedelta(days=1, microseconds=5)], "ARRAY<BIGINT>"),
    "nested": (ArrayField(models.IntegerField()), [[1, 2], [], None], "ARRAY<ARRAY<INT>>"),
}


def arrays():
    return make(
        "Arrays",
        {"doris": DorisTable(buckets=1)},
        id=models.BigIntegerField(primary_key=True),
        **{name: ArrayField(base.clone(), null=True) for name, (base, _, _) in ELEMENTS.items()},
    )


class TestArrays:
    def test_types(self, connection):
        sql = sql_of(connection, arrays())
        for name, (_, _, kind) in ELEMENTS.items():
            assert f"`{name}` {kind} NULL" in sql

    @pytest.mark.parametrize("name", ELEMENTS)
    def test_round_trip(self, table, name):
        model = arrays()
        rows = table(model)
        value = ELEMENTS[name][1]
        rows.create(id=1, **{name: value})
        rows.create(id=2, **{name: []})
        rows.create(id=3)
        found = dict(rows.values_list("id", name))
        assert found == {1: value, 2: [], 3: None}
        assert getattr(rows.get(id=1), name) == value

    def test_round_trip_by_stream_load(self, make_connection):
        """The same values, loaded as JSON."""
        connection = make_connection(OPTIONS={"stream_load": {"threshold": 2}})
        model = arrays()
        with connection.schema_editor() as editor:
            editor.create_model(model)
        try:
            rows = model.objects.using(ALIAS)
            values = {name: value for name, (_, value, _) in ELEMENTS.items()}
            empty = {name: [] for name in values}
            rows.bulk_create([model(id=1, **values), model(id=2, **empty), model(id=3)])
            assert rows.filter(id=1).values(*values).get() == values
            assert rows.filter(id=2).values(*values).get() == empty
            assert rows.filter(id=3).values(*values).get() == dict.fromkeys(values)
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(model)

    def test_lookups(self, table):
        rows = table(arrays())
        rows.create(id=1, numbers=[1, 2, 3], texts=["a", "b"])
        rows.create(id=2, numbers=[3], texts=[])
        rows.create(id=3)

        def ids(**conditions):
            return sorted(rows.filter(**conditions).values_list("id", flat=True))

        assert ids(numbers__contains=[3, 1]) == [1]
        assert ids(numbers__contains=[]) == [1, 2]
        assert ids(numbers__has=3) == [1, 2]
        assert ids(texts__has="b") == [1]
        assert ids(numbers__overlap=[2, 9]) == [1]
        assert ids(numbers__len=1) == [2]
        assert ids(numbers__0=3) == [2]
        assert sorted(rows.exclude(numbers__has=1).values_list("id", flat=True)) == [2, 3]
        assert ids(texts__1="b") == [1]
        assert ids(numbers__isnull=True) == [3]
        assert ids(numbers__0__gt=1) == [2]
        assert list(rows.filter(id=1).values_list("numbers__2", "texts__0")) == [(3, "a")]
        assert ids(id__in=[1, 2], numbers__has=F("id")) == [1]

    def test_update(self, table):
        rows = table(arrays())
        rows.create(id=1, texts=["a"])
        assert rows.filter(id=1).update(texts=["b", None]) == 1
        row = rows.get(id=1)
        assert row.texts == ["b", None]
        row.texts = []
        row.save()
        assert rows.get(id=1).texts == []
        rows.create(id=2, texts=["x"])
        changed = [rows.model(id=1, texts=["p", "q"]), rows.model(id=2, texts=[])]
        assert rows.bulk_update(changed, ["texts"]) == 2
        assert dict(rows.values_list("id", "texts")) == {1: ["p", "q"], 2: []}

    def test_what_could_not_be_read_back(self, table):
        rows = table(arrays())
        with pytest.raises(ValidationError, match="double quote"):
            rows.create(id=1, texts=['say "a"'])
        with pytest.raises(ValidationError, match="a list is expected"):
            rows.create(id=1, texts=5)

    def test_elements_that_are_too_long(self, table, refused):
        rows = table(arrays())
        with refused(DataError, "too long|length"):
            rows.create(id=1, texts=["x" * 41])

    def test_equality(self, connection):
        rows = arrays().objects.using(ALIAS).filter(numbers=[3])
        sql, params = rows.query.get_compiler(connection=connection).as_sql()
        assert sql.endswith("WHERE `doris_schema_arrays`.`numbers` = CAST(%s AS ARRAY<INT>)")
        assert params == ([3],)

    @pytest.mark.parametrize(
        ("text", "elements"),
        [
            ("[]", []),
            ("[1, 2]", ["1", "2"]),
            ("[1,null]", ["1", None]),
            ('["a", "b, c]", ""]', ["a", "b, c]", ""]),
            ("[[1, 2], []]", ["[1, 2]", "[]"]),
            ('[["a]"]]', ['["a]"]']),
        ],
    )
    def test_reading(self, text, elements):
        assert split_array(text) == elements

    @pytest.mark.parametrize("text", ["", "{}", '["a"b"]', '["a]', "[[1]"])
    def test_reading_what_is_none(self, text):
        with pytest.raises(DataError):
            split_array(text)

    def test_validation(self):
        field = ArrayField(models.IntegerField())
        assert field.clean([1, "2"], None) == [1, 2]
        with pytest.raises(ValidationError, match="Item 2"):
            ArrayField(models.CharField(max_length=1)).clean(["a", "bb"], None)
        with pytest.raises(ValidationError, match="a list is expected"):
            field.to_python(7)

    @isolate_apps("django.contrib.contenttypes")
    def test_checks(self):
        class Bad(models.Model):
            relation = ArrayField(models.ForeignKey("self", models.CASCADE))
            documents = ArrayField(models.JSONField())
            texts = ArrayField(models.CharField(max_length=-1))

            class Meta:
                app_label = "doris_tests"

        found = [m.id for field in Bad._meta.local_fields[1:] for m in field.check()]
        assert found.count("dbint.doris.E016") == 2
        assert "fields.E121" in found

    def test_no_arrays_of_documents(self, connection):
        model = make("Documents", id=models.BigAutoField(primary_key=True), f=ArrayField(models.JSONField()))
        with pytest.raises(NotSupportedError, match="no ARRAY of JSON"):
            sql_of(connection, model)

    def test_fixtures(self):
        model = arrays()
        before = model(id=1, texts=["a", None], days=[dt.date(2026, 1, 1)])
        field = model._meta.get_field("texts")
        assert field.to_python(field.value_to_string(before)) == ["a", None]
        days = model._meta.get_field("days")
        assert days.to_python(days.value_to_string(before)) == [dt.date(2026, 1, 1)]
        assert serializers.serialize("json", [before])


class TestLargeIntegers:
    @pytest.fixture
    def rows(self, table):
        return table(
            make(
                "Large",
                {"doris": DorisTable(buckets=1)},
                id=models.BigIntegerField(primary_key=True),
                n=LargeIntegerField(null=True),
            )
        )

    @pytest.mark.parametrize("value", [*LARGEINT_RANGE, 0, -1, 2**64, None])
    def test_round_trip(self, rows, value):
        rows.create(id=1, n=value)
        assert rows.get().n == value

    def test_lookups(self, rows):
        rows.bulk_create([rows.model(id=i, n=2**100 + i) for i in range(3)])
        assert rows.get(n=2**100 + 1).id == 1
        assert rows.filter(n__gt=2**100).count() == 2
        assert [row.id for row in rows.order_by("-n")] == [2, 1, 0]

    def test_bulk_update(self, rows):
        rows.bulk_create([rows.model(id=i, n=i) for i in range(2)])
        rows.bulk_update([rows.model(id=0, n=2**120), rows.model(id=1, n=None)], ["n"])
        assert dict(rows.values_list("id", "n")) == {0: 2**120, 1: None}

    def test_out_of_range(self, rows):
        with pytest.raises(ValidationError, match="128 bits"):
            rows.create(id=1, n=2**127)
        with pytest.raises(ValidationError):
            rows.model(id=1, n=-(2**127) - 1).clean_fields()


class TestDateTimes:
    def test_what_is_finer_is_cut_off(self, table):
        rows = table(
            make(
                "Cut",
                {"doris": DorisTable(buckets=1)},
                id=models.BigIntegerField(primary_key=True),
                at=DateTimeField(precision=3),
                whole=DateTimeField(precision=0, auto_now=True),
            )
        )
        moment = dt.datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=dt.UTC)
        made = rows.create(id=1, at=moment)
        assert made.at.microsecond == 999_000
        assert made.whole.microsecond == 0
        found = rows.get(at=moment)
        assert (found.at, found.whole) == (made.at, made.whole)

    @pytest.mark.parametrize("precision", [-1, 7, True, "3"])
    def test_precision(self, precision):
        with pytest.raises(ImproperlyConfigured):
            DateTimeField(precision=precision)


class TestVariant:
    def test_round_trip(self, table):
        rows = table(
            make(
                "Documents",
                {"doris": DorisTable(buckets=1)},
                id=models.BigIntegerField(primary_key=True),
                document=VariantField(null=True),
            )
        )
        document = {"a": 1, "b": {"c": ["x", "y"]}, "text": 'it\'s "é"'}
        rows.create(id=1, document=document)
        rows.create(id=2)
        assert dict(rows.values_list("id", "document")) == {1: document, 2: None}
        assert rows.filter(document__isnull=True).get().id == 2
        for condition in ({"document__a": 1}, {"document": {}}, {"document__has_key": "a"}):
            with pytest.raises(NotSupportedError, match="does not look into a VARIANT"):
                rows.filter(**condition)

    def test_type(self, connection):
        model = make("V", id=models.BigAutoField(primary_key=True), f=VariantField(null=True))
        assert "`f` VARIANT NULL" in sql_of(connection, model)


@pytest.mark.parametrize(
    "field",
    [ArrayField(models.IntegerField()), LargeIntegerField(), DateTimeField(precision=3), VariantField()],
)
def test_they_are_of_doris_alone(field):
    copy = field.clone()
    assert type(copy) is type(field)
    assert field.deconstruct()[1].startswith("dbint.django.backends.doris.")
    with pytest.raises(NotSupportedError, match="for Apache Doris"):
        field.db_type(connections.create_connection("default"))
