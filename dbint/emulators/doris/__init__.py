"""An Apache Doris double for development: MySQL protocol, Stream Load, and the refusals of Doris, on DuckDB.

``python -m dbint.emulators.doris`` runs it; ``DorisEmulator`` runs it inside a test. Needs
``dbint[emulators]``.
"""

from dbint.emulators.doris.emulator import DorisEmulator
from dbint.emulators.doris.tables.storage import StorageError

__all__ = ["DorisEmulator", "StorageError"]
