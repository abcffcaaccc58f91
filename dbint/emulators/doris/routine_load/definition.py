"""CREATE and ALTER ROUTINE LOAD: their clauses and properties, checked as Doris does.

Source: rules of DorisParser.g4 (release 4.0); CreateRoutineLoadInfo, AlterRoutineLoadCommand and
KafkaDataSourceProperties of apache/doris.
"""

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.routine_load.job import OFFSET_BEGINNING, OFFSET_END
from dbint.emulators.doris.sql.lexer import Cursor, Token

_NAME = re.compile(r"[a-zA-Z][\w$-]{0,63}")
_BROKER = re.compile(r"[-A-Za-z0-9+&@#/%?=~_|!:,.;]+[-A-Za-z0-9+&@#/%=~_|]")
_MB = 1 << 20
_JSON_PROPERTIES = ("jsonpaths", "json_root", "strip_outer_array", "num_as_string", "fuzzy_parse")
_CSV_PROPERTIES = ("enclose", "escape", "empty_field_as_null")
_LOAD_PROPERTIES = (
    "strict_mode",
    "timezone",
    "partial_columns",
    "partial_update_new_key_behavior",
    "unique_key_update_mode",
    "load_to_single_tablet",
)
_PROPERTIES = frozenset(
    (
        "desired_concurrent_number",
        "max_error_number",
        "max_filter_ratio",
        "max_batch_interval",
        "max_batch_rows",
        "max_batch_size",
        "exec_mem_limit",
        "send_batch_parallelism",
        "workload_group",
        "format",
        *_JSON_PROPERTIES,
        *_CSV_PROPERTIES,
        *_LOAD_PROPERTIES,
    )
)
_SOURCE = frozenset(("kafka_broker_list", "kafka_topic", "kafka_partitions", "kafka_offsets"))
_OFFSETS = {"OFFSET_BEGINNING": OFFSET_BEGINNING, "OFFSET_END": OFFSET_END}
_DEFAULT_OFFSETS = "kafka_default_offsets"
PRECEDING_FILTER = "preceding_filter"  # no header of a Stream Load, which has no such thing


@dataclass(slots=True)
class Definition:
    """A statement as it was written."""

    name: tuple[str, ...]
    table: str = ""
    merge_type: str = "APPEND"
    clauses: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The properties of FROM KAFKA; ``offsets`` those of ``partitions``."""

    brokers: str
    topic: str
    partitions: list[int]
    offsets: list[int]
    default_offset: int | None
    kafka: dict[str, str]


def parse_create(cursor: Cursor) -> Definition:
    """What follows CREATE ROUTINE LOAD. Raises DorisSyntaxError, NotEmulatedError."""
    found = Definition(cursor.qualified_name())
    if not cursor.accept("ON"):
        raise NotEmulatedError("a Routine Load into several tables")
    found.table = cursor.identifier()
    if cursor.accept("WITH"):
        merge_type = cursor.word()
        if merge_type not in ("APPEND", "DELETE", "MERGE"):
            cursor.fail("{'APPEND', 'DELETE', 'MERGE'}")
        cursor.next()
        found.merge_type = merge_type
    if cursor.word() not in ("PROPERTIES", "FROM"):
        _clause(cursor, found.clauses)
        while cursor.accept(","):
            _clause(cursor, found.clauses)
    _tail(cursor, found, source_is_needed=True)
    if cursor.accept("COMMENT"):
        found.comment = cursor.string()
    cursor.end()
    return found


def parse_alter(cursor: Cursor) -> Definition:
    """What follows ALTER ROUTINE LOAD FOR."""
    found = Definition(cursor.qualified_name())
    if cursor.word() not in ("PROPERTIES", "FROM"):
        raise NotEmulatedError("ALTER ROUTINE LOAD of anything but properties")
    _tail(cursor, found, source_is_needed=False)
    cursor.end()
    return found


def _tail(cursor: Cursor, found: Definition, *, source_is_needed: bool) -> None:
    if cursor.accept("PROPERTIES"):
        found.properties = cursor.properties()
    if not cursor.accept("FROM"):
        if source_is_needed:
            cursor.fail("'FROM'")
        return
    kind = cursor.identifier()
    if kind.upper() != "KAFKA":
        raise DorisError(f"routine load job does not support this data source type: {kind}")
    found.source = cursor.properties()


def _clause(cursor: Cursor, clauses: dict[str, str]) -> None:
    """One of the load properties, under the name of the Stream Load header that means the same."""
    if cursor.accept("COLUMNS", "TERMINATED", "BY"):
        clauses["column_separator"] = cursor.string()
    elif cursor.accept("COLUMNS"):
        clauses["columns"] = cursor.group()[1:-1]
    elif cursor.accept("PRECEDING"):
        cursor.expect("FILTER")
        clauses[PRECEDING_FILTER] = _expression(cursor)
    elif cursor.accept("WHERE"):
        clauses["where"] = _expression(cursor)
    elif cursor.accept("DELETE", "ON"):
        clauses["delete"] = _expression(cursor)
    elif cursor.accept("ORDER", "BY"):
        clauses["function_column.sequence_col"] = cursor.identifier()
    elif cursor.accept("PARTITION") or cursor.accept("PARTITIONS"):
        clauses["partitions"] = ",".join(cursor.names() if cursor.word() == "(" else [cursor.identifier()])
    elif cursor.word() == "TEMPORARY":
        raise NotEmulatedError("a load into temporary partitions")
    else:
        cursor.fail("{'COLUMNS', 'DELETE', 'ORDER', 'PARTITION', 'PRECEDING', 'WHERE'}")


def _expression(cursor: Cursor) -> str:
    """The source text up to the next clause."""
    first = cursor.peek()
    last: Token | None = None
    depth = 0
    while cursor.peek() is not None:
        word = cursor.word()
        if depth == 0 and word in (",", "PROPERTIES", "FROM"):
            break
        depth += (word == "(") - (word == ")")
        last = cursor.next()
    if first is None or last is None:
        cursor.fail("expression")
    return cursor.sql[first.start : last.end]


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise DorisError(
            f"Incorrect ROUTINE LOAD NAME name '{name}'. Maybe routine load job name is longer than 64 or"
            " contains illegal characters"
        )


# -- properties


def check_properties(given: Iterable[str]) -> None:
    for name in given:
        if name not in _PROPERTIES:
            raise DorisError(f"{name} is invalid property")


def numbers(properties: dict[str, str]) -> dict[str, int | float]:
    """Those of the properties that are numbers and that were given, by the names of Job's fields."""
    found: dict[str, int | float] = {}

    def take(
        name: str, field_: str, convert: type[int] | type[float], text: str, valid: Callable[[float], bool]
    ) -> None:
        if name not in properties:
            return
        try:
            value = convert(properties[name])
        except ValueError:
            raise DorisError(text) from None
        if not valid(value):
            raise DorisError(text)
        found[field_] = value

    take("desired_concurrent_number", "desired_concurrent", int,
         "desired_concurrent_number must be greater than 0", lambda v: v > 0)  # fmt: skip
    take("max_error_number", "max_error_number", int, "max_error_number should >= 0", lambda v: v >= 0)
    take("max_filter_ratio", "max_filter_ratio", float, "max_filter_ratio should between 0 and 1",
         lambda v: 0 <= v <= 1)  # fmt: skip
    take("max_batch_interval", "max_batch_interval", int, "max_batch_interval should >= 1", lambda v: v >= 1)
    take("max_batch_rows", "max_batch_rows", int, "max_batch_rows should > 200000", lambda v: v >= 200_000)
    take("max_batch_size", "max_batch_size", int, "max_batch_size should between 100MB and 10GB",
         lambda v: 100 * _MB <= v <= 10240 * _MB)  # fmt: skip
    take("exec_mem_limit", "exec_mem_limit", int, "exec_mem_limit must be greater than 0", lambda v: v >= 0)
    return found


def load_headers(definition: Definition, time_zone: str) -> dict[str, str]:
    """The clauses and properties as the headers of a Stream Load that does the same."""
    given = definition.properties
    kind = given.get("format", "csv").lower()
    if kind not in ("csv", "json"):
        raise DorisError(f"format:{kind} is not supported.")
    headers = {"format": kind, "strict_mode": "false", "timezone": time_zone, **definition.clauses}
    headers |= {name: given[name] for name in _LOAD_PROPERTIES if name in given}
    for name in ("strict_mode", "partial_columns", "load_to_single_tablet"):
        if headers.get(name, "false").lower() not in ("true", "false"):
            raise DorisError(f"{name} should be a boolean")
    names = _JSON_PROPERTIES if kind == "json" else _CSV_PROPERTIES
    headers |= {name: given[name] for name in names if given.get(name)}
    if kind == "json":
        headers["read_json_by_line"] = "true"  # one message is one document
    if definition.merge_type != "APPEND":
        headers["merge_type"] = definition.merge_type
    return headers


# -- the source


def check_source(given: dict[str, str], *, is_alter: bool, job: str) -> Source:
    """The properties of FROM KAFKA. Raises DorisError, NotEmulatedError."""
    for name in given:
        if name not in _SOURCE and name != _DEFAULT_OFFSETS and not name.startswith("property."):
            raise DorisError(f"{name} is invalid kafka property or can not be set")
    brokers, topic = given.get("kafka_broker_list", "").strip(), given.get("kafka_topic", "").strip()
    if not is_alter:
        for name, value in (("kafka_broker_list", brokers), ("kafka_topic", topic)):
            if not value:
                raise DorisError(f"{name} is a required property")
    for broker in brokers.split(",") if brokers else ():
        if not _BROKER.fullmatch(broker.strip()):
            raise DorisError(f"kafka_broker_list:{broker} not match pattern {_BROKER.pattern}")
    kafka = {
        name.removeprefix("property."): value for name, value in given.items() if name.startswith("property.")
    }
    default = given.get(_DEFAULT_OFFSETS) or kafka.pop(_DEFAULT_OFFSETS, None)
    if not is_alter:
        kafka.setdefault("group.id", f"{job}_{uuid.uuid4()}")
    partitions = [_integer("kafka_partitions", text) for text in _items(given.get("kafka_partitions", ""))]
    offsets = [_offset(text) for text in _items(given.get("kafka_offsets", ""))]
    if offsets and given.get(_DEFAULT_OFFSETS):
        raise DorisError(f"Only one of kafka_offsets and {_DEFAULT_OFFSETS} can be set.")
    if is_alter and partitions and not offsets and default is None:
        raise DorisError("Must set offset or default offset with partition property")
    if offsets and len(offsets) != len(partitions):
        raise DorisError("Partitions number should be equals to offsets number")
    default_offset = None if default is None else _offset(default)
    if default_offset is not None and default_offset >= 0:
        raise DorisError(f"{_DEFAULT_OFFSETS} can only be set to OFFSET_BEGINNING, OFFSET_END or date time")
    if partitions and not offsets:
        offsets = [OFFSET_END if default_offset is None else default_offset] * len(partitions)
    return Source(brokers, topic, partitions, offsets, default_offset, kafka)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _integer(name: str, text: str) -> int:
    if not text.isdigit():
        raise DorisError(f"Invalid {name} '{text}': must be a number")
    return int(text)


def _offset(text: str) -> int:
    if text.upper() in _OFFSETS:
        return _OFFSETS[text.upper()]
    if text.isdigit():
        return int(text)
    if re.match(r"\d{4}-\d\d-\d\d", text):
        raise NotEmulatedError("an offset of Kafka given as a time")
    raise DorisError(f"Invalid kafka offset: {text}")
