"""What the commands about flows have in common: which flow, text or JSON, the exit code, and signals."""

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser

from dbint.django.command import COULD_NOT_RUN, ReportingCommand
from dbint.django.flows import flow_config, flow_names
from dbint.errors import ConfigurationError, Error
from dbint.flow.config import FlowConfig
from dbint.metrics import Metric
from dbint.metrics.openmetrics import as_openmetrics

EPILOG = (
    "Exit code: 0 all is well, 1 something is wrong and the report says what, 2 the command could not run (a "
    "server that does not answer, a setting that cannot work). stdout carries the report and nothing else."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say about a flow, in each form, and whether all is well."""

    lines: list[str]
    document: dict[str, Any]
    well: bool
    metrics: Iterable[Metric] = field(default=())


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call ``stop``, which must take no lock: it runs between any two steps of the main
    thread. A second one ends the process at once.
    """

    def first(number: int, _frame: FrameType | None) -> None:
        stop()
        signal.signal(number, signal.SIG_DFL)  # the next one is meant

    before = {number: signal.signal(number, first) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class FlowCommand(ReportingCommand):
    """A command about one flow, or all of them. A subclass says what about it, in :meth:`report`."""

    epilog = EPILOG
    formats: tuple[str, ...] = ("text", "json")
    one_flow = False
    """Whether the flow has to be named."""

    # Nothing here depends on the project's models being sound, and an operator may need it when they are not.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        if self.one_flow:
            parser.add_argument("flow", help='a key of DBINT["FLOWS"]')
        else:
            parser.add_argument("flow", nargs="?", help='a key of DBINT["FLOWS"] (default: all of them)')
        parser.add_argument(
            "--format", choices=self.formats, default="text", help="the report's format (default: text)"
        )

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        """What there is to say about a flow."""
        raise NotImplementedError

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            well = self.say(options)
        except (Error, ImproperlyConfigured) as error:
            if options["traceback"]:
                raise
            self.stderr.write(self.style.ERROR(" ".join(str(error).split())))
            sys.exit(COULD_NOT_RUN)
        if not well:
            sys.exit(1)

    def say(self, options: dict[str, Any]) -> bool:
        """Write what there is to say about the flows; whether all is well."""
        documents: list[dict[str, Any]] = []
        metrics: list[Metric] = []
        well = True
        for config in self._configs(options["flow"]):
            report = self.report(config, options)
            well = well and report.well
            documents.append(report.document)
            metrics += report.metrics
            if options["format"] == "text":
                self.stdout.write("\n".join(report.lines))
        if options["format"] == "json":
            self.stdout.write(json.dumps({"flows": documents, "ok": well}, indent=2, default=str))
        if options["format"] == "openmetrics":
            self.stdout.write(as_openmetrics(metrics))
        return well

    def _configs(self, name: str | None) -> Iterator[FlowConfig]:
        names = [name] if name else flow_names()
        if not names:
            raise ConfigurationError('DBINT["FLOWS"] has no flow')
        for each in names:
            yield flow_config(each)
