"""What the surroundings of the layer provide: a framework may bring its own configuration and transactions.

``dbint.django.observability`` does; without it the environment is asked, and there are no transactions.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dbint.events.config import DatabaseConfig


@dataclass(frozen=True, slots=True)
class Transactions:
    """How something waits for a transaction.

    ``on_commit(work, using)`` calls ``work()`` after the running transaction has committed, never when it is
    rolled back, and at once when there is none. ``using`` names the database, None the default one.
    ``on_commit_async`` is the same for code in an event loop.
    """

    on_commit: Callable[[Callable[[], None], str | None], None]
    on_commit_async: Callable[[Callable[[], None], str | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Host:
    """``config`` makes the configuration of the process's layer."""

    config: Callable[[], DatabaseConfig] = DatabaseConfig.from_env
    transactions: Transactions | None = None


_host = Host()


def use_host(host: Host) -> None:
    """From now on new layers ask ``host``."""
    global _host  # noqa: PLW0603 - a process has one
    _host = host


def current_host() -> Host:
    """The host of this process."""
    return _host
