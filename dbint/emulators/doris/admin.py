"""Hooks of the emulator for tests, beside the faults of faults.py, on a frontend's HTTP port with `--faults`.

    GET  /_emulator/nodes                         the frontends and backends
    POST /_emulator/nodes?node=fe2&state=down     a node goes away (connection refused), or comes back: up
    POST /_emulator/alter?seconds=S               how long schema change jobs take from now on
    POST /_emulator/partitions[?now=2026-12-01]   look after dynamic partitions now, as if it were that moment

with Basic authorization.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from dbint.emulators.doris.http import BadRequestError, Request, check_login, reply
from dbint.emulators.doris.session import Cluster

PATHS = ("/_emulator/nodes", "/_emulator/alter", "/_emulator/partitions")
# Called with a node's name, and whether it is to be up; raises KeyError, OSError.
SwitchNode = Callable[[str, bool], Awaitable[None]]


class Admin:
    """Answers the requests for PATHS."""

    def __init__(self, cluster: Cluster, switch: SwitchNode, user: str, password: str) -> None:
        self._cluster = cluster
        self._switch = switch
        self._user = user
        self._password = password

    async def handle(self, request: Request) -> None:
        if not check_login(request, self._user, self._password):
            await reply(request, 401, "Unauthorized\n", content_type="text/plain")
            return
        if request.path == "/_emulator/nodes":
            if request.method == "POST":
                await self._switch_node(request)
            await reply(request, 200, {"nodes": self._nodes()})
        elif request.method != "POST":
            raise BadRequestError("use POST")
        elif request.path == "/_emulator/alter":
            self._cluster.jobs.seconds = _seconds(request)
            await reply(request, 200, {"seconds": self._cluster.jobs.seconds})
        else:
            now = _moment(request)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._cluster.jobs.check_partitions, now)
            await reply(request, 200, {"now": now.isoformat()})

    async def _switch_node(self, request: Request) -> None:
        state = request.query.get("state", "")
        if state not in ("up", "down"):
            raise BadRequestError("state is up or down")
        try:
            await self._switch(request.query.get("node", ""), state == "up")
        except KeyError:
            names = ", ".join(node.name for node in self._cluster.nodes.all)
            raise BadRequestError(f"node is one of {names}") from None

    def _nodes(self) -> list[dict[str, Any]]:
        master = self._cluster.nodes.master
        return [
            {"name": n.name, "host": n.host, "ports": n.ports, "alive": n.is_alive, "master": n is master}
            for n in self._cluster.nodes.all
        ]


def _seconds(request: Request) -> float:
    try:
        return max(0.0, float(request.query.get("seconds", "")))
    except ValueError:
        raise BadRequestError("seconds is a number") from None


def _moment(request: Request) -> dt.datetime:
    text = request.query.get("now")
    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise BadRequestError("now is a moment as ISO 8601 has it") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
