"""``manage.py apply_retention``: removes events that are older than the settings say, now."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, NoReturn

from django.apps import apps
from django.core.management.base import BaseCommand

from dbint import errors
from dbint.events.reader import connected
from dbint.events.retention import RetentionReport, apply_retention, describe

APP = "dbint.django.observability"


class Command(BaseCommand):
    """Drops past partitions, deletes past rows elsewhere, makes partitions ahead of time."""

    help = (
        "Removes events that are older than DBINT['EVENTS'] says, and makes partitions ahead of time. "
        "Exit code: 0 done, or another process is at it; 1 something failed; 2 wrong configuration."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="the report's format (default: text)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if not apps.is_installed(APP):
            self._refuse(f"{APP!r} is not in INSTALLED_APPS", 2)
        from dbint.django.observability.config import database_config

        try:
            config = database_config()
            with connected(config) as connection:
                report = apply_retention(connection, config, dry_run=options["dry_run"])
        except errors.Error as error:
            self._refuse(error, 2 if isinstance(error, errors.ConfigurationError) else 1)
        if options["format"] == "json":
            self.stdout.write(json.dumps(as_json(report), indent=2))
        else:
            self.stdout.write("\n".join(describe(report)))
        if report.errors:
            sys.exit(1)

    def _refuse(self, why: object, code: int) -> NoReturn:
        self.stderr.write(self.style.ERROR(f"retention was not applied: {why}"))
        sys.exit(code)


def as_json(report: RetentionReport) -> dict[str, Any]:
    """The report as values that JSON knows."""
    return asdict(report) | {
        "removals": [asdict(removal) | {"cutoff": removal.cutoff.isoformat()} for removal in report.removals],
        "removed_rows": report.removed_rows,
    }
