"""Credentials from environment variables and from the files that they name."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from dbint import discovery
from dbint.credentials.base import Credentials
from dbint.errors import ConfigurationError

FILE_SUFFIX = "_FILE"
SECRET_LIMIT = 1 << 16  # bytes; a password file that is larger is not a password file


class EnvironmentProvider:
    """Reads the variables that the table of services names: ``POSTGRES_USER`` and ``POSTGRES_PASSWORD``, ...

    ``POSTGRES_PASSWORD_FILE`` names a file that holds the value, as the official container images have it.
    A URL (``DATABASE_URL``, ``REDIS_URL``) gives what the variables of its service do not.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def get(self, service: str) -> Credentials | None:
        """Raises ConfigurationError for a password without a user's name, and for contradicting variables."""
        row = discovery.service(service)
        environ = os.environ if self._environ is None else self._environ
        username = _value(environ, row.username_variables)
        password = _value(environ, row.password_variables)
        database = _value(environ, row.database_variables)
        if not username and not password:
            return self._from_url(row, environ)
        if password and not username and not row.username_optional:
            raise ConfigurationError(
                f"{password[0]} is set and {row.username_variables[0]} is not: set both or neither"
            )
        names = [found[0] for found in (username, password) if found]
        return Credentials(
            username=username[1] if username else "",
            password=password[1] if password else "",
            source=f"environment variable{'s' if len(names) > 1 else ''} {' and '.join(names)}",
            database=database[1] if database else None,
        )

    @staticmethod
    def _from_url(row: discovery.Service, environ: Mapping[str, str]) -> Credentials | None:
        if row.list_separator:
            return None
        for variable in row.url_variables:
            text = discovery.variable_value(environ, variable)
            if text is None:
                continue
            parts = discovery.split_url(row, text, variable)
            userinfo, at, _ = parts.netloc.rpartition("@")
            if not at:
                continue
            username, _, password = userinfo.partition(":")
            return Credentials(
                username=unquote(username),
                password=unquote(password),
                source=f"environment variable {variable}",
                database=unquote(parts.path.strip("/")) or None,
            )
        return None


def _value(environ: Mapping[str, str], variables: tuple[str, ...]) -> tuple[str, str] | None:
    """(variable, value) of the one that is set, itself or through its ``_FILE`` twin."""
    found: list[tuple[str, str]] = []
    for variable in variables:
        twin = variable + FILE_SUFFIX
        text = discovery.variable_value(environ, variable)
        path = discovery.variable_value(environ, twin)
        if text is not None and path is not None:
            raise ConfigurationError(f"{variable} and {twin} are both set: unset one of them")
        if text is not None:
            # As it stands: a password may begin or end with a space.
            found.append((variable, environ[variable]))
        elif path is not None:
            found.append((twin, read_secret(Path(path), twin)))
    for variable, text in found[1:]:
        if text != found[0][1]:
            raise ConfigurationError(f"{found[0][0]} and {variable} are set and differ: unset one of them")
    return found[0] if found else None


def read_secret(path: Path, place: str) -> str:
    """The content of a one-line secret file without its line end.

    Raises ConfigurationError, which names ``place``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_LIMIT + 1)
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{place}: {path} is not UTF-8 text") from None
    if not text or len(content) > SECRET_LIMIT:
        size = "empty" if not text else f"larger than {SECRET_LIMIT} bytes"
        raise ConfigurationError(f"{place}: {path} is {size}")
    return text
