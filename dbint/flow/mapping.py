"""How a table of PostgreSQL becomes one of Doris, and how its messages become rows there.

A :class:`TableMapping` is made from what the catalogue says (:mod:`dbint.flow.source`); it writes the table's
DDL, the options of a Stream Load of its messages, and the same for Routine Load. What rests on what Doris
does: the comments say on which page of its manual.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from dbint.doris.names import quote_name, quote_text
from dbint.errors import ConfigurationError
from dbint.flow.load_options import LoadOptions

SEQUENCE = "dbint_sequence"
"""The column by which Doris knows the newest state of a row: LARGEINT, hi << 64 | lo of source.sequence."""
PLACEHOLDER = "__debezium_unavailable_value"
"""What stands for a value that PostgreSQL did not send, because the change left it as it was (TOAST)."""

Conversion = Literal["", "date", "time", "bare_uuid", "date_list"]
"""What a value needs before Doris can read it; "" for what its JSON reader takes as it comes."""

# JSON paths of what every message has.
_OP, _SEQUENCE_TEXT = "dbint_op", "dbint_source_sequence"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A column: ``source`` and ``source_type`` in PostgreSQL, ``name`` and ``type`` in Doris."""

    source: str
    source_type: str
    name: str
    type: str
    conversion: Conversion = ""
    toast: bool = False
    """Whether PostgreSQL may leave the value out of a change that did not touch it."""

    def value(self, expression: str) -> str:
        """``expression``, a text as the messages have it, as one that Doris can read."""
        if self.conversion in ("date", "time", "date_list"):
            return f"REPLACE({expression}, 'Z', '')"
        if self.conversion == "bare_uuid":
            return f"REPLACE({expression}, '-', '')"
        return expression


@dataclass(frozen=True, slots=True)
class RoutineLoadClauses:
    """The same load, as clauses of CREATE ROUTINE LOAD.

    ``columns`` is what stands between the brackets of COLUMNS(…), ``properties`` goes into PROPERTIES. The
    merge type is MERGE; ``preceding_filter`` leaves out messages that are no rows (truncate, logical
    messages).
    """

    columns: str
    preceding_filter: str
    delete_on: str
    properties: dict[str, str]

    def sql(self) -> str:
        """The clauses between ``ON table`` and PROPERTIES, with ``WITH MERGE`` in front."""
        return (
            f"WITH MERGE\nCOLUMNS({self.columns}),\nPRECEDING FILTER {self.preceding_filter},\n"
            f"DELETE ON {self.delete_on}"
        )


@dataclass(frozen=True, slots=True)
class TableMapping:
    """One table. ``source`` is ``schema.table``, ``key`` names Doris columns, in order, ``columns`` has the
    key's first. ``partition_by`` is what follows PARTITION BY in Doris (with AUTO in front), or empty.
    """

    source: str
    topic: str
    target_database: str
    target_table: str
    columns: tuple[ColumnMapping, ...]
    key: tuple[str, ...]
    partition_by: str = ""
    distributed_by: tuple[str, ...] = ()
    buckets: int | Literal["AUTO"] = "AUTO"
    properties: dict[str, str] = field(default_factory=dict)
    comment: str = ""

    @property
    def target(self) -> str:
        """The quoted name, with the database."""
        return f"{quote_name(self.target_database)}.{quote_name(self.target_table)}"

    @property
    def values(self) -> tuple[ColumnMapping, ...]:
        """The columns that are not in the key."""
        return tuple(column for column in self.columns if column.name not in self.key)

    def column(self, source: str) -> ColumnMapping:
        """The column of that name in PostgreSQL. Raises KeyError."""
        for column in self.columns:
            if column.source == source:
                return column
        raise KeyError(source)

    # -- the table

    def create_table(self, *, if_not_exists: bool = True) -> str:
        """CREATE TABLE: a UNIQUE KEY table, merge-on-write, whose newest row is told by the sequence.

        Columns outside the key are nullable whatever they are in PostgreSQL: a delete has no values for them.
        """
        lines = [self.column_definition(column) for column in self.columns]
        lines.append(f"{quote_name(SEQUENCE)} LARGEINT NOT NULL")
        key = ", ".join(map(quote_name, self.key))
        hashed = ", ".join(map(quote_name, self.distributed_by or self.key))
        clauses = [
            f"CREATE TABLE {'IF NOT EXISTS ' if if_not_exists else ''}{self.target} (",
            ",\n".join(f"    {line}" for line in lines),
            ")",
            f"UNIQUE KEY({key})",
        ]
        if self.comment:
            clauses.append(f"COMMENT {quote_text(self.comment)}")
        if self.partition_by:
            automatic = self.partition_by[:5].upper() == "AUTO "
            rest = self.partition_by[5:] if automatic else self.partition_by
            clauses.append(f"{'AUTO ' if automatic else ''}PARTITION BY {rest}")
        clauses.append(f"DISTRIBUTED BY HASH({hashed}) BUCKETS {self.buckets}")
        properties = ",\n".join(
            f"    {quote_text(name)} = {quote_text(value)}" for name, value in self.all_properties().items()
        )
        clauses.append(f"PROPERTIES (\n{properties}\n)")
        return "\n".join(clauses)

    def all_properties(self) -> dict[str, str]:
        """The table's properties with those that the flow rests on."""
        return {
            "enable_unique_key_merge_on_write": "true",
            "function_column.sequence_col": SEQUENCE,
            **self.properties,
        }

    def column_definition(self, column: ColumnMapping) -> str:
        """The column as CREATE TABLE and ALTER TABLE have it."""
        nullable = "NOT NULL" if column.name in self.key else "NULL"
        return f"{quote_name(column.name)} {column.type} {nullable}"

    # -- its loads

    def load_options(self) -> LoadOptions:
        """For a Stream Load of messages, one a line: any of op c, u, r and d, with all values there.

        The table names its sequence column (``function_column.sequence_col``), so a load need not.
        """
        names, paths, derived = self._load(self.values, with_op=True)
        return {
            "jsonpaths": paths,
            "columns": [*names, *derived],
            "merge_type": "MERGE",
            "delete": f"{_OP} = 'd'",
        }

    def partial(self, unchanged: Collection[str]) -> LoadOptions:
        """For a Stream Load of updates (op u) in which PostgreSQL did not send the columns ``unchanged``.

        Those keep the values that they have. A row that is not there makes the load fail: it would come into
        being without them. Raises ConfigurationError for a name that is no column outside the key.
        """
        known = {column.source for column in self.values}
        if wrong := sorted(set(unchanged) - known):
            raise ConfigurationError(
                f"{self.source}: {', '.join(wrong)} cannot be left out of an update: "
                f"columns outside the key are {', '.join(sorted(known))}"
            )
        names, paths, derived = self._load(
            tuple(column for column in self.values if column.source not in unchanged), with_op=False
        )
        return {
            "jsonpaths": paths,
            "columns": [*names, *derived],
            "partial_columns": True,
            "partial_update_new_key_behavior": "ERROR",
        }

    def routine_load_clauses(self) -> RoutineLoadClauses:
        """The load of :meth:`load_options` as Routine Load has it."""
        names, paths, derived = self._load(self.values, with_op=True)
        return RoutineLoadClauses(
            columns=", ".join([*names, *derived]),
            preceding_filter=f"{_OP} IN ('c', 'u', 'd', 'r')",
            delete_on=f"{_OP} = 'd'",
            properties={
                "format": "json",
                "jsonpaths": _paths(paths),
                "strict_mode": "true",
                "timezone": "UTC",
            },
        )

    def _load(
        self, values: tuple[ColumnMapping, ...], *, with_op: bool
    ) -> tuple[list[str], list[str], list[str]]:
        """Fields of the messages, their JSON paths, and the columns that are computed from them.

        A value that needs no conversion gets its path under the column's own name: only then does strict mode
        find what the column cannot hold ("Handling Messy Data": not for what functions compute). What is
        computed instead is looked at here: where it comes to NULL and the message has a value, the sequence
        becomes NULL, which its column refuses, so that the row is filtered out and not loaded in part.
        """
        names, paths, derived, broken = [], [], [], []

        def read(name: str, path: str) -> str:
            names.append(quote_name(name))
            paths.append(path)
            return quote_name(name)

        if with_op:
            read(_OP, "$.op")
        sequence = read(_SEQUENCE_TEXT, "$.source.sequence")
        for number, column in enumerate(self._keys()):
            after = read(f"dbint_after_{number}", _path("after", column.source))
            before = read(f"dbint_before_{number}", _path("before", column.source))
            derived.append(f"{quote_name(column.name)} = {column.value(f'COALESCE({after}, {before})')}")
        for number, column in enumerate(values):
            if not column.conversion:
                read(column.name, _path("after", column.source))
                continue
            text = read(f"dbint_value_{number}", _path("after", column.source))
            derived.append(f"{quote_name(column.name)} = {column.value(text)}")
            if column.conversion == "date":
                broken.append(f"({text} IS NOT NULL AND CAST({column.value(text)} AS DATE) IS NULL)")
        derived.append(f"{quote_name(SEQUENCE)} = {_sequence(sequence, broken)}")
        return names, paths, derived

    def _keys(self) -> tuple[ColumnMapping, ...]:
        return tuple(column for column in self.columns if column.name in self.key)


def _sequence(text: str, broken: list[str]) -> str:
    """``["hi","lo"]`` as hi * 2^64 + lo; a hi of null, which Debezium's first message has, is 0."""
    digits = f"REPLACE({text}, 'null', '\"0\"')"
    hi, lo = (f"CAST(SPLIT_PART({digits}, '\"', {part}) AS LARGEINT)" for part in (2, 4))
    value = f"{hi} * CAST('18446744073709551616' AS LARGEINT) + {lo}"
    return f"IF({' OR '.join(broken)}, NULL, {value})" if broken else value


def _path(row: str, column: str) -> str:
    """A JSON path; a name that is no plain word is quoted. Raises ConfigurationError for one with a quote."""
    if '"' in column:
        raise ConfigurationError(f"column {column!r}: Doris' JSON paths have no name with a quote in it")
    return f"$.{row}.{column}" if column.isidentifier() else f'$.{row}."{column}"'


def _paths(paths: list[str]) -> str:
    return "[" + ",".join('"' + path.replace('"', '\\"') + '"' for path in paths) + "]"
