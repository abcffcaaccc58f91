"""A Django database backend for Apache Doris: ``ENGINE = "dbint.django.backends.doris"``.

Doris is an analytic database that speaks MySQL's protocol: it has tables and SQL, and no transactions,
foreign keys or unique constraints. What Django's models can do on it works; what cannot is refused with an
error that says what to do instead. docs/doris.md is the guide.
"""

from dbint.django.backends.doris.table import DorisTable

__all__ = ["DorisTable"]
