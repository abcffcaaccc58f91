"""The report for people: a table per server, then what failed and what to do about it."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dbint.verify.latency import QUANTILES
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
_BAD = (Status.FAILED, Status.UNKNOWN)
# Of the measurements: the operation's name, and three quantiles of one database.
_OPERATION, _QUANTILES = 13, 22


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
    for part in _parts(report, console.width):
        console.print(part)
    # Tables pad their lines to the full width; nobody wants that in a file or a diff.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _parts(report: Report, width: int) -> Iterable[RenderableType]:
    names = max((len(result.name) for result in report.results), default=0)
    servers = {result.server for result in report.results}
    for server in [*(s for s in _ORDER if s in servers), *sorted(servers.difference(_ORDER))]:
        results = [result for result in report.results if result.server == server]
        yield _heading(server, results)
        yield from _origins(results)
        yield from _lines(results) if width < _WIDE else [_table(results, names)]
        yield Text("")
    measured = [result for result in report.results if result.details.get("latency")]
    if measured:
        yield Text("Measured", style="bold").append(
            ": p50, p95 and p99 in milliseconds; ! is over its budget", style="not bold"
        )
        yield from _measurements(measured, width)
        yield Text("")
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


def _origins(results: Sequence[Result]) -> Iterable[RenderableType]:
    """Who gave address and credentials: one line where all aliases have them from the same place."""
    found: dict[str, list[str]] = {}
    for result in results:
        address, credentials = (result.details.get(key) for key in ("address_from", "credentials_from"))
        if not address:
            continue
        if credentials == address:
            line = f"address and credentials from {address}"
        else:
            line = f"address from {address}" + (f", credentials from {credentials}" if credentials else "")
        found.setdefault(line, []).append(result.alias or result.server)
    for line, names in found.items():
        yield Text(line if len(found) == 1 else f"{', '.join(names)}: {line}", style="dim")


def _seen(result: Result) -> Text:
    """What the probe saw; of a failure that is told below in full, the beginning."""
    text = Text(result.message)
    if result.status in _BAD:
        text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(results: Sequence[Result], names: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=len(Status.NOT_CONFIGURED.words), no_wrap=True)
    table.add_column(width=names, no_wrap=True)
    table.add_column(justify="right", width=len("00.00 s"), no_wrap=True)
    table.add_column(ratio=1)
    for result in results:
        table.add_row(
            Text(result.status.words, style=STYLES[result.status]),
            Text(result.name),
            Text(_seconds(result.duration), style="dim"),
            _seen(result),
        )
    return table


def _lines(results: Sequence[Result]) -> Iterable[RenderableType]:
    for result in results:
        line = Text(f"{result.status.words:<{len(Status.NOT_CONFIGURED.words)}}", style=STYLES[result.status])
        line.append(f"  {result.name}", style="not bold not dim default")
        if "because_of" in result.details:
            yield line.append(f"  {result.message}", style="not bold not dim default")
            continue
        line.append(f"  {_seconds(result.duration)}", style="not bold dim default")
        yield line
        yield Padding(_seen(result), (0, 0, 0, 4))


def _measurements(results: Sequence[Result], width: int) -> Iterable[RenderableType]:
    """A line for each operation, with as many databases side by side as the width holds."""
    alike: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        alike.setdefault(tuple(result.details["latency"]), []).append(result)
    fitting = max((width - _OPERATION) // _QUANTILES, 1)
    for operations, group in alike.items():
        for first in range(0, len(group), fitting):
            yield _comparison(operations, group[first : first + fitting])
    for result in results:
        if "messages_per_s" in result.details:
            floor = result.details.get("budget_messages_per_s")
            wanted = f", at least {floor:,.0f} are wanted" if floor else ""
            yield Text(f"throughput  {result.details['messages_per_s']:,.0f} messages/s{wanted}")


def _comparison(operations: Sequence[str], results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(width=_OPERATION - 1)
    for result in results:
        table.add_column(f"  {result.alias or result.server}", width=_QUANTILES - 1, no_wrap=True)
    for operation in operations:
        cells = []
        for result in results:
            limits = result.details.get("budgets", {}).get(operation, {})
            cell = Text()
            for name in QUANTILES:
                value = result.details["latency"][operation][name]
                over = name in limits and value > limits[name]
                cell.append(f"{_milliseconds(value):>6}{'!' if over else ' '}", "bold red" if over else "")
            cells.append(cell)
        table.add_row(operation, *cells)
    return table


def _milliseconds(value: float) -> str:
    """Five characters, for anything below 100 s."""
    return f"{value:.{2 if value < 99 else 0}f}"


def _failures(results: Sequence[Result]) -> Iterable[RenderableType]:
    """Every failure once, with its advice; what failed only because of another stands under that one."""
    told: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        if result.status in _BAD and "because_of" not in result.details:
            same = (result.status, result.message, tuple(result.advice), result.details.get("traceback"))
            told.setdefault(same, []).append(result)
    if not told:
        return
    yield Text("What failed, and what to do", style="bold")
    for group in told.values():
        result, names = group[0], [r.name for r in group]
        line = Text(result.status.words, style=STYLES[result.status])
        line.append(f" {', '.join(names)}", style="bold not dim")
        line.append(f": {result.message}", style="not bold default")
        yield line
        for number, step in enumerate(result.advice, start=1):
            grid = Table.grid(padding=(0, 1, 0, 0))
            grid.add_column(width=4, justify="right")
            grid.add_column(overflow="fold")
            grid.add_row(Text(f"{number}."), Text(step))
            yield grid
        followers = [r.name for r in results if not set(names).isdisjoint(r.details.get("because_of", ()))]
        if followers:
            yield Padding(Text(f"not tried because of it: {', '.join(followers)}"), (0, 0, 0, 2))
        if "traceback" in result.details:
            yield Padding(Text(result.details["traceback"], style="dim"), (0, 0, 0, 4))
    yield Text("")


def _reasons(report: Report) -> str:
    return "; ".join(dict.fromkeys(report.not_run.values()))


def summary_line(report: Report) -> Text:
    """How many probes ended how."""
    summary = Text()
    for status in Status:
        count = report.count(status)
        if count or status is Status.FAILED:
            summary.append(", " if summary else "")
            summary.append(f"{count} {status.words}", style=STYLES[status] if count else "")
    if report.not_run:
        summary.append(f", {len(report.not_run)} not run")
    return summary.append(f", in {_seconds(report.duration)}.")


def _summary(report: Report) -> Text:
    summary = summary_line(report)
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
    if report.libraries:
        libraries = ", ".join(f"{name} {version}" for name, version in report.libraries.items())
        summary.append(f"\nWith {libraries}.", style="dim")
    return summary


def _seconds(duration: float) -> str:
    return f"{duration:.2f} s" if duration < 10 else f"{duration:.1f} s"
