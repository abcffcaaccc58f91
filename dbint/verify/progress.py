"""Says on a terminal, or in a log, what a running verification is doing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dbint.verify.reports.as_text import STYLES
from dbint.verify.result import Status
from dbint.verify.runner import Event, Finished, Started


class Progress:
    """Hears of each start and end: a live view on a terminal, a line for each result elsewhere."""

    def __init__(self, stream: IO[str], total: int) -> None:
        self._total, self._done = total, 0
        self._running: list[str] = []
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=10)

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """While inside, the live view is on the terminal; afterwards it is gone."""
        if not self._console.is_terminal:
            yield self
            return
        with self._live:
            yield self

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._running.append(event.probe.name)
        else:
            self._finished(event)
        if self._console.is_terminal:
            self._live.update(self._view())

    def _finished(self, event: Finished) -> None:
        self._done += 1
        result = event.result
        if result.name in self._running:
            self._running.remove(result.name)
        if not self._console.is_terminal:
            self._console.print(
                f"[{self._done:>2}/{self._total}] {result.status.words:<14} {result.name}", soft_wrap=True
            )
        elif result.status is Status.FAILED and "because_of" not in result.details:
            line = Text("failed ", style=STYLES[result.status])
            self._live.console.print(line.append(result.name, style="not bold default"))

    def _view(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        waiting = ", ".join(self._running) or "done"
        text = Text(f"{self._done}/{self._total}  {waiting}", no_wrap=True, overflow="ellipsis")
        grid.add_row(Spinner("dots"), text)
        return grid
