"""A circuit breaker: stops calling what keeps failing, probes it after a while, then closes again.

    breaker = CircuitBreaker("orders-db", ignore=IntegrityError)

    with breaker:                       # async with, too
        cursor.execute(...)

    breaker.call(fetch, order_id)       # the cheapest way

    @breaker                            # a function or an async function
    def fetch(order_id): ...

While it is open, each of these raises :class:`~dbint.errors.CircuitOpenError` (``retry_after``: seconds) and
calls nothing. The state machine is the C core's (``csrc/core/breaker.h``). The default rule is that of the
database layer (5 failures in a row, 60 s, 3 successes); the rest is what resilience4j has.
"""

import functools
import inspect
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from dbint import _core
from dbint._core import CircuitChange, CircuitState, ManualClock, Permit

__all__ = ["CircuitBreaker", "CircuitChange", "CircuitState", "ManualClock", "Permit"]

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(_core.CircuitBreaker):
    """A circuit breaker that threads and asyncio tasks share.

    ``name`` stands in errors, changes and metrics: give each breaker its own.

    It opens by one of two rules:

    - ``failure_threshold``: so many failures in a row (1 to 1000000, default 5); or
    - ``window``, ``"count"`` or ``"time"``: rates over the last ``window_size`` calls (1 to 4096, default
      100) or seconds (from 1, default 60), judged once there are ``minimum_calls`` (default 10).
      ``failure_rate`` (0.000001 to 1, default 0.5) is of calls that failed, ``slow_call_rate`` (the same,
      default 1) of calls that took longer than ``slow_call_duration`` seconds (default None: durations are
      not measured).

    It stays open for ``recovery_timeout`` seconds (0.001 to a year, default 60). Then it lets
    ``half_open_calls`` (1 to 1000, default 3) through as probes: without a window it closes when all have
    succeeded and opens again when one fails; with a window their rates decide when all have ended. When all
    have started and there is no verdict for ``half_open_timeout`` seconds (default 60; None: never), it
    opens again.

    Which exceptions count: ``record`` and ``ignore`` are each an exception class, a tuple of classes or a
    function of the exception. Those of ``ignore`` (default: none) are as if the call had not been made;
    others of ``record`` (default: ``Exception``) are failures; any other ``Exception`` is a success, for
    the other side answered. What is no ``Exception`` (a task's cancellation, ``KeyboardInterrupt``) gives
    the permit back, unless it is recorded.

    A ``with breaker:`` finds its own permit again by thread and asyncio task. Where several are open at once
    in one task (generators that take turns, an ``ExitStack`` handed on), write ``with breaker.acquire():``.

    ``clock``: a :class:`ManualClock`, for tests.

    Raises ConfigurationError, which names the argument and its range, for values that cannot work.
    """

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        """The decorator: ``func`` with each of its calls guarded; an async function stays one.

        Raises TypeError for generator functions: their work is done while they are iterated, out of sight.
        """
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(
                f"{func!r} is a generator function: put `with breaker:` into it, around what may fail"
            )
        if not inspect.iscoroutinefunction(func):
            return cast("Callable[P, R]", functools.update_wrapper(_core.GuardedFunction(self, func), func))

        coroutine_function = cast("Callable[P, Coroutine[Any, Any, Any]]", func)

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self.acquire():
                return await coroutine_function(*args, **kwargs)

        return cast("Callable[P, R]", guarded)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, traceback)
