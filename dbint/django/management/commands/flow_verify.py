"""``manage.py flow_verify``: does Doris hold what PostgreSQL holds? With ``--repair``: make it so."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import CommandParser

from dbint.django.flow_command import FlowCommand, Report
from dbint.flow.config import FlowConfig
from dbint.flow.verification import (
    CHUNK_ROWS,
    MAX_DIFFERENCES,
    SETTLE_S,
    TableVerification,
    verify,
)
from dbint.metrics import Metric

_SHOWN = 20


class Command(FlowCommand):
    """Compares by ranges of the primary key, and then row by row; changes nothing without ``--repair``."""

    help = (
        "Compares counts and checksums of ranges of the primary key in PostgreSQL and Doris, and lists the "
        "rows that differ. With --repair those are sent through the flow anew (it has to run)."
    )
    formats = ("text", "json", "openmetrics")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--table",
            action="append",
            metavar="SCHEMA.TABLE",
            help="this table alone; may come several times",
        )
        parser.add_argument("--repair", action="store_true", help="send rows that differ anew")
        parser.add_argument("--chunk-rows", type=int, default=CHUNK_ROWS, help="rows of a range")
        parser.add_argument(
            "--settle",
            type=float,
            default=SETTLE_S,
            metavar="SECONDS",
            help=f"how long a difference may take to go away by itself (default: {SETTLE_S:g})",
        )
        parser.add_argument(
            "--max-differences",
            type=int,
            default=MAX_DIFFERENCES,
            help=f"rows of a table that are looked at one by one (default: {MAX_DIFFERENCES})",
        )

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        def say(line: str) -> None:
            if options["verbosity"] > 1:
                self.stderr.write(line)

        found = verify(
            config,
            options["table"],
            repair=options["repair"],
            chunk_rows=max(1, options["chunk_rows"]),
            settle=max(0.0, options["settle"]),
            max_differences=max(1, options["max_differences"]),
            on_progress=say,
        )
        return Report(
            [f"flow {config.name}:", *(line for table in found for line in _text(table))],
            {"flow": config.name, "tables": [table.to_json() for table in found]},
            all(table.same for table in found),
            list(_metrics(config.name, found)),
        )


def _text(table: TableVerification) -> Iterator[str]:
    sent = f", {table.repaired} rows sent anew" if table.repaired else ""
    if table.error:
        yield f"  {table.source} could not be compared: {table.error}"
        return
    outcome = "the same" if table.same else f"{table.found} rows differ"
    yield (
        f"  {table.source}: {outcome}{sent} ({table.rows_source:,} rows, {table.rows_target:,} in "
        f"{table.target}; {table.ranges} ranges, {table.ranges_read} read row by row; {table.seconds:.1f} s)"
    )
    for difference in table.differences[:_SHOWN]:
        yield f"    {difference}"
    if table.found > _SHOWN:
        yield f"    and {table.found - _SHOWN} more"


def _metrics(flow: str, tables: Sequence[TableVerification]) -> Iterator[Metric]:
    for table in tables:
        labels = {"flow": flow, "table": table.source}
        if table.error:
            continue
        yield Metric("dbint_flow_verification_differences", "gauge", labels, float(table.found))
        for side, rows in (("source", table.rows_source), ("target", table.rows_target)):
            yield Metric("dbint_flow_verification_rows", "gauge", {**labels, "side": side}, float(rows))
    yield Metric("dbint_flow_verification_timestamp_seconds", "gauge", {"flow": flow}, time.time())
