"""Django's makemigrations, which also notices a changed ``Meta.doris``."""

from django.core.management.commands import makemigrations

from dbint.django.backends.doris.autodetector import DorisAutodetector


class Command(makemigrations.Command):
    autodetector = DorisAutodetector
