"""Engine "connect", its second half: Routine Load jobs that bring a flow's topics into Doris.

One job a table. A job's name and clauses come from the table's mapping alone; a digest of them stands in its
comment, so that a job that was made from another mapping is found, stopped and followed by one that begins
where it has ended. What a job's states and reasons mean: "Routine Load" of the Doris manual, and
InternalErrorCode of apache/doris.

Doris passes rows that it cannot load: they are counted, the position goes on, and the job is paused when
there were more than ``max_error_number`` (0 here). Nothing resumes such a job but a person, who has read why.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pymysql

from dbint.doris.names import quote_name, quote_text
from dbint.errors import ConfigurationError, DatabaseError
from dbint.flow.config import FlowConfig
from dbint.flow.mapping import TableMapping

BEGINNING = "OFFSET_BEGINNING"
Cause = Literal[
    "", "paused", "bad_rows", "offset_gone", "failing", "cancelled", "absent", "outdated", "other"
]

_REASON = re.compile(r"code=(?:errCode = )?(\d+)")
_CAUSES: dict[int, Cause] = {100: "paused", 102: "bad_rows", 105: "offset_gone"}
_ADVICE: dict[Cause, str] = {
    "paused": "somebody has paused it: flow_deploy --resume",
    "bad_rows": "Doris could not load some rows and has passed them; they are missing there. Read why at the "
    "address of the errors, mend it (manage.py flow_plan shows what the table lacks), then flow_deploy "
    "--resume and flow_verify --repair",
    "offset_gone": "Kafka no longer has the messages that come next (retention): flow_deploy --remove, then "
    "flow_deploy --from-beginning, then flow_verify --repair",
    "failing": "Doris tries again by itself; if this stays, see the reason",
    "cancelled": "its table was dropped: manage.py flow_plan --apply, then flow_deploy",
    "absent": "manage.py flow_deploy makes it",
    "outdated": "it was made from another mapping: manage.py flow_deploy replaces it",
    "other": "see the reason; manage.py flow_deploy --resume tries again",
}
_DIGEST = re.compile(r"dbint ([0-9a-f]{16})")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")
_LEAST_ROWS, _LEAST_SIZE, _LARGEST_SIZE = 200_000, 100 << 20, 10 << 30
_FINAL = ("STOPPED", "CANCELLED")
_PASSED_ON = ("security.", "sasl.", "ssl.")
_FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location")


def job_name(config: FlowConfig, mapping: TableMapping) -> str:
    """At most 64 characters, always the same for a flow and a table, and no other's."""
    readable = _NOT_IN_NAMES.sub("_", f"dbint_{config.name}_{mapping.source}")
    digest = hashlib.sha256(f"{config.name}\0{mapping.source}".encode()).hexdigest()[:8]
    return f"{readable[:55]}_{digest}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as SHOW ROUTINE LOAD has it. ``lag`` is in messages, None where Doris does not know;
    ``offsets`` are what each partition is read from next.
    """

    name: str
    table: str
    state: str
    offsets: dict[int, int | str] = field(default_factory=dict)
    lag: int | None = None
    loaded_rows: int = 0
    error_rows: int = 0
    reason: str = ""
    error_urls: tuple[str, ...] = ()
    message: str = ""
    digest: str = ""
    target: str = ""
    """The table in Doris by its name; by a number where it has been dropped since."""
    cause: Cause = ""

    @property
    def is_well(self) -> bool:
        return self.state in ("RUNNING", "NEED_SCHEDULE") and not self.cause

    @property
    def advice(self) -> str:
        return _ADVICE.get(self.cause, "")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "table": self.table,
            "state": self.state,
            "lag_rows": self.lag,
            "loaded_rows": self.loaded_rows,
            "error_rows": self.error_rows,
            "offsets": {str(partition): offset for partition, offset in self.offsets.items()},
            "reason": self.reason,
            "error_urls": list(self.error_urls),
            "message": self.message,
            "cause": self.cause,
            "advice": self.advice,
        }


def broker_properties(config: FlowConfig) -> dict[str, str]:
    """How Doris' backends reach the brokers: properties of FROM KAFKA. Raises ConfigurationError."""
    given = config.kafka("consumer")
    found = {"kafka_broker_list": str(given.get("bootstrap.servers", ""))}
    if not found["kafka_broker_list"]:
        raise ConfigurationError(f"flow {config.name}: Kafka's address is not configured")
    for name, value in given.items():
        if value is None or not name.startswith(_PASSED_ON):
            continue
        if name in _FILES and not str(value).startswith("FILE:"):
            raise ConfigurationError(
                f"flow {config.name}: {name} is a file here, and Doris' backends cannot read it: upload it "
                f"with CREATE FILE and give {name} as FILE:<its name>"
            )
        found[f"property.{'sasl.mechanism' if name == 'sasl.mechanisms' else name}"] = str(value)
    return found


class RoutineLoads:
    """The jobs of a flow, over a MySQL connection of its own. Raises DatabaseError for what Doris refuses."""

    def __init__(self, config: FlowConfig) -> None:
        self.config = config
        self._connection = config.target.connect()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "RoutineLoads":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # -- what is there

    def job(self, mapping: TableMapping, *, history: bool = False) -> Job | None:
        """The job of a table; with ``history`` the last one that has ended, where none is left."""
        name = job_name(self.config, mapping)
        found = [row for row in self._shown(mapping, name, history=history) if row.get("Name") == name]
        if not found:
            return None
        live = [row for row in found if row["State"] not in _FINAL]
        return self._job(mapping, (live or sorted(found, key=lambda row: int(row["Id"])))[-1])

    def _shown(self, mapping: TableMapping, name: str, *, history: bool) -> list[dict[str, Any]]:
        everything = "ALL " if history else ""
        target = f"{quote_name(mapping.target_database)}.{quote_name(name)}"
        try:
            return self._rows(f"SHOW {everything}ROUTINE LOAD FOR {target}")
        except DatabaseError as error:
            if "no job named" in str(error):
                return []
            raise

    def _job(self, mapping: TableMapping, row: Mapping[str, Any]) -> Job:
        digest = _DIGEST.search(row.get("Comment") or "")
        statistic = _document(row.get("Statistic"))
        lags = [int(value) for value in _document(row.get("Lag")).values()]
        offsets = {int(p): _next_offset(str(o)) for p, o in _document(row.get("Progress")).items()}
        reason = row.get("ReasonOfStateChanged") or ""
        made = Job(
            name=row["Name"],
            table=mapping.source,
            state=row["State"],
            offsets=offsets,
            lag=sum(lags) if lags and min(lags) >= 0 else None,
            loaded_rows=int(statistic.get("loadedRows", 0)),
            error_rows=int(statistic.get("errorRows", 0)),
            reason=reason,
            error_urls=tuple(
                url.strip() for url in (row.get("ErrorLogUrls") or "").split(",") if url.strip()
            ),
            message=row.get("OtherMsg") or "",
            digest=digest[1] if digest else "",
            target=row.get("TableName") or "",
        )
        return _with_cause(made, self.digest(mapping))

    def status(self, mappings: Sequence[TableMapping]) -> list[Job]:
        """The jobs of these tables; one that is not there has the state ABSENT."""
        found = []
        for mapping in mappings:
            job = self.job(mapping)
            if job is None:
                last = self.job(mapping, history=True)
                if last is not None and last.state == "CANCELLED":
                    job = last
            name = job_name(self.config, mapping)
            found.append(job or Job(name, mapping.source, "ABSENT", cause="absent"))
        return found

    # -- changes

    def create_statement(
        self, mapping: TableMapping, offsets: Mapping[int, int | str] | None = None, *, start: str = BEGINNING
    ) -> str:
        """CREATE ROUTINE LOAD. ``offsets`` are where each partition is begun; ``start`` is for all others."""
        config = self.config
        clauses = mapping.routine_load_clauses()
        source = {**broker_properties(config), "kafka_topic": mapping.topic}
        if offsets:
            source["kafka_partitions"] = ",".join(str(partition) for partition in sorted(offsets))
            source["kafka_offsets"] = ",".join(str(offset) for _, offset in sorted(offsets.items()))
        else:
            source["property.kafka_default_offsets"] = start
        target = f"{quote_name(mapping.target_database)}.{quote_name(job_name(config, mapping))}"
        comment = quote_text(f"dbint {self.digest(mapping)} flow {config.name}")
        return (
            f"CREATE ROUTINE LOAD {target} ON {quote_name(mapping.target_table)}\n{clauses.sql()}\n"
            f"PROPERTIES (\n{_properties({**self._limits(), **clauses.properties})}\n)\n"
            f"FROM KAFKA (\n{_properties(source)}\n)\nCOMMENT {comment}"
        )

    def _limits(self) -> dict[str, str]:
        config = self.config
        return {
            "desired_concurrent_number": str(config.partitions),
            "max_error_number": "0",
            "max_batch_interval": str(max(1, math.ceil(config.batch_seconds))),
            "max_batch_rows": str(max(_LEAST_ROWS, config.batch_rows)),
            "max_batch_size": str(min(_LARGEST_SIZE, max(_LEAST_SIZE, config.batch_bytes))),
        }

    def digest(self, mapping: TableMapping) -> str:
        """Of all that makes a job what it is, but where it has come to and what is secret."""
        clauses = mapping.routine_load_clauses()
        kafka = {n: v for n, v in broker_properties(self.config).items() if "password" not in n}
        parts = [clauses.sql(), clauses.properties, self._limits(), kafka, mapping.topic, mapping.target]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def create(self, mapping: TableMapping, offsets: Mapping[int, int | str] | None = None) -> None:
        try:
            self._run(self.create_statement(mapping, offsets))
        except DatabaseError as error:
            raise DatabaseError(
                f"{mapping.source}: Doris does not take its Routine Load job: {error}"
            ) from error

    def pause(self, job: Job, mapping: TableMapping) -> None:
        self._run(f"PAUSE ROUTINE LOAD FOR {self._target(job, mapping)}")

    def resume(self, job: Job, mapping: TableMapping) -> None:
        self._run(f"RESUME ROUTINE LOAD FOR {self._target(job, mapping)}")

    def stop(self, job: Job, mapping: TableMapping) -> None:
        """For good; its progress stays readable in the history."""
        self._run(f"STOP ROUTINE LOAD FOR {self._target(job, mapping)}")

    def replace(self, job: Job, mapping: TableMapping) -> None:
        """Follow a job by one with the mapping of now, which begins where it has ended."""
        if job.state != "PAUSED":
            self.pause(job, mapping)
        offsets = self.settled_offsets(mapping)
        self.stop(job, mapping)
        self.create(mapping, offsets)

    def settled_offsets(self, mapping: TableMapping, timeout: float = 10.0) -> dict[int, int | str]:
        """Where a paused job has come to. A task that was being published when it was paused still counts, so
        this waits until the answer has not changed for half a second.
        """
        deadline = time.monotonic() + timeout
        last: dict[int, int | str] | None = None
        while True:
            job = self.job(mapping, history=True)
            offsets = job.offsets if job is not None else {}
            if offsets == last or time.monotonic() > deadline:
                return offsets
            last = offsets
            time.sleep(0.5)

    def _target(self, job: Job, mapping: TableMapping) -> str:
        return f"{quote_name(mapping.target_database)}.{quote_name(job.name)}"

    # -- inside

    def _run(self, statement: str) -> None:
        self._rows(statement)

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        try:
            self._connection.ping(reconnect=False)
        except pymysql.Error:  # a connection that was idle for long, or whose frontend has gone
            self._connection = self.config.target.connect()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except pymysql.Error as error:
            text = str(error.args[1] if len(error.args) > 1 else error).removeprefix(
                "errCode = 2, detailMessage = "
            )
            raise DatabaseError(" ".join(text.split())) from error


def _with_cause(job: Job, digest: str) -> Job:
    cause: Cause = ""
    if job.state == "PAUSED":
        found = _REASON.search(job.reason)
        code = int(found[1]) if found else 0
        cause = _CAUSES.get(code, "failing" if code else "other")
    elif job.state == "CANCELLED":
        cause = "cancelled"
    elif job.digest != digest:
        cause = "outdated"
    return Job(**{**{name: getattr(job, name) for name in Job.__slots__}, "cause": cause})


def _document(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _next_offset(shown: str) -> int | str:
    """SHOW says which offset was loaded last; ``OFFSET_ZERO``: nothing, and 0 is next."""
    if shown == "OFFSET_ZERO":
        return 0
    return int(shown) + 1 if shown.isdigit() else shown


def _properties(values: Mapping[str, str]) -> str:
    return ",\n".join(f"    {quote_text(name)} = {quote_text(value)}" for name, value in values.items())
