"""Routine Load of the Doris emulator: it really consumes a topic of Kafka, exactly once."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from dbint.kafka import KafkaAdmin, KafkaProducer

TABLE = """CREATE TABLE t (id BIGINT NOT NULL, name VARCHAR(5), n INT, seq BIGINT) UNIQUE KEY(id)
DISTRIBUTED BY HASH(id) BUCKETS 1
PROPERTIES ("replication_num" = "1", "enable_unique_key_merge_on_write" = "true",
 "function_column.sequence_col" = "seq")"""
CLAUSES = """WITH MERGE COLUMNS(op, id, name, n, seq), PRECEDING FILTER op IN ('c', 'u', 'd'),
DELETE ON op = 'd'
PROPERTIES ("format" = "json", "strict_mode" = "true", "max_batch_interval" = "5",
 "jsonpaths" = '["$.op","$.id","$.name","$.n","$.seq"]'{more})"""


class Doris:
    """An emulator and a session of it."""

    def __init__(self, emulator: "DorisEmulator | Process", brokers: str) -> None:
        self.emulator = emulator
        self.brokers = brokers
        self.connection = pymysql.connect(
            host=emulator.host, port=emulator.query_port, user="root", password="pw", autocommit=True
        )

    def __call__(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def create(self, topic: str, name: str = "job", more: str = "", source: str = "") -> None:
        clauses = CLAUSES.replace("{more}", more)
        self(
            f'CREATE ROUTINE LOAD {name} ON t {clauses} FROM KAFKA ("kafka_broker_list" = "{self.brokers}",'
            f' "kafka_topic" = "{topic}", "property.kafka_default_offsets" = "OFFSET_BEGINNING"{source})'
        )

    def job(self, name: str = "job", *, history: bool = False) -> dict[str, Any]:
        with self.connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"SHOW {'ALL ' if history else ''}ROUTINE LOAD FOR {name}")
            found: dict[str, Any] = cursor.fetchall()[-1]
        return found

    def rows(self) -> list[tuple[Any, ...]]:
        return self("SELECT id, name, n FROM t ORDER BY id")


def until(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.05)
    return found


@pytest.fixture
def brokers(kafka) -> str:
    return f"{kafka.host}:{kafka.port}"


@pytest.fixture
def topic(brokers) -> Iterator[str]:
    name = f"routine-{secrets.token_hex(4)}"
    with KafkaAdmin(brokers) as admin:
        admin.create_topic(name, partitions=2, replication=1)
        yield name


@pytest.fixture
def send(brokers, topic) -> Iterator[Callable[..., None]]:
    with KafkaProducer(brokers) as producer:

        def send(*rows: Any, partition: int | None = None) -> None:
            for row in rows:
                value = row if isinstance(row, bytes) or row is None else json.dumps(row).encode()
                key = str(row["id"]) if isinstance(row, dict) and "id" in row else "x"
                producer.send_sync(topic, value, key, partition=partition)

        yield send


@pytest.fixture
def doris(brokers) -> Iterator[Doris]:
    with DorisEmulator(password="pw", faults=True) as emulator:
        session = Doris(emulator, brokers)
        session("CREATE DATABASE d")
        session("USE d")
        session(TABLE)
        yield session


def change(op: str, number: int, name: str | None, seq: int) -> dict[str, Any]:
    return {"op": op, "id": number, "name": name, "n": number * 10, "seq": seq}


def test_messages_become_rows(doris, topic, send):
    send(change("c", 1, "a", 1), change("c", 2, "b", 1))
    doris.create(topic)
    until(lambda: len(doris.rows()) == 2)
    send(change("u", 1, "A", 2), change("d", 2, None, 3), change("c", 3, "c", 1), None)
    until(lambda: doris.rows() == [(1, "A", 10), (3, "c", 30)])
    job = doris.job()
    assert (job["State"], job["IsMultiTable"], job["DataSourceType"], job["CurrentTaskNum"]) == (
        "RUNNING", "false", "KAFKA", "1")  # fmt: skip
    statistic = json.loads(job["Statistic"])
    assert (statistic["totalRows"], statistic["loadedRows"], statistic["errorRows"]) == (5, 5, 0)
    assert set(json.loads(job["Progress"])) == {"0", "1"}
    until(lambda: set(json.loads(doris.job()["Lag"]).values()) == {0})


def test_the_newest_sequence_wins_whatever_the_order(doris, topic, send):
    send(
        change("c", 1, "new", 9), change("u", 1, "old", 3), change("d", 2, None, 9), change("c", 2, "late", 3)
    )
    doris.create(topic)
    until(lambda: json.loads(doris.job()["Statistic"])["totalRows"] == 4)
    assert doris.rows() == [(1, "new", 10)]


def test_what_the_preceding_filter_refuses_is_unselected(doris, topic, send):
    send(change("t", 1, "x", 1), {"op": "m", "seq": 4}, change("c", 2, "b", 1))
    doris.create(topic)
    until(lambda: json.loads(doris.job()["Statistic"])["unselectedRows"] == 2)
    assert doris.rows() == [(2, "b", 20)]


def test_bad_rows_are_passed_and_the_job_is_paused(doris, topic, send):
    send(change("c", 1, "a", 1), change("c", 2, "too long", 1), b"no JSON", partition=0)
    doris.create(topic)
    job = until(lambda: (found := doris.job())["State"] == "PAUSED" and found)
    assert job["ReasonOfStateChanged"] == (
        "ErrorReason{code=errCode = 102, msg='current error rows is more than max_error_number or the"
        " max_filter_ratio is more than the value set'}"
    )
    assert "/api/_load_error_log?file=" in job["ErrorLogUrls"]
    assert doris.rows() == [(1, "a", 10)]  # the good row is in, and the position is behind the bad ones
    assert json.loads(job["Progress"])["0"] == "2"
    send(change("c", 3, "c", 1))
    doris("RESUME ROUTINE LOAD FOR job")
    until(lambda: doris.rows() == [(1, "a", 10), (3, "c", 30)])
    assert json.loads(doris.job()["Statistic"])["errorRows"] == 2


def test_as_many_bad_rows_as_are_allowed_do_not_pause(doris, topic, send):
    send(change("c", 1, "too long", 1), change("c", 2, "b", 1))
    doris.create(topic, more=', "max_error_number" = "1"')
    until(lambda: doris.rows() == [(2, "b", 20)])
    assert doris.job()["State"] == "RUNNING"


def test_paused_altered_resumed_stopped(doris, topic, send):
    doris.create(topic)
    until(lambda: doris.job()["State"] == "RUNNING")
    with pytest.raises(pymysql.Error, match="Only supports modification of PAUSED jobs"):
        doris('ALTER ROUTINE LOAD FOR job PROPERTIES ("max_error_number" = "5")')
    doris("PAUSE ROUTINE LOAD FOR job")
    job = doris.job()
    assert (
        job["ReasonOfStateChanged"]
        == "ErrorReason{code=errCode = 100, msg='User root pauses routine load job'}"
    )
    send(change("c", 1, "a", 1), change("c", 2, "b", 1), partition=0)
    time.sleep(0.7)
    assert doris.rows() == []
    with pytest.raises(pymysql.Error, match="Could not transform PAUSED to PAUSED"):
        doris("PAUSE ROUTINE LOAD FOR job")
    doris('ALTER ROUTINE LOAD FOR job PROPERTIES ("max_error_number" = "5")'
          ' FROM KAFKA ("kafka_partitions" = "0", "kafka_offsets" = "1")')  # fmt: skip
    doris("RESUME ROUTINE LOAD FOR job")
    until(lambda: doris.rows() == [(2, "b", 20)])
    assert json.loads(doris.job()["JobProperties"])["max_error_number"] == "5"
    tasks = doris('SHOW ROUTINE LOAD TASK WHERE JobName = "job"')
    assert [set(json.loads(task[-1])) for task in tasks] == [{"0", "1"}]
    doris("PAUSE ALL ROUTINE LOAD")
    assert doris.job()["State"] == "PAUSED"
    doris("RESUME ALL ROUTINE LOAD")
    doris("STOP ROUTINE LOAD FOR job")
    with pytest.raises(pymysql.Error, match=r"There is no job named job in db d\. Include history\? false"):
        doris.job()
    assert doris.job(history=True)["State"] == "STOPPED"
    with pytest.raises(pymysql.Error, match="There is not operable routine load job with name job"):
        doris("RESUME ROUTINE LOAD FOR job")
    doris.create(topic)  # the name is free again


def test_a_failed_task_is_done_again_and_nothing_twice(doris, topic, send):
    faults = f"http://{doris.emulator.host}:{doris.emulator.http_port}/_emulator/faults"
    import base64
    import urllib.request

    request = urllib.request.Request(
        f"{faults}?kind=too_many_versions&on=routine_load&times=2",
        method="POST",
        headers={"Authorization": "Basic " + base64.b64encode(b"root:pw").decode()},
    )
    urllib.request.urlopen(request, timeout=10).close()
    send(change("c", 1, "a", 1))
    doris.create(topic)
    until(lambda: doris.rows() == [(1, "a", 10)])
    job = doris.job()
    assert "-235" in job["OtherMsg"]
    statistic = json.loads(job["Statistic"])
    assert (statistic["abortedTaskNum"], statistic["totalRows"]) == (2, 1)


def test_a_topic_that_is_not_there_pauses_and_is_tried_again(doris, brokers):
    name = f"late-{secrets.token_hex(4)}"
    doris.create(name)
    job = until(lambda: (found := doris.job())["State"] == "PAUSED" and found)
    assert job["ReasonOfStateChanged"].startswith(
        "ErrorReason{code=errCode = 4, msg='Failed to get all partitions"
    )
    with KafkaAdmin(brokers) as admin:
        admin.create_topic(name, partitions=1, replication=1)
    with KafkaProducer(brokers) as producer:
        producer.send_sync(name, json.dumps(change("c", 1, "a", 1)))
    until(lambda: doris.rows() == [(1, "a", 10)], 30)


def test_an_offset_that_is_not_there_pauses_for_good(doris, topic, send):
    send(change("c", 1, "a", 1), partition=0)
    doris.create(topic, source=', "kafka_partitions" = "0", "kafka_offsets" = "77"')
    job = until(lambda: (found := doris.job())["State"] == "PAUSED" and found)
    assert "errCode = 105" in job["ReasonOfStateChanged"]
    assert "Offset out of range" in job["ReasonOfStateChanged"]


def test_a_dropped_table_cancels_the_job(doris, topic):
    doris.create(topic)
    until(lambda: doris.job()["State"] == "RUNNING")
    doris("DROP TABLE t FORCE")
    job = until(lambda: (found := doris.job(history=True))["State"] == "CANCELLED" and found)
    assert "table does not exist" in job["ReasonOfStateChanged"]


class Process:
    """An emulator in a process of its own, with a data directory; to be killed."""

    host = "127.0.0.1"

    def __init__(self, directory: Path) -> None:
        ready = directory / "ready.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dbint.emulators.doris", "--data-dir", str(directory / "data"),
             "--ready-file", str(ready), "--log", str(directory / "log")],
            env={**os.environ, "DORIS_PASSWORD": "pw"}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: ready.exists() and ready.read_text(), 60)
        self.query_port = json.loads(ready.read_text())["ports"]["query"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def test_a_killed_emulator_goes_on_where_its_rows_are(brokers, topic, send, tmp_path: Path):
    """The progress of a job and its rows are one transaction: else rows would come twice, or not at all."""
    rows = 3000
    for first in range(0, rows, 1000):
        send(b"\n".join(b"%d" % n for n in range(first, first + 1000)), partition=first // 1000 % 2)
    process = Process(tmp_path)
    try:
        doris = Doris(process, brokers)
        doris("CREATE DATABASE d")
        doris("USE d")
        doris("""CREATE TABLE t (id BIGINT) DUPLICATE KEY(id) DISTRIBUTED BY HASH(id) BUCKETS 1
                 PROPERTIES ("replication_num" = "1")""")
        doris(f"""CREATE ROUTINE LOAD job ON t COLUMNS(id) PROPERTIES ("desired_concurrent_number" = "2")
            FROM KAFKA ("kafka_broker_list" = "{brokers}", "kafka_topic" = "{topic}",
            "property.kafka_default_offsets" = "OFFSET_BEGINNING")""")
        for round_ in range(3):
            time.sleep(0.1 + 0.4 * round_)
            process.kill()
            send(b"%d" % (rows + round_))
            process = Process(tmp_path)
        doris = Doris(process, brokers)
        doris("USE d")
        until(lambda: doris("SELECT count(*) FROM t")[0][0] >= rows + 3, 60)
        time.sleep(0.5)
        assert doris("SELECT count(*), count(DISTINCT id) FROM t") == [(rows + 3, rows + 3)]
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ('ON t COLUMNS(id) PROPERTIES ("no_such" = "1")', "no_such is invalid property"),
        ('ON t COLUMNS(id) PROPERTIES ("max_batch_rows" = "5")', "max_batch_rows should > 200000"),
        ('ON t COLUMNS(id) PROPERTIES ("max_batch_interval" = "0")', "max_batch_interval should >= 1"),
        ("ON t WITH MERGE COLUMNS(id, seq)", "Excepted DELETE ON clause when merge type is MERGE"),
        (
            "ON t COLUMNS(id, seq), DELETE ON id = 1",
            "not support DELETE ON clause when merge type is not MERGE",
        ),
        ("ON t COLUMNS(id)", "has sequence column, need to specify the sequence column"),
        ("ON nothing COLUMNS(id)", "Unknown table 'nothing'"),
        ("ON t WITH UPSERT COLUMNS(id)", "mismatched input 'UPSERT'"),
        ("ON t PRECEDING id = 1", "expecting 'FILTER'"),
    ],
)
def test_what_doris_refuses_is_refused(doris, statement, refusal):
    with pytest.raises(pymysql.Error, match=refusal):
        doris(
            f"CREATE ROUTINE LOAD job {statement}"
            ' FROM KAFKA ("kafka_broker_list" = "h:1", "kafka_topic" = "t")'
        )


def test_what_kafka_needs_is_asked_for(doris, topic):
    with pytest.raises(pymysql.Error, match="kafka_topic is a required property"):
        doris('CREATE ROUTINE LOAD job ON t COLUMNS(id, seq) FROM KAFKA ("kafka_broker_list" = "h:1")')
    with pytest.raises(pymysql.Error, match="Partitions number should be equals to offsets number"):
        doris.create(topic, source=', "kafka_partitions" = "0,1", "kafka_offsets" = "1"')
    doris.create(topic)
    with pytest.raises(pymysql.Error, match="Name job already used in db d"):
        doris.create(topic)
