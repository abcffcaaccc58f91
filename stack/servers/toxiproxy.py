"""Toxiproxy: delays, cuts and swallows what passes. It starts with no proxy: clients make theirs."""

from __future__ import annotations

from pathlib import Path

from stack import golang, probe
from stack.cache import cache_path, cached
from stack.packages import Requirement
from stack.progress import Progress
from stack.servers.base import Command, Server, Site
from stack.state import Entry

VERSION = "2.12.0"
_MODULE = "github.com/Shopify/toxiproxy/v2"


class Toxiproxy(Server):
    name = "toxiproxy"
    summary = "Toxiproxy"
    roles = ("http",)
    stop_timeout = 5.0

    def version(self) -> str:
        return VERSION

    def requirements(self) -> list[Requirement]:
        return golang.REQUIREMENTS

    def install(self, progress: Progress) -> None:
        def build(directory: Path) -> None:
            variables = {f"{_MODULE}.Version": VERSION}
            golang.build(self.name, f"{_MODULE}/cmd/server", directory / self.name, variables, progress)

        cached(self.name, VERSION, golang.recipe(self.name), build, progress)

    def prepare(self, site: Site) -> None:
        """It has no data and no configuration."""

    def command(self, site: Site) -> Command:
        argv: list[str | Path] = [cache_path(self.name, VERSION) / self.name]
        argv += ["-host", site.host, "-port", str(site.port("http"))]
        # By default it logs every connection.
        return Command(argv, environment={"LOG_LEVEL": "warn"})

    def probe(self, site: Site) -> None:
        probe.http_get(site.host, site.port("http"), "/version")

    def environment(self, entry: Entry) -> dict[str, str]:
        return {"TOXIPROXY_URL": f"http://{entry.host}:{entry.ports['http']}"}
