"""Tables read back: what inspectdb writes makes the same table again."""

# ruff: noqa: E501 - tables and models as they are written

import io

import pytest
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import models

from dbint.django.backends import doris
from dbint.django.backends.doris.inspectdb import Command
from dbint.django.backends.doris.schema import DatabaseSchemaEditor

from .conftest import ALIAS

TABLES = {
    "plain": """CREATE TABLE plain (id BIGINT NOT NULL, name VARCHAR(80) NOT NULL COMMENT 'it''s', big LARGEINT NULL,
        at DATETIME(3) NULL, seen DATETIME NULL, exact DATETIME(6) NULL, doc JSON NULL, price DECIMAL(9, 2) NULL,
        INDEX words (name) USING INVERTED PROPERTIES("parser" = "english", "support_phrase" = "true") COMMENT 'x',
        INDEX pieces (name) USING NGRAM_BF PROPERTIES("gram_size" = "3", "bf_size" = "1024"))
        UNIQUE KEY (id) COMMENT 'a table' DISTRIBUTED BY HASH (id) BUCKETS 3
        PROPERTIES ("replication_num" = "1", "bloom_filter_columns" = "id")""",
    "ranges": """CREATE TABLE ranges (day DATE NOT NULL, id BIGINT NOT NULL, seq INT NULL) UNIQUE KEY (day, id)
        PARTITION BY RANGE (day) (PARTITION p1 VALUES [("2026-01-01"), ("2026-02-01")),
        PARTITION p2 VALUES [("2026-02-01"), ("2026-03-01")))
        DISTRIBUTED BY HASH (id) BUCKETS 1
        PROPERTIES ("replication_num" = "1", "function_column.sequence_col" = "seq")""",
    "lists": """CREATE TABLE lists (city VARCHAR(20) NOT NULL, n INT NULL) DUPLICATE KEY (city)
        PARTITION BY LIST (city) (PARTITION a VALUES IN ("x", "y"), PARTITION b VALUES IN ("z"))
        DISTRIBUTED BY RANDOM BUCKETS 2 PROPERTIES ("replication_num" = "1")""",
    "automatic": """CREATE TABLE automatic (at DATETIME(6) NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (at, id)
        AUTO PARTITION BY RANGE (date_trunc(at, 'month')) () DISTRIBUTED BY HASH (id) BUCKETS 1
        PROPERTIES ("replication_num" = "1")""",
    "values_of": """CREATE TABLE values_of (kind VARCHAR(20) NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (kind, id)
        AUTO PARTITION BY LIST (kind) () DISTRIBUTED BY HASH (id) BUCKETS 1
        PROPERTIES ("replication_num" = "1")""",
    "sums": """CREATE TABLE sums (id BIGINT NOT NULL, n BIGINT SUM NOT NULL DEFAULT "0", top INT MAX NULL,
        note VARCHAR(80) REPLACE_IF_NOT_NULL NULL) AGGREGATE KEY (id) DISTRIBUTED BY HASH (id) BUCKETS 1
        PROPERTIES ("replication_num" = "1")""",
    "rolling": """CREATE TABLE rolling (day DATE NOT NULL, id BIGINT NOT NULL) UNIQUE KEY (day, id)
        PARTITION BY RANGE (day) () DISTRIBUTED BY HASH (id) BUCKETS 1 PROPERTIES ("replication_num" = "1",
        "dynamic_partition.enable" = "true", "dynamic_partition.time_unit" = "DAY",
        "dynamic_partition.start" = "-7", "dynamic_partition.end" = "3", "dynamic_partition.prefix" = "p")""",
    "arrays": """CREATE TABLE arrays (id BIGINT NOT NULL, tags ARRAY<VARCHAR(40)> NULL, grid ARRAY<ARRAY<INT>> NULL,
        prices ARRAY<DECIMAL(9, 2)> NULL) UNIQUE KEY (id) DISTRIBUTED BY HASH (id) BUCKETS 1
        PROPERTIES ("replication_num" = "1")""",
}


@pytest.fixture
def made(connection):
    """Makes one of the tables."""
    names = []

    def make(name: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute(TABLES[name])
        names.append(name)
        return name

    yield make
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"DROP TABLE IF EXISTS `{name}` FORCE")


def inspected(*tables: str) -> str:
    out = io.StringIO()
    call_command(Command(), *tables, database=ALIAS, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("name", [name for name in TABLES if name != "lists"])
def test_the_same_table_again(connection, made, name):
    """The model that inspectdb writes makes the table that it was read from."""
    made(name)
    text = inspected(name)
    assert "guess" not in text
    source = text.replace(
        "class Meta:", "class Meta:\n        app_label = 'doris_inspected'\n        apps = apps", 1
    )
    scope: dict = {"apps": Apps(), "__name__": __name__}
    exec(compile(source, "models.py", "exec"), scope)  # noqa: S102 - the source is what is tested
    (model,) = (
        found for found in scope.values() if isinstance(found, type) and issubclass(found, models.Model)
    )
    editor = DatabaseSchemaEditor(connection, collect_sql=True)
    sql, _ = editor.table_sql(model)
    with connection.cursor() as cursor:
        before = connection.introspection.table_definition(cursor, name)
        cursor.execute(f"DROP TABLE `{name}` FORCE")
        cursor.execute(sql)
        after = connection.introspection.table_definition(cursor, name)
    for column in before.columns:
        column.default = None  # of the server: Django writes every column
    assert after == before


def test_words_of_the_models(made):
    for name in TABLES:
        made(name)
    text = inspected(*TABLES)
    compile(text, "models.py", "exec")
    for part in (
        "from dbint.django.backends import doris",
        "doris.LargeIntegerField(",
        "doris.DateTimeField(precision=3,",
        "doris.DateTimeField(precision=0,",
        "models.DateTimeField(blank",
        "doris.InvertedIndex(name='words', fields=['name'], comment='x', parser='english', support_phrase=True)",
        "doris.NgramBloomFilterIndex(name='pieces', fields=['name'], gram_size=3, bf_size=1024)",
        "doris.BloomFilterIndex(name='bloom_filters', fields=['id'])",
        "sequence_column='seq'",
        "doris.FixedRange(name='p1', lower=('2026-01-01',), upper=('2026-02-01',))",
        "doris.ListPartitions(by=('city',), partitions=(doris.InValues(name='a', items=(('x',), ('y',)))",
        "# A DUPLICATE table has no unique key",
        "doris.AutoRange(by='at', unit='month')",
        "doris.AutoList(by=('kind',))",
        "aggregates={'n': 'SUM', 'top': 'MAX', 'note': 'REPLACE_IF_NOT_NULL'}",
        "dynamic=doris.DynamicPartitions(time_unit='DAY', end=3, start=-7",
        "doris.ArrayField(base_field=models.CharField(max_length=10)",
        "doris.ArrayField(base_field=doris.ArrayField(base_field=models.IntegerField())",
        "doris.ArrayField(base_field=models.DecimalField(max_digits=9, decimal_places=2)",
    ):
        assert part in text, part


def test_views(connection, made):
    made("plain")
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW looks AS SELECT id, name FROM plain")
        try:
            tables = {t.name: t.type for t in connection.introspection.get_table_list(cursor)}
            assert tables == {"plain": "t", "looks": "v"}
            described = connection.introspection.get_table_description(cursor, "looks")
            assert [(c.name, c.type_code) for c in described] == [("id", "bigint"), ("name", "varchar")]
            assert connection.introspection.get_constraints(cursor, "looks") == {}
            assert connection.introspection.get_primary_key_columns(cursor, "looks") is None
            out = io.StringIO()
            call_command(Command(), "looks", database=ALIAS, include_views=True, stdout=out)
            assert "class Looks" in out.getvalue()
        finally:
            cursor.execute("DROP VIEW looks")


def test_types_without_a_field(connection):
    with pytest.raises(KeyError):
        connection.introspection.get_field_type("map", None)
    assert doris.DorisTable  # what inspectdb imports
