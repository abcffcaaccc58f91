"""PostgreSQL: the distribution's server, as a private cluster."""

from __future__ import annotations

import locale
import os
import pwd
import re
import shutil
import signal
import tempfile
import time
from functools import cache
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
# sockaddr_un holds 108 bytes, and the socket's own name takes up to 20 of them.
_LONGEST_SOCKET_DIRECTORY = 85
# Seconds that the backends of a killed server have to notice it.
_PATIENCE_WITH_ORPHANS = 3.0


def installations() -> dict[int, Path]:
    """The directories of PostgreSQL's programs by major version, those of too old ones included."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if pg_config := shutil.which("pg_config"):
        candidates.append(Path(run([pg_config, "--bindir"]).text.strip()))
    # pg_config also comes with the client library alone.
    complete = [path for path in candidates if (path / "postgres").exists() and (path / "initdb").exists()]
    return {int(_version(path).partition(".")[0]): path for path in complete}


@cache
def _version(programs: Path) -> str:
    """Such as "15.8"; "0" where the program does not run or does not say."""
    try:
        said = run([programs / "postgres", "--version"]).text
    except StackError:
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
    stop_signal = signal.SIGINT  # "fast": rolls back what is open, where SIGTERM would wait for the clients

    def version(self) -> str:
        programs = _newest()
        return _version(programs) if programs else "unknown"

    def requirements(self) -> list[Requirement]:
        what = f"PostgreSQL {OLDEST} or newer (postgres and initdb)"
        return [Requirement(what, ("postgresql",), lambda: _newest() is not None)]

    def credentials(self) -> dict[str, Any]:
        return {
            # Not "dbint", the ledger's schema: one of the user's own name comes first in the search path.
            "username": "app",
            "password": new_password(),
            "database": DATABASES[0],
            "databases": list(DATABASES),
        }

    def prepare(self, site: Site) -> None:
        account = server_account()
        if os.geteuid() == 0:
            check_reachable(site.directory.parent)
            give(site.directory, account)
        self._prepare_socket(site, account)
        data = site.directory / "data"
        if not data.exists():
            self._initialise(site, data, account)
        write_for(data / "postgresql.conf", self._configuration(site), account)

    def _prepare_socket(self, site: Site, account: pwd.struct_passwd) -> None:
        """Puts the unix socket into the server's directory, or into one with a name that is short enough."""
        extra = site.entry.extra
        if Path(extra.get("socket_directory", "")).is_absolute() and Path(extra["socket_directory"]).is_dir():
            return
        if len(os.fsencode(site.directory)) <= _LONGEST_SOCKET_DIRECTORY:
            extra["socket_directory"] = os.fspath(site.directory)
        else:
            # Not in TMPDIR, which may be long too.
            extra["socket_directory"] = tempfile.mkdtemp(prefix="dbint-", dir="/tmp")
            give(Path(extra["socket_directory"]), account)

    def _initialise(self, site: Site, data: Path, account: pwd.struct_passwd) -> None:
        """Makes the cluster under another name, and gives it its own when it is complete."""
        fresh = site.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        programs = self._programs(site)
        how: dict[str, Any] = {"cwd": site.directory, "environment": clean_environment(), **run_as(account)}
        # The superuser has no password at all; the owner of the stack gets in through the unix socket.
        options = ["-U", "postgres", "--auth-local=peer", "--auth-host=reject", "--data-checksums"]
        options += ["--encoding=UTF8", f"--locale={_locale()}"]
        _must([programs / "initdb", "-D", fresh, *options], "initdb", **how)
        write_for(fresh / "pg_hba.conf", _HBA, account)
        owners = sorted({account.pw_name, "root"})
        write_for(fresh / "pg_ident.conf", "".join(f"stack {owner} postgres\n" for owner in owners), account)
        # In single-user mode: role and databases are there before the server first listens, and the password
        # goes through a pipe only.
        user, password = site.credential("username"), site.credential("password")
        statements = [f"CREATE ROLE {user} LOGIN CREATEDB REPLICATION PASSWORD '{password}'"]
        statements += [f"CREATE DATABASE {database} OWNER {user}" for database in DATABASES]
        _must(
            [programs / "postgres", "--single", "-j", "-D", fresh, "postgres"],
            "making its role and databases",
            stdin="".join(f"{statement};\n\n" for statement in statements),
            secret=password,
            **how,
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
        heading = "# Written anew at every start; what ALTER SYSTEM sets comes after this file.\n"
        return heading + "".join(f"{name} = {value}\n" for name, value in settings.items())

    def recover(self, site: Site) -> None:
        """Waits for the backends of a killed server, which keep the next one from starting; then kills them.

        The lock files go too: PostgreSQL believes them when another process of its user has got their pid.
        """
        data = (site.directory / "data").resolve()
        deadline = time.monotonic() + _PATIENCE_WITH_ORPHANS
        for process in processes_in(data, "postgres"):
            if not process.wait(deadline - time.monotonic()):
                process.send(signal.SIGKILL)
                process.wait(_PATIENCE_WITH_ORPHANS)
        (data / "postmaster.pid").unlink(missing_ok=True)
        socket = Path(site.entry.extra["socket_directory"]) / f".s.PGSQL.{site.port('sql')}"
        socket.unlink(missing_ok=True)
        socket.with_name(f"{socket.name}.lock").unlink(missing_ok=True)

    def command(self, site: Site) -> Command:
        account = server_account()
        argv: list[str | Path] = [self._programs(site) / "postgres", "-D", site.directory / "data"]
        return Command(argv, user=run_as(account).get("user"), group=run_as(account).get("group"))

    def probe(self, site: Site) -> None:
        probe.postgres(site.host, site.port("sql"), site.credential("username"), site.credential("database"))

    def cleanup(self, site: Site) -> None:
        directory = Path(site.entry.extra.get("socket_directory", site.directory))
        if directory != site.directory:
            shutil.rmtree(directory, ignore_errors=True)

    def environment(self, entry: Entry) -> dict[str, str]:
        return {
            "POSTGRES_HOST": entry.host,
            "POSTGRES_PORT": str(entry.ports["sql"]),
            "POSTGRES_USER": entry.credentials["username"],
            "POSTGRES_PASSWORD": entry.credentials["password"],
            "POSTGRES_DB": entry.credentials["database"],
        }

    def _programs(self, site: Site) -> Path:
        """Those of the major version that made the data directory; the newest ones for a new directory."""
        try:
            major = int((site.directory / "data" / "PG_VERSION").read_text())
        except FileNotFoundError:
            programs = _newest()
        else:
            programs = installations().get(major)
            if programs is None:
                raise StackError(
                    f"{site.directory / 'data'} was made by PostgreSQL {major}, which is not installed now. "
                    f"Install postgresql-{major}, or remove the data: python3 -m stack down postgres"
                )
        if programs is None:
            raise StackError(f"PostgreSQL {OLDEST} or newer is not installed")
        return programs


_HBA = """\
# The owner of the stack is superuser through the unix socket; everybody else has a password.
local  all          postgres                peer map=stack
local  all          all                     scram-sha-256
host   all          all      127.0.0.1/32   scram-sha-256
host   replication  all      127.0.0.1/32   scram-sha-256
"""


def server_account() -> pwd.struct_passwd:
    """The account that the server runs as: ours, or postgres for root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise StackError(
            "PostgreSQL does not run as root, and there is no user postgres on this machine. "
            "Create one (useradd --system postgres), or use the stack as another user than root"
        ) from None


def run_as(account: pwd.struct_passwd) -> dict[str, int]:
    """The arguments that run a program as that account, where it is not ours anyway."""
    return {} if account.pw_uid == os.geteuid() else {"user": account.pw_uid, "group": account.pw_gid}


def give(path: Path, account: pwd.struct_passwd) -> None:
    if account.pw_uid != os.geteuid():
        os.chown(path, account.pw_uid, account.pw_gid)


def write_for(path: Path, text: str, account: pwd.struct_passwd) -> None:
    write_private(path, text, owner=(account.pw_uid, account.pw_gid))


def check_reachable(directory: Path) -> None:
    for parent in (directory, *directory.parents):
        mode = parent.stat().st_mode & 0o777
        if not mode & 0o001:
            raise StackError(
                f"user postgres, whom PostgreSQL runs as, cannot enter {parent} (mode {mode:04o}). Set "
                "DBINT_STACK_DIR to a directory below ones that everybody may enter, such as root's default, "
                "/var/lib/dbint/stack; or use the stack as another user than root"
            )


def _locale() -> str:
    """One that knows upper and lower case beyond ASCII and sorts by code point, where the system has it."""
    before = locale.setlocale(locale.LC_COLLATE)
    try:
        locale.setlocale(locale.LC_COLLATE, "C.UTF-8")
    except locale.Error:
        return "C"
    locale.setlocale(locale.LC_COLLATE, before)
    return "C.UTF-8"


def _must(argv: list[str | Path], doing: str, *, secret: str = "", **how: Any) -> None:
    """Runs the program; StackError with its words when it failed. Single-user mode fails in words alone."""
    outcome = run(argv, **how)
    if outcome.status != 0 or re.search(r"\b(ERROR|FATAL|PANIC):", outcome.text):
        said = outcome.text.strip()[-1500:]
        raise StackError(f"PostgreSQL: {doing} failed:\n{said.replace(secret, '***') if secret else said}")
