"""PgBouncer in transaction mode in front of the stack's PostgreSQL: the distribution's program."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from stack import probe
from stack.errors import StackError
from stack.packages import Requirement
from stack.process import run
from stack.servers.base import Command, Server, Site
from stack.servers.postgres import check_reachable, give, run_as, server_account, write_for
from stack.state import Entry


class PgBouncer(Server):
    name = "pgbouncer"
    summary = "PgBouncer, transaction mode"
    roles = ("sql",)
    needs = ("postgres",)
    stop_timeout = 5.0

    def version(self) -> str:
        program = _program()
        return _version(program) if program else "unknown"

    def requirements(self) -> list[Requirement]:
        return [Requirement("pgbouncer", ("pgbouncer",), lambda: _program() is not None)]

    def prepare(self, site: Site) -> None:
        account = server_account()
        if os.geteuid() == 0:
            check_reachable(site.directory.parent)
            give(site.directory, account)
        # Who may enter PostgreSQL may enter here, with the same password.
        site.entry.credentials = dict(site.neighbours["postgres"].credentials)
        user, password = site.credential("username"), site.credential("password")
        write_for(site.directory / "users.txt", f'"{user}" "{password}"\n', account)
        write_for(site.directory / "pgbouncer.ini", self._configuration(site), account)

    def _configuration(self, site: Site) -> str:
        server = site.neighbours["postgres"]
        settings: dict[str, str | int] = {
            "listen_addr": site.host,
            "listen_port": site.port("sql"),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": site.directory / "users.txt",
            # May also ask the database "pgbouncer": SHOW POOLS, PAUSE, KILL.
            "admin_users": site.credential("username"),
            "pool_mode": "transaction",
            "max_client_conn": 500,
            "default_pool_size": 20,
            # A PostgreSQL that was away is tried again at once, not after 15 s.
            "server_login_retry": 1,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"* = host={server.host} port={server.ports['sql']}"
        return "\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""])

    def command(self, site: Site) -> Command:
        program = _program()
        if program is None:
            raise StackError("pgbouncer is not installed")
        run_by = run_as(server_account())
        return Command(
            [program, site.directory / "pgbouncer.ini"], user=run_by.get("user"), group=run_by.get("group")
        )

    def probe(self, site: Site) -> None:
        probe.postgres(site.host, site.port("sql"), site.credential("username"), site.credential("database"))

    def environment(self, entry: Entry) -> dict[str, str]:
        return {"PGBOUNCER_HOST": entry.host, "PGBOUNCER_PORT": str(entry.ports["sql"])}


def _program() -> Path | None:
    """Distributions put it where only root's PATH leads."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _version(program: Path) -> str:
    """Such as "1.18.0"; "unknown" where the program does not say."""
    number = re.search(r"PgBouncer (\d[\d.]*)", run([program, "--version"]).text)
    return number[1] if number else "unknown"
