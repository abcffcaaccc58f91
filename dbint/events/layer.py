"""DatabaseIntegrationLayer: four kinds of events written, queried, kept for a while, and watched over.

    db = DatabaseIntegrationLayer()          # or get_database_layer(), the process's own
    await db.initialize()
    await db.write_trace_event(trace_id="coord_123", event_type="START", level="INFO", message="started")
    events = await db.query_trace_events(trace_id="coord_123")
    await db.shutdown()

Each awaitable method has a twin for threads, whose name ends in ``_sync``. A write returns when the event is
in the journal: from then on it survives the process, and lands once. docs/events.md is the guide.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID
from weakref import WeakSet

from psycopg.conninfo import make_conninfo

from dbint import errors
from dbint._core import BatchWriter, Pool, Stream
from dbint.breaker import CircuitBreaker, CircuitState
from dbint.events import queries, retention, tables
from dbint.events.background import Background
from dbint.events.buffer import BatchWriteBuffer
from dbint.events.config import DatabaseConfig, WhenFull
from dbint.events.deferred import teach_on_commit
from dbint.events.health import (
    Assessment,
    DatabaseHealthMetrics,
    DatabaseHealthStatus,
    HealthChange,
    HealthMonitor,
    Observation,
    QueryWindow,
    RecentCount,
    assess,
)
from dbint.events.host import current_host
from dbint.events.methods import opens, reads, reads_sync, sync_twin
from dbint.events.reader import FAILURES, Reader, connected
from dbint.events.retention import RetentionReport
from dbint.events.tables import EventTable

logger = logging.getLogger(__name__)

# Per table: the method that writes it, and the attribute of its buffer (the seed's names).
_STREAMS: Mapping[EventTable, tuple[str, str]] = {
    tables.TRACE_EVENTS: ("write_trace_event", "trace_event_buffer"),
    tables.ROUTING_DECISIONS: ("write_routing_decision", "routing_decision_buffer"),
    tables.PERFORMANCE_METRICS: ("write_performance_metric", "performance_metrics_buffer"),
    tables.TRANSFORMATION_EVENTS: ("write_transformation_event", "transformation_event_buffer"),
}


class DatabaseIntegrationLayer:
    """Writes, queries and looks after the events of this process.

    ``config``: default is what the surroundings say, ``DatabaseConfig.from_env()`` without Django. Nothing is
    opened and no thread is started before :meth:`initialize` or the first use; a forked child opens again by
    itself. All methods may be called from any thread.

    Writes raise InvalidEventError for an event that its table cannot hold, QueueFullError when the journal
    is full and ``when_full`` is ``"reject"``, JournalError or OperationalError when there can be no journal,
    and ClosedError after :meth:`shutdown`. Queries raise UnreachableError, CircuitOpenError and what else
    dbint.errors has for servers.
    """

    def __init__(self, config: DatabaseConfig | None = None) -> None:
        self.config = config or current_host().config()
        self.breaker = CircuitBreaker(
            "events",
            failure_threshold=self.config.failure_threshold,
            recovery_timeout=self.config.recovery_timeout,
            half_open_calls=self.config.success_threshold,
            record=(*FAILURES, errors.OperationalError),
        )
        self._window = QueryWindow()
        self._monitor = HealthMonitor()
        self._login = {"user": self.config.user, "password": self.config.password}
        self._reader = Reader(self.config, self.breaker, self._window, self._given_login)
        self._pool: Pool | None = None
        self._writer: BatchWriter | None = None
        self._buffers: dict[str, BatchWriteBuffer] = {}
        self._methods: dict[str, Callable[..., Any]] = {}
        self._closed = False
        self._began = time.monotonic()
        self._away_since: float | None = None
        self._recovery_attempts = 0
        self._lost, self._dead = RecentCount(), RecentCount()
        self._make_locks()
        _layers.add(self)

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._look_lock = threading.Lock()
        self._background: Background | None = None

    # --- opening and closing ---

    async def initialize(self, require_server: bool = False, create: bool = False) -> None:
        """Opens the journal, asks the server for a sign of life, starts the thread that looks after things.

        A server that is away is a DEGRADED start: events go to the journal and land when it is back.
        ``require_server``: raises UnreachableError (or AuthenticationError, ...) instead, and the layer is
        closed. ``create``: makes what is missing of the tables, and so requires the server; with Django,
        ``manage.py migrate`` does that. May be called again.

        Raises JournalError, OperationalError or ConfigurationError when there can be no journal.
        """
        await asyncio.to_thread(self.initialize_sync, require_server, create)

    def initialize_sync(self, require_server: bool = False, create: bool = False) -> None:
        """As initialize, for threads."""
        writer, _ = self._open()
        writer.start()
        try:
            self._ping()
            if create:
                self.create_tables()
        except errors.Error:
            if require_server or create:
                self.shutdown_sync(0)
                raise
        self._look(ping=False)
        self._look_after()

    def create_tables(self) -> None:
        """Makes what is missing of schema, tables, partitions and ledger. Waits; for threads."""
        with connected(self.config, self._login) as connection:
            retention.install(connection, self.config)

    async def shutdown(self, timeout: float = 5.0) -> int:
        """Ships what waits, for at most ``timeout`` seconds, and closes everything.

        Returns how many events have not landed: they stay in the journal for the next process. The layer
        cannot be used again.
        """
        left = await asyncio.to_thread(self._shut_writer, timeout)
        await self._reader.close_async(timeout)
        return left

    def shutdown_sync(self, timeout: float = 5.0) -> int:
        """As shutdown, for threads."""
        left = self._shut_writer(timeout)
        self._reader.close(timeout)
        return left

    def _shut_writer(self, timeout: float) -> int:
        with self._lock:
            self._closed = True
            writer, pool = self._writer, self._pool
            self._uninstall()
        self.stop_looking()
        left = 0
        with suppress(errors.ClosedError):
            left = writer.close(timeout) if writer is not None else 0
        if pool is not None:
            with suppress(errors.DeadlineError):
                pool.close(timeout)
        return left

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    def __enter__(self) -> Self:
        self.initialize_sync()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown_sync()

    @property
    def closed(self) -> bool:
        """Whether it has been shut down."""
        return self._closed

    def _open(self) -> tuple[BatchWriter, Pool]:
        with self._lock:
            if self._closed:
                raise errors.ClosedError("the database layer has been shut down")
            if self._writer is None or self._pool is None:
                self._pool = self._make_pool()
                self._writer = self._make_writer(self._pool)
            if not self._methods:
                self._install(self._writer)
            return self._writer, self._pool

    def _writes(self) -> Mapping[str, Callable[..., Any]]:
        """The streams' own methods by name, of a layer that is open and looked after."""
        self._open()
        self._look_after()
        return self._methods

    def _make_pool(self) -> Pool:
        config = self.config
        parameters = config.connection_parameters()
        pool = Pool(
            make_conninfo(**parameters),
            name="events",
            min_size=config.pool_min_size,
            max_size=config.pool_max_size,
            connect_timeout=config.connect_timeout,
            max_age=config.connection_max_age,
            max_queries=config.max_queries_per_connection,
            exhaustion_threshold=config.pool_exhaustion_threshold,
        )
        if config.password:
            pool.set_credentials(config.user, config.password)
        return pool

    def _make_writer(self, pool: Pool) -> BatchWriter:
        directory = self.config.journal_path
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.JournalError(
                f"the journal's directory {directory} cannot be made ({error.strerror}): "
                "set DBINT_JOURNAL_DIR to a directory that this user may write to"
            ) from None
        return BatchWriter(
            pool,
            directory,
            name=self.config.name or self.config.database,
            breaker=self.breaker,
            shippers=self.config.shippers,
            max_bytes=self.config.journal_max_bytes,
        )

    def _install(self, writer: BatchWriter) -> None:
        config, transactions = self.config, current_host().transactions
        for table, (name, buffer) in _STREAMS.items():
            stream = self._stream_into(writer, table, table.name, config.when_full)
            self._buffers[buffer] = BatchWriteBuffer(
                stream, writer, config.batch_size, config.batch_timeout_ms
            )
            if transactions is not None:
                teach_on_commit(stream, table, transactions)
            self._methods[name], self._methods[f"{name}_sync"] = stream.write, stream.write_sync
        for name, method in self._methods.items():
            # A subclass that has a method of its own keeps it.
            if getattr(type(self), name) is getattr(DatabaseIntegrationLayer, name):
                setattr(self, name, method)

    def open_stream(self, table: EventTable, name: str, when_full: WhenFull) -> Stream:
        """A stream of its own into one of the four tables, for events whose sender must not wait, say."""
        return self._stream_into(self._open()[0], table, name, when_full)

    def _stream_into(self, writer: BatchWriter, table: EventTable, name: str, when_full: WhenFull) -> Stream:
        config = self.config
        return writer.stream(
            table.qualified,
            name=name,
            columns=table.declarations,
            fill=table.fills,
            durability=config.durability,
            when_full=when_full,
            batch_size=config.batch_size,
            batch_timeout=config.batch_timeout_ms / 1000,
            lanes=config.lanes,
        )

    def _uninstall(self) -> None:
        for name in self._methods:
            self.__dict__.pop(name, None)
        self._methods.clear()

    def after_fork(self) -> None:
        """To be called in a child: the first write opens again, and starts a thread of this process."""
        self._make_locks()
        self._reader.after_fork()
        self._uninstall()

    # --- writing ---

    @opens
    async def write_trace_event(
        self,
        *,
        trace_id: str,
        event_type: str,
        level: str,
        message: str,
        agent_name: str | None = None,
        task_id: str | None = None,
        metadata: Any = None,
        timestamp: datetime = ...,  # left out: now
        event_id: UUID = ...,  # left out: a new UUIDv7
        on_commit: bool | str = False,
    ) -> None:
        """Takes a trace event: a step of an agent.

        ``trace_id`` and ``agent_name`` and ``task_id`` have at most 255 characters, ``event_type`` 100,
        ``level`` 20; ``metadata`` is what JSON can hold. ``timestamp`` is aware.

        ``on_commit``: True, or an alias of DATABASES, writes it after the commit of Django's running
        transaction, and never when that is rolled back. Needs ``dbint.django.observability``.
        """

    @opens
    async def write_routing_decision(
        self,
        *,
        user_request: str,
        selected_agent: str,
        confidence_score: float,
        routing_strategy: str,
        alternatives: Any = None,
        reasoning: str | None = None,
        context: Any = None,
        trace_id: str | None = None,
        timestamp: datetime = ...,  # left out: now
        event_id: UUID = ...,  # left out: a new UUIDv7
        on_commit: bool | str = False,
    ) -> None:
        """Takes a routing decision: which agent gets a request, how sure that is, and why.

        ``selected_agent`` and ``trace_id`` have at most 255 characters, ``routing_strategy`` 100;
        ``alternatives`` and ``context`` are what JSON can hold. The rest is as in write_trace_event.
        """

    @opens
    async def write_performance_metric(
        self,
        *,
        metric_name: str,
        metric_value: float,
        metric_type: str,
        component: str,
        metadata: Any = None,
        trace_id: str | None = None,
        timestamp: datetime = ...,  # left out: now
        event_id: UUID = ...,  # left out: a new UUIDv7
        on_commit: bool | str = False,
    ) -> None:
        """Takes a measurement: ``metric_value`` of ``metric_name`` in the part called ``component``.

        ``metric_name``, ``component`` and ``trace_id`` have at most 255 characters, ``metric_type`` 100. The
        rest is as in write_trace_event.
        """

    @opens
    async def write_transformation_event(
        self,
        *,
        source_agent: str,
        target_agent: str,
        transformation_type: str,
        success: bool,
        reason: str | None = None,
        duration_ms: float | None = None,
        metadata: Any = None,
        trace_id: str | None = None,
        timestamp: datetime = ...,  # left out: now
        event_id: UUID = ...,  # left out: a new UUIDv7
        on_commit: bool | str = False,
    ) -> None:
        """Takes a transformation: one agent became another, or tried to.

        ``source_agent``, ``target_agent`` and ``trace_id`` have at most 255 characters,
        ``transformation_type`` 100. The rest is as in write_trace_event.
        """

    write_trace_event_sync = sync_twin(write_trace_event)
    write_routing_decision_sync = sync_twin(write_routing_decision)
    write_performance_metric_sync = sync_twin(write_performance_metric)
    write_transformation_event_sync = sync_twin(write_transformation_event)

    async def flush(self, timeout: float | None = None) -> int:
        """Ships what waits now. Returns how many events have not landed within ``timeout`` seconds."""
        writer, _ = self._open()
        return await writer.flush_async(timeout)

    def flush_sync(self, timeout: float | None = None) -> int:
        """As flush, for threads."""
        writer, _ = self._open()
        return writer.flush(timeout)

    @property
    def writer(self) -> BatchWriter:
        """The batch writer, for streams into tables of your own: ``db.writer.stream("public.audit")``."""
        return self._open()[0]

    @property
    def trace_event_buffer(self) -> BatchWriteBuffer:
        """What is on its way into trace_events."""
        return self._buffer("trace_event_buffer")

    @property
    def routing_decision_buffer(self) -> BatchWriteBuffer:
        """What is on its way into routing_decisions."""
        return self._buffer("routing_decision_buffer")

    @property
    def performance_metrics_buffer(self) -> BatchWriteBuffer:
        """What is on its way into performance_metrics."""
        return self._buffer("performance_metrics_buffer")

    @property
    def transformation_event_buffer(self) -> BatchWriteBuffer:
        """What is on its way into transformation_events."""
        return self._buffer("transformation_event_buffer")

    def _buffer(self, name: str) -> BatchWriteBuffer:
        self._open()
        return self._buffers[name]

    # --- reading ---

    query_trace_events = reads(queries.query_trace_events)
    query_routing_decisions = reads(queries.query_routing_decisions)
    query_performance_metrics = reads(queries.query_performance_metrics)
    query_transformation_events = reads(queries.query_transformation_events)
    query_trace_events_sync = reads_sync(queries.query_trace_events)
    query_routing_decisions_sync = reads_sync(queries.query_routing_decisions)
    query_performance_metrics_sync = reads_sync(queries.query_performance_metrics)
    query_transformation_events_sync = reads_sync(queries.query_transformation_events)

    # --- retention ---

    async def apply_retention_policy(self, dry_run: bool = False) -> RetentionReport:
        """Removes what is older than the configuration says, now; ``dry_run`` only says what would go.

        Nothing is done (``ran`` is False) while another process is at it. Raises UnreachableError and the
        like when the server cannot be asked.
        """
        return await asyncio.to_thread(self.apply_retention_policy_sync, dry_run)

    def apply_retention_policy_sync(self, dry_run: bool = False) -> RetentionReport:
        """As apply_retention_policy, for threads."""
        with connected(self.config, self._login) as connection:
            return retention.apply_retention(connection, self.config, dry_run=dry_run)

    def apply_retention_when_due(self) -> None:
        """As the layer's thread does: makes partitions ahead of time, and applies the policy when it is due.

        Raises nothing for a server that is away.
        """
        try:
            with connected(self.config, self._login) as connection:
                retention.ensure_partitions(connection, self.config)
                report = retention.apply_retention(connection, self.config, only_when_due=True)
        except errors.Error as error:
            # The server is away, or there are no tables yet: that has its own alarm. Later, then.
            logger.info("retention was not applied: %s", error)
            return
        for line in retention.describe(report) if report.ran else ():
            logger.log(logging.WARNING if line.startswith("error") else logging.INFO, "retention: %s", line)

    # --- health ---

    async def get_health_metrics(self) -> DatabaseHealthMetrics:
        """How the layer is now: asks the server for a sign of life, for at most ``connect_timeout`` s."""
        return await asyncio.to_thread(self.get_health_metrics_sync)

    def get_health_metrics_sync(self) -> DatabaseHealthMetrics:
        """As get_health_metrics, for threads."""
        return self._look()

    @property
    def status(self) -> DatabaseHealthStatus:
        """The status at the last look."""
        return self._monitor.status

    def add_health_listener(self, listener: Callable[[HealthChange], object]) -> None:
        """Calls ``listener(change)`` whenever the status has changed, in the thread that saw it."""
        self._monitor.add_listener(listener)

    def remove_health_listener(self, listener: Callable[[HealthChange], object]) -> None:
        """Raises ValueError when it is not there."""
        self._monitor.remove_listener(listener)

    def set_credentials(self, user: str, password: str) -> None:
        """From now on connections are opened with these; those opened with others are replaced."""
        with self._lock:
            self._login = {"user": user, "password": password}
            if self._pool is not None:
                self._pool.set_credentials(user, password)
        self._reader.drain()

    def _given_login(self) -> dict[str, str]:
        return {key: value for key, value in self._login.items() if value}

    def _ping(self) -> None:
        """Raises what is wrong with the server or the way to it."""
        _, pool = self._open()
        try:
            with self._window.timed(), self._probe():
                pool.execute("SELECT 1", timeout=self.config.connect_timeout)
        except errors.Error:
            if self._away_since is None:
                self._away_since = time.monotonic()
            self._recovery_attempts += 1
            raise
        if self._away_since is not None:
            self._away_since, self._recovery_attempts = None, 0
            self._window.forgive()
            self._reader.drain()

    @contextmanager
    def _probe(self) -> Iterator[None]:
        """A permit of the breaker when it wants probes: it closes also where nobody writes or asks."""
        with ExitStack() as held:
            if self.breaker.state != CircuitState.CLOSED:
                with suppress(errors.CircuitOpenError):
                    held.enter_context(self.breaker.acquire())
            yield

    def _look(self, ping: bool = True) -> DatabaseHealthMetrics:
        """Looks at everything once, and judges."""
        with self._look_lock:
            was_away = self._away_since is not None
            accepting = self._accepts()
            if ping and accepting:
                with suppress(errors.Error):  # the window has it
                    self._ping()
            writer, pool = self._writer, self._pool
            if writer is not None and was_away and self._away_since is None:
                writer.retry()
            if pool is not None:
                pool.tidy()
            return self._judge(writer, pool, accepting)

    def _accepts(self) -> bool:
        """Whether events can be written: it is open, or can be opened."""
        try:
            self._open()
        except errors.Error as error:
            self._window.note_error(error)
            return False
        return True

    def _judge(self, writer: BatchWriter | None, pool: Pool | None, accepting: bool) -> DatabaseHealthMetrics:
        counts = _Counts(writer)
        size, free, utilization = self._connections(pool)
        recent_queries, recent_failed = self._window.recent()
        away_for = time.monotonic() - self._away_since if self._away_since is not None else 0.0
        circuit_state = self.breaker.state
        seen = Observation(
            accepting=accepting,
            reachable=self._away_since is None,
            unreachable_for=away_for,
            circuit_state=circuit_state,
            pool_utilization_pct=utilization,
            pool_exhaustion_threshold=self.config.pool_exhaustion_threshold,
            recent_queries=recent_queries,
            recent_failed_queries=recent_failed,
            recent_lost=self._lost.note(counts.lost + counts.rejected),
            recent_dead=self._dead.note(counts.dead),
            held_chains=counts.held,
            journal_fill_pct=counts.journal_fill_pct,
            journal_error=counts.journal_error,
            oldest_event_age=counts.oldest_age,
        )

        def report(assessment: Assessment) -> DatabaseHealthMetrics:
            return DatabaseHealthMetrics(
                status=assessment.status,
                reasons=assessment.reasons,
                pool_size=size,
                pool_free=free,
                pool_utilization_pct=utilization,
                total_queries=self._window.total,
                failed_queries=self._window.failed,
                avg_query_time_ms=self._window.average_ms,
                circuit_state=circuit_state,
                last_error=self._window.last_error,
                last_error_time=self._window.last_error_time,
                recovery_attempts=self._recovery_attempts,
                uptime_seconds=time.monotonic() - self._began,
                events_accepted=counts.accepted,
                events_recovered=counts.recovered,
                events_landed=counts.landed,
                events_pending=counts.pending,
                events_dead=counts.dead,
                events_lost=counts.lost,
                oldest_event_age=counts.oldest_age,
                held_chains=counts.held,
                journal_bytes=counts.journal_bytes,
                journal_fill_pct=counts.journal_fill_pct,
            )

        if self._closed:  # as its owner wished: nobody has to be told
            return report(assess(seen, self._monitor.status))
        return self._monitor.judge(seen, report)

    def _connections(self, pool: Pool | None) -> tuple[int, int, float]:
        """Open, idle, and per cent in use of the more used of the two pools."""
        size, free = self._reader.size()
        limit = self.config.pool_max_size
        utilization = 100 * (size - free) / limit
        if pool is not None:
            snapshot = pool.snapshot()
            size, free = size + snapshot["size"], free + snapshot["idle"]
            utilization = max(utilization, snapshot["utilization"])
        return size, free, min(utilization, 100.0)

    def stop_looking(self) -> Background | None:
        """Has the thread that looks after health and retention end, and returns it.

        The next use starts another.
        """
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            background.stop()
        return background

    def _look_after(self) -> None:
        """Starts the thread, once in a process."""
        with self._lock:
            if self.config.background and self._background is None and not self._closed:
                self._background = Background(self)
                self._background.start()


class _Counts:
    """What the writer counts, over all streams."""

    def __init__(self, writer: BatchWriter | None) -> None:
        snapshot = writer.snapshot() if writer is not None else None
        streams = list(snapshot["streams"].values()) if snapshot else []
        self.held = snapshot["held"] if snapshot else 0
        self.journal_bytes = snapshot["journal"]["bytes"] if snapshot else 0
        self.journal_error = snapshot["journal"]["error"] if snapshot else None
        limit = snapshot["journal"]["max_bytes"] if snapshot else 0
        self.journal_fill_pct = 100 * self.journal_bytes / limit if limit else 0.0
        self.accepted = sum(one["accepted"] for one in streams)
        self.recovered = sum(one["recovered"] for one in streams)
        self.landed = sum(one["landed"] for one in streams)
        self.pending = sum(one["journaled"] for one in streams)
        self.dead = sum(one["dead"] for one in streams)
        self.rejected = sum(one["rejected"] for one in streams)
        self.lost = sum(
            sum(one["dropped"].values()) + one["damaged"] + one["lost_by_server"] for one in streams
        )
        self.oldest_age = max((one["oldest_age"] or 0.0 for one in streams), default=0.0)


_layers: WeakSet[DatabaseIntegrationLayer] = WeakSet()


def living_layers() -> list[DatabaseIntegrationLayer]:
    """Every layer of this process."""
    return list(_layers)
