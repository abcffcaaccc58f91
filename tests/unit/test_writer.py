"""BatchWriter and Stream while no server is there: taking events, waiting for room, closing, awaiting."""

import asyncio
import collections.abc
import gc
import inspect
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbint import _core
from dbint._core import BatchWriter, CircuitBreaker, CircuitState, Pool, Stream
from dbint.errors import (
    ClosedError,
    ConfigurationError,
    InvalidEventError,
    OperationalError,
    QueueFullError,
    UnreachableError,
)

NOWHERE = "host=127.0.0.1 port=1 user=nobody password=hunter2 gssencmode=disable"
COLUMNS = {"name": "varchar(20) not null", "number": "int4"}
SMALL = {"max_bytes": 200 * 1024, "segment_min": 16384, "segment_max": 65536, "keep_bytes": 0}

Maker = Callable[..., BatchWriter]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    """``make(**arguments)`` is a writer on the test's directory; all are closed at the end."""
    made: list[BatchWriter] = []

    def writer(pool: str = NOWHERE, **arguments: Any) -> BatchWriter:
        made.append(BatchWriter(Pool(pool), tmp_path / "journal", **arguments))
        return made[-1]

    yield writer
    for one in made:
        one.close(0)


def total(stream: dict[str, Any]) -> int:
    """What became of the events, all together."""
    return (
        sum(stream[key] for key in ("landed", "journaled", "dead", "damaged", "lost_by_server"))
        + stream["dropped"]["oldest"]
    )


def press(write: Callable[..., object]) -> None:
    """Writes until that raises."""
    while True:
        write(name="filler", number=1)


def fill(stream: Stream) -> int:
    """Writes until there is no room; how many were taken."""
    with pytest.raises(QueueFullError):
        press(stream.write_sync)
    return stream.snapshot()["accepted"]


def blocked(writer: BatchWriter, **arguments: Any) -> Stream:
    """A stream that waits for room, in a journal that is full but for what its own first segment takes."""
    stream = writer.stream("events", columns=COLUMNS, **arguments)
    fill(writer.stream("filler", columns=COLUMNS, when_full="reject"))
    return stream


# --- arguments ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shippers": 0}, ConfigurationError, "shippers must be within 1 to 64"),
        ({"max_bytes": 0}, ConfigurationError, "max_bytes must be within 1"),
        ({"max_bytes": "1"}, TypeError, "max_bytes must be an int, not str"),
        ({"stall_timeout": -1}, ConfigurationError, "stall_timeout must be a number of seconds"),
        ({"breaker": "open"}, TypeError, "breaker must be a CircuitBreaker or None, not str"),
        ({"name": ""}, ConfigurationError, "a writer needs a name"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_a_writer_refuses_what_cannot_work(
    make: Maker, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("table", "arguments", "error", "message"),
    [
        ("", {}, ConfigurationError, "table must be"),
        ("a.b.c", {}, ConfigurationError, "table must be"),
        (".b", {}, ConfigurationError, "table must be"),
        ("a.", {}, ConfigurationError, "table must be"),
        ('"a', {}, ConfigurationError, "table must be"),
        ("x" * 64, {}, ConfigurationError, "table must be"),
        ("t", {"columns": {"a": "colour"}}, ConfigurationError, "colour"),
        ("t", {"columns": {}}, ConfigurationError, "column"),
        ("t", {"columns": "name"}, TypeError, "not one str"),
        ("t", {"columns": [1]}, TypeError, "names of columns"),
        ("t", {"columns": []}, ConfigurationError, "at least one"),
        ("t", {"columns": COLUMNS, "fill": {"colour": "now"}}, ConfigurationError, "colour"),
        ("t", {"columns": COLUMNS, "fill": {"name": "now"}}, ConfigurationError, "name"),
        (
            "t",
            {"columns": COLUMNS, "durability": "paper"},
            ConfigurationError,
            "must be one of 'memory', 'process', 'interval', 'sync', not 'paper'",
        ),
        ("t", {"columns": COLUMNS, "when_full": "pray"}, ConfigurationError, "must be one of 'block'"),
        ("t", {"columns": COLUMNS, "lanes": 65}, ConfigurationError, "lanes must be within 1 to 64"),
        ("t", {"columns": COLUMNS, "lane_key": "colour"}, ConfigurationError, "colour"),
        ("t", {"columns": COLUMNS, "batch_size": 0}, ConfigurationError, "batch_size"),
        ("t", {"columns": COLUMNS, "sync_interval": 0.0}, ConfigurationError, "sync_interval"),
        ("t", {"columns": COLUMNS, "name": "x" * 128}, ConfigurationError, "127 bytes"),
        ("t", {"timeout": 1.0}, UnreachableError, "columns="),
    ],
)
def test_a_stream_refuses_what_cannot_work(
    make: Maker, table: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make().stream(table, **arguments)
    assert "hunter2" not in str(caught.value)


def test_a_table_may_be_quoted(make: Maker) -> None:
    writer = make()
    assert writer.stream('"odd.schema"."odd ""table"""', columns=COLUMNS).name == 'odd.schema.odd "table"'


def test_a_stream_says_what_it_is(make: Maker) -> None:
    writer = make()
    stream = writer.stream("audit.events", columns=COLUMNS, name="audit")
    assert (stream.name, stream.table, stream.writer) == ("audit", "audit.events", writer)
    assert stream.columns == {"name": "character varying(20)", "number": "integer"}
    assert repr(stream) == "<Stream 'audit' into audit.events>"
    assert writer.stream("audit.events", columns=COLUMNS, name="audit").name == "audit"
    with pytest.raises(ConfigurationError, match=r"\"audit\" is open already.*lanes"):
        writer.stream("audit.events", columns=COLUMNS, name="audit", lanes=2)


def test_neither_is_pickled(make: Maker) -> None:
    writer = make()
    for one in (writer, writer.stream("t", columns=COLUMNS)):
        with pytest.raises(TypeError, match="belongs to its process"):
            pickle.dumps(one)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationalError, match="file/journal"):
        BatchWriter(Pool(NOWHERE), tmp_path / "file" / "journal")


# --- taking events ---


def test_events_are_counted(make: Maker) -> None:
    writer = make()
    stream = writer.stream("events", columns=COLUMNS)
    assert not writer.snapshot()["running"]
    for number in range(1000):
        stream.write_sync(name="a", number=number)
    figures = stream.snapshot()
    assert figures["accepted"] == figures["journaled"] == total(figures) == 1000  # type: ignore[arg-type]
    assert writer.snapshot()["streams"]["events"]["accepted"] == 1000
    assert writer.snapshot()["running"]
    assert writer.flush(0.05) == 1000
    assert writer.close(0) == 1000
    assert writer.close() == 0
    assert writer.closed
    assert stream.snapshot()["journaled"] == 1000
    with pytest.raises(ClosedError, match="has been closed"):
        stream.write_sync(name="a", number=1)
    with pytest.raises(ClosedError):
        stream.write(name="a", number=1)


def test_the_next_writer_finds_what_the_last_one_left(make: Maker) -> None:
    first = make()
    first.stream("events", columns=COLUMNS).write_sync(name="a", number=1)
    first.close(0)
    figures = make().snapshot()["streams"]["events"]
    assert (figures["open"], figures["recovered"], figures["journaled"]) == (False, 1, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 1, "number": 1}, r'field "name" of stream "events"'),
        ({"name": "x" * 21, "number": 1}, r'field "name" of stream "events"'),
        ({"name": "a", "number": 1, "colour": "red"}, r'field "colour" of stream "events"'),
        ({"name": "a"}, r'field "number" of stream "events"'),
        ({"name": None, "number": 1}, r'field "name" of stream "events"'),
    ],
)
def test_a_bad_event_disturbs_nothing(make: Maker, fields: dict[str, Any], message: str) -> None:
    stream = make().stream("events", columns=COLUMNS)
    for write in (stream.write, stream.write_sync, lambda **fields: stream.write_mapping(fields)):
        with pytest.raises(InvalidEventError, match=message):
            write(**fields)
    stream.write_mapping({"name": "good", "number": None})
    assert stream.snapshot()["accepted"] == 1


def test_an_event_may_write_another_one_while_it_is_encoded(make: Maker) -> None:
    stream = make().stream("events", columns=COLUMNS)

    class Number:
        def __index__(self) -> int:
            stream.write_sync(name="inner", number=1)
            return 2

    stream.write_sync(name="outer", number=Number())
    assert stream.snapshot()["accepted"] == 2


# --- no room ---


def test_calls_with_a_keyword_go_elsewhere(make: Maker) -> None:
    stream = make().stream("events", columns=COLUMNS)
    calls: list[dict[str, Any]] = []

    async def later(**fields: Any) -> None:
        calls.append(fields)

    stream.divert("on_commit", later, lambda **fields: calls.append(fields))
    at_runtime = "".join(["on_", "commit"])  # equal to the keyword, and not the same object
    stream.write_sync(name="a", number=1)
    stream.write_sync(name="b", on_commit=True)
    stream.write_sync(name="c", number=3)
    stream.write_sync(**{"name": "d", at_runtime: "alias"})
    asyncio.run(later_of(stream))
    assert calls == [
        {"name": "b", "on_commit": True},
        {"name": "d", "on_commit": "alias"},
        {"on_commit": False},
    ]
    assert stream.snapshot()["accepted"] == 3
    with pytest.raises(InvalidEventError, match='"on_commits"'):
        stream.write_sync(name="e", on_commits=True)


async def later_of(stream: Stream) -> None:
    await stream.write(on_commit=False)
    await stream.write(name="f", number=6)


def test_what_cannot_be_a_keyword(make: Maker) -> None:
    stream = make().stream("events", columns=COLUMNS)
    with pytest.raises(ConfigurationError, match='"name" is a column of stream "events"'):
        stream.divert("name", stream.write, stream.write_sync)
    with pytest.raises(ConfigurationError, match="must not contain a NUL"):
        stream.divert("on\0commit", stream.write, stream.write_sync)
    with pytest.raises(TypeError, match="keyword must be a str, not int"):
        stream.divert(1, stream.write, stream.write_sync)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes keyword, write and write_sync"):
        stream.divert("later", stream.write)  # type: ignore[call-arg]


def test_where_calls_go_keeps_no_stream_alive(make: Maker) -> None:
    writer = make()
    stream = writer.stream("events", columns=COLUMNS)

    class Elsewhere:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def write(self, **fields: Any) -> Any: ...

    elsewhere = Elsewhere(stream)
    stream.divert("later", elsewhere.write, elsewhere.write)
    gone = weakref.ref(elsewhere)
    del stream, elsewhere
    gc.collect()
    assert gone() is None


def test_reject(make: Maker) -> None:
    stream = make(**SMALL).stream("events", columns=COLUMNS, when_full="reject")
    taken = fill(stream)
    assert taken > 100
    with pytest.raises(QueueFullError, match='stream "events" is full'):
        stream.write(name="a", number=1)
    figures = stream.snapshot()
    assert (figures["accepted"], figures["rejected"]) == (taken, 2)
    assert figures["journaled_bytes"] <= SMALL["max_bytes"]


def test_drop_oldest(make: Maker) -> None:
    stream = make(**SMALL).stream("events", columns=COLUMNS, when_full="drop_oldest")
    for number in range(20_000):
        stream.write_sync(name="a", number=number)
    figures = stream.snapshot()
    assert figures["accepted"] == total(figures) == 20_000  # type: ignore[arg-type]
    assert figures["dropped"]["oldest"] > 10_000
    assert figures["rejected"] == 0


def test_block_has_a_limit_in_time(make: Maker) -> None:
    stream = blocked(make(**SMALL), block_timeout=0.1)
    began = time.monotonic()
    with pytest.raises(QueueFullError):
        press(stream.write_sync)
    assert 0.1 <= time.monotonic() - began < 5
    assert stream.snapshot()["rejected"] == 1


def test_a_blocked_thread_holds_up_no_other_and_hears_signals(make: Maker) -> None:
    stream = blocked(make(**SMALL))
    ticks = 0

    def interrupted(*_: object) -> None:
        raise InterruptedError

    def tick() -> None:
        nonlocal ticks
        for _ in range(20):
            time.sleep(0.01)
            ticks += 1
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupted)
    try:
        threading.Thread(target=tick).start()
        with pytest.raises(InterruptedError):
            press(stream.write_sync)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ticks == 20
    assert stream.snapshot()["waiting"] == 0  # it was taken back


async def until_blocked(stream: Stream) -> Awaitable[None]:
    """An event that waits for room."""
    while True:
        pending = stream.write(name="a", number=1)
        if stream.snapshot()["waiting"]:
            return pending
        await pending


def test_a_blocked_event_is_taken_back_by_cancelling(make: Maker) -> None:
    stream = blocked(make(**SMALL))

    async def run() -> None:
        first = asyncio.ensure_future(await until_blocked(stream))
        second = asyncio.create_task(stream.write(name="b", number=2))
        never_run = asyncio.create_task(stream.write(name="c", number=3))
        assert stream.snapshot()["waiting"] == 3
        never_run.cancel()
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(second, 0.05)
        stream.write(name="d", number=4).close()
        await asyncio.sleep(0.05)
        assert stream.snapshot()["waiting"] == 0

    asyncio.run(run())


def test_closing_tells_those_who_wait(make: Maker) -> None:
    writer = make(**SMALL)
    stream = blocked(writer)

    async def run() -> None:
        pending = await until_blocked(stream)
        await asyncio.to_thread(writer.close, 0)
        with pytest.raises(ClosedError, match="waited for room"):
            await pending

    asyncio.run(run())


def test_a_loop_that_was_closed_is_no_obstacle(make: Maker) -> None:
    writer = make(**SMALL)
    stream = blocked(writer)

    async def leave() -> None:
        await until_blocked(stream)

    for _ in range(3):
        asyncio.run(leave())
    assert stream.snapshot()["waiting"] >= 1
    asyncio.run(leave())
    writer.close(0)


def test_waiting_needs_a_loop(make: Maker) -> None:
    stream = blocked(make(**SMALL))
    with pytest.raises(RuntimeError, match="no running event loop"):
        press(stream.write)
    assert stream.snapshot()["waiting"] == 0


# --- the disk ---


def test_sync_is_awaited(make: Maker) -> None:
    stream = make().stream("events", columns=COLUMNS, durability="sync", lanes=2)

    async def run() -> None:
        await asyncio.gather(*(stream.write(name="a", number=number) for number in range(200)))
        await stream.write(name="a", number=200)

    asyncio.run(run())
    stream.write_sync(name="a", number=201)
    figures = stream.snapshot()
    assert (figures["accepted"], figures["waiting"]) == (202, 0)


# --- awaiting ---


def test_what_is_done_is_a_coroutine(make: Maker) -> None:
    stream = make().stream("events", columns=COLUMNS)

    async def run() -> None:
        assert await stream.write(name="await", number=1) is None
        assert await asyncio.create_task(stream.write(name="task", number=2)) is None
        assert await asyncio.ensure_future(stream.write(name="future", number=3)) is None
        assert await asyncio.wait_for(stream.write(name="wait_for", number=4), 1) is None
        both = await asyncio.gather(stream.write(name="g", number=5), stream.write(name="g", number=6))
        assert both == [None, None]
        assert await asyncio.shield(stream.write(name="shield", number=7)) is None
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.write(name="group", number=8))
        done, _ = await asyncio.wait([asyncio.create_task(stream.write(name="wait", number=9))])
        assert len(done) == 1

    asyncio.run(run())
    assert asyncio.run(stream.write(name="run", number=10)) is None
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    future = asyncio.run_coroutine_threadsafe(stream.write(name="threadsafe", number=11), loop)
    assert future.result(5) is None
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    stream.write(name="not awaited", number=12)
    assert stream.snapshot()["accepted"] == 12


def test_it_has_what_a_coroutine_has(make: Maker) -> None:
    done = make().stream("events", columns=COLUMNS).write(name="a", number=1)
    assert isinstance(done, collections.abc.Coroutine)
    assert inspect.isawaitable(done)
    assert asyncio.iscoroutine(done)
    for _ in range(2):  # it is one object for all, and can be asked again
        with pytest.raises(StopIteration) as stop:
            done.send(None)
        assert stop.value.value is None
    with pytest.raises(KeyError, match="why"):
        done.throw(KeyError("why"))
    with pytest.raises(KeyError):
        done.throw(KeyError)
    with pytest.raises(KeyError, match="why"):
        done.throw(KeyError, "why", None)
    with pytest.raises(TypeError, match="BaseException"):
        done.throw(1)  # type: ignore[call-overload] # no exception
    done.close()
    assert list(done.__await__()) == []


def test_flush_async(make: Maker) -> None:
    writer = make()
    stream = writer.stream("events", columns=COLUMNS)

    async def run() -> None:
        assert await writer.flush_async() == 0
        await stream.write(name="a", number=1)
        assert await writer.flush_async(0.05) == 1
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(writer.flush_async(), 0.05)
        await asyncio.sleep(0.01)

    asyncio.run(run())


# --- the breaker ---


def test_the_shippers_use_the_breaker_and_the_main_thread_hears_of_it(make: Maker) -> None:
    breaker = CircuitBreaker("target", failure_threshold=2, recovery_timeout=60)
    heard: list[tuple[CircuitState, str]] = []
    breaker.add_listener(lambda change: heard.append((change.to_state, threading.current_thread().name)))
    writer = make(breaker=breaker)
    writer.stream("events", columns=COLUMNS, batch_timeout=0.0).write_sync(name="a", number=1)
    deadline = time.monotonic() + 10
    while not heard:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert heard == [(CircuitState.OPEN, "MainThread")]
    snapshot = writer.snapshot()
    assert snapshot["breaker"] is not None
    assert snapshot["breaker"]["state"] == CircuitState.OPEN
    [chain] = snapshot["streams"]["events"]["chains"]
    assert chain["state"] == "backing_off"
    assert chain["retry_in"] is not None
    assert "hunter2" not in str(snapshot)
    writer.close(0)
    del writer


# --- ends ---


def test_a_writer_that_nobody_closed_says_so(tmp_path: Path) -> None:
    writer = BatchWriter(Pool(NOWHERE), tmp_path)
    kept = [writer.stream("events", columns=COLUMNS)]
    kept[0].write_sync(name="a", number=1)
    gone = weakref.ref(writer)
    del writer
    assert gone() is not None  # the stream needs it
    with pytest.warns(ResourceWarning, match="not closed; events that stay in the journal: 1"):
        kept.clear()
    assert gone() is None


def test_one_that_took_nothing_goes_quietly(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer = BatchWriter(Pool(NOWHERE), tmp_path)
        writer.stream("events", columns=COLUMNS)
        del writer
        gc.collect()


def run_script(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    head = f"""
        import os, signal, sys, time
        from dbint._core import BatchWriter, Pool
        writer = BatchWriter(Pool({NOWHERE!r}), {os.fspath(directory)!r})
        stream = writer.stream("events", columns={COLUMNS!r})
        for number in range(100):
            stream.write_sync(name="a", number=number)
    """
    code = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("", 0),  # atexit waits 5 s for the server and gives up
        ("sys.exit(3)", 3),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL); time.sleep(10)", -signal.SIGKILL),
    ],
    ids=["end", "exit", "_exit", "sigterm", "sigkill"],
)
def test_what_a_process_leaves_at_its_end_is_found_by_the_next(
    make: Maker, tmp_path: Path, script: str, code: int
) -> None:
    began = time.monotonic()
    ended = run_script(tmp_path / "journal", script)
    assert (ended.returncode, ended.stderr) == (code, "")
    assert time.monotonic() - began < 15
    figures = make().snapshot()["streams"]["events"]
    assert figures["recovered"] == figures["journaled"] == 100


def test_a_process_that_lives_adopts_what_another_left(make: Maker, tmp_path: Path) -> None:
    writer = make(adopt_every=0.1)
    writer.stream("other", columns=COLUMNS).write_sync(name="a", number=1)
    assert run_script(tmp_path / "journal", "os._exit(0)").returncode == 0
    deadline = time.monotonic() + 10
    while "events" not in writer.snapshot()["streams"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    figures = writer.snapshot()["streams"]["events"]
    assert (figures["accepted"], figures["recovered"], figures["journaled"]) == (0, 100, 100)
    [chain] = figures["chains"]
    assert chain["adopted"]


def test_metrics(make: Maker) -> None:
    writer = make(name="metered")
    writer.stream("events", columns=COLUMNS).write_sync(name="a", number=1)
    found = {
        name: value
        for name, _, labels, value in _core.metrics_snapshot()
        if labels.get("writer") == "metered" and labels.get("stream", "events") == "events"
    }
    assert found["dbint_writer_accepted_total"] == 1
    assert found["dbint_writer_journaled_rows"] == 1
