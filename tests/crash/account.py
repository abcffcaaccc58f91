"""Compares what the witness heard with what the destination holds.

The unit of account is the *item*: one message, one row. A call of the victim carries ``units`` items. Of an
accepted call every item has to be somewhere:

    accepted = landed + journaled + dead_lettered + dropped + lost_by_server + lost      and lost = 0

``landed`` counts accepted items that the destination holds, once each. ``dropped`` (by policy) and
``lost_by_server`` are counters that the system under test keeps itself; they explain missing items and may
not claim more than are missing. Items of calls in doubt (see witness) stand on neither side: ``recovered``
says how many of them the destination holds.

Other promises that are checked: an item is in the destination once (``duplicates``), or, where the promise
allows it because the caller had to make the call again, at most once for each attempt (``repeats``), and
never in two copies of one attempt, where the destination can tell attempts apart (``surplus``); nothing
is there that was never sent or whose call was refused (``unexpected``); where calls are atomic, none is there
in part (``torn``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from tests.crash.witness import IN_DOUBT, Ledger, Outcome

UNIT_BITS = 16
NUMBER_BITS = 32


def item(caller: int, number: int, unit: int = 0) -> int:
    """The one integer that names an item."""
    return (caller << NUMBER_BITS | number) << UNIT_BITS | unit


@dataclass(frozen=True)
class Promise:
    """What a scenario promises beyond "nothing accepted is lost"."""

    words: str
    units: int = 1  # items a call
    repeats: bool = False  # a call made again may land again
    atomic: bool = False  # a call lands whole or not at all


@dataclass
class Found:
    """Where things are at the end, as the system under test shows it.

    ``landed`` has a count of copies, of those that differ where ``surplus`` counts the others.
    ``ambiguous_resolved`` is what the system says of itself: attempts without an answer that had succeeded.
    ``wrong`` is what the scenario has found besides, in words: each breaks a promise.
    """

    landed: Counter[int]
    journaled: Set[int] = frozenset()
    dead_lettered: Set[int] = frozenset()
    dropped: Mapping[str, int] = field(default_factory=dict)
    lost_by_server: int = 0
    surplus: int = 0
    ambiguous_resolved: int = 0
    wrong: Sequence[str] = ()


@dataclass(frozen=True)
class Account:
    """The comparison's result, in items."""

    accepted: int
    refused: int
    landed: int
    journaled: int
    dead_lettered: int
    dropped: int
    lost_by_server: int
    lost: int
    duplicates: int
    repeats: int
    in_doubt: int
    recovered: int
    unexpected: int
    torn: int
    examples: dict[str, list[str]]
    wrong: list[str]

    @property
    def broken(self) -> list[str]:
        """What was promised and not kept, in words; empty when all was kept."""
        complaints = list(self.wrong)
        if self.lost > 0:
            complaints.append(f"{self.lost} accepted items are nowhere")
        if self.lost < 0:
            complaints.append(
                f"the counters of dropped and lost items claim {-self.lost} more than are missing"
            )
        if self.duplicates:
            complaints.append(f"{self.duplicates} copies too many have landed")
        if self.unexpected:
            complaints.append(f"{self.unexpected} items have landed that were refused or never sent")
        if self.torn:
            complaints.append(f"{self.torn} calls in doubt have landed in part")
        return complaints


def calls(ledger: Ledger) -> Iterator[tuple[int, int, Outcome]]:
    """Every call that was ever begun: caller, number, outcome."""
    for caller, outcomes in ledger.outcomes.items():
        for number, outcome in enumerate(outcomes):
            yield caller, number, Outcome(outcome)


def compare(ledger: Ledger, found: Found, promise: Promise) -> Account:
    """Hold ``found`` against ``ledger``."""
    sums: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    expected: set[int] = set()

    def note(what: str, caller: int, number: int, unit: int) -> None:
        if len(examples.setdefault(what, [])) < 5:
            examples[what].append(f"caller {caller}, call {number}, item {unit}")

    for caller, number, outcome in calls(ledger):
        attempts = ledger.attempts.get(caller, {}).get(number, 1)
        allowed = attempts if promise.repeats else 1
        here = 0
        for unit in range(promise.units):
            name = item(caller, number, unit)
            copies = found.landed[name]
            here += copies > 0
            if outcome is Outcome.REFUSED:
                if copies:
                    sums["unexpected"] += copies
                    note("unexpected", caller, number, unit)
            else:
                if copies > allowed:
                    sums["duplicates"] += copies - allowed
                    note("duplicates", caller, number, unit)
                sums["repeats"] += max(0, min(copies, allowed) - 1)
            if outcome is Outcome.ACCEPTED:
                if copies:
                    sums["landed"] += 1
                elif name in found.journaled:
                    sums["journaled"] += 1
                elif name in found.dead_lettered:
                    sums["dead_lettered"] += 1
                else:
                    sums["missing"] += 1
                    note("missing", caller, number, unit)
            expected.add(name)
        if outcome is Outcome.ACCEPTED:
            sums["accepted"] += promise.units
        elif outcome is Outcome.REFUSED:
            sums["refused"] += promise.units
        elif outcome in IN_DOUBT:
            sums["in_doubt"] += promise.units
            sums["recovered"] += here
            sums["torn"] += promise.atomic and 0 < here < promise.units
    for name, copies in found.landed.items():
        if name not in expected:
            sums["unexpected"] += copies
            call, unit = divmod(name, 1 << UNIT_BITS)
            note("unexpected", *divmod(call, 1 << NUMBER_BITS), unit)
    dropped = sum(found.dropped.values())
    return Account(
        accepted=sums["accepted"],
        refused=sums["refused"],
        landed=sums["landed"],
        journaled=sums["journaled"],
        dead_lettered=sums["dead_lettered"],
        dropped=dropped,
        lost_by_server=found.lost_by_server,
        lost=sums["missing"] - dropped - found.lost_by_server,
        duplicates=sums["duplicates"] + found.surplus,
        repeats=sums["repeats"],
        in_doubt=sums["in_doubt"],
        recovered=sums["recovered"],
        unexpected=sums["unexpected"],
        torn=sums["torn"],
        examples=examples,
        wrong=list(found.wrong),
    )
