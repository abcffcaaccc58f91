"""Django's tests, from the source distribution of the Django that is installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

from stack.cache import cache_path, cached
from stack.errors import StackError
from stack.progress import Progress

_NAME = "django-tests"


def tests_directory(progress: Progress) -> Path:
    """The directory of Django's tests, fetched when the cache has none. Raises StackError."""
    version = django.get_version()
    cached(_NAME, version, f"sdist {version}, tests/", lambda target: _fetch(version, target), progress)
    return cache_path(_NAME, version) / "tests"


def _fetch(version: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-binary", "Django", "--no-deps", "--no-build-isolation", "--dest", scratch]
        run = subprocess.run([*command, f"Django=={version}"], capture_output=True, text=True)
        if run.returncode:
            raise StackError(
                f"the source distribution of Django {version} cannot be had: {run.stderr.strip()}"
            )
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            members = [m for m in source.getmembers() if m.name.split("/")[1:2] == ["tests"]]
            for member in members:
                member.name = member.name.split("/", 1)[1]
            source.extractall(target, members, filter="data")
