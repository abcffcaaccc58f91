"""Operations for migrations: partitions, and the options of a table that Doris can change.

    from dbint.django.backends.doris import DorisTable, FixedRange
    from dbint.django.backends.doris.migrations import AddPartition, AlterTable, DropPartition

On other databases they do nothing.
"""

# ruff: noqa: ARG002 - these signatures are Django's

from collections.abc import Sequence
from typing import Any

from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState
from django.db.models import Model

from dbint.django.backends.doris.partitions import Partition, Steps
from dbint.django.backends.doris.table import DorisTable


class _TableOperation(Operation):
    """An operation on the table of one model."""

    category = OperationCategory.ALTERATION

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    @property
    def model_name_lower(self) -> str:
        return self.model_name.lower()

    def references_model(self, name: str, app_label: str) -> bool:
        return name.lower() == self.model_name_lower

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Partitions are no part of a model's state: they come and go like rows."""

    def table_of(self, app_label: str, editor: Any, state: ProjectState) -> type[Model] | None:
        """The model, where its table is on the Doris database that the editor changes."""
        model: type[Model] = state.apps.get_model(app_label, self.model_name)
        if editor.connection.vendor != "doris":
            return None
        return model if self.allow_migrate_model(editor.connection.alias, model) else None


class AddPartition(_TableOperation):
    """Add a partition (FixedRange, LessThan, InValues), or many (Steps), to a partitioned table.

    Going back drops it, with its rows; the names that Doris gave to Steps are not known, so there is no way
    back from them.
    """

    category = OperationCategory.ADDITION

    def __init__(self, model_name: str, partition: Partition | Steps) -> None:
        super().__init__(model_name)
        self.partition = partition
        self.reversible = isinstance(partition, Partition)  # type: ignore[misc]  # of this operation

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if model := self.table_of(app_label, schema_editor, to_state):
            schema_editor.add_partition(model, self.partition)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if isinstance(self.partition, Partition) and (
            model := self.table_of(app_label, schema_editor, to_state)
        ):
            schema_editor.drop_partition(model, self.partition.name)

    def describe(self) -> str:
        what = self.partition.name if isinstance(self.partition, Partition) else self.partition.sql()
        return f"Add partition {what} to {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        name = self.partition.name if isinstance(self.partition, Partition) else "steps"
        return f"{self.model_name_lower}_partition_{name.lower()}"


class DropPartition(_TableOperation):
    """Drop a partition and its rows.

    Given as an object (FixedRange, …) it is made again, empty, on the way back; given by name there is no way
    back. Doris keeps what was dropped in its recycle bin for a day, unless ``force`` is True.
    """

    category = OperationCategory.REMOVAL

    def __init__(self, model_name: str, partition: str | Partition, force: bool = False) -> None:
        super().__init__(model_name)
        self.partition, self.force = partition, force
        self.reversible = isinstance(partition, Partition)  # type: ignore[misc]  # of this operation

    @property
    def name(self) -> str:
        """The partition's name."""
        return self.partition.name if isinstance(self.partition, Partition) else self.partition

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if model := self.table_of(app_label, schema_editor, to_state):
            schema_editor.drop_partition(model, self.name, force=self.force)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if isinstance(self.partition, Partition) and (
            model := self.table_of(app_label, schema_editor, to_state)
        ):
            schema_editor.add_partition(model, self.partition)

    def describe(self) -> str:
        return f"Drop partition {self.name} of {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name_lower}_drop_partition_{self.name.lower()}"


class TruncatePartition(_TableOperation):
    """Delete all rows of partitions, which stay. There is no way back."""

    category = OperationCategory.REMOVAL
    reversible = False

    def __init__(self, model_name: str, names: Sequence[str]) -> None:
        super().__init__(model_name)
        if isinstance(names, str) or not names:
            raise ValueError("TruncatePartition: a list of names of partitions is expected")
        self.names = names

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if model := self.table_of(app_label, schema_editor, to_state):
            schema_editor.truncate_partitions(model, self.names)

    def describe(self) -> str:
        return f"Delete the rows of {', '.join(self.names)} of {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name_lower}_truncate_{'_'.join(self.names).lower()}"


class AlterTable(_TableOperation):
    """Give a model another DorisTable, as far as Doris can change a table.

    Properties, dynamic partitions and the number of buckets of new partitions can be changed; key model, key,
    distribution, partition fields, sequence column and the aggregates of fields that are there cannot, and
    raise NotSupportedError. The aggregate of a field that a later AddField adds is named here first.
    """

    def __init__(self, model_name: str, doris: DorisTable) -> None:
        super().__init__(model_name)
        self.doris = doris

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        state.alter_model_options(app_label, self.model_name_lower, {"doris": self.doris})

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if model := self.table_of(app_label, schema_editor, to_state):
            schema_editor.alter_table_options(from_state.apps.get_model(app_label, self.model_name), model)

    database_backwards = database_forwards

    def describe(self) -> str:
        return f"Change the Doris table of {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name_lower}_doris_table"


class BuildIndex(_TableOperation):
    """Build an inverted index for rows that were there before it.

    AddIndex makes Doris index new rows; this does the old ones, in the background (SHOW BUILD INDEX). Queries
    answer the same without it. Clusters with storage apart from compute do not have it.
    """

    reduces_to_sql = True

    def __init__(self, model_name: str, index_name: str) -> None:
        super().__init__(model_name)
        self.index_name = index_name

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if model := self.table_of(app_label, schema_editor, to_state):
            schema_editor.build_index(model, self.index_name)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """An index that is built needs nothing undone."""

    def describe(self) -> str:
        return f"Build index {self.index_name} of {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name_lower}_build_{self.index_name.lower()}"
