"""The sink where Doris, the way to it or the sink itself fails: nothing is lost, nothing lands twice, and the
flow says what it waits for.
"""

import base64
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dbint.emulators.doris import DorisEmulator
from dbint.flow.ranges import Note, Range
from dbint.flow.status import flow_status
from tests.integration.sink_messages import Flow, a_flow, wait_for, widened
from tests.integration.sink_process import sink_process

BESIDE = 100 << 20  # what a sink takes beside its messages: docs/flow.md, "The sink"


@pytest.fixture(scope="module")
def emulator() -> Iterator[DorisEmulator]:
    with DorisEmulator(password="pw", faults=True) as emulator:
        yield emulator


@pytest.fixture
def doris(emulator: DorisEmulator) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(
        host=emulator.host,
        ports={"query": emulator.query_port, "http": emulator.http_port, "be_http": emulator.be_http_port},
        credentials={"username": "root", "password": "pw"},
    )
    fault(emulator, None)


@pytest.fixture
def flow(kafka, doris) -> Iterator[Flow]:
    with a_flow(kafka, doris) as made:
        yield made


def fault(emulator: DorisEmulator, kind: str | None, **options: object) -> None:
    """Let something go wrong; None: nothing any more."""
    query = urllib.parse.urlencode({"kind": kind, **options}) if kind else ""
    request = urllib.request.Request(
        f"http://{emulator.host}:{emulator.be_http_port}/_emulator/faults?{query}",
        method="POST" if kind else "DELETE",
        headers={"Authorization": "Basic " + base64.b64encode(b"root:pw").decode()},
    )
    urllib.request.urlopen(request, timeout=10).close()


def faults(emulator: DorisEmulator) -> list[object]:
    """What is still to go wrong."""
    request = urllib.request.Request(
        f"http://{emulator.host}:{emulator.be_http_port}/_emulator/faults",
        headers={"Authorization": "Basic " + base64.b64encode(b"root:pw").decode()},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(json.load(answer)["faults"])


def test_the_range_is_committed_before_it_is_sent(flow: Flow, emulator: DorisEmulator) -> None:
    for number in range(5):
        flow.send("c", number, name="a")
    fault(emulator, "slow", seconds=3)
    with flow.running() as sink:
        flow.flush()
        wait_for(lambda: any(p.state == "loading" for p in sink.snapshot().partitions))
        [(offset, text)] = flow.committed()
        note = Note.parse(text)
        assert offset == 0
        assert note.end is not None
        assert 1 <= note.end <= 5
        assert note.at > 0
        assert flow.rows("id") == ()
        flow.drained(sink)
    assert len(flow.rows("id")) == 5


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("publish_timeout", {"seconds": 1}, ""),
        ("drop_reply", {}, ""),
        ("fail", {"times": 2}, "injected failure"),
        ("too_many_versions", {"times": 2}, ""),
        ("down", {"on": "backend", "times": 2}, ""),
        ("down", {"on": "frontend", "times": 2}, ""),
        ("redirect", {"times": 1}, ""),
        ("no_backend", {"times": 2}, ""),
    ],
)
def test_each_fault_of_a_load(
    flow: Flow, emulator: DorisEmulator, kind: str, options: dict[str, object], told: str
) -> None:
    for number in range(20):
        flow.send("c", number, name=f"n{number}", amount=1)
    for number in range(20):
        flow.send("u", number, name=f"n{number}", amount=2)
    flow.flush()
    fault(emulator, kind, **options)
    reasons: set[str] = set()

    def note_reasons() -> bool:
        seen = sink.snapshot()
        reasons.update(p.reason for p in seen.partitions)
        return seen.lag_rows == 0 and sum(p.loaded or 0 for p in seen.partitions) == 40

    with flow.running() as sink:
        wait_for(note_reasons)
    seen = sink.snapshot()
    assert flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((20, 40),)
    assert (seen.rows, seen.dead_letters, seen.trouble) == (40, 0, "")
    if told:
        assert any(told in reason for reason in reasons)
    if kind == "too_many_versions":
        assert seen.pace > 1, "fewer and larger loads from now on"


def test_what_rests_on_rows_waits_until_they_are_visible(flow: Flow, emulator: DorisEmulator) -> None:
    """A TRUNCATE would not find rows that are committed and appear a little later."""
    flow.send("c", 1, sequence=(100, 1), name="old")
    flow.send("c", 2, sequence=(300, 2), name="new")
    flow.send("t", sequence=(200, 1))
    flow.flush()
    fault(emulator, "publish_timeout", seconds=2)
    seen = flow.load()
    time.sleep(2.5)
    assert flow.rows("id, name") == ((2, "new"),)
    assert (seen.ranges, seen.truncates) == (1, 1)


def test_a_frontend_that_is_away_for_a_while(kafka, doris, emulator: DorisEmulator) -> None:
    """Why nothing lands is told at once, not when the load is given up, and also to who asks elsewhere."""
    with a_flow(kafka, doris, load_timeout=600.0) as flow:
        flow.send("c", 1, name="before")
        with flow.running() as sink:
            flow.drained(sink)
            emulator.take_down("fe1")
            try:
                flow.send("c", 2, name="meanwhile")
                flow.flush()
                where = f"Doris cannot be reached at 127.0.0.1:{emulator.http_port}: "
                wait_for(lambda: "attempt 2" in sink.snapshot().trouble)
                (partition,) = sink.snapshot().partitions
                assert partition.reason.startswith(where)
                assert "; waiting since 20" in partition.reason
                assert sink.snapshot().lag_rows in (0, 1)
                wait_for(lambda: _note(flow).trouble)
                note = _note(flow)
                assert note.trouble.startswith(where)
                assert note.end is not None
                assert 0 < note.since_ms <= note.told_ms
                assert note.attempts > 0
                [text] = [f.text for f in flow_status(flow.config).findings if f.text.startswith(where)]
                assert "partitions of the sink that wait: 1, since 20" in text
            finally:
                emulator.bring_up("fe1")
            flow.drained(sink)
            assert sink.snapshot().trouble == ""
        assert flow.rows("id") == ((1,), (2,))
        assert _note(flow).trouble == ""


def _note(flow: Flow) -> Note:
    """What the sink has committed about the first partition."""
    return Note.parse(flow.committed()[0][1])


def test_a_sink_that_is_killed_in_the_middle_of_a_load(flow: Flow, emulator: DorisEmulator) -> None:
    """Who comes back under the same name takes up at once, long before the session is over, and repeats the
    range under the same label: its rows land once.
    """
    for number in range(30):
        flow.send("c", number, name="a", amount=1)
    flow.flush()
    fault(emulator, "slow", seconds=2)
    again = {"instance": "one", "session_timeout": 200.0}
    with sink_process(**flow.place(), **again) as process:
        wait_for(lambda: not faults(emulator), told=lambda: f"the sink's exit code: {process.poll()}")
        process.kill()
    [(start, text)] = flow.committed()
    note = Note.parse(text)
    assert start == 0
    assert note.end is not None
    seen = flow.load(replace(flow.config, **again))
    assert (seen.repeated, seen.already) == (1, 1)
    assert flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((30, 30),)
    label = Range(flow.topic, 0, 0, note.end, note.at, ()).label(flow.config.name, 0)
    [transaction] = flow.sql(f"SHOW TRANSACTION FROM {flow.config.name} WHERE LABEL = '{label}'")
    assert transaction[3] == "VISIBLE"


def test_memory_is_bounded_while_doris_is_away(kafka, doris) -> None:
    """A long backlog, and a Doris that is not there: the process takes what docs/flow.md says."""
    memory, count = 12 << 20, 40_000
    with a_flow(kafka, doris, partitions=4) as flow:
        for number in range(count):
            flow.send("c", number, partition=number % 4, name="a", doc="x" * 1000)
        flow.flush()
        absent = flow.place() | {"sql": ("127.0.0.1", 1), "http": "http://127.0.0.1:1"}
        with sink_process(**absent, partitions=4, memory_bytes=memory, batch_bytes=4 << 20) as process:
            assert process.stdout is not None
            deadline = time.monotonic() + 90
            for line in process.stdout:  # some in a second
                told = json.loads(line)
                if told["memory"] >= memory and told["retries"] >= 8:
                    break
                assert time.monotonic() < deadline, line
            else:
                raise AssertionError(f"the sink ended with exit code {process.wait()}")
    assert told["memory"] <= memory + (3 << 20) * 1.2, (
        "one poll more, with what messages take beside their text"
    )
    assert told["rss"] <= memory + BESIDE
    assert told["lag_rows"] == count
    assert "Doris (emulator) cannot be reached: 127.0.0.1:1: " in told["trouble"]


def test_partitions_that_wait_do_not_take_the_others_memory(kafka, doris, monkeypatch, caplog) -> None:
    """What they hold is given back, and read again as the same ranges."""
    monkeypatch.setattr("dbint.flow.sink._LONGEST_PAUSE_S", 0.5)
    caplog.set_level("INFO", "dbint.flow.sink")
    with a_flow(kafka, doris, partitions=3, memory_bytes=1 << 20, batch_bytes=1 << 20) as flow:
        for number in range(1200):
            flow.send("c", number, partition=number % 2, name="a", doc="x" * 900, extra=number)
        mappings = [flow.mapping]
        with flow.running(refresh=lambda: mappings) as sink:
            flow.flush()
            wait_for(lambda: sink.snapshot().held and sink.snapshot().memory >= 1 << 20)
            for number in range(1200, 1800):
                flow.send("c", number, partition=2, name="a", doc="y" * 900)
            flow.flush()
            wait_for(lambda: len(flow.rows("id")) == 600, told=lambda: str(sink.snapshot()))
            flow.sql(f"ALTER TABLE {flow.mapping.target} ADD COLUMN extra INT NULL")
            mappings[0] = widened(flow.mapping)
            flow.drained(sink)
            assert sink.snapshot().repeated == 0
        assert "gives its messages back" in caplog.text
        assert flow.rows("COUNT(*), COUNT(extra), CAST(SUM(id) AS INT)") == ((1800, 1200, sum(range(1800))),)


def test_a_sink_that_is_gone_in_the_middle_of_a_load(flow: Flow, emulator: DorisEmulator) -> None:
    """The next one repeats the same range under the same label, while the first load is still at work."""
    for number in range(30):
        flow.send("c", number, name="a", amount=1)
    flow.flush()
    fault(emulator, "slow", seconds=4)
    with flow.running() as sink:
        wait_for(lambda: any(p.state == "loading" for p in sink.snapshot().partitions))
        flow_offset = flow.committed()
        sink.close()  # without its drain: the load is broken off
    assert Note.parse(flow_offset[0][1]).end is not None
    assert flow.committed() == flow_offset
    seen = flow.load()
    assert flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((30, 30),)
    assert seen.repeated == 1


def test_a_rebalance_in_the_middle_of_a_load(kafka, doris, emulator: DorisEmulator) -> None:
    with a_flow(kafka, doris, partitions=2) as flow:
        for number in range(40):
            flow.send("c", number, partition=number % 2, name="a", amount=1)
        flow.flush()
        fault(emulator, "slow", seconds=5, times=2)
        with flow.running() as first:
            wait_for(lambda: any(p.state == "loading" for p in first.snapshot().partitions))
            with flow.running() as second:
                wait_for(lambda: second.snapshot().partitions)
                for number in range(40):
                    flow.send("u", number, partition=number % 2, name="b", amount=2)
                flow.flush()
                wait_for(lambda: flow.rows("COUNT(*), CAST(SUM(amount) AS INT)") == ((40, 80),), 60)
        assert first.snapshot().dead_letters == second.snapshot().dead_letters == 0
        assert sum(offset or 0 for offset, _ in flow.committed()) == 80


def test_the_password_of_doris_is_in_no_message(kafka, doris, emulator: DorisEmulator) -> None:
    wrong = SimpleNamespace(**{**vars(doris), "credentials": doris.credentials})
    with a_flow(kafka, wrong) as flow:
        flow.send("c", 1, name="a")
        flow.flush()
        account = ["root", "not the secret one"]
        object.__setattr__(flow.config.target, "credentials", lambda: tuple(account))
        with flow.running() as sink:
            wait_for(lambda: sink.snapshot().held)
            reason = sink.snapshot().held[0].reason
            assert "not the secret one" not in reason
            account[1] = "pw"  # rotated: the next attempt takes it up
            flow.drained(sink)
        assert flow.rows("id") == ((1,),)
