"""Does each alias answer, with which version, over TLS or not, and who said where it is?"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, NotSupportedError
from django.db.backends.base.base import BaseDatabaseWrapper

from dbint.django.verification.access import is_emulated_here, private_connection, target_of
from dbint.verify.advice import Target, advise
from dbint.verify.diagnosis import Kind, classify
from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, Scope

# The oldest versions that dbint supports; docs/verification.md names them too.
MINIMUM_VERSIONS = {"postgres": (15,), "doris": (2, 1)}


@dataclass(frozen=True, kw_only=True)
class DatabaseProbe(Probe):
    """A probe of one alias; diagnoses its errors with the alias' own settings."""

    alias: str = DEFAULT_DB_ALIAS

    def target(self) -> Target:
        return target_of(self.alias)

    def advice(self, error: BaseException) -> Sequence[str]:
        return advise(self.target(), error)


@dataclass(frozen=True, kw_only=True)
class ConnectionProbe(DatabaseProbe):
    """Opens a connection and asks the server who it is."""

    group: str = "connections"
    deadline: float = 5.0

    def run(self, scope: Scope) -> str:
        target = self.target()
        scope.details.update(
            address=target.address,
            address_from=target.address_from,
            credentials_from=target.credentials_from,
            database=target.database,
            user=target.user,
        )
        scope.doing(f"a connection to {target.address}")
        try:
            with private_connection(self.alias, scope) as connection:
                connection.ensure_connection()
                scope.doing(f"the answer of {target.address} to SELECT 1")
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                    if cursor.fetchone() != (1,):
                        raise ProbeFailed(f"{target.address} answers SELECT 1 with something else")
                    scope.doing(f"the version of {target.address}")
                    scope.version, emulated = server_version(connection, cursor)
                scope.emulated = emulated or is_emulated_here(self.alias)
                scope.details["tls"] = tls = uses_tls(connection)
        except NotSupportedError as error:
            # Django itself refuses servers that are too old for it.
            raise ProbeFailed(str(error).replace("\n", " "), advise(target, Kind.VERSION)) from None
        self.check_version(target, scope.version)
        where = f"{target.database} at {target.address}" if target.database else target.address
        parts = [where]
        if target.user:
            parts.append(f"user {target.user}")
        if tls is not None:
            parts.append("TLS on" if tls else "TLS off")
        return ", ".join(parts)

    def check_version(self, target: Target, version: str | None) -> None:
        minimum = MINIMUM_VERSIONS.get(self.server)
        if minimum is None or version is None:
            return
        found = tuple(int(part) for part in re.findall(r"\d+", version)[: len(minimum)])
        if found < minimum:
            needed = ".".join(map(str, minimum))
            raise ProbeFailed(
                f"{target.title} {version} at {target.address} is too old: {needed} is the oldest supported",
                advise(target, Kind.VERSION),
            )

    def advice(self, error: BaseException) -> Sequence[str]:
        return advise(self.target(), Kind.UNREACHABLE if classify(error) is Kind.OTHER else error)


def server_version(connection: BaseDatabaseWrapper, cursor: Any) -> tuple[str | None, bool]:
    """(version, emulated) as the server itself says."""
    if connection.vendor == "postgresql":
        cursor.execute("SHOW server_version")
        # "15.20 (Debian 15.20-0+deb12u1)"
        return str(cursor.fetchone()[0]).split()[0], False
    if connection.vendor == "doris":
        # VERSION() is a constant of MySQL's; the real one stands here.
        cursor.execute("SELECT @@version_comment")
        comment = str(cursor.fetchone()[0])
        match = re.search(r"(\d+\.\d+(?:\.\d+)?)", comment)
        return (match[1] if match else comment), "emulat" in comment.lower()
    if connection.vendor == "sqlite":
        cursor.execute("SELECT sqlite_version()")
        return str(cursor.fetchone()[0]), False
    return ".".join(map(str, connection.get_database_version())), False


def uses_tls(connection: BaseDatabaseWrapper) -> bool | None:
    """Whether the open connection is encrypted; None where the driver cannot say."""
    raw: Any = connection.connection
    if hasattr(raw, "pgconn"):
        return bool(raw.pgconn.ssl_in_use)
    if hasattr(raw, "_sock"):
        # PyMySQL's own flag says what it would accept, its socket what there is.
        return isinstance(raw._sock, ssl.SSLSocket)
    return None


@dataclass(frozen=True, kw_only=True)
class NoDatabaseProbe(Probe):
    """Stands for a server that no alias of the project uses."""

    group: str = "connections"

    def run(self, scope: Scope) -> str:
        del scope
        raise ProbeNotConfigured(f"no alias in DATABASES is a {self.server} database")
