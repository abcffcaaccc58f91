"""Does Doris hold what PostgreSQL holds? Counts and checksums by range of the key, then row by row.

Both databases compute the checksums; rows are read only of ranges in which they differ, and pass by one after
the other, so that neither a range nor its values have to fit into memory.

Both sides go on changing while they are compared, and Doris is a little behind. So what differs is a
suspicion, which is looked at again until it is the same on both sides or ``settle`` seconds have passed. What
is left is a difference; it is repaired through the flow itself: rows are sent anew as messages, with a
sequence of now, and rows that Doris has too many are deleted by messages.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from heapq import merge
from itertools import groupby, islice
from typing import Any, Literal

import psycopg
import pymysql
import pymysql.cursors

import dbint
from dbint import errors
from dbint._core import Pool, TableSnapshot
from dbint.flow.comparison import Compared, TableComparison
from dbint.flow.config import FlowConfig
from dbint.flow.mapping import TableMapping
from dbint.flow.plan import load_mappings
from dbint.flow.snapshot import fresh_point
from dbint.flow.source import SourceTable, read_table
from dbint.flow.topics import open_outlet
from dbint.kafka import KafkaProducer

logger = logging.getLogger("dbint.flow")

Kind = Literal["missing", "extra", "different"]
Key = tuple[str, ...]

CHUNK_ROWS = 20_000
SETTLE_S = 30.0
MAX_DIFFERENCES = 1000
_KEYS_AT_ONCE = 200
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
# psycopg's settings are the session's: texts must not depend on the role.
_SESSION = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c lc_monetary=C"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not the same. ``missing`` in Doris, ``extra`` there, or ``different`` in ``columns``.

    ``moving``: PostgreSQL's row changed between the last two looks, so Doris may only be late.
    """

    key: Key
    kind: Kind
    columns: tuple[str, ...] = ()
    moving: bool = False

    def __str__(self) -> str:
        what = {"missing": "is missing in Doris", "extra": "is in Doris alone"}.get(self.kind, "differs")
        where = f" in {', '.join(self.columns)}" if self.columns else ""
        late = " (it is being changed)" if self.moving else ""
        return f"row ({', '.join(self.key)}) {what}{where}{late}"


@dataclass(frozen=True, slots=True)
class TableVerification:
    """What came out for one table. ``seconds`` is what it took, ``repaired`` the rows that were sent anew.

    ``differences`` holds the first ones, ``found`` counts all. ``ranges_read`` are those whose checksums
    differed, ``suspicious_ranges`` those of them with rows that did. ``by_value`` names columns whose
    checksums may differ where the values are the same: these are then compared one by one.
    """

    source: str
    target: str
    rows_source: int = 0
    rows_target: int = 0
    ranges: int = 0
    ranges_read: int = 0
    suspicious_ranges: int = 0
    found: int = 0
    differences: tuple[Difference, ...] = ()
    by_value: tuple[str, ...] = ()
    repaired: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.found and not self.error

    def to_json(self) -> dict[str, Any]:
        """All of it as values that JSON knows."""
        return {**asdict(self), "same": self.same}


@dataclass(slots=True)
class _Suspects:
    """Keys of rows that were not the same when they were read, up to a number."""

    most: int
    keys: dict[Key, None] = field(default_factory=dict)
    more: int = 0

    def add(self, key: Key) -> None:
        if len(self.keys) < self.most:
            self.keys[key] = None
        elif key not in self.keys:
            self.more += 1

    def __len__(self) -> int:
        return len(self.keys) + self.more


def verify(
    config: FlowConfig,
    tables: Sequence[str] | None = None,
    *,
    repair: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    settle: float = SETTLE_S,
    max_differences: int = MAX_DIFFERENCES,
    on_progress: Callable[[str], None] = lambda _line: None,
) -> list[TableVerification]:
    """Compare the flow's tables, or these of them.

    ``settle`` is how many seconds a difference may take to go away; a repair gets as long again. At most
    ``max_differences`` rows of a table are looked at one by one, and repaired.

    Raises ConfigurationError, and what dbint.errors has for servers that do not answer. What is wrong with
    one table (such as a missing one in Doris) stands in its ``error``, and the others go on.
    """
    chosen = list(config.tables if tables is None else tables)
    if strange := [table for table in chosen if table not in config.tables]:
        raise errors.ConfigurationError(
            f"flow {config.name} has no table {strange[0]}: it has {', '.join(config.tables)}"
        )
    mappings = {mapping.source: mapping for mapping in load_mappings(config)}
    found = []
    with config.source.connect(options=_SESSION) as postgres, _closing(config.target.connect()) as doris:
        for name in chosen:
            verifier = _Verifier(
                config, mappings[name], postgres, doris, chunk_rows, settle, max_differences, on_progress
            )
            found.append(verifier.run(repair=repair))
    return found


class _closing:  # noqa: N801 - contextlib.closing, with the type that pymysql's stubs have
    def __init__(self, connection: "pymysql.connections.Connection[Any]") -> None:
        self._connection = connection

    def __enter__(self) -> "pymysql.connections.Connection[Any]":
        return self._connection

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


class _Verifier:
    """Compares one table."""

    def __init__(
        self,
        config: FlowConfig,
        mapping: TableMapping,
        postgres: psycopg.Connection[Any],
        doris: "pymysql.connections.Connection[Any]",
        chunk_rows: int,
        settle: float,
        max_differences: int,
        on_progress: Callable[[str], None],
    ) -> None:
        self._config, self._mapping = config, mapping
        self._postgres, self._doris = postgres, doris
        self._chunk_rows, self._settle, self._say = chunk_rows, settle, on_progress
        self._suspects = _Suspects(max_differences)
        self._source = read_table(postgres, mapping.source)
        self._table = TableComparison(mapping, self._source)
        self._result = TableVerification(
            mapping.source,
            f"{mapping.target_database}.{mapping.target_table}",
            by_value=tuple(column.name for column in self._table.by_value),
        )

    def run(self, *, repair: bool) -> TableVerification:
        began = time.monotonic()
        try:
            self._compare_ranges()
            differences = self._look_again(list(self._suspects.keys), self._settle)
            if repair and differences:
                repaired = _Repair(self._config, self._mapping, self._source, self._table).send(
                    self._postgres, differences
                )
                self._say(f"{self._mapping.source}: {repaired} rows sent anew")
                self._result = replace(self._result, repaired=repaired)
                differences = self._look_again([d.key for d in differences], self._settle)
        except (psycopg.Error, pymysql.Error) as error:
            text = " ".join(str(error.args[-1] if error.args else error).split())
            if isinstance(error, pymysql.Error):
                text += f" (flow_plan {self._config.name} says whether Doris' table is as it should be)"
            self._result = replace(self._result, error=text)
            return replace(self._result, seconds=time.monotonic() - began)
        return replace(
            self._result,
            differences=tuple(differences),
            found=len(differences) + self._suspects.more,
            seconds=time.monotonic() - began,
        )

    # -- ranges

    def _compare_ranges(self) -> None:
        bounds = [tuple(row) for row in self._postgres.execute(self._table.boundaries(self._chunk_rows))]
        lows: list[Key | None] = [None, *bounds]
        highs: list[Key | None] = [*bounds, None]
        rows_source = rows_target = read = suspicious = 0
        for number, (low, high) in enumerate(zip(lows, highs, strict=True)):
            in_postgres, in_doris = self._table.within(low, high)
            source = self._postgres.execute(self._table.postgres_sum(in_postgres)).fetchone()
            target = self._query(self._table.doris_sum(in_doris))[0]
            left, right = tuple(map(int, source or (0, 0))), tuple(map(int, target))
            rows_source, rows_target = rows_source + left[0], rows_target + right[0]
            outcome = ""
            if left != right:
                read += 1
                before = len(self._suspects)
                self._compare_rows(in_postgres, in_doris)
                differs = len(self._suspects) > before
                suspicious += differs
                outcome = ", differs" if differs else ", the same row by row"
            self._say(
                f"{self._mapping.source}: range {number + 1} of {len(lows)}, {left[0]} rows, "
                f"{right[0]} in Doris{outcome}"
            )
        self._result = replace(
            self._result,
            rows_source=rows_source,
            rows_target=rows_target,
            ranges=len(lows),
            ranges_read=read,
            suspicious_ranges=suspicious,
        )

    def _compare_rows(self, in_postgres: str, in_doris: str) -> None:
        """Which rows of a range are not the same. Both sides come in the order of the key."""
        keys, place = len(self._table.keys), self._table.place
        with self._postgres.cursor() as mine, self._doris.cursor(pymysql.cursors.SSCursor) as theirs:
            theirs.execute(self._table.doris_rows(in_doris))
            left = mine.stream(self._table.postgres_rows(in_postgres))
            for _, found in groupby(merge(left, theirs, key=place), key=place):
                rows = list(found)
                if len(rows) != 2 or not self._same_row(*(row[keys:] for row in rows)):
                    self._suspects.add(tuple(rows[0][:keys]))

    def _same_row(self, left: Sequence[Any], right: Sequence[Any]) -> bool:
        """Hash and values, PostgreSQL's first: where both have a key, the merge takes its row first."""
        return bool(left[0] == right[0]) and self._same_values(left[1:], right[1:])

    def _same_values(self, left: Sequence[Any], right: Sequence[Any]) -> bool:
        return all(column.same(a, b) for column, a, b in zip(self._table.by_value, left, right, strict=True))

    def _query(self, text: str) -> list[tuple[Any, ...]]:
        with self._doris.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    # -- rows

    def _look_again(self, keys: Sequence[Key], seconds: float) -> list[Difference]:
        """Which of these rows stay different."""
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE_S
        before: dict[Key, Any] = {}
        while True:
            found: list[Difference] = []
            now: dict[Key, Any] = {}
            for some in _batches(keys, _KEYS_AT_ONCE):
                source, target = self._values(some)
                now |= source
                found += self._differences(some, source, target)
            if not found or time.monotonic() >= deadline:
                return [
                    replace(d, moving=bool(before) and before.get(d.key) != now.get(d.key)) for d in found
                ]
            keys, before = [difference.key for difference in found], now
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _values(self, keys: Sequence[Key]) -> tuple[dict[Key, Any], dict[Key, Any]]:
        width = len(self._table.keys)
        source = self._postgres.execute(self._table.postgres_values(keys)).fetchall()
        target = self._query(self._table.doris_values(keys))
        return (
            {tuple(row[:width]): tuple(row[width:]) for row in source},
            {tuple(row[:width]): tuple(row[width:]) for row in target},
        )

    def _differences(
        self, keys: Sequence[Key], source: dict[Key, Any], target: dict[Key, Any]
    ) -> Iterator[Difference]:
        for key in keys:
            left, right = source.get(key), target.get(key)
            if left is None and right is None:
                continue
            if right is None:
                yield Difference(key, "missing")
            elif left is None:
                yield Difference(key, "extra")
            else:
                columns = tuple(
                    column.name
                    for column, a, b in zip(self._table.columns, left, right, strict=True)
                    if not column.same(a, b)
                )
                if columns:
                    yield Difference(key, "different", columns)


def _batches(keys: Iterable[Key], size: int) -> Iterator[list[Key]]:
    left = iter(keys)
    while some := list(islice(left, size)):
        yield some


# -- repair


class _Repair:
    """Sends rows anew through the flow's topics, so that whoever loads Doris mends it."""

    def __init__(
        self, config: FlowConfig, mapping: TableMapping, source: SourceTable, table: TableComparison
    ) -> None:
        self._config, self._mapping, self._source, self._table = config, mapping, source, table

    def send(self, postgres: psycopg.Connection[Any], differences: Sequence[Difference]) -> int:
        """Send what is different, and return how many rows that were. Raises what dbint.errors has."""
        point = fresh_point(postgres)
        wanted = [difference.key for difference in differences if difference.kind != "extra"]
        extra = [difference.key for difference in differences if difference.kind == "extra"]
        sent = self._send_rows(postgres, wanted, point) if wanted else 0
        return sent + (self._send_deletes(postgres, extra, point) if extra else 0)

    def _send_rows(self, postgres: psycopg.Connection[Any], keys: Sequence[Key], point: int) -> int:
        """Rows as the source has them now: op r, with a sequence that is above all that went before."""
        config, mapping = self._config, self._mapping
        schema, _, name = mapping.source.partition(".")
        outlet = open_outlet(config)
        sent = 0
        with Pool(config.source.conninfo(), name=f"flow {config.name} repair", max_size=1) as pool:
            for some in _batches(keys, _KEYS_AT_ONCE):
                reader = TableSnapshot(
                    outlet,
                    schema,
                    name,
                    self._source.oid,
                    topic=mapping.topic,
                    prefix=config.prefix,
                    database=postgres.info.dbname,
                    version=f"dbint {dbint.__version__}",
                    point=point,
                    only=not self._source.partitioned,
                    columns=self._columns(),
                    filter=f"({self._table.postgres_keys(some)})",
                    dead_letter_topic=(
                        config.dead_letter_topic if config.too_large == "dead_letter" else None
                    ),
                )
                changed, _, rows, *_ = reader.chunk(pool, rows=len(some) + 1)
                if changed:
                    raise errors.OperationalError(f"{mapping.source} was altered while rows were sent anew")
                sent += rows
        return sent

    def _columns(self) -> list[str]:
        return [column.name for column in self._source.columns if not column.generated]

    def _send_deletes(self, postgres: psycopg.Connection[Any], keys: Sequence[Key], point: int) -> int:
        """Rows that the source has not: op d."""
        with KafkaProducer(config=self._config.kafka("producer")) as producer:
            for key in keys:
                values = {
                    column.name: _json_value(column, text)
                    for column, text in zip(self._table.keys, key, strict=True)
                }
                message = self._delete(values, postgres.info.dbname, point)
                producer.enqueue(self._mapping.topic, _dumps(message), _dumps(values))
            if left := producer.flush(timeout=self._config.load_timeout):
                raise errors.DeadlineError(
                    f"{left} of {len(keys)} deletes were not acknowledged by Kafka in time"
                )
        return len(keys)

    def _delete(self, key: dict[str, Any], database: str, point: int) -> dict[str, Any]:
        schema, _, table = self._mapping.source.partition(".")
        now = time.time_ns()
        times = {"ts_ms": now // 10**6, "ts_us": now // 1000, "ts_ns": now}
        before = {column.source: key.get(column.source) for column in self._mapping.columns}
        source = {
            "version": f"dbint {dbint.__version__}",
            "connector": "postgresql",
            "name": self._config.prefix,
            "ts_ms": times["ts_ms"],
            "snapshot": "false",
            "db": database,
            "sequence": json.dumps([str(point), str(point)], separators=(",", ":")),
            "ts_us": times["ts_us"],
            "ts_ns": times["ts_ns"],
            "schema": schema,
            "table": table,
            "txId": None,
            "lsn": point,
            "xmin": None,
            "origin": None,
            "origin_lsn": None,
        }
        return {"before": before, "after": None, "source": source, "transaction": None, "op": "d", **times}


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json_value(column: Compared, text: str) -> Any:
    """A key's value as the messages have it."""
    if column.type == "boolean":
        return text == "t"
    if column.base in ("int2", "int4", "int8", "oid"):
        return int(text)
    if column.base in ("date", "time"):
        return f"{text}Z"
    if column.base == "timestamp":
        day, _, clock = text.partition(" ")
        return f"{day}T{clock.rstrip('0').rstrip('.') if '.' in clock else clock}Z"
    if column.base == "timestamptz":
        return f"{text.replace(' ', 'T')}Z"
    if column.base == "uuid" and len(text) == 32:
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text
