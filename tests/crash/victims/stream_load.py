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
from dbint.flow.stream_load import (
    LoadError,
    LoadOutcomeUnknownError,
    StreamLoadClient,
    json_lines,
    make_label,
)
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
    """One load after another; one without a certain end is made again, also when asked to stop.

    A load that raises LoadError or UnreachableError has loaded nothing, says the client, and is reported as
    refused: the account looks for its rows. Only where an earlier attempt at the same load, perhaps a killed
    predecessor's, may have got through does that prove nothing.
    """
    in_doubt = True
    while not stop.asked:
        body, label = rows(caller, number), make_label("crash", caller, number)
        settled = False
        while not settled:
            reporter.begin(caller, number)
            settled = True
            try:
                result = client.load(database, table, body, label=label, deadline=DEADLINE)
            except LoadOutcomeUnknownError:
                reporter.unknown(caller, number)
                settled, in_doubt = False, True
            except (LoadError, UnreachableError):
                (reporter.unknown if in_doubt else reporter.refused)(caller, number)
                settled = not in_doubt
            else:
                (reporter.resolved if result.already else reporter.accepted)(caller, number)
        in_doubt = False
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
