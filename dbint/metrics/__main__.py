"""``python -m dbint.metrics``: what there is to measure, the Grafana dashboard and the alerts."""

import argparse
import sys

from dbint.metrics.alerts import rules_text
from dbint.metrics.catalogue import CATALOGUE
from dbint.metrics.dashboard import dashboard_text


def list_text() -> str:
    """The catalogue as a table in Markdown."""
    rows = [f"| `{name}` | {e.kind} | {', '.join(e.labels)} | {e.help} |\n" for name, e in CATALOGUE.items()]
    return "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "".join(sorted(rows))


_TEXTS = {
    "list": (list_text, "every metric, as a table in Markdown"),
    "dashboard": (dashboard_text, "the dashboard, for Grafana's import"),
    "alerts": (rules_text, "the alerts, as a rule file of Prometheus"),
}


def main(arguments: list[str] | None = None) -> int:
    """Print what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dbint.metrics", description="What dbint measures.")
    commands = parser.add_subparsers(required=True, metavar="list|dashboard|alerts")
    for name, (text, help_) in _TEXTS.items():
        commands.add_parser(name, help=help_).set_defaults(text=text)
    sys.stdout.write(parser.parse_args(arguments).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
