"""Errors of the drivers in the classes that Django's users expect, with what to do about them.

Doris reports nearly everything as 1105 (its planner) or 5025 (a load or INSERT that failed); only the text
says what it was. The drivers make an OperationalError of every code that they do not know.
"""

import re

from pymysql.constants import CR, ER

from dbint.django.backends.doris.drivers import Module

_FILTERED = 5025  # Doris: "Insert has filtered data in strict mode"
_NULL = re.compile(r"null value for not null column|not null column|can't be null|is null", re.IGNORECASE)
_SYNTAX = re.compile(
    r"mismatched input|extraneous input|no viable alternative|missing '|token recognition error"
)
# What a query names and Doris does not have; its planner reports all of them as 1105.
_UNKNOWN_NAME = re.compile(
    r"(?:table|database) \[?\S+\]? does not exist|unknown (?:column|table|database)", re.IGNORECASE
)
# A DELETE from a table that is not UNIQUE, with more than plain comparisons.
_DELETE_CONDITION = re.compile(r"where clause only supports compound predicate", re.IGNORECASE)
# More small writes than compaction can merge; nothing of the statement was kept.
_TOO_MANY_VERSIONS = re.compile(r"-235\b|TOO_MANY_VERSION|version count: \d+, exceed", re.IGNORECASE)
_NEW_ROWS = re.compile(r"can't append new rows in partial update", re.IGNORECASE)
# The drivers themselves, of inf and nan.
_NOT_A_NUMBER = re.compile(r"^(?:inf|-inf|nan) can not be used with MySQL$")
LOST = (CR.CR_SERVER_LOST, CR.CR_SERVER_GONE_ERROR)
# libmariadb's word for an error of the server whose code it takes for one of its own.
_HIDDEN = CR.CR_MALFORMED_PACKET
_WRITE = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|TRUNCATE|COMMIT)\b", re.IGNORECASE)


def too_many_versions(error: Exception) -> bool:
    """Whether Doris refused a write because compaction lags behind: it may be repeated a little later."""
    return bool(error.args) and bool(_TOO_MANY_VERSIONS.search(str(error.args[-1])))


def classified(error: Exception, sql: str, driver: Module) -> Exception:
    """The error of the statement ``sql`` as an exception of the class that it deserves; often itself.

    ``driver`` is the driver's module, which has the classes (PEP 249).
    """
    code, text = (error.args[0], str(error.args[-1])) if error.args else (0, "")
    if too_many_versions(error):
        return driver.OperationalError(
            code,
            "Doris has too many versions of a tablet that wait for compaction, and kept nothing of this "
            "statement: write seldomer and more rows at once (bulk_create, Stream Load), and try again "
            f"(server said: {text})",
        )
    if _NOT_A_NUMBER.search(text):
        return driver.DataError(*error.args)
    if code == _FILTERED:
        return (driver.IntegrityError if _NULL.search(text) else driver.DataError)(*error.args)
    if code in (ER.UNKNOWN_ERROR, ER.PARSE_ERROR) and _SYNTAX.search(text):
        return driver.ProgrammingError(*error.args)
    if code == ER.UNKNOWN_ERROR:
        if _UNKNOWN_NAME.search(text):
            return driver.ProgrammingError(*error.args)
        if _DELETE_CONDITION.search(text):
            return driver.NotSupportedError(
                code,
                "rows of a table that is not UNIQUE are deleted by plain comparisons of columns with values, "
                f"joined by AND: fetch the keys first and delete by them (server said: {text})",
            )
        if _NEW_ROWS.search(text):
            return driver.OperationalError(
                code,
                f"rows that were to be updated have been deleted meanwhile; nothing was written ({text})",
            )
    if code == _HIDDEN:
        return driver.DatabaseError(
            code,
            "Doris refused this with a code from 5001 to 5026, which libmariadb, the library of mysqlclient, "
            "takes for its own and hides. Of a write that is most often a value that does not fit, or NULL "
            "in a column that has none. PyMySQL would tell: leave OPTIONS['driver'] out (the library said: "
            f"{text})",
        )
    if _WRITE.match(sql) and (code in LOST or isinstance(error, driver.InterfaceError)):
        return type(error)(
            code,
            "the connection was lost during a write: Doris may have kept it, or not. Look before you repeat "
            f"it ({text or 'connection closed'})",
        )
    return error
