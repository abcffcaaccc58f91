# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""AGGREGATE tables: rows with the same key become one, each value by its aggregation.

Source: "Aggregate Key Table" of the Doris documentation; ColumnDefinition.validate of apache/doris.
"""

import pytest

from tests.unit.emulators.conftest import Client

TAIL = "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1')"


@pytest.fixture
def sums(doris: Client) -> Client:
    doris.run(
        "CREATE TABLE t (id INT NOT NULL, day DATE, n BIGINT SUM NOT NULL DEFAULT '0',"
        " pay DECIMAL(10, 2) SUM, low INT MIN, high DATETIME(3) MAX, last VARCHAR(9) REPLACE,"
        " known VARCHAR(9) REPLACE_IF_NOT_NULL)"
        " AGGREGATE KEY(id, day) " + TAIL
    )
    return doris


def test_merge_within_and_between_loads(sums: Client) -> None:
    sums.run(
        "INSERT INTO t VALUES (1, '2026-01-01', 1, 1.25, 5, '2026-01-01 00:00:01', 'a', 'x'),"
        " (1, '2026-01-01', 2, 2.25, NULL, '2026-01-01 00:00:00', NULL, NULL),"
        " (2, NULL, 7, NULL, NULL, NULL, 'b', NULL)"
    )
    text = "SELECT id, n, pay, low, CAST(high AS STRING), last, known FROM t ORDER BY id"
    assert [tuple(map(str, row)) for row in sums.rows(text)] == [
        ("1", "3", "3.50", "5", "2026-01-01 00:00:01.000", "None", "x"),
        ("2", "7", "None", "None", "None", "b", "None"),
    ]
    sums.run(
        "INSERT INTO t VALUES (1, '2026-01-01', 10, NULL, 3, NULL, 'c', NULL),"
        " (2, NULL, 1, 1, 1, NULL, NULL, 'y')"
    )
    assert [
        tuple(map(str, row)) for row in sums.rows("SELECT id, n, pay, low, last, known FROM t ORDER BY id")
    ] == [
        ("1", "13", "3.50", "3", "c", "x"),
        ("2", "8", "1.00", "1", "None", "y"),
    ]
    assert sums.value("SELECT COUNT(*) FROM t") == 2
    sums.run("INSERT INTO t (id, day, low) VALUES (1, '2026-01-01', 9)")  # the default of a SUM adds nothing
    assert sums.rows("SELECT n, low, last FROM t WHERE id = 1") == [(13, 3, None)]


def test_definition_is_shown(sums: Client) -> None:
    text = sums.rows("SHOW CREATE TABLE t")[0][1]
    assert "AGGREGATE KEY(`id`, `day`)" in text
    assert '  `n` bigint SUM NOT NULL DEFAULT "0",\n  `pay` decimal(10,2) SUM NULL,\n' in text
    assert "`known` varchar(9) REPLACE_IF_NOT_NULL NULL" in text
    assert [(row[0], row[5]) for row in sums.rows("DESC t")][:4] == [
        ("id", ""),
        ("day", ""),
        ("n", "SUM"),
        ("pay", "SUM"),
    ]
    sums.run("DROP TABLE t")
    sums.run(text)
    assert sums.rows("SHOW CREATE TABLE t")[0][1] == text
    marks = sums.rows(
        "SELECT column_name, column_key FROM information_schema.columns "
        f"WHERE table_schema = '{sums.database}' AND column_name IN ('id', 'n')"
    )
    assert sorted(marks) == [("id", "AGG"), ("n", "")]


def test_model_without_a_key_clause(doris: Client) -> None:
    doris.run("CREATE TABLE t (id INT, v INT MAX) " + TAIL)
    assert "AGGREGATE KEY(`id`)" in doris.rows("SHOW CREATE TABLE t")[0][1]


@pytest.mark.parametrize(
    ("definition", "detail"),
    [
        (
            "(id INT, v INT) AGGREGATE KEY(id)",
            "should set aggregation type to non-key column in aggregate key table",
        ),
        ("(id INT SUM, v INT SUM) AGGREGATE KEY(id)", "Key column id can not set aggregation type"),
        (
            "(id INT, v VARCHAR(9) SUM) AGGREGATE KEY(id)",
            "Aggregate type SUM is not compatible with primitive type VARCHAR(9)",
        ),
        (
            "(id INT, v BOOLEAN MAX) AGGREGATE KEY(id)",
            "Aggregate type MAX is not compatible with primitive type BOOLEAN",
        ),
        (
            "(id INT, v INT REPLACE_IF_NOT_NULL NOT NULL) AGGREGATE KEY(id)",
            "REPLACE_IF_NOT_NULL column must be nullable, maybe should use REPLACE, column:v",
        ),
        (
            "(id BIGINT NOT NULL AUTO_INCREMENT, v INT SUM) AGGREGATE KEY(id)",
            "the auto increment is only supported in duplicate table and unique table.",
        ),
        (
            "(id INT, v INT SUM) AGGREGATE KEY(id) PARTITION BY RANGE(v) ()",
            "The partition column could not be aggregated column",
        ),
        (
            "(id INT, v VARCHAR(9) SUM, INDEX i (v)) DUPLICATE KEY(id)",
            "DUP_KEYS table should not specify aggregate type for non-key column[v]",
        ),
        (
            "(id INT, v VARCHAR(9) MAX, INDEX i (v)) AGGREGATE KEY(id)",
            (
                "index should only be used in columns of DUP_KEYS/UNIQUE_KEYS table or key columns of"
                " AGG_KEYS table. invalid index: i"
            ),
        ),
    ],
)
def test_refused_definitions(shared: Client, definition: str, detail: str) -> None:
    assert shared.refused(f"CREATE TABLE new {definition} {TAIL}") == (1105, detail)


def test_distribution_by_random(doris: Client) -> None:
    tail = "DISTRIBUTED BY RANDOM PROPERTIES ('replication_num' = '1')"
    detail = (
        "Should not be distributed by random when keys type is aggand column is in replace, [v] is invalid"
    )
    assert doris.refused(f"CREATE TABLE t (id INT, v INT REPLACE) AGGREGATE KEY(id) {tail}") == (1105, detail)
    doris.run(f"CREATE TABLE t (id INT, v INT SUM) AGGREGATE KEY(id) {tail}")


@pytest.mark.parametrize("kind", ["HLL HLL_UNION", "BITMAP BITMAP_UNION"])
def test_sketches_are_not_emulated(shared: Client, kind: str) -> None:
    message = shared.refused(f"CREATE TABLE new (id INT, v {kind}) AGGREGATE KEY(id) {TAIL}")[1]
    assert message.startswith("[dbint emulator] the column type ")


def test_what_cannot_be_changed(sums: Client) -> None:
    sums.run("INSERT INTO t (id, day, n) VALUES (1, '2026-01-01', 1), (2, '2026-01-01', 1)")
    assert sums.refused("UPDATE t SET n = 1 WHERE id = 1")[1] == "Only unique table could be updated."
    assert sums.refused("DELETE FROM t WHERE n = 1")[1] == (
        "delete predicate on value column only supports Unique table with merge-on-write enabled and"
        " Duplicate table, but Table[t] is an Aggregate table."
    )
    sums.run("DELETE FROM t WHERE id = 1")
    assert sums.rows("SELECT id FROM t") == [(2,)]


def test_alter(sums: Client) -> None:
    sums.run("INSERT INTO t (id, day, n) VALUES (1, '2026-01-01', 1)")
    sums.run("ALTER TABLE t ADD COLUMN more INT SUM DEFAULT '0'")
    assert sums.refused("ALTER TABLE t ADD COLUMN m INT SUM DEFAULT '1'")[1] == (
        "The default value of 'm' with SUM aggregation function must be zero"
    )
    sums.run("INSERT INTO t (id, day, more) VALUES (1, '2026-01-01', 4)")
    assert sums.rows("SELECT n, more FROM t") == [(1, 4)]
    assert sums.refused("ALTER TABLE t MODIFY COLUMN low BIGINT")[1] == (
        "Aggregate method must be specified for value column: low"
    )
    assert sums.refused("ALTER TABLE t MODIFY COLUMN low BIGINT MAX")[1] == "Can not change aggregation type"
    assert sums.refused("ALTER TABLE t DROP COLUMN day")[1] == (
        "Can not drop key column when table has value column with REPLACE aggregation method"
    )
