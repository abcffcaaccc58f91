"""Is everything in a journal whole? Looks at every record, changes nothing."""

from collections.abc import Iterator

from dbint.journal.damage import DamageError
from dbint.journal.directory import Chain, Finding, Gap, Slot
from dbint.journal.segment import SEALED, Broken


def check_slot(slot: Slot) -> list[Finding]:
    """What is wrong in a slot. One that a live process owns may be checked while it appends."""
    findings = list(_look_at(slot))
    if findings and slot.owner() is not None:
        # Files come and go between two looks at the directory and into them. Damage stays.
        again = set(_look_at(slot))
        findings = [finding for finding in findings if finding in again]
    return findings


def _look_at(slot: Slot) -> Iterator[Finding]:
    contents = slot.read()
    yield from contents.findings
    for chain in contents.chains:
        yield from check_chain(chain)


def check_chain(chain: Chain) -> Iterator[Finding]:
    """What is wrong with the segments of a chain."""
    for piece, found in chain.walk():
        if isinstance(found, Gap):
            what = "the segments in front of this one are missing"
            yield Finding(piece.path, what, first=found.first, last=found.last)
        elif isinstance(found, Broken):
            what = f"the unfinished end that a power loss has left: {found.why}" if found.torn else found.why
            yield Finding(piece.path, what, not found.torn, found.offset, found.sequence, found.last)
    for piece in chain.pieces:
        if piece.cut:
            yield Finding(
                piece.path, f"the file is shorter than the {piece.header.size} bytes it was made with"
            )
    if chain.newest.state == SEALED:
        yield Finding(chain.pieces[-1].path, "the segments behind this one are missing")
    if isinstance(chain.meta, DamageError):
        yield Finding(chain.pieces[-1].path, f"its rows cannot be read: {chain.meta}")
