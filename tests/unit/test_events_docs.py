"""docs/events.md says what the code does: fields, defaults, variables, parameters, statuses."""

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from dbint.events import DatabaseConfig, DatabaseHealthStatus, DatabaseIntegrationLayer
from dbint.events.config import VARIABLES

GUIDE = Path(__file__).parents[2] / "docs" / "events.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GUIDE.read_text().splitlines()
    if line.startswith("| ")
]
ALWAYS = {"self", "timestamp", "event_id", "on_commit", "start_time", "end_time", "limit", "before"}


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def row(first: str) -> list[str]:
    (found,) = (cells for cells in ROWS if names(cells[0]) == [first])
    return found


def parameters(method: str) -> dict[str, inspect.Parameter]:
    found = inspect.signature(getattr(DatabaseIntegrationLayer, method)).parameters
    return {name: parameter for name, parameter in found.items() if name not in ALWAYS}


def test_every_field_is_there_with_its_default() -> None:
    table = {names(cells[0])[0]: cells for cells in ROWS if len(cells) == 4 and names(cells[0])}
    server = {"host", "port", "database", "user", "password", "options"}
    assert set(table) == {field.name for field in fields(DatabaseConfig)} - server | {"host"}
    for field in fields(DatabaseConfig):
        if field.name in server or field.name in ("name", "journal_dir", "retention_tables"):
            continue
        assert field.default is not MISSING
        assert table[field.name][1].strip("`") == str(field.default), field.name


def test_every_variable_is_there() -> None:
    table = {names(cells[0])[0]: cells[2] for cells in ROWS if len(cells) == 4 and names(cells[0])}
    said = {variable: field for field, cell in table.items() for variable in names(cell)}
    assert said == {variable: field for variable, (field, _) in VARIABLES.items()}


@pytest.mark.parametrize(
    "method", [name for name in dir(DatabaseIntegrationLayer) if name.startswith("write_")]
)
def test_what_a_write_takes(method: str) -> None:
    if method.endswith("_sync"):
        assert parameters(method) == parameters(method.removesuffix("_sync"))
        return
    _, required, optional = row(method)
    found = parameters(method)
    assert names(required) == [name for name, one in found.items() if one.default is inspect.Parameter.empty]
    assert names(optional) == [name for name, one in found.items() if one.default is None]


@pytest.mark.parametrize(
    "method", [name for name in dir(DatabaseIntegrationLayer) if name.startswith("query_")]
)
def test_what_a_query_takes(method: str) -> None:
    if method.endswith("_sync"):
        assert parameters(method) == parameters(method.removesuffix("_sync"))
        return
    _, filters = row(method)
    assert names(filters) == list(parameters(method))


def test_every_status_has_its_row() -> None:
    rows = [cells[0] for cells in ROWS if len(cells) == 2 and cells[0].isupper()]
    assert sorted(rows) == sorted(status.name for status in DatabaseHealthStatus)
