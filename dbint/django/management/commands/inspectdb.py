"""Django's inspectdb; for a table in Doris the model gets its ``Meta.doris``."""

from dbint.django.backends.doris.inspectdb import Command

__all__ = ["Command"]
