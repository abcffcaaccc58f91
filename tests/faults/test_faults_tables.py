"""Tables that change under events that wait, and rows that they refuse."""

import json
import re
from datetime import UTC, datetime

import pytest

from dbint.events import DatabaseConfig, DatabaseHealthStatus
from tests.faults.events import TABLE, Admin, Writing, event, journal_tool, landed, until, writing

# What breaks the table, what repairs it, and what the user reads in between: what is wrong, and where.
HOLDING = {
    "dropped": (
        f"ALTER TABLE {TABLE} RENAME TO gone",
        "ALTER TABLE agent_observability.gone RENAME TO trace_events",
        r"agent_observability\.trace_events.* does not exist",
    ),
    "a column of a type to which no assignment casts": (
        f"ALTER TABLE {TABLE} ALTER agent_name TYPE integer USING 7",
        f"ALTER TABLE {TABLE} ALTER agent_name TYPE varchar(255)",
        r'"agent_name" is of type integer',
    ),
    "a column less": (
        f"ALTER TABLE {TABLE} DROP task_id",
        f"ALTER TABLE {TABLE} ADD task_id varchar(255)",
        r'"task_id"',
    ),
    "a privilege less": (
        f"REVOKE INSERT ON {TABLE} FROM app",
        f"GRANT INSERT ON {TABLE} TO app",
        r"permission denied for table trace_events",
    ),
}

# These are followed.
PASSING = {
    "a column of a type to which an assignment casts": f"ALTER TABLE {TABLE} ALTER agent_name TYPE text",
    "a column of a type with other bytes": f"ALTER TABLE {TABLE} ALTER metadata TYPE json",
    "a shorter column": f"ALTER TABLE {TABLE} ALTER trace_id TYPE varchar(10)",
    "a column more": f"ALTER TABLE {TABLE} ADD colour text DEFAULT 'red'",
}


def change(admin: Admin, statements: str) -> None:
    admin.execute(statements)  # type: ignore[call-overload]


@pytest.mark.parametrize("fault", HOLDING)
def test_events_are_held_with_the_reason_and_land_after_the_repair(
    fault: str, config: DatabaseConfig, admin: Admin
) -> None:
    breaking, repair, reason = HOLDING[fault]
    with writing(config) as events:
        events.write(50)
        events.land()
        change(admin, breaking)
        events.write(200)
        held = until(events.held)
        assert re.search(reason, held), held
        health = events.layer.get_health_metrics_sync()
        assert health.status is DatabaseHealthStatus.DEGRADED
        assert (health.held_chains, health.events_pending) == (1, 200)
        events.write(50)  # it goes on
        change(admin, repair)
        events.settle()


@pytest.mark.parametrize("fault", PASSING)
def test_events_follow_a_table_as_far_as_it_takes_them(
    fault: str, config: DatabaseConfig, admin: Admin
) -> None:
    with writing(config) as events:
        events.write(50)
        events.land()
        change(admin, PASSING[fault])
        events.write(200)
        events.settle()
        assert events.held() == ""


def refuse(admin: Admin, condition: str) -> None:
    change(admin, f"ALTER TABLE {TABLE} ADD CONSTRAINT acceptable CHECK ({condition}) NOT VALID")


def dead_letters(config: DatabaseConfig) -> dict[str, str]:
    """Messages and reasons, as the journal's tool tells them."""
    told = journal_tool(config, "dump", "--dead", "--format", "json")
    assert told.returncode == 0, told.stderr
    letters = [json.loads(line) for line in told.stdout.splitlines()]
    return {letter["row"]["message"]: json.dumps(letter) for letter in letters}


def test_a_bad_row_among_10_000(config: DatabaseConfig, admin: Admin) -> None:
    refuse(admin, "message <> '7777'")
    with writing(config, batch_size=10_000) as events:
        events.write(10_000)
        events.settle(dead=1)
        assert "7777" not in landed(config)
    ((message, letter),) = dead_letters(config).items()
    assert message == "7777"
    assert "23514" in letter
    assert "acceptable" in letter
    change(admin, f"ALTER TABLE {TABLE} DROP CONSTRAINT acceptable")
    told = journal_tool(config, "resubmit")
    assert told.returncode == 0, told.stderr
    assert "1 has landed" in told.stdout
    assert len(landed(config)) == 10_000


def test_more_than_100_bad_rows_are_held(config: DatabaseConfig, admin: Admin) -> None:
    refuse(admin, "message::int % 20 <> 0")
    with writing(config, batch_size=4000) as events:
        events.write(4000)
        held = until(events.held)
        assert "acceptable" in held, held
        assert events.figures()["dead"] == 0  # nobody has given anything up yet
        assert landed(config) == []
        change(admin, f"ALTER TABLE {TABLE} DROP CONSTRAINT acceptable")
        events.settle()


def test_a_missing_partition(config: DatabaseConfig, admin: Admin) -> None:
    """Rows that no partition takes are bad rows; a DEFAULT partition takes all."""
    change(admin, f"ALTER TABLE {TABLE} DETACH PARTITION {TABLE}_default")
    with writing(config) as events:
        events.write(500)
        for _ in range(5):
            events.layer.write_trace_event_sync(
                **event(events.sent), timestamp=datetime(1999, 12, 31, tzinfo=UTC)
            )
            events.sent += 1
        events.settle(dead=5)
    letters = dead_letters(config)
    assert set(letters) == {"500", "501", "502", "503", "504"}
    assert all("no partition" in letter for letter in letters.values())
    change(admin, f"ALTER TABLE {TABLE} ATTACH PARTITION {TABLE}_default DEFAULT")
    assert journal_tool(config, "resubmit").returncode == 0
    assert len(landed(config)) == 505


def test_one_table_that_is_gone_holds_up_no_other(config: DatabaseConfig, admin: Admin) -> None:
    change(admin, f"ALTER TABLE {TABLE} RENAME TO gone")
    with writing(config) as events:
        events.write(10)
        until(events.held)
        for number in range(300):
            events.layer.write_performance_metric_sync(
                metric_name="latency", metric_value=number, metric_type="gauge", component="faults"
            )
        metrics = events.layer.performance_metrics_buffer
        until(lambda: metrics.snapshot()["landed"] == 300)
        change(admin, "ALTER TABLE agent_observability.gone RENAME TO trace_events")
        events.settle()


def read_only(admin: Admin, config: DatabaseConfig, on: bool) -> None:
    """As a standby looks to its clients; those that are connected meet it with their next transaction."""
    change(
        admin, f"ALTER DATABASE {config.database} SET default_transaction_read_only = {'on' if on else 'off'}"
    )
    change(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")


def test_a_read_only_server_is_waited_for(config: DatabaseConfig, admin: Admin) -> None:
    with writing(config) as events:
        events.write(50)
        events.land()
        read_only(admin, config, True)
        events.write(200)
        errors = until(lambda: read_only_errors(events))
        assert all("read-only" in error for error in errors)
        assert events.held() == ""  # nobody has to act
        read_only(admin, config, False)
        events.settle()


def read_only_errors(events: Writing) -> list[str]:
    found = [str(chain["last_error"]) for chain in events.figures()["chains"]]
    return [error for error in found if "read-only" in error]
