"""Processes that die, fork and end while they write by the layer: a witness outside them counts."""

import random
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig
from tests.faults.events import environment, landed, program, run, until, writing

# Each event is named on the standard output before it is handed over, and again when that was accepted.
HEAD = """
import asyncio, multiprocessing, os, signal, sys, threading, time
from dbint.events import get_database_layer

def tell(word, name):
    os.write(1, f"{word} {name}\\n".encode())

def fields(name):
    return dict(trace_id="faults", event_type="STEP", level="INFO", message=name)

def put(name):
    tell("begin", name)
    get_database_layer().write_trace_event_sync(**fields(name))
    tell("accepted", name)

async def put_async(name):
    tell("begin", name)
    await get_database_layer().write_trace_event(**fields(name))
    tell("accepted", name)

def some(caller, count=200):
    for number in range(count):
        put(f"{caller}-{number}")

async def some_async(caller, count=200):
    for number in range(count):
        await put_async(f"{caller}-{number}")
"""


def script(body: str) -> str:
    return HEAD + textwrap.dedent(body)


class Witness:
    """What a program told: the names of the events that it began, and of those that were accepted."""

    def __init__(self, said: str) -> None:
        whole = said[: said.rfind("\n") + 1]  # a killed program may leave half a line
        self.began = set(re.findall(r"^begin (\S+)$", whole, re.MULTILINE))
        self.accepted = set(re.findall(r"^accepted (\S+)$", whole, re.MULTILINE))

    def check(self, config: DatabaseConfig) -> None:
        """What was accepted is there, and nothing that was not begun; each once."""
        found = set(landed(config))
        assert self.accepted
        assert self.accepted <= found
        assert found <= self.began


def successor(config: DatabaseConfig, witness: Witness) -> None:
    """Another process lands what is left, also in the slots of several; nothing else becomes of it."""
    with writing(config) as events:
        events.layer.writer.start()
        until(lambda: events.land() or witness.accepted <= set(landed(config)))
        figures = events.figures()
        assert figures["landed"] == figures["recovered"]
        assert figures["dead"] == figures["damaged"] == figures["lost_by_server"] == figures["journaled"] == 0
    witness.check(config)


LOAD = """
# Four callers: two threads, and two event loops with two tasks each.
async def loop(caller):
    await asyncio.gather(some_async(f"{caller}a", 10**9), some_async(f"{caller}b", 10**9))

threads = [threading.Thread(target=some, args=(f"thread{n}", 10**9)) for n in range(2)]
threads += [threading.Thread(target=lambda n=n: asyncio.run(loop(f"loop{n}"))) for n in range(2)]
for thread in threads:
    thread.start()
"""


@pytest.mark.parametrize("round_number", range(3))
def test_kill_9_at_a_random_moment(round_number: int, config: DatabaseConfig, tmp_path: Path) -> None:
    output = tmp_path / "said"
    with output.open("wb") as said:
        victim = subprocess.Popen(program(script(LOAD)), env=environment(config), stdout=said)
        try:
            until(lambda: output.stat().st_size > 10_000)
            time.sleep(random.uniform(0, 0.7))
        finally:
            victim.kill()
            victim.wait()
    successor(config, Witness(output.read_text()))


# How a process may end with events pending, and its status.
ENDINGS = {
    "the interpreter's end": ("", 0),
    "sys.exit in a thread that is not the main one": (
        "thread = threading.Thread(target=lambda: sys.exit(3)); thread.start(); thread.join()",
        0,
    ),
    "an exception": ("raise SystemExit(4)", 4),
    "os._exit": ("os._exit(5)", 5),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -signal.SIGTERM),
    "SIGTERM that ends the interpreter": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM)",
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_end_with_events_pending(ending: str, config: DatabaseConfig) -> None:
    body, status = ENDINGS[ending]
    done = run(config, script('some("main")\n') + body)
    assert done.returncode == status, done.stderr
    witness = Witness(done.stdout)
    assert len(witness.accepted) == 200
    if status in (0, 4):  # the interpreter ended in an orderly way: it has landed what it took
        witness.check(config)
    successor(config, witness)
    assert len(landed(config)) == 200


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, config: DatabaseConfig, tmp_path: Path) -> None:
    """Children write beside their parent; those of multiprocessing end without atexit."""
    path = tmp_path / "family.py"
    path.write_text(
        script(
            f"""
            if __name__ == "__main__":
                some("before")
                context = multiprocessing.get_context({method!r})
                children = [context.Process(target=some, args=(f"child{{n}}",)) for n in range(3)]
                for child in children:
                    child.start()
                asyncio.run(some_async("parent"))
                for child in children:
                    child.join()
                    assert child.exitcode == 0
            """
        )
    )
    done = run(config, path)
    assert done.returncode == 0, done.stderr
    witness = Witness(done.stdout)
    successor(config, witness)
    assert len(landed(config)) == len(witness.accepted) == 1000
