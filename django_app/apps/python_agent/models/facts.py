"""What happened, for analytics. Apache Doris, alias doris: facts are added by the flow, never edited by hand.

No relations lead from here to the state in PostgreSQL: each fact carries the names and keys that it is
asked by.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models
from django.db.models import Avg, Count, Max, Q, Sum
from django.db.models.functions import TruncDate

from dbint.django.backends.doris import DorisTable


class RunFactQuerySet(models.QuerySet["RunFact"]):
    def load(self, facts: Iterable[RunFact]) -> list[RunFact]:
        """Adds facts.

        one whose run is there already takes the older one's place, so loading twice changes nothing.
        """
        values = [field.name for field in self.model._meta.fields if not field.primary_key]
        return self.bulk_create(facts, update_conflicts=True, unique_fields=["run_id"], update_fields=values)

    def by_agent(self) -> RunFactQuerySet:
        """One row an agent: ``runs``, ``failures``, ``tokens``, ``cost``, ``mean_ms``, ``longest_ms``."""
        return (
            self.values("agent_name")
            .annotate(
                runs=Count("run_id"),
                failures=Count("run_id", filter=Q(outcome="failed")),
                tokens=Sum("tokens"),
                cost=Sum("cost"),
                mean_ms=Avg("duration_ms"),
                longest_ms=Max("duration_ms"),
            )
            .order_by("agent_name")
        )

    def by_day(self) -> RunFactQuerySet:
        """One row a day (UTC): ``day``, ``runs``, ``cost``."""
        return (
            self.annotate(day=TruncDate("started_at"))
            .values("day")
            .annotate(runs=Count("run_id"), cost=Sum("cost"))
            .order_by("day")
        )


class RunFact(models.Model):
    """A finished run. Loading the same run again replaces its row."""

    run_id = models.BigIntegerField(primary_key=True)
    task_id = models.BigIntegerField()
    agent_name = models.CharField(max_length=100)
    outcome = models.CharField(max_length=16)
    started_at = models.DateTimeField()
    duration_ms = models.BigIntegerField()
    tokens = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=12, decimal_places=6, default=0)

    objects = RunFactQuerySet.as_manager()

    class Meta:
        database = "doris"
        doris = DorisTable(key_model="UNIQUE", key=("run_id",), distributed_by=("run_id",), buckets=4)

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.agent_name}"


class ToolCallFact(models.Model):
    """One call of a tool during a run."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.BigIntegerField()
    tool = models.CharField(max_length=64)
    succeeded = models.BooleanField()
    called_at = models.DateTimeField()
    duration_ms = models.BigIntegerField()
    arguments = models.JSONField(default=dict)

    class Meta:
        database = "doris"
        doris = DorisTable(key_model="DUPLICATE", key=("id",), distributed_by=("run_id",), buckets=4)

    def __str__(self) -> str:
        return f"{self.tool} in run {self.run_id}"


class MetricFact(models.Model):
    """One measurement of a component."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100)
    component = models.CharField(max_length=100)
    value = models.FloatField()
    measured_at = models.DateTimeField()

    class Meta:
        database = "doris"
        doris = DorisTable(key_model="DUPLICATE", key=("id",), distributed_by=("id",), buckets=4)

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"
