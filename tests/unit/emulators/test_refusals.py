# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""Doris' refusals: what other servers accept and Doris does not, with its own codes and words.

Sources: the grammar DorisParser.g4, and the checks in org.apache.doris.nereids.trees.plans.commands of
apache/doris.
"""

import contextlib
import logging
import socket
import time

import pymysql
import pytest

from tests.unit.emulators.conftest import PASSWORD, Client, connect


@pytest.fixture(scope="module")
def tables(shared: Client) -> Client:
    shared.table("id BIGINT NOT NULL, v INT, pay DECIMAL(10, 2), day DATE, at DATETIME(3), name VARCHAR(20)")
    shared.table("id BIGINT NOT NULL, v INT", "DUPLICATE KEY(id)", name="d")
    return shared


TAIL = "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1')"


@pytest.mark.parametrize(
    ("sql", "found", "line", "position"),
    [
        ("CREATE TABLE t (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY)", "PRIMARY", 1, 50),
        ("CREATE TABLE t (id BIGINT AUTO_INCREMENT NOT NULL) " + TAIL, "NOT", 1, 41),
        ("CREATE TABLE t (id INT UNSIGNED) " + TAIL, "UNSIGNED", 1, 23),
        ("CREATE TABLE t (id INT, t LONGTEXT) " + TAIL, "LONGTEXT", 1, 26),
        ("CREATE TABLE t (id INT, b BLOB) " + TAIL, "BLOB", 1, 26),
        ("CREATE TABLE t (id INT DEFAULT 3 NOT NULL) " + TAIL, "NOT", 1, 33),
        ("CREATE TABLE t (id INT, b BOOLEAN DEFAULT TRUE) " + TAIL, "TRUE", 1, 42),
        ("CREATE TABLE t (id INT,\n  name VARCHAR(10) UNIQUE) " + TAIL, "UNIQUE", 2, 19),
        ("CREATE TABLE t (id INT REFERENCES x (id)) " + TAIL, "REFERENCES", 1, 23),
        ("CREATE UNIQUE INDEX i ON t (id)", "UNIQUE", 1, 7),
        ("REPLACE INTO t VALUES (1)", "REPLACE", 1, 0),
        ("INSERT IGNORE INTO t VALUES (1)", "IGNORE", 1, 7),
        ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE id = 2", "ON", 1, 25),
        ("INSERT INTO t VALUES (1) RETURNING id", "RETURNING", 1, 25),
        ("SELECT * FROM t FOR UPDATE", "FOR", 1, 16),
        ("SELECT * FROM t LOCK IN SHARE MODE", "LOCK", 1, 16),
        ("SELECT * FROM t FORCE INDEX (i)", "FORCE", 1, 16),
        ("SELECT * FROM t WHERE (id, v) IN ((1, 2))", ",", 1, 25),
        ("SELECT SUM(v) OVER w FROM t WINDOW w AS (ORDER BY id)", "WINDOW", 1, 28),
        ("WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r", "r", 1, 15),
        ("SELECT v -> '$.a' FROM t", "->", 1, 9),
        ("SELECT NOW() + INTERVAL 5 MICROSECOND", "MICROSECOND", 1, 26),
        ("SELECT id FROM t WHERE v LIKE BINARY CONCAT('a', '%')", "CONCAT", 1, 37),
        ("SAVEPOINT s", "SAVEPOINT", 1, 0),
        ("ROLLBACK TO s", "TO", 1, 9),
        ("ALTER TABLE t RENAME COLUMN v TO w", "TO", 1, 30),
        ("ALTER TABLE t CHANGE v w INT", "CHANGE", 1, 14),
        ("ALTER TABLE t MODIFY v INT", "MODIFY", 1, 14),
        ("ALTER TABLE t ADD COLUMN n INT DEFAULT '3' NOT NULL", "NOT", 1, 43),
        ("RENAME TABLE t TO u", "RENAME", 1, 0),
        ("DROP TABLE t CASCADE", "CASCADE", 1, 13),
    ],
)
def test_syntax(tables: Client, sql: str, found: str, line: int, position: int) -> None:
    code, message = tables.refused(sql)
    assert code == 1105
    assert message.startswith(f"\nmismatched input '{found}' expecting ")
    assert message.rstrip().endswith(f"(line {line}, pos {position})")


@pytest.mark.parametrize(
    ("definition", "detail"),
    [
        (
            "(v INT, id INT) UNIQUE KEY(id)",
            (
                "Key columns should be a ordered prefix of the schema. KeyColumns[0] (starts from zero) is"
                " id, but corresponding column is v in the previous columns declaration."
            ),
        ),
        ("(id INT) UNIQUE KEY(nope)", "Key column[nope] doesn't exist."),
        ("(id STRING) UNIQUE KEY(id)", "String Type should not be used in key column[id]"),
        ("(id DOUBLE) UNIQUE KEY(id)", "Float or double can not used as a key, use decimal instead."),
        ("(id JSON) DUPLICATE KEY(id)", "JsonType type should not be used in key column[id]."),
        ("(id VARIANT) DUPLICATE KEY(id)", "Variant type should not be used in key column[id]."),
        (
            "(id TEXT, v INT)",
            (
                "The olap table first column could not be float, double, string or array, struct, map, please"
                " use decimal or varchar instead."
            ),
        ),
        (
            "(id INT NOT NULL AUTO_INCREMENT) DUPLICATE KEY(id)",
            "the auto increment column must be BIGINT type. column: id",
        ),
        (
            "(id BIGINT AUTO_INCREMENT) DUPLICATE KEY(id)",
            "the auto increment column should be NOT NULL. column: id",
        ),
        (
            "(id BIGINT NOT NULL AUTO_INCREMENT, b BIGINT NOT NULL AUTO_INCREMENT) DUPLICATE KEY(id)",
            "there can not be more than one auto increment column.",
        ),
        ("(id INT, ID INT) DUPLICATE KEY(id)", "Duplicate column name 'ID'"),
        (
            "(id INT, v INT SUM) DUPLICATE KEY(id)",
            "DUP_KEYS table should not specify aggregate type for non-key column[v]",
        ),
        ("(id INT, v INT NOT NULL DEFAULT NULL)", "Can not set null default value to non nullable column: v"),
        ("(id VARCHAR(65534))", "VARCHAR size must be <= 65533: 65534"),
        ("(id CHAR(256))", "Char size must be <= 255: 256"),
        (
            "(id INT, d DECIMAL(5, 6))",
            "Scale of decimal must be smaller than precision. Scale is 6 and precision is 5",
        ),
        ("(id INT, d DATETIME(7))", "Scale of Datetime/Time must between 0 and 6. Scale was set to: 7"),
        (
            "(id INT, v INT) UNIQUE KEY(id) PARTITION BY RANGE(v) ()",
            "Merge-on-Write table's partition column must be KEY column",
        ),
    ],
)
def test_table_definitions(shared: Client, definition: str, detail: str) -> None:
    code, message = shared.refused(f"CREATE TABLE new {definition} {TAIL}")
    assert message == detail
    assert code == (1060 if "Duplicate column" in detail else 1105)


def test_distribution_and_replicas(shared: Client) -> None:
    head = "CREATE TABLE new (id INT, v INT) UNIQUE KEY(id) "
    one = " PROPERTIES ('replication_num' = '1')"
    assert (
        shared.refused(head + "DISTRIBUTED BY RANDOM" + one)[1]
        == "Should not be distributed by random when keys type is unique"
    )
    assert (
        shared.refused(head + "DISTRIBUTED BY HASH(v)" + one)[1] == "Distribution column[v] is not key column"
    )
    assert shared.refused(head + "DISTRIBUTED BY HASH(x)" + one)[1] == "Distribution column(x) doesn't exist."
    code, message = shared.refused(head + "DISTRIBUTED BY HASH(id)")  # three replicas unless told otherwise
    assert code == 1105
    assert message.startswith("Failed to find enough backend, please check the replication num")
    assert "replication num: 3" in message


@pytest.mark.parametrize(
    ("sql", "code", "detail"),
    [
        ("USE nowhere", 1049, "Unknown database 'nowhere'"),
        ("SELECT * FROM nowhere.t", 1105, "Database [nowhere] does not exist."),
        ("CREATE DATABASE {db}", 1007, "Can't create database '{db}'; database exists"),
        ("DROP DATABASE nowhere", 1008, "Can't drop database 'nowhere'; database doesn't exist"),
        ("CREATE TABLE t (id INT) " + TAIL, 1050, "Table 't' already exists"),
        ("DROP TABLE nope", 1109, "Unknown table 'nope' in {db}"),
        ("DESC nope", 1051, "Unknown table 'nope'"),
        ("TRUNCATE TABLE nope", 1051, "Unknown table 'nope'"),
        ("INSERT INTO nope VALUES (1)", 1105, "Table [nope] does not exist in database [{db}]."),
        ("UPDATE nope SET v = 1 WHERE id = 1", 1105, "Table [nope] does not exist in database [{db}]."),
        ("SELECT * FROM nope", 1105, "Table [nope] does not exist in database [{db}]."),
        ("SELECT nope FROM t", 1105, "Unknown column 'nope' in 'table list' in PROJECT clause"),
        ("SELECT MAX(nope) FROM t", 1105, "Unknown column 'nope' in 'table list' in AGGREGATE clause"),
        ("SELECT id FROM t ORDER BY nope", 1105, "Unknown column 'nope' in 'table list' in SORT clause"),
        ("SELECT id AS x FROM t WHERE x = 1", 1105, "Unknown column 'x' in 'table list' in FILTER clause"),
        ("SELECT id AS x, x + 1 FROM t", 1105, "Unknown column 'x' in 'table list' in PROJECT clause"),
        ("SELECT id FROM t WHERE nope = 1", 1105, "Unknown column 'nope' in 'table list' in FILTER clause"),
        ("INSERT INTO t (nope) VALUES (1)", 1105, "Unknown column 'nope' in target table."),
        (
            "INSERT INTO t (id, v) VALUES (1)",
            1105,
            "Column count doesn't match value count at row 1: 2 columns, 1 values",
        ),
        ("INSERT INTO t (v) VALUES (1)", 1105, "Column has no default value, column=id"),
        (
            "SELECT v, COUNT(*) FROM t",
            1105,
            "PROJECT expression 'v' must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        (
            "SELECT LENGTH('a', 'b')",
            1105,
            "Can not found function 'length' which has 2 arity. Candidate functions are: [length]",
        ),
        ("UPDATE d SET v = 1 WHERE id = 1", 1105, "Only unique table could be updated."),
        ("UPDATE t SET id = 2 WHERE id = 1", 1105, "Only value columns of unique table could be updated"),
        (
            "DELETE FROM d WHERE v = (SELECT 1)",
            1105,
            (
                "Where clause only supports compound predicate, binary predicate, is_null predicate or in"
                " predicate."
            ),
        ),
        (
            "DELETE FROM d WHERE id = 1 OR v = 2",
            1105,
            (
                "Where clause only supports compound predicate, binary predicate, is_null predicate or in"
                " predicate."
            ),
        ),
        ("DELETE FROM d", 1105, "delete command must contain filter"),
        ("SET time_zone = 'Nowhere'", 1298, "Unknown or incorrect time zone: 'Nowhere'"),
        ("SELECT FROM_UNIXTIME(-1)", 1105, "Operation from_unixtime of -1 is invalid"),
        (
            "SELECT DATE_ADD('9999-12-31', INTERVAL 1 DAY)",
            1105,
            "Operation days_add of 9999-12-31, 1 out of range",
        ),
        (
            "SELECT MICROSECONDS_ADD('9999-12-31 23:59:59.999999', 2000000)",
            1105,
            "Operation microseconds_add of 9999-12-31 23:59:59.999999, 2000000 out of range",
        ),
        ("SET foreign_key_checks = 0", 1193, "Unknown system variable 'foreign_key_checks'"),
        ("SELECT @@no_such_variable", 1193, "Unknown system variable 'no_such_variable'"),
        ("ALTER TABLE t DROP COLUMN id", 1105, "Can not drop key column in Unique data model table"),
        ("ALTER TABLE t ADD COLUMN v INT", 1060, "Can not add column which already exists in base table: v"),
        ("ALTER TABLE t MODIFY COLUMN v TINYINT", 1105, "Can not change INT to TINYINT"),
        ("ALTER TABLE t MODIFY COLUMN v INT NOT NULL", 1105, "Can not change from nullable to non-nullable"),
    ],
)
def test_statements(tables: Client, sql: str, code: int, detail: str) -> None:
    assert tables.refused(sql.format(db=tables.database)) == (code, detail.format(db=tables.database))


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("CREATE TABLE a (id INT, v HLL HLL_UNION) AGGREGATE KEY(id) " + TAIL, "the column type HLL"),
        ("CREATE TABLE a (id INT, m MAP<INT, INT>) " + TAIL, "the column type MAP"),
        ("CREATE TABLE a (id INT, i IPV4) " + TAIL, "the column type IPV4"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED"),
        ("ALTER TABLE t ADD ROLLUP r (id)", "ALTER TABLE … ADD ROLLUP"),
        ("ALTER TABLE d ADD TEMPORARY PARTITION p VALUES LESS THAN (1)", "a TEMPORARY PARTITION"),
        ("EXPLAIN INSERT INTO t VALUES (1)", "EXPLAIN INSERT"),
        ("EXPLAIN VERBOSE SELECT 1", "EXPLAIN VERBOSE"),
        ("SELECT 1; SELECT 2", "several statements in one request"),
        ("SELECT WEEK('2024-01-01', id) FROM t", "WEEK() in a mode that is not a constant"),
        ("SELECT day - day FROM t", "arithmetic with a DATE or DATETIME"),
        ("SELECT day + 1 FROM t", "arithmetic with a DATE or DATETIME"),
        ("SELECT x - y FROM (SELECT NOW() AS x, NOW() AS y) q", "arithmetic with a DATE or DATETIME"),
        ("SELECT AVG(at) FROM (SELECT NOW() AS at) q", "arithmetic with a DATE or DATETIME"),
        ("SELECT id FROM t WHERE day > '24-01-01'", "a year of two digits in a comparison"),
        ("SELECT pay DIV 2 FROM t", "DIV of a number with a fraction"),
        ("SELECT FROM_UNIXTIME(1.5)", "a number with a fraction here"),
        ("SELECT HEX(1.5)", "a number with a fraction here"),
        ("SELECT JSON_EXTRACT('[1]', '$[*]')", "a JSON path with *"),
        ("SELECT GROUP_CONCAT(name SEPARATOR '-') FROM t", "GROUP_CONCAT(… SEPARATOR …)"),
        ("SELECT SUBSTRING(name FROM 2) FROM t", "SUBSTRING(… FROM …)"),
        ("SELECT 'a' 'b'", "a string literal beside another"),
        ("SELECT TRIM('a', 'b')", "TRIM of 2 arguments"),
        ("SELECT JSON_EXTRACT('{}', '$.a', '$.b')", "JSON_EXTRACT of 3 arguments"),
        ("SET time_zone = '+05:30'", "a time zone that is not whole hours from UTC"),
        ("SELECT @x", "a user variable"),
        ("LOCK TABLES t READ", "LOCK TABLES"),
        ("SYNC", "SYNC"),
        ("MERGE INTO t USING d ON t.id = d.id WHEN MATCHED THEN DELETE", "MERGE INTO"),
        ("START TRANSACTION", "START TRANSACTION (use BEGIN)"),
    ],
)
def test_what_the_emulator_lacks_says_so(tables: Client, sql: str, what: str) -> None:
    code, message = tables.refused(sql)
    assert code == 1105
    assert message == f"[dbint emulator] {what} is not emulated; Doris itself supports it"


def test_unknown_functions(shared: Client) -> None:
    for call in ("LAST_INSERT_ID()", "COUNT_IF(TRUE)", "GEN_RANDOM_UUID()"):  # of other databases
        assert shared.refused(f"SELECT {call}")[1].startswith("Can not found function")
    assert shared.refused("SELECT no_such(1)")[1].startswith("Can not found function 'no_such'")
    assert shared.refused("SELECT strlen('a')")[1].startswith(
        "Can not found function 'strlen'"
    )  # DuckDB's own


def test_insert_that_does_not_fit(doris: Client) -> None:
    doris.table(
        "id BIGINT NOT NULL, v VARCHAR(3), n TINYINT, d DECIMAL(4, 2), s DATE, r VARCHAR(3) NOT NULL"
        " DEFAULT 'x'"
    )
    for values, why in [
        ("(1, 'éé', 1, 1, NULL, 'x')", "schema length: 3; actual length: 4"),  # bytes, not characters
        ("(1, 'a', 128, 1, NULL, 'x')", "column=n, type=tinyint, value=128"),
        ("(1, 'a', 1, 100, NULL, 'x')", "column=d, type=decimal(4,2), value=100"),
        ("(1, 'a', 1, 1, '2024-02-30', 'x')", "column=s, type=date, value=2024-02-30"),
        ("(1, 'a', 1, 1, NULL, NULL)", "null value for not null column, column=r"),
        ("(NULL, 'a', 1, 1, NULL, 'x')", "null value for not null column, column=id"),
    ]:
        code, message = doris.refused(f"INSERT INTO t VALUES {values}")
        assert code == 5025
        assert message.startswith("Insert has filtered data in strict mode. ")
        assert why in message
    assert doris.value("SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("root", ""), ("nobody", PASSWORD)])
def test_login(doris: Client, user: str, password: str) -> None:
    with pytest.raises(pymysql.OperationalError) as caught:
        connect(doris.emulator, user=user, password=password)
    assert caught.value.args == (1045, f"Access denied for user '{user}@127.0.0.1' (using password: YES)")


def test_login_to_a_missing_database(doris: Client) -> None:
    with pytest.raises(pymysql.OperationalError) as caught:
        connect(doris.emulator, "nowhere")
    assert caught.value.args == (1049, "errCode = 2, detailMessage = Unknown database 'nowhere'")


def test_a_refused_client_cannot_go_on(doris: Client) -> None:
    """A client that ignores the refusal of its login gets nothing more."""
    connection = connect(doris.emulator, defer_connect=True, password="wrong")
    with pytest.raises(pymysql.OperationalError):
        connection.connect()
    raw = socket.create_connection(("127.0.0.1", doris.emulator.query_port), timeout=5)
    raw.recv(4096)
    login = (0x0008A200 | 0x200).to_bytes(4, "little") + b"\x00\x00\x00\x01" + b"\x2d" + b"\x00" * 23
    login += b"root\x00" + b"\x14" + b"x" * 20 + b"mysql_native_password\x00"
    raw.sendall(len(login).to_bytes(3, "little") + b"\x01" + login)
    refusal = raw.recv(4096)
    assert refusal[4] == 0xFF
    assert b"Access denied" in refusal
    query = b"\x03SELECT 1"
    received = b""
    with contextlib.suppress(ConnectionError):
        raw.sendall(len(query).to_bytes(3, "little") + b"\x00" + query)
        received = raw.recv(4096)
    raw.close()
    assert received == b""


@pytest.mark.parametrize("reads_greeting", [False, True])
def test_a_client_that_hangs_up_is_no_error(
    doris: Client, caplog: pytest.LogCaptureFixture, reads_greeting: bool
) -> None:
    """Probes of the port do so: the log stays quiet."""
    caplog.set_level(logging.DEBUG, "dbint.emulators.doris")
    with socket.create_connection(("127.0.0.1", doris.emulator.query_port), timeout=5) as raw:
        if reads_greeting:
            raw.recv(4096)
    deadline = time.monotonic() + 10
    while "a client left before its login" not in caplog.text:
        assert time.monotonic() < deadline
        doris.rows("SELECT 1")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
