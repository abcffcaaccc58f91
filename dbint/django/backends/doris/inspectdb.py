"""``manage.py inspectdb`` for Doris: models with the ``Meta.doris`` and indexes that their tables have."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from django.core.management.commands import inspectdb
from django.db import connections

from dbint.django.backends.doris.ddl import read_partitions
from dbint.django.backends.doris.indexes import (
    BloomFilterIndex,
    DorisIndex,
    InvertedIndex,
    NgramBloomFilterIndex,
)
from dbint.django.backends.doris.introspection import (
    DJANGOS_PRECISION,
    bloom_filter_columns,
    characters,
    datetime_precision,
    split_type,
)
from dbint.django.backends.doris.partitions import (
    AutoList,
    AutoRange,
    Bound,
    ListPartitions,
    PartitionBy,
    RangePartitions,
    dynamic_from_properties,
)
from dbint.django.backends.doris.table import AGGREGATES, DorisTable
from dbint.django.backends.doris.types import FIELD_OF_TYPE, MAX_VARCHAR
from dbint.doris.show_create import TableDefinition, partition_shape

# Properties that a model says; the others are Doris' defaults, or said elsewhere.
_OURS = ("replication_num", "replication_allocation", "colocate_with", "compression")


class Command(inspectdb.Command):
    """Django's command; tables of Doris databases get their options too."""

    def handle_inspection(self, options: dict[str, Any]) -> Iterator[str]:
        connection: Any = connections[options["database"]]
        self._connection = connection if connection.vendor == "doris" else None
        lines = super().handle_inspection(options)
        for line in lines:
            yield line
            if self._connection is not None and line == f"from {self.db_module} import models":
                yield "from dbint.django.backends import doris"

    def get_field_type(
        self, connection: Any, table_name: str, row: Any
    ) -> tuple[str, dict[str, Any], list[str]]:
        field_type, arguments, notes = super().get_field_type(connection, table_name, row)
        if field_type == "doris.ArrayField":
            try:
                arguments["base_field"] = _Source(_field(row.doris_type[len("array<") : -1]))
            except KeyError:
                return "TextField", {}, [*notes, f"Django has no field for {row.doris_type}."]
        elif field_type == "doris.DateTimeField":
            arguments["precision"] = datetime_precision(row.doris_type)
        return field_type, arguments, notes

    def get_meta(
        self,
        table_name: str,
        constraints: Any,
        column_to_field_name: dict[str, str],
        is_view: bool,
        is_partition: bool,
        comment: str | None,
    ) -> list[str]:
        meta = super().get_meta(table_name, constraints, column_to_field_name, is_view, is_partition, comment)
        if self._connection is None or is_view:
            return meta
        with self._connection.cursor() as cursor:
            definition = self._connection.introspection.table_definition(cursor, table_name)
        if definition.key_model == "DUPLICATE":
            meta.append(
                "        # A DUPLICATE table has no unique key: choose the field that gets primary_key=True."
            )
        unknown = [c.name for c in definition.columns if c.aggregate and c.aggregate not in AGGREGATES]
        if unknown:
            meta.append(f"        # {', '.join(unknown)}: Django has no field for such aggregates.")
        if indexes := _indexes(definition, column_to_field_name):
            meta.append("        indexes = [")
            meta += [f"            {_source(index)}," for index in indexes]
            meta.append("        ]")
        # Last, because it hides the module of the same name in the class.
        meta.append(f"        doris = {_source(_options(definition, column_to_field_name))}")
        return meta


class _Source(str):
    """Python source: its repr is the text itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _field(kind: str) -> str:
    """A field for the type ``kind``, as Python source. Raises KeyError."""
    if kind.startswith("array<"):
        return f"doris.ArrayField(base_field={_field(kind[len('array<') : -1])})"
    base, first, second = split_type(kind)
    name, arguments = FIELD_OF_TYPE[base], ""
    if base in ("char", "varchar"):
        arguments = f"max_length={characters(base, int(first or MAX_VARCHAR))}"
    elif base.startswith("decimal"):
        arguments = f"max_digits={first or 38}, decimal_places={second or 0}"
    elif base.startswith("datetime") and datetime_precision(kind) != DJANGOS_PRECISION:
        name, arguments = "doris.DateTimeField", f"precision={datetime_precision(kind)}"
    return f"{name if '.' in name else f'models.{name}'}({arguments})"


def _options(definition: TableDefinition, names: dict[str, str]) -> DorisTable:
    def fields_of(columns: list[str]) -> tuple[str, ...]:
        return tuple(names.get(column, column) for column in columns)

    sequence = definition.properties.get("function_column.sequence_col", "")
    aggregates: Any = {
        names.get(column.name, column.name): column.aggregate
        for column in definition.columns
        if column.aggregate in AGGREGATES
    }
    return DorisTable(
        key_model=definition.key_model,  # type: ignore[arg-type]
        key=fields_of(definition.key),
        distributed_by=fields_of(definition.distributed_by) if definition.distributed_by else "RANDOM",
        buckets=definition.buckets,  # type: ignore[arg-type]
        properties={k: v for k, v in definition.properties.items() if k in _OURS} or None,
        partition_by=_partition_by(definition, names),
        sequence_column=names.get(sequence, sequence),
        aggregates=aggregates if definition.key_model == "AGGREGATE" else None,
    )


def _partition_by(definition: TableDefinition, names: dict[str, str]) -> PartitionBy | str:
    """The partitions as an object; the text of the server where there is none for it."""
    shape = partition_shape(definition.partition_by)
    by = tuple(names.get(column, column) for column in shape.columns)
    plain: Any = by[0] if len(by) == 1 else by
    if shape.kind == "AUTO RANGE":
        retained = definition.properties.get("partition.retention_count")
        unit: Any = shape.unit
        return AutoRange(by[0], unit, retention_count=int(retained) if retained else None)
    if shape.kind == "AUTO LIST":
        return AutoList(plain)
    dynamic = dynamic_from_properties(definition.properties)
    if shape.kind == "RANGE" and dynamic is not None:
        return RangePartitions(plain, dynamic=dynamic)  # its partitions come and go by themselves
    try:
        parts = tuple(read_partitions(definition.partition_by)) if shape else ()
    except ValueError:
        return definition.partition_by
    if shape.kind == "RANGE":
        return RangePartitions(plain, partitions=parts)
    if shape.kind == "LIST":
        return ListPartitions(plain, partitions=parts)
    return definition.partition_by


def _indexes(definition: TableDefinition, names: dict[str, str]) -> list[DorisIndex]:
    found: list[DorisIndex] = []
    for index in definition.indexes:
        given: dict[str, Any] = {
            "fields": [names.get(column, column) for column in index.columns],
            "name": index.name,
        }
        if index.comment:
            given["comment"] = index.comment
        properties = dict(index.properties)
        if index.type == "NGRAM_BF":
            for name in ("gram_size", "bf_size"):
                if name in properties:
                    given[name] = int(properties[name])
            found.append(NgramBloomFilterIndex(**given))
        elif index.type == "INVERTED":
            phrase = properties.pop("support_phrase", None)
            parser = properties.pop("parser", "")
            known = {k: v for k, v in properties.items() if k in InvertedIndex.KNOWN}
            found.append(
                InvertedIndex(
                    **given,
                    parser=parser,
                    support_phrase=None if phrase is None else phrase == "true",
                    properties=known or None,
                )
            )
    if columns := bloom_filter_columns(definition):
        filtered = [names.get(column, column) for column in columns]
        found.append(BloomFilterIndex(fields=filtered, name="bloom_filters"))
    return found


def _source(value: Any) -> str:
    """Python source that makes ``value``; what is of this package is found by ``doris.``."""
    if isinstance(value, Bound):
        return f"doris.{value.name}"
    if isinstance(value, DorisIndex):
        _, _, arguments = value.deconstruct()
        return f"doris.{type(value).__name__}({_arguments(arguments)})"
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
        return f"doris.{type(value).__name__}({_arguments(given)})"
    if isinstance(value, tuple):
        inner = ", ".join(map(_source, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _arguments(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_source(value)}" for name, value in given.items())
