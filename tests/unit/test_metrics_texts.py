"""Dashboard, alerts and runbooks: every metric and label that they name exists, and each has the other."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dbint.metrics.__main__ import main
from dbint.metrics.alerts import ALERTS, Alert, rules
from dbint.metrics.catalogue import CATALOGUE
from dbint.metrics.dashboard import ROWS, dashboard

CHECKOUT = Path(__file__).parents[2]
QUERIES = [(panel.title, *query) for row in ROWS.values() for panel in row for query in panel.queries]


def labels_of(expression: str) -> set[str]:
    """The labels of the metrics in a PromQL expression; fails for a metric that there is not."""
    names = re.findall(r"\bdbint_\w+", expression)
    assert names, f"no metric in {expression}"
    known: set[str] | None = None
    for name in names:
        entry = CATALOGUE.get(name) or CATALOGUE.get(name.removesuffix("_bucket"))
        assert entry, f"{name} is not in the catalogue"
        if name.endswith("_bucket"):
            assert entry.kind == "histogram"
        elif entry.kind == "counter":
            assert f"rate({name}[" in expression or f"increase({name}[" in expression, f"{name} is a counter"
        labels = {*entry.labels, "le"} if entry.kind == "histogram" else set(entry.labels)
        known = labels if known is None else known & labels
    assert known is not None
    for names_of_group in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in names_of_group.split(",")} <= known, expression
    for label in re.findall(r"[{,](\w+)(?:=~|!=|=)", expression):
        assert label in known, expression
    return known


@pytest.mark.parametrize(("title", "expression", "legend"), QUERIES)
def test_a_panel_shows_metrics_that_exist(title: str, expression: str, legend: str) -> None:
    assert set(re.findall(r"{{(\w+)}}", legend)) <= labels_of(expression)
    assert re.search(r"{{\w+}}", legend), f"{title}: nobody can tell its lines apart"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_watches_metrics_that_exist_and_has_a_runbook(alert: Alert) -> None:
    assert set(re.findall(r"\$labels\.(\w+)", alert.summary)) <= labels_of(alert.expression)
    text = (CHECKOUT / alert.runbook).read_text()
    for heading in ("What it means", "What is at risk", "Look", "Repair", "Over"):
        assert f"## {heading}\n" in text
    assert f"| {alert.name} ({alert.severity}) |" in (CHECKOUT / "docs/runbooks/README.md").read_text()


def test_every_runbook_has_its_alert_and_its_links_lead_somewhere() -> None:
    pages = {page for page in (CHECKOUT / "docs" / "runbooks").glob("*.md") if page.name != "README.md"}
    assert pages == {CHECKOUT / alert.runbook for alert in ALERTS}
    for page in pages:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_panels_do_not_overlap_and_are_numbered() -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard()["panels"]
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))


def test_alerts_have_names_of_their_own() -> None:
    [group] = rules()["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(ALERTS) > 10
    assert {rule["labels"]["severity"] for rule in group["rules"]} == {"page", "ticket"}


@pytest.mark.parametrize(("what", "kept"), [("dashboard", "dbint.json"), ("alerts", "alerts.yaml")])
def test_what_is_kept_is_what_is_made(what: str, kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([what]) == 0
    made = capsys.readouterr().out
    assert json.loads(made)
    path = CHECKOUT / "docs" / "grafana" / kept
    assert made == path.read_text(), f"python -m dbint.metrics {what} > {path.relative_to(CHECKOUT)}"


def test_the_list_has_every_metric() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dbint.metrics", "list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    assert len(ended.stdout.splitlines()) == len(CATALOGUE) + 2
