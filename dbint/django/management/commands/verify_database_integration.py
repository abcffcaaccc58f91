"""``manage.py verify_database_integration``: do the databases do what this project needs of them?"""

from typing import Any

from django.core.management.base import CommandParser

from dbint.django.verification.command import VerificationCommand

SELECTIONS = {
    "all": "everything (the default)",
    "doris": "Apache Doris",
    "kafka": "Apache Kafka",
    "postgres": "PostgreSQL",
    "integration": "routers, and rows on their way PostgreSQL -> Kafka -> Doris",
}


class Command(VerificationCommand):
    """Verifies connections, CRUD, models, routers, the flow, latencies, pools, the breaker and Kafka."""

    help = (
        "Verifies PostgreSQL, Kafka and Doris as this project uses them, and says what to do where they fail."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        for name, text in SELECTIONS.items():
            parser.add_argument(f"--{name}", action="append_const", dest="selection", const=name, help=text)
        parser.add_argument(
            "--read-only",
            action="store_true",
            help="write nothing anywhere; probes that must write are not run",
        )

    def selection(self, options: dict[str, Any]) -> list[str]:
        return options["selection"] or ["all"]
