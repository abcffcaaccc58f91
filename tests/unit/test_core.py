"""The extension module as a whole: its exceptions, metrics and clock, and what it shows to the linker."""

import importlib.machinery
import pickle
import shutil
import subprocess

import pytest

from dbint import _core, errors
from dbint.breaker import CircuitBreaker, CircuitState, ManualClock

# csrc/core/err.h: the code's number and the exception that it raises
EXCEPTIONS = {
    -1: MemoryError,
    -2: errors.InterfaceError,
    -3: errors.InterfaceError,
    -4: errors.DeadlineError,
    -5: errors.QueueFullError,
    -6: errors.MessageTooLargeError,
    -7: errors.ClosedError,
    -8: errors.CircuitOpenError,
    -9: errors.OperationalError,
    -10: errors.ConfigurationError,
    -11: errors.KafkaError,
    -12: errors.KafkaRetriableError,
    -13: errors.KafkaAbortError,
    -14: errors.KafkaFatalError,
    -15: errors.AuthenticationError,
    -16: errors.UnreachableError,
    -17: errors.InterfaceError,
    -18: errors.OperationalError,
    -19: errors.DatabaseError,
    -20: errors.JournalError,
    -21: errors.OperationalError,
}

SQLSTATES = {
    "08006": errors.UnreachableError,
    "28P01": errors.AuthenticationError,
    "57014": errors.DeadlineError,
    "57P01": errors.OperationalError,
    "53300": errors.OperationalError,
    "25006": errors.OperationalError,
    "25001": errors.DatabaseError,
    "40P01": errors.OperationalError,
    "42P01": errors.DatabaseError,
    "23505": errors.DatabaseError,
}


def test_every_result_code_has_its_exception() -> None:
    assert {code: _core.error_class(code) for code in EXCEPTIONS} == EXCEPTIONS
    for unknown in (0, 1, min(EXCEPTIONS) - 1):  # a new code must be added above
        with pytest.raises(ValueError, match="is not a result code of an error"):
            _core.error_class(unknown)


def test_a_sqlstate_decides_by_its_class() -> None:
    assert {sqlstate: _core.error_class(-9, sqlstate) for sqlstate in SQLSTATES} == SQLSTATES
    with pytest.raises(ValueError, match="5 characters"):
        _core.error_class(-9, "571014")


def test_every_exception_of_the_library_is_an_error() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type):
            assert issubclass(value, errors.Error), name


def test_errors_can_be_pickled() -> None:
    refused = CircuitBreaker("db")
    refused.force(CircuitState.OPEN)
    with pytest.raises(errors.CircuitOpenError) as caught:
        refused.call(int)
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (str(copied), copied.code) == (str(caught.value), "DBI_EOPEN")
    assert copied.retry_after == caught.value.retry_after


def test_metrics_snapshot_shows_each_breaker_while_it_lives() -> None:
    def metrics_of(name: str) -> dict[tuple[str, str], object]:
        return {
            (metric, labels.get("outcome") or labels.get("state") or ""): (kind, value)
            for metric, kind, labels, value in _core.metrics_snapshot()
            if labels.get("breaker") == name
        }

    clock = ManualClock()
    breaker = CircuitBreaker(
        "snapshot-tëst", window="count", minimum_calls=1, failure_rate=1, slow_call_duration=1, clock=clock
    )
    for _ in range(3):
        breaker.call(clock.advance, 0.25)
    shown = metrics_of("snapshot-tëst")
    assert shown["dbint_breaker_calls_total", "succeeded"] == ("counter", 3)
    assert shown["dbint_breaker_calls_total", "rejected"] == ("counter", 0)
    assert shown["dbint_breaker_state", "closed"] == ("gauge", 1.0)
    assert shown["dbint_breaker_state", "open"] == ("gauge", 0.0)
    assert shown["dbint_breaker_failure_ratio", ""] == ("gauge", 0.0)
    kind, histogram = shown["dbint_breaker_call_duration_seconds", ""]
    assert kind == "histogram"
    assert histogram["count"] == 3
    assert histogram["sum"] == pytest.approx(0.75)
    assert histogram["max"] == histogram["p50"] == histogram["p99"] == 0.25
    [(upper, count)] = histogram["buckets"]
    assert count == 3
    assert 0.25 <= upper <= 0.25 * 33 / 32

    del breaker
    assert metrics_of("snapshot-tëst") == {}


def test_manual_clock() -> None:
    clock = ManualClock(5)
    assert clock.now == 5.0
    clock.advance(0.57)
    assert clock.now == 5.57
    clock.advance(1e300)  # as far as a clock goes
    assert clock.now == pytest.approx(2**63 / 1e9)
    with pytest.raises(errors.ConfigurationError, match="0 or more, not -1"):
        clock.advance(-1)
    with pytest.raises(TypeError, match="now must be a number of seconds"):
        ManualClock("noon")


def test_the_extension_exports_one_symbol() -> None:
    assert isinstance(_core.__spec__.loader, importlib.machinery.ExtensionFileLoader)
    nm = shutil.which("nm")
    assert nm, "nm (binutils) is needed: apt-get install binutils"
    command = [nm, "-D", "--defined-only", "--format=posix", _core.__file__]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    defined = {line.split()[0] for line in symbols} - {"_init", "_fini", "__bss_start", "_edata", "_end"}
    assert defined == {"PyInit__core"}
