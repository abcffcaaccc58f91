"""What is to go wrong, for tests of clients: kept in one list, taken by whom it concerns.

    POST   /_emulator/faults?kind=K[&on=…][&label=L][&seconds=S][&times=N][&to=host:port]
    GET    /_emulator/faults          what is pending
    DELETE /_emulator/faults          forget it

on any of the emulator's HTTP ports, with Basic authorization. ``times`` is how often (1; 0: until DELETE).
"""

import threading
from dataclasses import dataclass, replace
from typing import Any

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.http import BadRequestError, Request, check_login, reply

KINDS: dict[str, tuple[str, ...]] = {
    "publish_timeout": ("backend",),
    "drop_reply": ("backend",),
    "slow": ("backend", "routine_load"),
    "fail": ("backend", "routine_load"),
    "too_many_versions": ("backend", "statement", "routine_load"),
    "down": ("backend", "frontend"),
    "redirect": ("frontend",),
    "no_backend": ("frontend",),
    "precommit_timeout": ("backend",),
}
FAULTS_PATH = "/_emulator/faults"
TOO_MANY_VERSIONS = (
    "[E-235]failed to init rowset builder. version count: 2001, exceed limit: 2000, tablet: 10001. Please"
    " reduce the frequency of loading data or adjust the max_tablet_version_num or"
    " time_series_max_tablet_version_num in be.conf to a larger value."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One of KINDS, at one of its places; for one label, or for whatever comes. ``times`` 0: always."""

    kind: str
    on: str
    label: str | None = None
    seconds: float = 0.0
    times: int = 1
    to: str = ""


class Faults:
    """The pending faults; safe to use from many threads. ``enabled`` opens them to requests."""

    def __init__(self) -> None:
        self.enabled = False
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, on: str, label: str | None = None, *, kinds: tuple[str, ...] = ()) -> Fault | None:
        """The first fault for this place and label (of these kinds, if any are given), used up once."""
        with self._lock:
            for n, fault in enumerate(self._faults):
                if fault.on != on or (kinds and fault.kind not in kinds) or fault.label not in (None, label):
                    continue
                if fault.times == 1:
                    del self._faults[n]
                elif fault.times > 1:
                    self._faults[n] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def strike_statement(self) -> None:
        """Raise DorisError where the next statement that writes is to fail."""
        if self._faults and self.take("statement") is not None:
            raise DorisError(f"(127.0.0.1)[INTERNAL_ERROR]tablet error: {TOO_MANY_VERSIONS}, host: 127.0.0.1")

    async def admin(self, request: Request, user: str, password: str) -> None:
        """Answer a request for FAULTS_PATH. Raises BadRequestError."""
        if not check_login(request, user, password):
            await reply(request, 401, "Unauthorized\n", content_type="text/plain")
            return
        if request.method == "DELETE":
            self.clear()
        elif request.method == "POST":
            added = _fault(request.query)
            if added.kind != "precommit_timeout":  # that one strikes at once
                self.add(added)
        await reply(request, 200, {"faults": [_shown(fault) for fault in list(self._faults)]})


def _fault(query: dict[str, str]) -> Fault:
    kind = query.get("kind", "")
    places = KINDS.get(kind)
    if places is None:
        raise BadRequestError(f"kind is one of {', '.join(KINDS)}")
    on = query.get("on", places[0])
    if on not in places:
        raise BadRequestError(f"on is one of {', '.join(places)} for {kind}")
    try:
        seconds = float(query.get("seconds", "1" if kind == "slow" else "0"))
        times = int(query.get("times", "1"))
    except ValueError:
        raise BadRequestError("seconds and times are numbers") from None
    return Fault(kind, on, query.get("label"), seconds, max(0, times), query.get("to", "127.0.0.1:9"))


def _shown(fault: Fault) -> dict[str, Any]:
    shown = {"kind": fault.kind, "on": fault.on, "label": fault.label, "seconds": fault.seconds}
    return {**shown, "times": fault.times}
