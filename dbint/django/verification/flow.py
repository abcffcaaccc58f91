"""Rows on their way PostgreSQL -> Kafka -> Doris, compared value by value at the end.

What travels are rows that a transaction has committed, as JSON, through the C producer and consumer; batches
of them go into Doris by Stream Load under labels, unparsed. Sent again under the same labels nothing is
loaded twice.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections, models, transaction

from dbint import errors
from dbint.django.backends.doris.bulk import DEFAULT_HTTP_PORT, stream_load_client
from dbint.django.conf import get_settings
from dbint.django.verification.access import private_connection, target_of
from dbint.django.verification.scratch_model import columns, project_rows, scratch_table
from dbint.flow import StreamLoadClient, json_lines, make_label
from dbint.verify.advice import Target, advise
from dbint.verify.diagnosis import causes, one_line
from dbint.verify.kafka import KafkaAccess, read_batches, read_messages, scratch_topic
from dbint.verify.probe import Probe, ProbeFailed, Scope
from dbint.verify.values import difference

_PARTITIONS = 2


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
    """The whole way, ending in Doris (alias ``sink``)."""

    sink: str
    rows: int

    def run(self, scope: Scope) -> str:
        with (
            private_connection(self.source, scope) as postgres,
            private_connection(self.sink, scope) as doris,
            scratch_table(postgres, scope, self.table_prefix, "source") as source,
            scratch_table(doris, scope, self.table_prefix, "sink") as sink,
            scratch_topic(self.access, scope, self.topic_prefix, "flow", _PARTITIONS) as topic,
        ):
            began = time.monotonic()
            written = self.commit_and_send(scope, source, topic)
            loads = self.load(scope, sink, topic)
            self.compare(scope, sink, written)
            seconds = time.monotonic() - began
            self.load_again(scope, sink, loads)
        scope.details.update(
            rows=len(written),
            loads=len(loads),
            labels=sorted(loads),
            bytes=sum(map(len, loads.values())),
            commit_to_visible_seconds=round(seconds, 3),
        )
        return (
            f"{len(written)} rows, {len(written) * len(columns())} values, in Doris {seconds:.1f} s after "
            f"their commit; {len(loads)} loads repeated under their labels loaded nothing new"
        )

    def commit_and_send(
        self, scope: Scope, model: type[models.Model], topic: str
    ) -> dict[int, dict[str, Any]]:
        """Commits the rows, reads them back as PostgreSQL holds them, and sends those. Returns them by id."""
        scope.doing(f"{self.rows} rows to be committed in PostgreSQL")
        templates = project_rows(connections[self.source])
        wanted = [
            template | {"name": f"{template['name']} {number}"}
            for number in range(self.rows)
            for template in (templates[number % len(templates)],)
        ]
        committed: list[dict[str, Any]] = []
        stored: Any = model._default_manager.using(self.source)

        def send() -> None:
            committed.extend(stored.order_by("pk").values())
            scope.doing(f"{len(committed)} rows to be acknowledged by Kafka, topic {topic}")
            self.send(scope, topic, [self.as_stored(model, row) for row in committed])

        with transaction.atomic(using=self.source):
            stored.bulk_create([model(**row) for row in wanted])
            transaction.on_commit(send, using=self.source)
        return {row["id"]: row for row in committed}

    def as_stored(self, model: type[models.Model], row: Mapping[str, Any]) -> dict[str, Any]:
        """The row in the form in which Doris' columns hold its values, a UUID for one."""
        sink = connections[self.sink]
        return {
            field.column: field.get_db_prep_save(row[field.attname], sink)
            for field in model._meta.concrete_fields
        }

    def load(self, scope: Scope, model: type[models.Model], topic: str) -> dict[str, bytes]:
        """Reads the topic and loads each partition's range as one body. Returns the bodies by label."""
        loads: dict[str, bytes] = {}
        with self.client(scope) as client:
            scope.doing(f"messages of topic {topic}")
            for batch in read_batches(self.access, scope, topic, _PARTITIONS):
                for _, partition, first, last, *_ in batch.ranges():
                    label = make_label("dbint-verify", topic, partition, first, last)
                    loads[label] = batch.concat(b"\n", topic, partition)
                    result = self.load_one(scope, client, model, label, loads[label])
                    if result.already:
                        raise ProbeFailed(f"Doris says that the new label {label} was loaded before")
        return loads

    def load_again(self, scope: Scope, model: type[models.Model], loads: Mapping[str, bytes]) -> None:
        stored: Any = model._default_manager.using(self.sink)
        before = stored.count()
        with self.client(scope) as client:
            for label, body in loads.items():
                if not self.load_one(scope, client, model, label, body).already:
                    raise ProbeFailed(
                        f"Doris took the label {label} twice: a retry would load its rows twice"
                    )
        if (after := stored.count()) != before:
            raise ProbeFailed(f"loading again under the same labels made {after} rows of {before}")

    def load_one(
        self, scope: Scope, client: StreamLoadClient, model: type[models.Model], label: str, body: bytes
    ) -> Any:
        scope.doing(f"Stream Load {label}")
        target = self.load_target()
        try:
            return client.load(
                str(target.database),
                model._meta.db_table,
                body,
                label=label,
                format="json",
                read_json_by_line=True,
                timezone="UTC",
                error_lines=0,
                deadline=scope.remaining(),
            )
        except errors.Error as error:
            raise ProbeFailed(one_line(error), advise(target, error)) from error

    def load_target(self) -> Target:
        """Doris' HTTP side, where loads go."""
        options = connections[self.sink].settings_dict.get("OPTIONS", {})
        return replace(target_of(self.sink), port=int(options.get("http_port", DEFAULT_HTTP_PORT)))

    @contextmanager
    def client(self, scope: Scope) -> Iterator[StreamLoadClient]:
        """The client that the alias' own bulk loads have; without such, as ``DBINT["DORIS"]`` says."""
        sink, doris = connections[self.sink], get_settings().doris
        options = sink.settings_dict["OPTIONS"].get("stream_load")
        if options is None:
            options = {"address_map": doris.address_map, "allowed_hosts": doris.allowed_hosts}
        with stream_load_client(sink, options) as client, scope.abortable(client.close):
            yield client

    def compare(self, scope: Scope, model: type[models.Model], written: Mapping[int, dict[str, Any]]) -> None:
        scope.doing("rows to be read from Doris")
        stored: Any = model._default_manager.using(self.sink)
        read = {row["id"]: row for row in stored.values()}
        problems = [f"row {key} is missing in Doris" for key in written.keys() - read.keys()]
        problems += [f"Doris has a row {key} that nobody sent" for key in read.keys() - written.keys()]
        for key in written.keys() & read.keys():
            for column in ("name", *columns()):
                line = difference(written[key]["name"], column, written[key][column], read[key][column])
                if line:
                    problems.append(line)
        if problems:
            scope.details["differences"] = problems
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise ProbeFailed(
                "; ".join(problems[:3]) + more,
                [
                    "Compare the columns in both databases: python manage.py inspectdb --database ALIAS",
                    "Rows that Doris filtered are listed under the load's ErrorURL.",
                ],
            )
