"""What a model says about its Doris table: ``class Meta: doris = DorisTable(…)``.

Importing this module makes "doris" an option of ``class Meta``. A model imports it, and so does the migration
that Django writes for the model, since the option is written as a call of :class:`DorisTable`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from dbint.django.meta import add_option

KeyModel = Literal["UNIQUE", "DUPLICATE"]


@dataclass(frozen=True)
class DorisTable:
    """The key model, distribution, partitions and properties of a table.

    ``key_model``: "UNIQUE" keeps one row per key, the last one written (merge-on-write); "DUPLICATE" keeps
    every row, and its rows cannot be updated. ``key`` names the fields of the key, in order (default: the
    primary key); the table is sorted by it. ``distributed_by`` names the fields that are hashed to buckets
    (default: the primary key, for UNIQUE within the key), or is "RANDOM" (DUPLICATE only). ``buckets`` is a
    number or "AUTO". ``partition_by`` is what follows PARTITION BY in Doris' SQL, in column names, such as
    ``"RANGE(day) ()"`` or ``"AUTO RANGE(date_trunc(day, 'month')) ()"``; the columns have to be in a UNIQUE
    table's key. ``sequence_column`` names the field whose greater value wins among rows with the same key
    (UNIQUE only). ``properties`` go into PROPERTIES as they are; ``replication_num`` comes from the
    database's settings otherwise.

    Raises ImproperlyConfigured for what no table could be. Fields that do not exist are found by the system
    checks.
    """

    key_model: KeyModel = "UNIQUE"
    key: tuple[str, ...] = ()
    distributed_by: tuple[str, ...] | Literal["RANDOM"] = ()
    buckets: int | Literal["AUTO"] = "AUTO"
    properties: Mapping[str, str] | None = None
    partition_by: str = ""
    sequence_column: str = ""

    def __post_init__(self) -> None:
        if self.key_model not in ("UNIQUE", "DUPLICATE"):
            raise ImproperlyConfigured(
                f"DorisTable: key_model is 'UNIQUE' or 'DUPLICATE', not {self.key_model!r} "
                "(AGGREGATE tables lose rows that Django would expect to find again)"
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
        if self.properties is not None and not all(
            isinstance(name, str) and isinstance(value, str) for name, value in self.properties.items()
        ):
            raise ImproperlyConfigured('DorisTable: properties are strings, such as {"replication_num": "1"}')

    def __hash__(self) -> int:
        return hash((self.key_model, self.key, self.distributed_by, self.partition_by))

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """For the migration writer: only what differs from the defaults."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return "dbint.django.backends.doris.DorisTable", [], given


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
