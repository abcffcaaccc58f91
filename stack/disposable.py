"""Stacks for tests: a temporary directory, servers of their own, nothing left at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stack.paths import CHECKOUT
from stack.progress import Progress
from stack.supervisor import Stack


@contextmanager
def disposable_stack(progress: Progress | None = None) -> Iterator[Stack]:
    """An empty stack in a temporary directory, taken down at the end of the block.

    A process of its own waits for ours to end and then does the same, so that not even kill -9 leaves
    servers behind.
    """
    directory = Path(tempfile.mkdtemp(prefix="dbint-stack-"))
    stack = Stack(directory, progress)
    guard = subprocess.Popen(
        [sys.executable, "-m", "stack", "down", "--after", str(os.getpid())],
        cwd=CHECKOUT,
        env={**os.environ, "DBINT_STACK_DIR": os.fspath(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield stack
    finally:
        stack.down()
        with suppress(FileNotFoundError):  # an empty one is no stack yet, and "down" leaves it
            directory.rmdir()
        guard.terminate()
        guard.wait()
