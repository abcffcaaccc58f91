"""``manage.py flow_plan``: what a flow makes of its tables in Doris, and with ``--apply`` makes it."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from dbint.django.flow_command import FlowCommand, Report
from dbint.flow.config import FlowConfig
from dbint.flow.plan import Plan, TablePlan, apply_plan, plan


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
            type=float,
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
    count = len(made.tables)
    lines = [
        f"flow {config.name}: {count} table{'' if count == 1 else 's'}, PostgreSQL ({config.source.name}) -> "
        f"Kafka {config.prefix}.* ({config.partitions} partitions each) -> Doris ({config.target.name}), "
        f"engine {config.engine}"
    ]
    lines += [f"  {finding.level}: {finding}" for finding in made.findings]
    for table in made.tables:
        lines += _table(table)
    if made.errors:
        lines.append(f"{len(made.errors)} refused: nothing {'was applied' if applying else 'can be applied'}")
    elif done:
        lines += [f"done: {text}" for text in done]
    elif made.statements:
        lines.append(f"{len(made.statements)} statements to run in Doris: flow_plan {config.name} --apply")
    else:
        lines.append("Doris has all tables as they should be")
    return lines


def _table(table: TablePlan) -> list[str]:
    mapping = table.mapping
    if mapping is None:
        lines = [f"  {table.source}: cannot flow"]
    else:
        lines = [
            f"  {table.source} -> {mapping.target_database}.{mapping.target_table}: about {table.rows} rows, "
            f"key ({', '.join(mapping.key)}), topic {mapping.topic}"
        ]
    lines += [f"    {finding.level}: {finding}" for finding in table.findings]
    lines += [f"    refused: {refusal}" for refusal in table.evolution.refusals]
    lines += [f"    note: {note}" for note in table.evolution.notes]
    for change in table.evolution.changes:
        lines.append(f"    {change.text}:")
        lines += [f"      {line}" for line in f"{change.sql};".splitlines()]
    return lines


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
