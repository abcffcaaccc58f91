"""The embedded sink: messages of a flow's topics into Doris, by Stream Load.

Several sinks, in one process or many, share the partitions as a consumer group. Of each partition one range
at a time is on its way (:mod:`dbint.flow.ranges`): its start and end are committed, then it is landed by one
of the sink's threads (:mod:`dbint.flow.landing`), then its end is committed. A sink that dies at any
instruction leaves a note from which the next owner repeats exactly that range under the same labels. Messages
are joined into bodies as they are; no Python object is made for one, unless it is special.

All that concerns the group (polls, commits, rebalances) is done by the thread that called :meth:`Sink.run`,
so a commit stands under the generation in which its partition was assigned, or Kafka refuses it.
"""

import datetime as dt
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from dbint.errors import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Error,
    KafkaFatalError,
    OperationalError,
)
from dbint.flow.config import FlowConfig
from dbint.flow.dead_letters import DeadLetters
from dbint.flow.landing import AbandonedError, Landed, Lander, LaterError
from dbint.flow.mapping import TableMapping
from dbint.flow.ranges import Note, Piece, Range
from dbint.kafka import Batch, KafkaConsumer, TopicPartition

log = logging.getLogger(__name__)

_POLL_MESSAGES, _POLL_BYTES = 20_000, 4 << 20
_ANSWER_S = 10.0  # how long a call of Kafka may take
_MEASURE_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_ENOUGH = 0.75  # of the memory, from which on more is read again
# What librdkafka reads ahead, and what it asks a broker for at once: beside the sink's own memory.
# Not less: where it is reached, librdkafka asks for more after a second only.
_AHEAD_MESSAGES, _AHEAD_KBYTES, _FETCH_BYTES = 100_000, 32768, 8 << 20
_LONGEST_POLL_GAP_S = 300.0  # by far more than anything that the thread of the group waits for
_TELL_S, _TELL_AGAIN_S = 2.0, 10.0  # how soon a new trouble is committed, and how often an old one
_MAX_PACE = 16.0
_MAX_BYTES_PACE = 4.0
_CALM_LOADS = 20
_OLD_MS = 24 * 3600 * 1000  # by far less than Doris keeps labels (three days)
_SAMPLES = 2048


class GapError(OperationalError):
    """Kafka does not have messages any more that were not loaded: rows may be missing in Doris."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition of the sink. Offsets are of the next message; ``lag`` is None while it is not known.

    ``reason`` says why its range has not landed, since when and at which attempt; empty where all is well.
    """

    topic: str
    partition: int
    loaded: int | None
    lag: int | None
    state: Literal["joining", "waiting", "loading", "held"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SinkSnapshot:
    """What a sink has done since it was made, and how it stands. Times in seconds, sizes in bytes.

    ``rows`` counts changes that landed, ``repeated`` ranges that an earlier owner had begun, ``already``
    loads that an earlier attempt had made, ``superseded`` updates of rows that were gone again.
    ``freshness_p50`` and ``freshness_p99`` are from the commit in PostgreSQL to when the change could be seen
    in Doris, over the latest loads; ``behind`` is how old, by its commit, the newest change is that can be
    seen, while there is lag. ``memory`` is what the messages take that wait or are being loaded. ``pace``
    above 1 says that loads are larger and fewer, because Doris has too many versions.
    """

    rows: int
    bytes: int
    loads: int
    ranges: int
    repeated: int
    already: int
    partials: int
    truncates: int
    dead_letters: int
    superseded: int
    retries: int
    rebalances: int
    pace: float
    memory: int
    lag_rows: int | None
    freshness_p50: float | None
    freshness_p99: float | None
    behind: float | None
    trouble: str
    partitions: tuple[PartitionStatus, ...]

    @property
    def held(self) -> tuple[PartitionStatus, ...]:
        """Partitions that wait for somebody to mend something."""
        return tuple(partition for partition in self.partitions if partition.state == "held")

    def to_json(self) -> dict[str, Any]:
        """The same as a dictionary for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    bytes: int = 0
    loads: int = 0
    ranges: int = 0
    repeated: int = 0
    already: int = 0
    partials: int = 0
    truncates: int = 0
    dead_letters: int = 0
    superseded: int = 0
    retries: int = 0
    rebalances: int = 0


@dataclass(slots=True)
class _Place:
    """A partition that is assigned to this sink."""

    topic: str
    partition: int
    cancel: threading.Event = field(default_factory=threading.Event)
    joined: bool = False
    start: int = 0
    """All before it has landed."""
    next: int = 0
    """The offset that is to be read next."""
    repeat: tuple[int, int] | None = None
    """End and time of the range that an earlier owner had begun."""
    note: Note = field(default_factory=Note)
    pieces: deque[Piece] = field(default_factory=deque)
    messages: int = 0
    nbytes: int = 0
    waiting: int = 0
    """Memory of ``pieces``."""
    since: float = 0.0
    end_seen: int = -1
    pending: Range | None = None
    committed: bool = False
    """Whether the note about ``pending`` is."""
    confirmed: bool = True
    """Whether ``start`` is committed."""
    landing: "Future[Landed] | None" = None
    retry_at: float = 0.0
    failures: int = 0
    trouble: str = ""
    """Why ``pending`` has not landed; set by whoever lands it, at each attempt that fails."""
    troubled_ms: int = 0
    attempts: int = 0
    held: bool = False
    told: tuple[str, int] = ("", 0)
    """The trouble and the number of attempts that are committed."""
    told_at: float = 0.0
    paused: bool = False
    again: int | None = None
    """The first offset that comes when what was let go is read again."""
    high: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.topic, self.partition

    @property
    def name(self) -> str:
        return f"partition {self.partition} of topic {self.topic}"

    @property
    def memory(self) -> int:
        return self.waiting + (self.pending.memory if self.pending is not None else 0)

    @property
    def reason(self) -> str:
        if not self.trouble:
            return ""
        since = dt.datetime.fromtimestamp(self.troubled_ms / 1000, dt.UTC)
        return f"{self.trouble}; waiting since {since:%Y-%m-%d %H:%M:%S} UTC, attempt {self.attempts}"

    def put(self, piece: Piece, *, back: bool = False) -> None:
        if not self.pieces:
            self.since = time.monotonic()
        if back:
            self.pieces.appendleft(piece)
        else:
            self.pieces.append(piece)
        self.messages += piece.messages
        self.nbytes += piece.nbytes
        self.waiting += piece.memory

    def take(self, count: int) -> tuple[Piece, ...]:
        taken = tuple(self.pieces.popleft() for _ in range(count))
        self.messages -= sum(piece.messages for piece in taken)
        self.nbytes -= sum(piece.nbytes for piece in taken)
        self.waiting -= sum(piece.memory for piece in taken)
        self.since = time.monotonic()
        return taken

    def waits(self, trouble: str) -> None:
        """Note an attempt that failed. Called by any thread."""
        if not self.attempts:
            self.troubled_ms = _now_ms()
        self.attempts += 1
        self.trouble = trouble

    def is_well(self) -> None:
        self.failures, self.retry_at = 0, 0.0
        self.trouble, self.troubled_ms, self.attempts, self.held = "", 0, 0, False

    def let_go(self) -> None:
        """Forget all messages. They are read again; where the note about the range is committed, it is the
        same range.
        """
        assert self.pending is not None  # noqa: S101 - of others nothing is let go
        if self.committed:
            self.repeat = (self.pending.end, self.pending.at)
        self.again = self.pending.pieces[0].start
        self.pending, self.committed = None, False
        self.take(len(self.pieces))
        self.next, self.end_seen = self.start, -1

    def put_off(self, *, longest: float | None = None) -> None:
        """Try again after a pause that grows, with jitter."""
        self.failures += 1
        pause = min(_FIRST_PAUSE_S * 2 ** min(self.failures - 1, 12), longest or _LONGEST_PAUSE_S)
        self.retry_at = time.monotonic() + random.uniform(pause / 2, pause)  # noqa: S311 - spreads retries


class Sink:
    """Loads what a flow's topics hold. ``mappings`` has one for each topic that is to be loaded.

    ``on_gap`` says what follows when Kafka has deleted messages before they were loaded: "stop" raises
    GapError, "continue" goes on with what is there, and says so in the log. ``refresh`` gives the mappings
    anew when messages have columns that the known ones lack; by default it is
    :func:`dbint.flow.plan.load_mappings`. :meth:`run` may be called once.
    """

    def __init__(
        self,
        config: FlowConfig,
        mappings: Sequence[TableMapping],
        *,
        on_gap: Literal["stop", "continue"] = "stop",
        refresh: Callable[[], Sequence[TableMapping]] | None = None,
    ) -> None:
        if not mappings:
            raise ConfigurationError(f"flow {config.name}: the sink has no table to load")
        self._config = config
        self._mappings = {mapping.topic: mapping for mapping in mappings}
        self._on_gap = on_gap
        self._refresh = refresh
        self._places: dict[tuple[str, int], _Place] = {}
        self._counts = _Counts()
        self._lock = threading.Lock()
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._newest_ms = 0
        self._pace, self._calm = 1.0, 0
        self._memory = config.memory_bytes or config.batch_bytes * (config.workers + 2)
        self._poll_bytes = min(_POLL_BYTES, self._memory // 4)
        self._short = False
        self._trouble = ""
        self._stop = threading.Event()
        self._drain: float = config.drain_timeout
        self._measured = 0.0
        self._last: SinkSnapshot | None = None
        self._closed = False
        self._dead_letters = DeadLetters(config)
        self._lander = Lander(config, self._dead_letters)
        self._threads = ThreadPoolExecutor(config.workers, thread_name_prefix=f"dbint-sink-{config.name}")
        session_ms = round(config.session_timeout * 1000)
        self._consumer = KafkaConsumer(
            group=config.group,
            client_id=f"dbint-flow-{config.name}-sink",
            config={
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": max(1, min(3000, session_ms // 3)),
                "max.poll.interval.ms": max(round(_LONGEST_POLL_GAP_S * 1000), session_ms),
                **({"group.instance.id": f"{config.group}-{config.instance}"} if config.instance else {}),
                "topic.metadata.refresh.interval.ms": 5000,
                "queued.min.messages": _AHEAD_MESSAGES,
                "queued.max.messages.kbytes": _AHEAD_KBYTES,
                "fetch.max.bytes": _FETCH_BYTES,
                # What is asked of a broker meanwhile (offsets, watermarks) waits behind it.
                "fetch.wait.max.ms": 50,
                **config.kafka("consumer"),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group and end what is under way: the next owner repeats it. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        for place in self._places.values():
            place.cancel.set()
        self._lander.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._last, self._places = self._snapshot(), {}
        try:
            self._consumer.close()
        finally:
            self._dead_letters.close()

    def stop(self, timeout: float | None = None) -> None:
        """Let :meth:`run` end, from any thread: what is being loaded gets ``timeout`` seconds (by default the
        flow's drain_timeout) to land, and nothing new is begun.
        """
        if timeout is not None:
            self._drain = timeout
        self._stop.set()

    # -- the thread of the group

    def run(self, stop: threading.Event | None = None) -> None:
        """Load until :meth:`stop`, or until ``stop`` is set; then drain, commit and return.

        What can pass or be mended while it runs is waited for (:meth:`snapshot` says what it is). Raises
        GapError, AuthenticationError of Kafka, KafkaFatalError, and whatever is a mistake of the sink itself.
        """
        try:
            self._consumer.subscribe(sorted(self._mappings))
            while not self._stop.is_set() and not (stop is not None and stop.is_set()):
                self._poll()
                self._join()
                self._collect()
                self._begin()
                self._tell()
                self._pause()
                self._measure()
            self._finish()
        except (ClosedError, RuntimeError):
            if not self._closed:  # by another thread, which does not want to wait
                raise

    def _poll(self) -> None:
        busy = any(place.landing is not None for place in self._places.values())
        try:
            batch = self._consumer.poll_batch(_POLL_MESSAGES, self._poll_bytes, 0.02 if busy else 0.1)
        except (AuthenticationError, KafkaFatalError, ClosedError):
            raise
        except Error as error:  # told once, and librdkafka goes on trying
            self._note_trouble(str(error))
            return
        if batch is None:
            return
        self._trouble = ""
        self._take(batch)

    def _take(self, batch: Batch) -> None:
        # Split, so that messages of one partition do not stay for as long as those of another.
        for part in batch.split():
            ((topic, partition, first, last, messages, nbytes),) = part.ranges()
            place = self._places.get((topic, partition))
            if place is None or (place.again is not None and not self._is_back(place, first)):
                continue
            piece = Piece(part, first, last + 1, messages, nbytes, part.memory)
            if place.joined:
                self._check_piece(place, piece)
            place.put(piece)
        for topic, partition, offset, _ in batch.ends:
            place = self._places.get((topic, partition))
            if place is not None and offset is not None:
                place.end_seen = max(place.end_seen, offset)
        if batch.revoked or batch.assigned:
            self._counts.rebalances += 1
        for topic, partition, *_ in batch.revoked:
            place = self._places.pop((topic, partition), None)
            if place is not None:
                place.cancel.set()
                log.info("%s is given up%s", place.name, " (the group took it)" if batch.lost else "")
        for topic, partition, *_ in batch.assigned:
            self._places[topic, partition] = _Place(topic, partition)

    def _join(self) -> None:
        """Find out where partitions that were just assigned stand."""
        fresh = [place for place in self._places.values() if not place.joined]
        if not fresh or any(place.retry_at > time.monotonic() for place in fresh):
            return
        try:
            rows = self._consumer.committed([place.key for place in fresh], _ANSWER_S)
            marks = {p.key: self._consumer.watermarks(p.topic, p.partition, _ANSWER_S) for p in fresh}
        except (AuthenticationError, KafkaFatalError, ClosedError):
            raise
        except Error as error:
            self._note_trouble(str(error))
            for place in fresh:
                place.put_off(longest=5.0)
            return
        for row in rows:
            place = self._places[row.topic, row.partition]
            low, place.high = marks[place.key]
            offset = row.offset if isinstance(row.offset, int) else None
            self._join_at(place, offset, Note.parse(row.metadata), low)

    def _join_at(self, place: _Place, offset: int | None, note: Note, low: int) -> None:
        place.failures, place.retry_at, place.joined = 0, 0.0, True
        place.start = place.next = low if offset is None else offset
        if offset is None:
            if low > 0:
                self._gap(
                    place,
                    0,
                    low,
                    f"{place.name} begins with offset {low}, and the group {self._config.group} has not "
                    "loaded anything of it yet, or so long ago that Kafka has forgotten it",
                )
        else:
            place.note = note
            self._newest_ms = max(self._newest_ms, note.committed_ms)
            if note.end is not None and note.end > offset:
                place.repeat = (note.end, note.at)
                log.info("%s: the range %d to %d is repeated", place.name, offset, note.end)
            if low > offset:
                self._gap(
                    place, offset, low, f"{place.name} was loaded up to {offset} and begins with {low} now"
                )
        for piece in place.pieces:
            self._check_piece(place, piece)

    def _check_piece(self, place: _Place, piece: Piece) -> None:
        """Whether a piece follows on what was read before. Offsets without messages are no gap as such: there
        are those of transactions.
        """
        if piece.start < place.next:
            self._gap(
                place,
                piece.start,
                place.next,
                f"{place.name} was read up to {place.next} and goes on with {piece.start}: the topic was "
                "made anew, or its end was lost with a broker",
            )
        elif piece.start > place.next:
            low, _ = self._consumer.watermarks(place.topic, place.partition, _ANSWER_S)
            if low > place.next:
                self._gap(
                    place,
                    place.next,
                    low,
                    f"{place.name} was read up to {place.next} and begins with {low} now",
                )
        place.next = piece.end

    def _is_back(self, place: _Place, first: int) -> bool:
        """Whether what was let go comes again, from its first message on."""
        if place.again is not None and first > place.again:
            low, _ = self._consumer.watermarks(place.topic, place.partition, _ANSWER_S)
            if low <= place.again:
                self._halt([place])  # what lies behind it: it is asked for again
                return False
        place.again = None
        return True

    def _gap(self, place: _Place, start: int, end: int, what: str) -> None:
        text = (
            f"flow {self._config.name}: {what}. Rows may be missing in Doris: compare with flow_verify "
            f"{self._config.name} --repair"
        )
        if self._on_gap == "stop":
            raise GapError(
                f"{text}; to go on with what there is, start the sink with on_gap='continue' (run_flow "
                "--accept-gap), and give the topics a longer retention.ms"
            )
        log.error("%s (offsets %d to %d)", text, start, end)
        place.start = place.next = max(end, place.start) if end > place.start else start
        if place.repeat is not None and place.repeat[0] <= place.start:
            place.repeat = None
        place.confirmed = False

    # -- ranges

    def _cut(self, place: _Place) -> Range | None:
        """The next range of a partition, if it is due."""
        if place.repeat is not None:
            return self._cut_again(place, *place.repeat)
        if not place.pieces:
            return None
        rows, nbytes = self._limits()
        full = place.messages >= rows or place.nbytes >= nbytes
        if not full and time.monotonic() - place.since < self._config.batch_seconds * self._pace:
            return None
        count, taken_rows, taken_bytes = 0, 0, 0
        for piece in place.pieces:
            taken_rows, taken_bytes = taken_rows + piece.messages, taken_bytes + piece.nbytes
            if count and (taken_rows > rows or taken_bytes > nbytes):
                break
            count += 1
        pieces = place.take(count)
        place.committed = False
        return Range(place.topic, place.partition, place.start, pieces[-1].end, _now_ms(), pieces)

    def _cut_again(self, place: _Place, end: int, at: int) -> Range | None:
        """The range that an earlier owner had begun, to the message."""
        reached = place.pieces[-1].end if place.pieces else place.start
        if max(reached, place.end_seen) < end:
            if place.end_seen >= 0 and reached >= place.end_seen:
                self._gap(
                    place,
                    place.end_seen,
                    end,
                    f"{place.name} was being loaded up to {end} and ends with {place.end_seen} now: messages "
                    "were lost with a broker",
                )
                place.repeat = None
            return None
        pieces: list[Piece] = []
        while place.pieces and place.pieces[0].start < end:
            (piece,) = place.take(1)
            if piece.end > end:
                within = piece.batch.keys(place.topic, place.partition, start=piece.start, end=end)
                behind = piece.batch.keys(place.topic, place.partition, start=end, end=piece.end)
                share = len(within) / max(1, piece.messages)
                nbytes, memory = int(piece.nbytes * share), int(piece.memory * share)
                rest = Piece(
                    piece.batch,
                    behind[0][0],
                    piece.end,
                    len(behind),
                    piece.nbytes - nbytes,
                    piece.memory - memory,
                )
                last = within[-1][0] + 1 if within else piece.start
                piece = Piece(piece.batch, piece.start, last, len(within), nbytes, memory)
                place.put(rest, back=True)
            pieces.append(piece)
        place.repeat = None
        old = _now_ms() - at > _OLD_MS
        # So old that Doris may have forgotten the labels: new ones, since the sequence keeps a repeated row
        # from doing harm.
        place.committed = not old
        self._counts.repeated += not place.trouble  # else it is one of its own that was let go
        return Range(
            place.topic,
            place.partition,
            place.start,
            end,
            _now_ms() if old else at,
            tuple(pieces),
            repeated=True,
        )

    def _begin(self) -> None:
        """Commit what has landed and what comes next, in one request, and let it be landed."""
        commits: list[tuple[str, int, int, str]] = []
        concerned: list[_Place] = []
        now = time.monotonic()
        for place in self._places.values():
            if not place.joined or place.landing is not None or now < place.retry_at:
                continue
            if place.pending is None:
                place.pending = self._cut(place)
            if place.pending is not None and not place.committed:
                note = self._note(place, place.pending)
                commits.append((*place.key, place.pending.start, note.text()))
                concerned.append(place)
            elif place.pending is None and not place.confirmed:
                commits.append((*place.key, place.start, self._note(place, None).text()))
                concerned.append(place)
        if commits and self._commit(commits, concerned):
            for place in concerned:
                place.confirmed = True
                place.committed = place.pending is not None
        for place in self._places.values():
            ready = place.joined and place.landing is None and now >= place.retry_at
            if ready and place.pending is not None and place.committed:
                place.landing = self._threads.submit(
                    self._lander.land, place.pending, self._mappings[place.topic], place.cancel, place.waits
                )

    def _commit(self, commits: Sequence[tuple[str, int, int, str]], concerned: Iterable[_Place]) -> bool:
        try:
            self._consumer.commit([TopicPartition(*commit) for commit in commits], _ANSWER_S)
        except (AuthenticationError, KafkaFatalError, ClosedError):
            raise
        except Error as error:
            # Refused because the group moves on: the next poll says what is still ours. No answer: the same
            # is committed again.
            log.warning("flow %s: %s", self._config.name, error)
            self._note_trouble(str(error))
            for place in concerned:
                place.put_off(longest=2.0)
            return False
        for place in concerned:
            if not place.trouble:
                place.failures = 0
        return True

    def _note(self, place: _Place, pending: Range | None) -> Note:
        p50, p99 = self._percentiles()
        end, at = (pending.end, pending.at) if pending is not None else place.repeat or (None, 0)
        return Note(
            end=end,
            at=at,
            committed_ms=place.note.committed_ms,
            visible_ms=place.note.visible_ms,
            p50_ms=round(1000 * p50) if p50 is not None else place.note.p50_ms,
            p99_ms=round(1000 * p99) if p99 is not None else place.note.p99_ms,
            since_ms=place.troubled_ms,
            attempts=place.attempts,
            told_ms=_now_ms(),
            held=place.held,
            trouble=place.trouble,
        )

    def _tell(self) -> None:
        """Commit beside each range that does not land why, so that whoever asks the brokers sees it."""
        now = time.monotonic()
        news = [
            place
            for place in self._places.values()
            if place.joined
            and place.trouble
            and place.told != (place.trouble, place.attempts)
            and now - place.told_at >= (_TELL_S if place.told[0] != place.trouble else _TELL_AGAIN_S)
            and (place.committed if place.pending is not None else place.repeat is not None)
        ]
        if not news:
            return
        for place in news:
            place.told, place.told_at = (place.trouble, place.attempts), now
        commits = [TopicPartition(*p.key, p.start, self._note(p, p.pending).text()) for p in news]
        try:
            self._consumer.commit(commits, _ANSWER_S)
        except (AuthenticationError, KafkaFatalError, ClosedError):
            raise
        except Error as error:
            self._note_trouble(str(error))

    def _collect(self) -> None:
        """See what has become of the ranges that were being landed."""
        for place in list(self._places.values()):
            if place.landing is None or not place.landing.done():
                continue
            landing, place.landing = place.landing, None
            try:
                landed = landing.result()
            except AbandonedError:
                continue
            except LaterError as later:
                self._put_off(place, later)
            else:
                self._count(place, landed)

    def _put_off(self, place: _Place, later: LaterError) -> None:
        self._counts.retries += 1
        if later.crowded:
            self._quicken(crowded=True)
        if later.reason != place.trouble:
            log.log(
                logging.ERROR if later.held else logging.WARNING,
                "flow %s: %s waits: %s",
                self._config.name,
                place.name,
                later.reason,
            )
        place.waits(later.reason)
        place.held = later.held
        place.put_off()
        if later.columns:
            self._renew_mappings()

    def _renew_mappings(self) -> None:
        try:
            if self._refresh is not None:
                mappings = self._refresh()
            else:
                from dbint.flow.plan import load_mappings

                mappings = load_mappings(self._config)
        except Error as error:
            log.warning("flow %s: the mappings cannot be made anew: %s", self._config.name, error)
            return
        self._mappings.update(
            {mapping.topic: mapping for mapping in mappings if mapping.topic in self._mappings}
        )

    def _count(self, place: _Place, landed: Landed) -> None:
        assert place.pending is not None  # noqa: S101 - it was landed
        place.start, place.pending, place.confirmed = place.pending.end, None, False
        place.is_well()
        if landed.committed_ms is not None:
            place.note = Note(committed_ms=landed.committed_ms, visible_ms=landed.visible_ms)
            with self._lock:
                self._samples.append(max(0, landed.visible_ms - landed.committed_ms) / 1000)
                self._newest_ms = max(self._newest_ms, landed.committed_ms)
        counts = self._counts
        counts.rows += landed.rows
        counts.bytes += landed.nbytes
        counts.loads += landed.loads
        counts.ranges += 1
        counts.already += landed.already
        counts.partials += landed.partials
        counts.truncates += landed.truncates
        counts.dead_letters += landed.dead
        counts.superseded += landed.superseded
        self._quicken(crowded=landed.crowded)

    def _quicken(self, *, crowded: bool) -> None:
        """Fewer and larger loads while Doris has too many versions; back again when it has not."""
        if crowded:
            self._pace, self._calm = min(self._pace * 2, _MAX_PACE), 0
            return
        self._calm += 1
        if self._calm >= _CALM_LOADS and self._pace > 1:
            self._pace, self._calm = max(1.0, self._pace / 2), 0

    # -- memory, lag

    def _limits(self) -> tuple[float, float]:
        """Messages and bytes with which a range is full."""
        nbytes = self._config.batch_bytes * min(self._pace, _MAX_BYTES_PACE)
        return self._config.batch_rows * self._pace, min(nbytes, self._memory / 2)

    def _used(self) -> int:
        return sum(place.memory for place in self._places.values())

    def _pause(self) -> None:
        """Read no more of a partition that has a whole range waiting, nor of any while memory is short.

        A range that was begun has to be read to its end, or memory would never be given back: one partition
        at a time may do that.
        """
        now = time.monotonic()
        rows, nbytes = self._limits()
        self._short = self._used() >= self._memory * (_ENOUGH if self._short else 1)
        if self._short:
            self._let_go(now)
        halt: list[_Place] = []
        go: list[_Place] = []
        reader: _Place | None = None
        for place in self._places.values():
            if place.repeat is not None and now >= place.retry_at and reader is None:
                reader, stays = place, False
            elif place.repeat is not None:
                stays = self._short or now < place.retry_at
            else:
                share = 0.5 if place.paused else 1.0
                stays = self._short or place.messages >= rows * share or place.nbytes >= nbytes * share
            if stays:
                halt.append(place)
            elif place.paused:
                go.append(place)
        self._halt(halt)
        self._go_on(go)

    def _let_go(self, now: float) -> None:
        """Where partitions without trouble cannot be read, what others only keep for their next try is
        forgotten.
        """
        places = self._places.values()
        if not any(
            p.joined and not p.trouble and p.pending is None and not p.pieces and (p.high or 0) > p.next
            for p in places
        ):
            return
        waiting = [
            p
            for p in places
            if p.trouble
            and p.landing is None
            and now < p.retry_at
            and p.pending is not None
            and p.pending.pieces
        ]
        for place in sorted(waiting, key=lambda p: p.memory, reverse=True):
            if self._used() < self._memory * _ENOUGH:
                break
            log.info("%s gives its messages back: %s", place.name, place.trouble)
            self._halt([place])
            place.let_go()
        self._short = self._used() >= self._memory * _ENOUGH

    def _halt(self, places: Iterable[_Place]) -> None:
        running = [place for place in places if not place.paused]
        if running:
            self._consumer.pause([place.key for place in running])
        for place in running:
            place.paused = True

    def _go_on(self, places: Sequence[_Place]) -> None:
        """Read on, and what was let go from its start: librdkafka itself goes on behind what it gave."""
        if not places:
            return
        self._consumer.resume([place.key for place in places])
        for place in places:
            place.paused = False
        back = [place for place in places if place.again is not None]
        try:
            if back:
                self._consumer.seek([TopicPartition(*place.key, place.start) for place in back], _ANSWER_S)
        except (AuthenticationError, KafkaFatalError, ClosedError):
            raise
        except Error as error:
            self._note_trouble(str(error))
            self._halt(back)

    def _measure(self) -> None:
        """How much waits in Kafka."""
        now = time.monotonic()
        if now - self._measured < _MEASURE_S:
            return
        self._measured = now
        for place in self._places.values():
            try:
                _, place.high = self._consumer.watermarks(place.topic, place.partition, 2.0)
            except (AuthenticationError, KafkaFatalError, ClosedError):
                raise
            except Error as error:
                self._note_trouble(str(error))
                return

    def _note_trouble(self, text: str) -> None:
        if text != self._trouble:
            log.warning("flow %s: %s", self._config.name, text)
        self._trouble = text

    # -- the end

    def _finish(self) -> None:
        """Let what is being landed land, and commit it."""
        running = [place.landing for place in self._places.values() if place.landing is not None]
        wait_for(running, self._drain)
        self._collect()
        landed = [p for p in self._places.values() if p.joined and not p.confirmed and p.pending is None]
        if landed:
            self._commit([(*p.key, p.start, self._note(p, None).text()) for p in landed], landed)
        for place in self._places.values():
            place.cancel.set()

    # -- what is told

    def _percentiles(self) -> tuple[float | None, float | None]:
        with self._lock:
            samples = sorted(self._samples)
        if not samples:
            return None, None
        return samples[len(samples) // 2], samples[min(len(samples) - 1, math.ceil(len(samples) * 0.99) - 1)]

    def snapshot(self) -> SinkSnapshot:
        """What the sink has done and how it stands; from any thread. Once closed, how it stood then."""
        return self._last or self._snapshot()

    def _snapshot(self) -> SinkSnapshot:
        places = list(self._places.values())
        partitions = tuple(
            PartitionStatus(
                topic=place.topic,
                partition=place.partition,
                loaded=place.start if place.joined else None,
                lag=max(0, place.high - place.start) if place.joined and place.high is not None else None,
                state="held" if place.held else "loading" if place.landing is not None else _idle(place),
                reason=place.reason,
            )
            for place in places
        )
        lags = [partition.lag for partition in partitions]
        lag = None if not lags or None in lags else sum(known for known in lags if known is not None)
        p50, p99 = self._percentiles()
        behind = max(0.0, time.time() - self._newest_ms / 1000) if lag and self._newest_ms else None
        troubles = [place.reason for place in places if place.trouble]
        return SinkSnapshot(
            **asdict(self._counts),
            pace=self._pace,
            memory=sum(place.memory for place in places),
            lag_rows=lag,
            freshness_p50=p50,
            freshness_p99=p99,
            behind=0.0 if lag == 0 else behind,
            trouble=troubles[0] if troubles else self._trouble,
            partitions=partitions,
        )

    def status(self) -> Mapping[str, Any]:
        """The snapshot as a dictionary for JSON."""
        return self.snapshot().to_json()


def _idle(place: _Place) -> Literal["joining", "waiting"]:
    return "waiting" if place.joined else "joining"


def _now_ms() -> int:
    return int(time.time() * 1000)
