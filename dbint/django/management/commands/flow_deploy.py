"""``manage.py flow_deploy``: a flow of engine "connect", brought to Kafka Connect and Doris, and watched
there."""

import json
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError
from django.core.management.base import BaseCommand

from dbint.django.flows import flow_config
from dbint.errors import Error
from dbint.flow.config import FlowConfig
from dbint.flow.connect import masked, sink_connector_config
from dbint.flow.deployment import Deployment, Status, Step
from dbint.flow.plan import load_mappings

FAILED = 1


class Command(BaseCommand):
    help = (
        'Deploys a flow of engine "connect": topics, publication, Routine Load jobs in Doris and Debezium\'s '
        "connector in Kafka Connect. Does only what is missing; a second run changes nothing. Exit status 1: "
        "something does not run."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", nargs="?", help='a name of DBINT["FLOWS"]; the only one by default')
        parser.add_argument(
            "--engine",
            choices=["connect"],
            default="connect",
            help="the engine that is deployed (the only one)",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument(
            "--json", action="store_true", help="say it as JSON, one document (with --watch: one a line)"
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="go on looking until SIGINT or SIGTERM; start failed tasks again",
        )
        parser.add_argument(
            "--interval", type=float, default=10.0, metavar="S", help="seconds between looks (10)"
        )
        parser.add_argument(
            "--from-beginning",
            action="store_true",
            help="new jobs read the topics anew, not on from their last job's end",
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--status", action="store_true", help="only say how it is")
        what.add_argument(
            "--stop",
            action="store_true",
            help="stop connector and jobs; run_flow (or flow_deploy) may go on from there",
        )
        what.add_argument("--resume", action="store_true", help="resume jobs that are paused")
        what.add_argument(
            "--remove", action="store_true", help="remove connector and jobs; slot and topics stay"
        )
        what.add_argument(
            "--sink-connector",
            action="store_true",
            help="print configurations of the Doris Kafka connector instead (untested: no registry has it)",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError, which says what to do."""
        try:
            config = flow_config(options["flow"])
            if options["sink_connector"]:
                self._print_sink_connectors(config)
                return
            self._run(config, options)
        except Error as error:
            raise CommandError(str(error), returncode=FAILED) from error

    def _run(self, config: FlowConfig, options: dict[str, Any]) -> None:
        as_json = options["json"]
        deployment = Deployment(
            config, dry_run=options["dry_run"], on_step=(lambda _step: None) if as_json else self._print_step
        )
        if options["stop"]:
            deployment.stop()
        elif options["remove"]:
            deployment.remove()
        elif options["resume"]:
            deployment.resume()
        elif not options["status"]:
            deployment.deploy(from_beginning=options["from_beginning"])
        if options["dry_run"] or options["stop"] or options["remove"]:
            self._print_end(deployment, None, as_json=as_json, dry_run=options["dry_run"])
            return
        if options["watch"]:
            self._watch(deployment, options["interval"], as_json=as_json)
            return
        status = deployment.status()
        self._print_end(deployment, status, as_json=as_json, dry_run=False)
        if not status.is_well:
            raise CommandError("something does not run: see above", returncode=FAILED)

    def _watch(self, deployment: Deployment, interval: float, *, as_json: bool) -> None:
        stopping = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: stopping.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            last: dict[str, Any] | None = None
            while not stopping.is_set():
                status = deployment.status()
                steps = deployment.mend(status)
                document = {**status.to_json(), "steps": [step.to_json() for step in steps]}
                if as_json:
                    self.stdout.write(json.dumps(document))
                    self.stdout.flush()
                elif last is None or last["problems"] != document["problems"]:
                    self._print_status(status)
                last = document
                stopping.wait(interval)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- what is printed

    def _print_step(self, step: Step) -> None:
        self.stdout.write(str(step))
        if step.detail:
            self.stdout.write("".join(f"    {line}\n" for line in step.detail.split("\n")), ending="")

    def _print_end(
        self, deployment: Deployment, status: Status | None, *, as_json: bool, dry_run: bool
    ) -> None:
        if as_json:
            document: dict[str, Any] = {"flow": deployment.config.name, "dry_run": dry_run}
            if status is not None:
                document = {**document, **status.to_json()}
            self.stdout.write(
                json.dumps({**document, "steps": [s.to_json() for s in deployment.steps]}, indent=2)
            )
            return
        if not deployment.steps:
            self.stdout.write("nothing to do")
        elif dry_run:
            self.stdout.write("nothing of this was done (--dry-run)")
        if status is not None:
            self._print_status(status)

    def _print_status(self, status: Status) -> None:
        connector = status.connector
        self.stdout.write(
            f"connector {connector.name}: {connector.state}, tasks {', '.join(connector.tasks) or 'none'}"
        )
        for job in status.jobs:
            lag = "unknown" if job.lag is None else str(job.lag)
            self.stdout.write(
                f"job {job.name} ({job.table}): {job.state}, {job.loaded_rows} rows loaded, "
                f"{job.error_rows} refused, "
                f"lag {lag}"
            )
        for problem in status.problems:
            self.stderr.write(self.style.ERROR(problem))

    def _print_sink_connectors(self, config: FlowConfig) -> None:
        made = [
            {
                "name": f"dbint-{config.name}-{mapping.target_table}",
                "untested": "no package registry has the Doris Kafka connector: dbint has never run this",
                "config": masked(sink_connector_config(config, mapping)),
            }
            for mapping in load_mappings(config)
        ]
        self.stdout.write(json.dumps(made, indent=2))
