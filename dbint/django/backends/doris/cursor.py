"""The cursor: PyMySQL's, with errors in Django's classes, and with a transaction's rules kept."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from dbint.django.backends.doris.driver_errors import classified, too_many_versions

log = logging.getLogger("dbint.django.backends.doris")

# Seconds between the attempts of a statement that Doris refuses because compaction lags behind.
_PAUSES = (0.5, 1.0, 2.0, 4.0)


class DorisCursor:
    """A PyMySQL cursor for ``wrapper``, a DatabaseWrapper."""

    def __init__(self, cursor: Any, wrapper: Any) -> None:
        self.cursor = cursor
        self._wrapper = wrapper

    def execute(self, query: str, args: Any = None) -> Any:
        """As PyMySQL's; raises ProgrammingError for syntax, DataError and IntegrityError for refused rows.

        A statement refused for too many versions (-235) is repeated a few times, within some 8 seconds:
        Doris kept nothing of it.
        """
        pauses = iter(_PAUSES)

        def again(error: pymysql.MySQLError) -> bool:
            pause = next(pauses, None) if too_many_versions(error) else None
            if pause is None:
                return False
            log.warning("Doris has too many versions to compact; the statement is repeated in %g s", pause)
            time.sleep(pause)
            return True

        return self._run(
            lambda: self.cursor.execute(_encoded(self.cursor.mogrify(query, args))), query, again
        )

    def executemany(self, query: str, args: Any) -> Any:
        """As PyMySQL's: in several statements, which is why it is never repeated."""
        rows = list(args)
        for row in rows:
            for value in row.values() if isinstance(row, dict) else row:
                if isinstance(value, str):
                    _encoded(value)
        return self._run(lambda: self.cursor.executemany(query, rows), query, lambda _error: False)

    def _run(self, run: Callable[[], Any], query: str, again: Callable[[pymysql.MySQLError], bool]) -> Any:
        self._wrapper.before_statement(query)
        while True:
            try:
                result = run()
            except pymysql.MySQLError as error:
                if again(error):
                    continue
                self._wrapper.note_failure(error)
                raise classified(error, query) from error
            self._wrapper.note_write(query)
            return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cursor)


def _encoded(text: str) -> bytes:
    """UTF-8. PyMySQL would send half of a surrogate pair as a byte that no reader understands."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise pymysql.DataError(0, f"text that is not valid Unicode: {error.reason}") from None
