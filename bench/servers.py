"""Servers of the benches' own: real ones, with room to work, and gone when the run is."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import psycopg

from bench.frame import BenchError
from dbint.events import DatabaseConfig, retention
from stack import Stack, StackError
from stack.disposable import disposable_stack
from stack.servers import SERVERS
from stack.servers.base import Command, Server, Site
from stack.servers.postgres import Postgres

# What is said of the server beside every figure that it had a part in.
TOLD = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
)


class RoomyPostgres(Postgres):
    """The stack's server with more memory and no checkpoint in the middle of a run; all that makes a commit
    durable stays as it is by default.

    Of two settings of one name PostgreSQL takes the one of the command line.
    """

    def command(self, site: Site) -> Command:
        usual = super().command(site)
        roomy = ["shared_buffers=1GB", "max_wal_size=16GB", "checkpoint_timeout=1h"]
        return replace(usual, argv=[*usual.argv, *(part for setting in roomy for part in ("-c", setting))])


@contextmanager
def private_servers(*recipes: Server) -> Iterator[Stack]:
    """A stack with the recipes' servers running in it, for this run alone."""
    usual = {recipe.name: SERVERS[recipe.name] for recipe in recipes}
    SERVERS.update({recipe.name: recipe for recipe in recipes})  # for this process alone
    try:
        with disposable_stack() as servers:
            servers.up([recipe.name for recipe in recipes])
            yield servers
    except StackError as error:
        raise BenchError(f"{', '.join(recipe.summary for recipe in recipes)}: {error}") from error
    finally:
        SERVERS.update(usual)


def private_server(recipe: Server) -> AbstractContextManager[Stack]:
    """A stack with ``recipe``'s server running in it, for this run alone."""
    return private_servers(recipe)


class Database:
    """The database that a bench writes to, and what the bench itself asks of it."""

    def __init__(self, servers: Stack) -> None:
        self.servers = servers
        endpoint = self.endpoint = servers.endpoint("postgres")
        name = endpoint.credentials["database"]
        self.conninfo = (
            f"host={endpoint.host} port={endpoint.port} dbname={name} user={endpoint.credentials['username']}"
        )
        # libpq's own variable: a password in a command line is everybody's to read.
        self.environment = {
            **servers.env(["postgres"]),
            "PGPASSWORD": str(endpoint.credentials["password"]),
        }

        # The stack's owner is superuser through the server's socket.
        socket = servers.entry("postgres").extra["socket_directory"]
        with psycopg.connect(
            host=socket, port=endpoint.port, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"GRANT pg_checkpoint TO {endpoint.credentials['username']}")

    def connect(self) -> psycopg.Connection:
        """A connection in autocommit mode."""
        password = self.environment["PGPASSWORD"]
        return psycopg.connect(self.conninfo, password=password, autocommit=True)

    def migrate(self) -> None:
        """Make the four tables of events, as without Django."""
        with self.connect() as connection:
            retention.install(connection, DatabaseConfig.from_env(self.environment))

    def versions(self) -> dict[str, str]:
        """The server's version with the settings that its figures depend on, as a sample's ``versions``."""
        with self.connect() as connection:
            said = ", ".join(
                f"{name}={connection.execute(f'SHOW {name}').fetchone()[0]}"  # type: ignore[index]
                for name in TOLD
            )
            number = connection.execute("SHOW server_version").fetchone()
        return {"PostgreSQL": f"{str(number and number[0]).split()[0]} ({said})"}


@contextmanager
def database() -> Iterator[Database]:
    """A PostgreSQL server for this run alone."""
    with private_server(RoomyPostgres()) as servers:
        try:
            yield Database(servers)
        except psycopg.Error as error:
            raise BenchError(f"asking PostgreSQL: {error}") from error
