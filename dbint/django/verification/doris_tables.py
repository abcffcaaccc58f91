"""A Doris table's key, distribution and indexes against what its model says."""

from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from dbint.django.backends.doris.checks import distribution_fields, key_fields
from dbint.django.backends.doris.indexes import BloomFilterIndex
from dbint.django.backends.doris.introspection import bloom_filter_columns
from dbint.django.backends.doris.table import table_options


def table_problems(connection: BaseDatabaseWrapper, model: type[models.Model]) -> Iterator[str]:
    """A line for each difference."""
    introspection: Any = connection.introspection
    meta: Any = model._meta
    with connection.cursor() as cursor:
        found = introspection.table_definition(cursor, meta.db_table)
    wanted = table_options(model)
    key = [field.column for field in key_fields(model, wanted)]
    distribution = [field.column for field in distribution_fields(model, wanted)]
    for what, is_now, should_be in (
        ("key model", found.key_model, wanted.key_model),
        ("key", ", ".join(found.key), ", ".join(key)),
        ("distribution", ", ".join(found.distributed_by) or "RANDOM", ", ".join(distribution) or "RANDOM"),
        ("number of buckets", str(found.buckets), str(wanted.buckets)),
    ):
        if is_now != should_be:
            yield f"{meta.label}: the {what} of {meta.db_table} is {is_now}, the model wants {should_be}"
    indexes = {index.name.lower() for index in found.indexes}
    filtered = {column.lower() for column in bloom_filter_columns(found)}
    for index in meta.indexes:
        if isinstance(index, BloomFilterIndex):
            for name in index.fields:
                if meta.get_field(name).column.lower() not in filtered:
                    yield f"{meta.label}: the bloom filter of {name} ({index.name}) is missing"
        elif index.name.lower() not in indexes:
            yield f"{meta.label}: index {index.name} is missing"
