"""Engine "connect" as a whole: what has to be where, brought there step by step, and watched.

Each step looks first and does only what is missing, so that a second run does nothing, and one that was cut
off is finished by the next. In this order: Doris' tables (:mod:`dbint.flow.plan` makes them), topics,
publication, Routine Load jobs, connector: what reads is there before what writes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from dbint.errors import ConfigurationError, Error, KafkaError, OperationalError
from dbint.flow.capture import Capture
from dbint.flow.config import FlowConfig
from dbint.flow.connect import (
    ConnectorStatus,
    ConnectRequestError,
    KafkaConnect,
    connector_config,
    connector_name,
    first_offset,
    masked,
)
from dbint.flow.mapping import TableMapping
from dbint.flow.plan import load_mappings, plan
from dbint.flow.positions import format_lsn
from dbint.flow.routine_load import Job, RoutineLoads, job_name
from dbint.flow.slots import SlotState, read_slot
from dbint.flow.snapshot import SCHEMA_SQL, read_progress
from dbint.flow.topics import make_topic
from dbint.kafka import KafkaAdmin
from dbint.kafka.admin import UNKNOWN_TOPIC

_START_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done, or with ``--dry-run`` would be: what, to which thing, with which text."""

    action: str
    subject: str
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"action": self.action, "subject": self.subject, "detail": self.detail}

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"


@dataclass(frozen=True, slots=True)
class Status:
    """The deployment as it is now."""

    flow: str
    connector: ConnectorStatus
    jobs: tuple[Job, ...]
    slot: SlotState | None
    problems: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "flow": self.flow,
            "well": self.is_well,
            "connector": self.connector.to_json(),
            "slot": None if self.slot is None else self.slot.to_json(),
            "jobs": [job.to_json() for job in self.jobs],
            "problems": list(self.problems),
        }


@dataclass(slots=True)
class _Restarts:
    """How often the connector was started again: a pause between two that doubles, and an end to them.

    A connector that has run for as long as the longest of the pauses has recovered.
    """

    most: int = 5
    count: int = 0
    next_at: float = 0.0
    running_since: float | None = None

    @property
    def are_used_up(self) -> bool:
        return self.count >= self.most

    def may(self, now: float) -> bool:
        self.running_since = None
        return not self.are_used_up and now >= self.next_at

    def note(self, now: float) -> None:
        self.count += 1
        self.next_at = now + self._pause(self.count)

    def note_running(self, now: float) -> None:
        if self.running_since is None:
            self.running_since = now
        if now - self.running_since >= self._pause(self.most):
            self.count = 0

    @staticmethod
    def _pause(count: int) -> float:
        return 5.0 * 2.0**count


@dataclass(slots=True)
class Deployment:
    """One flow, deployed. ``steps`` are what was done, or with ``dry_run`` would be."""

    config: FlowConfig
    dry_run: bool = False
    steps: list[Step] = field(default_factory=list)
    _restarts: _Restarts = field(default_factory=_Restarts)

    def __post_init__(self) -> None:
        if self.config.engine != "connect":
            raise ConfigurationError(
                f"flow {self.config.name} has the engine {self.config.engine}: manage.py run_flow runs it. "
                f"With "
                '"ENGINE": "connect" it is deployed to Kafka Connect'
            )

    # -- bringing it there

    def deploy(self, *, from_beginning: bool = False) -> list[Step]:
        """Bring all that is missing or other than it should be to where it should be.

        Raises ConfigurationError for what a person has to mend first, and what the servers raise.
        """
        connect = KafkaConnect.of(self.config)
        connect.check_plugin()
        properties = connector_config(self.config)
        mappings = self._tables()
        self._topics(mappings)
        slot = self._source(connect)
        with RoutineLoads(self.config) as jobs:
            for mapping in mappings:
                self._job(jobs, mapping, from_beginning=from_beginning)
        self._connector(connect, properties, slot)
        return self.steps

    def _do(self, action: str, subject: str, detail: str, work: Callable[[], Any]) -> None:
        self.steps.append(Step(action, subject, detail))
        if not self.dry_run:
            work()

    def _tables(self) -> list[TableMapping]:
        """The mappings; Doris' tables must be there as they ask for it."""
        made = plan(self.config)
        mappings = made.mappings()
        if made.statements:
            raise ConfigurationError(
                f"Doris' tables are not as flow {self.config.name} needs them: manage.py flow_plan "
                f"{self.config.name} "
                "shows what is missing, with --apply it is made"
            )
        return mappings

    def _topics(self, mappings: Sequence[TableMapping]) -> None:
        config = self.config
        with KafkaAdmin(config={**config.kafka(None)}) as admin:
            for mapping in mappings:
                try:
                    found = len(admin.topic(mapping.topic).partitions)
                except KafkaError as error:
                    if error.kafka_code != UNKNOWN_TOPIC:
                        raise
                    self._do(
                        "create",
                        f"topic {mapping.topic}",
                        f"{config.partitions} partitions",
                        partial(make_topic, admin, config, mapping.topic),
                    )
                    continue
                if found != config.partitions:
                    raise ConfigurationError(
                        f"topic {mapping.topic} has {found} partitions and flow {config.name} asks for "
                        f"{config.partitions}. A topic that has messages keeps its number, for keys would "
                        f"move: set "
                        f'"PARTITIONS": {found}'
                    )

    def _source(self, connect: KafkaConnect) -> SlotState | None:
        """The publication, and what is known of the slot. Debezium makes a slot where there is none."""
        config = self.config
        capture = Capture(config)
        with closing(config.source.connect()) as connection:
            slot = read_slot(connection, config.slot)
            capture.check(connection)
            if slot is not None and slot.lost:
                raise ConfigurationError(
                    f"slot {config.slot} was invalidated by the server: changes are missing that only a new "
                    f"first load "
                    f"brings back. Drop it (SELECT pg_drop_replication_slot('{config.slot}')), remove the "
                    f"connector "
                    "with flow_deploy --remove, and deploy again"
                )
            known = connect.config(connector_name(config)) is not None
            if slot is None and known and connect.offsets(connector_name(config)):
                raise ConfigurationError(
                    f"slot {config.slot} is gone, and connector {connector_name(config)} has read from it: "
                    f"changes are "
                    "missing that only a new first load brings back. flow_deploy --remove, then deploy again"
                )
            if slot is not None and not known:
                self._check_handover(connection, slot)
            row = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = %s)", [config.publication]
            ).fetchone()
            if self.dry_run:
                if row is not None and not row[0]:
                    self._do(
                        "create", f"publication {config.publication}", ", ".join(config.tables), lambda: None
                    )
            else:
                capture.publish(connection)
        return slot

    def _check_handover(self, connection: psycopg.Connection[Any], slot: SlotState) -> None:
        """Whether the embedded engine is done with the slot. Raises ConfigurationError."""
        config = self.config
        if slot.active_pid is not None:
            raise ConfigurationError(
                f"slot {config.slot} is being read (backend {slot.active_pid}): end run_flow first"
            )
        if config.mode == "cdc_only":
            return
        try:
            done = {row.table for row in read_progress(connection, config.name) if row.state == "done"}
        except psycopg.errors.UndefinedTable:
            done = set()
        if missing := [table for table in config.tables if table not in done]:
            raise ConfigurationError(
                f"slot {config.slot} is there, and the first load of {', '.join(missing)} is not complete: "
                f"let run_flow "
                "finish it before the connector takes the slot over; or drop the slot, and Debezium begins "
                "anew"
            )

    # -- jobs

    def _job(self, jobs: RoutineLoads, mapping: TableMapping, *, from_beginning: bool) -> None:
        job = jobs.job(mapping)
        name = f"Routine Load job {job_name(self.config, mapping)}"
        if job is None:
            last = jobs.job(mapping, history=True)
            # Of a table that was dropped, and is empty now, the last job's progress says nothing.
            known = last is not None and last.target == mapping.target_table and not from_beginning
            offsets = last.offsets if last is not None and known else {}
            statement = jobs.create_statement(mapping, offsets)
            self._do("create", name, _without_secrets(statement), lambda: jobs.create(mapping, offsets))
        elif job.digest != jobs.digest(mapping):
            statement = jobs.create_statement(mapping, job.offsets)
            self._do("replace", name, _without_secrets(statement), lambda: jobs.replace(job, mapping))

    # -- the connector

    def _connector(self, connect: KafkaConnect, properties: dict[str, str], slot: SlotState | None) -> None:
        name = connector_name(self.config)
        known = connect.config(name)
        shown = "\n".join(f"{key} = {value}" for key, value in sorted(masked(properties).items()))
        if known is None:
            if slot is not None and slot.confirmed is not None:
                position = format_lsn(slot.confirmed)
                self._do(
                    "create",
                    f"connector {name} at {position}",
                    shown,
                    lambda: self._create_at(connect, name, properties, position),
                )
            else:
                self._do(
                    "create",
                    f"connector {name}",
                    shown,
                    lambda: connect("PUT", f"/connectors/{name}/config", properties),
                )
        elif {k: v for k, v in known.items() if k != "name"} != properties:
            changed = sorted(
                key
                for key in known.keys() | properties.keys()
                if key != "name" and known.get(key) != properties.get(key)
            )
            self._do(
                "configure",
                f"connector {name}",
                f"changed: {', '.join(changed)}",
                lambda: connect("PUT", f"/connectors/{name}/config", properties),
            )
        if self.dry_run:
            return
        state = connect.status(name)
        if state.state in ("STOPPED", "PAUSED"):
            self._resume_connector(connect, name, state)
        elif state.has_failed:
            self._do("restart", f"connector {name}", state.error, lambda: restart(connect, name))
        connect.wait_for(name, "RUNNING", _START_TIMEOUT)

    def _resume_connector(self, connect: KafkaConnect, name: str, state: ConnectorStatus) -> None:
        """A connector that was stopped begins where its slot is now: another engine may have read on."""
        if state.state == "STOPPED":
            with closing(self.config.source.connect()) as connection:
                slot = read_slot(connection, self.config.slot)
            if slot is not None and slot.active_pid is not None:
                raise ConfigurationError(
                    f"slot {self.config.slot} is being read (backend {slot.active_pid}): end run_flow first"
                )
            offset = next((o["offset"] for o in connect.offsets(name)), None)
            if slot is not None and slot.confirmed is not None and offset is not None:
                position = format_lsn(slot.confirmed)
                if slot.confirmed > int(offset.get("lsn_proc") or offset.get("lsn") or 0):
                    self._do(
                        "move",
                        f"connector {name} to {position}",
                        "",
                        lambda: self._set_offset(connect, name, position),
                    )
        self._do("resume", f"connector {name}", "", lambda: connect("PUT", f"/connectors/{name}/resume"))

    def _create_at(self, connect: KafkaConnect, name: str, properties: dict[str, str], position: str) -> None:
        connect("POST", "/connectors", {"name": name, "config": properties, "initial_state": "STOPPED"})
        connect.wait_for(name, "STOPPED", _START_TIMEOUT)
        self._set_offset(connect, name, position)

    def _set_offset(self, connect: KafkaConnect, name: str, position: str) -> None:
        """Retried for a while: Connect refuses until the tasks of the connector have ended."""
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                connect("PATCH", f"/connectors/{name}/offsets", first_offset(self.config, position))
            except ConnectRequestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return

    # -- ending it

    def _named(self) -> list[TableMapping]:
        """The tables by their names, which is all that a job is found by: they may no longer flow, and
        PostgreSQL may be away.
        """
        database = self.config.target.database
        return [TableMapping(t, self.config.topic(t), database, "", (), ()) for t in self.config.tables]

    def stop(self) -> list[Step]:
        """Stop the connector and pause the jobs. Slot, offsets and progress stay; run_flow may take over."""
        connect = KafkaConnect.of(self.config)
        name = connector_name(self.config)
        state = connect.status(name)
        if state.state not in ("ABSENT", "STOPPED"):
            self._do("stop", f"connector {name}", "", lambda: self._stop_connector(connect, name))
        self._note_first_load(connect, name)
        with RoutineLoads(self.config) as jobs:
            for mapping in self._named():
                job = jobs.job(mapping)
                if job is not None and job.state != "PAUSED":
                    self._do("pause", f"Routine Load job {job.name}", "", partial(jobs.pause, job, mapping))
        return self.steps

    def _stop_connector(self, connect: KafkaConnect, name: str) -> None:
        connect("PUT", f"/connectors/{name}/stop")
        connect.wait_for(name, "STOPPED", _START_TIMEOUT)
        deadline = time.monotonic() + _START_TIMEOUT
        with closing(self.config.source.connect()) as connection:
            while (
                slot := read_slot(connection, self.config.slot)
            ) is not None and slot.active_pid is not None:
                if time.monotonic() > deadline:
                    raise OperationalError(
                        f"connector {name} is stopped, and slot {slot.name} is still being read"
                    )
                time.sleep(0.2)

    def _note_first_load(self, connect: KafkaConnect, name: str) -> None:
        """Tell the embedded engine that the tables have been loaded, where Debezium has done so."""
        config = self.config
        offset = next((o["offset"] for o in connect.offsets(name)), None)
        if self.dry_run or config.mode == "cdc_only" or offset is None or offset.get("snapshot"):
            return
        with closing(config.source.connect()) as connection:
            row = connection.execute("SELECT to_regclass('dbint.flow_snapshot') IS NULL").fetchone()
            if row is not None and row[0]:
                connection.execute(SCHEMA_SQL)
            for table in config.tables:
                connection.execute(
                    "INSERT INTO dbint.flow_snapshot (flow, relation, state, updated_at) VALUES (%s, %s, "
                    "'done', now())"
                    " ON CONFLICT (flow, relation) DO UPDATE SET state = 'done', updated_at = now()",
                    [config.name, table],
                )

    def remove(self) -> list[Step]:
        """Remove connector and jobs for good. The slot stays: it is the operator's to drop."""
        connect = KafkaConnect.of(self.config)
        name = connector_name(self.config)
        if connect.status(name).state != "ABSENT":
            if connect.status(name).state != "STOPPED":
                self._do("stop", f"connector {name}", "", lambda: self._stop_connector(connect, name))
            self._do(
                "remove",
                f"offsets of connector {name}",
                "",
                lambda: connect("DELETE", f"/connectors/{name}/offsets"),
            )
            self._do("remove", f"connector {name}", "", lambda: connect("DELETE", f"/connectors/{name}"))
        with RoutineLoads(self.config) as jobs:
            for mapping in self._named():
                job = jobs.job(mapping)
                if job is not None:
                    self._do("stop", f"Routine Load job {job.name}", "", partial(jobs.stop, job, mapping))
        return self.steps

    def resume(self) -> list[Step]:
        """Resume the jobs that are paused, whatever the reason: a person has looked at it."""
        with RoutineLoads(self.config) as jobs:
            for mapping in self._named():
                job = jobs.job(mapping)
                if job is not None and job.state == "PAUSED":
                    self._do(
                        "resume",
                        f"Routine Load job {job.name}",
                        job.reason,
                        partial(jobs.resume, job, mapping),
                    )
        return self.steps

    # -- watching it

    def status(self) -> Status:
        """How it is; never raises for a server that is away, but says so."""
        config = self.config
        name = connector_name(config)
        problems: list[str] = []
        connector = ConnectorStatus(name, "UNKNOWN")
        jobs: list[Job] = []
        slot = None
        with _noted(problems):
            connector = KafkaConnect.of(config).status(name)
            problems += self._connector_problems(connector)
        with _noted(problems), closing(config.source.connect()) as connection:
            slot = read_slot(connection, config.slot)
            problems += self._slot_problems(slot)
        with _noted(problems), RoutineLoads(config) as loads:
            jobs = loads.status(load_mappings(config))
        problems += [
            f"job {job.name} of {job.table} is {job.state}: {job.reason or job.cause}. {job.advice}"
            + (f" (errors: {', '.join(job.error_urls)})" if job.error_urls else "")
            for job in jobs
            if not job.is_well
        ]
        # One server that is away is in the way of more than one question.
        return Status(config.name, connector, tuple(jobs), slot, tuple(dict.fromkeys(problems)))

    def _connector_problems(self, connector: ConnectorStatus) -> Iterator[str]:
        if connector.is_running:
            return
        yield str(connector)
        if connector.has_failed and self._restarts.are_used_up:
            yield (
                f"connector {connector.name} was started again {self._restarts.count} times and failed each "
                "time: it is left as it is. Mend the cause, then flow_deploy starts it again"
            )

    def _slot_problems(self, slot: SlotState | None) -> Iterator[str]:
        if slot is None:
            yield f"there is no slot {self.config.slot}"
        elif slot.lost:
            yield f"slot {slot.name} was invalidated by the server"
        elif slot.retained > self.config.lag_warning_bytes:
            yield f"the server keeps {slot.retained >> 20} MiB of its log for slot {slot.name}"

    def mend(self, status: Status) -> list[Step]:
        """Do what can be done without a person: start failed tasks again, a few times, with growing pauses.

        What hinders it is a step, too. Jobs that Doris pauses for a passing reason it resumes by itself;
        others wait for a person.
        """
        before = len(self.steps)
        now = time.monotonic()
        if status.connector.is_running:
            self._restarts.note_running(now)
        elif status.connector.has_failed and self._restarts.may(now):
            subject = f"connector {status.connector.name}"
            try:
                restart(KafkaConnect.of(self.config), status.connector.name)
            except Error as error:
                self.steps.append(Step("could not restart", subject, str(error)))
            else:
                self._restarts.note(now)
                self.steps.append(Step("restart", subject, status.connector.error))
        return self.steps[before:]


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """A server that does not answer, or refuses, is a problem that is told."""
    try:
        yield
    except (Error, psycopg.Error) as error:
        problems.append(" ".join(str(error).split()))


def restart(connect: KafkaConnect, name: str) -> None:
    """Start what has failed of a connector again."""
    connect("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")


def _without_secrets(statement: str) -> str:
    lines = statement.split("\n")
    return "\n".join(
        line.partition(" = ")[0] + ' = "********"' if "password" in line.partition(" = ")[0] else line
        for line in lines
    )
