"""The project's settings and entry points."""
