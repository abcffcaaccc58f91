"""How a runner begins its parts again, when it gives up, and how it drains; the parts are doubles."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dbint import errors
from dbint.flow import runner as module
from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess
from dbint.flow.runner import FAILED, FINISHED, MISCONFIGURED, PARTS, Runner
from dbint.flow.sink import GapError
from dbint.flow.snapshot import TableProgress
from dbint.flow.status_line import status_line


class Doubles:
    """What the doubles do, and what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.slot = True
        self.point: int | None = None
        self.capture_fails: list[Exception] = []
        self.sink_fails: list[Exception] = []
        self.deaf = False
        self.last: Exception | None = None
        self.status: dict[str, Any] = {"rows": 1, "lag_rows": 0, "partitions": [1, 2, 3, 4]}


class CaptureDouble:
    def __init__(self, doubles: Doubles) -> None:
        self.doubles, self.stopped = doubles, threading.Event()

    def slot_exists(self) -> bool:
        return self.doubles.slot

    def prepare(self, *, resync: bool) -> int | None:
        self.doubles.calls.append(f"prepare resync={resync}")
        return self.doubles.point

    def start(self) -> None:
        self.doubles.calls.append("start")
        if self.doubles.capture_fails:
            raise self.doubles.capture_fails.pop(0)

    def wait(self, timeout: float) -> bool:
        if self.doubles.deaf:
            time.sleep(0.05)
            return False
        ended = self.stopped.wait(timeout)
        if ended and self.doubles.last is not None:
            raise self.doubles.last
        return ended

    def stop(self, timeout: float) -> None:
        self.doubles.calls.append(f"stop {timeout:g}")
        self.stopped.set()

    def status(self) -> dict[str, Any]:
        return {"state": "streaming", "error": None, "lag_bytes": 7, "lag_seconds": 0.25}

    def close(self) -> None:
        self.doubles.calls.append("close")


class SinkDouble:
    def __init__(self, doubles: Doubles, on_gap: str) -> None:
        self.doubles, self.stopped = doubles, threading.Event()
        doubles.calls.append(f"on gap {on_gap}")

    def run(self) -> None:
        self.doubles.calls.append("sink")
        if self.doubles.sink_fails:
            raise self.doubles.sink_fails.pop(0)
        self.stopped.wait(60)

    def stop(self, timeout: float) -> None:
        self.stopped.set()

    def status(self) -> dict[str, Any]:
        return self.doubles.status

    def close(self) -> None:
        pass


class SnapshotDouble:
    def __init__(self, doubles: Doubles) -> None:
        self.doubles = doubles
        self.seen = [TableProgress("public.t", "running", 10, 100, 40)]

    def reset(self, tables: Any = None) -> None:
        self.doubles.calls.append(f"reset {'all' if tables is None else ','.join(tables)}")

    def run(self, point: int | None) -> None:
        self.doubles.calls.append(f"load at {point}")

    def stop(self) -> None:
        pass


@pytest.fixture
def doubles(monkeypatch) -> Doubles:
    made = Doubles()
    monkeypatch.setattr(module, "Capture", lambda _config: CaptureDouble(made))
    monkeypatch.setattr(module, "Sink", lambda _config, _mappings, on_gap: SinkDouble(made, on_gap))
    monkeypatch.setattr(module, "make_topics", lambda _config: made.calls.append("make topics"))
    monkeypatch.setattr(module, "Snapshot", lambda _config: SnapshotDouble(made))
    monkeypatch.setattr(module, "load_mappings", lambda _config: [])
    monkeypatch.setattr(module, "LOOK", 0.01)
    monkeypatch.setattr(module, "GRACE", 0.1)
    monkeypatch.setattr(module, "SURE", 0.05)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: low + (high - low) / 50)
    return made


def config(**changes: Any) -> FlowConfig:
    return FlowConfig(
        **{
            "name": "orders",
            "source": SourceAccess("none", dict),
            "target": TargetAccess("none", "none", [], [], lambda: ("", "")),
            "kafka": lambda _role: {},
            "tables": ("public.t",),
            "drain_timeout": 0.5,
            **changes,
        }
    )


class Running:
    def __init__(self, runner: Runner) -> None:
        self.runner, self.code = runner, -1
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.runner.run()

    def ended(self) -> int:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.code

    def end(self) -> int:
        self.runner.stop()
        return self.ended()


@pytest.fixture
def start(doubles) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def run(*, parts: Any = PARTS, resync: Any = None, accept_gap: bool = False, **changes: Any) -> Running:
        runner = Runner(config(**changes), parts=parts, resync=resync, accept_gap=accept_gap)
        made.append(Running(runner))
        return made[-1]

    yield run
    for running in made:
        running.runner.stop()
        running.thread.join(20)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_order_of_a_first_start(doubles, start):
    doubles.slot, doubles.point = False, 42
    running = start(parts=["capture"])
    until(lambda: "start" in doubles.calls)
    assert running.end() == FINISHED
    assert doubles.calls == ["reset all", "prepare resync=False", "load at 42", "start", "stop 0.5", "close"]


def test_a_slot_that_is_there_keeps_what_was_loaded(doubles, start):
    running = start(parts=["capture"])
    until(lambda: "start" in doubles.calls)
    running.end()
    assert doubles.calls[:3] == ["prepare resync=False", "load at None", "start"]


@pytest.mark.parametrize(
    ("tables", "again"), [(["public.t"], "False"), (["public.t", "public.u"], "True")], ids=["one", "all"]
)
def test_a_lost_slot_is_made_again_for_all_tables_alone(doubles, start, tables, again):
    running = start(parts=["capture"], resync=tables, tables=("public.t", "public.u"))
    until(lambda: "start" in doubles.calls)
    running.end()
    assert doubles.calls[:2] == [f"reset {','.join(tables)}", f"prepare resync={again}"]


def test_a_resync_is_done_once(doubles, start):
    doubles.capture_fails = [errors.UnreachableError("away")]
    running = start(parts=["capture"], resync=["public.t"])
    until(lambda: doubles.calls.count("start") == 2)
    running.end()
    assert doubles.calls.count("reset public.t") == 1
    assert "prepare resync=False" in doubles.calls


def test_what_may_pass_is_tried_again(doubles, start):
    doubles.capture_fails = [errors.UnreachableError("away"), errors.DatabaseError("no"), OSError("disk")]
    doubles.sink_fails = [errors.KafkaFatalError("fenced")] * 2
    running = start()
    until(lambda: doubles.calls.count("start") == 4 and doubles.calls.count("sink") == 3)
    until(lambda: running.runner.status()["capture"]["failure"] is None)
    assert running.end() == FINISHED


def test_the_pauses_grow(doubles, start, monkeypatch):
    bounds: list[float] = []

    def drawn(_low: float, high: float) -> float:
        bounds.append(high)
        return 0.0

    monkeypatch.setattr(module.random, "uniform", drawn)
    doubles.sink_fails = [errors.UnreachableError("away")] * 9
    running = start(parts=["sink"])
    until(lambda: doubles.calls.count("sink") == 10)
    running.end()
    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("no such table"), MISCONFIGURED),
        (errors.MessageTooLargeError("row 7"), FAILED),
        (ZeroDivisionError("ours"), FAILED),
    ],
)
def test_what_is_the_same_the_next_time_ends_the_run(doubles, start, error, code):
    doubles.capture_fails = [error]
    running = start()
    assert running.ended() == code
    failure = running.runner.status()["capture"]["failure"]
    assert str(error) in failure["text"]
    assert failure["retry_in"] is None
    assert doubles.calls.count("start") == 1


def test_a_drain_that_takes_too_long_is_told(doubles, start, caplog):
    doubles.deaf = True
    running = start()
    until(lambda: "start" in doubles.calls)
    begun = time.monotonic()
    assert running.end() == FAILED
    assert time.monotonic() - begun < 5
    assert "the capture was not drained" in caplog.text
    assert "did not come to an end within 0.5 s" in caplog.text
    doubles.deaf = False


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.DeadlineError("7 messages are left"), FAILED), (errors.UnreachableError("gone"), FINISHED)],
)
def test_how_a_drain_fails(doubles, start, caplog, error, code):
    doubles.last = error
    running = start(parts=["capture"])
    until(lambda: "start" in doubles.calls)
    assert running.end() == code
    assert ("7 messages are left" in caplog.text) == (code == FAILED)


def test_full_load_only_ends_when_doris_has_all(doubles, start):
    doubles.status = {"rows": 0, "lag_rows": 3, "partitions": [1, 2, 3, 4]}
    running = start(mode="full_load_only")
    time.sleep(0.3)
    assert running.thread.is_alive()
    doubles.status = {"rows": 3, "lag_rows": 0, "partitions": [1]}  # the others are not assigned yet
    time.sleep(0.2)
    assert running.thread.is_alive()
    doubles.status = {"rows": 3, "lag_rows": 0, "partitions": [1, 2, 3, 4]}
    assert running.ended() == FINISHED
    assert doubles.calls.count("load at None") == 1
    assert "start" not in doubles.calls


def test_cdc_only_loads_nothing(doubles, start):
    running = start(parts=["capture"], mode="cdc_only")
    until(lambda: "start" in doubles.calls)
    running.end()
    assert not any(call.startswith("load") for call in doubles.calls)


def test_topics_are_there_before_they_are_read(doubles, start):
    running = start(parts=["sink"])
    until(lambda: "sink" in doubles.calls)
    running.end()
    assert doubles.calls[:3] == ["make topics", "on gap stop", "sink"]


def test_a_gap_ends_the_run_unless_it_is_accepted(doubles, start):
    doubles.sink_fails = [GapError("offsets 3 to 7 are gone")]
    assert start().ended() == MISCONFIGURED
    running = start(accept_gap=True)
    until(lambda: "on gap continue" in doubles.calls)
    running.end()


def test_the_status_in_one_line(doubles, start):
    doubles.status = {
        "rows": 5,
        "lag_rows": 2,
        "freshness_p50": 0.5,
        "freshness_p99": 1.25,
        "dead_letters": 1,
        "trouble": "Doris is slow",
        "partitions": [],
    }
    running = start()
    until(lambda: "start" in doubles.calls and "sink" in doubles.calls)
    assert status_line(running.runner.status()) == (
        "flow orders | capture: streaming, 7 bytes behind, 0.2 s | sink: 5 rows loaded, 2 waiting, "
        "fresh within 0.50 s (p99 1.25 s), 1 dead letters (Doris is slow)"
    )
    running.end()


def test_the_line_of_a_first_load_and_of_trouble():
    load = TableProgress("public.t", "running", 10, 100, 40).to_json()
    status = {
        "flow": "orders",
        "capture": {"first_load": [load], "failure": None},
        "sink": {"failure": {"text": "no broker", "failures": 3, "retry_in": 1.5}},
    }
    assert status_line(status) == (
        "flow orders | capture: first load, 0 of 1 tables; public.t: 10 rows (25%) | "
        "sink: failed (3, tried again in 1.5 s): no broker"
    )
    assert (
        status_line({"flow": "f", "capture": {}, "sink": {}}) == "flow f | capture: starting | sink: starting"
    )


def test_an_engine_of_other_processes_is_refused():
    with pytest.raises(errors.ConfigurationError, match="flow_deploy"):
        Runner(config(engine="connect"))
