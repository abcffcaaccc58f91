"""What the catalog knows: databases, tables, views, columns, partitions. Plain data, kept as JSON."""

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from dbint.emulators.doris.errors import UNKNOWN_COLUMN, DorisError
from dbint.emulators.doris.tables.types import TYPE_NAMES, DorisType, make_type

KeyModel = Literal["DUPLICATE", "UNIQUE", "AGGREGATE", "VIEW"]
# COLUMN_KEY of information_schema.columns before release 4.1, by key model.
KEY_MARKS: dict[str, str] = {"DUPLICATE": "DUP", "UNIQUE": "UNI", "AGGREGATE": "AGG", "VIEW": ""}
CURRENT_TIMESTAMP = "CURRENT_TIMESTAMP"
SEQUENCE_COLUMN = "__DORIS_SEQUENCE_COL__"
_SEQUENCE_TYPE = "function_column.sequence_type"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``default`` is text (or CURRENT_TIMESTAMP with ``default_is_expression``), None
    for none; ``aggregation`` says how an AGGREGATE table merges a value.
    """

    name: str
    type: DorisType
    nullable: bool = True
    key: bool = False
    default: str | None = None
    has_default: bool = False
    default_is_expression: bool = False
    auto_increment: int | None = None
    on_update: bool = False
    comment: str = ""
    aggregation: str | None = None

    @property
    def sql(self) -> str:
        """The column's line in SHOW CREATE TABLE."""
        parts = [f"`{self.name}`", self.type.sql]
        if self.aggregation:
            parts.append(self.aggregation)
        parts.append("NULL" if self.nullable else "NOT NULL")
        if self.auto_increment is not None:
            parts.append(f"AUTO_INCREMENT({self.auto_increment})")
        if self.default is not None:
            parts.append(f"DEFAULT {self.default if self.default_is_expression else quoted(self.default)}")
        if self.on_update:
            parts.append(f"ON UPDATE {self.default}")
        if self.comment:
            parts.append(f"COMMENT {quoted(self.comment)}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index: kept for its name and its definition; the emulator answers the same without it."""

    name: str
    columns: tuple[str, ...]
    kind: str = "INVERTED"
    properties: dict[str, str] = field(default_factory=dict)
    comment: str = ""

    @property
    def sql(self) -> str:
        text = f"INDEX {self.name} ({', '.join(f'`{c}`' for c in self.columns)}) USING {self.kind}"
        if self.properties:
            text += (
                f" PROPERTIES({', '.join(f'{quoted(k)} = {quoted(v)}' for k, v in self.properties.items())})"
            )
        return f"{text} COMMENT {single_quoted(self.comment)}" if self.comment else text


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition. RANGE: ``lower`` (None: unbounded) up to, not including, ``upper``. LIST: ``values``.

    ``created`` is when, as text; ``id`` counts within the table.
    """

    name: str
    lower: tuple[str, ...] | None = None
    upper: tuple[str, ...] | None = None
    values: tuple[tuple[str | None, ...], ...] = ()
    id: int = 0
    created: str = ""


@dataclass(frozen=True, slots=True)
class Partitioning:
    """How a table is partitioned: ``kind`` RANGE or LIST; ``auto`` with ``unit`` for AUTO PARTITION."""

    kind: str
    columns: tuple[str, ...]
    partitions: tuple[Partition, ...] = ()
    auto: bool = False
    unit: str = ""

    def find(self, name: str) -> Partition | None:
        """The partition of that name; case does not count, as in Doris."""
        return next((p for p in self.partitions if p.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Table:
    """A table or, with ``query``, a view. ``id`` names a table's data in DuckDB (``data.t<id>``): a rename
    touches the catalog alone.
    """

    id: int
    database: str
    name: str
    columns: tuple[Column, ...]
    model: KeyModel
    distribution: tuple[str, ...]  # the columns of HASH; empty: RANDOM
    buckets: str
    properties: dict[str, str]
    comment: str = ""
    indexes: tuple[Index, ...] = ()
    partitioning: Partitioning | None = None
    created: str = ""
    query: str = ""  # of a view: a SELECT whose tables carry their database
    sources: tuple[str, ...] = ()  # of a view: the query's columns, in the order of the view's

    @property
    def is_view(self) -> bool:
        return self.model == "VIEW"

    @property
    def keys(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.key)

    @property
    def relation(self) -> str:
        """The DuckDB table that holds the rows."""
        return f'"data"."t{self.id}"'

    @property
    def sequence(self) -> str | None:
        """The column that decides which of two rows with the same key is the newer, if the table has one."""
        if self.hidden:
            return SEQUENCE_COLUMN
        name = self.properties.get("function_column.sequence_col")
        return self.column(name).name if name else None

    @property
    def hidden(self) -> tuple[Column, ...]:
        """The columns that no query sees: the one of function_column.sequence_type."""
        text = self.properties.get(_SEQUENCE_TYPE)
        return (Column(SEQUENCE_COLUMN, sequence_type(text)),) if text else ()

    @property
    def stored(self) -> tuple[Column, ...]:
        """All columns that rows have."""
        return self.columns + self.hidden

    @property
    def auto_increment(self) -> Column | None:
        return next((c for c in self.columns if c.auto_increment is not None), None)

    def find(self, name: str) -> Column | None:
        """The column of that name, hidden ones too; case does not count, as in Doris."""
        lower = name.lower()
        return next((c for c in self.stored if c.name.lower() == lower), None)

    def column(self, name: str) -> Column:
        column = self.find(name)
        if column is None:
            raise DorisError(f"Unknown column '{name}' in '{self.name}'", UNKNOWN_COLUMN)
        return column

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_(self, **changes: Any) -> "Table":
        return replace(self, **changes)

    def same_shape(self, other: "Table | None") -> bool:
        """Whether rows that were checked for this table can be written to the other: new partitions and
        comments do not matter.
        """
        return other is not None and self.id == other.id and self.columns == other.columns


def sequence_type(text: str) -> DorisType:
    """The type that function_column.sequence_type names. Raises DorisError for one that there is not."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\d+)\s*\))?\s*", text)
    if match is None or match[1].upper() not in TYPE_NAMES:
        raise DorisError(f"unknown sequence type: {text}")
    return make_type(match[1], (int(match[2]),) if match[2] else ())


def table_from_dict(data: dict[str, Any]) -> Table:
    """The inverse of Table.to_dict, after a round through JSON."""
    data = dict(data)
    data["columns"] = tuple(Column(**{**c, "type": _type(c["type"])}) for c in data["columns"])
    data["indexes"] = tuple(Index(**{**i, "columns": tuple(i["columns"])}) for i in data["indexes"])
    data["distribution"] = tuple(data["distribution"])
    data["sources"] = tuple(data.get("sources", ()))
    if data["partitioning"] is not None:
        partitioning = dict(data["partitioning"])
        partitioning["columns"] = tuple(partitioning["columns"])
        partitioning["partitions"] = tuple(
            Partition(
                p["name"],
                tuple(p["lower"]) if p["lower"] is not None else None,
                tuple(p["upper"]) if p["upper"] is not None else None,
                tuple(tuple(v) for v in p["values"]),
                p.get("id", 0),
                p.get("created", ""),
            )
            for p in partitioning["partitions"]
        )
        data["partitioning"] = Partitioning(**partitioning)
    return Table(**data)


def _type(data: dict[str, Any]) -> DorisType:
    item = data.get("item")
    return DorisType(data["name"], tuple(data["args"]), _type(item) if item is not None else None)


def quoted(text: str) -> str:
    """A string as SHOW CREATE TABLE prints it, in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def single_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """A name quoted for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal for DuckDB."""
    return "'" + text.replace("'", "''") + "'"
