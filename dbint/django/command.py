"""What this package's commands have in common: how they refuse arguments, and times among these."""

import math
from argparse import ArgumentTypeError
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser

COULD_NOT_RUN = 2
"""The exit code of a command that did not get to what it is there for."""


def seconds(text: str) -> float:
    """A command-line argument that is a time in seconds, above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


class ReportingCommand(BaseCommand):
    """A command that says how something is. ``epilog`` ends its help; it names the exit codes."""

    epilog = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=self.epilog, **kwargs)
        if parser.called_from_command_line:

            def error(message: str) -> NoReturn:
                parser.exit(COULD_NOT_RUN, f"{parser.prog}: {message} (see --help)\n")

            parser.error = error  # type: ignore[method-assign]  # one line, not the usage
        return parser
