"""Reading Doris' ``SHOW CREATE TABLE``: the one place where the server tells everything about a table.

``information_schema`` has no keys before 4.1 and calls a boolean ``tinyint(1)``; the statement is right in
every release.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_AGGREGATES = frozenset(
    [
        "SUM",
        "MIN",
        "MAX",
        "REPLACE",
        "REPLACE_IF_NOT_NULL",
        "HLL_UNION",
        "BITMAP_UNION",
        "QUANTILE_UNION",
        "GENERIC",
    ]
)
_TOKEN = re.compile(
    r"""\s+
      | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
      | (?P<name>`(?:[^`]|``)*`)
      | (?P<word>[\w$.]+)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class ColumnDefinition:
    """A column as the server shows it; ``type`` is lower case, ``default`` None when there is none."""

    name: str
    type: str
    nullable: bool = True
    default: str | None = None
    comment: str = ""
    auto_increment: bool = False
    aggregate: str = ""


@dataclass(slots=True)
class IndexDefinition:
    """A secondary index."""

    name: str
    columns: list[str]
    type: str
    properties: dict[str, str] = field(default_factory=dict)
    comment: str = ""


@dataclass(slots=True)
class TableDefinition:
    """A table as the server shows it. ``distributed_by`` is empty for RANDOM."""

    columns: list[ColumnDefinition] = field(default_factory=list)
    indexes: list[IndexDefinition] = field(default_factory=list)
    key_model: str = "DUPLICATE"
    key: list[str] = field(default_factory=list)
    comment: str = ""
    partition_by: str = ""
    distributed_by: list[str] = field(default_factory=list)
    buckets: int | str = "AUTO"
    properties: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> ColumnDefinition | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def partition_columns(self) -> list[str]:
        """The columns that partition the table."""
        wanted = {name.lower() for name in partition_shape(self.partition_by).columns}
        return [column.name for column in self.columns if column.name.lower() in wanted]


class PartitionShape(NamedTuple):
    """How a table is partitioned: ``kind`` is RANGE, LIST, AUTO RANGE, AUTO LIST or ""; ``unit`` is
    date_trunc's.
    """

    kind: str = ""
    columns: tuple[str, ...] = ()
    unit: str = ""

    def __bool__(self) -> bool:
        return bool(self.kind)

    def __str__(self) -> str:
        text = f"{self.kind}({', '.join(self.columns)})"
        return f"{text} by {self.unit}" if self.unit else text


_SHAPE = re.compile(
    r"""\s*(?:(AUTO)\s+)?(?:PARTITION\s+BY\s+)?(RANGE|LIST)\s*\(\s*
    (?:date_trunc\s*\(\s*`?(\w+)`?\s*,\s*['"](\w+)['"]\s*\)|([^()]+))\s*\)""",
    re.IGNORECASE | re.VERBOSE,
)


def partition_shape(text: str) -> PartitionShape:
    """The shape of what stands behind PARTITION BY (or with it); empty for a table without partitions."""
    match = _SHAPE.match(text)
    if match is None:
        return PartitionShape()
    automatic, kind, column, unit, listed = match.groups()
    # AUTO can be left out where there is a date_trunc.
    prefix = "AUTO " if automatic or column else ""
    columns = [column] if column else [name.strip(" \n`") for name in listed.split(",")]
    return PartitionShape(f"{prefix}{kind.upper()}", tuple(columns), (unit or "").lower())


class StatementReader:
    """The tokens of a statement of Doris, read one after the other."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = [m for m in _TOKEN.finditer(sql) if m.lastgroup]
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        """A token further on, empty behind the end."""
        at = self.at + ahead
        return self.tokens[at][0] if at < len(self.tokens) else ""

    def take(self) -> str:
        """The next token, a name or text without its quotes. Raises IndexError at the end."""
        token = self.tokens[self.at]
        self.at += 1
        if token.lastgroup in ("string", "name"):
            quote = token[0][0]
            inner = token[0][1:-1].replace(quote * 2, quote)
            return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if token.lastgroup == "string" else inner
        return token[0]

    def eat(self, *words: str) -> bool:
        """Pass these words, if they come next."""
        if all(self.peek(n).upper() == word for n, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def group(self) -> str:
        """The text of a balanced group of brackets that starts here. A range `[(a), (b))` is balanced too."""
        start, depth = self.tokens[self.at].start(), 0
        while self.at < len(self.tokens):
            mark = self.tokens[self.at]
            depth += {"(": 1, "[": 1, "<": 1, ")": -1, "]": -1, ">": -1}.get(mark[0], 0)
            self.at += 1
            if depth == 0:
                return self.sql[start : mark.end()]
        raise ValueError("a bracket is not closed")

    def names(self) -> list[str]:
        """``(a, b, …)``."""
        if not self.eat("("):
            raise ValueError("a list of columns is missing")
        found = []
        while not self.eat(")"):
            found.append(self.take())
            self.eat(",")
        return found

    def pairs(self) -> dict[str, str]:
        """``(name = value, …)``."""
        if not self.eat("("):
            raise ValueError("a list of properties is missing")
        found: dict[str, str] = {}
        while not self.eat(")"):
            name = self.take()
            self.eat("=")
            found[name] = self.take()
            self.eat(",")
        return found


def parse_create_table(sql: str) -> TableDefinition:
    """``sql`` as a TableDefinition. Raises ValueError for what is not Doris' CREATE TABLE."""
    reader = StatementReader(sql)
    try:
        return _table(reader)
    except (IndexError, ValueError) as error:
        raise ValueError(f"not a CREATE TABLE of Doris ({error}): {sql[:200]}") from None


def _table(reader: StatementReader) -> TableDefinition:
    table = TableDefinition()
    if not reader.eat("CREATE"):
        raise ValueError("CREATE is missing")
    while not reader.eat("TABLE"):
        if reader.eat("VIEW"):
            raise ValueError("it is a view")
        reader.take()
    while reader.peek() != "(":
        reader.take()
    reader.take()
    while True:
        if reader.peek() == "INDEX" and reader.peek(2) == "(":
            table.indexes.append(_index(reader))
        else:
            table.columns.append(_column(reader))
        if reader.eat(")"):
            break
        if not reader.eat(","):
            raise ValueError(f"unexpected {reader.peek()!r}")
    while reader.peek():
        _clause(reader, table)
    return table


def _clause(reader: StatementReader, table: TableDefinition) -> None:
    if reader.peek().upper() in ("UNIQUE", "DUPLICATE", "AGGREGATE") and reader.peek(1).upper() == "KEY":
        table.key_model = reader.take().upper()
        reader.take()
        table.key = reader.names()
    elif reader.eat("COMMENT"):
        table.comment = reader.take()
    elif reader.eat("AUTO", "PARTITION", "BY") or reader.eat("PARTITION", "BY"):
        automatic = "AUTO " if reader.peek(-3).upper() == "AUTO" else ""
        kind = reader.take()
        table.partition_by = f"{automatic}{kind}{reader.group()} {reader.group()}"
    elif reader.eat("DISTRIBUTED", "BY"):
        if not reader.eat("RANDOM"):
            reader.take()
            table.distributed_by = reader.names()
        if reader.eat("BUCKETS"):
            buckets = reader.take()
            table.buckets = int(buckets) if buckets.isdigit() else "AUTO"
    elif reader.eat("PROPERTIES"):
        table.properties.update(reader.pairs())
    else:
        reader.take()


def _index(reader: StatementReader) -> IndexDefinition:
    reader.take()
    index = IndexDefinition(reader.take(), reader.names(), "")
    while reader.peek() not in (",", ")"):
        if reader.eat("USING"):
            index.type = reader.take().upper()
        elif reader.eat("PROPERTIES"):
            index.properties = reader.pairs()
        elif reader.eat("COMMENT"):
            index.comment = reader.take()
        elif reader.peek() == "(":
            reader.group()
        else:
            reader.take()
    return index


def _column(reader: StatementReader) -> ColumnDefinition:
    column = ColumnDefinition(reader.take(), reader.take().lower())
    if reader.peek() in ("(", "<"):
        column.type += reader.group().lower()
    if reader.peek().upper() in _AGGREGATES:
        column.aggregate = reader.take().upper()
    while reader.peek() not in (",", ")"):
        if reader.eat("NOT", "NULL"):
            column.nullable = False
        elif reader.eat("DEFAULT"):
            if reader.eat("NULL"):
                continue
            sign = "-" if reader.eat("-") else ""
            column.default = sign + reader.take()
            if reader.peek() == "(":
                column.default += reader.group()
        elif reader.eat("COMMENT"):
            column.comment = reader.take()
        elif reader.eat("AUTO_INCREMENT"):
            column.auto_increment = True
            if reader.peek() == "(":
                reader.group()
        elif reader.peek() == "(":
            reader.group()
        else:
            reader.take()
    return column
