"""bulk_create by Stream Load."""

import datetime as dt
import decimal
import uuid

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, NotSupportedError, OperationalError
from django.db.models import F, Sum, Value
from django.utils import timezone

from dbint.django.flows import target_access

from .conftest import ALIAS
from .models import Daily, Event, Everything, Note, Visit


@pytest.fixture
def connection(make_connection):
    """A connection that loads from ten rows on."""
    return make_connection(OPTIONS={"stream_load": {"threshold": 10, "deadline": 20.0}})


@pytest.fixture
def statements(connection):
    """The SQL that runs meanwhile."""
    connection.force_debug_cursor = True
    connection.queries_log.clear()
    return lambda verb: [q for q in connection.queries if q["sql"].startswith(verb)]


def test_many_rows_are_loaded_and_few_are_inserted(table, statements):
    rows = table(Event)
    made = rows.bulk_create([Event(name="n", value=n) for n in range(500)])
    assert statements("INSERT") == []
    assert len({event.pk for event in made}) == 500
    assert rows.count() == 500
    assert rows.aggregate(Sum("value"))["value__sum"] == sum(range(500))
    rows.bulk_create([Event(name="few", value=1)])
    assert len(statements("INSERT")) == 1


def test_values_are_the_same_either_way(table):
    rows = table(Everything)

    def example(number: int) -> Everything:
        return Everything(
            flag=bool(number % 2),
            name="Zoë 🦉",
            text="line\n\"quoted\" \\ 'single' \t tab",
            number=number,
            big=-(2**63),
            real=0.1,
            price=decimal.Decimal("12345678901234567890123456789.123456789"),
            day=dt.date(2024, 2, 29),
            at=dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC),
            clock=dt.time(23, 59, 59, 999999),
            lasted=dt.timedelta(days=3, microseconds=7),
            key=uuid.UUID(int=number),
            document={"a": [1, 2.5, None, "ü"]} if number else None,
        )

    rows.bulk_create([example(n) for n in range(20)])
    rows.bulk_create([example(n) for n in range(20, 23)])
    names = [f.name for f in Everything._meta.concrete_fields if f.name != "id"]
    for found in rows.order_by("number"):
        for name in names:
            assert getattr(found, name) == getattr(example(found.number), name), name
    assert rows.count() == 23


def test_one_row_that_does_not_fit_keeps_all_out(table):
    rows = table(Event)
    events = [Event(name="n", value=n) for n in range(20)]
    events[7].name = "x" * 500
    with pytest.raises(DataError, match="name"):
        rows.bulk_create(events)
    assert rows.count() == 0
    assert {event.pk for event in events} == {None}


def test_keys_are_checked_and_upserts_replace(table):
    rows = table(Visit)
    rows.bulk_create([Visit(id=n, page="a") for n in range(1, 21)])
    with pytest.raises(Exception, match="exists"):
        rows.bulk_create([Visit(id=n, page="b") for n in range(20, 40)])
    rows.bulk_create(
        [Visit(id=n, page="b") for n in range(11, 31)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["page", "count", "at"],
    )
    assert (rows.filter(page="a").count(), rows.filter(page="b").count()) == (10, 20)


def test_expressions_are_inserted(table, statements):
    rows = table(Event)
    rows.bulk_create([Event(name=Value("x"), value=n) for n in range(20)])
    assert len(statements("INSERT")) == 1
    assert rows.filter(name="x").count() == 20


def test_a_server_that_does_not_load(make_connection, table):
    rows = table(Event)
    make_connection(OPTIONS={"http_port": 1, "stream_load": {"threshold": 1, "deadline": 0.5}})
    with pytest.raises(OperationalError, match="8030"):
        rows.bulk_create([Event(name="n", value=1)])
    assert rows.count() == 0


@pytest.mark.parametrize(
    "options",
    [{"treshold": 1}, [], {"deadline": -1.0}, {"allowed_hosts": "10.0.0.1"}, {"allowed_hosts": ["http://x"]}],
)
def test_settings_are_checked(make_connection, options):
    with pytest.raises(ImproperlyConfigured, match="stream_load"):
        _ = make_connection("wrong", OPTIONS={"stream_load": options}).bulk_loader


@pytest.mark.parametrize(
    ("stream_load", "scheme"),
    [({"https": True, "address_map": {"be:8040": "far:9"}}, "https"), ({"allowed_hosts": ["far"]}, "http")],
)
def test_a_flow_loads_with_the_client_that_these_options_make(make_connection, stream_load, scheme):
    connection = make_connection(OPTIONS={"stream_load": stream_load})
    with target_access(ALIAS).stream_load_client() as client:
        assert repr(client) == repr(connection.bulk_loader._client)
        assert repr(client).startswith(f"<StreamLoadClient {scheme}://")
        frontend = repr(client).split()[1].rstrip(">")
        backend = "be:8040" if "address_map" in stream_load else "far:9"
        assert client._trusted.follow(frontend, f"{scheme}://{backend}/x").startswith(f"{scheme}://far:9/")


def test_auto_now_is_set(table):
    rows = table(Visit)
    before = timezone.now()
    rows.bulk_create([Visit(page="a") for _ in range(20)])
    assert rows.using(ALIAS).filter(at__gte=before).count() == 20


class TestBulkUpdate:
    def test_many_rows_are_loaded_and_few_are_updated(self, table, statements):
        rows = table(Visit)
        visits = rows.bulk_create([Visit(page="a") for _ in range(200)])
        for number, visit in enumerate(visits):
            visit.count, visit.page = number, f"{number}"
        assert rows.bulk_update(visits, ["count"]) == 200
        assert statements("UPDATE") == []
        assert rows.aggregate(Sum("count"))["count__sum"] == sum(range(200))
        assert rows.filter(page="a").count() == 200, "the other columns are as they were"
        assert rows.bulk_update(visits[:3], ["page"]) == 3
        assert len(statements("UPDATE")) == 1
        assert rows.exclude(page="a").count() == 3

    def test_rows_that_are_gone_stay_gone(self, table):
        rows = table(Visit, Note)
        visits = rows.bulk_create([Visit(page="a") for _ in range(50)])
        rows.filter(pk__in=[visit.pk for visit in visits[:20]]).delete()
        for visit in visits:
            visit.count = 9
        assert rows.bulk_update(visits, ["count"]) == 30
        assert rows.filter(count=9).count() == rows.count() == 30

    def test_the_conditions_of_the_queryset_hold(self, table):
        rows = table(Visit)
        visits = rows.bulk_create([Visit(page="ab"[n % 2]) for n in range(50)])
        for visit in visits:
            visit.count = 9
        assert rows.filter(page="a").bulk_update(visits, ["count"]) == 25
        assert set(rows.filter(count=9).values_list("page", flat=True)) == {"a"}

    def test_a_key_of_more_columns(self, table):
        rows = table(Daily)
        days = rows.bulk_create(
            [Daily(id=n, day=dt.date(2026, 1, 1) + dt.timedelta(days=n), value=n) for n in range(30)]
        )
        for day in days:
            day.value *= 2
        assert rows.bulk_update(days, ["value"]) == 30
        assert rows.aggregate(Sum("value"))["value__sum"] == 2 * sum(range(30))
        assert rows.count() == 30

    def test_values_of_every_type(self, table):
        rows = table(Everything)
        made = rows.bulk_create([Everything() for _ in range(12)])
        names = ["maybe", "text", "price", "at", "clock", "lasted", "key", "document", "day"]
        for number, thing in enumerate(made):
            thing.maybe = None if number else True
            thing.text = "line\n\"quoted\" \\ 'single'"
            thing.price = decimal.Decimal("12345678901234567890123456789.123456789")
            thing.at = dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC) if number else None
            thing.clock = dt.time(23, 59, 59, 999999)
            thing.lasted = dt.timedelta(days=3, microseconds=7)
            thing.key = uuid.UUID(int=number)
            thing.document = {"a": [1, 2.5, None, "ü"]} if number else None
            thing.day = dt.date(2024, 2, 29)
        assert rows.bulk_update(made, names) == 12
        found = rows.in_bulk([thing.pk for thing in made])
        for thing in made:
            for name in names:
                assert getattr(found[thing.pk], name) == getattr(thing, name), name

    def test_expressions_are_updated_by_sql(self, table, statements):
        rows = table(Visit)
        visits = rows.bulk_create([Visit(page="a") for _ in range(20)])
        for visit in visits:
            visit.count = F("count") + 1
        assert rows.bulk_update(visits, ["count"]) == 20
        assert len(statements("UPDATE")) == 1
        assert rows.filter(count=2).count() == 20

    def test_duplicate_tables_are_refused(self, table):
        rows = table(Event)
        events = rows.bulk_create([Event(name="a", value=n) for n in range(20)])
        with pytest.raises(NotSupportedError, match="cannot be updated"):
            rows.bulk_update(events, ["value"])

    def test_a_row_deleted_meanwhile_keeps_all_out(self, table, connection):
        """The load is all or nothing: Doris is told that new keys are an error."""
        rows = table(Visit)
        rows.create(id=1, page="a")
        with pytest.raises(DataError, match=r"not in table|null value"):
            connection.bulk_loader.load(
                "doris_tests_visit",
                [{"id": 1, "count": 5}, {"id": 2, "count": 5}],
                update_columns=["id", "count"],
            )
        assert rows.get().count == 1


@pytest.mark.parametrize("number", [3, 30], ids=["by INSERT", "by Stream Load"])
def test_upsert_of_some_fields(table, number):
    """Rows that exist get these fields; new ones come whole, with the values of their objects."""
    rows = table(Visit)
    rows.bulk_create([Visit(id=n, page="old", count=5) for n in range(1, number + 1)])
    rows.bulk_create(
        [Visit(id=n, page="new", count=7) for n in range(2, 2 * number)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["page"],
    )
    assert rows.get(pk=1).page == "old"
    assert set(rows.filter(pk__range=(2, number)).values_list("page", "count")) == {("new", 5)}
    assert set(rows.filter(pk__gt=number).values_list("page", "count")) == {("new", 7)}
    assert rows.count() == 2 * number - 1
    rows.create(page="after")  # the session is as it was: whole rows
    assert rows.get(page="after").count == 1


def test_nan_is_a_data_error(table):
    rows = table(Everything)
    with pytest.raises(DataError, match="nan"):
        rows.bulk_create([Everything(real=float("nan")) for _ in range(20)])
    assert rows.count() == 0
