"""A stack: some servers, one directory, one state file; started, stopped and killed by name.

Every command that changes something holds a lock on the stack's directory, so that two at once take turns.
What runs is known from the state file alone: a command needs nothing from the one that started the servers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from stack.errors import StackError
from stack.packages import ensure
from stack.paths import stack_directory
from stack.probe import NotReadyError
from stack.process import Process, listener_on, spawn, stop_helpers
from stack.progress import Progress
from stack.servers import PROFILES, SERVERS
from stack.servers.base import Server, Site, clean_environment
from stack.state import Entry, State, free_port, port_is_free

_POLL = 0.05  # seconds between two looks at a server that is starting
_LOG_LIMIT = 32 << 20  # bytes; a longer log is put aside at the next start, and the one before it removed
_LOG_TAIL = 20  # lines shown when a start fails
_HEADING = "== "  # begins the line that each start writes into the log


@dataclass(frozen=True)
class Status:
    """One row of ``status``; times in seconds, memory in bytes, None where the server does not run."""

    server: str
    running: bool
    version: str
    emulated: bool
    address: str
    pid: int | None = None
    uptime: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens and who may enter."""

    host: str
    ports: Mapping[str, int]
    credentials: Mapping[str, str | list[str]] = field(repr=False)

    @property
    def port(self) -> int:
        """The main port: the first one."""
        return next(iter(self.ports.values()))


class Stack:
    """The stack in ``directory`` (default: the one that the commands work on).

    Methods take names of servers and raise StackError. ``install`` False keeps ``up`` from installing
    packages of the distribution; by default it does where it may (root on Debian or Ubuntu).
    """

    def __init__(
        self,
        directory: Path | None = None,
        progress: Progress | None = None,
        *,
        install: bool | None = None,
    ) -> None:
        self.directory = directory.absolute() if directory else stack_directory()
        self.progress = progress or Progress()
        self._install = install
        self._cancelled = threading.Event()
        self._writing = threading.Lock()

    @property
    def state_file(self) -> Path:
        return self.directory / "state.json"

    # Looking

    def state(self) -> State:
        return State.read(self.state_file)

    def entry(self, name: str) -> Entry:
        """The server's entry in the state file. Raises StackError when it has none."""
        try:
            return self.state().services[name]
        except KeyError:
            raise StackError(f"{name} is not part of the stack in {self.directory}") from None

    def endpoint(self, name: str) -> Endpoint:
        entry = self.entry(name)
        return Endpoint(entry.host, dict(entry.ports), dict(entry.credentials))

    def is_running(self, name: str) -> bool:
        entry = self.state().services.get(name)
        return entry is not None and entry.process() is not None

    def status(self, names: Sequence[str] = ()) -> list[Status]:
        rows = []
        state = self.state()
        for name in self._known(state, names):
            entry = state.services[name]
            process = entry.process()
            rows.append(
                Status(
                    name,
                    process is not None,
                    entry.version,
                    entry.emulated,
                    f"{entry.host}:{entry.ports[SERVERS[name].roles[0]]}",
                    process.pid if process else None,
                    process.uptime() if process else None,
                    process.memory() if process else None,
                )
            )
        return rows

    def env(self, names: Sequence[str] = ()) -> dict[str, str]:
        """What the state file says as environment variables, secrets included."""
        state = self.state()
        variables = {"DBINT_STACK_DIR": os.fspath(self.directory)}
        for name in self._known(state, names):
            variables |= SERVERS[name].environment(state.services[name])
        return variables

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    # Changing

    def reserve(self, names: Iterable[str], profile: str = "light") -> None:
        """Chooses ports and passwords and writes the state file, without starting anything."""
        with self._locked(create=True):
            self._reserve(self.state(), in_order(names), profile)

    def fetch(self, names: Iterable[str]) -> None:
        """Installs what the servers are made of: distribution packages, and downloads into the cache."""
        chosen = in_order(names)
        self._ensure(chosen)
        self._each(chosen, lambda name: SERVERS[name].install(self.progress))

    def up(self, names: Iterable[str] = PROFILES["light"], profile: str = "light") -> None:
        """Installs, prepares and starts the servers and those that they need, and waits until they are ready.

        A server that runs already is left alone. Raises StackError when one does not come up; the others do.
        """
        chosen = in_order(names)
        self._ensure(chosen)
        with self._locked(create=True):
            state = self.state()
            self._refuse_engine(state)
            self._reserve(state, chosen, profile)
            self._start(state, chosen)

    def start(self, *names: str) -> None:
        """Starts servers of the stack (all without a name) and waits until they are ready."""
        with self._locked():
            state = self.state()
            self._start(state, in_order(self._known(state, names)))

    def stop(self, *names: str) -> None:
        """Stops servers cleanly; one that does not obey in time is killed."""
        with self._locked():
            self._stop(names)

    def kill(self, *names: str) -> None:
        """Ends servers by SIGKILL, all their processes at once, as a crash of the machine would."""
        with self._locked():
            state = self.state()
            for name in self._known(state, names):
                process = state.services[name].process()
                if process is not None:
                    _kill(process)
                    self.progress.done(name, f"killed (pid {process.pid})")
                self._record(state, name, None)

    def restart(self, *names: str) -> None:
        """Stops and starts servers."""
        with self._locked():
            self._stop(names)
            state = self.state()
            self._start(state, in_order(self._known(state, names)))

    def down(self, *names: str, keep_data: bool = False) -> list[Path]:
        """Stops servers and removes their data, logs and entries; returns what was removed."""
        if not self.state_file.exists():
            return []
        removed: list[Path] = []
        with self._locked():
            state = self.state()
            chosen = self._known(state, names)
            self._stop(names)
            if keep_data:
                return []
            for name in chosen:
                site = self._site(state, name)
                if (site.directory / "data").exists():
                    SERVERS[name].recover(site)
                SERVERS[name].cleanup(site)
                for path in (site.directory, self.log(name), _older(self.log(name))):
                    removed += _remove(path)
                del state.services[name]
            if state.services:
                state.write(self.state_file)
            else:
                removed += _remove(self.state_file)
                # Only what is ours and empty by now: the directory was chosen by the user.
                for directory in (self.directory / "logs", self.directory):
                    with contextlib.suppress(OSError):
                        directory.rmdir()
                        removed.append(directory)
        return removed

    # The work

    def _ensure(self, names: Sequence[str]) -> None:
        ensure(
            (requirement for name in names for requirement in SERVERS[name].requirements()),
            self.progress,
            install=self._install,
        )

    def _reserve(self, state: State, names: Sequence[str], profile: str) -> None:
        state.profile = profile
        taken = {port for entry in state.services.values() for port in entry.ports.values()}
        for name in names:
            if name not in state.services:
                state.services[name] = self._new_entry(name, taken)
        state.write(self.state_file)

    def _new_entry(self, name: str, taken: set[int]) -> Entry:
        server = SERVERS[name]
        ports: dict[str, int] = {}
        for role in server.roles:
            ports[role] = free_port(taken)
            taken.add(ports[role])
        return Entry(ports, server.version(), server.emulated, credentials=server.credentials())

    def _start(self, state: State, names: Sequence[str]) -> None:
        ended = {name: threading.Event() for name in names}
        up: set[str] = set()

        def start(name: str) -> None:
            try:
                for needed in set(SERVERS[name].needs) & set(names):
                    while not ended[needed].wait(_POLL):
                        self._check_cancelled()
                    if needed not in up:
                        raise StackError(f"{name} was not started, because {needed} is not up")
                self._start_one(state, SERVERS[name])
                up.add(name)
            finally:
                ended[name].set()

        self._each(names, start)

    def _start_one(self, state: State, server: Server) -> None:
        began = time.monotonic()
        site = self._site(state, server.name)
        process = site.entry.process()
        running_already = process is not None
        if process is None:
            process = self._launch(state, server, site)
        try:
            self._wait_until_ready(server, site, process)
        except StackError:
            # What runs already is left as it is, and so is what was interrupted: it may need a moment more.
            if not running_already and not self._cancelled.is_set():
                _stop(process, server)
            if not process.alive():
                self._record(state, server.name, None)
            raise
        server.settle(site)
        how = "runs already" if running_already else f"ready after {time.monotonic() - began:.1f} s"
        address = f"{site.host}:{site.port(server.roles[0])}"
        self.progress.done(server.name, f"{how} ({server.summary} {site.entry.version}, {address})")

    def _launch(self, state: State, server: Server, site: Site) -> Process:
        """Prepares the server and starts its process."""
        name = server.name
        try:
            self._check_cancelled()
            server.install(self.progress)
            self.progress.step(name, "starting")
            site.directory.mkdir(mode=0o700, exist_ok=True)
            server.prepare(site)
            server.recover(site)
            for role, port in site.entry.ports.items():
                if not port_is_free(port):
                    raise StackError(_port_is_taken(name, role, port))
            site.entry.version = server.version()
            self._check_cancelled()
            process = self._spawn(server, site)
        except OSError as error:
            raise StackError(f"cannot start {name}: {error.filename or name}: {error.strerror}") from error
        try:
            self._record(state, name, process)
        except BaseException:  # what is in no state file would be found by nobody
            _kill(process)
            raise
        return process

    def _spawn(self, server: Server, site: Site) -> Process:
        log = self.log(server.name)
        command = server.command(site)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(_older(log))
        with log.open("a") as file:
            file.write(
                f"{_HEADING}{time.strftime('%Y-%m-%d %H:%M:%S')} {server.summary} {site.entry.version}\n"
            )
        return spawn(
            command.argv,
            log=log,
            cwd=site.directory,
            environment=clean_environment() | command.environment,
            user=command.user,
            group=command.group,
        )

    def _wait_until_ready(self, server: Server, site: Site, process: Process) -> None:
        deadline = time.monotonic() + server.start_timeout
        while True:
            # Asked before the probe: whoever answers once our process is dead is somebody else.
            if not process.alive():
                raise StackError(f"{server.name} ended while it was starting{self._last_words(server.name)}")
            try:
                server.probe(site)
            except NotReadyError as error:
                answer = str(error)
            else:
                return
            self._check_cancelled()
            if time.monotonic() > deadline:
                raise StackError(
                    f"{server.name} was not ready within {server.start_timeout:.0f} s ({answer})"
                    f"{self._last_words(server.name)}"
                )
            process.wait(_POLL)

    def _stop(self, names: Sequence[str]) -> None:
        state = self.state()

        def stop(name: str) -> None:
            server, process = SERVERS[name], state.services[name].process()
            if process is not None:
                self.progress.step(name, "stopping")
                clean = _stop(process, server)
                late = f"killed, for it did not stop within {server.stop_timeout:.0f} s"
                self.progress.done(name, "stopped" if clean else late)
            self._record(state, name, None)

        # Those that need others go first.
        for group in _levels(self._known(state, names)):
            self._each(group, stop)

    def _each(self, names: Sequence[str], do: Callable[[str], None]) -> None:
        """Does it for all names at once; afterwards raises StackError with all that went wrong."""
        self._cancelled.clear()
        problems: list[str] = []
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            jobs = {pool.submit(do, name): name for name in names}
            waiting = set(jobs)
            try:
                while waiting:
                    # With a timeout, so that Ctrl-C is heard.
                    finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    for job in finished:
                        try:
                            job.result()
                        except StackError as error:
                            self.progress.done(jobs[job], "failed")
                            problems.append(str(error))
            except BaseException:
                self._cancelled.set()
                stop_helpers()
                raise
        if problems:
            raise StackError("\n".join(problems))

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise StackError("given up: interrupted")

    def _record(self, state: State, name: str, process: Process | None) -> None:
        with self._writing:
            state.services[name].set_process(process)
            state.write(self.state_file)

    def _site(self, state: State, name: str) -> Site:
        return Site(self.directory / name, state.services[name], state.services)

    def _known(self, state: State, names: Sequence[str]) -> list[str]:
        """The names, or all of the stack. Raises StackError for one that is not part of it."""
        for name in names:
            if name not in state.services:
                there = f"has {', '.join(state.services)}" if state.services else "has no servers"
                raise StackError(
                    f"the stack in {self.directory} {there}, not {name}: python3 -m stack up {name}"
                )
        return [name for name in SERVERS if name in state.services and (not names or name in names)]

    def _last_words(self, name: str) -> str:
        """The end of what the server has logged since its last start."""
        log = self.log(name)
        try:
            lines = log.read_text(errors="replace").rpartition(_HEADING)[2].splitlines()[1:]
        except OSError:
            return ""
        return "\n".join(["", *(f"  {line}" for line in lines[-_LOG_TAIL:]), f"the whole log: {log}"])

    def _refuse_engine(self, state: State) -> None:
        if state.engine:
            raise StackError(
                f"the stack in {self.directory} is run by {state.engine}; remove it first: "
                f"STACK={state.engine} python3 -m stack down"
            )

    @contextlib.contextmanager
    def _locked(self, *, create: bool = False) -> Iterator[None]:
        if create:
            self._create_directory()
        while True:
            try:
                handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise StackError(f"there is no stack in {self.directory}: python3 -m stack up") from None
            except OSError as error:
                raise StackError(f"cannot enter {self.directory}: {error.strerror}") from error
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.progress.step("stack", "waiting for another command on this stack")
                    fcntl.flock(handle, fcntl.LOCK_EX)
                    self.progress.done("stack", "the other command has ended")
                if not _same(handle, self.directory):  # removed by "down" while we waited
                    if create:
                        self._create_directory()
                    continue
                yield
                return
            finally:
                os.close(handle)

    def _create_directory(self) -> None:
        """Makes the stack's directory.

        Everybody may pass through root's, listing nothing: PostgreSQL runs as another user.
        """
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            for directory in (*reversed(self.directory.parents), self.directory):
                with contextlib.suppress(FileExistsError):
                    directory.mkdir()
                    directory.chmod(mode)
            if self.state_file.exists():
                return
            strangers = [path.name for path in self.directory.iterdir()]
            if strangers:
                raise StackError(
                    f"{self.directory} holds {', '.join(sorted(strangers)[:3])}, but no stack (state.json): "
                    "empty it, or let DBINT_STACK_DIR name a directory that is new or empty"
                )
            self.directory.chmod(mode)
        except OSError as error:
            where = error.filename or self.directory
            reason = "is not a directory" if error.errno == errno.ENOTDIR else error.strerror
            raise StackError(f"cannot make {self.directory}: {where}: {reason}") from error


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def in_order(names: Iterable[str]) -> list[str]:
    """The names and those that they need, in the order of the recipes. StackError for an unknown one."""
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in SERVERS:
            raise StackError(f"no server is called {name!r}; there are {', '.join(SERVERS)}")
        if name not in wanted:
            wanted.add(name)
            queue += SERVERS[name].needs
    return [name for name in SERVERS if name in wanted]


def _levels(names: Sequence[str]) -> Iterator[list[str]]:
    """The names in groups to be stopped one after the other: nobody needs one of an earlier group."""
    left = list(names)
    while left:
        needed = {need for name in left for need in SERVERS[name].needs}
        group = [name for name in left if name not in needed]
        yield group
        left = [name for name in left if name not in group]


def _stop(process: Process, server: Server) -> bool:
    """Stops the server; says whether it went by itself."""
    process.send(server.stop_signal)
    if process.wait(server.stop_timeout):
        return True
    _kill(process)
    return False


def _kill(process: Process) -> None:
    # Stopped first, so that it forks no more while its children are counted.
    process.send(signal.SIGSTOP)
    family = [process, *process.descendants()]
    for member in family:
        member.send(signal.SIGKILL)
    for member in family:
        member.wait(10)


def _port_is_taken(name: str, role: str, port: int) -> str:
    by = listener_on(port)
    return (
        f"port {port}, {name}'s {role} port in this stack, is taken{f' by {by}' if by else ''}. End that "
        f"program, or let {name} move, without its data: python3 -m stack down {name}, then up {name}"
    )


def _older(log: Path) -> Path:
    return log.with_name(log.name + ".1")


def _remove(path: Path) -> list[Path]:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StackError(f"cannot remove {error.filename or path}: {error.strerror}") from error
    return [path]
