# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""What a SELECT answers, where MySQL, DuckDB and Doris differ or could differ.

Each group names the page of the Doris manual (docs/sql-manual of apache/doris-website) that it follows.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.emulators.conftest import Client

D = Decimal

CASES: dict[str, list[tuple[str, Any]]] = {
    # basic-element/operators/arithmetic-operators.md
    "arithmetic": [
        ("1 / 2", 0.5),
        ("2147483647 + 1", 2147483648),
        ("CAST(127 AS TINYINT) + CAST(1 AS TINYINT)", 128),
        ("'1' + '2'", 3.0),
        ("'x' + 1", None),
        ("7 % -4", 3),
        ("-7.5 % 2", D("-1.5")),
        ("7 DIV 2", 3),
        ("-7 DIV 2", -3),
        ("1 / 0", None),
        ("7 % 0", None),
        ("7 % 4", 3),
        ("MOD(-7, 4)", -3),
        ("1 + NULL", None),
        ("1.50 + 1", D("2.50")),
        ("5 & 3", 1),
        ("5 | 3", 7),
        ("5 ^ 3", 6),
    ],
    # basic-element/operators/logical-operators.md: || is OR
    "logic": [
        ("1 = 1", 1),
        ("NULL = NULL", None),
        ("NULL <=> NULL", 1),
        ("TRUE || FALSE", 1),
        ("TRUE XOR TRUE", 0),
        ("NOT TRUE", 0),
        ("NULL IS NULL", 1),
        ("2 BETWEEN 1 AND 3", 1),
        ("1 IN (2, 3)", 0),
        ("1 NOT IN (2, NULL)", None),
    ],
    # basic-element/operators/comparison-operators.md: text is compared with a number as a number
    "comparisons": [
        ("'10' < '9'", 1),
        ("10 < '9'", 0),
        ("1 = '1.0'", 1),
        ("2 = '1.5'", 0),
        ("CAST('5.5' AS STRING) = 6", 0),
        ("CAST('x' AS STRING) = 6", None),
        ("CAST('7' AS STRING) BETWEEN 6 AND 10", 1),
        ("CAST('7' AS STRING) IN (6, 7)", 1),
        ("CAST(1.50 AS DECIMAL(10, 2)) = '1.505'", 0),
        ("CAST('2024-02-29' AS DATE) < '2024-02-29 12:00:00'", 1),
        ("CAST('2024-02-29' AS DATE) IN ('2024-02-29 12:00:00')", 0),
        ("CAST('2024-02-29' AS DATE) = '2024-02-29'", 1),
        ("1 != 2", 1),
        ("1 <=> NULL", 0),
        ("1 BETWEEN NULL AND 2", None),
    ],
    # basic-element/operators/string-operators.md; comparisons are by byte
    "strings": [
        ("'A' = 'a'", 0),
        ("'a ' = 'a'", 0),
        ("'abc' LIKE 'A%%'", 0),
        ("'a_c' LIKE 'a\\_c'", 1),
        ("'abc' LIKE 'a\\_c'", 0),
        ("'100%%' LIKE '100\\%%'", 1),
        ("'x' LIKE BINARY 'x'", 1),
        ("'abc' REGEXP 'B'", 0),
        ("'abc' REGEXP '^a.c$'", 1),
        ("'it''s \"x\"'", 'it\'s "x"'),
        ("'tab\\there'", "tab\there"),
    ],
    # sql-functions/scalar-functions/string-functions
    "string functions": [
        ("LENGTH('é')", 2),
        ("CHAR_LENGTH('é')", 1),
        ("CONCAT('a', NULL)", None),
        ("CONCAT('a', 1)", "a1"),
        ("CONCAT_WS('-', 'a', NULL, 'b')", "a-b"),
        ("UPPER('abc')", "ABC"),
        ("LEFT('hello', 2)", "he"),
        ("RIGHT('hello', 2)", "lo"),
        ("SUBSTRING('hello', 2, 3)", "ell"),
        ("SUBSTRING('hello', -3)", "llo"),
        ("SUBSTR('hello', 0, 2)", ""),
        ("SUBSTRING('hello', -6)", ""),
        ("SUBSTRING('hello', 2, -1)", ""),
        ("LOCATE('l', 'hello', 4)", 4),
        ("LOCATE('l', 'hello', 5)", 0),
        ("LOCATE('x', 'hello')", 0),
        ("FIND_IN_SET('b', 'a,b,c')", 2),
        ("FIND_IN_SET('d', 'a,b,c')", 0),
        ("FIND_IN_SET(NULL, 'a')", None),
        ("SPLIT_PART('a,b,c', ',', -1)", "c"),
        ("SPLIT_PART('a,b,c', ',', 0)", None),
        ("HEX(-1)", "FFFFFFFFFFFFFFFF"),
        ("CONCAT('a', TRUE, CAST(1 AS DOUBLE), 1.50)", "a111.50"),
        ("CONCAT(CAST('2024-01-01' AS DATETIME(3)), '')", "2024-01-01 00:00:00.000"),
        ("CONCAT_WS(NULL, 'a')", None),
        ("LENGTH(NULL)", None),
        ("LENGTH(TRUE)", 1),
        ("LPAD('7', 3, '0')", "007"),
        ("REPLACE('aaa', 'a', 'b')", "bbb"),
        ("INSTR('hello', 'l')", 3),
        ("LOCATE('l', 'hello')", 3),
        ("REVERSE('abc')", "cba"),
        ("TRIM('  a ')", "a"),
        ("REPEAT('ab', 2)", "abab"),
        ("SPLIT_PART('a,b,c', ',', 2)", "b"),
        ("SPLIT_PART('a,b,c', ',', 9)", None),
        ("MD5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("HEX('a')", "61"),
        ("HEX(255)", "FF"),
        ("ASCII('A')", 65),
        ("STRCMP('a', 'b')", -1),
        ("REGEXP_REPLACE('a1b2', '[0-9]', '-')", "a-b-"),
        ("FIELD('b', 'a', 'b')", 2),
    ],
    # sql-functions/scalar-functions/conditional-functions
    "conditions": [
        ("IF(NULL, 1, 2)", 2),
        ("IFNULL(NULL, 'x')", "x"),
        ("NULLIF(1, 1)", None),
        ("COALESCE(NULL, NULL, 3)", 3),
        ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "b"),
        ("GREATEST(1, NULL, 3)", None),
        ("LEAST(3, 1, 2)", 1),
    ],
    # sql-functions/scalar-functions/numeric-functions
    "numbers": [
        ("ROUND(2.567, 2)", D("2.57")),
        ("FLOOR(-1.5)", D(-2)),
        ("CEIL(1.2)", D(2)),
        ("ABS(-3)", 3),
        ("POW(2, 10)", 1024.0),
        ("SQRT(-1)", None),
        ("LN(0)", None),
        ("TRUNCATE(1.987, 1)", D("1.9")),
        ("TRUNCATE(-1.987, 1)", D("-1.9")),
        ("TRUNCATE(0.29, 2)", D("0.29")),  # by way of DOUBLE it would be 0.28
        ("TRUNCATE(CAST(1.5 AS DOUBLE), 0)", 1.0),
        ("ROUND(2.5)", D(3)),
        ("ROUND(-2.5)", D(-3)),
        ("ROUND(CAST(-2.5 AS DOUBLE))", -3.0),
        ("ROUND(25, -1)", 30),
        ("SIGN(-2)", -1),
    ],
    # sql-functions/scalar-functions/date-time-functions
    "dates": [
        ("YEAR('2024-02-29 10:11:12')", 2024),
        ("EXTRACT(MONTH FROM '2024-02-29')", 2),
        ("DAYOFWEEK('2024-02-25')", 1),
        ("WEEKDAY('2024-02-26')", 0),
        ("WEEKOFYEAR('2024-01-01')", 1),
        ("WEEK('2024-01-01', 3)", 1),
        ("QUARTER('2024-05-01')", 2),
        ("DATE('2024-02-29 10:11:12')", dt.date(2024, 2, 29)),
        ("CAST('2024-02-29 10:11:12' AS DATE)", dt.date(2024, 2, 29)),
        ("CAST('2024-02-30' AS DATE)", None),
        ("CAST('2024-02-29 10:11:12.5' AS DATETIME(3))", dt.datetime(2024, 2, 29, 10, 11, 12, 500000)),
        ("DATE_ADD('2024-01-31', INTERVAL 1 MONTH)", dt.date(2024, 2, 29)),
        ("DATE_ADD('2024-01-31 00:00:00', INTERVAL 90 SECOND)", dt.datetime(2024, 1, 31, 0, 1, 30)),
        ("DATE_SUB(CAST('2024-03-01' AS DATE), INTERVAL 1 DAY)", dt.date(2024, 2, 29)),
        ("CAST('2024-03-01' AS DATE) + INTERVAL 1 HOUR", dt.datetime(2024, 3, 1, 1)),
        ("DATE_TRUNC('2024-05-15 10:11:12', 'month')", dt.datetime(2024, 5, 1)),
        ("DATE_TRUNC(CAST('2024-05-15' AS DATE), 'year')", dt.date(2024, 1, 1)),
        ("DATE_FORMAT('2024-05-06 07:08:09', '%%Y/%%m/%%d %%H:%%i:%%s')", "2024/05/06 07:08:09"),
        ("DATE_FORMAT('2024-05-06', '%%c-%%e')", "5-6"),
        ("STR_TO_DATE('06.05.2024', '%%d.%%m.%%Y')", dt.date(2024, 5, 6)),
        ("DATEDIFF('2024-03-01', '2024-02-28')", 2),
        ("TIMESTAMPDIFF(HOUR, '2024-01-01 00:00:00', '2024-01-02 01:59:59')", 25),
        ("TIMESTAMPDIFF(MONTH, '2024-01-31', '2024-02-29')", 0),
        ("TIMESTAMPADD(DAY, 1, '2024-02-28')", dt.date(2024, 2, 29)),
        ("CONVERT_TZ('2024-01-01 00:00:00', 'UTC', '+08:00')", dt.datetime(2024, 1, 1, 8)),
        ("CONVERT_TZ('2024-07-01 00:00:00', '+00:00', 'Europe/Berlin')", dt.datetime(2024, 7, 1, 2)),
        ("UNIX_TIMESTAMP('1970-01-02 00:00:00')", 86400),
        ("FROM_UNIXTIME(86400)", "1970-01-02 00:00:00"),
        ("UNIX_TIMESTAMP('2015-11-13 10:20:19.123')", D("1447410019.123")),
        ("UNIX_TIMESTAMP('1007-11-30 10:30:19')", 0),
        ("FROM_UNIXTIME(86400, '%%Y')", "1970"),
        ("DATE_SUB('2024-03-31', INTERVAL 1 MONTH)", dt.date(2024, 2, 29)),
        ("DATE_ADD('2024-02-29', INTERVAL 1 YEAR)", dt.date(2025, 2, 28)),
        (
            "MICROSECONDS_ADD('2023-10-01 12:00:00.500000', -300000)",
            dt.datetime(2023, 10, 1, 12, 0, 0, 200000),
        ),
        ("MICROSECONDS_ADD('2023-10-01', -300000)", dt.datetime(2023, 9, 30, 23, 59, 59, 700000)),
        ("MICROSECONDS_SUB('2023-10-01', NULL)", None),
        ("MILLISECONDS_ADD('2023-10-01 00:00:00', 1500)", dt.datetime(2023, 10, 1, 0, 0, 1, 500000)),
        ("MILLISECONDS_SUB('2023-10-01', 1)", dt.datetime(2023, 9, 30, 23, 59, 59, 999000)),
        ("QUARTERS_ADD('2024-01-31', 1)", dt.date(2024, 4, 30)),
        ("QUARTERS_DIFF('2024-06-30', '2024-01-01')", 1),
        ("WEEKS_DIFF('2024-01-15', '2024-01-01')", 2),
        ("YEARWEEK('2021-01-01')", 202052),
        ("YEARWEEK('2020-07-01', 1)", 202027),
        ("YEARWEEK('2024-12-30', 1)", 202501),
        ("YEARWEEK('2023-01-02', 5)", 202301),
        ("YEARWEEK('2023-12-25', 1)", 202352),
        ("YEARWEEK(NULL)", None),
        ("WEEK('2020-01-01')", 0),
        ("WEEK('2020-07-01', 1)", 27),
        ("WEEK('2023-01-01', 0)", 1),
        ("WEEK('2023-01-01', 3)", 52),
        ("WEEK('2023-01-01', -1)", 52),
        ("WEEK('2023-12-31 23:59:59', 3)", 52),
        ("LAST_DAY('2024-02-01')", dt.date(2024, 2, 29)),
        ("MAKEDATE(2024, 60)", dt.date(2024, 2, 29)),
    ],
    # sql-functions/scalar-functions/json-functions
    "json": [
        ("JSON_EXTRACT('{\"a\": [1, 2]}', '$.a')", "[1,2]"),
        ("JSON_EXTRACT('{\"a\": \"x\"}', '$.a')", '"x"'),
        ("JSON_EXTRACT_STRING('{\"a\": \"x\"}', '$.a')", "x"),
        ("JSON_EXTRACT_STRING('{\"a\": null}', '$.a')", "null"),
        ("JSON_EXTRACT_STRING('{\"a\": null}', '$.b')", None),
        ("GET_JSON_INT('{\"a\": 5}', '$.a')", 5),
        ("GET_JSON_INT('{\"a\": 5}', '$.b')", None),
        ("JSON_LENGTH('[1, 2, 3]')", 3),
        ("JSON_VALID('{')", 0),
    ],
    # basic-element/sql-data-types/conversion: a cast that cannot be done gives NULL
    "casts": [
        ("CAST('12' AS INT)", 12),
        ("CAST('abc' AS INT)", None),
        ("CAST(1.9 AS INT)", 1),
        ("CAST('1.9' AS BIGINT)", 1),
        ("CAST(300 AS TINYINT)", None),
        ("CAST(TRUE AS INT)", 1),
        ("CAST(1.5 AS DECIMAL(10, 3))", D("1.500")),
        ("CAST(7 AS STRING)", "7"),
        ("CAST('true' AS BOOLEAN)", 1),
        ("CAST('on' AS BOOLEAN)", 1),
        ("CAST('1.1' AS BOOLEAN)", None),
        ("CAST(-0.5 AS BOOLEAN)", 1),
        ("CAST(TRUE AS STRING)", "1"),
        ("CAST(CAST(1e20 AS DOUBLE) AS STRING)", "1e+20"),
        ("CAST(CAST(0.1 AS DOUBLE) + CAST(0.2 AS DOUBLE) AS STRING)", "0.3"),
        ("CAST(CAST('123456.12345' AS FLOAT) AS STRING)", "123456.1"),
        ("CAST('1.23456e5' AS INT)", None),
        ("CAST(CAST('2025-03-14' AS DATE) AS INT)", 20250314),
        ("CAST(CAST('2025-03-14 17:00:01.123456' AS DATETIME(6)) AS BIGINT)", 20250314170001),
        ("CAST('24-5-1' AS DATE)", dt.date(2024, 5, 1)),
        ("CAST('70-01-01' AS DATE)", dt.date(1970, 1, 1)),
        ("CAST('2025/06/15' AS DATE)", dt.date(2025, 6, 15)),
        ("CAST(CAST(1 AS DOUBLE) AS STRING)", "1"),
        (
            "CAST('170141183460469231731687303715884105727' AS LARGEINT)",
            "170141183460469231731687303715884105727",
        ),
    ],
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [pytest.param(e, v, id=f"{group}: {e}") for group, cases in CASES.items() for e, v in cases],
)
def test_expression(reader: Client, expression: str, expected: Any) -> None:
    value = reader.value(f"SELECT {expression.replace('%%', '%')} AS x")
    assert value == expected
    assert type(value) is type(expected)


@pytest.fixture(scope="module")
def people(shared: Client) -> Client:
    shared.table(
        "id BIGINT NOT NULL, name VARCHAR(20), team VARCHAR(20), score INT, pay DECIMAL(10,2), seen"
        " DATETIME(3)"
    )
    shared.run(
        "INSERT INTO t VALUES (1, 'Ann', 'red', 10, 1.10, '2024-01-01 10:00:00.125'), (2, 'bob', 'blue',"
        " NULL, 2.25, NULL),(3, 'Cid', 'red', 30, NULL, '2024-03-01'), (4, NULL, 'blue', 5, 4.00, '2024-01-31"
        " 23:59:59.999')"
    )
    return shared


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # sql-manual/sql-statements/data-query/SELECT.md: NULL is the smallest value
        ("SELECT id FROM t ORDER BY score", [(2,), (4,), (1,), (3,)]),
        ("SELECT id FROM t ORDER BY score DESC", [(3,), (1,), (4,), (2,)]),
        ("SELECT id FROM t ORDER BY score NULLS LAST", [(4,), (1,), (3,), (2,)]),
        ("SELECT id FROM t ORDER BY score DESC NULLS FIRST", [(2,), (3,), (1,), (4,)]),
        ("SELECT id FROM t ORDER BY 1 DESC NULLS LAST LIMIT 1", [(4,)]),
        (
            "SELECT id, RANK() OVER (ORDER BY score NULLS LAST) FROM t ORDER BY id",
            [(1, 2), (2, 4), (3, 3), (4, 1)],
        ),
        ("SELECT FIRST_VALUE(id) OVER (ORDER BY score) FROM t LIMIT 1", [(2,)]),
        ("SELECT COUNT(DISTINCT team, score), COUNT(NULL) FROM t", [(3, 0)]),
        ("SELECT SUM(score) FROM t HAVING SUM(score) > 100", []),
        ("SELECT GROUP_CONCAT(seen IS NULL ORDER BY id) FROM t", [("0, 1, 0, 0",)]),
        ("SELECT CAST(seen AS STRING) FROM t WHERE id = 3", [("2024-03-01 00:00:00.000",)]),
        ("SELECT UNIX_TIMESTAMP(seen) FROM t WHERE id = 1", [(D("1704103200.125"),)]),
        ("SELECT id FROM t WHERE score = '10.4'", []),
        ("SELECT id FROM t ORDER BY id LIMIT 1, 2", [(2,), (3,)]),
        ("SELECT id FROM t ORDER BY id LIMIT 2 OFFSET 1", [(2,), (3,)]),
        (
            "SELECT team, COUNT(*), COUNT(score), SUM(score) FROM t GROUP BY team ORDER BY 1",
            [("blue", 2, 1, 5), ("red", 2, 2, 40)],
        ),
        ("SELECT team AS g, MAX(score) m FROM t GROUP BY g HAVING m > 10", [("red", 30)]),
        (
            "SELECT COUNT(DISTINCT team), AVG(score), AVG(pay), SUM(pay) FROM t",
            [(2, 15.0, D("2.4500"), D("7.35"))],
        ),
        ("SELECT GROUP_CONCAT(name, '|' ORDER BY id DESC) FROM t", [("Cid|bob|Ann",)]),
        ("SELECT GROUP_CONCAT(DISTINCT team ORDER BY team) FROM t", [("blue, red",)]),
        (
            "SELECT id, ROW_NUMBER() OVER (PARTITION BY team ORDER BY id DESC) FROM t ORDER BY id",
            [(1, 2), (2, 2), (3, 1), (4, 1)],
        ),
        (
            "SELECT id, LAG(score, 1, 0) OVER (ORDER BY id) FROM t ORDER BY id",
            [(1, 0), (2, 10), (3, None), (4, 30)],
        ),
        (
            "SELECT a.id FROM t a LEFT JOIN t b ON a.id = b.score WHERE b.id IS NULL AND a.id > 2 ORDER BY 1",
            [(3,), (4,)],
        ),
        ("SELECT id FROM t WHERE score > (SELECT AVG(score) FROM t)", [(3,)]),
        ("SELECT id FROM t x WHERE EXISTS (SELECT 1 FROM t y WHERE y.id = x.id + 3)", [(1,)]),
        ("SELECT x.n FROM (SELECT COUNT(*) AS n FROM t) x", [(4,)]),
        ("WITH r AS (SELECT id FROM t WHERE team = 'red') SELECT COUNT(*) FROM r", [(2,)]),
        ("SELECT 1 UNION ALL SELECT 1 UNION SELECT 2 ORDER BY 1", [(1,), (2,)]),
        (
            (
                "SELECT CAST(DATE_FORMAT(seen, '%Y-%m-01') AS DATE), COUNT(*) FROM t WHERE seen IS NOT NULL"
                " GROUP BY 1 ORDER BY 1"
            ),
            [(dt.date(2024, 1, 1), 2), (dt.date(2024, 3, 1), 1)],
        ),
        (
            "SELECT DATE_ADD(seen, INTERVAL 1 DAY) FROM t WHERE id = 1",
            [(dt.datetime(2024, 1, 2, 10, 0, 0, 125000),)],
        ),
        ("SELECT name FROM t WHERE LOWER(name) LIKE LOWER('%N%') ORDER BY 1", [("Ann",)]),
        ("SELECT ID FROM T_ALIAS_IS_CASE WHERE 1 = 0", None),
    ],
)
def test_query(people: Client, sql: str, expected: list[tuple[Any, ...]] | None) -> None:
    if expected is None:  # table names are case sensitive
        people.run(
            "CREATE TABLE T (id INT) DISTRIBUTED BY RANDOM BUCKETS 1 PROPERTIES ('replication_num' = '1')"
        )
        assert people.value("SELECT COUNT(*) FROM T") == 0
        assert people.value("SELECT COUNT(*) FROM t") == 4
        return
    assert people.rows(sql) == expected


def test_columns_are_named_after_their_text(people: Client) -> None:
    cursor = people.run("SELECT id, ID AS x, count(*), max(score) + 1 FROM t GROUP BY id")
    assert [d[0] for d in cursor.description] == ["id", "x", "count(*)", "max(score) + 1"]


def test_text_forms(people: Client) -> None:
    """Values as they stand on the wire, before a driver makes Python values of them."""
    connection = people.another().connection
    connection.decoders = {}
    cursor = connection.cursor()
    cursor.execute(
        "SELECT seen, pay, TRUE, CAST(0.1 AS FLOAT), CAST(1 AS DOUBLE), CAST(1e20 AS DOUBLE),"
        " CAST('12345678' AS FLOAT), CAST('nan' AS DOUBLE), CAST('-inf' AS DOUBLE), CAST('-0.0' AS DOUBLE)"
        " FROM t WHERE id = 1"
    )
    assert cursor.fetchall() == (
        (
            *("2024-01-01 10:00:00.125", "1.10", "1", "0.1", "1", "1e+20"),
            *("1.234568e+07", "NaN", "-Infinity", "-0"),
        ),
    )
    connection.close()


def test_prepared_statements_of_the_binary_protocol(people: Client) -> None:
    """Parameters and results of COM_STMT_*, spoken by hand: PyMySQL has none of it."""
    connection = people.another().connection
    connection._execute_command(0x16, b"SELECT id, name FROM t WHERE id = ?")
    ok = connection._read_packet()._data
    statement = ok[1:5]
    assert int.from_bytes(ok[7:9], "little") == 1
    for _ in range(2):  # the parameter's definition, EOF
        connection._read_packet()
    parameter = b"\x00\x01\x08\x00" + (3).to_bytes(8, "little")
    connection._execute_command(0x17, statement + b"\x00\x01\x00\x00\x00" + parameter)
    packets = [connection._read_packet()._data for _ in range(5)]
    assert (
        packets[-1][2:] == (3).to_bytes(8, "little") + b"\x03Cid" or b"\x03Cid" in packets[-1] + packets[-2]
    )
    connection._force_close()


def test_explain_shows_the_emulators_own_plan_and_says_so(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    doris.run("INSERT INTO t VALUES (1, 2)")
    for sql in ("EXPLAIN SELECT v FROM t WHERE id = 1;", "DESC SELECT v FROM t WHERE id = 1"):
        lines = [line for (line,) in doris.rows(sql)]
        assert "Doris has a planner of its own" in lines[0]
        assert any("Scan" in line for line in lines[1:])
    assert "Unknown column 'w'" in doris.refused("EXPLAIN SELECT w FROM t")[1]
    assert "mismatched input" in doris.refused("EXPLAIN SELECT v FRM t WHERE")[1]


def test_weeks_are_those_of_mysql(doris: Client) -> None:
    """Every day of nine years, so that they begin on every weekday, against MySQL's rules written out."""
    days = [dt.date(2016, 1, 1) + dt.timedelta(n) for n in range(9 * 365 + 3)]
    doris.table("id BIGINT NOT NULL, day DATE")
    doris.run("INSERT INTO t VALUES " + ", ".join(f"({n}, '{day}')" for n, day in enumerate(days)))
    modes = ", ".join(f"WEEK(day, {mode})" for mode in range(8))
    found = doris.rows(f"SELECT {modes} FROM t ORDER BY id")
    assert found == [tuple(mysql_week(day, mode) for mode in range(8)) for day in days]


def mysql_week(day: dt.date, mode: int) -> int:
    start, four_days = mode & 1, (mode & 1) ^ (mode >> 2)

    def first_week(year: int) -> dt.date:
        first = dt.date(year, 1, 1)
        behind = (first.isoweekday() - start) % 7
        starts_before = behind <= 3 if four_days else behind == 0
        return first - dt.timedelta(behind if starts_before else behind - 7)

    year = day.year
    if mode & 2:
        year = max(y for y in range(day.year - 1, day.year + 2) if first_week(y) <= day)
    return (day - first_week(year)).days // 7 + 1
