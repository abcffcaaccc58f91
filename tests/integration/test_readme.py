"""The README's example in Python does what it says."""

import asyncio
import re
from pathlib import Path

from dbint.kafka import KafkaAdmin, KafkaConsumer
from stack import Endpoint

README = Path(__file__).parents[2] / "README.md"


def test_the_producers_example(kafka: Endpoint, capsys) -> None:
    (example,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
        if "KafkaProducer" in block
    )
    names: dict = {}
    exec(example, names)  # noqa: S102 - it is our own text, and running it is the test
    asyncio.run(names["sell"]())
    assert capsys.readouterr().out == "0 1 2\n"
    bootstrap = f"{kafka.host}:{kafka.port}"
    with KafkaConsumer(bootstrap) as consumer, KafkaAdmin(bootstrap) as admin:
        consumer.assign([("orders", 0, 0)])
        values = []
        while len(values) < 2:
            values += [message.value for message in consumer.poll_batch(timeout=10) or ()]
        admin.delete_topic("orders")
    assert values == [b'{"id": 1}', b'{"id": 2}']
