"""How a flow is doing, seen from outside of the process that runs it.

What is known comes from the servers: the slot and ``dbint.flow_capture`` in PostgreSQL, the offsets of the
sink's consumer group with the notes that it commits beside them, or Doris' Routine Load jobs. So it is the
same wherever it is asked, and also when nothing runs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from dbint import errors
from dbint.flow.config import FlowConfig
from dbint.flow.plan import load_mappings
from dbint.flow.ranges import Note
from dbint.flow.routine_load import RoutineLoads
from dbint.flow.slots import SlotState, read_slot
from dbint.flow.snapshot import TableProgress, read_progress
from dbint.kafka import KafkaAdmin, KafkaConsumer
from dbint.kafka.admin import UNKNOWN_TOPIC
from dbint.metrics import Metric

Level = Literal["ok", "warning", "error"]

# What an idle server writes by itself between two answers of the capture.
_IDLE_BYTES = 64 << 10
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a leg is behind. None: it cannot be known. Seconds are the age of the oldest change that is
    not there yet, or above it.
    """

    bytes: int | None = None
    rows: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.bytes is not None:
            parts.append(_size(self.bytes))
        if self.rows is not None:
            parts.append(f"{self.rows:,} rows")
        if self.seconds is not None:
            parts.append(f"{self.seconds:,.1f} s")
        return ", ".join(parts) or "not known"


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """What waits in a topic for the sink. ``loading`` is the number of messages of loads under way."""

    topic: str
    table: str
    partitions: int
    rows: int
    loading: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should see to."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """All about a flow at ``at`` (seconds since 1970). ``capture`` is PostgreSQL -> Kafka, ``sink`` Kafka ->
    Doris; ``freshness_*`` is from a commit until it can be seen in Doris, in seconds, of the latest loads of
    the slowest partition.
    """

    flow: str
    engine: str
    at: float
    capture: Lag
    sink: Lag
    slot: SlotState | None = None
    freshness_p50: float | None = None
    freshness_p99: float | None = None
    last_visible: float | None = None
    first_load: tuple[TableProgress, ...] = ()
    topics: tuple[TopicStatus, ...] = ()
    jobs: tuple[dict[str, Any], ...] = ()
    dead_letters: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level:
        """The worst of what was found."""
        levels = {finding.level for finding in self.findings}
        return "error" if "error" in levels else "warning" if "warning" in levels else "ok"

    def to_json(self) -> dict[str, Any]:
        """All of it as values that JSON knows."""
        return {
            "flow": self.flow,
            "engine": self.engine,
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "level": self.level,
            "lag": {"capture": asdict(self.capture), "sink": asdict(self.sink)},
            "slot": self.slot.to_json() if self.slot else None,
            "freshness_s": {"p50": self.freshness_p50, "p99": self.freshness_p99},
            "last_visible": self.last_visible and datetime.fromtimestamp(self.last_visible, UTC).isoformat(),
            "first_load": [progress.to_json() for progress in self.first_load],
            "topics": [asdict(topic) for topic in self.topics],
            "routine_load": list(self.jobs),
            "dead_letters": self.dead_letters,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def metrics(self) -> Iterator[Metric]:
        """The same as gauges; what is not known is left out."""
        flow = {"flow": self.flow}
        for leg, lag in (("capture", self.capture), ("sink", self.sink)):
            for name, value in asdict(lag).items():
                if value is not None:
                    yield Metric(f"dbint_flow_lag_{name}", "gauge", {**flow, "leg": leg}, float(value))
        if self.slot is not None:
            yield Metric("dbint_flow_slot_retained_bytes", "gauge", flow, float(self.slot.retained))
        for quantile, value in (("p50", self.freshness_p50), ("p99", self.freshness_p99)):
            if value is not None:
                yield Metric(f"dbint_flow_freshness_{quantile}_seconds", "gauge", flow, value)
        yield Metric("dbint_flow_dead_letters", "gauge", flow, float(self.dead_letters))
        for level in ("ok", "warning", "error"):
            yield Metric("dbint_flow_status", "gauge", {**flow, "status": level}, float(self.level == level))

    def lines(self) -> list[str]:
        """The same for people."""
        lines = [f"flow {self.flow} ({self.engine}): {self.level}"]
        lines += [f"  {finding.level}: {finding.text}" for finding in self.findings]
        lines.append(f"  PostgreSQL -> Kafka: behind by {self.capture}")
        if self.slot is not None:
            lines.append(
                f"    slot {self.slot.name}: {'read' if self.slot.active_pid else 'not read'}, the server "
                f"keeps {_size(self.slot.retained)} of its log for it"
            )
        lines += [f"    first load of {progress}" for progress in self.first_load if progress.state != "done"]
        lines.append(f"  Kafka -> Doris: behind by {self.sink}")
        for topic in self.topics:
            if topic.rows or topic.loading:
                lines.append(
                    f"    {topic.topic}: {topic.rows:,} messages, {topic.loading:,} of them being loaded"
                )
        for job in self.jobs:
            lines.append(f"    job {job['name']}: {job['state']} {job['reason']}".rstrip())
        if self.freshness_p50 is not None and self.freshness_p99 is not None:
            lines.append(
                f"  from commit to visible: p50 {self.freshness_p50:.2f} s, p99 {self.freshness_p99:.2f} s"
            )
        return lines


def _size(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def flow_status(config: FlowConfig) -> FlowStatus:
    """Ask the servers. One that does not answer is a finding, and what it would have said is not known;
    raises ConfigurationError alone.
    """
    return _Look(config).status()


@dataclass(slots=True)
class _Look:
    config: FlowConfig
    now: float = field(default_factory=time.time)
    findings: list[Finding] = field(default_factory=list)
    slot: SlotState | None = None
    capture: Lag = field(default_factory=Lag)
    sink: Lag = field(default_factory=Lag)
    progress: list[TableProgress] = field(default_factory=list)
    topics: list[TopicStatus] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: int = 0

    def status(self) -> FlowStatus:
        for ask in (self._ask_postgres, self._ask_kafka, *([self._ask_doris] if self._connect else [])):
            try:
                ask()
            except errors.ConfigurationError as error:
                self.find("error", str(error))
            except (errors.Error, psycopg.Error) as error:
                self.find("error", " ".join(str(error).split()))
        visible = max((note.visible_ms for note in self.notes), default=0)
        p50 = max((note.p50_ms for note in self.notes), default=0)
        p99 = max((note.p99_ms for note in self.notes), default=0)
        return FlowStatus(
            flow=self.config.name,
            engine=self.config.engine,
            at=self.now,
            capture=self.capture,
            sink=self.sink,
            slot=self.slot,
            freshness_p50=p50 / 1000 if visible else None,
            freshness_p99=p99 / 1000 if visible else None,
            last_visible=visible / 1000 if visible else None,
            first_load=tuple(self.progress),
            topics=tuple(self.topics),
            jobs=tuple(self.jobs),
            dead_letters=self.dead_letters,
            findings=tuple(self.findings),
        )

    @property
    def _connect(self) -> bool:
        return self.config.engine == "connect"

    def find(self, level: Level, text: str) -> None:
        self.findings.append(Finding(level, text))

    # -- PostgreSQL

    def _ask_postgres(self) -> None:
        config = self.config
        with config.source.connect() as connection:
            self.progress = self._first_load(connection)
            if config.mode == "full_load_only":
                return
            self.slot = read_slot(connection, config.slot)
            if self.slot is None:
                begun = any(progress.state != "pending" for progress in self.progress)
                self.find(
                    "error",
                    f"slot {config.slot} is not there: "
                    + ("changes are being missed (run_flow says what to do)" if begun else "start run_flow"),
                )
                return
            commit = self._confirmed_commit(connection)
        self._judge_slot(self.slot)
        behind = max(0, self.slot.behind)
        idle = behind <= _IDLE_BYTES and self.slot.active_pid is not None
        self.capture = Lag(behind, None, 0.0 if idle else None if commit is None else self.now - commit)

    def _judge_slot(self, slot: SlotState) -> None:
        if slot.lost:
            self.find("error", f"slot {slot.name} is invalidated: run_flow --resync loads all tables anew")
        elif slot.active_pid is None:
            what = "Debezium does" if self._connect else "run_flow does"
            self.find("error", f"nobody reads slot {slot.name} ({what} when it runs)")
        if slot.retained >= self.config.lag_warning_bytes:
            self.find(
                "warning",
                f"the server keeps {_size(slot.retained)} of its log for slot {slot.name}"
                + (f", and may keep {_size(slot.safe)} more" if slot.safe is not None else ""),
            )

    def _first_load(self, connection: psycopg.Connection[Any]) -> list[TableProgress]:
        if self.config.mode == "cdc_only" or self._connect:
            return []
        known = {progress.table: progress for progress in read_progress(connection, self.config.name)}
        return [known.get(table, TableProgress(table, "pending")) for table in self.config.tables]

    def _confirmed_commit(self, connection: psycopg.Connection[Any]) -> float | None:
        """The time of the newest commit that is in Kafka, as the capture noted it last."""
        row = connection.execute("SELECT to_regclass('dbint.flow_capture') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            return None
        row = connection.execute(
            "SELECT extract(epoch FROM confirmed_commit)::float8 FROM dbint.flow_capture WHERE flow = %s",
            [self.config.name],
        ).fetchone()
        return None if row is None else row[0]

    # -- Kafka

    def _ask_kafka(self) -> None:
        config = self.config
        with KafkaAdmin(config=config.kafka(None)) as admin:
            there = {}
            for table in (*config.tables, ""):
                topic = config.topic(table) if table else config.dead_letter_topic
                try:
                    there[table] = [part.id for part in admin.topic(topic, timeout=_TIMEOUT_S).partitions]
                except errors.KafkaError as error:
                    if error.kafka_code != UNKNOWN_TOPIC:
                        raise
        self._judge_partitions({table: len(ids) for table, ids in there.items() if table})
        with KafkaConsumer(group=config.group, config=config.kafka("consumer")) as consumer:
            for number in there.pop("", []):
                low, high = consumer.watermarks(config.dead_letter_topic, number, _TIMEOUT_S)
                self.dead_letters += max(0, high - low)
            if not self._connect:
                for table, ids in there.items():
                    self._ask_topic(consumer, table, ids)
        if self.dead_letters:
            self.find(
                "warning",
                f"{self.dead_letters} rows that Doris refused are in topic {config.dead_letter_topic}",
            )
        if not self._connect and there:
            self.sink = Lag(
                None,
                sum(topic.rows for topic in self.topics),
                max((topic.seconds for topic in self.topics), default=0.0),
            )

    def _ask_topic(self, consumer: KafkaConsumer, table: str, ids: Sequence[int]) -> None:
        topic = self.config.topic(table)
        rows = loading = 0
        seconds = 0.0
        for place in consumer.committed([(topic, number) for number in ids], _TIMEOUT_S):
            low, high = consumer.watermarks(topic, place.partition, _TIMEOUT_S)
            note = Note.parse(place.metadata)
            at = place.offset if isinstance(place.offset, int) and place.offset >= 0 else low
            waiting = max(0, high - at)
            rows += waiting
            if note.end is not None:
                loading += max(0, min(note.end, high) - at)
            if note.visible_ms:
                self.notes.append(note)
            if waiting and note.committed_ms:
                seconds = max(seconds, self.now - note.committed_ms / 1000)
        self.topics.append(TopicStatus(topic, table, len(ids), rows, loading, seconds))

    def _judge_partitions(self, there: dict[str, int]) -> None:
        for table, count in there.items():
            if count != self.config.partitions:
                self.find(
                    "warning",
                    f"topic {self.config.topic(table)} has {count} partitions, the flow says "
                    f"{self.config.partitions}: it is left as it is",
                )

    # -- Doris

    def _ask_doris(self) -> None:
        with RoutineLoads(self.config) as loads:
            jobs = loads.status(load_mappings(self.config))
        self.jobs = [job.to_json() for job in jobs]
        for job in jobs:
            if not job.is_well:
                self.find("error", f"job {job.name} is {job.state}: {job.reason or job.advice}")
        lags = [job.lag for job in jobs]
        known = [lag for lag in lags if lag is not None]
        self.sink = Lag(None, sum(known) if len(known) == len(lags) else None, None)
