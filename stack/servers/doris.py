"""The Doris emulator of this checkout (docs/emulators.md), for want of a package of Apache Doris."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from stack import probe
from stack.errors import StackError
from stack.packages import Requirement
from stack.paths import CHECKOUT
from stack.process import run
from stack.servers.base import Command, Server, Site, clean_environment, new_password
from stack.state import Entry, write_private

VERSION = "4.0.2"
DATABASE = "agent_analytics"
_MODULE = "dbint.emulators.doris"


# Looked for, not imported: that would take as long as the emulator's own start.
_MISSING = """
from importlib.util import find_spec
print(", ".join(name for name in ("duckdb", "mysql_mimic", "pymysql", "sqlglot") if find_spec(name) is None))
"""


def python() -> Path:
    """The interpreter that has the project's packages: of the checkout's environment, else ours."""
    environment = CHECKOUT / ".venv" / "bin" / "python"
    return environment if environment.exists() else Path(sys.executable)


class Doris(Server):
    name = "doris"
    summary = "Apache Doris (emulator)"
    roles = ("query", "http", "be_http")
    emulated = True

    def version(self) -> str:
        return VERSION

    def requirements(self) -> list[Requirement]:
        return []  # Python packages only, which prepare() looks for: they come after the distribution's

    def credentials(self) -> dict[str, Any]:
        return {"username": "root", "password": new_password(), "database": DATABASE}

    def prepare(self, site: Site) -> None:
        missing = run([python(), "-c", _MISSING], environment=_environment()).text.strip()
        if missing:
            raise StackError(
                f"the Doris emulator does not run with {python()}: no module {missing}. "
                "Make the checkout's environment (make .venv/ready), or: pip install -e '.[emulators]'"
            )
        (site.directory / "data").mkdir(mode=0o700, exist_ok=True)
        write_private(site.directory / "password", site.credential("password") + "\n")

    def command(self, site: Site) -> Command:
        argv: list[str | Path] = [python(), "-m", _MODULE, f"--host={site.host}"]
        argv += [f"--{role.replace('_', '-')}-port={site.port(role)}" for role in self.roles]
        argv += [f"--user={site.credential('username')}", f"--password-file={site.directory / 'password'}"]
        argv += [f"--data-dir={site.directory / 'data'}"]
        return Command(argv, environment=_environment())

    def probe(self, site: Site) -> None:
        probe.http_get(site.host, site.port("http"), "/api/health")
        probe.http_get(site.host, site.port("be_http"), "/api/health")
        probe.mysql(site.host, site.port("query"))

    def settle(self, site: Site) -> None:
        """Doris has no database but its own at first; the project's is made here."""
        create_database(site.entry)

    def environment(self, entry: Entry) -> dict[str, str]:
        return {
            "DORIS_HOST": entry.host,
            "DORIS_QUERY_PORT": str(entry.ports["query"]),
            "DORIS_HTTP_PORT": str(entry.ports["http"]),
            "DORIS_BE_HTTP_PORT": str(entry.ports["be_http"]),
            "DORIS_USER": entry.credentials["username"],
            "DORIS_PASSWORD": entry.credentials["password"],
            "DORIS_DATABASE": entry.credentials["database"],
        }


_CREATE_DATABASE = """
import os, pymysql
host, port, user, password, database = (os.environ[name] for name in ("H", "P", "U", "W", "D"))
connection = pymysql.connect(
    host=host, port=int(port), user=user, password=password, connect_timeout=5, read_timeout=30
)
connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS `{database}`")
"""


def create_database(entry: Entry) -> None:
    """Creates the database of the credentials through the MySQL protocol. Raises StackError."""
    outcome = run([python(), "-c", _CREATE_DATABASE], environment=_environment() | _values(entry))
    if outcome.status != 0:
        name = entry.credentials["database"]
        raise StackError(f"Doris: creating {name} failed: {_last_line(outcome.text)}")


_SET_UP = """
import os, time, pymysql
from pymysql.cursors import DictCursor
host, port, user, password, database, seconds = (os.environ[name] for name in ("H", "P", "U", "W", "D", "S"))
deadline = time.monotonic() + float(seconds)
def connect(password):
    return pymysql.connect(host=host, port=int(port), user=user, password=password,
                           connect_timeout=5, read_timeout=30, cursorclass=DictCursor)
try:
    cursor = connect(password).cursor()
except pymysql.err.OperationalError:
    cursor = connect("").cursor()
    cursor.execute("SET PASSWORD = PASSWORD(%s)", (password,))
while True:
    cursor.execute("SHOW BACKENDS")
    if any(str(row["Alive"]).lower() == "true" for row in cursor.fetchall()):
        break
    if time.monotonic() > deadline:
        raise SystemExit("no backend is alive; does the host have vm.max_map_count=2000000?")
    time.sleep(0.5)
cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{database}`")
"""


def set_up_doris(entry: Entry, deadline: float) -> None:
    """Gives a fresh Apache Doris its root password and database, once a backend is alive. Raises StackError.

    ``deadline`` is a point on the monotonic clock.
    """
    seconds = max(0.0, deadline - time.monotonic())
    values = _values(entry) | {"S": str(seconds)}
    outcome = run([python(), "-c", _SET_UP], environment=_environment() | values, timeout=seconds + 60)
    if outcome.status != 0:
        raise StackError(f"Doris: setting it up failed: {_last_line(outcome.text)}")


def _values(entry: Entry) -> dict[str, str]:
    credentials = entry.credentials
    values = {"H": entry.host, "P": str(entry.ports["query"]), "U": credentials["username"]}
    return values | {"W": credentials["password"], "D": credentials["database"]}


def _last_line(text: str) -> str:
    """Where Python says what went wrong."""
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _environment() -> dict[str, str]:
    return clean_environment() | {"PYTHONPATH": os.fspath(CHECKOUT), "PYTHONUNBUFFERED": "1"}
