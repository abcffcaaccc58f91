"""What a verification found out: one `Result` per probe, one `Report` per run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a probe ended. "Could not find out" has a word of its own: it is never "passed"."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_CONFIGURED = "not_configured"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one probe. Everything in it is redacted and can be written as JSON.

    ``duration`` is in seconds. ``version`` and ``emulated`` describe the server that the probe spoke to, as
    far as it was found out. ``advice`` is a list of steps for the person who has to mend what failed.
    """

    name: str
    group: str
    server: str
    status: Status
    message: str
    alias: str | None = None
    version: str | None = None
    emulated: bool = False
    duration: float = 0.0
    advice: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "group": self.group,
            "status": self.status.value,
            "server": self.server,
            "alias": self.alias,
            "version": self.version,
            "emulated": self.emulated,
            "duration": round(self.duration, 4),
            "message": self.message,
            "advice": list(self.advice),
            "details": dict(self.details),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """All results of a run.

    ``not_run`` names the probes that were left out on request, with the reason; they count as nothing.
    ``leftovers`` names what could not be cleaned up. ``libraries`` are versions of client libraries by name.
    ``interrupted`` is the number of the signal that ended
    the run early, or None.
    """

    results: Sequence[Result]
    started_at: datetime
    duration: float
    read_only: bool = False
    not_run: Mapping[str, str] = field(default_factory=dict)
    leftovers: Sequence[str] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    interrupted: int | None = None

    def count(self, status: Status) -> int:
        return Counter(result.status for result in self.results)[status]

    @property
    def verified_nothing(self) -> bool:
        """True when no probe passed and none failed: a verification that ran on nothing."""
        return not self.count(Status.PASSED) and not self.count(Status.FAILED)

    @property
    def exit_code(self) -> int:
        """0: nothing failed. 1: something failed. 2: nothing was verified. 128 + signal: interrupted."""
        if self.interrupted is not None:
            return 128 + self.interrupted
        if self.verified_nothing:
            return 2
        return 1 if self.count(Status.FAILED) else 0

    def servers(self) -> list[dict[str, Any]]:
        """One entry per server: its versions, whether it is emulated, and how many probes ended how."""
        found: dict[str, dict[str, Any]] = {}
        for result in self.results:
            entry = found.setdefault(
                result.server,
                {"server": result.server, "versions": [], "emulated": False}
                | {status.value: 0 for status in Status},
            )
            entry[result.status.value] += 1
            entry["emulated"] = entry["emulated"] or result.emulated
            if result.version and result.version not in entry["versions"]:
                entry["versions"].append(result.version)
        return list(found.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": 1,
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "duration": round(self.duration, 3),
            "read_only": self.read_only,
            "probes": [result.as_dict() for result in self.results],
            "not_run": dict(self.not_run),
            "leftovers": list(self.leftovers),
            "libraries": dict(self.libraries),
            "summary": {
                "total": len(self.results),
                **{status.value: self.count(status) for status in Status},
                "not_run": len(self.not_run),
                "exit_code": self.exit_code,
                "interrupted": self.interrupted is not None,
                "servers": self.servers(),
            },
        }
