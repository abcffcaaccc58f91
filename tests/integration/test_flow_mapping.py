# ruff: noqa: S608 - names are the test's own
"""Mappings against real servers: what the catalogue says becomes a table of Doris, which messages fill."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dbint.errors import ConfigurationError
from dbint.flow import LoadError
from dbint.flow.config import SourceAccess, TableOptions, TargetAccess
from dbint.flow.evolution import apply, current_definition, evolve
from dbint.flow.mapping import SEQUENCE, TableMapping
from dbint.flow.plan import apply_plan, map_table, plan
from dbint.flow.source import read_table
from tests.integration.flow_tables import EVERY_TYPE, ROW, config, lines, load, mapped, message, run


@pytest.fixture
def everything(source, target) -> TableMapping:
    connection, schema = source
    connection.execute(EVERY_TYPE.format(schema=schema))
    mapping = mapped(source, "everything", target)
    run(target, mapping.create_table())
    return mapping


def rows(target: TargetAccess, mapping: TableMapping) -> list[dict[str, Any]]:
    with target.connect() as connection, connection.cursor() as cursor:
        names = ", ".join(f"`{column.name}`" for column in mapping.columns)
        order = ", ".join(f"`{name}`" for name in mapping.key)
        cursor.execute(f"SELECT {names}, {SEQUENCE} FROM {mapping.target} ORDER BY {order}")
        found = [column[0] for column in cursor.description]
        return [dict(zip(found, map(text, row), strict=True)) for row in cursor.fetchall()]


def text(value: Any) -> str | None:
    return None if value is None else str(value)


LOADED = {
    "id": "7",
    "day": "2026-11-22",
    "label": "a'\"b",
    "flag": "1",
    "small": "-3",
    "medium": "4",
    "large": "9007199254740993",
    "number": "123456789012345.12345",
    "free": ROW["free"],
    "single": "1.5",
    "double": "0.1",
    "short": "äöü",
    "fixed": "ab  ",
    "long": ROW["long"],
    "bytes": "AAEC/w==",
    "born": "1999-12-31",
    "at": "2026-11-22 01:02:03.123456",
    "at3": "2026-11-22 01:02:03.123000",
    "zoned": "2026-11-22 00:02:03.500000",
    "clock": "23:59:59.123456",
    "span": "P1Y2M3DT4H5M6.789S",
    "uid": "b7a1c7de-0000-4000-8000-00000000000f",
    "feeling": "glad",
    "cost": "9.90",
    "address": "10.0.0.1/8",
    "numbers": "[1, null, 3]",
    "days": '["2026-01-01"]',
    "amounts": '["1.10", null]',
}


def test_every_type_is_loaded_exactly(everything, target):
    result = load(target, everything, lines(message("c", None, ROW, (1, 2))))
    assert (result.rows_total, result.rows_loaded) == (1, 1)
    (row,) = rows(target, everything)
    assert int(row.pop(SEQUENCE)) == (1 << 64) + 2
    assert json.loads(row.pop("doc")) == json.loads(ROW["doc"])
    assert json.loads(row.pop("raw")) == [1]
    words = row.pop("words")
    assert words == r"""["a", null, "b""]"""
    assert row == LOADED


def test_what_doris_shows_of_every_type_is_what_was_asked_for(everything, target):
    found = evolution(target, everything)
    assert (found.changes, found.refusals, found.notes) == ((), (), ())


def test_null_stays_null_in_every_type(everything, target):
    key = {name: ROW[name] for name in everything.key}
    load(target, everything, lines(message("c", None, dict.fromkeys(ROW) | key, (1, 2))))
    (row,) = rows(target, everything)
    assert {name for name, value in row.items() if value is not None} == {*everything.key, SEQUENCE}


def test_a_delete_takes_its_key_from_before(everything, target):
    key = {name: ROW[name] for name in everything.key}
    before = dict.fromkeys(ROW) | key
    load(
        target,
        everything,
        lines(message("c", None, ROW, (1, 2)), message("c", None, ROW | {"id": 8}, (1, 3))),
    )
    load(target, everything, lines(message("d", before, None, (2, 1))))
    assert [row["id"] for row in rows(target, everything)] == ["8"]


def test_the_state_of_the_later_commit_wins_however_it_comes(everything, target):
    def change(small: int, sequence: tuple[int | None, int]) -> dict[str, Any]:
        return message("u", None, ROW | {"small": small}, sequence)

    # A change LSN that is higher, in a transaction that committed earlier; and a hi of null, which is 0.
    load(target, everything, lines(change(1, (10, 5)), change(2, (9, 9)), change(3, (None, 2**63 - 1))))
    load(target, everything, lines(change(4, (9, 7))))
    (row,) = rows(target, everything)
    assert (row["small"], int(row[SEQUENCE])) == ("1", (10 << 64) + 5)
    deleted = message("d", {name: ROW[name] for name in everything.key}, None, (10, 6))
    load(target, everything, lines(deleted, change(5, (10, 5))))
    load(target, everything, lines(change(6, (10, 4))))
    assert rows(target, everything) == []
    load(target, everything, lines(change(7, (11, 1))))
    assert [row["small"] for row in rows(target, everything)] == ["7"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("born", "+10000-01-01Z"),
        ("born", "infinity"),
        ("day", "-0044-03-15Z"),
        ("at", "+294276-12-31T23:59:59Z"),
        ("zoned", "infinity"),
        ("number", "NaN"),
        ("medium", 3_000_000_000),
        ("short", "x" * 41),
        ("label", "é" * 41),
    ],
)
def test_what_a_column_cannot_hold_is_no_row_with_a_null(everything, target, column, value):
    good = message("c", None, ROW | {"id": 1}, (1, 1))
    with pytest.raises(LoadError) as refused:
        load(target, everything, lines(good, message("c", None, ROW | {column: value}, (1, 2))))
    assert (refused.value.result.rows_total, refused.value.result.rows_filtered) == (2, 1)
    assert rows(target, everything) == []


def test_a_partial_update_leaves_what_was_not_sent(everything, target):
    load(target, everything, lines(message("c", None, ROW, (1, 2))))
    unchanged = ("long", "bytes", "doc", "born")
    after = ROW | dict.fromkeys(unchanged, "__debezium_unavailable_value") | {"small": 77}
    load(target, everything, lines(message("u", None, after, (3, 1))), everything.partial(unchanged))
    (row,) = rows(target, everything)
    assert int(row.pop(SEQUENCE)) == (3 << 64) + 1
    assert {name: row[name] for name in LOADED} == LOADED | {"small": "77"}
    assert json.loads(row["doc"]) == json.loads(ROW["doc"])


def test_a_partial_update_that_comes_again_does_not_undo_a_delete(everything, target):
    update = lines(message("u", None, ROW | {"long": "__debezium_unavailable_value"}, (3, 1)))
    load(target, everything, lines(message("c", None, ROW, (1, 2))))
    load(target, everything, update, everything.partial(["long"]))
    load(target, everything, lines(message("d", {n: ROW[n] for n in everything.key}, None, (4, 1))))
    with pytest.raises(LoadError, match="E-7003"):
        load(target, everything, update, everything.partial(["long"]))
    assert rows(target, everything) == []


def test_a_partial_update_cannot_leave_out_a_key(everything):
    with pytest.raises(ConfigurationError, match="id, nothing cannot be left out"):
        everything.partial(["nothing", "id"])


def test_names_that_sql_and_json_have_to_quote(source, target):
    connection, schema = source
    connection.execute(
        f'CREATE TABLE {schema}."Odd Names" ("the Key" int PRIMARY KEY, "a.b" text, "select" date, "ä`x" int)'
    )
    options = TableOptions(target="odd", properties={"replication_num": "1"})
    mapping = mapped(source, "Odd Names", target, options)
    run(target, mapping.create_table())
    load(
        target,
        mapping,
        lines(message("c", None, {"the Key": 1, "a.b": "x", "select": "2026-01-02Z", "ä`x": 5}, (1, 1))),
    )
    (row,) = rows_of(target, "SELECT `the Key`, `a.b`, `select`, `ä``x` FROM `odd`")
    assert tuple(map(str, row)) == ("1", "x", "2026-01-02", "5")


def rows_of(target: TargetAccess, sql: str) -> list[tuple[Any, ...]]:
    return run(target, sql)


# -- evolution


@pytest.fixture
def orders(source, target) -> TableMapping:
    connection, schema = source
    connection.execute(
        f"CREATE TABLE {schema}.orders (id int PRIMARY KEY, name varchar(5), total numeric(6, 2), n smallint)"
    )
    mapping = mapped(source, "orders", target)
    run(target, mapping.create_table())
    load(
        target, mapping, lines(message("c", None, {"id": 1, "name": "abc", "total": "1.50", "n": 3}, (1, 1)))
    )
    return mapping


def evolution(target: TargetAccess, mapping: TableMapping) -> Any:
    with target.connect() as connection:
        return evolve(mapping, current_definition(connection, mapping))


def test_a_table_as_it_should_be_needs_nothing(orders, target):
    assert evolution(target, orders) == type(evolution(target, orders))()


def test_new_and_wider_columns_are_applied_and_keep_their_values(source, orders, target):
    connection, schema = source
    connection.execute(
        f"ALTER TABLE {schema}.orders ADD COLUMN added date, ALTER COLUMN name TYPE varchar(50), "
        "ALTER COLUMN total TYPE numeric(12, 2), ALTER COLUMN n TYPE bigint"
    )
    mapping = mapped(source, "orders", target)
    found = evolution(target, mapping)
    assert found.refusals == ()
    assert [change.text for change in found.changes] == [
        "column name is widened from varchar(20) to VARCHAR(200)",
        "column total is widened from decimal(6,2) to DECIMAL(12,2)",
        "column n is widened from smallint to BIGINT",
        "column added is new (date -> DATE)",
    ]
    assert "--repair" in found.notes[0]
    with target.connect() as doris:
        apply(doris, mapping, found, timeout=20)
    assert evolution(target, mapping).changes == ()
    after = {"id": 2, "name": "x" * 50, "total": "1234567890.12", "n": 2**40, "added": "2026-01-01Z"}
    load(target, mapping, lines(message("c", None, after, (1, 2))))
    assert [
        tuple(map(str, row))
        for row in run(target, f"SELECT id, name, total, n, added FROM {mapping.target} ORDER BY id")
    ] == [
        ("1", "abc", "1.50", "3", "None"),
        ("2", "x" * 50, "1234567890.12", str(2**40), "2026-01-01"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER COLUMN n TYPE text", ["column n is smallint", "STRING", "without losing something"]),
        ("ALTER COLUMN total TYPE numeric(12, 4)", ["column total", "DECIMAL(12,4)"]),
        ("DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id, name)", ["the key is (id) in Doris"]),
        ("ALTER COLUMN id TYPE bigint", ["key column id is int"]),
    ],
)
def test_what_would_lose_something_is_refused(source, orders, target, change, words):
    connection, schema = source
    connection.execute(f"ALTER TABLE {schema}.orders {change}")
    mapping = mapped(source, "orders", target)
    found = evolution(target, mapping)
    refused = " ".join(found.refusals)
    assert all(word in refused for word in words), refused
    before = run(target, f"SHOW CREATE TABLE {mapping.target}")
    with target.connect() as doris, pytest.raises(ConfigurationError, match="make the table anew"):
        apply(doris, mapping, found)
    assert run(target, f"SHOW CREATE TABLE {mapping.target}") == before


def test_a_dropped_column_stays_and_a_narrower_one_fits(source, orders, target):
    connection, schema = source
    connection.execute(f"ALTER TABLE {schema}.orders DROP COLUMN n, ALTER COLUMN name TYPE varchar(3)")
    mapping = mapped(source, "orders", target)
    found = evolution(target, mapping)
    assert (found.changes, found.refusals) == ((), ())
    assert "column n is in Doris alone" in found.notes[0]
    load(target, mapping, lines(message("u", None, {"id": 1, "name": "new", "total": "2.00"}, (2, 1))))
    assert run(target, f"SELECT name, n FROM {mapping.target}") == [("new", None)]


@pytest.mark.parametrize(
    ("ddl", "word"),
    [
        ("DUPLICATE KEY(id)", "table of model DUPLICATE"),
        ("UNIQUE KEY(id)", f"by {SEQUENCE} LARGEINT"),
    ],
)
def test_somebody_elses_table_is_refused(source, target, ddl, word):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.taken (id int PRIMARY KEY, x int)")
    mapping = mapped(source, "taken", target)
    run(
        target,
        f"CREATE TABLE {mapping.target} (id INT NOT NULL, x INT) {ddl} DISTRIBUTED BY HASH(id) BUCKETS 1 "
        'PROPERTIES ("replication_num" = "1")',
    )
    assert word in " ".join(evolution(target, mapping).refusals)


# -- plans


def test_a_plan_makes_the_tables_that_it_shows(stack, source, target):
    connection, schema = source
    connection.execute(
        f"CREATE TABLE {schema}.a (id int PRIMARY KEY, t timestamptz); "
        f"CREATE TABLE {schema}.b (id uuid PRIMARY KEY, d jsonb)"
    )
    flow = config(stack, source, target, "a", "b")
    first = plan(flow)
    assert [error for error in first.errors if "wal_level" not in error] == []
    assert len(first.statements) == 2
    assert all(sql.startswith("CREATE TABLE") for sql in first.statements)
    assert "in UTC" in str(first.tables[0].findings[0])
    sound = type(first)(first.flow, first.tables)
    assert len(apply_plan(flow, sound)) == 2
    assert plan(flow).statements == []


def test_nothing_is_applied_where_one_table_cannot_flow(stack, source, target):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.a (id int PRIMARY KEY); CREATE TABLE {schema}.b (x int)")
    flow = config(stack, source, target, "a", "b", "missing")
    made = plan(flow)
    errors = " ".join(made.errors)
    assert "b: it has no primary key" in errors
    assert "missing: PostgreSQL has no such table" in errors
    with pytest.raises(ConfigurationError, match="no primary key"):
        apply_plan(flow, made)
    assert run(target, "SHOW TABLES") == []


def test_a_role_that_may_not_replicate_is_told_before_it_runs(stack, source, target):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.a (id int PRIMARY KEY); CREATE ROLE {schema}_reader")
    try:
        flow = config(stack, source, target, "a")
        parameters = {**flow.source.parameters(), "options": f"-c role={schema}_reader"}
        made = plan(replace(flow, source=SourceAccess("reader", lambda: parameters)))
    finally:
        connection.execute(f"DROP ROLE {schema}_reader")
    assert [str(finding) for finding in made.findings] == [
        "database postgres: the user may not replicate. ALTER ROLE … REPLICATION, as a superuser"
    ]
    assert made.errors


def test_the_other_engine_has_limits_of_its_own(stack, source, target):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.a (id int PRIMARY KEY, note text)")
    made = plan(config(stack, source, target, "a", engine="connect"))
    said = [str(finding) for finding in made.findings]
    assert any("TRUNCATE" in text for text in said)
    assert "engine connect: flow orders: Kafka's address is not configured" in said
    assert "REPLICA IDENTITY FULL" in made.errors[-1]
    assert made.errors[-1].startswith(f"{schema}.a (note): ")


REFUSED = [
    ("(id int)", {}, "no primary key", "ADD PRIMARY KEY"),
    ("(id int PRIMARY KEY, x point)", {}, "values of type point", "exclude='x'"),
    ("(id int PRIMARY KEY, x bit(5))", {}, "values of type bit(5)", "exclude='x'"),
    ("(id int PRIMARY KEY, x money)", {}, "lc_monetary", "DECIMAL(19, 2)"),
    ("(id int PRIMARY KEY, x json[])", {}, "an array of json", "exclude='x'"),
    ("(id float8 PRIMARY KEY)", {}, "no DOUBLE in keys", "another primary key"),
    ("(id int PRIMARY KEY, x numeric(9, 4))", {"types": {"x": "DECIMAL(9,2)"}}, "rounded away", "leave"),
    ("(id int PRIMARY KEY, x numeric)", {"types": {"x": "DOUBLE"}}, "would round it", "leave types"),
    ("(id int PRIMARY KEY, x bigint)", {"types": {"x": "INT"}}, "larger numbers", "leave types"),
    ("(id int PRIMARY KEY, x timestamp)", {"types": {"x": "DATETIME(3)"}}, "be rounded", "leave types"),
    ("(id int PRIMARY KEY, x timestamp)", {"types": {"x": "DATE"}}, "would be cut off", "leave types"),
    ("(id int PRIMARY KEY, x float8)", {"types": {"x": "FLOAT"}}, "digits would be lost", "leave types"),
    ("(id int PRIMARY KEY, x text)", {"types": {"y": "STRING"}}, "types names y", ""),
    ("(id int PRIMARY KEY, x text)", {"exclude": ("id",)}, "cannot be left out", ""),
    ("(id int PRIMARY KEY, d date)", {"partition_by": "RANGE(d) ()"}, "not in the primary", "Partition by"),
    ("(id int PRIMARY KEY)", {"partition_by": "day"}, "what follows PARTITION BY", ""),
    ("(id int PRIMARY KEY, x int)", {"distributed_by": ("x",)}, "distributed_by names x", ""),
    ("(id int PRIMARY KEY)", {"target": "1 table"}, "no table named '1 table'", "a target of letters"),
    ("(id int PRIMARY KEY, \"ID\" int)", {}, "columns id and ID are one to Doris", "exclude"),
    ("(id int PRIMARY KEY, dbint_sequence int)", {}, "begin with dbint_", "exclude"),
    ("(id int PRIMARY KEY)", {"properties": {"function_column.sequence_col": "id"}}, "the flow's own", ""),
]  # fmt: skip


@pytest.mark.parametrize(("ddl", "options", "why", "advice"), REFUSED)
def test_what_cannot_be_exact_is_refused_with_what_to_do(source, target, ddl, options, why, advice):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.t {ddl}")
    mapping, findings = map_table(
        read_table(connection, f"{schema}.t"), "topic", target.database, TableOptions(**options)
    )
    assert mapping is None
    (error,) = [finding for finding in findings if finding.level == "error"]
    assert why in error.text
    assert advice in error.advice


@pytest.mark.parametrize(
    ("ddl", "why"),
    [
        ("ALTER TABLE {t} REPLICA IDENTITY NOTHING", "REPLICA IDENTITY NOTHING"),
        (
            "ALTER TABLE {t} ALTER COLUMN x SET NOT NULL; CREATE UNIQUE INDEX other ON {t} (x); "
            "ALTER TABLE {t} REPLICA IDENTITY USING INDEX other",
            "an index without id",
        ),
    ],
)
def test_a_replica_identity_without_the_key_is_refused(source, target, ddl, why):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.t (id int PRIMARY KEY, x int)")
    connection.execute(ddl.format(t=f"{schema}.t"))
    mapping, findings = map_table(read_table(connection, f"{schema}.t"), "topic", target.database)
    assert mapping is None
    assert why in findings[0].text
    assert "REPLICA IDENTITY DEFAULT" in findings[0].advice


@pytest.mark.parametrize(
    ("ddl", "why"),
    [
        ("CREATE VIEW {t} AS SELECT 1", "no table"),
        ("CREATE UNLOGGED TABLE {t} (id int PRIMARY KEY)", "unlogged"),
        ("CREATE TABLE {s}.p (id int PRIMARY KEY) PARTITION BY RANGE (id); "
         "CREATE TABLE {t} PARTITION OF {s}.p DEFAULT", "is a partition"),
    ],
)  # fmt: skip
def test_what_has_no_changes_of_its_own_cannot_flow(source, ddl, why):
    connection, schema = source
    connection.execute(ddl.format(t=f"{schema}.t", s=schema))
    with pytest.raises(ConfigurationError, match=why):
        read_table(connection, f"{schema}.t")


def test_large_values_of_a_key_only_identity_are_told_of(source, target):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.t (id int PRIMARY KEY, large text, small int)")
    _, findings = map_table(read_table(connection, f"{schema}.t"), "topic", target.database)
    assert findings[0].columns == ("large",)
    table = read_table(connection, f"{schema}.t")
    assert map_table(table, "topic", target.database, engine="connect")[0] is None
    connection.execute(f"ALTER TABLE {schema}.t REPLICA IDENTITY FULL")
    assert map_table(read_table(connection, f"{schema}.t"), "topic", target.database)[1] == []


def test_rows_that_are_never_toasted_need_no_warning(source, target):
    connection, schema = source
    connection.execute(
        f"CREATE TABLE {schema}.t (id int PRIMARY KEY, name varchar(99), n numeric(20, 2), at timestamptz(0))"
    )
    mapping, findings = map_table(read_table(connection, f"{schema}.t"), "topic", target.database)
    assert mapping is not None
    assert not any(column.toast for column in mapping.columns)
    assert [str(finding) for finding in findings] == [
        f"{schema}.t (at): stored in UTC: Doris' DATETIME has no zone"
    ]


def test_partitions_and_distribution_come_out_as_doris_has_them(source, target):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.t (day date, id int, x int, PRIMARY KEY (id, day))")
    options = TableOptions(
        partition_by="AUTO RANGE(date_trunc(`day`, 'month')) ()",
        distributed_by=("id",),
        buckets=2,
        properties={"replication_num": "1"},
    )
    mapping = mapped(source, "t", target, options)
    run(target, mapping.create_table())
    load(target, mapping, lines(message("c", None, {"id": 1, "day": "2026-05-06Z", "x": 1}, (1, 1))))
    assert run(target, f"SELECT id, x FROM {mapping.target}") == [(1, 1)]
    with target.connect() as doris:
        there = current_definition(doris, mapping)
    assert there is not None
    assert (there.key, there.distributed_by, there.buckets) == (["id", "day"], ["id"], 2)
    assert evolution(target, mapping).changes == ()
