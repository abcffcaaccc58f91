"""``manage.py inspectdb`` for Doris: models with the ``Meta.doris`` that their tables have."""

from collections.abc import Iterator
from typing import Any

from django.core.management.commands import inspectdb
from django.db import connections

from dbint.django.backends.doris.ddl import TableDefinition
from dbint.django.backends.doris.table import DorisTable

# What Doris adds by itself, or the backend for every table.
_IMPLIED = ("enable_unique_key_merge_on_write", "function_column.sequence_col")
_OURS = ("replication_num", "replication_allocation", "bloom_filter_columns", "colocate_with", "compression")


class Command(inspectdb.Command):
    """Django's command; tables of Doris databases get their options too."""

    def handle_inspection(self, options: dict[str, Any]) -> Iterator[str]:
        connection: Any = connections[options["database"]]
        self._connection = connection if connection.vendor == "doris" else None
        lines = super().handle_inspection(options)
        for line in lines:
            yield line
            if self._connection is not None and line == f"from {self.db_module} import models":
                yield "from dbint.django.backends.doris import DorisTable"

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
        if self._connection is not None and not is_view:
            with self._connection.cursor() as cursor:
                definition = self._connection.introspection.table_definition(cursor, table_name)
            if definition.key_model == "AGGREGATE":
                meta.append("        # An AGGREGATE table: read it, and write it by Stream Load.")
            else:
                meta.append(f"        doris = {_written(_options(definition, column_to_field_name))}")
        return meta


def _options(definition: TableDefinition, names: dict[str, str]) -> DorisTable:
    def fields(columns: list[str]) -> tuple[str, ...]:
        return tuple(names.get(column, column) for column in columns)

    sequence = definition.properties.get("function_column.sequence_col", "")
    properties = {k: v for k, v in definition.properties.items() if k in _OURS and k not in _IMPLIED}
    return DorisTable(
        key_model=definition.key_model,  # type: ignore[arg-type]
        key=fields(definition.key),
        distributed_by=fields(definition.distributed_by) if definition.distributed_by else "RANDOM",
        buckets=definition.buckets,  # type: ignore[arg-type]
        properties=properties or None,
        partition_by=definition.partition_by,
        sequence_column=names.get(sequence, sequence),
    )


def _written(table: DorisTable) -> str:
    _, _, arguments = table.deconstruct()
    return f"DorisTable({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
