"""The backend with a cluster that changes: jobs that take their time, frontends that go and come, partitions
that Doris makes and drops, and releases that show their tables differently.
"""

import base64
import datetime as dt
import threading
import time
import urllib.request

import pymysql
import pytest
from django.db import DatabaseError, NotSupportedError, OperationalError, migrations, models

from dbint.django.backends.doris import (
    AutoRange,
    BloomFilterIndex,
    DorisTable,
    DynamicPartitions,
    InvertedIndex,
    RangePartitions,
)
from dbint.django.backends.doris.migrations import AlterTable
from dbint.emulators.doris import DorisEmulator

from .conftest import ALIAS
from .test_partitions import Migrate
from .test_schema import make

PASSWORD = "of the cluster"
AUTHORIZATION = "Basic " + base64.b64encode(f"root:{PASSWORD}".encode()).decode()


def hook(emulator: DorisEmulator, path: str) -> None:
    """One of the emulator's hooks for tests, which changes the cluster."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{emulator.http_port}/_emulator/{path}",
        method="POST",
        headers={"Authorization": AUTHORIZATION},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


@pytest.fixture(scope="module")
def cluster():
    with DorisEmulator(password=PASSWORD, frontends=3, faults=True) as emulator:
        account = {"port": emulator.query_port, "user": "root", "password": PASSWORD}
        with pymysql.connect(host="127.0.0.1", autocommit=True, **account) as connection:
            connection.cursor().execute("CREATE DATABASE cluster")
        yield emulator


@pytest.fixture
def connect(cluster, make_connection):
    """Makes connections to the cluster, which is whole again at the end."""

    def make_one(alias: str = ALIAS, **options):
        return make_connection(
            alias,
            HOST="127.0.0.1",
            PORT=cluster.query_port,
            PASSWORD=PASSWORD,
            USER="root",
            NAME="cluster",
            OPTIONS={"http_port": cluster.http_port, "replication_num": 1, **options},
        )

    yield make_one
    for node in cluster.nodes.all:
        cluster.bring_up(node.name)
    hook(cluster, "alter?seconds=0.1")


@pytest.fixture
def migrate(connect):
    def make_one(**options):
        steps = Migrate(connect(**options))
        made.append(steps)
        return steps

    made = []
    yield make_one
    for steps in made:
        with steps.connection.cursor() as cursor:
            for model in steps.state.apps.get_models():
                cursor.execute(f"DROP TABLE IF EXISTS `{model._meta.db_table}` FORCE")


def thing(**fields):
    return migrations.CreateModel(
        "Thing",
        [("id", models.BigIntegerField(primary_key=True)), *fields.items()],
        options={"doris": DorisTable(buckets=1)},
    )


class TestJobs:
    def test_a_change_is_there_when_the_migration_is_over(self, cluster, migrate):
        run = migrate()
        run(thing(n=models.IntegerField()))
        run.rows("Thing").create(id=1, n=1)
        hook(cluster, "alter?seconds=0.6")
        started = time.monotonic()
        run(migrations.AlterField("Thing", "n", models.BigIntegerField()))
        assert time.monotonic() - started >= 0.5
        run.rows("Thing").create(id=2, n=2**40)
        assert run.rows("Thing").get(id=2).n == 2**40

    def test_one_that_takes_too_long_is_waited_for_by_the_next(self, cluster, migrate):
        run = migrate(schema_change_timeout=1)
        run(thing(n=models.IntegerField(), m=models.IntegerField()))
        run.rows("Thing").create(id=1, n=1, m=1)
        hook(cluster, "alter?seconds=1.6")
        with pytest.raises(OperationalError, match=r"not finished after 1 s .*job \d+"):
            run(migrations.AlterField("Thing", "n", models.BigIntegerField()))
        hook(cluster, "alter?seconds=0.1")
        run(migrations.AlterField("Thing", "m", models.BigIntegerField()))
        types = {column.name: column.type for column in run.definition("thing").columns}
        assert (types["n"], types["m"]) == ("bigint", "bigint")

    def test_one_that_doris_gives_up(self, cluster, migrate):
        run = migrate()
        run(thing(n=models.IntegerField()))
        run.rows("Thing").create(id=1, n=1)
        hook(cluster, "alter?seconds=10")

        def cancel():
            account = {"port": cluster.query_port, "user": "root", "password": PASSWORD}
            with pymysql.connect(host="127.0.0.1", database="cluster", **account) as other:
                other.cursor().execute("CANCEL ALTER TABLE COLUMN FROM doris_steps_thing")

        later = threading.Timer(0.5, cancel)
        later.start()
        with pytest.raises(
            DatabaseError, match=r"Doris gave up changing doris_steps_thing \(job \d+\): user c"
        ):
            run(migrations.AlterField("Thing", "n", models.BigIntegerField()))
        later.join()
        assert run.definition("thing").column("n").type == "int"
        assert run.rows("Thing").get().n == 1


class TestFrontends:
    def hosts(self, cluster):
        return [f"127.0.0.1:{node.ports['query']}" for node in cluster.nodes.frontends]

    def test_any_of_them_reads_and_writes(self, cluster, connect):
        rows = None
        for number, host in enumerate(self.hosts(cluster)):
            connection = connect(hosts=[host])
            connection.settings_dict.update(HOST="", PORT="")
            if rows is None:
                model = make("Seen", id=models.BigIntegerField(primary_key=True))
                with connection.schema_editor() as editor:
                    editor.create_model(model)
                rows = model.objects.using(ALIAS)
            rows.create(id=number)
            assert rows.count() == number + 1
            connection.close()
        with connect().cursor() as cursor:
            cursor.execute("DROP TABLE doris_schema_seen FORCE")

    def test_one_goes_and_comes_back(self, cluster, connect):
        connection = connect(hosts=self.hosts(cluster))
        first, second = (node.ports["query"] for node in cluster.nodes.frontends[:2])
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.address.port == first
        cluster.take_down("fe1")
        time.sleep(0.2)  # its connections break a moment later
        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE t (id INT) DISTRIBUTED BY HASH (id) BUCKETS 1 "
                'PROPERTIES ("replication_num" = "1")'
            )
            cursor.execute("DROP TABLE t FORCE")
        assert connection.address.port == second
        cluster.bring_up("fe1")
        connection.close()
        for address in connection.frontends.addresses:
            connection.frontends.worked(address)  # as if the time in which it is avoided were over
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.address.port == first

    def test_without_a_master_it_reads(self, cluster, connect):
        """Two of three frontends are down: the last one answers queries, and refuses writes."""
        connection = connect(hosts=self.hosts(cluster))
        cluster.take_down("fe1")
        cluster.take_down("fe2")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
            with pytest.raises(DatabaseError):
                cursor.execute("CREATE DATABASE another")
        third = cluster.nodes.frontends[2].ports["query"]
        assert connection.address.port == third
        assert not connection.is_usable(), "the next connection looks for one that can write"
        cluster.bring_up("fe1")
        cluster.bring_up("fe2")
        connection.errors_occurred = True
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE another")
            cursor.execute("DROP DATABASE another FORCE")
        assert connection.address.port != third


class TestDynamicPartitions:
    def test_they_are_made_and_dropped(self, cluster, migrate):
        run = migrate()
        dynamic = DynamicPartitions("DAY", end=2, start=-1, create_history_partition=True)
        table = {"key": ("day", "id"), "distributed_by": ("id",), "buckets": 1}
        run(
            migrations.CreateModel(
                "Event",
                [("id", models.BigIntegerField(primary_key=True)), ("day", models.DateField())],
                options={"doris": DorisTable(**table, partition_by=RangePartitions("day", dynamic=dynamic))},
            )
        )
        today = dt.datetime.now(dt.UTC).date()
        assert len(run.partitions("event")) == 4
        rows = run.rows("Event")
        rows.create(id=1, day=today)
        with pytest.raises(DatabaseError):
            rows.create(id=2, day=today - dt.timedelta(days=30))
        later = today + dt.timedelta(days=10)
        hook(cluster, f"partitions?now={later}")
        assert rows.count() == 0
        rows.create(id=3, day=later)
        longer = DynamicPartitions("DAY", end=4, start=-30, create_history_partition=True)
        run(AlterTable("Event", DorisTable(**table, partition_by=RangePartitions("day", dynamic=longer))))
        assert run.definition("event").properties["dynamic_partition.end"] == "4"
        run(AlterTable("Event", DorisTable(**table, partition_by=RangePartitions("day"))))
        assert run.definition("event").properties["dynamic_partition.enable"] == "false"


VERSIONS = ["2.1.7", "4.1.0"]


@pytest.mark.parametrize("version", VERSIONS)
def test_tables_of_every_release_are_read_alike(version, make_connection):
    """information_schema has no keys before 4.1, and MySQL's from then on; what Django hears is the same."""
    with DorisEmulator(password=PASSWORD, version=version) as emulator:
        account = {"HOST": "127.0.0.1", "PORT": emulator.query_port, "USER": "root", "PASSWORD": PASSWORD}
        connection = make_connection("release", NAME=None, **account)
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE releases")
        connection.close()
        connection.settings_dict["NAME"] = "releases"
        assert connection.get_database_version() == tuple(map(int, version.split(".")))
        plain = DorisTable(key=("day", "id"), distributed_by=("id",), partition_by=AutoRange("day", "day"))
        model = make(
            "Everywhere",
            {
                "db_table_comment": "of all releases",
                "doris": plain,
                "indexes": [
                    InvertedIndex(fields=["name"], name="words", parser="english"),
                    BloomFilterIndex(fields=["id"], name="filters"),
                ],
            },
            id=models.BigAutoField(primary_key=True),
            day=models.DateField(),
            flag=models.BooleanField(),
            name=models.CharField(max_length=20),
        )
        with connection.schema_editor() as editor:
            editor.create_model(model)
        introspection = connection.introspection
        with connection.cursor() as cursor:
            (table,) = introspection.get_table_list(cursor)
            described = introspection.get_table_description(cursor, table.name)
            constraints = introspection.get_constraints(cursor, table.name)
            assert introspection.get_primary_key_columns(cursor, table.name) == ["day", "id"]
        assert (table.type, table.comment) == ("t", "of all releases")
        assert [(c.name, introspection.get_field_type(c.type_code, c)) for c in described] == [
            ("day", "DateField"),
            ("id", "BigIntegerField"),
            ("flag", "BooleanField"),
            ("name", "CharField"),
        ]
        assert {name: found["columns"] for name, found in constraints.items()} == {
            "PRIMARY": ["day", "id"],
            "words": ["name"],
            "bloom_filter_id": ["id"],
        }
        retained = DorisTable(
            key=("day", "id"),
            distributed_by=("id",),
            partition_by=AutoRange("day", "day", retention_count=3),
        )
        if version < "4":
            with (
                pytest.raises(NotSupportedError, match=r"needs Doris 4\.0"),
                connection.schema_editor() as editor,
            ):
                editor.alter_table_options(model, make("Kept", {"doris": retained}, **_fields()))
        connection.close()


def _fields():
    return {"id": models.BigAutoField(primary_key=True), "day": models.DateField()}
