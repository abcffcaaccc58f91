"""The flow of the ``flow`` scenario, as all of its processes see it; the environment says where it is."""

import json
import os
from collections.abc import Mapping
from typing import Any

from dbint.flow.config import FlowConfig, SourceAccess, TargetAccess

VARIABLE = "DBINT_CRASH_FLOW"
CALLERS = 6
UNITS = 4  # rows that a call inserts

ROWS, STATES = "crash_rows", "crash_states"
SHARE = 1_000  # numbers of crash_states that belong to one caller
BIG = 3_000  # characters that PostgreSQL stores out of line

DEFINITIONS = (
    "CREATE TABLE crash_rows (caller int, number bigint, unit int, payload text NOT NULL, "
    "PRIMARY KEY (caller, number, unit))",
    "CREATE TABLE crash_states (id int PRIMARY KEY, version bigint NOT NULL, note text, big text)",
    "ALTER TABLE crash_states ALTER COLUMN big SET STORAGE EXTERNAL",
)
# What is there before the flow begins: kills meet the first load, too.
FIRST = (
    "INSERT INTO crash_states SELECT id, 0, 'first', "
    "CASE WHEN id %% 8 = 0 THEN repeat(chr(97 + id %% 26), %s) END FROM generate_series(0, %s, 2) id"
)


def payload(caller: int, number: int, unit: int) -> str:
    """Follows from the row's numbers, is of many lengths, and not only ASCII."""
    return f'{caller}/{number}/{unit} é"\\' * (1 + (caller + number + unit) % 10)


def flow_config(place: Mapping[str, Any] | None = None) -> FlowConfig:
    """The flow; ``place`` says where the servers are, by default the environment does."""
    found = json.loads(os.environ[VARIABLE]) if place is None else place
    return FlowConfig(
        name="crash",
        source=SourceAccess("crash", lambda: {**found["postgres"], "connect_timeout": 5}),
        target=TargetAccess(
            "crash",
            found["database"],
            [tuple(found["doris_sql"])],
            [found["doris_http"]],
            lambda: (found["doris_user"], found["doris_password"]),
            replication_num=1,
        ),
        kafka=lambda role: {
            "bootstrap.servers": found["kafka"],
            "log_level": 2,
            # A killed sink's partitions are given to its successor after this time.
            **({"session.timeout.ms": 6000} if role == "consumer" else {}),
        },
        tables=(f"public.{ROWS}", f"public.{STATES}"),
        partitions=3,
        chunk_rows=25,
        batch_seconds=0.2,
        batch_rows=2_000,
    )
