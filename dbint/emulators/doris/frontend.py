"""The frontend's HTTP port: health, and Stream Load's redirect to a backend.

As in Doris 4.0, the redirect carries the user's credentials in its URL, and a body that does not wait for it
is not read: the client that sends one meets a reset connection. Source: LoadAction of apache/doris.
"""

import re
from urllib.parse import quote

from dbint.emulators.doris.admin import PATHS, Admin
from dbint.emulators.doris.faults import FAULTS_PATH
from dbint.emulators.doris.http import Request, check_login, reply
from dbint.emulators.doris.loads.load import LoadService

_LOAD = re.compile(r"/api/(?P<database>[^/]+)/(?P<table>[^/]+)/_stream_load")
_TWO_PHASE = re.compile(r"/api/(?P<database>[^/]+)/(?:[^/]+/)?_stream_load_2pc")
_GROUP_COMMIT_MODES = ("sync_mode", "async_mode", "off_mode")


class Frontend:
    """Answers the requests of one frontend."""

    def __init__(self, loads: LoadService, user: str, password: str, admin: Admin | None = None) -> None:
        self._loads = loads
        self._admin = admin
        self._cluster = loads.cluster
        self._user = user
        self._password = password

    async def handle(self, request: Request) -> None:
        if request.path == FAULTS_PATH and self._loads.faults.enabled:
            await self._loads.faults.admin(request, self._user, self._password)
            return
        if request.path in PATHS and self._admin is not None:
            await self._admin.handle(request)
            return
        if self._loads.faults.take("frontend", request.header("label"), kinds=("down",)) is not None:
            request.writer.transport.abort()
            return
        if request.path == "/api/health":
            nodes = self._cluster.nodes
            data = {
                "online_backend_num": len(nodes.online_backends),
                "total_backend_num": len(nodes.backends),
            }
            await reply(request, 200, {"msg": "success", "code": 0, "data": data, "count": 0})
            return
        two_phase = _TWO_PHASE.fullmatch(request.path) is not None
        if not two_phase and _LOAD.fullmatch(request.path) is None:
            if request.path.endswith("/_http_stream"):
                text = "[dbint emulator] http_stream is not emulated; Doris itself supports it"
                await reply(request, 200, {"status": "FAILED", "msg": text})
                return
            await reply(request, 404, {"msg": "Not Found", "code": 404, "data": request.path, "count": 0})
            return
        if request.method != "PUT":
            await reply(
                request, 405, {"msg": "Method Not Allowed", "code": 405, "data": request.method, "count": 0}
            )
            return
        refusal = "" if two_phase else _refuse_group_commit(request)
        if not refusal and not check_login(request, self._user, self._password):
            denied = f"Access denied for user '{(request.credentials or ('',))[0]}'"
            await reply(
                request,
                401,
                {"msg": "Unauthorized", "code": 401, "data": denied, "count": 0},
                headers={"WWW-Authenticate": 'Basic realm=""'},
            )
            return
        refusal = refusal or (_refuse_two_phase(request) if two_phase else _refuse_load(request))
        fault = None if refusal else self._loads.faults.take("frontend", request.header("label"))
        node = self._cluster.nodes.next_backend() if not refusal else None
        if not refusal and (node is None or (fault is not None and fault.kind == "no_backend")):
            refusal = "No backend load available."
        if refusal or node is None:
            await reply(request, 200, {"status": "FAILED", "msg": refusal})
            return
        user, password = quote(self._user, safe=""), quote(self._password, safe="")
        host = request.writer.get_extra_info("sockname")[0]
        address = fault.to if fault is not None else f"{host}:{node.ports['http']}"
        location = f"http://{user}:{password}@{address}{quote(request.path)}"
        await reply(request, 307, "", headers={"Location": location}, content_type="text/html;charset=utf-8")


def _refuse_group_commit(request: Request) -> str:
    mode = request.headers.get("group_commit")
    if mode is not None and mode.lower() not in _GROUP_COMMIT_MODES:
        return "Header `group_commit` can only be `sync_mode`, `async_mode` or `off_mode`."
    return ""


def _refuse_load(request: Request) -> str:
    if "100-continue" not in request.header("expect").lower():
        return "There is no 100-continue header"
    return ""


def _refuse_two_phase(request: Request) -> str:
    if not request.header("txn_id") and not request.header("label"):
        return "No transaction id or label selected."
    if not request.header("txn_operation"):
        return "No transaction operation('commit' or 'abort') selected."
    return ""
