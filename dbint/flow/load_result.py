"""What Doris answers to a Stream Load, typed, and the errors of those that did not end well."""

from dataclasses import dataclass
from typing import Any

from dbint.errors import DatabaseError, DeadlineError


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A load that is committed. Counters are None where the server did not send them.

    ``visible`` is False after "Publish Timeout": the rows are committed and appear by themselves a little
    later. ``already`` is True when an earlier attempt with this label had loaded the rows; the counters then
    say nothing. ``crowded`` is True when an earlier attempt was refused because the table had too many
    versions (-235): fewer and larger loads are wanted. Times are in milliseconds.
    """

    label: str
    status: str
    message: str
    visible: bool
    already: bool
    attempts: int
    txn_id: int | None
    existing_job_status: str | None
    rows_total: int | None
    rows_loaded: int | None
    rows_filtered: int | None
    rows_unselected: int | None
    bytes_loaded: int | None
    load_ms: int | None
    begin_txn_ms: int | None
    put_ms: int | None
    read_data_ms: int | None
    write_data_ms: int | None
    receive_data_ms: int | None
    commit_and_publish_ms: int | None
    comment: str
    error_url: str | None
    crowded: bool


_COUNTERS = {
    "txn_id": "TxnId",
    "rows_total": "NumberTotalRows",
    "rows_loaded": "NumberLoadedRows",
    "rows_filtered": "NumberFilteredRows",
    "rows_unselected": "NumberUnselectedRows",
    "bytes_loaded": "LoadBytes",
    "load_ms": "LoadTimeMs",
    "begin_txn_ms": "BeginTxnTimeMs",
    "put_ms": "StreamLoadPutTimeMs",
    "read_data_ms": "ReadDataTimeMs",
    "write_data_ms": "WriteDataTimeMs",
    "receive_data_ms": "ReceiveDataTimeMs",
    "commit_and_publish_ms": "CommitAndPublishTimeMs",
}


def parse_result(answer: dict[str, Any], label: str, attempts: int) -> LoadResult:
    """The backend's answer as a LoadResult; keys that are missing or not of their type become None."""
    counters = {name: _integer(answer.get(key)) for name, key in _COUNTERS.items()}
    status = str(answer.get("Status", ""))
    job = _text(answer.get("ExistingJobStatus"))
    return LoadResult(
        label=label,
        status=status,
        message=str(answer.get("Message", "")),
        visible=status != "Publish Timeout" and job != "COMMITTED",
        already=status == "Label Already Exists",
        attempts=attempts,
        existing_job_status=job,
        comment=str(answer.get("Comment", "")),
        error_url=_text(answer.get("ErrorURL")),
        crowded=False,
        **counters,
    )


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class LoadError(DatabaseError):
    """Doris refused the load and kept nothing of it; the label is free again.

    ``result`` holds the counters when the backend sent any, ``error_lines`` the first lines of its error log
    when they were asked for: they contain row data.
    """

    def __init__(
        self, message: str, *, label: str, result: LoadResult | None = None, error_lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.label = label
        self.result = result
        self.error_lines = error_lines


class LoadOutcomeUnknownError(DeadlineError):
    """No answer came in time: the rows may be loaded or not.

    Repeat the load with the same ``label``, within the time that Doris keeps labels: then it is loaded
    exactly once.
    """

    def __init__(self, message: str, *, label: str) -> None:
        super().__init__(message)
        self.label = label
