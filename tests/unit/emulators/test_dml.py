# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""INSERT, UPDATE, DELETE and transactions, by the table models of Doris.

Sources: docs/table-design/data-model, docs/table-design/auto-increment.md and
docs/data-operate/transaction.md of apache/doris-website.
"""

import threading
import urllib.request

import pymysql
import pytest

from tests.unit.emulators.conftest import Client, connect


def test_unique_insert_is_an_upsert(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, w INT DEFAULT '7'")
    assert doris.run("INSERT INTO t VALUES (1, 1, 1), (1, 2, 2), (2, 9, NULL)").rowcount == 3
    doris.run("INSERT INTO t (id, v) VALUES (2, 10)")
    assert doris.rows("SELECT * FROM t ORDER BY id") == [(1, 2, 2), (2, 10, 7)]


def test_delete_without_where_empties_a_merge_on_write_table(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    doris.run("INSERT INTO t VALUES (1, 1), (2, 2)")
    assert doris.run("DELETE FROM t").rowcount == 0
    assert doris.value("SELECT COUNT(*) FROM t") == 0


def test_duplicate_model_keeps_every_row(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT", "DUPLICATE KEY(id)")
    doris.run("INSERT INTO t VALUES (1, 1), (1, 1)")
    assert doris.value("SELECT COUNT(*) FROM t") == 2


def test_sequence_column_keeps_the_newest(doris: Client) -> None:
    doris.table(
        "id BIGINT NOT NULL, v VARCHAR(5), s LARGEINT", properties=", 'function_column.sequence_col' = 's'"
    )
    doris.run("INSERT INTO t VALUES (1, 'new', 5), (1, 'old', 4)")
    doris.run("INSERT INTO t VALUES (1, 'older', 3)")
    assert doris.rows("SELECT v, s FROM t") == [("new", "5")]
    doris.run("INSERT INTO t VALUES (1, 'same', 5)")
    assert doris.value("SELECT v FROM t") == "same"
    doris.run("DELETE FROM t WHERE id = 1")
    doris.run("INSERT INTO t VALUES (1, 'late', 4)")  # older than the delete
    assert doris.rows("SELECT * FROM t") == []
    doris.run("INSERT INTO t VALUES (1, 'next', 6)")
    assert doris.value("SELECT v FROM t") == "next"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("(SELECT MAX(v) FROM d)", [20, 20]),
        ("(SELECT MAX(v) AS most FROM d LIMIT 1)", [20, 20]),
        ("(SELECT MAX(x.v) FROM d x WHERE x.id = t.id LIMIT 1)", [10, 20]),
        ("(SELECT x.v FROM d x WHERE x.id = t.id)", [10, 20]),
        ("v + (SELECT COUNT(*) FROM d WHERE d.id = t.id)", [2, 3]),
        ("(SELECT MIN(v) FROM d WHERE d.id = 7)", [None, None]),
    ],
)
def test_update_to_what_a_subquery_gives(doris: Client, value: str, found: list[int | None]) -> None:
    for name in ("t", "d"):
        doris.table("id BIGINT NOT NULL, v INT", name=name)
    doris.run("INSERT INTO t VALUES (1, 1), (2, 2)")
    doris.run("INSERT INTO d VALUES (1, 10), (2, 20)")
    assert doris.run(f"UPDATE t SET v = {value}").rowcount == 2
    assert [v for (v,) in doris.rows("SELECT v FROM t ORDER BY id")] == found


def test_partial_update(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, w INT DEFAULT '7'")
    doris.run("INSERT INTO t VALUES (1, 1, 1)")
    doris.run("SET enable_unique_key_partial_update = true")
    doris.run("INSERT INTO t (id, v) VALUES (1, 2), (2, 2)")
    assert doris.rows("SELECT * FROM t ORDER BY id") == [(1, 2, 1), (2, 2, 7)]

    doris.run("SET partial_update_new_key_behavior = 'error'")
    assert (
        "Row with key=[9] is not in table" in doris.refused("INSERT INTO t (id, v) VALUES (1, 3), (9, 9)")[1]
    )
    assert doris.rows("SELECT * FROM t ORDER BY id") == [(1, 2, 1), (2, 2, 7)]
    assert "'ERROR'" in doris.refused("SET partial_update_new_key_behavior = 'IGNORE'")[1]


def test_update(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, name VARCHAR(3)")
    doris.run("INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')")
    assert doris.run("UPDATE t SET v = v * 10, name = CONCAT(name, 'x') WHERE id > 0").rowcount == 2
    assert doris.rows("SELECT * FROM t ORDER BY id") == [(1, 10, "ax"), (2, 20, "bx")]
    code, message = doris.refused("UPDATE t SET name = 'long!' WHERE id = 1")
    assert code == 5025
    assert "schema length: 3; actual length: 5" in message


def test_delete_says_nothing_about_its_rows(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    doris.table("id BIGINT NOT NULL, v INT", "DUPLICATE KEY(id)", name="d")
    for table in ("t", "d"):
        doris.run(f"INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)")
        assert doris.run(f"DELETE FROM {table} WHERE id = 1 AND v >= 1").rowcount == 0
        assert doris.run(f"DELETE FROM {table} WHERE id IN (3, 4)").rowcount == 0
        assert doris.rows(f"SELECT id FROM {table}") == [(2,)]
    doris.run("DELETE FROM t WHERE id = (SELECT MAX(id) FROM d)")
    assert doris.rows("SELECT id FROM t") == []


def test_auto_increment(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL AUTO_INCREMENT(100), v INT")
    cursor = doris.run("INSERT INTO t (v) VALUES (1), (2)")
    assert cursor.lastrowid == 0  # Doris never tells
    doris.run("INSERT INTO t (id, v) VALUES (NULL, 3), (5, 4)")
    ids = [i for (i,) in doris.rows("SELECT id FROM t ORDER BY v")]
    assert ids[3] == 5
    assert len(set(ids)) == 4
    assert all(i >= 100 for i in ids[:3])


def test_values_that_are_expressions(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v VARCHAR(20) DEFAULT 'd', at DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3)")
    doris.run(
        "INSERT INTO t VALUES (1 + 1, CONCAT('a', 'b'), NOW()), (3, DEFAULT, '2024-01-01'), (-4, NULL, NULL)"
    )
    doris.run("INSERT INTO t (id) VALUES (5)")
    rows = doris.rows("SELECT id, v FROM t ORDER BY id")
    assert rows == [(-4, None), (2, "ab"), (3, "d"), (5, "d")]
    assert doris.value("SELECT COUNT(*) FROM t WHERE at > '2024-02-01'") == 2


def test_insert_select(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, b BOOLEAN")
    doris.run("INSERT INTO t VALUES (1, 1, TRUE), (2, 2, FALSE)")
    assert doris.run("INSERT INTO t (id, v) SELECT id + 10, CAST(b AS INT) FROM t").rowcount == 2
    assert doris.rows("SELECT id, v FROM t ORDER BY id") == [(1, 1), (2, 2), (11, 1), (12, 0)]


def test_a_transaction_does_not_see_its_own_writes(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    other = doris.another()
    doris.run("INSERT INTO t VALUES (1, 1)")
    doris.run("BEGIN")
    doris.run("BEGIN")  # ignored
    doris.run("INSERT INTO t SELECT 2, 2")
    doris.run("UPDATE t SET v = 5 WHERE id >= 1")  # row 2 is not there yet
    for sql in ("SELECT * FROM t", "DROP TABLE t", "SHOW TABLES"):
        assert doris.refused(sql) == (
            1105,
            "This is in a transaction, only insert, update, delete, commit, rollback is acceptable.",
        )
    assert doris.refused("INSERT INTO t SELECT 'x', 1")[0] == 5025  # does not abort the rest
    assert other.rows("SELECT * FROM t") == [(1, 1)]
    doris.run("COMMIT")
    assert other.rows("SELECT * FROM t ORDER BY id") == [(1, 5), (2, 2)]
    doris.run("COMMIT")
    doris.run("ROLLBACK")
    other.connection.close()


def test_rollback(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT")
    doris.run("INSERT INTO t VALUES (1, 1)")
    doris.run("ROLLBACK")  # outside BEGIN it takes nothing back
    doris.run("BEGIN")
    doris.run("DELETE FROM t WHERE id = 1")
    doris.run("INSERT INTO t SELECT 2, 2")
    doris.run("ROLLBACK")
    assert doris.rows("SELECT id FROM t") == [(1,)]


def test_values_and_select_do_not_mix_in_a_transaction(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL")
    doris.run("BEGIN")
    doris.run("INSERT INTO t VALUES (1)")
    assert (
        doris.refused("INSERT INTO t SELECT 2")[1]
        == "Transaction insert can not insert into values and insert into select at the same time"
    )
    doris.run("ROLLBACK")


def test_what_a_transaction_takes(doris: Client) -> None:
    """Doris' manual, data-operate/transaction."""
    doris.table("id BIGINT NOT NULL, v INT")
    doris.table("id BIGINT NOT NULL, v INT", "DUPLICATE KEY(id)", name="d")
    mixed = "Transaction insert can not insert into values and insert into select at the same time"
    doris.run("BEGIN")
    doris.run("INSERT INTO t VALUES (1, 1)")
    doris.run("INSERT INTO t VALUES (2, 2)")
    for sql in ("UPDATE t SET v = 1 WHERE id = 1", "DELETE FROM t WHERE id = 1", "INSERT INTO d SELECT 1, 1"):
        assert doris.refused(sql)[1] == mixed
    assert doris.refused("INSERT INTO d VALUES (1, 1)")[1] == (
        "Only one table can be inserted in one transaction."
    )
    doris.run("COMMIT")
    doris.run("BEGIN")
    doris.run("DELETE FROM t WHERE id = 1")
    doris.run("INSERT INTO t SELECT 1, 5")
    doris.run("INSERT INTO d SELECT 7, 7 UNION ALL SELECT 8, 8")
    for table in ("t", "d"):
        assert doris.refused(f"DELETE FROM {table} WHERE id = 1")[1] == (
            "Can not delete because there is a insert operation for the same table"
        )
    doris.run("COMMIT")
    assert doris.rows("SELECT id, v FROM t ORDER BY id") == [(1, 5), (2, 2)]
    assert doris.rows("SELECT id FROM d ORDER BY id") == [(7,), (8,)]


def test_labels_of_inserts(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL")
    doris.run("INSERT INTO t WITH LABEL once VALUES (1)")
    code, message = doris.refused("INSERT INTO t WITH LABEL once VALUES (2)")
    assert code == 1105
    assert message.startswith("Label [once] has already been used, relate to txn [")
    doris.refused("INSERT INTO t WITH LABEL failed VALUES ('x')")
    doris.run("INSERT INTO t WITH LABEL failed VALUES (3)")  # free again
    doris.run("BEGIN WITH LABEL txn")
    doris.run("INSERT INTO t VALUES (4)")
    doris.run("COMMIT")
    doris.run("BEGIN WITH LABEL txn")
    doris.run("INSERT INTO t VALUES (5)")
    assert doris.refused("COMMIT")[1].startswith("Label [txn] has already been used")
    assert doris.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,), (4,)]


def test_the_reasons_are_served(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v TINYINT")
    message = doris.refused("INSERT INTO t VALUES (1, 1000)")[1]
    with urllib.request.urlopen(message.partition("url: ")[2]) as answer:
        assert (
            answer.read().decode()
            == "Reason: parse value failed, column=v, type=tinyint, value=1000. src line [1\t1000]; \n"
        )


def test_partitions_take_only_their_rows(doris: Client) -> None:
    doris.run(
        "CREATE TABLE t (id INT NOT NULL, d DATE NOT NULL) UNIQUE KEY(id, d) PARTITION BY RANGE(d) (PARTITION"
        " p1 VALUES LESS THAN ('2024-02-01'), PARTITION p2 VALUES [('2024-03-01'), ('2024-04-01')))"
        " DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1')"
    )
    doris.run("INSERT INTO t VALUES (1, '2024-01-31'), (2, '2024-03-01')")
    code, message = doris.refused("INSERT INTO t VALUES (3, '2024-02-15')")
    assert code == 5025
    assert "no partition for this tuple. tuple=2024-02-15" in message


def test_multibyte_and_quoting(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v STRING")
    text = "naïve 🦆 'single' \"double\" back\\slash \n\t\r 100% _ `tick` ; -- no comment"
    doris.run("INSERT INTO t VALUES (%s, %s)", 1, text)
    assert doris.value("SELECT v FROM t") == text
    assert doris.rows("SELECT id FROM t WHERE v = %s", text) == [(1,)]


def test_ten_threads(doris: Client) -> None:
    """Ten clients write and read one table: nothing is lost, nothing fails."""
    doris.table("id BIGINT NOT NULL, n INT", "DUPLICATE KEY(id)", name="d")
    doris.table("id BIGINT NOT NULL, n INT")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            client = connect(doris.emulator, doris.database)
            cursor = client.cursor()
            for turn in range(4):
                cursor.execute("INSERT INTO d VALUES (%s, %s)", (number, turn))
                cursor.execute("INSERT INTO t VALUES (%s, %s)", (turn, number))
                cursor.execute("SELECT COUNT(*) FROM t")
                assert cursor.fetchall()[0][0] <= 4
            client.close()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert doris.rows("SELECT COUNT(*), COUNT(DISTINCT id, n) FROM d") == [(40, 40)]
    assert doris.value("SELECT COUNT(*) FROM t") == 4


def test_kill_ends_a_running_query(doris: Client) -> None:
    victim = doris.another()
    number = victim.value("SELECT CONNECTION_ID()")
    doris.table("id BIGINT NOT NULL", "DUPLICATE KEY(id)")
    doris.run("INSERT INTO t VALUES " + ", ".join(f"({n})" for n in range(2000)))
    threading.Timer(0.5, lambda: doris.run(f"KILL QUERY {number}")).start()
    with pytest.raises(pymysql.MySQLError, match="cancel query by user"):
        victim.run("SELECT COUNT(*) FROM t a, t b, t c, t d WHERE (a.id * b.id + c.id * d.id) % 7 = 8")
    assert victim.value("SELECT 1") == 1
    victim.connection.close()
