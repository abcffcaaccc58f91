"""``python -m tests.crash NAME [--rounds N] [--seed S] [--json]``: break it, and account for every item.

Exit status: 0 every promise was kept, 1 one was broken, 2 the run is void (a server did not start, the victim
failed by itself, a wrong argument).
"""

import argparse
import json
import secrets
import signal
import sys
from typing import NoReturn

from stack import StackError
from tests.crash import frame
from tests.crash.scenarios import SCENARIOS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Break it, and account for every item."
    )
    parser.add_argument("name", choices=sorted(SCENARIOS), metavar="NAME", help=", ".join(sorted(SCENARIOS)))
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="kills to plan (default 6)")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="repeat a plan; without it a new one is drawn and shown"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def text(result: frame.Result) -> str:
    """One figure a line, then what was broken and where."""
    lines = [
        f"{name:28}{value}"
        for name, value in result.to_json().items()
        if name not in {"broken", "examples", "wrong"}
    ]
    lines += [f"BROKEN: {complaint}" for complaint in result.broken]
    lines += [f"{what}, for example: {'; '.join(where)}" for what, where in result.account.examples.items()]
    return "\n".join(lines)


def interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, interrupted)  # what was started is stopped however the run ends

    def progress(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    try:
        result = frame.run(SCENARIOS[options.name], rounds=options.rounds, seed=seed, progress=progress)
    except (frame.CrashError, StackError, OSError) as error:
        progress(f"{options.name}, seed {seed}: void: {error}")
        return 2
    except KeyboardInterrupt:
        progress(f"{options.name}, seed {seed}: interrupted")
        return 130
    sys.stdout.write((json.dumps(result.to_json(), indent=2) if options.json else text(result)) + "\n")
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
