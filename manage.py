#!/usr/bin/env python
"""Django's command line for the reference project in django_app/."""

import os
import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent / "django_app"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agent_api.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError as error:
        sys.exit(
            f"{error}: install the project first ('make' makes .venv), then run .venv/bin/python manage.py"
        )
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting is one line: the place is in the message, not in a traceback.
        print(f"manage.py: {error}", file=sys.stderr)  # noqa: T201 - there is no command yet that could write it
        sys.exit(2)


if __name__ == "__main__":
    main()
