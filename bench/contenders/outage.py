"""Events while the server is away: ``python -m bench.contenders.outage CONNINFO JOURNAL EVENTS``.

Lands some events, says "idle", and waits for a line; hands EVENTS over, says "written", and waits for a line;
waits until all have landed and prints one line of JSON. Whoever sends the lines takes the server away, brings
it back, and watches this process from outside. The password comes in the environment (``PGPASSWORD``).
"""

import itertools
import json
import os
import sys
import time

from bench.contenders.drain import COLUMNS, LANDING_SECONDS, TABLE, WARMUP, events, hand_over
from bench.measure import cpu_seconds, peak_rss
from dbint._core import BatchWriter, Pool

MAX_BYTES = 16 << 30


def told(word: str) -> None:
    """Say where we are, and wait to be sent on."""
    print(word, flush=True)
    if not sys.stdin.readline():
        raise SystemExit("nobody is there to send us on")


def main(conninfo: str, journal: str, count: str) -> None:
    pool = Pool(f"{conninfo} password={os.environ['PGPASSWORD']}")
    writer = BatchWriter(pool, journal, max_bytes=MAX_BYTES)
    stream = writer.stream(TABLE, columns=COLUMNS, fill={"event_id": "uuid7", "timestamp": "now"})
    ring = itertools.cycle(events())
    hand_over(stream.write_sync, itertools.islice(ring, WARMUP))
    if left := writer.flush(LANDING_SECONDS):
        raise SystemExit(f"{left} of the first events have not landed: {writer.snapshot()}")
    told("idle")

    cpu, begun = cpu_seconds(), time.perf_counter()
    hand_over(stream.write_sync, itertools.islice(ring, int(count)))
    written = time.perf_counter() - begun
    if stream.snapshot()["landed"] != WARMUP:
        raise SystemExit(f"the server was not away: {stream.snapshot()}")
    told("written")

    begun = time.perf_counter()
    if left := writer.flush(LANDING_SECONDS):
        raise SystemExit(f"{left} events have not landed: {writer.snapshot()}")
    landed = time.perf_counter() - begun
    found = {
        "written_seconds": written,
        "landed_seconds": landed,
        "cpu_seconds": cpu_seconds() - cpu,
        "peak_rss": peak_rss(),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
