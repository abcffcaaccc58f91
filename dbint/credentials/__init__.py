"""Credentials, through one interface.

A :class:`CredentialProvider` answers ``get(service)`` with :class:`Credentials`, or with None when it knows
none. The first provider of a :class:`ChainProvider` that answers wins, and ``Credentials.source`` says who
it was. Needs no Django.
"""

from dbint.credentials.base import ChainProvider, CredentialProvider, Credentials
from dbint.credentials.chain import PROVIDERS, default_chain
from dbint.credentials.environment import EnvironmentProvider
from dbint.credentials.files import FileProvider
from dbint.credentials.stack import StackProvider

__all__ = [
    "PROVIDERS",
    "ChainProvider",
    "CredentialProvider",
    "Credentials",
    "EnvironmentProvider",
    "FileProvider",
    "StackProvider",
    "default_chain",
]
