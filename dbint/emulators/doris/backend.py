"""A backend's HTTP port: Stream Load, the reasons of filtered rows, health, and the faults that tests ask
for.
"""

import asyncio
import re
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from dbint.emulators.doris.http import BadRequestError, Request, check_login, reply
from dbint.emulators.doris.load import Load
from dbint.emulators.doris.session import Cluster

_LOAD = re.compile(r"/api/(?P<database>[^/]+)/(?P<table>[^/]+)/_stream_load")
_IN_MEMORY = 8 << 20  # bytes of a body that are kept in memory
_T = TypeVar("_T")
FAULTS = ("publish_timeout", "drop_reply", "slow", "fail")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to go wrong: one of FAULTS, for one label or the next load; ``seconds`` is how slow."""

    kind: str
    label: str | None
    seconds: float


class Backend:
    """Answers the requests of one backend."""

    def __init__(
        self,
        cluster: Cluster,
        user: str,
        password: str,
        executor: Executor,
        *,
        faults: bool,
        spool: Path | None,
    ) -> None:
        self._cluster = cluster
        self._user = user
        self._password = password
        self._executor = executor
        self._faults_enabled = faults
        self._faults: deque[Fault] = deque()
        self._spool = spool

    async def handle(self, request: Request) -> None:
        match = _LOAD.fullmatch(request.path)
        if match is not None and request.method == "PUT":
            await self._stream_load(request, match["database"], match["table"])
        elif request.path == "/api/_load_error_log":
            text = self._cluster.storage.error_log(request.query.get("file", ""))
            if text is None:
                await reply(request, 404, "no such file\n", content_type="text/plain")
            else:
                await reply(request, 200, text, content_type="text/plain")
        elif request.path == "/api/health":
            await reply(request, 200, {"status": "OK", "msg": "To Be Added"})
        elif request.path == "/_emulator/faults" and self._faults_enabled:
            await self._admin(request)
        else:
            await reply(request, 404, "Not Found\n", content_type="text/plain")

    async def _stream_load(self, request: Request, database: str, table: str) -> None:
        load = Load(self._cluster, database, table, request.headers)
        if not check_login(request, self._user, self._password):
            load.refuse("[INTERNAL_ERROR]no valid Basic authorization")
            await reply(request, 200, load.answer())
            return
        fault = self._take_fault(load.label)
        if not await self._run(load.begin):
            await reply(request, 200, load.answer())
            return
        try:
            if "100-continue" in request.header("expect").lower():
                request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await request.writer.drain()
            spool = str(self._spool) if self._spool else None
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=spool) as body:
                await self._receive(request, load, body)
                if fault is not None and fault.kind == "slow":
                    await asyncio.sleep(fault.seconds)
                if fault is not None and fault.kind == "fail":
                    load.refuse("[INTERNAL_ERROR]injected failure")
                else:
                    await self._run(load.run, body)
        finally:
            await self._run(load.end)
        if fault is not None and fault.kind == "publish_timeout":
            load.report_publish_timeout()
        if fault is not None and fault.kind == "drop_reply":
            request.writer.transport.abort()
            return
        await reply(request, 200, load.answer())

    async def _receive(self, request: Request, load: Load, body: IO[bytes]) -> None:
        started = asyncio.get_running_loop().time()
        async for piece in request.body():
            body.write(piece)
            load.received += len(piece)
        load.read_ms = int((asyncio.get_running_loop().time() - started) * 1000)
        body.seek(0)

    async def _run(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def _take_fault(self, label: str) -> Fault | None:
        for fault in self._faults:
            if fault.label in (None, label):
                self._faults.remove(fault)
                return fault
        return None

    async def _admin(self, request: Request) -> None:
        """``POST /_emulator/faults?kind=drop_reply[&label=L][&seconds=S]``; ``DELETE`` forgets all."""
        if not check_login(request, self._user, self._password):
            await reply(request, 401, "Unauthorized\n", content_type="text/plain")
            return
        if request.method == "DELETE":
            self._faults.clear()
        elif request.method == "POST":
            kind = request.query.get("kind", "")
            if kind not in FAULTS:
                raise BadRequestError(f"kind is one of {', '.join(FAULTS)}")
            try:
                seconds = float(request.query.get("seconds", "1"))
            except ValueError:
                raise BadRequestError("seconds is not a number") from None
            self._faults.append(Fault(kind, request.query.get("label"), seconds))
        faults = [{"kind": f.kind, "label": f.label, "seconds": f.seconds} for f in self._faults]
        await reply(request, 200, {"faults": faults})
