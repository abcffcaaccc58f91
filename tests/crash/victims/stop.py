"""How a victim ends: well after a SIGTERM, and at once with a status when one of its threads has failed."""

import os
import signal
import threading
import traceback
from collections.abc import Iterable


class Stop:
    """``asked`` becomes true with the first SIGTERM. Made in the main thread."""

    asked = False

    def __init__(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        threading.excepthook = fail

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.asked = True

    def run_all(self, threads: Iterable[threading.Thread]) -> None:
        """Start the threads and wait for them."""
        started = list(threads)
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


def fail(arguments: threading.ExceptHookArgs) -> None:
    """A thread has failed: so has the victim, now. Without the witness above all it must not go on."""
    traceback.print_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    os._exit(1)
