"""Declares the one extension module; everything else stands in pyproject.toml."""

import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup


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


def extension() -> Extension:
    include_pq, lib_pq = run("pg_config", "--includedir"), run("pg_config", "--libdir")
    if not include_pq or not lib_pq or not Path(include_pq, "libpq-fe.h").exists():
        sys.exit(
            missing("libpq's header (libpq-fe.h, found by pg_config)", "libpq-dev", "libpq-devel", "libpq")
        )
    rdkafka = run("pkg-config", "--cflags", "--libs", "rdkafka")
    if rdkafka is None:
        sys.exit(
            missing(
                "librdkafka's header (librdkafka/rdkafka.h, found by pkg-config)",
                "librdkafka-dev pkg-config",
                "librdkafka-devel pkgconf",
                "librdkafka pkg-config",
            )
        )
    flags = shlex.split(rdkafka)
    return Extension(
        "dbint._core",
        sources=sorted(str(path) for room in ("core", "binding") for path in Path("csrc", room).glob("*.c")),
        depends=sorted(str(path) for path in Path("csrc").glob("*/*.h")),
        include_dirs=["csrc/core", include_pq, *(f[2:] for f in flags if f.startswith("-I"))],
        library_dirs=[lib_pq, *(f[2:] for f in flags if f.startswith("-L"))],
        libraries=["pq", *(f[2:] for f in flags if f.startswith("-l"))],
        extra_compile_args=["-std=c11", "-O2", "-g", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"],
        extra_link_args=["-pthread"],
        define_macros=[("_GNU_SOURCE", "1")],
    )


# Metadata can be had without a compiler: only the commands that build look for the libraries.
building = {"build", "build_ext", "bdist_wheel", "editable_wheel", "develop", "install"}.intersection(
    sys.argv
)
setup(ext_modules=[extension()] if building else [])
