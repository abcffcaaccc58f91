"""``python -m bench NAME | --all [--json] [--plot FILE] [--rounds N] [--quick] [--strict]``, or ``--list``.

Exit status: 0 the run is good (with --strict: and every aim is met), 1 an aim is missed (only with --strict),
2 the run itself failed: a contender broke, a count was wrong, the versions differed, or the command line was.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from bench import frame, report
from bench.benches import BENCHES

PICTURES = (".png", ".svg", ".pdf")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare dbint with its peers, on this machine."
    )
    names = ", ".join(BENCHES)
    parser.add_argument("name", nargs="?", choices=list(BENCHES), metavar="NAME", help=names)
    parser.add_argument("--all", action="store_true", help="run every bench, one after the other")
    parser.add_argument("--list", action="store_true", help="show the benches, their contenders and aims")
    parser.add_argument("--json", action="store_true", help="print one JSON object (--all: of one for each)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result (.png, .svg, .pdf)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, instead of the bench's own number")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rounds, little work, no proof")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when an aim is missed")
    options = parser.parse_args()
    if [bool(options.name), options.all, options.list].count(True) != 1:
        parser.error("give one NAME, or --all, or --list")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.plot is not None and (options.all or options.plot.suffix.lower() not in PICTURES):
        parser.error(f"--plot needs one NAME, and a file name that ends in {', '.join(PICTURES)}")
    return options


def show_list(console: Console) -> None:
    for bench in BENCHES.values():
        console.print(f"[bold]{bench.name}[/]  {bench.title}")
        for contender in bench.contenders:
            console.print(f"  {contender.name:20} {contender.title}")
        for aim in frame.load_aims(bench.name):
            console.print(f"  aim: {aim.ratio} {aim}")


def interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def run(name: str, options: argparse.Namespace, progress: Console) -> dict[str, Any] | None:
    """The result of one bench, drawn where that was asked for; None when it failed, with the reason shown."""
    try:
        result = frame.run(
            BENCHES[name],
            rounds=options.rounds,
            quick=options.quick,
            progress=lambda line: progress.print(
                line, style="dim", markup=False, highlight=False, soft_wrap=True
            ),
        )
        if options.plot is not None:
            report.picture(result, options.plot)
    except (frame.BenchError, OSError) as error:
        progress.print(f"bench {name}: {error}", style="red", markup=False)
        return None
    return result


def main() -> int:
    options = arguments()
    console, progress = Console(), Console(stderr=True)
    if options.list:
        show_list(console)
        return 0
    signal.signal(signal.SIGTERM, interrupted)  # the servers of a run are stopped however it ends
    results = {}
    try:
        for name in BENCHES if options.all else [options.name]:
            results[name] = run(name, options, progress)
            if not options.json and results[name] is not None:
                report.table(results[name], console)
    except KeyboardInterrupt:
        progress.print("interrupted", style="red")
        return 130
    good = {name: result for name, result in results.items() if result is not None}
    if options.json and good:
        print(json.dumps(good if options.all else good[options.name], indent=2))
    if len(good) < len(results):
        return 2
    met = all(aim["met"] for result in good.values() for aim in result["aims"].values())
    return 1 if options.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main())
