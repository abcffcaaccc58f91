"""The state file of the development stack: where it is, and reading it with suspicion.

``python -m stack up`` writes it. What it says decides where passwords are sent, so a file that somebody
else could have written is refused.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbint.errors import ConfigurationError

FORMAT = 1
SIZE_LIMIT = 1 << 20  # bytes


class DiscoveryError(ConfigurationError):
    """The state file of the development stack cannot be used. The message names the file and the mend."""


@dataclass(frozen=True, slots=True)
class StackService:
    """What the state file says of one server."""

    host: str
    ports: Mapping[str, int]
    version: str | None = None
    emulated: bool = False
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StackState:
    """The state file, read and checked."""

    path: Path
    services: Mapping[str, StackService]


def stack_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The directory of the development stack: ``$DBINT_STACK_DIR``, else the user's default.

    Root's default lies under /var/lib: PostgreSQL does not run as root, and its user may not enter /root.
    Raises ConfigurationError when the variable holds a relative path.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get("DBINT_STACK_DIR"):
        if not chosen.startswith("/"):
            raise ConfigurationError(f"DBINT_STACK_DIR must be an absolute path, not {chosen!r}")
        return Path(os.path.normpath(chosen))
    return state_directory("stack", environ)


def state_directory(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """Where dbint keeps what outlives a process: ``/var/lib/dbint/name`` for root, else the user's own."""
    environ = os.environ if environ is None else environ
    if os.geteuid() == 0:
        return Path("/var/lib/dbint", name)
    # The XDG base directory specification has relative paths ignored.
    base = environ.get("XDG_STATE_HOME", "")
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    return (Path(base) if base.startswith("/") else Path(home, ".local/state")) / "dbint" / name


def read_state(environ: Mapping[str, str] | None = None) -> StackState | None:
    """The state of the development stack, or None where there is no state file.

    Raises DiscoveryError for a file that cannot be read, that others may write, or whose content is not ours.
    """
    path = stack_directory(environ) / "state.json"
    mend = "run 'python -m stack down' and 'python -m stack up', or name another stack by DBINT_STACK_DIR"
    try:
        # O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DiscoveryError(
            f"the state file {path} cannot be opened ({error.strerror}): run as the stack's user, "
            "or name another stack by DBINT_STACK_DIR"
        ) from None
    try:
        with os.fdopen(descriptor, "rb") as file:
            _refuse_foreign(path, os.fstat(file.fileno()))
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise DiscoveryError(f"the state file {path} cannot be read ({error.strerror}): {mend}") from None
    if len(content) > SIZE_LIMIT:
        raise DiscoveryError(
            f"the state file {path} is larger than {SIZE_LIMIT} bytes, so it is not ours: {mend}"
        )
    try:
        return StackState(path, _parse(json.loads(content)))
    except (ValueError, RecursionError) as error:
        raise DiscoveryError(f"the state file {path} is damaged ({error}): {mend}") from None


def _refuse_foreign(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DiscoveryError(
            f"the state file {path} is not a regular file: remove it, then run 'python -m stack up'"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise DiscoveryError(
            f"the state file {path} belongs to user {status.st_uid}, who could send your passwords anywhere: "
            "remove it, or name a stack of your own by DBINT_STACK_DIR"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DiscoveryError(f"the state file {path} may be written by other users: chmod 600 {path}")


def _parse(content: Any) -> dict[str, StackService]:
    """The services of the file. Raises ValueError with the place of what is wrong."""
    root = _expect(content, dict, "its content")
    if root.get("format") != FORMAT:
        raise ValueError(f"it has format {root.get('format')!r}, this version of dbint reads format {FORMAT}")
    return {
        name: _service(name, entry)
        for name, entry in _expect(root.get("services"), dict, '"services"').items()
    }


def _service(name: str, entry: Any) -> StackService:
    place = f"service {name!r}:"
    _expect(entry, dict, f"{place} the entry")
    ports = _expect(entry.get("ports"), dict, f"{place} ports")
    for role, number in ports.items():
        if type(number) is not int or not 0 < number < 65536:
            raise ValueError(f"{place} port {role!r} is not a port number")
    version = entry.get("version")
    if not (host := _expect(entry.get("host"), str, f"{place} host")):
        raise ValueError(f"{place} host is empty")
    return StackService(
        host=host,
        ports=ports,
        version=version if isinstance(version, str) else None,
        emulated=_expect(entry.get("emulated", False), bool, f"{place} emulated"),
        # A list of databases may stand beside the texts.
        credentials={
            key: value
            for key, value in _expect(entry.get("credentials", {}), dict, f"{place} credentials").items()
            if isinstance(value, str)
        },
    )


_KINDS = {dict: "JSON object", str: "text", bool: "boolean"}


def _expect(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{what} is not a {_KINDS[kind]}")  # noqa: TRY004 - a damaged file, not a wrong argument
    return value
