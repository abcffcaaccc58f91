"""From exceptions of the drivers to what is wrong."""

import socket

import pytest

from dbint import errors
from dbint.verify.diagnosis import Kind, classify, one_line, place


class OperationalError(Exception):
    """As drivers and Django call it."""


def with_code(cls: type[errors.Error], **attributes: object) -> errors.Error:
    error = cls("x")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


# The texts are libpq's and PyMySQL's own.
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            OperationalError(
                'connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused'
            ),
            Kind.UNREACHABLE,
        ),
        (OperationalError("[Errno -2] Name or service not known"), Kind.NAME_UNKNOWN),
        (OperationalError("received invalid response to SSL negotiation: H"), Kind.NOT_THE_PROTOCOL),
        (OperationalError("connection timeout expired"), Kind.TIMEOUT),
        (
            OperationalError('FATAL:  password authentication failed for user "dbint"'),
            Kind.AUTHENTICATION,
        ),
        (OperationalError('FATAL:  database "nope" does not exist'), Kind.DATABASE_MISSING),
        (OperationalError(1105, "detailMessage = Database [nope] does not exist."), Kind.DATABASE_MISSING),
        (
            OperationalError(1105, "detailMessage = Table [x] does not exist in database [y]."),
            Kind.TABLE_MISSING,
        ),
        (OperationalError(1105, "detailMessage = Unknown column 'x' in 'table list'"), Kind.COLUMN_MISSING),
        (OperationalError("FATAL:  sorry, too many clients already"), Kind.TOO_MANY_CONNECTIONS),
        (OperationalError("FATAL:  the database system is starting up"), Kind.STARTING),
        (OperationalError("server closed the connection unexpectedly"), Kind.LOST),
        (OperationalError(1045, "Access denied for user 'root'@'127.0.0.1'"), Kind.AUTHENTICATION),
        (OperationalError(1049, "Unknown database 'nope'"), Kind.DATABASE_MISSING),
        (
            OperationalError(2003, "Can't connect to MySQL server on 'h' ([Errno 111] Connection refused)"),
            Kind.UNREACHABLE,
        ),
        (OperationalError(2003, "Can't connect to MySQL server on 'h' (timed out)"), Kind.TIMEOUT),
        (OperationalError(2013, "Lost connection to MySQL server during query (timed out)"), Kind.TIMEOUT),
        (OperationalError(2013, "Lost connection to MySQL server during query"), Kind.LOST),
        (OperationalError("PostgreSQL 14 or later is required (found 12.4)."), Kind.VERSION),
        (errors.UnreachableError("kafka"), Kind.UNREACHABLE),
        (errors.AuthenticationError("kafka"), Kind.AUTHENTICATION),
        (errors.DeadlineError("kafka"), Kind.TIMEOUT),
        (with_code(errors.KafkaError, kafka_code=3), Kind.TOPIC_MISSING),
        (with_code(errors.KafkaError, kafka_code=29), Kind.NO_PERMISSION),
        (with_code(errors.DatabaseError, sqlstate="42P01"), Kind.TABLE_MISSING),
        (with_code(errors.DatabaseError, sqlstate="25006"), Kind.READ_ONLY),
        (ConnectionRefusedError(111, "Connection refused"), Kind.UNREACHABLE),
        (socket.gaierror(-2, "x"), Kind.NAME_UNKNOWN),
        (TimeoutError(), Kind.TIMEOUT),
        (ValueError("surprise"), Kind.OTHER),
    ],
)
def test_classify(error: Exception, kind: Kind) -> None:
    assert classify(error) is kind


def test_the_cause_tells_what_the_wrapper_hides() -> None:
    error = RuntimeError("the wrapper")
    error.__cause__ = OperationalError(1045, "Access denied")
    assert classify(error) is Kind.AUTHENTICATION


def test_one_line_is_one_line_and_names_unusual_types() -> None:
    assert one_line(OperationalError("first\n  second\t third\n")) == "first; second third"
    assert one_line(OperationalError(1045, "denied")) == "denied"
    assert one_line(KeyError("x")) == "KeyError: 'x'"
    assert one_line(ValueError()) == "ValueError"


def test_place_names_the_innermost_frame_without_the_machines_directories() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    shown = place(caught.value)
    assert shown.startswith("unit/verify/test_diagnosis.py:")
    assert shown.endswith(" in test_place_names_the_innermost_frame_without_the_machines_directories")
    assert place(ValueError()) == "an unknown place"
