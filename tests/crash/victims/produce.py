"""Sends numbered messages to Kafka: arguments WITNESS BOOTSTRAP TOPIC.

Many coroutines each await one message after another. A message carries its number in the header ``event-id``,
and a message sent again carries the same one. At the end the producer's own counters have to agree with what
was awaited.
"""

import asyncio
import sys
from pathlib import Path

from dbint.errors import OperationalError
from dbint.kafka import KafkaProducer
from tests.crash.account import item
from tests.crash.victims.message import EVENT_ID, event_id, payload
from tests.crash.victims.stop import Stop
from tests.crash.witness import Reporter

CALLERS = 100


async def call_until_stopped(
    producer: KafkaProducer, topic: str, reporter: Reporter, stop: Stop, caller: int, number: int
) -> int:
    """Await one message after another; says how many were delivered."""
    delivered = 0
    while not stop.asked:
        name = item(caller, number)
        reporter.begin(caller, number)
        try:
            await producer.send(
                topic, payload(name), key=event_id(name), headers=[(EVENT_ID, event_id(name))]
            )
        except OperationalError:
            reporter.unknown(caller, number)  # not delivered in time, as far as is known: sent again
        else:
            reporter.accepted(caller, number)
            delivered += 1
            number += 1
    return delivered


async def main(witness: str, bootstrap: str, topic: str) -> None:
    """Go on where the witness says, until SIGTERM."""
    stop = Stop()
    reporter = Reporter(Path(witness))
    resume = reporter.resume()
    async with KafkaProducer(bootstrap) as producer:
        delivered = await asyncio.gather(
            *(
                call_until_stopped(producer, topic, reporter, stop, caller, resume.get(caller, 0))
                for caller in range(CALLERS)
            )
        )
        counted = producer.metrics()["delivered"]
        if counted != sum(delivered):
            raise SystemExit(f"{sum(delivered)} messages were delivered, the producer counted {counted}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
