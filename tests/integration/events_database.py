"""Databases for tests of events: one for each module, on the run's server, dropped afterwards."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from dbint.events import DatabaseConfig, retention
from dbint.events.partitions import Connection
from dbint.events.reader import connected
from stack import Endpoint


def config_for(server: Endpoint, database: str, journal: Path | str = "", **fields: Any) -> DatabaseConfig:
    """A configuration for ``database`` on the server, without the layer's thread."""
    return DatabaseConfig(
        **{
            "host": server.host,
            "port": server.port,
            "database": database,
            "user": str(server.credentials["username"]),
            "password": str(server.credentials["password"]),
            "journal_dir": str(journal),
            "background": False,
            **fields,
        }
    )


@contextmanager
def fresh_database(server: Endpoint) -> Iterator[str]:
    """The name of an empty database."""
    name = f"events_{uuid.uuid4().hex[:12]}"
    admin = config_for(server, str(server.credentials["database"]))
    with connected(admin) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield name
    finally:
        with connected(admin) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def installed(server: Endpoint, **fields: Any) -> Iterator[tuple[Connection, DatabaseConfig]]:
    """A connection to a fresh database with the tables of events, and its configuration."""
    with fresh_database(server) as name:
        config = config_for(server, name, **fields)
        with connected(config) as connection:
            retention.install(connection, config)
            yield connection, config


def one(connection: Connection, query: str, *parameters: Any) -> Any:
    """The first column of the only row."""
    ((value, *_),) = connection.execute(query, parameters).fetchall()  # type: ignore[call-overload]
    return value


def column(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> list[Any]:
    """The first column of all rows."""
    return [row[0] for row in connection.execute(query, parameters).fetchall()]
