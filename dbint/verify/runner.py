"""Runs probes side by side, each in a thread with a deadline, and always comes back.

A probe waits for those it requires, and fails at once when one of them did. A probe past its deadline counts
as failed even when its thread hangs in a call that never returns: its sockets are shut, and if that does not
help either the thread is left behind (it is a daemon). Quiet probes, which measure, run alone after the
others.

Whatever a probe has made it undoes in its own thread: after it ended, after its deadline and after an
interrupt. The run waits for that, but not for ever; what remains is named in the report.
"""

import contextlib
import graphlib
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dbint.verify.diagnosis import Kind, classify, one_line, place
from dbint.verify.libraries import library_versions
from dbint.verify.probe import Probe, ProbeAborted, Scope, Verdict
from dbint.verify.redaction import Redactor
from dbint.verify.result import Report, Result, Status

# How long clean-up may take after the last probe has ended or was given up.
GRACE = 5.0
# A server may quote a whole row; the report is read by people.
LONGEST_MESSAGE = 600


def shortened(text: str) -> str:
    """``text``, with its middle left out when it is very long."""
    if len(text) <= LONGEST_MESSAGE:
        return text
    half = LONGEST_MESSAGE // 2
    return f"{text[:half]} [...] {text[-half:]}"


class Interrupted(BaseException):
    """Raised in the main thread by a signal handler: stop, clean up, report. ``args[0]`` is the signal."""


@dataclass(frozen=True)
class Started:
    probe: Probe


@dataclass(frozen=True)
class Finished:
    probe: Probe
    result: Result


Event = Started | Finished


@dataclass
class _Running:
    probe: Probe
    scope: Scope
    began: float
    ends: float
    thread: threading.Thread


@dataclass
class Runner:
    """Runs ``probes`` once. ``watch`` hears of each start and end, in the calling thread.

    ``tracebacks`` puts the redacted traceback of an unexpected error into the result's details.
    """

    probes: Sequence[Probe]
    redact: Redactor = field(default_factory=Redactor)
    tracebacks: bool = False
    watch: Callable[[Event], None] = lambda _event: None
    not_run: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    grace: float = GRACE

    def __post_init__(self) -> None:
        by_name = {probe.name: probe for probe in self.probes}
        if len(by_name) != len(self.probes):
            raise ValueError("two probes have the same name")
        for probe in self.probes:
            for name in probe.requires:
                if name not in by_name:
                    raise ValueError(f"{probe.name} requires {name}, which is not part of this run")
                if by_name[name].quiet and not probe.quiet:
                    raise ValueError(f"{probe.name} requires {name}, which runs after it")
        graphlib.TopologicalSorter({probe.name: probe.requires for probe in self.probes}).prepare()
        self._results: dict[str, Result] = {}
        self._running: dict[str, _Running] = {}
        self._threads: list[_Running] = []
        self._done: queue.SimpleQueue[tuple[str, Result]] = queue.SimpleQueue()

    def run(self) -> Report:
        """Runs them all; `Interrupted` or KeyboardInterrupt ends the run early, with what is known."""
        started_at, began = datetime.now(UTC), time.monotonic()
        interrupted: int | None = None
        try:
            self._run_all()
            self._wait_for_clean_up()
        except (Interrupted, KeyboardInterrupt) as order:
            interrupted = order.args[0] if order.args else 2
            with contextlib.suppress(Interrupted, KeyboardInterrupt):
                # A second signal ends the wait; the report says what is left.
                self._interrupt()
                self._wait_for_clean_up()
            self._finish_the_rest()
        return Report(
            results=[self._results[probe.name] for probe in self.probes],
            started_at=started_at,
            duration=time.monotonic() - began,
            read_only=self.read_only,
            not_run=self.not_run,
            libraries=library_versions(),
            leftovers=[self.redact(what) for item in self._threads for what in item.scope.pending()],
            interrupted=interrupted,
        )

    def _run_all(self) -> None:
        while len(self._results) < len(self.probes):
            self._start_what_is_ready()
            if not self._running:
                continue
            soonest = min(item.ends for item in self._running.values())
            try:
                name, result = self._done.get(timeout=max(soonest - time.monotonic(), 0.01))
            except queue.Empty:
                self._give_up_late_ones()
            else:
                # A late probe's own result comes too late: it has failed by its deadline.
                if (item := self._running.pop(name, None)) is not None:
                    self._finish(item.probe, result)

    def _ready(self) -> list[Probe]:
        waiting = [p for p in self.probes if p.name not in self._results and p.name not in self._running]
        ready = [p for p in waiting if all(name in self._results for name in p.requires)]
        if loud := [p for p in ready if not p.quiet]:
            return loud
        if self._running or any(not p.quiet for p in waiting):
            return []
        return ready[:1]

    def _start_what_is_ready(self) -> None:
        while ready := self._ready():
            for probe in ready:
                missing = [self._results[name] for name in probe.requires]
                missing = [result for result in missing if result.status is not Status.PASSED]
                if missing:
                    self._finish(probe, self._because_of(probe, missing))
                else:
                    self._start(probe)

    def _start(self, probe: Probe) -> None:
        scope, began = Scope(probe.deadline), time.monotonic()
        thread = threading.Thread(
            target=self._run_one, args=(probe, scope, began), name=f"dbint-verify {probe.name}", daemon=True
        )
        item = _Running(probe, scope, began, began + probe.deadline, thread)
        self._running[probe.name] = item
        self._threads.append(item)
        self.watch(Started(probe))
        thread.start()

    def _run_one(self, probe: Probe, scope: Scope, began: float) -> None:
        """@thread the probe's own. Never raises."""
        try:
            message = probe.run(scope)
            result = self._result(probe, scope, Status.PASSED, message, began)
        except Verdict as verdict:
            result = self._result(probe, scope, verdict.status, str(verdict), began, verdict.advice)
        except ProbeAborted:
            result = self._result(
                probe, scope, Status.UNKNOWN, f"stopped while waiting for {scope.waiting_for}", began
            )
        except BaseException as error:  # noqa: BLE001 - whatever a probe meets becomes its result
            result = self._unexpected(probe, scope, error, began)
        failures = scope.clean_up()
        if failures:
            result = self._left_behind(result, failures)
        self._done.put((probe.name, result))

    def _unexpected(self, probe: Probe, scope: Scope, error: BaseException, began: float) -> Result:
        kind = classify(error)
        message = one_line(error)
        if kind is Kind.OTHER:
            message = f"{message} (at {place(error)}, while waiting for {scope.waiting_for})"
        if self.tracebacks:
            scope.details["traceback"] = "".join(traceback.format_exception(error))
        scope.details["error"] = kind.value
        try:
            advice = tuple(probe.advice(error))
        except Exception as second:  # noqa: BLE001 - advice is an extra; the first error is the news
            advice = (f"(no advice: {one_line(second)})",)
        return self._result(probe, scope, Status.FAILED, message, began, advice)

    def _left_behind(self, result: Result, failures: Iterable[tuple[str, Exception]]) -> Result:
        lines = [self.redact(f"{what}: {one_line(error)}") for what, error in failures]
        return replace(
            result,
            status=Status.FAILED,
            message=f"{result.message}; could not remove {'; '.join(lines)}",
            advice=[*result.advice, "A later run removes it when it is an hour old, or remove it by hand."],
        )

    def _result(
        self,
        probe: Probe,
        scope: Scope,
        status: Status,
        message: str,
        began: float,
        advice: Sequence[str] = (),
    ) -> Result:
        required = [self._results[name] for name in probe.requires if name in self._results]
        versions = list(dict.fromkeys(f"{r.server} {r.version}" for r in required if r.version))
        inherited = None
        if len(versions) == 1:
            inherited = next(r.version for r in required if r.version)
        elif versions:
            inherited = ", ".join(versions)
        return Result(
            name=probe.name,
            group=probe.group,
            server=probe.server,
            alias=probe.alias,
            status=status,
            version=scope.version or inherited,
            emulated=scope.emulated or any(result.emulated for result in required),
            duration=time.monotonic() - began,
            message=shortened(self.redact(message)),
            advice=[self.redact(step) for step in advice],
            details=self.redact.deep(scope.details),
        )

    def _because_of(self, probe: Probe, missing: Sequence[Result]) -> Result:
        absent = [result for result in missing if result.status is Status.NOT_CONFIGURED]
        reasons = ", ".join(f"{result.name} {result.status.words}" for result in missing)
        status = Status.FAILED
        if absent:
            # What the project does not use cannot fail it, whatever else is wrong.
            status, reasons = (
                Status.NOT_CONFIGURED,
                ", ".join(f"{r.server} is not configured" for r in absent),
            )
        elif all(result.status is Status.UNKNOWN for result in missing):
            status = Status.UNKNOWN
        scope = Scope(0)
        scope.details["because_of"] = [result.name for result in missing]
        advice = () if absent else [step for result in missing for step in result.advice]
        return self._result(probe, scope, status, f"not tried: {reasons}", time.monotonic(), advice)

    def _give_up_late_ones(self) -> None:
        now = time.monotonic()
        for item in [item for item in self._running.values() if item.ends <= now]:
            del self._running[item.probe.name]
            item.scope.abort()
            self._finish(item.probe, self._late(item))

    def _late(self, item: _Running) -> Result:
        message = (
            f"no result within {item.ends - item.began:g} s; it was waiting for {item.scope.waiting_for}"
        )
        # The thread may still be writing into its own scope.
        scope = Scope(0)
        scope.version, scope.emulated = item.scope.version, item.scope.emulated
        scope.details["error"] = Kind.TIMEOUT.value
        advice = tuple(item.probe.advice(TimeoutError(message)))
        return self._result(item.probe, scope, Status.FAILED, message, item.began, advice)

    def _interrupt(self) -> None:
        for item in self._running.values():
            item.scope.abort()

    def _finish_the_rest(self) -> None:
        for probe in self.probes:
            if probe.name not in self._results:
                item = self._running.get(probe.name)
                began = item.began if item else time.monotonic()
                self._finish(probe, self._result(probe, Scope(0), Status.UNKNOWN, "interrupted", began))

    def _wait_for_clean_up(self) -> None:
        ends = time.monotonic() + self.grace
        for item in self._threads:
            item.thread.join(timeout=max(ends - time.monotonic(), 0) if item.scope.aborted else None)

    def _finish(self, probe: Probe, result: Result) -> None:
        self._results[probe.name] = result
        self.watch(Finished(probe, result))
