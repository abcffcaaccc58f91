"""``python -m tests.django_suite [LABEL…] [--json] [--failures]``: run, and account for every test.

Exit status: 0 all as expected, 1 a failure that is not listed or a listed one that passes, 2 the run is void.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django

from stack.errors import StackError
from stack.paths import CHECKOUT
from stack.progress import LineProgress
from tests.django_suite.limits import Limit, limits
from tests.django_suite.source import tests_directory
from tests.django_suite.worker import STATEMENTS

# The longest first: they decide when the run ends.
MODULES = (
    "queries", "migrations", "schema", "expressions", "aggregation", "lookup", "annotations",
    "expressions_window", "aggregation_regress", "bulk_create", "basic", "introspection", "ordering",
    "inspectdb", "datetimes", "dates",
)  # fmt: skip
_WORKERS = 2
_DEADLINE = 3600.0  # seconds of one module, on a machine with much else to do


@dataclass
class Module:
    """What became of the tests of one module."""

    name: str
    seconds: float = 0.0
    passed: int = 0
    skipped: int = 0
    refused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)


def run_labels(tests: Path, labels: list[str], statements: Path | None) -> tuple[dict[str, Any], float]:
    """Run labels of one module in a process of their own. Raises StackError when that fails."""
    environment = {**os.environ, "PYTHONPATH": os.fspath(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dbint-django-suite-") as scratch:
        output = Path(scratch) / "tests.json"
        command = [sys.executable, "-m", "tests.django_suite.worker", os.fspath(output), *labels]
        environment["TMPDIR"] = scratch
        if statements is not None:
            environment[STATEMENTS] = os.fspath(statements / f"{labels[0].split('.')[0]}.jsonl")
        try:
            done = subprocess.run(
                command,
                cwd=tests,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_DEADLINE,
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"{labels[0]}: not done after {_DEADLINE:.0f} s") from None
        if done.returncode or not output.exists():
            raise StackError(f"{labels[0]}: the tests did not run:\n{done.stdout[-4000:]}")
        return json.loads(output.read_text()), time.monotonic() - began


def account(
    name: str, tests: dict[str, Any], seconds: float, known: list[Limit], counts: dict[str, int]
) -> Module:
    """Sort the outcomes of a module's tests; ``counts`` gets the refusals of each limit."""
    module = Module(name, seconds)
    for test, (outcome, _, detail) in sorted(tests.items()):
        limit = next((limit for limit in known if limit.covers(test)), None)
        if outcome == "skipped":
            module.skipped += 1
        elif outcome == "failed" and limit is None:
            module.failures[test] = detail
        elif outcome == "failed" and limit is not None:
            module.refused += 1
            counts[limit.name] = counts.get(limit.name, 0) + 1
        elif limit is not None:
            module.stale.append(f"{test} passes, though [{limit.name}] lists it")
        else:
            module.passed += 1
    module.slowest = sorted(((s, t) for t, (_, s, _) in tests.items()), reverse=True)[:5]
    return module


def unmatched(known: list[Limit], names: list[str], tests: set[str]) -> list[str]:
    """Patterns of the modules that ran which match no test."""
    return [
        f"[{limit.name}] lists {pattern}, which is no test"
        for limit in known
        for pattern in limit.tests
        if pattern.split(".")[0] in names and not any(limit.covers(t) and _matches(pattern, t) for t in tests)
    ]


def _matches(pattern: str, test: str) -> bool:
    return Limit("", "", "", (pattern,)).covers(test)


def table(modules: list[Module], counts: dict[str, int], known: list[Limit]) -> str:
    """The outcome for people."""
    lines = [f"{'module':22}{'passed':>8}{'refused':>9}{'skipped':>9}{'failed':>8}{'seconds':>9}"]
    lines += [
        f"{m.name:22}{m.passed:8}{m.refused:9}{m.skipped:9}{len(m.failures) + len(m.stale):8}{m.seconds:9.0f}"
        for m in (*modules, _sum(modules))
    ]
    lines += ["", "refused, for Doris does not do it:"]
    lines += [
        f"  {counts[limit.name]:4}  {limit.says} ({limit.page})" for limit in known if counts.get(limit.name)
    ]
    return "\n".join(lines)


def _sum(modules: list[Module]) -> Module:
    total = Module("all")
    for m in modules:
        total.passed += m.passed
        total.refused += m.refused
        total.skipped += m.skipped
        total.seconds += m.seconds
        total.failures.update(m.failures)
        total.stale += m.stale
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.django_suite", description=__doc__)
    parser.add_argument("labels", nargs="*", metavar="LABEL", help=f"default: {' '.join(MODULES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--failures", action="store_true", help="print the tracebacks of what failed")
    parser.add_argument(
        "--statements", type=Path, metavar="DIR", help="keep what the backend sends, a file for each module"
    )
    options = parser.parse_args()
    if options.statements is not None:
        options.statements = options.statements.absolute()
        options.statements.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[str]] = {}
    for label in options.labels or MODULES:
        groups.setdefault(label.split(".")[0], []).append(label)
    progress = LineProgress()
    known, counts, ids = limits(), dict[str, int](), set[str]()
    try:
        tests = tests_directory(progress)

        def one(name: str) -> Module:
            outcomes, seconds = run_labels(tests, groups[name], options.statements)
            ids.update(outcomes)
            module = account(name, outcomes, seconds, known, counts)
            progress.done(
                name, f"{module.passed} passed, {module.refused} refused, {len(module.failures)} failed"
            )
            return module

        with ThreadPoolExecutor(_WORKERS) as pool:
            modules = list(pool.map(one, groups))
    except StackError as error:
        sys.stderr.write(f"void: {error}\n")
        return 2
    total = _sum(modules)
    whole = [name for name, labels in groups.items() if labels == [name]]
    total.stale += unmatched(known, whole, ids)
    if options.json:
        found = {
            "django": django.get_version(),
            "modules": {
                m.name: {k: getattr(m, k) for k in ("passed", "refused", "skipped", "seconds")}
                for m in modules
            },
            "refused": {
                limit.name: {"tests": counts.get(limit.name, 0), "page": limit.page} for limit in known
            },
            "failures": total.failures,
            "stale": total.stale,
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        sys.stdout.write(table(modules, counts, known) + "\n")
        for test, detail in total.failures.items():
            lines = detail.splitlines() or [""]
            sys.stdout.write(f"FAILED {test}: {detail if options.failures else lines[-1]}\n")
        for text in total.stale:
            sys.stdout.write(f"STALE {text}\n")
    return 1 if total.failures or total.stale else 0


if __name__ == "__main__":
    sys.exit(main())
