"""``manage.py migrate_databases``: applies the migrations of every database, one after the other."""

from argparse import ArgumentParser
from typing import Any

from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = "Applies the migrations of every database in DATABASES and says what was applied where."
    # `migrate` runs the checks of each database itself.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--database",
            action="append",
            choices=tuple(connections),
            metavar="ALIAS",
            help="only this one; may be given several times",
        )
        parser.add_argument(
            "--plan", action="store_true", help="say what would be applied, and apply nothing"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError, naming the databases that could not be migrated; the others are."""
        failed = []
        for alias in options["database"] or self._aliases():
            try:
                # First of all: a pool would wait for a dead server and then not say why.
                self.check(tags=[Tags.database], databases=[alias])
                applied = self._pending(alias)
                if not options["plan"]:
                    call_command("migrate", database=alias, interactive=False, verbosity=0)
            except (Error, CommandError, ImproperlyConfigured) as error:
                failed.append(alias)
                self.stderr.write(f"{alias}: {str(error).strip() or type(error).__name__}")
                continue
            done = "to apply" if options["plan"] else "applied"
            self.stdout.write(f"{alias}: {f'{len(applied)} {done}' if applied else 'up to date'}")
            if options["verbosity"] > 1 or options["plan"]:
                self.stdout.write("".join(f"  {name}\n" for name in applied), ending="")
        if failed:
            raise CommandError(f"not migrated: {', '.join(failed)}")

    @staticmethod
    def _aliases() -> list[str]:
        """Every alias but the mirrors and replicas, whose tables come from elsewhere."""
        return [alias for alias in connections if not connections[alias].settings_dict["TEST"].get("MIRROR")]

    @staticmethod
    def _pending(alias: str) -> list[str]:
        executor = MigrationExecutor(connections[alias])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
