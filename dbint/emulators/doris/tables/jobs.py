"""What goes on beside the statements: schema change jobs that take their time, and dynamic partitions.

A job that is not light leaves the table as it is until it is finished; rows that come meanwhile are converted
with the others. What it cannot convert cancels it, which only SHOW ALTER TABLE COLUMN tells. Jobs are kept in
the data file: one that a stop has interrupted goes on at the next start.
Source: "Schema Change" and "Dynamic Partitioning" of the Doris documentation; SchemaChangeJobV2 of
apache/doris.
"""

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import duckdb

from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import DorisError
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.tables import alter, dynamic, partitions
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.variables import ALTER_SECONDS

logger = logging.getLogger("dbint.emulators.doris")
CHECK_SECONDS = 600.0  # Doris: dynamic_partition_check_interval_seconds
_KEPT_JOBS = 100
_FINAL = ("FINISHED", "CANCELLED")
_IDLE = 3600.0


@dataclass(slots=True)
class AlterJob:
    """A schema change, as SHOW ALTER TABLE COLUMN lists it. ``clauses`` is the text behind ALTER TABLE t;
    ``began`` and ``due`` are seconds since 1970.
    """

    id: int
    database: str
    table: str
    table_id: int
    txn_id: int
    clauses: str
    created: str
    began: float
    due: float
    state: str = "PENDING"
    finished: str = ""
    message: str = ""

    @property
    def is_final(self) -> bool:
        return self.state in _FINAL

    def advance(self, *, is_blocked: bool) -> None:
        """Bring the state of a job that runs up to the present: a third of its time each."""
        if self.is_final:
            return
        share = (time.time() - self.began) / max(self.due - self.began, 1e-6)
        state = "PENDING" if share < 1 / 3 else "WAITING_TXN" if share < 2 / 3 else "RUNNING"
        self.state = "WAITING_TXN" if is_blocked and state == "RUNNING" else state


@dataclass(slots=True)
class Jobs:
    """The jobs of a cluster, and the thread that carries them out.

    ``seconds`` is how long a job takes; ``interval`` how often dynamic partitions are looked after;
    ``has_open_work`` says whether a transaction that is not ended has written to a table, by its id;
    ``backends`` how many of them there are.
    """

    storage: Storage
    has_open_work: Callable[[int], bool]
    backends: Callable[[], int]
    seconds: float = ALTER_SECONDS
    interval: float = CHECK_SECONDS
    runtimes: dict[int, dynamic.Runtime] = field(default_factory=dict)
    _jobs: list[AlterJob] = field(default_factory=list)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _stopping: bool = False
    _next_check: float = 0.0

    def start(self) -> None:
        """Take the jobs of the data file up again, and begin to look after them."""
        self._jobs = [AlterJob(**data) for data in self.storage.load_jobs()]
        self._next_check = time.monotonic()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="doris-jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # -- schema changes

    def of(self, database: str | None) -> list[AlterJob]:
        """The jobs of a database, oldest first, as they stand now."""
        self.run_due()
        with self._wake:
            found = [job for job in self._jobs if job.database == database]
            for job in found:
                job.advance(is_blocked=self.has_open_work(job.table_id))
            return found

    def is_busy(self, table: Table) -> bool:
        """Whether a job of the table runs. To be called within a transaction too, so it ends none itself."""
        with self._wake:
            return any(job.table_id == table.id and not job.is_final for job in self._jobs)

    def check_idle(self, table: Table) -> None:
        """Raise DorisError where a job of the table runs: Doris takes one at a time."""
        if self.is_busy(table):
            raise DorisError(
                f"Table[{table.name}]'s state(SCHEMA_CHANGE) is not NORMAL. Do not allow doing ALTER ops"
            )

    def add(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, clauses: str, *, is_done: bool
    ) -> AlterJob:
        """Record a job, in the caller's transaction. Call `begin` when that is committed."""
        now = time.time()
        shown = _text(now)
        job = AlterJob(
            id=self.storage.next_number("alter_job", first=10001),
            database=table.database,
            table=table.name,
            table_id=table.id,
            txn_id=self.storage.next_txn(),
            clauses=clauses,
            created=shown,
            began=now,
            due=now + (0 if is_done else self.seconds),
            state="FINISHED" if is_done else "PENDING",
            finished=shown if is_done else "",
        )
        self.storage.put_job(cursor, job.id, asdict(job))
        return job

    def begin(self, job: AlterJob) -> None:
        """Let a job run whose record is committed."""
        with self._wake:
            self._jobs.append(job)
            final = [j for j in self._jobs if j.is_final]
            for old in final[: max(len(self._jobs) - _KEPT_JOBS, 0)]:
                self._jobs.remove(old)
            self._wake.notify_all()

    def cancel(self, table: Table) -> None:
        """CANCEL ALTER TABLE COLUMN. Raises DorisError where nothing runs."""
        with self.storage.write_lock:
            with self._wake:
                running = [j for j in self._jobs if j.table_id == table.id and not j.is_final]
            if not running:
                raise DorisError(f"Table[{table.name}] is not under SCHEMA_CHANGE.")
            cursor = self.storage.cursor()
            try:
                for job in running:
                    self._end(cursor, job, "CANCELLED", "user cancelled")
            finally:
                cursor.close()

    def run_due(self) -> None:
        """Finish the jobs whose time has come, unless a transaction that is not ended has to come first."""
        now = time.time()
        with self._wake:
            due = [job for job in self._jobs if not job.is_final and job.due <= now]
        if not due:
            return
        cursor = self.storage.cursor()
        try:
            for job in due:
                with self.storage.write_lock:
                    if not job.is_final and not self.has_open_work(job.table_id):
                        self._finish(cursor, job)
        finally:
            cursor.close()

    def _finish(self, cursor: duckdb.DuckDBPyConnection, job: AlterJob) -> None:
        try:
            with self.storage.transaction(cursor):
                table = self.storage.require(job.table_id)
                clauses = Cursor(job.clauses)
                alter.plan(self.storage, table, clauses, self.backends()).run(self.storage, cursor)
        except DorisError as error:
            self._end(cursor, job, "CANCELLED", error.detail)
        except duckdb.Error as error:
            self._end(cursor, job, "CANCELLED", from_duckdb(error).detail)
        else:
            self._end(cursor, job, "FINISHED", "")

    def _end(self, cursor: duckdb.DuckDBPyConnection, job: AlterJob, state: str, message: str) -> None:
        ended = {**asdict(job), "state": state, "message": message, "finished": _text(time.time())}
        with self.storage.transaction(cursor):
            self.storage.put_job(cursor, job.id, ended)
        job.message, job.finished, job.state = message, ended["finished"], state

    # -- dynamic partitions

    def check_partitions(self, now: dt.datetime | None = None) -> None:
        """Create the dynamic partitions that are due, and drop those that are too old, with their rows.

        ``now`` (aware) stands for the present: for tests of retention.
        """
        moment = now or dt.datetime.now(dt.UTC)
        cursor = self.storage.cursor()
        try:
            for table in self.storage.tables():
                if dynamic.is_dynamic(table.properties):
                    self._check_table(cursor, table, moment)
        finally:
            cursor.close()

    def _check_table(self, cursor: duckdb.DuckDBPyConnection, seen: Table, now: dt.datetime) -> None:
        runtime = self.runtimes.setdefault(seen.id, dynamic.Runtime())
        try:
            with self.storage.transaction(cursor):
                table = self.storage.by_id(seen.id)
                found = dynamic.rule(table) if table is not None else None
                if table is None or found is None or not found.enable:
                    return
                runtime.scheduled = dt.datetime.now().isoformat(" ", "seconds")
                if self.is_busy(table):
                    runtime.created = (
                        f"Table[{table.name}]'s state is not NORMAL.Do not allow doing dynamic add partition."
                        " table state=SCHEMA_CHANGE"
                    )
                    return
                changed, dropped, problem = dynamic.apply(table, now)
                for partition in dropped:
                    cursor.execute(partitions.delete_rows(table, partition))
                if changed is not table:
                    self.storage.put_table(cursor, changed)
                runtime.created = problem or "NULL"
        except (DorisError, duckdb.Error) as error:
            runtime.dropped = error.detail if isinstance(error, DorisError) else from_duckdb(error).detail

    def note_change(self, table: Table, *, is_new: bool = False) -> None:
        """The properties of a table's dynamic partitions have been set; those of a new one are applied."""
        runtime = self.runtimes.setdefault(table.id, dynamic.Runtime())
        runtime.updated = dt.datetime.now().isoformat(" ", "seconds")
        if is_new:
            runtime.scheduled = runtime.updated

    def set_interval(self, seconds: float) -> None:
        """How often dynamic partitions are looked after; from now on."""
        with self._wake:
            self.interval = seconds
            self._next_check = time.monotonic() + seconds
            self._wake.notify_all()

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._stopping:
                    self._wake.wait(self._pause(self._jobs))
                if self._stopping:
                    return
            try:
                self.run_due()
                if time.monotonic() >= self._next_check:
                    self._next_check = time.monotonic() + self.interval
                    self.check_partitions()
            except Exception:
                logger.exception("a job failed inside the emulator")

    def _pause(self, jobs: Iterable[AlterJob]) -> float:
        """Seconds until there is something to do; a job that waits for a transaction is looked at often."""
        now = time.time()
        waits = [max(job.due - now, 0.02) for job in jobs if not job.is_final]
        return max(0.0, min([*waits, self._next_check - time.monotonic(), _IDLE]))


def _text(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
