"""The cursor: the driver's, with errors in Django's classes, and with a transaction's rules kept."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from dbint.django.backends.doris.driver_errors import classified, too_many_versions

log = logging.getLogger("dbint.django.backends.doris")

# Seconds between the attempts of a statement that Doris refuses because compaction lags behind.
_PAUSES = (0.5, 1.0, 2.0, 4.0)


class DorisCursor:
    """A cursor of the driver's for ``wrapper``, a DatabaseWrapper."""

    def __init__(self, cursor: Any, wrapper: Any) -> None:
        self.cursor = cursor
        self._wrapper = wrapper

    def execute(self, query: str, args: Any = None) -> Any:
        """As the driver's; raises ProgrammingError for syntax, DataError and IntegrityError for refused rows.

        A statement refused for too many versions (-235) is repeated a few times, within some 8 seconds:
        Doris kept nothing of it.
        """
        pauses = iter(_PAUSES)

        def again(error: Exception) -> bool:
            pause = next(pauses, None) if too_many_versions(error) else None
            if pause is None:
                return False
            log.warning("Doris has too many versions to compact; the statement is repeated in %g s", pause)
            time.sleep(pause)
            return True

        return self._run(
            lambda: self.cursor.execute(self._utf8(lambda: self.cursor.mogrify(query, args))), query, again
        )

    def executemany(self, query: str, args: Any) -> Any:
        """As the driver's: in several statements, which is why it is never repeated."""
        rows = list(args)
        for row in rows:
            for value in row.values() if isinstance(row, dict) else row:
                if isinstance(value, str):
                    self._utf8(value.__str__)
        return self._run(lambda: self.cursor.executemany(query, rows), query, lambda _error: False)

    def _run(self, run: Callable[[], Any], query: str, again: Callable[[Exception], bool]) -> Any:
        self._wrapper.before_statement(query)
        while True:
            try:
                result = run()
            except self._wrapper.Database.Error as error:
                if again(error):
                    continue
                self._wrapper.note_failure(error)
                raise classified(error, query, self._wrapper.Database) from error
            self._wrapper.note_write(query)
            return result

    def _utf8(self, text: Callable[[], str]) -> bytes:
        """UTF-8. Half of a surrogate pair has none; a driver would fail on it, or send a byte that no reader
        understands.
        """
        try:
            return text().encode()
        except UnicodeEncodeError as error:
            raise self._wrapper.Database.DataError(
                0, f"text that is not valid Unicode: {error.reason}"
            ) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cursor)
