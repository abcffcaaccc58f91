"""What ``atomic()`` means on a database without rollback.

Doris keeps every statement when it ends. ``atomic()`` therefore works as a plain block. When it fails after
statements have written, or a rollback is asked for, pretending would be the error: the exception that leaves
the block gets a note, a warning is given and logged; and a rollback with no exception under way raises
:class:`RollbackNotPossibleError`.
"""

import logging
import sys
import warnings

log = logging.getLogger("dbint.django.backends.doris")


class RollbackNotPossibleError(RuntimeError):
    """A rollback was asked for after Doris had written. No DatabaseError: ``atomic()`` swallows those."""


class DorisRollbackWarning(RuntimeWarning):
    """An ``atomic()`` block on Doris failed, and what it had written stays."""


def refuse_rollback(alias: str, writes: int) -> None:
    """Say that ``writes`` statements stay."""
    message = (
        f"Doris cannot roll back: {writes} statement{'s' if writes > 1 else ''} of this atomic() block on "
        f"the database {alias!r} had already written, and the rows stay"
    )
    failure = sys.exception()
    if failure is None:
        raise RollbackNotPossibleError(f"{message}. Delete or overwrite them yourself")
    failure.add_note(message)
    log.error("%s (after %s)", message, type(failure).__name__)
    warnings.warn(message, DorisRollbackWarning, stacklevel=4)
