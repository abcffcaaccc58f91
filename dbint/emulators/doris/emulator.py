"""The emulator as a whole: its frontends and backends, their ports and their end."""

import asyncio
import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from dbint.emulators.doris import http
from dbint.emulators.doris.admin import Admin
from dbint.emulators.doris.backend import Backend
from dbint.emulators.doris.frontend import Frontend
from dbint.emulators.doris.listeners import Listeners
from dbint.emulators.doris.loads.load import LoadService
from dbint.emulators.doris.nodes import Node, Nodes
from dbint.emulators.doris.session import Cluster
from dbint.emulators.doris.statement_log import loads, open_log
from dbint.emulators.doris.tables.storage import Storage, StorageError
from dbint.emulators.doris.variables import ALTER_SECONDS, DORIS_VERSION
from dbint.emulators.doris.wire import QueryServer

_THREADS = 32  # as many statements and loads run side by side
_DATA_FILE = "doris.duckdb"

LIMITS = """\
This is dbint's emulator of Apache Doris for development and tests. It is not Doris.
  It speaks the MySQL protocol and Stream Load, refuses what Doris refuses, and answers from DuckDB.
  Emulated: DUPLICATE, UNIQUE (merge-on-write) and AGGREGATE tables, views, partitions, schema change jobs,
  labels, BEGIN … COMMIT, JSON, CSV, Parquet loads, Routine Load from Kafka, several frontends and backends.
  Refused as not emulated: materialized views, rollups, http_stream, EXPLAIN,
  and every function that is not in docs/emulators.md.
  Of no meaning here: speed, replication, privileges (one account), resource limits.\
"""


class DorisEmulator:
    """An emulated Doris cluster in this process: start, use its ports, stop. Also a context manager.

    Ports of 0 are free ones, known after start: ``query_port``, ``http_port``, ``be_http_port`` are those of
    the first frontend and the first backend; ``nodes`` has all of them. With
    ``data_dir`` tables, rows and labels are still there at the next start, after a kill -9 too. ``faults``
    opens ``/_emulator/faults`` on the backend's port (see faults.py). ``statement_log`` is a file that
    gets every statement and load (see statement_log.py). ``alter_seconds`` is how long a schema change takes
    that rewrites rows; ``version`` which release it says that it is.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        query_port: int = 0,
        http_port: int = 0,
        be_http_port: int = 0,
        user: str = "root",
        password: str = "",
        data_dir: Path | None = None,
        frontends: int = 1,
        backends: int = 1,
        version: str = DORIS_VERSION,
        alter_seconds: float = ALTER_SECONDS,
        faults: bool = False,
        statement_log: Path | None = None,
    ) -> None:
        self.host = host
        self.query_port = query_port
        self.http_port = http_port
        self.be_http_port = be_http_port
        self.user = user
        self._password = password
        self._data_dir = data_dir
        self._backends = backends
        self.version = version
        self._alter_seconds = alter_seconds
        self.nodes = Nodes(
            [
                Node(
                    f"fe{n}", {"query": query_port if n == 1 else 0, "http": http_port if n == 1 else 0}, host
                )
                for n in range(1, frontends + 1)
            ],
            [Node(f"be{n}", {"http": be_http_port if n == 1 else 0}, host) for n in range(1, backends + 1)],
        )
        self._listeners: Listeners | None = None
        self._faults = faults
        self._statement_log = statement_log
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        return (
            f"DorisEmulator({self.host}, query={self.query_port}, http={self.http_port},"
            f" be_http={self.be_http_port})"
        )

    def start(self) -> "DorisEmulator":
        """Serve from a thread of its own; returns when all ports answer. Raises StorageError, OSError."""
        if self._thread is not None:
            raise RuntimeError("the emulator runs already")
        ready = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(ready,), name="doris-emulator", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            self._thread = None
            raise self._failure
        return self

    def stop(self) -> None:
        """End connections, finish the running write, close the data file; nothing when not running."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stopping.set)
        thread.join()
        self._thread = None

    def take_down(self, node: str) -> None:
        """Let a node (fe2, be1, …) go away as if it had died. Raises KeyError."""
        self._switch(node, up=False)

    def bring_up(self, node: str) -> None:
        """Let it come back on its ports. Raises KeyError, OSError."""
        self._switch(node, up=True)

    def _switch(self, node: str, *, up: bool) -> None:
        if self._loop is None or self._listeners is None:
            raise RuntimeError("the emulator does not run")
        asyncio.run_coroutine_threadsafe(self._listeners.switch(node, up), self._loop).result()

    def __enter__(self) -> "DorisEmulator":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._failure = error
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        path = None
        if self._data_dir is not None:
            try:
                self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"cannot make the data directory {self._data_dir}: {error.strerror}"
                ) from error
            path = self._data_dir / _DATA_FILE
        storage = Storage(path)
        try:
            await self._serve_storage(storage, ready)
        finally:
            storage.close()

    async def _serve_storage(self, storage: Storage, ready: threading.Event) -> None:
        assert self._stopping is not None  # noqa: S101 - set by the caller
        cluster = Cluster(storage, self.user, self._backends, version=self.version)
        cluster.nodes = self.nodes
        cluster.jobs.seconds = self._alter_seconds
        with (
            open_log(self._statement_log) as log,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="doris") as executor,
        ):
            cluster.statement_log = log
            cluster.faults.enabled = self._faults
            service = LoadService(cluster)
            listeners = self._listeners = Listeners()
            admin = Admin(cluster, listeners.switch, self.user, self._password) if self._faults else None
            queries = []
            try:
                for node in self.nodes.frontends:
                    query = QueryServer(cluster, self.user, self._password, executor, node)
                    queries.append(query)
                    frontend = Frontend(service, self.user, self._password, admin)
                    serve = functools.partial(http.serve, loads(frontend.handle, log))
                    await listeners.add(node, {"query": query.serve, "http": serve})
                for node in self.nodes.backends:
                    backend = Backend(service, self.user, self._password, executor, spool=self._data_dir)
                    serve = functools.partial(http.serve, loads(backend.handle, log))
                    await listeners.add(node, {"http": serve})
                self.query_port, self.http_port = (
                    self.nodes.frontends[0].ports[role] for role in ("query", "http")
                )
                self.be_http_port = self.nodes.backends[0].ports["http"]
                cluster.jobs.start()
                cluster.routine_loads.start()
                ready.set()
                await self._stopping.wait()
            finally:
                listeners.stop_listening()
                await asyncio.gather(*(query.close() for query in queries))
                service.close()
                await asyncio.get_running_loop().run_in_executor(None, cluster.routine_loads.stop)
                await asyncio.get_running_loop().run_in_executor(None, cluster.jobs.stop)
