"""A Doris connection of Django's for these tests, in a database of its own."""

import os
import secrets
from collections.abc import Iterator
from typing import Any

import django
import pymysql
import pytest
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, connections
from django.test.utils import override_settings

from tests.django.doris.corpus.recorder import recorded, report

ALIAS = "doris_under_test"
DRIVERS = ("pymysql", "mysqlclient")

# The models are imported while tests are collected: before ../conftest.py sets Django up.
if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "dbint.django"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
if not apps.ready:
    django.setup()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What connects in a module that says BOTH_DRIVERS runs with each driver."""
    if "driver" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_DRIVERS", False):
        metafunc.parametrize("driver", DRIVERS)


class NoContentTypes:
    """Content types have a unique pair, which Doris has not."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "contenttypes" else None


@pytest.fixture(scope="package", autouse=True)
def tests_app(django_db_blocker) -> Iterator[None]:
    """The models of these tests are an installed app: reverse relations need one."""
    changes = {
        "INSTALLED_APPS": [*settings.INSTALLED_APPS, f"{__package__}.apps.DorisTests"],
        "DATABASE_ROUTERS": [NoContentTypes()],
    }
    with django_db_blocker.unblock(), override_settings(**changes):
        yield


@pytest.fixture(scope="package", autouse=True)
def statements_of_the_corpus(request) -> Iterator[None]:
    """All that these tests send is made as the statements of the corpus are, which Doris' grammar has."""
    with recorded() as new:
        yield
    if new:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        pytest.fail(report(new, request.config.rootpath / "build" / f"doris-statements-{worker}.jsonl"))


@pytest.fixture(scope="session")
def doris_settings(doris) -> Iterator[dict[str, Any]]:
    """An entry of DATABASES for a fresh database."""
    name = f"backend_{secrets.token_hex(4)}"
    account = {
        "host": doris.host,
        "port": doris.ports["query"],
        "user": doris.credentials["username"],
        "password": doris.credentials["password"],
    }

    def run(sql: str) -> None:
        connection = pymysql.connect(**account, autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)

    run(f"CREATE DATABASE {name}")
    yield {
        "ENGINE": "dbint.django.backends.doris",
        "HOST": account["host"],
        "PORT": account["port"],
        "USER": account["user"],
        "PASSWORD": account["password"],
        "NAME": name,
        "OPTIONS": {"http_port": doris.ports["http"]},
    }
    run(f"DROP DATABASE {name} FORCE")


@pytest.fixture
def driver() -> str:
    """``OPTIONS["driver"]`` of all connections."""
    return DRIVERS[0]


@pytest.fixture
def make_connection(doris_settings, driver):
    """Makes further connections, with other settings; they are closed at the end."""
    made = []

    def make(alias: str = ALIAS, **changes: Any):
        options = {**doris_settings["OPTIONS"], "driver": driver, **changes.pop("OPTIONS", {})}
        connections.settings[alias] = connections.configure_settings(
            {"default": {}, alias: {**doris_settings, **changes, "OPTIONS": options}}
        )[alias]
        made.append(alias)
        connections[alias] = connections.create_connection(alias)
        return connections[alias]

    yield make
    for alias in made:
        if alias in connections.settings:
            if hasattr(connections._connections, alias):
                connections[alias].close()
                del connections[alias]
            del connections.settings[alias]


@pytest.fixture
def refused(driver):
    """``with refused(DataError, reason):`` a write that Doris refuses by its code 5025, which libmariadb
    hides.
    """

    def expect(kind: type[DatabaseError], reason: str) -> Any:
        if driver == "pymysql":
            return pytest.raises(kind, match=reason)
        return pytest.raises(DatabaseError, match="libmariadb", check=lambda e: type(e) is DatabaseError)

    return expect


@pytest.fixture
def connection(make_connection):
    """The connection under test."""
    return make_connection()


@pytest.fixture
def table(connection):
    """``table(Model, …)`` creates the tables of models; they are dropped at the end."""
    created = []

    def create(*models):
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
                created.append(model._meta.db_table)
        return models[0].objects.using(ALIAS)

    yield create
    with connection.cursor() as cursor:
        for name in created:
            cursor.execute(f"DROP TABLE IF EXISTS `{name}`")
