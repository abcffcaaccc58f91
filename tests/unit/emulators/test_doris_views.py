# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""Views. Source: "CREATE VIEW", "ALTER VIEW", "SHOW CREATE VIEW" of the Doris SQL manual."""

import pytest

from tests.unit.emulators.conftest import Client


@pytest.fixture
def view(doris: Client) -> Client:
    doris.table("id BIGINT NOT NULL, name VARCHAR(9), pay DECIMAL(9, 2), at DATETIME(3)")
    doris.run("INSERT INTO t VALUES (1, 'a', 1.5, '2026-01-02 03:04:05.678'), (2, 'b', 2.5, NULL)")
    doris.run("CREATE VIEW v (k COMMENT 'the key', total, at) COMMENT 'all' AS SELECT id, pay * 2, at FROM t")
    return doris


def test_reading(view: Client) -> None:
    assert [tuple(map(str, r)) for r in view.rows("SELECT k, total, at FROM v ORDER BY k")] == [
        ("1", "3.00", "2026-01-02 03:04:05.678000"),
        ("2", "5.00", "None"),
    ]
    assert view.rows("SELECT x.k FROM v x JOIN t ON t.id = x.k WHERE t.name = 'b'") == [(2,)]
    view.run("CREATE DATABASE IF NOT EXISTS elsewhere")
    view.run("USE elsewhere")  # a view's tables are those of its own database
    assert view.value(f"SELECT COUNT(*) FROM {view.database}.v") == 2


def test_columns_stay_as_they_were(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, b INT")
    doris.run("INSERT INTO t VALUES (1, 2)")
    doris.run("CREATE VIEW v AS SELECT * FROM t")
    doris.run("ALTER TABLE t ADD COLUMN a INT NULL DEFAULT '7' AFTER id")
    assert doris.rows("SELECT * FROM v") == [(1, 2)]
    doris.run("ALTER TABLE t DROP COLUMN b")
    assert doris.refused("SELECT * FROM v")[0] == 1105


def test_what_is_shown(view: Client) -> None:
    name = view.database
    row = view.rows("SHOW CREATE VIEW v")[0]
    assert row == (
        "v",
        (
            "CREATE VIEW `v` (`k` COMMENT \"the key\", `total`, `at`) COMMENT 'all' AS "
            f"SELECT id, pay * 2, at FROM `internal`.`{name}`.`t`;"
        ),
        "utf8mb4",
        "utf8mb4_0900_bin",
    )
    assert view.rows("SHOW CREATE TABLE v") == [row]
    view.run("DROP VIEW v")
    view.run(row[1])
    assert view.rows("SHOW CREATE VIEW v") == [row]
    assert view.rows("SHOW FULL TABLES") == [("t", "BASE TABLE", "V2", "V3"), ("v", "VIEW", "", "")]
    assert view.rows("SHOW VIEWS") == [("v",)]
    assert view.rows("DESC v")[0][:2] == ("k", "bigint")
    where = f"WHERE table_schema = '{name}'"
    assert view.rows(f"SELECT table_name, table_type FROM information_schema.tables {where} ORDER BY 1") == [
        ("t", "BASE TABLE"),
        ("v", "VIEW"),
    ]
    assert view.rows(f"SELECT table_name, view_definition FROM information_schema.views {where}") == [
        ("v", f"SELECT id, pay * 2, at FROM `internal`.`{name}`.`t`")
    ]
    assert view.rows(
        f"SELECT column_name, column_type FROM information_schema.columns {where} AND table_name = 'v'"
        " AND column_name = 'k'"
    ) == [("k", "bigint(20)")]


def test_change_and_replace(view: Client) -> None:
    assert view.refused("CREATE VIEW v AS SELECT 1 AS x") == (1050, "Table 'v' already exists")
    view.run("CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS x")
    assert view.value("SELECT COUNT(*) FROM v") == 2
    view.run("CREATE OR REPLACE VIEW v AS SELECT 1 AS x")
    assert view.rows("SELECT * FROM v") == [(1,)]
    view.run("ALTER VIEW v (y) AS SELECT 2")
    assert view.rows("SELECT y FROM v") == [(2,)]
    assert view.refused("CREATE OR REPLACE VIEW t AS SELECT 1 AS x") == (1050, "Table 't' already exists")


@pytest.mark.parametrize(
    ("sql", "code", "detail"),
    [
        ("DROP TABLE v", 1347, "'{db}.v' is not 'TABLE'. Use 'DROP VIEW {db}.v'."),
        ("DROP VIEW t", 1347, "'{db}.t' is not 'VIEW'. Use 'DROP TABLE {db}.t'."),
        ("DROP VIEW nope", 1109, "Unknown table 'nope' in {db}"),
        ("SHOW CREATE VIEW t", 1347, "'{db}.t' is not 'VIEW'. Use 'DROP TABLE {db}.t'."),
        ("INSERT INTO v VALUES (1, 2, 3)", 1105, "the target table of insert into is not an OLAP table"),
        ("TRUNCATE TABLE v", 1347, "'{db}.v' is not 'TABLE'. Use 'DROP VIEW {db}.v'."),
        ("CREATE TABLE v (id INT)", 1050, "Table 'v' already exists"),
        ("CREATE VIEW w AS SELECT id, id FROM t", 1060, "Duplicate column name 'id'"),
        (
            "CREATE VIEW w (a) AS SELECT id, pay FROM t",
            1353,
            "View's SELECT and view's field list have different column counts",
        ),
        ("CREATE VIEW w AS SELECT * FROM nope", 1105, "Table [nope] does not exist in database [{db}]."),
        (
            "CREATE OR REPLACE VIEW IF NOT EXISTS w AS SELECT 1",
            1105,
            "[OR REPLACE] and [IF NOT EXISTS] cannot used at the same time",
        ),
    ],
)
def test_refusals(view: Client, sql: str, code: int, detail: str) -> None:
    assert view.refused(sql) == (code, detail.format(db=view.database))
    view.run("DROP VIEW IF EXISTS nope")
