"""Builds the contenders that are written in C, once for each state of their sources."""

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.frame import BenchError
from stack.paths import cache_directory

NATIVE = Path(__file__).parent / "native"
CORE = Path(__file__).parent.parent / "csrc" / "core"

# The extension's own flags (setup.py): both sides of a comparison are compiled alike.
FLAGS = shlex.split("-std=c11 -O2 -g -D_GNU_SOURCE -pthread -Wall -Wextra -fvisibility=hidden -fPIC")


def pkg_config(package: str) -> tuple[str, ...]:
    """Compiler and linker flags for ``package``. Raises :class:`BenchError` where it is not installed."""
    tool = shutil.which("pkg-config")
    if tool is None:
        raise BenchError("pkg-config is not installed (Debian/Ubuntu: apt-get install pkg-config)")
    try:
        done = subprocess.run(
            [tool, "--cflags", "--libs", package], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        raise BenchError(f"pkg-config does not know {package}: install its development package") from error
    return tuple(shlex.split(done.stdout))


def build(sources: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """The program made of ``sources``, compiled now or found in the cache.

    The key is the compiler's version, the flags, and the content of the sources and of every header beside
    them, so a change in any of them builds anew. Raises :class:`BenchError` with the compiler's words when it
    fails.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchError("no C compiler found (Debian/Ubuntu: apt-get install gcc)")
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    command = [compiler, *FLAGS, *(str(source) for source in sources), *flags]
    headers = sorted({header for source in sources for header in source.parent.glob("*.h")})
    key = hashlib.sha256(version + shlex.join(command).encode())
    for path in (*sources, *headers):
        key.update(path.name.encode() + b"\0" + path.read_bytes())
    program = cache_directory() / "bench" / f"{sources[0].stem}-{key.hexdigest()[:16]}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        fresh = Path(scratch) / program.name
        done = subprocess.run([*command, "-o", str(fresh)], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{sources[0].name} does not compile:\n{done.stderr.strip()}")
        fresh.rename(program)
    return program
