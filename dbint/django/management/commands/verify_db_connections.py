"""``manage.py verify_db_connections``: does every server answer? Quick, and writes nothing."""

from typing import Any

from dbint.django.verification.command import VerificationCommand


class Command(VerificationCommand):
    """The connection probes of verify_database_integration alone."""

    help = (
        "Verifies that every database alias and Kafka answer. verify_database_integration verifies the rest."
    )

    def selection(self, options: dict[str, Any]) -> list[str]:
        del options
        return ["connections"]
