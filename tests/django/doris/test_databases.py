"""Test databases: made, kept, cloned for parallel runs, flushed and destroyed."""

import os
import secrets
import subprocess
import sys

import pymysql
import pytest
from django.core.management import call_command
from django.db import connections, models

from dbint.django.backends.doris import AutoRange, DorisTable, FixedRange, RangePartitions

from .test_schema import make


def things():
    return make(
        "Thing",
        {"doris": DorisTable(buckets=1)},
        id=models.BigIntegerField(primary_key=True),
        name=models.CharField(max_length=10),
    )


def days(by):
    return make(
        "Day",
        {"doris": DorisTable(key=("day", "id"), distributed_by=("id",), buckets=1, partition_by=by)},
        id=models.BigIntegerField(primary_key=True),
        day=models.DateField(),
    )


@pytest.fixture
def testing(make_connection):
    """A connection to a test database of its own, as a test runner leaves it; and its clones' connections."""
    connection = make_connection("testing", NAME=f"test_{secrets.token_hex(4)}")
    name = connection.settings_dict["NAME"]
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}`")
    yield connection
    connection.close()
    with connection._nodb_cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        for (found,) in cursor.fetchall():
            if found.startswith(name):
                cursor.execute(f"DROP DATABASE `{found}` FORCE")


def make_tables(connection, *models_):
    with connection.schema_editor() as editor:
        for model in models_:
            editor.create_model(model)


def rows_of(connection, sql: str, suffix: str = "1"):
    """What a clone answers."""
    clone = connections.create_connection(connection.alias)
    clone.settings_dict = connection.creation.get_test_db_clone_settings(suffix)
    try:
        with clone.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        clone.close()


class TestClones:
    def test_tables_rows_and_views(self, testing):
        thing = things()
        make_tables(
            testing, thing, days(RangePartitions("day", (FixedRange("p", "2026-01-01", "2027-01-01"),)))
        )
        thing.objects.using("testing").create(id=1, name="a")
        with testing.cursor() as cursor:
            cursor.execute("INSERT INTO doris_schema_day (day, id) VALUES ('2026-05-05', 1)")
            cursor.execute("CREATE VIEW seen AS SELECT id, name FROM doris_schema_thing")
        testing.creation.clone_test_db("1", verbosity=0)
        assert rows_of(testing, "SELECT name FROM seen") == [("a",)]
        assert rows_of(testing, "SELECT count(*) FROM doris_schema_day") == [(1,)]
        # The clone's view looks at the clone's table.
        thing.objects.using("testing").create(id=2, name="b")
        assert rows_of(testing, "SELECT name FROM seen") == [("a",)]

    def test_partitions_that_came_with_rows(self, testing):
        make_tables(testing, days(AutoRange("day", "month")))
        with testing.cursor() as cursor:
            cursor.execute(
                "INSERT INTO doris_schema_day (day, id) VALUES ('2026-05-05', 1), ('2026-07-05', 2)"
            )
        testing.creation.clone_test_db("1", verbosity=0)
        assert len(rows_of(testing, "SHOW PARTITIONS FROM doris_schema_day")) == 2
        assert rows_of(testing, "SELECT count(*) FROM doris_schema_day") == [(2,)]

    def test_a_new_clone_replaces_an_old_one(self, testing):
        make_tables(testing, things())
        testing.creation.clone_test_db("1", verbosity=0)
        rows_of(testing, "INSERT INTO doris_schema_thing (id, name) VALUES (1, 'a')")
        testing.creation.clone_test_db("1", verbosity=0)
        assert rows_of(testing, "SELECT count(*) FROM doris_schema_thing") == [(0,)]

    def test_keepdb_makes_what_is_missing_and_keeps_the_rest(self, testing):
        make_tables(testing, things(), days(AutoRange("day", "month")))
        testing.creation.clone_test_db("1", verbosity=0, keepdb=True)
        rows_of(testing, "INSERT INTO doris_schema_thing (id, name) VALUES (1, 'a')")
        with testing.cursor() as cursor:
            cursor.execute("ALTER TABLE doris_schema_day ADD COLUMN n INT NULL")
            cursor.execute("CREATE VIEW seen AS SELECT id FROM doris_schema_thing")
        testing.creation.clone_test_db("1", verbosity=0, keepdb=True)
        assert rows_of(testing, "SELECT id FROM seen") == [(1,)]
        assert rows_of(testing, "SELECT n FROM doris_schema_day") == []
        with testing.cursor() as cursor:
            cursor.execute("DROP VIEW seen")
        testing.creation.clone_test_db("1", verbosity=0, keepdb=True)
        assert [row[0] for row in rows_of(testing, "SHOW TABLES")] == [
            "doris_schema_day",
            "doris_schema_thing",
        ]

    def test_a_worker_gets_its_clone(self, testing):
        make_tables(testing, things())
        testing.creation.clone_test_db("2", verbosity=0)
        name = testing.settings_dict["NAME"]
        testing.creation.setup_worker_connection(2)
        try:
            with testing.cursor() as cursor:
                cursor.execute("SELECT DATABASE()")
                assert cursor.fetchone()[0] == f"{name}_2"
        finally:
            testing.close()
            testing.settings_dict["NAME"] = name

    def test_destroy(self, testing):
        testing.creation.clone_test_db("1", verbosity=0)
        testing.creation.destroy_test_db(suffix="1", verbosity=0)
        with testing._nodb_cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            assert testing.settings_dict["NAME"] + "_1" not in [row[0] for row in cursor.fetchall()]


def test_keepdb(make_connection):
    """A database that is there is used, with its rows; one that is not is made."""
    connection = make_connection("keeping", NAME=None)
    plain = f"kept_{secrets.token_hex(4)}"
    connection.settings_dict["NAME"] = plain
    connection.settings_dict["TEST"]["MIGRATE"] = False
    try:
        for _ in range(2):
            name = connection.creation.create_test_db(verbosity=0, serialize=False, keepdb=True)
            assert name == f"test_{plain}"
            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS mark (id INT) DISTRIBUTED BY HASH (id) BUCKETS 1 "
                    "PROPERTIES ('replication_num' = '1')"
                )
                cursor.execute("INSERT INTO mark VALUES (1)")
                cursor.execute("SELECT COUNT(*) FROM mark")
                count = cursor.fetchone()[0]
            connection.creation.destroy_test_db(plain, verbosity=0, keepdb=True)
        assert count == 2
    finally:
        connection.settings_dict["NAME"] = f"test_{plain}"
        connection.creation.destroy_test_db(plain, verbosity=0)


def test_flush(testing):
    thing = things()
    make_tables(testing, thing)
    rows = thing.objects.using("testing")
    rows.create(id=1, name="a")
    call_command("flush", database="testing", interactive=False, verbosity=0)
    with testing.cursor() as cursor:
        statements = testing.ops.sql_flush(_no_style(), ["doris_schema_thing"])
        for statement in statements:
            cursor.execute(statement)
    assert rows.count() == 0


def _no_style():
    from django.core.management.color import no_style

    return no_style()


SETTINGS = """
DATABASES = {{"default": {database!r}}}
INSTALLED_APPS = ["shelf"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
SECRET_KEY = "of a test"
"""
MODELS = """
from django.db import models
from dbint.django.backends.doris import DorisTable

class Book(models.Model):
    title = models.CharField(max_length=50)

    class Meta:
        doris = DorisTable(buckets=1)
"""
TESTS = """
from django.test import TestCase, TransactionTestCase
from shelf.models import Book

class One(TransactionTestCase):
    def test_a(self):
        Book.objects.create(title="a")
        self.assertEqual(Book.objects.count(), 1)

    def test_b(self):
        Book.objects.create(title="b")
        self.assertEqual(Book.objects.get().title, "b")

class Two(TestCase):
    @classmethod
    def setUpTestData(cls):
        Book.objects.create(title="c")

    def test_c(self):
        self.assertEqual(Book.objects.get().title, "c")

class Three(TransactionTestCase):
    def test_d(self):
        self.assertEqual(Book.objects.count(), 0)
"""


def test_a_test_run_in_parallel_that_keeps_its_databases(doris, doris_settings, tmp_path):
    """``manage.py test --parallel --keepdb``, twice: the second run finds what the first has left."""
    name = f"shelves_{secrets.token_hex(4)}"
    database = {**doris_settings, "NAME": name}
    for file, text in (
        ("project.py", SETTINGS.format(database=database)),
        ("shelf/__init__.py", ""),
        ("shelf/models.py", MODELS),
        ("shelf/tests.py", TESTS),
    ):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-m", "django", "test", "--settings=project", "--parallel=2", "--keepdb"]
    python_path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {f"test_{name}", f"test_{name}_1", f"test_{name}_2"}

    def run(*options):
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Ran 4 tests" in done.stderr

    account = {"user": database["USER"], "password": database["PASSWORD"]}
    with pymysql.connect(
        host=database["HOST"], port=database["PORT"], autocommit=True, **account
    ) as connection:
        cursor = connection.cursor()
        try:
            for _ in range(2):
                run()
                cursor.execute("SHOW DATABASES")
                assert kept <= {row[0] for row in cursor.fetchall()}
        finally:
            for database_name in kept:
                cursor.execute(f"DROP DATABASE IF EXISTS `{database_name}` FORCE")
