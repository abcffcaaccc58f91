"""The rules of health: each status, each reason, each limit."""

import dataclasses
import json
import logging
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from dbint.breaker import CircuitState
from dbint.events.health import (
    FEW_QUERIES,
    RECENT,
    WINDOW,
    Assessment,
    DatabaseHealthMetrics,
    DatabaseHealthStatus,
    HealthChange,
    HealthMonitor,
    Observation,
    QueryWindow,
    RecentCount,
    assess,
)

HEALTHY, DEGRADED, UNHEALTHY, RECOVERING = (
    DatabaseHealthStatus.HEALTHY,
    DatabaseHealthStatus.DEGRADED,
    DatabaseHealthStatus.UNHEALTHY,
    DatabaseHealthStatus.RECOVERING,
)

# What is seen -> the status and a part of the reason.
RULES: list[tuple[dict[str, Any], DatabaseHealthStatus, str]] = [
    ({"accepting": False}, UNHEALTHY, "no events are taken"),
    ({"journal_error": "the slot was deleted"}, UNHEALTHY, "the slot was deleted"),
    ({"recent_lost": 1}, UNHEALTHY, "1 events were dropped"),
    ({"journal_fill_pct": 95.0}, UNHEALTHY, "the journal is 95 % full"),
    ({"reachable": False, "unreachable_for": 300.0}, UNHEALTHY, "away for 300 s"),
    ({"recent_queries": 20, "recent_failed_queries": 10}, UNHEALTHY, "10 of the last 20 queries failed"),
    ({"reachable": False}, DEGRADED, "the server is away; events go to the journal"),
    ({"circuit_state": CircuitState.OPEN}, DEGRADED, "the circuit breaker is open"),
    ({"circuit_state": CircuitState.FORCED_OPEN}, DEGRADED, "forced_open"),
    ({"held_chains": 2}, DEGRADED, "2 chains of events are held"),
    ({"pool_utilization_pct": 80.0}, DEGRADED, "80 % of the pool is in use"),
    ({"recent_queries": 100, "recent_failed_queries": 5}, DEGRADED, "5 of the last 100 queries failed"),
    ({"recent_dead": 1}, DEGRADED, "1 events went to the dead letters"),
    ({"journal_fill_pct": 70.0}, DEGRADED, "the journal is 70 % full"),
    ({"circuit_state": CircuitState.HALF_OPEN}, RECOVERING, "lets probes through"),
]

# Just not enough.
WELL: list[dict[str, Any]] = [
    {},
    {"journal_fill_pct": 69.9},
    {"pool_utilization_pct": 79.9},
    {"pool_utilization_pct": 85.0, "pool_exhaustion_threshold": 90.0},
    {"recent_queries": FEW_QUERIES - 1, "recent_failed_queries": FEW_QUERIES - 1},
    {"recent_queries": 101, "recent_failed_queries": 5},
    {"oldest_event_age": 100.0},
    {"circuit_state": CircuitState.DISABLED},
    {"circuit_state": CircuitState.METRICS_ONLY},
]


class TestRules:
    @pytest.mark.parametrize(("seen", "status", "reason"), RULES)
    @pytest.mark.parametrize("previous", list(DatabaseHealthStatus))
    def test_each_rule(
        self, seen: dict[str, Any], status: DatabaseHealthStatus, reason: str, previous: DatabaseHealthStatus
    ) -> None:
        found = assess(Observation(**seen), previous, good_looks=5)
        assert found.status == status
        assert any(reason in one for one in found.reasons)

    @pytest.mark.parametrize("seen", WELL)
    def test_limits_are_not_met_just_below(self, seen: dict[str, Any]) -> None:
        assert assess(Observation(**seen), HEALTHY) == Assessment(HEALTHY)

    @pytest.mark.parametrize(("first", "second"), list(product(RULES, RULES)))
    def test_of_two_the_worse_wins(self, first: Any, second: Any) -> None:
        order = [HEALTHY, RECOVERING, DEGRADED, UNHEALTHY]
        seen = {**first[0], **second[0]}
        both = [first, second]
        if any(seen[key] != value for key, value in first[0].items()):
            both.remove(first)  # the second says otherwise
        if not seen.get("reachable", True):
            # Failing queries say nothing then.
            both = [rule for rule in both if "recent_queries" not in rule[0]]
        expected = max((rule[1] for rule in both), key=order.index)
        found = assess(Observation(**seen), HEALTHY, 5).status
        if first in both:
            assert found == expected
        else:  # what is left of the first may make it worse
            assert order.index(found) >= order.index(expected)

    def test_reasons_of_the_same_weight_are_all_told(self) -> None:
        found = assess(Observation(held_chains=1, recent_dead=2, journal_fill_pct=80), HEALTHY)
        assert len(found.reasons) == 3

    def test_every_field_has_a_rule(self) -> None:
        """A field that no rule reads would be a promise that nobody keeps."""
        read = {name for seen, _, _ in RULES for name in seen}
        fields = {field.name for field in dataclasses.fields(Observation)}
        assert fields - read == {"pool_exhaustion_threshold", "oldest_event_age"}

    def test_failures_while_the_server_is_away_make_it_no_worse(self) -> None:
        seen = Observation(reachable=False, recent_queries=100, recent_failed_queries=100)
        assert assess(seen, HEALTHY) == (DEGRADED, ("the server is away; events go to the journal",))

    @pytest.mark.parametrize("previous", [DEGRADED, UNHEALTHY, RECOVERING])
    def test_a_recovery_takes_two_good_looks(self, previous: DatabaseHealthStatus) -> None:
        assert assess(Observation(), previous, 0).status == RECOVERING
        assert assess(Observation(), previous, 1).status == HEALTHY

    def test_a_backlog_delays_a_recovery_and_is_no_trouble_by_itself(self) -> None:
        behind = Observation(oldest_event_age=6.0)
        assert assess(behind, RECOVERING, 9).status == RECOVERING
        assert "events of 6 s ago are still on their way" in assess(behind, RECOVERING, 9).reasons
        assert assess(Observation(oldest_event_age=5.0), RECOVERING, 9).status == HEALTHY
        assert assess(behind, HEALTHY).status == HEALTHY


def report(assessment: Assessment) -> DatabaseHealthMetrics:
    return DatabaseHealthMetrics(
        status=assessment.status,
        reasons=assessment.reasons,
        pool_size=5,
        pool_free=5,
        pool_utilization_pct=0.0,
        total_queries=1,
        failed_queries=0,
        avg_query_time_ms=0.5,
        circuit_state=CircuitState.CLOSED,
        last_error=None,
        last_error_time=datetime(2026, 11, 21, tzinfo=UTC),
        recovery_attempts=0,
        uptime_seconds=1.0,
    )


class TestMonitor:
    def test_the_way_down_and_back(self) -> None:
        monitor = HealthMonitor()
        changes: list[HealthChange] = []
        monitor.add_listener(changes.append)
        looks = [
            Observation(),
            Observation(reachable=False, unreachable_for=1),
            Observation(reachable=False, unreachable_for=2),
            Observation(reachable=False, unreachable_for=301),
            Observation(oldest_event_age=20),
            Observation(oldest_event_age=10),
            Observation(),
            Observation(),
        ]
        statuses = [monitor.judge(seen, report).status for seen in looks]
        assert statuses == [HEALTHY, DEGRADED, DEGRADED, UNHEALTHY, RECOVERING, RECOVERING, HEALTHY, HEALTHY]
        assert [(c.from_status, c.to_status) for c in changes] == [
            (HEALTHY, DEGRADED),
            (DEGRADED, UNHEALTHY),
            (UNHEALTHY, RECOVERING),
            (RECOVERING, HEALTHY),
        ]
        assert changes[0].metrics.reasons == ("the server is away; events go to the journal",)

    def test_a_relapse_starts_the_recovery_anew(self) -> None:
        monitor = HealthMonitor()
        looks = [Observation(reachable=False), Observation(), Observation(held_chains=1), Observation()]
        assert [monitor.judge(seen, report).status for seen in looks] == [
            DEGRADED,
            RECOVERING,
            DEGRADED,
            RECOVERING,
        ]

    def test_a_listener_that_fails_keeps_nobody_from_hearing(self, caplog: pytest.LogCaptureFixture) -> None:
        monitor = HealthMonitor()
        heard: list[HealthChange] = []

        def broken(change: HealthChange) -> None:
            raise ValueError(change)

        monitor.add_listener(broken)
        monitor.add_listener(heard.append)
        monitor.judge(Observation(reachable=False), report)
        assert len(heard) == 1
        assert "a listener to the health of the database layer failed" in caplog.text

    def test_a_removed_listener_hears_nothing(self) -> None:
        monitor = HealthMonitor()
        heard: list[HealthChange] = []
        monitor.add_listener(heard.append)
        monitor.remove_listener(heard.append)
        monitor.judge(Observation(reachable=False), report)
        assert not heard
        with pytest.raises(ValueError, match="not in list"):
            monitor.remove_listener(heard.append)

    def test_changes_are_logged_by_their_weight(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "dbint.events.health")
        monitor = HealthMonitor()
        for seen in (Observation(held_chains=1), Observation(held_chains=1), Observation(), Observation()):
            monitor.judge(seen, report)
        assert [(r.levelname, r.getMessage().partition(",")[0]) for r in caplog.records] == [
            ("WARNING", "the database layer is degraded"),
            ("INFO", "the database layer is recovering"),
            ("INFO", "the database layer is healthy"),
        ]


def test_metrics_are_json() -> None:
    made = report(Assessment(DEGRADED, ("why",))).as_dict()
    assert json.loads(json.dumps(made)) == made
    assert made["status"] == "degraded"
    assert made["last_error_time"] == "2026-11-21T00:00:00+00:00"


def test_the_seeds_fields_come_first() -> None:
    assert [field.name for field in dataclasses.fields(DatabaseHealthMetrics)][:12] == [
        "status",
        "pool_size",
        "pool_free",
        "pool_utilization_pct",
        "total_queries",
        "failed_queries",
        "avg_query_time_ms",
        "circuit_state",
        "last_error",
        "last_error_time",
        "recovery_attempts",
        "uptime_seconds",
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestQueryWindow:
    def test_it_holds_a_thousand(self) -> None:
        clock = Clock()
        window = QueryWindow(clock)
        for number in range(WINDOW + 500):
            with window.timed():
                clock.now += 0.001 if number < 500 else 0.002
        assert window.total == WINDOW + 500
        assert window.average_ms == pytest.approx(2.0)

    def test_failures_are_counted_and_told(self) -> None:
        window = QueryWindow()
        with pytest.raises(ValueError, match="boom"), window.timed():
            raise ValueError("boom\n  at once")
        assert (window.total, window.failed, window.last_error) == (1, 1, "boom at once")
        assert window.last_error_time is not None

    def test_a_cancelled_query_is_nothing(self) -> None:
        window = QueryWindow()
        with pytest.raises(KeyboardInterrupt), window.timed():
            raise KeyboardInterrupt
        assert (window.total, window.failed, window.last_error) == (0, 0, None)

    def test_old_failures_are_not_recent(self) -> None:
        clock = Clock()
        window = QueryWindow(clock)
        with pytest.raises(ValueError, match="x"), window.timed():
            raise ValueError("x")
        assert window.recent() == (1, 1)
        clock.now += RECENT + 1
        with window.timed():
            pass
        assert window.recent() == (1, 0)
        assert window.failed == 1

    def test_failures_of_an_outage_are_forgiven(self) -> None:
        clock = Clock()
        window = QueryWindow(clock)
        with pytest.raises(ValueError, match="x"), window.timed():
            raise ValueError("x")
        clock.now += 1
        window.forgive()
        assert window.recent() == (0, 0)
        assert (window.total, window.failed) == (1, 1)

    def test_nothing_is_zero(self) -> None:
        assert QueryWindow().average_ms == 0.0


class TestRecentCount:
    def test_what_was_there_before_does_not_count(self) -> None:
        assert RecentCount().note(500) == 0

    def test_rises_count_for_a_while(self) -> None:
        clock = Clock()
        count = RecentCount(clock)
        count.note(0)
        assert count.note(3) == 3
        clock.now += RECENT / 2
        assert count.note(5) == 5
        clock.now += RECENT / 2 + 1
        assert count.note(5) == 2
        clock.now += RECENT
        assert count.note(5) == 0

    def test_a_counter_that_starts_again_is_no_loss(self) -> None:
        count = RecentCount()
        count.note(7)
        assert count.note(0) == 0
        assert count.note(2) == 2
