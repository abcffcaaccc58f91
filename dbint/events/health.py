"""How well the layer is: what is looked at, the rules, and who is told when the answer changes.

:func:`assess` is the whole of the rules; docs/events.md has them as a table.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from dbint.breaker import CircuitState

logger = logging.getLogger(__name__)

WINDOW = 1000  # queries
RECENT = 300.0  # seconds: what has happened in this time counts as happening
LONG_AWAY = 300.0  # seconds
FEW_QUERIES = 20  # say nothing about a share of failures
DEGRADED_FAILURES = 0.05
UNHEALTHY_FAILURES = 0.5
DEGRADED_JOURNAL_PCT = 70.0
UNHEALTHY_JOURNAL_PCT = 95.0
OLD_BACKLOG = 5.0  # seconds
GOOD_LOOKS = 2  # in a row, before a recovery is believed


class DatabaseHealthStatus(StrEnum):
    """HEALTHY; DEGRADED: events are kept, something needs attention; UNHEALTHY: events are lost or refused,
    or soon will be, or queries have failed for long; RECOVERING: on the way back to HEALTHY."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one look at the layer saw. The defaults are those of a layer that is well. ``recent_*``: in the
    last RECENT seconds; ages are in seconds."""

    accepting: bool = True
    reachable: bool = True
    unreachable_for: float = 0.0
    circuit_state: CircuitState = CircuitState.CLOSED
    pool_utilization_pct: float = 0.0
    pool_exhaustion_threshold: float = 80.0
    recent_queries: int = 0
    recent_failed_queries: int = 0
    recent_lost: int = 0
    recent_dead: int = 0
    held_chains: int = 0
    journal_fill_pct: float = 0.0
    journal_error: str | None = None
    oldest_event_age: float = 0.0


class Assessment(NamedTuple):
    """A status, and why it is not HEALTHY."""

    status: DatabaseHealthStatus
    reasons: tuple[str, ...] = ()


def assess(seen: Observation, previous: DatabaseHealthStatus, good_looks: int = 0) -> Assessment:
    """The status by the rules, worst first.

    ``previous`` is the status until now and ``good_looks`` how many looks in a row saw nothing wrong.
    """
    for status, rules in (
        (DatabaseHealthStatus.UNHEALTHY, _unhealthy(seen)),
        (DatabaseHealthStatus.DEGRADED, _degraded(seen)),
    ):
        if reasons := tuple(rules):
            return Assessment(status, reasons)
    if reasons := tuple(_recovering(seen, previous, good_looks)):
        return Assessment(DatabaseHealthStatus.RECOVERING, reasons)
    return Assessment(DatabaseHealthStatus.HEALTHY)


def _unhealthy(seen: Observation) -> Iterator[str]:
    if not seen.accepting:
        yield "no events are taken: the writer is closed or could not be opened"
    if seen.journal_error is not None:
        yield seen.journal_error
    if seen.recent_lost:
        yield f"{seen.recent_lost} events were dropped, refused or lost in the last {RECENT:.0f} s"
    if seen.journal_fill_pct >= UNHEALTHY_JOURNAL_PCT:
        yield f"the journal is {seen.journal_fill_pct:.0f} % full"
    if not seen.reachable and seen.unreachable_for >= LONG_AWAY:
        yield f"the server has been away for {seen.unreachable_for:.0f} s"
    if _failed_share(seen) >= UNHEALTHY_FAILURES:
        yield _failures(seen)


def _degraded(seen: Observation) -> Iterator[str]:
    if not seen.reachable:
        yield "the server is away; events go to the journal"
    if seen.circuit_state in (CircuitState.OPEN, CircuitState.FORCED_OPEN):
        yield f"the circuit breaker is {seen.circuit_state}"
    if seen.held_chains:
        yield f"{seen.held_chains} chains of events are held until somebody acts"
    if seen.pool_utilization_pct >= seen.pool_exhaustion_threshold:
        yield f"{seen.pool_utilization_pct:.0f} % of the pool is in use"
    if _failed_share(seen) >= DEGRADED_FAILURES:
        yield _failures(seen)
    if seen.recent_dead:
        yield f"{seen.recent_dead} events went to the dead letters in the last {RECENT:.0f} s"
    if seen.journal_fill_pct >= DEGRADED_JOURNAL_PCT:
        yield f"the journal is {seen.journal_fill_pct:.0f} % full"


def _recovering(seen: Observation, previous: DatabaseHealthStatus, good_looks: int) -> Iterator[str]:
    if seen.circuit_state == CircuitState.HALF_OPEN:
        yield "the circuit breaker lets probes through"
    if previous == DatabaseHealthStatus.HEALTHY:
        return
    if seen.oldest_event_age > OLD_BACKLOG:
        yield f"events of {seen.oldest_event_age:.0f} s ago are still on their way"
    if good_looks + 1 < GOOD_LOOKS:
        yield f"was {previous} until now"


def _failed_share(seen: Observation) -> float:
    # While the server is away all of them fail: that has rules of its own.
    if not seen.reachable or seen.recent_queries < FEW_QUERIES:
        return 0.0
    return seen.recent_failed_queries / seen.recent_queries


def _failures(seen: Observation) -> str:
    return f"{seen.recent_failed_queries} of the last {seen.recent_queries} queries failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealthMetrics:
    """How the layer of this process is. The first twelve fields are the seed's.

    ``pool_*`` counts connections of the writing and the reading pools together; ``avg_query_time_ms`` is of
    the last WINDOW queries; ``recovery_attempts`` counts attempts to reach the server since it went away;
    ``uptime_seconds`` is the layer's. ``reasons`` say why the status is not HEALTHY. The counts of events
    add up: accepted + recovered = landed + pending + dead + lost.
    """

    status: DatabaseHealthStatus
    pool_size: int
    pool_free: int
    pool_utilization_pct: float
    total_queries: int
    failed_queries: int
    avg_query_time_ms: float
    circuit_state: CircuitState
    last_error: str | None
    last_error_time: datetime | None
    recovery_attempts: int
    uptime_seconds: float
    reasons: tuple[str, ...] = ()
    events_accepted: int = 0
    events_recovered: int = 0
    events_landed: int = 0
    events_pending: int = 0
    events_dead: int = 0
    events_lost: int = 0
    oldest_event_age: float = 0.0
    held_chains: int = 0
    journal_bytes: int = 0
    journal_fill_pct: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same as values that JSON knows."""
        return asdict(self) | {
            "status": str(self.status),
            "circuit_state": str(self.circuit_state),
            "last_error_time": self.last_error_time.isoformat() if self.last_error_time else None,
            "reasons": list(self.reasons),
        }


class HealthChange(NamedTuple):
    """A change of status. ``metrics`` are those that led to it."""

    from_status: DatabaseHealthStatus
    to_status: DatabaseHealthStatus
    metrics: DatabaseHealthMetrics


class QueryWindow:
    """How queries went: the last WINDOW of them one by one, all of them in numbers. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[tuple[float, float, bool]] = deque(maxlen=WINDOW)
        self._since = -math.inf
        self.total = 0
        self.failed = 0
        self.last_error: str | None = None
        self.last_error_time: datetime | None = None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measures the query in its block. An exception is a failure, a cancelled task is nothing."""
        began = self._clock()
        try:
            yield
        except Exception as error:
            self.note_error(error)
            self._add(began, succeeded=False)
            raise
        self._add(began, succeeded=True)

    def note_error(self, error: BaseException) -> None:
        """Keeps what went wrong last, as one line."""
        text = " ".join(str(error).split()) or type(error).__name__
        with self._lock:
            self.last_error, self.last_error_time = text[:500], datetime.now(UTC)

    def _add(self, began: float, *, succeeded: bool) -> None:
        now = self._clock()
        with self._lock:
            self._last.append((now, now - began, succeeded))
            self.total += 1
            self.failed += not succeeded

    @property
    def average_ms(self) -> float:
        """Mean duration of the last WINDOW queries; 0 when there was none."""
        with self._lock:
            return 1000 * sum(one[1] for one in self._last) / len(self._last) if self._last else 0.0

    def forgive(self) -> None:
        """What has failed until now says nothing of what comes: the server is back."""
        with self._lock:
            self._since = self._clock()

    def recent(self) -> tuple[int, int]:
        """How many of the last WINDOW queries ended within RECENT seconds, and how many of these failed.

        Those from before the server came back do not count.
        """
        since = max(self._clock() - RECENT, self._since)
        with self._lock:
            found = [succeeded for at, _, succeeded in self._last if at >= since]
        return len(found), found.count(False)


class RecentCount:
    """How much a counter rose in the last RECENT seconds. For one thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rises: deque[tuple[float, int]] = deque()
        self._total: int | None = None

    def note(self, total: int) -> int:
        """Takes the counter's value; the first one is where it starts from."""
        now = self._clock()
        if self._total is not None and total > self._total:
            self._rises.append((now, total - self._total))
        self._total = total
        while self._rises and self._rises[0][0] < now - RECENT:
            self._rises.popleft()
        return sum(rise for _, rise in self._rises)


class HealthMonitor:
    """Remembers the status from look to look and tells its listeners of each change."""

    def __init__(self) -> None:
        self.status = DatabaseHealthStatus.HEALTHY
        self.reasons: tuple[str, ...] = ()
        self._good_looks = 0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[HealthChange], object]] = []

    def add_listener(self, listener: Callable[[HealthChange], object]) -> None:
        """Calls ``listener(change)`` after each change, in the thread that saw it; it must not block long."""
        with self._lock:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[HealthChange], object]) -> None:
        """Raises ValueError when it is not there."""
        with self._lock:
            self._listeners.remove(listener)

    def judge(
        self, seen: Observation, metrics: Callable[[Assessment], DatabaseHealthMetrics]
    ) -> DatabaseHealthMetrics:
        """The new status by what was seen. ``metrics`` makes the report of it."""
        with self._lock:
            before = self.status
            found = assess(seen, before, self._good_looks)
            wrong = found.status in (DatabaseHealthStatus.DEGRADED, DatabaseHealthStatus.UNHEALTHY)
            self._good_looks = 0 if wrong else self._good_looks + 1
            self.status, self.reasons = found
            listeners = list(self._listeners)
        report = metrics(found)
        if found.status != before:
            level = logging.WARNING if wrong else logging.INFO
            why = f": {'; '.join(found.reasons)}" if found.reasons else ""
            logger.log(level, "the database layer is %s, was %s%s", found.status, before, why)
            for listener in listeners:
                try:
                    listener(HealthChange(before, found.status, report))
                except Exception:
                    logger.exception("a listener to the health of the database layer failed")
        return report
