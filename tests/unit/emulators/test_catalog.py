# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""SHOW, DESC, information_schema and ALTER TABLE, as Doris formats them.

Source: docs/sql-manual/sql-statements of apache/doris-website; Env.getDdlStmt and OlapTable of apache/doris.
"""

import pytest

from tests.unit.emulators.conftest import Client


def test_show_create_table(doris: Client) -> None:
    doris.run(
        "CREATE TABLE IF NOT EXISTS t (id BIGINT NOT NULL AUTO_INCREMENT, `key` VARCHAR(20) NOT NULL COMMENT"
        " 'it''s', d DECIMAL(10, 2) NULL DEFAULT '1.5', s STRING, at DATETIME(3) NOT NULL DEFAULT"
        " CURRENT_TIMESTAMP(3), day DATE DEFAULT '2024-01-01', big LARGEINT, ok BOOLEAN DEFAULT '0', j JSON,"
        " INDEX idx_s (s) USING INVERTED PROPERTIES('parser' = 'english') COMMENT 'full text') ENGINE=OLAP"
        " UNIQUE KEY(id, `key`) COMMENT 'all of it' DISTRIBUTED BY HASH(id) BUCKETS 4 PROPERTIES"
        " ('replication_num' = '1', 'store_row_column' = 'true')"
    )
    assert doris.rows("SHOW CREATE TABLE t") == [
        (
            "t",
            (
                "CREATE TABLE `t` (\n"
                "  `id` bigint NOT NULL AUTO_INCREMENT(1),\n"
                '  `key` varchar(20) NOT NULL COMMENT "it\'s",\n'
                '  `d` decimal(10,2) NULL DEFAULT "1.5",\n'
                "  `s` text NULL,\n"
                "  `at` datetime(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),\n"
                '  `day` date NULL DEFAULT "2024-01-01",\n'
                "  `big` largeint NULL,\n"
                '  `ok` boolean NULL DEFAULT "0",\n'
                "  `j` json NULL,\n"
                '  INDEX idx_s (`s`) USING INVERTED PROPERTIES("parser" = "english") COMMENT \'full text\'\n'
                ") ENGINE=OLAP\n"
                "UNIQUE KEY(`id`, `key`)\n"
                "COMMENT 'all of it'\n"
                "DISTRIBUTED BY HASH(`id`) BUCKETS 4\n"
                "PROPERTIES (\n"
                '"replication_allocation" = "tag.location.default: 1",\n'
                '"store_row_column" = "true",\n'
                '"enable_unique_key_merge_on_write" = "true"\n'
                ");"
            ),
        )
    ]


@pytest.mark.parametrize(
    ("clause", "shown"),
    [
        (
            (
                "PARTITION BY RANGE(d) (PARTITION a VALUES LESS THAN ('2024-01-01'), PARTITION b VALUES LESS"
                " THAN MAXVALUE)"
            ),
            (
                "PARTITION BY RANGE(`d`)\n(PARTITION a VALUES [('0000-01-01'), ('2024-01-01')),\n"
                "PARTITION b VALUES [('2024-01-01'), (MAXVALUE)))"
            ),
        ),
        (
            "PARTITION BY LIST(id) (PARTITION a VALUES IN ('1', '2'))",
            "PARTITION BY LIST(`id`)\n(PARTITION a VALUES IN (('1'),('2')))",
        ),
        (
            "AUTO PARTITION BY RANGE (date_trunc(d, 'month')) ()",
            "AUTO PARTITION BY RANGE (date_trunc(`d`, 'month'))\n()",
        ),
    ],
)
def test_partitions(doris: Client, clause: str, shown: str) -> None:
    doris.run(
        f"CREATE TABLE t (id INT NOT NULL, d DATE NOT NULL) DUPLICATE KEY(id) {clause} DISTRIBUTED BY RANDOM"
        " BUCKETS AUTO PROPERTIES ('replication_allocation' = 'tag.location.default: 1')"
    )
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert f"\nDUPLICATE KEY(`id`)\n{shown}\nDISTRIBUTED BY RANDOM BUCKETS AUTO\n" in text
    doris.run("DROP TABLE t")
    doris.run(text)  # what it shows, it takes
    assert doris.rows("SHOW CREATE TABLE t")[0][1] == text
    doris.run("INSERT INTO t VALUES (1, '2024-02-03')")
    names = [row[1] for row in doris.rows("SHOW PARTITIONS FROM t")]
    assert names == (
        ["p20240201000000"] if "AUTO PARTITION" in clause else ["a", "b"] if "RANGE" in clause else ["a"]
    )


def test_default_keys(doris: Client) -> None:
    doris.run(
        "CREATE TABLE t (a INT, b VARCHAR(8), c INT) DISTRIBUTED BY HASH(a) BUCKETS 1 PROPERTIES"
        " ('replication_num' = '1')"
    )
    assert (
        "DUPLICATE KEY(`a`, `b`)" in doris.rows("SHOW CREATE TABLE t")[0][1]
    )  # three columns, but a VARCHAR ends it


def test_desc_and_columns(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL AUTO_INCREMENT, v VARCHAR(5) DEFAULT 'x' COMMENT 'c'")
    rows = [
        ("id", "bigint", "No", "true", None, "AUTO_INCREMENT"),
        ("v", "varchar(5)", "Yes", "false", "x", "NONE"),
    ]
    assert doris.rows("DESC t") == rows
    assert doris.rows(f"SHOW COLUMNS FROM t FROM {doris.database}") == rows
    assert doris.rows("SHOW COLUMNS FROM t LIKE 'v%'") == rows[1:]
    assert doris.rows("SHOW FULL COLUMNS FROM t")[1] == (
        "v",
        "varchar(5)",
        "",
        "Yes",
        "",
        "x",
        "NONE",
        "",
        "c",
    )


def test_information_schema(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v VARCHAR(5), d DECIMAL(9, 3), big LARGEINT, b BOOLEAN, at DATETIME(3)")
    doris.table("id INT NOT NULL, v INT", "DUPLICATE KEY(id)", name="Other")
    where = f"WHERE table_schema = '{doris.database}'"
    assert doris.rows(
        "SELECT table_name, column_name, ordinal_position, is_nullable, column_type, column_key "
        f"FROM information_schema.columns {where} AND column_name IN ('id', 'd', 'big', 'b', 'at') "
        "ORDER BY table_name, ordinal_position"
    ) == [
        ("Other", "id", 1, "NO", "int(11)", "DUP"),
        ("t", "id", 1, "NO", "bigint(20)", "UNI"),
        ("t", "d", 3, "YES", "decimal(9,3)", ""),
        ("t", "big", 4, "YES", "bigint(20) unsigned", ""),
        ("t", "b", 5, "YES", "tinyint(1)", ""),
        ("t", "at", 6, "YES", "datetime(3)", ""),
    ]
    assert doris.rows(f"SELECT TABLE_NAME FROM information_schema.tables {where} ORDER BY 1") == [
        ("Other",),
        ("t",),
    ]
    assert doris.rows(
        f"SELECT schema_name FROM information_schema.schemata WHERE schema_name = '{doris.database}'"
    ) == [(doris.database,)]
    for empty in ("statistics", "key_column_usage", "table_constraints", "referential_constraints"):
        assert doris.rows(f"SELECT * FROM information_schema.{empty}") == []


def test_tables_and_databases(doris: Client) -> None:
    doris.table("id INT NOT NULL", name="b_1")
    doris.table("id INT NOT NULL", name="a_x")
    assert doris.rows("SHOW TABLES") == [("a_x",), ("b_1",)]
    assert doris.rows(f"SHOW TABLES FROM {doris.database} LIKE 'b\\_%'") == [("b_1",)]
    assert doris.rows("SHOW FULL TABLES") == [
        ("a_x", "BASE TABLE", "V2", "V3"),
        ("b_1", "BASE TABLE", "V2", "V3"),
    ]
    assert (doris.database,) in doris.rows("SHOW DATABASES")
    assert doris.rows("SHOW DATABASES LIKE 'information%'") == [("information_schema",)]
    assert doris.rows(f"SHOW CREATE DATABASE {doris.database}") == [
        (doris.database, f"CREATE DATABASE `{doris.database}`")
    ]


def test_indexes(doris: Client) -> None:
    doris.table("id INT NOT NULL, a INT, b VARCHAR(9)")
    assert doris.rows("SHOW INDEX FROM t") == []
    doris.run("CREATE INDEX i ON t (b) USING INVERTED COMMENT 'by b'")
    (row,) = doris.rows("SHOW INDEX FROM t")
    assert row[:5] == ("t", "", "i", "", "b")
    assert row[10:12] == ("INVERTED", "by b")
    assert doris.refused("CREATE INDEX i ON t (b)")[1] == "index `i` already exist."
    doris.run("DROP INDEX i ON t")
    assert doris.rows("SHOW INDEX FROM t") == []


def test_cluster(doris: Client) -> None:
    cursor = doris.run("SHOW FRONTENDS")
    (row,) = [dict(zip([d[0] for d in cursor.description], r, strict=True)) for r in cursor.fetchall()]
    assert (row["Alive"], row["IsMaster"], row["QueryPort"]) == (
        "true",
        "true",
        str(doris.emulator.query_port),
    )
    cursor = doris.run("SHOW BACKENDS")
    (row,) = [dict(zip([d[0] for d in cursor.description], r, strict=True)) for r in cursor.fetchall()]
    assert (row["Alive"], row["HttpPort"]) == ("true", str(doris.emulator.be_http_port))
    assert "dbint emulator" in row["Version"]
    assert doris.connection.get_server_info() == "5.7.99"
    assert doris.rows("SHOW VARIABLES LIKE 'version_comment'")[0][1] == doris.value(
        "SELECT @@version_comment"
    )
    assert "(dbint emulator)" in doris.value("SELECT @@version_comment")
    assert any(row[1] == str(doris.value("SELECT CONNECTION_ID()")) for row in doris.rows("SHOW PROCESSLIST"))
    assert doris.rows("SHOW WARNINGS") == []


def test_variables(doris: Client) -> None:
    doris.run("SET time_zone = '+08:00', SESSION query_timeout = 5")
    assert doris.rows("SELECT @@time_zone, @@session.query_timeout") == [("+08:00", 5)]
    doris.run("SET NAMES utf8mb4 COLLATE utf8mb4_0900_bin")
    doris.run("SET autocommit = 0")
    doris.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    assert doris.refused("SET query_timeout = 'soon'")[0] == 1231
    assert (
        doris.refused("SET version_comment = 'x'")[1] == "Variable 'version_comment' is a read only variable"
    )
    doris.run("SET time_zone = 'Asia/Shanghai'")
    assert doris.value("SELECT TIMESTAMPDIFF(HOUR, UTC_TIMESTAMP(), NOW())") in (7, 8)


def test_alter_table(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, old VARCHAR(5)")
    doris.run("INSERT INTO t VALUES (1, 5, 'a')")
    doris.run("ALTER TABLE t ADD COLUMN n INT NOT NULL DEFAULT '7' COMMENT 'seven' AFTER v")
    doris.run("ALTER TABLE t ADD COLUMN m DATETIME(3) NULL, DROP COLUMN old")
    doris.run("ALTER TABLE t RENAME COLUMN v w")
    doris.run("ALTER TABLE t MODIFY COLUMN w BIGINT NULL")
    doris.wait_for_jobs()
    assert doris.rows("SELECT * FROM t") == [(1, 5, 7, None)]
    assert [row[:2] for row in doris.rows("DESC t")] == [
        ("id", "bigint"),
        ("w", "bigint"),
        ("n", "int"),
        ("m", "datetime(3)"),
    ]
    doris.run("INSERT INTO t (id, w) VALUES (2, 5000000000)")
    doris.run("ALTER TABLE t RENAME u")
    assert doris.rows("SELECT id, w, n FROM u WHERE id = 2") == [(2, 5000000000, 7)]
    cursor = doris.run("SHOW ALTER TABLE COLUMN WHERE TableName = 't' ORDER BY CreateTime DESC LIMIT 1")
    (job,) = [dict(zip([d[0] for d in cursor.description], r, strict=True)) for r in cursor.fetchall()]
    assert (job["TableName"], job["State"]) == ("t", "FINISHED")
    doris.run("TRUNCATE TABLE u")
    assert doris.value("SELECT COUNT(*) FROM u") == 0
    doris.run("DROP TABLE IF EXISTS t")
    doris.run("DROP TABLE u FORCE")


def test_a_failed_alter_changes_nothing(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    doris.refused("ALTER TABLE t ADD COLUMN n INT, DROP COLUMN nope")
    assert [row[0] for row in doris.rows("DESC t")] == ["id", "v"]
    doris.run("INSERT INTO t VALUES (1, 1)")


def test_names_keep_their_case(doris: Client) -> None:
    doris.table("id INT NOT NULL", name="T")
    doris.table("ID INT NOT NULL, `select` INT, `a``b` INT", name="`t`")
    doris.run("INSERT INTO `t` (`SELECT`, `a``b`, id) VALUES (1, 2, 3)")
    cursor = doris.run(f"SELECT x.`select`, `a``b`, `{doris.database}`.x.id FROM {doris.database}.t x")
    assert cursor.fetchall() == ((1, 2, 3),)
    assert doris.value("SELECT COUNT(*) FROM T") == 0
