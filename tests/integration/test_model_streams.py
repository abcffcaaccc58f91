"""Rows of Django models as events, in a project as its users have it."""

import json
import secrets
from typing import Any

import psycopg
import pytest

from stack import Endpoint
from tests import quick_python
from tests.integration.verification_project import Project

MODELS = """
import uuid
from django.contrib.postgres.fields import ArrayField, IntegerRangeField
from django.db import models

class Visitor(models.Model):
    name = models.CharField(max_length=40)

class Visit(models.Model):
    visitor = models.ForeignKey(Visitor, null=True, on_delete=models.CASCADE)
    key = models.UUIDField(default=uuid.uuid4)
    at = models.DateTimeField(auto_now_add=True)
    path = models.CharField(max_length=80)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    tags = ArrayField(models.CharField(max_length=10), null=True)
    seen = models.BooleanField(db_default=False)
    extra = models.JSONField(null=True)
    address = models.GenericIPAddressField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["path", "price"], name="one_price")]

class Lecture(models.Model):
    seats = IntegerRangeField()

class Special(Visit):
    why = models.TextField()
"""

SCRIPT = """
import json, sys
from decimal import Decimal
from ipaddress import IPv4Address
import django
django.setup()
from notes.models import Lecture, Special, Visit, Visitor
from dbint.django.streams import for_model
from dbint.errors import ConfigurationError, InvalidEventError
from dbint.events import get_database_layer

visitor = Visitor.objects.create(name="Ada")
visits = for_model(Visit, batch_timeout=0.05)
told = {"columns": list(visits.columns), "name": visits.name}
for number in range(500):
    fields = {"tags": ["a", None], "extra": {"n": number}, "address": IPv4Address("10.0.0.1")}
    visits.write_sync(path=f"/{number}", price=Decimal(number), visitor_id=visitor.pk, **fields)
visits.write_sync(path="/0", price=Decimal(0))  # one_price refuses it
told["refusals"] = []
one = Decimal(1)
for wrong in ({"path": "/x"}, {"path": 5, "price": one}, {"path": "/x", "price": one, "seen": True}):
    try:
        visits.write_sync(**wrong)
    except InvalidEventError as error:
        told["refusals"].append(str(error))
for model in (Lecture, Special):
    try:
        for_model(model)
    except ConfigurationError as error:
        told["refusals"].append(str(error))
told["left"] = get_database_layer().flush_sync(20)
told["rows"] = Visit.objects.count()
last = Visit.objects.get(path="/499")
told["last"] = [str(last.price), last.visitor.name, last.tags, last.seen, last.extra, last.address]
told["version"] = last.key.version
told["keys"] = Visit.objects.values("key").distinct().count()
told["dead"] = visits.snapshot()["dead"]
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, postgres: Endpoint) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("models")
    given, name = postgres.credentials, f"dbint_models_{secrets.token_hex(4)}"
    login = {"user": str(given["username"]), "password": str(given["password"])}
    where = {"host": postgres.host, "port": postgres.ports["sql"]}
    entry = {
        "ENGINE": "django.db.backends.postgresql",
        **{key.upper(): value for key, value in (where | login).items()},
        "NAME": name,
    }
    apps = ("dbint.django", "notes", "django.contrib.postgres", "dbint.django.observability")
    project = Project(directory, {"default": entry}, models=MODELS, apps=apps)
    project.environ["DBINT_JOURNAL_DIR"] = str(directory / "journal")
    with psycopg.connect(dbname=str(given["database"]), autocommit=True, **where, **login) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            project.migrated()
            ended = quick_python.run(["-c", SCRIPT], cwd=directory, env=project.environment())
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_the_columns_are_those_that_an_event_gives(told: dict[str, Any]) -> None:
    assert told["columns"] == ["visitor_id", "key", "at", "path", "price", "tags", "extra", "address"]
    assert told["name"] == "notes.visit"


def test_rows_land_as_the_orm_reads_them(told: dict[str, Any]) -> None:
    assert (told["left"], told["rows"], told["keys"]) == (0, 500, 500)
    assert told["last"] == ["499.00", "Ada", ["a", None], False, {"n": 499}, "10.0.0.1"]
    assert told["version"] == 7


def test_what_the_table_refuses_is_a_dead_letter(told: dict[str, Any]) -> None:
    assert told["dead"] == 1


def test_bad_events_and_models_are_refused_in_words(told: dict[str, Any]) -> None:
    missing, wrong, unknown, ranges, inherited = told["refusals"]
    assert '"price"' in missing
    assert '"path"' in wrong
    assert '"seen"' in unknown
    assert "notes.Lecture" in ranges
    assert "seats" in ranges
    assert "notes.Special inherits the table of another model" in inherited
