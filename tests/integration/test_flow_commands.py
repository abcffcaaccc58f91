# ruff: noqa: S608 - names are the test's own
"""flow_plan, flow_status, flow_verify and flow_remove as their users run them."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.flow_tables import parameters_of, run
from tests.integration.verification_project import Outcome, Project

PASSWORD = "only-for-this-test"


@pytest.fixture
def project(tmp_path: Path, stack, postgres, kafka, doris, target) -> Iterator[tuple[Project, str]]:
    """A project with a flow of one table, in a schema of its own."""
    schema = f"flow_{secrets.token_hex(4)}"
    databases = {
        "default": {"kind": "postgres"},
        "doris": {"kind": "doris", "with": {"NAME": target.database}},
    }
    flow = {"SOURCE": "default", "TARGET": "doris", "TABLES": [f"{schema}.t"], "PREFIX": schema}
    with psycopg.connect(**parameters_of(postgres), autocommit=True) as connection:
        connection.execute(
            f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id int PRIMARY KEY, at timestamptz(0)); "
            f"INSERT INTO {schema}.t SELECT i, now() FROM generate_series(1, 5) i"
        )
        made = Project(tmp_path, databases, {"FLOWS": {"orders": flow}})
        made.write()
        yield made, schema
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_from_a_plan_to_a_table_that_is_compared(project, target):
    made, schema = project
    shown = made.run("flow_plan")
    assert shown.code == 0, shown.stderr
    assert f"{schema}.t -> {target.database}.{schema}_t" in shown.stdout
    assert "CREATE TABLE" in shown.stdout
    assert "in UTC" in shown.stdout
    assert run(target, "SHOW TABLES") == []

    applied = made.run("flow_plan", "orders", "--apply", "--format", "json")
    assert applied.code == 0, applied.stderr
    (document,) = applied.json["flows"]
    assert document["applied"] == [f"{schema}.t: the table is new"]
    assert document["tables"][0]["key"] == ["id"]
    assert run(target, "SHOW TABLES") == [(f"{schema}_t",)]
    assert "all tables as they should be" in made.run("flow_plan").stdout

    compared = made.run("flow_verify", "--settle", "0", "--format", "json")
    assert compared.code == 1
    (table,) = compared.json["flows"][0]["tables"]
    assert (table["rows_source"], table["rows_target"], table["found"]) == (5, 0, 5)
    assert table["differences"][0]["kind"] == "missing"
    text = made.run("flow_verify", "--settle", "0", "--table", f"{schema}.t")
    assert "5 rows differ" in text.stdout
    assert "is missing in Doris" in text.stdout
    metrics = made.run("flow_verify", "--settle", "0", "--format", "openmetrics").stdout
    assert f'dbint_flow_verification_differences{{flow="orders",table="{schema}.t"}} 5' in metrics


def test_the_status_of_a_flow_that_does_not_run(project):
    made, _ = project
    status = made.run("flow_status", "--format", "json")
    assert status.code == 1
    (document,) = status.json["flows"]
    assert document["level"] == "error"
    assert "start run_flow" in document["findings"][0]["text"]
    assert document["first_load"][0]["state"] == "pending"
    assert (
        'dbint_flow_status{flow="orders",status="error"} 1'
        in made.run("flow_status", "--format", "openmetrics").stdout
    )


def test_what_cannot_run_says_so_in_a_line(project, postgres):
    made, _ = project
    refused(made.run("flow_plan", "nothing"), "has no flow 'nothing'; there is orders")
    refused(made.run("flow_verify", "--table", "public.other"), "has no table public.other")
    refused(made.run("flow_remove", "orders"), "--yes")
    refused(made.run("flow_remove"), "the following arguments are required: flow")
    made.databases["default"]["with"] = {"PORT": 1}
    made.write()
    refused(made.run("flow_plan"), "PostgreSQL (alias default)", "refused")
    made.databases["default"]["with"] = {"PASSWORD": PASSWORD}
    made.write()
    outcome = made.run("flow_plan")
    refused(outcome, "password authentication failed")
    assert PASSWORD not in outcome.stderr


def test_what_is_refused_is_an_exit_code_of_its_own(project, target):
    made, schema = project
    made.dbint["FLOWS"]["orders"]["TABLES"] = {f"{schema}.t": {"types": {"at": "DATE"}}}
    made.write()
    shown = made.run("flow_plan", "--apply")
    assert shown.code == 1
    assert "the time would be cut off" in shown.stdout
    assert "nothing was applied" in shown.stdout
    assert run(target, "SHOW TABLES") == []


def test_removing_what_is_not_there_is_no_error(project):
    made, _ = project
    removed = made.run("flow_remove", "orders", "--yes", "--topics")
    assert (removed.code, removed.stderr) == (0, "")
    assert "nothing to remove" in removed.stdout
    assert json.loads(made.run("flow_remove", "orders", "--yes", "--format", "json").stdout)["ok"] is True
