"""An Apache Doris double for development: MySQL protocol, Stream Load, and the refusals of Doris, on DuckDB.

``python -m dbint.emulators.doris`` runs it; ``DorisEmulator`` runs it inside a test. Needs
``dbint[emulators]``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbint.emulators.doris.emulator import DorisEmulator
    from dbint.emulators.doris.tables.storage import StorageError

__all__ = ["DorisEmulator", "StorageError"]

_PLACES = {"DorisEmulator": "emulator", "StorageError": "tables.storage"}


def __getattr__(name: str) -> Any:
    # DuckDB, PyArrow and sqlglot take a second: not for a wrong argument.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
