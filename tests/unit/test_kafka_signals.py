"""Calls that wait for a broker look at signals: Ctrl-C ends them, whatever the broker does."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """
import signal, sys, time
from dbint.kafka import KafkaAdmin, KafkaConsumer, KafkaProducer
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
address = sys.argv[1]
start = time.monotonic()
signal.setitimer(signal.ITIMER_REAL, 0.5)
try:
    {call}
except Alarm:
    print(f"{{time.monotonic() - start:.3f}}", flush=True)
"""

CALLS = {
    "create_topic": "KafkaAdmin(address).create_topic('t', timeout=None)",
    "delete_topic": "KafkaAdmin(address).delete_topic('t', timeout=None)",
    "describe": "KafkaAdmin(address).describe_cluster(None)",
    "commit": "KafkaConsumer(address, group='g').commit([('t', 0, 1)])",
    "committed": "KafkaConsumer(address, group='g').committed([('t', 0)])",
    "watermarks": "KafkaConsumer(address).watermarks('t', 0)",
    "topic": "KafkaProducer(address, topic_timeout=60).check_topic('t')",
    "init_transactions": "KafkaProducer(address, transactional_id='x').init_transactions()",
}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("name", CALLS)
def test_a_signal_ends_the_wait(silent: str, name: str) -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=CALLS[name]), silent],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 0.5 <= float(done.stdout) < 2.5
    assert time.monotonic() - start < 15, "the exit waited for the call"
