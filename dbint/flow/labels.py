"""Labels: the names under which Doris remembers loads, and so refuses to run one twice."""

import hashlib
import re

from dbint.errors import ConfigurationError

# Doris: FeNameFormat.LABEL_REGEX, with the default of label_regex_length.
_LABEL = re.compile(r"[-_A-Za-z0-9:]{1,128}")
_OTHER = re.compile(r"[^-_A-Za-z0-9:]+")


def check_label(label: str) -> str:
    """``label`` itself; raises ConfigurationError when Doris would not accept it."""
    if not _LABEL.fullmatch(label):
        raise ConfigurationError(
            f"{label!r} cannot be a label: Doris takes 1 to 128 of the characters A-Z a-z 0-9 - _ : "
            "(make_label() makes one of anything)"
        )
    return label


def make_label(prefix: str, *parts: object) -> str:
    """A label that is always the same for the same arguments and differs for different ones.

    A deterministic label is what makes a load repeatable: name the rows by it, such as
    ``make_label("orders", topic, partition, first_offset, last_offset)``. The readable start is shortened and
    cleaned; the digest of all arguments at the end keeps labels apart that would read alike.
    """
    words = [prefix, *(str(part) for part in parts)]
    digest = hashlib.sha256("\0".join(f"{len(word)}:{word}" for word in words).encode()).hexdigest()[:32]
    readable = _OTHER.sub("_", "-".join(words))[:95]
    return f"{readable}-{digest}"
