"""A Django project in a temporary directory, for running the verification as its users do: as a command."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from dbint.verify.latency import DEFAULT_BUDGETS
from tests import quick_python

_T = TypeVar("_T")

SETTINGS = """
import json, os
from pathlib import Path
given = json.loads(Path(__file__).with_name("given.json").read_text())
from dbint.django.databases import doris_database, postgres_database
SECRET_KEY = "key-of-a-test-project-0123456789"
INSTALLED_APPS = given["apps"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DBINT = given["dbint"]
makers = {"postgres": postgres_database, "doris": doris_database}
DATABASES = {
    alias: {**makers[entry["kind"]](dbint=DBINT), **entry.get("with", {})} if "kind" in entry else entry
    for alias, entry in given["databases"].items()
}
DATABASE_ROUTERS = given["routers"]
"""
_IMPORT = "from django.db import models\n"
_MODEL = """
class Note(models.Model):
    title = models.CharField(max_length=80, unique=True)
    body = models.TextField(null=True)
    written = models.DateTimeField(db_index=True)
    author = models.ForeignKey("self", null=True, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(title__gt=""), name="note_title_not_empty")]
        indexes = [models.Index(fields=["title", "written"], name="note_by_title")]
"""


def models_named(*names: str) -> str:
    """A models module with the same model under each of these names."""
    return _IMPORT + "".join(
        _MODEL.replace("Note", name).replace('"note_', f'"{name.lower()}_') for name in names
    )


# These tests are about what is found out, not about how fast it is: small numbers, budgets that any machine
# keeps.
QUICK = {
    "samples": 3,
    "messages": 300,
    "rows": 24,
    "budgets": {
        alias: {operation: {"p95_ms": 60_000} for operation in DEFAULT_BUDGETS}
        for alias in ("default", "doris", "kafka")
    },
    "produce_messages_per_s": 1,
}


@dataclass
class Outcome:
    """How a command ended. ``seconds`` is what it took on the wall."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {probe["name"]: probe for probe in self.json["probes"]}

    def lines(self) -> list[str]:
        return self.stderr.splitlines()


@dataclass
class Project:
    """The project in ``directory``; ``run`` runs one of its management commands."""

    directory: Path
    databases: dict[str, Any]
    dbint: dict[str, Any] = field(default_factory=dict)
    routers: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    models: str = models_named("Note")
    apps: tuple[str, ...] = ("dbint.django", "notes")

    def write(self) -> None:
        package = self.directory / "notes"
        (package / "migrations").mkdir(parents=True, exist_ok=True)
        given = {"databases": self.databases, "dbint": self.dbint, "routers": self.routers, "apps": self.apps}
        for path, text in (
            (self.directory / "project_settings.py", SETTINGS),
            (self.directory / "given.json", json.dumps(given)),
            (package / "__init__.py", ""),
            (package / "migrations" / "__init__.py", ""),
            (package / "models.py", self.models),
        ):
            # A command that runs beside this one may be reading it.
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def migrated(self) -> "Project":
        """This project, with its migration written and applied on every alias."""
        self.write()
        for command in (("makemigrations", "notes"), ("migrate_databases",)):
            outcome = self.run(*command)
            assert outcome.code == 0, outcome.stderr
        return self

    def copied_to(self, directory: Path) -> "Project":
        """The same project in another directory, for one test to change."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return replace(
            self,
            directory=directory,
            databases=deepcopy(self.databases),
            dbint=deepcopy(self.dbint),
            routers=list(self.routers),
            environ=dict(self.environ),
        )

    def environment(self) -> dict[str, str]:
        checkout = str(Path(__file__).parents[2])
        paths = {"PYTHONPATH": os.pathsep.join([str(self.directory), checkout])}
        return {**os.environ, **paths, "DJANGO_SETTINGS_MODULE": "project_settings", **self.environ}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.write()
        return subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, timeout: float = 90) -> Outcome:
        self.write()
        began = time.monotonic()
        ended = quick_python.run(
            ["-m", "django", *arguments], cwd=self.directory, env=self.environment(), timeout=timeout
        )
        return Outcome(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began)

    def verify(self, *arguments: str, form: str = "json", timeout: float = 90) -> Outcome:
        outcome = self.run("verify_database_integration", *arguments, "--format", form, timeout=timeout)
        assert "Traceback" not in outcome.stdout + outcome.stderr, outcome.stderr
        return outcome

    def connections(self, *arguments: str) -> Outcome:
        """The quick command, which writes nothing."""
        return self.run("verify_db_connections", *arguments)


def two_at_a_time(*calls: Callable[[], _T]) -> list[_T]:
    """What each call returns, in order; independent commands need not wait for each other."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda call: call(), calls))


def statuses(outcome: Outcome) -> Mapping[str, str]:
    return {name: probe["status"] for name, probe in outcome.probes.items()}
