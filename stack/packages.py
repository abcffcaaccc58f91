"""What has to be on the machine, and how it gets there: the one place that knows distribution packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.errors import StackError
from stack.process import run
from stack.progress import Progress

_LISTS_ARE_STALE_AFTER = 24 * 3600.0
_POLICY = Path("/usr/sbin/policy-rc.d")
_CREATECLUSTER = Path("/etc/postgresql-common/createcluster.d")


@dataclass(frozen=True)
class Requirement:
    """Something that must be there: in words, the Debian packages that bring it, and how to find out."""

    what: str
    packages: tuple[str, ...]
    is_met: Callable[[], bool]


def program(name: str, package: str) -> Requirement:
    """The requirement that a program is on PATH."""
    return Requirement(f"{name} (on PATH)", (package,), lambda: shutil.which(name) is not None)


def debian_package(name: str) -> Requirement:
    """The requirement that a Debian package is installed, whatever it holds."""
    return Requirement(f"package {name}", (name,), lambda: _installed(name))


def _has_header(name: str, *arguments: str) -> bool:
    """Whether the compiler, asked, finds the header."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    argv = [compiler or "cc", *arguments, "-E", "-x", "c", "-o", os.devnull, "-"]
    return compiler is not None and run(argv, stdin=f"#include <{name}>\n").status == 0


def _postgres_include() -> str:
    found = shutil.which("pg_config")
    return run([found, "--includedir"]).text.strip() if found else "/usr/include/postgresql"


def _has_venv() -> bool:
    return run([sys.executable, "-c", "import ensurepip, venv"]).status == 0


def _has_mysql() -> bool:
    """Whether pkg-config knows a library that mysqlclient can be built with."""
    known = ("libmariadb", "mysqlclient")
    return shutil.which("pkg-config") is not None and any(
        run(["pkg-config", "--exists", name]).status == 0 for name in known
    )


VENV = Requirement("Python's venv and pip", ("python3-venv",), _has_venv)
# What building the extension and the virtual environment takes.
BUILD = (
    VENV,
    program("gcc", "gcc"),
    program("make", "make"),
    program("pkg-config", "pkg-config"),
    program("pg_config", "libpq-dev"),
    Requirement("the C library's headers", ("libc6-dev",), lambda: _has_header("stdio.h")),
    Requirement(
        "CPython's headers (Python.h)",
        ("python3-dev",),
        lambda: _has_header("Python.h", f"-I{sysconfig.get_paths()['include']}"),
    ),
    Requirement(
        "libpq's headers (libpq-fe.h)",
        ("libpq-dev",),
        lambda: _has_header("libpq-fe.h", f"-I{_postgres_include()}"),
    ),
    Requirement(
        "librdkafka's headers (rdkafka.h)",
        ("librdkafka-dev",),
        lambda: _has_header("librdkafka/rdkafka.h"),
    ),
)
# What the tests use beyond that and beyond the servers.
TEST = (
    program("chromium", "chromium"),
    program("chromedriver", "chromium-driver"),
    program("openssl", "openssl"),
    Requirement("libmariadb's headers (pkg-config libmariadb)", ("default-libmysqlclient-dev",), _has_mysql),
)

SETS = {"build": BUILD, "test": TEST}


def missing(requirements: Iterable[Requirement]) -> list[Requirement]:
    return [requirement for requirement in dict.fromkeys(requirements) if not requirement.is_met()]


def can_install() -> bool:
    """Whether we may install packages: root on a distribution with apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def advice(requirements: Sequence[Requirement]) -> str:
    """What is missing and the command that brings it."""
    lines = [f"missing: {requirement.what}" for requirement in requirements]
    packages = " ".join(_packages(requirements))
    if shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        lines.append(f"install it with: {sudo}apt-get install --no-install-recommends {packages}")
        lines.append("or, without a cluster or service of theirs: " + sudo + _install_command(packages))
    else:
        lines.append(f"install what your distribution calls: {packages}")
    return "\n".join(lines)


def _install_command(packages: str) -> str:
    return f"python3 -m stack prerequisites --install --also {packages}"


def ensure(requirements: Iterable[Requirement], progress: Progress, *, install: bool | None = None) -> None:
    """Sees to it that all requirements are met; as root on Debian or Ubuntu it installs what is missing.

    ``install`` False never installs. Raises StackError naming what is missing and how to get it.
    """
    wanted = missing(requirements)
    if not wanted:
        return
    if install is False or not can_install():
        raise StackError(advice(wanted))
    apt_install(_packages(wanted), progress)
    still = missing(wanted)
    if still:
        raise StackError("still missing after the installation:\n" + advice(still))


def apt_install(packages: Sequence[str], progress: Progress) -> None:
    """Installs Debian packages without questions and without letting them start or create anything.

    Raises StackError with apt-get's own words.
    """
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    began = time.monotonic()

    def update() -> None:
        progress.step("apt-get", "update")
        _apt(["update"], environment)

    def install() -> None:
        progress.step("apt-get", f"install {' '.join(packages)}")
        _apt(["install", "--yes", "--no-install-recommends", *packages], environment)

    updated = _lists_are_stale()
    if updated:
        update()
    with _no_services(), _no_clusters():
        try:
            install()
        except StackError:
            if updated:
                raise
            update()  # lists that are some hours old may name versions that the mirror has replaced
            install()
    progress.done("apt-get", f"installed {' '.join(packages)} in {time.monotonic() - began:.0f} s")


def _apt(arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Runs apt-get to its end, whatever happens: interrupted, dpkg would leave a package half installed."""
    program = shutil.which("apt-get") or "apt-get"
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        child = subprocess.Popen(
            [program, "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        interrupted = False
        while child.returncode is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt
        if child.returncode != 0:
            output.seek(0)
            raise StackError(f"apt-get {arguments[0]} failed:\n{output.read()[-1500:].strip()}")


def _lists_are_stale() -> bool:
    lists = [path for path in Path("/var/lib/apt/lists").glob("*_Packages*") if path.is_file()]
    return not lists or max(path.stat().st_mtime for path in lists) < time.time() - _LISTS_ARE_STALE_AFTER


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    outcome = run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package])
    return outcome.status == 0 and outcome.text == "installed"


def _packages(requirements: Sequence[Requirement]) -> list[str]:
    return list(dict.fromkeys(package for requirement in requirements for package in requirement.packages))


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """While packages are installed, no service is started: invoke-rc.d(8) asks policy-rc.d, and 101 forbids.

    A policy that is there already is the administrator's, and stays.
    """
    try:
        handle = os.open(_POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with os.fdopen(handle, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        yield
    finally:
        _POLICY.unlink()


@contextlib.contextmanager
def _no_clusters() -> Iterator[None]:
    """While packages are installed, postgresql-common creates no cluster "main".

    Its createcluster.conf belongs to the administrator; it reads createcluster.d after itself, and there we
    put, for the time of the installation, one file of our own (createcluster.conf(5) in
    pg_createcluster(1)).
    """
    created = [path for path in (_CREATECLUSTER.parent, _CREATECLUSTER) if not path.exists()]
    _CREATECLUSTER.mkdir(parents=True, exist_ok=True)
    ours = _CREATECLUSTER / "zz-dbint-stack.conf"  # the last one read wins
    ours.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        ours.unlink(missing_ok=True)
        for path in reversed(created):
            with contextlib.suppress(OSError):  # the package has put something there
                path.rmdir()
