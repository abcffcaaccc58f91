"""The report as one JSON object; docs/verification.md describes its fields."""

import json

from dbint.verify.result import Report


def as_json(report: Report) -> str:
    return json.dumps(report.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
