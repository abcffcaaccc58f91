"""Downloaded servers, kept outside the checkout and keyed by name and version.

A directory of the cache appears by one rename, when it is complete, and carries a manifest of its files
(SHA-256) and of the recipe that made it. What does not match its manifest is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.errors import StackError
from stack.paths import cache_directory
from stack.progress import Progress

MANIFEST = "manifest.json"


def cache_path(name: str, version: str) -> Path:
    """Where ``cached`` puts it."""
    return cache_directory() / f"{name}-{version}"


def cached(name: str, version: str, recipe: str, build: Callable[[Path], None], progress: Progress) -> None:
    """Sees to it that the cache holds ``name-version``, made by ``build(directory)`` if absent or damaged.

    ``recipe`` is any text that changes when the outcome of ``build`` would. Raises StackError, also when the
    disk is full or the cache cannot be written.
    """
    target = cache_path(name, version)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _intact(target, recipe):
            return
        lock = target.parent / f".{target.name}.lock"
        with _locked(lock, lambda: progress.step(name, "waiting for another download")):
            if _intact(target, recipe):
                return
            # We hold the lock, so whatever lies here was left by a build that was killed.
            for leftover in target.parent.glob(f".{target.name}.build-*"):
                shutil.rmtree(leftover)
            _build(target, recipe, build)
    except OSError as error:
        raise StackError(
            f"cannot fill the cache {target.parent}: {error.filename or target}: {error.strerror or error}. "
            "DBINT_CACHE_DIR chooses another directory"
        ) from error


def _build(target: Path, recipe: str, build: Callable[[Path], None]) -> None:
    directory = Path(tempfile.mkdtemp(prefix=f".{target.name}.build-", dir=target.parent))
    try:
        build(directory)
        manifest = {"recipe": _digest(recipe.encode()), "files": _files(directory)}
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1))
        if target.exists():
            # Moved away first: a rename does not replace a directory that holds something.
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.build-", dir=target.parent))
            target.rename(old / "old")
            directory.rename(target)
            shutil.rmtree(old)
        else:
            directory.rename(target)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _intact(target: Path, recipe: str) -> bool:
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        return bool(manifest == {"recipe": _digest(recipe.encode()), "files": _files(target)})
    except (OSError, ValueError):
        return False


def _files(directory: Path) -> dict[str, str]:
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                found[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
