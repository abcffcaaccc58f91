#!/usr/bin/env python
"""Asks every server of the project whether it answers: ``manage.py verify_db_connections`` as a script."""

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    # In a checkout dbint need not be installed; where it is, the installed one is used.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agent_api.settings")
    try:
        execute_from_command_line([sys.argv[0], "verify_db_connections", *sys.argv[1:]])
    except ImproperlyConfigured as error:
        sys.stderr.write(f"the settings cannot be used: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
