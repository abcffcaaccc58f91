# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""One Stream Load, from its headers to its answer.

Source: "Stream Load" of the Doris manual; be/src/http/action/stream_load.cpp and stream_load_context.cpp for
the order of the answer's keys and the texts.
"""

import gzip
import re
import time
import uuid
import zlib
from dataclasses import dataclass
from typing import IO, Any

import duckdb

from dbint.emulators.doris import translate
from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.lexer import Cursor, tokenize
from dbint.emulators.doris.load_formats import CsvFormat, JsonFormat, ParsedRows, parse_csv, parse_json
from dbint.emulators.doris.model import Table, identifier
from dbint.emulators.doris.session import Cluster
from dbint.emulators.doris.types import DorisType
from dbint.emulators.doris.write import Staged, WriteOptions, apply, convert, stage

_LABEL = re.compile(r"[-_A-Za-z0-9:]{1,128}")
_DEFAULT_TIME_ZONE = "Asia/Shanghai"
_CSV_FORMATS = {"csv": 0, "csv_with_names": 1, "csv_with_names_and_types": 2}
_REFUSED_HEADERS = {
    "partitions": "a load into named partitions",
    "temporary_partitions": "a load into named partitions",
    "hidden_columns": "hidden_columns",
    "unique_key_update_mode": "unique_key_update_mode (partial_columns is)",
}
_OLD_STATES = {"VISIBLE": "FINISHED", "PREPARE": "RUNNING"}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The header ``columns``: names of the source's columns, and expressions over them."""

    names: tuple[str, ...]
    derived: tuple[tuple[str, str], ...] = ()


class Load:
    """A load's transaction: begin, run (or refuse), end, in this order; answer at any time."""

    def __init__(self, cluster: Cluster, database: str, table: str, headers: dict[str, str]) -> None:
        self._cluster = cluster
        self._storage = cluster.storage
        self._database = database
        self._table_name = table
        self._headers = headers
        self.label = headers.get("label") or str(uuid.uuid4())
        self.received = 0
        self.read_ms = 0
        self._txn_id = -1
        self._held = False
        self._started = time.monotonic()
        self._status = "Fail"
        self._message = ""
        self._existing: str | None = None
        self._error_url: str | None = None
        self._counts = dict.fromkeys(("Total", "Loaded", "Filtered", "Unselected"), 0)
        self._times = dict.fromkeys(("BeginTxn", "StreamLoadPut", "WriteData", "CommitAndPublish"), 0)

    # -- the parts of a load

    def begin(self) -> bool:
        """Check the headers and take the label; False where the answer is ready before a body is wanted."""
        try:
            self._check_headers()
            self._table()
            txn_id = self._storage.next_txn()
            used = self._storage.begin_label(self._database, self.label, txn_id)
        except DorisError as error:
            self.refuse(f"[ANALYSIS_ERROR]TStatus: {error.message}")
            return False
        if used is not None:
            self._status = "Label Already Exists"
            self._existing = _OLD_STATES[used.status]
            self._message = (
                "[LABEL_ALREADY_EXISTS]TStatus: errCode = 2, detailMessage = "
                f"Label [{self.label}] has already been used, relate to txn [{used.txn_id}]"
            )
            return False
        self._txn_id = txn_id
        self._held = True
        self._times["BeginTxn"] = self._elapsed()
        return True

    def run(self, body: IO[bytes]) -> None:
        """Load the body; the outcome is in the answer."""
        cursor = self._storage.cursor()
        try:
            self._load(cursor, body)
        except NotEmulatedError as error:
            self.refuse(f"[INTERNAL_ERROR]{error.detail}")
        except DorisError as error:
            self.refuse(
                error.detail if error.detail.startswith("[") else f"[ANALYSIS_ERROR]TStatus: {error.message}"
            )
        except duckdb.Error as error:
            self.refuse(f"[INTERNAL_ERROR]{from_duckdb(error).detail}")
        except (UnicodeDecodeError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            self.refuse(f"[DATA_QUALITY_ERROR]the body cannot be read: {error}")
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
        self._counts["Loaded"] = 0

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
            "TwoPhaseCommit": "false",
            "Status": self._status,
        }
        if self._existing is not None:
            answer["ExistingJobStatus"] = self._existing
        answer["Message"] = self._message
        answer |= {f"Number{name}Rows": count for name, count in self._counts.items()}
        answer |= {
            "LoadBytes": self.received,
            "LoadTimeMs": self._elapsed(),
            "BeginTxnTimeMs": self._times["BeginTxn"],
            "StreamLoadPutTimeMs": self._times["StreamLoadPut"],
            "ReadDataTimeMs": self.read_ms,
            "WriteDataTimeMs": self._times["WriteData"],
            "ReceiveDataTimeMs": self.read_ms,
            "CommitAndPublishTimeMs": self._times["CommitAndPublish"],
        }
        if self._error_url is not None:
            answer["ErrorURL"] = self._error_url
        return answer

    # -- inside

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def _header(self, name: str, default: str = "") -> str:
        return self._headers.get(name, default)

    def _flag(self, name: str) -> bool:
        return self._header(name).lower() == "true"

    def _table(self) -> Table:
        if not self._storage.has_database(self._database):
            raise DorisError(f"unknown database, database={self._database}")
        table = self._storage.find_table(self._database, self._table_name)
        if table is None:
            raise DorisError(f"unknown table, tableName={self._table_name}")
        return table

    def _check_headers(self) -> None:
        if self._flag("two_phase_commit"):
            raise NotEmulatedError("two_phase_commit")
        if self._header("group_commit", "off_mode") not in ("off_mode", ""):
            raise NotEmulatedError("group_commit")
        for name, what in _REFUSED_HEADERS.items():
            if self._header(name):
                raise NotEmulatedError(what)
        kind = self._header("format", "csv").lower()
        if kind not in (*_CSV_FORMATS, "json"):
            if kind in ("parquet", "orc", "arrow"):
                raise NotEmulatedError(f"format {kind}")
            raise DorisError(f"unknown data format, format={kind}")
        if self._header("compress_type").lower() not in ("", "gz"):
            raise NotEmulatedError(f"compress_type {self._header('compress_type')}")
        if not _LABEL.fullmatch(self.label):
            raise DorisError(f"Label format error. regex: ^[-_A-Za-z0-9:]{{1,128}}$, label: {self.label}")
        if self._header("merge_type", "APPEND").upper() not in ("APPEND", "DELETE", "MERGE"):
            raise DorisError(f"Invalid merge type {self._header('merge_type')}")
        if self._header("delete") and self._header("merge_type").upper() != "MERGE":
            raise DorisError("not support delete when merge type is APPEND or DELETE.")
        if not 0 <= self._max_filter_ratio() <= 1:
            raise DorisError(f"max_filter_ratio must be in [0, 1]: {self._header('max_filter_ratio')}")

    def _max_filter_ratio(self) -> float:
        text = self._header("max_filter_ratio", "0")
        try:
            return float(text)
        except ValueError:
            raise DorisError(f"invalid max_filter_ratio: {text}") from None

    def _load(self, cursor: duckdb.DuckDBPyConnection, body: IO[bytes]) -> None:
        started = self._elapsed()
        table = self._table()
        mapping = self._mapping(table)
        data = body.read()
        if self._header("compress_type"):
            data = gzip.decompress(data)
        parsed = self._parse(cursor, table, mapping, data)
        del data
        self._times["StreamLoadPut"] = self._elapsed() - started
        try:
            with self._storage.write_lock:
                self._write(cursor, self._table(), mapping, parsed)
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {parsed.relation}")

    def _mapping(self, table: Table) -> ColumnMapping:
        header = self._header("columns")
        if header:
            return parse_columns(header)
        return ColumnMapping(tuple(c.name for c in table.columns))

    def _parse(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, data: bytes
    ) -> ParsedRows:
        kind = self._header("format", "csv").lower()
        if kind == "json":
            options = JsonFormat(
                by_line=self._flag("read_json_by_line"),
                strip_outer_array=self._flag("strip_outer_array"),
                root=self._header("json_root"),
                paths=self._header("jsonpaths"),
            )
            optional = [c.name for c in table.columns if c.has_default or c.auto_increment is not None]
            return parse_json(
                cursor, data, mapping.names, options, [] if self._header("columns") else optional
            )
        skip = self._header("skip_lines", "0")
        if not skip.isdigit():
            raise DorisError(f"Invalid 'skip_lines': {skip}")
        return parse_csv(
            cursor,
            data,
            mapping.names,
            CsvFormat(
                separator=self._header("column_separator", "\\t"),
                delimiter=self._header("line_delimiter", "\\n"),
                enclose=self._header("enclose"),
                escape=self._header("escape"),
                skip=int(skip) or _CSV_FORMATS[kind],
                trim_quotes=self._flag("trim_double_quotes"),
            ),
        )

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, parsed: ParsedRows
    ) -> None:
        started = self._elapsed()
        staged = stage(self._storage, cursor, table, *self._source(table, mapping, parsed))
        self._times["WriteData"] = self._elapsed() - started
        try:
            filtered = staged.filtered + parsed.bad
            selected = staged.total + parsed.bad
            self._counts = {
                "Total": parsed.total,
                "Loaded": staged.total - staged.filtered,
                "Filtered": filtered,
                "Unselected": parsed.total - selected,
            }
            if filtered:
                self._error_url = self._cluster.error_url([*parsed.bad_lines, *staged.error_lines])
                if filtered > self._max_filter_ratio() * selected:
                    self.refuse("[DATA_QUALITY_ERROR]too many filtered rows")
                    return
            self._commit(cursor, staged)
        finally:
            staged.drop(cursor)

    def _commit(self, cursor: duckdb.DuckDBPyConnection, staged: Staged) -> None:
        started = self._elapsed()
        with self._storage.transaction(cursor):
            apply(cursor, staged)
            self._storage.keep_label(cursor, self._database, self.label, self._txn_id)
        self._times["CommitAndPublish"] = self._elapsed() - started
        self._status = "Success"
        self._message = "OK"

    def _source(self, table: Table, mapping: ColumnMapping, parsed: ParsedRows) -> tuple[str, WriteOptions]:
        """The relation of the rows to write, its columns named as the table's, and how to treat them."""
        merge = self._header("merge_type", "APPEND").upper()
        if merge != "APPEND" and table.model != "UNIQUE":
            raise DorisError("Batch delete only supported in unique tables.")
        if merge == "MERGE" and not self._header("delete"):
            raise DorisError("Excepted DELETE ON clause when merge type is MERGE.")
        self._check_sequence(table)
        time_zone = self._header("timezone") or _DEFAULT_TIME_ZONE
        scope = _LoadScope(time_zone, self._cluster.user, self._database)
        derived = {name.lower() for name, _ in mapping.derived}
        typed = {
            n: c.type for n in mapping.names if (c := table.find(n)) is not None and n.lower() not in derived
        }
        types = {n: typed.get(n, DorisType("STRING")) for n in mapping.names}

        def expression(text: str) -> str:
            return translate.translate_condition(text, scope, types)

        outputs = [f"r.{identifier(n)} AS {identifier(n)}" for n in parsed.names if n in typed]
        outputs += [
            f"{expression(text)} AS {identifier(name)}"
            for name, text in mapping.derived
            if table.find(name) is not None
        ]
        delete = "false"
        if merge == "DELETE":
            delete = "true"
        elif merge == "MERGE":
            delete = expression(self._header("delete"))
        inputs = [
            (
                f"{convert(f'r.{identifier(n)}', 'VARCHAR', typed[n], time_zone)} AS {identifier(n)}"
                if n in typed
                else f"r.{identifier(n)} AS {identifier(n)}"
            )
            for n in parsed.names
        ]
        where = f" WHERE {expression(self._header('where'))}" if self._header("where") else ""
        if not outputs:
            raise DorisError("none of the load's columns is a column of the table")
        source = (
            f'SELECT {", ".join(outputs)}, coalesce({delete}, false) AS "__delete" '
            f"FROM (SELECT r, {', '.join(inputs)} FROM ({parsed.select}) r){where}"
        )
        options = WriteOptions(
            strict=self._flag("strict_mode"),
            partial=self._flag("partial_columns") or self._flag("partial_update"),
            time_zone=time_zone,
        )
        return source, options

    def _check_sequence(self, table: Table) -> None:
        name = self._header("function_column.sequence_col")
        if not name:
            return
        if table.sequence is None:
            raise DorisError(f"Table {table.name} has no sequence column, do not need to specify it")
        if name.lower() != table.sequence.lower():
            raise DorisError(f"Table {table.name} has sequence mapping column {table.sequence}, not {name}")


class _LoadScope:
    """Expressions of a load see its columns and nothing else."""

    def __init__(self, time_zone: str, user: str, database: str) -> None:
        self.time_zone = time_zone
        self._database = database
        self._user = user

    def relation(self, _database: str | None, name: str) -> str:
        raise DorisError(f"a load's expression cannot read a table: {name}")

    def table(self, _database: str | None, _name: str) -> Table | None:
        return None

    def variable(self, name: str) -> str | int:
        raise DorisError(f"a load's expression cannot read the variable {name}")

    def function_value(self, name: str) -> str | int | None:
        return {"database": self._database, "user": self._user}.get(name)


def parse_columns(header: str) -> ColumnMapping:
    """The header ``columns``: ``a, b, c = a + b``. Raises DorisError."""
    names: list[str] = []
    derived: list[tuple[str, str]] = []
    depth = start = 0
    items: list[str] = []
    for token in tokenize(header):
        if token.kind == "op":
            depth += (token.text == "(") - (token.text == ")")
            if token.text == "," and depth == 0:
                items.append(header[start : token.start])
                start = token.end
    items.append(header[start:])
    for item in items:
        cursor = Cursor(item)
        name = cursor.identifier()
        if cursor.accept("="):
            derived.append((name, cursor.rest()))
        else:
            cursor.end()
            names.append(name)
    if len({n.lower() for n in names}) != len(names):
        raise DorisError("Duplicate column in the header columns")
    return ColumnMapping(tuple(names), tuple(derived))
