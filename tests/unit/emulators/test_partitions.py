# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""Partitions: rows that belong to none, partitions added, dropped and emptied, AUTO and dynamic ones.

Sources: "Manual Partitioning", "Auto Partitioning" and "Dynamic Partitioning" of the Doris documentation;
RangeUtils, DynamicPartitionUtil and DynamicPartitionScheduler of apache/doris.
"""

import base64
import datetime as dt
import http.client
import time

import pytest

from tests.unit.emulators.conftest import PASSWORD, Client

TAIL = "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1'{more})"
NO_PARTITION = "no partition for this tuple. tuple="


def make(doris: Client, clause: str, more: str = "", columns: str = "id INT NOT NULL, d DATE, v INT") -> None:
    doris.run(f"CREATE TABLE t ({columns}) DUPLICATE KEY(id) {clause} {TAIL.format(more=more)}")


def names(doris: Client) -> list[str]:
    return [row[1] for row in doris.rows("SHOW PARTITIONS FROM t")]


def column(doris: Client, name: str, sql: str = "SHOW PARTITIONS FROM t") -> list[str]:
    cursor = doris.run(sql)
    at = [d[0] for d in cursor.description].index(name)
    return [row[at] for row in cursor.fetchall()]


def test_rows_without_a_partition(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(d) (PARTITION a VALUES LESS THAN ('2026-01-01'))")
    doris.run("INSERT INTO t VALUES (1, '2025-12-31', 1), (2, NULL, 1)")  # NULL is the least value
    code, message = doris.refused("INSERT INTO t VALUES (3, '2025-01-01', 1), (4, '2026-01-01', 1)")
    assert code == 5025
    assert f"{NO_PARTITION}2026-01-01" in message
    assert doris.value("SELECT COUNT(*) FROM t") == 2


def test_null_needs_an_open_range(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(d) (PARTITION a VALUES [('2025-01-01'), ('2026-01-01')))")
    assert f"{NO_PARTITION}NULL" in doris.refused("INSERT INTO t VALUES (1, NULL, 1)")[1]


def test_add_drop_and_truncate(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(d) (PARTITION a VALUES LESS THAN ('2026-01-01'))")
    doris.run("ALTER TABLE t ADD PARTITION b VALUES LESS THAN ('2026-02-01') ('replication_num' = '1')")
    doris.run("ALTER TABLE t ADD PARTITION c VALUES [('2026-03-01'), ('2026-04-01'))")
    doris.run("ALTER TABLE t ADD PARTITION IF NOT EXISTS c VALUES [('2026-03-01'), ('2026-04-01'))")
    assert names(doris) == ["a", "b", "c"]
    assert column(doris, "Range")[1] == (
        "[types: [DATEV2]; keys: [2026-01-01]; ..types: [DATEV2]; keys: [2026-02-01]; )"
    )
    doris.run("INSERT INTO t VALUES (1, '2025-01-01', 1), (2, '2026-01-05', 1), (3, '2026-03-05', 1)")
    assert column(doris, "RowCount") == ["1", "1", "1"]
    assert column(doris, "PartitionName", "SHOW PARTITIONS FROM t WHERE PartitionName = 'b'") == ["b"]
    assert column(doris, "PartitionName", "SHOW PARTITIONS FROM t ORDER BY PartitionId DESC LIMIT 1") == ["c"]
    doris.run("TRUNCATE TABLE t PARTITION (b)")
    assert doris.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,)]
    doris.run("ALTER TABLE t DROP PARTITION c")
    doris.run("ALTER TABLE t DROP PARTITION IF EXISTS c FORCE")
    assert doris.rows("SELECT id FROM t") == [(1,)]
    assert NO_PARTITION in doris.refused("INSERT INTO t VALUES (4, '2026-03-05', 1)")[1]
    doris.run("ALTER TABLE t RENAME PARTITION b bb")
    assert names(doris) == ["a", "bb"]


@pytest.mark.parametrize(
    ("sql", "code", "detail"),
    [
        ("ALTER TABLE t DROP PARTITION z", 1507, "Error in list of partitions to z"),
        ("ALTER TABLE t ADD PARTITION A VALUES LESS THAN ('2027-01-01')", 1517, "Duplicate partition name A"),
        (
            "ALTER TABLE t ADD PARTITION x VALUES [('2025-06-01'), ('2026-06-01'))",
            1105,
            (
                "Range [types: [DATEV2]; keys: [2025-06-01]; ..types: [DATEV2]; keys: [2026-06-01]; ) is"
                " intersected with range: [types: [DATEV2]; keys: [2025-01-01]; ..types: [DATEV2];"
                " keys: [2026-01-01]; )"
            ),
        ),
        (
            "ALTER TABLE t ADD PARTITION x VALUES LESS THAN ('2026-01-01'), ADD COLUMN y INT",
            1105,
            (
                "Range [types: [DATEV2]; keys: [0000-01-01]; ..types: [DATEV2]; keys: [2026-01-01]; ) is"
                " intersected with range: [types: [DATEV2]; keys: [2025-01-01]; ..types: [DATEV2];"
                " keys: [2026-01-01]; )"
            ),
        ),
        ("ALTER TABLE t RENAME PARTITION z y", 1507, "Error in list of partitions to z"),
        ("TRUNCATE TABLE t PARTITION (z)", 1105, "partition z is not found"),
        ("ALTER TABLE t DROP COLUMN d", 1105, "Partition column[d] cannot be dropped. index[t]"),
        ("ALTER TABLE t MODIFY COLUMN d DATETIME", 1105, "Can not modify partition column[d]."),
        (
            "ALTER TABLE t DROP PARTITION a, ADD COLUMN y INT",
            1105,
            "Alter operation SCHEMA_CHANGE conflicts with operation DROP_PARTITION",
        ),
    ],
)
def test_refused_changes(doris: Client, sql: str, code: int, detail: str) -> None:
    make(doris, "PARTITION BY RANGE(d) (PARTITION a VALUES [('2025-01-01'), ('2026-01-01')))")
    assert doris.refused(sql) == (code, detail)
    assert names(doris) == ["a"]


def test_table_without_partitions(doris: Client) -> None:
    doris.table("id INT NOT NULL")
    assert names(doris) == ["t"]
    assert doris.refused("ALTER TABLE t DROP PARTITION p")[1] == (
        "Alter table [t] failed. Not a partitioned table"
    )


def test_batches(doris: Client) -> None:
    make(
        doris,
        "PARTITION BY RANGE(d) (FROM ('2026-01-01') TO ('2026-03-15') INTERVAL 1 MONTH,"
        " FROM ('2026-04-01') TO ('2026-04-03') INTERVAL 1 DAY)",
    )
    assert names(doris) == ["p_202601", "p_202602", "p_202603", "p_20260401", "p_20260402"]
    assert "keys: [2026-03-01]; ..types: [DATEV2]; keys: [2026-03-15]" in column(doris, "Range")[2]
    doris.run("ALTER TABLE t ADD PARTITIONS FROM ('2027-01-01') TO ('2029-01-01') INTERVAL 1 YEAR")
    assert names(doris)[-2:] == ["p_2027", "p_2028"]


def test_numbers_in_steps(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(id) (FROM (0) TO (30) INTERVAL 10)")
    doris.run("INSERT INTO t VALUES (0, NULL, 1), (29, NULL, 1)")
    assert column(doris, "RowCount") == ["1", "0", "1"]
    assert f"{NO_PARTITION}30" in doris.refused("INSERT INTO t VALUES (30, NULL, 1)")[1]


def test_list(doris: Client) -> None:
    make(
        doris,
        "PARTITION BY LIST(id) (PARTITION a VALUES IN (1, 2), PARTITION b VALUES IN ((3)))",
    )
    doris.run("ALTER TABLE t ADD PARTITION c VALUES IN ('4')")
    doris.run("INSERT INTO t VALUES (1, NULL, 1), (3, NULL, 1), (4, NULL, 1)")
    assert column(doris, "RowCount") == ["1", "1", "1"]
    assert column(doris, "Range")[0] == "types: [INT]; keys: [1]; ,types: [INT]; keys: [2]; "
    assert f"{NO_PARTITION}5" in doris.refused("INSERT INTO t VALUES (5, NULL, 1)")[1]
    assert "is overlap with current" in doris.refused("ALTER TABLE t ADD PARTITION d VALUES IN (2)")[1]


def test_writes_to_partitions(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(id) (FROM (0) TO (30) INTERVAL 10)")
    doris.run("INSERT INTO t PARTITION (p_0, p_10) VALUES (1, NULL, 1), (11, NULL, 1)")
    assert f"{NO_PARTITION}21" in doris.refused("INSERT INTO t PARTITION (p_0) VALUES (21, NULL, 1)")[1]
    doris.run("INSERT INTO t VALUES (21, NULL, 1)")
    doris.run("INSERT OVERWRITE TABLE t PARTITION (p_0) VALUES (2, NULL, 2), (3, NULL, 3)")
    assert doris.rows("SELECT id FROM t ORDER BY id") == [(2,), (3,), (11,), (21,)]
    assert f"{NO_PARTITION}11" in doris.refused("INSERT OVERWRITE TABLE t PARTITION (p_0) SELECT * FROM t")[1]
    assert (
        doris.refused("INSERT INTO t PARTITION (p_9) VALUES (1, NULL, 1)")[1] == "partition p_9 is not found"
    )
    doris.run("INSERT OVERWRITE TABLE t SELECT id + 1, d, v FROM t WHERE id > 10")
    assert doris.rows("SELECT id FROM t ORDER BY id") == [(12,), (22,)]
    doris.run("BEGIN")
    assert "only insert, update, delete" in doris.refused("INSERT OVERWRITE TABLE t VALUES (1, NULL, 1)")[1]
    doris.run("ROLLBACK")


def test_two_columns(doris: Client) -> None:
    make(
        doris,
        "PARTITION BY RANGE(id, v) (PARTITION a VALUES LESS THAN (10, 5), PARTITION b VALUES LESS THAN (20))",
    )
    doris.run("INSERT INTO t VALUES (10, NULL, 4), (10, NULL, 5), (19, NULL, 9)")
    assert column(doris, "RowCount") == ["1", "2"]
    assert NO_PARTITION in doris.refused("INSERT INTO t VALUES (20, NULL, 0)")[1]


def test_auto_range(doris: Client) -> None:
    make(
        doris,
        "AUTO PARTITION BY RANGE (date_trunc(at, 'month')) ()",
        columns="id INT NOT NULL, at DATETIME NOT NULL, v INT",
    )
    doris.run(
        "INSERT INTO t VALUES (1, '2026-02-03 04:05:06', 1), (2, '2026-04-30', 1), (3, '2026-02-28', 1)"
    )
    assert names(doris) == ["p20260201000000", "p20260401000000"]
    assert column(doris, "RowCount") == ["2", "1"]
    doris.run("ALTER TABLE t DROP PARTITION p20260201000000")
    assert doris.rows("SELECT id FROM t") == [(2,)]
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert "(PARTITION p20260401000000 VALUES [('2026-04-01 00:00:00'), ('2026-05-01 00:00:00')))" in text
    doris.run("INSERT INTO t VALUES (4, '2026-02-01', 1)")
    assert names(doris) == ["p20260201000000", "p20260401000000"]


def test_auto_list(doris: Client) -> None:
    make(doris, "AUTO PARTITION BY LIST (name) ()", columns="id INT NOT NULL, name VARCHAR(20), v INT")
    doris.run("INSERT INTO t VALUES (1, 'Oslo', 1), (2, 'São', 1), (3, NULL, 1), (4, 'Oslo', 1)")
    assert sorted(names(doris)) == ["pOslo4", "pSe3o3", "pX"]
    assert sorted(column(doris, "RowCount")) == ["1", "1", "2"]


def test_within_a_transaction(doris: Client) -> None:
    make(
        doris,
        "AUTO PARTITION BY RANGE (date_trunc(d, 'day')) ()",
        columns="id INT NOT NULL, d DATE NOT NULL, v INT",
    )
    doris.run("BEGIN")
    doris.run("INSERT INTO t VALUES (1, '2026-01-01', 1)")
    doris.run("INSERT INTO t VALUES (2, '2026-01-02', 1)")
    doris.run("COMMIT")
    assert names(doris) == ["p20260101000000", "p20260102000000"]
    assert doris.value("SELECT COUNT(*) FROM t") == 2


# -- dynamic partitions

DYNAMIC = {
    "time_unit": "DAY",
    "start": "-3",
    "end": "2",
    "prefix": "p",
    "buckets": "1",
    "time_zone": "UTC",
}


def dynamic(**changes: str | None) -> str:
    given = {**DYNAMIC, **changes}
    return "".join(f", 'dynamic_partition.{k}' = '{v}'" for k, v in given.items() if v is not None)


def today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def days(*offsets: int) -> list[str]:
    return [f"p{today() + dt.timedelta(days=n):%Y%m%d}" for n in offsets]


def test_dynamic_partitions_at_creation(doris: Client) -> None:
    old = today() - dt.timedelta(days=10)
    kept = today() - dt.timedelta(days=2)
    clause = "PARTITION BY RANGE(d) (" + ", ".join(
        f"PARTITION {name} VALUES [('{day}'), ('{day + dt.timedelta(days=1)}'))"
        for name, day in (("old", old), ("kept", kept))
    )
    make(doris, clause + ")", dynamic())
    assert names(doris) == ["kept", *days(0, 1, 2)]
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert (
        '"dynamic_partition.enable" = "true",\n"dynamic_partition.time_unit" = "DAY",\n'
        '"dynamic_partition.time_zone" = "UTC",\n"dynamic_partition.start" = "-3",\n'
        '"dynamic_partition.end" = "2",\n"dynamic_partition.prefix" = "p",\n'
        '"dynamic_partition.replication_allocation" = "tag.location.default: 1",\n'
        '"dynamic_partition.buckets" = "1",\n"dynamic_partition.create_history_partition" = "false",\n'
        '"dynamic_partition.history_partition_num" = "-1",\n"dynamic_partition.hot_partition_num" = "0",\n'
        '"dynamic_partition.reserved_history_periods" = "NULL",\n"dynamic_partition.storage_policy" = ""\n'
    ) in text
    doris.run("DROP TABLE t")
    doris.run(text)
    assert doris.rows("SHOW CREATE TABLE t")[0][1] == text
    cursor = doris.run("SHOW DYNAMIC PARTITION TABLES")
    (row,) = [dict(zip([d[0] for d in cursor.description], r, strict=True)) for r in cursor.fetchall()]
    assert (row["TableName"], row["Enable"], row["TimeUnit"], row["Start"], row["State"]) == (
        "t",
        "true",
        "DAY",
        "-3",
        "NORMAL",
    )


@pytest.mark.parametrize(
    ("unit", "more", "expected"),
    [
        ("DAY", {"create_history_partition": "true"}, lambda: days(-3, -2, -1, 0, 1, 2)),
        (
            "DAY",
            {"create_history_partition": "true", "history_partition_num": "1"},
            lambda: days(-1, 0, 1, 2),
        ),
        ("MONTH", {"end": "1"}, None),
        ("YEAR", {"end": "1"}, lambda: [f"p{today().year}", f"p{today().year + 1}"]),
        ("WEEK", {"end": "1"}, None),
    ],
)
def test_periods(doris: Client, unit: str, more: dict[str, str], expected: object) -> None:
    make(doris, "PARTITION BY RANGE(d) ()", dynamic(time_unit=unit, **more))
    found = names(doris)
    if callable(expected):
        assert found == expected()
    doris.run(f"INSERT INTO t VALUES (1, '{today()}', 1)")
    assert column(doris, "RowCount").count("1") == 1
    if unit == "WEEK":
        monday = today() - dt.timedelta(days=today().isoweekday() - 1)
        assert f"keys: [{monday}]" in column(doris, "Range")[0]
    if unit == "MONTH":
        assert found[0] == f"p{today():%Y%m}"


def test_hours(doris: Client) -> None:
    make(
        doris,
        "PARTITION BY RANGE(at) ()",
        dynamic(time_unit="HOUR"),
        columns="id INT NOT NULL, at DATETIME, v INT",
    )
    now = dt.datetime.now(dt.UTC)
    assert names(doris)[0] in (f"p{now:%Y%m%d%H}", f"p{now - dt.timedelta(minutes=1):%Y%m%d%H}")


def admin(doris: Client, path: str) -> None:
    """One of the hooks for tests."""
    connection = http.client.HTTPConnection("127.0.0.1", doris.emulator.http_port, timeout=10)
    login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    connection.request("POST", path, headers={"Authorization": f"Basic {login}"})
    assert connection.getresponse().status == 200
    connection.close()


def test_retention(doris: Client) -> None:
    """With time, partitions come and the oldest go, with their rows."""
    make(doris, "PARTITION BY RANGE(d) ()", dynamic())
    doris.run(f"INSERT INTO t VALUES (1, '{today()}', 1), (2, '{today() + dt.timedelta(days=2)}', 1)")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=4)
    admin(doris, f"/_emulator/partitions?now={later:%Y-%m-%d}")
    assert names(doris) == days(1, 2, 4, 5, 6)
    assert doris.rows("SELECT id FROM t") == [(2,)]
    assert "NORMAL" in doris.rows("SHOW DYNAMIC PARTITION TABLES")[0]


def test_the_poll_follows_changed_properties(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(d) ()", dynamic())
    doris.run("ALTER TABLE t SET ('dynamic_partition.end' = '4', 'dynamic_partition.start' = '-1')")
    assert names(doris) == days(0, 1, 2)
    doris.run('ADMIN SET FRONTEND CONFIG ("dynamic_partition_check_interval_seconds" = "1")')
    try:
        deadline = time.monotonic() + 10
        while names(doris) != days(0, 1, 2, 3, 4):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        doris.run('ADMIN SET FRONTEND CONFIG ("dynamic_partition_check_interval_seconds" = "600")')


def test_manual_changes_need_it_disabled(doris: Client) -> None:
    make(doris, "PARTITION BY RANGE(d) ()", dynamic())
    detail = (
        "Cannot add/drop partition on a Dynamic Partition Table, Use command `ALTER TABLE t SET"
        ' ("dynamic_partition.enable" = "false")` firstly.'
    )
    assert doris.refused("ALTER TABLE t ADD PARTITION x VALUES LESS THAN ('2020-01-01')")[1] == detail
    assert doris.refused(f"ALTER TABLE t DROP PARTITION {days(0)[0]}")[1] == detail
    doris.run("ALTER TABLE t SET ('dynamic_partition.enable' = 'false')")
    doris.run(f"ALTER TABLE t DROP PARTITION {days(0)[0]}")
    assert names(doris) == days(1, 2)


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"time_unit": None}, 1105, "Must assign dynamic_partition.time_unit properties"),
        ({"prefix": None}, 1105, "Must assign dynamic_partition.prefix properties"),
        ({"end": None}, 1105, "Must assign dynamic_partition.end properties"),
        (
            {"time_unit": "CENTURY"},
            5065,
            "Unsupported time unit CENTURY. Expect HOUR/DAY/WEEK/MONTH/YEAR.",
        ),
        ({"start": "1"}, 5066, "Dynamic partition start must less than 0"),
        ({"start": "x"}, 5066, "Invalid dynamic partition start x"),
        ({"end": "0"}, 5066, "Dynamic partition end must greater than 0"),
        ({"buckets": "0"}, 5067, "Dynamic partition buckets must greater than 0"),
        ({"enable": "maybe"}, 5068, "Invalid dynamic partition enable: maybe. Expected true or false"),
        ({"prefix": "1-"}, 5069, "Invalid dynamic partition prefix: 1-."),
        (
            {"time_unit": "HOUR"},
            1105,
            "dynamic_partition.time_unit could not be HOUR when type of partition column d is DATE or DATEV2",
        ),
        (
            {"start": None, "create_history_partition": "true"},
            1105,
            (
                "Provide start or history_partition_num property when create_history_partition=true."
                " Otherwise set create_history_partition=false"
            ),
        ),
        ({"end": "501"}, 1105, "Too many dynamic partitions: 501. Limit: 500"),
        ({"colour": "red"}, 1105, "Invalid dynamic partition properties: dynamic_partition.colour"),
        ({"time_zone": "Nowhere"}, 1298, "Unknown or incorrect time zone: 'Nowhere'"),
        (
            {"time_unit": "WEEK", "start_day_of_week": "8"},
            1105,
            "dynamic_partition.start_day_of_week should between 1 and 7",
        ),
    ],
)
def test_refused_properties(shared: Client, changes: dict[str, str | None], code: int, detail: str) -> None:
    sql = (
        "CREATE TABLE new (id INT NOT NULL, d DATE) DUPLICATE KEY(id) PARTITION BY RANGE(d) () "
        + TAIL.format(more=dynamic(**changes))
    )
    assert shared.refused(sql) == (code, detail)


@pytest.mark.parametrize("clause", ["", "PARTITION BY LIST(id) ()", "PARTITION BY RANGE(id, d) ()"])
def test_only_one_range_column(shared: Client, clause: str) -> None:
    sql = (
        f"CREATE TABLE new (id INT NOT NULL, d DATE) DUPLICATE KEY(id) {clause} {TAIL.format(more=dynamic())}"
    )
    assert shared.refused(sql)[1] == "Dynamic partition only support single-column range partition"


def test_reserved_periods(doris: Client) -> None:
    old = today() - dt.timedelta(days=100)
    make(
        doris,
        f"PARTITION BY RANGE(d) (PARTITION old VALUES [('{old}'), ('{old + dt.timedelta(days=1)}')))",
        dynamic(reserved_history_periods=f"[{old},{old}]"),
    )
    assert names(doris) == ["old", *days(0, 1, 2)]
