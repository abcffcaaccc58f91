"""Legs of a flow.

``python -m bench.contenders.flow HOW CONNINFO BOOTSTRAP SLOT PUBLICATION END CHANGES``; HOW is ``dbint``
(into topics under the slot's name) or ``recvlogical`` (to nowhere). The clock runs from the start of the
reader to the moment at which everything up to END is confirmed to the server. The password comes in the
environment (``PGPASSWORD``).

``python -m bench.contenders.flow HOW FLOW AMOUNT``; HOW is ``sink`` (from Kafka into Doris, until AMOUNT
changes have landed) or ``whole`` (a flow that is asked after AMOUNT seconds how fresh its rows were). FLOW is
JSON: ``flow``, ``source`` and ``target`` are arguments of :func:`flow_config`; passwords come in the
environment (``PGPASSWORD``, ``DORIS_PASSWORD``).
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.measure import Stopwatch, report

if TYPE_CHECKING:
    from dbint.flow.config import FlowConfig

PATIENCE = 800.0  # seconds


def flow_config(
    flow: Mapping[str, Any],
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    bootstrap: str,
    environment: Mapping[str, str],
) -> "FlowConfig":
    """The same flow for a bench and its contenders: ``source`` are libpq's parameters, ``target`` has
    ``host``, ``query``, ``http``, ``user`` and ``database``, ``flow`` are fields of FlowConfig; its ``table``
    becomes the only table, under the flow's name in Doris.
    """
    from dbint.flow.config import FlowConfig, SourceAccess, TableOptions, TargetAccess

    fields = dict(flow)
    table = fields.pop("table")
    return FlowConfig(
        source=SourceAccess("bench", lambda: {**source, "password": environment["PGPASSWORD"]}),
        target=TargetAccess(
            "bench",
            target["database"],
            [(target["host"], target["query"])],
            [f"http://{target['host']}:{target['http']}"],
            lambda: (target["user"], environment["DORIS_PASSWORD"]),
        ),
        kafka=lambda _role: {"bootstrap.servers": bootstrap},
        tables=(table,),
        options={table: TableOptions(target=fields["name"])},
        **fields,
    )


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


def sink(config: "FlowConfig", changes: int) -> None:
    from dbint import _core
    from dbint.flow.plan import load_mappings
    from dbint.flow.sink import Sink

    deadline = time.monotonic() + PATIENCE
    with Sink(config, load_mappings(config)) as running, Stopwatch() as watch:
        thread = threading.Thread(target=running.run)
        thread.start()
        while running.snapshot().rows < changes and thread.is_alive():
            if time.monotonic() > deadline:
                raise SystemExit(f"{changes} changes are to land: {running.snapshot()}")
            time.sleep(0.02)
        running.stop()
        thread.join()
    landed = running.snapshot()
    if (landed.rows, landed.dead_letters) != (changes, 0):
        raise SystemExit(f"{changes} changes were to land: {landed}")
    report(watch, changes, _core.library_versions())


def whole(config: "FlowConfig", seconds: int) -> None:
    from dbint import _core
    from dbint.flow.runner import Runner

    runner = Runner(config)
    thread = threading.Thread(target=runner.run)
    with Stopwatch() as watch:
        thread.start()
        thread.join(seconds)
        found = runner.status()
    runner.stop()
    thread.join()
    landed = found.get("sink", {})
    if landed.get("freshness_p99") is None:
        raise SystemExit(f"nothing has landed: {found}")
    report(
        watch,
        landed["rows"],
        _core.library_versions(),
        p50=landed["freshness_p50"],
        p99=landed["freshness_p99"],
    )


def main() -> None:
    if sys.argv[1] in ("sink", "whole"):
        how, given, amount = sys.argv[1:]
        config = flow_config(**json.loads(given), environment=os.environ)
        {"sink": sink, "whole": whole}[how](config, int(amount))
        return
    how, conninfo, bootstrap, slot, publication, end, changes = sys.argv[1:]
    if how == "dbint":
        dbint(conninfo, bootstrap, slot, publication, end, int(changes))
    elif how == "recvlogical":
        recvlogical(conninfo, slot, publication, end, int(changes))
    else:
        raise SystemExit(f"unknown contender {how}")


if __name__ == "__main__":
    main()
