"""Runs a flow in one process: the first load, the capture, the sink, each begun again when it fails.

    PostgreSQL --[first load, then capture]--> Kafka --[sink]--> Doris

The two halves know nothing of each other but the topics, so each may run in a process of its own (``parts``).
What fails and may pass (a server is away) is tried again, after a pause that doubles with every failure, with
full jitter, up to half a minute; what only a person can mend ends the run and says so.
"""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dbint import errors
from dbint.flow.capture import Capture
from dbint.flow.config import FlowConfig
from dbint.flow.plan import load_mappings
from dbint.flow.sink import GapError, Sink
from dbint.flow.snapshot import Snapshot
from dbint.flow.topics import make_topic
from dbint.kafka import KafkaAdmin
from dbint.kafka.admin import TOPIC_FORBIDDEN

logger = logging.getLogger("dbint.flow")

PartName = Literal["capture", "sink"]
PARTS: tuple[PartName, ...] = ("capture", "sink")

FINISHED, FAILED, MISCONFIGURED = 0, 1, 2
"""Exit codes: it ended as asked, with nothing under way; something failed, or the drain took too long; a
person has to act first."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
SETTLED = 60.0  # a part that has worked for so long begins with short pauses again
LOOK = 0.5  # seconds between two looks at what ends by itself
SURE = 10.0  # seconds after which the sink has met the last message of a first load
GRACE = 5.0  # seconds beyond the drain's time, for threads to end

# What is the same the next time.
_HOPELESS = (errors.ConfigurationError, errors.MessageTooLargeError, GapError)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a part does not work now. ``retry_in`` is in seconds, None: it will not be tried again."""

    text: str
    failures: int
    retry_in: float | None


class _Part(ABC):
    """A half of the flow. ``run`` is called on one thread, again after each failure; ``stop`` from any."""

    name: PartName

    def __init__(self, config: FlowConfig) -> None:
        self.config = config
        self.stopping = threading.Event()
        self.failure: Failure | None = None
        self._lock = threading.Lock()  # guards what stop() reaches for

    @abstractmethod
    def run(self) -> None:
        """Work until it is asked to stop, or until all is done. Raises what is in its way."""

    def stop(self, timeout: float) -> None:
        """Ask it to end within ``timeout`` seconds, with nothing under way. Does not wait."""
        with self._lock:
            self.stopping.set()
            self._stop(timeout)

    @abstractmethod
    def _stop(self, timeout: float) -> None: ...

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """What it is doing now, as values that JSON knows."""


class _CapturePart(_Part):
    """PostgreSQL -> Kafka: what the tables hold first, then what changes."""

    name = "capture"

    def __init__(self, config: FlowConfig, resync: Collection[str] | None) -> None:
        super().__init__(config)
        self.loaded_at: float | None = None
        self._resync = resync
        self._snapshot: Snapshot | None = None
        self._capture: Capture | None = None

    def run(self) -> None:
        with self._opened() as (snapshot, capture):
            point = None
            if self._resync is not None:
                snapshot.reset(self._resync)
            if capture is not None:
                if not capture.slot_exists():
                    # What was loaded has no place in the log any more at which changes could be taken up.
                    snapshot.reset()
                # A lost slot is made again only when nothing relies on what it would have kept.
                point = capture.prepare(resync=set(self._resync or ()) >= set(self.config.tables))
            self._resync = None
            if self.config.mode != "cdc_only":
                snapshot.run(point)
            if self.stopping.is_set():
                return
            self.loaded_at = time.monotonic()
            if capture is not None:
                capture.start()
                while not capture.wait(LOOK):
                    pass

    @contextmanager
    def _opened(self) -> Iterator[tuple[Snapshot, Capture | None]]:
        snapshot = Snapshot(self.config)
        capture = Capture(self.config) if self.config.mode != "full_load_only" else None
        with self._lock:
            self._snapshot, self._capture = snapshot, capture
            if self.stopping.is_set():
                snapshot.stop()
        try:
            yield snapshot, capture
        finally:
            with self._lock:
                self._capture = None
            if capture is not None:
                capture.close()

    def _stop(self, timeout: float) -> None:
        if self._snapshot is not None:
            self._snapshot.stop()
        if self._capture is not None:
            self._capture.stop(timeout)

    def status(self) -> dict[str, Any]:
        with self._lock:
            snapshot, capture = self._snapshot, self._capture
        found: dict[str, Any] = {} if capture is None else dict(capture.status())
        if snapshot is not None and self.loaded_at is None:
            found["first_load"] = [progress.to_json() for progress in snapshot.seen]
        return found


class _SinkPart(_Part):
    """Kafka -> Doris."""

    name = "sink"

    def __init__(self, config: FlowConfig, *, accept_gap: bool) -> None:
        super().__init__(config)
        self._on_gap: Literal["stop", "continue"] = "continue" if accept_gap else "stop"
        self._sink: Sink | None = None

    def run(self) -> None:
        mappings = load_mappings(self.config)
        make_topics(self.config)
        with closing(Sink(self.config, mappings, on_gap=self._on_gap)) as sink:
            with self._lock:
                if self.stopping.is_set():
                    return
                self._sink = sink
            try:
                sink.run()
            finally:
                with self._lock:
                    self._sink = None

    def _stop(self, timeout: float) -> None:
        if self._sink is not None:
            self._sink.stop(timeout)

    def status(self) -> dict[str, Any]:
        with self._lock:
            return {} if self._sink is None else dict(self._sink.status())

    def caught_up(self) -> bool:
        """Whether all partitions of all topics are loaded to their ends."""
        found = self.status()
        all_there = len(found.get("partitions", ())) >= len(self.config.tables) * self.config.partitions
        return all_there and found.get("lag_rows") == 0


def make_topics(config: FlowConfig) -> None:
    """Make those that are missing: a consumer finds a topic that comes later only when it asks again.

    Who may not make topics waits until the capture, or a person, has. Raises KafkaError, UnreachableError.
    """
    with KafkaAdmin(config=config.kafka(None)) as admin:
        known = admin.topics()
        for topic in map(config.topic, config.tables):
            if topic in known:
                continue
            try:
                make_topic(admin, config, topic)
            except errors.KafkaError as error:
                if error.kafka_code != TOPIC_FORBIDDEN:
                    raise
                logger.info("flow %s: topic %s cannot be made here: %s", config.name, topic, error)


class Runner:
    """A flow, or one half of it, in this process.

    ``on_status`` is called every ``interval`` seconds with :meth:`status`. ``resync`` names tables that are
    to be loaded anew, for which also a slot that is lost is made again. ``accept_gap``: messages that Kafka
    has deleted before they were loaded do not end the run. Raises ConfigurationError for a flow that is not
    run in a process of ours.
    """

    def __init__(
        self,
        config: FlowConfig,
        *,
        parts: Collection[PartName] = PARTS,
        resync: Collection[str] | None = None,
        accept_gap: bool = False,
        on_status: Callable[[dict[str, Any]], None] = lambda _status: None,
        interval: float = 10.0,
    ) -> None:
        if config.engine != "embedded":
            raise errors.ConfigurationError(
                f"flow {config.name} runs in Kafka Connect and Doris (engine {config.engine}): "
                "manage.py flow_deploy sets it up and watches it"
            )
        self.config, self._on_status, self._interval = config, on_status, interval
        self._capture = _CapturePart(config, resync) if "capture" in parts else None
        self._sink = _SinkPart(config, accept_gap=accept_gap) if "sink" in parts else None
        self._parts = [part for part in (self._capture, self._sink) if part is not None]
        self._stopping = False  # no Event: a signal handler must not meet its lock taken
        self._code = FINISHED

    def stop(self) -> None:
        """Let :meth:`run` drain and return. From any thread, and from a signal handler."""
        self._stopping = True

    def status(self) -> dict[str, Any]:
        """What each part is doing, as values that JSON knows."""
        found: dict[str, Any] = {"flow": self.config.name, "mode": self.config.mode}
        for part in self._parts:
            failure = part.failure
            found[part.name] = {**part.status(), "failure": asdict(failure) if failure else None}
        return found

    def run(self) -> int:
        """Work until :meth:`stop`, until all is done (mode full_load_only), or until a person has to act.

        Returns the exit code. When it returns after ``stop()``, what was read from PostgreSQL is in Kafka
        and confirmed, and no load is under way; what takes longer than ``drain_timeout`` is left, and done
        again by the next run: nothing is lost by that.
        """
        threads = [
            threading.Thread(
                target=self._supervise,
                args=(part,),
                name=f"dbint-flow-{self.config.name}-{part.name}",
                daemon=True,
            )
            for part in self._parts
        ]
        for thread in threads:
            thread.start()
        told = time.monotonic()
        while not self._stopping and any(thread.is_alive() for thread in threads):
            time.sleep(LOOK)
            if self._all_loaded():
                break
            if time.monotonic() - told >= self._interval:
                told = time.monotonic()
                self._on_status(self.status())
        self._drain(threads)
        return self._code

    def _all_loaded(self) -> bool:
        """Whether a flow that only loads once has done so, to the end."""
        capture, sink = self._capture, self._sink
        return (
            self.config.mode == "full_load_only"
            and capture is not None
            and capture.loaded_at is not None
            and (sink is None or (time.monotonic() - capture.loaded_at > SURE and sink.caught_up()))
        )

    def _drain(self, threads: Collection[threading.Thread]) -> None:
        timeout = self.config.drain_timeout
        for part in self._parts:
            part.stop(timeout)
        deadline = time.monotonic() + timeout + GRACE
        for thread, part in zip(threads, self._parts, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._undrained(part, f"it did not come to an end within {timeout:g} s")

    def _undrained(self, part: _Part, why: str) -> None:
        logger.error(
            "flow %s: the %s was not drained, so the next run does again what was under way: %s",
            self.config.name,
            part.name,
            why,
        )
        self._end(FAILED)

    def _end(self, code: int) -> None:
        self._code = max(self._code, code)
        self._stopping = True

    def _supervise(self, part: _Part) -> None:
        """Run a part until it ends by itself, again and again."""
        failures = 0
        while not part.stopping.is_set():
            begun = time.monotonic()
            part.failure = None
            try:
                part.run()
            except _HOPELESS as error:
                part.failure = Failure(str(error), failures + 1, None)
                logger.error("flow %s: the %s cannot go on: %s", self.config.name, part.name, error)  # noqa: TRY400
                self._end(FAILED if isinstance(error, errors.MessageTooLargeError) else MISCONFIGURED)
            except (errors.Error, OSError) as error:
                if part.stopping.is_set():  # what it could not finish any more
                    if isinstance(error, errors.DeadlineError):
                        self._undrained(part, str(error))
                    return
                if time.monotonic() - begun > SETTLED:
                    failures = 0
                pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures))  # noqa: S311 - no secret
                failures += 1
                part.failure = Failure(str(error), failures, pause)
                logger.warning(
                    "flow %s: the %s failed, again in %.1f s: %s", self.config.name, part.name, pause, error
                )
                part.stopping.wait(pause)
                continue
            except Exception as error:
                part.failure = Failure(f"{type(error).__name__}: {error}", failures + 1, None)
                logger.exception(
                    "flow %s: the %s failed by a mistake of dbint's", self.config.name, part.name
                )
                self._end(FAILED)
            return
