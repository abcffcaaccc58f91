"""The app's configuration."""

from django.apps import AppConfig
from django.conf import settings

from dbint.django.meta import add_option

# ``class Meta: database = "doris"`` says where a model lives (see routers.py). App configurations are
# imported before any model is, so this is early enough wherever the app stands in INSTALLED_APPS.
add_option("database")
_DORIS = "dbint.django.backends.doris"


class DbintConfig(AppConfig):
    """``dbint.django``: commands, system checks and routers. Starts no thread and opens no connection."""

    name = "dbint.django"
    label = "dbint"
    verbose_name = "Database integration"

    def ready(self) -> None:
        """Registers the system checks; with Doris among the databases lets makemigrations see its tables."""
        from dbint.django import checks

        checks.register()
        if any(entry.get("ENGINE") == _DORIS for entry in settings.DATABASES.values()):
            from dbint.django.backends.doris import autodetector

            autodetector.install()
