"""flow_deploy as its users run it, where nothing is deployed: the rest is in test_flow_engines.py."""

import pytest

from tests.integration.flow_tables import target
from tests.integration.test_flow_commands import project as flow_project
from tests.integration.verification_project import Project

__all__ = ["flow_project", "target"]  # fixtures


@pytest.fixture
def project(flow_project, target) -> tuple[Project, str]:
    """A flow of engine connect, whose Kafka Connect is not there."""
    made, schema = flow_project
    flow = made.dbint["FLOWS"]["orders"]
    flow |= {"ENGINE": "connect", "CONNECT_URL": "http://me:s3cret@127.0.0.1:1"}
    made.write()
    return made, schema


def test_the_sink_connector_says_that_it_is_untested(project):
    made, schema = project
    shown = made.run("flow_deploy", "--sink-connector", "--json")
    assert shown.code == 0, shown.stderr
    (flow,) = shown.json["flows"]
    (connector,) = flow["connectors"]
    assert "dbint has never run this" in connector["untested"]
    assert connector["config"]["topics"] == f"{schema}.{schema}.t"
    assert connector["config"]["doris.password"] == "********"


def test_what_cannot_run_says_so_in_a_line(project):
    made, _ = project
    outcome = made.run("flow_deploy")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "Kafka Connect at http://127.0.0.1:1 does not answer" in outcome.stderr
    assert "s3cret" not in outcome.stderr
    status = made.run("flow_deploy", "--status", "--json")
    assert status.code == 1
    (flow,) = status.json["flows"]
    assert not flow["well"]
    assert flow["connector"]["state"] == "UNKNOWN"
    assert [job["state"] for job in flow["jobs"]] == ["ABSENT"]
    made.dbint["FLOWS"]["orders"]["ENGINE"] = "embedded"
    made.write()
    assert 'no flow of DBINT["FLOWS"] has "ENGINE": "connect"' in made.run("flow_deploy").stderr
    assert "manage.py run_flow runs it" in made.run("flow_deploy", "orders").stderr
