"""What a model says about its Doris table: ``class Meta: doris = DorisTable(…)``.

Importing this module makes "doris" an option of ``class Meta``. A model imports it, and so does the migration
that Django writes for the model, since the option is written as a call of :class:`DorisTable`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from dbint.django.backends.doris.partitions import (
    ColumnName,
    Deconstructible,
    DynamicPartitions,
    Feature,
    PartitionBy,
    RangePartitions,
)
from dbint.django.meta import add_option

KeyModel = Literal["UNIQUE", "DUPLICATE", "AGGREGATE"]
Aggregate = Literal["SUM", "MIN", "MAX", "REPLACE", "REPLACE_IF_NOT_NULL"]

AGGREGATES = ("SUM", "MIN", "MAX", "REPLACE", "REPLACE_IF_NOT_NULL")
_KEY_MODELS = ("UNIQUE", "DUPLICATE", "AGGREGATE")
# Properties that another option says.
_ELSEWHERE = {
    "function_column.sequence_col": "sequence_column=…",
    "function_column.sequence_type": "sequence_column=…, since only loads can fill a hidden column",
}
# Properties that not every supported Doris has.
_NEW_PROPERTIES = {"partition.retention_count": (4, 0)}


@dataclass(frozen=True)
class DorisTable(Deconstructible):
    """The key model, distribution, partitions and properties of a table.

    ``key_model``: "UNIQUE" keeps one row per key, the last one written (merge-on-write); "DUPLICATE" keeps
    every row, and its rows cannot be updated; "AGGREGATE" adds rows of the same key up, each field by what
    ``aggregates`` names: ``{"tokens": "SUM", "last": "MAX"}`` (SUM, MIN, MAX, REPLACE, REPLACE_IF_NOT_NULL).

    ``key`` names the fields of the key, in order (default: the primary key); the table is sorted by it.
    ``distributed_by`` names the fields that are hashed to buckets (default: the primary key, for UNIQUE and
    AGGREGATE within the key), or is "RANDOM" (not for UNIQUE). ``buckets`` is a number or "AUTO".

    ``partition_by`` is RangePartitions, ListPartitions, AutoRange or AutoList, or what follows PARTITION BY
    in Doris' SQL, in column names, such as ``"RANGE(day) ()"``; the columns have to be in the key of a UNIQUE
    or AGGREGATE table. ``sequence_column`` names the field whose greater value wins among rows with the same
    key (UNIQUE only). ``properties`` go into PROPERTIES as they are; ``replication_num`` comes from the
    database's settings otherwise.

    Raises ImproperlyConfigured for what no table could be. Fields that do not exist are found by the system
    checks.
    """

    key_model: KeyModel = "UNIQUE"
    key: tuple[str, ...] = ()
    distributed_by: tuple[str, ...] | Literal["RANDOM"] = ()
    buckets: int | Literal["AUTO"] = "AUTO"
    properties: Mapping[str, str] | None = None
    partition_by: str | PartitionBy = ""
    sequence_column: str = ""
    aggregates: Mapping[str, Aggregate] | None = None

    def __post_init__(self) -> None:
        if self.key_model not in _KEY_MODELS:
            raise ImproperlyConfigured(
                f"DorisTable: key_model is one of {', '.join(_KEY_MODELS)}, not {self.key_model!r}"
            )
        object.__setattr__(self, "key", _names("key", self.key))
        if self.distributed_by != "RANDOM":
            object.__setattr__(self, "distributed_by", _names("distributed_by", self.distributed_by))
        elif self.key_model == "UNIQUE":
            raise ImproperlyConfigured(
                "DorisTable: a UNIQUE table is distributed by fields of its key, not RANDOM"
            )
        if self.buckets != "AUTO" and not (type(self.buckets) is int and self.buckets > 0):
            raise ImproperlyConfigured(
                f"DorisTable: buckets is a number above 0 or 'AUTO', not {self.buckets!r}"
            )
        if self.sequence_column and self.key_model != "UNIQUE":
            raise ImproperlyConfigured("DorisTable: sequence_column needs key_model='UNIQUE'")
        self._check_aggregates()
        self._check_partition_by()
        self._check_properties()

    def _check_aggregates(self) -> None:
        if self.aggregates is None:
            if self.key_model == "AGGREGATE":
                raise ImproperlyConfigured(
                    'DorisTable: an AGGREGATE table says how its fields add up: aggregates={"tokens": "SUM"}'
                )
            return
        if self.key_model != "AGGREGATE":
            raise ImproperlyConfigured("DorisTable: aggregates needs key_model='AGGREGATE'")
        for name, function in self.aggregates.items():
            if function not in AGGREGATES:
                raise ImproperlyConfigured(
                    f"DorisTable: {name} is aggregated by one of {', '.join(AGGREGATES)}, not {function!r}"
                )
            if name in self.key:
                raise ImproperlyConfigured(f"DorisTable: {name} is in the key and cannot be aggregated")

    def _check_partition_by(self) -> None:
        if isinstance(self.partition_by, PartitionBy):
            return
        if not isinstance(self.partition_by, str):
            raise ImproperlyConfigured(
                "DorisTable: partition_by is RangePartitions, ListPartitions, AutoRange, AutoList, or text; "
                f"not {self.partition_by!r}"
            )
        if self.partition_by and not re.match(
            r"(?:AUTO\s+)?(?:RANGE|LIST)\s*\(", self.partition_by, re.IGNORECASE
        ):
            raise ImproperlyConfigured(
                "DorisTable: partition_by is what follows PARTITION BY, such as 'RANGE(day) ()', not "
                f"{self.partition_by!r}"
            )

    def _check_properties(self) -> None:
        if self.properties is None:
            return
        if not all(isinstance(n, str) and isinstance(value, str) for n, value in self.properties.items()):
            raise ImproperlyConfigured('DorisTable: properties are strings, such as {"replication_num": "1"}')
        for name in self.properties:
            if name in _ELSEWHERE:
                raise ImproperlyConfigured(
                    f"DorisTable: instead of the property {name} use {_ELSEWHERE[name]}"
                )
            if name.startswith("dynamic_partition.") and self.dynamic is not None:
                raise ImproperlyConfigured(f"DorisTable: {name} is said twice, in DynamicPartitions too")

    def __hash__(self) -> int:
        return hash((self.key_model, self.key, self.distributed_by))

    @property
    def dynamic(self) -> DynamicPartitions | None:
        """Its dynamic partitions, when they are given as an object."""
        return self.partition_by.dynamic if isinstance(self.partition_by, RangePartitions) else None

    @property
    def has_unique_key(self) -> bool:
        """Whether there is one row of a key at most."""
        return self.key_model != "DUPLICATE"

    def partition_clause(self, column: ColumnName) -> str:
        """PARTITION BY of CREATE TABLE, "" for a table without partitions."""
        if isinstance(self.partition_by, PartitionBy):
            return self.partition_by.sql(column)
        if not self.partition_by:
            return ""
        automatic, rest = "", self.partition_by
        if rest.upper().startswith("AUTO "):
            automatic, rest = "AUTO ", rest[5:]
        return f"{automatic}PARTITION BY {rest}"

    def all_properties(self) -> dict[str, str]:
        """``properties`` and those of the partitions."""
        of_partitions = self.partition_by.properties() if isinstance(self.partition_by, PartitionBy) else {}
        return {**of_partitions, **(self.properties or {})}

    def features(self) -> list[Feature]:
        """What a server has to be new enough for."""
        given = self.all_properties()
        return [(f"the property {name}", since) for name, since in _NEW_PROPERTIES.items() if name in given]


def table_options(model: type[Model]) -> DorisTable:
    """The model's DorisTable, or the default one. Raises ImproperlyConfigured when the option is something
    else.
    """
    table = getattr(model._meta, "doris", None)
    if table is None:
        if not model._meta.auto_created:
            return DorisTable()
        # The table of a many-to-many relation: its pair is the key, so that a pair is there once at most,
        # whoever adds it. Nothing refers to the id, which is of the row that was written last.
        pair = tuple(
            field.name for field in model._meta.local_concrete_fields if field.remote_field is not None
        )
        return DorisTable(key=pair, distributed_by=pair[:1])
    if not isinstance(table, DorisTable):
        raise ImproperlyConfigured(
            f"{model._meta.label}: Meta.doris is a DorisTable(…), not {type(table).__name__}"
        )
    return table


def _names(option: str, value: Collection[str]) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
        raise ImproperlyConfigured(f"DorisTable: {option} is a tuple of field names, not {value!r}")
    if len(set(value)) != len(value):
        raise ImproperlyConfigured(f"DorisTable: {option} names a field twice: {value!r}")
    return tuple(value)


add_option("doris")
