"""A victim that appends numbers to a file, rightly or with one fault: what the frame itself is tested on.

    python -m tests.crash.victims.sample WITNESS FILE FAULT

Two threads each append one line a call, by one write() in append mode: a line is there whole or not at all,
and outlives the process. With the fault "none" that is a good store: nothing accepted is ever missing, and a
call repeated after a kill is not written again, because the file is looked at first.
"""

import os
import sys
import threading
import time
from pathlib import Path

from tests.crash.victims.stop import Stop
from tests.crash.witness import Reporter

CALLERS = 2
PAUSE = 0.0005  # seconds, before and after the write: wide enough a gap for a kill to fall into
FAULTS = ("none", "drops", "duplicates", "hasty", "invents", "forgets")


def written(path: Path) -> set[str]:
    return set(path.read_text(encoding="ascii").split()) if path.exists() else set()


def work(
    stop: Stop, reporter: Reporter, descriptor: int, caller: int, number: int, fault: str, there: set[str]
) -> None:
    """Make calls until asked to stop."""
    while not stop.asked:
        name = f"{caller}:{number}"
        reporter.begin(caller, number)
        line = f"{name}\n".encode("ascii")
        if fault == "hasty":
            reporter.accepted(caller, number)
            time.sleep(0.002)
        time.sleep(PAUSE)
        known = name in there and fault != "forgets"
        if not known and not (fault == "drops" and number % 50 == 7):
            os.write(descriptor, line)
        if fault == "duplicates" and number % 50 == 7:
            os.write(descriptor, line)
        if fault == "invents" and number % 50 == 7:
            os.write(descriptor, b"9:%d\n" % number)
        time.sleep(PAUSE)
        if fault != "hasty":
            (reporter.resolved if known else reporter.accepted)(caller, number)
        number += 1


def main(witness: str, file: str, fault: str) -> None:
    if fault not in FAULTS:
        raise SystemExit(f"unknown fault {fault!r}; known are {', '.join(FAULTS)}")
    stop = Stop()
    reporter = Reporter(Path(witness))
    resume = reporter.resume()
    there = written(Path(file))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stop.run_all(
        threading.Thread(
            target=work, args=(stop, reporter, descriptor, caller, resume.get(caller, 0), fault, there)
        )
        for caller in range(CALLERS)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
