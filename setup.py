"""Declares the one extension module; everything else stands in pyproject.toml."""

import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup

# Metadata and source archives can be had without a compiler: only these commands look for the libraries.
BUILDING = {"build", "build_ext", "bdist_wheel", "editable_wheel", "develop", "install"}


def run(*command: str) -> str | None:
    """Standard output of ``command``, or None when it is absent or fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def missing(what: str, debian: str, fedora: str, brew: str) -> str:
    return (
        f"\ndbint needs {what} to build its C extension, and it was not found.\n"
        f"  Debian/Ubuntu: apt-get install {debian}\n"
        f"  Fedora/RHEL:   dnf install {fedora}\n"
        f"  macOS:         brew install {brew}\n"
        "Or install a ready wheel (pip install dbint), which carries its libraries.\n"
    )


def find_libraries(extension: Extension) -> None:
    """Adds where libpq and librdkafka are; ends with the name of the package that brings what is missing."""
    include, libraries = run("pg_config", "--includedir"), run("pg_config", "--libdir")
    if not include or not libraries or not Path(include, "libpq-fe.h").exists():
        what = "libpq's header (libpq-fe.h, found by pg_config)"
        sys.exit(missing(what, "libpq-dev", "libpq-devel", "libpq"))
    flags = run("pkg-config", "--cflags", "--libs", "rdkafka")
    if flags is None:
        what = "librdkafka's header (librdkafka/rdkafka.h, found by pkg-config)"
        sys.exit(
            missing(what, "librdkafka-dev pkg-config", "librdkafka-devel pkgconf", "librdkafka pkg-config")
        )
    rdkafka = shlex.split(flags)
    extension.include_dirs += [include, *(flag[2:] for flag in rdkafka if flag.startswith("-I"))]
    extension.library_dirs += [libraries, *(flag[2:] for flag in rdkafka if flag.startswith("-L"))]
    extension.libraries += ["pq", *(flag[2:] for flag in rdkafka if flag.startswith("-l"))]


core = Extension(
    "dbint._core",
    sources=sorted(map(str, Path("csrc", "core").rglob("*.c")))
    + sorted(map(str, Path("csrc", "binding").glob("*.c"))),
    depends=sorted(map(str, Path("csrc", "core").rglob("*.h")))
    + sorted(map(str, Path("csrc", "binding").glob("*.h"))),
    include_dirs=["csrc/core"],
    # -flto: to hand an event over takes many small functions of several files, and an eighth less so.
    # -fno-plt: the clock and Python are called straight, not by way of a table.
    extra_compile_args=shlex.split(
        "-std=c11 -O2 -flto -fno-plt -g -fvisibility=hidden -pthread -Wall -Wextra"
    ),
    extra_link_args=["-pthread", "-O2", "-flto=auto"],
    define_macros=[("_GNU_SOURCE", "1")],
)
if BUILDING.intersection(sys.argv):
    find_libraries(core)
setup(ext_modules=[core])
