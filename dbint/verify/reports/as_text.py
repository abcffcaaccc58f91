"""The report for people: a table per server, then what failed and what to do about it."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dbint.verify.result import Report, Result, Status

STYLES = {
    Status.PASSED: "green",
    Status.FAILED: "bold red",
    Status.UNKNOWN: "yellow",
    Status.NOT_CONFIGURED: "dim",
}
TITLES = {
    "postgres": "PostgreSQL",
    "doris": "Apache Doris",
    "kafka": "Apache Kafka",
    "vault": "Vault",
    "sqlite": "SQLite",
    "mysql": "MySQL / MariaDB",
    "oracle": "Oracle",
    "project": "This project",
    "integration": "PostgreSQL -> Kafka -> Doris",
}
# Measurements have a table of their own; servers come first, what joins them after.
_ORDER = ("postgres", "doris", "kafka", "integration", "project", "vault")
_WIDTH_OF_A_FILE = 110
# Below this a column beside the names would be too narrow to read: what was seen goes below the name.
_WIDE = 100


def as_text(report: Report, *, width: int | None = None, colour: bool = False) -> str:
    """The report in ``width`` columns; without ``colour``, plain text with no escape sequence."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width or _WIDTH_OF_A_FILE,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in _parts(report, narrow=console.width < _WIDE):
        console.print(part)
    # Tables pad their lines to the full width; nobody wants that in a file or a diff.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _parts(report: Report, *, narrow: bool) -> Iterable[RenderableType]:
    names = max((len(result.name) for result in report.results), default=0)
    servers = {result.server for result in report.results}
    for server in [*(s for s in _ORDER if s in servers), *sorted(servers.difference(_ORDER))]:
        results = [result for result in report.results if result.server == server]
        yield _heading(server, results)
        yield from _lines(results) if narrow else [_table(results, names)]
        yield Text("")
    measured = [result for result in report.results if result.details.get("latency")]
    if measured:
        yield Text("Measured", style="bold")
        yield Padding(_measurements(measured), (0, 0, 1, 0))
    yield from _failures(report.results)
    if report.not_run:
        yield Text(f"Not run ({_reasons(report)}): {', '.join(report.not_run)}\n")
    if report.leftovers:
        yield Text("Left behind, because the server did not answer in time; a later run removes it:")
        for what in report.leftovers:
            yield Padding(Text(what), (0, 0, 0, 2))
        yield Text("")
    yield _summary(report)


def _heading(server: str, results: Sequence[Result]) -> Text:
    versions = dict.fromkeys(result.version for result in results if result.version)
    heading = Text(TITLES.get(server, server), style="bold")
    if server != "integration" and versions:
        heading.append(f" {', '.join(versions)}")
    if any(result.emulated for result in results):
        heading.append("  EMULATED", style="bold yellow")
        what = "in part" if server == "integration" else "an emulator for development, not the real server"
        heading.append(f" ({what})", style="not bold")
    return heading


def _table(results: Sequence[Result], names: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=len(Status.NOT_CONFIGURED.words), no_wrap=True)
    table.add_column(width=names, no_wrap=True)
    table.add_column(justify="right", width=len("00.00 s"), no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for result in results:
        table.add_row(
            Text(result.status.words, style=STYLES[result.status]),
            Text(result.name),
            Text(_seconds(result.duration), style="dim"),
            Text(result.message),
        )
    return table


def _lines(results: Sequence[Result]) -> Iterable[RenderableType]:
    for result in results:
        line = Text(f"{result.status.words:<{len(Status.NOT_CONFIGURED.words)}}", style=STYLES[result.status])
        line.append(f"  {result.name}", style="not bold not dim default")
        line.append(f"  {_seconds(result.duration)}", style="not bold dim default")
        yield line
        yield Padding(Text(result.message), (0, 0, 0, 4))


def _measurements(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("alias")
    table.add_column("operation")
    for heading in ("p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("samples", justify="right")
    table.add_column("budget ms")
    for result in results:
        budgets = result.details.get("budgets", {})
        for operation, values in result.details["latency"].items():
            limits = budgets.get(operation, {})
            cells = []
            for name in ("p50_ms", "p95_ms", "p99_ms"):
                over = name in limits and values[name] > limits[name]
                cells.append(Text(f"{values[name]:.2f}", style="bold red" if over else ""))
            budget = ", ".join(f"{name.removesuffix('_ms')} {limit:g}" for name, limit in limits.items())
            alias = result.alias or result.server
            table.add_row(alias, operation, *cells, f"{values['samples']:g}", budget or "none")
        if "messages_per_s" in result.details:
            floor = result.details.get("budget_messages_per_s")
            rate = f"{result.details['messages_per_s']:,.0f}/s"
            table.add_row(
                "kafka", "throughput", rate, "", "", "", f"at least {floor:,.0f}/s" if floor else "none"
            )
    return table


def _failures(results: Sequence[Result]) -> Iterable[RenderableType]:
    """Every failure with its advice; what failed only because of another stands under that one."""
    told = [
        r for r in results if r.status in (Status.FAILED, Status.UNKNOWN) and "because_of" not in r.details
    ]
    if not told:
        return
    yield Text("What failed, and what to do", style="bold")
    for result in told:
        line = Text(result.status.words, style=STYLES[result.status])
        line.append(f" {result.name}", style="bold not dim")
        line.append(f": {result.message}", style="not bold default")
        yield line
        for number, step in enumerate(result.advice, start=1):
            grid = Table.grid(padding=(0, 1, 0, 0))
            grid.add_column(width=4, justify="right")
            grid.add_column(overflow="fold")
            grid.add_row(Text(f"{number}."), Text(step))
            yield grid
        followers = [r.name for r in results if result.name in r.details.get("because_of", ())]
        if followers:
            yield Padding(Text(f"not tried because of it: {', '.join(followers)}"), (0, 0, 0, 2))
        if "traceback" in result.details:
            yield Padding(Text(result.details["traceback"], style="dim"), (0, 0, 0, 4))
    yield Text("")


def _reasons(report: Report) -> str:
    return "; ".join(dict.fromkeys(report.not_run.values()))


def _summary(report: Report) -> Text:
    summary = Text()
    for status in Status:
        count = report.count(status)
        if count or status is Status.FAILED:
            summary.append(", " if summary else "")
            summary.append(f"{count} {status.words}", style=STYLES[status] if count else "")
    if report.not_run:
        summary.append(f", {len(report.not_run)} not run")
    summary.append(f", in {_seconds(report.duration)}.")
    passed = [
        f"{entry['passed']} on {TITLES.get(entry['server'], entry['server'])} {', '.join(entry['versions'])}"
        + (" (emulated)" if entry["emulated"] else "")
        for entry in report.servers()
        if entry["passed"] and entry["versions"] and entry["server"] != "integration"
    ]
    if passed:
        summary.append(f"\nPassed: {'; '.join(passed)}.")
    if report.interrupted is not None:
        summary.append(
            f"\nInterrupted by signal {report.interrupted}: this is not a verdict.", style="bold red"
        )
    elif report.verified_nothing:
        summary.append("\nNothing was verified: a check that ran on nothing is red.", style="bold red")
    return summary


def _seconds(duration: float) -> str:
    return f"{duration:.2f} s" if duration < 10 else f"{duration:.1f} s"
