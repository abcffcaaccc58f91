"""Pages for looking at events. Nothing can be changed there."""
# ruff: noqa: ARG002 - the signatures are Django's

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from dbint.django.observability import models

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:  # generic for the type checker alone
    _ModelAdmin, _Paginator = admin.ModelAdmin, Paginator

SHOWN = 10_000  # rows that can be paged through: counting all of them would read all of them


class FirstPages(_Paginator):
    """Counts no further than the pages that anybody looks at."""

    @cached_property
    def count(self) -> int:
        """Up to SHOWN."""
        events: Any = self.object_list
        return int(events.order_by()[:SHOWN].count())


class EventList(ChangeList):
    """Links to events by time and id: by the id alone each partition would have to be read."""

    def url_for_result(self, result: Any) -> str:
        """The page of one event."""
        meta = self.opts
        return reverse(
            f"admin:{meta.app_label}_{meta.model_name}_change",
            args=(quote(f"{result.timestamp.isoformat()}~{result.event_id}"),),
            current_app=self.model_admin.admin_site.name,
        )


class EventAdmin(_ModelAdmin):
    """What the four have in common. A search is for exact values: these have indexes."""

    list_filter = ("timestamp",)
    list_per_page = 50
    show_full_result_count = False
    paginator = FirstPages
    search_help_text = "The exact value of one of the columns that have an index."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Our list."""
        return EventList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        """The event that EventList links to, or None."""
        timestamp, _, event_id = object_id.partition("~")
        events: QuerySet[Any] = self.get_queryset(request)
        try:
            return events.filter(timestamp=datetime.fromisoformat(timestamp), event_id=UUID(event_id)).first()
        except ValueError:
            return None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No: retention does that."""
        return False


@admin.register(models.TraceEvent)
class TraceEventAdmin(EventAdmin):
    list_display = ("timestamp", "level", "event_type", "trace_id", "agent_name", "message")
    search_fields = ("trace_id__exact", "agent_name__exact", "event_type__exact")


@admin.register(models.RoutingDecision)
class RoutingDecisionAdmin(EventAdmin):
    list_display = ("timestamp", "selected_agent", "confidence_score", "routing_strategy", "user_request")
    search_fields = ("selected_agent__exact", "routing_strategy__exact", "trace_id__exact")


@admin.register(models.PerformanceMetric)
class PerformanceMetricAdmin(EventAdmin):
    list_display = ("timestamp", "component", "metric_name", "metric_value", "metric_type")
    search_fields = ("metric_name__exact", "component__exact", "metric_type__exact", "trace_id__exact")


@admin.register(models.TransformationEvent)
class TransformationEventAdmin(EventAdmin):
    list_display = ("timestamp", "source_agent", "target_agent", "transformation_type", "success")
    search_fields = (
        "source_agent__exact",
        "target_agent__exact",
        "transformation_type__exact",
        "trace_id__exact",
    )
