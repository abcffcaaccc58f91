"""What a figure was measured on: without it a figure says nothing."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

LIBRARIES = (
    "dbint",
    "asyncpg",
    "confluent-kafka",
    "Django",
    "gunicorn",
    "opentelemetry-sdk",
    "psycopg",
    "pybreaker",
)


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or the architecture where it gives none."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def load() -> list[float]:
    """The load averages of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def library_versions() -> dict[str, str]:
    """The installed version of each library that a contender may use; absent ones are left out."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe() -> dict[str, Any]:
    """The machine, without its load: that is taken before and after the run."""
    return {
        "cpu_count": len(os.sched_getaffinity(0)),
        "cpu_model": cpu_model(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": library_versions(),
    }
