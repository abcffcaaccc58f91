"""A PostgreSQL that the tests of this folder may kill, and a database of its own for each test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from dbint.events import DatabaseConfig, retention
from dbint.events.reader import connected
from stack import Stack
from stack.disposable import disposable_stack
from tests.faults.events import Admin, superuser
from tests.integration.events_database import config_for

TEMPLATE = "agent_db"  # one of the stack's databases, which gets the tables of events


@pytest.fixture(scope="package")
def server() -> Iterator[Stack]:
    """A stack with PostgreSQL, for this folder alone: whoever breaks it repairs it."""
    with disposable_stack() as stack:
        stack.up(["postgres"])
        template = config_for(stack.endpoint("postgres"), TEMPLATE)
        with connected(template) as connection:
            retention.install(connection, template)
        with superuser(stack) as admin:
            # After a crash: one sync of the disk, not one of each file of each test's database.
            admin.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")
            admin.execute("SELECT pg_reload_conf()")
        yield stack
        stack.kill("postgres")  # nobody needs its last checkpoint


@pytest.fixture
def config(server: Stack, tmp_path: Path) -> DatabaseConfig:
    """Of a fresh database with the tables of events. A server that came back is tried again at once."""
    name = f"faults_{uuid.uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER app")
    with superuser(server) as admin:
        admin.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    return config_for(
        server.endpoint("postgres"), name, tmp_path / "journal", connect_timeout=5, recovery_timeout=0.2
    )


@pytest.fixture
def admin(server: Stack, config: DatabaseConfig) -> Iterator[Admin]:
    """A superuser's connection to the test's database."""
    with superuser(server, config.database) as connection:
        yield connection
