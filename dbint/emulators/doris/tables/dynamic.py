"""Dynamic partitions: their properties, and which partitions they ask for at a moment.

Source: "Dynamic Partitioning" of the Doris documentation; DynamicPartitionUtil and DynamicPartitionScheduler
of apache/doris.
"""

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.tables import partitions
from dbint.emulators.doris.tables.ddl import PartitionItem
from dbint.emulators.doris.tables.model import Partition, Partitioning, Table
from dbint.emulators.doris.tables.types import INTEGERS

PREFIX = "dynamic_partition."
MAX_PARTITIONS = 500  # Doris: max_dynamic_partition_num
_NO_START = -(2**31)
_UNITS = ("HOUR", "DAY", "WEEK", "MONTH", "YEAR")
_ZONES = {"CST": "Asia/Shanghai", "PRC": "Asia/Shanghai", "UTC": "UTC", "GMT": "UTC", "Z": "UTC"}
# In the order of SHOW CREATE TABLE.
_NAMES = (
    "enable",
    "time_unit",
    "time_zone",
    "start",
    "end",
    "prefix",
    "replication_allocation",
    "buckets",
    "create_history_partition",
    "history_partition_num",
    "hot_partition_num",
    "reserved_history_periods",
    "storage_policy",
    "storage_medium",
    "start_day_of_week",
    "start_day_of_month",
)
_ACCEPTED = frozenset((*_NAMES, "replication_num"))
_CODES = {"time_unit": 5065, "start": 5066, "end": 5066, "buckets": 5067, "enable": 5068, "prefix": 5069}


@dataclass(slots=True)
class Runtime:
    """What the scheduler has done with a table, for SHOW DYNAMIC PARTITION TABLES."""

    updated: str = "NULL"
    scheduled: str = "NULL"
    created: str = "NULL"
    dropped: str = "NULL"


@dataclass(frozen=True, slots=True)
class Rule:
    """The properties as values."""

    enable: bool
    unit: str
    zone: dt.tzinfo
    start: int
    end: int
    prefix: str
    history: int | None  # periods before the present one to create; None: no history
    reserved: tuple[tuple[str, str], ...]
    week_day: int
    month_day: int


def is_dynamic(properties: dict[str, str]) -> bool:
    return f"{PREFIX}time_unit" in properties


def check(given: dict[str, str], table: Table, backends: int) -> dict[str, str]:
    """The properties of a table with its dynamic ones checked, filled in and in their order.

    ``given`` is all that is known of them, old and new. Raises DorisError as CREATE TABLE does.
    """
    values = {k.removeprefix(PREFIX): v for k, v in given.items() if k.startswith(PREFIX)}
    if not values:
        return given
    unknown = sorted(set(values) - _ACCEPTED)
    if unknown:
        raise DorisError(
            f"Invalid dynamic partition properties: {', '.join(PREFIX + name for name in unknown)}"
        )
    partitioning = table.partitioning
    if partitioning is None or partitioning.kind != "RANGE" or len(partitioning.columns) != 1:
        raise DorisError("Dynamic partition only support single-column range partition")
    for name in ("time_unit", "prefix", "end"):
        if not values.get(name):
            raise DorisError(f"Must assign dynamic_partition.{name} properties")
    values.setdefault("enable", "true")
    values.setdefault("start", str(_NO_START))
    values.setdefault("buckets", "10" if table.buckets == "AUTO" else table.buckets)
    values.setdefault("time_zone", "UTC")
    values.setdefault("create_history_partition", "false")
    values.setdefault("history_partition_num", "-1")
    values.setdefault("hot_partition_num", "0")
    values.setdefault("reserved_history_periods", "NULL")
    values.setdefault("storage_policy", "")
    _check_values(values, table, partitioning)
    _check_replicas(values, table, backends)
    unit = values["time_unit"].upper()
    if unit == "WEEK":
        values.setdefault("start_day_of_week", "1")
    elif unit == "MONTH":
        values.setdefault("start_day_of_month", "1")
    others = {k: v for k, v in given.items() if not k.startswith(PREFIX)}
    return {**others, **{f"{PREFIX}{name}": values[name] for name in _NAMES if name in values}}


def _refuse(name: str, text: str) -> DorisError:
    code = _CODES.get(name)
    return DorisError(text, code) if code is not None else DorisError(text)


def _check_values(values: dict[str, str], table: Table, partitioning: Partitioning) -> None:
    unit, kind = values["time_unit"].upper(), table.column(partitioning.columns[0]).type
    if unit not in _UNITS:
        raise _refuse(
            "time_unit", f"Unsupported time unit {values['time_unit']}. Expect HOUR/DAY/WEEK/MONTH/YEAR."
        )
    if kind.name not in (*INTEGERS, "DATE", "DATETIME"):
        raise DorisError("Dynamic Partition Only Support DATE, DATETIME and INTEGER Type Now.")
    if unit == "HOUR" and kind.name != "DATETIME":
        what = "DATE or DATEV2" if kind.name == "DATE" else "Integer"
        raise DorisError(
            "dynamic_partition.time_unit could not be HOUR when type of partition column "
            f"{partitioning.columns[0]} is {what}"
        )
    if partitioning.auto and partitioning.unit.upper() != unit:
        raise DorisError(
            "If support auto partition and dynamic partition at same time, they must have the same interval"
            " unit."
        )
    if not re.fullmatch(r"[a-zA-Z_]\w{0,63}", values["prefix"]):
        raise _refuse("prefix", f"Invalid dynamic partition prefix: {values['prefix']}.")
    for name in ("enable", "create_history_partition"):
        if values[name].lower() not in ("true", "false"):
            raise _refuse(name, f"Invalid dynamic partition {name}: {values[name]}. Expected true or false")
    if _number(values, "start") >= 0:
        raise _refuse("start", "Dynamic partition start must less than 0")
    end = _number(values, "end")
    if end < 0 or (end == 0 and not partitioning.auto):
        raise _refuse("end", "Dynamic partition end must greater than 0")
    if _number(values, "buckets") <= 0:
        raise _refuse("buckets", "Dynamic partition buckets must greater than 0")
    for name, low, high in (("start_day_of_week", 1, 7), ("start_day_of_month", 1, 28)):
        if name in values and not low <= _number(values, name) <= high:
            raise DorisError(f"{PREFIX}{name} should between {low} and {high}")
    if values["hot_partition_num"] != "0" and _number(values, "hot_partition_num") < 0:
        raise DorisError("dynamic_partition.hot_partition_num must larger than 0.")
    if values["storage_policy"]:
        raise DorisError(f"{PREFIX}storage_policy: {values['storage_policy']} doesn't exist.")
    _zone(values["time_zone"])
    _reserved(values["reserved_history_periods"], unit)
    history = _number(values, "history_partition_num")
    start = 0
    if values["create_history_partition"].lower() == "true":
        start = _first(_number(values, "start"), history)
        if start == _NO_START:
            raise DorisError(
                "Provide start or history_partition_num property when create_history_partition=true. "
                "Otherwise set create_history_partition=false"
            )
    if end - start > MAX_PARTITIONS and values["enable"].lower() == "true":
        raise DorisError(f"Too many dynamic partitions: {end - start}. Limit: {MAX_PARTITIONS}")


def _number(values: dict[str, str], name: str) -> int:
    try:
        return int(values[name])
    except ValueError:
        text = f"Invalid dynamic partition {name} {values[name]}"
        if name not in _CODES:
            text = f"Invalid properties: {PREFIX}{name}"
        raise _refuse(name, text) from None


def _check_replicas(values: dict[str, str], table: Table, backends: int) -> None:
    count = values.pop("replication_num", None)
    allocation = values.get("replication_allocation") or table.properties["replication_allocation"]
    text = count if count is not None else allocation.rpartition(":")[2].strip()
    if not text.isdigit() or int(text) < 1:
        raise DorisError(f"Invalid dynamic partition replication num: {text}.")
    if int(text) > backends:
        raise not_enough_backends(int(text))
    values["replication_allocation"] = f"tag.location.default: {text}"


def not_enough_backends(replicas: int) -> DorisError:
    return DorisError(
        "Failed to find enough backend, please check the replication num,replication tag and storage"
        " medium and "
        "avail capacity of backends or maybe all be on same host.\nCreate failed replications:\n"
        f'replication tag: {{"location" : "default"}}, replication num: {replicas}, storage medium: null'
    )


def _zone(name: str) -> dt.tzinfo:
    offset = re.fullmatch(r"([+-])(\d{1,2}):(\d{2})", name)
    if offset and int(offset[2]) <= 14:
        delta = dt.timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return dt.timezone(-delta if offset[1] == "-" else delta)
    try:
        return ZoneInfo(_ZONES.get(name, name))
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise DorisError(f"Unknown or incorrect time zone: '{name}'", 1298) from None


def _reserved(text: str, unit: str) -> tuple[tuple[str, str], ...]:
    """``[from,to],[from,to]``: periods that are kept though they are older than start."""
    if text == "NULL":
        return ()
    value = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}" if unit == "HOUR" else r"\d{4}-\d{2}-\d{2}"
    periods = re.findall(rf"\[({value}),({value})\]", text)
    if not (text.startswith("[") and text.endswith("]")) or len(periods) != len(text.split("],[")):
        raise DorisError(
            f'Invalid "{PREFIX}reserved_history_periods" value {text}. It must be like '
            '"[yyyy-MM-dd,yyyy-MM-dd],[...,...]" while time_unit is DAY/WEEK/MONTH or '
            '"[yyyy-MM-dd HH:mm:ss,yyyy-MM-dd HH:mm:ss],[...,...]" while time_unit is HOUR.'
        )
    for low, high in periods:
        for moment in (low, high):
            try:
                dt.datetime.fromisoformat(moment)
            except ValueError:
                raise DorisError(
                    f"Invalid {PREFIX}reserved_history_periods value. It must be correct DATE value"
                ) from None
        if low > high:
            raise DorisError(f'The first date is larger than the second date, [{low},{high}] is invalid."')
    return tuple(periods)


def _first(start: int, history: int) -> int:
    return start if history == -1 else max(start, -history)


def rule(table: Table) -> Rule | None:
    """The rule of a table with dynamic partitions; None for others."""
    if not is_dynamic(table.properties):
        return None
    values = {k.removeprefix(PREFIX): v for k, v in table.properties.items() if k.startswith(PREFIX)}
    unit = values["time_unit"].upper()
    history = None
    if values["create_history_partition"].lower() == "true":
        history = -_first(int(values["start"]), int(values["history_partition_num"]))
    return Rule(
        enable=values["enable"].lower() == "true",
        unit=unit,
        zone=_zone(values["time_zone"]),
        start=int(values["start"]),
        end=int(values["end"]),
        prefix=values["prefix"],
        history=history,
        reserved=_reserved(values["reserved_history_periods"], unit),
        week_day=int(values.get("start_day_of_week", "1")),
        month_day=int(values.get("start_day_of_month", "1")),
    )


def check_manual(table: Table) -> None:
    """Raise DorisError where ALTER TABLE may not add or drop partitions, since they come by themselves."""
    found = rule(table)
    if found is not None and found.enable:
        raise DorisError(
            "Cannot add/drop partition on a Dynamic Partition Table, Use command `ALTER TABLE "
            f'{table.name} SET ("dynamic_partition.enable" = "false")` firstly.'
        )


def _border(found: Rule, now: dt.datetime, offset: int) -> dt.datetime:
    """The start of the period that lies ``offset`` periods from the present one, as local time."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    if found.unit == "HOUR":
        return hour + dt.timedelta(hours=offset)
    day = hour.replace(hour=0)
    if found.unit == "DAY":
        return day + dt.timedelta(days=offset)
    if found.unit == "WEEK":
        return day + dt.timedelta(weeks=offset, days=found.week_day - day.isoweekday())
    if found.unit == "MONTH":
        early = -1 if day.day < found.month_day else 0
        first: dt.datetime = partitions.shift(day.replace(day=1), "MONTH", offset + early)
        return first.replace(day=found.month_day)
    return day.replace(year=day.year + offset, month=1, day=1)


def apply(table: Table, now: dt.datetime) -> tuple[Table, list[Partition], str]:
    """The table as the scheduler leaves it: with the partitions that are due, without those that are too old.

    Gives the table, the partitions dropped, and why one could not be created (empty: none). ``now`` is
    aware.
    """
    found, partitioning = rule(table), table.partitioning
    if found is None or not found.enable or partitioning is None:
        return table, [], ""
    kind = table.column(partitioning.columns[0]).type
    local = now.astimezone(found.zone).replace(tzinfo=None)

    def text(moment: dt.datetime) -> str:
        if kind.name in INTEGERS:
            return moment.strftime("%Y%m%d")
        return moment.strftime("%Y-%m-%d" if kind.name == "DATE" else "%Y-%m-%d %H:%M:%S")

    def period(lower: dt.datetime, upper: dt.datetime) -> Partition:
        return Partition("", (text(lower),), (text(upper),))

    dropped: list[Partition] = []
    if found.start != _NO_START:
        try:
            first = _border(found, local, found.start)
        except (OverflowError, ValueError):
            raise DorisError("maybe dynamic_partition.start is too small") from None
        kept = [period(first, _border(found, local, found.end + 1))]
        for low, high in found.reserved:  # closed at both ends
            after = dt.datetime.fromisoformat(high) + dt.timedelta(seconds=1)
            if kind.name != "DATETIME":
                after = dt.datetime.fromisoformat(high) + dt.timedelta(days=1)
            kept.append(period(dt.datetime.fromisoformat(low), after))
        dropped = [
            p for p in partitioning.partitions if not any(partitions.intersects(table, k, p) for k in kept)
        ]
        table = partitions.without(table, (p.name for p in dropped)) if dropped else table
    problem = ""
    for offset in range(-(found.history or 0), found.end + 1):
        lower, upper = _border(found, local, offset), _border(found, local, offset + 1)
        new = period(lower, upper)
        assert table.partitioning is not None  # noqa: S101 - as above
        clashing = [p for p in table.partitioning.partitions if partitions.intersects(table, new, p)]
        if clashing:
            if (clashing[0].lower, clashing[0].upper) != (new.lower, new.upper):
                problem = (
                    f"Range {partitions.describe(table, new)} is intersected with range: "
                    f"{partitions.describe(table, clashing[0])}"
                )
            continue
        name = f"{found.prefix}{partitions.period_name(lower, found.unit)}"
        try:
            table = partitions.resolve(table, [PartitionItem(name, "FIXED", new.lower, new.upper)])
        except DorisError as error:
            problem = error.detail
    return table, dropped, problem


def start_of(found: Rule) -> str:
    """Where weeks or months begin, as SHOW DYNAMIC PARTITION TABLES says it."""
    if found.unit == "WEEK":
        return calendar.day_name[found.week_day - 1].upper()
    if found.unit == "MONTH":
        suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(found.month_day, "th")
        return f"{found.month_day}{suffix}"
    return "NULL"
