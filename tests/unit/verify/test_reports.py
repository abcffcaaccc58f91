"""The four formats, read back; and what people see in 80 columns."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from dbint.verify import Report, Result, Status
from dbint.verify.reports import FORMATS, as_text

LATENCY = {"insert": {"p50_ms": 1.5, "p95_ms": 20.0, "p99_ms": 30.0, "samples": 50}}


def result(name: str, status: Status, server: str = "postgres", **more: object) -> Result:
    values: dict[str, object] = {"group": "test", "message": f"{name} said this", "duration": 0.25}
    return Result(name=name, status=status, server=server, **(values | more))  # type: ignore[arg-type]


RESULTS = [
    result("connections.default", Status.PASSED, version="15.20", alias="default"),
    result(
        "performance.default",
        Status.FAILED,
        alias="default",
        version="15.20",
        message="insert: p95 20 ms, budget 10 ms",
        advice=["look at the load", "raise the budget"],
        details={"latency": LATENCY, "budgets": {"insert": {"p95_ms": 10}}},
    ),
    result("connections.doris", Status.PASSED, "doris", version="4.0.2", emulated=True),
    result("connections.kafka", Status.FAILED, "kafka", advice=["python -m stack start kafka"]),
    result(
        "integration.flow",
        Status.FAILED,
        "integration",
        advice=["python -m stack start kafka"],
        details={"because_of": ["connections.kafka"]},
    ),
    result("credentials.vault", Status.NOT_CONFIGURED, "vault"),
    result(
        "odd", Status.UNKNOWN, "project", message='a "quoted" \\ <odd> & \x07 [red]line[/red]\nwith two lines'
    ),
]


def report(**more: object) -> Report:
    values: dict[str, object] = {
        "results": RESULTS,
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "duration": 1.5,
        "not_run": {"crud.default": "read-only"},
    }
    return Report(**(values | more))  # type: ignore[arg-type]


def test_json_has_every_probe_and_the_summary() -> None:
    read = json.loads(FORMATS["json"](report()))
    assert [probe["name"] for probe in read["probes"]] == [r.name for r in RESULTS]
    first = read["probes"][0]
    assert {"name", "status", "server", "version", "duration", "group", "alias", "emulated"} <= first.keys()
    assert first["status"] == "passed"
    assert first["version"] == "15.20"
    summary = read["summary"]
    assert (summary["passed"], summary["failed"], summary["unknown"], summary["not_configured"]) == (
        2,
        3,
        1,
        1,
    )
    assert summary["total"] == len(RESULTS)
    assert summary["not_run"] == 1
    assert summary["exit_code"] == 1
    doris = next(entry for entry in summary["servers"] if entry["server"] == "doris")
    assert doris == {
        "server": "doris",
        "versions": ["4.0.2"],
        "emulated": True,
        "passed": 1,
        "failed": 0,
        "unknown": 0,
        "not_configured": 0,
    }


def test_junit_is_xml_that_is_red_where_the_exit_code_is() -> None:
    root = ET.fromstring(FORMATS["junit"](report()))  # noqa: S314 - our own output
    assert root.attrib["tests"] == str(len(RESULTS))
    assert root.attrib["failures"] == "3"
    assert root.attrib["skipped"] == "2"
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert set(cases) == {r.name for r in RESULTS}
    failure = cases["performance.default"].find("failure")
    assert failure is not None
    assert "raise the budget" in (failure.text or "")
    skipped = cases["odd"].find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"].startswith("unknown: ")
    assert sum(int(suite.attrib["tests"]) for suite in root) == len(RESULTS)


# The grammar of OpenMetrics 1.0, as far as we use it.
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"(?P<name>[a-z_]+)(?:\{{(?P<labels>{LABEL}(?:,{LABEL})*)\}})? (?P<value>-?[0-9.e+-]+)")


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            labels = dict(pair.split("=", 1) for pair in re.findall(LABEL, match["labels"] or ""))
            yield match["name"], labels, float(match["value"])


def test_openmetrics_follows_its_grammar_and_each_state_is_set_once() -> None:
    text = FORMATS["openmetrics"](report())
    assert text.endswith("# EOF\n")
    read = list(samples(text))
    families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert len(families) == len(re.findall(r"^# TYPE", text, re.MULTILINE))
    assert {name.removesuffix("_info") for name, _, _ in read} <= families
    assert len({(name, tuple(sorted(labels.items()))) for name, labels, _ in read}) == len(read)
    states = [(labels["probe"], value) for name, labels, value in read if name == "dbint_probe_status"]
    for r in RESULTS:
        assert sorted(value for probe, value in states if probe == f'"{r.name}"') == [0, 0, 0, 1]
    latency = {
        labels["quantile"]: value for name, labels, value in read if name == "dbint_operation_latency_seconds"
    }
    assert latency == {'"0.5"': 0.0015, '"0.95"': 0.02, '"0.99"': 0.03}


@pytest.mark.parametrize("width", [80, 100, 160])
def test_text_keeps_to_its_width_and_shows_all(width: int) -> None:
    text = as_text(report(), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "\x1b" not in text
    for r in RESULTS:
        assert r.name in text
    for words in ("passed", "failed", "unknown", "not configured", "EMULATED", "read-only"):
        assert words in text
    assert "raise the budget" in text
    assert "[red]line[/red]" in text.replace("\n", "")


def test_text_tells_a_cause_once_and_what_was_not_tried_because_of_it() -> None:
    text = as_text(report(), width=200)
    assert text.count("python -m stack start kafka") == 1
    assert "not tried because of it: integration.flow" in text


def test_text_says_how_many_passed_on_which_servers() -> None:
    text = as_text(report(), width=200)
    assert "2 passed, 3 failed, 1 unknown, 1 not configured, 1 not run, in 1.50 s." in text
    assert "Passed: 1 on PostgreSQL 15.20; 1 on Apache Doris 4.0.2 (emulated)." in text


def test_colour_only_when_asked_for() -> None:
    assert "\x1b[" in as_text(report(), width=80, colour=True)


def test_databases_are_measured_side_by_side_as_far_as_the_width_goes() -> None:
    measured = [
        result(
            f"performance.{alias}",
            Status.PASSED,
            alias=alias,
            details={"latency": LATENCY, "budgets": {"insert": {"p95_ms": 10}}},
        )
        for alias in ("default", "doris", "third", "fourth")
    ]
    rate = {"messages_per_s": 34567, "budget_messages_per_s": 2000.0}
    measured.append(
        result(
            "performance.kafka",
            Status.PASSED,
            "kafka",
            details={"latency": {"produce": LATENCY["insert"]}, **rate},
        )
    )
    text = as_text(report(results=measured), width=80)
    row = r" +1\.50 +20\.00! +30\.00"
    assert re.search(rf"default +doris +third\ninsert{row * 3}\n +fourth\ninsert{row}\n", text)
    assert re.search(r"kafka\nproduce +1\.50 +20\.00 +30\.00\n", text)
    assert "throughput  34,567 messages/s, at least 2,000 are wanted" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_who_gave_the_address_is_said_once_for_a_server() -> None:
    same = {"address_from": "state file /x", "credentials_from": "state file /x"}
    other = {"address_from": "environment variable A", "credentials_from": "file /c"}
    results = [
        result("connections.default", Status.PASSED, alias="default", details=same),
        result("connections.second", Status.PASSED, alias="second", details=same),
    ]
    text = as_text(report(results=results))
    assert text.count("state file /x") == 1
    assert "\naddress and credentials from state file /x\n" in text
    results.append(result("connections.third", Status.PASSED, alias="third", details=other))
    text = as_text(report(results=results))
    assert "default, second: address and credentials from state file /x" in text
    assert "third: address from environment variable A, credentials from file /c" in text


def test_the_same_failure_of_two_aliases_is_told_once() -> None:
    results = [
        result(f"connections.{alias}", Status.FAILED, alias=alias, message="refused", advice=["start it"])
        for alias in ("default", "second")
    ]
    text = as_text(report(results=results))
    assert "failed connections.default, connections.second: refused\n" in text
    assert text.count("start it") == 1


def test_the_libraries_are_in_json_and_in_the_last_line_of_text() -> None:
    libraries = {"dbint": "1.2", "libpq": "15.18"}
    given = report(libraries=libraries)
    assert json.loads(FORMATS["json"](given))["libraries"] == libraries
    assert as_text(given).splitlines()[-1] == "With dbint 1.2, libpq 15.18."


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_report_is_valid_and_red(form: str) -> None:
    empty = report(results=[], not_run={})
    assert empty.exit_code == 2
    assert FORMATS[form](empty).endswith("\n")
    if form == "text":
        assert "Nothing was verified" in FORMATS[form](empty)


def test_an_interrupted_report_is_no_verdict() -> None:
    interrupted = report(interrupted=15, leftovers=["table dbint_verify_1 on default"])
    assert interrupted.exit_code == 143
    text = as_text(interrupted)
    assert "not a verdict" in text
    assert "table dbint_verify_1 on default" in text
