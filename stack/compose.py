"""The same stack in containers: the official images of docker-compose.yml, run by ``docker compose``.

Ports, passwords and the state file are as with the servers that the stack runs itself, so everything that
reads the state file works with either.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stack.errors import StackError
from stack.paths import CHECKOUT
from stack.probe import NotReadyError
from stack.process import Outcome, run
from stack.servers import PROFILES, SERVERS
from stack.servers.doris import set_up_doris
from stack.state import Entry, State
from stack.supervisor import Stack, Status, in_order

ENGINE = "compose"
FILE = CHECKOUT / "docker-compose.yml"
# The services of docker-compose.yml that make up a server; the first names its version.
SERVICES = {"postgres": ("postgres",), "kafka": ("kafka",), "doris": ("doris-fe", "doris-be")}
# The backend says its own port to clients, so the published one cannot differ (docker-compose.yml says why).
_FIXED_PORTS = {("doris", "be_http"): 8040}
_PULL_TIMEOUT = 3600.0  # seconds; Doris' images have some GiB
_READY_TIMEOUT = 300.0


class ComposeStack(Stack):
    """A stack whose servers run in containers."""

    def fetch(self, names: Iterable[str]) -> None:
        """Pulls the images."""
        chosen = self._in_compose(in_order(names))
        docker()
        self._compose(State(), "pull", "--quiet", *_services(chosen), timeout=_PULL_TIMEOUT)

    def up(self, names: Iterable[str] = PROFILES["light"], profile: str = "light") -> None:
        chosen = self._in_compose(in_order(names))
        docker()
        with self._locked(create=True):
            state = self.state()
            if state.services and state.engine != ENGINE:
                raise StackError(
                    f"the stack in {self.directory} runs without a container engine; remove it first: "
                    "STACK= python3 -m stack down"
                )
            state.engine = ENGINE
            self._reserve(state, chosen, profile)
            self._bring_up(state, chosen)

    def start(self, *names: str) -> None:
        with self._locked():
            state = self.state()
            self._bring_up(state, self._known(state, names))

    def stop(self, *names: str) -> None:
        with self._locked():
            self._on_services("stop", names)

    def kill(self, *names: str) -> None:
        with self._locked():
            self._on_services("kill", names)

    def restart(self, *names: str) -> None:
        self.stop(*names)
        self.start(*names)

    def down(self, *names: str, keep_data: bool = False) -> list[Path]:
        if not self.state_file.exists():
            return []
        if names:
            raise StackError("in containers the stack goes down as a whole: python3 -m stack down")
        if keep_data:
            self.stop()
            return []
        with self._locked():
            self._compose(self.state(), "down", "--volumes", "--remove-orphans")
            self.state_file.unlink()
            self.directory.rmdir()
        return [self.state_file, self.directory]

    def status(self, names: Sequence[str] = ()) -> list[Status]:
        state = self.state()
        running = set(self._compose(state, "ps", "--services", "--status=running").text.split())
        return [
            replace(row, running=running.issuperset(SERVICES[row.server])) for row in super().status(names)
        ]

    def is_running(self, name: str) -> bool:
        return self.status([name])[0].running

    def logs(self, name: str) -> str:
        """All that the server's containers have logged."""
        return self._compose(self.state(), "logs", "--no-color", "--no-log-prefix", *SERVICES[name]).text

    def _bring_up(self, state: State, names: Sequence[str]) -> None:
        services = list(_services(names))
        for name in names:
            self.progress.step(name, "fetching and starting its containers")
        self._compose(state, "up", "--detach", *services, timeout=_PULL_TIMEOUT)
        deadline = time.monotonic() + _READY_TIMEOUT
        for name in names:
            site = self._site(state, name)
            while True:
                try:
                    SERVERS[name].probe(site)
                    break
                except NotReadyError as error:
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"{name} was not ready within {_READY_TIMEOUT:.0f} s ({error}). "
                            f"Its log: python3 -m stack logs {name}"
                        ) from error
                    time.sleep(0.5)
            if name == "doris":
                set_up_doris(state.services[name], deadline)
            self.progress.done(name, f"ready ({state.services[name].version} in containers)")

    def _on_services(self, command: str, names: Sequence[str]) -> None:
        state = self.state()
        self._compose(state, command, *_services(self._known(state, names)))

    def _compose(self, state: State, *arguments: str, timeout: float = 300) -> Outcome:
        """Runs docker compose on this stack's project. The passwords go through its environment."""
        project = "dbint-" + hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]
        environment = dict(os.environ)
        for name, entry in state.services.items():
            environment |= SERVERS[name].environment(entry)
        if "kafka" in state.services:
            environment["KAFKA_PORT"] = str(state.services["kafka"].ports["bootstrap"])
        command = ["docker", "compose", f"--project-name={project}", f"--file={FILE}", *arguments]
        outcome = run(command, environment=environment, timeout=timeout)
        if outcome.status != 0:
            said = outcome.text.strip()[-1500:]
            raise StackError(f"docker compose {arguments[0]} failed:\n{said}")
        return outcome

    def _new_entry(self, name: str, taken: set[int]) -> Entry:
        entry = super()._new_entry(name, taken)
        for (server, role), port in _FIXED_PORTS.items():
            if server == name:
                entry.ports[role] = port
        entry.version, entry.emulated = _version(SERVICES[name][0]), False
        return entry

    def _in_compose(self, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if name not in SERVICES:
                raise StackError(f"{name} is not in docker-compose.yml; there are {', '.join(SERVICES)}")
        return names


def _services(names: Sequence[str]) -> Iterator[str]:
    return (service for name in names for service in SERVICES[name])


def docker() -> str:
    """The docker program, once it has a compose plugin and an engine that answers. Raises StackError."""
    found = shutil.which("docker")
    checks: tuple[tuple[list[str], str], ...] = (
        (["compose", "version"], "the docker here has no compose plugin"),
        (["version", "--format={{.Server.Version}}"], "no container engine answers"),
    )
    problem = "there is no docker on PATH" if found is None else ""
    for arguments, meaning in checks:
        if found and not problem and run([found, *arguments]).status != 0:
            problem = meaning
    if found is None or problem:
        raise StackError(
            f"STACK=compose needs docker with its compose plugin, and {problem}. "
            "Without containers: STACK= python3 -m stack up"
        )
    return found


def _version(service: str) -> str:
    """The version in the tag of the service's image."""
    image = re.search(rf"^  {service}:\n    image: \S+:(?:[a-z]+-)?([0-9.]+)", FILE.read_text(), re.MULTILINE)
    if image is None:
        raise StackError(f"{FILE} pins no version of {service}")
    return image[1]
