"""Places in PostgreSQL's log (LSNs): numbers here, ``16/B374D848`` where people and the server read them."""

import re

from dbint.errors import ConfigurationError

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """The number behind ``"16/B374D848"``. Raises ConfigurationError for what is none."""
    if (found := _LSN.fullmatch(text)) is None:
        raise ConfigurationError(f"{text!r} is no position in PostgreSQL's log (as 16/B374D848)")
    high, low = found.groups()
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(position: int) -> str:
    """A number as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
