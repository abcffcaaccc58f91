"""What every recipe says about its server. A recipe has no state: what belongs to one stack is in a Site."""

from __future__ import annotations

import os
import secrets
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stack.packages import Requirement
from stack.progress import Progress
from stack.state import HOST, Entry


@dataclass(frozen=True)
class Site:
    """One server in one stack."""

    directory: Path  # its private directory: data, configuration; also the working directory of its process
    entry: Entry
    # The other servers of the stack, for those that need one.
    neighbours: Mapping[str, Entry]

    @property
    def host(self) -> str:
        return HOST

    def port(self, role: str) -> int:
        return self.entry.ports[role]

    def credential(self, name: str) -> str:
        return str(self.entry.credentials[name])


@dataclass(frozen=True)
class Command:
    """How a server is run: ``environment`` is added to a clean one; None for user and group is ours."""

    argv: list[str | Path]
    environment: dict[str, str] = field(default_factory=dict)
    user: int | None = None
    group: int | None = None


class Server(ABC):
    """A recipe: what the server is and needs, how it is installed, prepared, run, probed and stopped."""

    name: ClassVar[str]
    summary: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]  # of its ports; the first is shown as its address
    emulated: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()  # servers that must be up before it
    start_timeout: ClassVar[float] = 120.0  # seconds until ready
    stop_timeout: ClassVar[float] = 30.0  # seconds for a clean stop
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @abstractmethod
    def version(self) -> str:
        """The version that would be run: pinned, or the distribution's."""

    @abstractmethod
    def requirements(self) -> list[Requirement]:
        """What must be on the machine before anything else."""

    def install(self, progress: Progress) -> None:  # noqa: B027 - most servers come with the distribution
        """Brings into the cache what the server is made of. Raises StackError."""

    def credentials(self) -> dict[str, Any]:
        """Names and fresh random passwords, for a new stack."""
        return {}

    @abstractmethod
    def prepare(self, site: Site) -> None:
        """Makes data directory and configuration, where they are not there yet. Raises StackError."""

    def recover(self, site: Site) -> None:  # noqa: B027 - most servers need nothing
        """Clears away what a kill -9 of the server has left, before the next start."""

    @abstractmethod
    def command(self, site: Site) -> Command:
        """The server's command line."""

    @abstractmethod
    def probe(self, site: Site) -> None:
        """Returns when the server is ready; raises NotReadyError when it is not (yet)."""

    @abstractmethod
    def environment(self, entry: Entry) -> dict[str, str]:
        """The variables that programs read instead of the state file (dbint.discovery has the names)."""

    def settle(self, site: Site) -> None:  # noqa: B027 - most servers need nothing
        """What is to be done once the server is ready, at every start. Raises StackError."""

    def cleanup(self, site: Site) -> None:  # noqa: B027 - most servers keep all they have in their directory
        """Removes what the server keeps outside its directory."""


def new_password() -> str:
    return secrets.token_urlsafe(18)


def clean_environment() -> dict[str, str]:
    """What a server sees of our environment: nothing that would configure it behind its recipe's back."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
    return {name: value for name in kept if (value := os.environ.get(name)) is not None}
