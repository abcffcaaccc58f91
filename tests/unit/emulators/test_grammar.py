"""What Doris' grammar refuses, the emulator refuses as a syntax error."""

import re
from pathlib import Path

import pytest

from tests.unit.emulators.conftest import Client

REFUSED = [
    line
    for line in Path(__file__).with_name("refused_by_grammar.sql").read_text().splitlines()
    if line and not line.startswith("--")
]


@pytest.fixture(scope="module")
def tables(shared: Client) -> Client:
    shared.table("id BIGINT NOT NULL, v INT, pay DECIMAL(10, 2), day DATE, at DATETIME(3), name VARCHAR(20)")
    shared.table("id BIGINT NOT NULL, v INT", "DUPLICATE KEY(id)", name="d")
    return shared


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(tables: Client, sql: str) -> None:
    code, message = tables.refused(sql)
    assert code == 1105
    assert re.search(r"(mismatched|extraneous) input|no viable alternative", message)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t WHERE v IS NOT TRUE AND name IS NOT NULL ORDER BY name NULLS LAST LIMIT 1 OFFSET 2",
        "SELECT id FROM t LIMIT 2, 1",
        "SELECT SUM(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT EXTRACT(YEAR FROM at), at + INTERVAL 1 DAY, day - INTERVAL v MONTH FROM t",
        "SELECT `t`.`limit` FROM (SELECT 1 AS `limit`) t WHERE `t`.`limit` = 1",
        "SELECT offset FROM (SELECT 1 AS offset) t",
        "SELECT CAST(v AS BIGINT) AS count FROM t WHERE id IN (SELECT id FROM d WHERE v IN (1, 2))",
        "SELECT IF(v IN (1, 2), 'any', 'all') FROM t GROUP BY 1 HAVING COUNT(*) > 1 ORDER BY 1",
        "UPDATE t SET v = v + 1 WHERE id IN (SELECT id FROM d LIMIT 1)",
        "DELETE FROM t WHERE id IN (1, 2)",
        "SELECT CONCAT(name, 'x') = 'ax' FROM t WHERE COALESCE(v, 1) = 1",
    ],
)
def test_not_refused(tables: Client, sql: str) -> None:
    tables.run(sql)
