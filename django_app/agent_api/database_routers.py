"""The agents' router, behind ``dbint.django.routers.DatabaseRouter``, which knows the models in Doris."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any

from django.db.models import Model


class AgentDatabaseRouter:
    """Keeps the tables of the app python_agent in the database agent_db, and everything else out of it."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label == "python_agent":
            return "agent_db"
        return None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        if model._meta.app_label == "python_agent":
            return "agent_db"
        return None

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        labels = {obj1._meta.app_label, obj2._meta.app_label}
        if "python_agent" in labels:
            return labels == {"python_agent"}
        return None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label == "python_agent" or db == "agent_db":
            return app_label == "python_agent" and db == "agent_db"
        return None
