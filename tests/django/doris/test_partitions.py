"""Partitions, aggregates, properties and indexes of a table: as objects, in migrations, and in the table."""

import datetime as dt

import pytest
from django.apps import apps
from django.conf import settings
from django.core.checks.commands import migrate_and_makemigrations_autodetector
from django.core.exceptions import ImproperlyConfigured
from django.core.management.commands import makemigrations, migrate
from django.db import DatabaseError, NotSupportedError, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.serializer import serializer_factory
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter, OperationWriter

from dbint.django.backends import doris
from dbint.django.backends.doris import (
    MAXVALUE,
    AutoList,
    AutoRange,
    BloomFilterIndex,
    DorisTable,
    DynamicPartitions,
    FixedRange,
    InValues,
    InvertedIndex,
    LessThan,
    ListPartitions,
    NgramBloomFilterIndex,
    RangePartitions,
    Steps,
    checks,
)
from dbint.django.backends.doris.autodetector import DorisAutodetector, install
from dbint.django.backends.doris.ddl import read_partitions
from dbint.django.backends.doris.migrations import (
    AddPartition,
    AlterTable,
    BuildIndex,
    DropPartition,
    TruncatePartition,
)
from dbint.django.backends.doris.schema import DatabaseSchemaEditor
from dbint.doris.show_create import PartitionShape, partition_shape

from .conftest import ALIAS
from .test_schema import make, number, sql_of


def quote(name: str) -> str:
    return f"`{name}`"


JANUARY = FixedRange("p1", "2026-01-01", "2026-02-01")
FEBRUARY = FixedRange("p2", "2026-02-01", "2026-03-01")


class TestObjects:
    @pytest.mark.parametrize(
        ("partitions", "sql"),
        [
            (
                RangePartitions("day", (JANUARY, LessThan("rest", MAXVALUE))),
                'PARTITION BY RANGE(`day`) (PARTITION `p1` VALUES [("2026-01-01"), ("2026-02-01")), '
                "PARTITION `rest` VALUES LESS THAN (MAXVALUE))",
            ),
            (
                RangePartitions(("a", "b"), (FixedRange("p", (1, "x"), (-2, MAXVALUE)),)),
                'PARTITION BY RANGE(`a`, `b`) (PARTITION `p` VALUES [(1, "x"), (-2, MAXVALUE)))',
            ),
            (
                RangePartitions("at", (Steps(dt.date(2026, 1, 1), dt.date(2026, 7, 1), 1, "month"),)),
                'PARTITION BY RANGE(`at`) (FROM ("2026-01-01") TO ("2026-07-01") INTERVAL 1 MONTH)',
            ),
            (
                RangePartitions("n", (Steps(1, 100, 10),)),
                "PARTITION BY RANGE(`n`) (FROM (1) TO (100) INTERVAL 10)",
            ),
            (
                ListPartitions(
                    "city", (InValues("cn", ("Beijing", 'Hong "Kong"')), InValues("none", (None,)))
                ),
                'PARTITION BY LIST(`city`) (PARTITION `cn` VALUES IN (("Beijing"), ("Hong \\"Kong\\"")), '
                "PARTITION `none` VALUES IN ((NULL)))",
            ),
            (
                ListPartitions(("a", "b"), (InValues("p", ((1, True), (2, False))),)),
                'PARTITION BY LIST(`a`, `b`) (PARTITION `p` VALUES IN ((1, "true"), (2, "false")))',
            ),
            (AutoRange("at", "month"), "AUTO PARTITION BY RANGE(date_trunc(`at`, 'month')) ()"),
            (AutoList(("a", "b")), "AUTO PARTITION BY LIST(`a`, `b`) ()"),
        ],
    )
    def test_sql(self, partitions, sql):
        assert partitions.sql(quote) == sql
        assert partition_shape(sql).columns == partitions.columns()

    def test_date_times(self):
        part = FixedRange("h", dt.datetime(2026, 1, 1, 5), dt.datetime(2026, 1, 1, 6, 0, 0, 5))
        assert part.values() == '[("2026-01-01 05:00:00"), ("2026-01-01 06:00:00.000005"))'

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: FixedRange("", 1, 2),
            lambda: FixedRange("a b", 1, 2),
            lambda: FixedRange("p", 1.5, 2),
            lambda: FixedRange("p", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 2),
            lambda: InValues("p", ()),
            lambda: Steps(1, 2, 0),
            lambda: Steps(1, 2, 1, "fortnight"),
            lambda: RangePartitions(()),
            lambda: RangePartitions("a", (InValues("p", (1,)),)),
            lambda: RangePartitions("a", (FixedRange("p", (1, 2), (3, 4)),)),
            lambda: RangePartitions("a", (JANUARY, FixedRange("P1", "a", "b"))),
            lambda: RangePartitions(("a", "b"), dynamic=DynamicPartitions("DAY", end=1)),
            lambda: RangePartitions("a", dynamic=DynamicPartitions("DAY", end=0)),
            lambda: ListPartitions(("a", "b"), (InValues("p", (1,)),)),
            lambda: ListPartitions("a", (JANUARY,)),
            lambda: AutoRange("a", "decade"),
            lambda: AutoRange("a", "day", retention_count=0),
            lambda: AutoList(()),
            lambda: DynamicPartitions("FORTNIGHT", end=1),
            lambda: DynamicPartitions("DAY", end=-1),
            lambda: DynamicPartitions("DAY", end=1, start=1),
            lambda: DynamicPartitions("DAY", end=1, prefix=""),
            lambda: DynamicPartitions("DAY", end=1, start_day_of_month=3),
            lambda: DynamicPartitions("MONTH", end=1, start_day_of_month=29),
            lambda: DynamicPartitions("DAY", end=1, history_partition_num=3),
            lambda: DorisTable(partition_by="day"),
            lambda: DorisTable(partition_by=3),
            lambda: DorisTable(aggregates={"a": "SUM"}),
            lambda: DorisTable(key_model="AGGREGATE", aggregates={"a": "AVG"}),
            lambda: DorisTable(key_model="AGGREGATE", key=("a",), aggregates={"a": "SUM"}),
            lambda: DorisTable(properties={"function_column.sequence_type": "bigint"}),
            lambda: DorisTable(
                partition_by=RangePartitions("day", dynamic=DynamicPartitions("DAY", end=1)),
                properties={"dynamic_partition.end": "2"},
            ),
        ],
    )
    def test_what_cannot_be(self, wrong):
        with pytest.raises(ImproperlyConfigured):
            wrong()

    def test_properties_of_dynamic_partitions(self):
        dynamic = DynamicPartitions(
            "month",
            end=2,
            start=-12,
            buckets=4,
            start_day_of_month=3,
            create_history_partition=True,
            history_partition_num=6,
            reserved_history_periods=(("2020-01-01", "2020-02-01"),),
            time_zone="UTC",
        )
        found = dynamic.properties()
        assert found == {
            "dynamic_partition.enable": "true",
            "dynamic_partition.time_unit": "MONTH",
            "dynamic_partition.time_zone": "UTC",
            "dynamic_partition.start": "-12",
            "dynamic_partition.end": "2",
            "dynamic_partition.prefix": "p",
            "dynamic_partition.buckets": "4",
            "dynamic_partition.create_history_partition": "true",
            "dynamic_partition.history_partition_num": "6",
            "dynamic_partition.start_day_of_month": "3",
            "dynamic_partition.reserved_history_periods": "[2020-01-01,2020-02-01]",
        }
        again = doris.partitions.dynamic_from_properties(found)
        assert again is not None
        assert again.properties() == found
        assert doris.partitions.dynamic_from_properties({"replication_num": "1"}) is None

    def test_migrations_can_write_them(self):
        table = DorisTable(
            key=("day", "id"),
            partition_by=RangePartitions(
                "day",
                (JANUARY, LessThan("p2", dt.date(2026, 3, 1)), LessThan("rest", MAXVALUE)),
                DynamicPartitions("DAY", end=3, start=-7),
            ),
        )
        for value in (
            table,
            DorisTable(key_model="AGGREGATE", aggregates={"tokens": "SUM"}, partition_by=AutoList("a")),
            DorisTable(key_model="DUPLICATE", partition_by=ListPartitions("a", (InValues("p", ("x",)),))),
            DorisTable(partition_by=AutoRange("at", "day", retention_count=3)),
            InvertedIndex(fields=["text"], name="t", parser="english", support_phrase=True, comment="words"),
            NgramBloomFilterIndex(fields=["text"], name="t", gram_size=3),
            BloomFilterIndex(fields=["a", "b"], name="t"),
        ):
            source, imports = serializer_factory(value).serialize()
            scope: dict = {}
            exec("\n".join([*imports, f"value = {source}"]), scope)  # noqa: S102 - as migrations do
            if isinstance(value, models.Index):
                assert scope["value"].deconstruct() == value.deconstruct()
                assert scope["value"] == value
            else:
                assert scope["value"] == value
                assert hash(scope["value"]) == hash(value)

    def test_reading_what_the_server_shows(self):
        text = (
            "RANGE(`day`) (PARTITION p1 VALUES [('2026-01-01'), ('2026-02-01')),\n"
            'PARTITION p2 VALUES [("2026-02-01"), (MAXVALUE)) ("replication_num" = "1"),\n'
            "PARTITION p3 VALUES LESS THAN (-5), PARTITION p4 VALUES LESS THAN MAXVALUE)"
        )
        assert read_partitions(text) == [
            JANUARY,
            FixedRange("p2", "2026-02-01", MAXVALUE),
            LessThan("p3", -5),
            LessThan("p4", MAXVALUE),
        ]
        assert read_partitions(
            'LIST(`a`) (PARTITION x VALUES IN ("1", "2"), PARTITION y VALUES IN ((NULL)))'
        ) == [
            InValues("x", ("1", "2")),
            InValues("y", (None,)),
        ]
        assert read_partitions("AUTO LIST(`a`) ()") == []
        for broken in (
            "",
            "LIST(`a`) (PARTITION x)",
            "RANGE(`a`) (PARTITION x VALUES [(1)",
            "LIST(`a`) (FROM 1)",
        ):
            with pytest.raises(ValueError, match="not the partitions"):
                read_partitions(broken)

    def test_shapes(self):
        assert partition_shape("AUTO RANGE (date_trunc(`At`, 'Month')) ()") == PartitionShape(
            "AUTO RANGE", ("At",), "month"
        )
        assert partition_shape("range(a, `b`) ()") == PartitionShape("RANGE", ("a", "b"))
        assert not partition_shape("")
        assert str(partition_shape("AUTO RANGE(date_trunc(d, 'day')) ()")) == "AUTO RANGE(d) by day"


AGGREGATED = {
    "day": models.DateField(),
    "agent": models.CharField(max_length=20),
    "tokens": models.BigIntegerField(default=0),
    "slowest": models.FloatField(null=True),
    "first": models.DateTimeField(null=True),
    "last": models.DateTimeField(null=True),
    "note": models.CharField(max_length=20, null=True),
}
AGGREGATES = {
    "tokens": "SUM",
    "slowest": "MAX",
    "first": "MIN",
    "last": "REPLACE",
    "note": "REPLACE_IF_NOT_NULL",
}


def aggregated(**changes):
    options = {"key_model": "AGGREGATE", "aggregates": AGGREGATES, "buckets": 1, **changes}
    return make(
        "Usage",
        {"doris": DorisTable(**options)},
        pk=models.CompositePrimaryKey("day", "agent"),
        **{name: field.clone() for name, field in AGGREGATED.items()},
    )


class TestAggregates:
    def test_create_table(self, make_connection):
        connection = make_connection("sql", OPTIONS={"replication_num": 1})
        assert sql_of(connection, aggregated()) == (
            "CREATE TABLE `doris_schema_usage` (\n"
            "  `day` DATE NOT NULL,\n"
            "  `agent` VARCHAR(80) NOT NULL,\n"
            "  `tokens` BIGINT SUM NOT NULL,\n"
            "  `slowest` DOUBLE MAX NULL,\n"
            "  `first` DATETIME(6) MIN NULL,\n"
            "  `last` DATETIME(6) REPLACE NULL,\n"
            "  `note` VARCHAR(80) REPLACE_IF_NOT_NULL NULL\n"
            ")\n"
            "AGGREGATE KEY (`day`, `agent`)\n"
            "DISTRIBUTED BY HASH(`day`, `agent`) BUCKETS 1\n"
            'PROPERTIES ("replication_num" = "1")'
        )

    def test_rows_add_up(self, connection, table):
        model = aggregated()
        rows = table(model)
        key = {"day": dt.date(2026, 1, 1), "agent": "a"}
        rows.create(**key, tokens=3, slowest=0.5, note="first")
        rows.create(**key, tokens=4, slowest=0.25, note=None)
        rows.create(day=dt.date(2026, 1, 2), agent="a", tokens=1)
        found = rows.get(**key)
        assert (found.tokens, found.slowest, found.note) == (7, 0.5, "first")
        assert rows.count() == 2

    def test_they_are_read_back(self, connection, table):
        model = aggregated()
        table(model)
        with connection.cursor() as cursor:
            definition = connection.introspection.table_definition(cursor, "doris_schema_usage")
            key = connection.introspection.get_primary_key_columns(cursor, "doris_schema_usage")
        assert definition.key_model == "AGGREGATE"
        assert {c.name: c.aggregate for c in definition.columns if c.aggregate} == AGGREGATES
        assert key == ["day", "agent"]
        assert checks.check_model(model, connection) == []
        other = aggregated(aggregates={**AGGREGATES, "tokens": "MAX"})
        found = checks.check_model(other, connection)
        assert [m.id for m in found] == ["dbint.doris.E011"]
        assert "the aggregate of tokens is MAX in the model and SUM in the table" in found[0].msg

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"aggregates": {**AGGREGATES, "nowhere": "SUM"}}, "dbint.doris.E003"),
            ({"aggregates": {**AGGREGATES, "day": "MAX"}}, "dbint.doris.E003"),
            ({"aggregates": {"tokens": "SUM"}}, "dbint.doris.E013"),
            ({"aggregates": {**AGGREGATES, "note": "SUM"}}, "dbint.doris.E013"),
            ({"aggregates": {**AGGREGATES, "tokens": "REPLACE_IF_NOT_NULL"}}, "dbint.doris.E013"),
            ({"distributed_by": "RANDOM"}, "dbint.doris.E013"),
            ({"distributed_by": ("tokens",)}, "dbint.doris.E006"),
            ({"key": ("day",)}, "dbint.doris.E007"),
        ],
    )
    def test_checks(self, connection, changes, expected):
        assert expected in [m.id for m in checks.check_model(aggregated(**changes), connection)]

    def test_what_cannot_be_made(self, connection):
        for changes, message in (
            ({"aggregates": {"tokens": "SUM"}}, "how it adds up"),
            ({"aggregates": {**AGGREGATES, "note": "SUM"}}, "means nothing"),
            ({"aggregates": {**AGGREGATES, "tokens": "REPLACE_IF_NOT_NULL"}}, "null=True"),
        ):
            with pytest.raises(NotSupportedError, match=message):
                sql_of(connection, aggregated(**changes))


class TestChecks:
    def ids(self, connection, meta, **fields):
        fields = {"id": models.BigAutoField(primary_key=True), **{n: f.clone() for n, f in fields.items()}}
        return [m.id for m in checks.check_model(make("Checked", meta, **fields), connection)]

    @pytest.mark.parametrize(
        ("by", "fields", "expected"),
        [
            (RangePartitions("nowhere"), {}, "dbint.doris.E003"),
            (RangePartitions("day"), {"day": models.DateField()}, "dbint.doris.E015"),
            ("RANGE(`day`) ()", {"day": models.DateField()}, "dbint.doris.E015"),
            (AutoRange("id", "day"), {}, "dbint.doris.E015"),
        ],
    )
    def test_partition_fields(self, connection, by, fields, expected):
        assert expected in self.ids(connection, {"doris": DorisTable(partition_by=by)}, **fields)

    @pytest.mark.parametrize(
        ("by", "field", "good"),
        [
            (AutoRange("f", "day"), models.DateField(), True),
            (AutoRange("f", "hour"), models.DateField(), False),
            (AutoRange("f", "hour"), models.DateTimeField(), True),
            (AutoRange("f", "day"), models.DateField(null=True), False),
            (RangePartitions("f"), models.CharField(max_length=3), False),
            (RangePartitions("f"), models.BigIntegerField(), True),
            (RangePartitions("f", dynamic=DynamicPartitions("DAY", end=1)), models.IntegerField(), False),
            (RangePartitions("f", dynamic=DynamicPartitions("HOUR", end=1)), models.DateField(), False),
            (RangePartitions("f", dynamic=DynamicPartitions("HOUR", end=1)), models.DateTimeField(), True),
            (AutoList("f"), models.CharField(max_length=3), True),
            (AutoList("f"), models.BooleanField(), True),
            (ListPartitions("f"), models.FloatField(), False),
        ],
    )
    def test_types(self, connection, by, field, good):
        options = {"key_model": "DUPLICATE", "key": ("id",), "partition_by": by}
        found = self.ids(connection, {"doris": DorisTable(**options)}, f=field)
        assert ("dbint.doris.E015" in found) != good

    def test_sequence_column(self, connection):
        table = DorisTable(sequence_column="name")
        assert "dbint.doris.E014" in self.ids(
            connection, {"doris": table}, name=models.CharField(max_length=3)
        )

    @pytest.mark.parametrize(
        ("index", "field", "good"),
        [
            (InvertedIndex(fields=["f"], name="i", parser="english"), models.TextField(), True),
            (InvertedIndex(fields=["f"], name="i", parser="english"), models.IntegerField(), False),
            (InvertedIndex(fields=["f"], name="i"), models.IntegerField(), True),
            (InvertedIndex(fields=["f"], name="i"), models.JSONField(), False),
            (InvertedIndex(fields=["f"], name="i"), doris.ArrayField(models.IntegerField()), True),
            (models.Index(fields=["f"], name="i"), models.JSONField(), False),
            (models.Index(fields=["f"], name="i"), models.FloatField(), False),
            (NgramBloomFilterIndex(fields=["f"], name="i"), models.TextField(), True),
            (NgramBloomFilterIndex(fields=["f"], name="i"), models.IntegerField(), False),
            (BloomFilterIndex(fields=["f", "id"], name="i"), models.CharField(max_length=3), True),
            (BloomFilterIndex(fields=["f"], name="i"), models.FloatField(), False),
        ],
    )
    def test_indexes(self, connection, index, field, good):
        found = self.ids(connection, {"indexes": [index]}, f=field)
        assert ("dbint.doris.E009" in found) != good

    def test_lenient_models_leave_them_out(self, make_connection):
        connection = make_connection("lenient", OPTIONS={"lenient_models": True, "replication_num": 1})
        index = models.Index(fields=["f"], name="i")
        model = make(
            "Lenient",
            {"indexes": [index]},
            id=models.BigAutoField(primary_key=True),
            f=models.FloatField(),
        )
        assert [m.id for m in checks.check_model(model, connection)] == ["dbint.doris.W009"]
        assert "INDEX" not in sql_of(connection, model)
        with DatabaseSchemaEditor(connection, collect_sql=True) as editor:
            editor.add_index(model, index)
            editor.remove_index(model, index)
        assert editor.collected_sql == []

    def test_one_kind_of_bloom_filter(self, connection):
        indexes = [
            BloomFilterIndex(fields=["f"], name="one"),
            NgramBloomFilterIndex(fields=["f"], name="two"),
        ]
        assert "dbint.doris.E009" in self.ids(
            connection, {"indexes": indexes}, f=models.CharField(max_length=3)
        )
        twice = {
            "indexes": indexes[:1],
            "doris": DorisTable(properties={"bloom_filter_columns": "f"}),
        }
        assert "dbint.doris.E009" in self.ids(connection, twice, f=models.CharField(max_length=3))

    def test_old_servers(self, make_connection):
        connection = make_connection("old")
        connection.server_comment = "Doris version doris-3.0.7-rc01-x"
        table = DorisTable(
            key=("day", "id"),
            distributed_by=("id",),
            partition_by=AutoRange("day", "day", retention_count=30),
        )
        model = make(
            "Old", {"doris": table}, id=models.BigAutoField(primary_key=True), day=models.DateField()
        )
        assert "dbint.doris.E012" in [m.id for m in checks.check_model(model, connection)]
        with pytest.raises(
            NotSupportedError, match=r"retention_count needs Doris 4\.0 or later.*Doris 3\.0\.7"
        ):
            sql_of(connection, model)
        connection.server_comment = "Doris version doris-4.0.1-rc01-x"
        assert '"partition.retention_count" = "30"' in sql_of(connection, model)

    def test_atomic_requests(self, make_connection):
        connection = make_connection("atomic", ATOMIC_REQUESTS=True)
        assert [m.id for m in checks.check_settings(connection)] == ["dbint.doris.W004"]
        assert checks.check_settings(make_connection("plain")) == []

    def test_long_texts(self, connection):
        field = models.CharField(max_length=20_000)
        make("Long", id=models.BigAutoField(primary_key=True), text=field)
        assert [m.id for m in connection.validation.check_field(field)] == ["dbint.doris.W002"]

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: InvertedIndex(fields=["a", "b"], name="i"),
            lambda: InvertedIndex(fields=["a"], name="i", parser="klingon"),
            lambda: InvertedIndex(fields=["a"], name="i", properties={"colour": "red"}),
            lambda: InvertedIndex(fields=["a"], name="i", properties={"parser_mode": "fine_grained"}),
            lambda: InvertedIndex(fields=["a"], name="i", condition=models.Q(a=1)),
            lambda: NgramBloomFilterIndex(fields=["a", "b"], name="i"),
            lambda: NgramBloomFilterIndex(fields=["a"], name="i", gram_size=0),
            lambda: NgramBloomFilterIndex(fields=["a"], name="i", bf_size=10),
            lambda: BloomFilterIndex(fields=["a"], name="i", comment="x"),
        ],
    )
    def test_indexes_that_cannot_be(self, wrong):
        with pytest.raises(ImproperlyConfigured):
            wrong()


class Migrate:
    """Runs operations as migrate does."""

    def __init__(self, connection):
        self.connection = connection
        self.state = ProjectState()

    def __call__(self, *operations, back: bool = False):
        for operation in operations:
            after = self.state.clone()
            operation.state_forwards("doris_steps", after)
            with self.connection.schema_editor() as editor:
                if back:
                    operation.database_backwards("doris_steps", editor, after, self.state)
                else:
                    operation.database_forwards("doris_steps", editor, self.state, after)
            if not back:
                self.state = after

    def model(self, name):
        return self.state.apps.get_model("doris_steps", name)

    def rows(self, name):
        return self.model(name).objects.using(ALIAS)

    def definition(self, name):
        with self.connection.cursor() as cursor:
            return self.connection.introspection.table_definition(cursor, f"doris_steps_{name}")

    def partitions(self, name):
        with self.connection.cursor() as cursor:
            cursor.execute(f"SHOW PARTITIONS FROM `doris_steps_{name}`")
            at = [column[0] for column in cursor.description].index("PartitionName")
            return sorted(row[at] for row in cursor.fetchall())


@pytest.fixture
def run(connection):
    steps = Migrate(connection)
    yield steps
    with connection.cursor() as cursor:
        for model in steps.state.apps.get_models():
            cursor.execute(f"DROP TABLE IF EXISTS `{model._meta.db_table}` FORCE")


def partitioned(*partitions, **options):
    return migrations.CreateModel(
        "Part",
        [("id", models.BigIntegerField(primary_key=True)), ("day", models.DateField())],
        options={
            "doris": DorisTable(
                key=("day", "id"),
                distributed_by=("id",),
                buckets=1,
                partition_by=RangePartitions("day", partitions),
                **options,
            )
        },
    )


class TestOperations:
    def test_add_and_drop(self, run):
        run(partitioned(JANUARY))
        rows = run.rows("Part")
        rows.create(id=1, day="2026-01-05")
        with pytest.raises(DatabaseError):
            rows.create(id=2, day="2026-02-05")
        add = AddPartition("Part", FEBRUARY)
        run(add)
        rows.create(id=2, day="2026-02-05")
        assert run.partitions("part") == ["p1", "p2"]
        run(DropPartition("Part", JANUARY))
        assert [row.id for row in rows.all()] == [2]
        run(DropPartition("Part", JANUARY), back=True)
        assert run.partitions("part") == ["p1", "p2"]
        run(add, back=True)
        assert run.partitions("part") == ["p1"]
        assert rows.count() == 0

    def test_truncate(self, run):
        run(partitioned(JANUARY, FEBRUARY))
        rows = run.rows("Part")
        rows.create(id=1, day="2026-01-05")
        rows.create(id=2, day="2026-02-05")
        run(TruncatePartition("Part", ["p1"]))
        assert [row.id for row in rows.all()] == [2]

    def test_statements(self, connection, run):
        """What is sent, also where there is no table yet (sqlmigrate)."""
        run(partitioned(JANUARY))
        model = run.model("Part")
        editor = DatabaseSchemaEditor(connection, collect_sql=True)
        with editor:
            editor.add_partition(model, FEBRUARY)
            editor.add_partition(model, Steps("2026-03-01", "2026-05-01", 1, "MONTH"))
            editor.drop_partition(model, "p1")
            editor.drop_partition(model, "p2", force=True)
            editor.truncate_partitions(model, ["p1", "p2"])
            editor.build_index(model, "by_day")
        name = "`doris_steps_part`"
        assert editor.collected_sql == [
            f'ALTER TABLE {name} ADD PARTITION `p2` VALUES [("2026-02-01"), ("2026-03-01"));',
            f'ALTER TABLE {name} ADD PARTITIONS FROM ("2026-03-01") TO ("2026-05-01") INTERVAL 1 MONTH;',
            f"ALTER TABLE {name} DROP PARTITION `p1`;",
            f"ALTER TABLE {name} DROP PARTITION `p2` FORCE;",
            f"TRUNCATE TABLE {name} PARTITION(`p1`, `p2`);",
            f"BUILD INDEX `by_day` ON {name};",
        ]

    @pytest.mark.parametrize(
        ("operation", "reversible"),
        [
            (AddPartition("Part", JANUARY), True),
            (AddPartition("Part", Steps(1, 9, 1)), False),
            (DropPartition("Part", JANUARY), True),
            (DropPartition("Part", "p1", force=True), False),
            (TruncatePartition("Part", ["p1", "p2"]), False),
            (AlterTable("Part", DorisTable(buckets=2)), True),
            (BuildIndex("Part", "i"), True),
        ],
    )
    def test_they_are_written_and_described(self, operation, reversible):
        assert operation.reversible == reversible
        assert "Part" in operation.describe() or "p1" in operation.describe()
        assert operation.migration_name_fragment.startswith("part_")
        assert operation.references_model("part", "doris_steps")
        source, imports = OperationWriter(operation, indentation=0).serialize()
        scope: dict = {}
        exec("\n".join([*imports, f"value = [{source}]"]), scope)  # noqa: S102 - as migrations do
        again = scope["value"][0]
        assert type(again) is type(operation)
        assert vars(again) | {"_constructor_args": 0} == vars(operation) | {"_constructor_args": 0}

    def test_other_databases_are_left_alone(self, run):
        class Editor:
            class connection:  # noqa: N801
                vendor = alias = "sqlite"

        run(partitioned(JANUARY))
        for operation in (
            AddPartition("Part", FEBRUARY),
            DropPartition("Part", "p1"),
            BuildIndex("Part", "i"),
        ):
            operation.database_forwards("doris_steps", Editor(), run.state, run.state)


class TestAlterTable:
    def test_properties(self, run):
        run(partitioned(JANUARY, properties={"group_commit_interval_ms": "5000"}))
        before = run.model("Part")._meta.doris
        changed = DorisTable(
            **{**before.deconstruct()[2], "properties": {"group_commit_interval_ms": "2000"}}
        )
        operation = AlterTable("Part", changed)
        run(operation)
        assert run.model("Part")._meta.doris == changed
        assert run.definition("part").properties["group_commit_interval_ms"] == "2000"

    def sent(self, connection, old, new):
        def model(table):
            return make(
                "Sent",
                {"doris": table},
                id=models.BigIntegerField(primary_key=True),
                day=models.DateField(),
                n=number(),
            )

        editor = DatabaseSchemaEditor(connection, collect_sql=True)
        with editor:
            editor.alter_table_options(model(old), model(new))
        prefix = "ALTER TABLE `doris_schema_sent` "
        return [statement.removeprefix(prefix).removesuffix(";") for statement in editor.collected_sql]

    def test_one_statement_a_property_but_for_dynamic_partitions(self, connection):
        base = {"key": ("day", "id"), "distributed_by": ("id",), "buckets": 1}
        plain = DorisTable(**base, partition_by=RangePartitions("day"))
        dynamic = DorisTable(
            **base,
            partition_by=RangePartitions("day", dynamic=DynamicPartitions("DAY", end=3, start=-7)),
            properties={"replication_num": "2", "group_commit_interval_ms": "1000"},
        )
        assert self.sent(connection, plain, dynamic) == [
            'SET ("dynamic_partition.enable" = "true", "dynamic_partition.time_unit" = "DAY", '
            '"dynamic_partition.start" = "-7", "dynamic_partition.end" = "3", '
            '"dynamic_partition.prefix" = "p")',
            'SET ("default.replication_num" = "2")',
            'SET ("group_commit_interval_ms" = "1000")',
        ]
        longer = DorisTable(
            **base,
            partition_by=RangePartitions("day", dynamic=DynamicPartitions("DAY", end=3)),
            properties=dynamic.properties,
        )
        assert '"dynamic_partition.start" = "-2147483648"' in self.sent(connection, dynamic, longer)[0]
        off = DorisTable(**base, partition_by=RangePartitions("day"), properties=dynamic.properties)
        assert self.sent(connection, dynamic, off) == ['SET ("dynamic_partition.enable" = "false")']

    def test_buckets(self, connection):
        base = {"key": ("day", "id"), "distributed_by": ("id",)}
        by = RangePartitions("day")
        assert self.sent(
            connection,
            DorisTable(**base, buckets=1, partition_by=by),
            DorisTable(**base, buckets=8, partition_by=by),
        ) == ["MODIFY DISTRIBUTION DISTRIBUTED BY HASH(`id`) BUCKETS 8"]
        with pytest.raises(NotSupportedError, match="without partitions"):
            self.sent(connection, DorisTable(**base, buckets=1), DorisTable(**base, buckets=8))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"key_model": "DUPLICATE"}, "key_model"),
            ({"key": ("id",)}, "key"),
            ({"distributed_by": ("day",)}, "distributed_by"),
            ({"partition_by": AutoRange("day", "month")}, "partition_by"),
            ({"sequence_column": "n"}, "sequence_column"),
            ({"properties": {"group_commit_interval_ms": "1000", "compression": "zstd"}}, "compression"),
            ({"properties": None}, "group_commit_interval_ms"),
        ],
    )
    def test_what_cannot_be_changed(self, connection, changes, message):
        base = {
            "key": ("day", "id"),
            "distributed_by": ("id",),
            "partition_by": AutoRange("day", "day"),
            "properties": {"group_commit_interval_ms": "1000"},
        }
        with pytest.raises(NotSupportedError, match=message):
            self.sent(connection, DorisTable(**base), DorisTable(**{**base, **changes}))

    def test_the_check_says_what_differs(self, connection, run):
        run(partitioned(JANUARY, properties={"group_commit_interval_ms": "5000"}))
        model = run.model("Part")
        assert checks.check_model(model, connection) == []
        before = model._meta.doris.deconstruct()[2]
        model._meta.doris = DorisTable(**{**before, "properties": {"group_commit_interval_ms": "1"}})
        found = checks.check_model(model, connection)
        assert [m.id for m in found] == ["dbint.doris.W003"]
        assert "AlterTable" in found[0].hint
        model._meta.doris = DorisTable(**{**before, "partition_by": AutoRange("day", "month")})
        assert "dbint.doris.E011" in [m.id for m in checks.check_model(model, connection)]

    def test_a_field_of_an_aggregate_table(self, run):
        table = {"key_model": "AGGREGATE", "buckets": 1}
        run(
            migrations.CreateModel(
                "Sum",
                [("id", models.BigIntegerField(primary_key=True)), ("n", models.IntegerField())],
                options={"doris": DorisTable(**table, aggregates={"n": "SUM"})},
            )
        )
        add = migrations.AddField("Sum", "top", models.IntegerField(default=0))
        with pytest.raises(NotSupportedError, match="AlterTable comes before"):
            run(add)
        run(AlterTable("Sum", DorisTable(**table, aggregates={"n": "SUM", "top": "MAX"})), add)
        rows = run.rows("Sum")
        rows.create(id=1, n=1, top=5)
        rows.create(id=1, n=1, top=3)
        assert rows.values_list("n", "top").get() == (2, 5)
        run(migrations.AlterField("Sum", "n", models.BigIntegerField()))
        assert run.definition("sum").column("n").aggregate == "SUM"
        assert rows.values_list("n", "top").get() == (2, 5)
        with pytest.raises(NotSupportedError, match="aggregates cannot be changed"):
            run(AlterTable("Sum", DorisTable(**table, aggregates={"n": "MAX", "top": "MAX"})))


class TestMakemigrations:
    """It writes an AlterTable, where Django by itself sees no change."""

    def detected(self, before, after, fields=(), gone=()):
        def state(table, more):
            columns = [("id", models.BigIntegerField(primary_key=True)), ("n", number()), *more]
            found = ProjectState()
            found.add_model(ModelState("doris_steps", "Part", columns, {"doris": table} if table else {}))
            return found

        autodetector = DorisAutodetector(state(before, gone), state(after, fields))
        return [
            operation
            for migration in autodetector._detect_changes().get("doris_steps", [])
            for operation in migration.operations
        ]

    def test_a_changed_table(self):
        after = DorisTable(buckets=1, properties={"compression": "zstd"})
        (operation,) = self.detected(DorisTable(buckets=1), after)
        assert (type(operation), operation.model_name, operation.doris) == (AlterTable, "part", after)
        text = MigrationWriter(
            type("Written", (migrations.Migration,), {"operations": [operation]})("m", "doris_steps")
        ).as_string()
        assert "dbint.django.backends.doris.migrations.AlterTable(" in text
        assert "'compression': 'zstd'" in text

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (None, None),
            (None, DorisTable()),
            (DorisTable(), None),
            (DorisTable(buckets=1), DorisTable(buckets=1)),
        ],
    )
    def test_the_same_table(self, before, after):
        assert self.detected(before, after) == []

    def test_its_place_among_the_fields(self):
        """The aggregate of a field is named before the field is added, and forgotten after it is removed."""
        one = DorisTable(key_model="AGGREGATE", aggregates={"n": "SUM", "a": "SUM"})
        other = DorisTable(key_model="AGGREGATE", aggregates={"n": "SUM", "b": "MAX"})
        operations = self.detected(
            one, other, fields=[("b", models.DateField(default=dt.date.min))], gone=[("a", number())]
        )
        assert [type(operation).__name__ for operation in operations] == [
            "RemoveField",
            "AlterTable",
            "AddField",
        ]

    @pytest.mark.parametrize("engine", ["dbint.django.backends.doris", "django.db.backends.sqlite3"])
    def test_the_commands_have_it_in_a_project_with_doris(self, monkeypatch, engine):
        for command in (makemigrations.Command, migrate.Command):
            monkeypatch.setattr(command, "autodetector", MigrationAutodetector)
        monkeypatch.setattr(settings, "DATABASES", {"default": {"ENGINE": engine}})
        apps.get_app_config("dbint").ready()
        expected = DorisAutodetector if "doris" in engine else MigrationAutodetector
        assert makemigrations.Command.autodetector is expected
        assert migrate_and_makemigrations_autodetector() == []

    def test_that_of_another_app_stays(self, monkeypatch):
        class Other(MigrationAutodetector):
            pass

        monkeypatch.setattr(migrate.Command, "autodetector", Other)
        monkeypatch.setattr(makemigrations.Command, "autodetector", MigrationAutodetector)
        install()
        assert makemigrations.Command.autodetector is MigrationAutodetector

    def test_what_is_written_can_run(self, run):
        before = partitioned(JANUARY, properties={"group_commit_interval_ms": "5000"})
        run(before)
        table = before.options["doris"].deconstruct()[2]
        changed = DorisTable(**{**table, "properties": {"group_commit_interval_ms": "2000"}})
        target = run.state.clone()
        target.alter_model_options("doris_steps", "part", {"doris": changed})
        ((migration,),) = DorisAutodetector(run.state, target)._detect_changes().values()
        run(*migration.operations)
        assert run.definition("part").properties["group_commit_interval_ms"] == "2000"
        assert DorisAutodetector(run.state, target)._detect_changes() == {}


class TestIndexes:
    def test_in_create_table(self, connection):
        model = make(
            "Indexed",
            {
                "doris": DorisTable(properties={"replication_num": "1"}),
                "indexes": [
                    InvertedIndex(
                        fields=["text"], name="words", parser="english", support_phrase=True, comment="it's"
                    ),
                    NgramBloomFilterIndex(fields=["name"], name="pieces", gram_size=3, bf_size=1024),
                    BloomFilterIndex(fields=["n", "other"], name="filters"),
                    models.Index(fields=["n"], name="plain"),
                ],
            },
            id=models.BigAutoField(primary_key=True),
            text=models.TextField(),
            name=models.CharField(max_length=10),
            n=models.IntegerField(),
            other=models.IntegerField(db_column="column_of_other"),
        )
        sql = sql_of(connection, model)
        assert (
            "  INDEX `words` (`text`) USING INVERTED "
            'PROPERTIES ("parser" = "english", "support_phrase" = "true") '
            "COMMENT 'it\\'s',\n"
            '  INDEX `pieces` (`name`) USING NGRAM_BF PROPERTIES ("gram_size" = "3", "bf_size" = "1024"),\n'
            "  INDEX `plain` (`n`) USING INVERTED\n"
        ) in sql
        assert '"bloom_filter_columns" = "n,column_of_other"' in sql

    def test_added_and_removed(self, connection, run):
        run(
            migrations.CreateModel(
                "Item",
                [
                    ("id", models.BigIntegerField(primary_key=True)),
                    ("text", models.TextField()),
                    ("name", models.CharField(max_length=10)),
                    ("n", models.IntegerField()),
                ],
                options={"doris": DorisTable(buckets=1)},
            ),
            migrations.AddIndex("Item", InvertedIndex(fields=["text"], name="words", parser="unicode")),
            migrations.AddIndex("Item", NgramBloomFilterIndex(fields=["name"], name="pieces")),
            migrations.AddIndex("Item", BloomFilterIndex(fields=["n"], name="one")),
            migrations.AddIndex("Item", BloomFilterIndex(fields=["id", "n"], name="two")),
        )
        definition = run.definition("item")
        assert {(i.name, i.type) for i in definition.indexes} == {
            ("words", "INVERTED"),
            ("pieces", "NGRAM_BF"),
        }
        words = next(i for i in definition.indexes if i.name == "words")
        assert words.properties["parser"] == "unicode"
        assert set(definition.properties["bloom_filter_columns"].replace(" ", "").split(",")) == {"id", "n"}
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, "doris_steps_item")
        assert found["bloom_filter_n"]["type"] == "bloom_filter"
        run(
            migrations.RemoveIndex("Item", "two"),
            migrations.RemoveIndex("Item", "words"),
            migrations.RenameIndex("Item", new_name="many", old_name="one"),
        )
        definition = run.definition("item")
        assert [i.name for i in definition.indexes] == ["pieces"]
        assert definition.properties["bloom_filter_columns"] == "n"
        run(migrations.RemoveIndex("Item", "many"))
        assert not run.definition("item").properties.get("bloom_filter_columns")
