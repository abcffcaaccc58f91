"""A client of Toxiproxy's HTTP interface (its README, "HTTP API")."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.request import Request, urlopen

# Towards the client is downstream, towards the server upstream.
Direction = Literal["upstream", "downstream"]


class Proxy:
    """One port of 127.0.0.1 that leads to a server. Connect to ``host`` and ``port``.

    Toxics and their attributes (times in ms, sizes in bytes); they also act on connections that are open:

    - ``latency``: latency, jitter
    - ``timeout``: timeout. Swallows what is sent, then closes the connection; with 0 never: a black hole
    - ``reset_peer``: timeout. TCP RST after it
    - ``limit_data``: bytes. Closes the connection after so many
    - ``slow_close``: delay
    - ``bandwidth``: rate, in KiB/s
    - ``slicer``: average_size, size_variation, delay in µs
    """

    def __init__(self, client: "Toxiproxy", name: str, listen: str) -> None:
        self._client = client
        self._path = f"/proxies/{name}"
        self.host, _, port = listen.rpartition(":")
        self.port = int(port)

    def add(
        self, kind: str, direction: Direction = "downstream", toxicity: float = 1.0, **attributes: int
    ) -> str:
        """Adds a toxic to all connections, or to the share ``toxicity`` of new ones; returns its name."""
        name = f"{kind}-{uuid.uuid4().hex}"
        toxic = {
            "name": name,
            "type": kind,
            "stream": direction,
            "toxicity": toxicity,
            "attributes": attributes,
        }
        self._client.call("POST", f"{self._path}/toxics", toxic)
        return name

    def remove(self, name: str) -> None:
        self._client.call("DELETE", f"{self._path}/toxics/{name}")

    @contextmanager
    def toxic(
        self, kind: str, direction: Direction = "downstream", toxicity: float = 1.0, **attributes: int
    ) -> Iterator[None]:
        """``add`` for the time of a block."""
        name = self.add(kind, direction, toxicity, **attributes)
        try:
            yield
        finally:
            self.remove(name)

    def clear(self) -> None:
        """Removes all toxics."""
        for toxic in self._client.call("GET", self._path)["toxics"]:
            self.remove(toxic["name"])

    def disable(self) -> None:
        """Closes all connections and refuses new ones, until ``enable``."""
        self._client.call("POST", self._path, {"enabled": False})

    def enable(self) -> None:
        self._client.call("POST", self._path, {"enabled": True})

    def delete(self) -> None:
        self._client.call("DELETE", self._path)


class Toxiproxy:
    """The server at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def proxy(self, host: str, port: int) -> Proxy:
        """A new way to the server at ``host`` and ``port``, on a free port."""
        name = uuid.uuid4().hex
        made = self.call(
            "POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": f"{host}:{port}"}
        )
        return Proxy(self, name, made["listen"])

    def delete_all(self) -> None:
        """Closes all proxies and their connections."""
        for name in self.call("GET", "/proxies"):
            self.call("DELETE", f"/proxies/{name}")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; the answer's JSON, None where it is empty. Raises urllib.error.HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self._url + path, data, method=method), timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content else None
