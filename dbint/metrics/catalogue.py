"""What each metric means: the one list that exporters, dashboard, alerts and documentation are made from."""

from typing import NamedTuple

from dbint.metrics import Kind


class Entry(NamedTuple):
    """A metric's kind, the names of its labels, and a sentence about it."""

    kind: Kind
    labels: tuple[str, ...]
    help: str


_BREAKER = ("breaker",)
_CLIENT = ("client_id", "client")
_FLOW = ("flow",)
_LEG = (*_FLOW, "leg")
_POOL = ("pool",)
_WRITER = ("writer",)
_STREAM = (*_WRITER, "stream")

CATALOGUE: dict[str, Entry] = {
    "dbint_breaker_call_duration_seconds": Entry("histogram", _BREAKER, "Duration of guarded calls."),
    "dbint_breaker_calls_total": Entry(
        "counter", (*_BREAKER, "outcome"), "Guarded calls, by how they ended."
    ),
    "dbint_breaker_failure_ratio": Entry("gauge", _BREAKER, "Share of failed calls in the breaker's window."),
    "dbint_breaker_late_calls_total": Entry(
        "counter", _BREAKER, "Calls whose outcome came after a change of state."
    ),
    "dbint_breaker_opened_total": Entry("counter", _BREAKER, "Times that the breaker opened."),
    "dbint_breaker_slow_call_ratio": Entry("gauge", _BREAKER, "Share of slow calls in the breaker's window."),
    "dbint_breaker_slow_calls_total": Entry(
        "counter", _BREAKER, "Calls that took longer than slow_call_duration."
    ),
    "dbint_breaker_state": Entry(
        "gauge", (*_BREAKER, "state"), "1 for the state that the breaker is in, else 0."
    ),
    "dbint_flow_capture_changes_total": Entry(
        "counter", _FLOW, "Changes of rows read from PostgreSQL's log."
    ),
    "dbint_flow_capture_connects_total": Entry("counter", _FLOW, "Times that the capture connected."),
    "dbint_flow_capture_dead_letters_total": Entry("counter", _FLOW, "Changes that no message can hold."),
    "dbint_flow_capture_delivered_messages_total": Entry("counter", _FLOW, "Messages that Kafka confirmed."),
    "dbint_flow_capture_lag_bytes": Entry(
        "gauge", _FLOW, "Log of PostgreSQL that is not confirmed yet, as the capture sees it."
    ),
    "dbint_flow_capture_read_bytes_total": Entry("counter", _FLOW, "Bytes of changes read from PostgreSQL."),
    "dbint_flow_capture_spooled_bytes": Entry("gauge", _FLOW, "Size of open transactions that are spooled."),
    "dbint_flow_capture_stalls_total": Entry("counter", _FLOW, "Times that reading waited for Kafka."),
    "dbint_flow_capture_streaming": Entry("gauge", _FLOW, "1 while changes are being read, else 0."),
    "dbint_flow_capture_transactions_total": Entry("counter", _FLOW, "Transactions read from PostgreSQL."),
    "dbint_flow_capture_undelivered_messages": Entry("gauge", _FLOW, "Messages on their way to Kafka."),
    "dbint_flow_dead_letters": Entry("gauge", _FLOW, "Messages in the flow's topic of dead letters."),
    "dbint_flow_freshness_p50_seconds": Entry(
        "gauge", _FLOW, "From commit to visible in Doris: half of the latest changes took less."
    ),
    "dbint_flow_freshness_p99_seconds": Entry(
        "gauge", _FLOW, "From commit to visible in Doris: 99 % of the latest changes took less."
    ),
    "dbint_flow_lag_bytes": Entry("gauge", _LEG, "Log of PostgreSQL that a leg of the flow has yet to read."),
    "dbint_flow_lag_rows": Entry("gauge", _LEG, "Rows that a leg of the flow has yet to carry."),
    "dbint_flow_lag_seconds": Entry("gauge", _LEG, "Age of the oldest change that a leg has yet to carry."),
    "dbint_flow_slot_retained_bytes": Entry("gauge", _FLOW, "Log that PostgreSQL keeps for the flow's slot."),
    "dbint_flow_status": Entry("gauge", (*_FLOW, "status"), "1 for the health that the flow has, else 0."),
    "dbint_flow_verification_differences": Entry(
        "gauge", (*_FLOW, "table"), "Rows that differ between PostgreSQL and Doris."
    ),
    "dbint_flow_verification_rows": Entry(
        "gauge", (*_FLOW, "table", "side"), "Rows that were compared, on each side."
    ),
    "dbint_flow_verification_timestamp_seconds": Entry("gauge", _FLOW, "When the flow was verified last."),
    "dbint_kafka_consumer_read_bytes_total": Entry(
        "counter", _CLIENT, "Bytes of the messages read from Kafka."
    ),
    "dbint_kafka_consumer_read_messages_total": Entry("counter", _CLIENT, "Messages read from Kafka."),
    "dbint_kafka_producer_accepted_bytes_total": Entry(
        "counter", _CLIENT, "Bytes of the messages taken for Kafka."
    ),
    "dbint_kafka_producer_accepted_messages_total": Entry("counter", _CLIENT, "Messages taken for Kafka."),
    "dbint_kafka_producer_delivered_messages_total": Entry(
        "counter", _CLIENT, "Messages that a broker confirmed."
    ),
    "dbint_kafka_producer_delivery_latency_seconds": Entry(
        "histogram", _CLIENT, "Time from taking a message to its confirmation."
    ),
    "dbint_kafka_producer_dropped_messages_total": Entry(
        "counter", _CLIENT, "Messages dropped by the policy for a full queue."
    ),
    "dbint_kafka_producer_failed_messages_total": Entry(
        "counter", _CLIENT, "Messages that could not be delivered."
    ),
    "dbint_kafka_producer_in_flight_messages": Entry(
        "gauge", _CLIENT, "Messages taken and not yet reported on."
    ),
    "dbint_kafka_producer_damaged_messages_total": Entry(
        "counter", _CLIENT, "Messages in the producer's journal that could not be read."
    ),
    "dbint_kafka_producer_held": Entry(
        "gauge", _CLIENT, "1 while messages in the producer's journal wait for a repair, else 0."
    ),
    "dbint_kafka_producer_journal_bytes": Entry("gauge", _CLIENT, "Size of the producer's own journal."),
    "dbint_kafka_producer_recovered_messages_total": Entry(
        "counter", _CLIENT, "Messages found in the journal, left by earlier processes."
    ),
    "dbint_kafka_producer_refused_messages_total": Entry(
        "counter", _CLIENT, "Messages that the producer did not take."
    ),
    "dbint_kafka_producer_resent_messages_total": Entry(
        "counter", _CLIENT, "Messages of a journal that were sent again, after one of them was refused."
    ),
    "dbint_pool_acquire_duration_seconds": Entry("histogram", _POOL, "Time until a connection was had."),
    "dbint_pool_acquired_total": Entry("counter", _POOL, "Connections given out."),
    "dbint_pool_checks_total": Entry("counter", _POOL, "Connections asked whether they live, after idling."),
    "dbint_pool_closed_total": Entry("counter", (*_POOL, "reason"), "Connections closed, by reason."),
    "dbint_pool_connections": Entry("gauge", (*_POOL, "state"), "Connections, by state."),
    "dbint_pool_exhausted_total": Entry("counter", _POOL, "Times that use rose above the pool's threshold."),
    "dbint_pool_max_connections": Entry("gauge", _POOL, "The most connections that the pool may have."),
    "dbint_pool_open_errors_total": Entry("counter", _POOL, "Connections that could not be opened."),
    "dbint_pool_opened_total": Entry("counter", _POOL, "Connections opened."),
    "dbint_pool_refused_total": Entry("counter", _POOL, "Requests refused because too many were waiting."),
    "dbint_pool_statements_total": Entry("counter", _POOL, "Statements sent over the pool's connections."),
    "dbint_pool_timeouts_total": Entry("counter", _POOL, "Requests that got no connection in time."),
    "dbint_pool_utilization_ratio": Entry("gauge", _POOL, "Share of the pool that is in use, 0 to 1."),
    "dbint_pool_waiting": Entry("gauge", _POOL, "Requests that wait for a connection."),
    "dbint_pool_waits_total": Entry("counter", _POOL, "Requests that had to wait for a connection."),
    "dbint_events_status": Entry(
        "gauge", ("layer", "status"), "1 for the health that the layer has, else 0."
    ),
    "dbint_writer_accepted_total": Entry("counter", _STREAM, "Events taken."),
    "dbint_writer_adopted_slots": Entry(
        "gauge", _WRITER, "Journals of dead processes that are being shipped."
    ),
    "dbint_writer_ambiguous_resolved_total": Entry(
        "counter", _STREAM, "Shipments that had landed although the answer was lost."
    ),
    "dbint_writer_chains": Entry(
        "gauge", (*_STREAM, "state"), "Chains of events, by what their shipper does."
    ),
    "dbint_writer_damaged_total": Entry(
        "counter", _STREAM, "Events set aside because the journal was damaged."
    ),
    "dbint_writer_dead_total": Entry("counter", _STREAM, "Events that the server refused: dead letters."),
    "dbint_writer_dropped_total": Entry(
        "counter", (*_STREAM, "reason"), "Events given up by the policy for a full journal."
    ),
    "dbint_writer_failures_total": Entry(
        "counter", (*_STREAM, "reaction"), "Shipments that failed, by what was done about it."
    ),
    "dbint_writer_journal_bytes": Entry("gauge", _WRITER, "Size of the journal on disk."),
    "dbint_writer_journal_max_bytes": Entry("gauge", _WRITER, "Size that the journal may have."),
    "dbint_writer_journaled_bytes": Entry("gauge", _STREAM, "Size of the segments of a stream."),
    "dbint_writer_journaled_rows": Entry("gauge", _STREAM, "Events that have not landed yet."),
    "dbint_writer_lag_seconds": Entry("gauge", _STREAM, "Age of the oldest event that has not landed."),
    "dbint_writer_landed_total": Entry(
        "counter", _STREAM, "Events that came into their table; less the rewound ones they are there."
    ),
    "dbint_writer_lost_by_server_total": Entry(
        "counter", _STREAM, "Events that had landed and that the server no longer has."
    ),
    "dbint_writer_quarantined_total": Entry("counter", _WRITER, "Parts of the journal that were set aside."),
    "dbint_writer_recovered_total": Entry("counter", _STREAM, "Events found in the journal, left by others."),
    "dbint_writer_rejected_total": Entry("counter", _STREAM, "Events refused because the journal was full."),
    "dbint_writer_rewound_total": Entry(
        "counter", _STREAM, "Events that were landed or dead letters until the server lost them again."
    ),
    "dbint_writer_shipment_seconds": Entry("histogram", _WRITER, "From BEGIN to COMMIT of a shipment."),
    "dbint_writer_waiting": Entry("gauge", _STREAM, "Callers that wait for room or for the disk."),
}


def help_text(name: str) -> str:
    """The sentence about a metric; for one that is not in the catalogue, its name in words."""
    entry = CATALOGUE.get(name)
    return entry.help if entry else name.replace("_", " ")
