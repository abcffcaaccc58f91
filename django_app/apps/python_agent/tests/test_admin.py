"""The administration: its pages work on each model's real database, and facts cannot be edited there."""
# ruff: noqa: PT009 - run by Django's runner, where a bare assert shows no values

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import TransactionTestCase
from django.urls import reverse

from ..models import Agent, MetricFact, Run, RunFact, Task, ToolCallFact

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class AdminTests(TransactionTestCase):
    databases = {"default", "agent_db", "doris"}

    def setUp(self) -> None:
        self.client.force_login(User.objects.create_superuser("root"))
        self.agent = Agent.objects.create(name="Ada")
        self.task = Task.objects.create(title="a task", agent=self.agent)
        Run.objects.create(task=self.task, agent=self.agent, attempt=1)
        RunFact.objects.create(
            run_id=1, task_id=1, agent_name="Ada", outcome="failed", started_at=NOW, duration_ms=5
        )
        ToolCallFact.objects.create(run_id=1, tool="shell", succeeded=True, called_at=NOW, duration_ms=5)
        MetricFact.objects.create(name="latency", component="router", value=0.5, measured_at=NOW)

    def page(self, model: type, view: str = "changelist", *args: object) -> str:
        return reverse(f"admin:python_agent_{model.__name__.lower()}_{view}", args=args)

    def test_lists(self) -> None:
        for model, text, query in (
            (Agent, "Ada", {"q": "ada", "status__exact": "active"}),
            (Task, "a task", {"q": "Ada", "state__exact": "pending"}),
            (Run, "a task", {"q": "a task"}),
            (RunFact, "Ada", {"q": "ada", "outcome": "failed"}),
            (ToolCallFact, "shell", {"q": "SHELL"}),
            (MetricFact, "latency", {"q": "late"}),
        ):
            with self.subTest(model=model.__name__):
                self.assertContains(self.client.get(self.page(model)), text)
                self.assertContains(self.client.get(self.page(model), query), text)

    def test_an_agent_is_edited_in_its_database_and_logged_in_the_users(self) -> None:
        answer = self.client.post(
            self.page(Agent, "change", self.agent.pk),
            {"name": "Ada L.", "kind": "manager", "status": "active", "configuration": "{}"},
        )
        self.assertRedirects(answer, self.page(Agent))
        self.agent.refresh_from_db()
        self.assertEqual((self.agent.name, self.agent.kind), ("Ada L.", "manager"))
        self.assertEqual(LogEntry.objects.using("default").get().object_id, str(self.agent.pk))

    def test_a_task_shows_its_runs(self) -> None:
        self.assertContains(self.client.get(self.page(Task, "change", self.task.pk)), "Attempt")

    def test_facts_are_shown_and_not_touched(self) -> None:
        self.assertContains(self.client.get(self.page(RunFact, "change", 1)), "Ada")
        for view, args in (("add", ()), ("delete", (1,))):
            with self.subTest(view):
                self.assertEqual(self.client.get(self.page(RunFact, view, *args)).status_code, 403)
        self.assertEqual(self.client.post(self.page(RunFact, "change", 1), {"outcome": "x"}).status_code, 403)
        self.assertEqual(RunFact.objects.get().outcome, "failed")

    def test_front_page(self) -> None:
        self.assertRedirects(self.client.get("/"), reverse("admin:index"))
