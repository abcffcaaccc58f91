"""Messages while the broker is away.

``python -m bench.contenders.journal_kafka BOOTSTRAP TOPIC JOURNAL MESSAGES`` delivers some messages, says
"idle", and waits for a line; hands MESSAGES over, says "taken", and waits for a line; waits until all are
delivered and prints one line of JSON. Whoever sends the lines takes the broker away, brings it back, and
watches this process from outside. The time includes making the messages: a list would be most of the memory.
"""

import itertools
import json
import sys
import time

from bench.contenders.outage import told
from bench.contenders.produce import payloads
from bench.measure import cpu_seconds, peak_rss
from dbint.kafka import KafkaProducer, ProducerJournal

KEYS = 1000
WARMUP = 1000
SIZE = 200
FLUSH_SECONDS = 300.0
MAX_BYTES = 16 << 30


def numbered(first: int, count: int) -> "itertools.starmap[tuple[bytes, bytes]]":
    """Key and value; the value begins with the message's number."""
    keys = [b"key-%d" % number for number in range(KEYS)]

    def message(number: int, payload: bytes) -> tuple[bytes, bytes]:
        return keys[number % KEYS], b"%09d" % number + payload

    return itertools.starmap(message, enumerate(payloads(count, SIZE - 9), first))


def main(bootstrap: str, topic: str, journal: str, text: str) -> None:
    count = int(text)
    kept = ProducerJournal(journal, max_bytes=MAX_BYTES)
    with KafkaProducer(bootstrap, journal=kept, config={"reconnect.backoff.max.ms": 500}) as producer:
        for key, value in numbered(0, WARMUP):
            producer.enqueue(topic, value, key)
        if producer.flush(FLUSH_SECONDS):
            raise SystemExit(f"the first messages were not delivered: {producer.journal_status()}")
        told("idle")

        enqueue = producer.enqueue
        cpu, begun = cpu_seconds(), time.perf_counter()
        for key, value in numbered(WARMUP, count):
            enqueue(topic, value, key)
        taken = time.perf_counter() - begun
        metrics = producer.metrics()
        if (metrics["delivered"], metrics["journaled"]) != (WARMUP, count):
            raise SystemExit(f"the broker was not away: {metrics}")
        told("taken")

        begun = time.perf_counter()
        if producer.flush(FLUSH_SECONDS):
            raise SystemExit(f"not all was delivered: {producer.metrics()} {producer.journal_status()}")
        delivered = time.perf_counter() - begun
        found = {
            "taken_seconds": taken,
            "delivered_seconds": delivered,
            "cpu_seconds": cpu_seconds() - cpu,
            "peak_rss": peak_rss(),
            "failed": producer.metrics()["failed"],
        }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
