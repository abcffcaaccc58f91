"""The headers of a Stream Load: what they mean, and what Doris refuses of them, in its order.

Source: be/src/service/http/action/stream_load.cpp; NereidsStreamLoadPlanner of apache/doris.
"""

import datetime as dt
from dataclasses import replace
from typing import IO

import duckdb

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.columnar import COLUMNAR, ColumnarFormat, parse_columnar
from dbint.emulators.doris.loads.columns import (
    ColumnMapping,
    Selection,
    check_sequence,
    mapping_of,
    with_sequence,
)
from dbint.emulators.doris.loads.csv_rows import CsvFormat, parse_csv
from dbint.emulators.doris.loads.flexible import check_table, source_names
from dbint.emulators.doris.loads.formats import COMPRESSIONS, NOT_EMULATED_COMPRESSIONS, ParsedRows
from dbint.emulators.doris.loads.json_rows import JsonFormat, parse_json
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.write import WriteOptions

_DEFAULT_TIME_ZONE = "Asia/Shanghai"
_CSV_FORMATS = {"csv": 0, "csv_with_names": 1, "csv_with_names_and_types": 2}
_FORMATS = frozenset([*_CSV_FORMATS, *COLUMNAR, "json"])
_UPDATE_MODES = ("UPSERT", "UPDATE_FIXED_COLUMNS", "UPDATE_FLEXIBLE_COLUMNS")
_GROUP_COMMIT_MODES = ("sync_mode", "async_mode", "off_mode")
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


class LoadHeaders:
    """The headers of one load, by their names in lower case."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def text(self, name: str, default: str = "") -> str:
        return self._headers.get(name, default)

    def flag(self, name: str) -> bool:
        return self.text(name).lower() == "true"

    def integer(self, name: str, default: int) -> int:
        text = self.text(name) or str(default)
        try:
            return int(text)
        except ValueError:
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid argument: {name} is not an integer: {text}"
            ) from None

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.text("transfer-encoding").lower()

    @property
    def two_phase(self) -> bool:
        return self.text("two_phase_commit") == "true"

    @property
    def timeout(self) -> int:
        """Seconds. Raises DorisError for what Doris does not take."""
        seconds = self.integer("timeout", _DEFAULT_TIMEOUT)
        if not 1 <= seconds <= _LONGEST_TIMEOUT:
            raise DorisError(f"Invalid timeout. Timeout should between 1 and {_LONGEST_TIMEOUT} seconds")
        return seconds

    @property
    def selection(self) -> Selection:
        return Selection(
            where=self.text("where"),
            merge_type=self.text("merge_type", "APPEND").upper() or "APPEND",
            delete=self.text("delete"),
            time_zone=self.time_zone,
        )

    @property
    def options(self) -> WriteOptions:
        return WriteOptions(
            strict=self.flag("strict_mode"), partial=self.is_partial, time_zone=self.time_zone
        )

    @property
    def refuses_new_keys(self) -> bool:
        """Whether a partial update may only change rows that are there."""
        is_update = self.is_partial or self.is_flexible
        return is_update and self.text("partial_update_new_key_behavior").upper() == "ERROR"

    @property
    def time_zone(self) -> str:
        return self.text("timezone") or self.text("time_zone") or _DEFAULT_TIME_ZONE

    # -- checks

    def group_commit(self, label: str, version: str) -> tuple[str, str]:
        """The mode of group commit, empty where the load joins no group, and what becomes of the label."""
        mode = self.text("group_commit").lower()
        if mode and mode not in _GROUP_COMMIT_MODES:
            raise DorisError("[INVALID_ARGUMENT]group_commit can only be [async_mode, sync_mode, off_mode]")
        if not mode and self.is_chunked and _release(version) >= _FORGETS_LABELS:
            label = ""
        if mode in ("", "off_mode") or (self.text("content-length", "0") == "0" and not self.is_chunked):
            return "", label
        if self.is_chunked:
            label = ""
        if (
            self.two_phase
            or self.flag("partial_columns")
            or self.text("partitions")
            or self.text("temporary_partitions")
            or self.update_mode in _UPDATE_MODES[1:]
        ):
            return "", label
        if label:
            raise DorisError("[INVALID_ARGUMENT]label and group_commit can't be set at the same time")
        return mode, label

    def check_first(self) -> None:
        """What is looked at before the label is. Raises DorisError."""
        kind = self.kind
        compression = self.text("compress_type").lower()
        known = compression in COMPRESSIONS or compression in NOT_EMULATED_COMPRESSIONS
        if kind not in _FORMATS or (kind in _CSV_FORMATS and not known):
            raise DorisError(f"[E-1101]unknown data format, format={self.text('format')}")
        self._check_length()

    @property
    def kind(self) -> str:
        return self.text("format", "csv").lower() or "csv"

    def _check_length(self) -> None:
        chunked = self.is_chunked
        length = self.text("content-length")
        if not length and not chunked:
            raise DorisError(
                "[INVALID_ARGUMENT]content_length is empty and transfer-encoding!=chunked, please set"
                " content_length or transfer-encoding=chunked"
            )
        if length and chunked:
            raise DorisError("[INVALID_ARGUMENT]please do not set both content_length and transfer-encoding")

    def check(self, table: Table) -> None:
        """The rest, when the label is taken: by the backend, then by the frontend that plans the load."""
        for name in ("enclose", "escape"):
            if len(self.text(name)) > 1:
                raise DorisError(
                    f"[INVALID_ARGUMENT]{name} must be single-char, actually is {self.text(name)}"
                )
        if self.text("partitions") and self.text("temporary_partitions"):
            raise DorisError("[INVALID_ARGUMENT]Can not specify both partitions and temporary partitions")
        if self.text("strict_mode").lower() not in ("", "true", "false"):
            raise DorisError("[INVALID_ARGUMENT]Invalid strict mode format. Must be bool type")
        self._check_merge()
        skip = self.integer("skip_lines", 0)
        if skip < 0:
            raise DorisError(f"[INVALID_ARGUMENT]Invalid 'skip_lines': {skip}")
        self._check_update_mode()
        behavior = self.text("partial_update_new_key_behavior").upper()
        if behavior not in ("", "APPEND", "ERROR"):
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid partial_update_new_key_behavior {behavior}, must be one of"
                " {'APPEND', 'ERROR'}"
            )
        if not 0 <= self.max_filter_ratio <= 1:
            raise DorisError(f"max_filter_ratio must be in [0, 1]: {self.text('max_filter_ratio')}")
        self._check_for(table)

    def _check_merge(self) -> None:
        merge, delete = self.text("merge_type").upper(), self.text("delete")
        if merge not in ("", "APPEND", "DELETE", "MERGE"):
            raise DorisError(f"[INVALID_ARGUMENT]Invalid merge type {self.text('merge_type')}")
        if merge == "MERGE" and not delete:
            raise DorisError("[INVALID_ARGUMENT]Excepted DELETE ON clause when merge type is MERGE.")
        if merge not in ("", "MERGE") and delete:
            raise DorisError("[INVALID_ARGUMENT]Not support DELETE ON clause when merge type is not MERGE.")

    def _check_update_mode(self) -> None:
        mode = self.update_mode
        if mode and mode not in _UPDATE_MODES:
            raise DorisError(
                f"[INVALID_ARGUMENT]Invalid unique_key_partial_mode {self.text('unique_key_update_mode')},"
                " must be one of 'UPSERT', 'UPDATE_FIXED_COLUMNS' or 'UPDATE_FLEXIBLE_COLUMNS'"
            )
        if not self.is_flexible:
            return
        if self.kind != "json":
            raise DorisError(
                "[INVALID_ARGUMENT]flexible partial update only support json format as input file currently"
            )
        if self.flag("fuzzy_parse"):
            raise DorisError(
                "[INVALID_ARGUMENT]Don't support flexible partial update when 'fuzzy_parse' is enabled"
            )
        for name in _NOT_FLEXIBLE:
            if self.text(name):
                raise DorisError(
                    f"[INVALID_ARGUMENT]Don't support flexible partial update when '{name}' is specified"
                )

    def _check_for(self, table: Table) -> None:
        """What the frontend finds when it plans the load."""
        if self.text("temporary_partitions"):
            raise NotEmulatedError("a load into temporary partitions")
        if self.text("negative").lower() == "true":
            raise NotEmulatedError("a negative load")
        by_table = table.properties.get("group_commit_mode", "off_mode")
        if by_table != "off_mode" and not self.text("group_commit"):
            raise NotEmulatedError(
                "a load that leaves it to the table's group_commit_mode (send group_commit)"
            )
        if self.text("merge_type", "APPEND").upper() not in ("", "APPEND") and table.model != "UNIQUE":
            raise DorisError("load by MERGE or DELETE is only supported in unique tables.")
        if self.flag("load_to_single_tablet") and table.distribution:
            raise DorisError(
                "if load_to_single_tablet set to true, the olap table must be with random distribution"
            )
        self.partitioned(table)
        if self.is_partial and table.model != "UNIQUE":
            raise DorisError("Only unique key merge on write support partial update")
        if self.is_partial and not self.text("columns"):
            missing = table.keys[0].name
            raise DorisError(f"Partial update should include all key columns, missing: {missing}")
        if self.is_partial and self.two_phase:
            raise NotEmulatedError("two_phase_commit of a partial update")
        if self.is_flexible:
            check_table(table)
            if self.two_phase:
                raise NotEmulatedError("two_phase_commit of a partial update")
            return
        mapping = self.mapping(table)
        check_sequence(
            table,
            self.text("function_column.sequence_col"),
            mapping,
            named=bool(self.text("columns")),
            partial=self.is_partial,
        )

    @property
    def update_mode(self) -> str:
        return self.text("unique_key_update_mode").upper()

    @property
    def is_flexible(self) -> bool:
        return self.update_mode == "UPDATE_FLEXIBLE_COLUMNS"

    @property
    def is_partial(self) -> bool:
        mode = self.update_mode
        return mode == "UPDATE_FIXED_COLUMNS" or (not mode and self.flag("partial_columns"))

    @property
    def max_filter_ratio(self) -> float:
        text = self.text("max_filter_ratio", "0")
        try:
            return float(text or "0")
        except ValueError:
            raise DorisError(f"invalid max_filter_ratio: {text}") from None

    def partitioned(self, table: Table) -> Table:
        """The table with only those of its partitions that the header ``partitions`` names."""
        header = self.text("partitions")
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

    def mapping(self, table: Table) -> ColumnMapping:
        """The source's columns. Raises DorisError."""
        if self.is_flexible:
            return ColumnMapping(source_names(table))
        mapping = mapping_of(table, self.text("columns"), self.text("hidden_columns"))
        return with_sequence(table, mapping, self.text("function_column.sequence_col"))

    # -- rows

    def parse(
        self, cursor: duckdb.DuckDBPyConnection, table: Table, mapping: ColumnMapping, body: IO[bytes]
    ) -> ParsedRows:
        kind = self.kind
        compression = self.text("compress_type").lower()
        if kind in _CSV_FORMATS:
            csv = CsvFormat(
                separator=self.text("column_separator"),
                delimiter=self.text("line_delimiter"),
                enclose=self.text("enclose"),
                escape=self.text("escape"),
                skip=_CSV_FORMATS[kind] or self.integer("skip_lines", 0),
                trim_quotes=self.flag("trim_double_quotes"),
                empty_is_null=self.flag("empty_field_as_null"),
                compression=compression,
            )
            return parse_csv(cursor, body, mapping.names, csv)
        if kind != "json":
            expressions = mapping.derived or self.text("where") or self.text("delete")
            columnar = ColumnarFormat(
                kind, self.time_zone, as_text=bool(expressions), defaults=self._defaults(table)
            )
            return parse_columnar(cursor, body, mapping.names, columnar)
        neither = not self.text("read_json_by_line") and not self.text("strip_outer_array")
        document = JsonFormat(
            by_line=neither or self.flag("read_json_by_line"),
            strip_outer_array=self.flag("strip_outer_array"),
            root=self.text("json_root"),
            paths=self.text("jsonpaths"),
            delimiter=self.text("line_delimiter"),
            compression=compression,
            defaults={} if self.is_flexible else self._defaults(table),
            flexible=self.is_flexible,
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


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
