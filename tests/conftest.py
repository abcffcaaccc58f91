"""Servers for the tests: a stack of the run's own, whose servers start when they are first asked for.

Where a run is divided between workers (``make test`` does), each worker is a run in this sense.
``postgres``, ``kafka``, ``doris`` and ``pgbouncer`` are shared by all tests of the run: leave them as they
were found. A test that stops or breaks a server takes ``postgres_private``, ``kafka_private`` or
``doris_private``. ``toxiproxy`` makes ways to a server that can be broken, ``small_disk`` disks that are soon
full.
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest

from dbint import discovery
from stack import Endpoint, Stack
from stack.disposable import disposable_stack
from stack.servers import PROFILES
from tests import faults
from tests.faults.events import superuser

_open = ExitStack()
_shared: list[Stack] = []


def pytest_configure(config: pytest.Config) -> None:
    """Points everything at the run's own stack before the first settings module is imported.

    Ports and passwords are chosen here, servers start later. Variables that name other servers are removed:
    they would win over the state file, and tests create and drop tables.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the process that divides the tests runs none
    for service in discovery.SERVICES.values():
        for variable in service.variables():
            os.environ.pop(variable, None)
            os.environ.pop(f"{variable}_FILE", None)
    shared = _open.enter_context(disposable_stack())
    shared.reserve(PROFILES["light"])
    os.environ["DBINT_STACK_DIR"] = os.fspath(shared.directory)
    journals = _open.enter_context(TemporaryDirectory(prefix="dbint-tests-journal-"))
    os.environ["DBINT_JOURNAL_DIR"] = journals
    _shared.append(shared)


def pytest_unconfigure() -> None:
    _open.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged may hold half a character; a worker could not tell of it."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The run's stack; ``up([...])`` starts a server of it, ``endpoint(name)`` says where it is."""
    return _shared[0]


def _server(name: str) -> Callable[[Stack], Endpoint]:
    @pytest.fixture(scope="session", name=name)
    def server(stack: Stack) -> Endpoint:
        stack.up([name])
        return stack.endpoint(name)

    return server


@pytest.fixture(scope="session")
def postgres(stack: Stack) -> Endpoint:
    stack.up(["postgres"])
    with superuser(stack) as admin:
        # Who is no superuser cannot drop a database WITH (FORCE) while a worker of autovacuum is in it.
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
    return stack.endpoint("postgres")


kafka, doris, pgbouncer = (_server(name) for name in ("kafka", "doris", "pgbouncer"))


@pytest.fixture(scope="session")
def toxiproxy_server(stack: Stack) -> Endpoint:
    stack.up(["toxiproxy"])
    return stack.endpoint("toxiproxy")


@pytest.fixture
def toxiproxy(toxiproxy_server: Endpoint) -> Iterator[faults.Toxiproxy]:
    """The run's Toxiproxy; proxies that the test makes are gone after it."""
    client = faults.Toxiproxy(f"http://{toxiproxy_server.host}:{toxiproxy_server.port}")
    yield client
    client.delete_all()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """``small_disk(size)`` gives the test a directory on a file system of ``size`` bytes."""
    with ExitStack() as mounted:
        yield lambda size: mounted.enter_context(faults.small_disk(Path(mkdtemp(dir=tmp_path)), size))


@pytest.fixture
def private_stack() -> Iterator[Stack]:
    """An empty stack for one test, beside the run's own."""
    with disposable_stack() as private:
        yield private


def _private_server(name: str) -> Callable[[Stack], Stack]:
    @pytest.fixture(name=f"{name}_private")
    def server(private_stack: Stack) -> Stack:
        private_stack.up([name])
        return private_stack

    return server


postgres_private, kafka_private, doris_private = (
    _private_server(name) for name in ("postgres", "kafka", "doris")
)
