"""Credentials of the development stack."""

import os
from collections.abc import Mapping

from dbint import discovery
from dbint.credentials.base import Credentials
from dbint.state import read_state


class StackProvider:
    """Reads the state file that ``python -m stack up`` writes; knows nothing inside Kubernetes.

    It answers only for a server whose address comes from the same file: the stack's password is not sent to
    a host that an environment variable or the settings name.
    """

    def __init__(
        self,
        services: Mapping[str, Mapping[str, object]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._services = services
        self._environ = environ

    def get(self, service: str) -> Credentials | None:
        """Raises DiscoveryError for an unusable state file."""
        row = discovery.service(service)
        environ = os.environ if self._environ is None else self._environ
        if discovery.is_running_in_kubernetes(environ):
            return None
        state = read_state(environ)
        entry = state.services.get(row.name) if state else None
        if (
            state is None
            or entry is None
            or not (entry.credentials.get("username") or entry.credentials.get("password"))
        ):
            return None
        if discovery.locate(row.name, self._services, environ).sources["host"] != f"state file {state.path}":
            return None
        return Credentials(
            username=entry.credentials.get("username", ""),
            password=entry.credentials.get("password", ""),
            source=f"state file {state.path}",
            database=entry.credentials.get("database"),
        )
