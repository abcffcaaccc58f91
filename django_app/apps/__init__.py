"""The project's applications."""
