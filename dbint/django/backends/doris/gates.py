"""What a server has to be new enough for."""

from collections.abc import Iterable
from typing import Any

from django.db import NotSupportedError

from dbint.django.backends.doris.partitions import Feature


def lacking(connection: Any, features: Iterable[Feature]) -> list[str]:
    """For each feature that the server is too old for, a sentence with both versions."""
    wanted = list(features)
    if not wanted:
        return []
    version = connection.get_database_version()
    return [
        f"{what} needs Doris {_written(since)} or later, and the server is Doris {_written(version)}"
        for what, since in wanted
        if version < since
    ]


def require(connection: Any, features: Iterable[Feature], subject: str) -> None:
    """Raise NotSupportedError when the server lacks one of ``features``."""
    found = lacking(connection, features)
    if found:
        raise NotSupportedError(f"{subject}: {'; '.join(found)}")


def _written(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
