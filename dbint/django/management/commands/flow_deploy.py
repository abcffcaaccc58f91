"""``manage.py flow_deploy``: flows of engine "connect", brought to Kafka Connect and Doris, and watched."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from dbint.django.command import seconds
from dbint.django.flow_command import FlowCommand, Report, stopped_by_signals
from dbint.django.flows import flow_config, flow_names
from dbint.errors import ConfigurationError
from dbint.flow.config import FlowConfig
from dbint.flow.connect import masked, sink_connector_config
from dbint.flow.deployment import Deployment, Status, Step
from dbint.flow.plan import load_mappings

_LOOK_S = 0.2  # how soon a signal is seen
_UNTESTED = "no package registry has the Doris Kafka connector: dbint has never run this"


class Command(FlowCommand):
    """Does only what is missing; says what it does, and then how it is."""

    help = (
        'Deploys flows of engine "connect": topics, publication, Routine Load jobs in Doris and Debezium\'s '
        "connector in Kafka Connect. Does only what is missing; a second run changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--json", dest="format", action="store_const", const="json", help="the same as --format json"
        )
        parser.add_argument(
            "--engine",
            choices=["connect"],
            default="connect",
            help="the engine that is deployed (the only one)",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument(
            "--from-beginning",
            action="store_true",
            help="new jobs read the topics anew, not on from where their last job ended",
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="look until SIGINT or SIGTERM, start failed tasks again (as JSON: a line a look). The "
            "exit code is that of the last look; a second signal ends it at once",
        )
        parser.add_argument(
            "--interval", type=seconds, default=10.0, metavar="SECONDS", help="between looks (default: 10)"
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--status", action="store_true", help="only say how it is")
        what.add_argument(
            "--stop", action="store_true", help="stop connector and jobs: run_flow may go on from there"
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

    def _configs(self, name: str | None) -> Iterator[FlowConfig]:
        """The named flow, or all that are of this engine."""
        if name is not None:
            yield flow_config(name)
            return
        found = [config for config in map(flow_config, flow_names()) if config.engine == "connect"]
        if not found:
            raise ConfigurationError('no flow of DBINT["FLOWS"] has "ENGINE": "connect"')
        yield from found

    def say(self, options: dict[str, Any]) -> bool:
        return self._watch(options) if options["watch"] else super().say(options)

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        if options["sink_connector"]:
            return _sink_connectors(config)
        deployment = Deployment(config, dry_run=options["dry_run"])
        _act(deployment, options)
        lines = _lines(deployment, options)
        document: dict[str, Any] = {"flow": config.name, "dry_run": options["dry_run"]}
        document["steps"] = [step.to_json() for step in deployment.steps]
        if options["dry_run"]:
            return Report([*lines, "  nothing of this was done (--dry-run)"], document, well=True)
        if options["stop"] or options["remove"]:
            return Report(lines, document, well=True)
        status = deployment.status()
        return Report([*lines, *_status(status)], {**document, **status.to_json()}, well=status.is_well)

    def _watch(self, options: dict[str, Any]) -> bool:
        """Look at all of them in turn until a signal comes; whether the last look found all well."""
        for other in ("dry_run", "stop", "remove", "sink_connector"):
            if options[other]:
                raise ConfigurationError(f"--watch looks at what runs: not with --{other.replace('_', '-')}")
        as_json = options["format"] == "json"
        deployments = [Deployment(config) for config in self._configs(options["flow"])]
        for deployment in deployments:
            _act(deployment, options)
            if not as_json:
                self._print("\n".join(_lines(deployment, options)))
        told: dict[str, tuple[str, ...]] = {}
        stop = _Stop()
        with stopped_by_signals(stop.ask):
            while True:
                well = True
                for deployment in deployments:
                    first = deployment.config.name not in told
                    status = deployment.status()
                    steps = deployment.mend(status)
                    well = well and status.is_well
                    if as_json:
                        self._print(_look(status, deployment.steps if first else steps))
                    elif first or steps or status.problems != told[status.flow]:
                        self._print("\n".join(_news(status, steps)))
                    told[status.flow] = status.problems
                if stop.comes_within(options["interval"]):
                    return well

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


@dataclass(slots=True)
class _Stop:
    """Whether to end. No Event: a signal handler must not meet its lock taken."""

    asked: bool = False

    def ask(self) -> None:
        self.asked = True

    def comes_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_LOOK_S, left))
        return self.asked


def _act(deployment: Deployment, options: dict[str, Any]) -> None:
    if options["stop"]:
        deployment.stop()
    elif options["remove"]:
        deployment.remove()
    elif options["resume"]:
        deployment.resume()
    elif not options["status"]:
        deployment.deploy(from_beginning=options["from_beginning"])


def _lines(deployment: Deployment, options: dict[str, Any]) -> list[str]:
    lines = [f"flow {deployment.config.name}"]
    lines += [f"  {line}" for step in deployment.steps for line in _step(step, options)]
    return lines if deployment.steps or options["status"] else [*lines, "  nothing to do"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _look(status: Status, steps: Sequence[Step]) -> str:
    return json.dumps({"at": _now(), **status.to_json(), "steps": [step.to_json() for step in steps]})


def _news(status: Status, steps: Sequence[Step]) -> list[str]:
    found = "well" if status.is_well else f"{len(status.problems)} to see to"
    return [
        f"{_now()} flow {status.flow}: {found}",
        *_status(status),
        *(f"  {step}" + (f": {step.detail}" if step.detail else "") for step in steps),
    ]


def _step(step: Step, options: dict[str, Any]) -> list[str]:
    """In detail where it is only shown."""
    details = step.detail.split("\n") if step.detail and options["dry_run"] else []
    return [str(step), *(f"    {line}" for line in details)]


def _status(status: Status) -> list[str]:
    connector = status.connector
    lines = [f"  connector {connector.name}: {connector.state}, tasks {', '.join(connector.tasks) or 'none'}"]
    for job in status.jobs:
        lag = "unknown" if job.lag is None else f"{job.lag} messages"
        lines.append(
            f"  job {job.name} ({job.table}): {job.state}, {job.loaded_rows} rows loaded, "
            f"{job.error_rows} refused, lag {lag}"
        )
    return lines + [f"  error: {problem}" for problem in status.problems]


def _sink_connectors(config: FlowConfig) -> Report:
    made = [
        {
            "name": f"dbint-{config.name}-{mapping.target_table}",
            "untested": _UNTESTED,
            "config": masked(sink_connector_config(config, mapping)),
        }
        for mapping in load_mappings(config)
    ]
    return Report([json.dumps(made, indent=2)], {"flow": config.name, "connectors": made}, well=True)
