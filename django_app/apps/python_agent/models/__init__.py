"""The models: ``state`` lives in PostgreSQL, ``facts`` in Doris."""

from .facts import MetricFact, RunFact, ToolCallFact
from .state import Agent, Run, Task

__all__ = ["Agent", "MetricFact", "Run", "RunFact", "Task", "ToolCallFact"]
