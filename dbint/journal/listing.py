"""What a journal holds, at a glance: for programs and for people."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from dbint.journal.dead import DeadMessage, Done, Letter, letters
from dbint.journal.directory import Chain, Journal

_COLUMNS: Final = (
    *("SLOT", "OWNER", "CHAIN", "STREAM", "LANE", "TABLE", "KEPT", "WAITING", "LANDED TO", "SIZE", "OLDEST"),
    *("TARGET", "STATE"),
)


def describe(journal: Journal) -> dict[str, Any]:
    """Slots, chains, dead letters, quarantine, as JSON can hold them. Sizes in bytes, times in ISO 8601."""
    slots: list[dict[str, Any]] = []
    for slot in journal.slots():
        contents = slot.read()
        slots.append(
            {
                "name": slot.name,
                "owner": slot.owner(),
                "newer_version": contents.newer,
                "damaged_files": sum(finding.damage for finding in contents.findings),
                "chains": [_describe_chain(chain) for chain in contents.chains],
            }
        )
    chains = [chain for slot in slots for chain in slot["chains"]]
    return {
        "directory": str(journal.path),
        "waiting": sum(chain["waiting"] for chain in chains),
        "bytes": sum(chain["bytes"] for chain in chains),
        "dead_letters": sum(1 for _ in unanswered(journal)),
        "quarantined": len(journal.quarantined()),
        "slots": slots,
    }


def unanswered(journal: Journal) -> Iterator[Letter | DeadMessage]:
    """The dead letters that wait for somebody: not resubmitted, and their row is not in the journal, too."""
    landed = {chain.id: chain.landed for slot in journal.slots() for chain in slot.read().chains}
    done: dict[UUID, Done] = {}
    for letter in letters(journal.dead):
        still_in_journal = letter.sequence > landed.get(letter.chain, letter.sequence)
        known = done.setdefault(letter.chain, Done(journal.dead, letter.chain))
        if not still_in_journal and letter.sequence not in known:
            yield letter


def _describe_chain(chain: Chain) -> dict[str, Any]:
    oldest, target = chain.oldest, chain.newest.target
    return {
        "id": chain.id.hex,
        "stream": chain.stream,
        "lane": chain.lane,
        "holds": "messages" if chain.of_messages else "rows",
        "table": chain.table,
        "durability": chain.newest.durability,
        "segments": len(chain.pieces),
        "waiting": chain.waiting,
        "landed_to": chain.landed,
        "last": chain.last,
        "bytes": chain.bytes,
        "oldest": None if oldest is None else datetime.fromtimestamp(oldest / 1e6, UTC).isoformat(),
        "target": str(target) if target else None,
        "state": chain.newest.state,
        "counters": chain.counters,
    }


def as_text(journal: Mapping[str, Any]) -> str:
    """The same as a table."""
    lines: list[tuple[str, ...]] = [_COLUMNS]
    for slot in journal["slots"]:
        owner = _owner(slot["owner"])
        lines += [(slot["name"], owner, *_cells(chain)) for chain in slot["chains"]]
        if not slot["chains"]:
            lines.append((slot["name"], owner, "-", *[""] * (len(_COLUMNS) - 3)))
    return _headline(journal) + _table(lines)


def _owner(text: str | None) -> str:
    """What the lock says, with the time as people read it."""
    if text is None:
        return "none"
    return re.sub(r" since (\d{1,18}) us after 1970$", lambda since: f", {age(int(since[1]) / 1e6)}", text)


def _headline(journal: Mapping[str, Any]) -> str:
    damaged = sum(slot["damaged_files"] for slot in journal["slots"])
    newer = sum(slot["newer_version"] for slot in journal["slots"])
    parts = [
        f"{journal['directory']}: {journal['waiting']:,} {_what(journal)} wait",
        size(journal["bytes"]),
        f"{journal['dead_letters']:,} dead letters" if journal["dead_letters"] else "",
        f"{journal['quarantined']:,} files in quarantine" if journal["quarantined"] else "",
        f"{damaged:,} damaged files: see check" if damaged else "",
        f"{newer:,} slots of a later version of dbint" if newer else "",
    ]
    return ", ".join(filter(None, parts)) + "\n"


def _what(journal: Mapping[str, Any]) -> str:
    held = {chain["holds"] for slot in journal["slots"] for chain in slot["chains"]}
    return "messages" if held == {"messages"} else "rows"


def _cells(chain: Mapping[str, Any]) -> tuple[str, ...]:
    oldest = chain["oldest"]
    return (
        chain["id"][:8],
        chain["stream"],
        str(chain["lane"]),
        chain["table"] or ("(Kafka)" if chain["holds"] == "messages" else "?"),
        chain["durability"],
        f"{chain['waiting']:,}",
        f"{chain['landed_to']:,}",
        size(chain["bytes"]),
        age(datetime.fromisoformat(oldest).timestamp()) if oldest else "-",
        chain["target"][:8] if chain["target"] else "-",
        chain["state"],
    )


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def size(count: int) -> str:
    """Bytes for people: 1.5 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def age(since: float) -> str:
    """How long ago a time is, for people: 5 min. ``since`` in seconds since 1970."""
    seconds = max(0.0, time.time() - since)
    for limit, unit, divisor in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
