"""What Doris' grammar refuses and other dialects take, so that nobody is told it would work on Doris.

The emulator's parsers know what they need; sqlglot takes much of other databases. Source: DorisParser.g4 of
release 4.0; tests/unit/emulators/test_grammar.py has the statements that its parser was given.
"""

from typing import Never

from dbint.emulators.doris.errors import NotEmulatedError
from dbint.emulators.doris.sql.lexer import RESERVED, Cursor, Token, syntax_refusal

_ANYTHING_ELSE = "{<EOF>, ';'}"
# The words that may follow, of statements whose second word says what they are about.
_SECOND: dict[str, frozenset[str]] = {
    "CREATE": frozenset((
        "AGGREGATE", "ALIAS", "BRANCH", "CATALOG", "CLUSTER", "DATABASE", "DICTIONARY", "ENCRYPTKEY",
        "EXTERNAL", "FILE", "FUNCTION", "GLOBAL", "INDEX", "INVERTED", "JOB", "LOCAL", "MATERIALIZED", "OR",
        "PROC", "PROCEDURE", "READ", "REPOSITORY", "RESOURCE", "ROLE", "ROUTINE", "ROW", "SCHEMA", "SESSION",
        "SQL_BLOCK_RULE", "STAGE", "STORAGE", "TABLE", "TABLES", "TAG", "TEMPORARY", "USER", "VIEW",
        "WORKLOAD",
    )),
    "ALTER": frozenset((
        "CATALOG", "COLOCATE", "COMPUTE", "DATABASE", "JOB", "MATERIALIZED", "PROC", "PROCEDURE",
        "REPOSITORY", "RESOURCE", "ROLE", "ROUTINE", "SQL_BLOCK_RULE", "STORAGE", "SYSTEM", "TABLE", "USER",
        "VIEW", "WORKLOAD",
    )),
    "DROP": frozenset((
        "AGGREGATE", "ANALYZE", "BRANCH", "CACHED", "CATALOG", "CLUSTER", "DATABASE", "DICTIONARY",
        "ENCRYPTKEY", "EXPIRED", "FILE", "FUNCTION", "GLOBAL", "INDEX", "INVERTED", "JOB", "LOCAL",
        "MATERIALIZED", "PROC", "PROCEDURE", "REPOSITORY", "RESOURCE", "ROLE", "ROW", "SCHEMA", "SESSION",
        "SQL_BLOCK_RULE", "STAGE", "STATS", "STORAGE", "TABLE", "TAG", "TEMPORARY", "USER", "VIEW",
        "WORKLOAD",
    )),
    "SHOW": frozenset((
        "ALL", "ALTER", "ANALYZE", "AUTHORS", "AUTO", "BACKEND", "BACKENDS", "BACKUP", "BRIEF", "BROKER",
        "BUILD", "BUILTIN", "CACHE", "CATALOG", "CATALOGS", "CHAR", "CHARSET", "CLUSTERS", "COLLATION",
        "COLUMN", "COLUMNS", "COMPUTE", "CONSTRAINTS", "CONVERT_LIGHT_SCHEMA_CHANGE_PROCESS", "COPY",
        "COUNT", "CREATE", "DATA", "DATABASE", "DATABASES", "DELETE", "DICTIONARIES", "DYNAMIC",
        "ENCRYPTKEYS", "ENGINES", "ERRORS", "EVENTS", "EXPORT", "FIELDS", "FILE", "FRONTEND", "FRONTENDS",
        "FULL", "FUNCTION", "FUNCTIONS", "GLOBAL", "GRANTS", "INDEX", "INDEXES", "INVERTED", "JOB", "JOBS",
        "KEY", "KEYS", "LAST", "LOAD", "LOCAL", "OPEN", "PARTITION", "PARTITIONS", "PLUGINS", "PRIVILEGES",
        "PROC", "PROCEDURE", "PROCESSLIST", "PROPERTY", "QUERY", "QUEUED", "REPLICA", "REPOSITORIES",
        "RESOURCES", "RESTORE", "ROLES", "ROUTINE", "ROW", "SCHEMAS", "SESSION", "SNAPSHOT",
        "SQL_BLOCK_RULE", "STAGES", "STATUS", "STORAGE", "STREAM", "TABLE", "TABLES", "TABLET", "TABLETS",
        "TEMPORARY", "TRANSACTION", "TRASH", "TRIGGERS", "TYPECAST", "VARIABLES", "VIEW", "VIEWS", "WARM",
        "WARNINGS", "WHITELIST", "WORKLOAD",
    )),
    "PAUSE": frozenset(("ALL", "JOB", "MATERIALIZED", "ROUTINE")),
    "RESUME": frozenset(("ALL", "JOB", "MATERIALIZED", "ROUTINE")),
    "STOP": frozenset(("ROUTINE",)),
    "SHOW CREATE": frozenset((
        "CATALOG", "DATABASE", "FUNCTION", "GLOBAL", "LOAD", "LOCAL", "MATERIALIZED", "PROCEDURE",
        "REPOSITORY", "ROUTINE", "SCHEMA", "SESSION", "STORAGE", "TABLE", "USER", "VIEW",
    )),
}  # fmt: skip
# Statements that Doris has and the emulator has not: the first word, and those that may come second.
_FURTHER: dict[str, frozenset[str] | None] = {
    "ANALYZE": frozenset(("DATABASE", "TABLE")),
    "BACKUP": frozenset(("SNAPSHOT",)),
    "BUILD": frozenset(("INDEX",)),
    "CALL": None,
    "CLEAN": None,
    "COPY": frozenset(("INTO",)),
    "EXPORT": frozenset(("TABLE",)),
    "GRANT": None,
    "HELP": None,
    "INSTALL": frozenset(("PLUGIN",)),
    "LOAD": frozenset(("DATA", "LABEL")),
    "LOCK": frozenset(("TABLES",)),
    "MERGE": frozenset(("INTO",)),
    "PLAN": frozenset(("REPLAYER",)),
    "RECOVER": frozenset(("DATABASE", "PARTITION", "TABLE")),
    "REFRESH": None,
    "REPLACE": frozenset(("PROC", "PROCEDURE")),
    "RESTORE": frozenset(("SNAPSHOT",)),
    "REVOKE": None,
    "SWITCH": None,
    "SYNC": None,
    "UNINSTALL": frozenset(("PLUGIN",)),
    "UNLOCK": frozenset(("TABLES",)),
    "UNSET": None,
    "WARM": frozenset(("UP",)),
}
_UNITS = frozenset(
    ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "DAY_SECOND", "MICROSECOND")
)
_UNITS_EXPECTED = "{'DAY', 'DAY_SECOND', 'HOUR', 'MINUTE', 'MONTH', 'QUARTER', 'SECOND', 'WEEK', 'YEAR'}"
# Reserved words that may come after AS: the types of a CAST.
_RESERVED_TYPES = frozenset(
    (
        "BIGINT",
        "DOUBLE",
        "FLOAT",
        "HLL",
        "INT",
        "INTEGER",
        "LARGEINT",
        "REAL",
        "SIGNED",
        "SMALLINT",
        "TINYINT",
    )
)
_COMPARISONS = frozenset(("=", "<>", "!=", "<", ">", "<=", ">=", "<=>"))
_BEFORE_A_ROW = frozenset(("AND", "HAVING", "NOT", "ON", "OR", "SELECT", "WHEN", "WHERE", "(", ","))
_AFTER_A_LIST = frozenset(
    ("FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", ")", "")
)
# Pairs of words that nothing in the grammar puts side by side; the second is what it does not expect.
_PAIRS = frozenset((
    ("SIMILAR", "TO"), ("SOUNDS", "LIKE"), ("DISTINCT", "ON"), ("NATURAL", "JOIN"), ("NATURAL", "LEFT"),
    ("NATURAL", "RIGHT"), ("NATURAL", "INNER"), ("WITHIN", "GROUP"), ("FETCH", "FIRST"), ("FETCH", "NEXT"),
    ("TABLESAMPLE", "BERNOULLI"), ("TABLESAMPLE", "SYSTEM"), ("AS", "MATERIALIZED"), ("IGNORE", "NULLS"),
    ("RESPECT", "NULLS"),
))  # fmt: skip


def check_statement(cursor: Cursor) -> None:
    """Refuse what no statement of Doris begins with. Raises DorisSyntaxError."""
    first, second = cursor.word(), cursor.word(1)
    known = _SECOND.get(first)
    if known is not None and second not in known:
        _refuse(cursor.sql, cursor.tokens, 1)
    if (first, second) == ("ALTER", "TABLE"):
        _check_alter_table(cursor)
    if (first, second) == ("SHOW", "CREATE") and cursor.word(2) not in _SECOND["SHOW CREATE"]:
        _refuse(cursor.sql, cursor.tokens, 2)


def refuse_unknown(cursor: Cursor) -> Never:
    """Raise the error for a statement whose first word the emulator does not know: NotEmulatedError where
    Doris does.
    """
    first, second = cursor.word(), cursor.word(1)
    if first in _FURTHER and second in (_FURTHER[first] or (second,)):
        raise NotEmulatedError(f"{first} {second}".rstrip())
    cursor.fail(
        "{'ADMIN', 'ALTER', 'CREATE', 'DELETE', 'DROP', 'INSERT', 'SELECT', 'SET', 'SHOW', 'UPDATE', ...}"
    )


def _check_alter_table(cursor: Cursor) -> None:
    for n in range(3, len(cursor.tokens)):
        words = tuple(cursor.word(at) for at in range(n - 1, n + 3))
        if words[:2] == ("ADD", "CONSTRAINT") and words[3] not in ("FOREIGN", "PRIMARY", "UNIQUE"):
            _refuse(cursor.sql, cursor.tokens, n + 2, "{'FOREIGN', 'PRIMARY', 'UNIQUE'}")
        if words[:3] == ("ADD", "PARTITION", "("):
            _refuse(cursor.sql, cursor.tokens, n + 1, "{'`', IDENTIFIER, 'IF'}")


def check_query(sql: str, tokens: list[Token]) -> None:
    """Refuse in a SELECT, UPDATE or DELETE what sqlglot takes and Doris does not. Raises DorisSyntaxError."""
    words = [t.text.upper() if t.kind in ("word", "op", "number") else "'" for t in tokens] + ["", ""]
    check = _Check(sql, tokens, words)
    if words[0] in ("UPDATE", "DELETE"):
        check.write()
    check.words_side_by_side()
    check.groups()


class _Check:
    """The rules for queries, each over all tokens; a quoted token is ``'``, the end is empty."""

    def __init__(self, sql: str, tokens: list[Token], words: list[str]) -> None:
        self.sql = sql
        self.tokens = tokens
        self.words = words

    def refuse(self, at: int, expecting: str = _ANYTHING_ELSE) -> Never:
        _refuse(self.sql, self.tokens, at, expecting)

    def write(self) -> None:
        """UPDATE and DELETE name one table, and have neither ORDER BY nor LIMIT."""
        depth, before = 0, True
        for n, word in enumerate(self.words):
            depth += {"(": 1, ")": -1}.get(word, 0)
            if depth:
                if word == "(" and self.words[n - 1] == "SET":
                    self.refuse(n, "{'`', IDENTIFIER}")
                continue
            if word in ("SET", "WHERE", "USING", "FROM") and n > 1:
                before = False
            if (word in ("ORDER", "LIMIT") and self.words[n - 1] != ".") or (
                before and word in (",", "JOIN", "LEFT", "RIGHT", "INNER", "CROSS")
            ):
                self.refuse(n)

    def words_side_by_side(self) -> None:
        words = self.words
        for n, word in enumerate(words[:-2]):
            following = words[n + 1]
            if (word, following) in _PAIRS or word in ("ILIKE", "STRAIGHT_JOIN"):
                if words[n - 1] != ".":
                    self.refuse(n)
            elif word == "," and following in _AFTER_A_LIST:
                self.refuse(n + 1, "expression")
            elif word in ("GROUP", "ORDER", "PARTITION") and following == "BY" and words[n + 2] in ("", ")"):
                self.refuse(n + 2, "expression")
            elif word == "IS":
                at = n + 2 if following == "NOT" else n + 1
                if words[at] not in ("NULL", "TRUE", "FALSE"):
                    self.refuse(at, "{'FALSE', 'NOT', 'NULL', 'TRUE'}")
                if words[at + 1] in _COMPARISONS:
                    self.refuse(at + 1)
            elif word == "AS" and following in RESERVED and following not in _RESERVED_TYPES:
                self.refuse(n + 1, "{'`', IDENTIFIER}")
            elif word == "INTERVAL" and (following == "'" or following.isdigit()):
                if words[n + 2] not in _UNITS:
                    self.refuse(n + 2, _UNITS_EXPECTED)
            elif word == "LIMIT" and words[n - 1] not in (".", "AS", ",") and not following.isdigit():
                self.refuse(n + 1, "INTEGER_VALUE")
            elif (word == "OFFSET" and following.isdigit() and words[n - 2] != "LIMIT") or (
                (word, following, words[n + 2]) == ("AT", "TIME", "ZONE")
            ):
                self.refuse(n)
            elif word in _COMPARISONS and following in ("ALL", "ANY", "SOME") and words[n + 2] == "(":
                self.refuse(n + 1, "expression")

    def groups(self) -> None:
        """What parentheses may hold."""
        words = self.words
        opened: list[int] = []
        commas: dict[int, int] = {}
        for n, word in enumerate(words[:-2]):
            if word == "(":
                opened.append(n)
                if words[n - 1] == "IN" and words[n + 1] == ")":
                    self.refuse(n + 1, "expression")
                if words[n - 1] == "EXTRACT" and words[n + 2] != "FROM":
                    self.refuse(n + 2, "'FROM'")
            elif word == "," and opened:
                commas.setdefault(opened[-1], n)
            elif word in ("ROWS", "RANGE", "GROUPS") and opened and words[n + 1] == "BETWEEN":
                self._frame(n)
            elif word == "EXCLUDE" and opened and words[n - 1] in ("FOLLOWING", "PRECEDING", "ROW"):
                self.refuse(n, "')'")
            elif word == ")" and opened:
                at = opened.pop()
                if at in commas and words[at - 1] in _BEFORE_A_ROW and words[n + 1] in _COMPARISONS:
                    self.refuse(commas[at], "')'")
                if words[at - 1] in ("EXISTS", "IN") and words[n + 1] in _COMPARISONS:
                    self.refuse(n + 1)  # a condition is no operand without parentheses

    def _frame(self, at: int) -> None:
        """A frame has two ends: ``BETWEEN … AND …``."""
        depth = 0
        for n in range(at, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.words[n], 0)
            if depth == 0 and self.words[n] == "AND":
                return
            if depth < 0:
                self.refuse(n, "'AND'")
        self.refuse(len(self.tokens), "'AND'")


def _refuse(sql: str, tokens: list[Token], at: int, expecting: str = _ANYTHING_ELSE) -> Never:
    token = tokens[at] if at < len(tokens) else None
    raise syntax_refusal(sql, token.start if token else len(sql), token.text if token else "<EOF>", expecting)
