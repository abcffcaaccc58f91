"""Finding out whether the servers behind a project do what the project needs of them. Knows no Django."""

from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, ProbeUnknown, Scope
from dbint.verify.redaction import Redactor
from dbint.verify.result import Report, Result, Status
from dbint.verify.runner import Runner

__all__ = [
    "Probe",
    "ProbeFailed",
    "ProbeNotConfigured",
    "ProbeUnknown",
    "Redactor",
    "Report",
    "Result",
    "Runner",
    "Scope",
    "Status",
]
