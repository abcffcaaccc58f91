"""Stream Load on raw sockets and with libcurl, against the emulator's two HTTP ports.

Source: docs/data-operate/import/import-way/stream-load-manual.md of apache/doris-website, and the frontend's
LoadAction and the backend's stream_load.cpp of apache/doris.
"""

import base64
import gzip
import io
import json
import socket
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import pycurl
import pytest

from dbint.emulators.doris import DorisEmulator
from tests.unit.emulators.conftest import PASSWORD, Client

ANSWER = [
    "TxnId",
    "Label",
    "Comment",
    "TwoPhaseCommit",
    "Status",
    "Message",
    "NumberTotalRows",
    "NumberLoadedRows",
    "NumberFilteredRows",
    "NumberUnselectedRows",
    "LoadBytes",
    "LoadTimeMs",
    "BeginTxnTimeMs",
    "StreamLoadPutTimeMs",
    "ReadDataTimeMs",
    "WriteDataTimeMs",
    "ReceiveDataTimeMs",
    "CommitAndPublishTimeMs",
]
FILTERED = [*ANSWER, "ErrorURL", "FirstErrorMsg"]
AUTHORIZATION = "Basic " + base64.b64encode(f"root:{PASSWORD}".encode()).decode()


def load(
    doris: Client, body: bytes, *, table: str = "t", chunked: bool = False, **headers: str
) -> dict[str, Any]:
    """One load by libcurl, through the frontend."""
    curl = pycurl.Curl()
    received = io.BytesIO()
    lines = ["Expect: 100-continue"] + [f"{k}: {v}" for k, v in headers.items()]
    curl.setopt(
        pycurl.URL, f"http://127.0.0.1:{doris.emulator.http_port}/api/{doris.database}/{table}/_stream_load"
    )
    curl.setopt(pycurl.USERPWD, f"root:{PASSWORD}")
    curl.setopt(pycurl.UPLOAD, 1)
    curl.setopt(pycurl.READDATA, io.BytesIO(body))
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    else:
        curl.setopt(pycurl.INFILESIZE_LARGE, len(body))
    curl.setopt(pycurl.SEEKFUNCTION, lambda _offset, _origin: pycurl.SEEKFUNC_CANTSEEK)
    curl.setopt(pycurl.HTTPHEADER, lines)
    curl.setopt(pycurl.FOLLOWLOCATION, 1)
    curl.setopt(pycurl.UNRESTRICTED_AUTH, 1)
    curl.setopt(pycurl.WRITEDATA, received)
    curl.setopt(pycurl.TIMEOUT, 60)
    curl.perform()
    assert curl.getinfo(pycurl.RESPONSE_CODE) == 200
    curl.close()
    answer: dict[str, Any] = json.loads(received.getvalue())
    return answer


def talk(port: int, head: str, body: bytes = b"") -> bytes:
    """Send a head, then the body if 100 Continue comes; give all that was received."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        received = connection.recv(65536)
        if received.startswith(b"HTTP/1.1 100"):
            connection.sendall(body)
            received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def loaded(answer: dict[str, Any]) -> tuple[Any, ...]:
    """Status, and the numbers of loaded, filtered and unselected rows."""
    return (answer["Status"], *(answer[f"Number{n}Rows"] for n in ("Loaded", "Filtered", "Unselected")))


@pytest.fixture
def events(doris: Client) -> Client:
    doris.table("id BIGINT NOT NULL, name VARCHAR(5), n INT, at DATETIME(6)")
    return doris


# -- the frontend


def test_frontend_redirects_with_the_credentials(events: Client) -> None:
    path = f"/api/{events.database}/t/_stream_load"
    answer = talk(
        events.emulator.http_port,
        f"PUT {path} HTTP/1.1\nHost: x\nAuthorization: {AUTHORIZATION}\nExpect:"
        " 100-continue\nContent-Length: 5",
    ).decode()
    assert answer.startswith("HTTP/1.1 307 ")
    assert (
        "\r\nLocation:"
        f" http://root:{quote(PASSWORD, safe='')}@127.0.0.1:{events.emulator.be_http_port}{path}\r\n"
        in answer
    )


def test_frontend_wants_expect(events: Client) -> None:
    head = (
        f"PUT /api/{events.database}/t/_stream_load HTTP/1.1\nHost: x\nAuthorization:"
        f" {AUTHORIZATION}\nContent-Length: 0"
    )
    status, _, body = talk(events.emulator.http_port, head).decode().partition("\r\n\r\n")
    assert status.startswith("HTTP/1.1 200 ")
    assert json.loads(body) == {"status": "FAILED", "msg": "There is no 100-continue header"}


@pytest.mark.parametrize(
    "authorization", ["", "Authorization: Basic cm9vdDp3cm9uZw==\n", "Authorization: Bearer x\n"]
)
def test_logins(events: Client, authorization: str) -> None:
    head = (
        f"PUT /api/{events.database}/t/_stream_load HTTP/1.1\nHost: x\n{authorization}Expect:"
        " 100-continue\nContent-Length: 1"
    )
    assert talk(events.emulator.http_port, head).startswith(b"HTTP/1.1 401 ")
    answer = json.loads(talk(events.emulator.be_http_port, head).partition(b"\r\n\r\n")[2])
    assert answer["Status"] == "Fail"
    assert answer["Message"] == "[NOT_AUTHORIZED]no valid Basic authorization"


def test_frontend_does_not_read_a_body_that_does_not_wait(events: Client) -> None:
    head = (
        f"PUT /api/{events.database}/t/_stream_load HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTHORIZATION}\r\n"
    )
    head += f"Expect: 100-continue\r\nContent-Length: {64 << 20}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", events.emulator.http_port), timeout=10) as connection:
        connection.sendall(head.encode())
        with pytest.raises(ConnectionError):
            connection.sendall(b"x" * (64 << 20))


def test_health(emulator: DorisEmulator) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{emulator.http_port}/api/health") as answer:
        assert json.load(answer)["data"] == {"online_backend_num": 1, "total_backend_num": 1}
    with urllib.request.urlopen(f"http://127.0.0.1:{emulator.be_http_port}/api/health") as answer:
        assert json.load(answer)["status"] == "OK"


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"PUT / HTTP/9\r\n\r\n", b"\r\n\r\n"]
)
def test_garbage_does_not_hurt(emulator: DorisEmulator, garbage: bytes) -> None:
    for port in (emulator.http_port, emulator.be_http_port, emulator.query_port):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(garbage)
    test_health(emulator)


# -- the backend


def test_answer(events: Client) -> None:
    body = b'{"id": 1, "name": "a"}\n{"id": 2, "n": 5}\n'
    answer = load(events, body, label="first", format="json", read_json_by_line="true")
    assert list(answer) == ANSWER
    assert loaded(answer) == ("Success", 2, 0, 0)
    assert (answer["Label"], answer["Message"], answer["LoadBytes"]) == ("first", "OK", len(body))
    assert events.rows("SELECT id, name, n FROM t ORDER BY id") == [(1, "a", None), (2, None, 5)]


def test_raw_socket_with_chunks(events: Client) -> None:
    head = (
        f"PUT /api/{events.database}/t/_stream_load HTTP/1.1\nHost: x\nAuthorization:"
        f" {AUTHORIZATION}\nformat: csv\ncolumns: id,name\nExpect: 100-continue\nTransfer-Encoding: chunked"
    )
    answer = talk(
        events.emulator.be_http_port,
        head,
        b"4\r\n1\ta\n\r\n6;ext=1\r\n2\t\xc3\xa9\n7\r\n4\r\n\t\\N\n\r\n0\r\n\r\n",
    )
    assert loaded(json.loads(answer.partition(b"\r\n\r\n")[2])) == ("Success", 3, 0, 0)
    assert events.rows("SELECT id, name FROM t ORDER BY id") == [(1, "a"), (2, "é"), (7, None)]


@pytest.mark.parametrize("chunked", [False, True])
def test_libcurl_with_a_large_body(doris: Client, *, chunked: bool) -> None:
    doris.table("id BIGINT NOT NULL, text VARCHAR(1000), n INT")
    rows = 10_000
    body = b"".join(b"%d\t%0999d\t%d\n" % (n, n, n) for n in range(rows))
    assert len(body) > 8 << 20  # more than is kept in memory
    assert loaded(load(doris, body, chunked=chunked)) == ("Success", rows, 0, 0)
    sums = doris.rows("SELECT COUNT(*), SUM(n), SUM(LENGTH(text)) FROM t")
    assert sums == [(rows, rows * (rows - 1) // 2, rows * 999)]


def test_labels(events: Client) -> None:
    first = load(events, b"1\ta\n", label="l-1", columns="id,name")
    again = load(events, b"2\tb\n", label="l-1", columns="id,name")
    assert again["Status"] == "Label Already Exists"
    assert again["ExistingJobStatus"] == "FINISHED"
    assert again["Message"].endswith(f"Label [l-1] has already been used, relate to txn [{first['TxnId']}]")
    assert list(again)[:6] == [*ANSWER[:5], "ExistingJobStatus"]
    assert load(events, b"x\tb\n", label="l-2", columns="id,name")["Status"] == "Fail"
    assert (
        load(events, b"3\tb\n", label="l-2", columns="id,name")["Status"] == "Success"
    )  # free after the failure
    assert load(events, b"4\tb\n", label="no spaces", columns="id,name")["Message"].endswith(
        "label: no spaces"
    )
    assert events.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


def test_a_label_is_taken_while_its_load_runs(events: Client) -> None:
    head = (
        f"PUT /api/{events.database}/t/_stream_load HTTP/1.1\r\nHost: x\r\nAuthorization:"
        f" {AUTHORIZATION}\r\nlabel: slow\r\ncolumns: id,name\r\nExpect: 100-continue\r\nContent-Length:"
        " 4\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", events.emulator.be_http_port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        answer = load(events, b"2\tb\n", label="slow", columns="id,name")
        assert (answer["Status"], answer["ExistingJobStatus"]) == ("Label Already Exists", "RUNNING")
        connection.sendall(b"1\ta\n")
        assert b'"Success"' in connection.recv(65536)
    # a client that leaves before its body is complete frees its label
    with socket.create_connection(("127.0.0.1", events.emulator.be_http_port), timeout=10) as connection:
        connection.sendall(head.replace("slow", "gone").encode())
        connection.recv(100)
        connection.sendall(b"9\t")
    for _ in range(50):
        answer = load(events, b"2\tb\n", label="gone", columns="id,name")
        if answer["Status"] != "Label Already Exists":
            break
    assert answer["Status"] == "Success"
    assert events.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_ten_loads_side_by_side_with_one_label(events: Client) -> None:
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(load(events, b"1\ta\n", label="x", columns="id,name")))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [a["Status"] for a in answers]
    assert statuses.count("Success") == 1
    assert statuses.count("Label Already Exists") == 9


# -- what is wrong with rows


def test_filtered_rows(events: Client) -> None:
    body = b"1\tok\n2\ttoo long\nx\tbad\n4\n"
    answer = load(events, body, columns="id,name", strict_mode="true")
    assert loaded(answer) == ("Fail", 0, 3, 0)
    assert answer["Message"] == "[DATA_QUALITY_ERROR]too many filtered rows"
    with urllib.request.urlopen(answer["ErrorURL"]) as log:
        lines = log.read().decode().splitlines()
    assert (
        lines[0]
        == "Reason: Column count mismatch: expected 2, but found 1 (sep:\\t delim:\\n). src line [4]; "
    )
    assert "column_name: name; schema length: 5; actual length: 8. src line [2\ttoo long]" in lines[1]
    assert "column=id, type=bigint, value=x" in lines[2]
    answer = load(events, body, columns="id,name", strict_mode="true", max_filter_ratio="0.75")
    assert loaded(answer) == ("Success", 1, 3, 0)
    assert "ErrorURL" in answer
    assert events.rows("SELECT id FROM t") == [(1,)]


def test_strict_mode(events: Client) -> None:
    assert loaded(load(events, b"1\tnot a number\n", columns="id,n")) == ("Success", 1, 0, 0)
    assert events.rows("SELECT id, n FROM t") == [(1, None)]
    assert loaded(load(events, b"2\tnot a number\n", columns="id,n", strict_mode="true")) == ("Fail", 0, 1, 0)


def test_an_unknown_error_log(emulator: DorisEmulator) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(
            f"http://127.0.0.1:{emulator.be_http_port}/api/_load_error_log?file=../../etc/passwd"
        )


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"format": "xml"}, "unknown data format, format=xml"),
        ({"merge_type": "MERGE"}, "Excepted DELETE ON clause when merge type is MERGE."),
        ({"max_filter_ratio": "2"}, "max_filter_ratio must be in [0, 1]: 2"),
        ({"columns": "id, name, n = nope(id)"}, "Can not found function 'nope'"),
        ({"columns": "name"}, "Column has no default value, column=id"),
        ({"columns": "id", "compress_type": "gz"}, "the body cannot be read"),
        ({"compress_type": "lzo"}, "compress_type lzo is not emulated"),
        ({"compress_type": "zip"}, "[E-1101]unknown data format, format="),
        ({"strict_mode": "yes"}, "[INVALID_ARGUMENT]Invalid strict mode format. Must be bool type"),
        ({"enclose": "ab"}, "[INVALID_ARGUMENT]enclose must be single-char, actually is ab"),
        ({"timeout": "0"}, "Invalid timeout. Timeout should between 1 and 259200 seconds"),
        ({"skip_lines": "-1"}, "[INVALID_ARGUMENT]Invalid 'skip_lines': -1"),
        ({"partitions": "p9"}, "Unknown partition 'p9' in table 't'"),
        ({"load_to_single_tablet": "true"}, "the olap table must be with random distribution"),
        ({"unique_key_update_mode": "SOME"}, "[INVALID_ARGUMENT]Invalid unique_key_partial_mode SOME"),
        ({"partial_update_new_key_behavior": "x"}, "must be one of {'APPEND', 'ERROR'}"),
        ({"partial_columns": "true"}, "Partial update should include all key columns, missing: id"),
        ({"function_column.sequence_col": "n"}, "There is no sequence column in the table t"),
        ({"merge_type": "DELETE", "delete": "id > 1"}, "Not support DELETE ON clause"),
        ({"merge_type": "UPSERT"}, "[INVALID_ARGUMENT]Invalid merge type UPSERT"),
    ],
)
def test_refused_loads(events: Client, headers: dict[str, str], message: str) -> None:
    answer = load(events, b"1\n", **headers)
    assert answer["Status"] == "Fail"
    assert message in answer["Message"]
    assert list(answer) == ANSWER


def test_missing_table(events: Client) -> None:
    assert load(events, b"", table="nope")["Message"].endswith("unknown table, tableName=nope")


# -- formats


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"1,a,5\n2,\\N,6\n", {"column_separator": ",", "columns": "id,name,n"}),
        (b"1\x01a\x015\n2\x01\\N\x016", {"column_separator": "\\x01", "columns": "id,name,n"}),
        (b"1||a||5;;2||\\N||6;;", {"column_separator": "||", "line_delimiter": ";;", "columns": "id,name,n"}),
        (b"1\ta\t5\r\n2\t\\N\t6\r\n", {"columns": "id,name,n"}),
        (b"id\tname\tn\n1\ta\t5\n2\t\\N\t6\n", {"format": "csv_with_names", "columns": "id,name,n"}),
        (
            b"id\tname\tn\nBIGINT\tVARCHAR\tINT\n1\ta\t5\n2\t\\N\t6\n",
            {"format": "csv_with_names_and_types", "columns": "id,name,n"},
        ),
        (b"# comment\n1\ta\t5\n2\t\\N\t6\n", {"skip_lines": "1", "columns": "id,name,n"}),
        (b'1,"a",5\n2,\\N,6\n', {"column_separator": ",", "enclose": '"', "columns": "id,name,n"}),
        (
            b'"1","a","5"\n2,\\N,6\n',
            {"column_separator": ",", "trim_double_quotes": "true", "columns": "id,name,n"},
        ),
        (gzip.compress(b"1\ta\t5\n2\t\\N\t6\n", mtime=0), {"compress_type": "gz", "columns": "id,name,n"}),
        (b"5\ta\tx\t1\n6\t\\N\tx\t2\n", {"columns": "n,name,unused,id"}),
        (b"1\ta\t4\n2\t\\N\t5\n", {"columns": "id,name,tmp,n=tmp+1"}),
        (b"1\ta\t5\n2\t\\N\t6\n3\tc\t7\n", {"columns": "id,name,n", "where": "id < 3"}),
        (
            b'[{"id": 1, "name": "a", "n": 5}, {"id": 2, "name": null, "n": "6"}]',
            {"format": "json", "strip_outer_array": "true"},
        ),
        (
            b'{"id": 1, "name": "a", "n": 5}\n\n{"n": 6, "id": 2}\n',
            {"format": "json", "read_json_by_line": "true"},
        ),
        (
            b'{"x": {"id": 1, "l": ["z", "a"]}, "n": 5}\n{"x": {"id": 2}, "n": 6}\n',
            {
                "format": "json",
                "read_json_by_line": "true",
                "jsonpaths": '["$.x.id", "$.x.l[1]", "$.n"]',
                "columns": "id,name,n",
            },
        ),
        (
            b'{"data": [{"id": 1, "name": "a", "n": 5}, {"id": 2, "n": 6}]}',
            {"format": "json", "strip_outer_array": "true", "json_root": "$.data"},
        ),
    ],
)
def test_formats(events: Client, body: bytes, headers: dict[str, str]) -> None:
    answer = load(events, body, **headers)
    assert answer["Message"] == "OK"
    assert answer["NumberLoadedRows"] == 2
    assert events.rows("SELECT id, name, n FROM t ORDER BY id") == [(1, "a", 5), (2, None, 6)]


def test_enclosed_fields_may_hold_separators(events: Client) -> None:
    body = b'1,"a,\nb",5\n2,"q""q",6\n3,"e\\"e",7\n'
    answer = load(events, body, column_separator=",", enclose='"', escape="\\", columns="id,name,n")
    assert answer["Message"] == "OK"
    assert events.rows("SELECT name FROM t ORDER BY id") == [("a,\nb",), ('q"q',), ('e"e',)]


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b'[{"id": 1}]', {}, "JSON data is array-object, `strip_outer_array` must be TRUE."),
        (
            b'{"id": 1}',
            {"strip_outer_array": "true"},
            "JSON data is not an array-object, `strip_outer_array` must be FALSE.",
        ),
        (b'{"id": 1', {"strip_outer_array": "true"}, "Parse json data for JsonDoc failed"),
        (b'{"id": 1}\n{oops\n', {"read_json_by_line": "true"}, "Parse json data for JsonDoc failed"),
        (b'{"id": 1}', {"jsonpaths": "[1]"}, "Invalid json path: [1]"),
        (b'{"id": "\xff"}', {"read_json_by_line": "true"}, "not valid UTF-8"),
        (b'{"id": NaN}', {}, "NaN is no JSON"),
        (b'{"id": 1,}', {}, "Parse json data for JsonDoc failed"),
        (b'{"id": 1} 5', {}, "something follows the document"),
        (b'{"id": 1, "name": "\\ud800"}', {}, "Parse json data for JsonDoc failed"),
        (b"5", {}, "Not an json object or json array"),
        (b"  \n", {}, "Parse json data for JsonDoc failed"),
        (
            b'{"ID": 1}',
            {},
            "There is no column matching jsonpaths in the json file, columns:[id, name, n, at, ]",
        ),
        (b"[]", {"strip_outer_array": "true"}, "Empty json line"),
        (b'[{"id": 1}, 5]', {"strip_outer_array": "true"}, "not an object"),
        (b'{"a": 1}', {"json_root": "$.data"}, "JSON Root not found"),
    ],
)
def test_json_that_is_wrong(events: Client, body: bytes, headers: dict[str, str], message: str) -> None:
    answer = load(events, body, format="json", **headers)
    assert answer["Status"] == "Fail"
    if "FirstErrorMsg" in answer:
        assert answer["Message"] == "[DATA_QUALITY_ERROR]too many filtered rows"
        assert list(answer) == FILTERED
    assert message in answer["Message"] + answer.get("FirstErrorMsg", "")
    assert events.value("SELECT COUNT(*) FROM t") == 0


def test_time_zone_of_offsets(events: Client) -> None:
    """The manual's default is +8; timestamps without an offset are taken as they are."""
    body = b"1\t2024-01-01T00:00:00Z\n2\t2024-01-01 00:00:00\n3\t2024-01-01 00:00:00+02:00\n"
    load(events, body, columns="id,at")
    load(events, body.replace(b"1\t", b"4\t"), columns="id,at", timezone="UTC", where="id = 4")
    assert events.rows("SELECT id, DATE_FORMAT(at, '%Y-%m-%d %H') FROM t ORDER BY id") == [
        (1, "2024-01-01 08"),
        (2, "2024-01-01 00"),
        (3, "2024-01-01 06"),
        (4, "2024-01-01 00"),
    ]


def test_merge_types(events: Client) -> None:
    load(events, b"1\ta\n2\tb\n3\tc\n", columns="id,name")
    assert loaded(load(events, b"1\tx\n", columns="id,name", merge_type="DELETE")) == ("Success", 1, 0, 0)
    answer = load(
        events, b"2\tx\t1\n3\ty\t0\n", columns="id,name,gone", merge_type="MERGE", delete="gone = 1"
    )
    assert loaded(answer) == ("Success", 2, 0, 0)
    assert events.rows("SELECT id, name FROM t") == [(3, "y")]


def test_partial_columns(events: Client) -> None:
    load(events, b"1\ta\t5\n", columns="id,name,n")
    load(events, b"1\t6\n2\t7\n", columns="id,n", partial_columns="true")
    assert events.rows("SELECT id, name, n FROM t ORDER BY id") == [(1, "a", 6), (2, None, 7)]


def test_sequence_column(doris: Client) -> None:
    doris.table("id BIGINT NOT NULL, v INT, s BIGINT", properties=", 'function_column.sequence_col' = 's'")
    load(doris, b"1\t1\t9\n1\t2\t8\n", columns="id,v,s")
    load(doris, b"1\t3\t7\n", columns="id,v,s", **{"function_column.sequence_col": "s"})
    assert doris.rows("SELECT * FROM t") == [(1, 1, 9)]


# -- faults


def fault(emulator: DorisEmulator, query: str, method: str = "POST") -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{emulator.be_http_port}/_emulator/faults?{query}",
        method=method,
        headers={"Authorization": AUTHORIZATION},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["faults"]


def test_faults(events: Client) -> None:
    fault(events.emulator, "kind=publish_timeout&label=p")
    answer = load(events, b"1\ta\n", label="p", columns="id,name")
    assert answer["Status"] == "Publish Timeout"
    assert load(events, b"1\ta\n", label="p", columns="id,name")["ExistingJobStatus"] == "FINISHED"
    fault(events.emulator, "kind=drop_reply&label=d")
    with pytest.raises(pycurl.error):
        load(events, b"2\tb\n", label="d", columns="id,name")
    assert load(events, b"2\tb\n", label="d", columns="id,name")["Status"] == "Label Already Exists"
    fault(events.emulator, "kind=fail")
    assert load(events, b"3\tc\n", label="f", columns="id,name")["Status"] == "Fail"
    assert load(events, b"3\tc\n", label="f", columns="id,name")["Status"] == "Success"
    fault(events.emulator, "kind=slow&seconds=0.3")
    assert load(events, b"4\td\n", columns="id,name")["LoadTimeMs"] >= 300
    with pytest.raises(urllib.error.HTTPError, match="400"):
        fault(events.emulator, "kind=nonsense")
    assert fault(events.emulator, "", "DELETE") == []
    assert events.value("SELECT COUNT(*) FROM t") == 4


def test_faults_are_closed_unless_asked_for() -> None:
    with DorisEmulator() as plain, pytest.raises(urllib.error.HTTPError, match="404"):
        fault(plain, "kind=fail")
