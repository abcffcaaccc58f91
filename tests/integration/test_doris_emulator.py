"""The emulator as a process: its command line, its start and end, and what a kill -9 leaves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

PASSWORD = "only-in-this-test"
Start = Callable[..., "Process"]


class Process:
    """A running ``python -m dbint.emulators.doris``."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.ready_file = directory / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "dbint.emulators.doris",
            "--ready-file",
            str(self.ready_file),
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "DORIS_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 30
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"the emulator did not start: {self.process.communicate()[0]}")
            time.sleep(0.02)
        state = json.loads(self.ready_file.read_text())
        self.ports: dict[str, int] = state["ports"]
        self.nodes: dict[str, dict[str, int]] = state["nodes"]

    def connect(self, **given: Any) -> Any:
        settings = {"user": "root", "password": PASSWORD, "autocommit": True, **given}
        return pymysql.connect(host="127.0.0.1", port=self.ports["query"], **settings)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def load(self, label: str, rows: int) -> dict[str, Any]:
        """One Stream Load, straight to the backend."""
        body = "".join(f"{n}\t{label}\n" for n in range(rows)).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['be_http']}/api/shop/t/_stream_load",
            method="PUT",
            data=body,
            headers={"label": label, "columns": "id,label"},
        )
        password = urllib.request.HTTPPasswordMgrWithPriorAuth()
        password.add_password(None, request.full_url, "root", PASSWORD, is_authenticated=True)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(password))
        with opener.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def stop(self, number: int = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=20)[0]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def run(*arguments: str) -> Process:
        started.append(Process(tmp_path, *arguments))
        return started[-1]

    yield run
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.communicate()


def make_table(process: Process) -> None:
    for sql in (
        "CREATE DATABASE shop",
        (
            "CREATE TABLE shop.t (id BIGINT NOT NULL, label VARCHAR(40) NOT NULL) DUPLICATE KEY(id) "
            "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1')"
        ),
    ):
        process.rows(sql)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_and_clean_stop(start: Start, tmp_path: Path, number: int) -> None:
    process = start()
    assert process.rows("SELECT VERSION()") == [("5.7.99",)]
    idle = process.connect()  # an open connection does not hold it up
    output = process.stop(number)
    assert process.process.returncode == 0
    assert "It is not Doris." in output
    ports = process.ports
    ready = f"ready host=127.0.0.1 query={ports['query']} http={ports['http']} be_http={ports['be_http']}\n"
    assert ready in output
    assert output.endswith("stopped\n")
    assert PASSWORD not in output
    assert not process.ready_file.exists()
    idle.close()


def test_what_is_kept_over_a_stop(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = start("--data-dir", str(data))
    make_table(first)
    assert first.load("one", 3)["Status"] == "Success"
    shown = first.rows("SHOW CREATE TABLE shop.t")
    first.stop()
    assert data.stat().st_mode & 0o777 == 0o700
    second = start("--data-dir", str(data))
    assert second.rows("SHOW CREATE TABLE shop.t") == shown
    assert second.rows("SELECT COUNT(*) FROM shop.t") == [(3,)]
    again = second.load("one", 3)
    assert (again["Status"], again["ExistingJobStatus"]) == ("Label Already Exists", "FINISHED")


def test_without_a_data_directory_nothing_is_kept(start: Start) -> None:
    first = start()
    make_table(first)
    first.stop()
    assert ("shop",) not in start().rows("SHOW DATABASES")


def test_kill_leaves_labels_and_rows_together(start: Start, tmp_path: Path) -> None:
    """Loads run while the process is killed: what was answered is there, once."""
    data, rows = tmp_path / "data", 500
    answered: set[str] = set()
    sent: set[str] = set()
    for turn in range(3):
        process = start("--data-dir", str(data))
        if turn == 0:
            make_table(process)

        def work(worker: int, process: Process = process, turn: int = turn) -> None:
            for number in range(1000):
                label = f"{turn}-{worker}-{number}"
                sent.add(label)
                try:
                    if process.load(label, rows)["Status"] == "Success":
                        answered.add(label)
                except OSError:
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        process.process.kill()
        for thread in threads:
            thread.join()
        process.process.communicate()
    assert answered
    survivor = start("--data-dir", str(data))
    counts = dict(survivor.rows("SELECT label, COUNT(*) FROM shop.t GROUP BY label"))
    assert answered <= set(counts)
    assert set(counts.values()) == {rows}
    for label in sorted(sent):
        status = survivor.load(label, rows)["Status"]
        assert status == ("Label Already Exists" if label in counts else "Success")
    final = dict(survivor.rows("SELECT label, COUNT(*) FROM shop.t GROUP BY label"))
    assert final == dict.fromkeys(sent, rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--password-file", "/no/such/file"], "cannot start: "),
        (["--data-dir", "/dev/null/x"], "cannot make the data directory /dev/null/x: Not a directory"),
        (["--backends", "0"], "0 is not a positive number"),
        (["--frontends", "0"], "0 is not a positive number"),
        (["--version", "4"], "4 is not a release such as 4."),
        (["--alter-seconds", "-1"], "-1 is not a number of seconds"),
        (["--query-port", "70000"], "70000 is not a port number"),
        (["--password", "x"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dbint.emulators.doris", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_that_is_taken(start: Start) -> None:
    first = start()
    command = [sys.executable, "-m", "dbint.emulators.doris", "--query-port", str(first.ports["query"])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert "address already in use" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_data_directory_has_one_owner(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    start("--data-dir", str(data))
    command = [sys.executable, "-m", "dbint.emulators.doris", "--data-dir", str(data)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert "cannot open the data file" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "doris.duckdb").write_bytes(b"something else entirely" * 1000)
    command = [sys.executable, "-m", "dbint.emulators.doris", "--data-dir", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert "cannot open the data file" in run.stderr
    assert "Traceback" not in run.stderr


def test_several_backends(start: Start) -> None:
    process = start("--backends", "3")
    assert len(process.rows("SHOW BACKENDS")) == 3
    process.rows("CREATE DATABASE d")
    process.rows("CREATE TABLE d.t (id INT) DISTRIBUTED BY HASH(id) BUCKETS 1")  # three replicas, the default


def test_several_frontends(start: Start) -> None:
    process = start("--frontends", "3", "--backends", "2", "--version", "4.1.2")
    assert sorted(process.nodes) == ["be1", "be2", "fe1", "fe2", "fe3"]
    assert process.nodes["fe1"] == {role: process.ports[role] for role in ("query", "http")}
    assert process.nodes["be1"]["http"] == process.ports["be_http"]
    process.rows("CREATE DATABASE d")
    for name in ("fe2", "fe3"):
        settings = {"user": "root", "password": PASSWORD, "port": process.nodes[name]["query"]}
        with pymysql.connect(host="127.0.0.1", **settings) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@version_comment")
            assert cursor.fetchall()[0][0].startswith("Doris version doris-4.1.2-")
            cursor.execute("SHOW DATABASES LIKE 'd'")
            assert cursor.fetchall() == (("d",),)
    output = process.stop()
    assert f" fe2_query={process.nodes['fe2']['query']} " in output
    assert f" be2_http={process.nodes['be2']['http']}\n" in output


def test_all_kinds_of_tables_are_kept(start: Start, tmp_path: Path) -> None:
    """Views, partitions, aggregations, arrays and a schema change that is under way outlive a kill -9."""
    data, tail = str(tmp_path / "data"), "BUCKETS 1 PROPERTIES ('replication_num' = '1')"
    first = start("--data-dir", data, "--alter-seconds", "1")
    for sql in (
        "CREATE DATABASE d",
        f"CREATE TABLE d.s (k INT, n BIGINT SUM, x ARRAY<INT> REPLACE) DISTRIBUTED BY HASH(k) {tail}",
        "CREATE TABLE d.p (id INT NOT NULL, day DATE NOT NULL, v INT) DUPLICATE KEY(id) "
        f"AUTO PARTITION BY RANGE (date_trunc(day, 'month')) () DISTRIBUTED BY HASH(id) {tail}",
        "CREATE VIEW d.v AS SELECT id, day FROM d.p",
        "INSERT INTO d.s VALUES (1, 2, '[1, 2]'), (1, 3, '[3]')",
        "INSERT INTO d.p VALUES (1, '2026-01-02', 1), (2, '2026-03-04', 2)",
        "ALTER TABLE d.p MODIFY COLUMN v BIGINT",
    ):
        first.rows(sql)
    questions = ("SHOW CREATE TABLE d.s", "SHOW CREATE VIEW d.v", "SELECT * FROM d.s")
    before = [first.rows(sql) for sql in questions]
    first.process.kill()
    first.process.communicate()
    second = start("--data-dir", data)
    deadline = time.monotonic() + 10
    while second.rows("SHOW ALTER TABLE COLUMN FROM d")[0][9] != "FINISHED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [second.rows(sql) for sql in questions] == before
    assert second.rows("SELECT id FROM d.v ORDER BY id") == [(1,), (2,)]
    assert second.rows("DESC d.p")[2][1] == "bigint"
    assert [row[1] for row in second.rows("SHOW PARTITIONS FROM d.p")] == [
        "p20260101000000",
        "p20260301000000",
    ]
    second.rows("INSERT INTO d.s VALUES (1, 5, NULL)")
    assert second.rows("SELECT n, x FROM d.s") == [(10, None)]


def test_the_log_has_no_password(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "emulator.log"
    process = start("--log", str(log))
    with pytest.raises(pymysql.OperationalError):
        process.connect(password="also-secret")
    process.stop()
    text = log.read_text()
    assert PASSWORD not in text
    assert "also-secret" not in text
