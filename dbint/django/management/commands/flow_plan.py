"""``manage.py flow_plan``: what a flow makes of its tables in Doris, and with ``--apply`` makes it."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from dbint.django.command import seconds
from dbint.django.flow_command import FlowCommand, Report
from dbint.flow.config import FlowConfig
from dbint.flow.plan import Finding, Level, Plan, TablePlan, apply_plan, plan

_WIDTH = 100


class Command(FlowCommand):
    """Shows mappings, DDL and what speaks against them; changes nothing without ``--apply``."""

    help = (
        "Shows the tables that a flow needs in Doris: DDL, new and wider columns, warnings, and what is "
        "refused with what to do about it. With --apply the statements are run, unless anything is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="make and change the tables in Doris")
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=600.0,
            metavar="SECONDS",
            help="how long --apply waits for Doris (default: 600)",
        )

    def report(self, config: FlowConfig, options: dict[str, Any]) -> Report:
        made = plan(config)
        done = []
        if options["apply"] and not made.errors:
            done = apply_plan(config, made, timeout=options["timeout"])
        return Report(
            _text(config, made, done, applying=options["apply"]),
            _json(config, made, done),
            not made.errors,
        )


def _text(config: FlowConfig, made: Plan, done: list[str], *, applying: bool) -> list[str]:
    """The tables, the statements, then what there is to know: in a terminal the end is what is seen."""
    lines = [
        f"flow {config.name}: {_count(len(made.tables), 'table')}, engine {config.engine}",
        f"  PostgreSQL ({config.source.name}) -> Kafka {config.prefix}.* "
        f"({_count(config.partitions, 'partition')} each) -> Doris ({config.target.name})",
        *(line for table in made.tables for line in _table(table)),
        *(line for table in made.tables for line in _changes(table)),
        *_findings([*made.findings, *(finding for table in made.tables for finding in table.findings)]),
    ]
    for table in made.tables:
        for word, texts in (("note", table.evolution.notes), ("refused", table.evolution.refusals)):
            start = f"{word}: "
            lines += [line for text in texts for line in _wrapped(f"  {start}{table.source}: {text}", start)]
    if made.errors:
        lines.append(f"{len(made.errors)} refused: nothing {'was applied' if applying else 'can be applied'}")
    elif done:
        lines += [f"done: {text}" for text in done]
    elif made.statements:
        todo = _count(len(made.statements), "statement")
        lines.append(f"{todo} to run in Doris: manage.py flow_plan {config.name} --apply")
    else:
        lines.append("Doris has all tables as they should be")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _wrapped(line: str, start: str = "    ") -> list[str]:
    """A line that fits, what is left of it as far in as the text behind ``start``. Names are never broken."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(table: TablePlan) -> list[str]:
    mapping = table.mapping
    if mapping is None:
        return [f"  {table.source}: cannot flow"]
    rows = f", about {table.rows:,} rows" if table.rows else ""
    return _wrapped(
        f"  {table.source} -> {mapping.target_database}.{mapping.target_table}, key "
        f"({', '.join(mapping.key)}){rows}"
    )


def _changes(table: TablePlan) -> Iterator[str]:
    for change in table.evolution.changes:
        yield from _wrapped(f"  {table.source}: {change.text}")
        yield from (f"    {line}" for line in f"{change.sql};".splitlines())


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Each kind once, with the tables and columns that it is about; what is refused comes last."""
    kinds: dict[tuple[Level, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.level == "error"):
        kinds.setdefault((finding.level, finding.said), []).append(finding)
    for (level, said), places in kinds.items():
        word = "refused: " if level == "error" else f"{level}: "
        if len(places) == 1 and not places[0].columns:
            yield from _wrapped(f"  {word}{places[0].where}: {said}", word)
            continue
        yield from _wrapped(f"  {word}{said}", word)
        for place in places:
            about = f": {', '.join(place.columns)}" if place.columns else ""
            yield from _wrapped(f"      {place.where}{about}")


def _json(config: FlowConfig, made: Plan, done: list[str]) -> dict[str, Any]:
    return {
        "flow": config.name,
        "engine": config.engine,
        "errors": made.errors,
        "findings": [asdict(finding) for finding in made.findings],
        "tables": [
            {
                "source": table.source,
                "target": table.mapping and table.mapping.target_table,
                "database": table.mapping and table.mapping.target_database,
                "topic": table.mapping and table.mapping.topic,
                "rows": table.rows,
                "key": list(table.mapping.key) if table.mapping else [],
                "columns": [asdict(column) for column in table.mapping.columns] if table.mapping else [],
                "findings": [asdict(finding) for finding in table.findings],
                "changes": [asdict(change) for change in table.evolution.changes],
                "refusals": list(table.evolution.refusals),
                "notes": list(table.evolution.notes),
            }
            for table in made.tables
        ],
        "applied": done,
    }
