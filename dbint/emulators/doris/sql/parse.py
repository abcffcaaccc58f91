"""SELECT and DML as sqlglot's tree; what sqlglot accepts and Doris' grammar does not is refused.

Function names get a prefix before sqlglot sees them, so that it does not replace them by what it believes
them to be.
"""

import re

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import ParseError, TokenError

from dbint.emulators.doris.errors import DorisError, DorisSyntaxError, NotEmulatedError
from dbint.emulators.doris.sql.functions import PREFIX
from dbint.emulators.doris.sql.grammar import check_query
from dbint.emulators.doris.sql.lexer import Token, syntax_refusal, tokenize

_CALL = re.compile(
    r"""(?P<skip>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`|--[^\n]*|/\*.*?\*/)
      | \b(?P<largeint>LARGEINT)(?=\s*\))
      | (?<![\w$@.`])(?P<name>[A-Za-z_]\w*)(?=\s*\()""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# Words that stand before a parenthesis without being a function, or whose call has a syntax of its own.
_NOT_CALLS = frozenset((
    "IN", "VALUES", "AND", "OR", "XOR", "NOT", "ON", "FROM", "WHERE", "EXISTS", "ANY", "ALL", "SOME",
    "CAST", "TRY_CAST", "CONVERT", "EXTRACT", "OVER", "AS", "USING", "UNION", "EXCEPT", "INTERSECT",
    "MINUS", "SELECT", "BY", "LIKE", "REGEXP", "RLIKE", "THEN", "ELSE", "WHEN", "CASE", "BETWEEN", "IS",
    "DISTINCT", "HAVING", "INTERVAL", "JOIN", "LIMIT", "OFFSET", "DIV", "MOD_", "WITH", "SET", "VARCHAR",
    "CHAR", "DECIMAL", "NUMERIC", "DATETIME", "ROLLUP", "CUBE", "SETS", "PARTITION", "ORDER", "GROUP",
    "LATERAL", "INTO", "TABLE", "DATE_", "TIMESTAMP_", "BINARY", "WINDOW",
))  # fmt: skip


# Clauses inside a call that Doris has and sqlglot does not.
_CALL_CLAUSES = frozenset(
    [("GROUP_CONCAT", "SEPARATOR"), *((name, "FROM") for name in ("SUBSTRING", "SUBSTR", "MID", "TRIM"))]
)


def parse_statement(sql: str) -> exp.Expr:
    """Parse a SELECT, UPDATE or DELETE. Raises DorisError where Doris does, or the emulator cannot."""
    _refuse_tokens(sql, tokenize(sql))
    return _parse(sql)


def parse_expression(sql: str) -> exp.Expr:
    """Parse one expression."""
    _refuse_tokens(sql, tokenize(sql))
    expression: exp.Expr = _parse(f"SELECT {sql}").expressions[0]
    return expression


def prefix_calls(sql: str) -> str:
    """Put the prefix before every function that is called."""

    def mark(match: re.Match[str]) -> str:
        if match["largeint"]:
            return "INT128"  # sqlglot's name of the type
        name = match["name"]
        if name is None or name.upper() in _NOT_CALLS:
            return match[0]
        before = sql[: match.start()].rstrip()[-12:].upper()
        if re.search(r"(?:^|\W)(?:AS|WITH|INTO|JOIN|FROM|UPDATE)$", before):
            return name
        return PREFIX + name

    return _CALL.sub(mark, sql)


def _is_statement(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Query | exp.Update | exp.Delete)


def _parse(sql: str) -> exp.Expr:
    marked = prefix_calls(sql)
    try:
        tree = parse_one(marked, read="doris", error_level=ErrorLevel.IMMEDIATE)
    except ParseError as error:
        detail = error.errors[0] if error.errors else {}
        line, column = detail.get("line") or 1, detail.get("col") or 0
        start = marked.split("\n")[line - 1][:column]
        found = (detail.get("highlight") or "<EOF>").replace(PREFIX, "")
        position = column - len(PREFIX) * start.count(PREFIX) - len(found)
        raise DorisSyntaxError(found, "{<EOF>, ';'}", line, max(position, 0)) from None
    except TokenError as error:
        raise DorisError(f"\nextraneous input in statement: {str(error).replace(PREFIX, '')}\n") from None
    if not _is_statement(tree):
        raise syntax_refusal(sql, 0, sql.split(None, 1)[0], "{'SELECT', 'WITH', ...}")
    return tree


def _refuse_tokens(sql: str, tokens: list[Token]) -> None:
    """Refuse what sqlglot would accept and the grammar of Doris does not have."""
    check_query(sql, tokens)
    words = [t.text.upper() if t.kind in ("word", "op") else "" for t in tokens]

    def refuse(index: int, expecting: str = "{<EOF>, ';'}") -> None:
        token = tokens[index]
        raise syntax_refusal(sql, token.start, token.text, expecting)

    if ";" in words[: len(words) - 1]:
        raise NotEmulatedError("several statements in one request")
    calls: list[str] = []  # the words before the parentheses that are open
    for n, word in enumerate(words):
        following = words[n + 1] if n + 1 < len(words) else ""
        if word == "(":
            calls.append(words[n - 1] if n else "")
        elif word == ")" and calls:
            calls.pop()
        if (
            word in ("->", "->>")
            or (word == "FOR" and following in ("UPDATE", "SHARE"))
            or (word in ("FORCE", "IGNORE", "USE") and following in ("INDEX", "KEY"))
            or (word == "LOCK" and following == "IN")
        ):
            refuse(n)
        elif word == "RECURSIVE" and n and words[n - 1] == "WITH":
            refuse(n + 1 if n + 1 < len(tokens) else n, "'AS'")
        elif calls and (calls[-1], word) in _CALL_CLAUSES:
            raise NotEmulatedError(f"{calls[-1]}(… {word} …)")
        elif n and tokens[n].kind == tokens[n - 1].kind == "string":
            raise NotEmulatedError("a string literal beside another")
        elif word == "RETURNING" or (word == "WINDOW" and n + 2 < len(words) and words[n + 2] == "AS"):
            refuse(n)
        elif word == "MICROSECOND" and n >= 2 and "INTERVAL" in words[max(0, n - 6) : n]:
            refuse(n, "{'DAY', 'HOUR', 'MINUTE', 'MONTH', 'QUARTER', 'SECOND', 'WEEK', 'YEAR'}")
        elif word == "BINARY" and n and words[n - 1] == "LIKE" and n + 1 < len(tokens):
            if tokens[n + 1].kind != "string":
                refuse(n + 1, "STRING_LITERAL")
        elif word == "IN" and n and words[n - 1 - (words[n - 1] == "NOT")] == ")":
            comma = _tuple_comma(words, n - 1 - (words[n - 1] == "NOT"))
            if comma is not None:
                refuse(comma, "')'")


def _tuple_comma(words: list[str], close: int) -> int | None:
    """The comma of a row value ``(a, b)`` that ends at ``close``; None for a plain parenthesis or a call."""
    depth, comma = 0, None
    for n in range(close, -1, -1):
        depth += {")": 1, "(": -1}.get(words[n], 0)
        if depth == 1 and words[n] == ",":
            comma = n
        if depth == 0:
            call = n > 0 and re.fullmatch(r"\w+", words[n - 1]) and words[n - 1] not in _NOT_CALLS
            return None if call else comma
    return None
