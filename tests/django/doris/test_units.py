"""Parts that need no server: ids, the reader of SHOW CREATE TABLE, DorisTable."""

import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter

from dbint.django.backends.doris import DorisTable
from dbint.django.backends.doris.ids import MAX_NODE, IdGenerator
from dbint.django.backends.doris.table import table_options
from dbint.doris.show_create import parse_create_table

from .models import Event, Visit


class TestIds:
    def test_increase_and_fit_63_bits(self):
        generator = IdGenerator()
        ids = generator.take(10) + generator.take(1) + generator.take(1000)
        assert ids == sorted(set(ids))
        assert ids[0] > 0
        assert ids[-1] < 2**63

    def test_layout(self):
        clock = [1_704_067_200_000 + 50]
        first, second = IdGenerator(node=7, clock_ms=lambda: clock[0]).take(2)
        assert first == 5 << 25 | 7 << 5 | 0
        assert second == 5 << 25 | 7 << 5 | 1

    def test_more_than_a_tick_holds(self):
        generator = IdGenerator(node=0, clock_ms=lambda: 1_704_067_200_000)
        ids = generator.take(100)
        assert len(set(ids)) == 100
        assert ids[32] >> 25 == 1, "the 33rd is of the next tick"
        assert generator.take(1)[0] > ids[-1]

    def test_a_clock_that_goes_back(self):
        clock = [1_704_067_300_000]
        generator = IdGenerator(node=0, clock_ms=lambda: clock[0])
        before = generator.take(1)
        clock[0] -= 60_000
        assert generator.take(1) > before

    def test_threads(self):
        generator, found = IdGenerator(), []

        def work():
            for _ in range(200):
                found.extend(generator.take(7))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == len(found) == 8 * 200 * 7

    def test_processes_with_nodes_of_their_own_never_meet(self):
        def clock() -> int:
            return 1_704_067_200_000

        assert not {*IdGenerator(1, clock).take(500)} & {*IdGenerator(2, clock).take(500)}

    @pytest.mark.parametrize("node", [-1, MAX_NODE + 1])
    def test_node_out_of_range(self, node):
        with pytest.raises(ValueError, match="node"):
            IdGenerator(node)


SHOWN = """CREATE TABLE `orders` (
  `day` date NOT NULL COMMENT 'it''s a "day", (really)',
  `id` bigint NOT NULL AUTO_INCREMENT(1),
  `name` varchar(80) NULL DEFAULT "a,b)",
  `total` decimal(38,9) NOT NULL DEFAULT "-1.5",
  `at` datetime(6) NULL DEFAULT CURRENT_TIMESTAMP(6),
  `tags` array<varchar(10)> NULL,
  `pairs` map<varchar(10),int(11)> NULL,
  `INDEX` int NULL DEFAULT NULL,
  INDEX idx_name (`name`) USING INVERTED PROPERTIES("parser" = "english") COMMENT 'x'
) ENGINE=OLAP
UNIQUE KEY(`day`, `id`)
COMMENT 'all; orders'
AUTO PARTITION BY RANGE (date_trunc(`day`, 'month'))
()
DISTRIBUTED BY HASH(`id`) BUCKETS 4
PROPERTIES (
"replication_allocation" = "tag.location.default: 1",
"function_column.sequence_col" = "at"
);"""


class TestShowCreateTable:
    def test_everything(self):
        table = parse_create_table(SHOWN)
        assert [c.name for c in table.columns] == [
            "day",
            "id",
            "name",
            "total",
            "at",
            "tags",
            "pairs",
            "INDEX",
        ]
        assert [c.type for c in table.columns] == [
            "date",
            "bigint",
            "varchar(80)",
            "decimal(38,9)",
            "datetime(6)",
            "array<varchar(10)>",
            "map<varchar(10),int(11)>",
            "int",
        ]
        assert [c.nullable for c in table.columns] == [False, False, True, False, True, True, True, True]
        assert [c.default for c in table.columns] == [
            None,
            None,
            "a,b)",
            "-1.5",
            "CURRENT_TIMESTAMP(6)",
            None,
            None,
            None,
        ]
        assert table.column("ID").auto_increment
        assert table.columns[0].comment == 'it\'s a "day", (really)'
        assert (table.key_model, table.key, table.comment) == ("UNIQUE", ["day", "id"], "all; orders")
        assert (table.distributed_by, table.buckets) == (["id"], 4)
        assert table.partition_by == "AUTO RANGE(date_trunc(`day`, 'month')) ()"
        assert table.partition_columns() == ["day"]
        assert table.properties["function_column.sequence_col"] == "at"
        assert [(i.name, i.columns, i.type) for i in table.indexes] == [("idx_name", ["name"], "INVERTED")]

    def test_random_distribution_and_named_partitions(self):
        table = parse_create_table(
            "CREATE TABLE `t` (\n `d` date NULL\n) ENGINE=OLAP\nDUPLICATE KEY(`d`)\nPARTITION BY RANGE(`d`)\n"
            "(PARTITION p1 VALUES [('2026-01-01'), ('2026-02-01')))\nDISTRIBUTED BY RANDOM BUCKETS AUTO"
        )
        assert (table.distributed_by, table.buckets, table.key_model) == ([], "AUTO", "DUPLICATE")
        assert table.partition_columns() == ["d"]

    @pytest.mark.parametrize(
        "sql", ["", "CREATE VIEW v AS SELECT 1", "CREATE TABLE t (", "SELECT 1", SHOWN[:200]]
    )
    def test_what_is_none(self, sql):
        with pytest.raises(ValueError, match="not a CREATE TABLE"):
            parse_create_table(sql)


class TestDorisTable:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"key_model": "AGGREGATE"},
            {"key": "id"},
            {"key": ("id", "id")},
            {"key": (1,)},
            {"distributed_by": "RANDOM"},
            {"distributed_by": "id"},
            {"buckets": 0},
            {"buckets": "many"},
            {"buckets": True},
            {"properties": {"replication_num": 1}},
            {"key_model": "DUPLICATE", "sequence_column": "at"},
        ],
    )
    def test_refused(self, arguments):
        with pytest.raises(ImproperlyConfigured, match="DorisTable"):
            DorisTable(**arguments)

    def test_another_thing_in_meta(self):
        class Wrong(models.Model):  # noqa: DJ008 - never shown
            class Meta:
                app_label = "doris_wrong"
                doris = {"key": ("id",)}

        with pytest.raises(ImproperlyConfigured, match="DorisTable"):
            table_options(Wrong)

    def test_it_survives_into_migrations(self):
        """Detected, written as source, run, and there again in the historical model."""

        def models_now() -> ProjectState:
            state = ProjectState()
            for model in (Event, Visit):
                state.add_model(ModelState.from_model(model))
            return state

        questioner = MigrationQuestioner(specified_apps={"doris_tests"})
        changes = MigrationAutodetector(ProjectState(), models_now(), questioner).changes(MigrationGraph())
        migration = changes["doris_tests"][0]
        migration.app_label, migration.name = "doris_tests", "0001_initial"
        source = MigrationWriter(migration, include_header=False).as_string()
        scope: dict = {}
        exec(compile(source, "0001_initial.py", "exec"), scope)  # noqa: S102 - that is how migrations run
        state = ProjectState()
        for operation in scope["Migration"].operations:
            operation.state_forwards("doris_tests", state)
        historical = state.apps.get_model("doris_tests", "Event")
        assert historical is not Event
        assert historical._meta.doris == Event._meta.doris
        assert table_options(state.apps.get_model("doris_tests", "Visit")) == DorisTable()
        again = MigrationAutodetector(state, models_now()).changes(MigrationGraph())
        assert again == {}

    def test_abstract_parents_hand_it_down(self):
        class Parent(models.Model):
            class Meta:
                abstract = True
                doris = DorisTable(buckets=3)

        class Child(Parent):  # noqa: DJ008 - never shown
            class Meta(Parent.Meta):
                app_label = "doris_abstract"

        assert Child._meta.doris.buckets == 3
