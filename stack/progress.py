"""What the user sees meanwhile: one updating line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO


class Progress:
    """Silent; the base for those that show something. Called from several threads."""

    def step(self, server: str, what: str) -> None:
        """``server`` has begun with something that takes time."""

    def done(self, server: str, how: str) -> None:
        """``server`` has come to an end of what it was doing."""

    def close(self) -> None:
        """Nothing more will come."""


class LineProgress(Progress):
    """One line for each step, with the time since the start in front: for logs and pipes."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def step(self, server: str, what: str) -> None:
        self._line(f"{server}: {what} …")

    def done(self, server: str, how: str) -> None:
        self._line(f"{server}: {how}")

    def _line(self, text: str) -> None:
        with self._lock:
            print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=self._stream, flush=True)


class TerminalProgress(Progress):
    """A line that is drawn again as time passes; what is done is printed above it and stays."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, float]] = {}
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def step(self, server: str, what: str) -> None:
        with self._lock:
            self._running[server] = (what, time.monotonic())
            self._draw()

    def done(self, server: str, how: str) -> None:
        with self._lock:
            self._running.pop(server, None)
            self._draw(f"{server}: {how}\n")

    def close(self) -> None:
        self._closed.set()
        self._ticker.join()
        with self._lock:
            self._running.clear()
            self._draw()

    def _tick(self) -> None:
        while not self._closed.wait(0.5):
            with self._lock:
                if self._running:
                    self._draw()

    def _draw(self, above: str = "") -> None:
        now = time.monotonic()
        line = "  ".join(
            f"{name}: {what} {now - since:.0f} s" for name, (what, since) in self._running.items()
        )
        width = max(20, shutil.get_terminal_size().columns - 1)
        self._stream.write(f"\r\x1b[K{above}{line[:width]}")
        self._stream.flush()


def progress_for(stream: TextIO = sys.stderr) -> Progress:
    return TerminalProgress(stream) if stream.isatty() else LineProgress(stream)
