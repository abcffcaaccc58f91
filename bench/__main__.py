"""``python -m bench NAME [--json] [--plot FILE] [--rounds N] [--quick] [--strict]``, or ``--list``.

Exit status: 0 the run is good (with --strict: and every aim is met), 1 an aim is missed (only with --strict),
2 the run itself failed: a contender broke, a count was wrong, the versions differed, or the command line was.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from bench import frame, report
from bench.benches import BENCHES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare dbint with its peers, on this machine."
    )
    parser.add_argument(
        "name", nargs="?", choices=sorted(BENCHES), metavar="NAME", help=", ".join(sorted(BENCHES))
    )
    parser.add_argument("--list", action="store_true", help="show the benches, their contenders and aims")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result (.png, .svg, .pdf)")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds to run, instead of the bench's own number"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rounds, little work, no proof")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when an aim is missed")
    options = parser.parse_args()
    if options.list == bool(options.name):
        parser.error("give one NAME, or --list")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.plot is not None and options.plot.suffix.lower() not in {".png", ".svg", ".pdf"}:
        parser.error("--plot needs a file name that ends in .png, .svg or .pdf")
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


def main() -> int:
    options = arguments()
    console, progress = Console(), Console(stderr=True)
    if options.list:
        show_list(console)
        return 0
    signal.signal(signal.SIGTERM, interrupted)  # the servers of a run are stopped however it ends
    try:
        result = frame.run(
            BENCHES[options.name],
            rounds=options.rounds,
            quick=options.quick,
            progress=lambda line: progress.print(line, style="dim", markup=False, highlight=False),
        )
        if options.plot is not None:
            report.picture(result, options.plot)
    except (frame.BenchError, OSError) as error:
        progress.print(f"bench {options.name}: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        progress.print(f"bench {options.name}: interrupted", style="red")
        return 130
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        report.table(result, console)
    missed = [name for name, aim in result["aims"].items() if not aim["met"]]
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
