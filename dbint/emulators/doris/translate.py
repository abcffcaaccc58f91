"""SELECT and the expressions of DML, from Doris' dialect to DuckDB's.

sqlglot parses; what may then reach DuckDB is decided here, node by node: an expression or a function that is
not known to mean the same in both is refused, so that no answer is silently wrong. Function names get a
prefix before sqlglot sees them, so that it does not replace them by what it believes them to be.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.errors import ParseError, TokenError, UnsupportedError

from dbint.emulators.doris import calls
from dbint.emulators.doris.errors import DorisError, DorisSyntaxError, NotEmulatedError
from dbint.emulators.doris.functions import AGGREGATES, PREFIX, SCALARS, WINDOW_ONLY, WRITTEN_OUT
from dbint.emulators.doris.lexer import Token, syntax_refusal, tokenize
from dbint.emulators.doris.model import Table
from dbint.emulators.doris.types import DorisType, make_type

_CALL = re.compile(
    r"""(?P<skip>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`|--[^\n]*|/\*.*?\*/)
      | \b(?P<largeint>LARGEINT)(?=\s*\))
      | (?<![\w$@.`])(?P<name>[A-Za-z_]\w*)(?=\s*\()""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# Words that stand before a parenthesis without being a function, or whose call has a syntax of its own.
_NOT_CALLS = frozenset(
    [
        "IN",
        "VALUES",
        "AND",
        "OR",
        "XOR",
        "NOT",
        "ON",
        "FROM",
        "WHERE",
        "EXISTS",
        "ANY",
        "ALL",
        "SOME",
        "CAST",
        "TRY_CAST",
        "CONVERT",
        "EXTRACT",
        "OVER",
        "AS",
        "USING",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "MINUS",
        "SELECT",
        "BY",
        "LIKE",
        "REGEXP",
        "RLIKE",
        "THEN",
        "ELSE",
        "WHEN",
        "CASE",
        "BETWEEN",
        "IS",
        "DISTINCT",
        "HAVING",
        "INTERVAL",
        "JOIN",
        "LIMIT",
        "OFFSET",
        "DIV",
        "MOD_",
        "WITH",
        "SET",
        "VARCHAR",
        "CHAR",
        "DECIMAL",
        "DECIMALV3",
        "NUMERIC",
        "DATETIME",
        "DATETIMEV2",
        "ROLLUP",
        "CUBE",
        "SETS",
        "PARTITION",
        "ORDER",
        "GROUP",
        "LATERAL",
        "INTO",
        "TABLE",
        "DATE_",
        "TIMESTAMP_",
        "BINARY",
        "WINDOW",
    ]
)
_PLAIN = (
    exp.Select, exp.From, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
    exp.Join, exp.Subquery, exp.Table, exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star,
    exp.Literal, exp.Null, exp.Boolean, exp.And, exp.Or, exp.Not, exp.Xor, exp.EQ, exp.NEQ, exp.GT, exp.GTE,
    exp.LT, exp.LTE, exp.NullSafeEQ, exp.Is, exp.In, exp.Between, exp.Like, exp.Escape, exp.RegexpLike,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.BitwiseAnd, exp.BitwiseOr,
    exp.BitwiseXor, exp.BitwiseNot, exp.Paren, exp.Case, exp.If, exp.Cast, exp.DataType, exp.DataTypeParam,
    exp.Anonymous, exp.Distinct, exp.Window, exp.WindowSpec, exp.Interval, exp.Var, exp.Extract, exp.Exists,
    exp.Union, exp.Except, exp.Intersect, exp.With, exp.CTE, exp.Concat, exp.CurrentTimestamp,
    exp.CurrentDate, exp.CurrentUser, exp.Localtime, exp.Localtimestamp, exp.SessionParameter,
    exp.Parameter, exp.Hint, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple, exp.Qualify,
)  # fmt: skip
_INTERVAL_UNITS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")


class Scope(Protocol):
    """What a statement's meaning depends on besides its text."""

    @property
    def time_zone(self) -> str:
        """The session's time zone, by a name that DuckDB knows."""

    def relation(self, database: str | None, name: str, /) -> str:
        """DuckDB's relation for a table. Raises DorisError where there is none."""

    def table(self, database: str | None, name: str, /) -> Table | None:
        """The table, where it is one of the user's."""

    def variable(self, name: str) -> str | int:
        """The value of a system variable. Raises DorisError 1193."""

    def function_value(self, name: str) -> str | int | None:
        """The value of VERSION(), DATABASE(), USER(), CONNECTION_ID()."""


@dataclass(slots=True)
class Translation:
    """A DuckDB statement, and what is known about its result: the Doris type of columns that are plain
    columns.
    """

    sql: str
    types: list[DorisType | None] = field(default_factory=list)
    has_largeint: bool = False


def translate_query(sql: str, scope: Scope) -> Translation:
    """Translate a SELECT. Raises DorisError where Doris refuses it or the emulator does not know it."""
    tokens = tokenize(sql)
    _refuse_tokens(sql, tokens)
    return _Translator(scope).query(_parse(sql))


def translate_condition(sql: str, scope: Scope, types: dict[str, DorisType]) -> str:
    """Translate one expression over columns of the given types (a header of Stream Load)."""
    _refuse_tokens(sql, tokenize(sql))
    tree = _parse(f"SELECT {sql}")
    translator = _Translator(scope)
    translator.types = {name.lower(): kind for name, kind in types.items()}
    return translator.expression(tree.expressions[0])


def parse_dml(sql: str) -> exp.Expr:
    """Parse an UPDATE or DELETE."""
    _refuse_tokens(sql, tokenize(sql))
    return _parse(sql)


def translate_tree(tree: exp.Expr, scope: Scope) -> Translation:
    """Translate a SELECT that was built from a parsed statement."""
    return _Translator(scope).query(tree)


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
    words = [t.text.upper() if t.kind in ("word", "op") else "" for t in tokens]

    def refuse(index: int, expecting: str = "{<EOF>, ';'}") -> None:
        token = tokens[index]
        raise syntax_refusal(sql, token.start, token.text, expecting)

    if ";" in words[: len(words) - 1]:
        raise NotEmulatedError("several statements in one request")
    for n, word in enumerate(words):
        following = words[n + 1] if n + 1 < len(words) else ""
        if (
            word in ("->", "->>")
            or (word == "FOR" and following in ("UPDATE", "SHARE"))
            or (word in ("FORCE", "IGNORE", "USE") and following in ("INDEX", "KEY"))
            or (word == "LOCK" and following == "IN")
        ):
            refuse(n)
        elif word == "RECURSIVE" and n and words[n - 1] == "WITH":
            refuse(n + 1 if n + 1 < len(tokens) else n, "'AS'")
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


class _Translator:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.types: dict[str, DorisType] = {}
        self.has_largeint = False

    def query(self, tree: exp.Expr) -> Translation:
        self._check(tree)
        self._name_columns(tree)
        self._bind_tables(tree)
        types = self._result_types(tree)
        tree = self._rewrite(tree)
        return Translation(self._generate(tree), types, self.has_largeint)

    def expression(self, tree: exp.Expr) -> str:
        self._check(tree)
        return self._generate(self._rewrite(tree))

    def _generate(self, tree: exp.Expr) -> str:
        try:
            return tree.sql("duckdb", unsupported_level=ErrorLevel.RAISE)
        except UnsupportedError as error:
            raise NotEmulatedError(str(error).splitlines()[0]) from None

    def _check(self, tree: exp.Expr) -> None:
        for node in tree.walk():
            if not isinstance(node, _PLAIN):
                raise NotEmulatedError(f"this use of {type(node).__name__.upper()}")
            if isinstance(node, exp.Tuple) and not isinstance(
                node.parent, exp.Group | exp.GroupingSets | exp.Rollup
            ):
                raise NotEmulatedError("a row value")
            if isinstance(node, exp.Qualify) or (isinstance(node, exp.Select) and node.args.get("sample")):
                raise NotEmulatedError(type(node).__name__.upper())

    def _name_columns(self, tree: exp.Expr) -> None:
        """Doris names a column without alias after its text."""
        for select in tree.find_all(exp.Select):
            named = []
            for projection in select.expressions:
                if isinstance(projection, exp.Alias) or projection.is_star:
                    named.append(projection)
                    continue
                name = projection.name if isinstance(projection, exp.Column) else _text(projection)
                named.append(exp.alias_(projection, exp.to_identifier(name, quoted=True)))
            select.set("expressions", named)

    def _bind_tables(self, tree: exp.Expr) -> None:
        with_names = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        for node in list(tree.find_all(exp.Table)):
            if not isinstance(node.this, exp.Identifier):
                raise NotEmulatedError("a table function")
            database = node.db or None
            if database is None and node.name.lower() in with_names:
                continue
            relation = self.scope.relation(database, node.name)
            table = self.scope.table(database, node.name)
            for column in table.columns if table else ():
                self.types.setdefault(column.name.lower(), column.type)
                self.has_largeint = self.has_largeint or column.type.name == "LARGEINT"
            alias = node.alias or node.name
            bound = exp.Table(
                this=exp.Var(this=relation), alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
            )
            bound.set("joins", node.args.get("joins"))
            node.replace(bound)
        for reference in tree.find_all(exp.Column):
            reference.set("db", None)
            reference.set("catalog", None)

    def _result_types(self, tree: exp.Expr) -> list[DorisType | None]:
        first = tree.find(exp.Select) if isinstance(tree, exp.SetOperation) else tree
        if not isinstance(first, exp.Select) or any(p.is_star for p in first.expressions):
            return []
        return [self.type_of(p.unalias()) for p in first.expressions]

    def type_of(self, node: exp.Expr) -> DorisType | None:
        """The Doris type of an expression, where it is known without asking DuckDB."""
        if "doris_type" in node.meta:
            kind: DorisType = node.meta["doris_type"]
            return kind
        if isinstance(node, exp.Paren):
            return self.type_of(node.this)
        if isinstance(node, exp.Column):
            return self.types.get(node.name.lower())
        if isinstance(node, exp.Cast):
            return cast_type(node)
        if isinstance(node, exp.Anonymous) and node.name.lower() in (f"{PREFIX}min", f"{PREFIX}max"):
            return self.type_of(node.expressions[0])
        if (
            isinstance(node, exp.Literal)
            and not node.is_string
            and "." in node.name
            and "e" not in node.name.lower()
        ):
            return DorisType("DECIMAL", (38, len(node.name.partition(".")[2])))
        return None

    def _rewrite(self, tree: exp.Expr) -> exp.Expr:
        """Replace, from the leaves up, what DuckDB would understand differently."""
        root = exp.Paren(this=tree)
        for node in reversed(list(root.walk(bfs=False))):
            handler = _HANDLERS.get(type(node))
            if handler is not None and node is not root:
                replacement = handler(self, node)
                if replacement is not node:
                    node.replace(replacement)
        result: exp.Expr = root.this
        return result

    # -- handlers: each gets a node whose children are translated already

    def _call(self, node: exp.Anonymous) -> exp.Expr:
        name = node.name.removeprefix(PREFIX).lower()
        arguments = node.expressions
        if name in AGGREGATES:
            in_window = isinstance(node.parent, exp.Window)
            return calls.aggregate(self, name, arguments, in_window=in_window)
        if name in WINDOW_ONLY:
            if not isinstance(node.parent, exp.Window):
                raise DorisError(f"{name.upper()} must be used with an OVER clause")
            return exp.Anonymous(this=name, expressions=arguments)
        count = len(arguments)
        if name in SCALARS:
            if count in SCALARS[name]:
                return exp.Anonymous(this=f"{PREFIX}{name}", expressions=arguments)
            raise DorisError(
                f"Can not found function '{name}' which has {count} arity. Candidate functions are: [{name}]"
            )
        if name in WRITTEN_OUT:
            low, high = WRITTEN_OUT[name]
            if low <= count <= high:
                return calls.write_out(self, name, arguments)
            raise DorisError(
                f"Can not found function '{name}' which has {count} arity. Candidate functions are: [{name}]"
            )
        raise DorisError(
            f"Can not found function '{name}' (the emulator's list of functions is in docs/emulators.md)"
        )

    def _now(self, node: exp.Expr) -> exp.Expr:
        name = "curdate" if isinstance(node, exp.CurrentDate) else "now"
        arguments = [node.this] if isinstance(node.this, exp.Expr) else []
        return calls.write_out(self, name, arguments)

    def _current_user(self, _node: exp.Expr) -> exp.Expr:
        return calls.write_out(self, "current_user", [])

    def _parameter(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Parameter):
            raise NotEmulatedError("a user variable")
        return calls.constant(self.scope.variable(node.name))

    def _arithmetic(self, node: exp.Expr) -> exp.Expr:
        left, right = node.this, node.args["expression"]
        if isinstance(right, exp.Interval) or isinstance(left, exp.Interval):
            if isinstance(left, exp.Interval):
                left, right = right, left
            return calls.shift(self, left, right, negative=isinstance(node, exp.Sub))
        for operand in (left, right):
            kind = self.type_of(operand)
            if (kind is not None and kind.is_string) or (
                isinstance(operand, exp.Literal) and operand.is_string
            ):
                operand.replace(
                    calls.cast(self, operand.copy(), DorisType("DOUBLE"))
                )  # as Doris computes with text
        is_decimal = "DECIMAL" in [t.name for t in map(self.type_of, (left, right)) if t]
        if is_decimal:
            node.meta["doris_type"] = DorisType("DECIMAL", (38, 9))
        if isinstance(node, exp.Div) and is_decimal:
            raise NotEmulatedError("the division of DECIMAL (cast an operand to DOUBLE)")
        return node

    def _interval(self, node: exp.Interval) -> exp.Expr:
        unit = node.text("unit").upper()
        if unit not in _INTERVAL_UNITS:
            raise NotEmulatedError(f"INTERVAL … {unit}")
        return node

    def _like(self, node: exp.Like) -> exp.Expr:
        pattern = node.expression
        if isinstance(pattern, exp.Cast):  # LIKE BINARY 'x': all comparisons are binary
            node.set("expression", pattern.this)
        if isinstance(node.parent, exp.Escape):
            return node
        return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))

    def _cast(self, node: exp.Cast) -> exp.Expr:
        if node.to.is_type("binary"):
            return node
        kind = cast_type(node)
        self.has_largeint = self.has_largeint or kind.name == "LARGEINT"
        return calls.cast(self, node.this, kind)

    def _extract(self, node: exp.Extract) -> exp.Expr:
        unit = node.name.lower()
        if unit not in ("year", "quarter", "month", "week", "day", "hour", "minute", "second", "microsecond"):
            raise NotEmulatedError(f"EXTRACT({unit.upper()} FROM …)")
        return (
            calls.write_out(self, "week", [node.expression])
            if unit == "week"
            else exp.Anonymous(this=f"{PREFIX}{unit}", expressions=[node.expression])
        )

    def _select(self, node: exp.Select) -> exp.Expr:
        node.set("hint", None)
        return node


_HANDLERS: dict[type, Callable[..., exp.Expr]] = {
    exp.Anonymous: _Translator._call,
    exp.CurrentTimestamp: _Translator._now,
    exp.CurrentDate: _Translator._now,
    exp.Localtime: _Translator._now,
    exp.Localtimestamp: _Translator._now,
    exp.CurrentUser: _Translator._current_user,
    exp.SessionParameter: _Translator._parameter,
    exp.Parameter: _Translator._parameter,
    exp.Add: _Translator._arithmetic,
    exp.Sub: _Translator._arithmetic,
    exp.Mul: _Translator._arithmetic,
    exp.Div: _Translator._arithmetic,
    exp.Mod: _Translator._arithmetic,
    exp.Interval: _Translator._interval,
    exp.Like: _Translator._like,
    exp.Cast: _Translator._cast,
    exp.Extract: _Translator._extract,
    exp.Select: _Translator._select,
}


def cast_type(node: exp.Cast) -> DorisType:
    """The Doris type that a CAST names."""
    kind = node.to
    name = kind.this.name if hasattr(kind.this, "name") else str(kind.this)
    name = {
        "INT128": "LARGEINT",
        "TIMESTAMP": "DATETIME",
        "TEXT": "STRING",
        "UTINYINT": "?",
        "UBIGINT": "?",
    }.get(name, name)
    args = tuple(int(p.name) for p in kind.expressions)
    if name == "VARCHAR" and not args:
        name = "STRING"
    try:
        return make_type(name, args)
    except KeyError:
        raise NotEmulatedError(f"CAST to {name}") from None


def _text(node: exp.Expr) -> str:
    """An expression as the user wrote it, as near as the parser kept it."""
    return node.sql("doris", normalize_functions=False).replace(PREFIX, "")
