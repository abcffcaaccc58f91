"""The frontend's HTTP port: health, and Stream Load's redirect to a backend.

As in Doris 4.0, the redirect carries the user's credentials in its URL, and a body that does not wait for it
is not
read: the client that sends one meets a reset connection.
"""

import re
from urllib.parse import quote

from dbint.emulators.doris.http import Request, check_login, reply
from dbint.emulators.doris.session import Cluster

_LOAD = re.compile(r"/api/(?P<database>[^/]+)/(?P<table>[^/]+)/_stream_load")


class Frontend:
    """Answers the requests of one frontend."""

    def __init__(self, cluster: Cluster, user: str, password: str) -> None:
        self._cluster = cluster
        self._user = user
        self._password = password

    async def handle(self, request: Request) -> None:
        if request.path == "/api/health":
            online = self._cluster.backends
            data = {"online_backend_num": online, "total_backend_num": online}
            await reply(request, 200, {"msg": "success", "code": 0, "data": data, "count": 0})
            return
        if _LOAD.fullmatch(request.path) is None:
            if request.path.endswith(("/_stream_load_2pc", "/_http_stream")):
                text = (
                    "[dbint emulator] two-phase commit and http_stream are not emulated; Doris itself"
                    " supports them"
                )
                await reply(request, 200, {"status": "FAILED", "msg": text})
                return
            await reply(request, 404, {"msg": "Not Found", "code": 404, "data": request.path, "count": 0})
            return
        if request.method != "PUT":
            await reply(
                request, 405, {"msg": "Method Not Allowed", "code": 405, "data": request.method, "count": 0}
            )
            return
        if not check_login(request, self._user, self._password):
            denied = f"Access denied for user '{(request.credentials or ('',))[0]}'"
            await reply(
                request,
                401,
                {"msg": "Unauthorized", "code": 401, "data": denied, "count": 0},
                headers={"WWW-Authenticate": 'Basic realm=""'},
            )
            return
        if "100-continue" not in request.header("expect").lower():
            await reply(request, 200, {"status": "FAILED", "msg": "There is no 100-continue header"})
            return
        user, password = quote(self._user, safe=""), quote(self._password, safe="")
        host = request.writer.get_extra_info("sockname")[0]
        location = f"http://{user}:{password}@{host}:{self._cluster.be_http_port}{quote(request.path)}"
        await reply(request, 307, "", headers={"Location": location}, content_type="text/html;charset=utf-8")
