#!/usr/bin/env python
"""Runs the verification of the databases, and the tests of the models.

    run_database_verification.py [--all|--connections|--tests|--kafka|--postgres|--doris|--cross]

--all (the default) runs verify_database_integration --all, then the tests of the models. Several flags may be
combined. Other options, such as --format json or --read-only, go to the verification. The exit code is the
highest of all parts: 0 nothing failed, 1 something failed, 2 a part could not run.
"""

import argparse
import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

TESTS = ["test", "apps.python_agent.tests.test_database_models", "--noinput"]
COULD_NOT_RUN = 2


def parts(arguments: list[str]) -> list[list[str]]:
    """The management commands to run, with their arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [FLAG ...]"
    )
    for flag, text in (
        ("all", "everything (the default)"),
        ("connections", "does every server answer?"),
        ("tests", "the tests of the models"),
        ("kafka", "Apache Kafka"),
        ("postgres", "PostgreSQL"),
        ("doris", "Apache Doris"),
        ("cross", "rows on their way PostgreSQL -> Kafka -> Doris"),
    ):
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    chosen, rest = parser.parse_known_args(arguments)
    everything = chosen.all or not any(vars(chosen).values())
    servers = [f"--{name}" for name in ("kafka", "postgres", "doris") if getattr(chosen, name)]
    servers += ["--integration"] if chosen.cross else []
    commands = []
    if everything or servers:
        commands.append(["verify_database_integration", *(["--all"] if everything else servers), *rest])
    elif chosen.connections:
        commands.append(["verify_db_connections", *rest])
    if everything or chosen.tests:
        commands.append(TESTS)
    return commands


def run(command: list[str]) -> int:
    """The exit code of one management command."""
    try:
        execute_from_command_line(["manage.py", *command])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"the settings cannot be used: {error}\n")
        return COULD_NOT_RUN
    return 0


def main() -> int:
    # In a checkout dbint need not be installed; where it is, the installed one is used.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agent_api.settings")
    worst = 0
    for command in parts(sys.argv[1:]):
        worst = max(worst, run(command))
        # A wrong flag or setting, or an interrupt: it would be the same for the rest.
        if worst >= COULD_NOT_RUN:
            break
    return worst


if __name__ == "__main__":
    sys.exit(main())
