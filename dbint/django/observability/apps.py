"""The app: tells the layer of events where the project's tables are and how its transactions end."""

from collections.abc import Callable

from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    """``dbint.django.observability``. Starts no thread and opens no connection."""

    name = "dbint.django.observability"
    label = "dbint_observability"
    verbose_name = "Agent observability"

    def ready(self) -> None:
        """Becomes the host of the layers of this process."""
        from asgiref.sync import sync_to_async

        from dbint.django.observability.config import database_config
        from dbint.events.host import Host, Transactions, use_host

        use_host(Host(database_config, Transactions(_on_commit, sync_to_async(_on_commit))))


def _on_commit(work: Callable[[], None], using: str | None) -> None:
    from django.db import transaction

    # robust: the commit has happened, and an event that cannot be written must not look as if it had not.
    transaction.on_commit(work, using=using, robust=True)
