"""Which database a model lives in.

A model has a home when one of these names an alias; the first wins:

1. ``class Meta: database = "doris"`` on the model, or an attribute ``database = "doris"`` of the model class;
2. ``DBINT["ROUTING"]["models"]``: ``{"app_label.Model": "doris"}``;
3. ``DBINT["ROUTING"]["apps"]``: ``{"app_label": "doris"}``.

:class:`DatabaseRouter` routes the models that have a home and has no opinion (None) on the others, so it
goes first in ``DATABASE_ROUTERS`` and the project's own routers follow it.
"""

from functools import cache
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import router
from django.db.models import Model

from dbint.django.conf import get_settings


class DatabaseRouter:
    """Sends each model to its home; lets tables and relations be only there."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:  # noqa: ARG002 - Django's signature
        """The model's home."""
        return home(model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:  # noqa: ARG002 - Django's signature
        """The model's home."""
        return home(model)

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:  # noqa: ARG002 - Django's signature
        """Whether both live in the same database; no opinion where neither has a home."""
        homes = home(type(obj1)), home(type(obj2))
        if homes == (None, None):
            return None
        # The one without a home lives where the routers after this one say.
        first, second = (
            known or router.db_for_write(type(instance))
            for known, instance in zip(homes, (obj1, obj2), strict=True)
        )
        return first == second

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Whether tables of this model belong into ``db``.

        A model with a home belongs there and nowhere else; an alias that is some model's home takes no
        other model. ``RunPython`` and ``RunSQL`` name no model: give them ``hints={"database": "doris"}``,
        or ``hints={"model_name": "..."}``. Without hints they go where their app goes.
        """
        if isinstance(wanted := hints.get("database"), str):
            return db == wanted
        model = hints.get("model")
        if model is None and model_name is not None:
            model = _current(app_label, model_name)
        found = home(model) if model is not None else get_settings().routing.apps.get(app_label)
        if found is not None:
            return db == found
        return False if db in homes() else None


def home(model: type[Model]) -> str | None:
    """The alias that ``model`` says, or the settings say, it lives in; None when nobody says."""
    # A proxy has its concrete model's table; the table between two models lives with the first of them.
    source = model._meta.auto_created or model._meta.concrete_model
    if isinstance(source, type):
        model = source
    options, routing = model._meta, get_settings().routing
    return _own(model) or routing.models.get(options.label_lower) or routing.apps.get(options.app_label)


def _own(model: type[Model]) -> str | None:
    """What the model class itself says."""
    if isinstance(said := getattr(model._meta, "database", None), str):
        return said
    # A field of that name is no text. Models of migrations have Meta's options and not the class's
    # attributes: for them the class of today is asked.
    said = getattr(model, "database", None)
    if said is None and (current := _current(model._meta.app_label, model._meta.model_name or "")):
        said = getattr(current, "database", None)
    return said if isinstance(said, str) else None


def _current(app_label: str, model_name: str) -> type[Model] | None:
    try:
        return apps.get_model(app_label, model_name)
    except LookupError:
        return None


@cache
def homes() -> frozenset[str]:
    """Every alias that is the home of some installed model or stands in the rules, ``default`` aside."""
    routing = get_settings().routing
    named = {home(model) for model in apps.get_models(include_auto_created=True)}
    return frozenset(
        alias for alias in (*named, *routing.apps.values(), *routing.models.values()) if alias
    ) - {"default"}


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("DBINT", "INSTALLED_APPS"):
        homes.cache_clear()


setting_changed.connect(_forget, dispatch_uid="dbint.routers")
