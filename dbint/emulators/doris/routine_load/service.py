# ruff: noqa: S608 - makes SQL; names are those of relations of the emulator's own
"""The jobs of a cluster and the threads that run them.

A task's rows and the progress of its job are one transaction of DuckDB, so a message is in the table once,
whatever kills whom. What Doris does with bad rows is done here, too: they are filtered and passed, the task
is committed, and then the job is paused where there were more than ``max_error_number``.
Source: RoutineLoadScheduler, RoutineLoadTaskScheduler, ScheduleRule and RoutineLoadJob of apache/doris; its
be/src/runtime/routine_load for what a task reads.
"""

import functools
import io
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import duckdb

from dbint.emulators.doris.dml import refuse_new_keys
from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.loads.columns import LoadScope, source_of
from dbint.emulators.doris.loads.formats import ParsedRows
from dbint.emulators.doris.loads.headers import LoadHeaders
from dbint.emulators.doris.routine_load.definition import PRECEDING_FILTER
from dbint.emulators.doris.routine_load.job import (
    CANCELLED,
    CANNOT_RESUME,
    NEED_SCHEDULE,
    PARTITIONS_ERROR,
    PAUSED,
    RUNNING,
    STAYS_PAUSED,
    TABLE_ERROR,
    Job,
    Task,
)
from dbint.emulators.doris.sql import translate
from dbint.emulators.doris.tables.types import DorisType
from dbint.emulators.doris.tables.write import Staged, apply, stage
from dbint.errors import Error as ClientError

if TYPE_CHECKING:
    from dbint.emulators.doris.routine_load.consumer import Messages, Source
    from dbint.emulators.doris.session import Cluster

logger = logging.getLogger("dbint.emulators.doris")
MAX_CONCURRENT = 256  # fe.conf: max_routine_load_task_concurrent_num
_POLL = 0.2  # seconds between two looks at the topic; Doris looks whenever its scheduler comes by
_AFTER_FAILURE = 1.0  # Doris: as long as max_batch_interval
_AUTO_RESUME = 2.0  # Doris: 10 s, and twice as long each time
_REFRESH = 5.0  # how often a topic's partitions are looked at
_KEPT_FINAL = 100
_STOP_TIMEOUT = 15.0


class RoutineLoads:
    """All jobs, also those that have ended; safe to use from many threads."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self._storage = cluster.storage
        self._wake = threading.Condition()
        self._threads: dict[int, threading.Thread] = {}
        self._tasks: dict[int, list[Task]] = {}
        self._lags: dict[int, dict[int, int]] = {}
        self._running = False
        self.jobs: dict[int, Job] = {}
        cursor = self._storage.cursor()
        try:
            cursor.execute("CREATE TABLE IF NOT EXISTS meta.routine_loads (id BIGINT, definition VARCHAR)")
            found = cursor.execute("SELECT definition FROM meta.routine_loads ORDER BY id").fetchall()
        finally:
            cursor.close()
        for (definition,) in found:
            job = Job.from_dict(json.loads(definition))
            if job.state == RUNNING:
                job.state = NEED_SCHEDULE
            self.jobs[job.id] = job

    def start(self) -> None:
        """Begin to run the jobs."""
        self._running = True
        for job in list(self.jobs.values()):
            self._begin(job)

    def stop(self) -> None:
        """End the threads; a task that is not committed is forgotten, and comes again."""
        with self._wake:
            self._running = False
            self._wake.notify_all()
        deadline = time.monotonic() + _STOP_TIMEOUT
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    # -- for statements

    def find(self, database: str, name: str, *, final: bool = False) -> list[Job]:
        """The jobs of that name: one that has not ended and, with ``final``, those that have."""
        return [
            job
            for job in self.jobs.values()
            if job.database == database and job.name == name and (final or not job.is_final)
        ]

    def add(self, cursor: duckdb.DuckDBPyConnection, make: Callable[[int], Job]) -> Job:
        """Make a job and begin it. Raises DorisError for a name that is in use."""
        with self._storage.transaction(cursor):
            job = make(self._storage.next_number("routine_load", first=12001))
            if self.find(job.database, job.name):
                raise DorisError(f"Name {job.name} already used in db {job.database}")
            self._save(cursor, job)
            self.jobs[job.id] = job
        self._begin(job)
        return job

    def change(self, cursor: duckdb.DuckDBPyConnection, job: Job, change: Callable[[Job], None]) -> None:
        """Change a job; a task of it that is under way is not committed then. Raises DorisError."""
        with self._storage.transaction(cursor):
            change(job)
            self._tasks.pop(job.id, None)
            self._save(cursor, job)
        with self._wake:
            self._wake.notify_all()

    def tasks(self, job: Job) -> list[Task]:
        return list(self._tasks.get(job.id, ()))

    def lag(self, job: Job) -> dict[int, int]:
        """How far each partition is behind, -1 where that is not known."""
        known = self._lags.get(job.id, {})
        return {
            p: max(0, known[p] - offset) if p in known else -1 for p, offset in sorted(job.progress.items())
        }

    def concurrent(self, job: Job) -> int:
        """How many tasks the job is divided into."""
        if job.state != RUNNING:
            return 0
        return max(
            1, min(len(job.progress), job.desired_concurrent, self._cluster.backend_count, MAX_CONCURRENT)
        )

    # -- inside

    def _save(self, cursor: duckdb.DuckDBPyConnection, job: Job) -> None:
        """In the caller's transaction."""
        cursor.execute("DELETE FROM meta.routine_loads WHERE id = ?", [job.id])
        cursor.execute("INSERT INTO meta.routine_loads VALUES (?, ?)", [job.id, json.dumps(job.to_dict())])
        ended = sorted(other.id for other in self.jobs.values() if other.is_final)
        for old in ended[:-_KEPT_FINAL]:
            cursor.execute("DELETE FROM meta.routine_loads WHERE id = ?", [old])
            del self.jobs[old]

    def _begin(self, job: Job) -> None:
        if self._running and not job.is_final:
            thread = threading.Thread(
                target=self._run, args=(job,), name=f"doris-routine-{job.id}", daemon=True
            )
            self._threads[job.id] = thread
            thread.start()

    def _run(self, job: Job) -> None:
        runner = _Runner(self, self._cluster, job)
        try:
            while self._running and not job.is_final:
                try:
                    seconds = runner.step()
                except duckdb.Error:
                    if self._running:
                        logger.exception("Routine Load %s failed inside the emulator", job.name)
                    seconds = _AFTER_FAILURE
                except Exception:
                    logger.exception("Routine Load %s failed inside the emulator", job.name)
                    seconds = _AFTER_FAILURE
                with self._wake:
                    if seconds and self._running:
                        self._wake.wait(seconds)
        finally:
            runner.close()
            self._threads.pop(job.id, None)

    def set_tasks(self, job: Job, tasks: list[Task]) -> None:
        self._tasks[job.id] = tasks

    def set_lag(self, job: Job, ends: dict[int, int]) -> None:
        self._lags[job.id] = ends

    def save(self, cursor: duckdb.DuckDBPyConnection, job: Job) -> None:
        self._save(cursor, job)

    def is_current(self, job: Job, task: Task) -> bool:
        """Whether the task is still the job's: a pause, a stop or an ALTER ends it."""
        return job.state == RUNNING and any(task.id == other.id for other in self._tasks.get(job.id, ()))


class _Runner:
    """Runs one job, in its thread."""

    def __init__(self, loads: RoutineLoads, cluster: "Cluster", job: Job) -> None:
        self._loads = loads
        self._cluster = cluster
        self._storage = cluster.storage
        self._job = job
        self._source: Source | None = None
        self._source_of: tuple[str, ...] = ()
        self._refreshed = 0.0
        self._resume_after = _AUTO_RESUME

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def step(self) -> float:
        """Do what is due; gives the seconds to wait before the next step."""
        job = self._job
        if self._storage.by_id(job.table_id) is None:
            self._update(lambda: job.end(CANCELLED, TABLE_ERROR, "table does not exist"))
            return 0.0
        if job.state == PAUSED:
            return self._paused()
        if job.state == NEED_SCHEDULE or time.monotonic() - self._refreshed > _REFRESH:
            wait = self._schedule()
            if wait is not None:
                return wait
        if not self._cluster.backend_count:
            self._update(lambda: job.note("There is no available backend to run the task"))
            return _AFTER_FAILURE
        waits = [self._run_task(task) for task in self._loads.tasks(job)]
        return min(waits, default=_POLL)

    def _update(self, change: Callable[[], None]) -> None:
        """Change the job and keep that, unless it has ended meanwhile."""
        cursor = self._storage.cursor()
        try:
            with self._storage.transaction(cursor):
                if not self._job.is_final:
                    change()
                    self._loads.save(cursor, self._job)
        finally:
            cursor.close()

    def _paused(self) -> float:
        """Take up a job again that something else than its user has paused."""
        job = self._job
        self.close()
        if job.reason_code in STAYS_PAUSED or job.paused is None:
            return 3600.0
        left = job.paused + self._resume_after - time.time()
        if left > 0:
            return left
        self._resume_after = min(self._resume_after * 2, 60.0)
        reason = job.reason

        def resume() -> None:
            if job.state == PAUSED and job.reason_code not in STAYS_PAUSED:
                job.resume()
                job.other_message = reason

        self._update(resume)
        return 0.0

    def _open(self) -> "Source":
        # Imported here: an emulator without such a job needs no client of Kafka.
        from dbint.emulators.doris.routine_load.consumer import Source

        job = self._job
        wanted = (job.brokers, job.topic, *(f"{n}={v}" for n, v in sorted(job.kafka.items())))
        if self._source is None or wanted != self._source_of:
            self.close()
            self._source = Source(job.brokers, job.topic, job.kafka)
            self._source_of = wanted
        return self._source

    def _schedule(self) -> float | None:
        """Find the partitions and divide them into tasks; None when done, else the seconds to wait."""
        job = self._job
        try:
            offsets = self._offsets()
        except (ClientError, DorisError) as error:
            self.close()
            return self._not_scheduled(
                f"Failed to get all partitions of kafka topic: {job.topic} error: {error} may be Kafka"
                " properties set in job is error or no partition in this topic that should check Kafka"
            )

        def schedule() -> None:
            changed = job.state == NEED_SCHEDULE or set(offsets) != set(job.progress)
            if job.state not in (NEED_SCHEDULE, RUNNING):
                return
            if job.state == RUNNING and not changed:
                return
            job.progress = {p: max(job.progress.get(p, -1), offset) for p, offset in offsets.items()}
            job.state = RUNNING
            self._divide()

        before = (job.state, set(job.progress))
        if before != (RUNNING, set(offsets)):
            self._update(schedule)
        self._refreshed = time.monotonic()
        self._resume_after = _AUTO_RESUME
        return None if job.state == RUNNING else 0.0

    def _offsets(self) -> dict[int, int]:
        """Where each partition is to be read from. Raises the errors of Kafka's clients, DorisError."""
        job, source = self._job, self._open()
        present = source.partitions()
        wanted = job.partitions or present
        for partition in wanted:
            if partition not in present:
                raise DorisError(
                    f"there is a custom kafka partition {partition} which is invalid for topic {job.topic}"
                )
        return {p: source.real_offset(p, job.progress.get(p, job.default_offset)) for p in wanted}

    def _not_scheduled(self, message: str) -> float:
        job = self._job
        self._refreshed = time.monotonic()

        def fail() -> None:
            if job.state == NEED_SCHEDULE:
                job.pause(PARTITIONS_ERROR, message)
            elif job.state == RUNNING:
                job.note(message)

        self._update(fail)
        return _AFTER_FAILURE

    def _divide(self) -> None:
        """Make the job's tasks anew; in a transaction."""
        job = self._job
        count = self._loads.concurrent(job)
        numbers = sorted(job.progress)
        groups: Iterable[list[int]] = (numbers[n::count] for n in range(count))
        self._loads.set_tasks(
            job,
            [Task(str(uuid.uuid4()), {p: job.progress[p] for p in g}, time.time()) for g in groups if g],
        )

    def _renew(self, task: Task) -> None:
        """Put a task in place of one that has ended; in a transaction."""
        job = self._job
        fresh = Task(str(uuid.uuid4()), {p: job.progress[p] for p in task.partitions}, time.time())
        self._loads.set_tasks(job, [fresh if t.id == task.id else t for t in self._loads.tasks(job)])

    # -- a task

    def _run_task(self, task: Task) -> float:
        """Read what has come and load it; gives the seconds to wait."""
        job = self._job
        started = time.monotonic()
        try:
            source = self._open()
            bounds = {p: source.bounds(p) for p in task.partitions}
            for partition, (low, high) in bounds.items():
                if not low <= task.partitions[partition] <= high:
                    reason = _out_of_range(job, task, partition, low, high)
                    self._abort(task, functools.partial(job.pause, CANNOT_RESUME, reason))
                    return 0.0
            ends = {p: high for p, (_, high) in bounds.items()}
            self._loads.set_lag(job, {**self._known_ends(), **ends})
            if all(task.partitions[p] >= end for p, end in ends.items()):
                return _POLL
            task.started, task.txn_id = time.time(), self._storage.next_txn()
            messages = source.read(
                task.partitions,
                ends,
                seconds=job.max_batch_interval,
                rows=job.max_batch_rows,
                size=job.max_batch_size,
            )
        except ClientError as error:
            self.close()
            text = f"failed to consume kafka topic {job.topic}: {error}"
            self._abort(task, lambda: job.note(text))
            return _AFTER_FAILURE
        if messages.ends == task.partitions:  # what stands there is not to be read: of an aborted transaction
            return _AFTER_FAILURE
        return self._load(task, messages, started)

    def _known_ends(self) -> dict[int, int]:
        job = self._job
        lag = self._loads.lag(job)
        return {p: job.progress[p] + behind for p, behind in lag.items() if behind >= 0}

    def _abort(self, task: Task, change: Callable[[], None]) -> None:
        """End a task whose rows and progress are not kept, and say why."""

        def abort() -> None:
            if self._loads.is_current(self._job, task):
                self._job.statistic.aborted_tasks += 1
                change()
                self._renew(task)

        self._update(abort)

    def _load(self, task: Task, messages: "Messages", started: float) -> float:
        job = self._job
        cursor = self._storage.cursor()
        try:
            self._strike()
            self._commit(cursor, task, messages, started)
        except DorisError as error:
            text = error.detail
            pauses = "INVALID_JSON_PATH" in text
            self._abort(task, lambda: job.pause(CANNOT_RESUME, text) if pauses else job.note(text))
            return _AFTER_FAILURE
        except duckdb.Error as error:
            text = from_duckdb(error).detail
            self._abort(task, lambda: job.note(text))
            return _AFTER_FAILURE
        finally:
            cursor.close()
        return 0.0

    def _strike(self) -> None:
        """Faults that a test has ordered."""
        fault = self._cluster.faults.take("routine_load", self._job.name)
        if fault is None:
            return
        if fault.seconds:
            time.sleep(fault.seconds)
        if fault.kind == "fail":
            raise DorisError("[INTERNAL_ERROR]a fault that was asked for")
        if fault.kind == "too_many_versions":
            from dbint.emulators.doris.faults import TOO_MANY_VERSIONS

            raise DorisError(TOO_MANY_VERSIONS)

    def _commit(
        self, cursor: duckdb.DuckDBPyConnection, task: Task, messages: "Messages", started: float
    ) -> None:
        """Rows, progress and label of a task, in one transaction. Raises DorisError, duckdb.Error."""
        job = self._job
        headers = LoadHeaders({**job.headers, "content-length": "1"})
        table = self._storage.require(job.table_id)
        mapping = headers.mapping(table)
        body = b"".join(_lines(value, headers.kind) for value in messages.values)
        parsed = headers.parse(cursor, table, mapping, io.BytesIO(body))
        try:
            with self._storage.write_lock:
                table = self._storage.require(job.table_id)
                scope = LoadScope(headers.options.time_zone, self._cluster.user, job.database)
                _filter(cursor, parsed, job.headers.get(PRECEDING_FILTER, ""), scope)
                source = source_of(table, mapping, parsed, headers.selection, scope)
                staged = stage(self._storage, cursor, headers.partitioned(table), source, headers.options)
                staged.table = table
                try:
                    errors = parsed.bad + staged.filtered
                    lines = [*parsed.bad_lines, *staged.error_lines]
                    unselected = parsed.total - parsed.bad - staged.total
                    if headers.refuses_new_keys:
                        refuse_new_keys(cursor, staged)
                    with self._storage.transaction(cursor):
                        if not self._loads.is_current(job, task):
                            return
                        self._write(cursor, task, staged)
                        job.progress |= messages.ends
                        if errors:
                            job.note_errors(self._cluster.error_url(lines))
                        self._count(parsed.total, errors, unselected, messages.received, started)
                        if job.state == RUNNING:
                            self._renew(task)
                        else:
                            self._loads.set_tasks(job, [])
                        self._loads.save(cursor, job)
                finally:
                    staged.drop(cursor)
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {parsed.relation}")

    def _write(self, cursor: duckdb.DuckDBPyConnection, task: Task, staged: Staged) -> None:
        job = self._job
        if not staged.loaded:  # nothing to write: Doris aborts the transaction and keeps the progress
            job.statistic.aborted_tasks += 1
            return
        apply(cursor, staged)
        label = f"{job.name}-{job.id}-{task.id.replace('-', '')}-{task.txn_id}"
        self._storage.keep_label(cursor, job.database, label, task.txn_id)
        job.statistic.committed_tasks += 1

    def _count(self, total: int, errors: int, unselected: int, received: int, started: float) -> None:
        self._job.count(
            total=total,
            errors=errors,
            unselected=unselected,
            received=received,
            milliseconds=int((time.monotonic() - started) * 1000),
        )


def _out_of_range(job: Job, task: Task, partition: int, low: int, high: int) -> str:
    return (
        f"be 10001 abort task, task id: {task.id} job id: {job.id} with reason: Offset out of range, the"
        " offset used by job does not exist in kafka, please check the offset, using the Alter ROUTINE LOAD"
        f" command to modify it, and resume the job; partition {partition} has {low} to {high}, the job is at"
        f" {task.partitions[partition]}"
    )


def _lines(value: bytes, kind: str) -> bytes:
    """A message as lines of a load: one where it is JSON, in which a line end is white space."""
    if kind == "json" and (b"\n" in value or b"\r" in value):
        value = value.replace(b"\r", b" ").replace(b"\n", b" ")
    return value + b"\n"


def _filter(cursor: duckdb.DuckDBPyConnection, parsed: ParsedRows, condition: str, scope: LoadScope) -> None:
    """PRECEDING FILTER: it sees the columns of the source, as text, before anything is made of them."""
    if condition:
        kept = translate.translate_condition(condition, scope, {n: DorisType("STRING") for n in parsed.names})
        cursor.execute(f"DELETE FROM {parsed.relation} WHERE NOT coalesce({kept}, false)")
