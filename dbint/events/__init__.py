"""Events into PostgreSQL: written in nanoseconds, kept through a crash, landed once, and queried.

docs/events.md is the guide, docs/semantics.md says what is promised.
"""

from dbint.breaker import CircuitBreaker, CircuitState
from dbint.events.buffer import BatchWriteBuffer
from dbint.events.config import DatabaseConfig, TableRetention
from dbint.events.health import DatabaseHealthMetrics, DatabaseHealthStatus, HealthChange
from dbint.events.layer import DatabaseIntegrationLayer
from dbint.events.process import get_database_layer, set_database_layer
from dbint.events.retention import RetentionReport
from dbint.events.trace_logger import TraceLogger, get_trace_logger

__all__ = [
    "BatchWriteBuffer",
    "CircuitBreaker",
    "CircuitState",
    "DatabaseConfig",
    "DatabaseHealthMetrics",
    "DatabaseHealthStatus",
    "DatabaseIntegrationLayer",
    "HealthChange",
    "RetentionReport",
    "TableRetention",
    "TraceLogger",
    "get_database_layer",
    "get_trace_logger",
    "set_database_layer",
]
