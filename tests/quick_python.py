"""Commands of Python in processes of their own, without the second that each would take to import Django.

``run`` does what subprocess.run does with ``python ARGUMENTS``. The process that it asks has imported what
needs no settings, has set nothing up, and forks for each command a child, which gets the command's directory,
environment and output, and ends as ``python`` does.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

CHECKOUT = Path(__file__).parents[1]
IMPORTED = (
    "django.core.management.commands.check",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.db.backends.postgresql.base",
    "dbint.django.backends.doris.base",
    "dbint.django.checks",
    "dbint.django.flows",
    "dbint.django.routers",
    "dbint.django.streams",
    "dbint.django.verification.command",
    "rich.console",
)
_NUMBER = struct.Struct("i")
_starting = threading.Lock()


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Runs ``python ARGUMENTS``: they begin with a file, ``-m`` and a module, or ``-c`` and a text."""
    out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
    status, theirs = os.pipe()
    try:
        request = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}
        with _starting:
            server = _server()
        socket.send_fds(server, [json.dumps(request).encode()], [out, err, theirs])
        os.close(theirs)
        (pid,) = _NUMBER.unpack(os.read(status, _NUMBER.size))
        late = not select.select([status], [], [], timeout)[0]
        if late:
            os.kill(pid, signal.SIGKILL)
        (code,) = _NUMBER.unpack(os.read(status, _NUMBER.size))
        stdout, stderr = (os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace") for fd in (out, err))
    finally:
        for fd in (out, err, status):
            os.close(fd)
    assert not late, f"still running after {timeout} s; stderr:\n{stderr}"
    return subprocess.CompletedProcess(list(arguments), code, stdout, stderr)


@cache
def _server() -> socket.socket:
    """The way to the process that is asked; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=CHECKOUT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)  # before that: the last one that was registered is the first one
    return ours


def _serve(server: socket.socket) -> None:
    """Returns in each child, to become its command, and in the server at the end."""
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, (*descriptors,), _, _ = socket.recv_fds(server, 1 << 20, 3)
        if not request:
            return
        if os.fork() == 0:
            server.close()
            _watch(descriptors[2])
            _become(json.loads(request), *descriptors[:2])
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(status: int) -> None:
    """Returns in a child; tells its number, and how it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        os.write(status, _NUMBER.pack(child))
        _, how = os.waitpid(child, 0)
        os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(how)))
        os._exit(0)
    os.close(status)


def _become(request: Mapping[str, Any], out: int, err: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, number in ((out, 1), (err, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    importlib.invalidate_caches()
    first, *rest = request["arguments"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [
        str(Path(first).parent if first not in ("-m", "-c") else Path.cwd()),
        *filter(None, paths),
    ]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(rest[0], vars(main))  # noqa: S102 - of a test
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
