"""Fixtures that test modules of the flow share; a module that has one of the name has its own."""

from tests.integration.flow_tables import source, target

__all__ = ["source", "target"]
