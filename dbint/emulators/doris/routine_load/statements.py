"""The statements of Routine Load: CREATE, ALTER, PAUSE, RESUME, STOP, SHOW.

Source: the commands of org.apache.doris.nereids.trees.plans.commands and RoutineLoadManager of apache/doris.
"""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.headers import LoadHeaders
from dbint.emulators.doris.results import Result, text_result
from dbint.emulators.doris.routine_load import definition as parsing
from dbint.emulators.doris.routine_load.job import (
    MANUAL_PAUSE,
    OFFSET_END,
    PAUSED,
    STOPPED,
    Job,
    shown_time,
)
from dbint.emulators.doris.routine_load.service import MAX_CONCURRENT
from dbint.emulators.doris.sql.lexer import Cursor

if TYPE_CHECKING:
    from dbint.emulators.doris.session import DorisSession

_COLUMNS = (
    "Id Name CreateTime PauseTime EndTime DbName TableName IsMultiTable State DataSourceType CurrentTaskNum"
    " JobProperties DataSourceProperties CustomProperties Statistic Progress Lag ReasonOfStateChanged"
    " ErrorLogUrls OtherMsg User Comment"
)
_TASK_COLUMNS = "TaskId TxnId TxnStatus JobId CreateTime ExecuteStartTime Timeout BeId DataSourceProperties"
_MIN_TIMEOUT = 60  # fe.conf: routine_load_task_min_timeout_sec
_TIMEOUT_MULTIPLIER = 10  # fe.conf: routine_load_task_timeout_multiplier


def create(session: "DorisSession", cursor: Cursor) -> Result:
    """What follows CREATE ROUTINE LOAD."""
    found = parsing.parse_create(cursor)
    database = _database(session, found.name)
    name = found.name[-1]
    table = session.find((database, found.table))
    if table.is_view:
        raise DorisError(f"{found.table} is not a OLAP table")
    if found.merge_type != "APPEND" and table.model != "UNIQUE":
        raise DorisError("load by MERGE or DELETE is only supported in unique tables.")
    if found.properties.get("partial_columns", "").lower() == "true" and table.model != "UNIQUE":
        raise DorisError("load by PARTIAL_COLUMNS is only supported in unique table MoW")
    parsing.check_name(name)
    parsing.check_properties(found.properties)
    numbers = parsing.numbers(found.properties)
    headers = parsing.load_headers(found, session.time_zone)
    source = parsing.check_source(found.source, is_alter=False, job=name)
    if found.merge_type != "MERGE" and "delete" in headers:
        raise DorisError("not support DELETE ON clause when merge type is not MERGE.")
    if found.merge_type == "MERGE" and "delete" not in headers:
        raise DorisError("Excepted DELETE ON clause when merge type is MERGE.")
    LoadHeaders({**headers, "content-length": "1"}).check(table)
    values: dict[str, int | float] = {
        "desired_concurrent": MAX_CONCURRENT,
        "max_error_number": 0,
        "max_filter_ratio": 1.0,
        "max_batch_interval": 60,
        "max_batch_rows": 20_000_000,
        "max_batch_size": 1 << 30,
        "exec_mem_limit": 2 << 30,
        **numbers,
    }

    def make(number: int) -> Job:
        return Job(
            id=number,
            name=name,
            database=database,
            table_id=table.id,
            user=session.user,
            comment=found.comment,
            merge_type=found.merge_type,
            headers=headers,
            brokers=source.brokers,
            topic=source.topic,
            partitions=source.partitions,
            kafka=source.kafka,
            default_offset=OFFSET_END if source.default_offset is None else source.default_offset,
            progress=dict(zip(source.partitions, source.offsets, strict=True)),
            **values,  # type: ignore[arg-type]  # those of int are int
        )

    session.cluster.routine_loads.add(session.cursor, make)
    return Result()


def alter(session: "DorisSession", cursor: Cursor) -> Result:
    """What follows ALTER ROUTINE LOAD FOR: properties of a job that is paused."""
    found = parsing.parse_alter(cursor)
    job = _operable(session, found.name)
    parsing.check_properties(found.properties)
    numbers = parsing.numbers(found.properties)
    source = parsing.check_source(found.source, is_alter=True, job=job.name)
    others = {n: v for n, v in found.properties.items() if n not in _NUMBERS}
    if "format" in others:
        raise DorisError("format is invalid property")

    def change(job: Job) -> None:
        if job.state != PAUSED:
            raise DorisError("Only supports modification of PAUSED jobs")
        headers = {**job.headers, **others}
        table = session.storage.require(job.table_id)
        LoadHeaders({**headers, "content-length": "1"}).check(table)
        for partition in source.partitions:
            if source.topic in ("", job.topic) and partition not in job.progress:
                raise DorisError(f"The specified partition {partition} is not in the consumed partitions")
        if source.topic and source.topic != job.topic:
            job.topic, job.progress, job.partitions = source.topic, {}, list(source.partitions)
        job.progress |= dict(zip(source.partitions, source.offsets, strict=True))
        job.brokers = source.brokers or job.brokers
        job.kafka = {**job.kafka, **source.kafka}
        if source.default_offset is not None:
            job.default_offset = source.default_offset
        job.headers = headers
        for name, value in numbers.items():
            setattr(job, name, value)

    session.cluster.routine_loads.change(session.cursor, job, change)
    return Result()


_NUMBERS = frozenset(
    (
        "desired_concurrent_number",
        "max_error_number",
        "max_filter_ratio",
        "max_batch_interval",
        "max_batch_rows",
        "max_batch_size",
        "exec_mem_limit",
    )
)


def pause(session: "DorisSession", cursor: Cursor) -> Result:
    """PAUSE ROUTINE LOAD FOR job; PAUSE ALL ROUTINE LOAD."""
    reason = f"User {session.user} pauses routine load job"
    return _operate(session, cursor, "PAUSE", lambda job: job.pause(MANUAL_PAUSE, reason), all_of=_not_paused)


def resume(session: "DorisSession", cursor: Cursor) -> Result:
    """RESUME ROUTINE LOAD FOR job; RESUME ALL ROUTINE LOAD."""
    return _operate(session, cursor, "RESUME", Job.resume, all_of=lambda job: job.state == PAUSED)


def stop(session: "DorisSession", cursor: Cursor) -> Result:
    """STOP ROUTINE LOAD FOR job: for good."""
    return _operate(session, cursor, "STOP", lambda job: job.end(STOPPED), all_of=None)


def _not_paused(job: Job) -> bool:
    return job.state != PAUSED


def _operate(
    session: "DorisSession",
    cursor: Cursor,
    word: str,
    change: Callable[[Job], None],
    *,
    all_of: Callable[[Job], bool] | None,
) -> Result:
    cursor.expect(word)
    loads = session.cluster.routine_loads
    if cursor.word() in ("JOB", "MATERIALIZED"):
        raise NotEmulatedError(f"{word} {cursor.word()}")
    if all_of is not None and cursor.accept("ALL"):
        cursor.expect("ROUTINE", "LOAD")
        cursor.end()
        database = session.storage.require_database(session.database)
        for job in list(loads.jobs.values()):
            if job.database == database and not job.is_final and all_of(job):
                loads.change(session.cursor, job, change)
        return Result()
    cursor.expect("ROUTINE", "LOAD", "FOR")
    name = cursor.qualified_name()
    cursor.end()
    loads.change(session.cursor, _operable(session, name), change)
    return Result()


def _database(session: "DorisSession", name: Sequence[str]) -> str:
    return session.storage.require_database(name[-2] if len(name) > 1 else session.database)


def _operable(session: "DorisSession", name: Sequence[str]) -> Job:
    found = session.cluster.routine_loads.find(_database(session, name), name[-1])
    if not found:
        raise DorisError(f"There is not operable routine load job with name {name[-1]}")
    return found[0]


# -- SHOW


def show(session: "DorisSession", cursor: Cursor) -> Result:
    """SHOW [ALL] ROUTINE LOAD [FOR job]; SHOW ROUTINE LOAD TASK WHERE JobName = "job"."""
    cursor.expect("SHOW")
    history = cursor.accept("ALL")
    cursor.expect("ROUTINE", "LOAD")
    if cursor.accept("TASK"):
        return _show_tasks(session, cursor)
    loads = session.cluster.routine_loads
    if cursor.accept("FOR"):
        name = cursor.qualified_name()
        database = _database(session, name)
        jobs = loads.find(database, name[-1], final=history)
        if not jobs:
            raise DorisError(
                f"There is no job named {name[-1]} in db {database}. Include history? {str(history).lower()}"
            )
    else:
        database = session.storage.require_database(session.database)
        jobs = [j for j in loads.jobs.values() if j.database == database and (history or not j.is_final)]
    if cursor.peek() is not None:
        raise NotEmulatedError("SHOW ROUTINE LOAD with LIKE or WHERE")
    return text_result(_COLUMNS, [_row(session, job) for job in sorted(jobs, key=lambda job: job.id)])


def _row(session: "DorisSession", job: Job) -> tuple[str | None, ...]:
    loads = session.cluster.routine_loads
    table = session.storage.by_id(job.table_id)
    lag = {str(partition): behind for partition, behind in loads.lag(job).items()}
    return (
        str(job.id),
        job.name,
        shown_time(job.created),
        shown_time(job.paused),
        shown_time(job.ended),
        job.database,
        table.name if table is not None else str(job.table_id),
        "false",
        job.state,
        "KAFKA",
        str(len(loads.tasks(job))),
        job.shown_properties(loads.concurrent(job)),
        job.shown_source(sorted(job.progress)),
        job.shown_kafka(),
        job.shown_statistic(),
        job.shown_progress(),
        json.dumps(lag, separators=(",", ":")),
        job.shown_reason,
        ", ".join(job.error_logs),
        job.other_message,
        job.user,
        job.comment,
    )


def _show_tasks(session: "DorisSession", cursor: Cursor) -> Result:
    expected = 'where JobName = "ROUTINE_LOAD_JOB_NAME"'
    if not cursor.accept("WHERE") or cursor.identifier().lower() != "jobname" or not cursor.accept("="):
        raise DorisError(f"show routine load job only support one equal expr which is {expected}")
    name = cursor.string()
    cursor.end()
    database = session.storage.require_database(session.database)
    found = session.cluster.routine_loads.find(database, name)
    if not found:
        raise DorisError(f"The job named {name} does not exists or job state is stopped or cancelled")
    job = found[0]
    timeout = max(_MIN_TIMEOUT, job.max_batch_interval * _TIMEOUT_MULTIPLIER)
    rows = [
        (
            task.id,
            str(task.txn_id),
            "PREPARE" if task.started is not None else "UNKNOWN",
            str(job.id),
            shown_time(task.created),
            shown_time(task.started),
            str(timeout),
            "10001" if task.started is not None else "-1",
            json.dumps({str(p): offset for p, offset in task.partitions.items()}, separators=(",", ":")),
        )
        for task in session.cluster.routine_loads.tasks(job)
    ]
    return text_result(_TASK_COLUMNS, rows)
