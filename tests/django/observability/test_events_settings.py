"""DBINT["EVENTS"]: its keys are fields of DatabaseConfig, and what is wrong is named."""

from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from dbint.django import conf
from dbint.events import DatabaseConfig
from dbint.events.config import VARIABLES

# Where the server is comes from DATABASES.
FROM_DATABASES = {"host", "port", "database", "user", "password", "options"}


def test_every_field_is_a_key_and_every_key_a_field() -> None:
    keys = set(conf._KEYS["EVENTS"])
    assert keys == {field.name for field in fields(DatabaseConfig)} - FROM_DATABASES
    assert keys == set(get_type_hints(conf.EventsDict))
    assert {field for field, _ in VARIABLES.values()} <= keys


def test_everything_is_read() -> None:
    events = {
        "name": "shop",
        "journal_dir": "/srv/journal",
        "durability": "sync",
        "when_full": "reject",
        "batch_size": 500,
        "trace_events_retention_days": 7,
        "routing_decisions_retention_days": None,
        "performance_metrics_retention_days": 0,
        "retention_tables": {"public.audit": {"column": "at", "days": 365}},
        "partition_interval": "week",
        "background": False,
    }
    parsed, problems = conf.parse({"EVENTS": events})
    assert not problems
    assert parsed.events == {**events, "performance_metrics_retention_days": None}


def test_the_defaults_are_those_of_the_configuration() -> None:
    parsed, _ = conf.parse({})
    assert parsed.events == {}


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ({"batchsize": 3}, "has an unknown key 'batchsize'"),
        ({"batch_size": 0}, '["batch_size"] is not a whole number above 0'),
        ({"durability": "none"}, '["durability"] is not one of memory, process, interval, sync'),
        ({"background": 1}, '["background"] is not True or False'),
        ({"trace_events_retention_days": -1}, '["trace_events_retention_days"] is not a number above 0'),
        ({"retention_tables": {"public.a": {}}}, '["public.a"] is not a dict with the keys column and days'),
        (
            {"retention_tables": {"public.a": {"column": "at", "days": "ten"}}},
            '["retention_tables"]["public.a"] is not a number above 0',
        ),
    ],
)
def test_what_is_wrong_is_named(events: dict[str, Any], problem: str) -> None:
    _, problems = conf.parse({"EVENTS": events})
    assert [problem in one.message for one in problems] == [True], problems
