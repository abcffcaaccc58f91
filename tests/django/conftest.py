"""Django for the tests of this folder that bring no settings of their own: no database, dbint's app alone."""

import django
import pytest
from django.apps import apps
from django.conf import settings


@pytest.fixture(scope="session", autouse=True)
def django_is_set_up() -> None:
    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "dbint.django"],
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        )
    if not apps.ready:
        django.setup()
