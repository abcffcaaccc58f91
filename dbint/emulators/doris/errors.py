"""Errors in the shape in which Doris reports them over the MySQL protocol."""

NOT_EMULATED = "[dbint emulator]"

# Codes are those of org.apache.doris.common.ErrorCode; SQLSTATEs are given where Doris has another than
# HY000.
UNKNOWN_ERROR = 1105
CANT_CREATE_DB = 1007
CANT_DROP_DB = 1008
ACCESS_DENIED = 1045
NO_DATABASE = 1046
UNKNOWN_DATABASE = 1049
TABLE_EXISTS = 1050
BAD_TABLE = 1051
UNKNOWN_COLUMN = 1054
DUPLICATE_COLUMN = 1060
UNKNOWN_TABLE = 1109
UNKNOWN_VARIABLE = 1193
WRONG_VALUE_FOR_VARIABLE = 1231
UNKNOWN_TIME_ZONE = 1298
WRONG_OBJECT = 1347
DROP_PARTITION = 1507
SAME_NAME_PARTITION = 1517
UNKNOWN_PARTITION = 1735
INSERT_FAILED = 5025

SQLSTATES = {
    ACCESS_DENIED: b"28000",
    NO_DATABASE: b"3D000",
    UNKNOWN_DATABASE: b"42000",
    TABLE_EXISTS: b"42S01",
    BAD_TABLE: b"42S02",
    UNKNOWN_COLUMN: b"42S22",
    DUPLICATE_COLUMN: b"42S21",
    UNKNOWN_TABLE: b"42S02",
}


class DorisError(Exception):
    """A refusal of Doris: ``detail`` is its own text, ``code`` the MySQL error number (1105 when Doris has
    none).
    """

    def __init__(self, detail: str, code: int = UNKNOWN_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code

    @property
    def message(self) -> str:
        """The text on the wire, with the prefix that Doris' frontend puts before its exceptions."""
        return f"errCode = 2, detailMessage = {self.detail}"


class DorisSyntaxError(DorisError):
    """A statement that the grammar of Doris does not have, reported as its parser does."""

    def __init__(self, found: str, expecting: str, line: int, position: int) -> None:
        super().__init__(f"\nmismatched input '{found}' expecting {expecting}(line {line}, pos {position})\n")


class NotEmulatedError(DorisError):
    """Something that Doris has and the emulator has not: said loudly, so that nobody takes it for Doris'
    answer.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{NOT_EMULATED} {what} is not emulated; Doris itself supports it")
