"""Events into PostgreSQL: written in nanoseconds, kept through a crash, landed once, and queried."""

from dbint.events.config import DatabaseConfig, TableRetention

__all__ = ["DatabaseConfig", "TableRetention"]
