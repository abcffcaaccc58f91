"""``manage.py run_flow``: runs a flow, or one half of it, until it is asked to stop."""

import json
import logging
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser

from dbint.django.command import COULD_NOT_RUN
from dbint.django.flow_command import FlowCommand, stopped_by_signals
from dbint.django.flows import flow_config
from dbint.errors import Error
from dbint.flow.plan import apply_plan, plan
from dbint.flow.runner import PARTS, Runner
from dbint.flow.status_line import status_line

_EPILOG = (
    "SIGTERM and SIGINT drain: what was read from PostgreSQL is delivered and confirmed, loads under way are "
    "finished. A second one ends the process at once, and the next run repeats what was under way. Exit: "
    "0 ended as asked, 1 something failed or the drain took longer than DRAIN_TIMEOUT, 2 wrong settings, "
    "or something that a person has to mend. What happens goes to the log (logger dbint.flow), the status to "
    "stdout."
)


class Command(FlowCommand):
    """The process of a flow; a supervisor (systemd, Kubernetes) starts it again when it is gone."""

    help = "Runs a flow: first load, capture and sink in one process, each begun again when it fails."

    epilog = _EPILOG

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("flow", nargs="?", help='a key of DBINT["FLOWS"] (default: the only one)')
        parser.add_argument(
            "--part",
            choices=PARTS,
            action="append",
            help="run only this half, so that the other can have a process of its own",
        )
        parser.add_argument(
            "--resync",
            nargs="*",
            metavar="TABLE",
            help="load these tables (schema.table), or all, anew; also where the slot was lost. What was "
            "deleted in PostgreSQL in the meantime is deleted in Doris",
        )
        parser.add_argument(
            "--accept-gap",
            action="store_true",
            help="go on where Kafka has deleted messages before they were loaded; flow_verify --repair then "
            "brings back what is missing",
        )
        parser.add_argument("--apply", action="store_true", help="run flow_plan --apply first")
        parser.add_argument(
            "--status-every", type=float, default=10.0, metavar="SECONDS", help="(default: 10; 0: no status)"
        )
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="of the status, a line each time"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            code = self._run(options)
        except (Error, ImproperlyConfigured) as error:
            if options["traceback"]:
                raise
            self.stderr.write(self.style.ERROR(" ".join(str(error).split())))
            code = COULD_NOT_RUN
        if code:
            sys.exit(code)

    def _run(self, options: dict[str, Any]) -> int:
        _log_somewhere()
        config = flow_config(options["flow"])
        if options["apply"]:
            for done in apply_plan(config, plan(config)):
                self._say(done)
        resync = options["resync"]
        runner = Runner(
            config,
            parts=options["part"] or PARTS,
            resync=None if resync is None else resync or config.tables,
            accept_gap=options["accept_gap"],
            on_status=lambda status: self._say(
                json.dumps(status, default=str) if options["format"] == "json" else status_line(status)
            ),
            interval=options["status_every"] or float("inf"),
        )
        with stopped_by_signals(runner.stop):
            return runner.run()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _log_somewhere() -> None:
    """A project without a word on logging sees what happens, on stderr."""
    logger = logging.getLogger("dbint.flow")
    if not logger.hasHandlers():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logger.setLevel(logging.INFO)
