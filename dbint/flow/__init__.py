"""Moving rows between databases: so far the Stream Load client for Apache Doris."""

from dbint.flow.stream_load import (
    LoadError,
    LoadOptions,
    LoadOutcomeUnknownError,
    LoadResult,
    StreamLoadClient,
    Tls,
    json_line_chunks,
    json_lines,
    make_label,
)

__all__ = [
    "LoadError",
    "LoadOptions",
    "LoadOutcomeUnknownError",
    "LoadResult",
    "StreamLoadClient",
    "Tls",
    "json_line_chunks",
    "json_lines",
    "make_label",
]
