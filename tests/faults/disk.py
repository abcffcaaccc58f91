"""A file system that is soon full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """Mounts a tmpfs of ``size`` bytes on ``directory`` for the time of the block. Needs root."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", directory]
    subprocess.run(mount, check=True)
    try:
        yield directory
    finally:
        # Lazily: a process that the test has left behind may still have a file open here.
        subprocess.run(["umount", "--lazy", directory], check=True)
