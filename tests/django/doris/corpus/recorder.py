"""Sees what this process sends to Doris while the tests run."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymysql.connections import Connection

from tests.django.doris.corpus import Corpus


@contextmanager
def recorded() -> Iterator[dict[str, set[str]]]:
    """The statements that were taken and that the corpus lacks something of, with what it lacks."""
    corpus, lock = Corpus(), threading.Lock()
    new: dict[str, set[str]] = {}
    send = Connection.query

    def query(self: Any, sql: str | bytes, *args: Any, **options: Any) -> Any:
        answer = send(self, sql, *args, **options)
        text = sql if isinstance(sql, str) else sql.decode(errors="replace")
        with lock:
            if missing := corpus.missing(text):
                new[text] = missing
                corpus.learn(text)
        return answer

    Connection.query = query
    try:
        yield new
    finally:
        Connection.query = send


def report(new: dict[str, set[str]], path: Path) -> str:
    """Keeps the statements in ``path``, as a log of the emulator has them, and says what is to be done."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"kind": "sql", "text": sql}) + "\n" for sql in new))
    found = "\n".join(f"  {sql[:500]}\n    new: {', '.join(sorted(missing))}" for sql, missing in new.items())
    return (
        f"These statements are made otherwise than those in tests/django/doris/corpus:\n{found}\n"
        "Look at the documentation of Doris whether they are right, parse them with its grammar, then\n"
        f"python -m tests.django.doris.corpus add {path}"
    )
