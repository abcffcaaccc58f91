"""The interpreter's end, and forks, while other threads write; an interpreter that is not the main one."""

import re

import pytest

from dbint.events import DatabaseConfig
from tests.faults.events import landed, run
from tests.faults.test_faults_processes import Witness, script, successor

# Four threads that write, two of them in event loops; the main thread goes on when all are at it.
THREADS = """
def loop(caller, count):
    asyncio.run(some_async(caller, count))

def begin(count, daemon):
    for target, caller in ((some, "a"), (some, "b"), (loop, "c"), (loop, "d")):
        threading.Thread(target=target, args=(caller, count), daemon=daemon).start()
    while get_database_layer().writer.snapshot()["streams"]["trace_events"]["accepted"] < 100:
        time.sleep(0.005)

get_database_layer().initialize_sync()
"""


def test_the_end_waits_for_threads_that_write(config: DatabaseConfig) -> None:
    """What they write after the end of the main thread has landed when the process ends."""
    done = run(config, script(THREADS + "begin(500, daemon=False)"))
    assert (done.returncode, done.stderr) == (0, "")
    witness = Witness(done.stdout)
    assert len(witness.accepted) == 4 * 500
    witness.check(config)


def test_the_end_waits_for_no_daemon(config: DatabaseConfig) -> None:
    """They write until they are refused: what was accepted lands."""
    body = """
def refused(arguments):
    tell("refused", arguments.exc_type.__name__)

threading.excepthook = refused
begin(10**9, daemon=True)
"""
    done = run(config, script(THREADS + body), timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall("^refused (.*)$", done.stdout, re.MULTILINE)) <= {"ClosedError"}
    successor(config, Witness(done.stdout))


def test_the_end_answers_daemons_that_wait_for_room(config: DatabaseConfig) -> None:
    """The server is away and the journal full: the process ends, and what it took is there afterwards."""
    body = """
os.environ |= {"POSTGRES_PORT": "1", "DBINT_JOURNAL_MAX_BYTES": str(4 << 20)}

def fields(name):
    return dict(trace_id="faults", event_type="STEP", level="INFO", message=name, metadata="much" * 10_000)

for caller in "ab":
    threading.Thread(target=some, args=(caller, 10**9), daemon=True).start()
while get_database_layer().writer.snapshot()["streams"].get("trace_events", {}).get("waiting", 0) < 2:
    time.sleep(0.01)
"""
    done = run(config, script(body), timeout=20)
    assert done.returncode == 0, done.stderr
    successor(config, Witness(done.stdout))


@pytest.mark.parametrize(("takes", "waits"), [(0.5, True), (60, False)])
def test_the_end_waits_for_a_look_at_health(takes: float, waits: bool, config: DatabaseConfig) -> None:
    """It may be in libraries that the process is about to take apart. It has two seconds."""
    body = f"""
from dbint.events import DatabaseIntegrationLayer

def look(self):
    looking.set()
    time.sleep({takes})
    tell("looked", "once")
    return health(self)

looking = threading.Event()
health, DatabaseIntegrationLayer.get_health_metrics_sync = (
    DatabaseIntegrationLayer.get_health_metrics_sync, look
)
some("main", 1)
looking.wait()
"""
    done = run(config, script(body), timeout=15)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("looked once" in done.stdout) == waits
    Witness(done.stdout).check(config)


# How a thread makes a child, and how that ends.
CHILDREN = {
    "os._exit": "forked(caller, lambda: os._exit(0))",
    "SIGKILL": "forked(caller, lambda: os.kill(os.getpid(), signal.SIGKILL))",
    "multiprocessing": "Process(target=some, args=(f'{caller}-child', 50)).start()",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_forks_in_a_thread_pool_at_work(child: str, config: DatabaseConfig) -> None:
    """A child writes beside the pool that it was forked in, whose other threads hold whatever they hold."""
    body = f"""
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Process

def forked(caller, end):
    if os.fork() == 0:
        some(f"{{caller}}-child", 50)
        end()

def family(caller):
    some(f"{{caller}}-before", 50)
    {CHILDREN[child]}
    some(f"{{caller}}-after", 50)
    os.wait()

with ThreadPoolExecutor(4) as pool:
    for done in [pool.submit(family, f"caller{{number}}") for number in range(4)]:
        done.result(15)
"""
    done = run(config, script(body), timeout=30)
    assert done.returncode == 0, done.stderr
    witness = Witness(done.stdout)
    successor(config, witness)
    assert len(landed(config)) == len(witness.accepted) == 4 * 3 * 50


def test_a_sub_interpreter_is_refused(config: DatabaseConfig) -> None:
    body = """
import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), "import dbint.events")
"""
    done = run(config, script(body))
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "this is a sub-interpreter: under mod_wsgi set WSGIApplicationGroup" in done.stderr
