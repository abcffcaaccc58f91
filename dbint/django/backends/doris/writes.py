"""Writes: INSERT, UPDATE and DELETE, with the answers that Doris does not give and the refusals it should.

Django takes all compilers of a backend from one module: this one.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from django.db import IntegrityError, NotSupportedError
from django.db.models import Count
from django.db.models.constants import OnConflict
from django.db.models.expressions import DatabaseDefault, Value
from django.db.models.sql import Query, compiler
from django.db.models.sql.constants import MULTI, ROW_COUNT

from dbint.django.backends.doris.compiler import Sql, SQLAggregateCompiler, SQLCompiler
from dbint.django.backends.doris.table import DorisTable

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]

_KEYS_OF_ONE_CHECK = 500


class SQLInsertCompiler(compiler.SQLInsertCompiler, SQLCompiler):  # type: ignore[misc]  # as Django's own
    """INSERT, with ids made here, and with the conflicts found that Doris would resolve by replacing rows."""

    query: Any

    def execute_sql(  # type: ignore[override]  # as Django's own
        self, returning_fields: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        objs, auto = self.query.objs, self.query.get_meta().auto_field
        given = auto is not None and auto not in self.query.fields
        if given:
            self._give_ids(auto)
        try:
            self._check_conflicts(ids_are_new=given)
            self._insert()
        except BaseException:
            if given:  # the objects are not saved, so they have no id
                for obj in objs:
                    setattr(obj, auto.attname, None)
            raise
        self._fill_defaults()
        return [tuple(getattr(obj, field.attname) for field in returning_fields or ()) for obj in objs]

    def _fill_defaults(self) -> None:
        """Put the database's defaults into the objects. They are literals: the checks take no others."""
        for field in self.query.get_meta().local_concrete_fields:
            if not field.has_db_default():
                continue
            default = field.db_default
            value = field.to_python(default.value if isinstance(default, Value) else default)
            for obj in self.query.objs:
                if isinstance(getattr(obj, field.attname), DatabaseDefault):
                    setattr(obj, field.attname, value)

    def _insert(self) -> None:
        loader = self.connection.bulk_loader
        if loader is not None and loader.takes(self.query.objs, self.query.fields):
            meta = self.query.get_meta()
            rows = (
                {
                    field.column: self.prepare_value(field, self.pre_save_val(field, obj))
                    for field in self.query.fields
                }
                for obj in self.query.objs
            )
            loader.load(meta.db_table, rows)
            self.connection.note_write("INSERT")
            return
        with self.connection.cursor() as cursor:
            for sql, params in self.as_sql():
                cursor.execute(sql, params)

    def _give_ids(self, auto: Any) -> None:
        for obj, number in zip(self.query.objs, self.connection.ids.take(len(self.query.objs)), strict=True):
            setattr(obj, auto.attname, number)
        self.query.fields = [auto, *self.query.fields]

    def _key(self) -> list[Any]:
        """The fields of the table's key."""
        meta = self.query.get_meta()
        return [meta.get_field(name) for name in self.table.key] or list(meta.pk_fields)

    def _check_conflicts(self, *, ids_are_new: bool) -> None:
        table, key = self.table, self._key()
        label = self.query.get_meta().label
        if self.query.on_conflict == OnConflict.UPDATE:
            self._check_upsert(table, key)
            return
        if (
            table.key_model != "UNIQUE"
            or not self.connection.option("insert_checks_keys", True)
            or (ids_are_new and any(field is self.query.get_meta().auto_field for field in key))
        ):
            return
        seen: set[tuple[Any, ...]] = set()
        for obj in self.query.objs:
            values = tuple(getattr(obj, field.attname) for field in key)
            if any(hasattr(value, "resolve_expression") for value in values):
                raise NotSupportedError(f"{label}: the key of a row on Doris is a value, not an expression")
            prepared = tuple(
                field.get_db_prep_save(v, self.connection) for field, v in zip(key, values, strict=True)
            )
            if prepared in seen:
                self._raise_duplicate(key, values)
            seen.add(prepared)
        self._check_stored(key, seen)

    def _check_stored(self, key: list[Any], keys: set[tuple[Any, ...]]) -> None:
        quote = self.connection.ops.quote_name
        columns = [quote(field.column) for field in key]
        one_row = "(" + " AND ".join(f"{column} <=> %s" for column in columns) + ")"
        pending = iter(keys)
        with self.connection.cursor() as cursor:
            while batch := list(islice(pending, _KEYS_OF_ONE_CHECK)):
                if len(key) == 1 and batch[0][0] is not None:
                    where = f"{columns[0]} IN ({', '.join(['%s'] * len(batch))})"
                else:
                    where = " OR ".join([one_row] * len(batch))
                cursor.execute(
                    f"SELECT {', '.join(columns)} FROM {quote(self.query.get_meta().db_table)} "  # noqa: S608
                    f"WHERE {where} LIMIT 1",
                    [value for row in batch for value in row],
                )
                found = cursor.fetchone()
                if found is not None:
                    self._raise_duplicate(key, found)

    def _raise_duplicate(self, key: list[Any], values: Sequence[Any]) -> None:
        text = ", ".join(f"{field.name}={value!r}" for field, value in zip(key, values, strict=True))
        raise IntegrityError(
            f"{self.query.get_meta().label}: a row with {text} exists, and Doris would replace it. To "
            "replace rows use save() or bulk_create(update_conflicts=True, …)"
        )

    def _check_upsert(self, table: DorisTable, key: list[Any]) -> None:
        meta = self.query.get_meta()
        if table.key_model != "UNIQUE":
            raise NotSupportedError(
                f"{meta.label}: update_conflicts needs a UNIQUE table; this one is {table.key_model}, which "
                "keeps every row"
            )
        if {field.name for field in self.query.unique_fields} != {field.name for field in key}:
            raise NotSupportedError(
                f"{meta.label}: unique_fields have to be the key of the table: "
                f"{[field.name for field in key]}"
            )
        rest = {field.name for field in meta.local_concrete_fields} - {field.name for field in key}
        missing = rest - {field.name for field in self.query.update_fields}
        if missing:
            raise NotSupportedError(
                f"{meta.label}: Doris replaces whole rows, so update_fields has to name every field beside "
                f"the key; missing: {sorted(missing)}"
            )


class SQLDeleteCompiler(compiler.SQLDeleteCompiler, SQLCompiler):
    """DELETE. Doris tells no number of deleted rows, so they are counted first."""

    query: Any

    def execute_sql(self, result_type: Any = MULTI, *args: Any, **kwargs: Any) -> Any:
        if result_type != ROW_COUNT:
            return super().execute_sql(result_type, *args, **kwargs)
        count = self._count()
        if count:
            with self.connection.cursor() as cursor:
                cursor.execute(*self._statement())
        return count

    def _count(self) -> int:
        query = self.query.clone()
        query.__class__ = Query
        query.clear_ordering(force=True)
        query.clear_select_clause()
        query.add_annotation(Count("*"), alias="__count", select=True)
        row = query.get_compiler(connection=self.connection).execute_sql("single")
        return int(row[0]) if row else 0

    def _statement(self) -> Sql:
        sql, params = self.as_sql()
        table = self.quote_name_unless_alias(self.query.base_table)
        if " WHERE " not in sql:
            return f"TRUNCATE TABLE {table}", ()  # the only way to delete all rows
        if "(SELECT " not in sql:
            return sql.replace(f"{table}.", ""), params  # the documented form has bare column names
        if self.table.key_model != "UNIQUE":
            raise NotSupportedError(
                f"{self.query.get_meta().label}: rows of a DUPLICATE table can be deleted by plain "
                "conditions on its columns only, not by a subquery or join: fetch the values first"
            )
        return sql, params


class SQLUpdateCompiler(compiler.SQLUpdateCompiler, SQLCompiler):
    """UPDATE, of the value columns of UNIQUE tables."""

    query: Any

    def execute_sql(self, result_type: Any) -> int:  # type: ignore[override]  # as Django's own
        meta = self.query.get_meta()
        if self.query.values and self.table.key_model != "UNIQUE":
            raise NotSupportedError(
                f"{meta.label}: rows of a {self.table.key_model} table cannot be updated. To add an object "
                "use create() or save(force_insert=True); to change rows make the table UNIQUE"
            )
        key = self._take_key_values()
        if key:
            self._check_key_unchanged(key)
            if not self.query.values:
                return self._count_matching()
        return super().execute_sql(result_type)

    def _take_key_values(self) -> list[tuple[Any, Any]]:
        """Key columns cannot be set. They leave the statement, to be compared instead."""
        names = {*self.table.key} or {field.name for field in self.query.get_meta().pk_fields}
        taken = [(field, value) for field, _, value in self.query.values if field.name in names]
        if taken:
            self.query.values = [item for item in self.query.values if item[0].name not in names]
        return taken

    def _check_key_unchanged(self, key: list[tuple[Any, Any]]) -> None:
        label = self.query.get_meta().label
        quote = self.connection.ops.quote_name
        where, params = self._where()
        same, values = [], []
        for field, value in key:
            if hasattr(value, "resolve_expression"):
                raise NotSupportedError(f"{label}: {field.name} is in the table's key and cannot be updated")
            same.append(f"{quote(field.column)} <=> %s")
            values.append(field.get_db_prep_save(value, self.connection))
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT COUNT(*) FROM {quote(self.query.get_meta().db_table)} "  # noqa: S608
                f"WHERE {where} AND NOT ({' AND '.join(same)})",
                [*params, *values],
            )
            if cursor.fetchone()[0]:
                names = ", ".join(field.name for field, _ in key)
                raise NotSupportedError(
                    f"{label}: {names} is in the table's key and cannot be changed. Delete the row and "
                    "insert another"
                )

    def _count_matching(self) -> int:
        where, params = self._where()
        with self.connection.cursor() as cursor:
            table = self.connection.ops.quote_name(self.query.get_meta().db_table)
            cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {where}", params)  # noqa: S608
            return int(cursor.fetchone()[0])

    def _where(self) -> tuple[str, list[Any]]:
        self.query.get_initial_alias()
        if self.query.count_active_tables() > 1:
            raise NotSupportedError(
                f"{self.query.get_meta().label}: fields of the key cannot be part of an update over a join"
            )
        where = self.query.where
        if not where:
            return "TRUE", []
        sql, params = self.compile(where)
        return sql, list(params)
