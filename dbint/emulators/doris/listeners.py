"""The ports of the nodes: opened, closed as if the process had died, and opened again on the same numbers."""

import asyncio
from collections.abc import Awaitable, Callable

from dbint.emulators.doris.nodes import Node

_LAST_ANSWER = 0.05  # seconds
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """The ports of one node, by role; an open port's number stays the node's."""

    def __init__(self, node: Node, services: dict[str, Serve]) -> None:
        self.node = node
        self._services = services
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen; nothing where it does already. Raises OSError."""
        if self._servers:
            return
        try:
            for role, serve in self._services.items():
                port = self.node.ports[role]
                server = await asyncio.start_server(self._tracked(serve), self.node.host, port)
                self._servers.append(server)
                self.node.ports[role] = server.sockets[0].getsockname()[1]
        except OSError:
            self.close()
            raise
        self.node.is_alive = True

    def close(self) -> None:
        """Refuse connections from now on; those that there are break a moment later, so that who has asked
        for it through one of them gets an answer.
        """
        self.stop_listening()
        self.node.is_alive = False
        for writer in self._writers:
            asyncio.get_running_loop().call_later(_LAST_ANSWER, writer.transport.abort)

    def stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _tracked(self, serve: Serve) -> Serve:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.add(writer)
            try:
                await serve(reader, writer)
            finally:
                self._writers.discard(writer)

        return run


class Listeners:
    """Those of all nodes, by the node's name."""

    def __init__(self) -> None:
        self._listeners: dict[str, Listener] = {}

    async def add(self, node: Node, services: dict[str, Serve]) -> None:
        """Open a node's ports. Raises OSError."""
        listener = self._listeners[node.name] = Listener(node, services)
        await listener.open()

    async def switch(self, name: str, up: bool) -> None:
        """Take a node down or bring it back. Raises KeyError, and OSError where its port is taken."""
        listener = self._listeners[name]
        if up:
            await listener.open()
        else:
            listener.close()

    def stop_listening(self) -> None:
        for listener in self._listeners.values():
            listener.stop_listening()
