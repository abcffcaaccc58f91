"""The interface that every source of credentials implements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A user's name and password for one service.

    ``password`` is "" where the server wants none; ``username`` is "" where a password or token stands alone.
    ``source`` says in words who answered. ``expires_at`` (aware, UTC) is the end of a lease. ``generation``
    rises whenever a provider's answer for the service changes, so that a pool can tell a connection that
    was opened with credentials from before a rotation. The repr shows no password.
    """

    username: str
    password: str
    source: str
    database: str | None = None
    expires_at: datetime | None = None
    generation: int = 0

    def __repr__(self) -> str:
        password = "'********'" if self.password else "''"
        return (
            f"Credentials(username={self.username!r}, password={password}, source={self.source!r}, "
            f"database={self.database!r}, expires_at={self.expires_at!r}, generation={self.generation})"
        )

    def expired(self, now: datetime | None = None) -> bool:
        """True when the lease has ended at ``now`` (default: the present)."""
        return self.expires_at is not None and self.expires_at <= (now or datetime.now(UTC))


@runtime_checkable
class CredentialProvider(Protocol):
    """A source of credentials.

    ``get`` is called from any thread and anew for each connection that is opened, so a provider that rotates
    credentials just answers with the new ones and a higher ``generation``. It returns None for a service of
    which it knows nothing, and raises ConfigurationError when what it knows cannot be used.
    """

    def get(self, service: str) -> Credentials | None:
        """The credentials for ``service``, a name of the table in dbint.discovery, or None."""
        ...


class ChainProvider:
    """Asks its providers in turn; the first answer wins."""

    def __init__(self, providers: Sequence[CredentialProvider]) -> None:
        self.providers = tuple(providers)

    def get(self, service: str) -> Credentials | None:
        """The first provider's answer that is not None."""
        for provider in self.providers:
            if (found := provider.get(service)) is not None:
                return found
        return None
