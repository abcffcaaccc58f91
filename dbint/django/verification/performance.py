"""How long each operation takes on each database, against the project's budgets."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from dbint.django.verification.access import bounded_copy, installed, private_connection
from dbint.django.verification.connection import DatabaseProbe
from dbint.django.verification.scratch_model import leftovers_note, scratch_table
from dbint.verify.latency import Stopwatch, over_budget
from dbint.verify.probe import ProbeFailed, Scope

BULK = 100
# No operation is repeated for longer than this share of the deadline: a slow database gives fewer samples.
_SHARE = 0.05
# A connection costs the server more than a statement; a few show what it takes.
_CONNECTS = 10


@dataclass(frozen=True, kw_only=True)
class PerformanceProbe(DatabaseProbe):
    """Times single operations, one after the other, on an idle scratch table.

    With ``read_only`` it times connections and SELECT 1 alone.
    """

    group: str = "performance"
    deadline: float = 20.0
    quiet: bool = True
    samples: int
    prefix: str
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    read_only: bool = False

    def run(self, scope: Scope) -> str:
        watch = Stopwatch()
        self.time_connections(scope, watch)
        with private_connection(self.alias, scope) as connection:
            with connection.cursor() as cursor:
                for _ in self.repeat(scope, "SELECT 1"):
                    with watch.time("ping"):
                        cursor.execute("SELECT 1")
                        cursor.fetchone()
            if not self.read_only:
                with scratch_table(connection, scope, self.prefix) as model:
                    self.time_rows(scope, watch, model)
        measured = watch.summary()
        scope.details.update(latency=measured, budgets=dict(self.budgets))
        broken = over_budget(measured, self.budgets)
        if broken:
            raise ProbeFailed(
                "; ".join(broken),
                [
                    "See what else keeps the server or this machine busy now, and the network between them.",
                    f'If the budget is wrong for this place, set DBINT["VERIFY"]["budgets"]["{self.alias}"].',
                ],
            )
        held = sum(operation in self.budgets for operation in measured)
        return f"{len(measured)} operations measured, {held} within their budgets{leftovers_note(scope)}"

    def time_connections(self, scope: Scope, watch: Stopwatch) -> None:
        scope.doing("connections to be opened")
        for _ in range(min(self.samples, _CONNECTS)):
            connection = bounded_copy(self.alias, scope.remaining() * 0.8)
            with installed(connection), watch.time("connect"):
                connection.ensure_connection()

    def time_rows(self, scope: Scope, watch: Stopwatch, model: type[models.Model]) -> None:
        stored: Any = model._default_manager.using(self.alias)
        keys: list[Any] = []
        for number in self.repeat(scope, "INSERT"):
            instance = model(name=f"row {number}", small=number, words="x" * 100)
            with watch.time("insert"):
                instance.save(using=self.alias, force_insert=True)
            keys.append(instance.pk)
        for number in self.repeat(scope, "SELECT by primary key"):
            with watch.time("get"):
                stored.get(pk=keys[number % len(keys)])
        for number in self.repeat(scope, "filtered SELECT"):
            with watch.time("filter"):
                list(stored.filter(small__gte=number, small__lt=number + 10).order_by("small"))
        for number in self.repeat(scope, "UPDATE"):
            with watch.time("update"):
                stored.filter(pk=keys[number % len(keys)]).update(big=number)
        for _ in self.repeat(scope, f"INSERT of {BULK} rows", self.samples // 10 or 1):
            rows = [model(name="bulk", small=number, words="x" * 100) for number in range(BULK)]
            with watch.time("bulk_insert"):
                stored.bulk_create(rows)
        for number in self.repeat(scope, "DELETE", len(keys)):
            with watch.time("delete"):
                stored.filter(pk=keys[number]).delete()

    def repeat(self, scope: Scope, what: str, times: int | None = None) -> Any:
        """Counts up to the number of samples, or until the operation has had its share of the deadline."""
        scope.doing(what)
        ends = time.monotonic() + self.deadline * _SHARE
        for number in range(times if times is not None else self.samples):
            if number and time.monotonic() > ends:
                return
            scope.check()
            yield number
