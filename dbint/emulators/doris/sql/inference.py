"""The Doris type of each expression, and which columns of a subquery belong to the query around it.

`annotate` goes through a statement once, before anything is rewritten, and leaves in the ``meta`` of its
nodes ``doris_type`` where the type is known, and for columns ``outer``: how many queries further out its
table stands. A type that is not known is left out, and what needs it is refused later. Sources: "Type
Conversion", "DECIMAL" and "Subquery" in Doris' manual.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.sql.functions import AGGREGATES, PREFIX
from dbint.emulators.doris.tables.types import INTEGERS, DorisType

Columns = Mapping[str, DorisType | None]

DOUBLE, BIGINT, INT = DorisType("DOUBLE"), DorisType("BIGINT"), DorisType("INT")
BOOLEAN, STRING, DATE = DorisType("BOOLEAN"), DorisType("STRING"), DorisType("DATE")
_FLOATS = ("FLOAT", "DOUBLE")
_DIGITS = {"BOOLEAN": 1, "TINYINT": 3, "SMALLINT": 5, "INT": 10, "BIGINT": 20, "LARGEINT": 38}
_MAX_DIGITS, _OVERFLOW_SCALE, _DIVISION_DIGITS = 38, 6, 4
_PREDICATES = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.And, exp.Or, exp.Not,
    exp.Xor, exp.Is, exp.In, exp.Between, exp.Like, exp.RegexpLike, exp.Exists, exp.Boolean,
    exp.Escape,
)  # fmt: skip


def _all_of(kind: DorisType, names: str) -> dict[str, DorisType]:
    return dict.fromkeys(names.split(), kind)


_OF_ITS_ARGUMENT = (
    *("min", "max", "any", "any_value", "first_value", "last_value", "lag", "lead", "nth_value"),
    *("nullif", "max_by", "min_by", "abs"),
)
_COMMON = {"coalesce": 0, "ifnull": 0, "nvl": 0, "greatest": 0, "least": 0, "if": 1}  # from which argument on
_FIXED: dict[str, DorisType] = {
    **_all_of(
        BIGINT,
        """
        count row_number rank dense_rank ntile microseconds_diff milliseconds_diff
        seconds_diff minutes_diff hours_diff days_diff weeks_diff months_diff quarters_diff
        years_diff timestampdiff bit_shift_left bit_shift_right array_size cardinality
        """,
    ),
    **_all_of(
        INT,
        """
        length char_length character_length bit_length ascii instr locate find_in_set field
        datediff dayofyear year quarter month week day dayofmonth hour minute second
        microsecond dayofweek weekday weekofyear yearweek json_length sign
        """,
    ),
    **_all_of(
        DOUBLE,
        """
        stddev stddev_pop stddev_samp variance var_pop variance_pop var_samp variance_samp
        corr covar covar_samp median percentile percent_rank cume_dist acos asin atan atan2
        cos cot degrees radians e exp ln log log2 log10 pi pow power rand random sin sqrt
        tan
        """,
    ),
    **_all_of(
        STRING,
        """
        concat concat_ws lower lcase upper ucase left strleft right strright lpad rpad trim
        ltrim rtrim md5 sha sha1 sha2 repeat replace reverse space substr substring mid
        split_part initcap hex uuid group_concat date_format from_unixtime dayname monthname
        regexp_extract regexp_replace json_extract_string json_unquote get_json_string char
        json_type array_join
        """,
    ),
    **_all_of(
        DATE,
        """
        date to_date last_day makedate curdate current_date
        """,
    ),
    **_all_of(
        BOOLEAN,
        """
        isnull starts_with ends_with regexp null_or_empty not_null_or_empty json_contains
        json_exists_path bool_and bool_or array_contains arrays_overlap
        """,
    ),
}


def known(node: exp.Expr) -> DorisType | None:
    """The type that `annotate` has found."""
    kind: DorisType | None = node.meta.get("doris_type")
    return kind


@dataclass(slots=True)
class _Query:
    """A query whose expressions are looked at: what it reads from, and the query around it."""

    sources: list[tuple[str, Columns | None]] = field(default_factory=list)
    around: "_Query | None" = None
    aliases: dict[str, DorisType | None] = field(default_factory=dict)

    def find(self, table: str, name: str) -> tuple[bool, DorisType | None]:
        """Whether the column is one of this query's sources, and its type."""
        unknown = False
        for alias, columns in self.sources:
            if table and alias != table:
                continue
            if columns is None:
                unknown = True
            elif name in columns:
                return True, columns[name]
        return unknown, None


class _Annotator:
    def __init__(
        self, columns_of: Callable[[exp.Table], Columns | None], cast_type: Callable[[exp.Cast], DorisType]
    ):
        self._columns_of = columns_of
        self._cast_type = cast_type

    def query(
        self, node: exp.Expr, ctes: dict[str, Columns | None], around: _Query | None
    ) -> dict[str, DorisType | None]:
        """Look at a query; gives its columns."""
        ctes = dict(ctes)
        for cte in (node.args.get("with_") or exp.With()).expressions:
            ctes[cte.alias.lower()] = _renamed(cte, self.query(cte.this, ctes, None))
        if isinstance(node, exp.Subquery):
            return self.query(node.this, ctes, around)
        if isinstance(node, exp.SetOperation):
            return self._combined(node, ctes, around)
        own = _Query(around=around)
        self._sources(node, own, ctes)
        columns: dict[str, DorisType | None] = {}
        for projection in node.expressions:
            self.expression(projection, own, ctes)
            if projection.is_star:
                columns.update(_starred(projection, own))
                continue
            columns[projection.alias_or_name.lower()] = known(projection)
            if isinstance(projection, exp.Alias):
                own.aliases[projection.alias.lower()] = known(projection)
        for name, part in node.args.items():
            if name not in ("expressions", "from_", "joins", "with_", "hint"):
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, exp.Expr):
                        self.expression(one, own, ctes)
        return columns

    def _combined(
        self, node: exp.SetOperation, ctes: dict[str, Columns | None], around: _Query | None
    ) -> dict[str, DorisType | None]:
        left = self.query(node.this, ctes, around)
        right = self.query(node.expression, ctes, around)
        if len(left) == len(right):
            pairs = zip(left.items(), right.values(), strict=True)
            left = {name: common([one, other]) for (name, one), other in pairs}
        own = _Query([("", left)], around)
        for name in ("order", "limit", "offset"):
            if isinstance(node.args.get(name), exp.Expr):
                self.expression(node.args[name], own, ctes)
        return left

    def _sources(self, node: exp.Expr, own: _Query, ctes: dict[str, Columns | None]) -> None:
        joins = list(node.args.get("joins") or ())
        first = node.args.get("from_")
        pending = [first.this] if first is not None else []
        pending += [join.this for join in joins]
        conditions = list(joins)
        while pending:
            source = pending.pop(0)
            nested = source.args.get("joins") or ()
            pending += [join.this for join in nested]
            conditions += nested
            alias = source.alias_or_name.lower()
            if isinstance(source, exp.Table):
                cte = ctes.get(source.name.lower(), _MISSING) if not source.db else _MISSING
                own.sources.append((alias, self._columns_of(source) if cte is _MISSING else cte))  # type: ignore[arg-type]
            elif isinstance(source, exp.Subquery):
                own.sources.append((alias, _renamed(source, self.query(source.this, ctes, own.around))))
            elif isinstance(source, exp.Paren):
                pending.append(source.this)
            else:
                own.sources.append((alias, None))
        for join in conditions:
            for name in ("on", "using"):
                part = join.args.get(name)
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, exp.Expr):
                        self.expression(one, own, ctes)

    def expression(self, root: exp.Expr, own: _Query, ctes: dict[str, Columns | None]) -> None:
        """Look at an expression, from its leaves up."""

        def inner(node: exp.Expr) -> bool:
            return isinstance(node, exp.Query)

        for node in reversed(list(root.walk(bfs=False, prune=inner))):
            if inner(node):
                columns = self.query(node, ctes, own)
                if len(columns) == 1:
                    _set(node, next(iter(columns.values())))
                refuse_correlation(node)
            elif isinstance(node, exp.Column):
                self._column(node, own)
            elif isinstance(node, exp.Cast):
                if not node.to.is_type("binary"):
                    _set(node, self._cast_type(node))
            else:
                _set(node, type_of(node))

    def _column(self, node: exp.Column, own: _Query) -> None:
        table, name = node.table.lower(), node.name.lower()
        query: _Query | None = own
        level = 0
        while query is not None:
            found, kind = query.find(table, name)
            if not found and level == 0 and not table and name in query.aliases:
                found, kind = True, query.aliases[name]
            if found:
                node.meta["outer"] = level
                _set(node, kind)
                return
            query, level = query.around, level + 1


_MISSING = object()


def annotate(
    tree: exp.Expr,
    columns_of: Callable[[exp.Table], Columns | None],
    cast_type: Callable[[exp.Cast], DorisType],
) -> None:
    """Find the types in a query. Raises DorisError for a correlated subquery that Doris does not support."""
    _Annotator(columns_of, cast_type).query(tree, {}, None)


def annotate_expression(tree: exp.Expr, columns: Columns, cast_type: Callable[[exp.Cast], DorisType]) -> None:
    """Find the types in one expression over the given columns."""
    _Annotator(lambda _table: None, cast_type).expression(tree, _Query([("", columns)]), {})


def _set(node: exp.Expr, kind: DorisType | None) -> None:
    if kind is not None:
        node.meta["doris_type"] = kind


def _renamed(source: exp.Expr, columns: dict[str, DorisType | None]) -> Columns:
    alias = source.args.get("alias")
    names = (
        [c.name.lower() for c in alias.args.get("columns") or ()] if isinstance(alias, exp.TableAlias) else []
    )
    if len(names) == len(columns):
        return dict(zip(names, columns.values(), strict=True))
    return columns


def _starred(projection: exp.Expr, own: _Query) -> dict[str, DorisType | None]:
    table = projection.table.lower() if isinstance(projection, exp.Column) else ""
    found: dict[str, DorisType | None] = {}
    for alias, columns in own.sources:
        if columns is not None and (not table or alias == table):
            found.update(columns)
    return found


# -- the rules


def type_of(node: exp.Expr) -> DorisType | None:
    """The type of an expression whose parts are annotated."""
    if isinstance(node, _PREDICATES):
        return BOOLEAN
    if isinstance(
        node, exp.Paren | exp.Neg | exp.Alias | exp.Distinct | exp.Window | exp.Order | exp.Ordered
    ):
        inner = node.expressions[0] if isinstance(node, exp.Distinct) and node.expressions else node.this
        return known(inner) if isinstance(inner, exp.Expr) else None
    if isinstance(node, exp.Literal):
        return None if node.is_string else literal_type(node.name)
    if isinstance(node, exp.Case):
        branches = [branch.args["true"] for branch in node.args["ifs"]]
        return common_of([*branches, *([node.args["default"]] if node.args.get("default") else [])])
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div | exp.IntDiv | exp.Mod):
        return arithmetic(node)
    if isinstance(node, exp.Anonymous):
        return _call(node)
    return None


def literal_type(text: str) -> DorisType:
    """The type of a number as written."""
    if "e" in text.lower():
        return DOUBLE
    if "." in text:
        whole, _, fraction = text.partition(".")
        digits = len(whole.lstrip("0")) + len(fraction)
        return DorisType("DECIMAL", (max(digits, 1), len(fraction))) if digits <= _MAX_DIGITS else DOUBLE
    value = int(text)
    return DorisType(
        next((n for n in ("TINYINT", "SMALLINT", "INT", "BIGINT") if value <= INTEGERS[n][1]), "LARGEINT")
    )


def as_decimal(kind: DorisType | None) -> tuple[int, int] | None:
    """Precision and scale that a number has among DECIMALs; None for what is none, or a DOUBLE."""
    if kind is None:
        return None
    if kind.name == "DECIMAL":
        return kind.args[0], kind.args[1]
    return (_DIGITS[kind.name], 0) if kind.name in _DIGITS else None


def arithmetic(node: exp.Expr) -> DorisType | None:
    """``+ - * / DIV %``: "Arithmetic Operations" of Doris' page on DECIMAL."""
    operands = [node.this, node.args["expression"]]
    if any(isinstance(operand, exp.Interval) for operand in operands):
        return None  # said by what shifts the date
    kinds = [known(operand) for operand in operands]
    texts = [isinstance(o, exp.Literal) and o.is_string for o in operands]
    names = [kind.name if kind else "" for kind in kinds]
    if any(n in _FLOATS for n in names) or any(texts) or any(k is not None and k.is_string for k in kinds):
        return DOUBLE
    numbers = [as_decimal(kind) for kind in kinds]
    if "DECIMAL" not in names:
        if any(number is None for number in numbers):
            return DOUBLE if isinstance(node, exp.Div) and "" not in names else None
        if isinstance(node, exp.Div):
            return DOUBLE
        return DorisType("LARGEINT") if "LARGEINT" in names else BIGINT
    if numbers[0] is None or numbers[1] is None:
        return None
    (p1, s1), (p2, s2) = numbers[0], numbers[1]
    if isinstance(node, exp.Div):
        return DorisType("DECIMAL", _quotient(p1, s1, s2))
    if isinstance(node, exp.Mul):
        return DorisType("DECIMAL", _product(p1 + p2, s1 + s2))
    whole, scale = max(p1 - s1, p2 - s2), max(s1, s2)
    precision = whole + scale + (0 if isinstance(node, exp.Mod) else 1)
    if precision > _MAX_DIGITS:
        return DorisType("DECIMAL", (_MAX_DIGITS, max(min(scale, _MAX_DIGITS - whole), 0)))
    return DorisType("DECIMAL", (precision, scale))


def _product(precision: int, scale: int) -> tuple[int, int]:
    if precision <= _MAX_DIGITS:
        return precision, scale
    whole = precision - scale
    if whole < _MAX_DIGITS - _OVERFLOW_SCALE:
        return _MAX_DIGITS, min(scale, _MAX_DIGITS - whole)
    return _MAX_DIGITS, min(scale, _OVERFLOW_SCALE)


def _quotient(p1: int, s1: int, s2: int) -> tuple[int, int]:
    precision = p1 + s2 + _DIVISION_DIGITS
    if precision <= _MAX_DIGITS:
        return precision, s1 + _DIVISION_DIGITS
    whole = precision - s1
    if whole < _MAX_DIGITS - _OVERFLOW_SCALE:
        return _MAX_DIGITS, _MAX_DIGITS - whole + _DIVISION_DIGITS
    return _MAX_DIGITS, min(s1, _OVERFLOW_SCALE) + _DIVISION_DIGITS


def common_of(nodes: Iterable[exp.Expr]) -> DorisType | None:
    """The type of a value that is one of several; NULL may be any."""
    kinds: list[DorisType | None] = []
    for node in nodes:
        if isinstance(node, exp.Null):
            continue
        kinds.append(STRING if isinstance(node, exp.Literal) and node.is_string else known(node))
    return common(kinds)


def common(kinds: list[DorisType | None]) -> DorisType | None:
    """The type that values of these types have together, where that is certain."""
    first = kinds[0] if kinds else None
    if first is None or any(kind is None for kind in kinds):
        return None
    found = [kind for kind in kinds if kind is not None]
    if all(kind == first for kind in found):
        return first
    names = {kind.name for kind in found}
    if all(kind.is_string for kind in found):
        return STRING
    if names <= {*INTEGERS, "DECIMAL"}:
        if "DECIMAL" not in names:
            return DorisType(max(names, key=list(INTEGERS).index))
        numbers = [as_decimal(kind) or (0, 0) for kind in found]
        scale = max(s for _, s in numbers)
        whole = max(p - s for p, s in numbers)
        return DorisType("DECIMAL", (whole + scale, scale)) if whole + scale <= _MAX_DIGITS else None
    if names <= {*INTEGERS, "DECIMAL", *_FLOATS}:
        return DOUBLE
    if names == {"DATETIME"}:
        return DorisType("DATETIME", (max(kind.args[0] for kind in found),))
    if names == {"DATE", "DATETIME"}:
        return next(kind for kind in found if kind.name == "DATETIME")
    return None


def _call(node: exp.Anonymous) -> DorisType | None:
    name = node.name.removeprefix(PREFIX).lower()
    arguments = node.expressions
    if name in _FIXED:
        return _FIXED[name]
    if name in _COMMON:
        return common_of(arguments[_COMMON[name] :])
    first = known(arguments[0]) if arguments else None
    if name in _OF_ITS_ARGUMENT or first is None:
        return first if name in _OF_ITS_ARGUMENT else None
    if name == "element_at":
        return first.item
    if name == "sum":
        if first.name == "DECIMAL":
            return DorisType("DECIMAL", (_MAX_DIGITS, first.args[1]))
        return (
            DOUBLE
            if first.name in _FLOATS or first.is_string
            else first
            if first.name == "LARGEINT"
            else BIGINT
        )
    if name == "avg":
        if first.name == "DECIMAL":
            return DorisType("DECIMAL", (_MAX_DIGITS, max(first.args[1], 4)))
        return DOUBLE
    return None


# -- what Doris does not support: "Subquery" in its manual, "Limitations of Correlated Subqueries"


def refuse_correlation(query: exp.Expr) -> None:
    """Raise DorisError for a correlated subquery of an expression that Doris does not support."""
    body: exp.Expr = query
    while isinstance(body, exp.Subquery):
        body = body.this
    outer = [c for c in _own_columns(body) if c.meta.get("outer", 0) > 0]
    if not outer:
        return
    further = next((c for c in outer if c.meta["outer"] > 1), None)
    if further is not None:
        raise DorisError(f"Unknown column '{further.name}' in 'table list' in FILTER clause")
    parent = query.parent
    limit, offset = body.args.get("limit"), body.args.get("offset")
    skips = offset is not None and offset.expression.name != "0"
    if isinstance(body, exp.SetOperation):
        raise DorisError("Unsupported correlated subquery with set operation")
    if isinstance(parent, exp.Exists):
        if skips:
            raise DorisError("Unsupported correlated subquery with a LIMIT clause with offset > 0")
        return
    groups = body.args.get("group") is not None
    aggregates = any(
        _is_aggregate(call) for call in body.find_all(exp.Anonymous) if call.parent_select is body
    )
    if isinstance(parent, exp.In):
        if limit is not None or skips:
            raise DorisError("Unsupported correlated subquery with a LIMIT clause")
        if groups or aggregates:
            raise DorisError("Unsupported correlated subquery with grouping and/or aggregation")
        return
    _refuse_scalar(body, outer, limit, groups=groups, ordered=body.args.get("order") is not None or skips)


def _refuse_scalar(
    body: exp.Expr, outer: list[exp.Column], limit: exp.Expr | None, *, groups: bool, ordered: bool
) -> None:
    if limit is not None and (ordered or limit.expression.name != "1"):
        raise DorisError("limit is not supported in correlated subquery")
    if groups:
        raise DorisError("access outer query's column before agg with group by is not supported")
    if any(window.parent_select is body for window in body.find_all(exp.Window)):
        raise DorisError("access outer query's column before window function is not supported")
    where = body.args.get("where")
    conditions = list(where.this.flatten()) if where is not None and isinstance(where.this, exp.And) else []
    if where is not None and not conditions:
        conditions = [where.this]
    for column in outer:
        if where is None or column.find_ancestor(exp.Where, exp.Join, exp.Select) is not where:
            place = "join" if column.find_ancestor(exp.Join, exp.Select, exp.Where) is not body else "project"
            raise DorisError(f"access outer query's column in {place} is not supported")
    for condition in conditions:
        plain = condition.unnest()
        if not any(column in outer for column in plain.find_all(exp.Column)):
            continue
        sides = (plain.this, plain.expression) if isinstance(plain, exp.EQ | exp.NullSafeEQ) else ()
        if sum(any(c in outer for c in side.find_all(exp.Column)) for side in sides) != 1:
            raise DorisError("scalar subquery's correlatedPredicates's operator must be EQUAL")


def _own_columns(body: exp.Expr) -> list[exp.Column]:
    """The columns of a query and of what it reads from; those of nested subqueries with their distance from
    it.
    """
    found = []
    for column in body.find_all(exp.Column):
        depth, node = 0, column.parent
        while node is not None and node is not body:
            if isinstance(node, exp.Select | exp.SetOperation) and not _is_source(node):
                depth += 1
            node = node.parent
        if column.meta.get("outer", 0) > depth:
            if depth:
                raise DorisError(f"Unknown column '{column.name}' in 'table list' in FILTER clause")
            found.append(column)
    return found


def _is_source(node: exp.Expr) -> bool:
    """Whether a query is a table of another (or a branch of a UNION), not part of an expression."""
    parent = node.parent
    while isinstance(parent, exp.Subquery | exp.Paren):
        parent = parent.parent
    return isinstance(parent, exp.From | exp.Join | exp.SetOperation | exp.CTE)


def _is_aggregate(call: exp.Anonymous) -> bool:
    return call.name.removeprefix(PREFIX).lower() in AGGREGATES and not isinstance(call.parent, exp.Window)
