"""What a flow will make of its tables, before it does: mappings, DDL, and what speaks against them.

Nothing is narrowed silently. What Doris can hold exactly is mapped; what it cannot, or what the flow's engine
would lose on the way, is refused, with what to do about it; what is exact and yet surprises (text instead of
a number, UTC instead of a zone) is a warning.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import psycopg

from dbint.doris.replicas import replicas_for
from dbint.doris.show_create import partition_shape
from dbint.errors import ConfigurationError
from dbint.flow.config import Engine, FlowConfig, TableOptions
from dbint.flow.connect import KafkaConnect, connector_config
from dbint.flow.evolution import Evolution, apply, current_definition, evolve
from dbint.flow.mapping import ColumnMapping, TableMapping
from dbint.flow.routine_load import broker_properties
from dbint.flow.source import SourceColumn, SourceTable, read_table
from dbint.flow.types import Unmappable, target_type

Level = Literal["error", "warning"]

_TABLE_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
_TOLD = 3  # of what is refused, in one line
_REPLICA_PROPERTIES = frozenset({"replication_num", "replication_allocation"})
_OWNED_PROPERTIES = (
    "enable_unique_key_merge_on_write",
    "function_column.sequence_col",
    "function_column.sequence_type",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that has to be known before the flow begins, about a table (``where`` is ``schema.table``) or
    ``columns`` of it, or about what else ``where`` says.

    A table has one of each kind: what is the same for several columns names them all, and what is the same
    for several tables has the same ``text`` and ``advice``.
    """

    level: Level
    where: str
    text: str
    advice: str = ""
    columns: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What it is about."""
        return f"{self.where} ({', '.join(self.columns)})" if self.columns else self.where

    @property
    def said(self) -> str:
        """The text with the advice."""
        return self.text + (f". {self.advice[0].upper()}{self.advice[1:]}" if self.advice else "")

    def __str__(self) -> str:
        return f"{self.place}: {self.said}"


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table: its mapping (None when it cannot flow), what Doris' table needs, and what was found."""

    source: str
    mapping: TableMapping | None
    findings: tuple[Finding, ...] = ()
    evolution: Evolution = field(default_factory=Evolution)
    rows: int = 0

    @property
    def errors(self) -> list[str]:
        """What keeps the table from flowing."""
        return [str(finding) for finding in self.findings if finding.level == "error"] + [
            f"{self.source}: {refusal}" for refusal in self.evolution.refusals
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of a flow."""

    flow: str
    tables: tuple[TablePlan, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> list[str]:
        """What keeps the flow from running."""
        own = [str(finding) for finding in self.findings if finding.level == "error"]
        return own + [error for table in self.tables for error in table.errors]

    @property
    def statements(self) -> list[str]:
        """The DDL that --apply runs in Doris."""
        return [change.sql for table in self.tables for change in table.evolution.changes]

    def mappings(self) -> list[TableMapping]:
        """Raises ConfigurationError when a table cannot flow."""
        _require_none(self.flow, self.errors)
        return [table.mapping for table in self.tables if table.mapping is not None]


def map_table(
    table: SourceTable,
    topic: str,
    database: str,
    options: TableOptions | None = None,
    engine: Engine = "embedded",
) -> tuple[TableMapping | None, list[Finding]]:
    """The mapping of one table, and what was found; None with at least one finding of level "error"."""
    maker = _Maker(table, options or TableOptions(), engine)
    mapping = maker.make(topic, database)
    failed = any(finding.level == "error" for finding in maker.findings)
    return None if failed else mapping, maker.findings


def load_mappings(config: FlowConfig) -> list[TableMapping]:
    """The mappings of a flow's tables, from the catalogue as it is now. Raises ConfigurationError with all
    that keeps a table from flowing.
    """
    with config.source.connect() as connection:
        made = [(name, *plan_source(config, connection, name)) for name in config.tables]
    errors = [str(f) for _, _, findings, _ in made for f in findings if f.level == "error"]
    _require_none(config.name, errors)
    return [mapping for _, mapping, _, _ in made if mapping is not None]


def _require_none(flow: str, errors: Sequence[str]) -> None:
    if errors:
        told = "; ".join(errors[:_TOLD])
        more = f"; and {len(errors) - _TOLD} more: manage.py flow_plan {flow}" if len(errors) > _TOLD else ""
        raise ConfigurationError(f"flow {flow} cannot run: {told}{more}")


def plan_source(
    config: FlowConfig, connection: psycopg.Connection[Any], name: str
) -> tuple[TableMapping | None, list[Finding], int]:
    """Mapping, findings and estimated rows of one table; Doris is not asked."""
    options = config.table_options(name)
    try:
        table = read_table(connection, name)
    except ConfigurationError as error:
        return None, [Finding("error", name, str(error))], 0
    mapping, findings = map_table(table, config.topic(name), config.target.database, options, config.engine)
    return mapping, findings, table.rows


def plan(config: FlowConfig) -> Plan:
    """What the flow will do. Raises UnreachableError and AuthenticationError."""
    with config.source.connect() as postgres:
        own = source_findings(postgres)
        made = [(name, *plan_source(config, postgres, name)) for name in config.tables]
    own += _same_targets([mapping for _, mapping, _, _ in made if mapping is not None])
    if config.engine == "connect":
        own += connect_findings(config)
    tables = []
    replicas = config.target.replication_num or replicas_for(config.target.alive_backends())
    doris = config.target.connect()
    try:
        for name, mapping, findings, rows in made:
            evolution = Evolution()
            if mapping is not None:
                if replicas and not mapping.properties.keys() & _REPLICA_PROPERTIES:
                    properties = {**mapping.properties, "replication_num": str(replicas)}
                    mapping = replace(mapping, properties=properties)  # noqa: PLW2901 - the same table
                evolution = evolve(mapping, current_definition(doris, mapping))
            tables.append(TablePlan(name, mapping, tuple(findings), evolution, rows))
    finally:
        doris.close()
    return Plan(config.name, tuple(tables), tuple(own))


def apply_plan(config: FlowConfig, made: Plan, *, timeout: float = 600.0) -> list[str]:
    """Run the plan's statements in Doris and return what was done, in words. Raises as evolution.apply, and
    ConfigurationError when anything speaks against the plan.
    """
    made.mappings()
    done = []
    doris = config.target.connect()
    try:
        for table in made.tables:
            if table.mapping is not None and table.evolution.changes:
                apply(doris, table.mapping, table.evolution, timeout=timeout)
                done += [f"{table.source}: {change.text}" for change in table.evolution.changes]
    finally:
        doris.close()
    return done


def source_findings(connection: psycopg.Connection[Any]) -> list[Finding]:
    """What of the source server keeps changes from being captured."""
    row = connection.execute(
        "SELECT current_setting('wal_level'), current_setting('server_version_num')::int, "
        "(SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), "
        "pg_is_in_recovery(), current_database()"
    ).fetchone()
    wal_level, version, may_replicate, standby, database = row or ("", 0, False, False, "")
    found = []
    if wal_level != "logical":
        found.append(
            Finding(
                "error",
                f"database {database}",
                f"wal_level is {wal_level}: changes cannot be read from the commit log",
                "Set wal_level = logical in postgresql.conf and restart PostgreSQL",
            )
        )
    if not may_replicate:
        found.append(
            Finding(
                "error",
                f"database {database}",
                "the user may not replicate",
                "ALTER ROLE … REPLICATION, as a superuser",
            )
        )
    if version < 100_000:
        found.append(Finding("error", f"database {database}", "publications need PostgreSQL 10 or later"))
    if standby:
        found.append(
            Finding(
                "error", f"database {database}", "it is a standby", "Name the primary as the flow's source"
            )
        )
    return found


def connect_findings(config: FlowConfig) -> list[Finding]:
    """What of a flow's settings keeps it from Kafka Connect and Routine Load, and what those leave out."""
    found = []
    needs: list[Callable[[FlowConfig], object]] = [connector_config, broker_properties]
    if config.connect_url:
        needs.append(KafkaConnect.of)
    for need in needs:
        try:
            need(config)
        except ConfigurationError as error:
            found.append(Finding("error", "engine connect", str(error)))
    found.append(
        Finding(
            "warning",
            "engine connect",
            "a TRUNCATE in PostgreSQL does not reach Doris: Debezium tells one partition alone",
            "Use DELETE, or the embedded engine",
        )
    )
    return found


def _same_targets(mappings: Sequence[TableMapping]) -> list[Finding]:
    seen: dict[str, str] = {}
    found = []
    for mapping in mappings:
        other = seen.setdefault(mapping.target.lower(), mapping.source)
        if other != mapping.source:
            found.append(
                Finding(
                    "error",
                    mapping.source,
                    f"flows into {mapping.target}, and so does {other}",
                    "Give one of them another target",
                )
            )
    return found


class _Maker:
    """Makes one mapping, and collects what there is to say about it."""

    def __init__(self, table: SourceTable, options: TableOptions, engine: Engine) -> None:
        self.table, self.options, self.engine = table, options, engine
        self.toasted = () if table.identity == "full" else table.toasted
        self._found: dict[tuple[Level, str, str], list[str]] = {}

    @property
    def findings(self) -> list[Finding]:
        return [
            Finding(level, self.table.full_name, text, advice, tuple(columns))
            for (level, text, advice), columns in self._found.items()
        ]

    def error(self, text: str, advice: str = "", columns: Iterable[str] = ()) -> None:
        self._found.setdefault(("error", text, advice), []).extend(columns)

    def warn(self, text: str, advice: str = "", columns: Iterable[str] = ()) -> None:
        self._found.setdefault(("warning", text, advice), []).extend(columns)

    def make(self, topic: str, database: str) -> TableMapping:
        table, options = self.table, self.options
        self._check_names()
        self._check_identity()
        columns = [c for c in table.columns if c.name not in options.exclude and not c.generated]
        self._check_generated()
        by_name = {column.name: column for column in columns}
        ordered = [by_name[name] for name in table.key if name in by_name]
        ordered += [column for column in columns if column.name not in table.key]
        mapped = [made for column in ordered if (made := self._column(column)) is not None]
        self._check_toast(mapped)
        self._check_layout(mapped)
        return TableMapping(
            source=table.full_name,
            topic=topic,
            target_database=database,
            target_table=options.target or self._target(),
            columns=tuple(mapped),
            key=table.key,
            partition_by=options.partition_by,
            distributed_by=options.distributed_by,
            buckets=options.buckets,
            properties=dict(options.properties),
        )

    def _target(self) -> str:
        """The table's own name; that of another schema than public has the schema in front."""
        if self.table.schema == "public":
            return self.table.name
        return f"{self.table.schema}_{self.table.name}"

    def _check_names(self) -> None:
        name = self.options.target or self._target()
        if not _TABLE_NAME.fullmatch(name):
            self.error(
                f"Doris has no table named {name!r}",
                "Give it a target of letters, digits, _ and -, with a letter first",
            )
        known = {column.name for column in self.table.columns}
        for option, names in (("exclude", self.options.exclude), ("types", self.options.types)):
            if unknown := sorted(set(names) - known):
                self.error(f"{option} names {', '.join(unknown)}, which the table does not have")
        if hidden := sorted(set(self.options.exclude) & set(self.table.key)):
            self.error(f"{', '.join(hidden)} is in the primary key and cannot be left out")
        seen: dict[str, str] = {}
        for column in self.table.columns:
            if column.name in self.options.exclude:
                continue
            if (other := seen.setdefault(column.name.lower(), column.name)) != column.name:
                self.error(f"columns {other} and {column.name} are one to Doris", "Leave one out (exclude)")
            if column.name.lower().startswith("dbint_"):
                self.error(
                    "names that begin with dbint_ are the flow's own", "Leave it out (exclude)", [column.name]
                )
            if column.name.startswith("__DORIS_") or '"' in column.name or "\\" in column.name:
                self.error("Doris cannot load a column of that name", "Leave it out (exclude)", [column.name])
        if owned := sorted(set(self.options.properties) & set(_OWNED_PROPERTIES)):
            self.error(f"properties {', '.join(owned)} are the flow's own")

    def _check_identity(self) -> None:
        table = self.table
        alter = f'ALTER TABLE "{table.schema}"."{table.name}"'
        if not table.key:
            self.error(
                "it has no primary key, so Doris could not tell its rows apart",
                f"{alter} ADD PRIMARY KEY (…)",
            )
        elif table.identity == "nothing":
            self.error(
                "REPLICA IDENTITY NOTHING: updates and deletes do not say which row they are about "
                "(PostgreSQL refuses them once the table is published)",
                f"{alter} REPLICA IDENTITY DEFAULT",
            )
        elif table.identity == "index" and (missing := sorted(set(table.key) - set(table.identity_index))):
            self.error(
                f"its REPLICA IDENTITY is an index without {', '.join(missing)}, so a delete does not have "
                "the primary key",
                f"{alter} REPLICA IDENTITY DEFAULT",
            )

    def _check_generated(self) -> None:
        generated = [c.name for c in self.table.columns if c.generated and c.name not in self.options.exclude]
        if in_key := sorted(set(generated) & set(self.table.key)):
            self.error(f"the key's column {', '.join(in_key)} is generated, and is not in the commit log")
        elif generated:
            self.warn(
                "generated columns stay behind",
                "PostgreSQL does not send them; compute them in Doris, such as in a view",
                generated,
            )

    def _column(self, column: SourceColumn) -> ColumnMapping | None:
        in_key = column.name in self.table.key
        try:
            found = target_type(column, in_key=in_key, chosen=self.options.types.get(column.name, ""))
        except Unmappable as unmappable:
            self.error(unmappable.why, unmappable.advice, [column.name])
            return None
        if self.engine == "connect" and (column.element in ("money", "interval") or column.element_enum):
            self.error(
                f"Debezium leaves {column.type} out, or makes null of it",
                "Leave it out (exclude), or take the embedded engine",
                [column.name],
            )
        if found.warning:
            self.warn(found.warning, columns=[column.name])
        return ColumnMapping(
            source=column.name,
            source_type=column.type,
            name=column.name,
            type=found.type,
            conversion=found.conversion,
            toast=not in_key and column.name in self.toasted,
        )

    def _check_toast(self, mapped: list[ColumnMapping]) -> None:
        """Of rows with large values, what the engine makes of those that a change does not send."""
        large = [column.name for column in mapped if column.toast]
        left_out = "an UPDATE leaves out large values that it does not change"
        if large and self.engine == "connect":
            self.error(
                f"{left_out}, and what Debezium writes in their place (a placeholder, or null) Routine Load "
                "would write over them",
                "ALTER TABLE … REPLICA IDENTITY FULL, leave them out (exclude), or take the embedded engine",
                large,
            )
        elif large:
            self.warn(
                f"{left_out}: such rows are loaded as partial updates, which are slower",
                "ALTER TABLE … REPLICA IDENTITY FULL sends all values, for more of PostgreSQL's log",
                large,
            )
        elif self.engine == "connect" and self.table.identity == "index":
            self.error(
                "with REPLICA IDENTITY USING INDEX Debezium's deletes do not have the primary key",
                "ALTER TABLE … REPLICA IDENTITY DEFAULT",
            )

    def _check_layout(self, mapped: list[ColumnMapping]) -> None:
        names = {column.name for column in mapped}
        key = set(self.table.key)
        if self.options.partition_by:
            shape = partition_shape(self.options.partition_by)
            if not shape:
                self.error(
                    f"partition_by is what follows PARTITION BY, such as 'RANGE(day) ()', not "
                    f"{self.options.partition_by!r}"
                )
            if outside := sorted(set(shape.columns) - key):
                what = "is not in the primary key" if set(outside) <= names else "is no column"
                self.error(
                    f"it cannot be partitioned by {', '.join(outside)}, which {what}: in Doris a row's "
                    "partition is part of its key",
                    "Partition by columns of the primary key, or put the column into it",
                )
        if outside := sorted(set(self.options.distributed_by) - key):
            self.error(f"distributed_by names {', '.join(outside)}, which is not in the primary key")
