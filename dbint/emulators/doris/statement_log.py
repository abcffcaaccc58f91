"""What clients sent: every statement and every load, one JSON object a line, for whoever checks it.

A statement::

    {"time": …, "kind": "sql", "user": …, "database": …, "text": …, "error": …}

A request that loads rows, as each port has it (a frontend's redirect is one, the backend's load another)::

    {"time": …, "kind": "load", "user": …, "database": …, "method": …, "path": …, "headers": {…},
     "bytes": …, "status": …}

``time`` is the arrival in UTC, ``database`` the session's before the statement ran, ``error`` what the client
was told and absent where nothing was wrong, ``bytes`` how much of the body was read, ``status`` that of the
HTTP answer and null where there was none. Passwords do not get into it: headers with credentials are left
out, and the strings in SQL that set a password or a secret property are ``'***'``. Rows are in it.
"""

import datetime as dt
import json
import logging
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.sql.lexer import Token, tokenize

if TYPE_CHECKING:
    from dbint.emulators.doris.http import Request
    from dbint.emulators.doris.session import DorisSession

logger = logging.getLogger("dbint.emulators.doris")
_LOADS = re.compile(r"/api/(?:(?P<database>[^/]+)/(?:[^/]+/)?_stream_load(?:_2pc)?|_http_stream)")
_CREDENTIALS = frozenset(("authorization", "proxy-authorization", "cookie", "token"))
# Names of properties and variables whose values are secrets, and the words that precede one.
_SECRET = re.compile(r"(?i)passw(?:or)?d|secret|token|credential|access.?key|private.?key|identified")


class StatementLog:
    """The log in ``path``, appended to. Raises OSError where that cannot be opened.

    May be used by many threads. When the disk is full it says so in the emulator's log, and ends.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._path, self._file = path, os.fdopen(descriptor, "w", buffering=1, encoding="ascii")
        self._lock = threading.Lock()
        self._ended = False

    def write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record) + "\n"
        with self._lock:
            if self._ended:
                return
            try:
                self._file.write(line)
            except OSError as error:
                self._ended = True
                logger.critical("the statement log %s ends here: %s", self._path, error.strerror)

    def close(self) -> None:
        with self._lock:
            self._ended = True
            with suppress(OSError):  # what a full disk has kept back
                self._file.close()


def open_log(path: Path | None) -> AbstractContextManager["StatementLog | None"]:
    """The log in ``path``, closed at the end of the ``with``; no log without a path."""
    return nullcontext() if path is None else closing(StatementLog(path))


def statement(session: "DorisSession", sql: str) -> AbstractContextManager[None]:
    """Record a statement that runs inside the ``with``, and its error."""
    log = session.cluster.statement_log
    return nullcontext() if log is None else _statement(log, session, sql)


@contextmanager
def _statement(log: StatementLog, session: "DorisSession", sql: str) -> Iterator[None]:
    record = {
        "time": _now(),
        "kind": "sql",
        "user": session.user,
        "database": session.database,
        "text": mask(sql),
    }
    try:
        yield
    except DorisError as error:
        record["error"] = mask(error.message)
        raise
    except BaseException as error:
        record["error"] = type(error).__name__
        raise
    finally:
        log.write(record)


def loads(
    handle: Callable[["Request"], Awaitable[None]], log: StatementLog | None
) -> Callable[["Request"], Awaitable[None]]:
    """The handler of an HTTP port, with its loads recorded."""
    if log is None:
        return handle

    async def recorded(request: "Request") -> None:
        arrived = _now()
        try:
            await handle(request)
        finally:
            match = _LOADS.fullmatch(request.path)
            if match is not None:
                headers = {k: mask(v) for k, v in request.headers.items() if k not in _CREDENTIALS}
                log.write(
                    {
                        "time": arrived,
                        "kind": "load",
                        "user": (request.credentials or (None,))[0],
                        "database": match["database"],
                        "method": request.method,
                        "path": request.path,
                        "headers": headers,
                        "bytes": request.received,
                        "status": request.status,
                    }
                )

    return recorded


def mask(sql: str) -> str:
    """The statement, each secret in it as ``'***'``: the string behind PASSWORD or IDENTIFIED BY, and the one
    that a property or variable with the name of a secret is set to.
    """
    if _SECRET.search(sql) is None:
        return sql
    tokens = tokenize(sql)
    pieces: list[str] = []
    at = 0
    for n, token in enumerate(tokens):
        if token.kind == "string" and _is_secret(tokens, n):
            pieces += (sql[at : token.start], "'***'")
            at = token.end
    return "".join(pieces) + sql[at:]


def _is_secret(tokens: list[Token], at: int) -> bool:
    """Whether the string at this place is what a name of a secret, before it, is set to."""
    before = [t.value for t in tokens[max(0, at - 2) : at]]
    if before and before[-1] in ("=", ":=", "("):
        assigned = [t.text.upper() for t in tokens[:2]] == ["SET", "PASSWORD"] and before[-1] != "("
        return assigned or _SECRET.search(before[0]) is not None
    words = [value.upper() for value in before]
    return words == ["IDENTIFIED", "BY"] or words[-1:] == ["PASSWORD"]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
