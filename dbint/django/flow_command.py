"""What the commands about flows have in common: which flow, text or JSON, and the exit code."""

import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandParser

from dbint.django.flows import flow_config, flow_names
from dbint.errors import ConfigurationError, Error
from dbint.flow.config import FlowConfig

COULD_NOT_RUN = 2
EPILOG = (
    "Exit code: 0 all is well, 1 something is wrong and the report says what, 2 the command could not run (a "
    "server that does not answer, a setting that cannot work). stdout carries the report and nothing else."
)


class FlowCommand(BaseCommand):
    """A command about one flow, or all of them. A subclass says what about it, in :meth:`report`."""

    # Nothing here depends on the project's models being sound, and an operator may need it when they are not.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)
        if parser.called_from_command_line:

            def error(message: str) -> NoReturn:
                parser.exit(COULD_NOT_RUN, f"{parser.prog}: {message} (see --help)\n")

            parser.error = error  # type: ignore[method-assign]  # one line, not the usage
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("flow", nargs="?", help='a key of DBINT["FLOWS"] (default: all of them)')
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="the report's format (default: text)"
        )

    def report(self, config: FlowConfig, options: dict[str, Any]) -> tuple[list[str], dict[str, Any], bool]:
        """What there is to say about a flow: lines of text, the same for JSON, and whether all is well."""
        raise NotImplementedError

    def handle(self, *_args: Any, **options: Any) -> None:
        documents, well = [], True
        try:
            for config in self._configs(options["flow"]):
                lines, document, fine = self.report(config, options)
                well = well and fine
                documents.append(document)
                if options["format"] == "text":
                    self.stdout.write("\n".join(lines))
        except (Error, ImproperlyConfigured) as error:
            if options["traceback"]:
                raise
            self.stderr.write(self.style.ERROR(" ".join(str(error).split())))
            sys.exit(COULD_NOT_RUN)
        if options["format"] == "json":
            self.stdout.write(json.dumps({"flows": documents, "ok": well}, indent=2, default=str))
        if not well:
            sys.exit(1)

    def _configs(self, name: str | None) -> Iterator[FlowConfig]:
        names = [name] if name else flow_names()
        if not names:
            raise ConfigurationError('DBINT["FLOWS"] has no flow')
        for each in names:
            yield flow_config(each)
