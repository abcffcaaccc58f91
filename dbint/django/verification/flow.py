"""Rows on their way PostgreSQL -> Kafka -> Doris, compared value by value at the end.

What a transaction commits is sent to Kafka when it has, and not otherwise; and a flow of the probe's own
carries a table as `manage.py run_flow` would: its first load, then its changes.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction

from dbint.django.conf import get_settings
from dbint.django.flows import make_config
from dbint.django.verification import scratch_model
from dbint.django.verification.access import clean_up_connection, private_connection, target_of
from dbint.django.verification.scratch_model import columns, project_rows, scratch_table
from dbint.flow import json_lines
from dbint.flow.config import FlowConfig
from dbint.flow.plan import apply_plan, plan
from dbint.flow.removal import remove_flow
from dbint.flow.runner import PARTS, Runner
from dbint.verify.advice import advise
from dbint.verify.diagnosis import causes
from dbint.verify.kafka import KafkaAccess, read_messages, scratch_topic
from dbint.verify.probe import Probe, ProbeFailed, ProbeNotConfigured, Scope
from dbint.verify.scratch import is_stale
from dbint.verify.values import difference

_PARTITIONS = 2
_LOOK = 0.1  # seconds between two looks at Doris
_DRAIN = 5.0  # seconds that the flow has for its end
_LAST_WORDS = 3.0  # seconds before the deadline in which the probe still says what is missing


@dataclass(frozen=True, kw_only=True)
class IntegrationProbe(Probe):
    """A probe of the way from PostgreSQL (alias ``source``) to Kafka."""

    group: str = "integration"
    server: str = "integration"
    writes: bool = True
    deadline: float = 20.0
    access: KafkaAccess
    source: str
    table_prefix: str
    topic_prefix: str

    def advice(self, error: BaseException) -> Sequence[str]:
        """The drivers tell the databases apart; what dbint itself raises here is about Kafka."""
        for link in causes(error):
            driver = type(link).__module__.partition(".")[0]
            if driver == "psycopg":
                return advise(target_of(self.source), error)
            if driver in ("pymysql", "MySQLdb") and isinstance(self, FlowProbe):
                return advise(target_of(self.sink), error)
        return advise(self.access.target, error)

    def send(self, scope: Scope, topic: str, rows: list[dict[str, Any]]) -> None:
        """Every row as one JSON message under its primary key; returns when all are acknowledged."""
        with self.access.producer(scope) as producer:
            for row in rows:
                producer.enqueue(topic, json_lines([row]).rstrip(b"\n"), str(row["id"]))
            left = producer.flush(timeout=scope.remaining())
            counts = producer.metrics()
        if left or counts["delivered"] != len(rows):
            raise ProbeFailed(
                f"{len(rows)} rows sent to topic {topic}, {counts['delivered']} acknowledged, "
                f"{counts['failed']} failed ({counts['failed_by']})",
                advise(self.access.target, TimeoutError()),
            )


@dataclass(frozen=True, kw_only=True)
class CommitProbe(IntegrationProbe):
    """Nothing leaves PostgreSQL for Kafka before its transaction commits, and nothing when it never does."""

    deadline: float = 15.0

    def run(self, scope: Scope) -> str:
        with (
            private_connection(self.source, scope) as connection,
            scratch_table(connection, scope, self.table_prefix, "commit") as model,
            scratch_topic(self.access, scope, self.topic_prefix, "commit") as topic,
        ):
            scope.doing("a transaction that rolls back")
            with transaction.atomic(using=self.source):
                self.create_and_send_on_commit(scope, model, topic, "never")
                self.expect(scope, topic, [], "before the rollback")
                transaction.set_rollback(True, using=self.source)
            self.expect(scope, topic, [], "after the rollback")
            scope.doing("a transaction that commits")
            with transaction.atomic(using=self.source):
                self.create_and_send_on_commit(scope, model, topic, "committed")
                self.expect(scope, topic, [], "before the commit")
            self.expect(scope, topic, ["committed"], "after the commit")
        return "a rolled-back row never reached the topic, a committed one did, and not before its commit"

    def create_and_send_on_commit(
        self, scope: Scope, model: type[models.Model], topic: str, name: str
    ) -> None:
        instance = model(name=name)
        instance.save(using=self.source, force_insert=True)
        row = {"id": instance.pk, "name": name}
        transaction.on_commit(lambda: self.send(scope, topic, [row]), using=self.source)

    def expect(self, scope: Scope, topic: str, names: list[str], when: str) -> None:
        values = [message.value for message in read_messages(self.access, scope, topic)]
        found = [name for name in ("never", "committed") if any(name.encode() in value for value in values)]
        if found != names or len(values) != len(names):
            raise ProbeFailed(f"{when}, topic {topic} holds {len(values)} messages {found}, expected {names}")


@dataclass(frozen=True, kw_only=True)
class FlowProbe(IntegrationProbe):
    """The whole way, ending in Doris (alias ``sink``), by a flow of its own: a first load, then changes."""

    deadline: float = 60.0
    sink: str
    rows: int

    def run(self, scope: Scope) -> str:
        with (
            private_connection(self.source, scope) as postgres,
            private_connection(self.sink, scope) as doris,
            scratch_table(postgres, scope, self.table_prefix, "flow") as model,
        ):
            self.require_log(postgres)
            config = self.scratch_flow(scope, postgres, model)
            self.make_target(scope, config, doris)
            rows: Any = model._default_manager
            templates = project_rows(postgres)
            wanted = [
                model(**template | {"name": f"{template['name']} {number}"})
                for number in range(self.rows)
                for template in (templates[number % len(templates)],)
            ]
            scope.doing(f"{self.rows} rows to be committed in PostgreSQL")
            rows.using(self.source).bulk_create(wanted[::2])
            with self.running(scope, config) as runner:
                loaded = self.arrival(scope, runner, model, "the first load")
                scope.doing("changes to be committed in PostgreSQL")
                with transaction.atomic(using=self.source):
                    rows.using(self.source).bulk_create(wanted[1::2])
                    self.change(model, wanted[::2])
                changed = self.arrival(scope, runner, model, "the changes")
                status = runner.status()["sink"]
        scope.details.update(
            rows=self.rows,
            first_load_seconds=round(loaded, 3),
            commit_to_visible_seconds=round(changed, 3),
            sink=status,
        )
        return (
            f"{self.rows} rows of {len(columns()) + 2} values are the same in Doris: first load "
            f"{loaded:.1f} s, inserts, updates, deletes and a changed key {changed:.1f} s after their commit"
        )

    def require_log(self, postgres: Any) -> None:
        """A project that has no flow need not be ready for one."""
        with postgres.cursor() as cursor:
            cursor.execute("SHOW wal_level")
            (level,) = cursor.fetchone()
        if level != "logical" and not get_settings().flows:
            raise ProbeNotConfigured(
                f"PostgreSQL has wal_level = {level}: its log holds no changes that a flow could read",
                ["To use flows, set wal_level = logical in postgresql.conf and restart the server."],
            )

    def scratch_flow(self, scope: Scope, postgres: Any, model: type[models.Model]) -> FlowConfig:
        """A flow of this probe's own; its removal is left to the scope's clean-up."""
        scope.doing("old flows to be removed")
        removed = remove_leftovers(postgres, self.source, self.sink, self.table_prefix)
        scope.details["leftovers_removed"] += removed
        with postgres.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            (schema,) = cursor.fetchone()
        name = model._meta.db_table
        table = f"{schema}.{name}"
        # UUIDs as the Doris backend reads them; some chunks, so that a first load has a middle.
        options = {"types": {"code": "VARCHAR(32)"}, "buckets": 1}
        entry = scratch_entry(self.source, self.sink, name) | {
            "TABLES": {table: options},
            "PREFIX": name.replace("_", "-"),
            "CHUNK_ROWS": max(1, self.rows // 4),
        }
        config = make_config(name, entry)
        scope.defer(f"flow {name} (slot, publication, topics)", lambda: remove_flow(config, topics=True))
        return config

    def make_target(self, scope: Scope, config: FlowConfig, doris: Any) -> None:
        """The flow's table in Doris, as `manage.py flow_plan --apply` makes it."""
        scope.doing(f"CREATE TABLE {config.name} on {self.sink}")

        def drop() -> None:
            with clean_up_connection(self.sink) as fresh, fresh.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {fresh.ops.quote_name(config.name)} FORCE")

        scratch_model.remove_leftovers(doris, self.table_prefix)
        scope.defer(f"table {config.name} on {self.sink}", drop)
        apply_plan(config, plan(config), timeout=scope.remaining())

    @contextmanager
    def running(self, scope: Scope, config: FlowConfig) -> Iterator[Runner]:
        """The flow, in threads of this process, as `manage.py run_flow` runs it."""
        runner = Runner(config)
        thread = threading.Thread(target=runner.run, name=config.name, daemon=True)
        thread.start()
        try:
            with scope.abortable(runner.stop):
                yield runner
        finally:
            runner.stop()
            thread.join(_DRAIN + 10)

    def change(self, model: type[models.Model], present: Sequence[models.Model]) -> None:
        """Something of each kind to rows that have been loaded."""
        rows: Any = model._default_manager.using(self.source)
        third = max(1, len(present) // 3)
        rows.filter(pk__in=[row.pk for row in present[:third]]).update(small=7, words="changed", big=None)
        rows.filter(pk__in=[row.pk for row in present[third : 2 * third]]).delete()
        # Another key for the last one: it leaves its old place and takes a new one.
        rows.filter(pk=present[-1].pk).update(id=present[-1].pk + 1_000_000)

    def arrival(self, scope: Scope, runner: Runner, model: type[models.Model], what: str) -> float:
        """Waits until Doris has what PostgreSQL has; how many seconds that took."""
        scope.doing(f"{what} to be visible in Doris")
        began = time.monotonic()
        source: Any = model._default_manager.using(self.source)
        written = {row["id"]: row for row in source.values()}
        while problems := self.differences(model, written):
            for part in PARTS:
                failure = runner.status()[part]["failure"]
                if failure and (failure["retry_in"] is None or scope.remaining() < _LAST_WORDS):
                    raise ProbeFailed(f"{what}: the flow's {part} cannot work: {failure['text']}")
            if scope.remaining() < _LAST_WORDS:
                scope.details["differences"] = problems
                more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
                raise ProbeFailed(
                    f"{what} did not arrive within {time.monotonic() - began:.0f} s: "
                    f"{'; '.join(problems[:3])}{more}",
                    ["What Doris refused is in the flow's dead-letter topic, with the reason."],
                )
            scope.sleep(_LOOK)
        return time.monotonic() - began

    def differences(self, model: type[models.Model], written: Mapping[int, dict[str, Any]]) -> list[str]:
        """What is not in Doris as it is in PostgreSQL."""
        stored: Any = model._default_manager.using(self.sink)
        read = {row["id"]: row for row in stored.values()}
        problems = [f"row {key} is missing in Doris" for key in written.keys() - read.keys()]
        problems += [f"Doris has a row {key} that PostgreSQL has not" for key in read.keys() - written.keys()]
        for key in written.keys() & read.keys():
            for column in ("name", *columns()):
                line = difference(written[key]["name"], column, written[key][column], read[key][column])
                if line:
                    problems.append(line)
        return problems


def scratch_entry(source: str, sink: str, name: str) -> dict[str, Any]:
    """What every flow of this probe has in common, as an entry of ``DBINT["FLOWS"]``."""
    return {
        "SOURCE": source,
        "TARGET": sink,
        "SLOT": name,
        "PUBLICATION": name,
        "PARTITIONS": _PARTITIONS,
        "BATCH_SECONDS": _LOOK,
        "DRAIN_TIMEOUT": _DRAIN,
    }


def remove_leftovers(postgres: Any, source: str, sink: str, prefix: str) -> list[str]:
    """Removes slots and publications of exactly our shape that killed runs left more than an hour ago: a slot
    that nobody reads fills the server's disk.
    """
    with postgres.cursor() as cursor:
        cursor.execute("SELECT slot_name FROM pg_replication_slots UNION SELECT pubname FROM pg_publication")
        stale = [name for (name,) in cursor.fetchall() if is_stale(name, prefix)]
    removed = []
    for name in stale:
        entry = scratch_entry(source, sink, name) | {"TABLES": {f"public.{name}": {}}}
        removed += remove_flow(make_config(name, entry))
    return removed
