"""The administration of agents, tasks and runs; facts can be looked at."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from .models import Agent, MetricFact, Run, RunFact, Task, ToolCallFact


class RunInline(admin.TabularInline):
    model = Run
    extra = 0
    fields = ["attempt", "agent", "started_at", "finished_at", "outcome", "error", "tokens", "cost"]
    readonly_fields = fields
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin):
    list_display = ["name", "kind", "status", "open_tasks", "updated_at"]
    list_filter = ["status", "kind"]
    ordering = ["name"]  # counting the tasks drops the model's own
    search_fields = ["name"]
    readonly_fields = ["created_at", "updated_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        return super().get_queryset(request).with_load()

    @admin.display(ordering="open_tasks")
    def open_tasks(self, agent: Agent) -> int:
        return agent.open_tasks


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin):
    list_display = ["title", "state", "priority", "agent", "not_before", "updated_at"]
    list_filter = ["state", "priority", "agent"]
    list_select_related = ["agent"]
    search_fields = ["title", "agent__name"]
    autocomplete_fields = ["agent", "parent"]
    readonly_fields = ["created_at", "updated_at"]
    date_hierarchy = "created_at"
    inlines = [RunInline]


@admin.register(Run)
class RunAdmin(admin.ModelAdmin):
    list_display = ["task", "attempt", "agent", "outcome", "started_at", "duration", "tokens", "cost"]
    list_filter = ["outcome", "agent"]
    list_select_related = ["task", "agent"]
    search_fields = ["task__title", "agent__name", "error"]
    autocomplete_fields = ["task", "agent"]
    date_hierarchy = "started_at"


class FactAdmin(admin.ModelAdmin):
    """Facts come from the flow: nobody adds, edits or removes one by hand."""

    # Doris counts a large table slowly, and the list does not need the number.
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}


@admin.register(RunFact)
class RunFactAdmin(FactAdmin):
    list_display = ["run_id", "agent_name", "outcome", "started_at", "duration_ms", "tokens", "cost"]
    list_filter = ["outcome"]
    search_fields = ["agent_name"]


@admin.register(ToolCallFact)
class ToolCallFactAdmin(FactAdmin):
    list_display = ["tool", "run_id", "succeeded", "called_at", "duration_ms"]
    list_filter = ["succeeded", "tool"]
    search_fields = ["tool"]


@admin.register(MetricFact)
class MetricFactAdmin(FactAdmin):
    list_display = ["name", "component", "value", "measured_at"]
    list_filter = ["component"]
    search_fields = ["name"]
