"""The reference project and its events: migrations, transactions, pages, models, the command."""

import json
import os
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbint.events.reader import connected
from stack import Endpoint
from tests import quick_python
from tests.integration.events_database import column, config_for, fresh_database, one

ROOT = Path(__file__).resolve().parents[3]

BEGINNING = """
import asyncio, json, os, sys
sys.path.insert(0, "django_app")
os.environ["DJANGO_SETTINGS_MODULE"] = "agent_api.settings"
import django
django.setup()
from django.db import connection, transaction
from dbint.events import get_database_layer
from dbint.django.observability.models import TraceEvent
db = get_database_layer()
TRACE = dict(trace_id="t", event_type="e", level="INFO")
"""


@dataclass(frozen=True)
class Project:
    """The reference project on a database of its own."""

    server: Endpoint
    database: str
    environ: Mapping[str, str]

    def manage(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self._run(["manage.py", *arguments], environ)

    def script(self, text: str) -> str:
        """Runs it with Django set up; its output."""
        done = self._run(["-c", BEGINNING + textwrap.dedent(text)], {})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(self, arguments: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return quick_python.run(arguments, cwd=ROOT, env={**os.environ, **self.environ, **environ})

    def messages(self) -> list[str]:
        with connected(config_for(self.server, self.database)) as connection:
            return column(
                connection,
                "SELECT message FROM agent_observability.trace_events ORDER BY timestamp, event_id",
            )


@pytest.fixture(scope="module")
def migrated(postgres: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with fresh_database(postgres) as name:
        journal = tmp_path_factory.mktemp("journal")
        project = Project(postgres, name, {"POSTGRES_DATABASE": name, "DBINT_JOURNAL_DIR": str(journal)})
        done = project.manage("migrate", "--database", "default")
        assert done.returncode == 0, done.stderr
        yield project


@pytest.fixture
def project(migrated: Project) -> Project:
    with connected(config_for(migrated.server, migrated.database)) as connection:
        connection.execute("TRUNCATE agent_observability.trace_events")
    return migrated


class TestMigrations:
    def test_the_tables_are_there(self, project: Project) -> None:
        with connected(config_for(project.server, project.database)) as connection:
            tables = column(
                connection,
                """SELECT relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
                   WHERE relnamespace = 'agent_observability'::regnamespace ORDER BY 1""",
            )
            assert tables == [
                "performance_metrics",
                "routing_decisions",
                "trace_events",
                "transformation_events",
            ]
            assert one(connection, "SELECT count(*) FROM dbint.server") == 1

    def test_the_models_have_no_changes_that_lack_a_migration(self, project: Project) -> None:
        done = project.manage("makemigrations", "--check", "--dry-run", "dbint_observability")
        assert done.returncode == 0, done.stdout

    def test_the_models_are_as_the_tables(self, project: Project) -> None:
        found = project.script(
            """
            from django.apps import apps
            from dbint.events import tables
            for model in apps.get_app_config("dbint_observability").get_models():
                name = model._meta.db_table.split('"')[3]
                (table,) = (one for one in tables.TABLES if one.name == name)
                fields = {field.column: field for field in model._meta.fields}
                assert list(fields) == [one.name for one in table.columns] or set(fields) == {
                    one.name for one in table.columns}, (name, list(fields))
                for one in table.columns:
                    assert fields[one.name].null == (one.fill == "null"), (name, one.name)
                    kind = fields[one.name].db_type(connection)
                    kind = kind.replace("timestamp with time zone", "timestamptz")
                    assert kind == one.type, (name, one.name, kind, one.type)
                print(name, model.objects.count())
            """
        )
        assert len(found.splitlines()) == 4

    def test_they_go_backwards_and_forwards(self, postgres: Endpoint, tmp_path: Path) -> None:
        with fresh_database(postgres) as name:
            project = Project(postgres, name, {"POSTGRES_DATABASE": name, "DBINT_JOURNAL_DIR": str(tmp_path)})
            for target in ("0001", "zero", "0001"):
                done = project.manage("migrate", "dbint_observability", target, "--database", "default")
                assert done.returncode == 0, done.stderr
                with connected(config_for(postgres, name)) as connection:
                    found = one(
                        connection, "SELECT to_regclass('agent_observability.trace_events') IS NOT NULL"
                    )
                assert found is (target == "0001")

    def test_sqlmigrate_shows_the_sql(self, project: Project) -> None:
        shown = project.manage("sqlmigrate", "dbint_observability", "0001").stdout
        assert "CREATE TABLE IF NOT EXISTS agent_observability.trace_events" in shown
        assert "CREATE OR REPLACE FUNCTION dbint.guard" in shown


class TestTransactions:
    def test_an_event_is_written_after_the_commit(self, project: Project) -> None:
        printed = project.script(
            """
            with transaction.atomic():
                db.write_trace_event_sync(**TRACE, message="with it", on_commit=True)
                db.write_trace_event_sync(**TRACE, message="at once")
                db.flush_sync(20)
                print([event["message"] for event in db.query_trace_events_sync()])
            db.flush_sync(20)
            print([event["message"] for event in db.query_trace_events_sync()])
            """
        )
        # Its time is that of the call, not that of the commit.
        assert printed.splitlines() == ["['at once']", "['at once', 'with it']"]

    def test_and_never_after_a_rollback(self, project: Project) -> None:
        project.script(
            """
            for undo in (True, False):
                try:
                    with transaction.atomic():
                        db.write_trace_event_sync(**TRACE, message=f"undone {undo}", on_commit=True)
                        if undo:
                            raise ValueError
                except ValueError:
                    pass
            """
        )
        assert project.messages() == ["undone False"]

    def test_of_an_inner_block_that_is_rolled_back(self, project: Project) -> None:
        project.script(
            """
            with transaction.atomic():
                db.write_trace_event_sync(**TRACE, message="outer", on_commit=True)
                try:
                    with transaction.atomic():
                        db.write_trace_event_sync(**TRACE, message="inner", on_commit=True)
                        raise ValueError
                except ValueError:
                    pass
            """
        )
        assert project.messages() == ["outer"]

    def test_without_a_transaction_it_is_written_at_once(self, project: Project) -> None:
        project.script(
            """
            async def main():
                await db.write_trace_event(**TRACE, message="awaited", on_commit=True)
            db.write_trace_event_sync(**TRACE, message="alone", on_commit=True)
            asyncio.run(main())
            """
        )
        assert sorted(project.messages()) == ["alone", "awaited"]

    def test_what_changes_later_does_not_change_the_event(self, project: Project) -> None:
        printed = project.script(
            """
            metadata = {"state": "then"}
            with transaction.atomic():
                db.write_trace_event_sync(**TRACE, message="m", metadata=metadata, on_commit=True)
                metadata["state"] = "now"
            db.flush_sync(20)
            print(db.query_trace_events_sync()[0]["metadata"]["state"])
            """
        )
        assert printed == "then"

    def test_a_bad_event_is_refused_where_it_is_written(self, project: Project) -> None:
        printed = project.script(
            """
            from dbint.errors import InvalidEventError
            with transaction.atomic():
                try:
                    db.write_trace_event_sync(**TRACE, message=3, on_commit=True)
                except InvalidEventError as error:
                    print(error)
            """
        )
        assert '"message"' in printed

    def test_another_database_may_be_meant(self, project: Project) -> None:
        printed = project.script(
            """
            with transaction.atomic(using="agent_db"), transaction.atomic():
                db.write_trace_event_sync(**TRACE, message="m", on_commit="agent_db")
                other = transaction.get_connection("agent_db")
                print(len(other.run_on_commit), len(connection.run_on_commit))
            """
        )
        assert printed == "1 0"


class TestConfiguration:
    def test_the_server_is_that_of_the_models(self, project: Project) -> None:
        printed = project.script(
            "print(db.config.host, db.config.port, db.config.database, db.config.journal_path)"
        )
        path = Path(project.environ["DBINT_JOURNAL_DIR"], project.database)
        assert printed == f"{project.server.host} {project.server.port} {project.database} {path}"

    def test_settings_are_read_and_the_environment_wins(self, project: Project) -> None:
        printed = project.script(
            """
            from django.test import override_settings
            from dbint.django.observability.config import database_config
            kept = {"public.a": {"column": "at", "days": 3}}
            events = {"batch_size": 7, "pool_max_size": 6, "retention_tables": kept}
            os.environ["POSTGRES_POOL_MAX_SIZE"] = "9"
            with override_settings(DBINT={"EVENTS": events}):
                config = database_config()
            print(config.batch_size, config.pool_max_size, config.retention_tables["public.a"].days)
            """
        )
        assert printed == "7 9 3.0"

    def test_what_cannot_work_is_a_system_check(self, project: Project) -> None:
        done = project.manage("check", POSTGRES_POOL_MIN_SIZE="many")
        assert done.returncode == 1
        assert "(dbint.E050) The layer of events cannot be configured: POSTGRES_POOL_MIN_SIZE" in done.stderr
        printed = project.script(
            """
            from django.test import override_settings
            from dbint.django.checks import check_events
            with override_settings(DBINT={"ROUTING": {"apps": {"dbint_observability": "doris"}}}):
                (found,) = check_events()
            print(found.id, found.msg)
            """
        )
        assert printed.startswith("dbint.E050")
        assert "lives in the database 'doris', which is no PostgreSQL" in printed

    def test_a_user_called_as_the_ledgers_schema_is_warned_of(self, project: Project) -> None:
        printed = project.script(
            """
            from django.db import connections
            from dbint.django.checks import check_events
            before = check_events()
            connections["default"].settings_dict["USER"] = "dbint"
            (found,) = check_events()
            print(before, found.id, found.msg)
            """
        )
        assert printed.startswith("[] dbint.W051")


class TestPagesAndModels:
    def test_models_read_and_write(self, project: Project) -> None:
        printed = project.script(
            """
            made = TraceEvent.objects.create(**TRACE, message="by the ORM")
            db.write_trace_event_sync(**TRACE, message="by the layer", metadata={"k": 1})
            db.flush_sync(20)
            print([event.message for event in TraceEvent.objects.filter(trace_id="t")])
            print(TraceEvent.objects.latest().metadata, TraceEvent.objects.get(metadata__k=1).message)
            print(TraceEvent.objects.filter(timestamp=made.timestamp, event_id=made.event_id).delete()[0])
            """
        )
        assert printed.splitlines() == ["['by the layer', 'by the ORM']", "{'k': 1} by the layer", "1"]

    def test_pages_show_events_and_change_nothing(self, project: Project) -> None:
        printed = project.script(
            """
            from django.contrib.auth.models import User
            from django.test import Client
            from django.conf import settings
            import re
            settings.ALLOWED_HOSTS = ["testserver"]
            db.write_routing_decision_sync(
                user_request="r", selected_agent="agent-7", confidence_score=0.5, routing_strategy="simple")
            db.write_performance_metric_sync(
                metric_name="n", metric_value=1.5, metric_type="latency", component="router")
            db.write_transformation_event_sync(
                source_agent="a", target_agent="b", transformation_type="merge", success=False)
            for number in range(60):
                db.write_trace_event_sync(**TRACE, message=f"number {number}")
            db.flush_sync(20)
            user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
            client = Client()
            client.force_login(user)
            pages = {"traceevent": "number 59", "routingdecision": "agent-7", "performancemetric": "router",
                     "transformationevent": "merge"}
            for model, shown in pages.items():
                listed = client.get(f"/admin/dbint_observability/{model}/").content.decode()
                assert shown in listed, model
                place = re.search(rf'href="(/admin/dbint_observability/{model}/[^"]+/change/)', listed)
                page = client.get(place[1])
                assert page.status_code == 200, (place[1], page.headers)
                assert shown in page.content.decode()
                assert b'name="_save"' not in page.content
                assert client.post(place[1], {}).status_code == 403
                assert client.get(f"/admin/dbint_observability/{model}/add/").status_code == 403
            found = client.get("/admin/dbint_observability/traceevent/?q=t&p=2")
            assert "number 0" in found.content.decode()
            found = client.get("/admin/dbint_observability/traceevent/?q=nothing")
            assert "number" not in found.content.decode()
            gone = client.get("/admin/dbint_observability/traceevent/nonsense/change/", follow=True)
            print(gone.redirect_chain[0][0])
            """
        )
        assert printed == "/admin/"


class TestTheCommand:
    def test_a_dry_run_and_a_run(self, project: Project) -> None:
        project.script(
            """
            from datetime import datetime, timedelta, UTC
            for days in (50, 31, 29):
                moment = datetime.now(UTC) - timedelta(days=days)
                db.write_trace_event_sync(**TRACE, message=str(days), timestamp=moment)
            """
        )
        dry = project.manage("apply_retention", "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "2 rows would be deleted" in dry.stdout
        assert project.messages() == ["50", "31", "29"]
        real = project.manage("apply_retention", "--format", "json")
        assert real.returncode == 0, real.stderr
        report = json.loads(real.stdout)
        assert (report["ran"], report["dry_run"], report["removed_rows"], report["errors"]) == (
            True,
            False,
            2,
            [],
        )
        assert project.messages() == ["29"]
        assert project.manage("apply_retention").stdout == "nothing removed\n"

    def test_errors_are_one_line(self, project: Project) -> None:
        away = project.manage("apply_retention", POSTGRES_HOST="127.0.0.1", POSTGRES_PORT="1")
        assert away.returncode == 1
        assert away.stderr.startswith("retention was not applied: PostgreSQL at 127.0.0.1:1: ")
        wrong = project.manage("apply_retention", TRACE_EVENTS_RETENTION_DAYS="soon")
        # The system check has it, before the command runs.
        assert wrong.returncode == 1
        assert "TRACE_EVENTS_RETENTION_DAYS is 'soon'" in wrong.stderr
        assert "Traceback" not in away.stderr + wrong.stderr
