"""A PostgreSQL that the tests of this folder may kill, and a database of its own for each test."""

import inspect
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from dbint.events import DatabaseConfig, retention
from dbint.events.reader import connected
from dbint.events.tables import TABLES
from stack import Stack
from stack.disposable import disposable_stack
from tests.faults.events import Admin, superuser
from tests.integration.events_database import config_for

# The stack's databases get the tables of events: one for tests that leave them as they are, one to copy.
SHARED, TEMPLATE = "agent_runtime", "agent_db"


@pytest.fixture(scope="package")
def server() -> Iterator[Stack]:
    """A stack with PostgreSQL, for this folder alone: whoever breaks it repairs it."""
    with disposable_stack() as stack:
        stack.up(["postgres"])
        for name in (SHARED, TEMPLATE):
            database = config_for(stack.endpoint("postgres"), name)
            with connected(database) as connection:
                retention.install(connection, database)
        with superuser(stack) as admin:
            # After a crash: one sync of the disk, not one of each file of each test's database.
            admin.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")
            admin.execute("SELECT pg_reload_conf()")
        yield stack
        stack.kill("postgres")  # nobody needs its last checkpoint


@pytest.fixture
def config(server: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> DatabaseConfig:
    """Of a database with empty tables of events. A server that came back is tried again at once.

    Tests that may change the tables, so those with ``admin`` or ``server``, have a database of their own.
    """
    endpoint = server.endpoint("postgres")
    fields = {"connect_timeout": 5, "recovery_timeout": 0.2}
    if {"admin", "server"}.isdisjoint(inspect.signature(request.function).parameters):
        with superuser(server, SHARED) as admin:
            admin.execute(f"TRUNCATE {', '.join(table.qualified for table in TABLES)}")  # type: ignore[call-overload]
        return config_for(endpoint, SHARED, tmp_path / "journal", **fields)
    name = f"faults_{uuid.uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER app")
    with superuser(server) as admin:
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    return config_for(endpoint, name, tmp_path / "journal", **fields)


@pytest.fixture
def admin(server: Stack, config: DatabaseConfig) -> Iterator[Admin]:
    """A superuser's connection to the test's database."""
    with superuser(server, config.database) as connection:
        yield connection
