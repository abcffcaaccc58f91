"""Processes that outlive us: recognised again by pid and birth, signalled without races.

A pid alone is no name: the kernel hands it out again. A process is named here by its pid, the boot it lives
in and its start time in clock ticks (proc(5), field 22 of /proc/PID/stat), and signals go through a pidfd
that was opened before the birth was compared, so that a recycled pid is never hit.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stack.errors import StackError

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Servers started by this process, kept so that they can be reaped; another process's children are init's
# business.
_children: dict[int, subprocess.Popen[bytes]] = {}
# Programs that a thread waits for just now.
_helpers: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True)
class Process:
    """One process of this machine, for ever: a later process with the same pid is another one."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, or None."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, _birth(fields))

    def alive(self) -> bool:
        fields = _stat(self.pid)
        return fields is not None and _birth(fields) == self.born

    def send(self, number: signal.Signals) -> bool:
        """Sends the signal; False when the process is gone."""
        with _pidfd(self) as fd:
            if fd is None:
                return False
            try:
                signal.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, timeout: float) -> bool:
        """Waits until the process has ended, at most ``timeout`` seconds; says whether it has."""
        with _pidfd(self) as fd:
            if fd is not None:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                if not poller.poll(max(0, int(timeout * 1000))):
                    return False
        _reap(self.pid)
        return True

    def descendants(self) -> list[Process]:
        """All children, grandchildren, … of the process, as far as they are alive."""
        children: dict[int, list[int]] = {}
        for pid in _pids():
            fields = _stat(pid)
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(pid)
        found, queue = [], [self.pid]
        while queue:
            for pid in children.get(queue.pop(), ()):
                queue.append(pid)
                process = Process.of(pid)
                if process is not None:
                    found.append(process)
        return found

    def uptime(self) -> float | None:
        """Seconds since the process was started."""
        fields = _stat(self.pid)
        if fields is None or _birth(fields) != self.born:
            return None
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, since_boot - int(fields[19]) / _TICKS_PER_SECOND)

    def memory(self) -> int | None:
        """Bytes of memory of the process and its descendants; pages they share are counted once (PSS)."""
        sizes = [_memory(process.pid) for process in (self, *self.descendants())]
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Outcome:
    """How a helper program ended, and all that it printed, errors included."""

    status: int
    text: str


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    environment: Mapping[str, str],
    user: int | None = None,
    group: int | None = None,
) -> Process:
    """Starts a server in a session of its own, its output appended to ``log``; it outlives us and our Ctrl-C.

    Raises OSError when the program cannot be run.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            [os.fspath(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(environment),
            start_new_session=True,
            **_as_user(user, group),
        )
    _children[child.pid] = child
    process = Process.of(child.pid)
    # Unreaped, a child keeps its entry in /proc even when it ended at once; only its state says so.
    return process or Process(child.pid, "ended at once")


def processes_in(directory: Path, program: str) -> list[Process]:
    """The processes that run a program of that name with ``directory`` as their working directory."""
    found = []
    for pid in _pids():
        try:
            here = Path(f"/proc/{pid}/cwd").readlink() == directory
            runs = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)") == program
        except OSError:  # gone meanwhile, or another user's
            continue
        process = Process.of(pid) if here and runs else None
        if process is not None:
            found.append(process)
    return found


def listener_on(port: int) -> str | None:
    """Who listens on that TCP port, as "pid 123 (java)", as far as we may know."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for pid in _pids() if inodes else ():
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    return f"pid {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
        except OSError:
            continue
    return None


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float = 60,
    user: int | None = None,
    group: int | None = None,
) -> Outcome:
    """Runs a helper program to its end, at most ``timeout`` seconds.

    Raises StackError when it cannot be run or does not end in time.
    """
    try:
        child = subprocess.Popen(
            [os.fspath(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=cwd,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            **_as_user(user, group),
        )
    except OSError as error:
        raise StackError(f"cannot run {argv[0]}: {error.strerror} ({error.filename})") from error
    with child:
        _helpers.add(child)
        try:
            text, _ = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            raise StackError(f"{argv[0]} did not end within {timeout:.0f} s") from None
        finally:
            _helpers.discard(child)
            if child.poll() is None:
                child.kill()
    return Outcome(child.returncode, text)


def stop_helpers() -> None:
    """Kills all programs that other threads ``run`` just now; they get a failed outcome."""
    for child in list(_helpers):
        child.kill()


def _as_user(user: int | None, group: int | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": group, "extra_groups": []}


def wait_for_end(pid: int) -> None:
    """Blocks until the process that has this pid now, if any, has ended."""
    process = Process.of(pid)
    while process is not None and not process.wait(3600):
        pass


@contextmanager
def _pidfd(process: Process) -> Iterator[int | None]:
    """An open pidfd of the process, or None when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # The birth is compared only now: the descriptor stays with the process that it was opened for.
        yield handle if process.alive() else None
    finally:
        os.close(handle)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None where no process has this pid or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the program's name may hold spaces and parentheses
    if fields[0] in "ZX":
        _reap(pid)
        return None
    return fields


def _birth(fields: Sequence[str]) -> str:
    return f"{_boot_id()}:{fields[19]}"


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        _children.pop(pid, None)


def _memory(pid: int) -> int | None:
    """Bytes of the process' memory; shared pages in proportion (PSS) where the kernel lets us see that."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
