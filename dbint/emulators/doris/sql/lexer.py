"""Tokens of Doris SQL, and a cursor over them: shared by the statement parsers, which report errors as Doris
does.
"""

import re
from dataclasses import dataclass
from typing import Never

from dbint.emulators.doris.errors import DorisSyntaxError

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<name>`(?:[^`]|``)*`)
  | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w$]))
  | (?P<word>@{0,2}[\w$]+)
  | (?P<op><=>|<>|!=|>=|<=|\|\||&&|:=|->>?|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}

# The keywords of Doris 4.0 that are no names unless they are quoted (rule nonReserved of DorisParser.g4).
RESERVED = frozenset((
    "ACCOUNT_LOCK", "ACCOUNT_UNLOCK", "ADD", "ADMIN", "ALL", "ALTER", "ANALYZE", "ANALYZER", "AND",
    "ANTI", "APPEND", "AS", "ASC", "AUTO", "BACKEND", "BETWEEN", "BIGINT", "BINARY", "BINLOG", "BOTH",
    "BY", "CANCEL", "CASE", "CAST", "CHAR_FILTER", "CLEAN", "COLLATE", "COLUMN", "CONSTRAINT", "CREATE",
    "CROSS", "CUBE", "CURRENT", "DATABASE", "DATABASES", "DAY_SECOND", "DECOMMISSION", "DELETE", "DESC",
    "DESCRIBE", "DISK", "DISTINCT", "DISTRIBUTED", "DISTRIBUTION", "DIV", "DOUBLE", "DROP", "DROPP",
    "DUMP", "DUPLICATE", "ELSE", "ENTER", "EXCEPT", "EXECUTE", "EXISTS", "EXPLAIN", "EXPORT",
    "EXTENDED", "EXTRACT", "FALSE", "FLOAT", "FOLLOWER", "FOLLOWING", "FOR", "FORCE", "FOREIGN", "FROM",
    "FRONTEND", "FULL", "FUNCTIONS", "GRANT", "GRANTS", "GROUP", "HAVING", "HLL", "IF", "IN", "INDEX",
    "INFILE", "INNER", "INSTALL", "INT", "INTEGER", "INTERMEDIATE", "INTERSECT", "INTERVAL", "INTO",
    "IS", "JOIN", "KEY", "KEYS", "KILL", "LARGEINT", "LATERAL", "LAYOUT", "LEADING", "LEFT", "LIKE",
    "LIMIT", "LIST", "LOAD", "LOW_PRIORITY", "MATCH", "MAXVALUE", "MINUS", "NATURAL", "NOT",
    "NO_USE_MV", "NULL", "OBSERVER", "ON", "OR", "ORDER", "OUTER", "OUTFILE", "OVER", "OVERWRITE",
    "PARTITION", "PLAY", "PRECEDING", "PREPARE", "PRIMARY", "PROCEDURE", "RANGE", "READ", "REAL",
    "REBALANCE", "REFERENCES", "REGEXP", "RELEASE", "RENAME", "REPAIR", "REPLICA", "REVOKE", "RIGHT",
    "ROLE", "ROLES", "ROW", "ROWS", "SCHEMAS", "SELECT", "SEMI", "SET", "SETS", "SHOW", "SIGNED",
    "SMALLINT", "SQL_BLOCK_RULE", "SUPERUSER", "SWITCH", "SYNC", "SYSTEM", "TABLE", "TABLESAMPLE",
    "TABLET", "TABLETS", "TERMINATED", "THEN", "TINYINT", "TO", "TOKENIZER", "TOKEN_FILTER", "TRAILING",
    "TRASH", "TRIM", "TRUE", "TRY_CAST", "TYPE_CAST", "UNBOUNDED", "UNINSTALL", "UNION", "UNIQUE",
    "UNSIGNED", "UPDATE", "USE", "USE_MV", "USING", "VALUES", "WHEN", "WHERE", "WHITELIST", "WITH",
    "WORKLOAD", "WRITE", "XOR",
))  # fmt: skip


def unquote(text: str) -> str:
    """The value of a quoted string or name, with MySQL's backslash escapes (``\\%`` and ``\\_`` stay as they
    are).
    """
    quote, body = text[0], text[1:-1]
    if quote == "`":
        return body.replace("``", "`")
    if "\\" in body:
        return _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[1]), body.replace(quote * 2, quote))
    return body.replace(quote * 2, quote)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is string, name, number, word or op; ``value`` is its text without quotes."""

    kind: str
    text: str
    start: int

    @property
    def value(self) -> str:
        return unquote(self.text) if self.kind in ("string", "name") else self.text

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def tokenize(sql: str) -> list[Token]:
    """Split a statement into its tokens, without space and comments."""
    return [
        Token(m.lastgroup or "op", m[0], m.start()) for m in _TOKEN.finditer(sql) if m.lastgroup != "space"
    ]


class Cursor:
    """A position in a statement's tokens, with the few moves that a recursive-descent parser needs."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = tokenize(sql)
        while self.tokens and self.tokens[-1].text == ";":
            self.tokens.pop()
        self.index = 0

    def peek(self, ahead: int = 0) -> Token | None:
        at = self.index + ahead
        return self.tokens[at] if at < len(self.tokens) else None

    def word(self, ahead: int = 0) -> str:
        """The token as an upper-case keyword or operator; empty for quoted tokens and at the end."""
        token = self.peek(ahead)
        return token.text.upper() if token is not None and token.kind in ("word", "op", "number") else ""

    def accept(self, *words: str) -> bool:
        """Step over these keywords if they come next, all of them."""
        if all(self.word(n) == word for n, word in enumerate(words)):
            self.index += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.accept(word):
                self.fail(f"'{word}'")

    def next(self, expecting: str = "identifier") -> Token:
        token = self.peek()
        if token is None:
            self.fail(expecting)
        self.index += 1
        return token

    def identifier(self) -> str:
        token = self.next()
        if token.kind not in ("word", "name") or (token.kind == "word" and token.text.upper() in RESERVED):
            self.index -= 1
            self.fail("{'`', IDENTIFIER}")
        return token.value

    def string(self) -> str:
        token = self.next("STRING_LITERAL")
        if token.kind != "string":
            self.index -= 1
            self.fail("STRING_LITERAL")
        return token.value

    def integer(self) -> int:
        token = self.next("INTEGER_VALUE")
        if not token.text.isdigit():
            self.index -= 1
            self.fail("INTEGER_VALUE")
        return int(token.text)

    def qualified_name(self) -> tuple[str, ...]:
        """``[catalog.]database.table``, as a tuple of its parts."""
        parts = [self.identifier()]
        while self.accept("."):
            parts.append(self.identifier())
        return tuple(parts)

    def names(self) -> list[str]:
        """A list of names in parentheses."""
        self.expect("(")
        names = [self.identifier()]
        while self.accept(","):
            names.append(self.identifier())
        self.expect(")")
        return names

    def properties(self) -> dict[str, str]:
        """``("key" = "value", …)``."""
        found: dict[str, str] = {}
        self.expect("(")
        while True:
            key = self.next("STRING_LITERAL").value
            self.expect("=")
            found[key] = self.next("STRING_LITERAL").value
            if self.accept(")"):
                return found
            self.expect(",")

    def group(self) -> str:
        """A balanced group in parentheses or brackets, as source text (a left-closed ``[a, b)`` counts as
        balanced).
        """
        first = self.next("'('")
        depth = 1
        last = first
        while depth:
            last = self.next("')'")
            if last.kind == "op":
                depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(last.text, 0)
        return self.sql[first.start : last.end]

    def rest(self) -> str:
        """The source text from here to the end."""
        token = self.peek()
        return self.sql[token.start : self.tokens[-1].end] if token is not None else ""

    def end(self) -> None:
        if self.peek() is not None:
            self.fail("{<EOF>, ';'}")

    def fail(self, expecting: str) -> Never:
        token = self.peek()
        raise syntax_refusal(
            self.sql,
            token.start if token else len(self.sql),
            token.text if token else "<EOF>",
            expecting,
        )


def syntax_refusal(sql: str, at: int, found: str, expecting: str) -> DorisSyntaxError:
    """The error for an unexpected token: Doris counts lines from 1 and positions from 0."""
    return DorisSyntaxError(found, expecting, sql.count("\n", 0, at) + 1, at - sql.rfind("\n", 0, at) - 1)
