"""The report as JUnit XML, one suite per server, for the test tab of a CI system.

JUnit has no word for "could not find out" and "not configured": both are skipped tests whose message begins
with that word, so that the file is red exactly when the exit code is 1.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from xml.etree import ElementTree as ET

from dbint.verify.result import Report, Result, Status

# What XML 1.0 cannot carry, https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(report: Report) -> str:
    suites = ET.Element("testsuites", _counts(report.results) | {"name": "verify_database_integration"})
    suites.set("time", f"{report.duration:.3f}")
    ordered = sorted(report.results, key=lambda result: result.server)
    for server, results in groupby(ordered, key=lambda result: result.server):
        suites.append(_suite(server, list(results), report))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _suite(server: str, results: list[Result], report: Report) -> ET.Element:
    suite = ET.Element("testsuite", _counts(results) | {"name": server})
    suite.set("time", f"{sum(result.duration for result in results):.3f}")
    suite.set("timestamp", report.started_at.isoformat(timespec="seconds"))
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("version", ", ".join(dict.fromkeys(result.version for result in results if result.version))),
        ("emulated", str(any(result.emulated for result in results)).lower()),
    ):
        ET.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for result in results:
        suite.append(_case(result))
    return suite


def _case(result: Result) -> ET.Element:
    case = ET.Element(
        "testcase",
        {
            "classname": f"{result.server}.{result.group}",
            "name": result.name,
            "time": f"{result.duration:.3f}",
        },
    )
    if result.status is Status.FAILED:
        failure = ET.SubElement(case, "failure", {"message": _clean(result.message), "type": "ProbeFailed"})
        failure.text = _clean("\n".join([result.message, *(f"- {step}" for step in result.advice)]))
    elif result.status is not Status.PASSED:
        ET.SubElement(case, "skipped", {"message": _clean(f"{result.status.words}: {result.message}")})
    else:
        ET.SubElement(case, "system-out").text = _clean(result.message)
    return case


def _counts(results: Iterable[Result]) -> dict[str, str]:
    statuses = [result.status for result in results]
    skipped = statuses.count(Status.UNKNOWN) + statuses.count(Status.NOT_CONFIGURED)
    return {
        "tests": str(len(statuses)),
        "failures": str(statuses.count(Status.FAILED)),
        "errors": "0",
        "skipped": str(skipped),
    }


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
