"""Events into PostgreSQL: written in nanoseconds, kept through a crash, landed once, and queried.

docs/events.md is the guide, docs/semantics.md says what is promised.
"""

from dbint.breaker import CircuitBreaker, CircuitState
from dbint.events.config import DatabaseConfig, TableRetention
from dbint.events.health import DatabaseHealthMetrics, DatabaseHealthStatus, HealthChange
from dbint.events.retention import RetentionReport

__all__ = [
    "CircuitBreaker",
    "CircuitState",
    "DatabaseConfig",
    "DatabaseHealthMetrics",
    "DatabaseHealthStatus",
    "HealthChange",
    "RetentionReport",
    "TableRetention",
]
