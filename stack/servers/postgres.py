"""PostgreSQL, the distribution's server, as a private cluster."""

from __future__ import annotations

import locale
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from stack import probe
from stack.errors import StackError
from stack.packages import Requirement
from stack.process import processes_in, run
from stack.servers.base import Command, Server, Site, clean_environment, new_password
from stack.state import Entry, write_private

OLDEST = 15
DATABASES = ("agent_runtime", "agent_db")
# sockaddr_un holds 108 bytes; the socket's own name takes up to 20 of them.
_LONGEST_SOCKET_DIRECTORY = 85
# How long the backends of a killed server may take to notice, before they are killed too.
_PATIENCE_WITH_ORPHANS = 3.0


def installations() -> dict[int, Path]:
    """The directories of binaries by major version, old ones included."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        candidates.append(Path(run([pg_config, "--bindir"]).stdout.strip()))
    found: dict[int, Path] = {}
    for directory in candidates:
        # pg_config also comes with the client library alone.
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            found[int(_version(directory).partition(".")[0])] = directory
    return found


def _version(binaries: Path) -> str:
    """Such as "15.8"; "0" where the program does not run or does not say."""
    try:
        said = run([binaries / "postgres", "--version"]).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "0"
    number = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", said)
    return number[1] if number else "0"


def _newest() -> Path | None:
    usable = {major: path for major, path in installations().items() if major >= OLDEST}
    return usable[max(usable)] if usable else None


class Postgres(Server):
    name = "postgres"
    summary = "PostgreSQL"
    roles = ("sql",)
    stop_signal = signal.SIGINT  # "fast": rolls back what is open; SIGTERM would wait for the clients

    def version(self) -> str:
        binaries = _newest()
        return _version(binaries) if binaries else "unknown"

    def requirements(self) -> list[Requirement]:
        return [Requirement(f"PostgreSQL {OLDEST} or newer (postgres and initdb)", ("postgresql",), _newest)]

    def credentials(self) -> dict[str, Any]:
        return {
            "username": "dbint",
            "password": new_password(),
            "database": DATABASES[0],
            "databases": list(DATABASES),
        }

    def prepare(self, site: Site) -> None:
        data = site.directory / "data"
        owner = _account()
        if owner:
            _check_reachable(site.directory.parent)
            os.chown(site.directory, owner.pw_uid, owner.pw_gid)
        self._prepare_socket(site, owner)
        if not data.exists():
            self._initialise(site, data, owner)
        ids = (owner.pw_uid, owner.pw_gid) if owner else None
        write_private(data / "postgresql.conf", self._configuration(site), owner=ids)

    def _prepare_socket(self, site: Site, owner: pwd.struct_passwd | None) -> None:
        """Keeps the unix socket in the server's directory, or in one with a shorter name that the state remembers."""
        extra = site.entry.extra
        known = extra.get("socket_directory")
        if known and Path(known).is_dir():
            return
        if len(os.fsencode(site.directory)) <= _LONGEST_SOCKET_DIRECTORY:
            extra["socket_directory"] = str(site.directory)
            return
        # mkdtemp, not a name that others could guess and occupy. Not TMPDIR either: that may be long too.
        extra["socket_directory"] = tempfile.mkdtemp(prefix="dbint-", dir="/tmp")
        if owner:
            os.chown(extra["socket_directory"], owner.pw_uid, owner.pw_gid)

    def _initialise(self, site: Site, data: Path, owner: pwd.struct_passwd | None) -> None:
        """Makes the cluster under another name and gives it its own when it is complete."""
        fresh = site.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        binaries = self._binaries(site)
        ids = {"user": owner.pw_uid, "group": owner.pw_gid} if owner else {}
        environment = clean_environment()
        # The superuser has no password at all; pg_hba.conf lets the owner of the stack in through the unix
        # socket.
        _must(
            [binaries / "initdb", "-D", fresh, "-U", "postgres", "--auth-local=peer", "--auth-host=reject"]
            + ["--encoding=UTF8", f"--locale={_locale()}", "--data-checksums"],
            "initdb",
            cwd=site.directory,
            environment=environment,
            **ids,
        )
        account = owner.pw_name if owner else pwd.getpwuid(os.geteuid()).pw_name
        ours = (owner.pw_uid, owner.pw_gid) if owner else None
        write_private(fresh / "pg_hba.conf", _HBA, owner=ours)
        write_private(
            fresh / "pg_ident.conf",
            "".join(f"stack {name} postgres\n" for name in sorted({account, "root"})),
            owner=ours,
        )
        # Single-user mode: roles and databases are there before the server first listens, and the password
        # passes through a pipe only.
        user, password = site.credential("username"), site.credential("password")
        statements = [f"CREATE ROLE {user} LOGIN CREATEDB REPLICATION PASSWORD '{password}'"]
        statements += [f"CREATE DATABASE {database} OWNER {user}" for database in DATABASES]
        _must(
            [binaries / "postgres", "--single", "-j", "-D", fresh, "postgres"],
            "making its role and databases",
            stdin="".join(f"{statement};\n\n" for statement in statements),
            secret=password,
            cwd=site.directory,
            environment=environment,
            **ids,
        )
        fresh.rename(data)

    def _configuration(self, site: Site) -> str:
        settings: dict[str, str | int] = {
            "listen_addresses": f"'{site.host}'",
            "port": site.port("sql"),
            "unix_socket_directories": f"'{site.entry.extra['socket_directory']}'",
            "unix_socket_permissions": "0700",
            "max_connections": 100,
            "shared_buffers": "'64MB'",
            "wal_level": "logical",
            "max_wal_senders": 10,
            "max_replication_slots": 10,
            "fsync": "on",  # crash tests and latencies mean nothing without it
            "synchronous_commit": "on",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "log_line_prefix": "'%m [%p] %q%u@%d '",
            "cluster_name": "'dbint'",
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return (
            "# Written anew at every start. ALTER SYSTEM, which comes after this file, stays.\n"
            + "\n".join([*lines, ""])
        )

    def recover(self, site: Site) -> None:
        """Waits for the backends of a killed server, which would keep the next one from starting, then kills them.

        The lock files go too: PostgreSQL believes them when their pid has passed to another process of its
        user.
        """
        data = (site.directory / "data").resolve()
        deadline = time.monotonic() + _PATIENCE_WITH_ORPHANS
        for process in processes_in(data, "postgres"):
            if not process.wait(max(0.0, deadline - time.monotonic())):
                process.signal(signal.SIGKILL)
                process.wait(_PATIENCE_WITH_ORPHANS)
        (data / "postmaster.pid").unlink(missing_ok=True)
        socket = Path(site.entry.extra["socket_directory"]) / f".s.PGSQL.{site.port('sql')}"
        socket.unlink(missing_ok=True)
        socket.with_name(socket.name + ".lock").unlink(missing_ok=True)

    def environment(self, entry: Entry) -> dict[str, str]:
        return {
            "POSTGRES_HOST": entry.host,
            "POSTGRES_PORT": str(entry.ports["sql"]),
            "POSTGRES_USER": entry.credentials["username"],
            "POSTGRES_PASSWORD": entry.credentials["password"],
            "POSTGRES_DB": entry.credentials["database"],
        }

    def command(self, site: Site) -> Command:
        owner = _account()
        return Command(
            [self._binaries(site) / "postgres", "-D", site.directory / "data"],
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
        )

    def probe(self, site: Site) -> None:
        probe.postgres(site.host, site.port("sql"), site.credential("username"), site.credential("database"))

    def cleanup(self, site: Site) -> None:
        directory = Path(site.entry.extra.get("socket_directory", site.directory))
        if directory != site.directory:
            shutil.rmtree(directory, ignore_errors=True)

    def _binaries(self, site: Site) -> Path:
        """Those of the major version that made the data directory; the newest for a new one."""
        try:
            major = int((site.directory / "data" / "PG_VERSION").read_text())
        except FileNotFoundError:
            newest = _newest()
            if newest is None:
                raise StackError(f"PostgreSQL {OLDEST} or newer is not installed") from None
            return newest
        found = installations()
        if major not in found:
            raise StackError(
                f"{site.directory / 'data'} was made by PostgreSQL {major}, which is no longer installed. "
                f"Install postgresql-{major}, or remove the data: python3 -m stack down postgres"
            )
        return found[major]


_HBA = """\
# The owner of the stack is superuser through the unix socket; all others have a password.
local  all          postgres                peer map=stack
local  all          all                     scram-sha-256
host   all          all      127.0.0.1/32   scram-sha-256
host   replication  all      127.0.0.1/32   scram-sha-256
"""


def _account() -> pwd.struct_passwd | None:
    """The account that the server runs as when we are root, whom it refuses; None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise StackError(
            "PostgreSQL does not run as root, and there is no user postgres on this machine. "
            "Create one (useradd --system postgres), or use the stack as another user than root"
        ) from None


def _check_reachable(directory: Path) -> None:
    for parent in (directory, *directory.parents):
        if not parent.stat().st_mode & 0o001:
            raise StackError(
                f"user postgres, whom PostgreSQL runs as, cannot enter {parent} (its mode is "
                f"{parent.stat().st_mode & 0o777:04o}). Set DBINT_STACK_DIR to a directory that everybody may pass "
                "through (the default for root, /var/lib/dbint/stack, is one), or use the stack as another user"
            )


def _locale() -> str:
    """One that knows upper and lower case beyond ASCII and sorts by code point, where the system has it."""
    try:
        locale.setlocale(locale.LC_COLLATE, "C.UTF-8")
    except locale.Error:
        return "C"
    locale.setlocale(locale.LC_COLLATE, "C")
    return "C.UTF-8"


def _must(argv: list[str | Path], doing: str, *, secret: str = "", **how: Any) -> None:
    """Runs the program; StackError with what it said when it failed. Single-user mode says so only in words."""
    try:
        outcome = run(argv, **how)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"PostgreSQL: {doing} failed: {error}") from error
    if outcome.returncode != 0 or re.search(r"^.*\b(ERROR|FATAL|PANIC):", outcome.stdout, re.MULTILINE):
        said = outcome.stdout.strip()[-1500:]
        raise StackError(f"PostgreSQL: {doing} failed:\n{said.replace(secret, '***') if secret else said}")
