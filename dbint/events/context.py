"""What an event belongs to, known from its surroundings: the trace, the agent, the task.

    with trace_context(trace_id="coord_123", agent_name="agent-router"):
        logger.info("chosen")          # by EventHandler: an event of that trace

It follows asyncio tasks and is empty in new threads, as context variables are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The fields that an event takes from its surroundings when it has none of its own."""

    trace_id: str | None = None
    agent_name: str | None = None
    task_id: str | None = None


_current: ContextVar[TraceContext] = ContextVar("dbint_trace_context", default=TraceContext())  # noqa: B039 - frozen


def current_trace() -> TraceContext:
    """The context here and now; empty where none was given."""
    return _current.get()


@contextmanager
def trace_context(
    trace_id: str | None = None, agent_name: str | None = None, task_id: str | None = None
) -> Iterator[TraceContext]:
    """Events inside belong to this trace, agent and task; what is not given stays as it is outside."""
    given = {"trace_id": trace_id, "agent_name": agent_name, "task_id": task_id}
    context = replace(_current.get(), **{name: value for name, value in given.items() if value is not None})
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
