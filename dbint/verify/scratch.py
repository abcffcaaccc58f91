"""Names for what a verification makes and removes again.

A name says when it was made, so that a later run recognises what a killed one left behind. Only names of this
exact shape are ever removed.
"""

import re
import secrets
import time

PREFIX = "dbint_verify"
# No verification takes so long: whatever is older belongs to a run that was killed.
STALE_AFTER = 3600.0

_SHAPE = re.compile(
    r"(?P<prefix>[A-Za-z0-9._-]+?)[_.-](?P<made>\d{10})[_-](?P<random>[0-9a-f]{6})(?:[_-][a-z0-9]+)?"
)


def scratch_name(prefix: str = PREFIX, suffix: str = "") -> str:
    """A name that nobody else has: "dbint_verify_1763724690_5f01ab", with "_suffix" behind it when given."""
    name = f"{prefix}_{int(time.time())}_{secrets.token_hex(3)}"
    return f"{name}_{suffix}" if suffix else name


def is_stale(name: str, prefix: str = PREFIX, *, now: float | None = None) -> bool:
    """Whether ``name`` was made by `scratch_name` with this prefix, more than an hour ago."""
    match = _SHAPE.fullmatch(name)
    if match is None or match["prefix"] != prefix:
        return False
    return (time.time() if now is None else now) - int(match["made"]) > STALE_AFTER
