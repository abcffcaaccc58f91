"""How the layer's methods are made, so that each signature is written down once.

A write method is a C method of its stream, found in the instance; in the class stands one that opens the
layer first. A query method runs what a function of dbint.events.queries builds. Each has a twin for threads.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from dbint.events.queries import Event, Query

if TYPE_CHECKING:
    from dbint.events.layer import DatabaseIntegrationLayer

P = ParamSpec("P")
R = TypeVar("R")

_Write = Callable[Concatenate["DatabaseIntegrationLayer", P], Coroutine[Any, Any, None]]
_WriteSync = Callable[Concatenate["DatabaseIntegrationLayer", P], None]


def opens(method: _Write[P]) -> _Write[P]:
    """The write method of a layer that is not open yet: opens it and hands the call on.

    Opening puts the stream's own method into the instance under the same name, so that from then on a call
    is a call of C. What stands in the class is for whoever reads it: signature and documentation.
    """

    def first(
        self: "DatabaseIntegrationLayer", /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, None]:
        return cast(Coroutine[Any, Any, None], self._writes()[method.__name__](*args, **kwargs))

    return cast("_Write[P]", update_wrapper(first, method))


def sync_twin(method: _Write[P]) -> _WriteSync[P]:
    """The twin of a write method, for threads."""
    name = f"{method.__name__}_sync"

    def first(self: "DatabaseIntegrationLayer", /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._writes()[name](*args, **kwargs)

    signature = inspect.signature(method)
    return _signed(first, name, f"As {method.__name__}, for threads.", signature)


def reads(
    build: Callable[P, Query],
) -> Callable[Concatenate["DatabaseIntegrationLayer", P], Coroutine[Any, Any, list[Event]]]:
    """The method that runs the query that ``build`` makes of its arguments."""

    async def method(self: "DatabaseIntegrationLayer", /, *args: P.args, **kwargs: P.kwargs) -> list[Event]:
        return await self._reader.fetch_async(build(*args, **kwargs))

    return _signed(method, build.__name__, build.__doc__, _with_self(build))


def reads_sync(
    build: Callable[P, Query],
) -> Callable[Concatenate["DatabaseIntegrationLayer", P], list[Event]]:
    """The twin of the method of ``reads``."""

    def method(self: "DatabaseIntegrationLayer", /, *args: P.args, **kwargs: P.kwargs) -> list[Event]:
        return self._reader.fetch(build(*args, **kwargs))

    return _signed(method, f"{build.__name__}_sync", f"As {build.__name__}, for threads.", _with_self(build))


def _with_self(build: Callable[..., Query]) -> inspect.Signature:
    signature = inspect.signature(build)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[own, *signature.parameters.values()], return_annotation=list[Event])


def _signed(method: R, name: str, doc: str | None, signature: inspect.Signature) -> R:
    """``method`` as help() shows it."""
    shown: Any = method
    shown.__name__, shown.__doc__, shown.__signature__ = name, doc, signature
    shown.__qualname__ = f"DatabaseIntegrationLayer.{name}"
    return method
