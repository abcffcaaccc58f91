"""Runs tests of one of Django's test modules, with an emulator of its own: a process of the runner's.

``python -m tests.django_suite.worker OUTPUT LABEL…`` in the directory of Django's tests; OUTPUT becomes a
JSON object of test id: [outcome, seconds, detail].
"""

# ruff: noqa: N802, N815 - the names of unittest

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
import unittest
import warnings
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings

from dbint.emulators.doris import DorisEmulator
from tests.django_suite.limits import fields_refused

_PASSWORD = "password of a server that lives as long as the tests"
STATEMENTS = "DBINT_DJANGO_SUITE_STATEMENTS"  # a file for what the backend sends
_LINES_OF_A_FAILURE = 60
_NEED_SITES = ("migrations", "queries")  # an app with migrations, and with a table of one row


class Record(unittest.TestResult):
    """What became of each test."""

    def __init__(self) -> None:
        super().__init__()
        self.tests: dict[str, tuple[str, float, str]] = {}
        self._began = time.monotonic()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._began = time.monotonic()

    def _note(self, test: Any, outcome: str, detail: str = "") -> None:
        name = test.id()
        if name.startswith(("setUpClass", "tearDownClass", "setUpModule")):  # "setUpClass (module.Class)"
            step, _, where = name.partition(" (")
            name = f"{where.rstrip(')')}.{step}"
        if self.tests.get(name, ("",))[0] != "failed":
            self.tests[name] = (outcome, round(time.monotonic() - self._began, 3), detail)

    def addSuccess(self, test: Any) -> None:
        self._note(test, "passed")

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._note(test, "passed")

    def addSkip(self, test: Any, reason: str) -> None:
        self._note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note(test, "failed", "unexpected success")

    def addFailure(self, test: Any, err: Any) -> None:
        lines = "".join(traceback.format_exception(*err)).splitlines()
        self._note(test, "failed", "\n".join(lines[-_LINES_OF_A_FAILURE:]))

    addError = addFailure

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.addFailure(test, err)


def configure(doris: DorisEmulator, module: str) -> None:
    """Settings as Django's own runtests.py makes them."""
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "dbint.django.backends.doris",
                "HOST": "127.0.0.1",
                "PORT": doris.query_port,
                "USER": "root",
                "PASSWORD": _PASSWORD,
                "NAME": "django_tests",
                "OPTIONS": {"http_port": doris.http_port, "lenient_models": True},
            },
            "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            *(["django.contrib.sites"] if module in _NEED_SITES else []),
            module,
        ],
        MIGRATION_MODULES={"auth": None, "contenttypes": None},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="urls",
        SECRET_KEY="tests",
        SILENCED_SYSTEM_CHECKS=["fields.W342", "postgres.E005", "fields.W903"],
        USE_TZ=False,
    )
    django.setup()
    for label in fields_refused(module):
        model, _, field = label.rpartition(".")
        meta = apps.get_model(model)._meta
        meta.local_fields.remove(meta.get_field(field))
        meta._expire_cache()


def run(labels: list[str]) -> Record:
    """The tests of the labels."""
    from django.contrib.auth.management import create_permissions
    from django.contrib.contenttypes.management import create_contenttypes
    from django.db.models.signals import post_migrate
    from django.test import TestCase, TransactionTestCase
    from django.test.runner import DiscoverRunner

    record = Record()

    class Runner(DiscoverRunner):
        def run_suite(self, suite: Any, **kwargs: Any) -> Any:
            suite.run(record)
            return record

        def run_checks(self, databases: Any) -> None:
            """Models of the tests break rules on purpose."""

    # A flush after each test would fill the tables of contenttypes and auth again.
    for receiver in (create_contenttypes, create_permissions):
        post_migrate.disconnect(receiver)
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    TransactionTestCase.available_apps = None
    TestCase.available_apps = None
    Runner(verbosity=0, interactive=False, parallel=1).run_tests(labels)
    return record


def main() -> None:
    output, *labels = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.getLogger("dbint").addHandler(logging.NullHandler())
    logging.getLogger("dbint").propagate = False
    sys.path.insert(0, str(Path.cwd()))
    log = os.environ.get(STATEMENTS)
    with DorisEmulator(password=_PASSWORD, backends=3, statement_log=Path(log) if log else None) as doris:
        configure(doris, labels[0].split(".")[0])
        warnings.simplefilter("ignore")
        record = run(labels)
    Path(output).write_text(json.dumps(record.tests))


if __name__ == "__main__":
    main()
