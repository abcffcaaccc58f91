"""CREATE TABLE and ALTER TABLE as Doris' grammar has them.

Doris' manual, sql-manual/sql-statements/table-and-view/table. Key columns come first and cannot be changed;
value columns can be added, dropped, renamed and widened. Some of these run as jobs, which are waited for.
"""

# ruff: noqa: ARG002 - these signatures are Django's

import time
from collections.abc import Callable, Iterable
from typing import Any

from django.db import DatabaseError, NotSupportedError, OperationalError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import CheckConstraint, Model, UniqueConstraint
from django.db.utils import Error as DjangoDatabaseError
from pymysql.converters import escape_string

from dbint.django.backends.doris.checks import (
    aggregate_problem,
    concrete_fields,
    distribution_fields,
    index_problem,
    is_possible_index,
    key_fields,
    unsupported_constraints,
)
from dbint.django.backends.doris.gates import require
from dbint.django.backends.doris.indexes import BloomFilterIndex, DorisIndex, bloom_filter_fields
from dbint.django.backends.doris.partitions import PartitionBy
from dbint.django.backends.doris.table import DorisTable, table_options
from dbint.django.backends.doris.types import NO_KEY_TYPES
from dbint.doris.names import quote_text
from dbint.doris.replicas import replicas_for
from dbint.doris.show_create import TableDefinition

_DONE, _FAILED = "FINISHED", "CANCELLED"
_REBUILD = (
    "Doris cannot do this to an existing table. Make a new table, copy the rows by INSERT INTO … SELECT, "
    "and rename it"
)
_BLOOM = "bloom_filter_columns"
# What ALTER TABLE … SET changes; Doris refuses the others (ModifyTablePropertiesOp).
_CHANGEABLE = frozenset(
    [
        "auto_analyze_policy",
        _BLOOM,
        "bloom_filter_fpp",
        "colocate_with",
        "compaction_policy",
        "disable_auto_compaction",
        "enable_mow_light_delete",
        "enable_single_replica_compaction",
        "file_cache_ttl_seconds",
        "group_commit_data_bytes",
        "group_commit_interval_ms",
        "light_schema_change",
        "min_load_replica_num",
        "partition.retention_count",
        "replication_allocation",
        "replication_num",
        "row_store_columns",
        "storage_medium",
        "storage_policy",
        "store_row_column",
        "time_series_compaction_empty_rowsets_threshold",
        "time_series_compaction_file_count_threshold",
        "time_series_compaction_goal_size_mbytes",
        "time_series_compaction_level_threshold",
        "time_series_compaction_time_threshold_seconds",
    ]
)
_BINLOG, _DYNAMIC = "binlog.", "dynamic_partition."


class DatabaseSchemaEditor(BaseDatabaseSchemaEditor):
    connection: Any

    sql_rename_table = "ALTER TABLE %(old_table)s RENAME %(new_table)s"
    sql_delete_table = "DROP TABLE %(table)s"
    sql_delete_column = "ALTER TABLE %(table)s DROP COLUMN %(column)s"
    sql_alter_table_comment = "ALTER TABLE %(table)s MODIFY COMMENT %(comment)s"

    def quote_value(self, value: Any) -> str:
        """A literal. DDL has no parameters, so it is escaped here."""
        if isinstance(value, bool):
            value = int(value)
        return "'" + escape_string(str(value)) + "'"

    def prepare_default(self, value: Any) -> str:
        return self.quote_value(value)

    # -- tables

    def table_sql(self, model: type[Model]) -> tuple[str, list[Any]]:
        """CREATE TABLE. Raises NotSupportedError for what the table could not keep its promise about."""
        table = table_options(model)
        key, fields = key_fields(model, table), concrete_fields(model)
        self._refuse_constraints(model, key)
        require(self.connection, table.features(), model._meta.label)
        for field in key:
            kind = (field.db_type(self.connection) or "").upper()
            if kind.startswith(NO_KEY_TYPES):
                raise NotSupportedError(
                    f"{model._meta.label}.{field.name}: {kind} cannot be in a table's key"
                )
        values = [field for field in fields if field not in key]
        for field in values:
            if table.key_model == "AGGREGATE" and (
                problem := aggregate_problem(table, field, self._type(field))
            ):
                raise NotSupportedError(f"{model._meta.label}.{field.name}: {problem}")
        lines = [self._definition(model, field) for field in key]
        lines += [self._definition(model, field, aggregate=self._aggregate(table, field)) for field in values]
        lines += [
            f"INDEX {self.quote_name(index.name)} ({self._index_column(model, index)}) {self._using(index)}"
            for index in self._possible(model, model._meta.indexes)
            if not isinstance(index, BloomFilterIndex)
        ]
        quote = self.quote_name
        clauses = [
            f"CREATE TABLE {quote(model._meta.db_table)} (\n  " + ",\n  ".join(lines) + "\n)",
            f"{table.key_model} KEY ({', '.join(quote(field.column) for field in key)})",
        ]
        if model._meta.db_table_comment:
            clauses.append(f"COMMENT {self.quote_value(model._meta.db_table_comment)}")
        if partitions := table.partition_clause(self._column_name(model)):
            clauses.append(partitions)
        clauses.append(f"{self._distribution(model, table)} BUCKETS {table.buckets}")
        if properties := self._properties(model):
            clauses.append(f"PROPERTIES ({_pairs(properties)})")
        return "\n".join(clauses), []

    def create_model(self, model: type[Model]) -> None:
        sql, _ = self.table_sql(model)
        self.execute(sql, None)
        for through in self._through_tables(model._meta.local_many_to_many):
            self.create_model(through)

    def delete_model(self, model: type[Model]) -> None:
        for through in self._through_tables(model._meta.local_many_to_many):
            self.delete_model(through)
        self.execute(self.sql_delete_table % {"table": self.quote_name(model._meta.db_table)}, None)

    def alter_db_table(self, model: type[Model], old_db_table: str, new_db_table: str) -> None:
        if old_db_table != new_db_table:
            names = {"old_table": self.quote_name(old_db_table), "new_table": self.quote_name(new_db_table)}
            self.execute(self.sql_rename_table % names, None)

    def alter_db_tablespace(self, model: type[Model], old_db_tablespace: Any, new_db_tablespace: Any) -> None:
        """Doris has no tablespaces; Django ignores the option on such databases."""

    def _column_name(self, model: type[Model]) -> Any:
        meta: Any = model._meta
        return lambda name: self.quote_name(meta.get_field(name).column)

    def _distribution(self, model: type[Model], table: DorisTable) -> str:
        columns = ", ".join(self.quote_name(field.column) for field in distribution_fields(model, table))
        return f"DISTRIBUTED BY HASH({columns})" if columns else "DISTRIBUTED BY RANDOM"

    def _properties(self, model: type[Model]) -> dict[str, str]:
        table = table_options(model)
        meta: Any = model._meta
        properties: dict[str, str] = {}
        if table.key_model == "UNIQUE":
            properties["enable_unique_key_merge_on_write"] = "true"
            if table.sequence_column:
                field: Any = meta.get_field(table.sequence_column)
                properties["function_column.sequence_col"] = field.column
        given = table.all_properties()
        if not given.keys() & {"replication_num", "replication_allocation"}:
            replicas = self.connection.option("replication_num") or self._replicas_for_the_cluster()
            if replicas:
                properties["replication_num"] = str(replicas)
        if filtered := self._bloom_columns(model):
            properties[_BLOOM] = ",".join(filtered)
        return {**properties, **given}

    def _replicas_for_the_cluster(self) -> int:
        """0: we may not ask, so leave it to Doris."""
        try:
            alive: int = self.connection.introspection.alive_backends()
        except OperationalError:
            raise
        except DjangoDatabaseError:
            return 0
        return replicas_for(alive)

    @property
    def _lenient(self) -> bool:
        """Whether constraints and indexes that Doris lacks are left out; the checks warn of it."""
        return bool(self.connection.option("lenient_models", False))

    def _refuse_constraints(self, model: type[Model], key: list[Any]) -> None:
        if self._lenient:
            return
        found = unsupported_constraints(model, table_options(model), key)
        if found:
            raise NotSupportedError(
                f"{model._meta.label}: Doris has no unique constraints beside the key of a UNIQUE table: "
                f"{'; '.join(found)}. Make these fields the key, DorisTable(key=…), or drop the constraint"
            )

    def _through_tables(self, fields: Any) -> list[type[Model]]:
        """The models that Django made for many-to-many relations."""
        throughs = (field.remote_field.through for field in fields)
        return [through for through in throughs if through._meta.auto_created]

    # -- options of a table, and partitions: what the operations of migrations.py call

    def alter_table_options(self, old_model: type[Model], new_model: type[Model]) -> None:
        """Change the table from one DorisTable to another. Raises NotSupportedError for what Doris cannot
        change, before anything is sent.
        """
        old, new = table_options(old_model), table_options(new_model)
        label = new_model._meta.label
        require(self.connection, new.features(), label)
        if fixed := self._fixed_differences(old_model, old, new_model, new):
            raise NotSupportedError(f"{label}: {', '.join(fixed)} cannot be changed. {_REBUILD}")
        changes = self._property_changes(label, old, new)
        if old.buckets != new.buckets:
            if not new.partition_by:
                raise NotSupportedError(
                    f"{label}: the buckets of a table without partitions cannot be changed. {_REBUILD}"
                )
            by = self._distribution(new_model, new)
            changes.append(f"MODIFY DISTRIBUTION {by} BUCKETS {new.buckets}")
        for change in changes:
            self._alter(new_model, change)

    def _fixed_differences(
        self, old_model: type[Model], old: DorisTable, new_model: type[Model], new: DorisTable
    ) -> list[str]:
        def columns(fields: Iterable[Any]) -> list[str]:
            return [field.column for field in fields]

        def partitioning(model: type[Model], table: DorisTable) -> Any:
            if isinstance(table.partition_by, PartitionBy):
                kind = type(table.partition_by).__name__, getattr(table.partition_by, "unit", "")
                return (*kind, *map(self._column_name(model), table.partition_by.columns()))
            return table.partition_by

        both = {field.name for field in concrete_fields(old_model)} & {
            field.name for field in concrete_fields(new_model)
        }
        before, after = old.aggregates or {}, new.aggregates or {}
        return [
            what
            for what, one, other in (
                ("key_model", old.key_model, new.key_model),
                (
                    "key",
                    columns(key_fields(old_model, old)),
                    columns(key_fields(new_model, new)),
                ),
                (
                    "distributed_by",
                    columns(distribution_fields(old_model, old)),
                    columns(distribution_fields(new_model, new)),
                ),
                ("partition_by", partitioning(old_model, old), partitioning(new_model, new)),
                ("sequence_column", old.sequence_column, new.sequence_column),
                (
                    "aggregates",
                    {name: before.get(name) for name in both},
                    {name: after.get(name) for name in both},
                ),
            )
            if one != other
        ]

    def _property_changes(self, label: str, old: DorisTable, new: DorisTable) -> list[str]:
        before, after = old.all_properties(), new.all_properties()
        if any(name.startswith(_DYNAMIC) for name in before.keys() - after.keys()):
            if not any(name.startswith(_DYNAMIC) for name in after):
                after[f"{_DYNAMIC}enable"] = "false"
            # What a table has been told cannot be taken back, so it is told the default.
            defaults = {"start": str(-(2**31)), "create_history_partition": "false"}
            for name, value in defaults.items():
                if f"{_DYNAMIC}{name}" in before and after.get(f"{_DYNAMIC}enable") != "false":
                    after.setdefault(f"{_DYNAMIC}{name}", value)
        gone = [name for name in before.keys() - after.keys() if not name.startswith(_DYNAMIC)]
        if gone:
            raise NotSupportedError(
                f"{label}: Doris cannot forget the property {', '.join(sorted(gone))}: say the value that it "
                "should have"
            )
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        together = {n: v for n, v in changed.items() if n.startswith(_DYNAMIC)}
        if together and together.get(f"{_DYNAMIC}enable") != "false":
            # The first time Doris wants all of them.
            together = {n: v for n, v in after.items() if n.startswith(_DYNAMIC)}
        binlog = {n: v for n, v in changed.items() if n.startswith(_BINLOG)}
        single = [n for n in changed if not n.startswith((_DYNAMIC, _BINLOG))]
        if fixed := sorted({*single} - _CHANGEABLE):
            raise NotSupportedError(f"{label}: the property {', '.join(fixed)} cannot be changed. {_REBUILD}")
        groups = [group for group in (together, binlog) if group]
        for name in single:
            # Of a partitioned table the property itself is of partitions, each for itself.
            of_new = name.startswith("replication") and new.partition_by
            groups.append({f"default.{name}" if of_new else name: changed[name]})
        return [f"SET ({_pairs(group)})" for group in groups]

    def add_partition(self, model: type[Model], partition: Any) -> None:
        """Add a Partition, or those that Steps make."""
        batch = "ADD PARTITIONS" if partition.sql().startswith("FROM") else "ADD"
        self._alter(model, f"{batch} {partition.sql()}")

    def drop_partition(self, model: type[Model], name: str, *, force: bool = False) -> None:
        """Drop a partition with its rows."""
        self._alter(model, f"DROP PARTITION {self.quote_name(name)}{' FORCE' if force else ''}")

    def truncate_partitions(self, model: type[Model], names: Iterable[str]) -> None:
        """Delete all rows of these partitions."""
        listed = ", ".join(map(self.quote_name, names))
        self.execute(f"TRUNCATE TABLE {self.quote_name(model._meta.db_table)} PARTITION({listed})", None)

    def build_index(self, model: type[Model], name: str) -> None:
        """Begin to build an inverted index for the rows that are there."""
        self.execute(f"BUILD INDEX {self.quote_name(name)} ON {self.quote_name(model._meta.db_table)}", None)

    # -- columns

    def _type(self, field: Any) -> str:
        # The column of a relation is as wide as what it points to; ids have 64 bits whatever their field is
        # called.
        target = field
        while target.remote_field is not None:
            target = target.target_field
        automatic = target.get_internal_type() in ("AutoField", "SmallAutoField")
        kind = "BIGINT" if automatic else field.db_type(self.connection)
        if kind is None:
            raise NotSupportedError(f"{field}: Doris has no type for a {type(field).__name__}")
        return str(kind)

    def _aggregate(self, table: DorisTable, field: Any) -> str:
        """How the field adds up in an AGGREGATE table, "" in another."""
        if table.key_model != "AGGREGATE":
            return ""
        function = (table.aggregates or {}).get(field.name)
        if function is None:
            raise NotSupportedError(
                f"{field}: DorisTable(aggregates=…) does not say how it adds up. Where a migration adds the "
                "field, AlterTable comes before it, with the new aggregates"
            )
        return function

    def _definition(
        self, model: type[Model], field: Any, *, with_default: bool = False, aggregate: str = ""
    ) -> str:
        """``name type [aggregate] [NOT] NULL [DEFAULT …] [COMMENT …]``: Doris takes them in this order."""
        if field.generated:
            raise NotSupportedError(f"{field}: generated columns are not supported on Doris by this backend")
        parts = [self.quote_name(field.column), self._type(field)]
        if aggregate:
            parts.append(aggregate)
        parts.append("NULL" if field.null else "NOT NULL")
        if field.has_db_default():
            parts.append(f"DEFAULT {self._default(field)}")
        elif with_default:
            value = self.effective_default(field)
            if value is not None:
                parts.append(f"DEFAULT {self.quote_value(value)}")
            elif not field.null:
                raise NotSupportedError(f"{field}: a column that is not null needs a default to be added")
        if field.db_comment:
            parts.append(f"COMMENT {self.quote_value(field.db_comment)}")
        return " ".join(parts)

    def column_sql(self, model: type[Model], field: Any, include_default: bool = False) -> Any:
        if field.db_type(self.connection) is None:
            return None, None
        return self._definition(model, field, with_default=include_default).split(" ", 1)[1], []

    def add_field(self, model: type[Model], field: Any) -> None:
        if field.many_to_many:
            for through in self._through_tables([field]):
                self.create_model(through)
            return
        if field.column is None:
            return
        if field.primary_key:
            raise NotSupportedError(f"{field}: a key column cannot be added. {_REBUILD}")
        self._refuse_unique(field)
        kind = self._type(field)
        if kind.startswith(("JSON", "VARIANT", "ARRAY")) and (
            not field.null or self.effective_default(field) is not None
        ):
            raise NotSupportedError(
                f"{field}: a column of {kind} has no default in Doris: add it with null=True and no default"
            )
        table = table_options(model)
        aggregate = self._aggregate(table, field)
        if aggregate and (problem := aggregate_problem(table, field, kind)):
            raise NotSupportedError(f"{field}: {problem}")
        definition = self._definition(model, field, with_default=True, aggregate=aggregate)
        self._alter(model, f"ADD COLUMN {definition}")

    def remove_field(self, model: type[Model], field: Any) -> None:
        if field.many_to_many:
            for through in self._through_tables([field]):
                self.delete_model(through)
            return
        if field.column is None:
            return
        self._refuse_key_change(model, field.column, "dropped")
        self._alter(model, f"DROP COLUMN {self.quote_name(field.column)}")

    def alter_field(self, model: type[Model], old_field: Any, new_field: Any, strict: bool = False) -> None:
        if old_field.many_to_many or new_field.many_to_many:
            super().alter_field(model, old_field, new_field, strict)
            return
        if old_field.column is None and new_field.column is None:
            return
        if not self._field_should_be_altered(old_field, new_field):  # type: ignore[attr-defined]  # not in the stubs
            return
        if not old_field.unique and new_field.unique:
            self._refuse_unique(new_field)
        if old_field.primary_key != new_field.primary_key:
            raise NotSupportedError(f"{new_field}: the primary key cannot be changed. {_REBUILD}")
        if old_field.column != new_field.column:
            self._refuse_key_change(model, old_field.column, "renamed")
            quote = self.quote_name
            self._alter(model, f"RENAME COLUMN {quote(old_field.column)} {quote(new_field.column)}")
        old = (self._type(old_field), old_field.null, self._default(old_field), old_field.db_comment)
        new = (self._type(new_field), new_field.null, self._default(new_field), new_field.db_comment)
        if old != new:
            self._modify_column(model, new_field, old, new)

    def _alter_many_to_many(self, model: type[Model], old_field: Any, new_field: Any, strict: bool) -> None:
        old, new = old_field.remote_field.through, new_field.remote_field.through
        if [f.column for f in old._meta.local_fields] != [f.column for f in new._meta.local_fields]:
            raise NotSupportedError(f"{new_field}: its pair is the key of its table. {_REBUILD}")
        self.alter_db_table(new, old._meta.db_table, new._meta.db_table)

    def _modify_column(
        self, model: type[Model], field: Any, old: tuple[Any, ...], new: tuple[Any, ...]
    ) -> None:
        (old_type, old_null, old_default, _), (new_type, new_null, new_default, comment) = old, new
        column = self.quote_name(field.column)
        if (old_type, old_null, old_default) == (new_type, new_null, new_default):
            self._alter(model, f"MODIFY COLUMN {column} COMMENT {self.quote_value(comment or '')}")
            return
        self._refuse_key_change(model, field.column, "changed")
        if old_null and not new_null:
            raise NotSupportedError(f"{field}: a column that can be NULL stays so. {_REBUILD}")
        if old_default != new_default:
            raise NotSupportedError(f"{field}: the default of a column cannot be changed. {_REBUILD}")
        # What belongs to the column, and a default that an ADD COLUMN left behind: MODIFY has to repeat it.
        actual = self._actual(model).column(field.column)
        wanted = (new_type.replace(", ", ",").lower(), new_null, comment or "")
        if actual is not None and (actual.type, actual.nullable, actual.comment) == wanted:
            return  # Doris refuses a change that changes nothing
        aggregate = f" {actual.aggregate}" if actual is not None and actual.aggregate else ""
        parts = [f"MODIFY COLUMN {column} {new_type}{aggregate} {'NULL' if new_null else 'NOT NULL'}"]
        if actual is not None and actual.default is not None:
            value = actual.default
            now = value.upper().startswith("CURRENT_")
            parts.append(f"DEFAULT {value if now else self.quote_value(value)}")
        if comment:
            parts.append(f"COMMENT {self.quote_value(comment)}")
        self._alter(model, " ".join(parts))

    def _default(self, field: Any) -> str | None:
        if not field.has_db_default():
            return None
        sql, params = self.db_default_sql(field)
        return str(sql % tuple(map(self.quote_value, params)) if params else sql)

    def _refuse_unique(self, field: Any) -> None:
        if field.unique and not field.primary_key and not self._lenient:
            raise NotSupportedError(
                f"{field}: Doris has no unique constraints beside the key of a UNIQUE table, and a key "
                "cannot be changed"
            )

    def _refuse_key_change(self, model: type[Model], column: str, verb: str) -> None:
        if self.collect_sql:
            return  # sqlmigrate: the table may not be there yet
        table = self._actual(model)
        fixed = {*table.key, *table.distributed_by, *table.partition_columns()}
        if column in fixed:
            raise NotSupportedError(
                f"{model._meta.db_table}.{column} belongs to the key, distribution or partition of the table "
                f"and cannot be {verb}. {_REBUILD}"
            )
        if column == table.properties.get("function_column.sequence_col"):
            raise NotSupportedError(
                f"{model._meta.db_table}.{column} is the table's sequence column and cannot be {verb}. "
                f"{_REBUILD}"
            )

    def _actual(self, model: type[Model]) -> TableDefinition:
        with self.connection.cursor() as cursor:
            table: TableDefinition = self.connection.introspection.table_definition(
                cursor, model._meta.db_table
            )
            return table

    # -- indexes and constraints

    def _possible(self, model: type[Model], indexes: Any) -> list[Any]:
        if not self._lenient:
            return list(indexes)
        table = table_options(model)
        return [
            index
            for index in indexes
            if is_possible_index(index) and not index_problem(model, table, index, self.connection)
        ]

    def _index_column(self, model: type[Model], index: Any) -> str:
        if not is_possible_index(index):
            raise NotSupportedError(
                f"{index.name}: secondary indexes of Doris have one column and no conditions. The table is "
                "sorted by its key: put the fields there, DorisTable(key=…)"
            )
        self._refuse_index(model, index)
        field: Any = model._meta.get_field(index.fields_orders[0][0])
        return self.quote_name(field.column)

    def _refuse_index(self, model: type[Model], index: Any) -> None:
        if isinstance(index, DorisIndex):
            require(self.connection, index.features(), model._meta.label)
        if problem := index_problem(model, table_options(model), index, self.connection):
            raise NotSupportedError(f"{model._meta.label}: {problem}")

    def _using(self, index: Any) -> str:
        """``USING … PROPERTIES (…) COMMENT …``."""
        if not isinstance(index, DorisIndex):
            return "USING INVERTED"
        parts = [f"USING {index.using}"]
        if properties := index.properties():
            parts.append(f"PROPERTIES ({_pairs(properties)})")
        if index.comment:
            parts.append(f"COMMENT {self.quote_value(index.comment)}")
        return " ".join(parts)

    def _bloom_columns(self, model: type[Model], indexes: Any = None) -> list[str]:
        meta: Any = model._meta
        chosen = [
            i for i in (meta.indexes if indexes is None else indexes) if isinstance(i, BloomFilterIndex)
        ]
        for index in chosen:
            self._refuse_index(model, index)
        return [meta.get_field(name).column for name in bloom_filter_fields(chosen)]

    def _set_bloom_columns(self, model: type[Model], *, add: Any = (), remove: Any = ()) -> None:
        """Bloom filters are one property of the table: the columns that are there, and those of ``add``, and
        those of ``remove`` that no other index has.
        """
        kept = [i for i in model._meta.indexes if i.name not in {index.name for index in remove}]
        wanted = self._bloom_columns(model, [*kept, *add])
        gone = {*self._bloom_columns(model, remove)} - {*wanted}
        if not self.collect_sql:
            present = self._actual(model).properties.get(_BLOOM, "")
            wanted += [c for part in present.split(",") if (c := part.strip()) and c not in wanted]
        columns = ",".join(column for column in wanted if column not in gone)
        self._alter(model, f"SET ({_pairs({_BLOOM: columns})})")

    def add_index(self, model: type[Model], index: Any) -> None:
        if not self._possible(model, [index]):
            return
        if isinstance(index, BloomFilterIndex):
            self._set_bloom_columns(model, add=[index])
            return
        column = self._index_column(model, index)
        table = self.quote_name(model._meta.db_table)
        self._run(
            model, f"CREATE INDEX {self.quote_name(index.name)} ON {table} ({column}) {self._using(index)}"
        )

    def remove_index(self, model: type[Model], index: Any) -> None:
        if not self._possible(model, [index]):
            return
        if isinstance(index, BloomFilterIndex):
            self._set_bloom_columns(model, remove=[index])
            return
        table = self.quote_name(model._meta.db_table)
        self._run(model, f"DROP INDEX {self.quote_name(index.name)} ON {table}")

    def rename_index(self, model: type[Model], old_index: Any, new_index: Any) -> None:
        if isinstance(old_index, BloomFilterIndex):
            return  # Doris knows no name for it
        self.remove_index(model, old_index)
        self.add_index(model, new_index)

    def add_constraint(self, model: type[Model], constraint: Any) -> None:
        """Checks are left to the application, with Django's own warning (models.W027)."""
        if isinstance(constraint, UniqueConstraint):
            self._refuse_constraints(model, key_fields(model, table_options(model)))
        elif not isinstance(constraint, CheckConstraint):
            raise NotSupportedError(f"{constraint.name}: Doris has no {type(constraint).__name__}")

    def remove_constraint(self, model: type[Model], constraint: Any) -> None:
        """Nothing was made."""

    def alter_unique_together(
        self, model: type[Model], old_unique_together: Any, new_unique_together: Any
    ) -> None:
        key = {field.name for field in key_fields(model, table_options(model))}
        wrong = [names for names in new_unique_together if set(names) != key]
        if wrong and not self._lenient:
            raise NotSupportedError(
                f"{model._meta.label}: unique_together {wrong} is not the key of the table, and Doris has no "
                "other unique constraints"
            )

    def alter_index_together(
        self, model: type[Model], old_index_together: Any, new_index_together: Any
    ) -> None:
        if new_index_together and not self._lenient:
            raise NotSupportedError(
                f"{model._meta.label}: secondary indexes of Doris have one column; see DorisTable(key=…)"
            )

    # -- jobs

    def _alter(self, model: type[Model], change: str) -> None:
        self._run(model, f"ALTER TABLE {self.quote_name(model._meta.db_table)} {change}")

    def _run(self, model: type[Model], sql: str) -> None:
        """Change a table and wait until the jobs that this began are finished. Doris takes one at a time, so
        a job that an earlier migration (or somebody else) left running is waited for first.
        """
        if self.collect_sql:
            self.execute(sql, None)
            return
        table = model._meta.db_table
        before = self._jobs(table)
        running = {name for name, job in before.items() if job.get("State") not in (_DONE, _FAILED)}
        if running:
            self._wait(table, lambda name: name in running, of_others=True)
        self.execute(sql, None)
        self._wait(table, lambda name: name not in before)

    def _wait(self, table: str, chosen: Callable[[str], bool], *, of_others: bool = False) -> None:
        """Wait for the jobs that ``chosen`` takes by name. Raises DatabaseError when Doris cancels one
        (unless they are ``of_others``), and OperationalError when ``schema_change_timeout`` is over.
        """
        timeout = self.connection.option("schema_change_timeout", 600)
        deadline, pause = time.monotonic() + timeout, 0.05
        while True:
            jobs = [job for name, job in self._jobs(table).items() if chosen(name)]
            for job in jobs:
                if job.get("State") == _FAILED and not of_others:
                    raise DatabaseError(
                        f"Doris gave up changing {table} (job {job.get('JobId')}): "
                        f"{job.get('Msg') or 'no reason given'}. The table is as it was before"
                    )
            waiting = [job for job in jobs if job.get("State") not in (_DONE, _FAILED)]
            if not waiting:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                states = ", ".join(
                    f"job {job.get('JobId')} {job.get('State')} {job.get('Progress') or ''}".strip()
                    for job in waiting
                )
                raise OperationalError(
                    f"changing {table} is not finished after {timeout} s and goes on in Doris ({states}): "
                    "wait for SHOW ALTER TABLE COLUMN to say FINISHED before the next migration "
                    "(OPTIONS['schema_change_timeout'])"
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, 2.0)

    def _jobs(self, table: str) -> dict[str, dict[str, Any]]:
        """The table's jobs, old and new. A job has a row for each of the table's indexes."""
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW ALTER TABLE COLUMN WHERE TableName = %s", [table])
            names = [column[0] for column in cursor.description or ()]
            jobs = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {f"{job.get('JobId')} {job.get('IndexName', '')}": job for job in jobs}


def _pairs(properties: dict[str, str]) -> str:
    return ", ".join(f"{quote_text(name)} = {quote_text(value)}" for name, value in properties.items())
