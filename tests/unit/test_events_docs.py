"""docs/events.md and settings.md say what the code does: defaults, variables, parameters, statuses."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig, DatabaseHealthStatus, DatabaseIntegrationLayer
from dbint.events.config import VARIABLES

DOCS = Path(__file__).parents[2] / "docs"
METHODS = dir(DatabaseIntegrationLayer)
ELSEWHERE = {"name", "journal_dir", "retention_tables"}  # no plain default
ALWAYS = {"self", "timestamp", "event_id", "on_commit", "start_time", "end_time", "limit", "before"}


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page."""
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


ROWS = rows("events.md")


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def row(first: str) -> list[str]:
    (found,) = (cells for cells in ROWS if names(cells[0]) == [first])
    return found


def parameters(method: str) -> dict[str, inspect.Parameter]:
    found = inspect.signature(getattr(DatabaseIntegrationLayer, method)).parameters
    return {name: parameter for name, parameter in found.items() if name not in ALWAYS}


def test_defaults_are_those_of_the_fields() -> None:
    table = {
        key[1]: default.strip("`")
        for first, _, default, _ in (cells for cells in rows("settings.md") if len(cells) == 4)
        if (key := re.match(r'`EVENTS\["(\w+)"\]`', first))
    }
    known = {field.name: field.default for field in fields(DatabaseConfig)}
    said = {name: default for name, default in table.items() if name not in ELSEWHERE}
    assert len(said) > 20
    assert said == {name: str(known[name]) for name in said}


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_there(variable: str) -> None:
    field, _ = VARIABLES[variable]
    assert names(row(variable)[1]) == [field]


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("write_")])
def test_what_a_write_takes(method: str) -> None:
    if method.endswith("_sync"):
        assert parameters(method) == parameters(method.removesuffix("_sync"))
        return
    _, required, optional = row(method)
    found = parameters(method)
    assert names(required) == [name for name, one in found.items() if one.default is inspect.Parameter.empty]
    assert names(optional) == [name for name, one in found.items() if one.default is None]


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("query_")])
def test_what_a_query_takes(method: str) -> None:
    if method.endswith("_sync"):
        assert parameters(method) == parameters(method.removesuffix("_sync"))
        return
    _, filters = row(method)
    assert names(filters) == list(parameters(method))


def test_every_status_has_its_row() -> None:
    found = [cells[0] for cells in ROWS if re.fullmatch("[A-Z]+", cells[0])]
    assert sorted(found) == sorted(status.name for status in DatabaseHealthStatus)
