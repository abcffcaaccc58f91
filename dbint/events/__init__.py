"""Events into PostgreSQL: written in nanoseconds, kept through a crash, landed once; queried, kept for a while.

The parts are read from their modules; the names of the seed are here.
"""

from dbint.events.config import DatabaseConfig, TableRetention

__all__ = ["DatabaseConfig", "TableRetention"]
