"""The Django app of dbint: ``"dbint.django"`` in INSTALLED_APPS. docs/settings.md documents its settings."""
