"""Credentials from files: a directory of mounted secrets, or one JSON or TOML file."""

import json
import os
import stat
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbint import discovery
from dbint.credentials.base import Credentials
from dbint.credentials.environment import read_secret
from dbint.errors import ConfigurationError

_KEYS = ("username", "password", "database")


class FileProvider:
    """Reads ``<directory>/<service>/username|password|database``, or a file ``*.json`` or ``*.toml``::

        {"postgres": {"username": "app", "password": "...", "database": "agent_runtime"}}

    The files are read anew at each ``get``: Kubernetes swaps a mounted secret under a running process, and
    ``Credentials.generation`` rises when it did. A file that other users may read is refused - except inside
    Kubernetes, where the kubelet mounts secrets with mode 0644 and the pod is the border.
    """

    def __init__(self, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self._environ = environ
        self._lock = threading.Lock()
        self._last: dict[str, tuple[tuple[str, str, str | None], int]] = {}

    def get(self, service: str) -> Credentials | None:
        """Raises ConfigurationError for a missing path, a damaged file, and one that others may read."""
        row = discovery.service(service)
        if self.path.suffix in (".json", ".toml"):
            values, source = self._from_file(row.name), self.path
        else:
            values, source = self._from_directory(row.name), self.path / row.name
        if values is None:
            return None
        if "username" not in values and not row.username_optional:
            raise ConfigurationError(f"{source} has no username for {row.title}")
        content = (values.get("username", ""), values.get("password", ""), values.get("database"))
        return Credentials(
            content[0], content[1], f"file {source}", content[2], None, self._generation(row.name, content)
        )

    def _generation(self, service: str, content: tuple[str, str, str | None]) -> int:
        with self._lock:
            last, generation = self._last.get(service, (content, 0))
            if last != content:
                generation += 1
            self._last[service] = (content, generation)
            return generation

    def _from_directory(self, service: str) -> dict[str, str] | None:
        if not self.path.is_dir():
            raise ConfigurationError(f"the directory of credentials {self.path} is not there")
        values = {}
        for key in _KEYS:
            path = self.path / service / key
            if path.exists():
                self._refuse_readable(path)
                values[key] = read_secret(path, "credentials")
        return values or None

    def _from_file(self, service: str) -> dict[str, str] | None:
        try:
            self._refuse_readable(self.path)
            content = self.path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"the file of credentials {self.path} cannot be read: {error.strerror}"
            ) from None
        try:
            text = content.decode()
            root: Any = json.loads(text) if self.path.suffix == ".json" else tomllib.loads(text)
        except (ValueError, RecursionError):
            # The parser's own words may quote what stands there.
            raise ConfigurationError(
                f"the file of credentials {self.path} is not valid {self.path.suffix[1:].upper()}"
            ) from None
        entry = root.get(service) if isinstance(root, dict) else root
        if entry is None:
            return None
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise ConfigurationError(
                f'{self.path}: the entry of {service!r} is not {{"username": "...", "password": "..."}}'
            )
        if unknown := sorted(set(entry) - set(_KEYS)):
            near = discovery.did_you_mean(unknown[0], list(_KEYS))
            raise ConfigurationError(f"{self.path}: {service!r} has no {unknown[0]!r}{near}")
        return entry

    def _refuse_readable(self, path: Path) -> None:
        mode = path.stat().st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH) and not discovery.is_running_in_kubernetes(self._environ):
            raise ConfigurationError(
                f"{path} holds credentials and other users may read or write it: chmod 600 {path}"
            )
