"""The Grafana dashboard that comes with dbint, made from a list of panels."""

import json
from dataclasses import dataclass
from typing import Any

_WIDTH, _COLUMNS, _HEIGHT = 24, 3, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time: PromQL expressions with the legend of each. ``unit`` is Grafana's word for it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    help: str = ""


def _quantiles(metric: str, by: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric}_bucket[$__rate_interval])))",
            f"{{{{{by}}}}} p{quantile * 100:g}",
        )
        for quantile in (0.5, 0.99)
    )


def _rate(metric: str, *by: str) -> tuple[str, str]:
    return (
        f"sum by ({', '.join(by)}) (rate({metric}[$__rate_interval]))",
        " ".join(f"{{{{{label}}}}}" for label in by),
    )


ROWS: dict[str, tuple[Panel, ...]] = {
    "Events": (
        Panel(
            "Health",
            "none",
            (('max by (layer, status) (dbint_events_status{status!="healthy"})', "{{layer}} {{status}}"),),
            "1 where a process is in that state. All 0: healthy.",
        ),
        Panel("Events taken", "ops", (_rate("dbint_writer_accepted_total", "stream"),)),
        Panel("Events landed", "ops", (_rate("dbint_writer_landed_total", "stream"),)),
        Panel(
            "Age of the oldest event on its way",
            "s",
            (("max by (stream) (dbint_writer_lag_seconds)", "{{stream}}"),),
        ),
        Panel(
            "Events on their way",
            "short",
            (("sum by (stream) (dbint_writer_journaled_rows)", "{{stream}}"),),
        ),
        Panel(
            "Events that did not land",
            "ops",
            (
                _rate("dbint_writer_dead_total", "stream"),
                _rate("dbint_writer_dropped_total", "stream", "reason"),
                _rate("dbint_writer_rejected_total", "stream"),
                _rate("dbint_writer_lost_by_server_total", "stream"),
                _rate("dbint_writer_damaged_total", "stream"),
            ),
            "Dead letters, dropped, rejected, lost by the server, damaged. Each has a runbook.",
        ),
    ),
    "Journal and shipping": (
        Panel(
            "Journal, share of its cap",
            "percentunit",
            (
                (
                    "max by (writer) (dbint_writer_journal_bytes / dbint_writer_journal_max_bytes)",
                    "{{writer}}",
                ),
            ),
        ),
        Panel(
            "Journal, bytes of each stream",
            "bytes",
            (("sum by (stream) (dbint_writer_journaled_bytes)", "{{stream}}"),),
        ),
        Panel("Shipments", "s", _quantiles("dbint_writer_shipment_seconds", "writer")),
        Panel(
            "Chains that do not ship",
            "short",
            (
                (
                    'sum by (stream, state) (dbint_writer_chains{state=~"held|backing_off"})',
                    "{{stream}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Failed shipments, by reaction",
            "ops",
            (_rate("dbint_writer_failures_total", "stream", "reaction"),),
        ),
        Panel(
            "Left by others",
            "short",
            (
                ("sum by (writer) (dbint_writer_adopted_slots)", "{{writer}} slots adopted"),
                (
                    "sum by (stream) (increase(dbint_writer_recovered_total[$__range]))",
                    "{{stream}} recovered",
                ),
                (
                    "sum by (stream) (increase(dbint_writer_ambiguous_resolved_total[$__range]))",
                    "{{stream}} lost answers resolved",
                ),
                (
                    "sum by (writer) (increase(dbint_writer_quarantined_total[$__range]))",
                    "{{writer}} quarantined",
                ),
            ),
        ),
        Panel(
            "Callers that wait for room",
            "short",
            (("sum by (stream) (dbint_writer_waiting)", "{{stream}}"),),
        ),
    ),
    "Connections": (
        Panel(
            "Connections",
            "short",
            (
                ("sum by (pool, state) (dbint_pool_connections)", "{{pool}} {{state}}"),
                ("sum by (pool) (dbint_pool_max_connections)", "{{pool}} allowed"),
            ),
        ),
        Panel(
            "Pool, share in use",
            "percentunit",
            (("max by (pool) (dbint_pool_utilization_ratio)", "{{pool}}"),),
        ),
        Panel("Waiting for a connection", "s", _quantiles("dbint_pool_acquire_duration_seconds", "pool")),
        Panel(
            "Requests without a connection",
            "ops",
            (
                _rate("dbint_pool_timeouts_total", "pool"),
                _rate("dbint_pool_refused_total", "pool"),
                _rate("dbint_pool_open_errors_total", "pool"),
            ),
        ),
        Panel("Connections closed, by reason", "ops", (_rate("dbint_pool_closed_total", "pool", "reason"),)),
        Panel(
            "Circuit breakers that are not closed",
            "none",
            (('max by (breaker, state) (dbint_breaker_state{state!="closed"})', "{{breaker}} {{state}}"),),
        ),
        Panel("Guarded calls", "ops", (_rate("dbint_breaker_calls_total", "breaker", "outcome"),)),
    ),
    "Kafka": (
        Panel(
            "Messages produced", "ops", (_rate("dbint_kafka_producer_delivered_messages_total", "client_id"),)
        ),
        Panel(
            "Messages not delivered",
            "ops",
            (
                _rate("dbint_kafka_producer_failed_messages_total", "client_id"),
                _rate("dbint_kafka_producer_dropped_messages_total", "client_id"),
                _rate("dbint_kafka_producer_refused_messages_total", "client_id"),
            ),
        ),
        Panel(
            "Time until delivered",
            "s",
            _quantiles("dbint_kafka_producer_delivery_latency_seconds", "client_id"),
        ),
        Panel(
            "Messages in flight",
            "short",
            (("sum by (client_id) (dbint_kafka_producer_in_flight_messages)", "{{client_id}}"),),
        ),
        Panel("Messages read", "ops", (_rate("dbint_kafka_consumer_read_messages_total", "client_id"),)),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; it asks for the Prometheus data source."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
            }
        )
        y += 1
        for index, panel in enumerate(row):
            position = {
                "x": index % _COLUMNS * (_WIDTH // _COLUMNS),
                "y": y + index // _COLUMNS * _HEIGHT,
                "w": _WIDTH // _COLUMNS,
                "h": _HEIGHT,
            }
            panels.append(_panel(panel, position))
        y += -(-len(row) // _COLUMNS) * _HEIGHT
    for number, shown in enumerate(panels, 1):
        shown["id"] = number
    return {
        "title": "dbint",
        "uid": "dbint",
        "tags": ["dbint"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
            }
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }


def dashboard_text() -> str:
    """The same as text."""
    return json.dumps(dashboard(), indent=2) + "\n"
