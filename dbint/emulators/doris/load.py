"""One Stream Load, from its headers to its answer.

Source: "Stream Load" and "Group Commit" of the Doris manual; be/src/service/http/action/stream_load.cpp for
the order of the checks and their texts, be/src/load/stream_load/stream_load_context.cpp for the answer.
"""

import datetime as dt
import gzip
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
from dbint.emulators.doris.held_loads import HeldLoads, group_label
from dbint.emulators.doris.load_columnar import COLUMNAR, ColumnarFormat, parse_columnar
from dbint.emulators.doris.load_columns import (
    ColumnMapping,
    LoadScope,
    Selection,
    check_sequence,
    mapping_of,
    source_of,
    with_sequence,
)
from dbint.emulators.doris.load_csv import CsvFormat, parse_csv
from dbint.emulators.doris.load_flexible import check_table, flexible_source, source_names
from dbint.emulators.doris.load_formats import COMPRESSIONS, NOT_EMULATED_COMPRESSIONS, ParsedRows
from dbint.emulators.doris.load_json import JsonFormat, parse_json
from dbint.emulators.doris.model import Table
from dbint.emulators.doris.session import Cluster
from dbint.emulators.doris.write import Staged, WriteOptions, apply, stage

_LABEL = re.compile(r"[-_A-Za-z0-9:]{1,128}")
_DEFAULT_TIME_ZONE = "Asia/Shanghai"
_CSV_FORMATS = {"csv": 0, "csv_with_names": 1, "csv_with_names_and_types": 2}
_FORMATS = frozenset([*_CSV_FORMATS, *COLUMNAR, "json"])
_UPDATE_MODES = ("UPSERT", "UPDATE_FIXED_COLUMNS", "UPDATE_FLEXIBLE_COLUMNS")
_GROUP_COMMIT_MODES = ("sync_mode", "async_mode", "off_mode")
_GROUP_COMMIT_ROWS_FOR_RATIO = 10_000  # be.conf: group_commit_memory_rows_for_max_filter_ratio
_DEFAULT_TIMEOUT = 600
_LONGEST_TIMEOUT = 259_200
# From this release on a chunked load keeps its label only where it says that it is in off_mode: its
# _can_group_commit() empties the label before it asks whether group commit was wanted.
_FORGETS_LABELS = (4, 1)
# Headers that a flexible partial update cannot have, in the order in which Doris looks at them.
_NOT_FLEXIBLE = (
    "columns",
    "jsonpaths",
    "hidden_columns",
    "function_column.sequence_col",
    "merge_type",
    "where",
)
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
        self._headers = headers
        self.label = headers.get("label", "")
        self.received = 0
        self.read_ms = 0
        self.publish_delay: float | None = None
        self._two_phase = headers.get("two_phase_commit") == "true"
        self._group_commit = ""
        self._txn_id = -1
        self._held = False
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
        self._choose_group_commit()
        if not self._group_commit and not self.label:
            self.label = str(uuid.uuid4())
        self._check_format()
        self._check_length()
        self._table()
        if not self._group_commit:
            self._take_label()
        if self._status != "Label Already Exists":
            self._check_headers()

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
            "Comment": self._headers.get("comment", ""),
        }
        if self._group_commit:
            answer["GroupCommit"] = True
        else:
            answer["TwoPhaseCommit"] = "true" if self._two_phase else "false"
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
        except (
            UnicodeDecodeError,
            zlib.error,
            gzip.BadGzipFile,
            EOFError,
            OSError,
            pa.ArrowException,
        ) as error:
            self.refuse(f"[INTERNAL_ERROR]the body cannot be read: {error}")
        else:
            return True
        return False

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def _header(self, name: str, default: str = "") -> str:
        return self._headers.get(name, default)

    def _flag(self, name: str) -> bool:
        return self._header(name).lower() == "true"

    def _integer(self, name: str, default: int) -> int:
        text = self._header(name) or str(default)
        try:
            return int(text)
        except ValueError:
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid argument: {name} is not an integer: {text}"
            ) from None

    def _table(self) -> Table:
        if not self._storage.has_database(self._database):
            raise DorisError(f"unknown database, database={self._database}")
        table = self._storage.find_table(self._database, self._table_name)
        if table is None or table.is_view:
            raise DorisError(f"unknown table, tableName={self._table_name}")
        if table.model == "VIEW":
            raise DorisError(f"table type is VIEW, not OLAP, tableName={self._table_name}")
        return table

    # -- headers, in the order in which the backend looks at them

    def _choose_group_commit(self) -> None:
        """Decide whether the load joins a group; a load that cannot is an ordinary one."""
        mode = self._header("group_commit").lower()
        if mode and mode not in _GROUP_COMMIT_MODES:
            raise DorisError("[INVALID_ARGUMENT]group_commit can only be [async_mode, sync_mode, off_mode]")
        chunked = "chunked" in self._header("transfer-encoding").lower()
        if not mode and chunked and _release(self._cluster.version) >= _FORGETS_LABELS:
            self.label = ""
        if mode in ("", "off_mode") or (self._header("content-length", "0") == "0" and not chunked):
            return
        if chunked:
            self.label = ""
        if (
            self._two_phase
            or self._flag("partial_columns")
            or self._header("partitions")
            or self._header("temporary_partitions")
            or self._update_mode() in _UPDATE_MODES[1:]
        ):
            return
        if self.label:
            raise DorisError("[INVALID_ARGUMENT]label and group_commit can't be set at the same time")
        self._group_commit = mode

    def _check_format(self) -> None:
        kind = self._kind()
        compression = self._header("compress_type").lower()
        known = compression in COMPRESSIONS or compression in NOT_EMULATED_COMPRESSIONS
        if kind not in _FORMATS or (kind in _CSV_FORMATS and not known):
            raise DorisError(f"[E-1101]unknown data format, format={self._header('format')}")

    def _kind(self) -> str:
        return self._header("format", "csv").lower() or "csv"

    def _check_length(self) -> None:
        chunked = "chunked" in self._header("transfer-encoding").lower()
        length = self._header("content-length")
        if not length and not chunked:
            raise DorisError(
                "[INVALID_ARGUMENT]content_length is empty and transfer-encoding!=chunked, please set"
                " content_length or transfer-encoding=chunked"
            )
        if length and chunked:
            raise DorisError("[INVALID_ARGUMENT]please do not set both content_length and transfer-encoding")

    def _take_label(self) -> None:
        if not 1 <= self._integer("timeout", _DEFAULT_TIMEOUT) <= _LONGEST_TIMEOUT:
            raise DorisError(f"Invalid timeout. Timeout should between 1 and {_LONGEST_TIMEOUT} seconds")
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

    def _check_headers(self) -> None:
        for name in ("enclose", "escape"):
            if len(self._header(name)) > 1:
                raise DorisError(
                    f"[INVALID_ARGUMENT]{name} must be single-char, actually is {self._header(name)}"
                )
        if self._header("partitions") and self._header("temporary_partitions"):
            raise DorisError("[INVALID_ARGUMENT]Can not specify both partitions and temporary partitions")
        if self._header("strict_mode").lower() not in ("", "true", "false"):
            raise DorisError("[INVALID_ARGUMENT]Invalid strict mode format. Must be bool type")
        self._check_merge()
        skip = self._integer("skip_lines", 0)
        if skip < 0:
            raise DorisError(f"[INVALID_ARGUMENT]Invalid 'skip_lines': {skip}")
        self._check_update_mode()
        behavior = self._header("partial_update_new_key_behavior").upper()
        if behavior not in ("", "APPEND", "ERROR"):
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid partial_update_new_key_behavior {behavior}, must be one of"
                " {'APPEND', 'ERROR'}"
            )
        if not 0 <= self._max_filter_ratio() <= 1:
            raise DorisError(f"max_filter_ratio must be in [0, 1]: {self._header('max_filter_ratio')}")
        self._check_for_table(self._table())

    def _check_merge(self) -> None:
        merge, delete = self._header("merge_type").upper(), self._header("delete")
        if merge not in ("", "APPEND", "DELETE", "MERGE"):
            raise DorisError(f"[INVALID_ARGUMENT]Invalid merge type {self._header('merge_type')}")
        if merge == "MERGE" and not delete:
            raise DorisError("[INVALID_ARGUMENT]Excepted DELETE ON clause when merge type is MERGE.")
        if merge not in ("", "MERGE") and delete:
            raise DorisError("[INVALID_ARGUMENT]Not support DELETE ON clause when merge type is not MERGE.")

    def _check_update_mode(self) -> None:
        mode = self._update_mode()
        if mode and mode not in _UPDATE_MODES:
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid unique_key_partial_mode {self._header('unique_key_update_mode')},"
                " must be one of 'UPSERT', 'UPDATE_FIXED_COLUMNS' or 'UPDATE_FLEXIBLE_COLUMNS'"
            )
        if not self._flexible():
            return
        if self._kind() != "json":
            raise DorisError(
                "[INVALID_ARGUMENT]flexible partial update only support json format as input file currently"
            )
        if self._flag("fuzzy_parse"):
            raise DorisError(
                "[INVALID_ARGUMENT]Don't support flexible partial update when 'fuzzy_parse' is enabled"
            )
        for name in _NOT_FLEXIBLE:
            if self._header(name):
                raise DorisError(
                    f"[INVALID_ARGUMENT]Don't support flexible partial update when '{name}' is specified"
                )

    def _check_for_table(self, table: Table) -> None:
        """What the frontend finds when it plans the load."""
        if self._header("temporary_partitions"):
            raise NotEmulatedError("a load into temporary partitions")
        if self._header("negative").lower() == "true":
            raise NotEmulatedError("a negative load")
        by_table = table.properties.get("group_commit_mode", "off_mode")
        if by_table != "off_mode" and not self._header("group_commit"):
            raise NotEmulatedError(
                "a load that leaves it to the table's group_commit_mode (send group_commit)"
            )
        if self._header("merge_type", "APPEND").upper() not in ("", "APPEND") and table.model != "UNIQUE":
            raise DorisError("load by MERGE or DELETE is only supported in unique tables.")
        if self._flag("load_to_single_tablet") and table.distribution:
            raise DorisError(
                "if load_to_single_tablet set to true, the olap table must be with random distribution"
            )
        self._partitioned(table)
        if self._partial() and table.model != "UNIQUE":
            raise DorisError("Only unique key merge on write support partial update")
        if self._partial() and not self._header("columns"):
            missing = table.keys[0].name
            raise DorisError(f"Partial update should include all key columns, missing: {missing}")
        if self._partial() and self._two_phase:
            raise NotEmulatedError("two_phase_commit of a partial update")
        if self._flexible():
            check_table(table)
            if self._two_phase:
                raise NotEmulatedError("two_phase_commit of a partial update")
            return
        mapping = self._mapping(table)
        check_sequence(
            table,
            self._header("function_column.sequence_col"),
            mapping,
            named=bool(self._header("columns")),
            partial=self._partial(),
        )

    def _update_mode(self) -> str:
        return self._header("unique_key_update_mode").upper()

    def _flexible(self) -> bool:
        return self._update_mode() == "UPDATE_FLEXIBLE_COLUMNS"

    def _partial(self) -> bool:
        mode = self._update_mode()
        return mode == "UPDATE_FIXED_COLUMNS" or (not mode and self._flag("partial_columns"))

    def _max_filter_ratio(self) -> float:
        text = self._header("max_filter_ratio", "0")
        try:
            return float(text or "0")
        except ValueError:
            raise DorisError(f"invalid max_filter_ratio: {text}") from None

    def _partitioned(self, table: Table) -> Table:
        """The table with only those of its partitions that the header ``partitions`` names."""
        header = self._header("partitions")
        if not header:
            return table
        names = [name.strip() for name in header.split(",")]
        partitioning = table.partitioning
        known = {p.name for p in partitioning.partitions} if partitioning else {table.name}
        for name in names:
            if name not in known:
                raise DorisError(f"Unknown partition '{name}' in table '{table.name}'")
        if partitioning is None:
            return table
        chosen = tuple(p for p in partitioning.partitions if p.name in names)
        return table.with_(partitioning=replace(partitioning, partitions=chosen, auto=False))

    def _mapping(self, table: Table) -> ColumnMapping:
        if self._flexible():
            return ColumnMapping(source_names(table))
        mapping = mapping_of(table, self._header("columns"), self._header("hidden_columns"))
        return with_sequence(table, mapping, self._header("function_column.sequence_col"))

    # -- rows

    def _load(self, cursor: duckdb.DuckDBPyConnection, body: IO[bytes]) -> None:
        started = self._elapsed()
        table = self._table()
        mapping = self._mapping(table)
        parsed = self._parse(cursor, table, mapping, body)
        self._times["StreamLoadPut"] = self._elapsed() - started
        try:
            with self._storage.write_lock:
                self._write(cursor, self._table(), mapping, parsed)
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {parsed.relation}")

    def _time_zone(self) -> str:
        return self._header("timezone") or self._header("time_zone") or _DEFAULT_TIME_ZONE

    def _parse(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, body: IO[bytes]
    ) -> ParsedRows:
        kind = self._kind()
        compression = self._header("compress_type").lower()
        if kind in _CSV_FORMATS:
            csv = CsvFormat(
                separator=self._header("column_separator"),
                delimiter=self._header("line_delimiter"),
                enclose=self._header("enclose"),
                escape=self._header("escape"),
                skip=_CSV_FORMATS[kind] or self._integer("skip_lines", 0),
                trim_quotes=self._flag("trim_double_quotes"),
                empty_is_null=self._flag("empty_field_as_null"),
                compression=compression,
            )
            return parse_csv(cursor, body, mapping.names, csv)
        if kind != "json":
            expressions = mapping.derived or self._header("where") or self._header("delete")
            columnar = ColumnarFormat(
                kind, self._time_zone(), as_text=bool(expressions), defaults=self._defaults(table)
            )
            return parse_columnar(cursor, body, mapping.names, columnar)
        neither = not self._header("read_json_by_line") and not self._header("strip_outer_array")
        document = JsonFormat(
            by_line=neither or self._flag("read_json_by_line"),
            strip_outer_array=self._flag("strip_outer_array"),
            root=self._header("json_root"),
            paths=self._header("jsonpaths"),
            delimiter=self._header("line_delimiter"),
            compression=compression,
            defaults={} if self._flexible() else self._defaults(table),
            flexible=self._flexible(),
            keys=tuple(c.name for c in table.keys if c.auto_increment is None),
        )
        return parse_json(cursor, body, mapping.names, document)

    def _defaults(self, table: Table) -> dict[str, str | None]:
        """The texts that stand for what a row does not have."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        return {
            c.name: now if c.default_is_expression else c.default
            for c in table.columns
            if c.default is not None
        }

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, parsed: ParsedRows
    ) -> None:
        started = self._elapsed()
        selection = Selection(
            where=self._header("where"),
            merge_type=self._header("merge_type", "APPEND").upper() or "APPEND",
            delete=self._header("delete"),
            time_zone=self._time_zone(),
        )
        scope = LoadScope(self._time_zone(), self._cluster.user, self._database)
        options = WriteOptions(
            strict=self._flag("strict_mode"), partial=self._partial(), time_zone=self._time_zone()
        )
        if self._flexible():
            self._write_flexible(cursor, table, parsed, options)
            return
        source = source_of(table, mapping, parsed, selection, scope)
        staged = stage(self._storage, cursor, self._partitioned(table), source, options)
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
            if self._partial() and self._header("partial_update_new_key_behavior").upper() == "ERROR":
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
            if self._header("partial_update_new_key_behavior").upper() == "ERROR":
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
        if filtered <= self._max_filter_ratio() * selected:
            return False
        self.refuse("[DATA_QUALITY_ERROR]too many filtered rows")
        return True

    def _commit(self, cursor: duckdb.DuckDBPyConnection, staged: Staged) -> None:
        started = self._elapsed()
        if started > self._integer("timeout", _DEFAULT_TIMEOUT) * 1000:
            raise DorisError(
                f"transaction [{self._txn_id}] is already aborted. abort reason: timeout by txn manager"
            )
        held = self._service.held
        with self._storage.transaction(cursor):
            if self._group_commit == "async_mode":
                self.label, self._txn_id, delay = held.join_group(staged.table)
                held.hold_committed(cursor, staged, self.label, self._txn_id, delay)
            elif self._two_phase:
                held.precommit(cursor, staged, self.label, self._txn_id)
            else:
                if self._group_commit:
                    self.label, self._txn_id = group_label(), self._storage.next_txn()
                if self.publish_delay:
                    held.hold_committed(cursor, staged, self.label, self._txn_id, self.publish_delay)
                else:
                    apply(cursor, staged)
                self._storage.keep_label(cursor, self._database, self.label, self._txn_id)
        if not self._two_phase:
            self._times["CommitAndPublish"] = self._elapsed() - started
        self._status = "Success"
        self._message = "OK"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
