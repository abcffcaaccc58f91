"""dbint: databases and event streams behind a Django project.

The C core is :mod:`dbint._core`; it needs no Django. The Django side is ``dbint.django``.
"""

__version__ = "0.1.0"
