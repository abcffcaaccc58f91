"""Loads that become visible later: two-phase commit and group commit, and what outlives a restart.

Source: docs/data-operate/import/import-way/stream-load-manual.md and group-commit-manual.md of
apache/doris-website; stream_load_2pc.cpp and DatabaseTransactionMgr of apache/doris.
"""

import io
import json
import time
from pathlib import Path
from typing import Any

import pycurl
import pytest

from dbint.emulators.doris import DorisEmulator
from tests.unit.emulators.conftest import PASSWORD, Client, connect, fresh_database
from tests.unit.emulators.test_stream_load import fault, load, loaded


def operate(
    emulator: DorisEmulator, database: str, *, table: str = "", port: int = 0, **headers: str
) -> dict[str, Any]:
    """The second phase, through the frontend."""
    path = f"/api/{database}/{table + '/' if table else ''}_stream_load_2pc"
    curl, received = pycurl.Curl(), io.BytesIO()
    curl.setopt(pycurl.URL, f"http://127.0.0.1:{port or emulator.http_port}{path}")
    curl.setopt(pycurl.USERPWD, f"root:{PASSWORD}")
    curl.setopt(pycurl.CUSTOMREQUEST, "PUT")
    curl.setopt(pycurl.HTTPHEADER, [f"{k}: {v}" for k, v in headers.items()])
    curl.setopt(pycurl.FOLLOWLOCATION, 1)
    curl.setopt(pycurl.UNRESTRICTED_AUTH, 1)
    curl.setopt(pycurl.WRITEDATA, received)
    curl.perform()
    curl.close()
    answer: dict[str, Any] = json.loads(received.getvalue())
    return answer


@pytest.fixture
def t(doris: Client) -> Client:
    doris.table("id BIGINT NOT NULL, name VARCHAR(5)")
    return doris


def first_phase(client: Client, body: bytes, **headers: str) -> str:
    """The transaction of a load that waits for its second phase."""
    answer = load(client, body, two_phase_commit="true", **headers)
    assert answer["Message"] == "OK"
    assert (answer["Status"], answer["TwoPhaseCommit"]) == ("Success", "true")
    assert answer["CommitAndPublishTimeMs"] == 0
    return str(answer["TxnId"])


@pytest.mark.parametrize("by", ["txn_id", "label"])
@pytest.mark.parametrize("table", ["", "t"])
def test_commit(t: Client, by: str, table: str) -> None:
    given = {"txn_id": first_phase(t, b"1\ta\n", label="a"), "label": "a"}[by]
    assert t.rows("SELECT * FROM t") == []
    answer = operate(t.emulator, t.database, table=table, txn_operation="commit", **{by: given})
    shown = {"txn_id": "transaction", "label": "label"}[by]
    assert answer == {"status": "Success", "msg": f"{shown} [{given}] commit successfully."}
    assert t.rows("SELECT * FROM t") == [(1, "a")]
    assert load(t, b"2\tb\n", label="a")["ExistingJobStatus"] == "FINISHED"


def test_abort_frees_the_label(t: Client) -> None:
    txn = first_phase(t, b"1\ta\n", label="a")
    waiting = load(t, b"2\tb\n", label="a")
    assert (waiting["Status"], waiting["ExistingJobStatus"]) == ("Label Already Exists", "PRECOMMITTED")
    answer = operate(t.emulator, t.database, txn_operation="abort", txn_id=txn)
    assert answer == {"status": "Success", "msg": f"transaction [{txn}] abort successfully."}
    assert loaded(load(t, b"2\tb\n", label="a")) == ("Success", 1, 0, 0)
    assert t.rows("SELECT * FROM t") == [(2, "b")]


def test_what_a_second_phase_is_told(t: Client) -> None:
    def told(**headers: str) -> tuple[str, str]:
        answer = operate(t.emulator, t.database, **headers)
        return answer["status"], answer["msg"].removeprefix("TStatus: errCode = 2, detailMessage = ")

    done = first_phase(t, b"1\ta\n", label="a")
    operate(t.emulator, t.database, txn_operation="commit", txn_id=done)
    gone = first_phase(t, b"2\ta\n", label="b")
    operate(t.emulator, t.database, txn_operation="abort", txn_id=gone)
    assert told(txn_operation="commit", txn_id=done) == (
        "ANALYSIS_ERROR",
        f"transaction [{done}] is already visible, not pre-committed.",
    )
    assert told(txn_operation="abort", txn_id=done)[1] == (
        f"transaction [{done}] is already VISIBLE, could not abort."
    )
    assert told(txn_operation="commit", txn_id=gone)[1] == (
        f"transaction [{gone}] is already aborted. abort reason: User Abort"
    )
    assert told(txn_operation="commit", txn_id="999999")[1] == "transaction [999999] not found"
    assert told(txn_operation="commit", label="nobody")[1] == "transaction not found, label=nobody"
    assert told(txn_operation="commit") == ("FAILED", "No transaction id or label selected.")
    assert told(txn_id=done) == ("FAILED", "No transaction operation('commit' or 'abort') selected.")
    assert told(txn_id=done, txn_operation="publish") == (
        "INTERNAL_ERROR",
        "transaction operation should be 'commit' or 'abort'",
    )
    assert told(txn_id="x", txn_operation="commit")[1].startswith("convert txn_id [x] failed")
    assert operate(t.emulator, "nowhere", txn_id=done, txn_operation="commit")["msg"].endswith(
        "unknown database, database=nowhere"
    )


def test_a_load_with_bad_rows_does_not_wait(t: Client) -> None:
    answer = load(t, b"1\ttoo long\n", label="a", two_phase_commit="true")
    assert (answer["Status"], answer["TwoPhaseCommit"]) == ("Fail", "true")
    assert loaded(load(t, b"1\ta\n", label="a")) == ("Success", 1, 0, 0)


def test_the_newest_row_is_that_of_the_last_commit(t: Client) -> None:
    older = first_phase(t, b"1\told\n")
    load(t, b"1\tnew\n")
    operate(t.emulator, t.database, txn_operation="commit", txn_id=older)
    assert t.rows("SELECT * FROM t") == [(1, "old")]


def test_waiting_longer_than_the_limit_aborts(t: Client) -> None:
    txn = first_phase(t, b"1\ta\n", label="a")
    fault(t.emulator, "kind=precommit_timeout")
    assert operate(t.emulator, t.database, txn_operation="commit", txn_id=txn)["msg"].endswith(
        f"transaction [{txn}] is already aborted. abort reason: timeout by txn manager"
    )
    assert load(t, b"1\ta\n", label="a")["Status"] == "Success"


def test_dropped_and_altered_tables(t: Client) -> None:
    dropped = first_phase(t, b"1\ta\n")
    t.run("DROP TABLE t")
    assert operate(t.emulator, t.database, txn_operation="commit", txn_id=dropped)["status"] == "Success"
    t.table("id BIGINT NOT NULL, name VARCHAR(5)")
    altered = first_phase(t, b"1\ta\n")
    t.run("ALTER TABLE t ADD COLUMN extra INT DEFAULT '7'")
    assert operate(t.emulator, t.database, txn_operation="commit", txn_id=altered)["status"] == "Success"
    assert t.rows("SELECT * FROM t") == [(1, "a", 7)]
    altered = first_phase(t, b"2\ta\t5\n")
    t.run("ALTER TABLE t RENAME COLUMN extra other")
    answer = operate(t.emulator, t.database, txn_operation="commit", txn_id=altered)
    assert (answer["status"], "not emulated" in answer["msg"]) == ("INTERNAL_ERROR", True)
    assert operate(t.emulator, t.database, txn_operation="abort", txn_id=altered)["status"] == "Success"


def test_a_schema_change_waits_for_the_second_phase() -> None:
    with DorisEmulator(password=PASSWORD, alter_seconds=0.2) as emulator, fresh_database(emulator) as client:
        client.table("id BIGINT NOT NULL, n INT")
        txn = first_phase(client, b"1\t1\n")
        client.run("ALTER TABLE t MODIFY COLUMN n BIGINT")
        time.sleep(0.5)
        states = client.run("SHOW ALTER TABLE COLUMN").fetchall()
        assert [state for row in states for state in row if state == "WAITING_TXN"] == ["WAITING_TXN"]
        operate(emulator, client.database, txn_operation="commit", txn_id=txn)
        for _ in range(100):
            if "FINISHED" in client.run("SHOW ALTER TABLE COLUMN").fetchall()[0]:
                break
            time.sleep(0.05)
        assert client.rows("SELECT * FROM t") == [(1, 1)]
        assert client.rows("DESC t")[1][1] == "bigint"


def test_the_first_phase_outlives_a_restart(tmp_path: Path) -> None:
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path) as emulator:
        connection = connect(emulator)
        cursor = connection.cursor()
        cursor.execute("CREATE DATABASE d")
        cursor.execute("USE d")
        client = Client(emulator, connection, "d")
        client.table(
            "id BIGINT NOT NULL, name VARCHAR(5)", properties=", 'group_commit_interval_ms' = '60000'"
        )
        txn = first_phase(client, b"1\ta\n", label="a")
        aborted = first_phase(client, b"2\tb\n", label="b")
        operate(emulator, "d", txn_operation="abort", txn_id=aborted)
        assert load(client, b"3\tc\n", group_commit="async_mode")["Status"] == "Success"
        assert client.rows("SELECT * FROM t") == []
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path) as emulator:
        client = Client(emulator, connect(emulator, "d"), "d")
        assert client.rows("SELECT * FROM t") == [(3, "c")], "what the group's log held is loaded"
        assert load(client, b"9\tx\n", label="a")["ExistingJobStatus"] == "PRECOMMITTED"
        assert operate(emulator, "d", txn_operation="commit", txn_id=txn)["status"] == "Success"
        assert "User Abort" in operate(emulator, "d", txn_operation="commit", txn_id=aborted)["msg"]
        assert client.rows("SELECT * FROM t ORDER BY id") == [(1, "a"), (3, "c")]


# -- group commit


GROUP = [
    "TxnId",
    "Label",
    "Comment",
    "GroupCommit",
    "Status",
    "Message",
    "NumberTotalRows",
    "NumberLoadedRows",
    "NumberFilteredRows",
    "NumberUnselectedRows",
    "LoadBytes",
    "LoadTimeMs",
    "StreamLoadPutTimeMs",
    "ReadDataTimeMs",
    "WriteDataTimeMs",
    "ReceiveDataTimeMs",
]


def grouped(doris: Client, interval_ms: int) -> Client:
    doris.table(
        "id BIGINT NOT NULL, name VARCHAR(5)", properties=f", 'group_commit_interval_ms' = '{interval_ms}'"
    )
    return doris


def test_sync_mode_is_visible_when_it_answers(doris: Client) -> None:
    grouped(doris, 60_000)
    answer = load(doris, b"1\ta\n", group_commit="sync_mode")
    assert list(answer) == GROUP
    assert answer["GroupCommit"] is True
    assert answer["Label"].startswith("group_commit_")
    assert doris.rows("SELECT * FROM t") == [(1, "a")]


def test_async_mode_is_visible_later_and_together(doris: Client) -> None:
    grouped(doris, 700)
    first = load(doris, b"1\ta\n", group_commit="async_mode")
    second = load(doris, b"2\tb\n", group_commit="async_mode")
    assert (first["Label"], first["TxnId"]) == (second["Label"], second["TxnId"])
    assert doris.rows("SELECT * FROM t") == []
    for _ in range(100):
        if doris.rows("SELECT * FROM t"):
            break
        time.sleep(0.05)
    assert doris.rows("SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "b")]
    third = load(doris, b"3\tc\n", group_commit="async_mode")
    assert third["Label"] != first["Label"]


def test_a_label_and_group_commit_exclude_each_other(t: Client) -> None:
    answer = load(t, b"1\ta\n", group_commit="async_mode", label="a")
    assert (answer["Status"], answer["Message"]) == (
        "Fail",
        "[INVALID_ARGUMENT]label and group_commit can't be set at the same time",
    )
    refused = load(t, b"1\ta\n", group_commit="on")
    assert refused == {
        "status": "FAILED",
        "msg": "Header `group_commit` can only be `sync_mode`, `async_mode` or `off_mode`.",
    }


def test_a_chunked_group_commit_forgets_its_label(t: Client) -> None:
    answer = load(t, b"1\ta\n", chunked=True, group_commit="sync_mode", label="a")
    assert answer["GroupCommit"] is True
    assert answer["Label"] != "a"


@pytest.mark.parametrize(
    "headers",
    [
        {"group_commit": "off_mode"},
        {"group_commit": "async_mode", "two_phase_commit": "true"},
        {"group_commit": "async_mode", "partial_columns": "true", "columns": "id,name"},
        {"group_commit": "async_mode", "partitions": "t"},
    ],
)
def test_loads_that_no_group_takes_keep_their_label(t: Client, headers: dict[str, str]) -> None:
    answer = load(t, b"1\ta\n", label="a", **headers)
    assert (answer["Status"], answer["Label"], "GroupCommit" in answer) == ("Success", "a", False)


def test_bad_rows_in_a_group(t: Client) -> None:
    answer = load(t, b"1\ttoo long\n", group_commit="sync_mode")
    assert loaded(answer) == ("Fail", 0, 1, 0)
    assert answer["Message"] == "[DATA_QUALITY_ERROR]too many filtered rows"


def test_a_publish_timeout_is_visible_later(t: Client) -> None:
    fault(t.emulator, "kind=publish_timeout&label=p&seconds=0.5")
    assert load(t, b"1\ta\n", label="p")["Status"] == "Publish Timeout"
    assert t.rows("SELECT * FROM t") == []
    assert load(t, b"1\ta\n", label="p")["ExistingJobStatus"] == "FINISHED"
    for _ in range(100):
        if t.rows("SELECT * FROM t"):
            break
        time.sleep(0.05)
    assert t.rows("SELECT * FROM t") == [(1, "a")]


def test_a_table_that_asks_for_group_commit_itself(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL", properties=", 'group_commit_mode' = 'async_mode'")
    assert "group_commit_mode" in load(doris, b"1\n")["Message"], "not emulated, so refused"
    assert loaded(load(doris, b"1\n", group_commit="off_mode", label="a")) == ("Success", 1, 0, 0)
    assert load(doris, b"1\n", group_commit="off_mode", label="a")["ExistingJobStatus"] == "FINISHED"


def test_a_group_that_cannot_be_loaded_does_not_keep_the_emulator_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path) as emulator:
        client = Client(emulator, connect(emulator), "d")
        client.run("CREATE DATABASE d")
        client.run("USE d")
        grouped(client, 60_000)
        load(client, b"1\ta\n", group_commit="async_mode")
        client.run("ALTER TABLE t RENAME COLUMN name other")
    with DorisEmulator(password=PASSWORD, data_dir=tmp_path) as emulator:
        assert "cannot become visible" in caplog.text
        assert Client(emulator, connect(emulator, "d"), "d").rows("SELECT * FROM t") == []
