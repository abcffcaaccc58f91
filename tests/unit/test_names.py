"""docs/names.md holds: what it says is here resolves, what it says is not here does not."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbint import discovery
from dbint.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "names.md"
HEADER = ["seed", "name", "ours", "check", "brought by", "here"]
PARTS = {"main job", "events", "doris", "flow", "credentials", "databases", "CDC", "infrastructure"}
KINDS = {"import", "path", "command", "flag", "run", "service", "variable", "cluster"}

# Imports need Django, whose settings are global: they happen in a process of their own, all at once.
RESOLVER = """
import importlib, json, sys
sys.path[:0] = [".", "django_app"]
import django
django.setup()
from django.core.management import get_commands, load_command_class

def resolve(kind, what):
    if kind == "import":
        module, _, attributes = what.partition(":")
        value = importlib.import_module(module)
        for name in attributes.split(".") if attributes else ():
            value = value[name] if isinstance(value, dict) else getattr(value, name)
    else:
        name, _, flag = what.partition(" ")
        command = load_command_class(get_commands()[name], name)
        if flag and flag not in command.create_parser("manage.py", name)._option_string_actions:
            raise LookupError(f"{name} has no {flag}")

answers = []
for kind, what in json.load(sys.stdin):
    try:
        resolve(kind, what)
    except (ImportError, AttributeError, LookupError) as error:
        answers.append(f"{type(error).__name__}: {error}")
    else:
        answers.append(None)
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True)
class Row:
    seed: str
    name: str
    ours: str
    check: str
    part: str
    here: str

    @property
    def kind(self) -> str:
        return self.check.partition(" ")[0]

    @property
    def what(self) -> str:
        return self.check.partition(" ")[2]


def read_table(text: str) -> list[Row]:
    """The rows of the only table in ``text``. Raises ValueError for a malformed one."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    if not cells or cells[0] != HEADER or set("".join(cells[1])) != {"-"}:
        raise ValueError(f"the table does not begin with {HEADER}")
    rows = []
    for line, row in zip(lines[2:], cells[2:], strict=True):
        if len(row) != len(HEADER) or not all(row):
            raise ValueError(f"not {len(HEADER)} filled cells: {line}")
        made = Row(*row)
        for value, allowed in ((made.here, {"yes", "no"}), (made.seed, set("01234")), (made.part, PARTS)):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {sorted(allowed)}: {line}")
        if made.kind not in KINDS or not made.what:
            raise ValueError(f"{made.check!r} is no check: {line}")
        rows.append(made)
    if not rows:
        raise ValueError("the table is empty")
    return rows


ROWS = read_table(TABLE.read_text())


def is_script(row: Row) -> bool:
    return row.kind == "run" or (row.kind == "flag" and "/" in row.what)


@pytest.fixture(scope="module")
def resolved() -> dict[str, str | None]:
    """Check -> None, or why it does not resolve: for everything that is imported."""
    asked = {row.check: (row.kind, row.what) for row in ROWS if row.kind in ("import", "command", "flag")}
    asked = {check: pair for check, pair in asked.items() if "/" not in pair[1]}
    answer = subprocess.run(
        [sys.executable, "-c", RESOLVER],
        input=json.dumps(list(asked.values())),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "agent_api.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return dict(zip(asked, json.loads(answer.stdout), strict=True))


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """Script -> what its --help prints."""
    scripts = {row.what.partition(" ")[0] for row in ROWS if is_script(row)}
    found = {}
    for script in sorted(scripts):
        start = [sys.executable] if script.endswith(".py") else ["sh"]
        answer = subprocess.run(
            [*start, script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        found[script] = answer.stdout if answer.returncode == 0 else ""
    return found


def problem(row: Row, resolved: dict[str, str | None], helps: dict[str, str]) -> str | None:
    """Why the row does not resolve; None when it does."""
    if is_script(row):
        script, _, flag = row.what.partition(" ")
        if not helps[script]:
            return f"{script} --help fails"
        return (
            None
            if not flag or flag in helps[script].replace("|", " ").replace("[", " ").split()
            else f"no {flag}"
        )
    if row.kind == "path":
        return None if (ROOT / row.what).exists() else f"no {row.what}"
    if row.kind == "service":
        try:
            discovery.service(row.what)
        except ConfigurationError as error:
            return str(error)
        return None
    if row.kind == "variable":
        read = {variable for service in discovery.SERVICES.values() for variable in service.variables()}
        return None if row.what in read else f"no service reads {row.what}"
    if row.kind == "cluster":
        inside = {"DBINT_IN_KUBERNETES": "1"}
        hosts = {discovery.locate(name, environ=inside).host for name in discovery.SERVICES}
        return None if row.what in hosts else f"no service has {row.what}"
    return resolved[row.check]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.seed}: {row.name.partition(',')[0]}")
def test_row(row: Row, resolved: dict[str, str | None], helps: dict[str, str]) -> None:
    reason = problem(row, resolved, helps)
    if row.here == "yes":
        assert reason is None, f"{row.check}: {reason}"
    else:
        assert reason is not None, f"{row.check} resolves: say yes in docs/names.md"


def test_every_seed_is_there() -> None:
    assert {row.seed for row in ROWS} == set("01234")
    assert len(ROWS) > 150
    names = [(row.seed, row.name) for row in ROWS]
    assert len(set(names)) == len(names)


HEAD = f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with"),
        ("| a | b |\n|---|---|\n", "does not begin with"),
        (HEAD, "the table is empty"),
        (HEAD + "| 0 | a | b | path c | main job |", "not 6 filled cells"),
        (HEAD + "| 0 | a |  | path c | main job | yes |", "not 6 filled cells"),
        (HEAD + "| 9 | a | b | path c | main job | yes |", "'9' is none of"),
        (HEAD + "| 0 | a | b | path c | someday | yes |", "'someday' is none of"),
        (HEAD + "| 0 | a | b | path c | main job | maybe |", "'maybe' is none of"),
        (HEAD + "| 0 | a | b | look c | main job | yes |", "'look c' is no check"),
        (HEAD + "| 0 | a | b | path | main job | yes |", "'path' is no check"),
    ],
)
def test_a_malformed_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(text)
