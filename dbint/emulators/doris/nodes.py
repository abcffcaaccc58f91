"""The frontends and backends of the cluster: who listens where, who is up, who is master.

They share one storage: a follower answers reads as the master does, and what it forwards to the master
happens at once. Source: "High Availability" of the Doris documentation.
"""

import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from dbint.emulators.doris.errors import NOT_EMULATED, DorisError


@dataclass(slots=True)
class Node:
    """One process of the cluster. ``name`` is fe1, fe2, … or be1, be2, …; ports by role: query and http, or
    http.
    """

    name: str
    ports: dict[str, int]
    host: str = "127.0.0.1"
    is_alive: bool = True
    started: str = field(default_factory=lambda: dt.datetime.now().isoformat(" ", "seconds"))

    @property
    def number(self) -> int:
        return int(self.name[2:])


@dataclass(slots=True)
class Nodes:
    """All nodes, in the order of their names."""

    frontends: list[Node] = field(default_factory=list)
    backends: list[Node] = field(default_factory=list)
    _turns: Iterator[int] = field(default_factory=itertools.count)

    @property
    def all(self) -> list[Node]:
        return [*self.frontends, *self.backends]

    @property
    def master(self) -> Node | None:
        """The frontend that writes: the first that is up, while more than half are; None otherwise."""
        alive = [node for node in self.frontends if node.is_alive]
        return alive[0] if len(alive) * 2 > len(self.frontends) else None

    @property
    def online_backends(self) -> list[Node]:
        return [node for node in self.backends if node.is_alive]

    def next_backend(self) -> Node | None:
        """The backend that the next load is sent to: each that is up in turn; None where none is."""
        online = self.online_backends
        return online[next(self._turns) % len(online)] if online else None

    def require_master(self) -> None:
        """Raise DorisError where nobody can write."""
        if self.frontends and self.master is None:
            up = sum(node.is_alive for node in self.frontends)
            raise DorisError(
                f"{NOT_EMULATED} no frontend is master: {up} of {len(self.frontends)} are up, and Doris needs"
                " more than half of them to elect one"
            )
