"""Keeps secrets out of everything that a verification prints.

Two nets: the values that are known to be secret in this process (from settings, the environment and the
credential providers), in every spelling in which a library may quote them, and patterns of places where a
secret stands.
"""

import base64
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

MASK = "***"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token$|credentials?$|api_?key|private_?key|access_?key|sasl.*jaas",
    re.IGNORECASE,
)
# Shorter values would blank out harmless text; they are still caught where they stand behind a key.
_SHORTEST = 4

_PATTERNS = (
    # scheme://user:password@host
    (re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/@'\"]*)@"), rf"\1:{MASK}@"),
    # password=…, "password": "…", PASSWORD '…', sasl.password: …
    (
        re.compile(
            r"""(?ix)
            ( (?: pass(?:word|wd|phrase)? | pwd | secret (?:[_.]?(?:key|id|access_key))? | api[_-]?key
                | (?:access|auth|bearer|vault|client)?[_-]?token )
              ["']? \s* (?: [=:] \s* | \s+ (?=['"]) ) )
            ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;&)}\]]+ )"""
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\",;]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:basic|bearer)\s+)[A-Za-z0-9+/=_.-]{12,}"), rf"\1{MASK}"),
)


def is_secret_name(name: str) -> bool:
    """Whether the value under this name is a secret itself (and not, say, the path of a file with one)."""
    return bool(_SECRET_NAME.search(name))


def find_secrets(settings: Any) -> Iterator[str]:
    """The secret values in nested settings: strings under a telling key, and passwords inside URLs."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if isinstance(key, str) and is_secret_name(key) and isinstance(value, str | bytes):
                yield value if isinstance(value, str) else value.decode(errors="replace")
            yield from find_secrets(value)
    elif isinstance(settings, list | tuple | set):
        for value in settings:
            yield from find_secrets(value)
    elif isinstance(settings, str) and "://" in settings and "@" in settings:
        try:
            password = urlsplit(settings).password
        except ValueError:
            return
        if password:
            yield password


def _spellings(secret: str) -> set[str]:
    """A secret as libraries quote it: percent-encoded, in JSON, Python, XML and libpq literals, in base64."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        secret.replace("\\", "\\\\").replace("'", "\\'"),
        base64.b64encode(secret.encode()).decode(),
    }


class Redactor:
    """Replaces secrets in text by ``***``; call it with any text that leaves the process.

    ``users`` are account names: "user:password" in base64, as HTTP's Basic authentication has it, is a secret
    too.
    """

    def __init__(self, secrets: Iterable[str] = (), users: Iterable[str] = ()) -> None:
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        spellings = {spelling for secret in known for spelling in _spellings(secret)}
        spellings |= {
            base64.b64encode(f"{user}:{secret}".encode()).decode()
            for user, secret in product(set(users), known)
        }
        # The longest first: one secret may begin with another.
        alternatives = "|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))
        self._known = re.compile(alternatives) if alternatives else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def deep(self, value: Any) -> Any:
        """The same for nested values; what JSON has no type for becomes text."""
        if isinstance(value, Mapping):
            return {
                str(key): MASK if is_secret_name(str(key)) and isinstance(inner, str) else self.deep(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.deep(inner) for inner in value]
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        return self(str(value))
