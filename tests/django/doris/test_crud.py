"""Rows in and out, through the ORM."""

import datetime as dt
import decimal
import uuid

import pytest
from django.db import DatabaseError, DataError, IntegrityError, NotSupportedError, models
from django.db.models import Avg, Count, F, Max, Q, Sum, Value
from django.db.models.functions import (
    Cast,
    Concat,
    ExtractIsoYear,
    ExtractWeek,
    ExtractWeekDay,
    Length,
    Now,
    TruncDate,
    TruncDay,
    TruncHour,
    TruncMonth,
    TruncTime,
)
from django.utils import timezone

from .conftest import ALIAS
from .models import (
    Daily,
    DailyCost,
    Defaulted,
    Event,
    Everything,
    Kept,
    Note,
    Reading,
    Visit,
)

BOTH_DRIVERS = True

UTC = dt.UTC


class TestValues:
    def test_every_type_comes_back_as_it_went_in(self, table):
        rows = table(Everything)
        values = {
            "flag": True,
            "maybe": None,
            "name": "Zoë 🦉",
            "unlimited": "x" * 5000,
            "text": "line\nquote ' \" backslash \\ percent % tab\t",
            "slug": "a-b_c",
            "small": -(2**15),
            "number": 2**31 - 1,
            "big": -(2**63),
            "positive": 2**63 - 1,
            "real": 0.1,
            "price": decimal.Decimal("12345678901234567890123456789.123456789"),
            "day": dt.date(2024, 2, 29),
            "at": dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
            "clock": dt.time(23, 59, 59, 999999),
            "lasted": dt.timedelta(days=3, microseconds=7),
            "key": uuid.UUID(int=2**127 + 5),
            "address": "2001:db8::1",
            "document": {"a": [1, 2.5, None, "ü"], "b": {"c": True}},
        }
        pk = rows.create(**values).pk
        found = rows.get(pk=pk)
        for name, value in values.items():
            assert getattr(found, name) == value, name
            assert type(getattr(found, name)) is type(value), name

    def test_nulls_and_empty_text_stay_apart(self, table):
        rows = table(Everything)
        pk = rows.create(name="", text="").pk
        found = rows.get(pk=pk)
        assert (found.name, found.text, found.day, found.document) == ("", "", None, None)
        assert rows.filter(day__isnull=True, name="").count() == 1

    def test_text_is_measured_in_characters(self, table):
        rows = table(Everything)
        pk = rows.create(name="🦉" * 20).pk
        assert rows.get(pk=pk).name == "🦉" * 20

    def test_rows_that_do_not_fit(self, table, refused):
        rows = table(Everything)
        with refused(DataError, "too long"):
            rows.create(name="x" * 81)
        for missing in ("name", "number"):
            with refused(IntegrityError, "null"):
                rows.create(**{missing: None})
        assert rows.count() == 0
        rows.create(name="the connection works on")


class TestIds:
    def test_create_save_and_bulk_create_set_the_id(self, table):
        rows = table(Visit)
        one = rows.create(page="a")
        two = Visit(page="b")
        two.save(using=ALIAS)
        three, four = rows.bulk_create([Visit(page="c"), Visit(page="d")])
        ids = [one.pk, two.pk, three.pk, four.pk]
        assert ids == sorted(set(ids))
        assert all(2**32 < number < 2**63 for number in ids)
        assert set(rows.values_list("pk", flat=True)) == set(ids)

    def test_bulk_create_with_some_ids_given(self, table):
        rows = table(Visit)
        made = rows.bulk_create([Visit(page="a"), Visit(id=5, page="b")])
        assert made[1].pk == 5
        assert set(rows.values_list("pk", "page")) == {(made[0].pk, "a"), (5, "b")}

    def test_an_insert_that_fails_leaves_no_id(self, table, refused):
        table(Visit)
        visit = Visit(page="x" * 500)
        with refused(DataError, "too long"):
            visit.save(using=ALIAS)
        assert visit.pk is None

    def test_a_default_of_the_database_is_in_the_object(self, table):
        rows = table(Defaulted)
        made = rows.create()
        assert (made.number, made.word) == (7, "it's")
        other = rows.bulk_create([Defaulted(number=8)])[0]
        assert set(rows.values_list("pk", "number", "word")) == {(made.pk, 7, "it's"), (other.pk, 8, "it's")}

    def test_many_rows_in_batches(self, table):
        rows = table(Event)
        rows.bulk_create([Event(name="n", value=n) for n in range(2500)])
        assert rows.aggregate(Sum("value"), Count("id", distinct=True)) == {
            "value__sum": sum(range(2500)),
            "id__count": 2500,
        }


class TestSaveUpdateDelete:
    def test_save_again_updates(self, table):
        rows = table(Visit)
        visit = rows.create(page="a")
        visit.count = 7
        visit.save()
        assert list(rows.values_list("pk", "count")) == [(visit.pk, 7)]

    def test_save_with_a_new_key_inserts(self, table):
        rows = table(Visit)
        Visit(id=77, page="a").save(using=ALIAS)
        Visit(id=77, page="b").save(using=ALIAS)
        assert list(rows.values_list("pk", "page")) == [(77, "b")]

    def test_update_counts_what_matched(self, table):
        rows = table(Visit)
        rows.bulk_create([Visit(page=page) for page in "aab"])
        assert rows.filter(page="a").update(count=F("count") + 1) == 2
        assert rows.filter(page="a").update(count=2) == 2
        assert rows.filter(page="nobody").update(count=2) == 0
        assert rows.aggregate(Sum("count"))["count__sum"] == 5

    def test_update_fields_of_a_vanished_row(self, table):
        rows = table(Visit, Note)
        visit = rows.create(page="a")
        rows.filter(pk=visit.pk).delete()
        with pytest.raises(DatabaseError, match="did not affect any rows"):
            visit.save(update_fields=["page"])

    def test_delete_tells_the_true_count(self, table):
        rows = table(Visit)
        rows.bulk_create([Visit(page=page) for page in "aabc"])
        assert rows.filter(page="a")._raw_delete(ALIAS) == 2
        assert rows.filter(page="a")._raw_delete(ALIAS) == 0
        assert rows.count() == 2

    def test_delete_of_all_rows(self, table):
        for model in (Visit, Event):
            rows = table(model)
            rows.bulk_create(
                [Visit(page="a"), Visit(page="b")]
                if model is Visit
                else [Event(name="a", value=1), Event(name="b", value=2)]
            )
            assert rows.all()._raw_delete(ALIAS) == 2
            assert rows.count() == 0

    def test_delete_by_instance_and_queryset(self, table):
        rows = table(Visit, Note)
        notes = Note.objects.using(ALIAS)
        visit, other = rows.create(page="a"), rows.create(page="b")
        notes.bulk_create(
            [Note(visit=visit, text="x"), Note(visit=visit, text="y"), Note(visit=other, text="z")]
        )
        assert visit.delete() == (3, {"doris_tests.Visit": 1, "doris_tests.Note": 2})
        assert rows.filter(notes__text="z").delete()[0] == 2
        assert (rows.count(), notes.count()) == (0, 0)

    def test_bulk_update(self, table):
        rows = table(Visit)
        visits = rows.bulk_create([Visit(page=page) for page in "abc"])
        for number, visit in enumerate(visits):
            visit.count = number
        assert rows.bulk_update(visits, ["count"]) == 3
        assert list(rows.order_by("page").values_list("count", flat=True)) == [0, 1, 2]

    def test_get_or_create(self, table):
        rows = table(Visit)
        made = [rows.get_or_create(page="a")[1] for _ in range(2)]
        assert made == [True, False]


class TestWhatDorisWouldReplace:
    """An INSERT into a UNIQUE table replaces rows; Django promises an IntegrityError."""

    def test_create_with_a_key_that_exists(self, table):
        rows = table(Visit)
        rows.create(id=5, page="first")
        with pytest.raises(IntegrityError, match="id=5"):
            rows.create(id=5, page="second")
        assert rows.get().page == "first"

    def test_bulk_create_with_a_key_that_exists_or_comes_twice(self, table):
        rows = table(Reading)
        at = timezone.now()
        rows.create(sensor=1, at=at, value=1)
        for batch in (
            [Reading(sensor=2, at=at, value=2), Reading(sensor=1, at=at, value=2)],
            [Reading(sensor=3, at=at, value=2), Reading(sensor=3, at=at, value=3)],
        ):
            with pytest.raises(IntegrityError, match="sensor"):
                rows.bulk_create(batch)
        assert rows.get().value == 1

    def test_the_question_can_be_left_out(self, make_connection, table):
        rows = table(Visit)
        make_connection(OPTIONS={"insert_checks_keys": False})
        rows.create(id=5, page="first")
        rows.create(id=5, page="second")
        assert rows.get().page == "second"

    def test_upsert(self, table):
        rows = table(Visit)
        rows.create(id=5, page="first")
        rows.bulk_create(
            [Visit(id=5, page="second"), Visit(id=6, page="new")],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["page", "count", "at"],
        )
        assert set(rows.values_list("id", "page")) == {(5, "second"), (6, "new")}

    def test_upsert_of_some_fields(self, table):
        rows = table(Visit)
        rows.create(id=5, page="first", count=3)
        made = rows.bulk_create(
            [Visit(id=5, page="x", count=9), Visit(id=6, page="y", count=9)],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["page"],
        )
        assert [visit.pk for visit in made] == [5, 6]
        assert set(rows.values_list("id", "page", "count")) == {(5, "x", 3), (6, "y", 9)}

    def test_upsert_of_one_key_twice(self, table):
        """Which of them wins, Doris does not say."""
        rows = table(Visit)
        with pytest.raises(IntegrityError, match="comes twice"):
            rows.bulk_create(
                [Visit(id=5, page="x"), Visit(id=5, page="y")],
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=["page", "count", "at"],
            )
        assert rows.count() == 0

    def test_upsert_by_another_key(self, table):
        rows = table(Daily)
        with pytest.raises(NotSupportedError, match="key of the table"):
            rows.bulk_create(
                [Daily(id=5, value=1, day=dt.date(2026, 1, 1))],
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=["value", "day"],
            )

    def test_ignore_conflicts_is_refused(self, table):
        with pytest.raises(NotSupportedError):
            table(Visit).bulk_create([Visit(id=5, page="x")], ignore_conflicts=True)


class TestDuplicateTables:
    def test_rows_cannot_be_updated(self, table):
        rows = table(Event)
        event = rows.create(name="a", value=1)
        event.value = 2
        with pytest.raises(NotSupportedError, match="force_insert"):
            event.save()
        with pytest.raises(NotSupportedError, match="UNIQUE"):
            rows.update(value=3)
        with pytest.raises(NotSupportedError, match="UNIQUE"):
            rows.bulk_create(
                [event], update_conflicts=True, unique_fields=["id"], update_fields=["name", "value"]
            )
        assert rows.get().value == 1

    def test_rows_can_be_added_and_deleted(self, table):
        rows = table(Event)
        Event(id=5, name="a", value=1).save(using=ALIAS, force_insert=True)
        rows.create(name="b", value=2)
        assert rows.filter(value__gte=2, name="b").delete()[0] == 1
        assert rows.get().pk == 5

    def test_delete_by_subquery_is_refused(self, table):
        rows = table(Event, Visit)
        rows.create(name="a", value=1)
        Visit.objects.using(ALIAS).create(page="a")
        with pytest.raises(NotSupportedError, match="subquery"):
            rows.filter(name__in=Visit.objects.using(ALIAS).values("page"))._raw_delete(ALIAS)
        assert rows.count() == 1


class TestAggregateTables:
    """Adding is all that can be done to a row."""

    DAY = dt.date(2026, 1, 1)

    @pytest.mark.parametrize("loading", [False, True], ids=["by INSERT", "by Stream Load"])
    def test_rows_are_added_up(self, table, make_connection, loading):
        rows = table(DailyCost)
        if loading:
            make_connection(OPTIONS={"stream_load": {"threshold": 1, "deadline": 20.0}})
        at = dt.datetime(2026, 1, 1, tzinfo=UTC)
        rows.bulk_create(
            [
                DailyCost(day=self.DAY, agent="a", tokens=5, slowest=2.5, last=at),
                DailyCost(day=self.DAY, agent="a", tokens=7, slowest=1.5),
                DailyCost(day=self.DAY, agent="b", tokens=1),
            ]
        )
        rows.create(day=self.DAY, agent="a", tokens=-2)
        found = rows.get(pk=(self.DAY, "a"))
        assert (found.tokens, found.slowest, found.last) == (10, 2.5, at)
        assert rows.count() == 2

    def test_rows_cannot_be_changed(self, table):
        rows = table(DailyCost)
        row = rows.create(day=self.DAY, agent="a", tokens=5)
        row.tokens = 6
        with pytest.raises(NotSupportedError, match="AGGREGATE table cannot be updated"):
            row.save()
        with pytest.raises(NotSupportedError, match="AGGREGATE table cannot be updated"):
            rows.update(tokens=F("tokens") + 1)
        with pytest.raises(NotSupportedError, match="AGGREGATE table cannot be updated"):
            rows.bulk_update([row], ["tokens"])
        with pytest.raises(NotSupportedError, match="adds rows up"):
            rows.bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["day", "agent"],
                update_fields=["tokens", "slowest", "last"],
            )
        assert rows.get().tokens == 5

    def test_rows_are_deleted_by_their_key(self, table):
        rows = table(DailyCost)
        for agent in "abc":
            rows.create(day=self.DAY, agent=agent, tokens=1)
        with pytest.raises(NotSupportedError, match="tokens is not in it"):
            rows.filter(tokens=1).delete()
        assert rows.filter(agent__in=["a", "b"]).delete()[0] == 2
        assert rows.get().agent == "c"


class TestRetention:
    def test_rows_beyond_the_partitions_are_refused(self, table, refused):
        rows = table(Kept)
        now = timezone.now()
        rows.bulk_create([Kept(at=now - dt.timedelta(days=n), id=n, message="m") for n in (0, 5, 29)])
        for days in (60, -20):
            with refused(DataError, "partition"):
                rows.create(at=now - dt.timedelta(days=days), id=9, message="m")
        assert rows.count() == 3
        assert rows.filter(at__lt=now - dt.timedelta(days=3)).delete()[0] == 2, "in all partitions"


class TestKeyColumns:
    def test_saving_an_unchanged_key(self, table):
        rows = table(Daily)
        day = dt.date(2026, 1, 1)
        row = rows.create(id=1, day=day, value=1)
        row.value = 2
        row.save()
        assert list(rows.values_list("id", "day", "value")) == [(1, day, 2)]

    def test_changing_a_key_is_refused(self, table):
        rows = table(Daily)
        row = rows.create(id=1, day=dt.date(2026, 1, 1), value=1)
        row.day = dt.date(2026, 1, 2)
        with pytest.raises(NotSupportedError, match="day is in the table's key"):
            row.save()
        with pytest.raises(NotSupportedError, match="day is in the table's key"):
            rows.update(day=F("day"))
        assert rows.get().day == dt.date(2026, 1, 1)

    def test_composite_primary_key(self, table):
        rows = table(Reading)
        first, second = (dt.datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
        rows.bulk_create([Reading(sensor=s, at=at, value=s) for s in (1, 2) for at in (first, second)])
        assert rows.get(pk=(1, first)).value == 1
        assert rows.filter(pk__in=[(1, first), (2, second)]).count() == 2
        reading = rows.get(pk=(2, second))
        reading.value = 9
        reading.save()
        assert rows.aggregate(Sum("value"))["value__sum"] == 1 + 1 + 2 + 9
        assert reading.delete()[0] == 1


class TestLookups:
    @pytest.fixture
    def rows(self, table):
        rows = table(Everything)
        rows.bulk_create(
            [
                Everything(name=name, number=n)
                for n, name in enumerate(["Alpha", "alpha", "ALPHABET", "Ärger", "50%_x"])
            ]
        )
        return rows

    @pytest.mark.parametrize(
        ("lookup", "value", "expected"),
        [
            ("exact", "alpha", {1}),
            ("iexact", "ALPHA", {0, 1}),
            ("iexact", "ärger", {3}),
            ("iexact", "50%_X", {4}),
            ("iexact", "50%", set()),
            ("contains", "lph", {0, 1}),
            ("icontains", "LPH", {0, 1, 2}),
            ("icontains", "äR", {3}),
            ("startswith", "Al", {0}),
            ("istartswith", "aL", {0, 1, 2}),
            ("endswith", "BET", {2}),
            ("iendswith", "bet", {2}),
            ("contains", "%", {4}),
            ("contains", "_", {4}),
            ("contains", "0%_", {4}),
            ("regex", "^A.*a$", {0}),
            ("iregex", "^a.*a$", {0, 1}),
            ("in", ["alpha", "nobody"], {1}),
            ("gt", "a", {1, 3}),
        ],
    )
    def test_text(self, rows, lookup, value, expected):
        assert set(rows.filter(**{f"name__{lookup}": value}).values_list("number", flat=True)) == expected

    @pytest.mark.parametrize("lookup", ["contains", "startswith", "endswith", "icontains", "iexact"])
    def test_text_of_another_column(self, rows, lookup):
        """The right-hand side is an expression: its wildcards are no wildcards."""
        assert rows.filter(**{f"name__{lookup}": F("name")}).count() == 5

    def test_wildcards_in_another_column(self, table):
        rows = table(Everything)
        rows.create(name="50 x", slug="50%", number=1)
        rows.create(name="50% x", slug="50%", number=2)
        assert [r.number for r in rows.filter(name__startswith=F("slug"))] == [2]

    def test_conditions(self, rows):
        assert rows.filter(Q(number=1) | ~Q(number__lt=3)).count() == 3
        assert rows.filter(number__range=(1, 3)).exclude(name="Ärger").count() == 2
        assert rows.filter(number__in=rows.filter(name__startswith="A").values("number")).count() == 2
        assert rows.filter(number=1).exists()

    def test_order_slice_distinct(self, rows):
        assert [r.number for r in rows.order_by("-number")[1:3]] == [3, 2]
        assert [r.number for r in rows.order_by("number")[3:]] == [3, 4]
        assert rows.values("flag").distinct().count() == 1
        rows.filter(number=0).update(day=dt.date(2026, 1, 1))
        assert rows.order_by("day", "number").last().number == 0, "NULLs come first"
        assert rows.order_by(F("day").asc(nulls_last=True), "number").first().number == 0

    def test_numbers(self, table):
        rows = table(Everything)
        rows.create(price=decimal.Decimal("0.100000001"), number=7)
        rows.create(price=decimal.Decimal("12345678901234567890123456789.123456788"), number=3)
        assert rows.get(price=decimal.Decimal("12345678901234567890123456789.123456788")).number == 3
        assert not rows.filter(price=decimal.Decimal("12345678901234567890123456789.123456789")).exists()
        assert rows.annotate(p=F("number") ** 2).get(number=7).p == 49
        assert rows.annotate(x=F("number").bitxor(2), a=F("number").bitand(3)).get(number=7).x == 5
        assert rows.aggregate(Max("price"), Avg("number"))["number__avg"] == 5

    def test_row_locks_are_refused(self, table):
        rows = table(Visit)
        with pytest.raises(NotSupportedError, match="row locks"):
            rows.select_for_update().first()
        with pytest.raises(NotSupportedError, match="update_or_create"):
            rows.update_or_create(page="a", defaults={"count": 2})

    def test_row_locks_are_done_without_on_request(self, table, make_connection):
        rows = table(Visit)
        make_connection(OPTIONS={"ignore_row_locks": True})
        first, made = rows.update_or_create(page="a", defaults={"count": 2})
        again, made_again = rows.update_or_create(page="a", defaults={"count": 3})
        assert (made, made_again, first.pk) == (True, False, again.pk)
        assert rows.select_for_update().get().count == 3

    def test_relations(self, table):
        visits = table(Visit, Note)
        visit = visits.create(page="a")
        Note.objects.using(ALIAS).create(visit=visit, text="x")
        assert Note.objects.using(ALIAS).select_related("visit").get().visit.page == "a"
        assert visits.annotate(n=Count("notes")).get().n == 1
        assert visits.prefetch_related("notes").get().notes.all()[0].text == "x"

    def test_aggregates_and_groups(self, table):
        rows = table(Event)
        rows.bulk_create([Event(name=name, value=v) for name, v in [("a", 1), ("a", 3), ("b", 10)]])
        grouped = rows.values("name").annotate(n=Count("id"), total=Sum("value")).order_by("name")
        assert list(grouped) == [{"name": "a", "n": 2, "total": 4}, {"name": "b", "n": 1, "total": 10}]
        assert rows.aggregate(odd=Count("id", filter=Q(value__lt=5)))["odd"] == 2


class TestDates:
    @pytest.fixture
    def rows(self, table):
        rows = table(Everything)
        rows.create(
            at=dt.datetime(2025, 12, 31, 23, 30, 15, 250000, tzinfo=UTC),
            day=dt.date(2024, 12, 30),
            clock=dt.time(13, 14, 15, 160000),
            lasted=dt.timedelta(hours=2),
        )
        return rows

    def test_parts_in_the_current_zone(self, rows):
        """23:30 UTC on New Year's Eve is the new year in Berlin."""
        with timezone.override("Europe/Berlin"):
            assert rows.filter(at__year=2026, at__month=1, at__day=1, at__hour=0, at__minute=30).count() == 1
            assert rows.filter(at__date=dt.date(2026, 1, 1)).count() == 1
        with timezone.override("UTC"):
            assert rows.filter(at__year=2025, at__quarter=4, at__second=15).count() == 1
            assert rows.filter(at__time=dt.time(23, 30, 15, 250000)).count() == 1
            assert rows.filter(at__gte=dt.datetime(2025, 12, 31, 23, 30, 15, 250000, tzinfo=UTC)).count() == 1
            assert rows.filter(at__gt=dt.datetime(2025, 12, 31, 23, 30, 15, 250000, tzinfo=UTC)).count() == 0

    def test_parts_of_days_and_times(self, rows):
        assert rows.filter(day__iso_year=2025, day__week=1, day__week_day=2, day__iso_week_day=1).count() == 1
        assert rows.filter(clock__hour=13, clock__minute=14, clock__second=15).count() == 1
        assert rows.filter(clock__gt=dt.time(9), clock__lt=dt.time(13, 14, 16)).count() == 1

    def test_cut(self, rows):
        with timezone.override("Europe/Berlin"):
            berlin = timezone.get_current_timezone()
            found = rows.annotate(
                month=TruncMonth("at"),
                d=TruncDay("at"),
                h=TruncHour("at"),
                date=TruncDate("at"),
                t=TruncTime("at"),
            ).get()
        assert found.month == found.d == dt.datetime(2026, 1, 1, tzinfo=berlin)
        assert found.h == dt.datetime(2026, 1, 1, 0, tzinfo=berlin)
        assert found.date == dt.date(2026, 1, 1)
        assert found.t == dt.time(0, 30, 15, 250000)
        assert rows.annotate(m=TruncMonth("day")).get().m == dt.date(2024, 12, 1)
        assert list(rows.dates("day", "week")) == [dt.date(2024, 12, 30)]
        assert list(rows.datetimes("at", "year", tzinfo=UTC)) == [dt.datetime(2025, 1, 1, tzinfo=UTC)]

    def test_extract_functions(self, rows):
        found = rows.annotate(y=ExtractIsoYear("day"), w=ExtractWeek("day"), d=ExtractWeekDay("day")).get()
        assert (found.y, found.w, found.d) == (2025, 1, 2)

    def test_arithmetic(self, rows):
        later = rows.annotate(end=F("at") + F("lasted"), soon=F("at") + dt.timedelta(microseconds=5)).get()
        assert later.end == dt.datetime(2026, 1, 1, 1, 30, 15, 250000, tzinfo=UTC)
        assert later.soon == dt.datetime(2025, 12, 31, 23, 30, 15, 250005, tzinfo=UTC)
        assert rows.annotate(
            back=models.ExpressionWrapper(F("at") - F("at"), output_field=models.DurationField())
        ).get().back == dt.timedelta(0)

    def test_now(self, rows):
        stored = rows.annotate(n=Now()).get().n
        assert abs(stored - timezone.now()) < dt.timedelta(seconds=5)


class TestFunctions:
    def test_text(self, table):
        rows = table(Everything)
        rows.create(name="Zoë", number=4)
        found = rows.annotate(
            length=Length("name"),
            both=Concat("name", Value("-"), "name"),
            digits=Cast("number", models.TextField()),
        ).get()
        assert (found.length, found.both, found.digits) == (3, "Zoë-Zoë", "4")
