"""The four tables of events as models.

Their tables are made by SQL (dbint.events.tables), for Django knows no partitions. Events are written by
``dbint.events.get_database_layer()``: an ``objects.create()`` works, and costs a statement each.

A table has one partition for some days: a filter on ``timestamp`` keeps a query to a few of them, and an
event is found by its ``event_id`` quickly only together with it.
"""

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from dbint.events import tables
from dbint.events.tables import EventTable


def _table(table: EventTable) -> str:
    # Django has no word for schemas: a name that begins and ends with quotes is left as it is.
    return f'"{tables.SCHEMA}"."{table.name}"'


class Event(models.Model):
    """What all events have. ``timestamp`` and ``event_id`` together are the table's primary key."""

    event_id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    timestamp = models.DateTimeField(default=timezone.now)

    class Meta:
        abstract = True
        managed = False
        ordering: ClassVar = ["-timestamp", "-event_id"]
        get_latest_by = "timestamp"


class TraceEvent(Event):
    """A step of an agent."""

    trace_id = models.CharField(max_length=255)
    event_type = models.CharField(max_length=100)
    level = models.CharField(max_length=20)
    message = models.TextField()
    agent_name = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - absent is not ""
    task_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    metadata = models.JSONField(null=True, blank=True)

    class Meta(Event.Meta):
        abstract = False
        db_table = _table(tables.TRACE_EVENTS)

    def __str__(self) -> str:
        return f"{self.event_type} of {self.trace_id}"


class RoutingDecision(Event):
    """Which agent was chosen for a request, and why."""

    user_request = models.TextField()
    selected_agent = models.CharField(max_length=255)
    confidence_score = models.FloatField()
    routing_strategy = models.CharField(max_length=100)
    alternatives = models.JSONField(null=True, blank=True)
    reasoning = models.TextField(null=True, blank=True)  # noqa: DJ001
    context = models.JSONField(null=True, blank=True)
    trace_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001

    class Meta(Event.Meta):
        abstract = False
        db_table = _table(tables.ROUTING_DECISIONS)

    def __str__(self) -> str:
        return f"{self.selected_agent} ({self.confidence_score:.2f})"


class PerformanceMetric(Event):
    """A measurement."""

    metric_name = models.CharField(max_length=255)
    metric_value = models.FloatField()
    metric_type = models.CharField(max_length=100)
    component = models.CharField(max_length=255)
    metadata = models.JSONField(null=True, blank=True)
    trace_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001

    class Meta(Event.Meta):
        abstract = False
        db_table = _table(tables.PERFORMANCE_METRICS)

    def __str__(self) -> str:
        return f"{self.metric_name} = {self.metric_value:g}"


class TransformationEvent(Event):
    """An agent that became another agent, or tried to."""

    source_agent = models.CharField(max_length=255)
    target_agent = models.CharField(max_length=255)
    transformation_type = models.CharField(max_length=100)
    success = models.BooleanField()
    reason = models.TextField(null=True, blank=True)  # noqa: DJ001
    duration_ms = models.FloatField(null=True, blank=True)
    metadata = models.JSONField(null=True, blank=True)
    trace_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001

    class Meta(Event.Meta):
        abstract = False
        db_table = _table(tables.TRANSFORMATION_EVENTS)

    def __str__(self) -> str:
        return f"{self.source_agent} to {self.target_agent}"
