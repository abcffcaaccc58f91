"""What ``makemigrations`` writes when a model's ``Meta.doris`` has changed: an AlterTable."""

from typing import Any

from django.core.management.commands import makemigrations, migrate
from django.db.migrations.autodetector import MigrationAutodetector

from dbint.django.backends.doris.migrations import AlterTable
from dbint.django.backends.doris.table import DorisTable


class DorisAutodetector(MigrationAutodetector):
    """Django's own, which knows of its own options alone, and this one of dbint's."""

    kept_model_keys: set[tuple[str, str]]

    def generate_added_fields(self) -> None:
        # Here fields have been renamed and removed; and the aggregate of a field is named before it is added.
        for app_label, model_name in sorted(self.kept_model_keys):
            old_name = self.renamed_models.get((app_label, model_name), model_name)
            old = _table(self.from_state.models[app_label, old_name])
            new = _table(self.to_state.models[app_label, model_name])
            if old != new and isinstance(new, DorisTable):
                self.add_operation(app_label, AlterTable(model_name, new))
        super().generate_added_fields()


def _table(model: Any) -> Any:
    return model.options.get("doris") or DorisTable()


def install() -> None:
    """Let makemigrations and migrate use it, and the commands that other apps derive from them; unless
    somebody has given them another one.
    """
    commands = (makemigrations.Command, migrate.Command)
    if all(command.autodetector is MigrationAutodetector for command in commands):
        for command in commands:
            command.autodetector = DorisAutodetector
