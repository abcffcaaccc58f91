"""A Routine Load job: what it was told, how far it is, and how SHOW presents it.

Source: RoutineLoadJob, KafkaRoutineLoadJob, KafkaProgress and RoutineLoadStatistic of apache/doris; "Routine
Load" of the Doris manual.
"""

import datetime as dt
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dbint.emulators.doris.errors import DorisError

NEED_SCHEDULE, RUNNING, PAUSED, STOPPED, CANCELLED = (
    "NEED_SCHEDULE",
    "RUNNING",
    "PAUSED",
    "STOPPED",
    "CANCELLED",
)
# Codes of org.apache.doris.common.InternalErrorCode.
INTERNAL_ERROR, PARTITIONS_ERROR, TABLE_ERROR = 2, 4, 6
MANUAL_PAUSE, TOO_MANY_FAILURE_ROWS, CANNOT_RESUME = 100, 102, 105
# Jobs paused for one of these wait for a RESUME; others are taken up again by themselves.
STAYS_PAUSED = frozenset((MANUAL_PAUSE, TOO_MANY_FAILURE_ROWS, CANNOT_RESUME))

OFFSET_BEGINNING, OFFSET_END = -2, -1
OFFSET_NAMES = {OFFSET_BEGINNING: "OFFSET_BEGINNING", OFFSET_END: "OFFSET_END"}
_ERROR_LOGS = 3
_SECRETS = ("password", "secret", "sasl.jaas.config", "ssl.key")


@dataclass(slots=True)
class Statistic:
    """What a job has done; ``current_*`` is the window in which bad rows are counted."""

    total_rows: int = 0
    error_rows: int = 0
    unselected_rows: int = 0
    received_bytes: int = 0
    committed_tasks: int = 0
    aborted_tasks: int = 0
    task_ms: int = 0
    current_errors: int = 0
    current_rows: int = 0
    errors_after_resume: int = 0


@dataclass(slots=True)
class Task:
    """A part of a job's partitions, and where in them it begins."""

    id: str
    partitions: dict[int, int]
    created: float
    txn_id: int = -1
    started: float | None = None


@dataclass(slots=True)
class Job:
    """One job. ``headers`` are its clauses and properties in the terms of a Stream Load's headers;
    ``progress`` is the offset that each partition is read from next; ``partitions`` those that were named,
    none: all.
    """

    id: int
    name: str
    database: str
    table_id: int
    user: str
    comment: str
    merge_type: str
    headers: dict[str, str]
    brokers: str
    topic: str
    partitions: list[int]
    kafka: dict[str, str]
    default_offset: int
    desired_concurrent: int
    max_error_number: int
    max_filter_ratio: float
    max_batch_interval: int
    max_batch_rows: int
    max_batch_size: int
    exec_mem_limit: int
    created: float = field(default_factory=time.time)
    state: str = NEED_SCHEDULE
    progress: dict[int, int] = field(default_factory=dict)
    paused: float | None = None
    ended: float | None = None
    reason_code: int = 0
    reason: str = ""
    error_logs: list[str] = field(default_factory=list)
    other_message: str = ""
    statistic: Statistic = field(default_factory=Statistic)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Job":
        progress = {int(partition): offset for partition, offset in data["progress"].items()}
        return cls(**{**data, "progress": progress, "statistic": Statistic(**data["statistic"])})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_final(self) -> bool:
        return self.state in (STOPPED, CANCELLED)

    # -- changes of state; the caller holds a transaction

    def check_change(self, state: str) -> None:
        """Raise DorisError where the job cannot come to this state."""
        if self.is_final or (self.state == PAUSED and state == PAUSED):
            raise DorisError(f"Could not transform {self.state} to {state}")

    def pause(self, code: int, reason: str) -> None:
        self.check_change(PAUSED)
        self.state, self.paused = PAUSED, time.time()
        self.reason_code, self.reason = code, reason

    def resume(self) -> None:
        self.check_change(NEED_SCHEDULE)
        self.state, self.paused = NEED_SCHEDULE, None
        self.reason_code, self.reason = 0, ""
        self.statistic.current_errors = self.statistic.current_rows = self.statistic.errors_after_resume = 0

    def end(self, state: str, code: int = 0, reason: str = "") -> None:
        """STOPPED by its user, or CANCELLED."""
        self.check_change(state)
        self.state, self.ended = state, time.time()
        self.reason_code, self.reason = code, reason

    def note(self, message: str) -> None:
        """What is shown as OtherMsg."""
        self.other_message = f"{dt.datetime.now():%Y-%m-%d %H:%M:%S}:{message}"

    def note_errors(self, url: str) -> None:
        self.error_logs = [*self.error_logs, url][-_ERROR_LOGS:]

    def count(self, *, total: int, errors: int, unselected: int, received: int, milliseconds: int) -> None:
        """Count a task; pause the job where there were too many bad rows, which are not in the table, and
        which its progress has passed all the same: so does Doris.
        """
        s = self.statistic
        s.total_rows += total
        s.error_rows += errors
        s.unselected_rows += unselected
        s.received_bytes += received
        s.task_ms += milliseconds
        s.current_errors += errors
        s.current_rows += total
        s.errors_after_resume = s.current_errors
        ratio = s.current_errors / s.current_rows if s.current_rows else 0.0
        too_many = s.current_errors > self.max_error_number or ratio > self.max_filter_ratio
        if too_many:
            self.pause(
                TOO_MANY_FAILURE_ROWS,
                "current error rows is more than max_error_number or the max_filter_ratio is more than the"
                " value set",
            )
        if too_many or s.current_rows > self.max_batch_rows * 10:
            s.current_errors = s.current_rows = 0
            self.other_message = ""

    # -- what SHOW says

    @property
    def shown_reason(self) -> str:
        if self.state not in (PAUSED, CANCELLED) or not self.reason_code:
            return ""
        return f"ErrorReason{{code=errCode = {self.reason_code}, msg='{self.reason}'}}"

    def shown_progress(self) -> str:
        """The last offset of each partition that was consumed."""
        return _json({str(p): _shown_offset(offset, -1) for p, offset in sorted(self.progress.items())})

    def offset_texts(self) -> list[str]:
        """The offset of each partition that is consumed next, in the order of the partitions."""
        return [_shown_offset(offset, 0) for _, offset in sorted(self.progress.items())]

    def shown_statistic(self) -> str:
        s = self.statistic
        seconds = max(s.task_ms / 1000, 0.001)
        loaded = s.total_rows - s.error_rows - s.unselected_rows
        return _json(
            {
                "receivedBytes": s.received_bytes,
                "runningTxns": [],
                "errorRows": s.error_rows,
                "committedTaskNum": s.committed_tasks,
                "loadedRows": loaded,
                "loadRowsRate": int(loaded / seconds),
                "abortedTaskNum": s.aborted_tasks,
                "errorRowsAfterResumed": s.errors_after_resume,
                "totalRows": s.total_rows,
                "unselectedRows": s.unselected_rows,
                "receivedBytesRate": int(s.received_bytes / seconds),
                "taskExecuteTimeMs": s.task_ms,
            }
        )

    def shown_properties(self, concurrent: int) -> str:
        h = self.headers
        shown = {
            "partitions": h.get("partitions", "*"),
            "columnToColumnExpr": h.get("columns", "*"),
            "precedingFilter": h.get("preceding_filter", "*"),
            "whereExpr": h.get("where", "*"),
            "deleteCondition": h.get("delete", "*"),
            "sequence_col": h.get("function_column.sequence_col", "*"),
            "partial_columns": h.get("partial_columns", "false"),
            "max_error_number": str(self.max_error_number),
            "max_filter_ratio": str(self.max_filter_ratio),
            "max_batch_interval": str(self.max_batch_interval),
            "max_batch_rows": str(self.max_batch_rows),
            "max_batch_size": str(self.max_batch_size),
            "current_concurrent_number": str(concurrent),
            "desired_concurrent_number": str(self.desired_concurrent),
            "exec_mem_limit": str(self.exec_mem_limit),
            "merge_type": self.merge_type,
            "strict_mode": h["strict_mode"],
            "timezone": h["timezone"],
        }
        if h["format"] == "json":
            shown |= {
                "format": "json",
                "jsonpaths": h.get("jsonpaths", ""),
                "json_root": h.get("json_root", ""),
                "strip_outer_array": h.get("strip_outer_array", "false"),
                "num_as_string": h.get("num_as_string", "false"),
                "fuzzy_parse": h.get("fuzzy_parse", "false"),
            }
        else:
            shown |= {"column_separator": h.get("column_separator", "\t"), "line_delimiter": "\n"}
        return _json(shown)

    def shown_source(self, current: list[int]) -> str:
        numbers = ",".join(map(str, current))
        return _json({"topic": self.topic, "currentKafkaPartitions": numbers, "brokerList": self.brokers})

    def shown_kafka(self) -> str:
        """The properties of the consumer, without their secrets."""
        offset = OFFSET_NAMES.get(self.default_offset, str(self.default_offset))
        shown = {n: "******" if any(s in n for s in _SECRETS) else v for n, v in self.kafka.items()}
        return _json({"kafka_default_offsets": offset, **shown})


def _shown_offset(offset: int, shift: int) -> str:
    if offset == 0:
        return "OFFSET_ZERO"
    return OFFSET_NAMES.get(offset) or str(offset + shift)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shown_time(seconds: float | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
