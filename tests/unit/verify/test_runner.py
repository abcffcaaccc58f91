"""The runner: order, deadlines, clean-up, interrupts. No server takes part."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from dbint.verify import (
    Probe,
    ProbeFailed,
    ProbeNotConfigured,
    ProbeUnknown,
    Redactor,
    Report,
    Result,
    Runner,
    Scope,
    Status,
)
from dbint.verify.runner import Event, Interrupted, Started


@dataclass(frozen=True, kw_only=True)
class Scripted(Probe):
    group: str = "test"
    server: str = "nowhere"
    script: Callable[[Scope], str] = field(default=lambda scope: "fine")

    def run(self, scope: Scope) -> str:
        return self.script(scope)


def raising(error: BaseException) -> Callable[[Scope], str]:
    def script(scope: Scope) -> str:
        raise error

    return script


def run(*probes: Probe, **options: object) -> dict[str, Result]:
    return by_name(Runner(probes, **options).run())  # type: ignore[arg-type]


def by_name(report: Report) -> dict[str, Result]:
    return {result.name: result for result in report.results}


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (ProbeFailed("no", ["do this"]), Status.FAILED),
        (ProbeUnknown("who knows"), Status.UNKNOWN),
        (ProbeNotConfigured("not here"), Status.NOT_CONFIGURED),
        (RuntimeError("surprise"), Status.FAILED),
    ],
)
def test_an_exception_becomes_a_status(verdict: Exception, status: Status) -> None:
    result = run(Scripted(name="a", script=raising(verdict)))["a"]
    assert result.status is status
    assert str(verdict) in result.message


def test_an_unexpected_error_names_its_type_and_place_and_no_secret() -> None:
    probe = Scripted(name="a", script=raising(RuntimeError("password=hunter2 rejected by tralala")))
    result = run(probe, redact=Redactor(["tralala"]))["a"]
    assert "RuntimeError" in result.message
    assert "test_runner.py" in result.message
    assert "hunter2" not in result.message
    assert "tralala" not in result.message
    assert "Traceback" not in str(result.as_dict())
    with_traceback = run(probe, redact=Redactor(["tralala"]), tracebacks=True)["a"]
    assert "Traceback" in with_traceback.details["traceback"]
    assert "hunter2" not in str(with_traceback.as_dict())


def test_probes_run_side_by_side_and_after_what_they_require() -> None:
    together = threading.Barrier(2)

    def meet(scope: Scope) -> str:
        together.wait(timeout=5)
        return "met"

    order: list[str] = []
    results = run(
        Scripted(name="last", requires=("a", "b"), script=lambda scope: order.append("last") or "ok"),
        Scripted(name="a", script=meet),
        Scripted(name="b", script=meet),
        watch=lambda event: order.append(event.probe.name) if isinstance(event, Started) else None,
    )
    assert {result.status for result in results.values()} == {Status.PASSED}
    assert order[-1] == "last"


def test_what_requires_a_failure_fails_at_once_and_says_why() -> None:
    results = run(
        Scripted(name="a", script=raising(ProbeFailed("down", ["start it"]))),
        Scripted(name="b", requires=("a",), script=raising(AssertionError("must not run"))),
        Scripted(name="c", requires=("b",)),
    )
    assert results["b"].status is Status.FAILED
    assert results["b"].message == "not tried: a failed"
    assert results["b"].advice == ["start it"]
    assert results["b"].details["because_of"] == ["a"]
    assert results["c"].status is Status.FAILED


def test_what_requires_the_absent_is_not_configured_and_never_failed() -> None:
    results = run(
        Scripted(name="a", server="kafka", script=raising(ProbeNotConfigured("none"))),
        Scripted(name="b", script=raising(ProbeFailed("down"))),
        Scripted(name="c", requires=("a", "b")),
    )
    assert results["c"].status is Status.NOT_CONFIGURED
    assert "kafka is not configured" in results["c"].message


def test_a_probe_that_never_returns_fails_by_its_deadline_and_the_others_go_on() -> None:
    def hang(scope: Scope) -> str:
        scope.doing("an answer from 127.0.0.1:1")
        time.sleep(3)
        return "too late"

    began = time.monotonic()
    results = run(Scripted(name="slow", deadline=0.2, script=hang), Scripted(name="other"), grace=0.1)
    assert time.monotonic() - began < 2
    assert results["slow"].status is Status.FAILED
    assert results["slow"].message == "no result within 0.2 s; it was waiting for an answer from 127.0.0.1:1"
    assert results["other"].status is Status.PASSED


def test_a_missed_deadline_breaks_the_wait_off_and_cleans_up() -> None:
    broken, cleaned = threading.Event(), threading.Event()

    def hang(scope: Scope) -> str:
        scope.defer("the scratch table", cleaned.set)
        with scope.abortable(broken.set):
            broken.wait(timeout=5)
        return "late"

    report = Runner([Scripted(name="slow", deadline=0.2, script=hang)]).run()
    assert broken.is_set()
    assert cleaned.is_set()
    assert report.leftovers == []
    assert report.exit_code == 1


def test_clean_up_is_last_in_first_out_whatever_fails() -> None:
    undone: list[str] = []

    def script(scope: Scope) -> str:
        scope.defer("first", lambda: undone.append("first"))
        scope.defer("second", lambda: 1 / 0)
        scope.defer("third", lambda: undone.append("third"))
        raise ProbeFailed("broken")

    result = run(Scripted(name="a", script=script))["a"]
    assert undone == ["third", "first"]
    assert "could not remove second: ZeroDivisionError" in result.message


def test_a_passed_probe_that_leaves_something_behind_has_failed() -> None:
    def script(scope: Scope) -> str:
        scope.defer("topic x", lambda: 1 / 0)
        return "fine"

    result = run(Scripted(name="a", script=script))["a"]
    assert result.status is Status.FAILED
    assert "fine; could not remove topic x" in result.message


def test_clean_up_that_hangs_is_named_and_not_waited_for() -> None:
    def script(scope: Scope) -> str:
        scope.defer("table dbint_verify_1", lambda: time.sleep(3))
        return "fine"

    report = Runner([Scripted(name="a", deadline=0.2, script=script)], grace=0.1).run()
    assert report.leftovers == ["table dbint_verify_1"]
    assert "it was waiting for its clean-up" in report.results[0].message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cleans_up_and_reports_what_is_known(number: signal.Signals) -> None:
    cleaned = threading.Event()
    broken = threading.Event()

    def hang(scope: Scope) -> str:
        scope.defer("table", cleaned.set)
        with scope.abortable(broken.set):
            os.kill(os.getpid(), number)
            broken.wait(timeout=5)
            scope.check()
        return "never"

    def interrupt(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(number, interrupt)
    try:
        report = Runner(
            [
                Scripted(name="done"),
                Scripted(name="a", requires=("done",), script=hang),
                Scripted(name="b", requires=("a",)),
            ]
        ).run()
    finally:
        signal.signal(number, before)
    results = by_name(report)
    assert cleaned.is_set()
    assert report.exit_code == 128 + number
    assert [results[name].status for name in ("done", "a", "b")] == [
        Status.PASSED,
        Status.UNKNOWN,
        Status.UNKNOWN,
    ]
    assert results["b"].message == "interrupted"


def test_quiet_probes_run_alone_and_last() -> None:
    busy: list[str] = []
    overlaps: list[str] = []

    def script(name: str) -> Callable[[Scope], str]:
        def work(scope: Scope) -> str:
            if busy and name.startswith("quiet"):
                overlaps.append(name)
            busy.append(name)
            time.sleep(0.02)
            busy.remove(name)
            return "ok"

        return work

    started: list[str] = []
    run(
        *(Scripted(name=f"quiet {n}", quiet=True, script=script(f"quiet {n}")) for n in range(3)),
        *(Scripted(name=f"loud {n}", script=script(f"loud {n}")) for n in range(3)),
        watch=lambda event: started.append(event.probe.name) if isinstance(event, Started) else None,
    )
    assert not overlaps
    assert started[:3] == ["loud 0", "loud 1", "loud 2"]


def test_version_and_emulation_come_from_what_a_probe_requires() -> None:
    def identify(version: str, *, emulated: bool) -> Callable[[Scope], str]:
        def script(scope: Scope) -> str:
            scope.version, scope.emulated = version, emulated
            return "here"

        return script

    results = run(
        Scripted(name="p", server="postgres", script=identify("15.2", emulated=False)),
        Scripted(name="d", server="doris", script=identify("4.0.2", emulated=True)),
        Scripted(name="crud", requires=("p",)),
        Scripted(name="flow", requires=("p", "d")),
    )
    assert (results["crud"].version, results["crud"].emulated) == ("15.2", False)
    assert (results["flow"].version, results["flow"].emulated) == ("postgres 15.2, doris 4.0.2", True)


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ([Scripted(name="a"), Scripted(name="a")], "same name"),
        ([Scripted(name="a", requires=("b",))], "a requires b, which is not part of this run"),
        ([Scripted(name="a", quiet=True), Scripted(name="b", requires=("a",))], "runs after it"),
        ([Scripted(name="a", requires=("b",)), Scripted(name="b", requires=("a",))], "cycle"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(probes: list[Probe], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Runner(probes)


def test_a_run_over_nothing_is_red() -> None:
    assert Runner([]).run().exit_code == 2
    absent = Runner([Scripted(name="a", script=raising(ProbeNotConfigured("no")))]).run()
    assert absent.verified_nothing
    assert absent.exit_code == 2


def test_unknown_alone_is_not_a_failure_but_nothing_was_verified() -> None:
    unknown = Scripted(name="a", script=raising(ProbeUnknown("?")))
    assert Runner([unknown]).run().exit_code == 2
    assert Runner([unknown, Scripted(name="b")]).run().exit_code == 0


def test_watch_hears_of_every_probe_once() -> None:
    heard: list[Event] = []
    run(Scripted(name="a"), Scripted(name="b", requires=("a",)), watch=heard.append)
    assert [type(event).__name__ for event in heard] == ["Started", "Finished", "Started", "Finished"]


def test_a_report_says_with_which_libraries_it_was_made() -> None:
    libraries = Runner([Scripted(name="one")]).run().libraries
    assert {"dbint", "Django", "psycopg", "PyMySQL", "libpq", "librdkafka"} <= libraries.keys()
    assert all(version[0].isdigit() for version in libraries.values())
