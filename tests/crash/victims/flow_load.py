"""Writes into PostgreSQL what is to be found in Doris: arguments WITNESS.

Each of a few threads makes one transaction after another. It inserts a few numbered rows, which are there for
good, and changes some of the caller's own rows in a second table, in every way in which rows change. What a
call does follows from its number, and it may be made again: a transaction whose commit had no answer is.
"""

import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.crash.victims.flow import BIG, CALLERS, SHARE, UNITS, flow_config, payload
from tests.crash.victims.stop import Stop
from tests.crash.witness import Reporter

PAUSE = 0.2  # seconds between two calls of a caller
AGAIN = 0.1  # seconds until an unreachable server is tried again

Connection = psycopg.Connection[Any]


def insert(connection: Connection, caller: int, number: int) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO crash_rows VALUES (%s, %s, %s, %s) ON CONFLICT (caller, number, unit) "
            "DO UPDATE SET payload = EXCLUDED.payload",
            [(caller, number, unit, payload(caller, number, unit)) for unit in range(UNITS)],
        )


def change(connection: Connection, caller: int, number: int) -> None:
    """A few changes of rows of the caller's own, drawn by the call's number."""
    drawn = random.Random(f"{caller}/{number}")
    for step in range(drawn.randint(1, 3)):
        mine, other = (caller * SHARE + drawn.randrange(SHARE) for _ in range(2))
        version = number * 10 + step
        match drawn.randrange(8):
            case 0 | 1:
                connection.execute(
                    "INSERT INTO crash_states VALUES (%s, %s, 'put', %s) ON CONFLICT (id) DO UPDATE SET "
                    "version = EXCLUDED.version, note = EXCLUDED.note, big = EXCLUDED.big",
                    (mine, version, chr(97 + number % 26) * (BIG if drawn.randrange(3) == 0 else 10)),
                )
            case 2 | 3 | 4:  # the large value stays, and is not in the log
                connection.execute(
                    "UPDATE crash_states SET version = %s, note = %s WHERE id BETWEEN %s AND %s",
                    (version, f"note {number}", mine, min(mine + 3, (caller + 1) * SHARE - 1)),
                )
            case 5:
                connection.execute("DELETE FROM crash_states WHERE id = %s", (mine,))
            case 6:  # deleted and inserted again at once
                connection.execute("DELETE FROM crash_states WHERE id = %s", (mine,))
                connection.execute("INSERT INTO crash_states VALUES (%s, %s, NULL, NULL)", (mine, version))
            case _:  # a key that changes
                connection.execute("DELETE FROM crash_states WHERE id = %s", (other,))
                connection.execute(
                    "UPDATE crash_states SET id = %s, version = %s, big = %s WHERE id = %s",
                    (other, version, "moved" * (BIG // 5), mine),
                )


def call_until_stopped(reporter: Reporter, stop: Stop, caller: int, number: int) -> None:
    """One transaction after another; one without a certain end is made again, also when asked to stop."""
    connection: Connection | None = None
    settled = True
    while not stop.asked or not settled:
        reporter.begin(caller, number)
        try:
            if connection is None:
                connection = psycopg.connect(flow_config().source.conninfo())
            insert(connection, caller, number)
            change(connection, caller, number)
            connection.commit()
        except (psycopg.OperationalError, psycopg.InterfaceError):  # also of a commit without an answer
            reporter.unknown(caller, number)
            settled = False
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(AGAIN)
        else:
            reporter.accepted(caller, number)
            number += 1
            settled = True
            time.sleep(PAUSE)
    if connection is not None:
        connection.close()


def main(witness: str) -> None:
    """Go on where the witness says, until SIGTERM."""
    stop = Stop()
    reporter = Reporter(Path(witness))
    resume = reporter.resume()
    stop.run_all(
        threading.Thread(target=call_until_stopped, args=(reporter, stop, caller, resume.get(caller, 0)))
        for caller in range(CALLERS)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
