"""``manage.py flow_status``: how far a flow is behind, how fresh Doris is, what needs seeing to."""

from typing import Any

from dbint.django.flow_command import FlowCommand, Report
from dbint.flow.config import FlowConfig
from dbint.flow.status import flow_status


class Command(FlowCommand):
    """Asks the servers; nothing needs to run for it, and it changes nothing."""

    help = (
        "Shows a flow's lag on each leg in bytes, rows and seconds, its freshness (commit to visible, p50 "
        "and p99), the first load's progress, and what is wrong."
    )
    formats = ("text", "json", "openmetrics")

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        del options
        status = flow_status(config)
        return Report(status.lines(), status.to_json(), status.level != "error", list(status.metrics()))
