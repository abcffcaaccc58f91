"""Ids made in the client: Doris reports no id of an inserted row.

An id is a positive 63-bit integer: ``time (38 bits, units of 10 ms since 2024-01-01) | node (20 bits) |
sequence (5)``. Ids of one process are unique and increase. A process that makes more than 32 in 10 ms takes
them from the time to come. The node number is drawn at random for each process, and anew after a fork: with
20 processes at work the chance that two have the same number is 1 in 5500, with 100 it is 1 in 200. For
certainty give each process its own (``OPTIONS["id_node"]``, 0 to 1048575), or use a ``UUIDField`` as primary
key.

JavaScript's numbers are exact to 53 bits: send these ids to browsers as strings.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable

_EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
_NODE_BITS, _SEQUENCE_BITS = 20, 5
MAX_NODE = (1 << _NODE_BITS) - 1


class IdGenerator:
    """Thread-safe source of ids; ``node`` None draws one. ``clock_ms`` gives milliseconds since 1970."""

    def __init__(self, node: int | None = None, clock_ms: Callable[[], int] | None = None) -> None:
        if node is not None and not 0 <= node <= MAX_NODE:
            raise ValueError(f"node is between 0 and {MAX_NODE}")
        self._fixed = node
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._node = secrets.randbelow(MAX_NODE + 1) if self._fixed is None else self._fixed
        self._last = -1  # time and sequence of the last id, as one number

    def take(self, count: int) -> list[int]:
        """``count`` new ids, increasing."""
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            now = ((self._clock_ms() - _EPOCH_MS) // 10) << _SEQUENCE_BITS
            first = max(now, self._last + 1)
            self._last = first + count - 1
        low = (1 << _SEQUENCE_BITS) - 1
        return [
            (tick >> _SEQUENCE_BITS) << (_NODE_BITS + _SEQUENCE_BITS)
            | self._node << _SEQUENCE_BITS
            | tick & low
            for tick in range(first, first + count)
        ]
