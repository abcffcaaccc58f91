"""``manage.py flow_remove``: takes a flow away from its servers, so that PostgreSQL keeps no log for it."""

from typing import Any

from django.core.management.base import CommandParser

from dbint.django.flow_command import FlowCommand, Report
from dbint.errors import ConfigurationError
from dbint.flow.config import FlowConfig
from dbint.flow.removal import remove_flow


class Command(FlowCommand):
    """Drops slot, publication and notes; the tables stay on both sides."""

    help = (
        "Drops a flow's slot, publication and notes in PostgreSQL, and with --topics its topics. The tables "
        "of both databases stay. Stop run_flow (or Kafka Connect) first: it would make them again."
    )

    one_flow = True

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--topics", action="store_true", help="delete its topics in Kafka, too")
        parser.add_argument("--yes", action="store_true", help="really do it")

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        if not options["yes"]:
            raise ConfigurationError(
                f"flow {config.name} would have to be loaded from its first row again: say --yes"
            )
        removed = remove_flow(config, topics=options["topics"])
        lines = [f"removed: {what}" for what in removed] or ["there was nothing to remove"]
        return Report(
            [f"flow {config.name}", *(f"  {line}" for line in lines)],
            {"flow": config.name, "removed": removed},
            well=True,
        )
