"""Queries: what Doris writes differently, and what it would do silently wrong."""

# ruff: noqa: ARG001 - these signatures are Django's

from collections.abc import Callable
from typing import Any

from django.db import NotSupportedError
from django.db.models.fields.json import (
    ContainedBy,
    DataContains,
    HasKeyLookup,
    JSONExact,
    KeyTransform,
)
from django.db.models.functions import Chr, ConcatPair, Length, Now, Ord, Random
from django.db.models.sql import compiler

from dbint.django.backends.doris.table import DorisTable, table_options

Sql = tuple[str, Any]


def _refuse_json(node: Any, compiler: Any, connection: Any) -> Sql:
    raise NotSupportedError(
        "Doris compares neither JSON values nor paths into them the way Django's JSONField lookups mean it: "
        "keep what you filter or order by in a field of its own"
    )


def _refuse_code_points(node: Any, compiler: Any, connection: Any) -> Sql:
    raise NotSupportedError(
        f"Doris has no function for {type(node).__name__}: characters and their code points"
    )


# Expressions that Django writes in another way for each vendor.
_WRITERS: dict[type, Callable[[Any, Any, Any], Sql]] = {
    Length: lambda node, compiler, connection: node.as_sql(compiler, connection, function="CHAR_LENGTH"),
    Now: lambda node, compiler, connection: node.as_sql(compiler, connection, template="NOW(6)"),
    Random: lambda node, compiler, connection: node.as_sql(compiler, connection, function="RAND"),
    # With an empty separator NULLs are left out, as on other databases.
    ConcatPair: lambda node, compiler, connection: node.as_sql(
        compiler, connection, function="CONCAT_WS", template="%(function)s('', %(expressions)s)"
    ),
    Chr: _refuse_code_points,
    Ord: _refuse_code_points,
    KeyTransform: _refuse_json,
    JSONExact: _refuse_json,
    DataContains: _refuse_json,
    ContainedBy: _refuse_json,
    HasKeyLookup: _refuse_json,
}


class SQLCompiler(compiler.SQLCompiler):
    connection: Any
    query: Any

    def compile(self, node: Any) -> Sql:
        for kind in type(node).__mro__:
            writer = _WRITERS.get(kind)
            if writer is not None:
                return writer(node, self, self.connection)
        return super().compile(node)

    def as_sql(self, *args: Any, **kwargs: Any) -> Sql:
        if self.query.select_for_update:
            raise NotSupportedError(
                "Doris has no row locks: select_for_update() and update_or_create() cannot work. "
                "bulk_create(update_conflicts=True, …) on a UNIQUE table writes a row whether or not it "
                "exists"
            )
        return super().as_sql(*args, **kwargs)

    @property
    def table(self) -> DorisTable:
        """The DorisTable of the model that this query writes to."""
        return table_options(self.query.get_meta().concrete_model)


class SQLAggregateCompiler(compiler.SQLAggregateCompiler, SQLCompiler):
    pass
