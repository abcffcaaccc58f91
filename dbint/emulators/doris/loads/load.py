"""One Stream Load, from its headers to its answer.

Source: "Stream Load" and "Group Commit" of the Doris manual; be/src/service/http/action/stream_load.cpp for
the order of the checks and their texts, be/src/load/stream_load/stream_load_context.cpp for the answer.
"""

import re
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

import duckdb
import pyarrow as pa

from dbint.emulators.doris.dml import refuse_new_keys
from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.columns import ColumnMapping, LoadScope, source_of
from dbint.emulators.doris.loads.flexible import flexible_source
from dbint.emulators.doris.loads.formats import ParsedRows
from dbint.emulators.doris.loads.headers import LoadHeaders
from dbint.emulators.doris.loads.held import HeldLoads, group_label
from dbint.emulators.doris.session import Cluster
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.write import Staged, WriteOptions, apply, stage

_LABEL = re.compile(r"[-_A-Za-z0-9:]{1,128}")
_GROUP_COMMIT_ROWS_FOR_RATIO = 10_000  # be.conf: group_commit_memory_rows_for_max_filter_ratio
_OLD_STATES = {"VISIBLE": "FINISHED", "PREPARE": "RUNNING", "PRECOMMITTED": "PRECOMMITTED"}


class LoadService:
    """What the loads of all backends of a cluster share."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.faults = cluster.faults
        self.held = HeldLoads(cluster.storage)
        cluster.has_held_loads = self.held.waits_on

    def close(self) -> None:
        self.held.close()


@dataclass(slots=True)
class _Counts:
    total: int = 0
    loaded: int = 0
    filtered: int = 0
    unselected: int = 0


class Load:
    """A load's transaction: begin, run (or refuse), end, in this order; answer at any time."""

    def __init__(self, service: LoadService, database: str, table: str, headers: dict[str, str]) -> None:
        self._service = service
        self._cluster = service.cluster
        self._storage = service.cluster.storage
        self._database = database
        self._table_name = table
        self._headers = LoadHeaders(headers)
        self.label = self._headers.text("label")
        self.received = 0
        self.read_ms = 0
        self.publish_delay: float | None = None
        self._group_commit = ""
        self._txn_id = -1
        self._held = False
        self._timeout: int | None = None
        self._started = time.monotonic()
        self._status = "Fail"
        self._message = ""
        self._existing: str | None = None
        self._error_url: str | None = None
        self._first_error = ""
        self._counts = _Counts()
        self._times = dict.fromkeys(("BeginTxn", "StreamLoadPut", "WriteData", "CommitAndPublish"), 0)

    # -- the parts of a load

    def begin(self) -> bool:
        """Check the headers and take the label; False where the answer is ready before a body is wanted."""
        return self._guarded(self._begin) and self._status != "Label Already Exists"

    def _begin(self) -> None:
        chosen = self._headers.group_commit(self.label, self._cluster.version)
        self._group_commit, self.label = chosen
        if not self._group_commit and not self.label:
            self.label = str(uuid.uuid4())
        self._headers.check_first()
        self._table()
        if not self._group_commit:
            self._take_label()
        if self._status != "Label Already Exists":
            self._headers.check(self._table())

    def run(self, body: IO[bytes]) -> None:
        """Load the body; the outcome is in the answer."""
        cursor = self._storage.cursor()
        try:
            self._guarded(lambda: self._load(cursor, body))
        finally:
            cursor.close()

    def end(self) -> None:
        """Free the label, unless the load has made it permanent."""
        if self._held:
            self._storage.release_label(self._database, self.label)
            self._held = False

    def refuse(self, message: str) -> None:
        """The load fails with this message."""
        self._status = "Fail"
        self._message = message
        self._counts.loaded = 0

    def report_publish_timeout(self) -> None:
        """A fault: the load is committed, and the answer says that it is not visible yet."""
        if self._status == "Success":
            self._status = "Publish Timeout"
            self._message = "[PUBLISH_TIMEOUT]transaction commit successfully, BUT data will be visible later"

    def answer(self) -> dict[str, Any]:
        """The answer, its keys in Doris' order."""
        answer: dict[str, Any] = {
            "TxnId": self._txn_id,
            "Label": self.label,
            "Comment": self._headers.text("comment"),
        }
        if self._group_commit:
            answer["GroupCommit"] = True
        else:
            answer["TwoPhaseCommit"] = "true" if self._headers.two_phase else "false"
        answer["Status"] = self._status
        if self._existing is not None:
            answer["ExistingJobStatus"] = self._existing
        answer |= {
            "Message": self._message,
            "NumberTotalRows": self._counts.total,
            "NumberLoadedRows": self._counts.loaded,
            "NumberFilteredRows": self._counts.filtered,
            "NumberUnselectedRows": self._counts.unselected,
            "LoadBytes": self.received,
            "LoadTimeMs": self._elapsed(),
            "BeginTxnTimeMs": self._times["BeginTxn"],
            "StreamLoadPutTimeMs": self._times["StreamLoadPut"],
            "ReadDataTimeMs": self.read_ms,
            "WriteDataTimeMs": self._times["WriteData"],
            "ReceiveDataTimeMs": self.read_ms,
            "CommitAndPublishTimeMs": self._times["CommitAndPublish"],
        }
        if self._group_commit:
            del answer["BeginTxnTimeMs"], answer["CommitAndPublishTimeMs"]
        if self._error_url is not None:
            answer["ErrorURL"] = self._error_url
        if self._first_error:
            answer["FirstErrorMsg"] = self._first_error
        return answer

    # -- inside

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Whether ``work`` went well; what it raises becomes the answer's message."""
        try:
            work()
        except NotEmulatedError as error:
            self.refuse(f"[INTERNAL_ERROR]{error.detail}")
        except DorisError as error:
            self.refuse(
                error.detail if error.detail.startswith("[") else f"[ANALYSIS_ERROR]TStatus: {error.message}"
            )
        except duckdb.Error as error:
            self.refuse(f"[INTERNAL_ERROR]{from_duckdb(error).detail}")
        except (UnicodeDecodeError, zlib.error, EOFError, OSError, pa.ArrowException) as error:
            self.refuse(f"[INTERNAL_ERROR]the body cannot be read: {error}")
        else:
            return True
        return False

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def _table(self) -> Table:
        if not self._storage.has_database(self._database):
            raise DorisError(f"unknown database, database={self._database}")
        table = self._storage.find_table(self._database, self._table_name)
        if table is None or table.is_view:
            raise DorisError(f"unknown table, tableName={self._table_name}")
        return table

    def _take_label(self) -> None:
        self._timeout = self._headers.timeout
        if not _LABEL.fullmatch(self.label):
            raise DorisError(f"Label format error. regex: ^[-_A-Za-z0-9:]{{1,128}}$, label: {self.label}")
        self._service.held.expire()
        txn_id = self._storage.next_txn()
        used = self._storage.begin_label(self._database, self.label, txn_id)
        if used is not None:
            self._status = "Label Already Exists"
            self._existing = _OLD_STATES[used.status]
            self._message = (
                "[LABEL_ALREADY_EXISTS]TStatus: errCode = 2, detailMessage = "
                f"Label [{self.label}] has already been used, relate to txn [{used.txn_id}]"
            )
            return
        self._txn_id = txn_id
        self._held = True
        self._times["BeginTxn"] = self._elapsed()

    # -- rows

    def _load(self, cursor: duckdb.DuckDBPyConnection, body: IO[bytes]) -> None:
        started = self._elapsed()
        table = self._table()
        mapping = self._headers.mapping(table)
        parsed = self._headers.parse(cursor, table, mapping, body)
        self._times["StreamLoadPut"] = self._elapsed() - started
        try:
            with self._storage.write_lock:
                self._write(cursor, self._table(), mapping, parsed)
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {parsed.relation}")

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, parsed: ParsedRows
    ) -> None:
        started = self._elapsed()
        options = self._headers.options
        if self._headers.is_flexible:
            self._write_flexible(cursor, table, parsed, options)
            return
        scope = LoadScope(options.time_zone, self._cluster.user, self._database)
        source = source_of(table, mapping, parsed, self._headers.selection, scope)
        staged = stage(self._storage, cursor, self._headers.partitioned(table), source, options)
        cursor.execute(f"DROP TABLE {parsed.relation}")
        staged.table = table
        self._times["WriteData"] = self._elapsed() - started
        try:
            filtered = staged.filtered + parsed.bad
            selected = staged.total + parsed.bad
            self._counts = _Counts(
                parsed.total, staged.total - staged.filtered, filtered, parsed.total - selected
            )
            if filtered and self._keep_errors([*parsed.bad_lines, *staged.error_lines], filtered, selected):
                return
            if self._headers.refuses_new_keys:
                refuse_new_keys(cursor, staged)
            self._commit(cursor, staged)
        finally:
            staged.drop(cursor)

    def _write_flexible(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, parsed: ParsedRows, options: WriteOptions
    ) -> None:
        """A flexible partial update: all of its rows are good, or the load fails."""
        source, wrong = flexible_source(cursor, table, parsed, options)
        staged = stage(self._storage, cursor, table, source, replace(options, strict=False))
        try:
            filtered = parsed.bad + staged.filtered + (wrong if options.strict else 0)
            self._counts = _Counts(parsed.total, max(0, parsed.total - filtered), filtered)
            if filtered:
                lines = [*parsed.bad_lines, *staged.error_lines] or ["parse value failed"]
                if self._keep_errors(lines, filtered, parsed.total):
                    return
                if filtered > parsed.bad:
                    raise NotEmulatedError("a flexible partial update with bad values and a max_filter_ratio")
            if self._headers.refuses_new_keys:
                refuse_new_keys(cursor, staged)
            self._commit(cursor, staged)
        finally:
            staged.drop(cursor)
            cursor.execute("DROP TABLE IF EXISTS load_typed")

    def _keep_errors(self, lines: list[str], filtered: int, selected: int) -> bool:
        """Keep the reasons of filtered rows; True where there are too many for the load to go on."""
        self._error_url = self._cluster.error_url(lines)
        self._first_error = lines[0].removeprefix("Reason: ") if lines else ""
        if self._group_commit and selected > _GROUP_COMMIT_ROWS_FOR_RATIO:
            return False
        if filtered <= self._headers.max_filter_ratio * selected:
            return False
        self.refuse("[DATA_QUALITY_ERROR]too many filtered rows")
        return True

    def _commit(self, cursor: duckdb.DuckDBPyConnection, staged: Staged) -> None:
        started = self._elapsed()
        if self._timeout is not None and started > self._timeout * 1000:
            raise DorisError(
                f"transaction [{self._txn_id}] is already aborted. abort reason: timeout by txn manager"
            )
        held = self._service.held
        with self._storage.transaction(cursor):
            if self._group_commit == "async_mode":
                self.label, self._txn_id, delay = held.join_group(staged.table)
                held.hold_committed(cursor, staged, self.label, self._txn_id, delay)
            elif self._headers.two_phase:
                held.precommit(cursor, staged, self.label, self._txn_id)
            else:
                if self._group_commit:
                    self.label, self._txn_id = group_label(), self._storage.next_txn()
                if self.publish_delay:
                    held.hold_committed(cursor, staged, self.label, self._txn_id, self.publish_delay)
                else:
                    apply(cursor, staged)
                self._storage.keep_label(cursor, self._database, self.label, self._txn_id)
        if not self._headers.two_phase:
            self._times["CommitAndPublish"] = self._elapsed() - started
        self._status = "Success"
        self._message = "OK"
