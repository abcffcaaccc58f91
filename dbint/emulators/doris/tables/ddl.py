"""The parser of Doris' data definition statements. sqlglot's is too kind: it takes much that Doris refuses.

A parser here gives a definition as it was written; `definition.py` checks it against the rules of the table
models.
"""

from dataclasses import dataclass, field

from dbint.emulators.doris.errors import NotEmulatedError
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.tables.model import CURRENT_TIMESTAMP, Index
from dbint.emulators.doris.tables.types import TYPE_NAMES, DorisType, array_of, make_type

AGGREGATIONS = frozenset(
    [
        "SUM",
        "MAX",
        "MIN",
        "REPLACE",
        "REPLACE_IF_NOT_NULL",
        "HLL_UNION",
        "BITMAP_UNION",
        "QUANTILE_UNION",
        "GENERIC",
    ]
)
_INDEX_KINDS = ("INVERTED", "BITMAP", "NGRAM_BF", "ANN")


@dataclass(slots=True)
class ColumnSpec:
    """A column as written."""

    name: str
    type: DorisType
    key: bool = False
    aggregation: str | None = None
    nullable: bool = True
    auto_increment: int | None = None
    has_default: bool = False
    default: str | None = None
    default_is_expression: bool = False
    on_update: bool = False
    comment: str = ""


@dataclass(slots=True)
class PartitionItem:
    """One partition as written: FIXED has both bounds, LESS the upper (None: MAXVALUE), IN a list of values,
    STEP stands for many, ``step`` units (none: numbers) wide each.
    """

    name: str
    kind: str
    lower: tuple[str, ...] | None = None
    upper: tuple[str, ...] | None = None
    values: tuple[tuple[str | None, ...], ...] = ()
    step: int = 0
    unit: str = ""
    if_not_exists: bool = False


@dataclass(slots=True)
class PartitionSpec:
    kind: str
    columns: list[str]
    auto: bool
    unit: str
    partitions: list[PartitionItem]


@dataclass(slots=True)
class TableSpec:
    """CREATE TABLE as written."""

    name: tuple[str, ...]
    if_not_exists: bool = False
    columns: list[ColumnSpec] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    engine: str = "OLAP"
    model: str | None = None
    keys: list[str] = field(default_factory=list)
    comment: str = ""
    partition: PartitionSpec | None = None
    distribution: list[str] | None = None  # columns of HASH; [] for RANDOM; None: not given
    buckets: str = "AUTO"
    properties: dict[str, str] = field(default_factory=dict)


def parse_create_table(cursor: Cursor) -> TableSpec:
    """``CREATE TABLE``; the cursor stands behind these two words."""
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    spec = TableSpec(cursor.qualified_name(), if_not_exists)
    if cursor.word() in ("LIKE", "AS", "SELECT"):
        raise NotEmulatedError(f"CREATE TABLE … {cursor.word()}")
    cursor.expect("(")
    while True:
        if cursor.accept("INDEX"):
            spec.indexes.append(parse_index(cursor))
        else:
            spec.columns.append(parse_column(cursor))
        if cursor.accept(")"):
            break
        cursor.expect(",")
    if cursor.accept("ENGINE"):
        cursor.expect("=")
        spec.engine = cursor.identifier()
    if cursor.word() in ("AGGREGATE", "UNIQUE", "DUPLICATE"):
        spec.model = cursor.next().text.upper()
        cursor.expect("KEY")
        spec.keys = cursor.names()
        if cursor.accept("CLUSTER", "BY"):
            raise NotEmulatedError("CLUSTER BY")
    if cursor.accept("COMMENT"):
        spec.comment = cursor.string()
    auto = cursor.accept("AUTO")
    if auto or cursor.word() == "PARTITION":
        cursor.expect("PARTITION", "BY")
        spec.partition = _partition_by(cursor, auto=auto)
    if cursor.accept("DISTRIBUTED", "BY"):
        if cursor.accept("RANDOM"):
            spec.distribution = []
        else:
            cursor.expect("HASH")
            spec.distribution = cursor.names()
        if cursor.accept("BUCKETS"):
            spec.buckets = "AUTO" if cursor.accept("AUTO") else str(cursor.integer())
    if cursor.word() == "ROLLUP":
        raise NotEmulatedError("ROLLUP")
    if cursor.accept("PROPERTIES"):
        spec.properties = cursor.properties()
    cursor.end()
    return spec


def parse_column(cursor: Cursor) -> ColumnSpec:
    """One column definition; its clauses have one order, and another is a syntax error."""
    name = cursor.identifier()
    spec = ColumnSpec(name, parse_type(cursor))
    spec.key = cursor.accept("KEY")
    if cursor.word() in AGGREGATIONS:
        spec.aggregation = cursor.next().text.upper()
    if cursor.word() in ("GENERATED", "AS"):
        raise NotEmulatedError("a generated column")
    if cursor.accept("NOT"):
        cursor.expect("NULL")
        spec.nullable = False
    else:
        cursor.accept("NULL")
    if cursor.accept("AUTO_INCREMENT"):
        spec.auto_increment = 1
        if cursor.accept("("):
            spec.auto_increment = cursor.integer()
            cursor.expect(")")
    if cursor.accept("DEFAULT"):
        spec.has_default = True
        spec.default, spec.default_is_expression = _default(cursor)
    if cursor.accept("ON"):
        cursor.expect("UPDATE")
        _current_timestamp(cursor)
        spec.on_update = True
    if cursor.accept("COMMENT"):
        spec.comment = cursor.string()
    return spec


def parse_type(cursor: Cursor) -> DorisType:
    token = cursor.peek()
    if token is None or token.kind != "word" or token.text.upper() not in TYPE_NAMES:
        cursor.fail(
            "{'ARRAY', 'BIGINT', 'BOOLEAN', 'CHAR', 'DATE', 'DATETIME', 'DECIMAL', 'DOUBLE', 'INT', ...}"
        )
    name = cursor.next().text
    args: list[int] = []
    if name.upper() == "ARRAY":
        cursor.expect("<")
        item = parse_type(cursor)
        cursor.expect(">")
        return array_of(item)
    if cursor.word() == "<":
        make_type(name, ())
        cursor.fail("{')', ','}")
    if cursor.accept("("):
        if name.upper() in ("VARCHAR", "CHAR") and cursor.accept("*"):
            cursor.expect(")")
            return make_type(name, ())
        args.append(cursor.integer())
        if cursor.accept(","):
            args.append(cursor.integer())
        cursor.expect(")")
    return make_type(name, tuple(args))


def _default(cursor: Cursor) -> tuple[str | None, bool]:
    """The value of DEFAULT: (text, is an expression)."""
    if cursor.accept("NULL"):
        return None, False
    if cursor.word() == CURRENT_TIMESTAMP:
        return _current_timestamp(cursor), True
    if cursor.word() in ("CURRENT_DATE", "PI", "E", "BITMAP_EMPTY"):
        raise NotEmulatedError(f"DEFAULT {cursor.word()}")
    sign = "-" if cursor.accept("-") else ""
    token = cursor.peek()
    if token is None or token.kind not in ("string", "number") or (sign and token.kind == "string"):
        cursor.fail(
            "{'BITMAP_EMPTY', 'CURRENT_DATE', 'CURRENT_TIMESTAMP', 'E', 'NULL', 'PI', STRING_LITERAL, ...}"
        )
    cursor.next()
    return sign + token.value, False


def _current_timestamp(cursor: Cursor) -> str:
    cursor.expect(CURRENT_TIMESTAMP)
    if not cursor.accept("("):
        return CURRENT_TIMESTAMP
    scale = cursor.integer()
    cursor.expect(")")
    return f"{CURRENT_TIMESTAMP}({scale})"


def parse_index(cursor: Cursor, name: str | None = None) -> Index:
    """An index of CREATE TABLE, behind the word INDEX; or of CREATE INDEX, behind its table, with the name
    given.
    """
    if name is None:
        cursor.accept("IF", "NOT", "EXISTS")
        name = cursor.identifier()
    columns = tuple(cursor.names())
    kind = "INVERTED"
    if cursor.accept("USING"):
        kind = cursor.word()
        if kind not in _INDEX_KINDS:
            cursor.fail("{'ANN', 'BITMAP', 'INVERTED', 'NGRAM_BF'}")
        cursor.next()
    properties = cursor.properties() if cursor.accept("PROPERTIES") else {}
    comment = cursor.string() if cursor.accept("COMMENT") else ""
    return Index(name, columns, kind, properties, comment)


def _partition_by(cursor: Cursor, *, auto: bool) -> PartitionSpec:
    kind = cursor.word()
    if kind in ("RANGE", "LIST"):
        cursor.next()
    elif kind == "(":
        kind = "RANGE"
    else:
        cursor.fail("{'(', 'LIST', 'RANGE'}")
    unit = ""
    if auto and cursor.word(1) == "DATE_TRUNC":
        cursor.expect("(", "DATE_TRUNC", "(")
        columns = [cursor.identifier()]
        cursor.expect(",")
        unit = cursor.string().lower()
        cursor.expect(")", ")")
    else:
        columns = cursor.names()
    partitions: list[PartitionItem] = []
    if cursor.accept("(") and not cursor.accept(")"):
        while True:
            partitions.append(parse_partition(cursor, kind))
            if cursor.accept(")"):
                break
            cursor.expect(",")
    return PartitionSpec(kind, columns, auto, unit, partitions)


def parse_partition(cursor: Cursor, kind: str) -> PartitionItem:
    """``PARTITION p VALUES …``, or ``FROM … TO … INTERVAL …``, of CREATE TABLE and ALTER TABLE ADD."""
    if cursor.accept("FROM"):
        return _partition_batch(cursor)
    cursor.expect("PARTITION")
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.identifier()
    if kind == "LIST" and cursor.word() != "VALUES":
        raise NotEmulatedError("a partition without VALUES")
    cursor.expect("VALUES")
    if kind == "LIST":
        cursor.expect("IN", "(")
        values = [_list_value(cursor)]
        while cursor.accept(","):
            values.append(_list_value(cursor))
        cursor.expect(")")
        return PartitionItem(name, "IN", values=tuple(values), if_not_exists=if_not_exists)
    if cursor.accept("["):
        lower = _bound(cursor)
        cursor.expect(",")
        upper = _bound(cursor)
        cursor.expect(")")
        return PartitionItem(name, "FIXED", lower, upper, if_not_exists=if_not_exists)
    cursor.expect("LESS", "THAN")
    upper = None if cursor.accept("MAXVALUE") else _bound(cursor)
    return PartitionItem(name, "LESS", None, upper, if_not_exists=if_not_exists)


def _partition_batch(cursor: Cursor) -> PartitionItem:
    lower = _bound(cursor)
    cursor.expect("TO")
    upper = _bound(cursor)
    cursor.expect("INTERVAL")
    step = cursor.integer()
    unit = "" if cursor.word() in (")", ",", "") else cursor.next("unit").text.upper()
    return PartitionItem("", "STEP", lower, upper, step=step, unit=unit)


def _bound(cursor: Cursor) -> tuple[str, ...] | None:
    """A tuple of values; None where it is MAXVALUE alone."""
    cursor.expect("(")
    values: list[str] = []
    while True:
        if cursor.accept("MAXVALUE"):
            cursor.expect(")")
            return tuple(values) or None
        values.append(_value(cursor) or "")
        if cursor.accept(")"):
            return tuple(values)
        cursor.expect(",")


def _list_value(cursor: Cursor) -> tuple[str | None, ...]:
    if not cursor.accept("("):
        return (_value(cursor),)
    values = [_value(cursor)]
    while cursor.accept(","):
        values.append(_value(cursor))
    cursor.expect(")")
    return tuple(values)


def _value(cursor: Cursor) -> str | None:
    if cursor.accept("NULL"):
        return None
    sign = "-" if cursor.accept("-") else ""
    token = cursor.next("constant")
    if token.kind not in ("string", "number"):
        cursor.index -= 1
        cursor.fail("{STRING_LITERAL, INTEGER_VALUE}")
    return sign + token.value
