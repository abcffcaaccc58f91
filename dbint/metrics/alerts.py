"""The alerts that come with dbint, as Prometheus' rules: each has a runbook in docs/runbooks."""

import json
from dataclasses import dataclass
from typing import Any, Literal

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. ``expression`` is PromQL, ``lasting`` how long it must hold, ``summary`` a template.

    A "page" is for somebody to act on now: events are being lost, or will be soon. A "ticket" can wait for
    the morning: nothing is lost meanwhile.
    """

    name: str
    severity: Literal["page", "ticket"]
    expression: str
    lasting: str
    summary: str

    @property
    def runbook(self) -> str:
        """Path of its runbook in the repository."""
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.name)
        return f"{RUNBOOKS}/{words.removeprefix('-dbint-')}.md"


ALERTS = (
    Alert(
        "DbintUnhealthy",
        "page",
        'max by (layer) (dbint_events_status{status="unhealthy"}) == 1',
        "1m",
        "The layer {{ $labels.layer }} loses or refuses events, or soon will",
    ),
    Alert(
        "DbintDegraded",
        "ticket",
        'max by (layer) (dbint_events_status{status="degraded"}) == 1',
        "5m",
        "The layer {{ $labels.layer }} keeps events and needs attention",
    ),
    Alert(
        "DbintCircuitOpen",
        "ticket",
        'max by (breaker) (dbint_breaker_state{state=~"open|forced_open"}) == 1',
        "2m",
        "The circuit breaker {{ $labels.breaker }} lets no calls through",
    ),
    Alert(
        "DbintEventsHeld",
        "ticket",
        'sum by (writer, stream) (dbint_writer_chains{state="held"}) > 0',
        "1m",
        "Events of {{ $labels.stream }} are held until somebody acts",
    ),
    Alert(
        "DbintEventsLate",
        "ticket",
        "max by (writer, stream) (dbint_writer_lag_seconds) > 300",
        "1m",
        "An event of {{ $labels.stream }} has been on its way for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "DbintJournalFilling",
        "page",
        "max by (writer) (dbint_writer_journal_bytes / dbint_writer_journal_max_bytes) > 0.7",
        "2m",
        "A journal of {{ $labels.writer }} is {{ $value | humanizePercentage }} full",
    ),
    Alert(
        "DbintEventsDropped",
        "page",
        "sum by (writer, stream) (increase(dbint_writer_dropped_total[10m])) "
        "+ sum by (writer, stream) (increase(dbint_writer_rejected_total[10m])) > 0",
        "0m",
        "{{ $value | humanize }} events of {{ $labels.stream }} were given up or refused",
    ),
    Alert(
        "DbintDeadLetters",
        "ticket",
        "sum by (writer, stream) (increase(dbint_writer_dead_total[15m])) > 0",
        "0m",
        "{{ $value | humanize }} events of {{ $labels.stream }} were refused by the server",
    ),
    Alert(
        "DbintEventsLostByServer",
        "page",
        "sum by (writer, stream) (increase(dbint_writer_lost_by_server_total[1h])) > 0",
        "0m",
        "The server no longer has {{ $value | humanize }} events of {{ $labels.stream }} that had landed",
    ),
    Alert(
        "DbintJournalDamaged",
        "page",
        "sum by (writer) (increase(dbint_writer_quarantined_total[1h])) > 0",
        "0m",
        "{{ $value | humanize }} parts of a journal of {{ $labels.writer }} could not be read",
    ),
    Alert(
        "DbintPoolExhausted",
        "ticket",
        "max by (pool) (dbint_pool_utilization_ratio) > 0.8",
        "5m",
        "The pool {{ $labels.pool }} is {{ $value | humanizePercentage }} in use",
    ),
    Alert(
        "DbintKafkaUndelivered",
        "page",
        "sum by (client_id) (increase(dbint_kafka_producer_failed_messages_total[10m])) "
        "+ sum by (client_id) (increase(dbint_kafka_producer_dropped_messages_total[10m])) > 0",
        "0m",
        "{{ $value | humanize }} messages of the producer {{ $labels.client_id }} were not delivered",
    ),
)


def rules() -> dict[str, Any]:
    """The alerts as a rule file of Prometheus."""
    return {
        "groups": [
            {
                "name": "dbint",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expression,
                        "for": alert.lasting,
                        "labels": {"severity": alert.severity},
                        "annotations": {"summary": alert.summary, "runbook": alert.runbook},
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }


def rules_text() -> str:
    """The same as text: JSON, which is YAML too, and needs no library."""
    return json.dumps(rules(), indent=2) + "\n"
