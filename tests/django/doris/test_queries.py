"""What queries mean, where Doris has it otherwise than the databases that Django was made for."""

import datetime as dt
import decimal

import pytest
from django.core.management import call_command
from django.db import DatabaseError, NotSupportedError, models
from django.db.models import (
    Avg,
    Case,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.fields.json import KT
from django.db.models.functions import SHA256, Cast, JSONObject, RowNumber

from .conftest import ALIAS
from .models import Everything, Note, Visit


class TestJson:
    @pytest.fixture
    def rows(self, table):
        rows = table(Everything)
        documents = [
            {"a": 1, "s": "one", "b": True, "n": None, "deep": {"list": [1, {"x": "y"}]}, "d": 1.5},
            {"a": "1", "s": "ONE more", "b": False, "d": 2},
            {"a": 2**60, "1": "a number as a name", 'q"uote': "yes"},
            None,
        ]
        rows.bulk_create([Everything(number=n, document=d) for n, d in enumerate(documents)])
        return rows

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"document__a": 1}, {0}),
            ({"document__a": "1"}, {1}),
            ({"document__a": 2**60}, {2}),
            ({"document__a": 2**60 + 1}, set()),
            ({"document__a__in": [1, "1", "x"]}, {0, 1}),
            ({"document__b": True}, {0}),
            ({"document__n": None}, {0}),
            ({"document__d": 2}, {1}),
            ({"document__d__gt": 1.4}, {0, 1}),
            ({"document__d__lte": 1.5}, {0}),
            ({"document__s__gt": "a"}, {0}),
            ({"document__deep__list__0": 1}, {0}),
            ({"document__deep__list__1__x": "y"}, {0}),
            ({"document__s__startswith": "one"}, {0}),
            ({"document__s__icontains": "one"}, {0, 1}),
            ({"document__s__regex": "^ONE"}, {1}),
            ({"document__has_key": "s"}, {0, 1}),
            ({"document__has_key": "1"}, {2}),
            ({"document__has_key": 'q"uote'}, {2}),
            ({"document__has_keys": ["a", "b"]}, {0, 1}),
            ({"document__has_any_keys": ["n", "1"]}, {0, 2}),
            ({"document__n__isnull": False}, {0}),
            ({"document__n__isnull": True}, {1, 2, 3}),
            ({"document__isnull": True}, {3}),
        ],
    )
    def test_lookups(self, rows, condition, expected):
        assert set(rows.filter(**condition).values_list("number", flat=True)) == expected

    def test_values(self, rows):
        assert rows.values_list("document__deep__list", flat=True).get(number=0) == [1, {"x": "y"}]
        assert rows.annotate(s=KT("document__s")).get(number=0).s == "one"
        assert rows.annotate(n=KT("document__n")).get(number=0).n is None
        made = rows.annotate(o=JSONObject(number="number", name=Value("x"))).get(number=1).o
        assert made == {"number": 1, "name": "x"}

    def test_documents_are_not_compared(self, rows):
        for condition in (
            {"document": {"a": 1}},
            {"document__deep": {"list": []}},
            {"document__contains": {"a": 1}},
            {"document__a": F("number")},
        ):
            with pytest.raises(NotSupportedError, match=r"JSON|contains lookup"):
                rows.filter(**condition).count()


class TestNumbers:
    def test_shifts(self, table):
        rows = table(Everything)
        rows.create(number=-42, small=2)
        found = rows.annotate(
            right=F("number").bitrightshift(2),
            left=F("number").bitleftshift(2),
            none=F("number").bitrightshift(0),
        ).get()
        assert (found.right, found.left, found.none) == (-42 >> 2, -42 << 2, -42)

    def test_decimals(self, table):
        rows = table(Everything)
        for price, number in (("10.00", 1), ("0.05", 2), ("0.01", 3)):
            rows.create(price=decimal.Decimal(price), number=number)
        price = models.DecimalField(max_digits=20, decimal_places=6)
        assert rows.aggregate(a=Avg("price"))["a"] == decimal.Decimal("3.353333333")
        share = ExpressionWrapper(Cast("price", price) / 3, output_field=price)
        assert rows.annotate(share=share).get(number=1).share == decimal.Decimal("3.3333333333")
        assert rows.filter(price__gt=F("number") * decimal.Decimal("0.02")).count() == 2

    def test_either_but_not_both(self, table):
        rows = table(Everything)
        rows.bulk_create([Everything(number=n, small=n % 2) for n in range(4)])
        assert {r.number for r in rows.filter(Q(number__gte=2) ^ Q(small=1))} == {1, 2}


class TestTexts:
    def test_a_cast_counts_characters(self, table):
        rows = table(Everything)
        rows.create(name="Zoë 🦉!")
        found = rows.annotate(short=Cast("name", models.CharField(max_length=5)), digest=SHA256("name")).get()
        assert found.short == "Zoë 🦉"
        assert len(found.digest) == 64

    def test_lookups_into_the_text_of_numbers_and_dates(self, table):
        rows = table(Visit)
        visit = rows.create(id=1234, page="a")
        assert rows.filter(id__contains=23).get() == visit
        assert rows.filter(at__startswith=str(visit.at.year)).get() == visit
        assert rows.filter(id__regex="^12").get() == visit


class TestSubqueries:
    @pytest.fixture
    def visits(self, table):
        visits = table(Visit, Note)
        a, b = visits.bulk_create([Visit(page="a", count=1), Visit(page="b", count=2)])
        Note.objects.using(ALIAS).bulk_create(
            [Note(visit=a, text=text) for text in "xyz"] + [Note(visit=b, text="w")]
        )
        return visits

    def test_slices(self, visits):
        first = visits.order_by("page")[:1]
        assert [
            note.text
            for note in Note.objects.using(ALIAS).filter(visit__in=first.values("pk")).order_by("text")
        ] == [
            "x",
            "y",
            "z",
        ]

    def test_what_refers_to_the_query_around_it(self, visits):
        notes = Note.objects.using(ALIAS).filter(visit=OuterRef("pk"))
        assert visits.filter(Exists(notes.filter(text="w"))).get().page == "b"
        assert visits.annotate(has=Exists(notes.filter(text="w"))).values_list("page", "has").order_by(
            "page"
        )[0] == (
            "a",
            False,
        )
        newest = notes.order_by().values("visit").annotate(m=Max("text")).values("m")
        with pytest.raises(DatabaseError, match="group by"):
            list(visits.annotate(last=Subquery(newest)))
        any_of_them = visits.annotate(some=Subquery(notes.order_by().values("text")[:1]))
        assert any_of_them.get(page="b").some == "w"
        first = Note.objects.using(ALIAS).order_by("text").values("visit")[:1]
        assert visits.get(pk=Subquery(first)).page == "b"

    @pytest.mark.parametrize(
        ("order", "found"),
        [
            (["text"], "x"),
            (["-text"], "z"),
            ([F("text").desc(nulls_last=True)], "z"),
        ],
    )
    def test_the_first_in_an_order(self, visits, order, found):
        """MIN_BY and MAX_BY of columns without NULL, MIN and MAX of one column, are the same."""
        notes = Note.objects.using(ALIAS).filter(visit=OuterRef("pk")).order_by(*order)
        for wanted in ("text", "id"):
            first = Subquery(notes.values(wanted)[:1])
            a, b = visits.annotate(first=first).order_by("page").values_list("first", flat=True)
            assert a == Note.objects.using(ALIAS).values_list(wanted, flat=True).get(text=found)
            assert b == Note.objects.using(ALIAS).values_list(wanted, flat=True).get(text="w")
        visits.create(page="c")
        assert visits.annotate(first=first).get(page="c").first is None
        assert visits.filter(page__gt=notes.values("text")[:1]).count() == 0
        assert visits.filter(page__lt=Subquery(notes.reverse().values("text")[:1])).count() == 2

    def test_an_order_by_what_may_be_null(self, table):
        """NULL has a place in an order, and MAX_BY leaves its rows out."""
        rows = table(Everything)
        rows.bulk_create([Everything(name="a", day=dt.date(2026, 1, n)) for n in (1, 3, 2)])
        rows.bulk_create([Everything(name="a"), Everything(name="b")])
        same = rows.filter(name=OuterRef("name"))
        latest = Subquery(same.order_by("-day").values("day")[:1])
        earliest = Subquery(same.order_by(F("day").asc(nulls_last=True)).values("day")[:1])
        found = rows.annotate(latest=latest, earliest=earliest).values_list("name", "latest", "earliest")
        assert set(found) == {
            ("a", dt.date(2026, 1, 3), dt.date(2026, 1, 1)),
            ("b", None, None),
        }
        for ordered, wanted in (
            (same.order_by("day"), "day"),  # NULL is the first
            (same.order_by(F("day").desc(nulls_first=True)), "day"),
            (same.order_by("-day"), "number"),  # where all are NULL there is a number
            (same.order_by("-number"), "day"),
            (same.order_by("-number", "id"), "id"),
            (same.order_by("-real"), "id"),  # NaN
            (same.order_by("?"), "id"),
            (same.order_by(F("number") + 1), "id"),
            (same.order_by("-number").distinct(), "number"),
            (same.annotate(n=Window(RowNumber())).filter(n__gt=1).order_by("-number"), "id"),
        ):
            with pytest.raises(NotSupportedError, match="does not look at the order"):
                list(rows.annotate(first=Subquery(ordered.values(wanted)[:1])))
        count = Subquery(
            same.order_by("id").values("id")[:1], template="(SELECT COUNT(*) FROM (%(subquery)s) s)"
        )
        with pytest.raises(NotSupportedError, match="does not look at the order"):
            list(rows.annotate(count=count))
        with pytest.raises(NotSupportedError, match="compare by ="):
            list(rows.filter(number__in=Subquery(same.order_by("-number").values("number")[:1])))

    def test_conditions_in_aggregates(self, visits):
        totals = visits.aggregate(
            a=Sum(Case(When(page="a", then="count"), default=0)), b=Sum("count", filter=Q(page="b"))
        )
        assert totals == {"a": 1, "b": 2}


def test_explain(connection, table):
    rows = table(Visit)
    plan = rows.filter(page="a").order_by("count").explain()
    assert len(plan.splitlines()) > 1
    assert ("planner of its own" in plan) == connection.emulated
    with pytest.raises(ValueError, match="JSON is not a recognized format"):
        rows.explain(format="json")


def test_flush_empties_the_tables_that_have_rows(connection, table, monkeypatch):
    rows = table(Visit, Note)
    rows.create(page="a")
    tables = [Visit._meta.db_table, Note._meta.db_table]
    statements = connection.ops.sql_flush(type("Style", (), {"__getattr__": lambda _, name: str})(), tables)
    assert statements == [f"TRUNCATE TABLE `{Visit._meta.db_table}`"]
    call_command("flush", database=ALIAS, verbosity=0, interactive=False, inhibit_post_migrate=True)
    assert rows.count() == 0
