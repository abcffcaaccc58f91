"""Writes: INSERT, UPDATE and DELETE, with the answers that Doris does not give and the refusals it should.

Django takes all compilers of a backend from one module: this one.
"""

from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import IntegrityError, NotSupportedError
from django.db.models import Count, Q
from django.db.models.constants import OnConflict
from django.db.models.expressions import Case, Col, DatabaseDefault, Value
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query, compiler
from django.db.models.sql.constants import MULTI, ROW_COUNT
from django.db.models.sql.where import AND, WhereNode

from dbint.django.backends.doris.bulk import NEW_KEY_VERSION
from dbint.django.backends.doris.compiler import Sql, SQLAggregateCompiler, SQLCompiler

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]

_KEYS_OF_ONE_QUESTION = 500
# More keys than this of a DELETE are not remembered one by one.
_KEYS_TO_REMEMBER = 10_000


class WriteCompiler(SQLCompiler):
    """What the three have in common: the table's key, and questions about what is stored."""

    @property
    def key(self) -> list[Any]:
        """The fields of the table's key."""
        meta = self.query.get_meta()
        return [meta.get_field(name) for name in self.table.key] or list(meta.pk_fields)

    @property
    def identifying(self) -> dict[str, list[Any]]:
        """By what a write batch knows a row again: its primary key, and its key where that is another."""
        pk, key = list(self.query.get_meta().pk_fields), self.key
        return {"pk": pk} if key == pk else {"pk": pk, "key": key}

    def identities(self, objs: Collection[Any]) -> set[Hashable]:
        """What identifies the rows of these objects."""
        fields = self.identifying.items()
        return {(name, *_values(obj, group)) for obj in objs for name, group in fields}

    def matching_keys(self) -> set[Hashable] | None:
        """The identities of the rows that the statement's condition names, None when it names others."""
        meta, where = self.query.get_meta(), self.query.where
        if len(meta.pk_fields) != 1 or where.negated or where.connector != AND:
            return None
        for child in where.children:
            if isinstance(child, Exact | In) and _is_column(child.lhs, meta.pk):
                values = child.rhs if isinstance(child, In) else [child.rhs]
                if not hasattr(values, "resolve_expression") and not any(
                    hasattr(value, "resolve_expression") for value in values
                ):
                    return {("pk", meta.pk.get_prep_value(value)) for value in values}
        return None

    def ask(self, query: Any) -> list[tuple[Any, ...]]:
        """The rows that answer one of the backend's own questions, as the fields' values."""
        asker = query.get_compiler(connection=self.connection)
        try:
            sql, params = asker.as_sql()
        except EmptyResultSet:
            return []
        with self.connection.questions() as cursor:
            cursor.execute(sql, params)
            rows = cursor.fetchall()
        return [tuple(row) for row in asker.results_iter(results=[rows])]

    def count_rows(self) -> int:
        """How many rows the statement's condition matches."""
        query = self._plain_query()
        query.add_annotation(Count("*"), alias="__count", select=True)
        rows = self.ask(query)
        return int(rows[0][0]) if rows else 0

    def _plain_query(self) -> Any:
        query = self.query.clone()
        query.__class__ = Query
        query.clear_ordering(force=True)
        query.clear_select_clause()
        return query


class SQLInsertCompiler(compiler.SQLInsertCompiler, WriteCompiler):  # type: ignore[misc]  # as Django's own
    """INSERT, with ids made here, and with the conflicts found that Doris would resolve by replacing rows."""

    query: Any

    def execute_sql(  # type: ignore[override]  # as Django's own
        self, returning_fields: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        objs, auto = self.query.objs, self._auto_field
        given = auto is not None and auto not in self.query.fields
        if given:
            self._give_ids(auto)
        try:
            if self.query.on_conflict == OnConflict.UPDATE:
                self._upsert()
            else:
                self._check_conflicts(ids_are_new=given)
                self._insert(objs, self.query.fields)
        except BaseException:
            if given:  # the objects are not saved, so they have no id
                for obj in objs:
                    setattr(obj, auto.attname, None)
            raise
        self._fill_defaults()
        return [tuple(getattr(obj, field.attname) for field in returning_fields or ()) for obj in objs]

    @property
    def _auto_field(self) -> Any:
        """The field whose values are made here. A proxy knows nothing of it."""
        return self.query.get_meta().concrete_model._meta.auto_field

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

    def _insert(self, objs: Sequence[Any], fields: Sequence[Any], *, partial: bool = False) -> None:
        """Write these fields of these objects; with ``partial`` the rows keep the others."""
        loader, batch = self.connection.bulk_loader, self.connection.write_batch
        if loader is not None and batch is None and loader.takes(objs, fields):
            rows = (
                {field.column: self.prepare_value(field, self.pre_save_val(field, obj)) for field in fields}
                for obj in objs
            )
            columns = [field.column for field in fields] if partial else None
            loader.load(self.query.get_meta().db_table, rows, update_columns=columns)
            self.connection.note_write("INSERT")
            return
        all_objs, all_fields = self.query.objs, self.query.fields
        self.query.objs, self.query.fields = objs, fields
        try:
            if partial:
                with _partial_updates(self.connection):
                    self._execute()
            else:
                self._execute()
        finally:
            self.query.objs, self.query.fields = all_objs, all_fields
        if batch is not None:
            batch.note_change(self.query.get_meta().db_table, self.identities(objs))

    def _execute(self) -> None:
        with self.connection.cursor() as cursor:
            for sql, params in self.as_sql():
                cursor.execute(sql, params)

    def _give_ids(self, auto: Any) -> None:
        for obj, number in zip(self.query.objs, self.connection.ids.take(len(self.query.objs)), strict=True):
            setattr(obj, auto.attname, number)
        self.query.fields = [auto, *self.query.fields]

    # -- keys that exist

    def _check_conflicts(self, *, ids_are_new: bool) -> None:
        key = self.key
        if (
            self.table.key_model != "UNIQUE"
            or not self.connection.option("insert_checks_keys", True)
            or (ids_are_new and any(field is self._auto_field for field in key))
        ):
            return
        self._check_once(key)
        batch, name = self.connection.write_batch, self.query.get_meta().db_table
        asked = self.query.objs if batch is None else []
        for obj in self.query.objs if batch is not None else ():
            own = self.identities([obj])
            if any(batch.is_inserted(name, identity) for identity in own):
                self._raise_duplicate(key, _values(obj, key))
            if not any(batch.is_deleted(name, identity) for identity in own):
                asked.append(obj)
        for found in self._stored(key, asked):
            self._raise_duplicate(key, found)

    def _check_once(self, key: list[Any]) -> None:
        """Raise IntegrityError for a key that comes twice among the objects."""
        seen = set()
        for obj in self.query.objs:
            if any(hasattr(getattr(obj, field.attname), "resolve_expression") for field in key):
                raise NotSupportedError(
                    f"{self.query.get_meta().label}: the key of a row on Doris is a value, not an expression"
                )
            prepared = tuple(
                field.get_db_prep_save(getattr(obj, field.attname), self.connection) for field in key
            )
            if prepared in seen:
                self._raise_duplicate(key, _values(obj, key), twice=True)
            seen.add(prepared)

    def _stored(self, key: list[Any], objs: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The keys of these objects that the table has."""
        pending = iter(objs)
        while batch := list(islice(pending, _KEYS_OF_ONE_QUESTION)):
            query = Query(self.query.get_meta().concrete_model)
            if len(key) == 1 and all(getattr(obj, key[0].attname) is not None for obj in batch):
                values = [getattr(obj, key[0].attname) for obj in batch]
                query.add_q(Q((f"{key[0].attname}__in", values)))
            else:
                alternatives = Q()
                for obj in batch:
                    alternatives |= Q(*((field.attname, getattr(obj, field.attname)) for field in key))
                query.add_q(alternatives)
            query.add_fields([field.attname for field in key])
            query.clear_ordering(force=True)
            for row in self.ask(query):
                yield tuple(
                    field.get_prep_value(field.to_python(value))
                    for field, value in zip(key, row, strict=True)
                )

    def _raise_duplicate(self, key: list[Any], values: Sequence[Any], *, twice: bool = False) -> None:
        text = ", ".join(f"{field.name}={value!r}" for field, value in zip(key, values, strict=True))
        where = "comes twice" if twice else "exists"
        raise IntegrityError(
            f"{self.query.get_meta().label}: a row with {text} {where}, and Doris would replace it. To "
            "replace rows use save() or bulk_create(update_conflicts=True, …)"
        )

    # -- bulk_create(update_conflicts=True)

    def _upsert(self) -> None:
        """Write rows whether or not their keys exist.

        Where all fields are given this is what an INSERT into a UNIQUE table does. Where some are, rows that
        exist get those by a partial update, and the others are inserted whole: Doris would fill the other
        fields of a new row with defaults, not with those of the object.
        """
        meta, key, table = self.query.get_meta(), self.key, self.table
        if table.key_model != "UNIQUE":
            raise NotSupportedError(
                f"{meta.label}: update_conflicts needs a UNIQUE table; this one is {table.key_model}: "
                + ("it adds rows up" if table.key_model == "AGGREGATE" else "it keeps every row")
            )
        if {field.name for field in self.query.unique_fields} != {field.name for field in key}:
            raise NotSupportedError(
                f"{meta.label}: unique_fields have to be the key of the table: "
                f"{[field.name for field in key]}"
            )
        if not table.sequence_column:  # which decides between rows; without it Doris does not say which wins
            self._check_once(key)
        updated = {field.name for field in self.query.update_fields} - {field.name for field in key}
        if {field.name for field in meta.local_concrete_fields} == updated | {field.name for field in key}:
            self._insert(self.query.objs, self.query.fields)
            return
        self._check_partial()
        stored = set(self._stored(key, self.query.objs))
        old = [obj for obj in self.query.objs if _values(obj, key) in stored]
        new = [obj for obj in self.query.objs if _values(obj, key) not in stored]
        if len({_values(obj, key) for obj in old}) != len(stored):
            raise NotSupportedError(
                f"{meta.label}: keys come back from Doris in another form than they went in, so that rows "
                "that exist cannot be told from new ones: name all fields in update_fields"
            )
        if old:
            self._insert(
                old,
                [field for field in self.query.fields if field in key or field.name in updated],
                partial=True,
            )
        if new:
            self._insert(new, self.query.fields)

    def _check_partial(self) -> None:
        label = self.query.get_meta().label
        if self.connection.write_batch is not None:
            raise NotSupportedError(
                f"{label}: in a transaction of Doris rows are written whole: name every field beside the key "
                "in update_fields, or run this outside atomic()"
            )
        if (self.table.properties or {}).get("enable_unique_key_merge_on_write") == "false":
            raise NotSupportedError(
                f"{label}: Doris updates some fields of a row on merge-on-write tables only: name every "
                "field beside the key in update_fields"
            )


class SQLDeleteCompiler(compiler.SQLDeleteCompiler, WriteCompiler):
    """DELETE. Doris tells no number of deleted rows, so they are counted first."""

    query: Any

    def execute_sql(self, result_type: Any = MULTI, *args: Any, **kwargs: Any) -> Any:
        if result_type != ROW_COUNT:
            return super().execute_sql(result_type, *args, **kwargs)
        batch, table = self.connection.write_batch, self.query.get_meta().db_table
        if batch is None:
            count = self.count_rows()
            if count:
                self._run()
            return count
        batch.check_delete(table)
        rows = self._rows()
        count = self.count_rows() if rows is None else len(rows)
        if count:
            self._run()
            batch.note_delete(table, None if rows is None else self._identities_of(rows))
        return count

    def _run(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(*self._statement())

    def _rows(self) -> list[dict[Any, Any]] | None:
        """The identifying values of the rows to be deleted, None when they are too many to remember."""
        fields = [*dict.fromkeys(field for group in self.identifying.values() for field in group)]
        query = self._plain_query()
        query.add_fields([field.attname for field in fields])
        query.set_limits(high=_KEYS_TO_REMEMBER + 1)
        rows = self.ask(query)
        if len(rows) > _KEYS_TO_REMEMBER:
            return None
        return [dict(zip(fields, row, strict=True)) for row in rows]

    def _identities_of(self, rows: list[dict[Any, Any]]) -> set[Hashable]:
        return {
            (name, *(field.get_prep_value(row[field]) for field in group))
            for row in rows
            for name, group in self.identifying.items()
        }

    def _statement(self) -> Sql:
        sql, params = self.as_sql()
        table = self.quote_name_unless_alias(self.query.base_table)
        if " WHERE " not in sql:
            if self.connection.write_batch is None:
                return f"TRUNCATE TABLE {table}", ()  # the only way to delete all rows
            column = self.connection.ops.quote_name(self.query.get_meta().pk_fields[0].column)
            return f"{sql} WHERE {column} IS NOT NULL", params
        if "(SELECT " not in sql:
            self._check_condition(self.query.where)
            return sql.replace(f"{table}.", ""), params  # the documented form has bare column names
        if self.table.key_model != "UNIQUE":
            raise NotSupportedError(
                f"{self.query.get_meta().label}: rows of a {self.table.key_model} table can be deleted by "
                "plain conditions on its columns only, not by a subquery or join: fetch the values first"
            )
        return sql, params

    def _check_condition(self, node: Any) -> None:
        """Rows of an AGGREGATE table are deleted by their key: the other columns are sums of many rows."""
        if self.table.key_model in ("UNIQUE", "DUPLICATE"):
            return
        for child in node.children:
            if isinstance(child, WhereNode):
                self._check_condition(child)
            elif isinstance(getattr(child, "lhs", None), Col) and child.lhs.target not in self.key:
                raise NotSupportedError(
                    f"{self.query.get_meta().label}: rows of an AGGREGATE table are deleted by conditions on "
                    f"its key, and {child.lhs.target.name} is not in it"
                )


class SQLUpdateCompiler(compiler.SQLUpdateCompiler, WriteCompiler):
    """UPDATE, of the value columns of UNIQUE tables; a large ``bulk_update`` by Stream Load."""

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
                return self.count_rows()
        batch = self.connection.write_batch
        if batch is None:
            rows = self._bulk_rows()
            return int(super().execute_sql(result_type)) if rows is None else self._load(rows)
        keys = self.matching_keys()
        batch.check_update(meta.db_table, keys)
        count = int(super().execute_sql(result_type))
        if count:
            batch.note_change(meta.db_table, keys)
        return count

    # -- key columns

    def _take_key_values(self) -> list[tuple[Any, Any]]:
        """Key columns cannot be set. They leave the statement, to be compared instead."""
        names = {field.name for field in self.key}
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
        with self.connection.questions() as cursor:
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

    # -- bulk_update() by Stream Load

    def _bulk_rows(self) -> dict[Any, dict[str, Any]] | None:
        """The new values by primary key, when this is a large ``bulk_update`` of plain values; else None.

        ``bulk_update`` gives each field as CASE WHEN pk = … THEN … END, and the primary keys by IN.
        """
        meta, loader = self.query.get_meta(), self.connection.bulk_loader
        if loader is None or len(meta.pk_fields) != 1 or self.query.related_updates:
            return None
        if (self.table.properties or {}).get("enable_unique_key_merge_on_write") == "false":
            return None
        if self._key_condition() is None or self.query.alias_map.keys() - {self.query.base_table}:
            return None
        rows: dict[Any, dict[str, Any]] = {}
        for field, _, case in self.query.values:
            if not isinstance(case, Case) or len(case.cases) < loader.threshold:
                return None
            for when in case.cases:
                test = when.condition.children[0] if isinstance(when.condition, WhereNode) else None
                if (
                    len(when.condition.children) != 1
                    or not isinstance(test, Exact)
                    or not _is_column(test.lhs, meta.pk)
                    or not isinstance(when.result, Value)
                ):
                    return None
                rows.setdefault(test.rhs, {})[field.column] = field.get_db_prep_save(
                    when.result.value, connection=self.connection
                )
        return rows or None

    def _key_condition(self) -> int | None:
        """The place of ``pk IN (…)`` among the conditions."""
        where, pk = self.query.where, self.query.get_meta().pk
        if where.negated or where.connector != AND:
            return None
        return next(
            (
                n
                for n, child in enumerate(where.children)
                if isinstance(child, In) and _is_column(child.lhs, pk) and isinstance(child.rhs, Collection)
            ),
            None,
        )

    def _load(self, rows: dict[Any, dict[str, Any]]) -> int:
        """Load the new values of the rows that are there, and match the other conditions. Their number."""
        meta, key = self.query.get_meta(), self.key
        place = self._key_condition()
        pending = iter(rows)
        found: list[dict[str, Any]] = []
        while wanted := list(islice(pending, _KEYS_OF_ONE_QUESTION)):
            query = self._plain_query()
            query.where = query.where.clone()
            named = query.where.children[place]
            query.where.children[place] = type(named)(named.lhs, wanted)
            query.add_fields([meta.pk.attname, *(field.attname for field in key)])
            for pk, *values in self.ask(query):
                stored = {
                    field.column: field.get_db_prep_save(value, connection=self.connection)
                    for field, value in zip(key, values, strict=True)
                }
                found.append(stored | rows[meta.pk.get_prep_value(pk)])
        if found:
            self.connection.bulk_loader.load(meta.db_table, found, update_columns=[*found[0]])
            self.connection.note_write("UPDATE")
        return len(found)


def _values(obj: Any, fields: Sequence[Any]) -> tuple[Any, ...]:
    """The values of these fields, in the form in which they come back."""
    return tuple(field.get_prep_value(field.to_python(getattr(obj, field.attname))) for field in fields)


def _is_column(expression: Any, field: Any) -> bool:
    return isinstance(expression, Col) and expression.target == field


@contextmanager
def _partial_updates(connection: Any) -> Iterator[None]:
    """Have an INSERT write into rows that are there, and fail for a key that is not."""
    usual = connection.session_variables()
    variables = {"enable_unique_key_partial_update": ("true", "false")}
    if connection.get_database_version() >= NEW_KEY_VERSION:  # older ones go by enable_insert_strict
        variables["partial_update_new_key_behavior"] = ("ERROR", "APPEND")
    with connection.cursor() as cursor:
        try:
            for name, (value, _) in variables.items():
                cursor.execute(f"SET {name} = %s", [value])
            yield
        finally:
            for name, (_, default) in variables.items():
                cursor.execute(f"SET {name} = %s", [usual.get(name, default)])
