"""A Django project in a temporary directory, for running the verification as its users do: as a command."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SETTINGS = """
import json, os
from pathlib import Path
given = json.loads(Path(__file__).with_name("given.json").read_text())
from dbint.django.databases import doris_database, postgres_database
SECRET_KEY = "key-of-a-test-project-0123456789"
INSTALLED_APPS = ["dbint.django", "notes"]
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
MODELS = """
from django.db import models

class Note(models.Model):
    title = models.CharField(max_length=80, unique=True)
    body = models.TextField(null=True)
    written = models.DateTimeField(db_index=True)
    author = models.ForeignKey("self", null=True, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(title__gt=""), name="notes_title_not_empty")]
        indexes = [models.Index(fields=["title", "written"], name="notes_by_title")]
"""


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

    def write(self) -> None:
        package = self.directory / "notes"
        (package / "migrations").mkdir(parents=True, exist_ok=True)
        (self.directory / "project_settings.py").write_text(SETTINGS)
        (package / "__init__.py").touch()
        (package / "migrations" / "__init__.py").touch()
        (package / "models.py").write_text(MODELS)
        given = {"databases": self.databases, "dbint": self.dbint, "routers": self.routers}
        (self.directory / "given.json").write_text(json.dumps(given))

    def migrated(self) -> "Project":
        """This project, with its migration written and applied on every alias."""
        self.write()
        assert self.run("makemigrations", "notes").code == 0
        for alias in self.databases:
            outcome = self.run("migrate", "--database", alias)
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
        began = time.monotonic()
        process = self.start(*arguments)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"still running after {timeout} s; stderr:\n{stderr}") from None
        return Outcome(process.returncode, stdout, stderr, time.monotonic() - began)

    def verify(self, *arguments: str, form: str = "json", timeout: float = 90) -> Outcome:
        outcome = self.run("verify_database_integration", *arguments, "--format", form, timeout=timeout)
        assert "Traceback" not in outcome.stdout + outcome.stderr, outcome.stderr
        return outcome


def statuses(outcome: Outcome) -> Mapping[str, str]:
    return {name: probe["status"] for name, probe in outcome.probes.items()}
