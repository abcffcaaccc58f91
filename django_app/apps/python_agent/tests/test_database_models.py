"""The models on their real databases: agents, tasks and runs on PostgreSQL, facts on Apache Doris.

``python manage.py test apps.python_agent.tests.test_database_models``
"""
# ruff: noqa: PT009, PT027 - run by Django's runner, where a bare assert shows no values

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread

from django.db import IntegrityError, connections, router, transaction
from django.db.models import ProtectedError, Sum
from django.test import TestCase, TransactionTestCase
from django.utils import timezone

from ..models import Agent, MetricFact, Run, RunFact, Task, ToolCallFact


class AgentTests(TestCase):
    databases = {"agent_db"}

    def test_create_read_update_delete(self) -> None:
        agent = Agent.objects.create(name="Ada", configuration={"model": "größer", "limits": [1, None, 2.5]})
        read = Agent.objects.get(pk=agent.pk)
        self.assertEqual(read.configuration, {"model": "größer", "limits": [1, None, 2.5]})
        self.assertEqual(read.created_at, agent.created_at)
        read.status = Agent.Status.INACTIVE
        read.save()
        self.assertEqual(Agent.objects.get(pk=agent.pk).status, "inactive")
        self.assertGreater(read.updated_at, agent.updated_at)
        self.assertEqual(read.delete(), (1, {"python_agent.Agent": 1}))
        self.assertFalse(Agent.objects.exists())

    def test_names_are_unique(self) -> None:
        Agent.objects.create(name="Ada")
        with (
            self.assertRaisesMessage(IntegrityError, "python_agent_agent_name"),
            transaction.atomic("agent_db"),
        ):
            Agent.objects.create(name="Ada")

    def test_constraints(self) -> None:
        for values, constraint in (
            ({"name": ""}, "agent_has_a_name"),
            ({"name": "Ada", "status": "asleep"}, "agent_status_is_known"),
        ):
            with (
                self.subTest(constraint),
                self.assertRaisesMessage(IntegrityError, constraint),
                transaction.atomic("agent_db"),
            ):
                Agent.objects.create(**values)

    def test_querysets(self) -> None:
        ada, bob = Agent.objects.create(name="Ada"), Agent.objects.create(name="Bob", status="retired")
        Task.objects.create(title="open", agent=ada)
        Task.objects.create(title="done", agent=ada, state=Task.State.DONE)
        self.assertEqual(list(Agent.objects.active()), [ada])
        loads = Agent.objects.with_load().order_by("name").values_list("name", "open_tasks")
        self.assertEqual(list(loads), [("Ada", 1), ("Bob", 0)])
        self.assertEqual(str(bob), "Bob")

    def test_search_in_json(self) -> None:
        Agent.objects.create(name="Ada", configuration={"tools": ["search", "shell"]})
        Agent.objects.create(name="Bob")
        found = Agent.objects.filter(configuration__tools__contains="shell")
        self.assertEqual([agent.name for agent in found], ["Ada"])


class TaskTests(TestCase):
    databases = {"agent_db"}

    @classmethod
    def setUpTestData(cls) -> None:
        cls.agent = Agent.objects.create(name="Ada")

    def test_relations(self) -> None:
        whole = Task.objects.create(title="whole", agent=self.agent)
        part = Task.objects.create(title="part", parent=whole)
        self.assertEqual(list(whole.parts.all()), [part])
        self.assertEqual(list(self.agent.tasks.all()), [whole])
        run = whole.runs.create(agent=self.agent, attempt=1)
        # An agent with runs stays; one without leaves its tasks behind.
        with self.assertRaises(ProtectedError):
            self.agent.delete()
        run.delete()
        self.agent.delete()
        whole.refresh_from_db()
        self.assertIsNone(whole.agent)
        # The parts go with the whole.
        whole.delete()
        self.assertFalse(Task.objects.exists())

    def test_constraints(self) -> None:
        task = Task.objects.create(title="a task")
        for values, constraint in (
            ({"priority": 10}, "task_priority_up_to_9"),
            ({"state": "lost"}, "task_state_is_known"),
            ({"parent_id": task.pk}, "task_is_not_its_own_part"),
        ):
            with (
                self.subTest(constraint),
                self.assertRaisesMessage(IntegrityError, constraint),
                transaction.atomic("agent_db"),
            ):
                Task.objects.filter(pk=task.pk).update(**values)

    def test_ready_tasks_in_their_order(self) -> None:
        now = timezone.now()
        for title, values in {
            "later": {"not_before": now + timedelta(hours=1), "priority": 9},
            "done": {"state": Task.State.DONE},
            "usual": {"not_before": now - timedelta(minutes=1)},
            "usual, older": {"not_before": now - timedelta(minutes=2)},
            "urgent": {"priority": 9},
        }.items():
            Task.objects.create(title=title, **values)
        self.assertEqual(
            list(Task.objects.ready().values_list("title", flat=True)), ["urgent", "usual, older", "usual"]
        )

    def test_claim_starts_a_run(self) -> None:
        Task.objects.create(title="a task")
        task = Task.objects.claim(self.agent)
        self.assertEqual((task.state, task.agent), (Task.State.RUNNING, self.agent))
        self.assertEqual(task.runs.get().attempt, 1)
        self.assertIsNone(Task.objects.claim(self.agent))


class RunTests(TestCase):
    databases = {"agent_db"}

    @classmethod
    def setUpTestData(cls) -> None:
        cls.agent = Agent.objects.create(name="Ada")
        cls.task = Task.objects.create(title="a task")

    def test_a_failed_task_is_tried_three_times(self) -> None:
        for attempt, state in ((1, "pending"), (2, "pending"), (3, "failed")):
            run = Task.objects.claim(self.agent).runs.get(attempt=attempt)
            self.assertIsNone(run.duration)
            run.finish(Run.Outcome.FAILED, error="no answer")
            self.task.refresh_from_db()
            self.assertEqual(self.task.state, state)
            self.assertGreaterEqual(run.duration, timedelta(0))
        self.assertIsNone(Task.objects.claim(self.agent))

    def test_success_keeps_exact_costs(self) -> None:
        run = Task.objects.claim(self.agent).runs.get()
        run.tokens, run.cost = 2**40, Decimal("123456.789012")
        run.finish(Run.Outcome.SUCCEEDED)
        read = Run.objects.select_related("task").get(pk=run.pk)
        self.assertEqual((read.tokens, read.cost), (2**40, Decimal("123456.789012")))
        self.assertEqual(read.task.state, Task.State.DONE)
        self.assertEqual(read.finished_at.microsecond, run.finished_at.microsecond)

    def test_constraints(self) -> None:
        now = timezone.now()
        finished = {"started_at": now, "finished_at": now, "outcome": "failed"}
        Run.objects.create(task=self.task, agent=self.agent, attempt=1, **finished)
        Run.objects.create(task=self.task, agent=self.agent, attempt=2)
        for values, constraint in (
            ({"attempt": 1, **finished}, "run_attempt_is_unique"),
            ({"attempt": 3}, "run_one_at_a_time"),
            ({"attempt": 0, **finished}, "run_attempts_count_from_1"),
            ({"attempt": 4, **finished, "outcome": ""}, "run_finished_has_outcome"),
            ({"attempt": 5, **finished, "finished_at": now - timedelta(1)}, "run_finished_has_outcome"),
        ):
            with (
                self.subTest(constraint, **values),
                self.assertRaisesMessage(IntegrityError, constraint),
                transaction.atomic("agent_db"),
            ):
                Run.objects.create(task=self.task, agent=self.agent, **values)

    def test_totals(self) -> None:
        now = timezone.now()
        Run.objects.bulk_create(
            Run(task=self.task, agent=self.agent, attempt=number, started_at=now, finished_at=now,
                outcome="failed", tokens=number, cost=Decimal("0.000001"))
            for number in range(1, 101)
        )  # fmt: skip
        totals = Run.objects.aggregate(tokens=Sum("tokens"), cost=Sum("cost"))
        self.assertEqual(totals, {"tokens": 5050, "cost": Decimal("0.000100")})


class ClaimTests(TransactionTestCase):
    databases = {"agent_db"}

    def test_agents_that_claim_at_once_get_different_tasks(self) -> None:
        agents = [Agent.objects.create(name=f"agent {number}") for number in range(4)]
        Task.objects.bulk_create(Task(title=f"task {number}") for number in range(4))
        start = Barrier(len(agents))
        claimed: list[Task | None] = []

        def claim(agent: Agent) -> None:
            try:
                start.wait(10)
                claimed.append(Task.objects.claim(agent))
            finally:
                connections.close_all()

        threads = [Thread(target=claim, args=[agent]) for agent in agents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len({task.pk for task in claimed if task}), 4)


class FactTests(TransactionTestCase):
    """Doris has no transactions: the tables are emptied after each test."""

    databases = {"doris"}

    def run_fact(self, run_id: int, **values: object) -> RunFact:
        defaults = {
            "task_id": 1,
            "agent_name": "Ada",
            "outcome": "succeeded",
            "started_at": datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC),
            "duration_ms": 1500,
            "tokens": 10,
            "cost": Decimal("0.000001"),
        }
        return RunFact(run_id=run_id, **{**defaults, **values})

    def test_create_and_read_value_by_value(self) -> None:
        self.run_fact(2**63 - 1, agent_name="Zoë 🦊", cost=Decimal("999999.999999")).save()
        read = RunFact.objects.get(pk=2**63 - 1)
        self.assertEqual(read.agent_name, "Zoë 🦊")
        self.assertEqual(read.started_at, datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC))
        self.assertEqual(read.cost, Decimal("999999.999999"))

    def test_the_same_run_again_replaces_its_row(self) -> None:
        RunFact.objects.load([self.run_fact(1), self.run_fact(2)])
        RunFact.objects.load([self.run_fact(1, outcome="failed")])
        outcomes = RunFact.objects.order_by("run_id").values_list("run_id", "outcome")
        self.assertEqual(list(outcomes), [(1, "failed"), (2, "succeeded")])

    def test_a_row_is_not_replaced_by_accident(self) -> None:
        self.run_fact(1).save()
        with self.assertRaises(IntegrityError):
            RunFact.objects.bulk_create([self.run_fact(1)])

    def test_update_and_delete(self) -> None:
        RunFact.objects.bulk_create([self.run_fact(1), self.run_fact(2)])
        RunFact.objects.filter(run_id=1).update(tokens=99)
        self.assertEqual(RunFact.objects.get(run_id=1).tokens, 99)
        RunFact.objects.filter(run_id=2).delete()
        self.assertEqual(list(RunFact.objects.values_list("run_id", flat=True)), [1])

    def test_by_agent(self) -> None:
        RunFact.objects.bulk_create(
            [
                self.run_fact(1, duration_ms=100),
                self.run_fact(2, duration_ms=300, outcome="failed"),
                self.run_fact(3, agent_name="Bob", tokens=5),
            ]
        )
        ada, bob = RunFact.objects.by_agent()
        self.assertEqual(
            ada,
            {"agent_name": "Ada", "runs": 2, "failures": 1, "tokens": 20, "cost": Decimal("0.000002"),
             "mean_ms": 200.0, "longest_ms": 300},
        )  # fmt: skip
        self.assertEqual((bob["runs"], bob["failures"], bob["tokens"]), (1, 0, 5))

    def test_by_day(self) -> None:
        later = datetime(2026, 3, 2, tzinfo=UTC)
        RunFact.objects.bulk_create([self.run_fact(1), self.run_fact(2, started_at=later), self.run_fact(3)])
        self.assertEqual(
            [(row["day"], row["runs"]) for row in RunFact.objects.by_day()],
            [(date(2026, 3, 1), 2), (date(2026, 3, 2), 1)],
        )

    def test_calls_get_ids_of_their_own(self) -> None:
        called_at = datetime(2026, 3, 1, tzinfo=UTC)
        arguments = {"query": "größer", "limit": 3, "deep": {"a": [None, True]}}
        calls = [
            ToolCallFact(
                run_id=1,
                tool="search",
                succeeded=number % 2 == 0,
                called_at=called_at,
                duration_ms=number,
                arguments=arguments,
            )
            for number in range(10)
        ]
        ToolCallFact.objects.bulk_create(calls)
        self.assertEqual(len({call.pk for call in calls}), 10)
        self.assertNotIn(None, {call.pk for call in calls})
        self.assertEqual(ToolCallFact.objects.filter(succeeded=True).count(), 5)
        read = ToolCallFact.objects.get(pk=calls[3].pk)
        self.assertEqual((read.duration_ms, read.succeeded, read.arguments), (3, False, arguments))

    def test_metrics(self) -> None:
        measured_at = datetime(2026, 3, 1, tzinfo=UTC)
        MetricFact.objects.bulk_create(
            MetricFact(name="latency", component="router", value=value, measured_at=measured_at)
            for value in (0.1, 1e300, -2.5)
        )
        read = MetricFact.objects.filter(component="router").order_by("value").values_list("value", flat=True)
        self.assertEqual(list(read), [-2.5, 0.1, 1e300])


class RoutingTests(TransactionTestCase):
    databases = {"default", "agent_db", "doris"}

    def test_each_model_has_its_database(self) -> None:
        for model, alias in {
            Agent: "agent_db",
            Task: "agent_db",
            Run: "agent_db",
            RunFact: "doris",
            ToolCallFact: "doris",
            MetricFact: "doris",
        }.items():
            with self.subTest(model=model.__name__):
                self.assertEqual({router.db_for_read(model), router.db_for_write(model)}, {alias})
                self.assertEqual(
                    [name for name in self.databases if router.allow_migrate_model(name, model)], [alias]
                )

    def test_each_table_is_in_its_database_alone(self) -> None:
        tables = {
            alias: {name for name in connections[alias].introspection.table_names() if "python_agent" in name}
            for alias in self.databases
        }
        self.assertEqual(
            tables,
            {
                "default": set(),
                "agent_db": {"python_agent_agent", "python_agent_task", "python_agent_run"},
                "doris": {"python_agent_runfact", "python_agent_toolcallfact", "python_agent_metricfact"},
            },
        )

    def test_no_relation_crosses(self) -> None:
        agent, fact = Agent(name="Ada"), RunFact(run_id=1)
        self.assertFalse(router.allow_relation(agent, fact))
        self.assertTrue(router.allow_relation(agent, Task(title="a task")))
