"""The options of a Stream Load, and the request headers that they become.

Names and values: Doris' manual, data-operate/import/import-way/stream-load-manual.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from dbint.errors import ConfigurationError


class LoadOptions(TypedDict, total=False):
    """What a load can be told beside its label; an option that is left out is left to Doris.

    Three differ from Doris' own defaults, because those surprise: ``timezone`` is always sent (``"UTC"``),
    ``strict_mode`` is on (a value that does not fit its column is filtered out, not replaced by NULL), and
    JSON is read one object a line unless ``strip_outer_array`` or ``read_json_by_line`` says otherwise.
    """

    columns: str | Sequence[str]
    """Fields of the data in order, and derived columns such as ``"day = to_date(ts)"``."""
    where: str
    jsonpaths: str | Sequence[str]
    json_root: str
    strip_outer_array: bool
    read_json_by_line: bool
    fuzzy_parse: bool
    num_as_string: bool
    column_separator: str
    line_delimiter: str
    enclose: str
    escape: str
    trim_double_quotes: bool
    empty_field_as_null: bool
    skip_lines: int
    compress_type: Literal["gz", "lzo", "bz2", "lz4", "lzop", "deflate"]
    max_filter_ratio: float
    """Share of rows, 0 to 1, that may be bad before the whole load fails. 0 by default."""
    strict_mode: bool
    timezone: str
    """Zone of the date-times in the data, when the load converts any."""
    partitions: Sequence[str]
    temporary_partitions: Sequence[str]
    timeout: int
    """Seconds, 1 to 259200, after which Doris gives the load up."""
    exec_mem_limit: int
    merge_type: Literal["APPEND", "DELETE", "MERGE"]
    delete: str
    """With ``merge_type="MERGE"``: the condition under which a row deletes."""
    sequence_column: str
    """Field whose greater value wins among rows with the same key."""
    partial_columns: bool
    unique_key_update_mode: Literal["UPSERT", "UPDATE_FIXED_COLUMNS", "UPDATE_FLEXIBLE_COLUMNS"]
    partial_update_new_key_behavior: Literal["APPEND", "ERROR"]
    """What a partial update does with a key that the table does not have. APPEND by default."""
    hidden_columns: Sequence[str]
    load_to_single_tablet: bool
    send_batch_parallelism: int
    memtable_on_sink_node: bool
    comment: str


Format = Literal["json", "csv", "csv_with_names", "csv_with_names_and_types", "parquet", "orc", "arrow"]
_FORMATS = frozenset({"json", "csv", "csv_with_names", "csv_with_names_and_types", "parquet", "orc", "arrow"})
_JSON_LINES_DEFAULT = ("read_json_by_line", "strip_outer_array")
# Headers that would change what a label promises, with the reason.
_EXCLUDED = {
    "group_commit": "it excludes labels; load_in_group() loads without one",
    "two_phase_commit": "load() returns when the rows are committed; this would leave them waiting",
    "label": "give the label as label=…",
    "format": "give the format as format=…",
    "authorization": "give the credentials to StreamLoadClient",
    "expect": "load() sends it itself",
    "content-length": "load() sends it itself",
    "transfer-encoding": "load() sends it itself",
}


def _text(value: Any) -> str:
    return str(value)


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise ConfigurationError("is True or False")
    return "true" if value else "false"


def _integer(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError("is an integer")
    return str(value)


def _seconds(value: Any) -> str:
    if not 1 <= int(_integer(value)) <= 259200:
        raise ConfigurationError("is between 1 and 259200 seconds")
    return str(value)


def _ratio(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError("is a number from 0 to 1")
    return repr(float(value))


def _names(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _paths(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(list(value))


def _separator(value: Any) -> str:
    # A control character cannot stand in a header; Doris reads \x and hexadecimal digits instead.
    text = str(value)
    return text if text.isprintable() and text else "\\x" + text.encode().hex()


_ENCODERS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(
        ("empty_field_as_null", "fuzzy_parse", "load_to_single_tablet", "memtable_on_sink_node"), _flag
    ),
    **dict.fromkeys(("num_as_string", "partial_columns", "read_json_by_line", "strict_mode"), _flag),
    **dict.fromkeys(("strip_outer_array", "trim_double_quotes"), _flag),
    **dict.fromkeys(("exec_mem_limit", "send_batch_parallelism", "skip_lines"), _integer),
    **dict.fromkeys(("columns", "hidden_columns", "partitions", "temporary_partitions"), _names),
    **dict.fromkeys(("column_separator", "line_delimiter"), _separator),
    "jsonpaths": _paths,
    "max_filter_ratio": _ratio,
    "timeout": _seconds,
}
_HEADER_NAMES = {"sequence_column": "function_column.sequence_col"}


def load_headers(
    label: str | None,
    data_format: str,
    options: LoadOptions,
    extra: Mapping[str, str] | None,
    *,
    group_commit: str = "off_mode",
) -> dict[str, str]:
    """The request headers of a load. Raises ConfigurationError for what Doris would refuse or misread.

    ``group_commit`` is always said: Doris 4.1 forgets the label of a chunked load that says nothing about it,
    and a table may ask for group commit by a property of its own.
    """
    if data_format not in _FORMATS:
        raise ConfigurationError(f"format {data_format!r} is not one of {', '.join(sorted(_FORMATS))}")
    unknown = options.keys() - LoadOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(
            f"unknown option {', '.join(sorted(unknown))}: a header that has no option yet goes into "
            f"headers={{…}}"
        )
    values: dict[str, Any] = {"timezone": "UTC", "strict_mode": True, **options}
    if data_format == "json" and not any(name in values for name in _JSON_LINES_DEFAULT):
        values["read_json_by_line"] = True
    if values.get("merge_type") == "MERGE" and "delete" not in values:
        raise ConfigurationError("merge_type='MERGE' needs delete='condition': which rows delete")
    fixed = values.get("unique_key_update_mode") == "UPDATE_FIXED_COLUMNS"
    if (values.get("partial_columns") or fixed) and not values.get("columns"):
        raise ConfigurationError("a partial update needs columns=…: all key columns, and those to change")
    headers = {"Expect": "100-continue", "format": data_format, "group_commit": group_commit}
    if label is not None:
        headers["label"] = label
    for name, value in values.items():
        try:
            headers[_HEADER_NAMES.get(name, name)] = _ENCODERS.get(name, _text)(value)
        except (ConfigurationError, TypeError) as error:
            raise ConfigurationError(f"option {name}={value!r}: {error}") from None
    for name, value in (extra or {}).items():
        if reason := _EXCLUDED.get(name.lower()):
            raise ConfigurationError(f"header {name!r} cannot be set: {reason}")
        headers[name] = value
    for name, value in headers.items():
        if any(ord(c) < 32 or ord(c) == 127 for c in name + value):
            raise ConfigurationError(f"header {name!r} contains a control character (such as a line break)")
    return headers
