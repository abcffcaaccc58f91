"""The exceptions that dbint raises.

The names of PEP 249 stand in the tree, so that Django's database wrapper maps them to its own.
Every message says what was wrong and where; none carries a secret.
"""


class Error(Exception):
    """Base of all errors of dbint.

    ``code`` is the name of the C core's result code (``"DBI_ETIMEOUT"``), or None for an error raised in
    Python.
    ``sqlstate`` and ``kafka_code`` are the server's own codes, where there is one.
    """

    code: str | None = None
    sqlstate: str | None = None
    kafka_code: int | None = None


class ConfigurationError(Error):
    """A setting or argument that cannot work, whatever the servers do."""


class InterfaceError(Error):
    """The library was used in a way that it does not allow: a closed handle, a handle carried over a fork."""


class ClosedError(InterfaceError):
    """The handle has been closed."""


class DatabaseError(Error):
    """A server refused or failed."""


class OperationalError(DatabaseError):
    """The server or the way to it failed; the same call may work later."""


class UnreachableError(OperationalError):
    """No server answers at that address."""


class AuthenticationError(OperationalError):
    """The server answers and does not accept the credentials."""


class DeadlineError(OperationalError, TimeoutError):
    """The deadline passed before the work was done."""


class QueueFullError(OperationalError):
    """A bounded queue is full and its policy is to refuse."""


class MessageTooLargeError(DatabaseError):
    """The message is larger than the limit of the client, the topic or the broker."""


class InvalidEventError(DatabaseError, ValueError):
    """An event that its stream cannot take: the message names the field and the stream."""


class JournalError(OperationalError):
    """The journal on disk is damaged, or belongs to another server or a newer version."""


class CircuitOpenError(OperationalError):
    """The circuit breaker refuses calls; ``retry_after`` is the time in s until it lets a probe through."""

    retry_after: float | None = None


class KafkaError(DatabaseError):
    """Kafka reported an error that repeating the call will not cure."""


class KafkaRetriableError(KafkaError, OperationalError):
    """Kafka reported an error that may pass."""


class KafkaAbortError(KafkaError):
    """The running transaction cannot commit: abort it, then begin again."""


class KafkaFatalError(KafkaError):
    """The producer is fenced or lost its idempotence guarantee: make a new one."""
