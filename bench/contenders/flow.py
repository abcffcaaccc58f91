"""Ways to read a slot.

``python -m bench.contenders.flow HOW CONNINFO BOOTSTRAP SLOT PUBLICATION END CHANGES``; HOW is ``dbint``
(into topics under the slot's name) or ``recvlogical`` (to nowhere). The clock runs from the start of the
reader to the moment at which everything up to END is confirmed to the server. The password comes in the
environment (``PGPASSWORD``).
"""

import json
import os
import resource
import subprocess
import sys
import time

from bench.measure import Stopwatch, report

PATIENCE = 800.0  # seconds


def dbint(conninfo: str, bootstrap: str, slot: str, publication: str, end: str, changes: int) -> None:
    from dbint import _core
    from dbint.flow.positions import parse_lsn

    outlet = _core.Outlet({"bootstrap.servers": bootstrap})
    capture = _core.Capture(
        outlet,
        name="bench",
        conninfo=f"{conninfo} password={os.environ['PGPASSWORD']}",
        slot=slot,
        publication=publication,
        prefix=slot,
        version="bench",
    )
    wanted, deadline = parse_lsn(end), time.monotonic() + PATIENCE
    with Stopwatch() as watch:
        capture.start()
        while capture.status()["confirmed"] < wanted:
            if capture.join(0.02):
                raise SystemExit("the capture has ended")
            if time.monotonic() > deadline:
                raise SystemExit(f"not at the end: {capture.status()}")
    capture.stop(30)
    capture.join(40)
    status = capture.status()
    found = status["inserts"] + status["updates"] + status["deletes"]
    if found != changes:
        raise SystemExit(f"{changes} changes were made, and {found} read")
    report(watch, changes, _core.library_versions())


def recvlogical(conninfo: str, slot: str, publication: str, end: str, changes: int) -> None:
    command = [
        "pg_recvlogical",
        "--dbname",
        conninfo,
        "--slot",
        slot,
        "--start",
        "--no-loop",
        "--endpos",
        end,
    ]
    command += [
        "--option",
        "proto_version=1",
        "--option",
        f"publication_names={publication}",
        "--file",
        "/dev/null",
    ]
    begun = time.perf_counter()
    subprocess.run(command, check=True, timeout=PATIENCE)
    seconds, usage = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "count": changes,
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_rss": usage.ru_maxrss * 1024,
                "versions": {},
            }
        )
    )


def main() -> None:
    how, conninfo, bootstrap, slot, publication, end, changes = sys.argv[1:]
    if how == "dbint":
        dbint(conninfo, bootstrap, slot, publication, end, int(changes))
    elif how == "recvlogical":
        recvlogical(conninfo, slot, publication, end, int(changes))
    else:
        raise SystemExit(f"unknown contender {how}")


if __name__ == "__main__":
    main()
