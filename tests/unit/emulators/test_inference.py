# ruff: noqa: S608 - the SQL is the test's own
"""The types of expressions, and the correlated subqueries that Doris supports."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.unit.emulators.conftest import Client, fresh_database


@pytest.fixture(scope="module")
def tables(emulator) -> Iterator[Client]:
    with fresh_database(emulator) as client:
        client.table("id BIGINT NOT NULL, v INT, pay DECIMAL(10, 2), fine DECIMAL(38, 18)")
        client.run(
            "INSERT INTO t VALUES (1, 1, 10.00, 1), (2, 1, 0.05, 2), (3, 2, -10.00, 3), (4, 2, NULL, 4)"
        )
        client.table("id BIGINT NOT NULL, t_id BIGINT, w INT", name="u")
        client.run("INSERT INTO u VALUES (1, 1, 5), (2, 1, 7), (3, 2, 9)")
        yield client


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # basic-element/sql-data-types/numeric/DECIMAL: p1 + s2 + 4, s1 + 4; the rest is cut off
        ("1.5 / 2", "0.75000"),
        ("2.0 / 3", "0.66666"),
        ("-2.0 / 3", "-0.66666"),
        ("1 / 3.0", "0.3333"),
        ("1.5 / 0", None),
        ("1.5 / NULL", None),
        ("(SELECT pay / 3 FROM t WHERE id = 1)", "3.333333"),
        ("(SELECT pay / 3 FROM t WHERE id = 3)", "-3.333333"),
        ("(SELECT fine / 3 FROM t WHERE id = 1)", "0.333333333333333333"),
        ("(SELECT SUM(pay) / COUNT(*) FROM t)", "0.012500"),
        ("(SELECT AVG(pay) FROM t)", "0.0166"),
        ("(SELECT x / 2 FROM (SELECT 1.5 AS x) q)", "0.75000"),
        ("(SELECT x / y FROM (SELECT SUM(pay) AS x, COUNT(*) AS y FROM t) q)", "0.012500"),
        ("CASE WHEN TRUE THEN 1.5 ELSE 2 END / 3", "0.50000"),
        ("COALESCE(NULL, 1.25, 2.5) / 2", "0.625000"),
        ("CAST(1234567890.123456789 AS DECIMAL(19, 9)) / CAST(234567890.123456789 AS DECIMAL(19, 9))",
         "5.2631580966759"),
    ],
)  # fmt: skip
def test_quotients(tables: Client, expression: str, expected: str | None) -> None:
    value = tables.value(f"SELECT {expression} AS x")
    if expected is None:
        assert value is None
    else:
        assert str(value) == expected


def test_averages_over_windows(tables: Client) -> None:
    found = tables.rows("SELECT id, AVG(pay) OVER (PARTITION BY v ORDER BY id) FROM t ORDER BY id")
    assert [str(value) for _, value in found] == ["10.0000", "5.0250", "-10.0000", "-10.0000"]


def test_a_name_has_the_type_of_its_own_table(tables: Client) -> None:
    sql = "SELECT a.v / 2, b.v / 2 FROM t a JOIN (SELECT id, pay AS v FROM t) b ON a.id = b.id WHERE a.id = 1"
    assert tables.rows(sql) == [(0.5, Decimal("5.000000"))]


@pytest.mark.parametrize(
    "condition",
    [
        "v < (SELECT MAX(u.w) FROM u WHERE u.t_id = t.id)",
        "v < (SELECT MAX(u.w) FROM u JOIN u x ON x.id = u.id WHERE u.t_id = t.id AND u.w > 5)",
        "EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id LIMIT 1)",
        "NOT EXISTS (SELECT 1 FROM u WHERE u.t_id > t.id)",
        "v IN (SELECT w FROM u WHERE u.t_id = t.id)",
        "v IN (SELECT w FROM u ORDER BY id LIMIT 2)",
        "v < (SELECT w FROM u WHERE u.id = t.id)",
        "v < (SELECT w FROM u WHERE u.id = t.id LIMIT 1)",
        "EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id AND EXISTS (SELECT 1 FROM u x WHERE x.id = u.id))",
    ],
)
def test_correlated_subqueries_that_doris_has(tables: Client, condition: str) -> None:
    tables.rows(f"SELECT id FROM t WHERE {condition}")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("v < (SELECT w FROM u WHERE u.t_id = t.id ORDER BY w LIMIT 1)", "limit is not supported"),
        ("v < (SELECT w FROM u WHERE u.t_id = t.id LIMIT 2)", "limit is not supported"),
        ("v < (SELECT MAX(w) FROM u WHERE u.t_id > t.id)", "operator must be EQUAL"),
        ("v < (SELECT MAX(w) FROM u WHERE u.t_id = t.id GROUP BY u.w)", "group by is not supported"),
        ("v < (SELECT MAX(w + t.v) FROM u WHERE u.id = t.id)", "in project is not supported"),
        (
            "v < (SELECT MAX(u.w) FROM u JOIN u x ON x.id = t.id WHERE u.id = t.id)",
            "in join is not supported",
        ),
        ("v IN (SELECT w FROM u WHERE u.t_id = t.id LIMIT 3)", "with a LIMIT clause"),
        ("v IN (SELECT MAX(w) FROM u WHERE u.t_id = t.id)", "grouping and/or aggregation"),
        ("EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id LIMIT 2 OFFSET 3)", "offset > 0"),
        (
            "EXISTS (SELECT 1 FROM u WHERE EXISTS (SELECT 1 FROM u x WHERE x.id = u.id AND x.w = t.v))",
            "Unknown column 'v'",
        ),
    ],
)
def test_correlated_subqueries_that_doris_lacks(tables: Client, condition: str, message: str) -> None:
    code, text = tables.refused(f"SELECT id FROM t WHERE {condition}")
    assert code == 1105
    assert message in text


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("SUM(w) OVER (ROWS UNBOUNDED PRECEDING)", "WindowFrame clause requires OrderBy clause"),
        (
            "SUM(w) OVER (ORDER BY w RANGE BETWEEN 1 PRECEDING AND CURRENT ROW)",
            "WindowFrame with RANGE must use",
        ),
        (
            "SUM(w) OVER (ORDER BY w RANGE BETWEEN CURRENT ROW AND CURRENT ROW)",
            "WindowFrame with RANGE must use",
        ),
        ("LAG(w, 1) OVER (ORDER BY w ROWS UNBOUNDED PRECEDING)", "WindowFrame for LAG() must be null"),
    ],
)
def test_window_frames_that_doris_lacks(tables: Client, window: str, message: str) -> None:
    assert tables.refused(f"SELECT {window} FROM u")[1].startswith(message)


def test_window_frames(tables: Client) -> None:
    sql = "SELECT SUM(w) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM u ORDER BY id"
    assert tables.rows(sql) == [(5,), (12,), (16,)]
    frame = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    assert tables.rows(f"SELECT SUM(w) OVER (ORDER BY t_id {frame}) FROM u ORDER BY id") == [
        (12,),
        (12,),
        (21,),
    ]
