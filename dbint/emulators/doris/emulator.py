"""The emulator as a whole: one frontend, one backend, their ports and their end."""

import asyncio
import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from dbint.emulators.doris import http
from dbint.emulators.doris.backend import Backend
from dbint.emulators.doris.frontend import Frontend
from dbint.emulators.doris.session import Cluster
from dbint.emulators.doris.statement_log import loads, open_log
from dbint.emulators.doris.storage import Storage, StorageError
from dbint.emulators.doris.wire import QueryServer

_THREADS = 32  # as many statements and loads run side by side
_DATA_FILE = "doris.duckdb"

LIMITS = """\
This is dbint's emulator of Apache Doris for development and tests. It is not Doris.
  It speaks the MySQL protocol and Stream Load, refuses what Doris refuses, and answers from DuckDB.
  Emulated: DUPLICATE and UNIQUE (merge-on-write) tables, labels, BEGIN … COMMIT, JSON and CSV loads.
  Refused as not emulated: AGGREGATE tables, views, two-phase commit, group commit, Routine Load, EXPLAIN,
  and every function that is not in docs/emulators.md.
  Of no meaning here: speed, replication, privileges (one account), resource limits.\
"""


class DorisEmulator:
    """An emulated Doris cluster in this process: start, use its ports, stop. Also a context manager.

    Ports of 0 are free ones, known after start: ``query_port``, ``http_port``, ``be_http_port``. With
    ``data_dir`` tables, rows and labels are still there at the next start, after a kill -9 too. ``faults``
    opens ``/_emulator/faults`` on the backend's port (see backend.py). ``statement_log`` is a file that
    gets every statement and load (see statement_log.py).
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
        backends: int = 1,
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
        self._faults = faults
        self._statement_log = statement_log
        self._storage: Storage | None = None
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
        cluster = Cluster(storage, self.user, self._backends)
        with (
            open_log(self._statement_log) as log,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="doris") as executor,
        ):
            cluster.statement_log = log
            query = QueryServer(cluster, self.user, self._password, executor)
            frontend = Frontend(cluster, self.user, self._password)
            backend = Backend(
                cluster, self.user, self._password, executor, faults=self._faults, spool=self._data_dir
            )
            async with contextlib.AsyncExitStack() as stack:
                for name, callback, port in (
                    ("query_port", query.serve, self.query_port),
                    ("http_port", functools.partial(http.serve, loads(frontend.handle, log)), self.http_port),
                    (
                        "be_http_port",
                        functools.partial(http.serve, loads(backend.handle, log)),
                        self.be_http_port,
                    ),
                ):
                    server = await asyncio.start_server(callback, self.host, port)
                    stack.callback(server.close)
                    found = server.sockets[0].getsockname()[1]
                    setattr(self, name, found)
                    setattr(cluster, name, found)
                ready.set()
                await self._stopping.wait()
            await query.close()
