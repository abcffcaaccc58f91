# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""Partitions: what their bounds mean, which row belongs to which, and how they are added and dropped.

Source: "Data Partitioning" of the Doris documentation; PartitionKey, RangePartitionInfo,
ListPartitionInfo and RangeUtils of apache/doris for the words of the refusals.
"""

import calendar
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dbint.emulators.doris.errors import DROP_PARTITION, SAME_NAME_PARTITION, DorisError, NotEmulatedError
from dbint.emulators.doris.tables.ddl import PartitionItem
from dbint.emulators.doris.tables.model import Column, Partition, Partitioning, Table, identifier, literal
from dbint.emulators.doris.tables.types import INTEGERS, DorisType

MAX_BATCH = 4096  # Doris: max_multi_partition_num
_STEPS = ("YEAR", "MONTH", "WEEK", "DAY", "HOUR")
_DATES = ("DATE", "DATETIME")
Key = tuple[Any, ...]


# -- values


def parse_value(kind: DorisType, text: str | None) -> Any:
    """A bound as a value that can be compared. Raises DorisError where it is none of the type."""
    if text is None:
        return None
    try:
        if kind.name in INTEGERS:
            return _integer(kind, text)
        if kind.name == "DATE":
            return dt.date.fromisoformat(text[:10])
        if kind.name == "DATETIME":
            return dt.datetime.fromisoformat(text)
        if kind.name == "BOOLEAN":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except (ValueError, KeyError):
        raise DorisError(f"Invalid {kind.sql} value of a partition: {text}") from None
    return text


def _integer(kind: DorisType, text: str) -> int:
    """Raises ValueError."""
    low, high = INTEGERS[kind.name]
    number = int(text)
    if not low <= number <= high:
        raise ValueError
    return number


def show_value(kind: DorisType, value: Any) -> str:
    """A value as Doris prints it in definitions."""
    if isinstance(value, dt.datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
        digits = kind.args[0] if kind.args else 0
        return f"{text}.{value.microsecond:06d}"[: 20 + digits] if digits else text
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def minimum(kind: DorisType) -> str:
    """The lowest value of a type, where an unbounded range begins."""
    if kind.name in INTEGERS:
        return str(INTEGERS[kind.name][0])
    return {"DATE": "0000-01-01", "DATETIME": "0000-01-01 00:00:00"}.get(kind.name, "")


def _key(columns: Sequence[Column], texts: tuple[str | None, ...] | None) -> Key | None:
    if texts is None:
        return None
    return tuple(parse_value(c.type, text) for c, text in zip(columns, texts, strict=False))


def _texts(columns: Sequence[Column], key: Key) -> tuple[str, ...]:
    return tuple(show_value(c.type, value) for c, value in zip(columns, key, strict=False))


def partition_columns(table: Table) -> list[Column]:
    return [table.column(name) for name in table.partitioning.columns] if table.partitioning else []


# -- how bounds look


def describe(table: Table, partition: Partition) -> str:
    """What a partition takes, as SHOW PARTITIONS and the refusals print it."""
    columns = partition_columns(table)
    types = f"types: [{', '.join(c.type.primitive for c in columns)}]; keys: "
    if table.partitioning is not None and table.partitioning.kind == "LIST":
        shown = (", ".join("NULL" if v is None else v for v in value) for value in partition.values)
        return ",".join(f"{types}[{value}]; " for value in shown)
    lower = partition.lower or tuple(minimum(c.type) for c in columns)
    upper = partition.upper or ("MAXVALUE",)
    return f"[{types}[{', '.join(lower)}]; ..{types}[{', '.join(upper)}]; )"


# -- new partitions


def resolve(table: Table, items: Iterable[PartitionItem]) -> Table:
    """The table with these partitions added. Raises DorisError where one is no partition of it."""
    for item in items:
        for single in _expand(table, item):
            table = _add(table, single)
    return table


def _add(table: Table, item: PartitionItem) -> Table:
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    if partitioning.find(item.name) is not None:
        if item.if_not_exists:
            return table
        raise DorisError(f"Duplicate partition name {item.name}", SAME_NAME_PARTITION)
    new = _list_partition(table, item) if partitioning.kind == "LIST" else _range_partition(table, item)
    number = max((p.id for p in partitioning.partitions), default=0) + 1
    new = replace(new, id=number, created=dt.datetime.now().isoformat(" ", "seconds"))
    partitions = [*partitioning.partitions, new]
    if partitioning.kind == "RANGE":
        columns = partition_columns(table)
        partitions.sort(key=lambda p: (p.lower is not None, _key(columns, p.lower) or ()))
    return table.with_(partitioning=replace(partitioning, partitions=tuple(partitions)))


def _list_partition(table: Table, item: PartitionItem) -> Partition:
    columns = partition_columns(table)
    if item.kind != "IN":
        raise DorisError("partition key desc is not IN type for a LIST partitioned table")
    values = []
    for value in item.values:
        if len(value) != len(columns):
            raise DorisError("partition key desc should have the same number of columns as the partition")
        for column, text in zip(columns, value, strict=True):
            if text is None and not column.nullable:
                raise DorisError(f"Partition[{item.name}] has null value for a NOT NULL column")
        key = _key(columns, value) or ()
        values.append(
            tuple(None if v is None else show_value(c.type, v) for c, v in zip(columns, key, strict=True))
        )
    if len(set(values)) != len(values):
        raise DorisError(f"The partition key[{item.name}] has duplicated values")
    new = Partition(item.name, values=tuple(values))
    assert table.partitioning is not None  # noqa: S101 - the caller has looked
    for other in table.partitioning.partitions:
        if set(other.values) & set(values):
            raise DorisError(
                f"The partition key[{describe(table, new)}] is overlap with current {describe(table, other)}."
            )
    return new


def _range_partition(table: Table, item: PartitionItem) -> Partition:
    columns = partition_columns(table)
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    if item.kind == "IN":
        raise DorisError("partition key desc is IN type for a RANGE partitioned table")
    for bound in (item.lower, item.upper):
        if bound is not None and len(bound) > len(columns):
            raise DorisError(f"Invalid number of values for the partition: {len(bound)} of {len(columns)}")
    floor = tuple(minimum(c.type) for c in columns)
    lower = None if item.lower == floor[: len(item.lower or ())] else _key(columns, item.lower)
    upper = _key(columns, item.upper)
    if item.kind == "LESS":
        below = [
            key
            for p in partitioning.partitions
            if (key := _key(columns, p.upper)) is not None and (upper is None or key < upper)
        ]
        lower = max(below, default=None)
    if lower is not None and upper is not None and lower >= upper:
        raise DorisError(
            f"Partition {item.name}: the lower bound {_texts(columns, lower)} is not below the upper bound "
            f"{_texts(columns, upper)}"
        )
    new = Partition(
        item.name,
        _texts(columns, lower) if lower is not None else None,
        _texts(columns, upper) if upper is not None else None,
    )
    for other in partitioning.partitions:
        if _intersect(lower, upper, _key(columns, other.lower), _key(columns, other.upper)):
            raise DorisError(
                f"Range {describe(table, new)} is intersected with range: {describe(table, other)}"
            )
    return new


def _intersect(
    lower: Key | None, upper: Key | None, other_lower: Key | None, other_upper: Key | None
) -> bool:
    starts_before = upper is None or other_lower is None or other_lower < upper
    ends_after = lower is None or other_upper is None or lower < other_upper
    return starts_before and ends_after


def intersects(table: Table, one: Partition, other: Partition) -> bool:
    """Whether two ranges have a value in common."""
    columns = partition_columns(table)
    bounds = [_key(columns, bound) for p in (one, other) for bound in (p.lower, p.upper)]
    return _intersect(*bounds)


def _expand(table: Table, item: PartitionItem) -> list[PartitionItem]:
    """The partitions that ``FROM … TO … INTERVAL`` stands for."""
    if item.kind != "STEP":
        return [item]
    columns = partition_columns(table)
    if len(columns) != 1 or item.lower is None or item.upper is None:
        raise DorisError("partition column size in multi partition clause must be one")
    kind = columns[0].type
    if item.step < 1:
        raise DorisError("The partition step must be greater than 0")
    if kind.name in INTEGERS:
        if item.unit:
            raise DorisError("Multi partition of a number column takes no time unit")
    elif item.unit not in _STEPS or (kind.name == "DATE" and item.unit == "HOUR"):
        raise DorisError(f"Multi partition time interval is not supported: {item.unit or 'none'}")
    at = parse_value(kind, item.lower[0])
    end = parse_value(kind, item.upper[0])
    found: list[PartitionItem] = []
    while at < end:
        following = at + item.step if kind.name in INTEGERS else shift(at, item.unit, item.step)
        following = min(following, end)
        bounds = (show_value(kind, at),), (show_value(kind, following),)
        found.append(PartitionItem(f"p_{_batch_name(at, item.unit)}", "FIXED", *bounds))
        if len(found) > MAX_BATCH:
            raise DorisError(f"The number of Multi partitions too much, should not exceed:{MAX_BATCH}")
        at = following
    if not found:
        raise DorisError("Multi partition time interval mistake, the end time must be greater than the start")
    return found


def _batch_name(value: Any, unit: str) -> str:
    if isinstance(value, int):
        return str(value).replace("-", "_")
    return period_name(value, unit)


def period_name(value: dt.date, unit: str) -> str:
    """The name that Doris gives a period that starts at ``value``, without its prefix."""
    if unit == "WEEK":  # weeks of the JDK in its default locale: they start on Sunday, 1 January is in week 1
        week = (value.timetuple().tm_yday - 1 + (value.replace(month=1, day=1).isoweekday() % 7)) // 7 + 1
        return f"{value.year}_{week:02d}"
    pattern = {"YEAR": "%Y", "MONTH": "%Y%m", "DAY": "%Y%m%d", "HOUR": "%Y%m%d%H"}[unit]
    return value.strftime(pattern)


def shift(value: Any, unit: str, count: int) -> Any:
    """A date or time so many units later; the day of a month stays within the month."""
    if unit in ("YEAR", "MONTH"):
        months = value.year * 12 + value.month - 1 + count * (12 if unit == "YEAR" else 1)
        year, month = divmod(months, 12)
        day = min(value.day, calendar.monthrange(year, month + 1)[1])
        return value.replace(year=year, month=month + 1, day=day)
    return value + dt.timedelta(**{f"{unit.lower()}s": count})


# -- the rows of partitions


def condition(table: Table, partition: Partition, values: Sequence[str]) -> str:
    """DuckDB's condition that a row is in the partition; ``values`` are its partition columns, as SQL."""
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    types = [table.column(name).type.duckdb for name in partitioning.columns]

    def constant(text: str | None, kind: str) -> str:
        return "NULL" if text is None else f"CAST({literal(text)} AS {kind})"

    if partitioning.kind == "LIST":
        alternatives = [
            " AND ".join(
                f"{value} IS NOT DISTINCT FROM {constant(text, kind)}"
                for value, text, kind in zip(values, given, types, strict=True)
            )
            for given in partition.values
        ]
        return " OR ".join(f"({a})" for a in alternatives) or "false"

    def bound(texts: tuple[str, ...]) -> tuple[str, str]:
        if len(texts) == 1:
            return values[0], constant(texts[0], types[0])
        constants = ", ".join(constant(t, k) for t, k in zip(texts, types, strict=False))
        return f"row({', '.join(values[: len(texts)])})", f"row({constants})"

    sides = []
    if partition.lower is not None:
        left, right = bound(partition.lower)
        sides.append(f"{left} >= {right}")
    if partition.upper is not None:
        left, right = bound(partition.upper)
        lowest = f"{values[0]} IS NULL OR " if partition.lower is None else ""  # NULL is the least value
        sides.append(f"({lowest}{left} < {right})")
    return f"coalesce({' AND '.join(sides) or 'true'}, false)"


def rows_condition(table: Table, partition: Partition) -> str:
    """The condition for the rows of the table's own relation."""
    assert table.partitioning is not None  # noqa: S101 - the caller has looked
    return condition(table, partition, [identifier(name) for name in table.partitioning.columns])


def delete_rows(table: Table, partition: Partition) -> str:
    """DuckDB's statement that empties a partition."""
    return f"DELETE FROM {table.relation} WHERE {rows_condition(table, partition)}"


def refusal(table: Table, values: Sequence[str]) -> str:
    """DuckDB's expression for the reason why a row is refused: no partition takes it; NULL where one does."""
    partitioning = table.partitioning
    if partitioning is None or (partitioning.auto and partitioning.kind == "LIST"):
        return "NULL"
    if partitioning.auto:  # a range for every value, but none for NULL
        inside = f"{values[0]} IS NOT NULL"
    else:
        inside = " OR ".join(condition(table, p, values) for p in partitioning.partitions) or "false"
    shown = " || ',' || ".join(f"coalesce(CAST({v} AS VARCHAR), 'NULL')" for v in values)
    return f"CASE WHEN NOT ({inside}) THEN 'no partition for this tuple. tuple=' || {shown} END"


# -- AUTO PARTITION


def auto_keys(table: Table) -> str:
    """DuckDB's expressions for the value that decides about the AUTO partition of a row."""
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    if partitioning.kind == "LIST":
        return ", ".join(identifier(name) for name in partitioning.columns)
    column = identifier(partitioning.columns[0])
    return f"date_trunc('{partitioning.unit}', CAST({column} AS TIMESTAMP))"


def with_auto_partitions(table: Table, keys: Iterable[tuple[Any, ...]]) -> Table:
    """The table with the partitions that rows with these keys need; the same table where it has them."""
    partitioning = table.partitioning
    assert partitioning is not None  # noqa: S101 - the caller has looked
    columns = partition_columns(table)
    if partitioning.kind == "LIST":
        taken = {value for p in partitioning.partitions for value in p.values}
        items = []
        for key in sorted(keys, key=lambda k: tuple("" if v is None else str(v) for v in k)):
            value = tuple(
                None if v is None else show_value(c.type, v) for c, v in zip(columns, key, strict=True)
            )
            if value not in taken:
                items.append(PartitionItem(_list_name(columns, value), "IN", values=(value,)))
        return resolve(table, items)
    kind = columns[0].type
    lowers = {p.lower for p in partitioning.partitions}
    unit = partitioning.unit.upper()
    items = []
    for (start,) in sorted(keys):
        end = shift(start, "MONTH", 3) if unit == "QUARTER" else shift(start, unit, 1)
        if kind.name == "DATE":
            start, end = start.date(), end.date()  # noqa: PLW2901 - the same moments as dates
        lower = (show_value(kind, start),)
        name = f"p{start:%Y%m%d}" + (f"{start:%H%M%S}" if kind.name == "DATETIME" else "000000")
        if lower not in lowers:
            items.append(PartitionItem(name, "FIXED", lower, (show_value(kind, end),)))
    return resolve(table, items)


def _list_name(columns: Sequence[Column], value: tuple[str | None, ...]) -> str:
    """``p`` and the values; of characters that a name cannot have, their code; behind a text its length."""
    parts = []
    for column, text in zip(columns, value, strict=True):
        if text is None:
            parts.append("X")
            continue
        sign = "_" if text.startswith("-") else ""
        shown = "".join(
            c if c.isascii() and c.isalnum() else "" if c in "-: " else f"{ord(c):x}" for c in text
        )
        parts.append(f"{sign}{shown}{len(text) if column.type.is_string else ''}")
    return f"p{''.join(parts)}"


# -- changes


def find(table: Table, name: str) -> Partition:
    """An existing partition. Raises DorisError 1507 or 1105."""
    partitioning = require(table)
    partition = partitioning.find(name)
    if partition is None:
        raise DorisError(f"Error in list of partitions to {name}", DROP_PARTITION)
    return partition


def require(table: Table) -> Partitioning:
    """The table's partitioning. Raises DorisError where it has none."""
    if table.partitioning is None:
        raise DorisError(f"Alter table [{table.name}] failed. Not a partitioned table")
    return table.partitioning


def without(table: Table, names: Iterable[str]) -> Table:
    """The table without partitions that exist."""
    partitioning = require(table)
    gone = {name.lower() for name in names}
    kept = tuple(p for p in partitioning.partitions if p.name.lower() not in gone)
    return table.with_(partitioning=replace(partitioning, partitions=kept))


def renamed(table: Table, old: str, new: str) -> Table:
    """The table with a partition renamed."""
    partition = find(table, old)
    partitioning = require(table)
    if partitioning.find(new) is not None:
        if old.lower() == new.lower():
            raise DorisError("Same partition name")
        raise DorisError(f"Partition name[{new}] is already used")
    return table.with_(
        partitioning=replace(
            partitioning,
            partitions=tuple(replace(p, name=new) if p is partition else p for p in partitioning.partitions),
        )
    )


def selected(table: Table, names: Sequence[str]) -> list[Partition]:
    """The partitions that a statement names. Raises DorisError for one that there is not."""
    if table.partitioning is None:
        if [n.lower() for n in names] == [table.name.lower()]:
            raise NotEmulatedError("the partition of a table without partitions")
        raise DorisError(f"Table {table.name} is not a partitioned table")
    found = []
    for name in names:
        partition = table.partitioning.find(name)
        if partition is None:
            raise DorisError(f"partition {name} is not found")
        found.append(partition)
    return found
