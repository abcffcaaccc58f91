#!/usr/bin/env python
"""Asks every server of the project whether it answers: ``manage.py verify_db_connections`` as a script."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agent_api.settings")
    try:
        execute_from_command_line([sys.argv[0], "verify_db_connections", *sys.argv[1:]])
    except ImproperlyConfigured as error:
        sys.stderr.write(f"the settings cannot be used: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
