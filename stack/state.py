"""The state file: what runs where, with which credentials (ARCHITECTURE.md, "The state file").

It is written whole, to a temporary file that then takes its place, so that a reader never sees half of it.
Writers hold the stack's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stack.errors import StackError
from stack.process import Process

FORMAT = 1
HOST = "127.0.0.1"
# Below the kernel's usual range for outgoing connections (32768 and up): a port that is kept over stop and
# start must not be lent to somebody's connection meanwhile.
_PORTS = range(20000, 32768)


@dataclass
class Entry:
    """One server of the stack, as the state file has it."""

    ports: dict[str, int]
    version: str
    emulated: bool = False
    host: str = HOST
    pid: int | None = None
    born: str | None = None
    credentials: dict[str, Any] = field(default_factory=dict, repr=False)
    # What a recipe has to remember beyond that (PostgreSQL: where its unix socket is).
    extra: dict[str, str] = field(default_factory=dict)

    def process(self) -> Process | None:
        """The server's process while it runs."""
        if self.pid is None or self.born is None:
            return None
        process = Process(self.pid, self.born)
        return process if process.alive() else None

    def set_process(self, process: Process | None) -> None:
        self.pid, self.born = (process.pid, process.born) if process else (None, None)


@dataclass
class State:
    """The whole file."""

    profile: str = "light"
    services: dict[str, Entry] = field(default_factory=dict)
    # "compose" when a container engine runs the servers: then they have no pid of ours.
    engine: str | None = None

    @classmethod
    def read(cls, path: Path) -> State:
        """The state in ``path``, an empty one without a file. Raises StackError for a file we cannot use."""
        try:
            text = path.read_text()
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise StackError(f"cannot read {path}: {error.strerror}") from error
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise StackError(
                    f"{path} has format {document['format']!r}; this checkout understands format {FORMAT}. "
                    "Use the checkout that wrote it"
                )
            services = {name: Entry(**entry) for name, entry in document["services"].items()}
            return cls(document["profile"], services, document.get("engine"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError(
                f"{path} is damaged ({error}). End its servers (their working directories lie in "
                f"{path.parent}), then remove that directory"
            ) from error

    def write(self, path: Path) -> None:
        """Puts the state into ``path``, mode 0600. Raises StackError, when the disk is full for example."""
        document: dict[str, Any] = {"format": FORMAT, "profile": self.profile}
        if self.engine:
            document["engine"] = self.engine
        document["services"] = {
            name: {key: value for key, value in asdict(entry).items() if key != "extra" or value}
            for name, entry in self.services.items()
        }
        write_private(path, json.dumps(document, indent=1) + "\n")


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Replaces the whole file at once; its mode is 0600, ``owner`` a pair of user and group id."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                if owner:
                    os.fchown(handle, *owner)
                os.fsync(handle)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}") from error


def free_port(taken: Collection[int]) -> int:
    """A port of 127.0.0.1 that nobody listens on and that is not in ``taken``. Raises StackError."""
    for port in random.SystemRandom().sample(_PORTS, k=200):
        if port not in taken and port_is_free(port):
            return port
    raise StackError(f"found no free port on {HOST} between {_PORTS.start} and {_PORTS.stop - 1}")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do it: a connection in TIME_WAIT does not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
