"""The two nouns of a verification: a `Probe` says what to find out, a `Scope` is its life while it runs."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dbint.verify.result import Status


class Verdict(Exception):  # noqa: N818 - a verdict ends a probe; only one of its kinds is an error
    """Ends a probe with a status other than passed.

    ``advice`` lists concrete steps: the setting, the service, the topic or table, the command to run next.
    """

    status: Status

    def __init__(self, message: str, advice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.advice = tuple(advice)


class ProbeFailed(Verdict):
    """What was verified does not hold."""

    status = Status.FAILED


class ProbeUnknown(Verdict):
    """It could not be found out whether it holds."""

    status = Status.UNKNOWN


class ProbeNotConfigured(Verdict):
    """There is nothing to verify: the project does not use it."""

    status = Status.NOT_CONFIGURED


class ProbeAborted(Exception):  # noqa: N818 - the runner's order to stop, not an error of the probe
    """The deadline has passed or the run was interrupted; raised out of the probe's own waits."""


class Scope:
    """A running probe: its deadline, what it waits for, what it found out and what it has to undo.

    A probe runs in a thread of its own. ``abort`` is called by the runner's thread, everything else by the
    probe's.
    """

    def __init__(self, deadline: float) -> None:
        self.version: str | None = None
        self.emulated = False
        self.details: dict[str, Any] = {}
        self.waiting_for = "the probe to begin"
        self._ends = time.monotonic() + deadline
        self._aborted = threading.Event()
        self._lock = threading.Lock()
        self._aborters: list[Callable[[], object]] = []
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def doing(self, what: str) -> None:
        """Says what comes next ("the answer to SELECT 1"): the line that a missed deadline will show."""
        self.check()
        self.waiting_for = what

    def check(self) -> None:
        """Raises `ProbeAborted` when the probe should stop."""
        if self._aborted.is_set():
            raise ProbeAborted

    @property
    def aborted(self) -> bool:
        return self._aborted.is_set()

    def remaining(self) -> float:
        """Seconds until the deadline, at least a tenth: what to give to a call that takes a timeout."""
        self.check()
        return max(self._ends - time.monotonic(), 0.1)

    def sleep(self, seconds: float) -> None:
        """Sleeps, but not past an abort."""
        if self._aborted.wait(seconds):
            raise ProbeAborted

    @contextlib.contextmanager
    def abortable(self, break_off: Callable[[], object]) -> Iterator[None]:
        """While inside, an abort calls ``break_off``, from another thread, to end a wait."""
        with self._lock:
            self._aborters.append(break_off)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._aborters.remove(break_off)

    def abort(self) -> None:
        self._aborted.set()
        with self._lock:
            aborters = list(self._aborters)
        for break_off in aborters:
            # A handle that is already closed is what is wanted; whatever else goes wrong, the runner does
            # not wait for this probe any more.
            with contextlib.suppress(Exception):
                break_off()

    def defer(self, what: str, undo: Callable[[], object]) -> None:
        """Registers the removal of something the probe is about to make. Runs last in, first out, always."""
        with self._lock:
            self._undo.append((what, undo))

    def clean_up(self) -> list[tuple[str, Exception]]:
        """Undoes everything; returns what could not be undone and why."""
        self.waiting_for = "its clean-up"
        failures: list[tuple[str, Exception]] = []
        for what, undo in reversed(self._undo.copy()):
            try:
                undo()
            except Exception as error:  # noqa: BLE001 - the rest must be undone whatever happened to this one
                failures.append((what, error))
            with self._lock:
                self._undo.remove((what, undo))
        return failures

    def pending(self) -> list[str]:
        """What is not undone yet."""
        with self._lock:
            return [what for what, _ in self._undo]


@dataclass(frozen=True, kw_only=True)
class Probe(ABC):
    """One thing to find out.

    ``name`` is unique in a run. ``requires`` names probes that must have passed before; when one has not,
    this one fails (or is not configured) at once, because of it. ``deadline`` is in seconds. ``writes`` says
    that the probe makes anything at all on a server, were it for a moment. ``quiet`` probes measure: they
    run alone, after all others.
    """

    name: str
    group: str
    server: str
    alias: str | None = None
    requires: tuple[str, ...] = ()
    deadline: float = 10.0
    writes: bool = False
    quiet: bool = False

    @abstractmethod
    def run(self, scope: Scope) -> str:
        """Finds it out; returns one line that says what was seen.

        Raises `ProbeFailed`, `ProbeUnknown` or `ProbeNotConfigured`; any other exception is diagnosed by the
        runner and counts as failed.
        """

    def advice(self, error: BaseException) -> Sequence[str]:  # noqa: ARG002 - for subclasses
        """Steps for an unexpected ``error``; subclasses know their server better."""
        return ()
