"""The frontends of a cluster: which one to connect to, and which one has just failed.

Any frontend answers queries and forwards writes to the master, so a connection needs one that works. They
are tried in the order in which the settings have them; one that failed comes last for a while.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

DEFAULT_PORT = 9030
AVOIDED = 10.0  # seconds that a frontend comes last after it has failed


class Address(NamedTuple):
    """Host and query port of a frontend."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str | Iterable[str]) -> list[Address]:
    """``"fe1:9030,fe2"`` or a list of such. Raises ValueError."""
    parts = text.split(",") if isinstance(text, str) else [*text]
    return [_address(part.strip()) for part in parts]


def _address(text: str) -> Address:
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, port = text.split(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not host:port")
    return Address(host, int(port))


class Frontends:
    """The frontends of one database; shared by all connections of the process, from any thread."""

    def __init__(self, addresses: Iterable[Address], clock: Callable[[], float] = time.monotonic) -> None:
        self.addresses = tuple(dict.fromkeys(addresses))
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[Address, float] = {}

    def order(self) -> list[Address]:
        """All of them, those that have failed a short while ago last."""
        now = self._clock()
        with self._lock:
            return sorted(self.addresses, key=lambda a: now - self._failed.get(a, -AVOIDED) < AVOIDED)

    def failed(self, address: Address) -> None:
        """Put it behind the others for a while."""
        with self._lock:
            self._failed[address] = self._clock()

    def worked(self, address: Address) -> None:
        """Forget that it failed."""
        with self._lock:
            self._failed.pop(address, None)


_known: dict[tuple[Address, ...], Frontends] = {}


def frontends(addresses: Iterable[Address]) -> Frontends:
    """The one object of the process for these addresses."""
    key = tuple(dict.fromkeys(addresses))
    return _known.setdefault(key, Frontends(key))
