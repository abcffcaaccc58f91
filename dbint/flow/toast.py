"""Values that the log does not carry, because the change left them as they were (TOAST).

dbint's capture names such columns in the header ``dbint.unchanged``. Debezium has no such header: there the
value is a placeholder, which looks differently by type (docs/flow.md). For bytea and arrays of float8
Debezium writes null, which nothing tells from a NULL: such tables need REPLICA IDENTITY FULL, which
``flow_plan`` asks for.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from dbint._core import Message
from dbint.flow.mapping import PLACEHOLDER

HEADER = "dbint.unchanged"
_NAME = re.compile(r"(?:[^,\\]|\\.)+")

_VALUES: tuple[Any, ...] = (
    PLACEHOLDER,
    base64.b64encode(PLACEHOLDER.encode()).decode(),
    [PLACEHOLDER],
    list(PLACEHOLDER.encode()),
    json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":")),
)
PLACEHOLDERS: Sequence[bytes] = tuple(json.dumps(value, separators=(",", ":")).encode() for value in _VALUES)
"""What stands in a message for a missing value: of texts, bytea, arrays of texts and of numbers, hstore."""


def missing_columns(message: Message) -> tuple[str, ...]:
    """The columns of PostgreSQL whose values a message lacks, sorted.

    Raises ValueError for a message that is no envelope.
    """
    listed = next((value for name, value in reversed(message.headers) if name == HEADER), None)
    if listed is not None:
        names = _NAME.findall(listed.decode("utf-8", "replace"))
        return tuple(sorted(re.sub(r"\\(.)", r"\1", name) for name in names))
    after = json.loads(message.value or b"{}").get("after") or {}
    return tuple(sorted(name for name, value in after.items() if value in _VALUES))
