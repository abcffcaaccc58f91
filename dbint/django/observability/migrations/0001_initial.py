"""The tables of events, their schema, the log of retention, and the ledger of the batch writer."""

import uuid
from typing import Any

import django.utils.timezone
from django.db import migrations, models

from dbint import _core
from dbint.events import tables


class PostgresSQL(migrations.RunSQL):
    """SQL for PostgreSQL; in other databases it has nothing to do."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        PostgresSQL(
            list(tables.statements()),
            [f"DROP TABLE IF EXISTS {table.qualified}" for table in tables.TABLES],
            hints={"model_name": "traceevent"},
        ),
        # It stays when the events go: streams into other tables need it, too.
        PostgresSQL([_core.ledger_sql()], migrations.RunSQL.noop, hints={"model_name": "traceevent"}),
        migrations.CreateModel(
            name="PerformanceMetric",
            fields=[
                (
                    "event_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("timestamp", models.DateTimeField(default=django.utils.timezone.now)),
                ("metric_name", models.CharField(max_length=255)),
                ("metric_value", models.FloatField()),
                ("metric_type", models.CharField(max_length=100)),
                ("component", models.CharField(max_length=255)),
                ("metadata", models.JSONField(blank=True, null=True)),
                ("trace_id", models.CharField(blank=True, max_length=255, null=True)),
            ],
            options={
                "db_table": '"agent_observability"."performance_metrics"',
                "ordering": ["-timestamp", "-event_id"],
                "get_latest_by": "timestamp",
                "abstract": False,
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="RoutingDecision",
            fields=[
                (
                    "event_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("timestamp", models.DateTimeField(default=django.utils.timezone.now)),
                ("user_request", models.TextField()),
                ("selected_agent", models.CharField(max_length=255)),
                ("confidence_score", models.FloatField()),
                ("routing_strategy", models.CharField(max_length=100)),
                ("alternatives", models.JSONField(blank=True, null=True)),
                ("reasoning", models.TextField(blank=True, null=True)),
                ("context", models.JSONField(blank=True, null=True)),
                ("trace_id", models.CharField(blank=True, max_length=255, null=True)),
            ],
            options={
                "db_table": '"agent_observability"."routing_decisions"',
                "ordering": ["-timestamp", "-event_id"],
                "get_latest_by": "timestamp",
                "abstract": False,
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="TraceEvent",
            fields=[
                (
                    "event_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("timestamp", models.DateTimeField(default=django.utils.timezone.now)),
                ("trace_id", models.CharField(max_length=255)),
                ("event_type", models.CharField(max_length=100)),
                ("level", models.CharField(max_length=20)),
                ("message", models.TextField()),
                ("agent_name", models.CharField(blank=True, max_length=255, null=True)),
                ("task_id", models.CharField(blank=True, max_length=255, null=True)),
                ("metadata", models.JSONField(blank=True, null=True)),
            ],
            options={
                "db_table": '"agent_observability"."trace_events"',
                "ordering": ["-timestamp", "-event_id"],
                "get_latest_by": "timestamp",
                "abstract": False,
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="TransformationEvent",
            fields=[
                (
                    "event_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("timestamp", models.DateTimeField(default=django.utils.timezone.now)),
                ("source_agent", models.CharField(max_length=255)),
                ("target_agent", models.CharField(max_length=255)),
                ("transformation_type", models.CharField(max_length=100)),
                ("success", models.BooleanField()),
                ("reason", models.TextField(blank=True, null=True)),
                ("duration_ms", models.FloatField(blank=True, null=True)),
                ("metadata", models.JSONField(blank=True, null=True)),
                ("trace_id", models.CharField(blank=True, max_length=255, null=True)),
            ],
            options={
                "db_table": '"agent_observability"."transformation_events"',
                "ordering": ["-timestamp", "-event_id"],
                "get_latest_by": "timestamp",
                "abstract": False,
                "managed": False,
            },
        ),
    ]
