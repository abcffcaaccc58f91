"""The circuit breaker against a model of its rules: random calls, waits and states set by hand."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from dbint.breaker import CircuitBreaker, CircuitState, ManualClock, Permit
from dbint.errors import CircuitOpenError

SLICES = 10


@dataclass
class Rules:
    """The settings, with all times in milliseconds."""

    window: str | None
    failure_threshold: int
    window_size: int
    minimum_calls: int
    failure_percent: int
    slow_after: int | None
    slow_percent: int
    recovery: int
    half_open_calls: int
    half_open_timeout: int | None


@dataclass
class Model:
    """What the documentation says, in the plainest Python. Rates are compared in whole per cent."""

    rules: Rules
    now: int = 0
    state: CircuitState = CircuitState.CLOSED
    generation: int = 1
    entered: int = 0
    row: int = 0
    results: deque[tuple[int, bool, bool]] = field(default_factory=deque)  # when, failed, slow
    started: int = 0
    last_probe: int = 0
    opened: int = 0
    late: int = 0

    def enter(self, state: CircuitState) -> None:
        self.state = state
        self.generation += 1
        self.entered = self.now
        self.row = self.started = 0
        self.results.clear()
        self.opened += state is CircuitState.OPEN

    def acquire(self) -> bool:
        rules = self.rules
        if self.state is CircuitState.OPEN:
            if self.now - self.entered < rules.recovery:
                return False
            self.enter(CircuitState.HALF_OPEN)
        if self.state is CircuitState.HALF_OPEN:
            if self.started < rules.half_open_calls:
                self.started += 1
                self.last_probe = self.now
                return True
            if rules.half_open_timeout is not None and self.now - self.last_probe >= rules.half_open_timeout:
                self.enter(CircuitState.OPEN)
            return False
        return self.state is not CircuitState.FORCED_OPEN

    def broken(self, results: list[tuple[int, bool, bool]]) -> bool:
        failed = sum(result[1] for result in results)
        slow = sum(result[2] for result in results)
        return failed * 100 >= self.rules.failure_percent * len(results) or (
            self.rules.slow_after is not None and slow * 100 >= self.rules.slow_percent * len(results)
        )

    def in_window(self) -> list[tuple[int, bool, bool]]:
        if self.rules.window == "count":
            return list(self.results)[-self.rules.window_size :]
        width = self.rules.window_size // SLICES
        return [result for result in self.results if self.now // width - result[0] // width < SLICES]

    def done(self, generation: int, began: int, outcome: str) -> None:
        rules = self.rules
        judged = outcome in ("success", "failure")
        if generation != self.generation:
            self.late += judged
            return
        slow = rules.slow_after is not None and self.now - began > rules.slow_after
        if self.state is CircuitState.HALF_OPEN:
            if not judged:
                self.started -= 1
                return
            self.results.append((self.now, outcome == "failure", slow))
            if rules.window is None and outcome == "failure":
                self.enter(CircuitState.OPEN)
            elif len(self.results) == rules.half_open_calls:
                reopen = rules.window is not None and self.broken(list(self.results))
                self.enter(CircuitState.OPEN if reopen else CircuitState.CLOSED)
        elif judged and self.state in (CircuitState.CLOSED, CircuitState.METRICS_ONLY):
            self.row = self.row + 1 if outcome == "failure" else 0
            self.results.append((self.now, outcome == "failure", slow))
            if self.state is CircuitState.METRICS_ONLY:
                return
            if rules.window is None:
                if self.row >= rules.failure_threshold:
                    self.enter(CircuitState.OPEN)
            elif len(window := self.in_window()) >= rules.minimum_calls and self.broken(window):
                self.enter(CircuitState.OPEN)


@st.composite
def all_rules(draw: st.DrawFn) -> Rules:
    window = draw(st.sampled_from([None, "count", "time"]))
    size = draw(st.integers(1, 12)) if window == "count" else draw(st.sampled_from([1000, 3000, 10000]))
    return Rules(
        window=window,
        failure_threshold=draw(st.integers(1, 6)),
        window_size=size,
        minimum_calls=draw(st.integers(1, size if window == "count" else 6)),
        failure_percent=draw(st.sampled_from([7, 25, 50, 60, 100])),
        slow_after=draw(st.sampled_from([None, 50])) if window else None,
        slow_percent=draw(st.sampled_from([25, 50, 100])),
        recovery=draw(st.sampled_from([1, 300])),
        half_open_calls=draw(st.integers(1, 3)),
        half_open_timeout=draw(st.sampled_from([None, 300])),
    )


def make(rules: Rules, clock: ManualClock) -> CircuitBreaker:
    chosen: dict[str, object] = {
        "recovery_timeout": rules.recovery / 1000,
        "half_open_calls": rules.half_open_calls,
        "half_open_timeout": None if rules.half_open_timeout is None else rules.half_open_timeout / 1000,
    }
    if rules.window is None:
        chosen |= {"failure_threshold": rules.failure_threshold}
    else:
        chosen |= {
            "window": rules.window,
            "window_size": rules.window_size if rules.window == "count" else rules.window_size / 1000,
            "minimum_calls": rules.minimum_calls,
            "failure_rate": rules.failure_percent / 100,
        }
    if rules.slow_after is not None:
        chosen |= {"slow_call_duration": rules.slow_after / 1000, "slow_call_rate": rules.slow_percent / 100}
    return CircuitBreaker("model", clock=clock, **chosen)


class BreakerMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize(rules=all_rules())
    def begin(self, rules: Rules) -> None:
        self.clock = ManualClock()
        self.breaker = make(rules, self.clock)
        self.model = Model(rules)
        self.counts = dict.fromkeys(("succeeded", "failed", "ignored", "cancelled", "rejected"), 0)

    @rule(milliseconds=st.sampled_from([1, 50, 51, 299, 300, 999, 2500]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)
        self.model.now += milliseconds

    @rule(target=calls)
    def start(self) -> tuple[Permit, int, int] | None:
        if not self.model.acquire():
            with pytest.raises(CircuitOpenError) as refusal:
                self.breaker.acquire()
            self.counts["rejected"] += 1
            left = self.model.rules.recovery - (self.model.now - self.model.entered)
            expected = left / 1000 if self.model.state is CircuitState.OPEN else None
            assert refusal.value.retry_after == pytest.approx(expected)
            return None
        permit = self.breaker.acquire()
        return permit, self.model.generation, self.model.now

    @rule(
        call=consumes(calls),
        outcome=st.sampled_from(["success", "success", "failure", "failure", "ignore", "cancel"]),
    )
    def end(self, call: tuple[Permit, int, int] | None, outcome: str) -> None:
        if call is None:
            return
        permit, generation, began = call
        getattr(permit, outcome)()
        self.model.done(generation, began, outcome)
        counted = {"success": "succeeded", "failure": "failed", "ignore": "ignored", "cancel": "cancelled"}
        self.counts[counted[outcome]] += 1

    @rule(
        outcomes=st.lists(st.sampled_from(["success", "failure"]), max_size=15),
        took=st.sampled_from([0, 50, 51]),
    )
    def whole_calls(self, outcomes: list[str], took: int) -> None:
        for outcome in outcomes:
            call = self.start()
            self.wait(took)
            self.end(call, outcome)
            self.agree()

    @rule(state=st.sampled_from(list(CircuitState)))
    def by_hand(self, state: CircuitState) -> None:
        self.breaker.force(state)
        self.model.enter(state)

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        snapshot = self.breaker.snapshot()
        model = self.model
        assert snapshot["state"] is model.state
        assert snapshot["generation"] == model.generation
        assert snapshot["state_age"] == pytest.approx((model.now - model.entered) / 1000)
        assert snapshot["opened"] == model.opened
        assert snapshot["late"] == model.late
        for name, count in self.counts.items():
            assert snapshot[name] == count, name
        if model.state is CircuitState.HALF_OPEN:
            assert snapshot["permits"] == model.rules.half_open_calls - model.started
        elif model.rules.window is None:
            assert snapshot["consecutive_failures"] == model.row
        else:
            window = model.in_window()
            assert snapshot["window_calls"] == len(window)
            assert snapshot["window_failed"] == sum(result[1] for result in window)
            assert snapshot["window_slow"] == sum(result[2] for result in window)


BreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBreakerModel = BreakerMachine.TestCase
