"""What twenty events a request add to a Django view under load."""

import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from bench.frame import CHECKOUT, BenchError, Contender, Ratio, Sample
from bench.servers import Database, database

EVENTS = 20  # a request (bench.contenders.overhead)
WORKERS = 2
CLIENTS = 8  # threads that send requests: more than are ever under way at this rate
RATE = 60.0  # requests a second
SECONDS = 20.0
QUICK_SECONDS = 0.5
WARMUP_REQUESTS = 200
QUICK_WARMUP_REQUESTS = 20
TIMEOUT = 10.0
LANDING_SECONDS = 30.0

COUNT = "SELECT count(*) FROM agent_observability.trace_events"
EMPTY = "TRUNCATE agent_observability.trace_events"


class OverheadBench:
    """The comparison of a view with itself; docs/benchmarks.md says what is the same for all."""

    name = "overhead"
    title = f"a Django view under {RATE:g} requests/s, {EVENTS} events each or none, latency in ms"
    units = {"value": "ms (p99)", "p50": "ms", "cpu": "ms/request", "memory": "MiB"}
    contenders = (
        Contender("none", "no events"),
        Contender("dbint", f"dbint write_trace_event_sync, {EVENTS} times"),
        Contender("insert", f"one bulk_create of {EVENTS} rows in the request"),
    )
    ratios = (
        Ratio("p99", "value", "dbint", "none"),
        Ratio("p50", "p50", "dbint", "none"),
        Ratio("cpu", "cpu", "dbint", "none"),
        Ratio("insert_p99", "value", "insert", "none"),
        Ratio("insert_p50", "p50", "insert", "none"),
        Ratio("insert_cpu", "cpu", "insert", "none"),
    )
    rounds = 12
    quick_rounds = 1

    @contextmanager
    def prepare(self, *, quick: bool) -> Iterator[Callable[[str], Sample]]:
        """A database, and a gunicorn of its own for each contender: those that are not in turn only wait."""
        with database() as target, ExitStack() as started:
            command = [sys.executable, "-m", "bench.contenders.overhead"]
            done = subprocess.run(
                command, env=target.environment, cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise BenchError(f"the project's migrations failed:\n{done.stderr[-2000:]}")
            sites = {
                contender.name: started.enter_context(gunicorn(target, contender.name))
                for contender in self.contenders
            }
            warmup = QUICK_WARMUP_REQUESTS if quick else WARMUP_REQUESTS
            for name, site in sites.items():
                served = load(site, RATE, warmup / RATE, seed=0)
                take(target, name, len(served))

            def run(contender: str) -> Sample:
                return measure(target, sites[contender], contender, QUICK_SECONDS if quick else SECONDS)

            yield run


class Site:
    """A gunicorn that serves one contender."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def workers(self) -> list[psutil.Process]:
        """Its worker processes. Raises BenchError when they are not all there."""
        found = psutil.Process(self.process.pid).children()
        if len(found) != WORKERS:
            words = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchError(f"gunicorn should have {WORKERS} workers, not {len(found)}:\n{words}")
        return found

    def cpu_seconds(self) -> float:
        return sum(sum(worker.cpu_times()[:2]) for worker in self.workers())

    def memory(self) -> int:
        """Resident bytes of all workers."""
        return sum(worker.memory_info().rss for worker in self.workers())


@contextmanager
def gunicorn(target: Database, contender: str) -> Iterator[Site]:
    """gunicorn with its default workers, which take one request after the other, on a free port."""
    with tempfile.TemporaryDirectory(prefix="dbint-bench-") as directory, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        log = Path(directory, "log")
        options = ["--bind", f"fd://{listener.fileno()}", "--workers", str(WORKERS), "--log-level", "warning"]
        environment = {
            **target.environment,
            "BENCH_EVENTS": contender,
            "DBINT_JOURNAL_DIR": os.path.join(directory, "journal"),  # noqa: PTH118 - a variable is a str
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, "bench.contenders.overhead:application"],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[listener.fileno()],
            )
        try:
            yield Site(process, listener.getsockname()[1], log)
        finally:
            process.terminate()
            process.wait(30)


def measure(target: Database, site: Site, contender: str, seconds: float) -> Sample:
    """One contender under load for a while; every event has to be in the table in the end."""
    before = site.cpu_seconds()
    latencies = load(site, RATE, seconds, seed=1)
    take(target, contender, len(latencies))
    latencies.sort()
    figures = {
        "value": latencies[len(latencies) * 99 // 100] * 1e3,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "cpu": (site.cpu_seconds() - before) / len(latencies) * 1e3,
        "memory": site.memory() / 2**20,
    }
    return Sample(figures, target.versions())


def take(target: Database, contender: str, requests: int) -> None:
    """Waits until the events of all requests are in the table, and empties it."""
    expected = requests * EVENTS if contender != "none" else 0
    with target.connect() as connection:
        deadline = time.monotonic() + LANDING_SECONDS
        while (found := connection.execute(COUNT).fetchone()) != (expected,):
            if time.monotonic() > deadline:
                raise BenchError(f"{contender}: {expected} events should be in the table, not {found}")
            time.sleep(0.05)
        connection.execute(EMPTY)


def load(site: Site, rate: float, seconds: float, *, seed: int) -> list[float]:
    """Requests at random times, ``rate`` a second, the same times for the same ``seed``; latencies in s.

    A latency is counted from when the request was to be sent, so that one that has to wait behind a slow one
    is slow too.
    """
    source = random.Random(seed)
    due, at = [], 0.0
    while (at := at + source.expovariate(rate)) < seconds:
        due.append(at)
    schedule, lock = iter(due), threading.Lock()
    latencies: list[float] = []
    failures: list[str] = []
    begun = time.perf_counter()

    def client() -> None:
        while not failures:
            with lock:
                moment = next(schedule, None)
            if moment is None:
                return
            time.sleep(max(0.0, begun + moment - time.perf_counter()))
            try:
                request(site.port)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{type(error).__name__}: {error}")
                return
            latencies.append(time.perf_counter() - begun - moment)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        words = site.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise BenchError(f"a request failed: {failures[0]}\n{words}")
    return latencies


def request(port: int) -> None:
    """One page, read whole. Raises OSError or HTTPException for anything but a good one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        page = answer.read()
        if answer.status != http.client.OK or b"</table>" not in page:
            raise http.client.HTTPException(f"status {answer.status}: {page[:200]!r}")
    finally:
        connection.close()
