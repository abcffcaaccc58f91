"""Which servers may be given the credentials, and at which address they are reached."""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

from dbint.errors import ConfigurationError

_LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")


class UnusableRedirectError(Exception):
    """The server redirects to something that is no HTTP address."""


class TrustedHosts:
    """The given servers, loopback, and what the user allows or maps.

    ``allowed`` holds host names, ``".suffix"`` for every host under it, addresses, networks such as
    ``"10.0.0.0/8"``, or ``"*"``. ``address_map`` replaces ``"host:port"``; what stands in it is trusted.
    """

    def __init__(
        self, servers: Iterable[str], allowed: Collection[str], address_map: Mapping[str, str]
    ) -> None:
        if isinstance(allowed, str):
            raise ConfigurationError("allowed_hosts is a list of hosts, not one string")
        self._address_map = {source.lower(): target for source, target in address_map.items()}
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in (*(urlsplit(url).hostname or "" for url in servers), *_LOOPBACK, *allowed):
            name = entry.strip().lower().rstrip(".")
            if not name or "://" in name or "@" in name:
                raise ConfigurationError(f"allowed_hosts: {entry!r} is not a host, .suffix or network")
            try:
                self._networks.append(ipaddress.ip_network(name.strip("[]"), strict=False))
            except ValueError:
                if name.startswith("."):
                    self._suffixes.append(name)
                else:
                    self._names.add(name)

    def follow(self, origin: str, location: str) -> str:
        """The address that ``location`` leads to. Credentials that stand in it are never looked at.

        Raises UnusableRedirectError, and ConfigurationError when the password must not go there.
        """
        target = urlsplit(location)
        try:
            host, port = target.hostname, target.port
        except ValueError:
            host, port = None, None
        if not host or target.scheme not in ("http", "https"):
            raise UnusableRedirectError("a redirect to something that is no HTTP address")
        if origin.startswith("https:") and target.scheme == "http":
            raise ConfigurationError(
                f"{host_and_port(origin)} redirects from https to http://{host}: the password would cross "
                "the network in the clear. Turn TLS on for the backends (enable_https in be.conf), or use "
                "http throughout"
            )
        address = self._reachable(host, port or (443 if target.scheme == "https" else 80))
        return f"{target.scheme}://{address}{target.path}" + (f"?{target.query}" if target.query else "")

    def _reachable(self, host: str, port: int) -> str:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if mapped := self._address_map.get(address.lower()):
            return mapped
        if not self._allows(host):
            raise ConfigurationError(
                f"Doris points to {address}, which is not among the allowed hosts, so the password was not "
                f"sent there. If it is one of your backends (SHOW BACKENDS), add {host!r} to allowed_hosts; "
                f"if it cannot be reached from here, add {address!r} to address_map with an address that can"
            )
        return address

    def _allows(self, host: str) -> bool:
        name = host.lower().rstrip(".")
        if "*" in self._names or name in self._names or any(name.endswith(s) for s in self._suffixes):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def check_server(url: str) -> str:
    """``url`` as the address of a server, without a slash at its end; raises ConfigurationError when it is
    none.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise ConfigurationError(
            f"{host_and_port(url)!r} is not the address of a Doris server: write http://host:port "
            "(frontend 8030, backend 8040)"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"{host_and_port(url)}: credentials do not belong into the address; give them as credentials="
        )
    if parts.path.strip("/") or parts.query:
        raise ConfigurationError(f"{host_and_port(url)}: write the address without a path")
    return url.rstrip("/")


def host_and_port(url: str) -> str:
    """What of an address may stand in a message: never what precedes the host."""
    return urlsplit(url).netloc.rpartition("@")[2] or url.rpartition("@")[2]
