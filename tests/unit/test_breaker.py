"""The circuit breaker from Python: how calls are guarded, what counts, and who gets a permit back.

The rules themselves are tested in C (csrc/tests/test_breaker.c) and against a model (test_breaker_model.py).
"""

import asyncio
import copy
import gc
import inspect
import os
import pickle
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator

import pytest

from dbint.breaker import CircuitBreaker, CircuitChange, CircuitState, ManualClock
from dbint.errors import CircuitOpenError, ConfigurationError, InterfaceError, OperationalError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker("db", clock=clock)


def fail(error: BaseException | None = None) -> None:
    raise error or OSError("no")


def trip(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        with pytest.raises(OSError, match="no"):
            breaker.call(fail)
    assert breaker.state is CircuitState.OPEN


def half_open(breaker: CircuitBreaker, clock: ManualClock) -> None:
    trip(breaker)
    clock.advance(60)


# --- the rule, once through each way of guarding a call ---


def by_call(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    return breaker.call(func)


def by_decorator(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    return breaker(func)()


def by_with(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    with breaker as entered:
        assert entered is breaker
        return func()


def by_permit(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    with breaker.acquire():
        return func()


def by_async_with(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    async def main() -> object:
        async with breaker:
            await asyncio.sleep(0)
            return func()

    return asyncio.run(main())


def by_async_decorator(breaker: CircuitBreaker, func: Callable[[], object]) -> object:
    @breaker
    async def main() -> object:
        await asyncio.sleep(0)
        return func()

    return asyncio.run(main())


WAYS = [by_call, by_decorator, by_with, by_permit, by_async_with, by_async_decorator]


@pytest.mark.parametrize("way", WAYS)
def test_opens_after_five_failures_and_closes_after_three_successes(
    way: Callable[..., object], breaker: CircuitBreaker, clock: ManualClock
) -> None:
    assert way(breaker, lambda: 42) == 42
    for _ in range(5):
        assert breaker.state is CircuitState.CLOSED
        with pytest.raises(OSError, match="no"):
            way(breaker, fail)
    assert breaker.state is CircuitState.OPEN

    clock.advance(20)
    called = False

    def touch() -> None:
        nonlocal called
        called = True

    with pytest.raises(CircuitOpenError) as refusal:
        way(breaker, touch)
    assert not called
    assert refusal.value.retry_after == 40
    assert refusal.value.code == "DBI_EOPEN"
    assert str(refusal.value) == "circuit breaker 'db' is open; the next attempt is due in 40.000 s"
    assert isinstance(refusal.value, OperationalError)  # what Django maps to its own OperationalError

    clock.advance(40)
    for expected in (CircuitState.HALF_OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED):
        way(breaker, touch)
        assert breaker.state is expected
    assert breaker.metrics() == {
        "succeeded": 4,
        "failed": 5,
        "ignored": 0,
        "cancelled": 0,
        "rejected": 1,
        "slow": 0,
        "late": 0,
        "opened": 1,
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gone", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_gives_the_permit_back(
    way: Callable[..., object], gone: type[BaseException], clock: ManualClock
) -> None:
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)
    half_open(breaker, clock)
    with pytest.raises(gone):
        way(breaker, lambda: fail(gone()))
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.snapshot()["permits"] == 1
    assert breaker.metrics()["cancelled"] == 1
    way(breaker, lambda: None)
    assert breaker.state is CircuitState.CLOSED


# --- which exceptions count ---


def test_ignored_errors_count_nothing() -> None:
    breaker = CircuitBreaker("db", failure_threshold=1, ignore=(KeyError, ValueError))
    for error in (KeyError("k"), ValueError("v")):
        with pytest.raises(type(error)):
            breaker.call(fail, error)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.metrics()["ignored"] == 2


def test_errors_that_are_not_recorded_are_successes() -> None:
    breaker = CircuitBreaker("db", failure_threshold=2, record=OSError)
    for error in (OSError("o"), KeyError("k"), ConnectionError("c")):
        with pytest.raises(type(error)):
            breaker.call(fail, error)
    assert breaker.state is CircuitState.CLOSED  # the KeyError broke the row
    assert breaker.metrics()["succeeded"] == 1
    assert breaker.metrics()["failed"] == 2


def test_ignore_goes_before_record() -> None:
    breaker = CircuitBreaker("db", failure_threshold=1, record=OSError, ignore=ConnectionError)
    with pytest.raises(ConnectionError):
        breaker.call(fail, ConnectionError())
    assert breaker.state is CircuitState.CLOSED
    with pytest.raises(OSError, match="no"):
        breaker.call(fail)
    assert breaker.state is CircuitState.OPEN


def test_a_base_exception_can_be_recorded() -> None:
    breaker = CircuitBreaker("db", failure_threshold=1, record=(Exception, SystemExit))
    with pytest.raises(SystemExit):
        breaker.call(fail, SystemExit())
    assert breaker.state is CircuitState.OPEN


def test_functions_can_judge_exceptions() -> None:
    breaker = CircuitBreaker(
        "db",
        failure_threshold=1,
        ignore=lambda error: error.args == ("ignore",),
        record=lambda error: error.args == ("record",),
    )
    for text in ("ignore", "other"):
        with pytest.raises(OSError, match=text), breaker:
            raise OSError(text)
    assert breaker.state is CircuitState.CLOSED
    with pytest.raises(OSError, match="record"):
        breaker.call(fail, OSError("record"))
    assert breaker.state is CircuitState.OPEN
    assert breaker.metrics()["ignored"] == breaker.metrics()["succeeded"] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_judge_that_fails_is_reported_and_does_not_replace_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    breaker = CircuitBreaker("db", ignore=lambda error: error.nothing)
    with pytest.raises(OSError, match="no"):
        breaker.call(fail)
    assert [type(report.exc_value) for report in reported] == [AttributeError]
    assert breaker.metrics()["failed"] == 1


# --- permits ---


def test_a_permit_reports_once(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    permit.failure()
    permit.failure()
    permit.success()
    with permit:
        pass
    assert breaker.metrics()["failed"] == 1
    assert breaker.metrics()["succeeded"] == 0


def test_a_lost_permit_is_given_back(clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)
    half_open(breaker, clock)
    permit = breaker.acquire()
    with pytest.raises(CircuitOpenError, match="half-open and its probes are under way") as refusal:
        breaker.acquire()
    assert refusal.value.retry_after is None
    del permit
    breaker.acquire().success()
    assert breaker.state is CircuitState.CLOSED


def test_ignore_and_cancel_give_it_back(clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)
    half_open(breaker, clock)
    breaker.acquire().ignore()
    breaker.acquire().cancel()
    assert breaker.snapshot()["permits"] == 1
    assert breaker.metrics()["ignored"] == breaker.metrics()["cancelled"] == 1


def test_a_late_success_does_not_close(clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)
    early = breaker.acquire()
    half_open(breaker, clock)
    probe = breaker.acquire()
    early.success()
    assert breaker.state is CircuitState.HALF_OPEN
    probe.failure()
    assert breaker.state is CircuitState.OPEN
    assert breaker.metrics()["late"] == 1


def test_exit_without_enter_is_an_interface_error(breaker: CircuitBreaker) -> None:
    with pytest.raises(InterfaceError, match="'db': __exit__ without __enter__"):
        breaker.__exit__(None, None, None)


# --- asyncio ---


@pytest.mark.parametrize("form", ["async with", "with", "decorator"])
def test_a_cancelled_probe_gives_its_permit_back(form: str, clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)
    half_open(breaker, clock)

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def probe() -> None:
        if form == "async with":
            async with breaker:
                await stuck()
        elif form == "with":
            with breaker:
                await stuck()
        else:
            await breaker(stuck)()

    async def main() -> None:
        task = asyncio.create_task(probe())
        await asyncio.sleep(0)
        assert breaker.snapshot()["permits"] == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.snapshot()["permits"] == 1
    assert breaker.metrics()["cancelled"] == 1
    breaker.call(lambda: None)
    assert breaker.state is CircuitState.CLOSED


def test_a_timeout_is_a_failure() -> None:
    breaker = CircuitBreaker("db", failure_threshold=1)

    async def main() -> None:
        async with breaker, asyncio.timeout(0.001):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("form", ["async with", "with"])
def test_tasks_do_not_report_for_each_other(form: str, clock: ManualClock) -> None:
    """The first task began before the trouble and succeeds while the second one's probe is under way."""
    breaker = CircuitBreaker("db", half_open_calls=1, clock=clock)

    async def guarded(until: asyncio.Event) -> None:
        if form == "with":
            with breaker:
                await until.wait()
        else:
            async with breaker:
                await until.wait()

    async def main() -> None:
        first_may_end, second_may_end = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(guarded(first_may_end))
        await asyncio.sleep(0)
        half_open(breaker, clock)
        second = asyncio.create_task(guarded(second_may_end))
        await asyncio.sleep(0)
        first_may_end.set()
        await first
        assert breaker.state is CircuitState.HALF_OPEN
        assert breaker.metrics()["late"] == 1
        second_may_end.set()
        await second
        assert breaker.state is CircuitState.CLOSED

    asyncio.run(main())


def test_with_blocks_nest(breaker: CircuitBreaker) -> None:
    with breaker, breaker:
        with pytest.raises(OSError, match="no"), breaker:
            fail()
        with breaker:
            pass
    assert breaker.metrics()["succeeded"] == 3
    assert breaker.metrics()["failed"] == 1


def test_many_tasks_at_once(breaker: CircuitBreaker) -> None:
    async def one(number: int) -> None:
        async with breaker:
            await asyncio.sleep(number % 7 / 1000)
            if number % 10 == 0:
                raise KeyError(number)

    async def main() -> None:
        breaker.force(CircuitState.METRICS_ONLY)
        tasks = [asyncio.create_task(one(number)) for number in range(500)]
        await asyncio.sleep(0)
        for task in tasks[3::10]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    metrics = breaker.metrics()
    assert (metrics["succeeded"], metrics["failed"], metrics["cancelled"]) == (400, 50, 50)


# --- threads and processes ---


def test_counts_are_exact_among_threads(breaker: CircuitBreaker) -> None:
    def work() -> None:
        for number in range(3000):
            with breaker:
                pass
            if number % 3 == 0:
                breaker.call(int)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.metrics()["succeeded"] == 8 * 4000


def test_a_forked_child_has_a_breaker_of_its_own(breaker: CircuitBreaker) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: other tests' threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            trip(breaker)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert breaker.state is CircuitState.CLOSED
    assert breaker.metrics()["failed"] == 0


# --- the decorator ---


def test_the_decorator_keeps_what_describes_a_function(breaker: CircuitBreaker) -> None:
    def fetch(order: int, *, fresh: bool = False) -> str:
        """Fetches it."""
        return f"{order} {fresh}"

    guarded = breaker(fetch)
    assert guarded(7, fresh=True) == "7 True"
    assert guarded.__name__ == "fetch"
    assert guarded.__doc__ == "Fetches it."
    assert guarded.__module__ == __name__
    assert inspect.unwrap(guarded) is fetch
    assert inspect.signature(guarded) == inspect.signature(fetch)
    assert guarded.breaker is breaker
    assert "fetch" in repr(guarded)
    assert "<CircuitBreaker 'db': closed>" in repr(guarded)


def test_the_decorator_makes_methods(breaker: CircuitBreaker) -> None:
    class Orders:
        def __init__(self, base: int) -> None:
            self.base = base

        @breaker
        def plain(self, number: int) -> int:
            return self.base + number

        @classmethod
        @breaker
        def of_class(cls, number: int) -> tuple[type, int]:
            return cls, number

        @staticmethod
        @breaker
        def static(number: int) -> int:
            return number

        @breaker
        async def later(self, number: int) -> int:
            return self.base + number

    orders = Orders(40)
    assert orders.plain(2) == 42
    assert Orders.plain(orders, 2) == 42
    assert orders.of_class(1) == (Orders, 1)
    assert orders.static(3) == 3
    assert asyncio.run(orders.later(2)) == 42
    assert breaker.metrics()["succeeded"] == 5


def test_an_async_function_stays_one(breaker: CircuitBreaker) -> None:
    @breaker
    async def later() -> None:
        """Later."""

    assert inspect.iscoroutinefunction(later)
    assert later.__doc__ == "Later."
    asyncio.run(later())
    assert breaker.metrics()["succeeded"] == 1


def test_generator_functions_are_refused(breaker: CircuitBreaker) -> None:
    def rows() -> Iterator[int]:
        yield 1

    async def rows_later():
        yield 1

    for func in (rows, rows_later):
        with pytest.raises(TypeError, match="is a generator function: put `with breaker:`"):
            breaker(func)


def test_a_coroutine_is_no_success(breaker: CircuitBreaker) -> None:
    async def later() -> None: ...

    def sneaky() -> object:
        return later()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match="returned a coroutine, whose outcome comes later"):
            breaker.call(later)
        with pytest.raises(TypeError, match="returned a coroutine"):
            breaker(sneaky)()
        gc.collect()
    assert breaker.metrics()["succeeded"] == 0
    assert breaker.metrics()["cancelled"] == 2


def test_call_hands_on_arguments_and_needs_a_function(breaker: CircuitBreaker) -> None:
    assert breaker.call(dict, [("a", 1)], b=2, func=3) == {"a": 1, "b": 2, "func": 3}
    with pytest.raises(TypeError, match="misses the function"):
        breaker.call()
    with pytest.raises(TypeError, match="not callable"):
        breaker.call(7)


# --- states and listeners ---


def test_states_by_hand(breaker: CircuitBreaker, clock: ManualClock) -> None:
    breaker.force(CircuitState.FORCED_OPEN)
    clock.advance(1000)
    with pytest.raises(
        CircuitOpenError, match="'db' is forced open until it is set to another state"
    ) as refusal:
        breaker.call(int)
    assert refusal.value.retry_after is None

    for state in ("disabled", CircuitState.METRICS_ONLY):
        breaker.force(state)
        for _ in range(10):
            with pytest.raises(OSError, match="no"):
                breaker.call(fail)
        assert breaker.state == state
    assert breaker.snapshot()["consecutive_failures"] == 10

    breaker.reset()
    assert breaker.state is CircuitState.CLOSED
    with pytest.raises(ConfigurationError, match=r"state must be a CircuitState: closed, .*, not 'ajar'"):
        breaker.force("ajar")


def test_listeners_hear_changes_in_order(breaker: CircuitBreaker, clock: ManualClock) -> None:
    heard: list[CircuitChange] = []
    breaker.add_listener(heard.append)
    half_open(breaker, clock)
    for _ in range(3):
        breaker.call(int)
    assert [(change.name, change.from_state, change.to_state, change.reason) for change in heard] == [
        ("db", CircuitState.CLOSED, CircuitState.OPEN, "too many failures in a row"),
        ("db", CircuitState.OPEN, CircuitState.HALF_OPEN, "the wait is over"),
        ("db", CircuitState.HALF_OPEN, CircuitState.CLOSED, "the probes succeeded"),
    ]
    generations = [change.generation for change in heard]
    assert generations == sorted(set(generations))

    breaker.remove_listener(heard.append)
    breaker.force("open")
    assert len(heard) == 3
    with pytest.raises(ValueError, match="is not a listener of this breaker"):
        breaker.remove_listener(print)
    with pytest.raises(TypeError, match="listener must be callable, not int"):
        breaker.add_listener(7)


def test_a_listener_may_use_the_breaker(breaker: CircuitBreaker) -> None:
    def close_again(change: CircuitChange) -> None:
        breaker.remove_listener(close_again)
        breaker.reset()
        breaker.call(int)

    breaker.add_listener(close_again)
    for _ in range(5):
        with pytest.raises(OSError, match="no"):
            breaker.call(fail)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.metrics()["succeeded"] == 1


def test_a_listener_that_raises_changes_nothing(
    breaker: CircuitBreaker, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    reported = []
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    breaker.add_listener(lambda change: 1 / 0)
    breaker.add_listener(heard.append)
    trip(breaker)  # each of its calls still raises its own OSError
    clock.advance(60)
    assert breaker.call(lambda: "result") == "result"
    assert [type(report.exc_value) for report in reported] == [ZeroDivisionError] * 2
    assert len(heard) == 2


# --- settings ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be within 1 to 1000000, not 0"),
        ({"failure_threshold": -1}, "failure_threshold must be within 1 to 1000000, not -1"),
        ({"failure_threshold": 10**30}, "failure_threshold must be within 1 to 1000000, not 10000"),
        ({"failure_threshold": 5, "window": "count"}, "failure_threshold does nothing with a window"),
        ({"recovery_timeout": 0}, "recovery_timeout must be 0.001 to 31536000 seconds, not 0"),
        (
            {"recovery_timeout": float("nan")},
            "recovery_timeout must be a number of seconds, 0 or",
        ),
        ({"recovery_timeout": -5}, "recovery_timeout must be a number of seconds, 0 or more, not -5"),
        ({"half_open_calls": 1001}, "half_open_calls must be within 1 to 1000, not 1001"),
        ({"half_open_timeout": 1e-6}, "half_open_timeout must be 0.001 to 31536000 seconds, not 1e-06"),
        ({"window": "calls"}, "window must be 'count', 'time' or None, not 'calls'"),
        ({"window_size": 10}, "window_size does nothing without a window"),
        ({"minimum_calls": 10}, "minimum_calls does nothing without a window"),
        ({"failure_rate": 0.5}, "failure_rate does nothing without a window"),
        ({"slow_call_duration": 1}, "slow_call_duration does nothing without a window"),
        ({"slow_call_rate": 0.5}, "slow_call_rate does nothing without slow_call_duration"),
        ({"window": "count", "window_size": 4097}, "window_size must be within 1 to 4096, not 4097"),
        ({"window": "time", "window_size": 0.5}, "window_size must be 1 to 31536000 seconds, not 0.5"),
        (
            {"window": "count", "window_size": 5, "minimum_calls": 6},
            "minimum_calls must be 1 to 5, not 6",
        ),
        ({"window": "count", "failure_rate": 50}, "failure_rate must be 0.000001 to 1, not 50"),
        ({"window": "time", "failure_rate": 0}, "failure_rate must be 0.000001 to 1, not 0"),
        (
            {"window": "time", "slow_call_duration": 1, "slow_call_rate": 2},
            "slow_call_rate must be 0.000001 to 1, not 2",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_by_name_and_range(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        CircuitBreaker("db", **settings)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failure_threshold": 5.0}, "failure_threshold must be an int, not float"),
        ({"failure_threshold": True}, "failure_threshold must be an int, not bool"),
        ({"recovery_timeout": "60"}, "recovery_timeout must be a number of seconds or None, not str"),
        ({"recovery_timeout": None}, "recovery_timeout must be a number of seconds, not None"),
        ({"window": "count", "failure_rate": "half"}, "failure_rate must be a number, not str"),
        ({"record": 7}, "record must be an exception class, a tuple of them, or a function"),
        ({"record": int}, "record must be an exception class, a tuple of them, or a function"),
        ({"ignore": (KeyError, int)}, "ignore must hold exception classes, not <class 'int'>"),
        ({"clock": 7}, "clock must be a ManualClock or None, not int"),
        ({"treshold": 5}, "treshold"),
        ({"name": None}, "str"),
    ],
)
def test_values_of_the_wrong_type_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError) as refusal:
        CircuitBreaker(**settings)
    assert message in str(refusal.value)


def test_a_small_window_needs_no_minimum() -> None:
    breaker = CircuitBreaker("db", window="count", window_size=2)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            breaker.call(fail)
    assert breaker.state is CircuitState.OPEN


def test_slow_calls_are_measured(clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", window="count", minimum_calls=2, slow_call_duration=0.5, clock=clock)
    for _ in range(2):
        breaker.call(clock.advance, 0.6)
    assert breaker.state is CircuitState.OPEN
    assert breaker.metrics()["slow"] == 2


# --- looking at it, and letting it go ---


def test_snapshot_tells_all(clock: ManualClock) -> None:
    breaker = CircuitBreaker("db", window="count", minimum_calls=2, failure_rate=1, clock=clock)
    breaker.call(int)
    assert breaker.snapshot()["failure_rate"] is None
    with pytest.raises(OSError, match="no"):
        breaker.call(fail)
    clock.advance(2.5)
    snapshot = breaker.snapshot()
    assert snapshot["name"] == "db"
    assert snapshot["state"] is CircuitState.CLOSED
    assert snapshot["state_age"] == 2.5
    assert snapshot["retry_after"] is None
    assert snapshot["window_calls"] == 2
    assert snapshot["failure_rate"] == 0.5
    assert breaker.metrics().items() <= snapshot.items()
    breaker.force("open")
    assert breaker.snapshot()["retry_after"] == 60
    assert repr(breaker) == "<CircuitBreaker 'db': open>"


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_pickled_or_copied(copier: Callable[[object], object], breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError, match="circuit breaker 'db' cannot be pickled or copied"):
        copier(breaker)


def test_its_states_can_be_pickled() -> None:
    for state in CircuitState:
        assert pickle.loads(pickle.dumps(state)) is state  # noqa: S301 - our own bytes
    assert CircuitState("half_open") is CircuitState.HALF_OPEN


def test_cycles_are_collected() -> None:
    breaker = CircuitBreaker("db")
    breaker.add_listener(lambda change, breaker=breaker: breaker.reset())
    breaker.guarded = breaker(breaker.reset)
    breaker.permit = breaker.acquire()
    gone = weakref.ref(breaker)
    del breaker
    gc.collect()
    assert gone() is None


def test_nothing_leaks(clock: ManualClock) -> None:
    @CircuitBreaker("decorated")
    def guarded() -> None: ...

    def has_no_text(error: BaseException) -> bool:
        return not error.args

    async def later(breaker: CircuitBreaker) -> None:
        async with breaker:
            pass

    def everything() -> None:
        breaker = CircuitBreaker(
            "db", window="time", slow_call_duration=1, ignore=lambda error: False, clock=clock
        )
        breaker.add_listener(lambda change: None)
        for _ in range(12):
            try:
                with breaker:
                    fail()
            except (OSError, CircuitOpenError):
                pass
        breaker.snapshot()
        breaker.metrics()
        breaker.reset()
        breaker.call(guarded)
        breaker.acquire()
        loop.run_until_complete(later(breaker))
        for bad in ({"window": "x"}, {"record": 7}, {"failure_rate": 2}):
            with pytest.raises((ConfigurationError, TypeError)):
                CircuitBreaker("db", **bad)

    loop = asyncio.new_event_loop()
    try:
        for _ in range(50):
            everything()
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(200):
            everything()
        gc.collect()
        assert sys.getallocatedblocks() - before < 100  # one block a round would be 200
    finally:
        loop.close()
