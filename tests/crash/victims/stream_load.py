"""Loads numbered rows into Doris: arguments WITNESS FRONTEND DATABASE TABLE.

Each of a few threads makes one load after another. The label follows from thread and number alone, so a load
that is made again, by this process or by its successor, is the same load. User and password come in the
environment (``DORIS_USER``, ``DORIS_PASSWORD``).
"""

import os
import sys
import threading
from pathlib import Path

from dbint.errors import UnreachableError
from dbint.flow.stream_load import LoadOutcomeUnknownError, StreamLoadClient, json_lines, make_label
from tests.crash.victims.stop import Stop
from tests.crash.witness import Reporter

CALLERS = 3
ROWS = 40

# Seconds for one load with its retries: less than an outage may take, so that giving up is tried as well.
DEADLINE = 2.0


def payload(caller: int, number: int, unit: int) -> str:
    """What row ``unit`` of a load holds beside its numbers: enough to see that a row is whole and its own."""
    return f"{caller}/{number}/{unit} " * 5


def rows(caller: int, number: int) -> bytes:
    return json_lines(
        {"caller": caller, "number": number, "unit": unit, "payload": payload(caller, number, unit)}
        for unit in range(ROWS)
    )


def load_until_stopped(
    client: StreamLoadClient,
    reporter: Reporter,
    stop: Stop,
    caller: int,
    number: int,
    database: str,
    table: str,
) -> None:
    """One load after another; one without a certain end is made again, also when asked to stop."""
    while not stop.asked:
        body, label = rows(caller, number), make_label("crash", caller, number)
        done = False
        while not done:
            reporter.begin(caller, number)
            try:
                result = client.load(database, table, body, label=label, deadline=DEADLINE)
            except (LoadOutcomeUnknownError, UnreachableError):
                reporter.unknown(caller, number)
            else:
                (reporter.resolved if result.already else reporter.accepted)(caller, number)
                done = True
        number += 1


def main(witness: str, frontend: str, database: str, table: str) -> None:
    """Go on where the witness says, until SIGTERM."""
    stop = Stop()
    reporter = Reporter(Path(witness))
    resume = reporter.resume()
    credentials = os.environ["DORIS_USER"], os.environ["DORIS_PASSWORD"]
    with StreamLoadClient([frontend], credentials=credentials) as client:
        stop.run_all(
            threading.Thread(
                target=load_until_stopped,
                args=(client, reporter, stop, caller, resume.get(caller, 0), database, table),
            )
            for caller in range(CALLERS)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
