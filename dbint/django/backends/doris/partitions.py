"""Partitions of a table as objects: what stands in ``DorisTable(partition_by=…)``, and what migrations add.

Doris' manual, table-design/data-partitioning: manual-partitioning, auto-partitioning, dynamic-partitioning.
Field names are the model's; the schema editor turns them into columns. All of it can be written into
migrations.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Literal, cast

from django.core.exceptions import ImproperlyConfigured

from dbint.doris.names import quote_text

ColumnName = Callable[[str], str]  # a field's name to its quoted column
Feature = tuple[str, tuple[int, ...]]  # what it is, and the first Doris that has it

_UNITS_OF_TRUNC = ("year", "quarter", "month", "week", "day", "hour")
_UNITS_OF_STEPS = ("", "YEAR", "MONTH", "WEEK", "DAY", "HOUR")
_TIME_UNITS = ("HOUR", "DAY", "WEEK", "MONTH", "YEAR")
_NAME = re.compile(r"\w[\w-]*")


class Bound(Enum):
    """The value above all others."""

    MAXVALUE = "MAXVALUE"


MAXVALUE = Bound.MAXVALUE
Value = str | int | dt.date | dt.datetime | Bound | None


def literal(value: Any) -> str:
    """A value of a partition as the grammar has it. Raises ImproperlyConfigured for what it has not."""
    if isinstance(value, Bound):
        return value.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return '"true"' if value else '"false"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise ImproperlyConfigured(f"a partition's bounds have no time zone: {value!r}")
        return quote_text(value.isoformat(" "))
    if isinstance(value, dt.date):
        return quote_text(value.isoformat())
    if isinstance(value, str):
        return quote_text(value)
    raise ImproperlyConfigured(
        f"a partition's values are text, whole numbers, dates, date-times, None or MAXVALUE, not {value!r}"
    )


def _row(values: tuple[Value, ...]) -> str:
    return "(" + ", ".join(map(literal, values)) + ")"


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


class Deconstructible:
    """For the migration writer: the arguments that differ from their defaults."""

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """As ``django.utils.deconstruct`` has it."""
        given = {
            f.name: getattr(self, f.name)
            for f in fields(cast("Any", self))
            if getattr(self, f.name) != f.default
        }
        return f"dbint.django.backends.doris.{type(self).__name__}", [], given


# -- single partitions


@dataclass(frozen=True)
class Partition(Deconstructible):
    """A partition with a name; its subclasses say what it takes."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ImproperlyConfigured(f"{self.name!r} is not the name of a partition")

    def values(self) -> str:
        """What stands behind VALUES."""
        raise NotImplementedError

    def sql(self) -> str:
        """``PARTITION `name` VALUES …``."""
        return f"PARTITION `{self.name}` VALUES {self.values()}"


@dataclass(frozen=True)
class FixedRange(Partition):
    """Rows from ``lower`` on and below ``upper``: values, or tuples for several fields."""

    lower: Any
    upper: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "lower", _tuple(self.lower))
        object.__setattr__(self, "upper", _tuple(self.upper))
        self.values()

    def values(self) -> str:
        return f"[{_row(self.lower)}, {_row(self.upper)})"


@dataclass(frozen=True)
class LessThan(Partition):
    """Rows below ``upper`` and not below the partition before; ``MAXVALUE`` for all the rest."""

    upper: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "upper", _tuple(self.upper))
        self.values()

    def values(self) -> str:
        return f"LESS THAN {_row(self.upper)}"


@dataclass(frozen=True)
class InValues(Partition):
    """Rows with one of these values; a value is a tuple where several fields make the partition."""

    items: tuple[Any, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "items", tuple(_tuple(item) for item in self.items))
        if not self.items:
            raise ImproperlyConfigured(f"partition {self.name}: a list of values is not empty")
        self.values()

    def values(self) -> str:
        return f"IN ({', '.join(map(_row, self.items))})"


@dataclass(frozen=True)
class Steps(Deconstructible):
    """Ranges of one length, made at once and named by Doris: ``FROM lower TO upper INTERVAL 1 MONTH``."""

    lower: Any
    upper: Any
    every: int = 1
    unit: str = ""

    def __post_init__(self) -> None:
        if type(self.every) is not int or self.every < 1:
            raise ImproperlyConfigured(f"Steps: every is a number above 0, not {self.every!r}")
        if self.unit.upper() not in _UNITS_OF_STEPS:
            raise ImproperlyConfigured(
                f"Steps: unit is one of {', '.join(_UNITS_OF_STEPS[1:])}, or nothing for numbers; not "
                f"{self.unit!r}"
            )
        self.sql()

    def sql(self) -> str:
        """``FROM (…) TO (…) INTERVAL n unit``."""
        text = f"FROM ({literal(self.lower)}) TO ({literal(self.upper)}) INTERVAL {self.every}"
        return f"{text} {self.unit.upper()}" if self.unit else text


# -- dynamic partitions


@dataclass(frozen=True)
class DynamicPartitions(Deconstructible):
    """Partitions that Doris makes ahead of time and drops when they are old.

    ``time_unit`` is HOUR, DAY, WEEK, MONTH or YEAR; ``end`` how many of them to make ahead; ``start``, below
    0, how many past ones to keep (None: all of them). ``create_history_partition`` makes those of the past
    too, ``history_partition_num`` says how many. ``reserved_history_periods`` are pairs of dates whose
    partitions stay. Doris looks every ten minutes (``dynamic_partition_check_interval_seconds``).

    Rows whose time no partition takes are refused by Doris; so ``end`` covers clocks that run ahead, and
    ``start`` with ``create_history_partition`` covers rows that come late.
    """

    time_unit: Literal["HOUR", "DAY", "WEEK", "MONTH", "YEAR"]
    end: int
    start: int | None = None
    prefix: str = "p"
    buckets: int | None = None
    replication_num: int | None = None
    create_history_partition: bool = False
    history_partition_num: int | None = None
    start_day_of_week: int | None = None
    start_day_of_month: int | None = None
    reserved_history_periods: tuple[tuple[Any, Any], ...] = ()
    time_zone: str = ""
    enable: bool = True

    def __post_init__(self) -> None:
        if str(self.time_unit).upper() not in _TIME_UNITS:
            raise ImproperlyConfigured(
                f"DynamicPartitions: time_unit is one of {', '.join(_TIME_UNITS)}, not {self.time_unit!r}"
            )
        if not _NAME.fullmatch(self.prefix):
            raise ImproperlyConfigured(f"DynamicPartitions: {self.prefix!r} cannot begin a partition's name")
        if self.history_partition_num is not None and not self.create_history_partition:
            raise ImproperlyConfigured(
                "DynamicPartitions: history_partition_num needs create_history_partition=True"
            )
        for name, low, high in (
            ("end", 0, 2**31 - 1),
            ("start", -(2**31) + 1, -1),
            ("buckets", 1, 2**31 - 1),
            ("replication_num", 1, 32767),
            ("history_partition_num", 1, 2**31 - 1),
            ("start_day_of_week", 1, 7),
            ("start_day_of_month", 1, 28),
        ):
            value = getattr(self, name)
            if value is None and name != "end":
                continue
            if type(value) is not int or not low <= value <= high:
                raise ImproperlyConfigured(
                    f"DynamicPartitions: {name} is a number from {low} to {high}, not {value!r}"
                )
        for name, unit in (("start_day_of_week", "WEEK"), ("start_day_of_month", "MONTH")):
            if getattr(self, name) is not None and self.time_unit.upper() != unit:
                raise ImproperlyConfigured(f'DynamicPartitions: {name} needs time_unit="{unit}"')

    def properties(self) -> dict[str, str]:
        """The table's properties, ``dynamic_partition.…``."""
        given: dict[str, Any] = {
            "enable": self.enable,
            "time_unit": self.time_unit.upper(),
            "time_zone": self.time_zone or None,
            "start": self.start,
            "end": self.end,
            "prefix": self.prefix,
            "buckets": self.buckets,
            "replication_num": self.replication_num,
            "create_history_partition": self.create_history_partition or None,
            "history_partition_num": self.history_partition_num,
            "start_day_of_week": self.start_day_of_week,
            "start_day_of_month": self.start_day_of_month,
            "reserved_history_periods": ",".join(
                f"[{first},{last}]" for first, last in self.reserved_history_periods
            )
            or None,
        }
        return {
            f"dynamic_partition.{name}": str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in given.items()
            if value is not None
        }


def dynamic_from_properties(properties: dict[str, str]) -> DynamicPartitions | None:
    """What SHOW CREATE TABLE's properties say, None for a table without dynamic partitions."""
    shown = {
        name.removeprefix("dynamic_partition."): value
        for name, value in properties.items()
        if name.startswith("dynamic_partition.")
    }
    if "time_unit" not in shown:
        return None
    # Numbers above 0; Doris also shows -1 and AUTO, for what is not set.
    numbers: dict[str, Any] = {
        name: int(shown[name])
        for name in ("buckets", "replication_num", "history_partition_num", "start_day_of_week")
        if shown.get(name, "").isdigit() and int(shown[name]) > 0
    }
    unit: Any = shown["time_unit"].upper()
    # Doris shows the defaults too; they are left out here.
    if unit != "WEEK" or numbers.get("start_day_of_week") == 1:
        numbers.pop("start_day_of_week", None)
    if unit == "MONTH" and int(shown.get("start_day_of_month", "1")) > 1:
        numbers["start_day_of_month"] = int(shown["start_day_of_month"])
    history = shown.get("create_history_partition", "false").lower() == "true"
    if not history:
        numbers.pop("history_partition_num", None)
    start = int(shown.get("start", "-2147483648"))
    periods = re.findall(r"\[([^,\]]+),([^,\]]+)\]", shown.get("reserved_history_periods", ""))
    return DynamicPartitions(
        time_unit=unit,
        end=int(shown.get("end", "0")),
        start=start if start > -(2**31) else None,
        prefix=shown.get("prefix", "p"),
        create_history_partition=history,
        reserved_history_periods=tuple((first.strip(), last.strip()) for first, last in periods),
        time_zone=shown.get("time_zone", ""),
        enable=shown.get("enable", "true").lower() == "true",
        **numbers,
    )


# -- ways to partition a table


@dataclass(frozen=True)
class PartitionBy(Deconstructible):
    """A way to partition a table; its subclasses are what users name."""

    def columns(self) -> tuple[str, ...]:
        """Names of the fields that rows are partitioned by."""
        raise NotImplementedError

    def sql(self, column: ColumnName) -> str:
        """The clause of CREATE TABLE."""
        raise NotImplementedError

    def properties(self) -> dict[str, str]:
        """Properties that the table needs for it."""
        return {}


def _field_names(value: Any, what: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ImproperlyConfigured(f"{what}: names of fields are expected, not {value!r}")
    if len(set(names)) != len(names):
        raise ImproperlyConfigured(f"{what} names a field twice: {names!r}")
    return names


def _check_partitions(what: str, partitions: tuple[Any, ...], kinds: tuple[type, ...]) -> tuple[Any, ...]:
    found = tuple(partitions)
    for part in found:
        if not isinstance(part, kinds):
            raise ImproperlyConfigured(
                f"{what}: a partition is a {' or '.join(kind.__name__ for kind in kinds)}, not {part!r}"
            )
    names = [part.name.lower() for part in found if isinstance(part, Partition)]
    if len(set(names)) != len(names):
        raise ImproperlyConfigured(f"{what}: two partitions have the same name")
    return found


@dataclass(frozen=True)
class RangePartitions(PartitionBy):
    """Ranges of numbers or times. A row that no partition takes is refused.

    ``by`` names the field (or fields); ``partitions`` are FixedRange, LessThan and Steps; more come by
    migrations (AddPartition), or by themselves with ``dynamic``, for one field that is a date or date-time.
    """

    by: Any
    partitions: tuple[Any, ...] = ()
    dynamic: DynamicPartitions | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _field_names(self.by, "RangePartitions"))
        found = _check_partitions("RangePartitions", self.partitions, (FixedRange, LessThan, Steps))
        object.__setattr__(self, "partitions", found)
        if self.dynamic is not None and len(self.by) != 1:
            raise ImproperlyConfigured("RangePartitions: dynamic partitions are by one field")
        if self.dynamic is not None and self.dynamic.end < 1:
            raise ImproperlyConfigured("DynamicPartitions: end is a number above 0")
        for part in found:
            for row in (getattr(part, "lower", ()), getattr(part, "upper", ())):
                if isinstance(row, tuple) and len(row) > len(self.by):
                    raise ImproperlyConfigured(f"RangePartitions: {part!r} has more values than fields")

    def columns(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.by)

    def sql(self, column: ColumnName) -> str:
        parts = ", ".join(part.sql() for part in self.partitions)
        return f"PARTITION BY RANGE({', '.join(map(column, self.by))}) ({parts})"

    def properties(self) -> dict[str, str]:
        return self.dynamic.properties() if self.dynamic is not None else {}


@dataclass(frozen=True)
class ListPartitions(PartitionBy):
    """Lists of values. A row that no partition takes is refused."""

    by: Any
    partitions: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _field_names(self.by, "ListPartitions"))
        found = _check_partitions("ListPartitions", self.partitions, (InValues,))
        object.__setattr__(self, "partitions", found)
        for part in found:
            if any(len(item) != len(self.by) for item in part.items):
                raise ImproperlyConfigured(
                    f"ListPartitions: each value of {part.name} has {len(self.by)} part(s), one a field"
                )

    def columns(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.by)

    def sql(self, column: ColumnName) -> str:
        parts = ", ".join(part.sql() for part in self.partitions)
        return f"PARTITION BY LIST({', '.join(map(column, self.by))}) ({parts})"


@dataclass(frozen=True)
class AutoRange(PartitionBy):
    """A partition for each year, quarter, month, week, day or hour that rows come with, made as they come.

    ``by`` is a date or date-time that is not null. ``retention_count`` keeps that many past partitions, the
    newest (Doris 4.0).
    """

    by: str
    unit: Literal["year", "quarter", "month", "week", "day", "hour"]
    retention_count: int | None = None

    def __post_init__(self) -> None:
        (name,) = _field_names((self.by,), "AutoRange")
        object.__setattr__(self, "by", name)
        if self.unit not in _UNITS_OF_TRUNC:
            raise ImproperlyConfigured(
                f"AutoRange: unit is one of {', '.join(_UNITS_OF_TRUNC)}, not {self.unit!r}"
            )
        if self.retention_count is not None and not (
            type(self.retention_count) is int and self.retention_count > 0
        ):
            raise ImproperlyConfigured(
                f"AutoRange: retention_count is a number above 0, not {self.retention_count!r}"
            )

    def columns(self) -> tuple[str, ...]:
        return (self.by,)

    def sql(self, column: ColumnName) -> str:
        return f"AUTO PARTITION BY RANGE(date_trunc({column(self.by)}, '{self.unit}')) ()"

    def properties(self) -> dict[str, str]:
        if self.retention_count is None:
            return {}
        return {"partition.retention_count": str(self.retention_count)}


@dataclass(frozen=True)
class AutoList(PartitionBy):
    """A partition for each value (or tuple of values) that rows come with, made as they come."""

    by: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", _field_names(self.by, "AutoList"))

    def columns(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self.by)

    def sql(self, column: ColumnName) -> str:
        return f"AUTO PARTITION BY LIST({', '.join(map(column, self.by))}) ()"
