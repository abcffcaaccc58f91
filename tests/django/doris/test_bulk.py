"""bulk_create by Stream Load."""

import datetime as dt
import decimal
import uuid

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, OperationalError
from django.db.models import Sum, Value
from django.utils import timezone

from dbint.django.verification.flow import FlowProbe
from dbint.verify.advice import Target
from dbint.verify.kafka import KafkaAccess
from dbint.verify.probe import Scope

from .conftest import ALIAS
from .models import Event, Everything, Visit


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
def test_the_verification_loads_with_the_client_that_these_options_make(make_connection, stream_load, scheme):
    connection = make_connection(OPTIONS={"stream_load": stream_load})
    target = Target(service="kafka", host="none", port=1, address_from="")
    probe = FlowProbe(
        name="flow",
        sink=ALIAS,
        source=ALIAS,
        rows=1,
        access=KafkaAccess(target=target, options=lambda role: {}),
        table_prefix="t",
        topic_prefix="t",
    )
    with probe.client(Scope(5)) as client:
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
