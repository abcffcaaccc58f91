"""ALTER TABLE: what is there at once, what a job does later, and what Doris refuses meanwhile.

Sources: "Schema Change" of the Doris documentation; SchemaChangeHandler and SchemaChangeJobV2 of
apache/doris.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from tests.unit.emulators.conftest import PASSWORD, Client, connect, fresh_database

BUSY = "Table[t]'s state(SCHEMA_CHANGE) is not NORMAL. Do not allow doing ALTER ops"


@pytest.fixture(scope="module")
def slow_emulator() -> Iterator[DorisEmulator]:
    with DorisEmulator(password=PASSWORD, faults=True, alter_seconds=0.6) as running:
        yield running


@pytest.fixture
def slow(slow_emulator: DorisEmulator) -> Iterator[Client]:
    with fresh_database(slow_emulator) as client:
        client.table("id BIGINT NOT NULL, v INT, name VARCHAR(9), extra INT")
        client.run("INSERT INTO t VALUES (1, 5, 'a', 1)")
        yield client


def jobs(client: Client, tail: str = "") -> list[dict[str, Any]]:
    cursor = client.run(f"SHOW ALTER TABLE COLUMN {tail}")
    return [dict(zip([d[0] for d in cursor.description], row, strict=True)) for row in cursor.fetchall()]


def wait(client: Client) -> dict[str, Any]:
    """The last job, when it has ended."""
    deadline = time.monotonic() + 10
    while True:
        (job,) = jobs(client, "WHERE TableName = 't' ORDER BY CreateTime DESC LIMIT 1")
        if job["State"] in ("FINISHED", "CANCELLED"):
            return job
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("sql", "query", "expected"),
    [
        ("ADD COLUMN n INT NULL DEFAULT '7'", "SELECT n FROM t", [(7,)]),
        ("ADD COLUMN (n INT NULL, m INT NULL DEFAULT '1')", "SELECT n, m FROM t", [(None, 1)]),
        ("DROP COLUMN extra", "SELECT * FROM t", [(1, 5, "a")]),
        ("MODIFY COLUMN name VARCHAR(90)", "SELECT name FROM t", [("a",)]),
        ("ADD INDEX i (name) USING INVERTED", "SELECT v FROM t", [(5,)]),
    ],
)
def test_light_changes_are_there_at_once(
    slow: Client, sql: str, query: str, expected: list[tuple[Any, ...]]
) -> None:
    slow.run(f"ALTER TABLE t {sql}")
    assert slow.rows(query) == expected
    (job,) = jobs(slow)
    assert (job["TableName"], job["State"], job["Msg"]) == ("t", "FINISHED", "")


@pytest.mark.parametrize(
    "sql",
    [
        "RENAME COLUMN v w",
        "RENAME u",
        "MODIFY COMMENT 'x'",
        "MODIFY COLUMN v COMMENT 'x'",
        "SET ('group_commit_interval_ms' = '1000')",
    ],
)
def test_changes_without_a_job(slow: Client, sql: str) -> None:
    slow.run(f"ALTER TABLE t {sql}")
    assert jobs(slow) == []


def test_states_of_a_job(slow: Client) -> None:
    slow.run("ALTER TABLE t MODIFY COLUMN v BIGINT")
    seen = []
    deadline = time.monotonic() + 10
    while not seen or seen[-1] != "FINISHED":
        (job,) = jobs(slow)
        if not seen or seen[-1] != job["State"]:
            seen.append(job["State"])
            if job["State"] != "FINISHED":  # until then the table is as it was, and takes rows
                assert slow.rows("DESC t")[1][1] == "int"
                assert job["FinishTime"] == "NULL"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert seen == ["PENDING", "WAITING_TXN", "RUNNING", "FINISHED"]
    assert slow.rows("DESC t")[1][1] == "bigint"
    slow.run("INSERT INTO t VALUES (2, 5000000000, 'b', 1)")
    assert slow.rows("SELECT v FROM t ORDER BY id") == [(5,), (5000000000,)]


def test_one_at_a_time(slow: Client) -> None:
    slow.run("ALTER TABLE t MODIFY COLUMN v BIGINT")
    slow.run("INSERT INTO t VALUES (2, 6, 'b', 1)")  # rows may come, and are converted with the others
    for sql in (
        "ALTER TABLE t ADD COLUMN n INT",
        "ALTER TABLE t RENAME u",
        "ALTER TABLE t SET ('group_commit_interval_ms' = '1000')",
        "CREATE INDEX i ON t (name)",
        "TRUNCATE TABLE t",
    ):
        assert slow.refused(sql) == (1105, BUSY)
    assert "state is SCHEMA_CHANGE, cannot be dropped" in slow.refused("DROP TABLE t")[1]
    assert wait(slow)["State"] == "FINISHED"
    slow.run("ALTER TABLE t ADD COLUMN n INT")
    assert slow.rows("SELECT id, v, n FROM t ORDER BY id") == [(1, 5, None), (2, 6, None)]


def test_what_cannot_be_converted_cancels(slow: Client) -> None:
    slow.table("id INT NOT NULL, s VARCHAR(9)", name="other")
    slow.run("INSERT INTO t VALUES (3, 1, 'c', 1)")
    assert slow.refused("ALTER TABLE t MODIFY COLUMN v SMALLINT")[1] == "Can not change INT to SMALLINT"
    slow.run("ALTER TABLE t MODIFY COLUMN v STRING")
    slow.run("CANCEL ALTER TABLE COLUMN FROM t")
    job = wait(slow)
    assert (job["State"], job["Msg"]) == ("CANCELLED", "user cancelled")
    assert slow.rows("DESC t")[1][1] == "int"
    assert slow.refused("CANCEL ALTER TABLE COLUMN FROM t")[1] == "Table[t] is not under SCHEMA_CHANGE."


def test_a_transaction_comes_first(slow: Client) -> None:
    writer = slow.another()
    writer.run("BEGIN")
    writer.run("INSERT INTO t VALUES (2, 6, 'b', 1)")
    slow.run("ALTER TABLE t MODIFY COLUMN v BIGINT")
    time.sleep(0.8)
    assert jobs(slow)[0]["State"] == "WAITING_TXN"
    writer.run("COMMIT")
    assert wait(slow)["State"] == "FINISHED"
    assert slow.rows("SELECT id, v FROM t ORDER BY id") == [(1, 5), (2, 6)]
    writer.connection.close()


def test_jobs_are_filtered_and_ordered(slow: Client) -> None:
    slow.table("id INT NOT NULL, s VARCHAR(9)", name="other")
    slow.run("ALTER TABLE t ADD COLUMN a INT")
    slow.run("ALTER TABLE other ADD COLUMN b INT")
    slow.run("ALTER TABLE t ADD COLUMN c INT")
    assert [j["TableName"] for j in jobs(slow)] == ["t", "other", "t"]
    ids = [j["JobId"] for j in jobs(slow, "WHERE TableName = 't'")]
    assert [j["JobId"] for j in jobs(slow, "WHERE TableName = 't' ORDER BY JobId DESC")] == ids[::-1]
    assert [j["JobId"] for j in jobs(slow, "WHERE TableName = 't' AND State = 'FINISHED' LIMIT 1")] == ids[:1]
    assert jobs(slow, f"FROM {slow.database} WHERE State = 'RUNNING'") == []
    assert slow.refused("SHOW ALTER TABLE COLUMN WHERE Nope = 'x'")[1] == "Title name[Nope] does not exist"


@pytest.mark.parametrize(
    ("sql", "detail"),
    [
        ("MODIFY COLUMN v INT", "Nothing is changed. please check your alter stmt."),
        ("MODIFY COLUMN v INT DEFAULT '3'", "Can not change default value"),
        (
            "MODIFY COLUMN id BIGINT KEY NOT NULL COMMENT 'x'",
            "Can not modify distribution column[id]. index[t]",
        ),
        ("ORDER BY (id, v, name)", "Reorder stmt should contains all columns"),
        ("ORDER BY (v, id, name, extra)", "Invalid column order. value should be after key. index[t]"),
        ("RENAME COLUMN v v", "Same column name"),
        ("RENAME t", "Same table name"),
        ("SET ('replication_num' = '2')", None),
        ("SET ('colour' = 'red')", "Unknown table property: [colour]"),
        (
            "SET ('in_memory' = 'false', 'light_schema_change' = 'true')",
            "Can only set one table property(without dynamic partition && binlog) at a time",
        ),
        ("DROP INDEX nope", "Index nope does not exist"),
        ("DROP COLUMN id", "Can not drop key column in Unique data model table"),
        (
            "RENAME COLUMN v w, DROP COLUMN extra",
            "Alter operation SCHEMA_CHANGE conflicts with operation RENAME",
        ),
    ],
)
def test_refusals(slow: Client, sql: str, detail: str | None) -> None:
    code, message = slow.refused(f"ALTER TABLE t {sql}")
    assert code == 1105
    assert message == detail if detail else "Failed to find enough backend" in message


def test_columns_in_another_order(slow: Client) -> None:
    slow.run("ALTER TABLE t ORDER BY (id, extra, name, v)")
    wait(slow)
    assert slow.rows("SELECT * FROM t") == [(1, 1, "a", 5)]
    slow.run("ALTER TABLE t MODIFY COLUMN v INT AFTER id")
    wait(slow)
    assert slow.rows("SELECT * FROM t") == [(1, 5, 1, "a")]


def test_auto_increment_forbids_it(slow: Client) -> None:
    slow.table("id BIGINT NOT NULL AUTO_INCREMENT(100), v INT", name="numbered")
    slow.run("INSERT INTO numbered (v) VALUES (1)")
    assert slow.rows("SELECT * FROM numbered") == [(100, 1)]
    assert slow.refused("ALTER TABLE numbered MODIFY COLUMN v BIGINT")[1] == (
        "Can not modify column v becasue table numbered has auto-increment column id"
    )
    assert "`id` bigint NOT NULL AUTO_INCREMENT(100)" in slow.rows("SHOW CREATE TABLE numbered")[0][1]


def test_without_light_schema_change(slow: Client) -> None:
    slow.table("id INT NOT NULL, v INT", properties=", 'light_schema_change' = 'false'", name="heavy")
    slow.run("ALTER TABLE heavy ADD COLUMN n INT")
    assert [row[0] for row in slow.rows("DESC heavy")] == ["id", "v"]
    deadline = time.monotonic() + 10
    while len(slow.rows("DESC heavy")) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_tables_change_places(slow: Client) -> None:
    slow.table("id INT NOT NULL, s VARCHAR(9)", name="u")
    slow.run("ALTER TABLE t REPLACE WITH TABLE u PROPERTIES('swap' = 'true')")
    assert [row[0] for row in slow.rows("DESC t")] == ["id", "s"]
    assert slow.rows("SELECT v FROM u") == [(5,)]
    slow.run("ALTER TABLE t REPLACE WITH TABLE u PROPERTIES('swap' = 'false')")
    assert slow.rows("SELECT v FROM t") == [(5,)]
    assert slow.rows("SHOW TABLES") == [("t",)]


def test_reads_and_writes_beside_changes(doris: Client) -> None:
    """Rows come, queries run and tables change at the same time: nobody sees a half of anything."""
    tail = "DISTRIBUTED BY HASH(k) BUCKETS 1 PROPERTIES ('replication_num' = '1')"
    doris.run(f"CREATE TABLE s (k INT, n INT SUM) AGGREGATE KEY(k) {tail}")
    written: list[int] = []
    failures: list[str] = []
    stop = time.monotonic() + 2

    def repeat(work: Callable[[Client], None]) -> None:
        client = doris.another()
        while time.monotonic() < stop:
            try:
                work(client)
            except pymysql.MySQLError as error:
                if "Do not allow doing ALTER ops" not in str(error):
                    failures.append(str(error))
        client.connection.close()

    def write(client: Client) -> None:
        client.run("INSERT INTO s (k, n) VALUES (1, 1), (1, 2)")
        written.append(3)

    def read(client: Client) -> None:
        assert client.value("SELECT COUNT(*) FROM (SELECT * FROM s) x") in (0, 1)

    def change(client: Client) -> None:
        client.run("ALTER TABLE s ADD COLUMN x INT SUM DEFAULT '0'")
        client.run("ALTER TABLE s MODIFY COLUMN x BIGINT SUM DEFAULT '0'")
        client.wait_for_jobs()
        client.run("ALTER TABLE s DROP COLUMN x")

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (write, write, read, read, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert doris.value("SELECT n FROM s") == sum(written) > 0


def test_a_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path, alter_seconds=1.0) as first:
        client = Client(first, connect(first), "d")
        client.run("CREATE DATABASE d")
        client.run("USE d")
        client.table("id INT NOT NULL, v INT")
        client.run("INSERT INTO t VALUES (1, 2)")
        client.run("ALTER TABLE t MODIFY COLUMN v BIGINT")
        assert jobs(client)[0]["State"] == "PENDING"
        client.connection.close()
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path) as second:
        client = Client(second, connect(second, "d"), "d")
        assert wait(client)["State"] == "FINISHED"
        assert client.rows("DESC t")[1][1] == "bigint"
        assert client.rows("SELECT * FROM t") == [(1, 2)]
        client.connection.close()
