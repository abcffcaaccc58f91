"""How a flow is doing, seen from outside of the process that runs it.

What is known comes from the servers: the slot and ``dbint.flow_capture`` in PostgreSQL, the offsets of the
sink's consumer group with the notes that it commits beside them; of engine "connect" the connector's offsets
and Doris' Routine Load jobs. So it is the same wherever it is asked, and also when nothing runs. What cannot
be known says why.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from dbint import errors
from dbint.flow.capture import unloaded_tables
from dbint.flow.config import FlowConfig
from dbint.flow.connect import ConnectorStatus, KafkaConnect, connector_name
from dbint.flow.plan import load_mappings
from dbint.flow.ranges import Note, commit_time
from dbint.flow.routine_load import Job, RoutineLoads
from dbint.flow.slots import SlotState, read_slot
from dbint.flow.snapshot import TableProgress, read_progress
from dbint.kafka import KafkaAdmin, KafkaConsumer
from dbint.kafka.admin import UNKNOWN_TOPIC
from dbint.metrics import Metric

Level = Literal["ok", "warning", "error"]

FIGURES = ("bytes", "rows", "seconds")

# What an idle server writes by itself between two answers of the capture.
_IDLE_BYTES = 64 << 10
_TIMEOUT_S = 10.0
# A first load notes its progress after each chunk, which takes seconds.
_STILL_S = 60.0
# Of the messages that wait the first alone is of interest.
_FETCH = {"fetch.message.max.bytes": 65536}
_NO_ANSWER = "a server did not answer"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a leg is behind. Of what is None, ``unknown`` says by its name why it cannot be known.

    Seconds are the age of the oldest change that is not there yet, or above it.
    """

    bytes: int | None = None
    rows: int | None = None
    seconds: float | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def nothing(cls, why: str) -> "Lag":
        """Nothing is known."""
        return cls(unknown=dict.fromkeys(FIGURES, why))

    def figures(self) -> dict[str, float]:
        """What is known, by name."""
        return {name: value for name in FIGURES if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        known = []
        if self.bytes is not None:
            known.append(_size(self.bytes))
        if self.rows is not None:
            known.append(f"{self.rows:,} rows")
        if self.seconds is not None:
            known.append(f"{self.seconds:,.1f} s")
        whys: dict[str, list[str]] = {}
        for name, why in self.unknown.items():
            whys.setdefault(why, []).append(name)
        if not known:
            return f"lag unknown ({'; '.join(whys)})"
        unknown = [f"{', '.join(names)} unknown ({why})" for why, names in whys.items()]
        return "; ".join([f"behind by {', '.join(known)}", *unknown])


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """What waits in a topic for Doris: ``rows`` messages, the oldest of them committed ``seconds`` ago (None:
    it cannot be known). ``loading`` is the number of messages of loads under way.
    """

    topic: str
    table: str
    partitions: int
    rows: int
    loading: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should see to."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """All about a flow at ``at`` (seconds since 1970). ``capture`` is PostgreSQL -> Kafka, ``sink`` Kafka ->
    Doris; ``freshness_*`` is from a commit until it can be seen in Doris, in seconds, of the latest loads of
    the slowest partition, and ``freshness_unknown`` why there is none.
    """

    flow: str
    engine: str
    at: float
    capture: Lag
    sink: Lag
    slot: SlotState | None = None
    freshness_p50: float | None = None
    freshness_p99: float | None = None
    freshness_unknown: str = ""
    last_visible: float | None = None
    first_load: tuple[TableProgress, ...] = ()
    topics: tuple[TopicStatus, ...] = ()
    connector: ConnectorStatus | None = None
    jobs: tuple[Job, ...] = ()
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
            "freshness_s": {
                "p50": self.freshness_p50,
                "p99": self.freshness_p99,
                "unknown": self.freshness_unknown,
            },
            "last_visible": self.last_visible and datetime.fromtimestamp(self.last_visible, UTC).isoformat(),
            "first_load": [progress.to_json() for progress in self.first_load],
            "topics": [asdict(topic) for topic in self.topics],
            "connector": self.connector and self.connector.to_json(),
            "routine_load": [job.to_json() for job in self.jobs],
            "dead_letters": self.dead_letters,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def metrics(self) -> Iterator[Metric]:
        """The same as gauges; what is not known is left out."""
        flow = {"flow": self.flow}
        for leg, lag in (("capture", self.capture), ("sink", self.sink)):
            for name, figure in lag.figures().items():
                yield Metric(f"dbint_flow_lag_{name}", "gauge", {**flow, "leg": leg}, float(figure))
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
        lines.append(f"  PostgreSQL -> Kafka: {self.capture}")
        if self.slot is not None:
            lines.append(
                f"    slot {self.slot.name}: {'read' if self.slot.active_pid else 'not read'}, the server "
                f"keeps {_size(self.slot.retained)} of its log for it"
            )
        if self.connector is not None:
            lines.append(f"    {self.connector}")
        lines += [f"    first load of {progress}" for progress in self.first_load if progress.state != "done"]
        lines.append(f"  Kafka -> Doris: {self.sink}")
        for topic in self.topics:
            if topic.rows or topic.loading:
                age = "" if topic.seconds is None else f", the oldest {topic.seconds:,.1f} s old"
                lines.append(
                    f"    {topic.topic}: {topic.rows:,} messages{age}; {topic.loading:,} of them being loaded"
                )
        for job in self.jobs:
            lines.append(f"    job {job.name}: {job.state} {job.reason}".rstrip())
        if self.freshness_p50 is not None and self.freshness_p99 is not None:
            lines.append(
                f"  from commit to visible: p50 {self.freshness_p50:.2f} s, p99 {self.freshness_p99:.2f} s"
            )
        else:
            lines.append(f"  from commit to visible: unknown ({self.freshness_unknown})")
        return lines


def _size(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def flow_status(config: FlowConfig) -> FlowStatus:
    """Ask the servers. One that does not answer is a finding, and what it would have said is not known."""
    return _Look(config).status()


@dataclass(slots=True)
class _Look:
    config: FlowConfig
    now: float = field(default_factory=time.time)
    findings: list[Finding] = field(default_factory=list)
    slot: SlotState | None = None
    capture: Lag = field(default_factory=lambda: Lag.nothing(_NO_ANSWER))
    sink: Lag = field(default_factory=lambda: Lag.nothing(_NO_ANSWER))
    progress: list[TableProgress] = field(default_factory=list)
    topics: list[TopicStatus] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    waiting: dict[str, list[Note]] = field(default_factory=dict)
    """What the sink waits for, by its reason."""
    connector: ConnectorStatus | None = None
    offset: Mapping[str, Any] | None = None
    """What the connector has noted last, of engine "connect"."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """By the table in PostgreSQL."""
    dead_letters: int = 0

    def status(self) -> FlowStatus:
        questions = [self._ask_postgres, self._ask_kafka]
        if self._connect:
            questions = [self._ask_connect, self._ask_postgres, self._ask_doris, self._ask_kafka]
        for ask in questions:
            try:
                ask()
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
            freshness_unknown="" if visible else self._why_no_freshness(),
            last_visible=visible / 1000 if visible else None,
            first_load=tuple(self.progress),
            topics=tuple(self.topics),
            connector=self.connector,
            jobs=tuple(self.jobs.values()),
            dead_letters=self.dead_letters,
            findings=tuple(dict.fromkeys(self.findings)),
        )

    def _why_no_freshness(self) -> str:
        if self._connect:
            return "Routine Load does not say when a row can be seen; the seconds above are what waits"
        return self.sink.unknown.get("rows", "the sink has noted no change in Doris yet")

    @property
    def _connect(self) -> bool:
        return self.config.engine == "connect"

    def find(self, level: Level, text: str) -> None:
        self.findings.append(Finding(level, text))

    # -- Kafka Connect

    def _ask_connect(self) -> None:
        name = connector_name(self.config)
        connect = replace(KafkaConnect.of(self.config), timeout=_TIMEOUT_S)
        self.connector = connect.status(name)
        if not self.connector.is_running:
            self.find("error", f"{self.connector} (manage.py flow_deploy brings it to run)")
        self.offset = next((noted["offset"] for noted in connect.offsets(name)), None)

    @property
    def _debezium_loads(self) -> bool:
        """Whether Debezium is at its snapshot: it reads the slot when that is done."""
        running = self.connector is not None and self.connector.is_running
        return running and (self.offset is None or bool(self.offset.get("snapshot")))

    # -- PostgreSQL

    def _ask_postgres(self) -> None:
        config = self.config
        with config.source.connect() as connection:
            self.progress = self._first_load(connection)
            if config.mode == "full_load_only" and not self._connect:
                self.capture = Lag.nothing("mode full_load_only takes no changes")
                return
            self.slot = read_slot(connection, config.slot)
            if self.slot is None:
                self.capture = Lag.nothing("there is no slot")
                begun = any(progress.state != "pending" for progress in self.progress)
                start = "flow_deploy" if self._connect else "run_flow"
                self.find(
                    "error",
                    f"slot {config.slot} is not there: "
                    + (f"changes are being missed ({start} says what to do)" if begun else f"start {start}"),
                )
                return
            commit, why = self._newest_commit(connection)
            if self.slot.active_pid is not None and not self._connect:
                for text in unloaded_tables(connection, config):
                    self.find("warning", text)
        self._judge_slot(self.slot)
        behind = max(0, self.slot.behind)
        unknown = {"rows": "PostgreSQL's log is counted in bytes alone"}
        seconds = None if commit is None else max(0.0, self.now - commit)
        if behind <= _IDLE_BYTES and self.slot.active_pid is not None:
            seconds = 0.0
        if seconds is None:
            unknown["seconds"] = why
        self.capture = Lag(behind, None, seconds, unknown)

    def _judge_slot(self, slot: SlotState) -> None:
        if slot.lost:
            self.find("error", f"slot {slot.name} is invalidated: run_flow --resync loads all tables anew")
        elif slot.active_pid is None and not self._loads_first:
            what = "Debezium does" if self._connect else "run_flow does"
            self.find("error", f"nobody reads slot {slot.name} ({what} when it runs)")
        if slot.retained >= self.config.lag_warning_bytes:
            self.find(
                "warning",
                f"the server keeps {_size(slot.retained)} of its log for slot {slot.name}"
                + (f", and may keep {_size(slot.safe)} more" if slot.safe is not None else ""),
            )

    @property
    def _loads_first(self) -> bool:
        """Whether a first load goes on: until it is done nobody reads the slot."""
        moved = [p.updated_at.timestamp() for p in self.progress if p.state == "running" and p.updated_at]
        return self._debezium_loads or (bool(moved) and self.now - max(moved) < _STILL_S)

    def _first_load(self, connection: psycopg.Connection[Any]) -> list[TableProgress]:
        if self.config.mode == "cdc_only" or self._connect:
            return []
        known = {progress.table: progress for progress in read_progress(connection, self.config.name)}
        return [known.get(table, TableProgress(table, "pending")) for table in self.config.tables]

    def _newest_commit(self, connection: psycopg.Connection[Any]) -> tuple[float | None, str]:
        """The time of the newest commit that is in Kafka, as the capture noted it last; or why there is
        none."""
        if self._connect:
            if self.connector is None:
                return None, _NO_ANSWER
            noted = (self.offset or {}).get("ts_usec")
            return (None, "Debezium has noted no change yet") if noted is None else (noted / 1e6, "")
        row = connection.execute("SELECT to_regclass('dbint.flow_capture') IS NOT NULL").fetchone()
        if row is not None and row[0]:
            row = connection.execute(
                "SELECT extract(epoch FROM confirmed_commit)::float8 FROM dbint.flow_capture WHERE flow = %s",
                [self.config.name],
            ).fetchone()
            if row is not None and row[0] is not None:
                return row[0], ""
        return None, "the capture has confirmed no change yet"

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
        with KafkaConsumer(group=config.group, config={**config.kafka("consumer"), **_FETCH}) as consumer:
            for number in there.pop("", []):
                low, high = consumer.watermarks(config.dead_letter_topic, number, _TIMEOUT_S)
                self.dead_letters += max(0, high - low)
            if self.dead_letters:
                self.find(
                    "warning",
                    f"{self.dead_letters} rows that Doris refused are in topic {config.dead_letter_topic}",
                )
            self.sink = self._ask_topics(consumer, there)

    def _ask_topics(self, consumer: KafkaConsumer, there: Mapping[str, Sequence[int]]) -> Lag:
        """How far Doris is behind of the topics."""
        if not there:
            return Lag.nothing("its topics are not there yet")
        if self._connect and (missing := [table for table in there if not self._is_known(table)]):
            return Lag.nothing(f"no job of Doris says how far {', '.join(missing)} is")
        found: list[TopicStatus] = []
        waiting: dict[tuple[str, int], int] = {}
        for table, ids in there.items():
            topic, rows, loading = self.config.topic(table), 0, 0
            for number, (at, end) in self._places(consumer, table, ids).items():
                low, high = consumer.watermarks(topic, number, _TIMEOUT_S)
                begin = low if at is None else max(at, low)
                rows += max(0, high - begin)
                loading += 0 if end is None else max(0, min(end, high) - begin)
                if high > begin:
                    waiting[topic, number] = begin
            found.append(TopicStatus(topic, table, len(ids), rows, loading, 0.0))
        for trouble, notes in self.waiting.items():
            self._tell_waiting(trouble, notes)
        oldest = self._oldest(consumer, waiting)
        for status in found:
            of_topic = [place for place in waiting if place[0] == status.topic]
            known = all(place in oldest for place in of_topic)
            ages = [max(0.0, self.now - oldest[place]) for place in of_topic] if known else []
            self.topics.append(replace(status, seconds=max(ages, default=0.0) if known else None))
        return self._sum()

    def _sum(self) -> Lag:
        rows = sum(topic.rows for topic in self.topics)
        ages = [topic.seconds for topic in self.topics if topic.seconds is not None]
        unknown = {}
        if rows:
            unknown["bytes"] = "Kafka counts messages alone"
        if len(ages) < len(self.topics):
            unknown["seconds"] = "Kafka did not hand over the oldest message in time"
        return Lag(None if rows else 0, rows, None if "seconds" in unknown else max(ages), unknown)

    def _is_known(self, table: str) -> bool:
        return table in self.jobs and self.jobs[table].state != "ABSENT"

    def _places(
        self, consumer: KafkaConsumer, table: str, ids: Sequence[int]
    ) -> dict[int, tuple[int | None, int | None]]:
        """Of each partition what Doris has not yet: from where on (None: from its beginning), and up to where
        it is being loaded."""
        if self._connect:
            offsets = {number: self.jobs[table].offsets.get(number) for number in ids}
            return {n: (offset if isinstance(offset, int) else None, None) for n, offset in offsets.items()}
        places: dict[int, tuple[int | None, int | None]] = {}
        topic = self.config.topic(table)
        for place in consumer.committed([(topic, number) for number in ids], _TIMEOUT_S):
            note = Note.parse(place.metadata)
            if note.visible_ms:
                self.notes.append(note)
            if note.trouble:
                self.waiting.setdefault(note.trouble, []).append(note)
            at = place.offset if isinstance(place.offset, int) and place.offset >= 0 else None
            places[place.partition] = (at, note.end)
        return places

    def _oldest(
        self, consumer: KafkaConsumer, waiting: Mapping[tuple[str, int], int]
    ) -> dict[tuple[str, int], float]:
        """When the first of the messages that wait was committed, by partition; of a row of the first load
        when it came to Kafka. What Kafka does not give in time is not in it.
        """
        found: dict[tuple[str, int], float] = {}
        if not waiting:
            return found
        consumer.assign([(*place, offset) for place, offset in waiting.items()])
        deadline = time.monotonic() + _TIMEOUT_S
        while len(found) < len(waiting) and time.monotonic() < deadline:
            batch = consumer.poll_batch(timeout=0.5)
            fresh: list[tuple[str, int]] = []
            for message in batch or ():
                place = (message.topic, message.partition)
                if place not in found:
                    time_ms = commit_time(message) or message.timestamp
                    found[place] = self.now if time_ms is None else time_ms / 1000
                    fresh.append(place)
            if fresh:
                consumer.pause(fresh)
        return found

    def _tell_waiting(self, trouble: str, notes: Sequence[Note]) -> None:
        since = datetime.fromtimestamp(min(note.since_ms for note in notes) / 1000, UTC)
        told = datetime.fromtimestamp(max(note.told_ms for note in notes) / 1000, UTC)
        self.find(
            "error" if any(note.held for note in notes) else "warning",
            f"{trouble}; partitions of the sink that wait: {len(notes)}, since {since:%Y-%m-%d %H:%M:%S} "
            f"UTC, attempt {max(note.attempts for note in notes)}, as it said at {told:%H:%M:%S}",
        )

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
            self.jobs = {job.table: job for job in loads.status(load_mappings(self.config))}
        for job in self.jobs.values():
            if not job.is_well:
                self.find("error", f"job {job.name} is {job.state}: {job.reason or job.advice}")
