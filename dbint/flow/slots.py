"""The replication slot of a flow on the server: what it is, what it holds back, and when to give it up.

A slot keeps the server's log until its reader has confirmed it. A reader that stays away therefore fills
the server's disk, and a slot that is dropped or invalidated takes with it the changes since the last
confirmed one.
"""

import logging
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from dbint.errors import ConfigurationError
from dbint.flow.positions import format_lsn, parse_lsn

logger = logging.getLogger("dbint.flow")

Level = Literal["ok", "warning", "lost"]

_SLOT = """
SELECT plugin, database, active_pid, wal_status, safe_wal_size, restart_lsn::text, confirmed_flush_lsn::text,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,
       pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
FROM pg_replication_slots WHERE slot_name = %s
"""


class SlotLostError(ConfigurationError):
    """The flow's slot is gone or invalidated: changes are missing that only a new first load brings "
    "back."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot now. Positions are numbers, sizes bytes.

    ``retained`` is what the server keeps of its log for it, ``behind`` what its reader has not confirmed;
    ``safe`` is how much more may be written before the server invalidates it (max_slot_wal_keep_size; None:
    there is no such limit).
    """

    name: str
    plugin: str
    database: str
    active_pid: int | None
    wal_status: str
    safe: int | None
    restart: int | None
    confirmed: int | None
    retained: int
    behind: int

    @property
    def lost(self) -> bool:
        """Whether the server has removed log that the slot needs."""
        return self.wal_status == "lost" or self.restart is None

    def to_json(self) -> dict[str, Any]:
        """The state as JSON knows it, positions as people write them."""
        return {
            "name": self.name,
            "active_pid": self.active_pid,
            "wal_status": self.wal_status,
            "retained_bytes": self.retained,
            "behind_bytes": self.behind,
            "safe_bytes": self.safe,
            "confirmed": None if self.confirmed is None else format_lsn(self.confirmed),
        }


def read_slot(connection: psycopg.Connection[Any], name: str) -> SlotState | None:
    """The slot of that name; None: there is none."""
    row = connection.execute(_SLOT, [name]).fetchone()
    if row is None:
        return None
    plugin, database, pid, status, safe, restart, confirmed, retained, behind = row
    return SlotState(
        name=name,
        plugin=plugin or "",
        database=database or "",
        active_pid=pid,
        wal_status=status or "lost",
        safe=safe,
        restart=None if restart is None else parse_lsn(restart),
        confirmed=None if confirmed is None else parse_lsn(confirmed),
        retained=retained or 0,
        behind=behind or 0,
    )


def drop_slot(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop the slot, ending the connection that reads it."""
    connection.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        "WHERE slot_name = %s AND active_pid IS NOT NULL",
        [name],
    )
    for _ in range(50):
        try:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                [name],
            )
        except psycopg.errors.ObjectInUse:
            connection.execute("SELECT pg_sleep(0.1)")
        else:
            return
    raise ConfigurationError(
        f"slot {name} is read by a process that does not let go of it: end it, then try again"
    )


class LagWatch:
    """Says how a slot stands against two limits: from ``warning`` bytes on it is told, from ``limit`` on it
    is to be given up (None: never). It is told, too, when the server may keep less for the slot than it does
    already. The same warning is told again only when the lag has doubled.
    """

    def __init__(self, flow: str, warning: int, limit: int | None) -> None:
        self.flow, self.warning, self.limit = flow, warning, limit
        self._told = 0

    def look(self, slot: SlotState) -> Level:
        """``lost`` when it is to be given up, or is lost already."""
        if slot.lost or (self.limit is not None and slot.retained >= self.limit):
            return "lost"
        if slot.retained < self.warning and (slot.safe is None or slot.retained <= slot.safe):
            self._told = 0
            return "ok"
        if slot.retained >= 2 * self._told:
            self._told = slot.retained
            logger.warning(
                "flow %s: the server keeps %d MiB of its log for slot %s (%s): the flow is behind or stands "
                "still",
                self.flow,
                slot.retained >> 20,
                slot.name,
                self._why(slot),
            )
        return "warning"

    def _why(self, slot: SlotState) -> str:
        parts = [f"warning from {self.warning >> 20} MiB on: the server's disk fills"]
        if self.limit is not None:
            parts.append(f"dropped at {self.limit >> 20} MiB")
        if slot.wal_status == "unreserved":
            parts.append("invalidated at the next checkpoint, by max_slot_wal_keep_size")
        elif slot.safe is not None:
            parts.append(f"invalidated after {max(0, slot.safe) >> 20} MiB more, by max_slot_wal_keep_size")
        return "; ".join(parts)
