"""Where the stack keeps its things (ARCHITECTURE.md has the table, dbint.state the same rule)."""

from __future__ import annotations

import os
from pathlib import Path

from stack.errors import StackError

CHECKOUT = Path(__file__).resolve().parent.parent


def stack_directory() -> Path:
    """The directory of the stack that commands work on.

    ``DBINT_STACK_DIR``; else for root /var/lib/dbint/stack, because PostgreSQL runs as user postgres, who
    cannot enter /root; else ``$XDG_STATE_HOME/dbint/stack``. Raises StackError when the variable holds a
    relative path.
    """
    if chosen := os.environ.get("DBINT_STACK_DIR"):
        return _absolute("DBINT_STACK_DIR", chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/dbint/stack")
    return _xdg("XDG_STATE_HOME", ".local/state") / "dbint" / "stack"


def cache_directory() -> Path:
    """The directory of downloaded servers: ``DBINT_CACHE_DIR``, else ``$XDG_CACHE_HOME/dbint``."""
    if chosen := os.environ.get("DBINT_CACHE_DIR"):
        return _absolute("DBINT_CACHE_DIR", chosen)
    return _xdg("XDG_CACHE_HOME", ".cache") / "dbint"


def _xdg(variable: str, default: str) -> Path:
    # The XDG base directory specification: a relative path is invalid and is to be ignored.
    chosen = os.environ.get(variable, "")
    return Path(chosen) if chosen.startswith("/") else Path.home() / default


def _absolute(variable: str, value: str) -> Path:
    if not value.startswith("/"):
        raise StackError(f"{variable} must be an absolute path, not {value!r}")
    return Path(os.path.normpath(value))
