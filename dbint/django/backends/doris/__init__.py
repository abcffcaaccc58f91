"""A Django database backend for Apache Doris: ``ENGINE = "dbint.django.backends.doris"``.

Doris is an analytic database that speaks MySQL's protocol: it has tables and SQL, and no transactions,
foreign keys or unique constraints. What Django's models can do on it works; what cannot is refused with an
error that says what to do instead. docs/doris.md is the guide.

Here is what models name: the table's options, partitions, indexes and fields. Operations for migrations are
in ``dbint.django.backends.doris.migrations``.
"""

from dbint.django.backends.doris.fields import ArrayField, DateTimeField, LargeIntegerField, VariantField
from dbint.django.backends.doris.indexes import BloomFilterIndex, InvertedIndex, NgramBloomFilterIndex
from dbint.django.backends.doris.partitions import (
    MAXVALUE,
    AutoList,
    AutoRange,
    DynamicPartitions,
    FixedRange,
    InValues,
    LessThan,
    ListPartitions,
    RangePartitions,
    Steps,
)
from dbint.django.backends.doris.table import DorisTable

__all__ = [
    "MAXVALUE",
    "ArrayField",
    "AutoList",
    "AutoRange",
    "BloomFilterIndex",
    "DateTimeField",
    "DorisTable",
    "DynamicPartitions",
    "FixedRange",
    "InValues",
    "InvertedIndex",
    "LargeIntegerField",
    "LessThan",
    "ListPartitions",
    "NgramBloomFilterIndex",
    "RangePartitions",
    "Steps",
    "VariantField",
]
