"""``manage.py dbint_journal``: ``python -m dbint.journal`` with the project's settings and databases."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from dbint.django import conf
from dbint.errors import ConfigurationError
from dbint.journal import cli


class Command(BaseCommand):
    """The journal's directory is that of ``DBINT["EVENTS"]["journal_dir"]``, the server one of DATABASES."""

    help = "Looks into the journals of events that have not landed, and mends them."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=cli.EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_commands(parser, standalone=False)

    def handle(self, *_args: Any, **options: Any) -> None:
        chosen = Namespace(**options, out=self.stdout, err=self.stderr)
        if chosen.directory is None and "DBINT_JOURNAL_DIR" not in os.environ:
            configured = conf.get_settings().events.get("journal_dir")
            chosen.directory = Path(configured) if configured else None
        code = cli.run(chosen, connect)
        if code:
            sys.exit(code)


def connect(options: Namespace) -> "psycopg.Connection[Any]":
    """The connection of the alias ``options.database``, in autocommit mode. Raises ConfigurationError."""
    try:
        wrapper = connections[options.database]
    except ConnectionDoesNotExist as error:
        raise ConfigurationError(str(error)) from None
    if wrapper.vendor != "postgresql":
        raise ConfigurationError(
            f"the database {options.database!r} is no PostgreSQL: --database names another"
        )
    # Not Django's own: what fails here must not leave that in the middle of something.
    parameters = wrapper.get_connection_params()
    for own in ("cursor_factory", "context"):
        parameters.pop(own, None)
    connection: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
    return connection
