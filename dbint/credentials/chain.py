"""The chain of providers that dbint uses when nothing else is asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from dbint.credentials.base import ChainProvider, CredentialProvider
from dbint.credentials.environment import EnvironmentProvider
from dbint.credentials.files import FileProvider
from dbint.credentials.stack import StackProvider
from dbint.discovery import did_you_mean, variable_value
from dbint.errors import ConfigurationError

FILES_VARIABLE = "DBINT_CREDENTIALS"

# The names that settings may use, in the default order.
PROVIDERS = ("environment", "file", "stack")


def default_chain(
    settings: Mapping[str, Any] | None = None,
    services: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> ChainProvider:
    """The providers in the order that ``settings`` gives; by default environment, file, stack.

    ``settings`` is ``DBINT["CREDENTIALS"]``. It has "providers": names of PROVIDERS and dotted paths to
    classes or functions that make a provider, and "path": the directory or file of the file provider, which
    ``DBINT_CREDENTIALS`` overrides. ``services`` is ``DBINT["SERVICES"]``. Raises ConfigurationError for an
    unknown name or a path that cannot be imported.
    """
    settings = settings or {}
    environ = os.environ if environ is None else environ
    path = variable_value(environ, FILES_VARIABLE) or settings.get("path")
    makers: dict[str, Callable[[], CredentialProvider | None]] = {
        "environment": lambda: EnvironmentProvider(environ),
        "file": lambda: FileProvider(path, environ) if path else None,
        "stack": lambda: StackProvider(services, environ),
    }
    names: Sequence[str] = settings.get("providers", PROVIDERS)
    if "file" not in names and settings.get("path"):
        raise ConfigurationError(
            'DBINT["CREDENTIALS"] has a "path" and its "providers" leave out "file": add or remove one'
        )
    made = [makers[name]() if name in makers else _imported(name) for name in names]
    return ChainProvider([provider for provider in made if provider is not None])


def _imported(path: str) -> CredentialProvider:
    module, _, name = path.rpartition(".")
    if not module:
        raise ConfigurationError(
            f'DBINT["CREDENTIALS"]["providers"] has no {path!r}{did_you_mean(path, list(PROVIDERS))}'
        )
    try:
        maker = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f'DBINT["CREDENTIALS"]["providers"]: {path!r} cannot be imported: {error}'
        ) from None
    try:
        provider = maker()
    except TypeError as error:
        raise ConfigurationError(
            f'DBINT["CREDENTIALS"]["providers"]: {path!r} cannot be called without arguments: {error}'
        ) from None
    if not isinstance(provider, CredentialProvider):
        raise ConfigurationError(
            f'DBINT["CREDENTIALS"]["providers"]: {path!r} made no provider: it has no method get()'
        )
    return provider
