"""Mappings, types and comparisons of a flow, as texts."""

from itertools import product
from typing import Any

import pytest

from dbint.django.management.commands.flow_plan import _findings
from dbint.doris.show_create import parse_create_table
from dbint.errors import ConfigurationError
from dbint.flow.comparison import Compared
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.evolution import evolve
from dbint.flow.load_options import load_headers
from dbint.flow.mapping import ColumnMapping, TableMapping
from dbint.flow.plan import Finding
from dbint.flow.types import can_widen, holds, normal_type

MAPPING = TableMapping(
    source="public.orders",
    topic="shop.public.orders",
    target_database="facts",
    target_table="orders",
    columns=(
        ColumnMapping("id", "bigint", "id", "BIGINT"),
        ColumnMapping("day", "date", "day", "DATE", "date"),
        ColumnMapping("total", "numeric(9,2)", "total", "DECIMAL(9,2)"),
        ColumnMapping("paid", "date", "paid", "DATE", "date"),
        ColumnMapping("a b", "text", "a b", "STRING", toast=True),
    ),
    key=("id", "day"),
    partition_by="AUTO RANGE(date_trunc(`day`, 'month')) ()",
    distributed_by=("id",),
    buckets=4,
    properties={"replication_num": "1"},
    comment='orders "of" the shop',
)
SEQUENCE = (
    "CAST(SPLIT_PART(REPLACE(`dbint_source_sequence`, 'null', '\"0\"'), '\"', 2) AS LARGEINT) * "
    "CAST('18446744073709551616' AS LARGEINT) + "
    "CAST(SPLIT_PART(REPLACE(`dbint_source_sequence`, 'null', '\"0\"'), '\"', 4) AS LARGEINT)"
)


def test_the_table() -> None:
    assert MAPPING.create_table() == "\n".join(
        [
            "CREATE TABLE IF NOT EXISTS `facts`.`orders` (",
            "    `id` BIGINT NOT NULL,",
            "    `day` DATE NOT NULL,",
            "    `total` DECIMAL(9,2) NULL,",
            "    `paid` DATE NULL,",
            "    `a b` STRING NULL,",
            "    `dbint_sequence` LARGEINT NOT NULL",
            ")",
            "UNIQUE KEY(`id`, `day`)",
            'COMMENT "orders \\"of\\" the shop"',
            "AUTO PARTITION BY RANGE(date_trunc(`day`, 'month')) ()",
            "DISTRIBUTED BY HASH(`id`) BUCKETS 4",
            "PROPERTIES (",
            '    "enable_unique_key_merge_on_write" = "true",',
            '    "function_column.sequence_col" = "dbint_sequence",',
            '    "replication_num" = "1"',
            ")",
        ]
    )


def test_the_load_and_routine_load_say_the_same() -> None:
    options = MAPPING.load_options()
    assert options["jsonpaths"] == [
        "$.op",
        "$.source.sequence",
        "$.after.id",
        "$.before.id",
        "$.after.day",
        "$.before.day",
        "$.after.total",
        "$.after.paid",
        '$.after."a b"',
    ]
    broken = "(`dbint_value_1` IS NOT NULL AND CAST(REPLACE(`dbint_value_1`, 'Z', '') AS DATE) IS NULL)"
    assert list(options["columns"])[6:] == [
        "`total`",
        "`dbint_value_1`",
        "`a b`",
        "`id` = COALESCE(`dbint_after_0`, `dbint_before_0`)",
        "`day` = REPLACE(COALESCE(`dbint_after_1`, `dbint_before_1`), 'Z', '')",
        "`paid` = REPLACE(`dbint_value_1`, 'Z', '')",
        f"`dbint_sequence` = IF({broken}, NULL, {SEQUENCE})",
    ]
    assert (options["merge_type"], options["delete"]) == ("MERGE", "dbint_op = 'd'")
    clauses = MAPPING.routine_load_clauses()
    headers = load_headers("label", "json", options, None)
    assert clauses.columns == ", ".join(options["columns"])
    assert headers["columns"] == ",".join(options["columns"])
    assert clauses.properties["jsonpaths"].count('\\"') == 2
    assert clauses.properties["strict_mode"] == "true"
    assert clauses.sql().splitlines()[2:] == [
        "PRECEDING FILTER dbint_op IN ('c', 'u', 'd', 'r'),",
        "DELETE ON dbint_op = 'd'",
    ]


def test_a_partial_load_names_what_is_there_alone() -> None:
    options = MAPPING.partial(["a b", "paid"])
    assert options["partial_columns"] is True
    assert options["partial_update_new_key_behavior"] == "ERROR"
    assert not any("paid" in column or "a b" in column for column in options["columns"])
    assert not any("op" in path for path in options["jsonpaths"])
    assert list(options["columns"])[-1] == f"`dbint_sequence` = {SEQUENCE}"
    load_headers("label", "json", options, None)
    with pytest.raises(ConfigurationError, match="day cannot be left out"):
        MAPPING.partial(["day"])


def test_a_column_that_no_path_can_name() -> None:
    mapping = TableMapping("s.t", "t", "d", "t", (ColumnMapping('a"b', "int", "x", "INT"),), ("x",))
    with pytest.raises(ConfigurationError, match="no name with a quote"):
        mapping.load_options()


@pytest.mark.parametrize(
    ("wide", "narrow", "fits"),
    [
        ("bigint(20)", "INT", True),
        ("int", "BIGINT", False),
        ("text", "VARCHAR(65533)", True),
        ("varchar(40)", "STRING", False),
        ("varchar(40)", "VARCHAR(41)", False),
        ("decimalv3(12, 2)", "DECIMAL(9,2)", True),
        ("decimal(12,4)", "DECIMAL(9,2)", True),
        ("decimal(9,4)", "DECIMAL(9,2)", False),
        ("datetimev2(6)", "DATETIME(3)", True),
        ("datetime", "DATETIME(1)", False),
        ("double", "FLOAT", True),
        ("float", "DOUBLE", False),
        ("jsonb", "JSON", True),
        ("array<text>", "ARRAY<STRING>", True),
        ("array<int>", "ARRAY<BIGINT>", False),
        ("text", "JSON", False),
    ],
)
def test_which_type_holds_which(wide: str, narrow: str, fits: bool) -> None:
    assert holds(wide, narrow) is fits


TYPES = [
    *("TINYINT", "SMALLINT", "INT", "BIGINT", "LARGEINT", "FLOAT", "DOUBLE", "DATE", "JSON"),
    *("VARCHAR(10)", "VARCHAR(20)", "CHAR(20)", "STRING", "DECIMAL(9,2)", "DECIMAL(12,2)", "DECIMAL(12,4)"),
    *("DATETIME", "DATETIME(3)", "DATETIME(6)"),
]


def test_only_what_holds_more_is_a_widening_and_never_back() -> None:
    widened = {(old, new) for old, new in product(TYPES, TYPES) if can_widen(old, new)}
    assert all(holds(new, old) and normal_type(old) != normal_type(new) for old, new in widened)
    assert not {(new, old) for old, new in widened} & widened
    assert ("DECIMAL(9,2)", "DECIMAL(12,4)") not in widened  # Doris changes no scale
    assert ("VARCHAR(10)", "CHAR(20)") not in widened
    assert ("CHAR(20)", "VARCHAR(20)") in widened
    assert {("INT", "BIGINT"), ("VARCHAR(10)", "STRING"), ("FLOAT", "DOUBLE")} <= widened


def test_new_columns_are_one_note_and_a_default_is_not_changed() -> None:
    shown = MAPPING.create_table()
    for mine, there in (
        ("    `paid` DATE NULL,\n", ""),
        ("    `a b` STRING NULL,\n", "    `x` INT, `y` INT,\n"),
        ("`total` DECIMAL(9,2) NULL", "`total` DECIMAL(7,2) NULL DEFAULT '1.00'"),
    ):
        shown = shown.replace(mine, there)
    found = evolve(MAPPING, parse_create_table(shown))
    assert [change.text.partition(" (")[0] for change in found.changes] == [
        "column paid is new",
        "column a b is new",
    ]
    new, alone = found.notes
    assert new.startswith("columns paid, a b are NULL in the rows that are there")
    assert alone.startswith("columns x, y are in Doris alone")
    (refusal,) = found.refusals
    assert "MODIFY COLUMN `total` DECIMAL(9,2) NULL DEFAULT … (1.00), then plan again" in refusal


def test_a_plan_says_each_thing_once_within_a_hundred_characters() -> None:
    utc, large = "stored in UTC: Doris' DATETIME has no zone", "an UPDATE leaves out large values"
    names = tuple(f"column_{number}" for number in range(30))
    said = list(
        _findings(
            [
                Finding("error", "public.c", "it has no primary key", 'ALTER TABLE "public"."c" ADD …'),
                Finding("warning", "public.a", utc, columns=("at", "seen")),
                Finding("warning", "public.a", large, "say FULL", names),
                Finding("warning", "public.b", utc, columns=("at",)),
            ]
        )
    )
    assert said[:4] == [
        f"  warning: {utc}",
        "      public.a: at, seen",
        "      public.b: at",
        f"  warning: {large}. Say FULL",
    ]
    assert said[-1] == '  refused: public.c: it has no primary key. ALTER TABLE "public"."c" ADD …'
    assert max(map(len, said)) <= 100
    assert " ".join(" ".join(said[4:-1]).split()) == f"public.a: {', '.join(names)}"


def of_type(kind: str, base: str = "x") -> Compared:
    return Compared("c", "c", base, kind, "c", "c", exact=False)


TIMES = of_type("array<text>", "_timestamptz")


@pytest.mark.parametrize(
    ("column", "left", "right", "same"),
    [
        (of_type("double"), "0.1", 0.1, True),
        (of_type("double"), "0.1", "0.10000000000000001", True),
        (of_type("double"), "0.1", "0.100000000001", False),
        (of_type("double"), "NaN", float("nan"), True),
        (of_type("double"), "Infinity", float("inf"), True),
        (of_type("double"), "Infinity", 1e308, False),
        (of_type("float"), "3.4028235e+38", "3.402823e+38", True),
        (of_type("json"), '{"a": 1, "b": [true, null]}', '{"b":[true,null],"a":1}', True),
        (of_type("json"), '{"a": 1}', '{"a":true}', False),
        (of_type("json"), '{"a": 1}', '{"a":1,"b":null}', False),
        (of_type("json"), "null", None, False),
        (of_type("json"), None, None, True),
        (of_type("json"), "{}", "no json", False),
        (of_type("array<int>"), "[1, null]", "[1, null]", True),
        (of_type("array<int>"), "[1, null]", "[1, 2]", False),
        (of_type("array<boolean>"), "[true, false]", "[1, 0]", True),
        (of_type("array<double>"), "[0.1]", "[0.1]", True),
        (of_type("array<text>"), '["a\\"b", null]', '["a"b", null]', True),
        (of_type("array<text>"), '["null"]', "[null]", False),
        (TIMES, '["2026-01-02 03:04:05+00"]', '["2026-01-02T03:04:05.000Z"]', True),
        (TIMES, '["2026-01-02 03:04:05.1+00"]', '["2026-01-02T03:04:05.10Z"]', True),
        (TIMES, '["2026-01-02 03:04:05+00"]', '["2026-01-02T03:04:06Z"]', False),
    ],
)  # fmt: skip
def test_values_without_a_common_text(column: Compared, left: Any, right: Any, same: bool) -> None:
    assert column.same(left, right) is same


def flow(**options: Any) -> FlowConfig:
    target = TargetAccess("t", "d", [("h", 1)], ["http://h:1"], lambda: ("u", "p"))
    given = {"name": "orders", "tables": ("public.t",), "target": target, "kafka": lambda _role: {}}
    return FlowConfig(**{"source": SourceAccess("s", dict), **given, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Orders"}, "name is not up to 40"),
        ({"tables": ()}, "tables is not a list with at least one"),
        ({"tables": ("t",)}, "'t' is none"),
        ({"tables": ("a." + "x" * 300,)}, "is too long"),
        ({"options": {"public.x": None}}, "'public.x' is none"),
        ({"engine": "both"}, "engine is not one of"),
        ({"mode": "all"}, "mode is not one of"),
        ({"partitions": 0}, "partitions is not a whole number"),
        ({"replication": 0}, "replication is not a whole number"),
        ({"batch_seconds": 0}, "batch_seconds is not a number of seconds"),
        ({"prefix": "a b"}, "prefix is not up to 100"),
        ({"too_large": "drop"}, "too_large is not stop or dead_letter"),
    ],
)
def test_a_flow_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        flow(**options)


def test_names_of_a_flow() -> None:
    config = flow(tables=("public.t", "Odd Schema.ä"))
    assert (config.slot, config.publication, config.group) == (
        "dbint_orders",
        "dbint_orders",
        "dbint-flow-orders",
    )
    assert (config.topic("Odd Schema.ä"), config.dead_letter_topic) == (
        "orders.Odd_Schema._",
        "orders.dead-letter",
    )
