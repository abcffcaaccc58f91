"""SELECT and the expressions of DML, from Doris' dialect to DuckDB's.

What parse.py has read is decided here, node by node, before it may reach DuckDB: an expression or a function
that is not known to mean the same in both is refused, so that no answer is silently wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import ErrorLevel, exp
from sqlglot.errors import UnsupportedError

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.sql import calls, coercion, inference
from dbint.emulators.doris.sql.functions import (
    AGGREGATES,
    MORE_ARITIES,
    PREFIX,
    SCALARS,
    WINDOW_ONLY,
    WRITTEN_OUT,
)
from dbint.emulators.doris.sql.parse import parse_expression, parse_statement
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.types import DorisType, array_of, make_type

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
    exp.Parameter, exp.Hint, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple, exp.Qualify, exp.Array,
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
    clauses: dict[str, str] = field(default_factory=dict)  # of each column's name: where it stands


def translate_query(sql: str, scope: Scope) -> Translation:
    """Translate a SELECT. Raises DorisError where Doris refuses it or the emulator does not know it."""
    return _Translator(scope).query(parse_statement(sql))


def translate_condition(sql: str, scope: Scope, types: dict[str, DorisType]) -> str:
    """Translate one expression over columns of the given types (a header of Stream Load)."""
    tree = parse_expression(sql)
    return _Translator(scope).expression(tree, {name.lower(): kind for name, kind in types.items()})


def translate_tree(tree: exp.Expr, scope: Scope) -> Translation:
    """Translate a SELECT that was built from a parsed statement."""
    return _Translator(scope).query(tree)


class _Translator:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.names: set[str] = set()  # of all columns of all tables
        self.has_largeint = False
        self.knows_columns = True

    def query(self, tree: exp.Expr) -> Translation:
        self._check(tree)
        self._name_columns(tree)
        inference.annotate(tree, self._columns_of, cast_type)
        clauses: dict[str, str] = {}
        for column in tree.find_all(exp.Column):
            clauses.setdefault(column.name.lower(), _clause(column))
        self._bind_tables(tree)
        types = self._result_types(tree)
        tree = self._rewrite(tree)
        return Translation(self._generate(tree), types, self.has_largeint, clauses)

    def expression(self, tree: exp.Expr, columns: dict[str, DorisType]) -> str:
        self._check(tree)
        inference.annotate_expression(tree, columns, cast_type)
        return self._generate(self._rewrite(tree))

    def _columns_of(self, node: exp.Table) -> dict[str, DorisType] | None:
        table = self.scope.table(node.db or None, node.name)
        return {column.name.lower(): column.type for column in table.columns} if table is not None else None

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
            if isinstance(node, exp.Join) and node.method:
                raise NotEmulatedError(f"{node.method} JOIN")
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
                self.names.add(column.name.lower())
                self.has_largeint = self.has_largeint or column.type.name == "LARGEINT"
            self.knows_columns = self.knows_columns and table is not None
            alias = node.alias or node.name
            bound = exp.Table(
                this=exp.Var(this=relation), alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
            )
            bound.set("joins", node.args.get("joins"))
            node.replace(bound)
        self._refuse_aliases(tree)
        for reference in tree.find_all(exp.Column):
            reference.set("db", None)
            reference.set("catalog", None)

    def _refuse_aliases(self, tree: exp.Expr) -> None:
        """An alias is not visible in the SELECT list and the WHERE of its own SELECT; to DuckDB it is."""
        aliases = [alias for alias in tree.find_all(exp.Alias) if self.knows_columns]
        for select in tree.find_all(exp.Select):
            own = {alias.alias.lower() for alias in aliases if alias.parent is select}
            own -= self.names
            own -= {alias.alias.lower() for alias in aliases if alias.parent is not select}
            for part in (*select.expressions, select.args.get("where")):
                for column in part.find_all(exp.Column) if part is not None else ():
                    if column.name.lower() in own and not column.table:
                        name, clause = column.name, _clause(column)
                        raise DorisError(f"Unknown column '{name}' in 'table list' in {clause} clause")

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
        if isinstance(node, exp.Paren | exp.Neg):
            return self.type_of(node.this)
        if isinstance(node, exp.Cast):
            return cast_type(node)
        if isinstance(node, exp.Literal) and not node.is_string:
            return inference.literal_type(node.name)
        return None

    def _rewrite(self, tree: exp.Expr) -> exp.Expr:
        """Replace, from the leaves up, what DuckDB would understand differently."""
        root = exp.Paren(this=tree)
        for node in reversed(list(root.walk(bfs=False))):
            handler = _HANDLERS.get(type(node))
            if handler is not None and node is not root:
                replacement = handler(self, node)
                if replacement is not node:
                    if "doris_type" in node.meta:
                        replacement.meta.setdefault("doris_type", node.meta["doris_type"])
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
        if "json" in name and any(isinstance(a, exp.Literal) and "*" in a.name for a in arguments[1:]):
            raise NotEmulatedError("a JSON path with *")
        count = len(arguments)
        if count in SCALARS.get(name, ()):
            return exp.Anonymous(this=f"{PREFIX}{name}", expressions=arguments)
        low, high = WRITTEN_OUT.get(name, (1, 0))
        if low <= count <= high:
            return calls.write_out(self, name, arguments)
        if count in MORE_ARITIES.get(name, ()):
            raise NotEmulatedError(f"{name.upper()} of {count} argument{'s' if count > 1 else ''}")
        if name in SCALARS or name in WRITTEN_OUT:
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
        return coercion.arithmetic(self, node)

    def _comparison(self, node: exp.Expr) -> exp.Expr:
        return coercion.comparison(self, node)

    def _interval(self, node: exp.Interval) -> exp.Expr:
        unit = node.text("unit").upper()
        if unit not in _INTERVAL_UNITS:
            raise NotEmulatedError(f"INTERVAL … {unit}")
        return node

    def _like(self, node: exp.Like) -> exp.Expr:
        pattern = node.expression
        if isinstance(pattern, exp.Cast):  # LIKE BINARY 'x': all comparisons are binary
            node.set("expression", pattern.this)
        self._as_texts(node)
        if isinstance(node.parent, exp.Escape):
            return node
        return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))

    def _regexp(self, node: exp.RegexpLike) -> exp.Expr:
        self._as_texts(node)
        return node

    def _as_texts(self, node: exp.Expr) -> None:
        """LIKE and REGEXP look at the text of numbers and dates, too."""
        for operand in (node.this, node.expression):
            kind = self.type_of(operand)
            if kind is not None and not kind.is_string:
                operand.replace(calls.raw(calls.text_of(self, operand)))

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

    def _window(self, node: exp.Window) -> exp.Expr:
        frame = node.args.get("spec")
        if frame is not None:
            _check_frame(node, frame)
        return calls.window(node)

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
    exp.IntDiv: _Translator._arithmetic,
    exp.Mod: _Translator._arithmetic,
    exp.EQ: _Translator._comparison,
    exp.NEQ: _Translator._comparison,
    exp.GT: _Translator._comparison,
    exp.GTE: _Translator._comparison,
    exp.LT: _Translator._comparison,
    exp.LTE: _Translator._comparison,
    exp.NullSafeEQ: _Translator._comparison,
    exp.In: _Translator._comparison,
    exp.Between: _Translator._comparison,
    exp.Interval: _Translator._interval,
    exp.Like: _Translator._like,
    exp.RegexpLike: _Translator._regexp,
    exp.Cast: _Translator._cast,
    exp.Extract: _Translator._extract,
    exp.Select: _Translator._select,
    exp.Window: _Translator._window,
}


def _check_frame(node: exp.Window, frame: exp.Expr) -> None:
    """What Doris has no window frames for (its planner: WindowFunctionChecker)."""
    bounds = [frame.args.get("start"), frame.args.get("end") or "CURRENT ROW"]
    if node.args.get("order") is None:
        raise DorisError("WindowFrame clause requires OrderBy clause")
    if frame.text("kind").upper() == "RANGE" and (
        any(isinstance(bound, exp.Expr) for bound in bounds) or bounds == ["CURRENT ROW", "CURRENT ROW"]
    ):
        raise DorisError(
            "WindowFrame with RANGE must use both UNBOUNDED boundary or one UNBOUNDED boundary and one "
            "CURRENT ROW"
        )
    if frame.text("kind").upper() not in ("ROWS", "RANGE") or frame.args.get("exclude"):
        raise DorisError("\nmismatched input in the window frame\n")
    name = node.this.name.removeprefix(PREFIX).upper()
    if name in ("LAG", "LEAD"):
        raise DorisError(f"WindowFrame for {name}() must be null")


def _clause(column: exp.Column) -> str:
    """Where a column stands, in the words of Doris' planner."""
    clauses = {exp.Where: "FILTER", exp.Having: "HAVING", exp.Group: "AGGREGATE", exp.Order: "SORT"}
    node = column.find_ancestor(*clauses, exp.Join, exp.Select)
    if node is None or isinstance(node, exp.Join):
        return "JOIN" if node else "PROJECT"
    if not isinstance(node, exp.Select):
        return clauses[type(node)]
    calls_aggregate = any(
        call.name.removeprefix(PREFIX).lower() in AGGREGATES and call.find_ancestor(exp.Select) is node
        for call in node.find_all(exp.Anonymous)
    )
    return "AGGREGATE" if calls_aggregate or node.args.get("group") else "PROJECT"


def cast_type(node: exp.Cast) -> DorisType:
    """The Doris type that a CAST names."""
    return _named_type(node.to)


def _named_type(kind: exp.DataType) -> DorisType:
    if kind.is_type("array") and kind.expressions:
        return array_of(_named_type(kind.expressions[0]))
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
