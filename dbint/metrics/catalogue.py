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
_POOL = ("pool",)

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
    "dbint_kafka_producer_refused_messages_total": Entry(
        "counter", _CLIENT, "Messages that the producer did not take."
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
}


def help_text(name: str) -> str:
    """The sentence about a metric; for one that is not in the catalogue, its name in words."""
    entry = CATALOGUE.get(name)
    return entry.help if entry else name.replace("_", " ")
