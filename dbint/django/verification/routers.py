"""Does each model land where it should, and does nothing cross from one database to another?"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from django.apps import apps
from django.conf import settings
from django.db import connections, models, router

from dbint.django.conf import get_settings
from dbint.django.verification.models import concrete_models
from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, Scope


@dataclass(frozen=True, kw_only=True)
class RoutersProbe(Probe):
    """Asks the routers about every model. Connects nowhere."""

    group: str = "routers"
    deadline: float = 5.0

    def run(self, scope: Scope) -> str:
        aliases = [alias for alias in connections if connections[alias].vendor != "unknown"]
        mine = concrete_models()
        if not mine:
            raise ProbeNotConfigured("the project has no models")
        scope.doing("the routers")
        problems = [
            *misplaced_rules(aliases),
            *unknown_aliases(mine),
            *crossing_migrations(mine, aliases),
            *crossing_relations(mine),
        ]
        placed: dict[str, int] = {}
        for model in mine:
            alias = router.db_for_write(model)
            placed[alias] = placed.get(alias, 0) + 1
        scope.details.update(models_per_alias=placed, problems=problems, routers=len(router.routers))
        if problems:
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise ProbeFailed("; ".join(problems[:3]) + more, self.steps())
        where = ", ".join(f"{count} on {alias}" for alias, count in sorted(placed.items()))
        return f"{len(mine)} models, {where}; no migration and no relation crosses"

    def steps(self) -> list[str]:
        order = ", ".join(str(name) for name in settings.DATABASE_ROUTERS) or "none"
        return [
            'Say where each app or model lives in DBINT["ROUTING"] ("apps", "models"), and put '
            f"dbint.django.routers.DatabaseRouter first in DATABASE_ROUTERS (now: {order}).",
            "python manage.py check says what else is wrong with the routers.",
        ]


def misplaced_rules(aliases: list[str]) -> Iterator[str]:
    """Rules of DBINT["ROUTING"] that name something that is not there, or that another router overrules."""
    routing = get_settings().routing
    for label, alias in routing.apps.items():
        if label not in apps.app_configs:
            yield f'DBINT["ROUTING"]["apps"] names the app {label!r}, which is not installed'
        elif alias not in aliases:
            yield f'DBINT["ROUTING"]["apps"] sends {label!r} to {alias!r}, which is not in DATABASES'
    for label, alias in routing.models.items():
        try:
            model = apps.get_model(label)
        except LookupError:
            yield f'DBINT["ROUTING"]["models"] names {label!r}, which is no model of this project'
            continue
        if alias not in aliases:
            yield f'DBINT["ROUTING"]["models"] sends {label!r} to {alias!r}, which is not in DATABASES'
        elif (found := router.db_for_write(model)) != alias:
            yield f"{model._meta.label} should live on {alias}, and the routers send it to {found}"


def unknown_aliases(mine: list[type[models.Model]]) -> Iterator[str]:
    """Models whose reads or writes are sent to an alias that does not exist, or where no table is made."""
    for model in mine:
        for verb, alias in (("read", router.db_for_read(model)), ("write", router.db_for_write(model))):
            if alias not in connections:
                yield f"{model._meta.label}: the routers {verb} it on {alias!r}, which is not in DATABASES"
        alias = router.db_for_write(model)
        if model._meta.managed and alias in connections and not router.allow_migrate_model(alias, model):
            yield f"{model._meta.label} is written to {alias}, where no migration may make its table"


def crossing_migrations(mine: list[type[models.Model]], aliases: list[str]) -> Iterator[str]:
    """Models whose tables would be made on more than one database.

    A project without routers leaves everything on one alias by habit; that is a problem only where the other
    database is of another kind and cannot hold the tables.
    """
    for model in mine:
        home = router.db_for_write(model)
        if home not in connections or not model._meta.managed:
            continue
        others = [
            alias
            for alias in aliases
            if alias != home
            and not _same_database(alias, home)
            and router.allow_migrate_model(alias, model)
            and (settings.DATABASE_ROUTERS or connections[alias].vendor != connections[home].vendor)
        ]
        if others:
            yield (
                f"{model._meta.label} lives on {home}, and migrations would make its table "
                f"on {', '.join(others)} too"
            )


def _same_database(one: str, other: str) -> bool:
    """Two names of one database, or a copy: a replica is a mirror in tests, and is read, never migrated."""
    a, b = connections[one].settings_dict, connections[other].settings_dict
    if other in (a.get("TEST", {}).get("MIRROR"), one) or b.get("TEST", {}).get("MIRROR") == one:
        return True
    return all(a.get(key) == b.get(key) for key in ("ENGINE", "HOST", "PORT", "NAME"))


def crossing_relations(mine: list[type[models.Model]]) -> Iterator[str]:
    """Foreign keys from one database to another, and routers that allow objects to be joined across."""
    homes: dict[str, type[models.Model]] = {}
    for model in mine:
        home = router.db_for_write(model)
        homes.setdefault(home, model)
        for field in model._meta.local_concrete_fields:
            target = field.remote_field.model if field.remote_field else None
            if target is None or isinstance(target, str) or not getattr(field, "db_constraint", True):
                continue
            other = router.db_for_write(target)
            if other != home and not (
                home in connections and other in connections and _same_database(home, other)
            ):
                yield (
                    f"{model._meta.label}.{field.name} relates {home} to {other} ({target._meta.label}): "
                    "no database can keep such a relation"
                )
    for (one, first), (other, second) in permutations(homes.items(), 2):
        a, b = first(), second()
        a._state.db, b._state.db = one, other
        if one < other and router.allow_relation(a, b) and not _same_database(one, other):
            yield f"the routers allow relations between {one} and {other}"
