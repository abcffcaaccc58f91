"""A `Report` as text for people, and as JSON, JUnit XML and OpenMetrics for machines."""

from collections.abc import Callable

from dbint.verify.reports.as_json import as_json
from dbint.verify.reports.as_junit import as_junit
from dbint.verify.reports.as_openmetrics import as_openmetrics
from dbint.verify.reports.as_text import as_text
from dbint.verify.result import Report

# Every format ends with a newline.
FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "openmetrics": as_openmetrics,
}

__all__ = ["FORMATS", "as_json", "as_junit", "as_openmetrics", "as_text"]
