"""Options that dbint adds to those of a model's ``class Meta``."""

from django.db.migrations import state
from django.db.models import options


def add_option(name: str) -> None:
    """Lets ``class Meta`` have the attribute ``name``, and migrations keep it.

    Call it before the models are made: from the module of an AppConfig, or from the module that the models
    import the option's value from. Both modules hold a copy of the names.
    """
    if name not in options.DEFAULT_NAMES:
        options.DEFAULT_NAMES = (*options.DEFAULT_NAMES, name)
    state.DEFAULT_NAMES = options.DEFAULT_NAMES  # type: ignore[attr-defined]  # imported there from options
