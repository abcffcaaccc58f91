"""The faults of loads, and the client of dbint.flow against them."""

import threading
import time
from collections.abc import Iterator

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from dbint.errors import UnreachableError
from dbint.flow import LoadError, LoadOutcomeUnknownError, StreamLoadClient, json_lines
from tests.unit.emulators.conftest import PASSWORD, Client
from tests.unit.emulators.test_stream_load import fault

ROWS = json_lines([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])


@pytest.fixture
def t(doris: Client) -> Iterator[Client]:
    doris.table("id BIGINT NOT NULL, name VARCHAR(5)")
    yield doris
    fault(doris.emulator, "", "DELETE")


@pytest.fixture
def client(emulator: DorisEmulator) -> Iterator[StreamLoadClient]:
    urls = [f"http://127.0.0.1:{emulator.http_port}"]
    with StreamLoadClient(urls, credentials=("root", PASSWORD), deadline=10) as made:
        yield made


def test_lost_reply(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=drop_reply")
    result = client.load(t.database, "t", ROWS, label="l")
    assert (result.already, result.attempts) == (True, 2)
    assert t.value("SELECT COUNT(*) FROM t") == 2


def test_down_twice(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=down&times=2")
    assert client.load(t.database, "t", ROWS, label="l").attempts == 3
    fault(t.emulator, "kind=down&on=frontend")
    assert client.load(t.database, "t", ROWS, label="m").attempts == 2


def test_redirect_to_an_unreachable_address(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=redirect&to=127.0.0.1:9")
    assert client.load(t.database, "t", ROWS, label="l").attempts == 2, "the next backend is asked at once"
    fault(t.emulator, "kind=redirect&to=127.0.0.1:9&times=0")
    with pytest.raises(UnreachableError, match=r"redirects to the backend 127\.0\.0\.1:9.*address_map"):
        client.load(t.database, "t", ROWS, label="m", deadline=2.0)


def test_no_backend(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=no_backend")
    assert client.load(t.database, "t", ROWS, label="l").attempts == 2


def test_too_many_versions(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=too_many_versions")
    started = time.monotonic()
    assert client.load(t.database, "t", ROWS, label="l").attempts == 2
    assert time.monotonic() - started >= 0.5, "a compaction takes seconds: no hammering"
    fault(t.emulator, "kind=too_many_versions&on=statement&times=2")
    for _ in range(2):
        with pytest.raises(pymysql.MySQLError, match="-235"):
            t.run("INSERT INTO t VALUES (3, 'c')")
    t.run("INSERT INTO t VALUES (3, 'c')")
    assert t.value("SELECT COUNT(*) FROM t") == 3


def test_slow_until_the_deadline(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=slow&seconds=1")
    with pytest.raises(LoadOutcomeUnknownError, match="same label"):
        client.load(t.database, "t", ROWS, label="l", deadline=0.4)
    assert client.load(t.database, "t", ROWS, label="l").already
    assert t.value("SELECT COUNT(*) FROM t") == 2


def test_a_load_longer_than_its_timeout_is_aborted(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=slow&seconds=1.1")
    with pytest.raises(LoadError, match=r"already aborted\. abort reason: timeout by txn manager"):
        client.load(t.database, "t", ROWS, label="l", timeout=1)
    assert client.load(t.database, "t", ROWS, label="l", timeout=1).rows_loaded == 2, "the label is free"


def test_faults_of_another_label_wait(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=fail&label=other")
    assert client.load(t.database, "t", ROWS, label="l").attempts == 1
    with pytest.raises(LoadError, match="injected"):
        client.load(t.database, "t", ROWS, label="other")


# -- group commit


def test_load_in_group(t: Client, client: StreamLoadClient) -> None:
    result = client.load_in_group(t.database, "t", ROWS, mode="sync_mode")
    assert result.label.startswith("group_commit_")
    assert result.visible
    assert t.value("SELECT COUNT(*) FROM t") == 2
    assert not client.load_in_group(t.database, "t", ROWS, mode="async_mode").visible


def test_a_group_commit_whose_answer_is_lost_is_not_repeated(t: Client, client: StreamLoadClient) -> None:
    fault(t.emulator, "kind=drop_reply")
    with pytest.raises(LoadOutcomeUnknownError, match="could load them twice"):
        client.load_in_group(t.database, "t", ROWS, mode="sync_mode")
    fault(t.emulator, "kind=down")
    assert client.load_in_group(t.database, "t", ROWS, mode="sync_mode").attempts == 2, "nothing was sent"


def test_many_threads_through_faults(t: Client, client: StreamLoadClient) -> None:
    """Every row once, whatever went wrong on the way."""
    for query in ("kind=drop_reply&times=3", "kind=down&times=3", "kind=fail&times=0&label=never"):
        fault(t.emulator, query)

    def work(name: int) -> None:
        for n in range(5):
            client.load(t.database, "t", json_lines([{"id": name * 10 + n}]), label=f"l-{name}-{n}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert t.value("SELECT COUNT(*) FROM t") == 20
