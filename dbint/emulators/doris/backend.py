"""A backend's HTTP port: Stream Load, the second phase of its two-phase commit, the reasons of filtered rows,
health, and the faults that tests ask for.
"""

import asyncio
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, Any, TypeVar

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.faults import FAULTS_PATH, TOO_MANY_VERSIONS, Fault
from dbint.emulators.doris.http import Request, check_login, reply
from dbint.emulators.doris.loads.load import Load, LoadService

_LOAD = re.compile(r"/api/(?P<database>[^/]+)/(?P<table>[^/]+)/_stream_load")
_TWO_PHASE = re.compile(r"/api/(?P<database>[^/]+)/(?:[^/]+/)?_stream_load_2pc")
_IN_MEMORY = 8 << 20  # bytes of a body that are kept in memory
_T = TypeVar("_T")


class Backend:
    """Answers the requests of one backend."""

    def __init__(
        self, loads: LoadService, user: str, password: str, executor: Executor, *, spool: Path | None
    ) -> None:
        self._loads = loads
        self._user = user
        self._password = password
        self._executor = executor
        self._spool = spool

    async def handle(self, request: Request) -> None:
        match = _LOAD.fullmatch(request.path)
        two_phase = _TWO_PHASE.fullmatch(request.path)
        if match is not None and request.method == "PUT":
            await self._stream_load(request, match["database"], match["table"])
        elif two_phase is not None and request.method == "PUT":
            await reply(request, 200, await self._run(self._operate, request, two_phase["database"]))
        elif request.path == "/api/_load_error_log":
            text = self._loads.cluster.storage.error_log(request.query.get("file", ""))
            if text is None:
                await reply(request, 404, "no such file\n", content_type="text/plain")
            else:
                await reply(request, 200, text, content_type="text/plain")
        elif request.path == "/api/health":
            await reply(request, 200, {"status": "OK", "msg": "To Be Added"})
        elif request.path == FAULTS_PATH and self._loads.faults.enabled:
            await self._admin(request)
        else:
            await reply(request, 404, "Not Found\n", content_type="text/plain")

    async def _stream_load(self, request: Request, database: str, table: str) -> None:
        faults = self._loads.faults
        label = request.header("label")
        if faults.take("backend", label, kinds=("down",)) is not None:
            request.writer.transport.abort()
            return
        load = Load(self._loads, database, table, request.headers)
        if not check_login(request, self._user, self._password):
            load.refuse("[NOT_AUTHORIZED]no valid Basic authorization")
            await reply(request, 200, load.answer())
            return
        fault = faults.take("backend", label)
        if not await self._run(load.begin):
            await self._run(load.end)
            await reply(request, 200, load.answer())
            return
        try:
            if "100-continue" in request.header("expect").lower():
                request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await request.writer.drain()
            spool = str(self._spool) if self._spool else None
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=spool) as body:
                await self._receive(request, load, body)
                await self._load(load, body, fault)
        finally:
            await self._run(load.end)
        if fault is not None and fault.kind == "publish_timeout":
            load.report_publish_timeout()
        if fault is not None and fault.kind == "drop_reply":
            request.writer.transport.abort()
            return
        await reply(request, 200, load.answer())

    async def _load(self, load: Load, body: IO[bytes], fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "slow":
            await asyncio.sleep(fault.seconds)
        if kind == "fail":
            load.refuse("[INTERNAL_ERROR]injected failure")
            return
        if kind == "too_many_versions":
            load.refuse(f"[INTERNAL_ERROR]tablet error: {TOO_MANY_VERSIONS}, host: 127.0.0.1")
            return
        if fault is not None and kind == "publish_timeout" and fault.seconds:
            load.publish_delay = fault.seconds
        await self._run(load.run, body)

    async def _admin(self, request: Request) -> None:
        is_login = check_login(request, self._user, self._password)
        if is_login and request.method == "POST" and request.query.get("kind") == "precommit_timeout":
            await self._run(lambda: self._loads.held.expire(at_once=True))
        await self._loads.faults.admin(request, self._user, self._password)

    async def _receive(self, request: Request, load: Load, body: IO[bytes]) -> None:
        started = asyncio.get_running_loop().time()
        async for piece in request.body():
            body.write(piece)
            load.received += len(piece)
        load.read_ms = int((asyncio.get_running_loop().time() - started) * 1000)
        body.seek(0)

    def _operate(self, request: Request, database: str) -> dict[str, str]:
        """Commit or abort a load that is in its first phase; the answer."""
        if not check_login(request, self._user, self._password):
            return {"status": "NOT_AUTHORIZED", "msg": "no valid Basic authorization"}
        label, given = request.header("label"), request.header("txn_id")
        operation = request.header("txn_operation")
        txn_id = None
        if given:
            if not given.isdigit():
                return {
                    "status": "INTERNAL_ERROR",
                    "msg": f"convert txn_id [{given}] failed, reason=stoull",
                }
            txn_id = int(given)
        if operation not in ("commit", "abort"):
            return {"status": "INTERNAL_ERROR", "msg": "transaction operation should be 'commit' or 'abort'"}
        try:
            self._loads.held.operate(database, operation, txn_id, label)
        except NotEmulatedError as error:
            return {"status": "INTERNAL_ERROR", "msg": error.detail}
        except DorisError as error:
            return {"status": "ANALYSIS_ERROR", "msg": f"TStatus: {error.message}"}
        named = (f"label [{label}] " if label else "") + (f"transaction [{given}] " if given else "")
        return {"status": "Success", "msg": f"{named}{operation} successfully."}

    async def _run(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)
