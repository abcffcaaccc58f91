"""Which client libraries a verification ran with: half of every question about a driver."""

from importlib import metadata

import dbint
from dbint import _core

# As they are installed; a project has those that its databases need.
_DISTRIBUTIONS = ("Django", "psycopg", "PyMySQL")


def library_versions() -> dict[str, str]:
    """Versions by name; libpq and librdkafka are those that dbint's own core has loaded."""
    versions = {"dbint": dbint.__version__}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions | _core.library_versions()
