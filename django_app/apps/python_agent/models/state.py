"""What the agent runtime works with: agents, their tasks, and the runs of these.

PostgreSQL, alias agent_db.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone


class AgentQuerySet(models.QuerySet["Agent"]):
    def active(self) -> AgentQuerySet:
        """Agents that may be given work."""
        return self.filter(status=Agent.Status.ACTIVE)

    def with_load(self) -> AgentQuerySet:
        """Adds ``open_tasks``: how many tasks of the agent are not finished."""
        unfinished = Q(tasks__state__in=[Task.State.PENDING, Task.State.RUNNING])
        return self.annotate(open_tasks=models.Count("tasks", filter=unfinished))


class Agent(models.Model):
    """A program that carries out tasks."""

    class Kind(models.TextChoices):
        WORKER = "worker"
        MANAGER = "manager"
        REVIEWER = "reviewer"

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"
        RETIRED = "retired"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.WORKER)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    configuration = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AgentQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["status", "kind"], name="agent_status_kind")]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="agent_has_a_name"),
            models.CheckConstraint(
                condition=Q(status__in=["active", "inactive", "retired"]), name="agent_status_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TaskQuerySet(models.QuerySet["Task"]):
    def ready(self) -> TaskQuerySet:
        """Pending tasks whose time has come, the most urgent first."""
        return self.filter(state=Task.State.PENDING, not_before__lte=Now()).order_by(
            "-priority", "not_before", "pk"
        )

    def claim(self, agent: Agent) -> Task | None:
        """Gives the most urgent ready task to ``agent`` and starts it; None when there is none.

        Agents that claim at the same time get different tasks and do not wait for each other.
        """
        with transaction.atomic(using=self.db):
            task = self.ready().select_for_update(skip_locked=True).first()
            if task is None:
                return None
            task.agent = agent
            task.state = Task.State.RUNNING
            task.save(update_fields=["agent", "state", "updated_at"])
            task.runs.create(agent=agent, attempt=task.runs.count() + 1)
            return task


class Task(models.Model):
    """Something to be done, possibly as a part of a larger task."""

    class State(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    title = models.CharField(max_length=200)
    payload = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    priority = models.PositiveSmallIntegerField(default=5, help_text="0 (some day) to 9 (now)")
    not_before = models.DateTimeField(default=timezone.now)
    agent = models.ForeignKey(Agent, models.SET_NULL, null=True, blank=True, related_name="tasks")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="parts")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-priority", "not_before"]
        indexes = [
            # What claim() reads: only what waits is in it.
            models.Index(
                F("priority").desc(), "not_before", "id", name="task_ready", condition=Q(state="pending")
            ),
            models.Index(fields=["agent", "state"], name="task_agent_state"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(priority__lte=9), name="task_priority_up_to_9"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "running", "done", "failed", "cancelled"]),
                name="task_state_is_known",
            ),
            models.CheckConstraint(condition=~Q(parent=F("id")), name="task_is_not_its_own_part"),
        ]

    def __str__(self) -> str:
        return self.title


class Run(models.Model):
    """One attempt of an agent at a task."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    task = models.ForeignKey(Task, models.CASCADE, related_name="runs")
    agent = models.ForeignKey(Agent, models.PROTECT, related_name="runs")
    attempt = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome, blank=True)
    error = models.TextField(blank=True)
    tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=12, decimal_places=6, default=0, help_text="US dollars")

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["agent", "-started_at"], name="run_agent_started")]
        constraints = [
            models.UniqueConstraint(fields=["task", "attempt"], name="run_attempt_is_unique"),
            # At most one unfinished run of a task: two agents must never work on the same thing.
            models.UniqueConstraint(fields=["task"], condition=Q(finished_at=None), name="run_one_at_a_time"),
            models.CheckConstraint(condition=Q(attempt__gte=1), name="run_attempts_count_from_1"),
            models.CheckConstraint(
                condition=Q(finished_at=None, outcome="")
                | (Q(finished_at__gte=F("started_at")) & ~Q(outcome="")),
                name="run_finished_has_outcome",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task}, attempt {self.attempt}"

    @property
    def duration(self) -> timedelta | None:
        """How long it took; None while it runs."""
        return self.finished_at - self.started_at if self.finished_at else None

    def finish(self, outcome: Run.Outcome, *, error: str = "") -> None:
        """Ends the run, and its task with it: a failed task is pending again while it has attempts left."""
        with transaction.atomic(using=self._state.db):
            self.finished_at, self.outcome, self.error = timezone.now(), outcome, error
            self.save(update_fields=["finished_at", "outcome", "error", "tokens", "cost"])
            self.task.state = {
                Run.Outcome.SUCCEEDED: Task.State.DONE,
                Run.Outcome.CANCELLED: Task.State.CANCELLED,
                Run.Outcome.FAILED: Task.State.FAILED if self.attempt >= MAX_ATTEMPTS else Task.State.PENDING,
            }[outcome]
            self.task.save(update_fields=["state", "updated_at"])


MAX_ATTEMPTS = 3
