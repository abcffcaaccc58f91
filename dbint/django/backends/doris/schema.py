"""CREATE TABLE and ALTER TABLE as Doris' grammar has them.

Doris' manual, sql-manual/sql-statements/table-and-view/table. Key columns come first and cannot be changed;
value columns can be added, dropped, renamed and widened. Some of these run as jobs, which are waited for.
"""

# ruff: noqa: ARG002 - these signatures are Django's

import time
from typing import Any

from django.db import DatabaseError, NotSupportedError, OperationalError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import CheckConstraint, Model, UniqueConstraint
from django.db.utils import Error as DjangoDatabaseError
from pymysql.converters import escape_string

from dbint.django.backends.doris.checks import (
    concrete_fields,
    distribution_fields,
    is_inverted_index,
    key_fields,
    unsupported_constraints,
)
from dbint.django.backends.doris.ddl import TableDefinition
from dbint.django.backends.doris.table import table_options
from dbint.django.backends.doris.types import NO_KEY_TYPES

_DONE, _FAILED = "FINISHED", "CANCELLED"
_REBUILD = (
    "Doris cannot do this to an existing table. Make a new table, copy the rows by INSERT INTO … SELECT, "
    "and rename it"
)


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
        for field in key:
            kind = (field.db_type(self.connection) or "").upper()
            if kind.startswith(NO_KEY_TYPES):
                raise NotSupportedError(
                    f"{model._meta.label}.{field.name}: {kind} cannot be in a table's key"
                )
        ordered = [*key, *(field for field in fields if field not in key)]
        lines = [self._definition(model, field) for field in ordered]
        lines += [self._inline_index(model, index) for index in self._possible(model._meta.indexes)]
        quote = self.quote_name
        clauses = [
            f"CREATE TABLE {quote(model._meta.db_table)} (\n  " + ",\n  ".join(lines) + "\n)",
            f"{table.key_model} KEY ({', '.join(quote(field.column) for field in key)})",
        ]
        if model._meta.db_table_comment:
            clauses.append(f"COMMENT {self.quote_value(model._meta.db_table_comment)}")
        if table.partition_by:
            automatic, rest = "", table.partition_by
            if rest.upper().startswith("AUTO "):
                automatic, rest = "AUTO ", rest[5:]
            clauses.append(f"{automatic}PARTITION BY {rest}")
        distribution = distribution_fields(model, table)
        by = f"HASH({', '.join(quote(field.column) for field in distribution)})" if distribution else "RANDOM"
        clauses.append(f"DISTRIBUTED BY {by} BUCKETS {table.buckets}")
        properties = self._properties(model)
        if properties:
            pairs = ", ".join(f'"{_property(k)}" = "{_property(v)}"' for k, v in properties.items())
            clauses.append(f"PROPERTIES ({pairs})")
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

    def _properties(self, model: type[Model]) -> dict[str, str]:
        table = table_options(model)
        properties: dict[str, str] = {}
        if table.key_model == "UNIQUE":
            properties["enable_unique_key_merge_on_write"] = "true"
            if table.sequence_column:
                field: Any = model._meta.get_field(table.sequence_column)
                properties["function_column.sequence_col"] = field.column
        given = dict(table.properties or {})
        if not given.keys() & {"replication_num", "replication_allocation"}:
            replicas = self.connection.option("replication_num") or self._replicas_for_the_cluster()
            if replicas:
                properties["replication_num"] = str(replicas)
        return {**properties, **given}

    def _replicas_for_the_cluster(self) -> int:
        """Doris' own default of 3 fails on a cluster of fewer backends. 0: we may not ask, so leave it to
        Doris.
        """
        try:
            alive: int = self.connection.introspection.alive_backends()
        except OperationalError:
            raise
        except DjangoDatabaseError:
            return 0
        return min(3, alive)

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

    # -- columns

    def _type(self, field: Any) -> str:
        # The column of a relation is as wide as what it points to; ids have 64 bits whatever their field is
        # called.
        target = field
        while target.remote_field is not None:
            target = target.target_field
        kind = "BIGINT" if target.get_internal_type() == "AutoField" else field.db_type(self.connection)
        if kind is None:
            raise NotSupportedError(f"{field}: Doris has no type for a {type(field).__name__}")
        return str(kind)

    def _definition(self, model: type[Model], field: Any, *, with_default: bool = False) -> str:
        """``name type [NOT] NULL [DEFAULT …] [COMMENT …]``: Doris takes them in this order only."""
        if field.generated:
            raise NotSupportedError(f"{field}: generated columns are not supported on Doris by this backend")
        parts = [self.quote_name(field.column), self._type(field), "NULL" if field.null else "NOT NULL"]
        if field.has_db_default():
            default, params = self.db_default_sql(field)
            parts.append("DEFAULT " + default % tuple(map(self.quote_value, params)))
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
        if self._type(field) == "JSON" and not field.null:
            raise NotSupportedError(f"{field}: a JSON column has no default in Doris: add it with null=True")
        self._alter(model, f"ADD COLUMN {self._definition(model, field, with_default=True)}")

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
            self._alter_many_to_many_field(old_field, new_field)
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

    def _alter_many_to_many_field(self, old_field: Any, new_field: Any) -> None:
        if not (old_field.many_to_many and new_field.many_to_many):
            raise NotSupportedError(f"{new_field}: {_REBUILD}")
        old, new = old_field.remote_field.through, new_field.remote_field.through
        if bool(old._meta.auto_created) != bool(new._meta.auto_created):
            raise NotSupportedError(f"{new_field}: {_REBUILD}")
        if new._meta.auto_created:
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
        # A default that an ADD COLUMN left behind belongs to the column: MODIFY has to repeat it.
        actual = self._actual(model).column(field.column)
        parts = [f"MODIFY COLUMN {column} {new_type} {'NULL' if new_null else 'NOT NULL'}"]
        if actual is not None and actual.default is not None:
            parts.append(f"DEFAULT {self.quote_value(actual.default)}")
        if comment:
            parts.append(f"COMMENT {self.quote_value(comment)}")
        self._alter(model, " ".join(parts))

    def _default(self, field: Any) -> str | None:
        if not field.has_db_default():
            return None
        sql, params = self.db_default_sql(field)
        return str(sql % tuple(map(self.quote_value, params)))

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

    def _actual(self, model: type[Model]) -> TableDefinition:
        with self.connection.cursor() as cursor:
            table: TableDefinition = self.connection.introspection.table_definition(
                cursor, model._meta.db_table
            )
            return table

    # -- indexes and constraints

    def _possible(self, indexes: Any) -> list[Any]:
        return [index for index in indexes if not self._lenient or is_inverted_index(index)]

    def _inline_index(self, model: type[Model], index: Any) -> str:
        return f"INDEX {self.quote_name(index.name)} ({self._index_column(model, index)}) USING INVERTED"

    def _index_column(self, model: type[Model], index: Any) -> str:
        if not is_inverted_index(index):
            raise NotSupportedError(
                f"{index.name}: secondary indexes of Doris have one column and no conditions. The table is "
                "sorted by its key: put the fields there, DorisTable(key=…)"
            )
        field: Any = model._meta.get_field(index.fields_orders[0][0])
        return self.quote_name(field.column)

    def add_index(self, model: type[Model], index: Any) -> None:
        if not self._possible([index]):
            return
        column = self._index_column(model, index)
        table = self.quote_name(model._meta.db_table)
        self._run(model, f"CREATE INDEX {self.quote_name(index.name)} ON {table} ({column}) USING INVERTED")

    def remove_index(self, model: type[Model], index: Any) -> None:
        if not self._possible([index]):
            return
        table = self.quote_name(model._meta.db_table)
        self._run(model, f"DROP INDEX {self.quote_name(index.name)} ON {table}")

    def rename_index(self, model: type[Model], old_index: Any, new_index: Any) -> None:
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
        """Change a table and wait until the jobs that this began are finished: Doris takes one at a time."""
        table = model._meta.db_table
        before = {} if self.collect_sql else self._jobs(table)
        self.execute(sql, None)
        if self.collect_sql:
            return
        timeout = self.connection.option("schema_change_timeout", 600)
        deadline, pause = time.monotonic() + timeout, 0.05
        while True:
            new = [job for name, job in self._jobs(table).items() if name not in before]
            for job in new:
                if job.get("State") == _FAILED:
                    raise DatabaseError(
                        f"Doris gave up changing {table}: {job.get('Msg') or 'no reason given'}"
                    )
            if all(job.get("State") == _DONE for job in new):
                return
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"changing {table} is not finished after {timeout} s and goes on in Doris: wait for SHOW "
                    "ALTER TABLE COLUMN to say FINISHED before the next migration "
                    "(OPTIONS['schema_change_timeout'])"
                )
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _jobs(self, table: str) -> dict[str, dict[str, Any]]:
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW ALTER TABLE COLUMN WHERE TableName = %s", [table])
            names = [column[0] for column in cursor.description or ()]
            jobs = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {str(job.get("JobId")): job for job in jobs}


def _property(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
