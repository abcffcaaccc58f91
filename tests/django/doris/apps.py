"""The app of the models in this directory."""

from django.apps import AppConfig


class DorisTests(AppConfig):
    name = __package__
    label = "doris_tests"
    default_auto_field = "django.db.models.BigAutoField"
